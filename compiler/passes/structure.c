/* The structure pass: every node is put anew, by the rule that its op's row names (simplify). */
#include "compiler/passes/structure.h"
#include "compiler/passes/optimise.h"
#include "schema/graph/ops.h"

/* A node of the old graph, its inputs already in the new one. */
typedef struct {
    Structure *s;
    uint32_t node;
    const Graph *g;
    const GNode *n;
    const int64_t *attrs;
    Dims dims;
} Old;

static uint32_t in(const Old *old, uint32_t k) { return old->s->rw->moved[node_ins(old->g, old->n)[k]]; }
static bool is_zero(const Old *old, uint32_t k) { return old->s->rw->to->nodes[in(old, k)].op == OP_zero; }

static uint32_t simplify_copy(const Old *old) { return rewrite_copy(old->s->rw, old->node); }
static uint32_t simplify_reshape(const Old *old) { return structure_reshape(old->s, in(old, 0), &old->dims); }
static uint32_t simplify_permute(const Old *old) { return structure_permute(old->s, in(old, 0), old->attrs); }
static uint32_t simplify_add(const Old *old) { return structure_add(old->s, in(old, 0), in(old, 1)); }
static uint32_t simplify_if(const Old *old) { return structure_if(old->s, in(old, 0), in(old, 1), in(old, 2)); }

static uint32_t slide(const Old *old, int64_t by) {
    return structure_slide(old->s, in(old, 0), (uint32_t)old->attrs[0], old->dims.at[old->attrs[0]], by);
}
static uint32_t simplify_resize(const Old *old) { return slide(old, old->attrs[1]); }
static uint32_t simplify_shift(const Old *old) {
    if (old->attrs[1] != SHIFT_SATURATE) return slide(old, old->n->op == OP_shift ? 1 : -1);
    return is_zero(old, 0) ? structure_zero(old->s, &old->dims) : simplify_copy(old);
}

static uint32_t simplify_select(const Old *old) {
    return structure_select(old->s, in(old, 0), (uint32_t)old->attrs[0], (uint32_t)old->attrs[1]);
}
static uint32_t simplify_scatter(const Old *old) {
    return structure_scatter(old->s, in(old, 0), (uint32_t)old->attrs[0], (uint32_t)old->attrs[1], old->dims.at[old->attrs[0]]);
}

static uint32_t simplify_contract(const Old *old) {
    const Labels labels = structure_labels(old->g, old->node);
    return structure_contract(old->s, in(old, 0), in(old, 1), &labels);
}

/* A count padded with zeros reads no more states than the count itself. */
static uint32_t simplify_iter(const Old *old) {
    Rewrite *rw = old->s->rw;
    const GNode *n = old->n;
    Slide slide;
    const uint32_t count = in(old, 0);
    if (op_iter(old->g, n).counts != 1) return simplify_copy(old);
    if (is_zero(old, 0)) return structure_zero(old->s, &old->dims);
    if (!structure_is_slide(old->s, count, &slide) || slide.axis + 1 != rw->to->nodes[count].rank || slide.by || slide.from > slide.to)
        return simplify_copy(old);
    uint32_t *ins = ARENA_ARRAY(&rw->cx->arena, uint32_t, n->nin);
    for (uint32_t k = 0; k < n->nin; k++) ins[k] = k ? in(old, k) : slide.x;
    Graph *step = rewrite_give(rw->cx, rewrite_guard(rw->cx, graph_copy(old->g->subs[n->sub])));
    return rewrite_add(rw, &(NodeSpec){.op = OP_iter, .ins = ins, .nin = n->nin, .dims = node_dims(old->g, n), .rank = n->rank,
                                       .attrs = old->attrs, .nattr = n->nattr, .subs = &step, .nsub = 1});
}

static uint32_t put_node(Structure *s, uint32_t node) {
    static uint32_t (*const rules[OP_COUNT])(const Old *) = {
#define OP(name, inputs, linear, subs, fold, family, attributes, shape, cost, vjp, jvp, simplify, ...) [OP_##name] = simplify_##simplify,
#include "schema/graph/ops.def"
#undef OP
    };
    const Graph *g = s->rw->from;
    const GNode *n = &g->nodes[node];
    return rules[n->op](&(Old){.s = s, .node = node, .g = g, .n = n, .attrs = node_attrs(g, n), .dims = dims_of(g, node)});
}

/* The readers of `node` are readers of what it became. */
static void note_readers(Structure *s, uint32_t made, uint32_t readers) {
    if (made >= s->room) {
        uint32_t room = made * 2 + 16;
        s->readers = arena_grow(&s->rw->cx->arena, s->readers, s->room, room, sizeof *s->readers);
        s->room = room;
    }
    s->readers[made] += readers;
}

/* An op is rewritten in the light of what reads its inputs in the old graph. Where different nodes become one, more read it than was known, and
 * in the end it may have cost more: then all stays as it was. */
Graph *optimise_structure(Cx *cx, const Graph *g) {
    Structure s = {.rw = rewrite_new(cx, g), .contract = structure_contract};
    const uint32_t *readers = rewrite_readers(cx, g);
    for (uint32_t i = 0; i < g->nnodes; i++) {
        s.rw->moved[i] = put_node(&s, i);
        note_readers(&s, s.rw->moved[i], readers[i]);
    }
    Graph *made = rewrite_finish(s.rw);
    if (cost_total(graph_cost(made)) <= cost_total(graph_cost(g))) return made;
    graph_free(rewrite_give(cx, made));
    return rewrite_guard(cx, graph_copy(g));
}
