/* A graph's JSON and Graphviz forms. Recursion is at most LIMIT_GRAPH_DEPTH deep. */
#include "schema/graph/graph.h"
#include "schema/limits.h"
#include "schema/graph/ops.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOW_CONSTS = 64 }; /* constants of up to so many elements are written out */

/* Shortest of 15 to 17 digits that reads back; JSON has no non-finite numbers. */
static void put_double(Buf *out, double v) {
    char text[40];
    if (isnan(v)) buf_puts(out, "\"NaN\"");
    else if (isinf(v)) buf_puts(out, v > 0 ? "\"Infinity\"" : "\"-Infinity\"");
    else {
        for (int digits = 15; digits <= 17; digits++) {
            snprintf(text, sizeof text, "%.*g", digits, v);
            if (strtod(text, NULL) == v) break;
        }
        buf_puts(out, text);
    }
}

static void put_u32s(Buf *out, const uint32_t *list, uint32_t n) {
    buf_putc(out, '[');
    for (uint32_t i = 0; i < n; i++) buf_printf(out, "%s%u", i ? "," : "", list[i]);
    buf_putc(out, ']');
}

static void put_labels(Buf *out, const char *key, const int64_t *labels, int64_t n) {
    buf_printf(out, "\"%s\":[", key);
    for (int64_t i = 0; i < n; i++) buf_printf(out, "%s%" PRId64, i ? "," : "", labels[i]);
    buf_putc(out, ']');
}

static void put_const(Buf *out, const Graph *g, const GNode *n) {
    const double *data = g->consts + node_attrs(g, n)[0];
    if (n->size > SHOW_CONSTS) {
        buf_printf(out, ",\"count\":%zu", n->size);
        return;
    }
    buf_puts(out, ",\"values\":[");
    for (size_t i = 0; i < n->size; i++) {
        if (i) buf_putc(out, ',');
        put_double(out, data[i]);
    }
    buf_putc(out, ']');
}

static void put_contract_labels(Buf *out, const int64_t *a) {
    buf_puts(out, ",\"labels\":{");
    put_labels(out, "a", a + 3, a[0]);
    buf_putc(out, ',');
    put_labels(out, "b", a + 3 + a[0], a[1]);
    buf_putc(out, ',');
    put_labels(out, "out", a + 3 + a[0] + a[1], a[2]);
    buf_putc(out, '}');
}

static void put_readouts(Buf *out, const int64_t *a) {
    buf_puts(out, ",\"readouts\":[");
    for (int64_t r = 0; r < a[0]; r++)
        buf_printf(out, "%s{\"count\":%" PRId64 ",\"component\":%" PRId64 "}", r ? "," : "", a[1 + 2 * r], a[2 + 2 * r]);
    buf_putc(out, ']');
}

static void put_function(Buf *out, const int64_t *a) {
    const FunctionRow *f = function_row((Function)a[0]);
    buf_printf(out, ",\"function\":\"%s\"", f->name);
    for (int i = 0; i < 2; i++) {
        if (!f->parameter[i][0]) continue;
        buf_printf(out, ",\"%s\":", f->parameter[i]);
        put_double(out, attr_real(a[1 + i]));
    }
}

/* ,"name":value */
static void put_attr(Buf *out, const Graph *g, const GNode *n, const OpAttr *attr, const int64_t *a) {
    switch (attr->kind) {
    case ATTR_slot: case ATTR_network: {
        const Slot *slot = &g->slots[*a];
        buf_printf(out, ",\"slot\":%" PRId64 ",\"role\":\"%s\",\"index\":%u", *a, slot_role_name(slot->role), slot->index);
        break;
    }
    case ATTR_values: put_const(out, g, n); break;
    case ATTR_mode: buf_printf(out, ",\"%s\":\"%s\"", attr->name, shift_mode_name((ShiftMode)*a)); break;
    case ATTR_real:
        buf_printf(out, ",\"%s\":", attr->name);
        put_double(out, attr_real(*a));
        break;
    case ATTR_function: put_function(out, a); break;
    case ATTR_perm:
        buf_putc(out, ',');
        put_labels(out, attr->name, a, n->rank);
        break;
    case ATTR_labels: put_contract_labels(out, a); break;
    case ATTR_readouts: put_readouts(out, a); break;
    case ATTR_axis: case ATTR_new_axis: case ATTR_at: case ATTR_index: case ATTR_flag: case ATTR_integer: case ATTR_amount: case ATTR_extent:
    case ATTR_count: buf_printf(out, ",\"%s\":%" PRId64, attr->name, *a); break;
    case ATTR_none: break;
    }
}

typedef void (*PutAttr)(Buf *out, const Graph *g, const GNode *n, const OpAttr *attr, const int64_t *a);
static void each_attr(Buf *out, const Graph *g, const GNode *n, PutAttr put) {
    uint32_t at = 0;
    for (const OpAttr *attr = op_row(n->op)->attrs; attr->kind; attr++) {
        put(out, g, n, attr, node_attrs(g, n) + at);
        at += attr_places(g, n, attr->kind, at);
    }
}

static const char *sub_name(uint32_t i) { return i ? "vjp" : "step"; }

static void put_node(Buf *out, const Graph *g, uint32_t id) {
    const GNode *n = &g->nodes[id];
    buf_printf(out, "%s{\"id\":%u,\"op\":\"%s\",\"space\":", id ? "," : "", id, op_row(n->op)->name);
    put_u32s(out, node_dims(g, n), n->rank);
    buf_puts(out, ",\"in\":");
    put_u32s(out, node_ins(g, n), n->nin);
    each_attr(out, g, n, put_attr);
    for (uint32_t i = 0; i < n->nsub; i++) {
        buf_printf(out, ",\"%s\":", sub_name(i));
        graph_json(out, g->subs[n->sub + i]);
    }
    buf_putc(out, '}');
}

void graph_json(Buf *out, const Graph *g) {
    buf_puts(out, "{\"nodes\":[");
    for (uint32_t id = 0; id < g->nnodes; id++) put_node(out, g, id);
    buf_puts(out, "],\"outputs\":[");
    for (uint32_t i = 0; i < g->noutputs; i++) {
        const Output *o = &g->outputs[i];
        buf_printf(out, "%s{\"role\":\"%s\",\"index\":%u,\"node\":%u}", i ? "," : "", out_role_name(o->role), o->index, o->node);
    }
    buf_puts(out, "]}");
}

/* "R", "R[3]", "R[2,3]": the space as the language writes it */
static void put_space(Buf *out, const Graph *g, const GNode *n) {
    buf_putc(out, 'R');
    if (n->rank) put_u32s(out, node_dims(g, n), n->rank);
}

/* What of an attribute a drawing's label says. */
static void dot_attr(Buf *out, const Graph *g, const GNode *n, const OpAttr *attr, const int64_t *a) {
    (void)n;
    if (!attr->in_label) return;
    switch (attr->kind) {
    case ATTR_slot: case ATTR_network: buf_printf(out, " %s %u", slot_role_name(g->slots[*a].role), g->slots[*a].index); break;
    case ATTR_index: buf_printf(out, " %" PRId64, *a); break;
    case ATTR_at: buf_printf(out, " at %" PRId64, *a); break;
    case ATTR_mode: buf_printf(out, " %s", shift_mode_name((ShiftMode)*a)); break;
    case ATTR_function: buf_printf(out, " %s", function_row((Function)*a)->name); break;
    case ATTR_axis: case ATTR_new_axis: case ATTR_flag: case ATTR_integer: case ATTR_amount: case ATTR_extent: case ATTR_count:
        buf_printf(out, " %s %" PRId64, attr->name, *a);
        break;
    case ATTR_none: case ATTR_values: case ATTR_real: case ATTR_perm: case ATTR_labels: case ATTR_readouts: break; /* too long */
    }
}

static void dot_label(Buf *out, const Graph *g, const GNode *n) {
    buf_puts(out, op_row(n->op)->name);
    each_attr(out, g, n, dot_attr);
    buf_puts(out, "\\n");
    put_space(out, g, n);
}

enum { DOT_PREFIX = 16 * (LIMIT_GRAPH_DEPTH + 1) }; /* a level adds "n", six digits, "s", a digit, "_" */

static void dot_graph(Buf *out, const Graph *g, const char *prefix) {
    for (uint32_t id = 0; id < g->nnodes; id++) {
        const GNode *n = &g->nodes[id];
        buf_printf(out, "%sn%u [label=\"", prefix, id);
        dot_label(out, g, n);
        buf_puts(out, n->nsub ? "\",shape=doubleoctagon];\n" : "\"];\n");
        for (uint32_t i = 0; i < n->nin; i++) buf_printf(out, "%sn%u -> %sn%u;\n", prefix, node_ins(g, n)[i], prefix, id);
        for (uint32_t i = 0; i < n->nsub; i++) {
            char inner[DOT_PREFIX];
            snprintf(inner, sizeof inner, "%sn%us%u_", prefix, id, i);
            buf_printf(out, "subgraph cluster_%s {\nlabel=\"%s of %u\";\n", inner, sub_name(i), id);
            dot_graph(out, g->subs[n->sub + i], inner);
            buf_puts(out, "}\n");
        }
    }
    for (uint32_t i = 0; i < g->noutputs; i++) {
        const Output *o = &g->outputs[i];
        buf_printf(out, "%so%u [label=\"%s %u\",shape=plaintext];\n%sn%u -> %so%u;\n", prefix, i, out_role_name(o->role), o->index,
                   prefix, o->node, prefix, i);
    }
}

void graph_dot(Buf *out, const Graph *g) {
    buf_puts(out, "digraph neurons {\nnode [shape=box];\n");
    dot_graph(out, g, "");
    buf_puts(out, "}\n");
}
