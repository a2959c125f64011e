/* Linking: programs and networks become one graph. Values against references written out here, gradients against finite differences (all in
 * double precision by the naive evaluator), the seven experiments, and the trained model as a program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/support/trial.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define EXPERIMENTS "client/experiments/specs/"
#define REST "'data': {'train': 'a', 'test': 'b'}, 'optimizer': 'adam', 'batch_size': 3, 'steps': 10"

/* ---- gradients ---- */

static Graph *train_graph(Trial *m, uint64_t batch) {
    Graph *volatile g = NULL;
    CX_TRY(&m->cx) g = link_train(&m->cx, m->linked, batch);
    if (m->cx.diag.code) fail_msg("%s", m->cx.diag.message);
    trial_verify(g);
    return g;
}

/* Central differences in some elements of a weight. */
static void check_weight(Trial *m, uint32_t weight, const double *gradient) {
    enum { TRIED = 12 };
    const size_t n = m->linked->weights[weight].size, stride = n > TRIED ? n / TRIED : 1;
    const double h = 1e-5;
    for (size_t i = 0; i < n; i += stride) {
        double *w = &m->weights[weight][i], before = *w;
        *w = before + h;
        const double above = trial_loss(m);
        *w = before - h;
        const double below = trial_loss(m);
        *w = before;
        trial_close(gradient[i], (above - below) / (2 * h), 2e-6, m->linked->weights[weight].name);
    }
}

static void check_gradients(Trial *m, uint64_t batch) {
    Graph *g = train_graph(m, batch);
    const double cotangent = 1.0 / TRIAL_ROWS;
    NaiveOutput *out = trial_eval(m, g, &cotangent, NULL);
    uint32_t given = 0, trained = 0;
    double moved = 0;
    assert_int_equal(g->outputs[0].role, OUT_LOSS);
    assert_int_equal(g->outputs[1].role, OUT_VALUE);
    for (uint32_t i = 0; i < m->linked->nweights; i++) trained += m->linked->weights[i].train;
    for (uint32_t i = 2; i < g->noutputs; i++) {
        assert_int_equal(g->outputs[i].role, OUT_GRAD_WEIGHT);
        assert_true(m->linked->weights[g->outputs[i].index].train && !out[i].batched);
        check_weight(m, g->outputs[i].index, out[i].data);
        for (size_t k = 0; k < out[i].size; k++) moved += fabs(out[i].data[k]);
        given++;
    }
    assert_int_equal(given, trained);
    assert_true(moved > 1e-3);
    trial_outputs_release(out, g);
    graph_free(g);
}

static bool has_op(const Graph *g, Op op) {
    for (uint32_t i = 0; i < g->nnodes; i++)
        if (g->nodes[i].op == op) return true;
    return false;
}


/* The direct model, small: a kernel computed from the image, applied as often as a network counts. */
static const char direct[] =
    "{'program': {'source': 'iter {base | y -> dilate y} (count)',"
    "             'context': {'base': '!R[6,6]', 'dilate': '!(!R[6,6] -o R[6,6])', 'count': 'N[4]'}},"
    " 'nets': {'counter': {'layers': [{'reshape': [1, 6, 6]}, {'conv2d': {'out': 2, 'kernel': 3, 'pad': 1}}, 'relu', {'max_pool2d': {'kernel': 2}},"
    "                                 'flatten', {'linear': {'out': 4}}]},"
    "          'dilator': {'inputs': ['y'], 'let': ["
    "              ['w', {'layers': [{'reshape': [1, 6, 6]}, {'conv2d': {'out': 2, 'kernel': 3, 'stride': 2}}, 'relu', 'flatten',"
    "                                {'linear': {'out': 9}}, 'tanh', {'reshape': [1, 3, 3]}], 'of': 'y'}],"
    "              ['z', {'conv2d_by': {'pad': 1, 'pad_value': -1}, 'of': ['y', 'w']}]], 'out': 'z'}},"
    " 'bind': {'base': {'column': 'image'}, 'count': {'net': 'counter', 'of': ['image']}, 'dilate': {'net': 'dilator'}},"
    " 'loss': {'l1': {'target': 'label'}}, " REST "}";

static void test_direct(void **state) {
    (void)state;
    Trial m;
    trial_make(&m, direct);
    assert_int_equal(m.linked->nweights, 8);
    assert_string_equal(m.linked->weights[0].name, "nets.counter.1.bias");
    assert_string_equal(m.linked->weights[7].name, "nets.dilator.w.4.weight");
    assert_true(has_op(m.linked->forward, OP_iter));
    check_gradients(&m, TRIAL_ROWS);
    trial_release(&m);
}

/* With room for a batch the copies of the step are kept; without, the iteration runs again backwards: the same gradients. */
static void test_unrolled_or_not(void **state) {
    (void)state;
    Trial m;
    trial_make(&m, direct);
    Graph *kept = train_graph(&m, TRIAL_ROWS), *again = train_graph(&m, (uint64_t)1 << 40);
    assert_false(has_op(kept, OP_iter) || has_op(kept, OP_iter_vjp));
    assert_true(has_op(again, OP_iter_vjp));
    const double one = 1;
    NaiveOutput *a = trial_eval(&m, kept, &one, NULL), *b = trial_eval(&m, again, &one, NULL);
    assert_int_equal(kept->noutputs, again->noutputs);
    for (uint32_t i = 0; i < kept->noutputs; i++)
        for (size_t k = 0; k < a[i].size; k++) trial_close(b[i].data[k], a[i].data[k], 1e-11, "gradient");
    trial_outputs_release(a, kept);
    trial_outputs_release(b, again);
    graph_free(kept);
    graph_free(again);
    trial_release(&m);
}

/* Weights reach a step within a step; a network of two inputs, one of them from outside the steps. */
static void test_nested(void **state) {
    (void)state;
    Trial m;
    trial_make(&m, "{'program': {'source': 'iter {a | y -> iter {y | z -> f z b} (n)} (n)',"
                   "             'context': {'a': '!R[3]', 'b': '!R[1,2,2]', 'n': '!N[3]', 'f': '!(!R[3] -o !R[1,2,2] -o R[3])'}},"
                   " 'nets': {'k': {'layers': [{'linear': {'out': 4}}, {'reshape': [1, 2, 2]}]},"
                   "          'f': {'inputs': ['z', 'b'], 'let': [['s', {'layers': [{'linear': {'out': 12}}, 'tanh', {'reshape': [3, 4]}], 'of': 'z'}],"
                   "                                              ['c', {'conv2d_by': {'pad': [1, 0]}, 'of': ['s', 'b']}],"
                   "                                              ['o', {'layers': ['flatten', {'linear': {'out': 3}}, 'tanh'], 'of': 'c'}]], 'out': 'o'}},"
                   " 'bind': {'a': {'column': 'three'}, 'b': {'net': 'k', 'of': ['other']}, 'n': {'column': 'digit'}, 'f': {'net': 'f'}},"
                   " 'loss': {'mse': {'target': 'other'}}, " REST "}");
    check_gradients(&m, TRIAL_ROWS);
    check_gradients(&m, (uint64_t)1 << 40);
    trial_release(&m);
}

static void test_typed(void **state) {
    (void)state;
    Trial m;
    trial_make(&m, "{'program': {'source': 'post (f even count base)', 'context': {'base': '!R[3]', 'count': '!N[4]', 'even': '!2',"
                   "             'f': '!(2 -o N[4] -o R[3] -o R[3])', 'post': '!(!R[3] -o R[3])'}},"
                   " 'nets': {'n': {'layers': [{'linear': {'out': 4, 'bias': false}}]}, 'p': {'layers': [{'linear': {'out': 5}}, 'sigmoid', {'linear': {'out': 2}}, 'softmax']},"
                   "          'b': {'layers': ['bias', {'bias': {'fan_in': 9}}]}},"
                   " 'bind': {'base': {'column': 'three'}, 'count': {'net': 'n', 'of': ['three']}, 'even': {'net': 'p', 'of': ['base']},"
                   "          'f': {'weights': {}}, 'post': {'net': 'b'}},"
                   " 'loss': {'mse': {'target': 'other'}}, " REST "}");
    const LinkWeight *f = &m.linked->weights[trial_weight(&m, "bind.f")], *bias = &m.linked->weights[trial_weight(&m, "nets.b.0.bias")],
                     *p = &m.linked->weights[trial_weight(&m, "nets.p.0.bias")];
    assert_true(f->rank == 2 && f->dims[0] == 4 * 3 * 3 && f->dims[1] == 2 && f->init == INIT_KAIMING);
    trial_close(f->bound, 1 / sqrt(2 * 4 * 3), 1e-15, "fan-in");
    trial_close(p->bound, 1 / sqrt(3), 1e-15, "fan-in of a bias");
    assert_int_equal(bias->init, INIT_ZEROS);
    bias = &m.linked->weights[trial_weight(&m, "nets.b.1.bias")];
    assert_int_equal(bias->init, INIT_KAIMING);
    trial_close(bias->bound, 1. / 3, 1e-15, "fan-in that is given");
    check_gradients(&m, TRIAL_ROWS);
    trial_release(&m);
}

static void test_indirect(void **state) {
    (void)state;
    Trial m;
    trial_make(&m, "{'program': {'source': 'model image', 'context': {'image': '!R[6,6]', 'model': '!(!R[6,6] -o R[6,6])'}},"
                   " 'nets': {'i': {'layers': [{'reshape': [1, 6, 6]}, {'pad2d': {'pad': 1, 'value': -1}}, {'conv2d': {'out': 2, 'kernel': 3}}, {'leaky_relu': {'slope': 0.1}},"
                   "                           {'avg_pool2d': {'kernel': 3, 'stride': 1, 'pad': 1}}, {'softplus': {'beta': 2}}, {'hardtanh': {'max': 3}},"
                   "                           {'pad2d': {'pad': 1, 'value': -1}}, {'conv2d': {'out': 1, 'kernel': 3, 'bias': false}}, {'reshape': [6, 6]}]}},"
                   " 'bind': {'image': {'column': 'image'}, 'model': {'net': 'i'}}, 'loss': {'l1': {'target': 'label'}}, " REST "}");
    check_gradients(&m, TRIAL_ROWS);
    trial_release(&m);
}

/* One network bound twice, once frozen: the weights are there once, and get both gradients or none. */
static void test_sharing_and_freezing(void **state) {
    (void)state;
    static const char spec[] =
        "{'program': {'source': 'if odd then post a else b', 'context': {'odd': '2', 'a': '!R[3]', 'b': '!R[3]', 'post': '!(!R[3] -o R[3])'}},"
        " 'nets': {'n': {'layers': [{'linear': {'out': 3}}, 'tanh'], 'train': %s}, 'p': {'layers': ['bias'], 'weights': {'run': 'old', 'name': 'nets.q'}}},"
        " 'bind': {'odd': {'column': 'odd'}, 'a': {'net': 'n', 'of': ['three']}, 'b': {'net': 'n', 'of': ['other']}, 'post': {'net': 'p'}},"
        " 'loss': {'mse': {'target': 'three'}}, " REST "}";
    for (int frozen = 0; frozen < 2; frozen++) {
        char text[sizeof spec + 8];
        Trial m;
        snprintf(text, sizeof text, spec, frozen ? "false" : "true");
        trial_make(&m, text);
        assert_int_equal(m.linked->nweights, 3);
        const LinkWeight *p = &m.linked->weights[trial_weight(&m, "nets.p.0.bias")];
        assert_string_equal(p->from_run, "old");
        assert_string_equal(p->from_name, "nets.q.0.bias");
        assert_null(m.linked->weights[trial_weight(&m, "nets.n.0.weight")].from_run);
        assert_int_equal(m.linked->weights[trial_weight(&m, "nets.n.0.weight")].train, !frozen);
        check_gradients(&m, TRIAL_ROWS);
        trial_release(&m);
    }
}

/* ---- values ---- */

/* y [o,h2,w2] of x [c,h,w] by k [o,c,kh,kw], cross-correlation with zero padding. */
static void conv_reference(const double *x, const double *k, const double *bias, const int c, int h, int w, int o, int kh, int kw,
                           int stride, int pad, double *y) {
    const int h2 = (h + 2 * pad - kh) / stride + 1, w2 = (w + 2 * pad - kw) / stride + 1;
    for (int a = 0; a < o; a++)
        for (int i = 0; i < h2; i++)
            for (int j = 0; j < w2; j++) {
                double sum = bias[a];
                for (int b = 0; b < c; b++)
                    for (int u = 0; u < kh; u++)
                        for (int v = 0; v < kw; v++) {
                            const int at = i * stride + u - pad, on = j * stride + v - pad;
                            if (at >= 0 && at < h && on >= 0 && on < w) sum += x[(b * h + at) * w + on] * k[((a * c + b) * kh + u) * kw + v];
                        }
                y[(a * h2 + i) * w2 + j] = sum;
            }
}

/* conv2d [2,5,4] -> [3,3,2], max_pool2d -> [3,2,1], linear over the last axis -> [3,2,2], softmax, flatten, linear -> 3, loss by loss. */
static void test_layers_by_hand(void **state) {
    (void)state;
    Trial m;
    trial_make(&m, "{'program': {'source': 'v', 'context': {'v': 'R[3]'}},"
                   " 'nets': {'n': {'layers': [{'conv2d': {'out': 3, 'kernel': 3, 'stride': 2, 'pad': 1}}, 'relu', {'max_pool2d': {'kernel': 2, 'stride': 1}},"
                   "                           {'linear': {'out': 2}}, 'softmax', 'flatten', {'linear': {'out': 3, 'bias': false}}]}},"
                   " 'bind': {'v': {'net': 'n', 'of': ['channels']}}, 'loss': {'mse': {'target': 'three'}}, " REST "}");
    NaiveOutput *out = trial_eval(&m, m.linked->forward, NULL, NULL);
    const double *k = m.weights[trial_weight(&m, "nets.n.0.weight")], *b = m.weights[trial_weight(&m, "nets.n.0.bias")],
                 *l = m.weights[trial_weight(&m, "nets.n.3.weight")], *lb = m.weights[trial_weight(&m, "nets.n.3.bias")],
                 *f = m.weights[trial_weight(&m, "nets.n.6.weight")];
    for (int r = 0; r < TRIAL_ROWS; r++) {
        double y[3][3][2], pooled[3][2], soft[12], error = 0;
        conv_reference(m.columns[trial_slot(&m, "channels")] + r * 40, k, b, 2, 5, 4, 3, 3, 3, 2, 1, &y[0][0][0]);
        for (int c = 0; c < 3; c++)
            for (int i = 0; i < 2; i++) {
                pooled[c][i] = 0; /* relu */
                for (int a = 0; a < 2; a++)
                    for (int d = 0; d < 2; d++) pooled[c][i] = fmax(pooled[c][i], y[c][i + a][d]);
                const double e0 = exp(l[0] * pooled[c][i] + lb[0]), e1 = exp(l[1] * pooled[c][i] + lb[1]);
                soft[(c * 2 + i) * 2] = e0 / (e0 + e1);
                soft[(c * 2 + i) * 2 + 1] = e1 / (e0 + e1);
            }
        for (int o = 0; o < 3; o++) {
            double sum = 0;
            for (int i = 0; i < 12; i++) sum += f[o * 12 + i] * soft[i];
            trial_close(out[trial_output(m.linked->forward, OUT_VALUE, 0)].data[r * 3 + o], sum, 1e-12, "value");
            trial_close(out[trial_output(m.linked->forward, OUT_BOUND, 0)].data[r * 3 + o], sum, 1e-12, "bound");
            error += pow(sum - m.columns[trial_slot(&m, "three")][r * 3 + o], 2) / 3;
        }
        trial_close(out[trial_output(m.linked->forward, OUT_LOSS, 0)].data[r], error, 1e-12, "loss");
    }
    trial_outputs_release(out, m.linked->forward);
    trial_release(&m);
}

/* The recurrence, written out: y = Σ nᵢ·sᵢ, sᵢ₊₁ = sᵢ convolved by a kernel of its own, padded with -1. */
static void test_direct_by_hand(void **state) {
    (void)state;
    Trial m;
    trial_make(&m, "{'program': {'source': 'iter {base | y -> dilate y} (count)',"
                   "             'context': {'base': '!R[6,6]', 'dilate': '!(!R[6,6] -o R[6,6])', 'count': 'N[3]'}},"
                   " 'nets': {'d': {'inputs': ['y'], 'let': [['w', {'layers': ['flatten', {'linear': {'out': 9}}, {'reshape': [1, 1, 3, 3]}], 'of': 'y'}],"
                   "                                         ['z', {'conv2d_by': {'pad': 1, 'pad_value': -1}, 'of': ['y', 'w']}]], 'out': 'z'}},"
                   " 'bind': {'base': {'column': 'image'}, 'count': {'column': 'digit'}, 'dilate': {'net': 'd'}}, 'loss': {'l1': {'target': 'label'}}, " REST "}");
    const double *w = m.weights[trial_weight(&m, "nets.d.w.1.weight")], *b = m.weights[trial_weight(&m, "nets.d.w.1.bias")], none = 0;
    NaiveOutput *out = trial_eval(&m, m.linked->forward, NULL, NULL);
    for (int r = 0; r < TRIAL_ROWS; r++) {
        const double *count = m.columns[trial_slot(&m, "digit")] + r * 3;
        double s[36], y[36] = {0}, kernel[9], padded[64];
        memcpy(s, m.columns[trial_slot(&m, "image")] + r * 36, sizeof s);
        for (int i = 0; i < 3; i++) {
            for (int e = 0; e < 36; e++) y[e] += count[i] * s[e];
            for (int o = 0; o < 9; o++) {
                kernel[o] = b[o];
                for (int e = 0; e < 36; e++) kernel[o] += w[o * 36 + e] * s[e];
            }
            for (int e = 0; e < 64; e++) padded[e] = e / 8 % 7 && e % 8 % 7 ? s[(e / 8 - 1) * 6 + e % 8 - 1] : -1;
            conv_reference(padded, kernel, &none, 1, 8, 8, 1, 3, 3, 1, 0, s);
        }
        for (int e = 0; e < 36; e++) trial_close(out[0].data[r * 36 + e], y[e], 1e-12, "state");
    }
    trial_outputs_release(out, m.linked->forward);
    trial_release(&m);
}

typedef struct {
    const char *layer, *loss, *target;
    double (*reference)(const double *v, const double *t); /* three of each */
} Lossy;

static double l1(const double *v, const double *t) { return (fabs(v[0] - t[0]) + fabs(v[1] - t[1]) + fabs(v[2] - t[2])) / 3; }
static double entropy(const double *v, const double *t) {
    const double all = log(exp(v[0]) + exp(v[1]) + exp(v[2]));
    return -(t[0] * (v[0] - all) + t[1] * (v[1] - all) + t[2] * (v[2] - all));
}
static double nll(const double *v, const double *t) { return -(t[0] * v[0] + t[1] * v[1] + t[2] * v[2]); }
static double bce(const double *v, const double *t) {
    double sum = 0;
    for (int i = 0; i < 3; i++) sum -= t[i] * log(v[i]) + (1 - t[i]) * log(1 - v[i]);
    return sum / 3;
}

static void test_losses(void **state) {
    (void)state;
    static const Lossy losses[] = {{"tanh", "l1", "other", l1},          {"tanh", "cross_entropy", "digit", entropy},
                                   {"tanh", "cross_entropy", "other", entropy},
                                   {"log_softmax", "nll", "digit", nll}, {"sigmoid", "bce", "other", bce}};
    for (size_t i = 0; i < sizeof losses / sizeof *losses; i++) {
        char spec[800];
        Trial m;
        snprintf(spec, sizeof spec,
                 "{'program': {'source': 'v', 'context': {'v': 'R[3]'}}, 'nets': {'n': {'layers': [{'linear': {'out': 3}}, '%s']}},"
                 " 'bind': {'v': {'net': 'n', 'of': 'three'}}, 'loss': {'%s': {'target': '%s'}}, " REST "}", losses[i].layer, losses[i].loss, losses[i].target);
        trial_make(&m, spec);
        assert_int_equal(m.linked->slots[m.linked->target].discrete, !strcmp(losses[i].target, "digit"));
        assert_false(m.linked->slots[m.linked->target].needed);
        NaiveOutput *out = trial_eval(&m, m.linked->forward, NULL, NULL);
        for (int r = 0; r < TRIAL_ROWS; r++)
            trial_close(out[1].data[r], losses[i].reference(out[0].data + r * 3, m.columns[m.linked->target] + r * 3), 1e-12,
                        losses[i].loss);
        trial_outputs_release(out, m.linked->forward);
        check_gradients(&m, TRIAL_ROWS);
        trial_release(&m);
    }
}

static void test_constants(void **state) {
    (void)state;
    Trial m;
    trial_make(&m,
               "{'program': {'source': 'if yes then (iter {a | y -> f y} (n)) else b', 'context': {'yes': '2', 'n': '!N[5]', 'a': '!R[3]', 'b': '!R[3]', 'f': '!(R[3] -o R[3])'}},"
                   " 'bind': {'yes': {'constant': true}, 'n': {'constant': 2}, 'a': {'constant': [1, 2, 3]}, 'b': {'column': 'other'}, 'f': {'weights': {'init': 'ones'}}},"
                   " 'loss': {'l1': {'target': 'three'}}, " REST "}");
    for (int i = 0; i < 9; i++) m.weights[0][i] = i == 0 || i == 4 || i == 8 ? 2 : 0;
    NaiveOutput *out = trial_eval(&m, m.linked->forward, NULL, NULL);
    for (int i = 0; i < 3; i++) trial_close(out[0].data[i], 4 * (i + 1), 1e-12, "value");
    trial_outputs_release(out, m.linked->forward);
    check_gradients(&m, TRIAL_ROWS);
    trial_release(&m);
}

/* ---- the trained model as a program ---- */

static Graph *serve_graph(Trial *m, const LinkServe *serve) {
    Graph *volatile g = NULL;
    CX_TRY(&m->cx) g = link_serve(&m->cx, m->linked, serve);
    if (m->cx.diag.code) fail_msg("%s", m->cx.diag.message);
    trial_verify(g);
    return g;
}

static void test_serve(void **state) {
    (void)state;
    Trial m;
    char *text = trial_quoted(direct), *scaled = strstr(text, "\"test\": \"b\"");
    assert_non_null(scaled);
    char *spec = malloc(strlen(text) + 100);
    assert_non_null(spec);
    sprintf(spec, "%.*s\"columns\": {\"image\": {\"scale\": 0.25, \"shift\": -1}}%s", (int)(scaled - text), text,
            scaled + strlen("\"test\": \"b\""));
    assert_true(trial_link(&m, spec, &trial_data, NULL));
    trial_fill(&m, 99);
    const uint32_t image = trial_slot(&m, "image");
    bool wanted[3] = {false, true, false}; /* base, count, dilate */
    double stored[TRIAL_ROWS * 36];
    for (int i = 0; i < TRIAL_ROWS * 36; i++) stored[i] = (m.columns[image][i] + 1) / 0.25;
    Graph *plain = serve_graph(&m, &(LinkServe){.weights = (const double *const *)m.weights}),
          *of_stored = serve_graph(&m, &(LinkServe){.weights = (const double *const *)m.weights, .stored = true, .wanted = wanted});
    assert_int_equal(plain->nslots, 1);
    assert_int_equal(plain->slots[0].role, SLOT_INPUT);
    assert_int_equal(plain->noutputs, 1);
    assert_int_equal(of_stored->noutputs, 2);
    assert_int_equal(of_stored->outputs[1].role, OUT_BOUND);
    assert_int_equal(of_stored->outputs[1].index, 1);
    NaiveOutput *want = trial_eval(&m, m.linked->forward, NULL, NULL), *a = trial_eval(&m, plain, NULL, &m.columns[image]),
                *b = trial_eval(&m, of_stored, NULL, (double *[]){stored});
    const NaiveOutput *count = &want[trial_output(m.linked->forward, OUT_BOUND, 1)];
    for (int i = 0; i < TRIAL_ROWS * 36; i++) trial_close(a[0].data[i], want[0].data[i], 1e-9, "plain"), trial_close(b[0].data[i],
                                                                                          want[0].data[i], 1e-9, "stored");
    for (int i = 0; i < TRIAL_ROWS * 4; i++) trial_close(b[1].data[i], count->data[i], 1e-9, "count");
    trial_outputs_release(want, m.linked->forward);
    trial_outputs_release(a, plain);
    trial_outputs_release(b, of_stored);
    graph_free(plain);
    graph_free(of_stored);
    free(text);
    free(spec);
    trial_release(&m);
}

/* The VJP with respect to the inputs against finite differences; the JVP against the VJP. */
static void test_serve_derived(void **state) {
    (void)state;
    Trial m;
    trial_make(&m, direct);
    const LinkServe serve = {.weights = (const double *const *)m.weights};
    LinkServe vjp = serve, jvp = serve;
    vjp.derive = DERIVE_VJP;
    jvp.derive = DERIVE_JVP;
    Graph *value = serve_graph(&m, &serve), *back = serve_graph(&m, &vjp), *along = serve_graph(&m, &jvp);
    double *x = m.columns[trial_slot(&m, "image")], cotangent[36];
    for (int i = 0; i < 36; i++) cotangent[i] = sin(i);
    NaiveOutput *g = trial_eval(&m, back, cotangent, &x);
    assert_int_equal(back->outputs[1].role, OUT_GRAD_INPUT);
    for (int i = 0; i < TRIAL_ROWS * 36; i += 7) {
        const double before = x[i], h = 1e-5;
        double slope = 0;
        for (int side = -1; side <= 1; side += 2) {
            x[i] = before + side * h;
            NaiveOutput *v = trial_eval(&m, value, NULL, &x);
            for (int k = 0; k < 36; k++) slope += side * cotangent[k] * v[0].data[i / 36 * 36 + k] / (2 * h);
            trial_outputs_release(v, value);
        }
        x[i] = before;
        trial_close(g[1].data[i], slope, 2e-6, "gradient");
    }
    NaiveOutput *t = trial_eval(&m, along, cotangent, &x);
    assert_int_equal(along->outputs[1].role, OUT_TANGENT);
    for (int r = 0; r < TRIAL_ROWS; r++) {
        double there = 0, again = 0;
        for (int i = 0; i < 36; i++) there += cotangent[i] * t[1].data[r * 36 + i], again += cotangent[i] * g[1].data[r * 36 + i];
        trial_close(there, again, 1e-10, "tangent");
    }
    trial_outputs_release(t, along);
    trial_outputs_release(g, back);
    graph_free(value);
    graph_free(back);
    graph_free(along);
    trial_release(&m);
}

/* ---- the experiments ---- */

static const LinkColumn mnist[] = {COLUMN("x", DT_U8, 28, 28), COLUMN("y", DT_F32, 28, 28), NUMBER("label", DT_U8)};
static const LinkData mnist_data = {mnist, 3, 60000};

static char *read_text(const char *path) {
    FILE *in = fopen(path, "rb");
    char *text = calloc(1, 32768);
    assert_true(in && text);
    text[fread(text, 1, 32767, in)] = 0;
    fclose(in);
    return text;
}

static void test_experiments(void **state) {
    (void)state;
    static const struct { const char *name; uint32_t weights; } all[] = {
        {"iterate-d", 12}, {"iterate-t", 8}, {"iterate-t10", 8}, {"iterate-i", 6}, {"conditional-d", 16}, {"conditional-t10", 12}, {"conditional-i", 6}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char path[100];
        Trial m;
        snprintf(path, sizeof path, EXPERIMENTS "%s.json", all[i].name);
        char *text = read_text(path);
        if (!trial_link(&m, text, &mnist_data, &mnist_data)) fail_msg("%s: %s: %s", path, m.pointer, m.cx.diag.message);
        trial_verify(m.linked->forward);
        assert_int_equal(m.linked->nweights, all[i].weights);
        const clock_t before = clock();
        Graph *g = train_graph(&m, 128);
        assert_true(clock() - before < 5 * CLOCKS_PER_SEC); /* no pass is lost in a graph of this size */
        assert_false(has_op(g, OP_iter) || has_op(g, OP_iter_vjp) || has_op(g, OP_call));
        assert_int_equal(g->noutputs, 2 + m.linked->nweights);
        graph_free(g);
        free(text);
        trial_release(&m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_direct),         cmocka_unit_test(test_unrolled_or_not), cmocka_unit_test(test_nested), cmocka_unit_test(test_typed),
        cmocka_unit_test(test_indirect),       cmocka_unit_test(test_sharing_and_freezing), cmocka_unit_test(test_layers_by_hand),
        cmocka_unit_test(test_direct_by_hand), cmocka_unit_test(test_losses),          cmocka_unit_test(test_constants),
        cmocka_unit_test(test_serve),          cmocka_unit_test(test_serve_derived),   cmocka_unit_test(test_experiments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
