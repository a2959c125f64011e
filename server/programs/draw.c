#include "server/programs/draw.h"
#include "schema/graph/ops.h"
#include <stdlib.h>

/* MOST: nodes that are drawn; of more nobody can tell the lines apart. The rest is pixels. */
enum { MOST = 400, BOX_W = 96, BOX_H = 34, GAP_X = 18, GAP_Y = 46, MARGIN = 16 };

/* Where each node goes: its layer is one below the lowest of its inputs. */
typedef struct {
    uint32_t n, layers, widest;
    uint32_t layer[MOST], column[MOST], width[MOST]; /* width: nodes in a layer */
} Layout;

static void lay_out(Layout *l, const Graph *g) {
    *l = (Layout){.n = g->nnodes < MOST ? g->nnodes : MOST};
    for (uint32_t i = 0; i < l->n; i++) {
        const GNode *node = &g->nodes[i];
        for (uint32_t k = 0; k < node->nin; k++) {
            uint32_t below = l->layer[node_ins(g, node)[k]] + 1;
            if (below > l->layer[i]) l->layer[i] = below;
        }
        l->column[i] = l->width[l->layer[i]]++;
        if (l->layer[i] + 1 > l->layers) l->layers = l->layer[i] + 1;
        if (l->width[l->layer[i]] > l->widest) l->widest = l->width[l->layer[i]];
    }
}

static unsigned left_of(const Layout *l, uint32_t node) {
    unsigned spare = (l->widest - l->width[l->layer[node]]) * (BOX_W + GAP_X) / 2;
    return MARGIN + spare + l->column[node] * (BOX_W + GAP_X);
}

static unsigned top_of(const Layout *l, uint32_t node) { return MARGIN + l->layer[node] * (BOX_H + GAP_Y); }

static void put_edges(Buf *out, const Graph *g, const Layout *l) {
    for (uint32_t i = 0; i < l->n; i++) {
        const GNode *node = &g->nodes[i];
        for (uint32_t k = 0; k < node->nin; k++) {
            uint32_t from = node_ins(g, node)[k];
            unsigned x1 = left_of(l, from) + BOX_W / 2, y1 = top_of(l, from) + BOX_H;
            unsigned x2 = left_of(l, i) + BOX_W * (k + 1) / (node->nin + 1), y2 = top_of(l, i);
            unsigned bend = (y2 - y1) / 2;
            buf_printf(out, "<path d=\"M%u %u C%u %u %u %u %u %u\"/>\n", x1, y1, x1, y1 + bend, x2, y2 - bend, x2, y2);
        }
    }
}

static void put_space(Buf *out, const Graph *g, const GNode *node) {
    buf_putc(out, '[');
    for (uint32_t k = 0; k < node->rank && k < 6; k++) buf_printf(out, k ? ",%u" : "%u", node_dims(g, node)[k]);
    buf_puts(out, node->rank > 6 ? ",…]" : "]");
}

static bool is_output(const Graph *g, uint32_t node) {
    for (uint32_t i = 0; i < g->noutputs; i++)
        if (g->outputs[i].node == node) return true;
    return false;
}

static void put_nodes(Buf *out, const Graph *g, const Layout *l) {
    for (uint32_t i = 0; i < l->n; i++) {
        const GNode *node = &g->nodes[i];
        unsigned x = left_of(l, i), y = top_of(l, i), middle = x + BOX_W / 2;
        const char *fill = is_output(g, i) ? "#d9ead3" : node->op == OP_input ? "#d0e0f5" : node->nsub ? "#fce5cd" : "#ffffff";
        buf_printf(out, "<rect x=\"%u\" y=\"%u\" width=\"%d\" height=\"%d\" rx=\"5\" fill=\"%s\"/>\n", x, y, BOX_W, BOX_H, fill);
        buf_printf(out, "<text x=\"%u\" y=\"%u\">%u %s</text><text x=\"%u\" y=\"%u\" class=\"space\">", middle, y + 14, i,
                   op_row(node->op)->name,
                   middle, y + 27);
        put_space(out, g, node);
        buf_puts(out, "</text>\n");
    }
}

void draw_svg(Buf *out, const Graph *g) {
    Layout *l = malloc(sizeof *l);
    if (!l) {
        out->failed = true;
        return;
    }
    lay_out(l, g);
    unsigned width = 2 * MARGIN + l->widest * (BOX_W + GAP_X), height = 2 * MARGIN + l->layers * (BOX_H + GAP_Y) + 10;
    buf_printf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%u\" height=\"%u\" viewBox=\"0 0 %u %u\">\n", width, height,
               width, height);
    buf_puts(out, "<style>path{fill:none;stroke:#888}rect{stroke:#444}text{font:12px sans-serif;text-anchor:middle}"
                  ".space{font-size:10px;fill:#555}</style>\n");
    put_edges(out, g, l);
    put_nodes(out, g, l);
    if (l->n < g->nnodes) buf_printf(out, "<text x=\"%u\" y=\"%u\">%u more nodes</text>\n", width / 2, height - 6, g->nnodes - l->n);
    buf_puts(out, "</svg>\n");
    free(l);
}
