/* A trained model as a program. */
#include "compiler/derive/derive.h"
#include "compiler/training/link_inside.h"
#include "compiler/passes/optimise.h"
#include "schema/graph/ops.h"

typedef struct {
    Rewrite rw;
    const Linked *linked;
    const LinkServe *serve;
    uint32_t *input; /* by column slot: which INPUT, LINK_NONE when only the loss reads it */
} Serve;

static void put_inputs(Serve *s) {
    uint32_t next = 0;
    for (uint32_t i = 0; i < s->linked->nslots; i++) {
        s->input[i] = s->linked->slots[i].needed ? next++ : LINK_NONE;
        if (s->input[i] != LINK_NONE) graph_slot(s->rw.to, SLOT_INPUT, s->input[i], s->linked->slots[i].size);
    }
}

static uint32_t put_column(Serve *s, uint32_t column) {
    const LinkSlot *slot = &s->linked->slots[column];
    const Dims flat = {.rank = 1, .at = {(uint32_t)slot->size}};
    if (s->input[column] == LINK_NONE) return rewrite_node(&s->rw, OP_zero, NULL, 0, &flat, NULL, 0); /* only the loss reads it, and goes */
    const uint32_t x = link_input(&s->rw, SLOT_INPUT, s->input[column], slot->size);
    const bool scaled = s->serve->stored && (slot->scale != 1 || slot->shift != 0);
    return scaled ? link_map(&s->rw, x, FUNCTION_scale, slot->scale, slot->shift) : x;
}

static uint32_t put_weight(Serve *s, uint32_t weight) {
    return link_const(&s->rw, s->serve->weights[weight], s->linked->weights[weight].size);
}

static uint32_t put_node(Serve *s, uint32_t node) {
    const GNode *n = &s->rw.from->nodes[node];
    if (n->op != OP_input) return rewrite_copy(&s->rw, node);
    const Slot *slot = &s->rw.from->slots[node_attrs(s->rw.from, n)[0]];
    return slot->role == SLOT_COLUMN ? put_column(s, slot->index) : put_weight(s, slot->index);
}

static Graph *serve_value(Cx *cx, const Linked *linked, const LinkServe *serve) {
    const Graph *from = linked->forward;
    Serve s = {.linked = linked, .serve = serve, .input = ARENA_ARRAY(&cx->arena, uint32_t, linked->nslots)};
    s.rw = (Rewrite){.cx = cx, .from = from, .to = rewrite_guard(cx, graph_new()), .moved = ARENA_ARRAY(&cx->arena, uint32_t,
                                                                                          from->nnodes)};
    put_inputs(&s);
    for (uint32_t i = 0; i < from->nnodes; i++) s.rw.moved[i] = put_node(&s, i);
    for (uint32_t i = 0; i < from->noutputs; i++) {
        const Output *o = &from->outputs[i];
        const bool wanted = o->role == OUT_VALUE || (o->role == OUT_BOUND && serve->wanted && serve->wanted[o->index]);
        if (wanted) graph_output(s.rw.to, o->role, o->index, s.rw.moved[o->node]);
    }
    return rewrite_finish_as_is(&s.rw);
}

Graph *link_serve(Cx *cx, const Linked *linked, const LinkServe *serve) {
    static const DeriveSpec value = {.output = 0};
    Graph *g = serve_value(cx, linked, serve);
    if (serve->derive == DERIVE_LOWERED) return rewrite_give(cx, g);
    g = rewrite_replace(cx, g, optimise_all(cx, g));
    if (serve->derive == DERIVE_NONE) return rewrite_give(cx, g);
    g = rewrite_replace(cx, g, serve->derive == DERIVE_VJP ? derive_vjp(cx, g, &value) : derive_jvp(cx, g, &value));
    return rewrite_give(cx, rewrite_replace(cx, g, optimise_all(cx, g)));
}
