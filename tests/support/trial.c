#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "compiler/passes/rewrite.h"
#include "compiler/language/syntax.h"
#include "compiler/training/spec_read.h"
#include "tests/support/trial.h"
#include <math.h>
#include <string.h>

static const LinkColumn small[] = {COLUMN("image", DT_U8, 6, 6), COLUMN("label", DT_F32, 6, 6), NUMBER("digit", DT_U8),
                                   NUMBER("odd", DT_I64),
                                   COLUMN("three", DT_F64, 3), COLUMN("other", DT_F32, 3), NUMBER("number",
                                                                                          DT_F32), COLUMN("channels", DT_F32, 2, 5, 4)};
const LinkData trial_data = {small, sizeof small / sizeof *small, 1000};

char *trial_quoted(const char *text) {
    char *made = strdup(text);
    assert_non_null(made);
    for (char *c = made; *c; c++)
        if (*c == '\'') *c = '"';
    return made;
}

static void link_in(Cx *cx, Trial *m, const LinkData *train, const LinkData *test) {
    Program *p = program_new(cx, NAT_DEFAULT);
    if (m->spec.context) syntax_json_context(cx, p, &m->spec.json, m->spec.context);
    syntax_text(cx, p, m->spec.source, strlen(m->spec.source));
    m->linked = link_run(cx, &m->spec, p, check_program(cx, p), train, test, m->pointer);
    rewrite_give(cx, m->linked->forward);
}

bool trial_link(Trial *m, const char *text, const LinkData *train, const LinkData *test) {
    Err err = {0};
    *m = (Trial){0};
    if (!spec_read(&m->spec, text, strlen(text), &err)) fail_msg("%s: %s", err.pointer, err.message);
    cx_init(&m->cx);
    CX_TRY(&m->cx) link_in(&m->cx, m, train, test);
    return m->cx.diag.code == ERR_NONE;
}

void trial_verify(const Graph *g) {
    char why[200];
    if (!graph_verify(g, why, sizeof why)) fail_msg("%s", why);
}

static double *random_numbers(Rng *r, size_t n) {
    double *made = malloc(n * sizeof *made);
    assert_non_null(made);
    for (size_t i = 0; i < n; i++) made[i] = rng_real(r);
    return made;
}

void trial_fill(Trial *m, uint64_t seed) {
    Rng r = {.seed = seed};
    const Linked *l = m->linked;
    assert_true(l->nslots <= TRIAL_MOST && l->nweights <= TRIAL_MOST);
    for (uint32_t i = 0; i < l->nslots; i++) {
        m->columns[i] = random_numbers(&r, TRIAL_ROWS * l->slots[i].size);
        for (uint32_t row = 0; l->slots[i].discrete && row < TRIAL_ROWS; row++) {
            double *at = m->columns[i] + row * l->slots[i].size;
            memset(at, 0, l->slots[i].size * sizeof *at);
            at[rng_below(&r, (uint32_t)l->slots[i].size)] = 1;
        }
    }
    for (uint32_t j = 0; j < l->nweights; j++) m->weights[j] = random_numbers(&r, l->weights[j].size);
}

void trial_make(Trial *m, const char *spec) {
    char *text = trial_quoted(spec);
    if (!trial_link(m, text, &trial_data, &trial_data)) fail_msg("%s: %s", m->pointer, m->cx.diag.message);
    free(text);
    trial_verify(m->linked->forward);
    trial_fill(m, 12345);
}

void trial_release(Trial *m) {
    if (m->linked) graph_free(m->linked->forward);
    for (int i = 0; i < TRIAL_MOST; i++) free(m->columns[i]), free(m->weights[i]);
    spec_release(&m->spec);
    cx_release(&m->cx);
}

uint32_t trial_slot(const Trial *m, const char *name) {
    for (uint32_t i = 0; i < m->linked->nslots; i++)
        if (!strcmp(m->linked->slots[i].name, name)) return i;
    fail_msg("no column %s", name);
    return 0;
}

uint32_t trial_weight(const Trial *m, const char *name) {
    for (uint32_t i = 0; i < m->linked->nweights; i++)
        if (!strcmp(m->linked->weights[i].name, name)) return i;
    fail_msg("no weight %s", name);
    return 0;
}

NaiveOutput *trial_eval(const Trial *m, const Graph *g, const double *cotangent, double *const *inputs) {
    NaiveInput *in = calloc(g->nslots + 1, sizeof *in);
    NaiveOutput *out = calloc(g->noutputs + 1, sizeof *out);
    assert_true(in && out);
    for (uint32_t i = 0; i < g->nslots; i++) {
        const Slot *s = &g->slots[i];
        if (s->role == SLOT_COLUMN) in[i] = (NaiveInput){m->columns[s->index], true};
        if (s->role == SLOT_WEIGHT) in[i] = (NaiveInput){m->weights[s->index], false};
        if (s->role == SLOT_INPUT) in[i] = (NaiveInput){inputs[s->index], true};
        if (s->role == SLOT_COTANGENT || s->role == SLOT_TANGENT_INPUT) in[i] = (NaiveInput){cotangent, false};
    }
    assert_true(naive_eval(g, TRIAL_ROWS, in, out));
    free(in);
    return out;
}

void trial_outputs_release(NaiveOutput *out, const Graph *g) {
    naive_release(out, g->noutputs);
    free(out);
}

uint32_t trial_output(const Graph *g, OutRole role, uint32_t index) {
    for (uint32_t i = 0; i < g->noutputs; i++)
        if (g->outputs[i].role == role && g->outputs[i].index == index) return i;
    fail_msg("no such output");
    return 0;
}

void trial_close(double got, double want, double tolerance, const char *what) {
    if (!(fabs(got - want) <= tolerance * (1 + fabs(want)))) fail_msg("%s: %.12g instead of %.12g", what, got, want);
}

double trial_loss(const Trial *m) {
    NaiveOutput *out = trial_eval(m, m->linked->forward, NULL, NULL);
    const NaiveOutput *loss = &out[trial_output(m->linked->forward, OUT_LOSS, 0)];
    double sum = 0;
    assert_int_equal(loss->size, 1);
    for (int r = 0; r < TRIAL_ROWS; r++) sum += loss->data[loss->batched ? r : 0];
    trial_outputs_release(out, m->linked->forward);
    return sum / TRIAL_ROWS;
}
