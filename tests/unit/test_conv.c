/* Convolution kernels against plain loops, and training plans of convolutional networks, with all that is done in one step, against the naive
 * evaluator. */
#include "compiler/derive/derive.h"
#include "compiler/passes/naive.h"
#include "compiler/passes/rewrite.h"
#include "tests/support/graphs.h"
#include "schema/graph/ops.h"
#include "worker/kernels/conv_image.h"
#include "worker/plan/exec.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* ---- images ---- */

/* Calls body(y, x, w): indices of what meets in y = x ∗ w. */
#define EACH_MEETING(s, y, x, w, body)                                                                                              \
    for (size_t o = 0, y = 0; o < (s)->O; o++)                                                                                      \
        for (size_t r = 0; r < (s)->OH; r++)                                                                                        \
            for (size_t q = 0; q < (s)->OW; q++, y++)                                                                               \
                for (size_t c = 0; c < (s)->C; c++)                                                                                 \
                    for (size_t i = 0; i < (s)->kh; i++)                                                                            \
                        for (size_t j = 0; j < (s)->kw; j++) {                                                                      \
                            ptrdiff_t h = (ptrdiff_t)(r * (s)->down_h + i) - (s)->top, v = (ptrdiff_t)(q * (s)->down_w + j) - (s)->left; \
                            size_t w = ((o * (s)->C + c) * (s)->kh + i) * (s)->kw + j, x = (c * (s)->H + (size_t)h) * (s)->W + (size_t)v; \
                            if (h >= 0 && v >= 0 && (size_t)h < (s)->H && (size_t)v < (s)->W) body;                                 \
                        }

typedef struct {
    ConvShape s, t; /* the convolution, and that which is its dx */
    size_t nx, ny, nw, peaks;
    double *x, *y, *w, *bias, *mask; /* y: ȳ; the peaks' when there are some */
    double *peak;                    /* [O,conv_peaks_room(peaks)] */
    double *want_y, *want_x, *want_w;
} Image;

static double *reals(Rng *r, size_t n) {
    double *p = calloc(n + 1, sizeof *p);
    assert_non_null(p);
    for (size_t i = 0; r && i < n; i++) p[i] = (float)rng_real(r);
    return p;
}

static void make_peaks(Image *m, Rng *r) {
    const size_t places = m->s.OH * m->s.OW;
    m->peaks = 1 + rng_below(r, 20);
    m->peak = reals(r, m->s.O * conv_peaks_room(m->peaks));
    memset(m->y, 0, m->ny * sizeof *m->y);
    for (size_t o = 0; o < m->s.O; o++) {
        double *p = m->peak + o * conv_peaks_room(m->peaks);
        *p = rng_below(r, (uint32_t)m->peaks + 1);
        for (size_t k = (size_t)*p++; k-- > 0; p += 3) {
            size_t at = rng_below(r, (uint32_t)places);
            p[0] = (double)(at / m->s.OW);
            p[1] = (double)(at % m->s.OW);
            m->y[o * places + at] += p[2];
        }
    }
}

static void make_image(Image *m, Rng *r, bool peaks) {
    const size_t kh = 1 + rng_below(r, 8), kw = 1 + rng_below(r, 14), C = 1 + rng_below(r, 6), O = 1 + rng_below(r, 20);
    const ConvStride stride = peaks ? (ConvStride){1, 1, rng_below(r, 4), rng_below(r, 4)}
                                    : (ConvStride){1 + rng_below(r, 3), 1 + rng_below(r, 3), rng_below(r, 16), rng_below(r, 16)};
    *m = (Image){.s = conv_shape(C, kh + rng_below(r, 20), kw + rng_below(r, 40), rng_below(r, 3) ? O : 1, kh, kw, stride)};
    m->t = conv_shape_dx(&m->s);
    m->nx = C * m->s.H * m->s.W, m->ny = m->s.O * m->s.OH * m->s.OW, m->nw = m->s.O * C * kh * kw;
    m->x = reals(r, m->nx), m->y = reals(r, m->ny), m->w = reals(r, m->nw), m->bias = reals(r, m->s.O), m->mask = reals(r, m->nx);
    m->want_y = reals(NULL, m->ny), m->want_x = reals(NULL, m->nx), m->want_w = reals(NULL, m->nw);
    if (peaks) make_peaks(m, r);
    EACH_MEETING(&m->s, y, x, w, (m->want_y[y] += m->x[x] * m->w[w], m->want_x[x] += m->y[y] * m->w[w], m->want_w[w] += m->y[y] * m->x[x]))
    for (size_t i = 0; i < m->ny; i++) m->want_y[i] = fmax(0, m->want_y[i] + m->bias[i / (m->s.OH * m->s.OW)]);
    for (size_t i = 0; i < m->nx; i++)
        if (m->mask[i] <= 0) m->want_x[i] = 0;
}

static void free_image(Image *m) {
    double *all[] = {m->x, m->y, m->w, m->bias, m->mask, m->peak, m->want_y, m->want_x, m->want_w};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

/* One dtype: the image through each instruction set's kernels. Scratch is full of NaNs before. */
#define IMAGE_TEST(real, f, tolerance)                                                                                                 \
    static real *f##_of(const double *from, size_t n) {                                                                                \
        real *p = calloc(n + 1, sizeof *p);                                                                                            \
        assert_non_null(p);                                                                                                            \
        for (size_t i = 0; i < n; i++) p[i] = (real)(from ? from[i] : NAN);                                                            \
        return p;                                                                                                                      \
    }                                                                                                                                  \
    static void f##_close(const Image *m, const char *what, Isa isa, const real *got, const double *want, size_t n) {                  \
        double most = 1;                                                                                                               \
        for (size_t i = 0; i < n; i++) most = fmax(most, fabs(want[i]));                                                               \
        for (size_t i = 0; i < n; i++)                                                                                                 \
            if (!(fabs((double)got[i] - want[i]) <= tolerance * most))                                                                 \
                fail_msg("%s, isa %d, %zux%zux%zu -> %zu, kernel %zux%zu: %g, should be %g", what, (int)isa, m->s.C, m->s.H, m->s.W, m->s.O, \
                         m->s.kh, m->s.kw, (double)got[i], want[i]);                                                                   \
    }                                                                                                                                  \
    static void f##_image(const Image *m, const Plan *p) {                                                                             \
        real *x = f##_of(m->x, m->nx), *y = f##_of(m->y, m->ny), *w = f##_of(m->w, m->nw), *bias = f##_of(m->bias, m->s.O);             \
        real *mask = f##_of(m->mask, m->nx), *peak = f##_of(m->peak, m->s.O * conv_peaks_room(m->peaks)), *got = f##_of(NULL, m->nx + m->ny + m->nw); \
        const size_t room[] = {conv_scratch(&m->s), conv_scratch(&m->t), conv_dw_scratch(&m->s), conv_peaks_scratch(&m->s)};            \
        const size_t nsums = m->peaks ? conv_peaks_packed(&m->s) : conv_dw_sums(&m->s);                                                 \
        real *packed = f##_of(NULL, m->peaks ? conv_peaks_packed(&m->s) : m->nw), *sums = f##_of(NULL, nsums), *scratch;               \
        memset(sums, 0, nsums * sizeof *sums);                                                                                         \
        scratch = f##_of(NULL, room[0]);                                                                                               \
        OF(f, p, conv_pack)(&m->s, w, packed);                                                                                         \
        OF(f, p, conv_image)(&m->s, x, packed, &(ConvEnd){.bias = bias, .relu = true}, got, scratch);                                  \
        f##_close(m, "conv", p->isa, got, m->want_y, m->ny);                                                                           \
        free(scratch);                                                                                                                 \
        scratch = f##_of(NULL, room[m->peaks ? 3 : 1]);                                                                                \
        if (m->peaks) {                                                                                                                \
            OF(f, p, peaks_pack)(&m->s, w, packed);                                                                                    \
            OF(f, p, peaks_dx)(&m->s, peak, m->peaks, packed, mask, got, scratch);                                                     \
        } else {                                                                                                                       \
            OF(f, p, conv_pack_turned)(&m->t, w, packed);                                                                              \
            OF(f, p, conv_image)(&m->t, y, packed, &(ConvEnd){.mask = mask}, got, scratch);                                            \
        }                                                                                                                              \
        f##_close(m, "dx", p->isa, got, m->want_x, m->nx);                                                                             \
        free(scratch);                                                                                                                 \
        scratch = f##_of(NULL, room[m->peaks ? 3 : 2]);                                                                                \
        if (m->peaks) OF(f, p, peaks_dw)(&m->s, x, peak, m->peaks, sums, scratch);                                                     \
        else OF(f, p, conv_dw_image)(&m->s, x, y, sums, scratch);                                                                      \
        if (m->peaks) OF(f, p, peaks_dw_finish)(&m->s, sums, got, false);                                                              \
        else OF(f, p, conv_dw_finish)(&m->s, sums, got, false);                                                                        \
        f##_close(m, "dw", p->isa, got, m->want_w, m->nw);                                                                             \
        real *all[] = {x, y, w, bias, mask, peak, got, packed, sums, scratch};                                                         \
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);                                                            \
    }
#ifdef __x86_64__
#define OF(f, p, name) ((p)->isa == ISA_AVX512 ? name##_##f##_avx512 : (p)->isa == ISA_AVX2 ? name##_##f##_avx2 : name##_##f##_base)
#else
#define OF(f, p, name) name##_##f##_base
#endif
IMAGE_TEST(float, f32, 2e-5)
IMAGE_TEST(double, f64, 1e-13)

/* The instruction set that a plan below `below` gets. */
static Plan isa_of(Isa below) {
    Graph *g = graph_new();
    Err err = {0};
    graph_output(g, OUT_VALUE, 0, t_node(g, OP_zero, INS(), DIMS(1), ATTRS()));
    Plan *p = plan_new(&(PlanSpec){.graph = g, .wanted = (bool[]){true}, .isa_below = below}, &err), found = {0};
    assert_non_null(p);
    found.isa = p->isa;
    plan_free(p);
    graph_free(g);
    return found;
}

static void check_images(Rng *r, bool peaks) {
    for (int n = 0; n < 150; n++) {
        Image m;
        make_image(&m, r, peaks);
        for (int below = 0; below <= ISA_COUNT; below++) {
            const Plan p = isa_of((Isa)below);
            f32_image(&m, &p);
            f64_image(&m, &p);
        }
        free_image(&m);
    }
}

static void test_images(void **state) {
    (void)state;
    Rng r = rng_new("images");
    check_images(&r, false);
}

static void test_peaks(void **state) {
    (void)state;
    Rng r = rng_new("peaks");
    check_images(&r, true);
}

/* An image so large that it is taken in bands. */
static void test_bands(void **state) {
    (void)state;
    Rng r = rng_new("bands");
    for (size_t stride = 1; stride <= 2; stride++) {
        Image m = {.s = conv_shape(32, 61, 59, 9, 5, 3, (ConvStride){stride, stride, 2, 1})};
        assert_true(conv_pack_of(&m.s).band < m.s.OH);
        m.nx = 32 * 61 * 59, m.ny = 9 * m.s.OH * m.s.OW, m.nw = 9 * 32 * 15;
        m.x = reals(&r, m.nx), m.w = reals(&r, m.nw), m.want_y = reals(NULL, m.ny);
        EACH_MEETING(&m.s, y, x, w, m.want_y[y] += m.x[x] * m.w[w])
        const Plan p = isa_of(ISA_BASE);
        double *packed = reals(NULL, m.nw), *y = reals(NULL, m.ny), *scratch = reals(NULL, conv_scratch(&m.s));
        OF(f64, &p, conv_pack)(&m.s, m.w, packed);
        OF(f64, &p, conv_image)(&m.s, m.x, packed, &(ConvEnd){0}, y, scratch);
        f64_close(&m, "band", p.isa, y, m.want_y, m.ny);
        free(packed);
        free(y);
        free(scratch);
        free_image(&m);
    }
}

/* An infinite peak reaches what it meets, and nothing beside it. */
static void test_infinite_peak(void **state) {
    (void)state;
    const Plan p = isa_of(ISA_BASE);
    const ConvShape s = conv_shape(3, 9, 20, 1, 3, 3, (ConvStride){1, 1, 1, 1});
    const float w[27] = {[0 ... 26] = 2}, peak[] = {1, 4, 10, INFINITY};
    float packed[256], x[540], scratch[1 << 12];
    assert_true(conv_peaks_packed(&s) <= 256 && conv_peaks_scratch(&s) <= 1 << 12);
    OF(f32, &p, peaks_pack)(&s, w, packed);
    OF(f32, &p, peaks_dx)(&s, peak, 1, packed, NULL, x, scratch);
    for (size_t i = 0; i < 540; i++) {
        const size_t row = i / 20 % 9, column = i % 20;
        const bool met = row >= 3 && row <= 5 && column >= 9 && column <= 11;
        assert_true(met ? isinf(x[i]) : x[i] == 0);
    }
}

/* ---- plans ---- */

enum { SLOTS = 12, OUTPUTS = 12 };
/* Numbers are reals for f64, or `whole` and so few that f32 has no rounding: next to a kink it would take the other side. */
typedef struct {
    Graph *g;
    size_t rows;
    bool whole;
    double *data[SLOTS];
    float *data32[SLOTS];
} Net;

typedef struct {
    uint32_t C, O, H, W, kernel, pad, window, step, out;
    bool bias, relu, outside, again; /* outside: padded by a node, with a number;  again: the trunk twice, its result the second time's image */
} NetSpec;

static uint32_t weight(Graph *g, uint32_t *n, const uint32_t *dims, uint32_t rank) {
    uint32_t size = 1;
    for (uint32_t i = 0; i < rank; i++) size *= dims[i];
    return t_node(g, OP_reshape, INS(t_input(g, SLOT_WEIGHT, (*n)++, size)), dims, rank, ATTRS());
}

static uint32_t convolve(Graph *g, const NetSpec *s, uint32_t x, uint32_t w, uint32_t b, uint32_t out) {
    const uint32_t pad = s->outside ? 0 : s->pad, C = g->nodes[x].size / s->H / s->W;
    if (s->outside)
        x = t_node(g, OP_pad, INS(x), DIMS(C, s->H + 2 * s->pad, s->W + 2 * s->pad), ATTRS(s->pad, s->pad, s->pad, s->pad, attr_bits(-1)));
    uint32_t y = t_node(g, OP_conv2d, INS(x, w), DIMS(out, s->H, s->W), ATTRS(1, 1, pad, pad));
    if (s->bias) {
        b = t_node(g, OP_broadcast, INS(b), DIMS(out, s->H * s->W), ATTRS(1));
        b = t_node(g, OP_reshape, INS(b), DIMS(out, s->H, s->W), ATTRS());
        y = t_node(g, OP_add, INS(y, b), DIMS(out, s->H, s->W), ATTRS());
    }
    return s->relu ? t_node(g, OP_map, INS(y), DIMS(out, s->H, s->W), ATTRS(FUNCTION_relu, 0, 0)) : y;
}

/* Loss: Σ |linear(pool(conv(conv(x))))|, as the image of a second pass first when `again`. */
static Graph *network(const NetSpec *s) {
    Graph *g = graph_new();
    uint32_t n = 0, size = s->C * s->H * s->W, ho = window_extent(s->H, s->window, s->step, 0), wo = window_extent(s->W, s->window, s->step, 0);
    uint32_t x = t_input(g, SLOT_COLUMN, 0, size), pooled = s->O * ho * wo;
    uint32_t w1 = weight(g, &n, DIMS(8, s->C, s->kernel, s->kernel)), b1 = weight(g, &n, DIMS(8));
    uint32_t w2 = weight(g, &n, DIMS(s->O, 8, s->kernel, s->kernel)), b2 = weight(g, &n, DIMS(s->O)), w3 = weight(g, &n, DIMS(size, pooled));
    for (int pass = 0; pass <= s->again; pass++) {
        uint32_t image = t_node(g, OP_reshape, INS(x), DIMS(s->C, s->H, s->W), ATTRS());
        uint32_t y = convolve(g, s, convolve(g, s, image, w1, b1, 8), w2, b2, s->O);
        y = t_node(g, OP_max_pool2d, INS(y), DIMS(s->O, ho, wo), ATTRS(s->window, s->window, s->step, s->step, 0, 0));
        y = t_node(g, OP_reshape, INS(y), DIMS(pooled), ATTRS());
        x = t_node(g, OP_contract, INS(y, w3), DIMS(size), ATTRS(1, 2, 1, 0, 1, 0, 1));
    }
    uint32_t loss = t_node(g, OP_sum, INS(t_node(g, OP_map, INS(x), DIMS(size), ATTRS(FUNCTION_abs, 0, 0))), DIMS(), ATTRS(0));
    graph_output(g, OUT_LOSS, 0, t_node(g, OP_reshape, INS(loss), DIMS(1), ATTRS()));
    return g;
}

/* Most weights are 0: sums stay below 2^24. */
static double whole_number(Rng *r, const Slot *slot) {
    if (slot->role == SLOT_COLUMN) return (double)rng_below(r, 5) - 2;
    return slot->role == SLOT_WEIGHT && rng_below(r, 3 + slot->size / 3000) ? 0 : 1 - 2 * (double)rng_below(r, 2);
}

/* The loss's gradients for all weights, over random numbers; g is used up. */
static void make_derived(Net *net, Graph *g, size_t rows, bool whole, Rng *r) {
    Cx cx;
    char why[300] = "";
    if (!graph_verify(g, why, sizeof why)) fail_msg("%s", why);
    *net = (Net){.rows = rows, .whole = whole};
    cx_init(&cx);
    CX_TRY(&cx) {
        bool trained[SLOTS];
        for (uint32_t i = 0; i < g->nslots; i++) trained[i] = g->slots[i].role == SLOT_WEIGHT;
        net->g = rewrite_give(&cx, derive_vjp(&cx, g, &(DeriveSpec){.output = 0, .slots = trained}));
    }
    assert_int_equal(cx.diag.code, 0);
    cx_release(&cx);
    graph_free(g);
    for (uint32_t i = 0; i < net->g->nslots; i++) {
        const Slot *slot = &net->g->slots[i];
        size_t n = slot->size * (slot->role == SLOT_COLUMN ? net->rows : 1);
        net->data[i] = reals(whole ? NULL : r, n);
        net->data32[i] = calloc(n, sizeof(float));
        for (size_t k = 0; k < n; k++) {
            if (whole) net->data[i][k] = whole_number(r, slot);
            else if (slot->role == SLOT_WEIGHT) net->data[i][k] /= 4;
            net->data32[i][k] = (float)net->data[i][k];
        }
    }
}

static void free_net(Net *net) {
    for (uint32_t i = 0; i < net->g->nslots; i++) {
        free(net->data[i]);
        free(net->data32[i]);
    }
    graph_free(net->g);
}

typedef struct {
    bool f64, known;
    Isa below;
    size_t tile;
    unsigned threads;
} Way;

static uint32_t count_steps(const Plan *p, Kernel run) {
    uint32_t n = 0;
    for (uint32_t s = 0; s < p->nsteps; s++) n += p->steps[s].run == run;
    return n;
}

/* Outputs in the way's dtype; free(). */
static void run_net(const Net *net, const Way *way, bool peaks, void **outs) {
    bool batched[SLOTS] = {0}, wanted[OUTPUTS];
    ExecInput in[SLOTS];
    ExecOutput out[OUTPUTS];
    Err err = {0};
    Workspace w = {.threads = way->threads};
    const Graph *g = net->g;
    for (uint32_t i = 0; i < g->nslots; i++) {
        batched[i] = g->slots[i].role == SLOT_COLUMN;
        in[i] = (ExecInput){.data = way->f64 ? (void *)net->data[i] : net->data32[i], .dtype = way->f64 ? DT_F64 : DT_F32, .batched = batched[i],
                            .cols = g->slots[i].size};
    }
    memset(wanted, true, sizeof wanted);
    Plan *p = plan_new(&(PlanSpec){.graph = g, .f64 = way->f64, .batched = batched, .wanted = wanted, .isa_below = way->below, .no_tape = true,
                                   .rows = way->known ? net->rows : 0}, &err);
    if (!p) fail_msg("%s", err.message);
    assert_int_equal(count_steps(p, KERNEL_OF(p, conv_peaks)) > 0, peaks);
    for (uint32_t o = 0; o < g->noutputs; o++) {
        outs[o] = calloc(g->nodes[g->outputs[o].node].size * net->rows, sizeof(double));
        out[o] = (ExecOutput){outs[o], p->outputs[o].batched};
    }
    for (int again = 0; again < 2; again++) /* the second run finds the first one's memory */
        if (!exec_run(p, in, out, net->rows, way->tile, &w, &err)) fail_msg("%s", err.message);
    if (way->known) assert_false(exec_run(p, in, out, net->rows + 1, way->tile, &w, &err));
    workspace_release(&w);
    plan_free(p);
}

static void check_net(const Net *net, const Way *way, bool peaks) {
    NaiveInput in[SLOTS];
    NaiveOutput want[OUTPUTS];
    void *got[OUTPUTS];
    const Graph *g = net->g;
    for (uint32_t i = 0; i < g->nslots; i++) in[i] = (NaiveInput){net->data[i], g->slots[i].role == SLOT_COLUMN};
    assert_true(naive_eval(g, net->rows, in, want));
    run_net(net, way, peaks, got);
    for (uint32_t o = 0; o < g->noutputs; o++) {
        const size_t n = want[o].size * (want[o].batched ? net->rows : 1);
        double most = 1;
        for (size_t i = 0; i < n; i++) most = fmax(most, fabs(want[o].data[i]));
        for (size_t i = 0; i < n; i++) {
            const double v = way->f64 ? ((double *)got[o])[i] : (double)((float *)got[o])[i];
            if (!(fabs(v - want[o].data[i]) <= (net->whole ? 0 : way->f64 ? 1e-12 : 1e-4) * most))
                fail_msg("f%d, below %d, rows %zu%s, tile %zu: output %u, element %zu is %.9g, should be %.9g", way->f64 ? 64 : 32, (int)way->below,
                         net->rows, way->known ? ", known" : "", way->tile, o, i, v, want[o].data[i]);
        }
        free(got[o]);
    }
    naive_release(want, g->noutputs);
}

static void test_networks(void **state) {
    (void)state;
    static const NetSpec nets[] = {
        {.C = 1, .O = 16, .H = 12, .W = 20, .kernel = 5, .pad = 2, .window = 3, .step = 3, .bias = true, .relu = true, .again = true},
        {.C = 3, .O = 5, .H = 9, .W = 8, .kernel = 3, .pad = 1, .window = 3, .step = 2, .bias = true, .relu = true, .again = true},
        {.C = 2, .O = 20, .H = 6, .W = 17, .kernel = 1, .pad = 0, .window = 2, .step = 2, .relu = true},
        {.C = 1, .O = 3, .H = 10, .W = 10, .kernel = 3, .pad = 1, .window = 4, .step = 4, .bias = true, .again = true},
        {.C = 1, .O = 4, .H = 8, .W = 8, .kernel = 3, .pad = 1, .window = 2, .step = 1, .bias = true, .relu = true}, /* too many peaks */
        {.C = 2, .O = 6, .H = 11, .W = 18, .kernel = 5, .pad = 2, .window = 3, .step = 3, .bias = true, .relu = true, .outside = true, .again = true},
    };
    Rng r = rng_new("networks");
    for (size_t k = 0; k < sizeof nets / sizeof *nets; k++)
        for (int n = 0; n < 6; n++) {
            Net net;
            make_derived(&net, network(&nets[k]), 1 + rng_below(&r, 9), n % 2, &r);
            for (int below = 0; below <= ISA_COUNT; below++) {
                const Way way = {.f64 = !net.whole || !rng_below(&r, 3), .known = rng_below(&r, 2), .below = (Isa)below, .tile = rng_below(&r, 4), .threads = 1 + rng_below(&r, 3)};
                check_net(&net, &way, nets[k].step > 1);
            }
            free_net(&net);
        }
}

/* Weights are packed once, however often they are used: what a second pass adds is x̄ of its image. */
static void test_packed_once(void **state) {
    (void)state;
    Rng r = rng_new("packed once");
    uint32_t packs[2], conv_packs[2];
    for (int again = 0; again < 2; again++) {
        const NetSpec spec = {.C = 2, .O = 4, .H = 9, .W = 9, .kernel = 3, .pad = 1, .window = 3, .step = 3, .bias = true, .relu = true, .again = again};
        const bool batched[SLOTS] = {true}, wanted[OUTPUTS] = {[0 ... OUTPUTS - 1] = true};
        Err err = {0};
        Net net;
        make_derived(&net, network(&spec), 4, false, &r);
        assert_int_equal(net.g->slots[0].role, SLOT_COLUMN);
        Plan *p = plan_new(&(PlanSpec){.graph = net.g, .batched = batched, .wanted = wanted, .no_tape = true, .rows = 4}, &err);
        if (!p) fail_msg("%s", err.message);
        packs[again] = count_steps(p, KERNEL_OF(p, pack));
        conv_packs[again] = count_steps(p, KERNEL_OF(p, conv_pack));
        plan_free(p);
        free_net(&net);
    }
    assert_true(packs[0] > 0 && conv_packs[0] > 0);
    assert_int_equal(packs[1], packs[0]);
    assert_int_equal(conv_packs[1], conv_packs[0] + 1);
}

/* A matrix that is large beside the batch stays as it lies: y[o] = Σ f[o,i,k] · n[k] · x[i], its gradients, and the rows as one product. */
static void test_heavy(void **state) {
    (void)state;
    Rng r = rng_new("heavy");
    Graph *g = graph_new();
    uint32_t x = t_input(g, SLOT_COLUMN, 0, 64), n = t_input(g, SLOT_WEIGHT, 0, 10), f = t_input(g, SLOT_WEIGHT, 1, 900 * 640);
    uint32_t c = t_node(g, OP_contract, INS(t_node(g, OP_eye, INS(), DIMS(10, 10), ATTRS()), n), DIMS(10), ATTRS(2, 1, 1, 0, 1, 1, 0));
    uint32_t o = t_node(g, OP_contract, INS(c, x), DIMS(10, 64), ATTRS(1, 1, 2, 0, 1, 0, 1));
    f = t_node(g, OP_reshape, INS(f), DIMS(900, 64, 10), ATTRS());
    uint32_t y = t_node(g, OP_contract, INS(o, f), DIMS(900), ATTRS(2, 3, 1, 0, 1, 2, 1, 0, 2));
    uint32_t loss = t_node(g, OP_sum, INS(t_node(g, OP_map, INS(y), DIMS(900), ATTRS(FUNCTION_square, 0, 0))), DIMS(), ATTRS(0));
    graph_output(g, OUT_LOSS, 0, t_node(g, OP_reshape, INS(loss), DIMS(1), ATTRS()));
    for (int f64 = 0; f64 < 2; f64++) {
        Net net;
        make_derived(&net, graph_copy(g), 20 + rng_below(&r, 20), false, &r);
        for (int below = 0; below <= ISA_COUNT; below++)
            check_net(&net, &(Way){.f64 = f64, .known = true, .below = (Isa)below, .tile = 7 * (size_t)rng_below(&r, 3), .threads = 1 + rng_below(&r, 2)}, false);
        free_net(&net);
    }
    graph_free(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_images),        cmocka_unit_test(test_peaks),    cmocka_unit_test(test_bands),
        cmocka_unit_test(test_infinite_peak), cmocka_unit_test(test_networks), cmocka_unit_test(test_packed_once),
        cmocka_unit_test(test_heavy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
