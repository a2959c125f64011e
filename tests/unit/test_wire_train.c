/* The frames of runs: what put writes, get reads; everything else is refused. */
#include "schema/protocol/wire_train.h"
#include "tests/support/graphs.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#define TEXT(s) (const unsigned char *)(s), sizeof(s) - 1
#define AREA 5 /* a get only looks whether there is a descriptor */

static Frame frame_of(FrameType type, const Buf *b, int area) { return (Frame){.type = type, .body = b->data, .len = b->len, .area = area}; }

static void release_nothing(void *m) { (void)m; }
#define linked_msg_release release_nothing
#define train_msg_release release_nothing

/* Is the message taken? If so: put again it gives the same bytes, and every shorter frame, one too long, one of another type and one with a
 * descriptor more or less are refused. */
#define TAKEN(name, Msg) \
    static bool name##_taken(const Msg *message, int area, bool either) { \
        Buf first, again; \
        Msg got; \
        buf_init(&first); \
        buf_init(&again); \
        wire_put_##name(&first, message); \
        Frame frame = frame_of(FRAME_##name, &first, area); \
        const bool ok = wire_get_##name(&frame, &got); \
        if (ok) { \
            wire_put_##name(&again, &got); \
            assert_int_equal(first.len, again.len); \
            assert_memory_equal(first.data, again.data, first.len); \
            name##_msg_release(&got); \
            for (frame.len = 0; frame.len < first.len; frame.len++) assert_false(wire_get_##name(&frame, &got)); \
            frame.area = area < 0 ? AREA : -1; \
            assert_int_equal(wire_get_##name(&frame, &got), either); \
            if (either) name##_msg_release(&got); \
            buf_u8(&first, 0); \
            frame = frame_of(FRAME_##name, &first, area); \
            assert_false(wire_get_##name(&frame, &got)); \
            frame.len--; \
            frame.type = FRAME_ping; \
            assert_false(wire_get_##name(&frame, &got)); \
        } \
        buf_release(&first); \
        buf_release(&again); \
        return ok; \
    }
TAKEN(link, LinkMsg)
TAKEN(linked, LinkedMsg)
TAKEN(data, DataMsg)
TAKEN(train, TrainMsg)
TAKEN(progress, ProgressMsg)

/* Refuses `m` with the change, which is taken back. */
#define REFUSED(name, Msg, m, area, change) \
    do { \
        const Msg kept_ = m; \
        ColumnMsg columns_[2] = {columns[0], columns[1]}; \
        change; \
        assert_false(name##_taken(&m, area, false)); \
        m = kept_; \
        memcpy(columns, columns_, sizeof columns); \
    } while (0)

static void test_link(void **state) {
    (void)state;
    ColumnMsg columns[2] = {{TEXT("x"), DT_U8, 2, {28, 28}, 16}, {TEXT("target"), DT_I64, 0, {0}, 99}};
    LinkMsg m = {LINK_CHECK, TEXT("CJLP"), TEXT("{}"), 65536, 60000, 10000, 2, 1, columns, columns, 0, DERIVE_NONE, false, NULL, 0};
    assert_true(link_taken(&m, -1, false));
    assert_int_equal(column_elements(&columns[0]), 784);
    assert_int_equal(column_elements(&columns[1]), 1);
    REFUSED(link, LinkMsg, m, -1, m.want = LINK_SERVE);
    REFUSED(link, LinkMsg, m, AREA, m.area_size = 8);
    REFUSED(link, LinkMsg, m, -1, m.want = 2);
    REFUSED(link, LinkMsg, m, -1, m.derive = DERIVE_LOWERED);
    REFUSED(link, LinkMsg, m, -1, columns[0].name_len = 0);
    REFUSED(link, LinkMsg, m, -1, columns[1].name = (const unsigned char *)"tar\0et");
    REFUSED(link, LinkMsg, m, -1, columns[0].dtype = DT_COUNT);
    REFUSED(link, LinkMsg, m, -1, columns[0].dims[1] = 0);
    REFUSED(link, LinkMsg, m, -1, columns[0].dims[1] = LIMIT_SPACE);
    REFUSED(link, LinkMsg, m, -1, columns[0].dims[0] = UINT64_MAX);
    REFUSED(link, LinkMsg, m, -1, m.train_rows = UINT64_MAX);
    m.want = LINK_SERVE;
    m.area_size = 4096;
    m.derive = DERIVE_VJP;
    m.stored = true;
    m.outputs = (const unsigned char *)"count\0even";
    m.outputs_len = 11;
    assert_true(link_taken(&m, AREA, false));
    REFUSED(link, LinkMsg, m, AREA, m.outputs_len = 10);
    REFUSED(link, LinkMsg, m, AREA, m.area_size = LIMIT_JOB_BYTES + 1);
}

static void test_too_many(void **state) {
    (void)state;
    static ColumnMsg columns[LIMIT_COLUMNS + 1];
    static PointMsg points[WIRE_PROGRESS_VALUES + 1];
    for (int i = 0; i <= LIMIT_COLUMNS; i++) columns[i] = (ColumnMsg){TEXT("c"), DT_F32, 1, {1}, 0};
    for (int i = 0; i <= WIRE_PROGRESS_VALUES; i++) points[i] = (PointMsg){TEXT("k"), 1, 1};
    for (int more = 0; more < 2; more++) {
        Buf b;
        Frame f;
        DataMsg data;
        ProgressMsg progress;
        buf_init(&b);
        wire_put_data(&b, &(DataMsg){DATA_TEST, TEXT("t"), 4, 100, (uint32_t)(LIMIT_COLUMNS + more), columns});
        f = frame_of(FRAME_data, &b, AREA);
        assert_int_equal(wire_get_data(&f, &data), !more);
        if (!more) data_msg_release(&data);
        buf_clear(&b);
        wire_put_progress(&b, &(ProgressMsg){.kind = PROGRESS_POINTS, .npoints = (uint32_t)(WIRE_PROGRESS_VALUES + more), .points = points});
        f = frame_of(FRAME_progress, &b, -1);
        assert_int_equal(wire_get_progress(&f, &progress), !more);
        if (!more) progress_msg_release(&progress);
        buf_release(&b);
    }
}

static void test_linked(void **state) {
    (void)state;
    LinkedMsg m = {.code = ERR_bad_run, .at_kind = 1, .other_kind = 2, .at_index = 3, .other_index = 4, .message = (const unsigned char *)"no",
                   .message_len = 2, .hint = (const unsigned char *)"do", .hint_len = 2, .pointer = (const unsigned char *)"/bind/f", .pointer_len = 7};
    assert_true(linked_taken(&m, -1, true));
    m.code = ERR_COUNT;
    assert_false(linked_taken(&m, -1, true));
    m = (LinkedMsg){.info = (const unsigned char *)"{}", .info_len = 2, .graph = (const unsigned char *)"CJGR", .graph_len = 4,
                    .types = (const unsigned char *)"t", .types_len = 1, .ninputs = 7, .macs = 1e9};
    assert_true(linked_taken(&m, -1, true));
}

static void test_data(void **state) {
    (void)state;
    ColumnMsg columns[2] = {{TEXT("x"), DT_F32, 2, {3, 5}, 7}, {TEXT("n"), DT_I64, 0, {0}, 7 + 4 * 60}};
    DataMsg m = {DATA_TRAIN, TEXT("mnist"), 4, 7 + 4 * 60 + 8 * 4, 2, columns};
    assert_true(data_taken(&m, AREA, false));
    REFUSED(data, DataMsg, m, AREA, m.bytes--);
    REFUSED(data, DataMsg, m, AREA, m.rows++);
    REFUSED(data, DataMsg, m, AREA, columns[1].offset = m.bytes + 1);
    REFUSED(data, DataMsg, m, AREA, columns[1].offset = INT64_MAX);
    REFUSED(data, DataMsg, m, AREA, m.rows = LIMIT_NUMERAL);
    REFUSED(data, DataMsg, m, AREA, m.kind = DATA_WEIGHTS);
    REFUSED(data, DataMsg, m, AREA, m.kind = DATA_WEIGHTS + 1);
    m = (DataMsg){DATA_WEIGHTS, TEXT("8c1"), 0, 100, 0, NULL};
    assert_true(data_taken(&m, AREA, false));
    REFUSED(data, DataMsg, m, AREA, m.bytes = 0);
}

static void test_train(void **state) {
    (void)state;
    TrainMsg m = {.program = (const unsigned char *)"CJLP", .program_len = 4, .spec = (const unsigned char *)"{}", .spec_len = 2, .nat_limit = 9};
    assert_true(train_taken(&m, -1, false));
    m.area_size = 100;
    assert_true(train_taken(&m, AREA, false));
    m.area_size = LIMIT_JOB_BYTES + 1;
    assert_false(train_taken(&m, AREA, false));
}

static void test_news(void **state) {
    (void)state;
    PointMsg points[] = {{TEXT("train.loss"), 1, 0.25}, {TEXT("lr"), 2, -1e300}};
    ProgressMsg m = {.kind = PROGRESS_POINTS, .step = 2, .steps = 9, .epoch = 0.5, .npoints = 2, .points = points};
    assert_true(progress_taken(&m, -1, false));
    m = (ProgressMsg){.kind = PROGRESS_CHECKPOINT, .step = 2, .area_size = 64};
    assert_true(progress_taken(&m, AREA, false));
    m.kind = PROGRESS_LOG;
    assert_false(progress_taken(&m, AREA, false));
    m = (ProgressMsg){.kind = PROGRESS_END, .text = (const unsigned char *)"over", .text_len = 4, .code = ERR_bad_run, .stopped = true};
    assert_true(progress_taken(&m, -1, false));
    m.kind++;
    assert_false(progress_taken(&m, -1, false));
}

/* Whatever arrives: refused, or within its limits. */
static void test_random(void **state) {
    (void)state;
    Rng r = rng_new("wire_train");
    unsigned char bytes[160];
    for (int round = 0; round < 200000; round++) {
        Frame f = {.body = bytes, .len = rng_below(&r, sizeof bytes), .area = rng_below(&r, 2) ? AREA : -1};
        for (size_t i = 0; i < f.len; i++) bytes[i] = rng_below(&r, 4) ? 0 : (unsigned char)rng_below(&r, 6);
        LinkMsg link;
        DataMsg data;
        ProgressMsg progress;
        f.type = FRAME_link;
        if (wire_get_link(&f, &link)) link_msg_release(&link);
        f.type = FRAME_progress;
        if (wire_get_progress(&f, &progress)) progress_msg_release(&progress);
        f.type = FRAME_data;
        if (!wire_get_data(&f, &data)) continue;
        for (uint32_t i = 0; i < data.ncolumns; i++) assert_true(data.columns[i].offset <= data.bytes && data.columns[i].name_len);
        data_msg_release(&data);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_link),  cmocka_unit_test(test_too_many), cmocka_unit_test(test_linked), cmocka_unit_test(test_data),
        cmocka_unit_test(test_train), cmocka_unit_test(test_news),     cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
