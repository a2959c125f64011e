/* Files that are not taken, by /datasets and by /eval: the answer says what was sent, and what to send. And what is taken only in part. */
#include "tests/support/ask.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define SAFETENSORS "Content-Type: application/vnd.safetensors"
#define NPY "Content-Type: application/x-npy"

/* Refused with the code, in exactly these words. */
static void refused(Ask *a, const char *code, const char *route, const char *header, const void *body, size_t len, const char *says) {
    ask_bytes(a, strcmp(code, "body_too_large") == 0 ? 413 : 400, route, (const char *[]){header, NULL}, body, len);
    ask_is_problem(a, code);
    if (strcmp(ask_text(a, "detail"), says) != 0) fail_msg("%s; instead of: %s", ask_text(a, "detail"), says);
}

static void test_other_files(void **state) {
    Ask *a = *state;
    static const struct {
        const char *bytes;
        size_t len;
        const char *what;
    } files[] = {
        {"\x89HDF\r\n\x1a\n\0\0\0\0", 12, "an HDF5 file"}, {"x,y\n1,2\n", 8, "a CSV file"},
        {"\x28\xb5\x2f\xfd....", 8, "zstd data"},         {"\xfd" "7zXZ\0\0\4", 8, "xz data"},
        {"BZh91AY&SY", 10, "bzip2 data"},                 {"PAR1....PAR1", 12, "a Parquet file"},
        {"\x80\4\x95\x10\0\0\0\0\0\0\0}.", 13, "a Python pickle"}, {"\x89PNG\r\n\x1a\n", 8, "a PNG image"},
        {"{\"rows\": 1}", 11, "JSON"},                    {"hello, world", 12, "a text"},
    };
    char hash[80], route[200], says[200];
    ask_compile(a, "{'source': 'λx:R[2]. x'}", hash);
    snprintf(route, sizeof route, "POST /eval?program=%s", hash);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(says, sizeof says, "This is %s; send safetensors, npy, npz or IDX.", files[i].what);
        refused(a, "bad_tensor", "PUT /datasets/other", "X-None: ", files[i].bytes, files[i].len, says);
        refused(a, "bad_tensor", "PUT /datasets/other?column=x", "X-None: ", files[i].bytes, files[i].len, says);
        snprintf(says, sizeof says, "This is %s; send safetensors as application/vnd.safetensors, or npy as application/x-npy, in Content-Type.", files[i].what);
        refused(a, "bad_tensor", route, SAFETENSORS, files[i].bytes, files[i].len, says);
        refused(a, "bad_tensor", route, NPY, files[i].bytes, files[i].len, says);
    }
}

/* A file of tensors under another's Content-Type, or under none. */
static void test_another_content_type(void **state) {
    Ask *a = *state;
    static const char npy[] = "\x93NUMPY\1\0\x3b\0{'descr': '<f4', 'fortran_order': False, 'shape': (2,), } \n\0\0\x80\x3f\0\0\0\x40";
    static const char header[] = "{\"args.0\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}   ";
    char hash[80], route[200];
    Buf body = {0};
    buf_u64(&body, sizeof header - 1);
    buf_puts(&body, header);
    buf_put(&body, npy + sizeof npy - 9, 8);
    ask_compile(a, "{'source': 'λx:R[2]. x'}", hash);
    snprintf(route, sizeof route, "POST /eval?program=%s", hash);
    ask_bytes(a, 200, route, (const char *[]){NPY, NULL}, npy, sizeof npy - 1);
    ask_part(a, "data", "[1, 2]");
    ask_bytes(a, 200, route, (const char *[]){SAFETENSORS, NULL}, body.data, body.len);
    ask_part(a, "data", "[1, 2]");
    refused(a, "bad_tensor", route, SAFETENSORS, npy, sizeof npy - 1,
            "This is an npy file; send safetensors as application/vnd.safetensors, or npy as application/x-npy, in Content-Type.");
    refused(a, "bad_tensor", route, NPY, body.data, body.len,
            "This is a safetensors file; send safetensors as application/vnd.safetensors, or npy as application/x-npy, in Content-Type.");
    refused(a, "bad_json", "POST /eval", "X-None: ", npy, sizeof npy - 1, "This is an npy file; its Content-Type is application/x-npy.");
    refused(a, "bad_json", "POST /eval", "X-None: ", body.data, body.len, "This is a safetensors file; its Content-Type is application/vnd.safetensors.");
    buf_release(&body);
}

static void put_npy(Buf *out, const char *descr, const void *data, size_t len) {
    char dict[128];
    const int n = snprintf(dict, sizeof dict, "{'descr': '%s', 'fortran_order': False, 'shape': (1,), }\n", descr);
    buf_init(out);
    buf_put(out, "\x93NUMPY\1\0", 8);
    buf_u16(out, (uint16_t)n);
    buf_puts(out, dict);
    buf_put(out, data, len);
}

/* u64 beyond i64: wherever integers are read. */
static void test_integers_that_do_not_fit(void **state) {
    Ask *a = *state;
    char hash[80], route[200];
    Buf body;
    ask_compile(a, "{'source': 'λx:N[5]. x'}", hash);
    snprintf(route, sizeof route, "POST /eval?program=%s", hash);
    for (int big = 0; big < 2; big++) {
        put_npy(&body, big ? ">u8" : "<u8", big ? "\x80\0\0\0\0\0\0\0" : "\0\0\0\0\0\0\0\x80", 8);
        refused(a, "bad_tensor", "PUT /datasets/large?column=n", "X-None: ", body.data, body.len,
                "\"n\" holds the integer 9223372036854775808; integers become i64, which ends at 9223372036854775807.");
        refused(a, "bad_tensor", route, NPY, body.data, body.len,
                "\"args.0\" holds the integer 9223372036854775808; integers become i64, which ends at 9223372036854775807.");
        buf_release(&body);
        put_npy(&body, big ? ">u8" : "<u8", big ? "\0\0\0\0\0\0\0\4" : "\4\0\0\0\0\0\0\0", 8);
        ask_bytes(a, 200, route, (const char *[]){NPY, NULL}, body.data, body.len);
        ask_part(a, "data", "[[0, 0, 0, 0, 1]]");
        buf_release(&body);
    }
    put_npy(&body, "|O", "12345678", 8);
    refused(a, "bad_tensor", "PUT /datasets/large?column=n", "X-None: ", body.data, body.len,
            "The npy file's dtype |O is of Python objects, pickled; booleans, integers of 8 to 64 bits and floats of 16 to 64 bits are taken.");
    buf_release(&body);
}

/* The header's key that is no tensor's. */
static void test_a_column_called_metadata(void **state) {
    Ask *a = *state;
    Buf body;
    static const char says[] = "The name of a column is 1 to 100 of A-Z, a-z, 0-9, \".\", \"_\" and \"-\", and not __metadata__.";
    put_npy(&body, "<f4", "\0\0\x80\x3f", 4);
    refused(a, "bad_request", "PUT /datasets/m?column=__metadata__", "X-None: ", body.data, body.len, says);
    ask_bytes(a, 201, "PUT /datasets/m?column=__metadata", NULL, body.data, body.len);
    ask_bytes(a, 201, "PUT /datasets/__metadata__?column=x", NULL, body.data, body.len);
    ask(a, 204, "DELETE /datasets/__metadata__", NULL);
    ask(a, 204, "DELETE /datasets/m", NULL);
    buf_release(&body);
}

/* One stored member of that name. */
static void put_npz(Buf *out, const char *name, const Buf *member, uint32_t crc, uint32_t size) {
    const size_t len = strlen(name);
    buf_init(out);
    for (int central = 0; central < 2; central++) {
        buf_u32(out, central ? 0x02014b50 : 0x04034b50);
        if (central) buf_u16(out, 20);
        buf_u16(out, 20), buf_u16(out, 0), buf_u16(out, 0), buf_u32(out, 0);
        buf_u32(out, crc), buf_u32(out, size), buf_u32(out, size);
        buf_u16(out, (uint16_t)len), buf_u16(out, 0);
        if (central) buf_u16(out, 0), buf_u16(out, 0), buf_u16(out, 0), buf_u32(out, 0), buf_u32(out, 0);
        buf_puts(out, name);
        if (!central) buf_put(out, member->data, member->len);
    }
    const size_t directory = 30 + len + member->len;
    buf_u32(out, 0x06054b50), buf_u32(out, 0), buf_u16(out, 1), buf_u16(out, 1);
    buf_u32(out, (uint32_t)(46 + len)), buf_u32(out, (uint32_t)directory), buf_u16(out, 0);
}

static void test_npz_refused(void **state) {
    Ask *a = *state;
    Buf npy, body;
    enum { CRC = 0 };
    put_npy(&npy, "<f4", "\0\0\x80\x3f", 4);
    put_npz(&body, "x.npy", &npy, CRC, (uint32_t)npy.len);
    refused(a, "bad_tensor", "PUT /datasets/z", "X-None: ", body.data, body.len,
            "The member \"x.npy\" is damaged: it is not of the size and checksum that the archive states.");
    refused(a, "bad_tensor", "PUT /datasets/z", "X-None: ", body.data, body.len - 1,
            "The zip archive has no end record: it is cut off, or something stands behind it.");
    buf_release(&body);
    put_npz(&body, "model/data.pkl", &npy, CRC, (uint32_t)npy.len);
    refused(a, "bad_tensor", "PUT /datasets/z", "X-None: ", body.data, body.len,
            "This is a zip archive with a member \"model/data.pkl\", which is no .npy; of zip archives only npz, numpy's savez, is taken.");
    buf_release(&body);
    ask(a, 404, "GET /datasets/z", NULL);
    buf_release(&npy);
}

/* Read from tests/cases: numpy's own. */
static void test_npz_names_its_columns(void **state) {
    Ask *a = *state;
    unsigned char body[4096];
    FILE *f = fopen("tests/cases/columns.npz", "rb");
    assert_non_null(f);
    const size_t len = fread(body, 1, sizeof body, f);
    fclose(f);
    refused(a, "bad_request", "PUT /datasets/z?column=x", "X-None: ", body, len,
            "?column= names the column of an IDX or npy file; an npz brings its columns' names.");
    ask_bytes(a, 201, "PUT /datasets/z", NULL, body, len);
    ask(a, 200, "GET /datasets/z/rows", NULL);
    ask_part(a, "columns", "{'x': [[0, 1, 2], [3, 4, 5]]}");
    ask(a, 204, "DELETE /datasets/z", NULL);
    /* in a row's place of /eval it is no tensor */
    refused(a, "bad_tensor", "POST /eval?program=sha256:0", NPY, body, len,
            "This is a zip archive; send safetensors as application/vnd.safetensors, or npy as application/x-npy, in Content-Type.");
}

static size_t read_case(const char *name, char *out, size_t room) {
    char path[100];
    snprintf(path, sizeof path, "tests/cases/%s", name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    const size_t len = fread(out, 1, room - 1, f);
    fclose(f);
    out[len] = 0;
    return len;
}

static void test_json_that_is_none(void **state) {
    Ask *a = *state;
    char body[512];
    size_t len = read_case("nan_token.json", body, sizeof body);
    refused(a, "bad_json", "POST /eval", "Content-Type: application/json", body, len,
            "The body is not acceptable JSON: `N` where a value should be at byte 50; write it as the string \"NaN\".");
    len = read_case("bom.json", body, sizeof body);
    ask_bytes(a, 200, "POST /eval", (const char *[]){"Content-Type: application/json", NULL}, body, len);
    ask_part(a, "data", "[1, 0]");
    len = read_case("nbsp.json", body, sizeof body);
    ask_bytes(a, 422, "POST /eval", (const char *[]){"Content-Type: application/json", NULL}, body, len);
    ask_is_problem(a, "parse_error");
    assert_string_equal(ask_text(a, "detail"), "The character U+00A0, a no-break space, has no meaning here.");
    ask_body_has(a, "Instead: put a space there.");
}

static void test_words_of_the_query(void **state) {
    Ask *a = *state;
    char hash[80], route[200], says[200];
    Buf body;
    static const char *const words[] = {"True", "False", "1", "0", "yes", "TRUE", ""};
    ask_compile(a, "{'source': 'λx:N[5]. x'}", hash);
    put_npy(&body, "<i4", "\4\0\0\0", 4);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        snprintf(route, sizeof route, "POST /eval?program=%s&decode=%s", hash, words[i]);
        snprintf(says, sizeof says, "?decode is one of false, true, and not %s.", words[i]);
        refused(a, "bad_request", route, NPY, body.data, body.len, says);
    }
    snprintf(route, sizeof route, "POST /eval?program=%s&decode=true", hash);
    ask_bytes(a, 200, route, (const char *[]){NPY, NULL}, body.data, body.len);
    ask_part(a, "values", "[4]");
    snprintf(route, sizeof route, "POST /eval?program=%s&dtype=float64", hash);
    refused(a, "bad_request", route, NPY, body.data, body.len, "?dtype is one of f32, f64, and not float64.");
    buf_release(&body);
}

/* A column of floats where classes are wanted. */
static void test_float_labels(void **state) {
    Ask *a = *state;
    char body[512];
    size_t len = read_case("float_labels.safetensors", body, sizeof body);
    ask_bytes(a, 201, "PUT /datasets/lab", NULL, body, len);
    len = read_case("float_labels_run.json", body, sizeof body);
    ask_bytes(a, 422, "POST /runs", (const char *[]){"Content-Type: application/json", NULL}, body, len);
    ask_is_problem(a, "bad_run");
    assert_string_equal(ask_text(a, "detail"), "The column \"y\" is f32, one number a row; beside the program's output, R[2], the loss \"cross_entropy\" "
                                               "wants the class of a row, one integer from 0 to 1 (u8 or i64), or numbers of shape [2].");
    ask(a, 204, "DELETE /datasets/lab", NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_other_files),
        cmocka_unit_test(test_another_content_type),
        cmocka_unit_test(test_integers_that_do_not_fit),
        cmocka_unit_test(test_a_column_called_metadata),
        cmocka_unit_test(test_npz_refused),
        cmocka_unit_test(test_npz_names_its_columns),
        cmocka_unit_test(test_json_that_is_none),
        cmocka_unit_test(test_words_of_the_query),
        cmocka_unit_test(test_float_labels),
        cmocka_unit_test(ask_ends_well),
    };
    return cmocka_run_group_tests(tests, ask_setup, ask_teardown);
}
