/* Properties of linking, on random networks in random programs: the gradients of a training step are what differences of the loss say, and what
 * a worker computes of that step, in whichever way, is what the naive evaluator does. */
#include "tests/support/gen_spec.h"
#include "tests/support/planned.h"
#include "tests/support/trial.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

enum { SPECS = 60 };

typedef struct {
    Trial trial;
    Graph *step; /* the training step's; freed with the Planned that gets it */
    char *spec;
} Subject;

static void make_subject(Subject *s, Rng *r, bool smooth) {
    Buf text;
    buf_init(&text);
    gen_spec(&text, r, smooth);
    s->spec = trial_quoted(buf_text(&text));
    buf_release(&text);
    if (!trial_link(&s->trial, s->spec, &trial_data, NULL)) fail_msg("%s: %s: %s", s->spec, s->trial.pointer, s->trial.cx.diag.message);
    CX_TRY(&s->trial.cx) s->step = link_train(&s->trial.cx, s->trial.linked, 1 + rng_below(r, 200));
    if (s->trial.cx.diag.code) fail_msg("%s: %s", s->spec, s->trial.cx.diag.message);
    planned_verify(s->step);
}

static void drop_subject(Subject *s) {
    trial_release(&s->trial);
    free(s->spec);
}

static double small_real(void *rng) { return rng_real(rng) / 2; }

static void test_plans(void **state) {
    (void)state;
    Rng r = rng_new("plans");
    uint32_t tried = 0;
    for (int n = 0; n < SPECS; n++) {
        Subject s;
        make_subject(&s, &r, false);
        Planned c = {.g = s.step, .rows = 1 + rng_below(&r, 20)};
        assert_true(c.g->nslots <= PLANNED_SLOTS && c.g->noutputs <= PLANNED_OUTPUTS);
        for (uint32_t i = 0; i < c.g->nslots; i++) c.batched[i] = c.g->slots[i].role == SLOT_COLUMN;
        planned_fill(&c, small_real, &r);
        if (planned_largest(&c) < 1e30)
            for (int k = 0; k < 4; k++, tried++) {
                PlannedWay way = planned_way(&r, c.rows);
                way.f64 = true;
                way.near64 = 1e-6; /* rounding grows with every iteration of a network */
                way.known = rng_below(&r, 2);
                planned_against_naive(&c, &way, s.spec);
            }
        planned_release(&c);
        drop_subject(&s);
    }
    assert_true(tried > SPECS);
}

/* The loss's slope along d, from its values at ±h. */
static double slope_along(Trial *m, double *const *d, double h) {
    double loss[2];
    for (int side = 0; side < 2; side++) {
        const double move = side ? -2 * h : h;
        for (uint32_t w = 0; w < m->linked->nweights; w++)
            for (size_t i = 0; i < m->linked->weights[w].size; i++) m->weights[w][i] += move * d[w][i];
        loss[side] = trial_loss(m);
    }
    for (uint32_t w = 0; w < m->linked->nweights; w++)
        for (size_t i = 0; i < m->linked->weights[w].size; i++) m->weights[w][i] += h * d[w][i];
    return (loss[0] - loss[1]) / (2 * h);
}

/* Σ gradient · d over all weights, d random, against slopes; where two of these differ, neither is nearer than that. Iterated networks may run
 * away: what is beyond 1e12 says nothing. */
static void test_gradients(void **state) {
    (void)state;
    Rng r = rng_new("gradients");
    uint32_t tried = 0;
    for (int n = 0; n < SPECS; n++) {
        Subject s;
        make_subject(&s, &r, true);
        Trial *m = &s.trial;
        trial_fill(m, rng_next(&r));
        const double h = 4e-6, cotangent = 1.0 / TRIAL_ROWS;
        NaiveOutput *out = trial_eval(m, s.step, &cotangent, NULL);
        double *d[TRIAL_MOST] = {0}, along = 0, scale = 0;
        for (uint32_t w = 0; w < m->linked->nweights; w++) {
            const size_t size = m->linked->weights[w].size;
            const NaiveOutput *gradient = &out[trial_output(s.step, OUT_GRAD_WEIGHT, w)];
            d[w] = malloc(size * sizeof(double));
            for (size_t i = 0; i < size; i++) {
                d[w][i] = rng_real(&r);
                along += d[w][i] * gradient->data[i];
                scale += fabs(d[w][i] * gradient->data[i]);
            }
        }
        const double far = slope_along(m, d, h), near = slope_along(m, d, h / 4), unsure = 2 * fabs(far - near);
        tried += unsure < 1e-3 * (1 + scale);
        if (scale < 1e12 && !(fabs(along - near) <= 1e-5 * (1 + scale) + unsure)) fail_msg("The gradient says %.9g, the loss %.9g: %s", along, near, s.spec);
        for (uint32_t w = 0; w < m->linked->nweights; w++) free(d[w]);
        trial_outputs_release(out, s.step);
        graph_free(s.step);
        drop_subject(&s);
    }
    assert_true(tried > SPECS / 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_plans), cmocka_unit_test(test_gradients)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
