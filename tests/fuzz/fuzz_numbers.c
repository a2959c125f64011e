/* Numbers. The first byte says how: as JSON text to a tensor and back; as one number against strtod; as the bits of doubles. */
#include "schema/formats/json.h"
#include "schema/formats/number.h"
#include "tests/fuzz/fuzz.h"
#include <math.h>
#include <string.h>

static bool same(double a, double b) { return (isnan(a) && isnan(b)) || !memcmp(&a, &b, sizeof a); }
static bool same_float(float a, float b) { return (isnan(a) && isnan(b)) || !memcmp(&a, &b, sizeof a); }

/* Writes the tensor and reads it back: `want` for f64, `narrow` for f32. */
static void write_and_read(const Tensor *want, const float *narrow) {
    Buf out;
    Json json;
    Err err = {0};
    Tensor got;
    buf_init(&out);
    json_put_tensor(&out, narrow ? (const void *)narrow : want->data, !narrow, want->shape, want->rank);
    bool ok = json_parse(&json, (char *)out.data, out.len, &err) && json_numbers(&json, json.root, &got, &err);
    fuzz_require(ok && got.rank == want->rank && got.count == want->count, "a written tensor reads back");
    for (size_t i = 0; i < want->rank; i++) fuzz_require(got.shape[i] == want->shape[i], "a tensor keeps its shape");
    for (size_t i = 0; i < want->count; i++)
        fuzz_require(narrow ? same_float((float)got.data[i], narrow[i]) : same(got.data[i], want->data[i]), "a number reads back to itself");
    tensor_release(&got);
    json_release(&json);
    buf_release(&out);
}

static void check_tensor(const Tensor *t) {
    float *narrow = malloc(t->count * sizeof *narrow);
    size_t product = 1;
    for (size_t i = 0; i < t->rank; i++) product *= t->shape[i];
    fuzz_require(product == t->count, "a tensor has its shape's count");
    for (size_t i = 0; i < t->count; i++) {
        volatile float f = fabs(t->data[i]) <= 0x1p127 ? (float)t->data[i] : NAN; /* beyond the floats a cast means nothing */
        narrow[i] = f;
    }
    write_and_read(t, NULL);
    write_and_read(t, narrow);
    free(narrow);
}

static void from_json(const char *text, size_t len) {
    Json json;
    Err err = {0};
    Tensor t;
    if (!json_parse(&json, text, len, &err)) return;
    if (json_numbers(&json, json.root, &t, &err)) {
        check_tensor(&t);
        tensor_release(&t);
    } else fuzz_require(err.code == ERR_bad_tensor, "a bad tensor is told so");
    json_release(&json);
}

/* The library's reading, correctly rounded too, of a number spelled by our grammar. */
static void against_strtod(const char *text, size_t len) {
    Decimal d;
    const char *end = number_scan(text, text + len, &d);
    if (!end) return;
    char *copy = strndup(text, (size_t)(end - text)), *stop;
    double want = strtod(copy, &stop);
    fuzz_require(!*stop, "a number ends where the library's does");
    fuzz_require(same(want, number_value(&d)), "a number is the nearest double");
    free(copy);
}

static void from_bits(const uint8_t *data, size_t size) {
    for (; size >= sizeof(double); data += sizeof(double), size -= sizeof(double)) {
        char text[NUMBER_ROOM];
        Decimal d;
        double v;
        float f;
        memcpy(&v, data, sizeof v);
        memcpy(&f, data, sizeof f);
        if (isfinite(v)) {
            size_t n = number_print(text, v);
            fuzz_require(n && n <= sizeof text && number_scan(text, text + n, &d) == text + n && same(number_value(&d), v), "a double reads back");
        }
        if (isfinite(f)) {
            size_t n = number_print_float(text, f);
            fuzz_require(n && n <= sizeof text && number_scan(text, text + n, &d) == text + n, "a float is spelled");
            fuzz_require(same_float((float)number_value(&d), f), "a float reads back");
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size) return 0;
    switch (*data) {
    case 'n': against_strtod((const char *)data + 1, size - 1); break;
    case 'b': from_bits(data + 1, size - 1); break;
    default: from_json((const char *)data, size);
    }
    return 0;
}
