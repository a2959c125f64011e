/* Plans and kernels against the naive evaluator, on random small graphs: f32 and f64, shared and batched slots, several tile
 * sizes, numbers of threads and instruction sets, with and without tapes. */
#include "compiler/naive.h"
#include "schema/limits.h"
#include "tests/support/layers.h"
#include "worker/exec.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

typedef struct {
    uint64_t state;
} Rng;

static uint32_t pick(Rng *r, uint32_t below) {
    r->state = r->state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((r->state >> 33) % below);
}

static double number(Rng *r) { return ((double)pick(r, 9) - 4) / 4; }

typedef struct {
    Graph *g;
    Rng *r;
    uint32_t nodes[64], n;
} Gen;

static uint32_t add_node(Graph *g, Op op, const uint32_t *ins, uint32_t nin, const uint32_t *dims, uint32_t rank,
                         const int64_t *attrs, uint32_t nattr) {
    return graph_add(g,
                     &(NodeSpec){.op = op, .ins = ins, .nin = nin, .dims = dims, .rank = rank, .attrs = attrs, .nattr = nattr});
}

static uint32_t input(Graph *g, SlotRole role, uint32_t index, uint32_t size) {
    int64_t slot = graph_slot(g, role, index, size);
    return add_node(g, OP_input, NULL, 0, &size, 1, &slot, 1);
}

static uint32_t reshape(Graph *g, uint32_t node, const uint32_t *dims, uint32_t rank) {
    return add_node(g, OP_reshape, &node, 1, dims, rank, NULL, 0);
}

static uint32_t product(const uint32_t *dims, uint32_t rank) {
    uint32_t n = 1;
    for (uint32_t i = 0; i < rank; i++) n *= dims[i];
    return n;
}

/* Some node, in these dims. */
static uint32_t some(Gen *gen, const uint32_t *dims, uint32_t rank) {
    uint32_t node = gen->nodes[pick(gen->r, gen->n)], size = product(dims, rank), flat = (uint32_t)gen->g->nodes[node].size;
    node = reshape(gen->g, node, &flat, 1);
    if (flat != size) node = add_node(gen->g, OP_resize, &node, 1, &size, 1, (int64_t[]){0, 0}, 2);
    return reshape(gen->g, node, dims, rank);
}

static uint32_t some_dims(Rng *r, uint32_t *dims, uint32_t least) {
    uint32_t rank = least + pick(r, 3);
    for (uint32_t i = 0; i < rank; i++) dims[i] = 1 + pick(r, 4);
    return rank;
}

static void shuffle(Rng *r, int64_t *labels, uint32_t n) {
    for (uint32_t i = n; i > 1; i--) {
        uint32_t k = pick(r, i);
        int64_t t = labels[i - 1];
        labels[i - 1] = labels[k];
        labels[k] = t;
    }
}

static uint32_t gen_contract(Gen *gen) {
    enum { A = 1, B = 2, OUT = 4 };
    static const int kinds[] = {A | B | OUT, A | OUT, B | OUT, A | B};
    int64_t labels[3][8], attrs[32];
    uint32_t n[3] = {0}, extents[8], dims[3][8], nattr = 3, count = pick(gen->r, 6);
    for (uint32_t l = 0; l < count; l++) {
        int kind = kinds[pick(gen->r, 4)];
        extents[l] = 1 + pick(gen->r, pick(gen->r, 8) ? 4 : 40);
        for (int t = 0; t < 3; t++)
            if (kind >> t & 1) labels[t][n[t]++] = l;
    }
    for (int t = 0; t < 3; t++) {
        shuffle(gen->r, labels[t], n[t]);
        attrs[t] = n[t];
        for (uint32_t i = 0; i < n[t]; i++) {
            attrs[nattr++] = labels[t][i];
            dims[t][i] = extents[labels[t][i]];
        }
    }
    uint32_t ins[] = {some(gen, dims[0], n[0]), some(gen, dims[1], n[1])};
    return add_node(gen->g, OP_contract, ins, 2, dims[2], n[2], attrs, nattr);
}

static uint32_t gen_axis(Gen *gen, Op op) {
    uint32_t dims[8], out[8], rank = some_dims(gen->r, dims, 1), axis = pick(gen->r, rank), k = 0;
    int64_t attrs[2] = {axis, 0};
    bool one = op == OP_pick || op == OP_place;
    if (op == OP_shift || op == OP_unshift) attrs[1] = pick(gen->r, 3);
    for (uint32_t i = 0; i < rank; i++)
        if (i != axis || op != OP_pick) out[k++] = dims[i];
    if (op == OP_shift && attrs[1] == SHIFT_EXACT) out[axis]++;
    if (op == OP_unshift && attrs[1] == SHIFT_EXACT) dims[axis]++;
    if (op == OP_resize) {
        out[axis] = 1 + pick(gen->r, 6);
        attrs[1] = (int64_t)pick(gen->r, out[axis] + dims[axis] - 1) - (dims[axis] - 1);
    }
    if (one) attrs[1] = pick(gen->r, dims[axis]);
    uint32_t from[8], nfrom = 0;
    for (uint32_t i = 0; i < rank; i++)
        if (i != axis || op != OP_place) from[nfrom++] = dims[i];
    uint32_t in = some(gen, from, nfrom);
    return add_node(gen->g, op, &in, 1, out, k, attrs, 2);
}

static uint32_t gen_permute(Gen *gen) {
    uint32_t dims[8], out[8], rank = some_dims(gen->r, dims, 2);
    int64_t perm[8];
    for (uint32_t i = 0; i < rank; i++) perm[i] = i;
    shuffle(gen->r, perm, rank);
    for (uint32_t i = 0; i < rank; i++) out[i] = dims[perm[i]];
    uint32_t in = some(gen, dims, rank);
    return add_node(gen->g, OP_permute, &in, 1, out, rank, perm, rank);
}

static uint32_t gen_if(Gen *gen) {
    uint32_t c[8], d[8], out[16], nc = pick(gen->r, 3), nd = some_dims(gen->r, d, 0);
    for (uint32_t i = 0; i < nc; i++) out[i] = c[i] = 1 + pick(gen->r, 3);
    c[nc] = 2;
    memcpy(out + nc, d, nd * sizeof *d);
    uint32_t ins[] = {some(gen, c, nc + 1), some(gen, d, nd), some(gen, d, nd)};
    return add_node(gen->g, OP_if, ins, 3, out, nc + nd, NULL, 0);
}

static uint32_t gen_pair(Gen *gen, Op op) {
    uint32_t d[8], rank = some_dims(gen->r, d, 0);
    uint32_t ins[] = {some(gen, d, rank), some(gen, d, rank)};
    return add_node(gen->g, op, ins, 2, d, rank, NULL, 0);
}

static uint32_t gen_leaf(Gen *gen) {
    uint32_t n = 1 + pick(gen->r, 4), square[] = {n, n};
    int64_t index = pick(gen->r, n);
    double data[4];
    switch (pick(gen->r, 4)) {
    case 0:
        return add_node(gen->g, OP_zero, NULL, 0, square, 2, NULL, 0);
    case 1:
        return add_node(gen->g, OP_onehot, NULL, 0, &n, 1, &index, 1);
    case 2:
        return add_node(gen->g, OP_eye, NULL, 0, square, 2, NULL, 0);
    default:
        for (uint32_t i = 0; i < n; i++) data[i] = number(gen->r);
        return graph_const(gen->g, data, &n, 1);
    }
}

static void gen_body(Gen *gen, uint32_t steps, int depth);

typedef struct {
    uint32_t ncomps, ncaps, comps[3], caps[3]; /* sizes */
} StepShape;

/* A step graph, or (vjp) any graph in the form of its VJP. */
static Graph *gen_step(Rng *r, const StepShape *s, bool vjp, int depth) {
    Gen gen = {.g = graph_new(), .r = r};
    for (uint32_t c = 0; c < s->ncomps; c++) gen.nodes[gen.n++] = input(gen.g, SLOT_STATE, c, s->comps[c]);
    for (uint32_t j = 0; j < s->ncaps; j++) gen.nodes[gen.n++] = input(gen.g, SLOT_CAPTURE, j, s->caps[j]);
    if (vjp) gen.nodes[gen.n++] = input(gen.g, SLOT_COTANGENT, 0, s->comps[0]);
    gen_body(&gen, 1 + pick(r, 3), depth + 1);
    for (uint32_t c = 0; c < s->ncomps; c++) graph_output(gen.g, OUT_STATE, c, some(&gen, &s->comps[c], 1));
    for (uint32_t j = 0; vjp && j < s->ncaps; j++) graph_output(gen.g, OUT_CAPTURE, j, some(&gen, &s->caps[j], 1));
    return gen.g;
}

/* [O…,k] */
static uint32_t gen_count_dims(Rng *r, uint32_t *dims) {
    uint32_t rank = pick(r, 2) ? 1 : 1 + pick(r, 3);
    for (uint32_t i = 0; i < rank; i++) dims[i] = 1 + pick(r, i + 1 == rank ? 5 : 3);
    return rank;
}

static uint32_t gen_iter(Gen *gen, int depth) {
    Rng *r = gen->r;
    uint32_t count[4], d[8], out[12], ins[12], nin = 0, rank = gen_count_dims(r, count), nd = some_dims(r, d, 0);
    uint32_t ncounts = 1 + pick(r, 2), nreads = 1 + pick(r, 2);
    StepShape s = {.ncomps = 1 + pick(r, 3), .ncaps = pick(r, 3)};
    for (uint32_t k = 0; k < ncounts; k++) ins[nin++] = some(gen, count, rank);
    for (uint32_t c = 0; c < s.ncomps; c++) {
        s.comps[c] = product(d, nd);
        ins[nin++] = some(gen, d, nd);
    }
    for (uint32_t j = 0; j < s.ncaps; j++) {
        s.caps[j] = 1 + pick(r, 5);
        ins[nin++] = some(gen, &s.caps[j], 1);
    }
    int64_t attrs[8] = {ncounts, s.ncomps, s.ncaps, nreads};
    for (uint32_t k = 0; k < nreads; k++) {
        attrs[4 + 2 * k] = pick(r, ncounts);
        attrs[5 + 2 * k] = pick(r, s.ncomps);
    }
    memcpy(out, count, (rank - 1) * sizeof *out);
    memcpy(out + rank - 1, d, nd * sizeof *out);
    Graph *step = gen_step(r, &s, false, depth);
    return graph_add(gen->g, &(NodeSpec){.op = OP_iter,
                                         .ins = ins,
                                         .nin = nin,
                                         .dims = out,
                                         .rank = rank - 1 + nd,
                                         .attrs = attrs,
                                         .nattr = 4 + 2 * nreads,
                                         .subs = &step,
                                         .nsub = 1});
}

/* The parts of an iter_vjp and its result, half of them summed as gradients of shared slots are. */
static uint32_t gen_iter_vjp(Gen *gen, int depth) {
    Rng *r = gen->r;
    uint32_t count[4], d[8], out[12], ins[8], nin = 0, rank = gen_count_dims(r, count), nd = some_dims(r, d, 0);
    StepShape s = {.ncomps = 1, .ncaps = pick(r, 3), .comps = {product(d, nd)}};
    ins[nin++] = some(gen, count, rank);
    ins[nin++] = some(gen, d, nd);
    for (uint32_t j = 0; j < s.ncaps; j++) {
        s.caps[j] = 1 + pick(r, 5);
        ins[nin++] = some(gen, &s.caps[j], 1);
    }
    memcpy(out, count, (rank - 1) * sizeof *out);
    memcpy(out + rank - 1, d, nd * sizeof *out);
    ins[nin++] = some(gen, out, rank - 1 + nd);
    int64_t ncaps = s.ncaps;
    Graph *subs[] = {gen_step(r, &s, false, depth), gen_step(r, &s, true, depth)};
    uint32_t tuple = graph_add(
        gen->g, &(NodeSpec){.op = OP_iter_vjp, .ins = ins, .nin = nin, .attrs = &ncaps, .nattr = 1, .subs = subs, .nsub = 2});
    uint32_t node = 0;
    for (int64_t part = 0; part < nin; part++) {
        const GNode *of = &gen->g->nodes[ins[part]];
        uint32_t dims[16], n = of->rank;
        memcpy(dims, node_dims(gen->g, of), n * sizeof *dims);
        node = add_node(gen->g, OP_part, &tuple, 1, dims, n, &part, 1);
        if (pick(r, 2)) {
            uint32_t pair[] = {node, some(gen, dims, n)};
            node = add_node(gen->g, OP_reduce, pair, 2, dims, n, NULL, 0);
        }
        if (gen->n < 64) gen->nodes[gen->n++] = node;
    }
    return node;
}

/* Layers, but for what jumps: two ways to round would differ by more than that. */
static uint32_t gen_layer(Gen *gen) {
    static const Op ops[] = {OP_map, OP_map_vjp, OP_softmax, OP_softmax_vjp, OP_spread, OP_total, OP_pad, OP_max_pool2d, OP_avg_pool2d,
                             OP_avg_pool2d_vjp, OP_conv2d, OP_conv2d_dx, OP_conv2d_dw};
    static const Function values[] = {FUNCTION_relu, FUNCTION_leaky_relu, FUNCTION_tanh, FUNCTION_sigmoid, FUNCTION_softplus,
                                      FUNCTION_hardtanh, FUNCTION_abs, FUNCTION_square, FUNCTION_scale},
                          slopes[] = {FUNCTION_tanh, FUNCTION_sigmoid, FUNCTION_softplus, FUNCTION_square, FUNCTION_scale};
    Rand r = {((uint64_t)pick(gen->r, 1u << 30) << 1) | 1};
    Op op = ops[pick(gen->r, 13)];
    LayerCase c = layer_case(&r, op);
    if (op == OP_map) layer_function(&r, &c, values[pick(gen->r, 9)]);
    if (op == OP_map_vjp) layer_function(&r, &c, slopes[pick(gen->r, 5)]);
    uint32_t ins[3];
    for (uint32_t k = 0; k < c.nin; k++) ins[k] = some(gen, c.dims[k], c.rank[k]);
    return layer_node(gen->g, &c, ins);
}

static uint32_t gen_node(Gen *gen, int depth) {
    static const Op axis_ops[] = {OP_shift, OP_unshift, OP_resize, OP_pick, OP_place};
    if (!pick(gen->r, 4)) return gen_layer(gen);
    switch (pick(gen->r, depth < 2 ? 11 : 8)) {
    case 0:
        return gen_leaf(gen);
    case 1:
    case 2:
        return gen_axis(gen, axis_ops[pick(gen->r, 5)]);
    case 3:
        return gen_permute(gen);
    case 4:
        return gen_pair(gen, OP_add);
    case 5:
        return gen_pair(gen, OP_reduce);
    case 6:
        return gen_if(gen);
    case 7:
    case 8:
        return gen_contract(gen);
    case 9:
        return gen_iter(gen, depth);
    default:
        return gen_iter_vjp(gen, depth);
    }
}

static void gen_body(Gen *gen, uint32_t steps, int depth) {
    for (uint32_t i = 0; i < steps && gen->n < 60; i++) {
        uint32_t node = gen_node(gen, depth);
        gen->nodes[gen->n++] = node;
    }
}

typedef struct {
    Graph *g;
    size_t rows;
    double *data[8];
    float *data32[8];
    bool batched[8];
} Case;

static Case gen_case(uint64_t seed) {
    Rng r = {seed * 2654435761u + 17};
    for (int i = 0; i < 4; i++) pick(&r, 2);
    Gen gen = {.g = graph_new(), .r = &r};
    Case c = {.g = gen.g, .rows = 1 + pick(&r, 9)};
    uint32_t nslots = 1 + pick(&r, 4);
    for (uint32_t s = 0; s < nslots; s++) {
        gen.nodes[gen.n++] = input(gen.g, SLOT_INPUT, s, 1 + pick(&r, 6));
        c.batched[s] = pick(&r, 2);
        size_t n = gen.g->slots[s].size * (c.batched[s] ? c.rows : 1);
        c.data[s] = malloc(n * sizeof *c.data[s]);
        c.data32[s] = malloc(n * sizeof *c.data32[s]);
        for (size_t i = 0; i < n; i++) c.data32[s][i] = (float)(c.data[s][i] = number(&r));
    }
    gen_body(&gen, 1 + pick(&r, 8), 0);
    for (uint32_t o = 0; o < 3 && o < gen.n; o++) graph_output(gen.g, OUT_VALUE, o, gen.nodes[gen.n - 1 - o]);
    return c;
}

static void case_release(Case *c) {
    for (int s = 0; s < 8; s++) {
        free(c->data[s]);
        free(c->data32[s]);
    }
    graph_free(c->g);
}

static double largest(const NaiveOutput *out, size_t rows) {
    double most = 0;
    for (size_t i = 0; i < out->size * (out->batched ? rows : 1); i++)
        if (!(fabs(out->data[i]) <= most)) most = fabs(out->data[i]);
    return most;
}

static void compare(const Case *c, uint64_t seed, const NaiveOutput *want, void *const *got, bool f64, size_t tile) {
    for (uint32_t o = 0; o < c->g->noutputs; o++) {
        double scale = 1 + largest(&want[o], c->rows), tolerance = (f64 ? 1e-9 : 2e-3) * scale;
        if (!(scale < 1e12)) continue;
        for (size_t i = 0; i < want[o].size * (want[o].batched ? c->rows : 1); i++) {
            double v = f64 ? ((double *)got[o])[i] : ((float *)got[o])[i];
            if (fabs(v - want[o].data[i]) <= tolerance) continue;
            if (!f64 && !isfinite(v)) continue; /* powers of powers inside overflow a float; f64 judges these */
            fail_msg("seed %llu, f%d, tile %zu, output %u, element %zu: %g, should be %g", (unsigned long long)seed,
                     f64 ? 64 : 32, tile, o, i, v, want[o].data[i]);
        }
    }
}

static void run_case(const Case *c, uint64_t seed, const NaiveOutput *want, bool f64, size_t tile, Workspace *w) {
    bool wanted[3] = {true, true, true};
    Fault fault = {0};
    Isa below = seed % (ISA_COUNT + 1); /* every instruction set this CPU has */
    PlanSpec spec = {.graph = c->g, .f64 = f64, .batched = c->batched, .wanted = wanted, .isa_below = below, .no_tape = seed / 5 % 2, .keep_bytes = seed % 7 < 3};
    Plan *plan = plan_new(&spec, &fault);
    w->threads = seed % 8 ? 1 : 3;
    if (!plan) fail_msg("seed %llu: %s", (unsigned long long)seed, fault.message);
    ExecInput inputs[8] = {0};
    ExecOutput outputs[3] = {0};
    void *got[3] = {0};
    for (uint32_t s = 0; s < c->g->nslots; s++)
        inputs[s] = (ExecInput){.data = f64 ? (void *)c->data[s] : c->data32[s],
                                .dtype = f64 ? DT_F64 : DT_F32,
                                .batched = c->batched[s],
                                .cols = c->g->slots[s].size};
    for (uint32_t o = 0; o < c->g->noutputs; o++) {
        assert_int_equal(plan->outputs[o].batched, want[o].batched);
        const size_t bytes = want[o].size * (want[o].batched ? c->rows : 1) * plan_element(plan);
        const size_t align = seed / 3 % 2 ? sizeof(void *) : 64; /* at 64 shared ones are made in place */
        assert_int_equal(posix_memalign(&got[o], align, bytes), 0);
        outputs[o] = (ExecOutput){got[o], want[o].batched};
    }
    if (!exec_run(plan, inputs, outputs, c->rows, tile, w, &fault))
        fail_msg("seed %llu: %s", (unsigned long long)seed, fault.message);
    compare(c, seed, want, got, f64, tile);
    for (uint32_t o = 0; o < c->g->noutputs; o++) free(got[o]);
    plan_free(plan);
}

static void test_random(void **state) {
    (void)state;
    const char *from = getenv("SEED");
    uint64_t first = from ? strtoull(from, NULL, 10) : 1, last = from ? first : 4000;
    print_message("seeds %llu to %llu (SEED=n runs one)\n", (unsigned long long)first, (unsigned long long)last);
    Workspace w = {0};
    for (uint64_t seed = first; seed <= last; seed++) {
        Case c = gen_case(seed);
        char why[200];
        if (c.g->failed || !graph_verify(c.g, why, sizeof why))
            fail_msg("seed %llu: the generator made a bad graph: %s", (unsigned long long)seed, why);
        NaiveInput inputs[8];
        NaiveOutput want[3];
        for (uint32_t s = 0; s < c.g->nslots; s++) inputs[s] = (NaiveInput){c.data[s], c.batched[s]};
        assert_true(naive_eval(c.g, c.rows, inputs, want));
        run_case(&c, seed, want, true, 0, &w);
        run_case(&c, seed, want, true, 1 + seed % 4, &w);
        run_case(&c, seed, want, false, 1 + seed % 3, &w);
        naive_release(want, c.g->noutputs);
        case_release(&c);
    }
    workspace_release(&w);
}

/* y = x·W for a batch, large enough for BLAS, in both dtypes. */
static void test_blas(void **state) {
    (void)state;
    enum { ROWS = 70, IN = 33, OUT = 21 };
    Rng r = {5};
    Graph *g = graph_new();
    uint32_t x = input(g, SLOT_ARG, 0, IN), wide = input(g, SLOT_INPUT, 0, IN * OUT), dims[] = {OUT, IN}, out[] = {OUT};
    wide = reshape(g, wide, dims, 2);
    uint32_t y = add_node(g, OP_contract, (uint32_t[]){wide, x}, 2, out, 1, (int64_t[]){2, 1, 1, 0, 1, 1, 0}, 7);
    uint32_t grad = add_node(g, OP_contract, (uint32_t[]){y, x}, 2, dims, 2, (int64_t[]){1, 1, 2, 0, 1, 0, 1}, 7);
    graph_output(g, OUT_VALUE, 0, y);
    graph_output(g, OUT_GRAD_INPUT, 0, add_node(g, OP_reduce, (uint32_t[]){grad, wide}, 2, dims, 2, NULL, 0));
    Case c = {.g = g, .rows = ROWS, .batched = {true, false}};
    for (int s = 0; s < 2; s++) {
        size_t n = s ? IN * OUT : ROWS * IN;
        c.data[s] = malloc(n * sizeof(double));
        c.data32[s] = malloc(n * sizeof(float));
        for (size_t i = 0; i < n; i++) c.data32[s][i] = (float)(c.data[s][i] = number(&r));
    }
    NaiveInput inputs[] = {{c.data[0], true}, {c.data[1], false}};
    NaiveOutput want[2];
    Workspace w = {0};
    assert_true(naive_eval(g, ROWS, inputs, want));
    for (size_t tile = 0; tile <= 32; tile += 16) {
        run_case(&c, 0, want, true, tile, &w);
        run_case(&c, 0, want, false, tile, &w);
    }
    naive_release(want, 2);
    workspace_release(&w);
    case_release(&c);
}

/* One input of size n straight to the output. */
typedef struct {
    Graph *g;
    Plan *plan;
} Identity;

static Identity identity(uint32_t n, bool batched) {
    Identity id = {.g = graph_new()};
    Fault fault = {0};
    graph_output(id.g, OUT_VALUE, 0, input(id.g, SLOT_ARG, 0, n));
    id.plan = plan_new(&(PlanSpec){.graph = id.g, .f64 = true, .batched = &batched, .wanted = (bool[]){true}}, &fault);
    assert_non_null(id.plan);
    return id;
}

static void identity_release(Identity *id) {
    plan_free(id->plan);
    graph_free(id->g);
}

static void test_load(void **state) {
    (void)state;
    Identity id = identity(3, true);
    Workspace w = {0};
    Fault fault = {0};
    double out[6];
    ExecOutput output = {out, true};
    ExecInput in = {.data = (int64_t[]){2, 0}, .dtype = DT_I64, .discrete = 1, .batched = true};
    assert_true(exec_run(id.plan, &in, &output, 2, 0, &w, &fault));
    assert_memory_equal(out, ((double[]){0, 0, 1, 1, 0, 0}), sizeof out);
    in = (ExecInput){.data = (float[]){1, 2, 3, 4}, .dtype = DT_F32, .batched = true, .cols = 2};
    assert_true(exec_run(id.plan, &in, &output, 2, 1, &w, &fault));
    assert_memory_equal(out, ((double[]){1, 2, 0, 3, 4, 0}), sizeof out);
    in = (ExecInput){.data = (int64_t[]){2, 3}, .dtype = DT_I64, .discrete = 1, .batched = true};
    assert_false(exec_run(id.plan, &in, &output, 2, 0, &w, &fault));
    assert_int_equal(fault.code, ERR_nat_bound_exceeded);
    fault = (Fault){0};
    in.data = (int64_t[]){0, -1};
    assert_false(exec_run(id.plan, &in, &output, 2, 0, &w, &fault));
    assert_int_equal(fault.code, ERR_bad_tensor);
    fault = (Fault){0};
    output.batched = false;
    in.data = (int64_t[]){0, 1};
    assert_false(exec_run(id.plan, &in, &output, 2, 0, &w, &fault));
    assert_int_equal(fault.code, ERR_bad_request);
    identity_release(&id);
    id = identity(2, true);
    fault = (Fault){0};
    in = (ExecInput){.data = (uint8_t[]){1, 0}, .dtype = DT_BOOL, .discrete = 2, .batched = true};
    output.batched = true;
    assert_true(exec_run(id.plan, &in, &output, 2, 0, &w, &fault));
    assert_memory_equal(out, ((double[]){1, 0, 0, 1}), 4 * sizeof *out);
    identity_release(&id);
    workspace_release(&w);
}

/* Tensors at odd addresses, in rows of several lengths; some of them end in the middle of four. */
static void test_unaligned(void **state) {
    (void)state;
    enum { ROWS = 7, MOST = 9 };
    for (uint32_t n = 1; n <= MOST; n++)
        for (int tape = 0; tape < 2; tape++) {
            Identity id = identity(n, true);
            Fault fault = {0};
            Workspace w = {0};
            unsigned char in[ROWS * MOST * sizeof(double) + 1];
            double out[ROWS * MOST];
            plan_free(id.plan);
            id.plan = plan_new(
                &(PlanSpec){.graph = id.g, .f64 = true, .batched = (bool[]){true}, .wanted = (bool[]){true}, .no_tape = !tape}, &fault);
            for (uint32_t i = 0; i < ROWS * n; i++) memcpy(in + 1 + i * sizeof(double), &(double){i + 1}, sizeof(double));
            ExecInput input = {.data = in + 1, .dtype = DT_F64, .batched = true, .cols = n};
            assert_true(exec_run(id.plan, &input, &(ExecOutput){out, true}, ROWS, 0, &w, &fault));
            for (uint32_t i = 0; i < ROWS * n; i++) assert_true(out[i] == i + 1);
            identity_release(&id);
            workspace_release(&w);
        }
}

/* A shared output, asked for in every row. */
static void test_store_spread(void **state) {
    (void)state;
    Identity id = identity(2, false);
    Workspace w = {0};
    Fault fault = {0};
    double out[6];
    ExecInput in = {.data = (double[]){1, 2}, .dtype = DT_F64, .cols = 2};
    assert_true(exec_run(id.plan, &in, &(ExecOutput){out, true}, 3, 0, &w, &fault));
    assert_memory_equal(out, ((double[]){1, 2, 1, 2, 1, 2}), sizeof out);
    identity_release(&id);
    workspace_release(&w);
}

/* Shared outputs are made where they are wanted, when that is aligned. */
static void test_in_place(void **state) {
    (void)state;
    uint32_t n = 3;
    Graph *g = graph_new();
    uint32_t x = input(g, SLOT_ARG, 0, n), twice = add_node(g, OP_add, (uint32_t[]){x, x}, 2, &n, 1, NULL, 0);
    graph_output(g, OUT_VALUE, 0, twice);
    graph_output(g, OUT_VALUE, 1, add_node(g, OP_add, (uint32_t[]){twice, x}, 2, &n, 1, NULL, 0));
    Fault fault = {0};
    Workspace w = {0};
    Plan *plan = plan_new(&(PlanSpec){.graph = g, .f64 = true, .batched = (bool[]){false}, .wanted = (bool[]){true, true}}, &fault);
    const ExecInput in = {.data = (double[]){1, 2, 3}, .dtype = DT_F64, .cols = n};
    for (size_t off = 0; off < 3; off++) { /* at 2 the first is not wanted */
        _Alignas(64) double out[2][8] = {0};
        ExecOutput outputs[] = {{off < 2 ? out[0] + off : NULL, false}, {out[1] + off % 2, false}};
        assert_true(exec_run(plan, &in, outputs, 1, 0, &w, &fault));
        for (int o = 0; o < 2; o++) assert_true((w.table[plan->outputs[o].value] == outputs[o].data) == (off == 0 || (off == 2 && o == 1)));
        assert_memory_equal(out[0] + off % 2, off < 2 ? ((double[]){2, 4, 6}) : ((double[]){0, 0, 0}), 3 * sizeof(double));
        assert_memory_equal(out[1] + off % 2, ((double[]){3, 6, 9}), 3 * sizeof(double));
    }
    plan_free(plan);
    graph_free(g);
    workspace_release(&w);
}

/* 0·NaN is NaN in every product. */
static void test_nan(void **state) {
    (void)state;
    Graph *g = graph_new();
    uint32_t n = 2, c = input(g, SLOT_ARG, 0, 2), a = input(g, SLOT_ARG, 1, 2);
    graph_output(g, OUT_VALUE, 0, add_node(g, OP_if, (uint32_t[]){c, a, c}, 3, &n, 1, NULL, 0));
    graph_output(g, OUT_VALUE, 1, add_node(g, OP_contract, (uint32_t[]){c, a}, 2, NULL, 0, (int64_t[]){1, 1, 0, 0, 0}, 5));
    Fault fault = {0};
    Workspace w = {0};
    Plan *plan = plan_new(&(PlanSpec){.graph = g, .batched = (bool[]){true, true}, .wanted = (bool[]){true, true}}, &fault);
    float choice[] = {0, 1}, value[] = {NAN, 1}, y[2], dot;
    ExecInput inputs[] = {{choice, DT_F32, 0, true, 2}, {value, DT_F32, 0, true, 2}};
    assert_true(exec_run(plan, inputs, (ExecOutput[]){{y, true}, {&dot, true}}, 1, 0, &w, &fault));
    assert_true(isnan(y[0]) && y[1] == 1);
    assert_true(isnan(dot));
    plan_free(plan);
    graph_free(g);
    workspace_release(&w);
}

/* Work and memory are estimated, and refused, before any is taken. */
static void test_admission(void **state) {
    (void)state;
    Graph *g = graph_new();
    uint32_t n = 1 << 14, square[] = {n, n}, eye = add_node(g, OP_eye, NULL, 0, square, 2, NULL, 0);
    for (int i = 0; i < 5; i++)
        eye = add_node(g, OP_contract, (uint32_t[]){eye, eye}, 2, square, 2, (int64_t[]){2, 2, 2, 0, 1, 1, 2, 0, 2}, 9);
    graph_output(g, OUT_VALUE, 0, eye);
    Fault fault = {0};
    Workspace w = {0};
    Plan *plan = plan_new(&(PlanSpec){.graph = g, .wanted = (bool[]){true}}, &fault);
    assert_non_null(plan);
    float one;
    assert_false(exec_run(plan, NULL, &(ExecOutput){&one, false}, 1, 0, &w, &fault));
    assert_int_equal(fault.code, ERR_too_large);
    assert_null(w.slab);
    plan_free(plan);
    graph_free(g);
    Identity id = identity(1 << 26, true);
    assert_int_equal(exec_tile(id.plan, 100, 0), 1);
    id.plan->single_tile = true;
    assert_int_equal(exec_tile(id.plan, 100, 0), 0);
    identity_release(&id);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),       cmocka_unit_test(test_blas), cmocka_unit_test(test_load),
        cmocka_unit_test(test_store_spread), cmocka_unit_test(test_nan),  cmocka_unit_test(test_admission),
        cmocka_unit_test(test_unaligned),    cmocka_unit_test(test_in_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
