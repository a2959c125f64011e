/* Data sets on their way in: IDX and gzip read, drafts written as the one stored form, and that shown as JSON. */
#include "schema/formats/idx.h"
#include "schema/formats/safetensors.h"
#include "server/data/draft.h"
#include "server/data/inflate.h"
#include "tests/support/graphs.h"
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <cmocka.h>

static const atomic_bool go_on = false;

/* ---- IDX ---- */

static void put_be(Buf *out, uint64_t v, size_t width) {
    for (size_t i = width; i--;) buf_u8(out, (uint8_t)(v >> 8 * i));
}

static void put_idx_header(Buf *out, uint8_t type, const uint32_t *shape, uint8_t rank) {
    buf_init(out);
    put_be(out, (uint64_t)type << 8 | rank, 4);
    for (uint8_t i = 0; i < rank; i++) put_be(out, shape[i], 4);
}

static void test_idx_converts_every_type(void **state) {
    (void)state;
    static const struct {
        uint8_t type, width;
        DType dtype;
        uint64_t in[2], out[2];
    } cases[] = {
        {0x08, 1, DT_U8, {0, 255}, {0, 255}},
        {0x09, 1, DT_I64, {127, 0x80}, {127, (uint64_t)-128}},
        {0x0B, 2, DT_I64, {0x0102, 0xFFFE}, {0x0102, (uint64_t)-2}},
        {0x0C, 4, DT_I64, {0x01020304, 0x80000000}, {0x01020304, (uint64_t)INT32_MIN}},
        {0x0D, 4, DT_F32, {0x3F800000, 0xC0490FDB}, {0x3F800000, 0xC0490FDB}},
        {0x0E, 8, DT_F64, {0x3FF0000000000000, 0xC00921FB54442D18}, {0x3FF0000000000000, 0xC00921FB54442D18}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Buf in;
        Bulk idx;
        Err err = {0};
        unsigned char out[16];
        put_idx_header(&in, cases[i].type, (const uint32_t[]){2}, 1);
        for (int k = 0; k < 2; k++) put_be(&in, cases[i].in[k], cases[i].width);
        assert_true(idx_is(in.data, in.len));
        assert_true(idx_read(in.data, in.len, &idx, &err));
        assert_int_equal(idx.items->dtype, cases[i].dtype);
        assert_int_equal(idx.items->rank, 1);
        assert_int_equal(idx.items->count, 2);
        assert_int_equal(idx.items->offset, 8);
        bulk_convert(idx.items, in.data + idx.items->offset, 0, 2, out);
        size_t size = dtype_size(idx.items->dtype);
        for (int k = 0; k < 2; k++)
            for (size_t b = 0; b < size; b++) assert_int_equal(out[(size_t)k * size + b], cases[i].out[k] >> 8 * b & 255);
        bulk_release(&idx);
        buf_release(&in);
    }
}

static void test_idx_is_held_against_its_length(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        const char *why;
    } cases[] = {
        {"\0\0\x08", 3, "begin"},
        {"\0\1\x08\1\0\0\0\1x", 9, "begin"},
        {"\0\0\x0a\1\0\0\0\1x", 9, "element type"},
        {"\0\0\x08\2\0\0\0\1", 8, "extents"},
        {"\0\0\x08\x13\0\0\0\1x", 9, "18 axes"},
        {"\0\0\x08\1\0\0\0\2x", 9, "length"},
        {"\0\0\x08\1\0\0\0\1xy", 10, "length"},
        {"\0\0\x0c\1\0\0\0\1xyz", 11, "length"},
        {"\0\0\x08\3\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 16, "overflows"},
        {"\0\0\x0e\2\xff\xff\xff\xff\xff\xff\xff\xff", 12, "overflows"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Bulk idx;
        Err err = {0};
        assert_false(idx_read((const unsigned char *)cases[i].bytes, cases[i].len, &idx, &err));
        assert_int_equal(err.code, ERR_bad_tensor);
        if (!strstr(err.message, cases[i].why)) fail_msg("case %zu: %s", i, err.message);
    }
}

/* ---- gzip ---- */

static void put_gzip(Buf *out, const void *bytes, size_t len) {
    z_stream z = {0};
    unsigned char room[70000];
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (unsigned char *)bytes;
    z.avail_in = (uInt)len;
    int code;
    do {
        z.next_out = room;
        z.avail_out = sizeof room;
        code = deflate(&z, Z_FINISH);
        buf_put(out, room, sizeof room - z.avail_out);
    } while (code == Z_OK || code == Z_BUF_ERROR);
    assert_int_equal(code, Z_STREAM_END);
    deflateEnd(&z);
}

static ErrCode collect(void *arg, const void *bytes, size_t len) {
    buf_put(arg, bytes, len);
    return ERR_NONE;
}

static ErrCode refuse(void *arg, const void *bytes, size_t len) {
    (void)bytes;
    *(size_t *)arg += len;
    return ERR_storage_full;
}

static void test_gunzip(void **state) {
    (void)state;
    enum { LEN = 600000 };
    Rng r = rng_new("test_gunzip");
    Buf in = {0}, out = {0};
    unsigned char *bytes = malloc(LEN);
    assert_non_null(bytes);
    for (size_t i = 0; i < LEN; i++) bytes[i] = (unsigned char)(rng_below(&r, 4) * (i % 7));
    put_gzip(&in, bytes, LEN - 1000);
    size_t first = in.len;
    put_gzip(&in, bytes + LEN - 1000, 1000);
    assert_true(inflate_is_gzip(in.data, in.len));
    assert_int_equal(inflate_gzip(in.data, in.len, LEN, collect, &out), ERR_NONE);
    assert_int_equal(out.len, LEN);
    assert_memory_equal(out.data, bytes, LEN);

    buf_clear(&out);
    assert_int_equal(inflate_gzip(in.data, in.len, LEN - 1, collect, &out), ERR_body_too_large);
    assert_true(out.len < LEN);
    size_t refused = 0;
    assert_int_equal(inflate_gzip(in.data, in.len, LEN, refuse, &refused), ERR_storage_full);
    assert_in_range(refused, 1, LEN - 1); /* asked once */
    /* cut off anywhere but between the members */
    for (size_t i = 0; i < 40; i++) {
        size_t len = i < 20 ? i : in.len - 1 - rng_below(&r, (uint32_t)in.len - 20);
        if (len == first) continue;
        buf_clear(&out);
        assert_int_equal(inflate_gzip(in.data, len, LEN, collect, &out), ERR_bad_tensor);
    }
    /* filled up with zeros, and with something else behind those */
    size_t whole = in.len;
    for (int i = 0; i < 1000; i++) buf_u8(&in, 0);
    buf_clear(&out);
    assert_int_equal(inflate_gzip(in.data, in.len, LEN, collect, &out), ERR_NONE);
    assert_int_equal(out.len, LEN);
    assert_int_equal(inflate_gzip(in.data + whole, 1000, LEN, collect, &out), ERR_bad_tensor);
    buf_u8(&in, 1);
    assert_int_equal(inflate_gzip(in.data, in.len, LEN, collect, &out), ERR_bad_tensor);
    in.len = whole;
    buf_puts(&in, "behind it");
    assert_int_equal(inflate_gzip(in.data, in.len, LEN, collect, &out), ERR_bad_tensor);
    in.data[first / 2] ^= 0x55;
    buf_clear(&out);
    assert_int_equal(inflate_gzip(in.data, first, LEN, collect, &out), ERR_bad_tensor);
    buf_release(&in);
    buf_release(&out);
    free(bytes);
}

/* ---- drafts ---- */

/* Four rows: u8 x [2], i64 label, f32 f. */
static const unsigned char x_idx[] = {0, 0, 8, 2, 0, 0, 0, 4, 0, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 255};
static const unsigned char label_idx[] = {0, 0, 9, 1, 0, 0, 0, 4, 9, 8, 7, 0xff};

static int open_temporary(void) {
    char path[] = "/tmp/cajal-draft-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    return fd;
}

/* The body, with what it is added to, as a stored file. */
static void store(const unsigned char *body, size_t len, const char *column, const Dataset *base, Dataset *out) {
    Draft draft;
    Err err = {0};
    int fd = open_temporary();
    char sha256[DATASET_SHA + 1];
    bool ok = draft_read(&draft, body, len, column, &err) && (!base || draft_add(&draft, base, &err)) &&
              draft_write(&draft, fd, &go_on, sha256, &err) && dataset_read(fd, out, &err);
    if (!ok) fail_msg("%s", err.message);
    strcpy(out->sha256, sha256);
    draft_release(&draft);
}

static void put_both(Buf *out) {
    static const unsigned char data[] = {1, 2, 3, 4, 5, 6, 7, 255, 9, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0,
                                         7, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255};
    BulkTensor tensors[] = {{.name = "x", .dtype = DT_BOOL, .rank = 2, .shape = {4, 2}, .bytes = 8},
                            {.name = "label", .dtype = DT_I64, .rank = 1, .shape = {4}, .bytes = 32}};
    buf_init(out);
    safetensors_put_header(out, tensors, 2);
    buf_put(out, data, sizeof data);
}

static void test_the_way_in_leaves_no_trace(void **state) {
    (void)state;
    Dataset x = {.fd = -1}, both = {.fd = -1}, label = {.fd = -1}, again = {.fd = -1}, direct = {.fd = -1};
    Buf body;
    store(x_idx, sizeof x_idx, "x", NULL, &x);
    store(label_idx, sizeof label_idx, "label", &x, &both);
    store(label_idx, sizeof label_idx, "label", NULL, &label);
    store(x_idx, sizeof x_idx, "x", &label, &again);
    put_both(&body);
    store(body.data, body.len, NULL, NULL, &direct);
    assert_string_equal(both.sha256, again.sha256);
    assert_string_equal(both.sha256, direct.sha256);
    assert_string_not_equal(both.sha256, x.sha256);
    assert_int_equal(both.rows, 4);
    assert_int_equal(both.ncolumns, 2);
    assert_string_equal(both.columns[0].name, "label"); /* the larger elements first */
    assert_int_equal(both.columns[0].offset % 8, 0);
    assert_int_equal(both.columns[1].dtype, DT_U8);
    assert_int_equal(both.columns[1].offset, both.columns[0].offset + 32);
    assert_int_equal(both.bytes, both.columns[1].offset + 8);
    /* A column put again takes the old one's place. */
    Dataset replaced = {.fd = -1};
    store(x_idx, sizeof x_idx, "label", &both, &replaced);
    assert_int_equal(replaced.ncolumns, 2);
    assert_int_equal(replaced.columns[0].rank, 1);
    Dataset *all[] = {&x, &both, &label, &again, &direct, &replaced};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) dataset_release(all[i]);
    buf_release(&body);
}

static void rows_are(const Dataset *d, uint64_t from, uint64_t count, const char *json) {
    Buf out = {0};
    assert_true(dataset_put_rows(&out, d, from, count));
    assert_string_equal(buf_text(&out), json);
    buf_release(&out);
}

static void test_rows(void **state) {
    (void)state;
    static const unsigned char deep[] = {0, 0, 8, 4, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8};
    static const unsigned char reals[] = {0, 0, 13, 1, 0, 0, 0, 3, 0x3f, 0x80, 0, 0, 0x7f, 0xc0, 0, 0, 0xff, 0x80, 0, 0};
    Dataset x = {.fd = -1}, both = {.fd = -1}, d = {.fd = -1};
    store(x_idx, sizeof x_idx, "x", NULL, &x);
    store(label_idx, sizeof label_idx, "label", &x, &both);
    rows_are(&both, 0, 2, "{\"from\":0,\"count\":2,\"columns\":{\"label\":[9,8],\"x\":[[1,2],[3,4]]}}");
    rows_are(&both, 3, 10, "{\"from\":3,\"count\":1,\"columns\":{\"label\":[-1],\"x\":[[7,255]]}}");
    rows_are(&both, 9, 1, "{\"from\":4,\"count\":0,\"columns\":{\"label\":[],\"x\":[]}}");
    store(deep, sizeof deep, "d", NULL, &d);
    rows_are(&d, 0, 2, "{\"from\":0,\"count\":2,\"columns\":{\"d\":[[[[1,2]],[[3,4]]],[[[5,6]],[[7,8]]]]}}");
    dataset_release(&d);
    store(reals, sizeof reals, "r", NULL, &d);
    rows_are(&d, 0, 3, "{\"from\":0,\"count\":3,\"columns\":{\"r\":[1,\"NaN\",\"-Infinity\"]}}");
    dataset_release(&d);
    dataset_release(&both);
    dataset_release(&x);
}

/* More elements than one read takes. */
static void test_long_rows(void **state) {
    (void)state;
    enum { ROWS = 300, COLS = 501 };
    Buf body, out = {0};
    Dataset d = {.fd = -1};
    put_idx_header(&body, 0x0B, (const uint32_t[]){ROWS, COLS}, 2);
    for (unsigned i = 0; i < ROWS * COLS; i++) put_be(&body, i & 0x7fff, 2);
    store(body.data, body.len, "n", NULL, &d);
    assert_true(dataset_put_rows(&out, &d, 1, ROWS));
    char *at = (char *)strchr(buf_text(&out), '[') + 1;
    for (unsigned i = COLS; i < ROWS * COLS; i++) {
        at += strspn(at, "[],");
        assert_int_equal(strtoul(at, &at, 10), i & 0x7fff);
    }
    assert_string_equal(at, "]]}}");
    buf_release(&out);
    buf_release(&body);
    dataset_release(&d);
}

/* ---- refusals ---- */

typedef struct {
    const char *name;
    DType dtype;
    size_t rank, shape[12];
} Shape;

static void put_tensors(Buf *out, const Shape *shapes, size_t n) {
    static const unsigned char data[64];
    BulkTensor tensors[4] = {0};
    size_t total = 0;
    for (size_t i = 0; i < n; i++) {
        size_t bytes = dtype_size(shapes[i].dtype);
        for (size_t k = 0; k < shapes[i].rank; k++) bytes *= shapes[i].shape[k];
        tensors[i] = (BulkTensor){.name = (char *)shapes[i].name, .dtype = shapes[i].dtype, .rank = shapes[i].rank, .bytes = bytes};
        memcpy(tensors[i].shape, shapes[i].shape, sizeof shapes[i].shape);
        total += bytes;
    }
    buf_init(out);
    safetensors_put_header(out, tensors, n);
    buf_put(out, data, total);
}

static void refused(const void *body, size_t len, const char *column, ErrCode code, const char *why) {
    Draft draft;
    Err err = {0};
    assert_false(draft_read(&draft, body, len, column, &err));
    if (err.code != code || !strstr(err.message, why)) fail_msg("%s: %s instead of %s: %s", err_name(err.code), err.message, err_name(code), why);
    draft_release(&draft);
}

static void test_refused(void **state) {
    (void)state;
    static const struct {
        Shape shapes[2];
        size_t n;
        const char *why;
    } cases[] = {
        {{{"x", DT_F32, 0, {0}}}, 1, "axis of rows"},
        {{{"x", DT_F32, 10, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1}}}, 1, "at most 8"},
        {{{"x", DT_F32, 1, {0}}}, 1, "empty"},
        {{{"x", DT_F32, 2, {3, 0}}}, 1, "empty"},
        {{{"x y", DT_F32, 1, {1}}}, 1, "no column's name"},
        {{{"", DT_F32, 1, {1}}}, 1, "no column's name"},
        {{{"x", DT_F32, 1, {1}}, {"y", DT_U8, 1, {2}}}, 2, "The column y has 2 rows, the column x has 1"},
        {{{NULL, DT_F32, 0, {0}}}, 0, "no column"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Buf body;
        put_tensors(&body, cases[i].shapes, cases[i].n);
        refused(body.data, body.len, NULL, ERR_bad_tensor, cases[i].why);
        buf_release(&body);
    }
    Buf body;
    put_tensors(&body, (const Shape[]){{"x", DT_U8, 1, {1}}}, 1);
    refused(body.data, body.len, "x", ERR_bad_request, "neither");
    buf_release(&body);
    refused(x_idx, sizeof x_idx, NULL, ERR_bad_request, "?column=");
    refused("\x93NUMPY", 6, NULL, ERR_bad_request, "?column=");
    refused("\x93NUMPY", 6, "x", ERR_bad_tensor, "npy");
    refused("", 0, NULL, ERR_bad_tensor, "safetensors");
    refused("hello, world", 12, NULL, ERR_bad_tensor, "This is a text; send safetensors, npy, npz or IDX.");
    refused("\x89HDF\r\n\x1a\n", 8, "x", ERR_bad_tensor, "This is an HDF5 file; send safetensors, npy, npz or IDX.");
}

static void test_rows_must_agree_with_the_base(void **state) {
    (void)state;
    static const unsigned char three[] = {0, 0, 8, 1, 0, 0, 0, 3, 1, 2, 3};
    Dataset x = {.fd = -1}, alone = {.fd = -1};
    Draft draft;
    Err err = {0};
    store(x_idx, sizeof x_idx, "x", NULL, &x);
    assert_true(draft_read(&draft, three, sizeof three, "label", &err));
    assert_false(draft_add(&draft, &x, &err));
    assert_int_equal(err.code, ERR_shape_mismatch);
    draft_release(&draft);
    store(three, sizeof three, "x", &x, &alone); /* nothing else is left to agree with */
    assert_int_equal(alone.rows, 3);
    dataset_release(&alone);
    dataset_release(&x);
}

static void test_a_write_can_be_stopped_and_can_fail(void **state) {
    (void)state;
    static const atomic_bool stop = true;
    Draft draft;
    Err err = {0};
    char sha256[DATASET_SHA + 1];
    int fd = open_temporary();
    assert_true(draft_read(&draft, x_idx, sizeof x_idx, "x", &err));
    assert_false(draft_write(&draft, fd, &stop, sha256, &err));
    assert_int_equal(err.code, ERR_internal);
    err = (Err){0};
    close(fd);
    FILE *full = fopen("/dev/full", "w");
    assert_non_null(full);
    assert_false(draft_write(&draft, fileno(full), &go_on, sha256, &err));
    assert_int_equal(err.code, ERR_storage_full);
    fclose(full);
    draft_release(&draft);
}

/* The header takes no bytes to make; what stands behind it is not looked at. */
static void test_size_is_limited(void **state) {
    (void)state;
    Draft draft = {.base = -1, .rows = (uint64_t)1 << 40};
    Err err = {0};
    char sha256[DATASET_SHA + 1];
    int fd = open_temporary();
    for (size_t bytes = 1; bytes; bytes = bytes == 1 ? (size_t)1 << 62 : 0) { /* the second overflows */
        draft.columns = calloc(1, sizeof *draft.columns);
        draft.columns[draft.n++] = (DraftColumn){.column = {.name = strdup("x"), .dtype = DT_U8, .count = bytes, .bytes = bytes}};
        draft.rows = (uint64_t)1 << 40;
        err = (Err){0};
        assert_false(draft_write(&draft, fd, &go_on, sha256, &err));
        assert_int_equal(err.code, ERR_too_large);
        draft_release(&draft);
    }
    assert_int_equal(lseek(fd, 0, SEEK_END), 0);
    close(fd);
}

static void test_damaged_files(void **state) {
    (void)state;
    Buf body;
    Dataset d;
    Err err = {0};
    put_both(&body);
    for (size_t cut = 0; cut < body.len; cut += cut < 8 ? 1 : 7) {
        int fd = open_temporary();
        assert_int_equal(write(fd, body.data, cut), (ssize_t)cut);
        err = (Err){0};
        assert_false(dataset_read(fd, &d, &err));
        assert_int_equal(err.code, ERR_damaged);
        assert_non_null(strstr(err.message, "damaged"));
        close(fd);
    }
    int fd = open_temporary();
    assert_int_equal(write(fd, "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10), 10);
    err = (Err){0};
    assert_false(dataset_read(fd, &d, &err));
    close(fd);
    buf_release(&body);
}

static void test_names(void **state) {
    (void)state;
    char longest[DATASET_NAME + 2];
    memset(longest, 'a', sizeof longest);
    longest[DATASET_NAME] = 0;
    assert_true(dataset_name_ok(longest));
    longest[DATASET_NAME] = 'a';
    longest[DATASET_NAME + 1] = 0;
    assert_false(dataset_name_ok(longest));
    assert_true(dataset_name_ok("mnist-train_2.x"));
    const char *const bad[] = {"", "a b", "a/b", "ä", "a\n", "a%", ".", ".."};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(dataset_name_ok(bad[i]));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_idx_converts_every_type),
        cmocka_unit_test(test_idx_is_held_against_its_length),
        cmocka_unit_test(test_gunzip),
        cmocka_unit_test(test_the_way_in_leaves_no_trace),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_long_rows),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_rows_must_agree_with_the_base),
        cmocka_unit_test(test_a_write_can_be_stopped_and_can_fail),
        cmocka_unit_test(test_size_is_limited),
        cmocka_unit_test(test_damaged_files),
        cmocka_unit_test(test_names),
    };
    if (sodium_init() < 0) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
