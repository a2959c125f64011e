/* Tensors in bulk: safetensors and npy, in and out; what is malformed; limits; content negotiation. */
#include "tests/support/ask.h"
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAFETENSORS "application/vnd.safetensors"
#define NPY "application/x-npy"
#define XOR "{'source': 'a : 2, b : 2 |- if a then (if b then false else true) else b'}"
#define NOT "{'source': 'λx:2. if x then false else true'}"

/* header: JSON with ' for ". */
static void put_safetensors(Buf *out, const char *header, const void *data, size_t len) {
    buf_clear(out);
    buf_u64(out, strlen(header));
    for (const char *p = header; *p; p++) buf_putc(out, *p == '\'' ? '"' : *p);
    buf_put(out, data, len);
}

static void put_npy(Buf *out, const char *descr, const char *shape, const void *data, size_t len) {
    char dict[256];
    int n = snprintf(dict, sizeof dict, "{'descr': '%s', 'fortran_order': False, 'shape': %s, }\n", descr, shape);
    buf_clear(out);
    buf_put(out, "\x93NUMPY\x01\x00", 8);
    buf_u16(out, (uint16_t)n);
    buf_put(out, dict, (size_t)n);
    buf_put(out, data, len);
}

static void put_f32(Buf *out, const double *values, size_t n) {
    buf_clear(out);
    for (size_t i = 0; i < n; i++) {
        float v = (float)values[i];
        buf_put(out, &v, sizeof v);
    }
}

/* Posts the bytes to route?program=hash&rest. */
static void post(Ask *a, int status, const char *route, const char *hash, const char *rest, const char *type, const char *accept, const Buf *body) {
    char path[300], type_line[100], accept_line[100];
    snprintf(path, sizeof path, "POST %s?program=%s%s", route, hash, rest);
    snprintf(type_line, sizeof type_line, "Content-Type: %s", type);
    snprintf(accept_line, sizeof accept_line, "Accept: %s", accept);
    ask_bytes(a, status, path, (const char *[]){type_line, accept_line, NULL}, body->data, body->len);
}

/* The safetensors answer's tensor has this dtype, shape and these numbers; a->json becomes the header. */
static void has_tensor(Ask *a, const char *name, const char *dtype, const char *shape, const double *want, size_t n) {
    const Buf *body = &a->response.body;
    Reader r = reader_of(body->data, body->len);
    uint64_t len = read_u64(&r);
    assert_true(!r.failed && len <= body->len - 8);
    ask_header(a, "Content-Type", SAFETENSORS);
    cJSON_Delete(a->json);
    a->json = cJSON_ParseWithLength((const char *)body->data + 8, (size_t)len);
    const cJSON *entry = cJSON_GetObjectItemCaseSensitive(a->json, name);
    if (!entry) fail_msg("there is no tensor %s", name);
    assert_string_equal(dtype, cJSON_GetStringValue(cJSON_GetObjectItem(entry, "dtype")));
    char *found = cJSON_PrintUnformatted(cJSON_GetObjectItem(entry, "shape"));
    assert_string_equal(shape, found);
    cJSON_free(found);
    const cJSON *offsets = cJSON_GetObjectItem(entry, "data_offsets");
    size_t begin = (size_t)cJSON_GetArrayItem(offsets, 0)->valuedouble, end = (size_t)cJSON_GetArrayItem(offsets, 1)->valuedouble;
    size_t size = strcmp(dtype, "F64") == 0 ? 8 : 4;
    assert_int_equal(n * size, end - begin);
    assert_true(8 + len + end <= body->len);
    for (size_t i = 0; i < n; i++) {
        const unsigned char *at = body->data + 8 + len + begin + i * size;
        double v;
        float f;
        if (size == 8) memcpy(&v, at, 8);
        else memcpy(&f, at, 4), v = f;
        if (v != want[i]) fail_msg("%s[%zu] is %.17g instead of %.17g", name, i, v, want[i]);
    }
}

static void has_npy(Ask *a, const char *descr, const char *shape, const double *want, size_t n) {
    const Buf *body = &a->response.body;
    char text[64];
    ask_header(a, "Content-Type", NPY);
    assert_true(body->len > 10 && memcmp(body->data, "\x93NUMPY\x01\x00", 8) == 0);
    size_t start = 10 + body->data[8] + 256u * body->data[9], size = strstr(descr, "f8") ? 8 : 4;
    assert_int_equal(0, start % 64);
    snprintf(text, sizeof text, "'descr': '%s'", descr);
    ask_body_has(a, text);
    snprintf(text, sizeof text, "'shape': %s", shape);
    ask_body_has(a, text);
    assert_int_equal(start + n * size, body->len);
    for (size_t i = 0; i < n; i++) {
        double v;
        float f;
        if (size == 8) memcpy(&v, body->data + start + 8 * i, 8);
        else memcpy(&f, body->data + start + 4 * i, 4), v = f;
        if (v != want[i]) fail_msg("element %zu is %.17g instead of %.17g", i, v, want[i]);
    }
}
#define VALUES(...) (const double[]){__VA_ARGS__}, sizeof((double[]){__VA_ARGS__}) / sizeof(double)

static void test_safetensors(void **state) {
    Ask *a = *state;
    char hash[80];
    Buf body, data;
    buf_init(&body), buf_init(&data);
    ask_compile(a, XOR, hash);
    put_f32(&data, VALUES(1, 2, 10, 20, 3, 5));
    put_safetensors(&body, "{'inputs.a':{'dtype':'F32','shape':[2,2],'data_offsets':[0,16]},"
                           "'inputs.b':{'dtype':'F32','shape':[2],'data_offsets':[16,24]},'__metadata__':{'by':'hand'}}", data.data, data.len);
    post(a, 200, "/eval", hash, "", SAFETENSORS, "application/json", &body);
    ask_part(a, "", "{'type': '2', 'shape': [2, 2], 'data': [[11, 13], [110, 130]]}");
    post(a, 200, "/eval", hash, "&decode=true", SAFETENSORS, "application/json", &body);
    ask_part(a, "values", "[false, false]");
    post(a, 200, "/eval", hash, "", SAFETENSORS, SAFETENSORS, &body);
    has_tensor(a, "output", "F32", "[2,2]", VALUES(11, 13, 110, 130));
    post(a, 200, "/eval", hash, "&dtype=f64", SAFETENSORS, SAFETENSORS, &body);
    has_tensor(a, "output", "F64", "[2,2]", VALUES(11, 13, 110, 130));
    post(a, 200, "/eval", hash, "", SAFETENSORS, NPY, &body);
    has_npy(a, "<f4", "(2, 2)", VALUES(11, 13, 110, 130));
    buf_release(&body), buf_release(&data);
}

static void test_derivatives(void **state) {
    Ask *a = *state;
    char hash[80], args[80];
    Buf body, data;
    buf_init(&body), buf_init(&data);
    ask_compile(a, XOR, hash);
    ask_compile(a, "{'source': 'b : 2 |- λa:2. if a then (if b then false else true) else b'}", args);
    put_f32(&data, VALUES(1, 2, 10, 20, 3, 5, 1, 0, 0, 1));
    put_safetensors(&body, "{'inputs.a':{'dtype':'F32','shape':[2,2],'data_offsets':[0,16]},"
                           "'inputs.b':{'dtype':'F32','shape':[2],'data_offsets':[16,24]},"
                           "'cotangent':{'dtype':'F32','shape':[2,2],'data_offsets':[24,40]}}", data.data, data.len);
    post(a, 200, "/grad", hash, "", SAFETENSORS, SAFETENSORS, &body);
    has_tensor(a, "output", "F32", "[2,2]", VALUES(11, 13, 110, 130));
    has_tensor(a, "grads.inputs.a", "F32", "[2,2]", VALUES(5, 3, 3, 5));
    has_tensor(a, "grads.inputs.b", "F32", "[2]", VALUES(12, 21));
    post(a, 200, "/grad", hash, "&wrt=b", SAFETENSORS, SAFETENSORS, &body);
    has_tensor(a, "grads.inputs.b", "F32", "[2]", VALUES(12, 21));
    assert_null(cJSON_GetObjectItemCaseSensitive(a->json, "grads.inputs.a"));
    put_f32(&data, VALUES(3, 5, 1, 2));
    put_safetensors(&body, "{'inputs.b':{'dtype':'F32','shape':[2],'data_offsets':[0,8]},'args.0':{'dtype':'F32','shape':[2],'data_offsets':[8,16]}}",
                    data.data, data.len);
    post(a, 200, "/grad", args, "", SAFETENSORS, SAFETENSORS, &body);
    has_tensor(a, "grads.args.0", "F32", "[2]", VALUES(8, 8));
    has_tensor(a, "grads.inputs.b", "F32", "[2]", VALUES(3, 3));
    post(a, 200, "/grad", args, "&wrt=0", SAFETENSORS, "application/json", &body);
    ask_part(a, "grads", "{'inputs': {}, 'args': [{'shape': [2], 'data': [8, 8]}]}");
    put_f32(&data, VALUES(3, 5, 1, 2, 0, 1, 1, 0));
    put_safetensors(&body, "{'inputs.b':{'dtype':'F32','shape':[2],'data_offsets':[0,8]},'args.0':{'dtype':'F32','shape':[2],'data_offsets':[8,16]},"
                           "'tangents.inputs.b':{'dtype':'F32','shape':[2],'data_offsets':[16,24]},"
                           "'tangents.args.0':{'dtype':'F32','shape':[2],'data_offsets':[24,32]}}", data.data, data.len);
    post(a, 200, "/jvp", args, "", SAFETENSORS, SAFETENSORS, &body);
    has_tensor(a, "output", "F32", "[2]", VALUES(11, 13));
    has_tensor(a, "tangent", "F32", "[2]", VALUES(6, 5));
    buf_release(&body), buf_release(&data);
}

/* F64 data in an f32 call are rounded; F32 data in an f64 call are widened. */
static void test_dtypes(void **state) {
    Ask *a = *state;
    char hash[80];
    Buf body;
    double thirds[2] = {1.0 / 3, 16777217};
    float f = 0.1f;
    buf_init(&body);
    ask_compile(a, "{'source': 'x : R[2] |- x'}", hash);
    put_safetensors(&body, "{'inputs.x':{'dtype':'F64','shape':[2],'data_offsets':[0,16]}}", thirds, sizeof thirds);
    post(a, 200, "/eval", hash, "", SAFETENSORS, SAFETENSORS, &body);
    has_tensor(a, "output", "F32", "[2]", VALUES((float)(1.0 / 3), 16777216));
    post(a, 200, "/eval", hash, "&dtype=f64", SAFETENSORS, SAFETENSORS, &body);
    has_tensor(a, "output", "F64", "[2]", thirds, 2);
    ask_compile(a, "{'source': 'x : R[1] |- x'}", hash);
    put_safetensors(&body, "{'inputs.x':{'dtype':'F32','shape':[1],'data_offsets':[0,4]}}", &f, sizeof f);
    post(a, 200, "/eval", hash, "&dtype=f64", SAFETENSORS, SAFETENSORS, &body);
    has_tensor(a, "output", "F64", "[1]", VALUES((double)0.1f));
    buf_release(&body);
}

static void test_discrete(void **state) {
    Ask *a = *state;
    char hash[80], succ[80];
    int64_t naturals[3] = {2, 0, 1}, one = 1;
    Buf body;
    buf_init(&body);
    ask_compile(a, NOT, hash);
    ask_compile(a, "{'source': 'λn:N[3]. succ n'}", succ);
    static const char *const booleans[] = {"U8", "BOOL"};
    for (int i = 0; i < 2; i++) {
        char header[100];
        snprintf(header, sizeof header, "{'args.0':{'dtype':'%s','shape':[3],'data_offsets':[0,3]}}", booleans[i]);
        put_safetensors(&body, header, "\1\0\1", 3);
        post(a, 200, "/eval", hash, "&decode=true", SAFETENSORS, "application/json", &body);
        ask_part(a, "values", "[false, true, false]");
    }
    put_safetensors(&body, "{'args.0':{'dtype':'I64','shape':[3],'data_offsets':[0,24]}}", naturals, sizeof naturals);
    post(a, 200, "/eval", succ, "&decode=true", SAFETENSORS, "application/json", &body);
    ask_part(a, "values", "[3, 1, 2]");
    ask_part(a, "shape", "[3, 4]");
    put_safetensors(&body, "{'args.0':{'dtype':'I64','shape':[],'data_offsets':[0,8]}}", &one, sizeof one);
    post(a, 200, "/eval", succ, "&decode=true", SAFETENSORS, "application/json", &body);
    ask_part(a, "", "{'type': 'N[4]', 'shape': [4], 'data': [0, 0, 1, 0], 'values': 2}");
    put_safetensors(&body, "{'args.0':{'dtype':'U8','shape':[2],'data_offsets':[0,2]}}", "\2\1", 2);
    post(a, 200, "/eval", succ, "&decode=true", SAFETENSORS, "application/json", &body);
    ask_part(a, "values", "[3, 2]");
    put_safetensors(&body, "{'args.0':{'dtype':'U8','shape':[2],'data_offsets':[0,2]}}", "\3\1", 2);
    post(a, 422, "/eval", succ, "", SAFETENSORS, "application/json", &body);
    ask_is_problem(a, "nat_bound_exceeded");
    post(a, 400, "/eval", hash, "", SAFETENSORS, "application/json", &body); /* 3 is no boolean */
    ask_is_problem(a, "bad_tensor");
    naturals[1] = -1;
    put_safetensors(&body, "{'args.0':{'dtype':'I64','shape':[3],'data_offsets':[0,24]}}", naturals, sizeof naturals);
    post(a, 400, "/eval", succ, "", SAFETENSORS, "application/json", &body);
    ask_is_problem(a, "bad_tensor");
    put_safetensors(&body, "{'args.0':{'dtype':'U8','shape':[2,2],'data_offsets':[0,4]}}", "\0\1\0\1", 4);
    post(a, 400, "/eval", hash, "", SAFETENSORS, "application/json", &body);
    ask_is_problem(a, "bad_tensor");
    /* shorter naturals are padded here too */
    float weights[4] = {0, 1, 2, 3};
    put_safetensors(&body, "{'args.0':{'dtype':'F32','shape':[2,2],'data_offsets':[0,16]}}", weights, sizeof weights);
    post(a, 200, "/eval", succ, "", SAFETENSORS, "application/json", &body);
    ask_part(a, "data", "[[0, 0, 1, 0], [0, 2, 3, 0]]");
    buf_release(&body);
}

static void test_npy(void **state) {
    Ask *a = *state;
    char hash[80], path[120];
    Buf body, data;
    buf_init(&body), buf_init(&data);
    ask_compile(a, NOT, hash);
    put_f32(&data, VALUES(1, 2, 3, 4));
    put_npy(&body, "<f4", "(2, 2)", data.data, data.len);
    post(a, 200, "/eval", hash, "", NPY, NPY, &body);
    has_npy(a, "<f4", "(2, 2)", VALUES(2, 1, 4, 3));
    post(a, 200, "/eval", hash, "&dtype=f64", NPY, NPY, &body);
    has_npy(a, "<f8", "(2, 2)", VALUES(2, 1, 4, 3));
    post(a, 200, "/eval", hash, "", NPY, SAFETENSORS, &body);
    has_tensor(a, "output", "F32", "[2,2]", VALUES(2, 1, 4, 3));
    put_npy(&body, "|b1", "(3,)", "\1\0\1", 3);
    post(a, 200, "/eval", hash, "&decode=true", NPY, "application/json", &body);
    ask_part(a, "values", "[false, true, false]");
    put_npy(&body, "|u1", "()", "\1", 1);
    post(a, 200, "/eval", hash, "", NPY, "application/json", &body);
    ask_part(a, "data", "[0, 1]");
    put_npy(&body, "<f4", "(2, 2)", data.data, data.len);
    post(a, 200, "/grad", hash, "", NPY, "application/json", &body);
    ask_part(a, "grads.args.0", "{'shape': [2, 2], 'data': [[1, 1], [1, 1]]}");
    /* JSON in, npy out; the matrix likewise */
    const char json[] = "{\"source\": \"λx:2. if x then false else true\", \"args\": [[0.25, 0.75]]}";
    ask_bytes(a, 200, "POST /eval", (const char *[]){"Accept: " NPY, NULL}, json, sizeof json - 1);
    has_npy(a, "<f4", "(2,", VALUES(0.75, 0.25));
    snprintf(path, sizeof path, "GET /programs/%s/matrix", hash);
    ask_bytes(a, 200, path, (const char *[]){"Accept: " NPY, NULL}, NULL, 0);
    has_npy(a, "<f4", "(2, 2)", VALUES(0, 1, 1, 0));
    buf_release(&body), buf_release(&data);
}

static void test_negotiation(void **state) {
    Ask *a = *state;
    static const char json[] = "{\"source\": \"true\"}";
    static const struct {
        const char *accept, *type;
    } cases[] = {
        {"Accept: */*", "application/json"},
        {"Accept: application/*", "application/json"},
        {"Accept: application/x-npy, application/json;q=0.5", NPY},
        {"Accept: application/json;q=0.1, application/vnd.safetensors;q=0.2, text/html", SAFETENSORS},
        {"Accept: application/json;q=0, */*", NPY},
        {"Accept: APPLICATION/X-NPY", NPY},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ask_bytes(a, 200, "POST /eval", (const char *[]){cases[i].accept, NULL}, json, sizeof json - 1);
        ask_header(a, "Content-Type", cases[i].type);
    }
    ask_bytes(a, 406, "POST /eval", (const char *[]){"Accept: text/html", NULL}, json, sizeof json - 1);
    ask_is_problem(a, "not_acceptable");
    ask_bytes(a, 406, "POST /grad", (const char *[]){"Accept: " NPY, NULL}, json, sizeof json - 1); /* more than one tensor */
    ask_is_problem(a, "not_acceptable");
    /* a problem is JSON whatever was asked for */
    ask_bytes(a, 422, "POST /eval", (const char *[]){"Accept: " NPY, NULL}, "{\"source\": \"x\"}", 15);
    ask_is_problem(a, "unbound_variable");
}

/* Each a body for \x:R[2]. x, with eight bytes of data. */
static const char *const malformed[] = {
    "{'args.0':{'dtype':'F32','shape':[2],'data_offsets':[0,4]}}",
    "{'args.0':{'dtype':'F32','shape':[3],'data_offsets':[0,8]}}",
    "{'args.0':{'dtype':'F32','shape':[2],'data_offsets':[8,0]}}",
    "{'args.0':{'dtype':'F32','shape':[2],'data_offsets':[0,16]}}",
    "{'args.0':{'dtype':'F32','shape':[1],'data_offsets':[4,8]}}",
    "{'args.0':{'dtype':'F32','shape':[1],'data_offsets':[0,4]}}",
    "{'args.0':{'dtype':'F32','shape':[2],'data_offsets':[0,8]},'cotangent':{'dtype':'F32','shape':[1],'data_offsets':[4,8]}}",
    "{'args.0':{'dtype':'F8_E5M2','shape':[8],'data_offsets':[0,8]}}",
    "{'args.0':{'dtype':'f32','shape':[2],'data_offsets':[0,8]}}",
    "{'args.0':{'dtype':'F32','shape':[4294967296,4294967296,2],'data_offsets':[0,8]}}",
    "{'args.0':{'dtype':'F32','shape':[-2],'data_offsets':[0,8]}}",
    "{'args.0':{'dtype':'F32','shape':[1.5],'data_offsets':[0,8]}}",
    "{'args.0':{'dtype':'F32','shape':2,'data_offsets':[0,8]}}",
    "{'args.0':{'dtype':'F32','shape':[2],'data_offsets':[0]}}",
    "{'args.0':{'dtype':'F32','shape':[2]}}",
    "{'args.0':{'dtype':'F32','shape':[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,2],'data_offsets':[0,8]}}",
    "{'args.0':[]}", "{'args.0':{}}", "[]", "{", "", "nonsense",
    "{'args.0':{'dtype':'F32','shape':[2],'data_offsets':[0,8]},'args.0':{'dtype':'F32','shape':[2],'data_offsets':[0,8]}}",
};

static void test_malformed_safetensors(void **state) {
    Ask *a = *state;
    char hash[80];
    static const float data[2] = {1, 2};
    static const char good[] = "{'args.0':{'dtype':'F32','shape':[2],'data_offsets':[0,8]}}";
    Buf body;
    buf_init(&body);
    ask_compile(a, "{'source': 'λx:R[2]. x'}", hash);
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++) {
        put_safetensors(&body, malformed[i], data, sizeof data);
        post(a, 400, "/eval", hash, "", SAFETENSORS, "application/json", &body);
        ask_is_problem(a, "bad_tensor");
    }
    put_safetensors(&body, good, data, sizeof data);
    size_t len = body.len;
    for (body.len = 0; body.len < len; body.len++) { /* cut anywhere */
        post(a, 400, "/eval", hash, "", SAFETENSORS, "application/json", &body);
        ask_is_problem(a, "bad_tensor");
    }
    for (int i = 4; i < 8; i++) { /* a header length far beyond the body */
        put_safetensors(&body, good, data, sizeof data);
        body.data[i] = 0xff;
        post(a, 400, "/eval", hash, "", SAFETENSORS, "application/json", &body);
        ask_is_problem(a, "bad_tensor");
    }
    put_safetensors(&body, good, data, sizeof data);
    post(a, 200, "/eval", hash, "", SAFETENSORS, "application/json", &body);
    ask_part(a, "data", "[1, 2]");
    buf_release(&body);
}

static void test_malformed_npy(void **state) {
    static const struct {
        const char *descr, *shape;
    } cases[] = {{"<f4", "(3,)"}, {"<f4", "(1,)"}, {"<f2", "(3,)"}, {">f4", "(3,)"}, {"<f4", "(2"}, {"<f4", "2"}, {"<f4", "(-2,)"},
                 {"<f4", "(18446744073709551615, 18446744073709551615)"}, {"<f4", "(99999999999999999999999,)"}, {"<c8", "(1,)"},
                 {"|O", "(1,)"}, {"<f4', 'descr': '<f4", "(2,)"}, {"<f4", "(2,), 'extra': 1"}, {"", "(2,)"}};
    static const float data[2] = {1, 2};
    Ask *a = *state;
    char hash[80];
    Buf body;
    buf_init(&body);
    ask_compile(a, "{'source': 'λx:R[2]. x'}", hash);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_npy(&body, cases[i].descr, cases[i].shape, data, sizeof data);
        post(a, 400, "/eval", hash, "", NPY, "application/json", &body);
        ask_is_problem(a, "bad_tensor");
    }
    put_npy(&body, "<f4", "(2,)", data, sizeof data);
    size_t len = body.len;
    for (body.len = 0; body.len < len; body.len++) {
        post(a, 400, "/eval", hash, "", NPY, "application/json", &body);
        ask_is_problem(a, "bad_tensor");
    }
    body.data[6] = 9; /* version */
    body.len = len;
    post(a, 400, "/eval", hash, "", NPY, "application/json", &body);
    ask_is_problem(a, "bad_tensor");
    body.data[6] = 1;
    post(a, 200, "/eval", hash, "", NPY, "application/json", &body);
    ask_part(a, "data", "[1, 2]");
    buf_release(&body);
}

static void test_refused(void **state) {
    Ask *a = *state;
    char hash[80];
    static const float data[4] = {1, 2, 3, 4};
    Buf body;
    buf_init(&body);
    ask_compile(a, "{'source': 'y : !R[2] |- λx:R[2]. x'}", hash);
    put_safetensors(&body, "{'args.0':{'dtype':'F32','shape':[2],'data_offsets':[0,8]},"
                           "'inputs.z':{'dtype':'F32','shape':[2],'data_offsets':[8,16]}}", data, 16);
    post(a, 422, "/eval", hash, "", SAFETENSORS, "*/*", &body);
    ask_is_problem(a, "unknown_input");
    put_safetensors(&body, "{'args.0':{'dtype':'F32','shape':[2],'data_offsets':[0,8]}}", data, 8);
    post(a, 422, "/eval", hash, "", SAFETENSORS, "*/*", &body);
    ask_is_problem(a, "missing_input");
    put_safetensors(&body, "{'args.0':{'dtype':'F32','shape':[3],'data_offsets':[0,12]},"
                           "'inputs.y':{'dtype':'F32','shape':[1],'data_offsets':[12,16]}}", data, 16);
    post(a, 422, "/eval", hash, "", SAFETENSORS, "*/*", &body);
    ask_is_problem(a, "shape_mismatch");
    put_safetensors(&body, "{'args.0':{'dtype':'F32','shape':[2,0],'data_offsets':[0,0]},"
                           "'inputs.y':{'dtype':'F32','shape':[2],'data_offsets':[0,8]}}", data, 8);
    post(a, 400, "/eval", hash, "", SAFETENSORS, "*/*", &body);
    ask_is_problem(a, "bad_tensor");
    post(a, 404, "/eval", "sha256:00", "", SAFETENSORS, "*/*", &body);
    ask_is_problem(a, "not_found");
    ask_bytes(a, 400, "POST /eval", (const char *[]){"Content-Type: " SAFETENSORS, NULL}, body.data, body.len); /* no ?program */
    ask_is_problem(a, "bad_request");
    post(a, 400, "/eval", hash, "&dtype=f16", SAFETENSORS, "*/*", &body);
    ask_is_problem(a, "bad_request");
    buf_release(&body);
}

/* Large enough to travel in shared memory, and to be computed in many tiles; with a length, and in chunks. */
static void test_large(void **state) {
    enum { ROWS = 20000, DIM = 16 };
    static const char *const lengths[] = {NULL, "Transfer-Encoding: chunked"};
    Ask *a = *state;
    char hash[80], path[120], header[300];
    size_t bytes = (size_t)ROWS * DIM * sizeof(float), weights = DIM * DIM * sizeof(float);
    float *data = calloc(1, weights + bytes);
    assert_non_null(data);
    for (int i = 0; i < DIM; i++) data[i * DIM + (i + 1) % DIM] = 2; /* rotates, and doubles */
    for (int i = 0; i < ROWS * DIM; i++) data[DIM * DIM + i] = (float)i;
    Buf body;
    buf_init(&body);
    snprintf(header, sizeof header, "{'inputs.f':{'dtype':'F32','shape':[16,16],'data_offsets':[0,%zu]},"
             "'inputs.x':{'dtype':'F32','shape':[20000,16],'data_offsets':[%zu,%zu]}}", weights, weights, weights + bytes);
    put_safetensors(&body, header, data, weights + bytes);
    ask_compile(a, "{'source': 'f : !(R[16] -o R[16]), x : R[16] |- f x'}", hash);
    snprintf(path, sizeof path, "POST /eval?program=%s", hash);
    for (int i = 0; i < 2; i++) {
        ask_bytes(a, 200, path, (const char *[]){"Content-Type: " SAFETENSORS, "Accept: " NPY, lengths[i], NULL}, body.data, body.len);
        const Buf *got = &a->response.body;
        size_t start = 10 + got->data[8] + 256u * got->data[9];
        assert_int_equal(start + bytes, got->len);
        for (int k = 0; k < ROWS * DIM; k++) {
            float v;
            memcpy(&v, got->data + start + (size_t)k * sizeof v, sizeof v);
            int want = 2 * (k / DIM * DIM + (k + 1) % DIM);
            if (v != (float)want) fail_msg("element %d is %g instead of %d", k, v, want);
        }
    }
    free(data);
    buf_release(&body);
}

/* A small binary body whose answer would be large as JSON is refused before any work is done; in a binary form it is given. */
static void test_large_answer(void **state) {
    enum { ROWS = 100000, DIM = 60 };
    Ask *a = *state;
    char hash[80], path[120], header[300];
    size_t weights = DIM * 2 * sizeof(float);
    unsigned char *data = calloc(1, weights + ROWS);
    assert_non_null(data);
    Buf body;
    buf_init(&body);
    snprintf(header, sizeof header, "{'inputs.f':{'dtype':'F32','shape':[60,2],'data_offsets':[0,%zu]},'inputs.b':{'dtype':'U8','shape':[%d],'data_offsets':[%zu,%zu]}}",
             weights, ROWS, weights, weights + ROWS);
    put_safetensors(&body, header, data, weights + ROWS);
    ask_compile(a, "{'source': 'f : !(N[2] -o R[60]), b : N[2] |- f b'}", hash);
    snprintf(path, sizeof path, "POST /eval?program=%s", hash);
    double runs = ask_metric(a, "cajal_runs_total");
    ask_bytes(a, 422, path, (const char *[]){"Content-Type: " SAFETENSORS, NULL}, body.data, body.len);
    ask_is_problem(a, "too_large");
    assert_true(ask_metric(a, "cajal_runs_total") == runs);
    ask_bytes(a, 200, path, (const char *[]){"Content-Type: " SAFETENSORS, "Accept: " NPY, NULL}, body.data, body.len);
    assert_true(a->response.body.len > (size_t)ROWS * DIM * sizeof(float));
    snprintf(path, sizeof path, "POST /eval?program=%s&decode=true", hash);
    ask_bytes(a, 400, path, (const char *[]){"Content-Type: " SAFETENSORS, "Accept: " NPY, NULL}, body.data, body.len);
    ask_is_problem(a, "bad_request");
    static const char decoded[] = "{\"source\": \"true\", \"decode\": true}";
    ask_bytes(a, 400, "POST /eval", (const char *[]){"Accept: " NPY, NULL}, decoded, sizeof decoded - 1);
    ask_is_problem(a, "bad_request");
    free(data);
    buf_release(&body);
}

static void test_body_limit(void **state) {
    Ask *a = *state;
    char hash[80], path[120];
    static const float data[2000];
    Buf body;
    ask_start(a, (const char *[]){"--max-body", "4096", NULL});
    buf_init(&body);
    ask_compile(a, "{'source': 'λx:R[2]. x'}", hash);
    put_safetensors(&body, "{'args.0':{'dtype':'F32','shape':[480,2],'data_offsets':[0,3840]}}", data, 3840);
    assert_true(body.len <= 4096);
    post(a, 200, "/eval", hash, "", SAFETENSORS, "application/json", &body);
    put_safetensors(&body, "{'args.0':{'dtype':'F32','shape':[1000,2],'data_offsets':[0,8000]}}", data, 8000);
    post(a, 413, "/eval", hash, "", SAFETENSORS, "application/json", &body);
    ask_is_problem(a, "body_too_large");
    ask_body_has(a, "4096");
    /* a body whose length is not told is refused when it has become too long */
    snprintf(path, sizeof path, "POST /eval?program=%s", hash);
    ask_bytes(a, 413, path, (const char *[]){"Content-Type: " SAFETENSORS, "Transfer-Encoding: chunked", NULL}, body.data, body.len);
    ask_is_problem(a, "body_too_large");
    buf_release(&body);
    ask_stop(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_safetensors),
        cmocka_unit_test(test_derivatives),
        cmocka_unit_test(test_dtypes),
        cmocka_unit_test(test_discrete),
        cmocka_unit_test(test_npy),
        cmocka_unit_test(test_negotiation),
        cmocka_unit_test(test_malformed_safetensors),
        cmocka_unit_test(test_malformed_npy),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_large_answer),
        cmocka_unit_test_setup_teardown(test_body_limit, ask_setup_empty, ask_teardown),
        cmocka_unit_test(ask_ends_well),
    };
    return cmocka_run_group_tests(tests, ask_setup, ask_teardown);
}
