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

static void put_iter(Buf *out, const int64_t *a) {
    buf_printf(out, ",\"counts\":%" PRId64 ",\"components\":%" PRId64 ",\"captures\":%" PRId64 ",\"readouts\":[", a[0], a[1], a[2]);
    for (int64_t r = 0; r < a[3]; r++)
        buf_printf(out, "%s{\"count\":%" PRId64 ",\"component\":%" PRId64 "}", r ? "," : "", a[4 + 2 * r], a[5 + 2 * r]);
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

static void put_integers(Buf *out, const char *const *names, const int64_t *a, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) buf_printf(out, ",\"%s\":%" PRId64, names[i], a[i]);
}

/* ,"name":value for each attribute, by its meaning in ops.def */
static void put_attrs(Buf *out, const Graph *g, const GNode *n) {
    static const char *const softmax[] = {"axis", "log", "transpose"}, *const pad[] = {"top", "bottom", "left", "right"},
                             *const window[] = {"kh", "kw", "sh", "sw", "ph", "pw"};
    const int64_t *a = node_attrs(g, n);
    switch (n->op) {
    case OP_input: case OP_call: {
        const Slot *slot = &g->slots[a[0]];
        buf_printf(out, ",\"slot\":%" PRId64 ",\"role\":\"%s\",\"index\":%u", a[0], slot_role_name(slot->role), slot->index);
        break;
    }
    case OP_const: put_const(out, g, n); break;
    case OP_onehot: case OP_tuple_get: buf_printf(out, ",\"index\":%" PRId64, a[0]); break;
    case OP_shift: case OP_unshift:
        buf_printf(out, ",\"axis\":%" PRId64 ",\"mode\":\"%s\"", a[0], shift_mode_name((ShiftMode)a[1]));
        break;
    case OP_resize: buf_printf(out, ",\"axis\":%" PRId64 ",\"by\":%" PRId64, a[0], a[1]); break;
    case OP_select: case OP_scatter: buf_printf(out, ",\"axis\":%" PRId64 ",\"index\":%" PRId64, a[0], a[1]); break;
    case OP_permute: buf_putc(out, ','); put_labels(out, "perm", a, n->nattr); break;
    case OP_contract:
        buf_puts(out, ",\"labels\":{");
        put_labels(out, "a", a + 3, a[0]);
        buf_putc(out, ',');
        put_labels(out, "b", a + 3 + a[0], a[1]);
        buf_putc(out, ',');
        put_labels(out, "out", a + 3 + a[0] + a[1], a[2]);
        buf_putc(out, '}');
        break;
    case OP_iter: put_iter(out, a); break;
    case OP_map: case OP_map_vjp: put_function(out, a); break;
    case OP_softmax: case OP_softmax_vjp: put_integers(out, softmax, a, n->nattr); break;
    case OP_broadcast: case OP_sum: buf_printf(out, ",\"axis\":%" PRId64, a[0]); break;
    case OP_pad:
        put_integers(out, pad, a, 4);
        buf_puts(out, ",\"value\":");
        put_double(out, attr_real(a[4]));
        break;
    case OP_max_pool2d: case OP_max_pool2d_vjp: case OP_max_pool2d_jvp: case OP_avg_pool2d: case OP_avg_pool2d_vjp:
        put_integers(out, window, a, 6);
        break;
    case OP_conv2d: case OP_conv2d_dx: case OP_conv2d_dw: put_integers(out, window + 2, a, 4); break;
    case OP_iter_vjp: buf_printf(out, ",\"captures\":%" PRId64, a[0]); break;
    case OP_zero: case OP_eye: case OP_reshape: case OP_add: case OP_if: case OP_batch_sum: case OP_COUNT: break;
    }
}

static const char *sub_name(uint32_t i) { return i ? "vjp" : "step"; }

static void put_node(Buf *out, const Graph *g, uint32_t id) {
    const GNode *n = &g->nodes[id];
    buf_printf(out, "%s{\"id\":%u,\"op\":\"%s\",\"space\":", id ? "," : "", id, op_row(n->op)->name);
    put_u32s(out, node_dims(g, n), n->rank);
    buf_puts(out, ",\"in\":");
    put_u32s(out, node_ins(g, n), n->nin);
    put_attrs(out, g, n);
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

static void dot_label(Buf *out, const Graph *g, const GNode *n) {
    const int64_t *a = node_attrs(g, n);
    buf_puts(out, op_row(n->op)->name);
    switch (n->op) {
    case OP_input: case OP_call: buf_printf(out, " %s %u", slot_role_name(g->slots[a[0]].role), g->slots[a[0]].index); break;
    case OP_onehot: case OP_tuple_get: buf_printf(out, " %" PRId64, a[0]); break;
    case OP_shift: case OP_unshift: buf_printf(out, " axis %" PRId64 " %s", a[0], shift_mode_name((ShiftMode)a[1])); break;
    case OP_resize: buf_printf(out, " axis %" PRId64 " by %" PRId64, a[0], a[1]); break;
    case OP_select: case OP_scatter: buf_printf(out, " axis %" PRId64 " at %" PRId64, a[0], a[1]); break;
    case OP_map: case OP_map_vjp: buf_printf(out, " %s", function_row((Function)a[0])->name); break;
    case OP_broadcast: case OP_sum: buf_printf(out, " axis %" PRId64, a[0]); break;
    default: break;
    }
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
