/* contract: labels sorted into four groups, operands brought into the matrix products' layout.
 *
 * G: in a, b and out (a product each); M: a and out; N: b and out; K: a and b, summed. a is wanted as [G,M,K] or [G,K,M], b as
 * [G,K,N] or [G,N,K], out as [G,M,N], and where rows can join an axis of the product (kernels/contract.c), in the one layout
 * that allows it.
 * Labels of extent 1 move nothing in memory and are left out. */
#include "schema/limits.h"
#include "worker/kernels/kernels.h"
#include "worker/plan/planner.h"

enum { MOST = LIMIT_GRAPH_RANK };
#define BLAS_FROM 1e6 /* multiply-adds of a product of two shared operands */
#define PACK_MOST ((size_t)1 << 19) /* elements of a shared operand that pay for being packed in every run */

typedef struct {
    uint32_t n;
    int64_t label[MOST];
    size_t extent[MOST];
} LabelledAxes;

typedef struct {
    Planner *b;
    Op op;
    LabelledAxes a, b_, out; /* as the node has them */
    uint32_t va, vb;
    bool a_batched, b_batched;
} ContractPlan;

static bool has(const LabelledAxes *x, int64_t label) {
    for (uint32_t i = 0; i < x->n; i++)
        if (x->label[i] == label) return true;
    return false;
}

static void axes_push(LabelledAxes *x, int64_t label, size_t extent) {
    x->label[x->n] = label;
    x->extent[x->n++] = extent;
}

static LabelledAxes axes_read(const int64_t *labels, const uint32_t *dims, uint32_t rank) {
    LabelledAxes x = {.n = 0};
    for (uint32_t i = 0; i < rank; i++)
        if (dims[i] != 1) axes_push(&x, labels[i], dims[i]);
    return x;
}

/* Those of x that stand (or do not) in y and in z, in x's order. */
static LabelledAxes axes_where(const LabelledAxes *x, const LabelledAxes *y, bool in_y, const LabelledAxes *z, bool in_z) {
    LabelledAxes r = {.n = 0};
    for (uint32_t i = 0; i < x->n; i++)
        if (has(y, x->label[i]) == in_y && has(z, x->label[i]) == in_z) axes_push(&r, x->label[i], x->extent[i]);
    return r;
}

static LabelledAxes axes_join(const LabelledAxes *x, const LabelledAxes *y, const LabelledAxes *z) {
    LabelledAxes r = *x;
    for (uint32_t i = 0; i < y->n; i++) axes_push(&r, y->label[i], y->extent[i]);
    for (uint32_t i = 0; i < z->n; i++) axes_push(&r, z->label[i], z->extent[i]);
    return r;
}

static bool axes_equal(const LabelledAxes *x, const LabelledAxes *y) {
    for (uint32_t i = 0; i < x->n; i++)
        if (x->label[i] != y->label[i]) return false;
    return x->n == y->n;
}

static size_t axes_size(const LabelledAxes *x) {
    size_t n = 1;
    for (uint32_t i = 0; i < x->n; i++) n *= x->extent[i];
    return n;
}

/* The value with its axes in another order. */
static uint32_t reorder(ContractPlan *p, uint32_t value, const LabelledAxes *from, const LabelledAxes *to) {
    uint32_t perm[MOST];
    for (uint32_t i = 0; i < to->n; i++)
        for (uint32_t k = 0; k < from->n; k++)
            if (from->label[k] == to->label[i]) perm[i] = k;
    return planner_permute(p->b, value, from->extent, from->n, perm, p->op);
}

static void swap_operands(ContractPlan *p) {
    LabelledAxes axes = p->a;
    uint32_t value = p->va;
    bool batched = p->a_batched;
    p->a = p->b_, p->va = p->vb, p->a_batched = p->b_batched;
    p->b_ = axes, p->vb = value, p->b_batched = batched;
}

/* Whether some label of y stands before some of x in out. */
static bool out_swapped(const ContractPlan *p, const LabelledAxes *x, const LabelledAxes *y) {
    for (uint32_t i = 0; i < p->out.n; i++) {
        if (has(x, p->out.label[i])) return false;
        if (has(y, p->out.label[i])) return true;
    }
    return false;
}

/* The operand in [G, first, second] or, where that is allowed, [G, second, first] when it is so already; true: the latter. */
static bool lay_out(ContractPlan *p, uint32_t *value, const LabelledAxes *axes, const LabelledAxes *G, const LabelledAxes *first, const LabelledAxes *second,
                    bool either) {
    LabelledAxes straight = axes_join(G, first, second), turned = axes_join(G, second, first);
    if (axes_equal(axes, &straight)) return false;
    if (either && axes_equal(axes, &turned)) return true;
    *value = reorder(p, *value, axes, &straight);
    return false;
}

/* A shared b so large that moving it costs more than moving the batch's rows, of which there are always as many. */
static bool heavy(const ContractPlan *p) {
    return p->b->spec->rows && p->a_batched && !p->b_batched && axes_size(&p->b_) / p->b->spec->rows > axes_size(&p->a) + axes_size(&p->out);
}

/* K in a's order when a then need not move, else in b's. */
static LabelledAxes choose_k(const ContractPlan *p, const LabelledAxes *G, const LabelledAxes *M) {
    LabelledAxes ka = axes_where(&p->a, &p->b_, true, &p->out, false), kb = axes_where(&p->b_, &p->a, true, &p->out, false);
    LabelledAxes straight = axes_join(G, M, &ka), turned = axes_join(G, &ka, M);
    return !heavy(p) && (axes_equal(&p->a, &straight) || axes_equal(&p->a, &turned)) ? ka : kb;
}

static uint32_t finish(ContractPlan *p, uint32_t value, const LabelledAxes *made) {
    return axes_equal(made, &p->out) ? value : reorder(p, value, made, &p->out);
}

typedef struct {
    LabelledAxes G, M, N, K;
} Groups;

static Groups find_groups(const ContractPlan *p) {
    return (Groups){.G = axes_where(&p->out, &p->a, true, &p->b_, true),
                    .M = axes_where(&p->out, &p->a, true, &p->b_, false),
                    .N = axes_where(&p->out, &p->a, false, &p->b_, true)};
}

/* Which operand is a: the batched one; of two shared ones the matrix, when the other is a vector, as only b is packed. */
static Groups orient(ContractPlan *p) {
    Groups x = find_groups(p);
    bool one_batched = p->a_batched != p->b_batched, neither = !p->a_batched && !p->b_batched;
    bool swap = out_swapped(p, &x.M, &x.N);
    if (one_batched) swap = p->b_batched;
    else if (neither && axes_size(&x.M) == 1) swap = true;
    else if (neither && axes_size(&x.N) == 1) swap = false;
    if (swap) {
        swap_operands(p);
        x = find_groups(p);
    }
    x.K = choose_k(p, &x.G, &x.M);
    if (heavy(p)) x.N = axes_where(&p->b_, &p->a, false, &p->out, true);
    return x;
}

static bool same_pack(const Step *a, const Step *b) {
    const ContractDetail *c = a->contract, *d = b->contract;
    return c->G == d->G && c->N == d->N && c->K == d->K && c->tb == d->tb;
}

/* b in the panels that the product kernel wants. */
static uint32_t pack(ContractPlan *p, ContractDetail *d) {
    Planner *b = p->b;
    const size_t size = d->G * kernel_packed(d, kernel_panel(b->plan->f64));
    return planner_prepare(b, (Step){.run = KERNEL_OF(b->plan, pack), .op = p->op, .in = {p->vb}, .contract = d}, size, same_pack);
}

/* Shared, and large enough for BLAS, whose results for a row depend on the number of rows. */
static bool blas_deserved(const ContractPlan *p, const ContractDetail *d) {
    return !p->a_batched && !p->b_batched && d->M >= 16 && d->N >= 16 && d->K >= 16 &&
           (double)d->M * (double)d->N * (double)d->K >= BLAS_FROM;
}

/* The sum over rows adds to what `top` has when that has the same layout. */
static uint32_t sum_value(ContractPlan *p, const ContractDetail *d, const LabelledAxes *made, const NodeInfo *top) {
    bool joins = top && top->adds != VALUE_NONE && axes_equal(made, &p->out);
    return joins ? top->adds : planner_value(p->b, d->G * d->M * d->N, false, HOME_SLAB, PHASE_ONCE);
}

/* Rows times a matrix they share, of which there are always as many: BLAS's, when packing it would cost more than the product. */
static bool rows_deserved(const ContractPlan *p, const ContractDetail *d) {
    return p->b->spec->rows && p->a_batched && !p->b_batched && d->G == 1 && d->M * p->b->spec->rows >= 16 && d->N > PACK_MOST / d->K;
}

static uint32_t emit(ContractPlan *p, bool summed, NodeInfo *top) {
    Planner *b = p->b;
    ContractDetail *d = planner_alloc(b, 1, sizeof *d);
    if (!planner_ok(b)) return 0;
    Groups x = orient(p);
    LabelledAxes made = axes_join(&x.G, &x.M, &x.N);
    *d = (ContractDetail){.G = axes_size(&x.G), .M = axes_size(&x.M), .N = axes_size(&x.N), .K = axes_size(&x.K)};
    bool elements = d->M == 1 && d->N == 1 && d->K == 1, rows = !summed && rows_deserved(p, d);
    bool packed = !summed && !p->b_batched && !elements && !rows && !blas_deserved(p, d);
    if (summed) { /* rows join K: both want K outside */
        lay_out(p, &p->va, &p->a, &x.G, &x.K, &x.M, false);
        d->ta = true;
        lay_out(p, &p->vb, &p->b_, &x.G, &x.K, &x.N, false);
    } else { /* rows join M, which wants M outside */
        d->ta = lay_out(p, &p->va, &p->a, &x.G, &x.M, &x.K, !packed && !rows);
        d->tb = lay_out(p, &p->vb, &p->b_, &x.G, &x.K, &x.N, true);
    }
    b->plan->blas |= !packed;
    if (packed && planner_ok(b)) p->vb = pack(p, d);
    if (!planner_ok(b)) return 0;
    if (summed && top && axes_equal(&made, &p->out) && planner_sum_gather(b, top, p->va, p->vb, d, p->op)) return VALUE_NONE;
    bool batched = p->a_batched || p->b_batched;
    uint32_t v = summed ? sum_value(p, d, &made, top) : planner_value(b, d->G * d->M * d->N, batched, HOME_SLAB, PHASE_ONCE);
    planner_work(b, batched, (double)d->G * (double)d->M * (double)d->N * (double)d->K);
    Kernel run = summed   ? KERNEL_OF(b->plan, contract_sum)
                 : packed ? KERNEL_OF(b->plan, product)
                 : rows   ? KERNEL_OF(b->plan, contract_rows)
                          : KERNEL_OF(b->plan, contract);
    planner_step(b, (Step){.run = run, .op = p->op, .out = v, .in = {p->va, p->vb}, .contract = d,
                           .more = summed && top && v == top->adds},
                 &(StepUse){.nin = 2, .sums = summed});
    return finish(p, v, &made);
}

uint32_t planner_contract(Planner *b, uint32_t i, bool summed, NodeInfo *top) {
    const Graph *g = b->g;
    const GNode *n = &g->nodes[i];
    const uint32_t *ins = node_ins(g, n);
    const GNode *na = &g->nodes[ins[0]], *nb = &g->nodes[ins[1]];
    const int64_t *labels = node_attrs(g, n) + 3;
    ContractPlan p = {.b = b,
                 .op = n->op,
                 .va = b->nodes[ins[0]].value,
                 .vb = b->nodes[ins[1]].value,
                 .a_batched = b->nodes[ins[0]].batched,
                 .b_batched = b->nodes[ins[1]].batched};
    p.a = axes_read(labels, node_dims(g, na), na->rank);
    p.b_ = axes_read(labels + na->rank, node_dims(g, nb), nb->rank);
    p.out = axes_read(labels + na->rank + nb->rank, node_dims(g, n), n->rank);
    if (summed && p.a_batched != p.b_batched) { /* linear in the batched one: sum that instead */
        if (p.a_batched) p.va = planner_sum(b, p.va, p.op);
        else p.vb = planner_sum(b, p.vb, p.op);
        p.a_batched = p.b_batched = summed = false;
    }
    return planner_ok(b) ? emit(&p, summed, top) : 0;
}
