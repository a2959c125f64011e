#include "tests/support/gen_graph.h"
#include "tests/support/layers.h"
#include <string.h>

double gen_number(Rng *r) { return ((double)rng_below(r, 9) - 4) / 4; }

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
    uint32_t node = gen->nodes[rng_below(gen->r, gen->n)], size = product(dims, rank), flat = (uint32_t)gen->g->nodes[node].size;
    node = reshape(gen->g, node, &flat, 1);
    if (flat != size) node = add_node(gen->g, OP_resize, &node, 1, &size, 1, (int64_t[]){0, 0}, 2);
    return reshape(gen->g, node, dims, rank);
}

static uint32_t some_dims(Rng *r, uint32_t *dims, uint32_t least) {
    uint32_t rank = least + rng_below(r, 3);
    for (uint32_t i = 0; i < rank; i++) dims[i] = 1 + rng_below(r, 4);
    return rank;
}

static void shuffle(Rng *r, int64_t *labels, uint32_t n) {
    for (uint32_t i = n; i > 1; i--) {
        uint32_t k = rng_below(r, i);
        int64_t t = labels[i - 1];
        labels[i - 1] = labels[k];
        labels[k] = t;
    }
}

static uint32_t gen_contract(Gen *gen) {
    enum { A = 1, B = 2, OUT = 4 };
    static const int kinds[] = {A | B | OUT, A | OUT, B | OUT, A | B};
    int64_t labels[3][8], attrs[32];
    uint32_t n[3] = {0}, extents[8], dims[3][8], nattr = 3, count = rng_below(gen->r, 6);
    for (uint32_t l = 0; l < count; l++) {
        int kind = kinds[rng_below(gen->r, 4)];
        extents[l] = 1 + rng_below(gen->r, rng_below(gen->r, 8) ? 4 : 40);
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
    uint32_t dims[8], out[8], rank = some_dims(gen->r, dims, 1), axis = rng_below(gen->r, rank), k = 0;
    int64_t attrs[2] = {axis, 0};
    bool one = op == OP_select || op == OP_scatter;
    if (op == OP_shift || op == OP_unshift) attrs[1] = rng_below(gen->r, 3);
    for (uint32_t i = 0; i < rank; i++)
        if (i != axis || op != OP_select) out[k++] = dims[i];
    if (op == OP_shift && attrs[1] == SHIFT_EXACT) out[axis]++;
    if (op == OP_unshift && attrs[1] == SHIFT_EXACT) dims[axis]++;
    if (op == OP_resize) {
        out[axis] = 1 + rng_below(gen->r, 6);
        attrs[1] = (int64_t)rng_below(gen->r, out[axis] + dims[axis] - 1) - (dims[axis] - 1);
    }
    if (one) attrs[1] = rng_below(gen->r, dims[axis]);
    uint32_t from[8], nfrom = 0;
    for (uint32_t i = 0; i < rank; i++)
        if (i != axis || op != OP_scatter) from[nfrom++] = dims[i];
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
    uint32_t c[8], d[8], out[16], nc = rng_below(gen->r, 3), nd = some_dims(gen->r, d, 0);
    for (uint32_t i = 0; i < nc; i++) out[i] = c[i] = 1 + rng_below(gen->r, 3);
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
    uint32_t n = 1 + rng_below(gen->r, 4), square[] = {n, n};
    int64_t index = rng_below(gen->r, n);
    double data[4];
    switch (rng_below(gen->r, 4)) {
    case 0:
        return add_node(gen->g, OP_zero, NULL, 0, square, 2, NULL, 0);
    case 1:
        return add_node(gen->g, OP_onehot, NULL, 0, &n, 1, &index, 1);
    case 2:
        return add_node(gen->g, OP_eye, NULL, 0, square, 2, NULL, 0);
    default:
        for (uint32_t i = 0; i < n; i++) data[i] = gen_number(gen->r);
        return graph_const(gen->g, data, &n, 1);
    }
}

static void gen_body(Gen *gen, uint32_t steps, int depth);

typedef struct {
    uint32_t ncomps, ncaps, comps[3], caps[3]; /* sizes */
} StepShape;

/* A VJP's output: zero where the cotangent is, as iter_vjp may rely on. Σₐ cotangent[a] · some[a,e], either way round. */
static uint32_t pulled_back(Gen *gen, uint32_t cotangent, uint32_t length, uint32_t size) {
    const bool turned = rng_below(gen->r, 2);
    uint32_t pair[] = {cotangent, some(gen, turned ? (uint32_t[]){size, length} : (uint32_t[]){length, size}, 2)};
    return add_node(gen->g, OP_contract, pair, 2, &size, 1, turned ? (int64_t[]){1, 2, 1, 0, 1, 0, 1} : (int64_t[]){1, 2, 1, 0, 0, 1, 1}, 7);
}

/* A step graph, or (vjp) any graph in the form of its VJP. */
static Graph *gen_step(Rng *r, const StepShape *s, bool vjp, int depth) {
    Gen gen = {.g = graph_new(), .r = r};
    for (uint32_t c = 0; c < s->ncomps; c++) gen.nodes[gen.n++] = t_input(gen.g, SLOT_STATE, c, s->comps[c]);
    for (uint32_t j = 0; j < s->ncaps; j++) gen.nodes[gen.n++] = t_input(gen.g, SLOT_CAPTURE, j, s->caps[j]);
    const uint32_t cotangent = vjp ? t_input(gen.g, SLOT_COTANGENT, 0, s->comps[0]) : 0;
    if (vjp) gen.nodes[gen.n++] = cotangent;
    gen_body(&gen, 1 + rng_below(r, 3), depth + 1);
    for (uint32_t c = 0; c < s->ncomps; c++)
        graph_output(gen.g, OUT_STATE, c, vjp ? pulled_back(&gen, cotangent, s->comps[c], s->comps[c]) : some(&gen, &s->comps[c], 1));
    for (uint32_t j = 0; vjp && j < s->ncaps; j++) graph_output(gen.g, OUT_CAPTURE, j, pulled_back(&gen, cotangent, s->comps[0], s->caps[j]));
    return gen.g;
}

/* [O…,k] */
static uint32_t gen_count_dims(Rng *r, uint32_t *dims) {
    uint32_t rank = rng_below(r, 2) ? 1 : 1 + rng_below(r, 3);
    for (uint32_t i = 0; i < rank; i++) dims[i] = 1 + rng_below(r, i + 1 == rank ? 5 : 3);
    return rank;
}

static uint32_t gen_iter(Gen *gen, int depth) {
    Rng *r = gen->r;
    uint32_t count[4], d[8], out[12], ins[12], nin = 0, rank = gen_count_dims(r, count), nd = some_dims(r, d, 0);
    uint32_t ncounts = 1 + rng_below(r, 2), nreads = 1 + rng_below(r, 2);
    StepShape s = {.ncomps = 1 + rng_below(r, 3), .ncaps = rng_below(r, 3)};
    for (uint32_t k = 0; k < ncounts; k++) ins[nin++] = some(gen, count, rank);
    for (uint32_t c = 0; c < s.ncomps; c++) {
        s.comps[c] = product(d, nd);
        ins[nin++] = some(gen, d, nd);
    }
    for (uint32_t j = 0; j < s.ncaps; j++) {
        s.caps[j] = 1 + rng_below(r, 5);
        ins[nin++] = some(gen, &s.caps[j], 1);
    }
    int64_t attrs[8] = {ncounts, s.ncomps, s.ncaps, nreads};
    for (uint32_t k = 0; k < nreads; k++) {
        attrs[4 + 2 * k] = rng_below(r, ncounts);
        attrs[5 + 2 * k] = rng_below(r, s.ncomps);
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
    StepShape s = {.ncomps = 1, .ncaps = rng_below(r, 3), .comps = {product(d, nd)}};
    ins[nin++] = some(gen, count, rank);
    ins[nin++] = some(gen, d, nd);
    for (uint32_t j = 0; j < s.ncaps; j++) {
        s.caps[j] = 1 + rng_below(r, 5);
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
        node = add_node(gen->g, OP_tuple_get, &tuple, 1, dims, n, &part, 1);
        if (rng_below(r, 3) == 0) { /* a slot is flat */
            *dims = product(dims, n);
            node = reshape(gen->g, node, dims, n = 1);
        }
        if (rng_below(r, 2)) {
            uint32_t pair[] = {node, some(gen, dims, n)};
            node = add_node(gen->g, OP_batch_sum, pair, 2, dims, n, NULL, 0);
        }
        if (gen->n < 64) gen->nodes[gen->n++] = node;
    }
    return node;
}

/* Layers, but for what jumps: two ways to round would differ by more than that. */
static uint32_t gen_layer(Gen *gen) {
    static const Op ops[] = {OP_map, OP_map_vjp, OP_softmax, OP_softmax_vjp, OP_broadcast, OP_sum, OP_pad, OP_max_pool2d, OP_avg_pool2d,
                             OP_avg_pool2d_vjp, OP_conv2d, OP_conv2d_dx, OP_conv2d_dw};
    static const Function values[] = {FUNCTION_relu, FUNCTION_leaky_relu, FUNCTION_tanh, FUNCTION_sigmoid, FUNCTION_softplus,
                                      FUNCTION_hardtanh, FUNCTION_abs, FUNCTION_square, FUNCTION_scale},
                          slopes[] = {FUNCTION_tanh, FUNCTION_sigmoid, FUNCTION_softplus, FUNCTION_square, FUNCTION_scale};
    Rng *r = gen->r;
    Op op = ops[rng_below(r, 13)];
    LayerCase c = layer_case(r, op);
    if (op == OP_map) layer_function(r, &c, values[rng_below(r, 9)]);
    if (op == OP_map_vjp) layer_function(r, &c, slopes[rng_below(r, 5)]);
    uint32_t ins[3];
    for (uint32_t k = 0; k < c.nin; k++) ins[k] = some(gen, c.dims[k], c.rank[k]);
    return layer_node(gen->g, &c, ins);
}

static uint32_t gen_node(Gen *gen, int depth) {
    static const Op axis_ops[] = {OP_shift, OP_unshift, OP_resize, OP_select, OP_scatter};
    if (!rng_below(gen->r, 4)) return gen_layer(gen);
    switch (rng_below(gen->r, depth < 2 ? 11 : 8)) {
    case 0:
        return gen_leaf(gen);
    case 1:
    case 2:
        return gen_axis(gen, axis_ops[rng_below(gen->r, 5)]);
    case 3:
        return gen_permute(gen);
    case 4:
        return gen_pair(gen, OP_add);
    case 5:
        return gen_pair(gen, OP_batch_sum);
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

Graph *gen_graph(Rng *r) {
    Gen gen = {.g = graph_new(), .r = r};
    const uint32_t nslots = 1 + rng_below(r, 4);
    for (uint32_t s = 0; s < nslots; s++) gen.nodes[gen.n++] = t_input(gen.g, SLOT_INPUT, s, 1 + rng_below(r, 6));
    gen_body(&gen, 1 + rng_below(r, 8), 0);
    for (uint32_t o = 0; o < 3 && o < gen.n; o++) graph_output(gen.g, OUT_VALUE, o, gen.nodes[gen.n - 1 - o]);
    return gen.g;
}
