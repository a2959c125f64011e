/* Link jobs over the protocol: what a specification's check answers, and the graph that serves a trained model. */
#include "schema/formats/safetensors.h"
#include "compiler/language/canon.h"
#include "compiler/passes/naive.h"
#include "tests/support/trainer.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#define SOURCE "c : N[2], f : !(R[3] -o R[2]), x : R[3] |- iter {f x | y -> y} (c)"
#define SPEC_OF(more) \
    "{\"program\":{\"source\":\"" SOURCE "\"},\"nets\":{\"n\":{\"layers\":[{\"linear\":{\"out\":2}},\"softmax\"]}}," \
    "\"bind\":{\"f\":{\"weights\":{\"init\":\"normal\"}},\"x\":{\"column\":\"x\"},\"c\":{\"net\":\"n\",\"of\":[\"x\"]}}," \
    "\"data\":{\"train\":\"d\",\"columns\":{\"x\":{\"scale\":0.5,\"shift\":1}}},\"loss\":{\"mse\":{\"target\":\"y\"}},\"optimizer\":{\"sgd\":{}}," \
    "\"batch_size\":4,\"steps\":3" more "}"

static ColumnMsg columns[] = {{(const unsigned char *)"x", 1, DT_U8, 1, {3}, 0}, {(const unsigned char *)"y", 1, DT_F32, 1, {2}, 0}};

/* The answer; the frame stays until the next question. */
static LinkedMsg ask(Trainer *t, Frame *reply, LinkMsg m, const char *spec, int area) {
    Buf body;
    LinkedMsg linked;
    unsigned char *program = trainer_canonical(SOURCE, &m.program_len);
    buf_init(&body);
    m.program = program;
    m.spec = (const unsigned char *)spec;
    m.spec_len = strlen(spec);
    m.train = columns;
    m.ntrain = 2;
    if (!m.train_rows) m.train_rows = 8;
    wire_put_link(&body, &m);
    frame_release(reply);
    assert_int_equal(wire_send(t->sock, FRAME_link, ++t->id, &body, area), 0);
    assert_int_equal(wire_recv(t->sock, reply), 1);
    assert_true(reply->id == t->id && wire_get_linked(reply, &linked));
    free(program);
    buf_release(&body);
    return linked;
}

static void assert_says(const unsigned char *text, size_t len, const char *want) {
    if (!memmem(text, len, want, strlen(want))) fail_msg("\"%.*s\" lacks \"%s\"", (int)len, (const char *)text, want);
}

static void test_check(void **state) {
    (void)state;
    Trainer t;
    Frame reply = {.area = -1};
    trainer_start(&t, 1);
    LinkedMsg m = ask(&t, &reply, (LinkMsg){0}, SPEC_OF(""), -1);
    if (m.code) fail_msg("%.*s", (int)m.message_len, (const char *)m.message);
    assert_says(m.info, m.info_len, "{\"output\":{\"type\":\"R[2]\",\"shape\":[2]}");
    assert_says(m.info, m.info_len, "\"columns\":[{\"name\":\"x\",\"type\":\"R[3]\",\"shape\":[3],\"needed\":true},"
                                    "{\"name\":\"y\",\"type\":\"R[2]\",\"shape\":[2],\"needed\":false}]");
    assert_says(m.info, m.info_len, "{\"name\":\"bind.f\",\"shape\":[2,3],\"train\":true},{\"name\":\"nets.n.0.bias\",\"shape\":[2],\"train\":true}");
    assert_says(m.info, m.info_len, "\"parameters\":14,");
    /* the specification alone, the specification against data, memory, the program */
    m = ask(&t, &reply, (LinkMsg){0}, SPEC_OF(",\"clip_norm\":-1"), -1);
    assert_int_equal(m.code, ERR_bad_run);
    assert_says(m.pointer, m.pointer_len, "/clip_norm");
    m = ask(&t, &reply, (LinkMsg){.train_rows = 3}, SPEC_OF(""), -1);
    assert_int_equal(m.code, ERR_bad_run);
    assert_says(m.pointer, m.pointer_len, "/batch_size");
    columns[0].dims[0] = 4;
    m = ask(&t, &reply, (LinkMsg){0}, SPEC_OF(""), -1);
    assert_int_equal(m.code, ERR_shape_mismatch);
    assert_says(m.pointer, m.pointer_len, "/bind/x");
    columns[0].dims[0] = 3;
    m = ask(&t, &reply, (LinkMsg){.train_rows = 1 << 20}, SPEC_OF(",\"batch_size\":4"), -1);
    assert_true(m.code == ERR_bad_json); /* a key twice */
    m = ask(&t, &reply, (LinkMsg){0}, "{", -1);
    assert_true(m.code == ERR_bad_json && m.pointer_len == 0);
    frame_release(&reply);
    assert_int_equal(trainer_finish(&t), 0);
}

/* ---- serving ---- */

static const double wave[] = {9, 1, 4, 2, 8, 5, 7, 7, 3, 6, 0, 2};

static SeenCheckpoint train(Trainer *t, const char *spec) {
    TestSet set = {.rows = 4};
    Seen seen;
    set_column(&set, "x", DT_U8, (const uint64_t[]){3}, 1, wave);
    set_column(&set, "y", DT_F32, (const uint64_t[]){2}, 1, wave);
    trainer_data(t, DATA_TRAIN, &set);
    trainer_train(t, SOURCE, spec, NULL);
    trainer_watch(t, UINT64_MAX, &seen);
    assert_int_equal(seen.code, ERR_NONE);
    SeenCheckpoint last = *seen_last(&seen);
    seen.ncheckpoints--;
    seen_release(&seen);
    set_release(&set);
    return last;
}

static double weight(const SeenCheckpoint *c, const char *name, size_t i) {
    Bulk bulk;
    Err err = {0};
    double v = NAN;
    assert_true(safetensors_read(c->file, c->len, &bulk, &err));
    for (size_t k = 0; k < bulk.n; k++)
        if (!strcmp(bulk.items[k].name, name)) memcpy(&v, c->file + bulk.items[k].offset + i * sizeof v, sizeof v);
    bulk_release(&bulk);
    return v;
}

/* The program's value for a scaled x, from the checkpoint: c₀·f x + c₁·f x, and c = softmax(W x + b). */
static void by_hand(const SeenCheckpoint *c, const double x[3], double value[2], double count[2]) {
    for (size_t j = 0; j < 2; j++) {
        value[j] = 0;
        count[j] = weight(c, "nets.n.0.bias", j);
        for (size_t i = 0; i < 3; i++) {
            value[j] += weight(c, "bind.f", 3 * j + i) * x[i];
            count[j] += weight(c, "nets.n.0.weight", 3 * j + i) * x[i];
        }
    }
    const double a = exp(count[0]), b = exp(count[1]);
    count[0] = a / (a + b);
    count[1] = b / (a + b);
}

static void test_serve(void **state) {
    (void)state;
    Trainer t;
    Frame reply = {.area = -1};
    char why[200];
    const char *spec = SPEC_OF(",\"dtype\":\"f64\"");
    trainer_start(&t, 1);
    SeenCheckpoint last = train(&t, spec);
    const int fd = memfd_create("checkpoint", MFD_CLOEXEC);
    assert_int_equal(write(fd, last.file, last.len), last.len);
    for (int stored = 0; stored < 2; stored++) {
        LinkMsg m = {.want = LINK_SERVE, .area_size = last.len, .stored = stored, .outputs = (const unsigned char *)"c", .outputs_len = 2};
        LinkedMsg linked = ask(&t, &reply, m, spec, fd);
        if (linked.code) fail_msg("%.*s", (int)linked.message_len, (const char *)linked.message);
        assert_says(linked.info, linked.info_len, "{\"variables\":[{\"index\":0,\"name\":\"c\",\"type\":\"N[2]\",\"shape\":[2]}]}");
        assert_int_equal(linked.ninputs, 1);
        Graph *g = graph_read(linked.graph, linked.graph_len, why, sizeof why);
        if (!g) fail_msg("%s", why);
        assert_true(g->nslots == 1 && g->slots[0].role == SLOT_INPUT && g->noutputs == 2);
        const double raw[3] = {3, 1, 4};
        double x[3], value[2], count[2];
        NaiveOutput out[2];
        for (int i = 0; i < 3; i++) x[i] = raw[i] * 0.5 + 1;
        by_hand(&last, x, value, count);
        assert_true(naive_eval(g, 1, &(NaiveInput){stored ? raw : x, true}, out));
        for (int i = 0; i < 2; i++) assert_true(fabs(out[0].data[i] - value[i]) < 1e-12 && fabs(out[1].data[i] - count[i]) < 1e-12);
        naive_release(out, 2);
        graph_free(g);
    }
    Cx cx;
    cx_init(&cx);
    LinkedMsg linked = ask(&t, &reply, (LinkMsg){.want = LINK_SERVE, .area_size = last.len, .derive = DERIVE_VJP}, spec, fd);
    assert_int_equal(linked.code, ERR_NONE);
    CX_TRY(&cx) {
        Reader in = reader_of(linked.types, linked.types_len);
        const char *want[] = {"R[2]", "R[3]", "R[2]"};
        for (int i = 0; i < 3; i++) assert_string_equal(type_text(&cx, canon_get_type(&cx, &in)), want[i]);
        assert_true(reader_done(&in));
    }
    assert_int_equal(cx.diag.code, ERR_NONE);
    cx_release(&cx);
    linked = ask(&t, &reply, (LinkMsg){.want = LINK_SERVE, .area_size = last.len, .outputs = (const unsigned char *)"f\0", .outputs_len = 2}, spec, fd);
    assert_int_equal(linked.code, ERR_NONE); /* a matrix is a value as well */
    linked = ask(&t, &reply, (LinkMsg){.want = LINK_SERVE, .area_size = last.len, .outputs = (const unsigned char *)"q", .outputs_len = 2}, spec, fd);
    assert_int_equal(linked.code, ERR_unknown_input);
    linked = ask(&t, &reply, (LinkMsg){.want = LINK_SERVE, .area_size = last.len - 8}, spec, fd);
    assert_int_equal(linked.code, ERR_bad_run);
    linked = ask(&t, &reply, (LinkMsg){.want = LINK_SERVE, .area_size = last.len + 1}, spec, fd);
    assert_int_equal(linked.code, ERR_internal);
    close(fd);
    free(last.file);
    frame_release(&reply);
    assert_int_equal(trainer_finish(&t), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_check), cmocka_unit_test(test_serve)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
