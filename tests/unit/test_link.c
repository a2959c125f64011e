/* Linking: programs and networks become one graph. Values against references written out here, gradients against finite differences (all in
 * double precision by the naive evaluator), the six experiments, the trained model as a program, and every refusal with its place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "compiler/link.h"
#include "compiler/naive.h"
#include "compiler/rewrite.h"
#include "compiler/syntax.h"
#include "tests/support/graphs.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPERIMENTS "client/experiments/specs/"

/* ---- a linked run with random data and weights ---- */

enum { ROWS = 3, MOST = 64 };

typedef struct {
    Cx cx;
    Spec spec;
    Linked *linked;
    char pointer[LINK_POINTER];
    double *columns[MOST], *weights[MOST]; /* by slot; columns [ROWS, size], as the network sees them */
} Model;

#define COLUMN(name_, dtype_, ...) {.name = name_, .dtype = dtype_, .rank = sizeof((size_t[]){__VA_ARGS__}) / sizeof(size_t), .dims = {__VA_ARGS__}}
#define NUMBER(name_, dtype_) {.name = name_, .dtype = dtype_}
static const LinkColumn small[] = {COLUMN("image", DT_U8, 6, 6), COLUMN("label", DT_F32, 6, 6), NUMBER("digit", DT_U8), NUMBER("odd", DT_I64),
                                   COLUMN("three", DT_F64, 3), COLUMN("other", DT_F32, 3), NUMBER("number", DT_F32), COLUMN("channels", DT_F32, 2, 5, 4)};
static const LinkData small_data = {small, sizeof small / sizeof *small, 1000};
static const LinkColumn mnist[] = {COLUMN("x", DT_U8, 28, 28), COLUMN("y", DT_F32, 28, 28), NUMBER("label", DT_U8)};
static const LinkData mnist_data = {mnist, 3, 60000};

/* ' stands for ". */
static char *quoted(const char *text) {
    char *made = strdup(text);
    assert_non_null(made);
    for (char *c = made; *c; c++)
        if (*c == '\'') *c = '"';
    return made;
}

static void link_in(Cx *cx, Model *m, const LinkData *train, const LinkData *test) {
    Program *p = program_new(cx, NAT_DEFAULT);
    if (m->spec.context) syntax_json_context(cx, p, &m->spec.json, m->spec.context);
    syntax_text(cx, p, m->spec.source, strlen(m->spec.source));
    m->linked = link_run(cx, &m->spec, p, check_program(cx, p), train, test, m->pointer);
    rewrite_give(cx, m->linked->forward);
}

/* False: it was refused; m->cx.diag and m->pointer say why. */
static bool model_link(Model *m, const char *text, const LinkData *train, const LinkData *test) {
    Err err;
    *m = (Model){0};
    if (!spec_read(&m->spec, text, strlen(text), &err)) fail_msg("%s: %s", err.pointer, err.message);
    cx_init(&m->cx);
    CX_TRY(&m->cx) link_in(&m->cx, m, train, test);
    return m->cx.diag.code == ERR_NONE;
}

static void verify(const Graph *g) {
    char why[200];
    if (!graph_verify(g, why, sizeof why)) fail_msg("%s", why);
}

static double *random_numbers(Rand *r, size_t n) {
    double *made = malloc(n * sizeof *made);
    assert_non_null(made);
    for (size_t i = 0; i < n; i++) made[i] = t_real(r);
    return made;
}

static void model_fill(Model *m, uint64_t seed) {
    Rand r = {seed};
    const Linked *l = m->linked;
    assert_true(l->nslots <= MOST && l->nweights <= MOST);
    for (uint32_t i = 0; i < l->nslots; i++) {
        m->columns[i] = random_numbers(&r, ROWS * l->slots[i].size);
        for (uint32_t row = 0; l->slots[i].discrete && row < ROWS; row++) {
            double *at = m->columns[i] + row * l->slots[i].size;
            memset(at, 0, l->slots[i].size * sizeof *at);
            at[t_below(&r, (uint32_t)l->slots[i].size)] = 1;
        }
    }
    for (uint32_t j = 0; j < l->nweights; j++) m->weights[j] = random_numbers(&r, l->weights[j].size);
}

static void model_make(Model *m, const char *spec) {
    char *text = quoted(spec);
    if (!model_link(m, text, &small_data, &small_data)) fail_msg("%s: %s", m->pointer, m->cx.diag.message);
    free(text);
    verify(m->linked->forward);
    model_fill(m, 12345);
}

static void model_release(Model *m) {
    if (m->linked) graph_free(m->linked->forward);
    for (int i = 0; i < MOST; i++) free(m->columns[i]), free(m->weights[i]);
    spec_release(&m->spec);
    cx_release(&m->cx);
}

static uint32_t slot_of(const Model *m, const char *name) {
    for (uint32_t i = 0; i < m->linked->nslots; i++)
        if (!strcmp(m->linked->slots[i].name, name)) return i;
    fail_msg("no column %s", name);
    return 0;
}

static uint32_t weight_of(const Model *m, const char *name) {
    for (uint32_t i = 0; i < m->linked->nweights; i++)
        if (!strcmp(m->linked->weights[i].name, name)) return i;
    fail_msg("no weight %s", name);
    return 0;
}

/* `inputs`: of a served graph, by INPUT slot. */
static NaiveOutput *model_eval(const Model *m, const Graph *g, const double *cotangent, double *const *inputs) {
    NaiveInput *in = calloc(g->nslots + 1, sizeof *in);
    NaiveOutput *out = calloc(g->noutputs + 1, sizeof *out);
    assert_true(in && out);
    for (uint32_t i = 0; i < g->nslots; i++) {
        const Slot *s = &g->slots[i];
        if (s->role == SLOT_COLUMN) in[i] = (NaiveInput){m->columns[s->index], true};
        if (s->role == SLOT_WEIGHT) in[i] = (NaiveInput){m->weights[s->index], false};
        if (s->role == SLOT_INPUT) in[i] = (NaiveInput){inputs[s->index], true};
        if (s->role == SLOT_COTANGENT) in[i] = (NaiveInput){cotangent, false};
    }
    assert_true(naive_eval(g, ROWS, in, out));
    free(in);
    return out;
}

static void outputs_release(NaiveOutput *out, const Graph *g) {
    naive_release(out, g->noutputs);
    free(out);
}

static uint32_t output_of(const Graph *g, OutRole role, uint32_t index) {
    for (uint32_t i = 0; i < g->noutputs; i++)
        if (g->outputs[i].role == role && g->outputs[i].index == index) return i;
    fail_msg("no such output");
    return 0;
}

static void close_to(double got, double want, double tolerance, const char *what) {
    if (!(fabs(got - want) <= tolerance * (1 + fabs(want)))) fail_msg("%s: %.12g instead of %.12g", what, got, want);
}

/* The mean loss of the batch. */
static double mean_loss(const Model *m) {
    NaiveOutput *out = model_eval(m, m->linked->forward, NULL, NULL);
    const NaiveOutput *loss = &out[output_of(m->linked->forward, OUT_LOSS, 0)];
    double sum = 0;
    assert_int_equal(loss->size, 1);
    for (int r = 0; r < ROWS; r++) sum += loss->data[loss->batched ? r : 0];
    outputs_release(out, m->linked->forward);
    return sum / ROWS;
}

/* ---- gradients ---- */

static Graph *train_graph(Model *m, uint64_t batch) {
    Graph *volatile g = NULL;
    CX_TRY(&m->cx) g = link_train(&m->cx, m->linked, batch);
    if (m->cx.diag.code) fail_msg("%s", m->cx.diag.message);
    verify(g);
    return g;
}

/* Central differences in some elements of a weight. */
static void check_weight(Model *m, uint32_t weight, const double *gradient) {
    enum { TRIED = 12 };
    const size_t n = m->linked->weights[weight].size, stride = n > TRIED ? n / TRIED : 1;
    const double h = 1e-5;
    for (size_t i = 0; i < n; i += stride) {
        double *w = &m->weights[weight][i], before = *w;
        *w = before + h;
        const double above = mean_loss(m);
        *w = before - h;
        const double below = mean_loss(m);
        *w = before;
        close_to(gradient[i], (above - below) / (2 * h), 2e-6, m->linked->weights[weight].name);
    }
}

static void check_gradients(Model *m, uint64_t batch) {
    Graph *g = train_graph(m, batch);
    const double cotangent = 1.0 / ROWS;
    NaiveOutput *out = model_eval(m, g, &cotangent, NULL);
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
    outputs_release(out, g);
    graph_free(g);
}

static bool has_op(const Graph *g, Op op) {
    for (uint32_t i = 0; i < g->nnodes; i++)
        if (g->nodes[i].op == op) return true;
    return false;
}

#define REST "'data': {'train': 'a', 'test': 'b'}, 'optimizer': 'adam', 'batch_size': 3, 'steps': 10"

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
    Model m;
    model_make(&m, direct);
    assert_int_equal(m.linked->nweights, 8);
    assert_string_equal(m.linked->weights[0].name, "nets.counter.1.bias");
    assert_string_equal(m.linked->weights[7].name, "nets.dilator.w.4.weight");
    assert_true(has_op(m.linked->forward, OP_iter));
    check_gradients(&m, ROWS);
    model_release(&m);
}

/* With room for a batch the copies of the step are kept; without, the iteration runs again backwards: the same gradients. */
static void test_unrolled_or_not(void **state) {
    (void)state;
    Model m;
    model_make(&m, direct);
    Graph *kept = train_graph(&m, ROWS), *again = train_graph(&m, (uint64_t)1 << 40);
    assert_false(has_op(kept, OP_iter) || has_op(kept, OP_iter_vjp));
    assert_true(has_op(again, OP_iter_vjp));
    const double one = 1;
    NaiveOutput *a = model_eval(&m, kept, &one, NULL), *b = model_eval(&m, again, &one, NULL);
    assert_int_equal(kept->noutputs, again->noutputs);
    for (uint32_t i = 0; i < kept->noutputs; i++)
        for (size_t k = 0; k < a[i].size; k++) close_to(b[i].data[k], a[i].data[k], 1e-11, "gradient");
    outputs_release(a, kept);
    outputs_release(b, again);
    graph_free(kept);
    graph_free(again);
    model_release(&m);
}

static void test_typed(void **state) {
    (void)state;
    Model m;
    model_make(&m, "{'program': {'source': 'post (f even count base)', 'context': {'base': '!R[3]', 'count': '!N[4]', 'even': '!2',"
                   "             'f': '!(2 -o N[4] -o R[3] -o R[3])', 'post': '!(!R[3] -o R[3])'}},"
                   " 'nets': {'n': {'layers': [{'linear': {'out': 4, 'bias': false}}]}, 'p': {'layers': [{'linear': {'out': 5}}, 'sigmoid', {'linear': {'out': 2}}, 'softmax']},"
                   "          'b': {'layers': ['bias']}},"
                   " 'bind': {'base': {'column': 'three'}, 'count': {'net': 'n', 'of': ['three']}, 'even': {'net': 'p', 'of': ['base']},"
                   "          'f': {'weights': {}}, 'post': {'net': 'b'}},"
                   " 'loss': {'mse': {'target': 'other'}}, " REST "}");
    const LinkWeight *f = &m.linked->weights[weight_of(&m, "bind.f")], *bias = &m.linked->weights[weight_of(&m, "nets.b.0.bias")],
                     *p = &m.linked->weights[weight_of(&m, "nets.p.0.bias")];
    assert_true(f->rank == 2 && f->dims[0] == 4 * 3 * 3 && f->dims[1] == 2 && f->init == INIT_KAIMING);
    close_to(f->bound, 1 / sqrt(2 * 4 * 3), 1e-15, "fan-in");
    close_to(p->bound, 1 / sqrt(3), 1e-15, "fan-in of a bias");
    assert_int_equal(bias->init, INIT_ZEROS);
    check_gradients(&m, ROWS);
    model_release(&m);
}

static void test_indirect(void **state) {
    (void)state;
    Model m;
    model_make(&m, "{'program': {'source': 'model image', 'context': {'image': '!R[6,6]', 'model': '!(!R[6,6] -o R[6,6])'}},"
                   " 'nets': {'i': {'layers': [{'reshape': [1, 6, 6]}, {'pad2d': {'pad': 1, 'value': -1}}, {'conv2d': {'out': 2, 'kernel': 3}}, {'leaky_relu': {'slope': 0.1}},"
                   "                           {'avg_pool2d': {'kernel': 3, 'stride': 1, 'pad': 1}}, {'softplus': {'beta': 2}}, {'hardtanh': {'max': 3}},"
                   "                           {'pad2d': {'pad': 1, 'value': -1}}, {'conv2d': {'out': 1, 'kernel': 3, 'bias': false}}, {'reshape': [6, 6]}]}},"
                   " 'bind': {'image': {'column': 'image'}, 'model': {'net': 'i'}}, 'loss': {'l1': {'target': 'label'}}, " REST "}");
    check_gradients(&m, ROWS);
    model_release(&m);
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
        Model m;
        snprintf(text, sizeof text, spec, frozen ? "false" : "true");
        model_make(&m, text);
        assert_int_equal(m.linked->nweights, 3);
        const LinkWeight *p = &m.linked->weights[weight_of(&m, "nets.p.0.bias")];
        assert_string_equal(p->from_run, "old");
        assert_string_equal(p->from_name, "nets.q.0.bias");
        assert_null(m.linked->weights[weight_of(&m, "nets.n.0.weight")].from_run);
        assert_int_equal(m.linked->weights[weight_of(&m, "nets.n.0.weight")].train, !frozen);
        check_gradients(&m, ROWS);
        model_release(&m);
    }
}

/* ---- values ---- */

/* y [o,h2,w2] of x [c,h,w] by k [o,c,kh,kw], cross-correlation with zero padding. */
static void conv_reference(const double *x, const double *k, const double *bias, const int c, int h, int w, int o, int kh, int kw, int stride, int pad, double *y) {
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
    Model m;
    model_make(&m, "{'program': {'source': 'v', 'context': {'v': 'R[3]'}},"
                   " 'nets': {'n': {'layers': [{'conv2d': {'out': 3, 'kernel': 3, 'stride': 2, 'pad': 1}}, 'relu', {'max_pool2d': {'kernel': 2, 'stride': 1}},"
                   "                           {'linear': {'out': 2}}, 'softmax', 'flatten', {'linear': {'out': 3, 'bias': false}}]}},"
                   " 'bind': {'v': {'net': 'n', 'of': ['channels']}}, 'loss': {'mse': {'target': 'three'}}, " REST "}");
    NaiveOutput *out = model_eval(&m, m.linked->forward, NULL, NULL);
    const double *k = m.weights[weight_of(&m, "nets.n.0.weight")], *b = m.weights[weight_of(&m, "nets.n.0.bias")],
                 *l = m.weights[weight_of(&m, "nets.n.3.weight")], *lb = m.weights[weight_of(&m, "nets.n.3.bias")],
                 *f = m.weights[weight_of(&m, "nets.n.6.weight")];
    for (int r = 0; r < ROWS; r++) {
        double y[3][3][2], pooled[3][2], soft[12], error = 0;
        conv_reference(m.columns[slot_of(&m, "channels")] + r * 40, k, b, 2, 5, 4, 3, 3, 3, 2, 1, &y[0][0][0]);
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
            close_to(out[output_of(m.linked->forward, OUT_VALUE, 0)].data[r * 3 + o], sum, 1e-12, "value");
            close_to(out[output_of(m.linked->forward, OUT_BOUND, 0)].data[r * 3 + o], sum, 1e-12, "bound");
            error += pow(sum - m.columns[slot_of(&m, "three")][r * 3 + o], 2) / 3;
        }
        close_to(out[output_of(m.linked->forward, OUT_LOSS, 0)].data[r], error, 1e-12, "loss");
    }
    outputs_release(out, m.linked->forward);
    model_release(&m);
}

/* The recurrence, written out: y = Σ nᵢ·sᵢ, sᵢ₊₁ = sᵢ convolved by a kernel of its own, padded with -1. */
static void test_direct_by_hand(void **state) {
    (void)state;
    Model m;
    model_make(&m, "{'program': {'source': 'iter {base | y -> dilate y} (count)',"
                   "             'context': {'base': '!R[6,6]', 'dilate': '!(!R[6,6] -o R[6,6])', 'count': 'N[3]'}},"
                   " 'nets': {'d': {'inputs': ['y'], 'let': [['w', {'layers': ['flatten', {'linear': {'out': 9}}, {'reshape': [1, 1, 3, 3]}], 'of': 'y'}],"
                   "                                         ['z', {'conv2d_by': {'pad': 1, 'pad_value': -1}, 'of': ['y', 'w']}]], 'out': 'z'}},"
                   " 'bind': {'base': {'column': 'image'}, 'count': {'column': 'digit'}, 'dilate': {'net': 'd'}}, 'loss': {'l1': {'target': 'label'}}, " REST "}");
    const double *w = m.weights[weight_of(&m, "nets.d.w.1.weight")], *b = m.weights[weight_of(&m, "nets.d.w.1.bias")], none = 0;
    NaiveOutput *out = model_eval(&m, m.linked->forward, NULL, NULL);
    for (int r = 0; r < ROWS; r++) {
        const double *count = m.columns[slot_of(&m, "digit")] + r * 3;
        double s[36], y[36] = {0}, kernel[9], padded[64];
        memcpy(s, m.columns[slot_of(&m, "image")] + r * 36, sizeof s);
        for (int i = 0; i < 3; i++) {
            for (int e = 0; e < 36; e++) y[e] += count[i] * s[e];
            for (int o = 0; o < 9; o++) {
                kernel[o] = b[o];
                for (int e = 0; e < 36; e++) kernel[o] += w[o * 36 + e] * s[e];
            }
            for (int e = 0; e < 64; e++) padded[e] = e / 8 % 7 && e % 8 % 7 ? s[(e / 8 - 1) * 6 + e % 8 - 1] : -1;
            conv_reference(padded, kernel, &none, 1, 8, 8, 1, 3, 3, 1, 0, s);
        }
        for (int e = 0; e < 36; e++) close_to(out[0].data[r * 36 + e], y[e], 1e-12, "state");
    }
    outputs_release(out, m.linked->forward);
    model_release(&m);
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
    static const Lossy losses[] = {{"tanh", "l1", "other", l1},          {"tanh", "cross_entropy", "digit", entropy}, {"tanh", "cross_entropy", "other", entropy},
                                   {"log_softmax", "nll", "digit", nll}, {"sigmoid", "bce", "other", bce}};
    for (size_t i = 0; i < sizeof losses / sizeof *losses; i++) {
        char spec[800];
        Model m;
        snprintf(spec, sizeof spec, "{'program': {'source': 'v', 'context': {'v': 'R[3]'}}, 'nets': {'n': {'layers': [{'linear': {'out': 3}}, '%s']}},"
                 " 'bind': {'v': {'net': 'n', 'of': 'three'}}, 'loss': {'%s': {'target': '%s'}}, " REST "}", losses[i].layer, losses[i].loss, losses[i].target);
        model_make(&m, spec);
        assert_int_equal(m.linked->slots[m.linked->target].discrete, !strcmp(losses[i].target, "digit"));
        assert_false(m.linked->slots[m.linked->target].needed);
        NaiveOutput *out = model_eval(&m, m.linked->forward, NULL, NULL);
        for (int r = 0; r < ROWS; r++)
            close_to(out[1].data[r], losses[i].reference(out[0].data + r * 3, m.columns[m.linked->target] + r * 3), 1e-12, losses[i].loss);
        outputs_release(out, m.linked->forward);
        check_gradients(&m, ROWS);
        model_release(&m);
    }
}

static void test_constants(void **state) {
    (void)state;
    Model m;
    model_make(&m, "{'program': {'source': 'if yes then (iter {a | y -> f y} (n)) else b', 'context': {'yes': '2', 'n': '!N[5]', 'a': '!R[3]', 'b': '!R[3]', 'f': '!(R[3] -o R[3])'}},"
                   " 'bind': {'yes': {'constant': true}, 'n': {'constant': 2}, 'a': {'constant': [1, 2, 3]}, 'b': {'column': 'other'}, 'f': {'weights': {'init': 'ones'}}},"
                   " 'loss': {'l1': {'target': 'three'}}, " REST "}");
    for (int i = 0; i < 9; i++) m.weights[0][i] = i == 0 || i == 4 || i == 8 ? 2 : 0;
    NaiveOutput *out = model_eval(&m, m.linked->forward, NULL, NULL);
    for (int i = 0; i < 3; i++) close_to(out[0].data[i], 4 * (i + 1), 1e-12, "value");
    outputs_release(out, m.linked->forward);
    check_gradients(&m, ROWS);
    model_release(&m);
}

/* ---- the trained model as a program ---- */

static Graph *serve_graph(Model *m, const LinkServe *serve) {
    Graph *volatile g = NULL;
    CX_TRY(&m->cx) g = link_serve(&m->cx, m->linked, serve);
    if (m->cx.diag.code) fail_msg("%s", m->cx.diag.message);
    verify(g);
    return g;
}

static void test_serve(void **state) {
    (void)state;
    Model m;
    char *text = quoted(direct), *scaled = strstr(text, "\"test\": \"b\"");
    assert_non_null(scaled);
    char *spec = malloc(strlen(text) + 100);
    assert_non_null(spec);
    sprintf(spec, "%.*s\"columns\": {\"image\": {\"scale\": 0.25, \"shift\": -1}}%s", (int)(scaled - text), text, scaled + strlen("\"test\": \"b\""));
    assert_true(model_link(&m, spec, &small_data, NULL));
    model_fill(&m, 99);
    const uint32_t image = slot_of(&m, "image");
    bool wanted[3] = {false, true, false}; /* base, count, dilate */
    double stored[ROWS * 36];
    for (int i = 0; i < ROWS * 36; i++) stored[i] = (m.columns[image][i] + 1) / 0.25;
    Graph *plain = serve_graph(&m, &(LinkServe){.weights = (const double *const *)m.weights}),
          *of_stored = serve_graph(&m, &(LinkServe){.weights = (const double *const *)m.weights, .stored = true, .wanted = wanted});
    assert_int_equal(plain->nslots, 1);
    assert_int_equal(plain->slots[0].role, SLOT_INPUT);
    assert_int_equal(plain->noutputs, 1);
    assert_int_equal(of_stored->noutputs, 2);
    assert_int_equal(of_stored->outputs[1].role, OUT_BOUND);
    assert_int_equal(of_stored->outputs[1].index, 1);
    NaiveOutput *want = model_eval(&m, m.linked->forward, NULL, NULL), *a = model_eval(&m, plain, NULL, &m.columns[image]),
                *b = model_eval(&m, of_stored, NULL, (double *[]){stored});
    const NaiveOutput *count = &want[output_of(m.linked->forward, OUT_BOUND, 1)];
    for (int i = 0; i < ROWS * 36; i++) close_to(a[0].data[i], want[0].data[i], 1e-9, "plain"), close_to(b[0].data[i], want[0].data[i], 1e-9, "stored");
    for (int i = 0; i < ROWS * 4; i++) close_to(b[1].data[i], count->data[i], 1e-9, "count");
    outputs_release(want, m.linked->forward);
    outputs_release(a, plain);
    outputs_release(b, of_stored);
    graph_free(plain);
    graph_free(of_stored);
    free(text);
    free(spec);
    model_release(&m);
}

/* The VJP with respect to the inputs, one row against finite differences; the JVP against it. */
static void test_serve_derived(void **state) {
    (void)state;
    Model m;
    model_make(&m, direct);
    const LinkServe serve = {.weights = (const double *const *)m.weights};
    LinkServe vjp = serve, jvp = serve;
    vjp.derive = DERIVE_VJP;
    jvp.derive = DERIVE_JVP;
    Graph *value = serve_graph(&m, &serve), *back = serve_graph(&m, &vjp), *along = serve_graph(&m, &jvp);
    double *x = m.columns[slot_of(&m, "image")], cotangent[36];
    for (int i = 0; i < 36; i++) cotangent[i] = sin(i);
    NaiveOutput *g = model_eval(&m, back, cotangent, &x);
    assert_int_equal(back->outputs[1].role, OUT_GRAD_INPUT);
    for (int i = 0; i < ROWS * 36; i += 7) {
        const double before = x[i], h = 1e-5;
        double slope = 0;
        for (int side = -1; side <= 1; side += 2) {
            x[i] = before + side * h;
            NaiveOutput *v = model_eval(&m, value, NULL, &x);
            for (int k = 0; k < 36; k++) slope += side * cotangent[k] * v[0].data[i / 36 * 36 + k] / (2 * h);
            outputs_release(v, value);
        }
        x[i] = before;
        close_to(g[1].data[i], slope, 2e-6, "gradient");
    }
    assert_int_equal(along->outputs[1].role, OUT_TANGENT);
    outputs_release(g, back);
    graph_free(value);
    graph_free(back);
    graph_free(along);
    model_release(&m);
}

/* ---- the experiments ---- */

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
    static const struct { const char *name; uint32_t weights; size_t parameters; } all[] = {
        {"iterate-d", 14 - 2, 0}, {"iterate-t", 8, 0}, {"iterate-i", 6, 0}, {"conditional-d", 16, 0}, {"conditional-t", 12, 0}, {"conditional-i", 6, 0}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char path[100];
        Model m;
        snprintf(path, sizeof path, EXPERIMENTS "%s.json", all[i].name);
        char *text = read_text(path);
        if (!model_link(&m, text, &mnist_data, &mnist_data)) fail_msg("%s: %s: %s", path, m.pointer, m.cx.diag.message);
        verify(m.linked->forward);
        assert_int_equal(m.linked->nweights, all[i].weights);
        const clock_t before = clock();
        Graph *g = train_graph(&m, 128);
        const double took = (double)(clock() - before) / CLOCKS_PER_SEC;
        assert_false(has_op(g, OP_iter) || has_op(g, OP_iter_vjp) || has_op(g, OP_call));
        assert_int_equal(g->noutputs, 2 + m.linked->nweights);
        printf("%s: %u nodes, %.0f macs a row, %.2f s\n", all[i].name, g->nnodes, m.linked->macs, took);
        assert_true(took < 5);
        graph_free(g);
        free(text);
        model_release(&m);
    }
}

/* ---- refusals ---- */

static const char right[] =
    "{'program': {'source': 'if odd then f (g n) else a', 'context': {'a': '!R[3]', 'n': '!N[4]', 'odd': '2', 'f': '!(R[3] -o R[3])', 'g': '!(!N[4] -o R[3])'}},"
    " 'nets': {'one': {'layers': [{'linear': {'out': 3}}]}, 'two': {'layers': ['flatten', {'linear': {'out': 4}}]}},"
    " 'bind': {'a': {'column': 'three'}, 'n': {'net': 'two', 'of': ['image']}, 'odd': {'column': 'odd'}, 'f': {'weights': {}}, 'g': {'net': 'one'}},"
    " 'data': {'train': 'a', 'test': 'b', 'columns': {'image': {'scale': 0.5}}}, 'loss': {'l1': {'target': 'other'}}, 'optimizer': 'sgd',"
    " 'batch_size': 3, 'steps': 10, 'evaluate': {'every': 5, 'metrics': ['loss']}}";

typedef struct {
    const char *from, *to;
    ErrCode code;
    const char *pointer, *says;
} Refused;

static const Refused refused[] = {
    {"'batch_size': 3", "'batch_size': 1001", ERR_bad_run, "/batch_size", "1000 rows"},
    {"'a': {'column': 'three'}, ", "", ERR_missing_input, "/bind", "\"a\""},
    {"'a': {'column': 'three'}", "'a': {'column': 'three'}, 'b/c': {'constant': 1}", ERR_unknown_input, "/bind/b~1c", "b/c"},
    {"f (g n) else a", "f (g n) else b", ERR_unbound_variable, "", "b"},
    {"if odd then f (g n) else a", "\\\\z:2. if z then (if odd then f (g n) else a) else (if odd then a else a)", ERR_bad_run, "/program", "is a function"},
    {"'column': 'three'", "'column': 'four'", ERR_bad_run, "/bind/a", "no column \"four\""},
    {"'column': 'three'", "'column': 'image'", ERR_shape_mismatch, "/bind/a", "[6,6]"},
    {"'column': 'odd'", "'column': 'number'", ERR_shape_mismatch, "/bind/odd", "numbers of shape []"},
    {"'of': ['image']", "'of': ['picture']", ERR_bad_run, "/bind/n/of", "picture"},
    {"'of': ['image']", "'of': ['digit']", ERR_bad_run, "/bind/n/of", "one integer a row"},
    {"'of': ['image']", "'of': ['f']", ERR_NONE, NULL, NULL},
    {"'of': ['image']", "'of': ['odd']", ERR_NONE, NULL, NULL},
    {"{'linear': {'out': 4}}", "{'linear': {'out': 5}}", ERR_shape_mismatch, "/bind/n", "gives [5]"},
    {"'g': {'net': 'one'}", "'g': {'net': 'two'}, 'f2': {'net': 'one', 'of': ['image']}", ERR_unknown_input, "/bind/f2", "f2"},
    {"'f': {'weights': {}}", "'f': {'net': 'one'}", ERR_type_mismatch, "/bind/f", "promises to be linear"},
    {"'a': {'column': 'three'}", "'a': {'net': 'one'}", ERR_type_mismatch, "/bind/a", "no function"},
    {"'g': {'net': 'one'}", "'g': {'net': 'one', 'of': ['three']}", ERR_type_mismatch, "/bind/g", "smooth function"},
    {"'a': {'column': 'three'}", "'a': {'net': 'one', 'of': ['three']}", ERR_shape_mismatch, "/bind/g", "takes [3] as input 0 at /bind/a"},
    {"'g': '!(!N[4] -o R[3])'", "'g': '!(!N[4] -o !2 -o R[3])'", ERR_not_a_vector, NULL, NULL},
    {"['flatten', {'linear': {'out': 4}}]", "[{'conv2d': {'out': 4, 'kernel': 3}}]", ERR_shape_mismatch, "/nets/two/layers/0", "[C,H,W]"},
    {"['flatten', {'linear': {'out': 4}}]", "[{'reshape': [1, 6, 6]}, {'conv2d': {'out': 4, 'kernel': 7}}]", ERR_shape_mismatch, "/nets/two/layers/1", "does not fit"},
    {"['flatten', {'linear': {'out': 4}}]", "[{'max_pool2d': {'kernel': 7}}]", ERR_shape_mismatch, "/nets/two/layers/0", "does not fit"},
    {"['flatten', {'linear': {'out': 4}}]", "['flatten', {'pad2d': {'pad': 1}}]", ERR_shape_mismatch, "/nets/two/layers/1", "two axes"},
    {"['flatten', {'linear': {'out': 4}}]", "[{'reshape': [7, 5]}]", ERR_shape_mismatch, "/nets/two/layers/0", "36 elements are not 35"},
    {"['flatten', {'linear': {'out': 4}}]", "['flatten', {'linear': {'out': 200000000}}]", ERR_too_large, "/nets/two/layers/1", "elements"},
    {"'odd': {'column': 'odd'}", "'odd': {'constant': 1}", ERR_bad_run, "/bind/odd/constant", "type 2"},
    {"'a': {'column': 'three'}", "'a': {'constant': [1, 2]}", ERR_shape_mismatch, "/bind/a/constant", "[3]"},
    {"'a': {'column': 'three'}", "'a': {'constant': [1, 2, 'NaN']}", ERR_bad_run, "/bind/a/constant", "finite"},
    {"'columns': {'image'", "'columns': {'picture'", ERR_bad_run, "/data/columns/picture", "no column"},
    {"'columns': {'image'", "'columns': {'odd'", ERR_bad_run, "/data/columns/odd", "no scale"},
    {"'target': 'other'", "'target': 'another'", ERR_bad_run, "/loss/l1/target", "another"},
    {"'target': 'other'", "'target': 'image'", ERR_shape_mismatch, "/loss/l1/target", "the program's output"},
    {"'target': 'other'", "'target': 'digit'", ERR_bad_run, "/loss/l1/target", "one number a row"},
    {"{'l1': {'target': 'other'}}", "{'cross_entropy': {'target': 'odd'}}", ERR_bad_run, "/loss/cross_entropy/target", "in one way"},
    {"'metrics': ['loss']", "'metrics': ['accuracy']", ERR_bad_run, "/evaluate/metrics", "accuracy"},
    {"'f': {'weights': {}}", "'f': {'weights': {}, 'train': false}", ERR_NONE, NULL, NULL},
};

static void test_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        const Refused *r = &refused[i];
        const char *at = strstr(right, r->from);
        char spec[4096];
        Model m;
        Err err;
        if (!at) fail_msg("no %s", r->from);
        snprintf(spec, sizeof spec, "%.*s%s%s", (int)(at - right), right, r->to, at + strlen(r->from));
        char *text = quoted(spec);
        const bool reads = spec_read(&m.spec, text, strlen(text), &err);
        spec_release(&m.spec);
        if (!reads) fail_msg("%s: %s: %s", r->to, err.pointer, err.message);
        const bool ok = model_link(&m, text, &small_data, &small_data);
        if (m.cx.diag.code != r->code || (r->pointer && strcmp(m.pointer, r->pointer)) || (r->says && !strstr(m.cx.diag.message, r->says)))
            fail_msg("%s: %s at %s: %s", r->to, err_name(m.cx.diag.code), m.pointer, ok ? "accepted" : m.cx.diag.message);
        free(text);
        model_release(&m);
    }
}

static void test_test_data(void **state) {
    (void)state;
    static const LinkColumn less[] = {COLUMN("image", DT_U8, 6, 6), COLUMN("three", DT_F32, 4), NUMBER("odd", DT_I64), COLUMN("other", DT_F32, 3)};
    static const LinkColumn floats[] = {COLUMN("image", DT_F32, 6, 6), COLUMN("three", DT_F32, 3), NUMBER("odd", DT_F32), COLUMN("other", DT_F32, 3)};
    static const struct { LinkData data; ErrCode code; const char *pointer; } cases[] = {
        {{less, 3, 10}, ERR_bad_run, "/data/test"}, {{less, 4, 10}, ERR_shape_mismatch, "/data/test"}, {{floats, 4, 10}, ERR_bad_run, "/data/test"},
        {{small, sizeof small / sizeof *small, 0}, ERR_bad_run, "/data/test"}};
    char *text = quoted(right);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Model m;
        assert_false(model_link(&m, text, &small_data, &cases[i].data));
        if (m.cx.diag.code != cases[i].code || strcmp(m.pointer, cases[i].pointer)) fail_msg("%zu: %s: %s", i, m.pointer, m.cx.diag.message);
        model_release(&m);
    }
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_direct),         cmocka_unit_test(test_unrolled_or_not), cmocka_unit_test(test_typed),
        cmocka_unit_test(test_indirect),       cmocka_unit_test(test_sharing_and_freezing), cmocka_unit_test(test_layers_by_hand),
        cmocka_unit_test(test_direct_by_hand), cmocka_unit_test(test_losses),          cmocka_unit_test(test_constants),
        cmocka_unit_test(test_serve),          cmocka_unit_test(test_serve_derived),   cmocka_unit_test(test_experiments),
        cmocka_unit_test(test_refused),        cmocka_unit_test(test_test_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
