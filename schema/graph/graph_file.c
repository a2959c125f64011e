/* The file form (graph.h): "CJGR", version u16, op table hash u64, the graph, BLAKE2b-128.
 *
 *   graph  = slots: count, {role u8, index, size}; constants: count, doubles; nodes: count, {node}; outputs: count, {role u8, index, node}
 *   node   = op u8; inputs: count, how many nodes back each is; dims: count, extents; attributes: count, values;
 *            sub-graphs: count, graphs
 * Counts and numbers are varints. A graph is hash-consed, so no node stands twice: nodes that differ only in their sub-graphs do not count
 * as equal. */
#include "schema/graph/graph.h"
#include "schema/limits.h"
#include "schema/graph/ops.h"
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_VERSION = 1, DIGEST = 16, HEAD = 4 + 2 + 8 };
static const char MAGIC[4] = {'C', 'J', 'G', 'R'};

static void put_node(Buf *out, const Graph *g, uint32_t id);

static void put_graph(Buf *out, const Graph *g) {
    buf_varint(out, g->nslots);
    for (uint32_t i = 0; i < g->nslots; i++) {
        buf_u8(out, (uint8_t)g->slots[i].role);
        buf_varint(out, g->slots[i].index);
        buf_varint(out, g->slots[i].size);
    }
    buf_varint(out, g->nconsts);
    for (size_t i = 0; i < g->nconsts; i++) {
        uint64_t bits;
        memcpy(&bits, &g->consts[i], sizeof bits);
        buf_u64(out, bits);
    }
    buf_varint(out, g->nnodes);
    for (uint32_t id = 0; id < g->nnodes; id++) put_node(out, g, id);
    buf_varint(out, g->noutputs);
    for (uint32_t i = 0; i < g->noutputs; i++) {
        buf_u8(out, (uint8_t)g->outputs[i].role);
        buf_varint(out, g->outputs[i].index);
        buf_varint(out, g->outputs[i].node);
    }
}

/* Recursion through sub-graphs is at most LIMIT_GRAPH_DEPTH deep, here and below. */
static void put_node(Buf *out, const Graph *g, uint32_t id) {
    const GNode *n = &g->nodes[id];
    buf_u8(out, (uint8_t)n->op);
    buf_varint(out, n->nin);
    for (uint32_t i = 0; i < n->nin; i++) buf_varint(out, id - node_ins(g, n)[i]);
    buf_varint(out, n->rank);
    for (uint32_t i = 0; i < n->rank; i++) buf_varint(out, node_dims(g, n)[i]);
    buf_varint(out, n->nattr);
    for (uint32_t i = 0; i < n->nattr; i++) buf_varint(out, (uint64_t)node_attrs(g, n)[i]);
    buf_varint(out, n->nsub);
    for (uint32_t i = 0; i < n->nsub; i++) put_graph(out, g->subs[n->sub + i]);
}

static void digest(const unsigned char *bytes, size_t len, unsigned char out[DIGEST]) {
    crypto_generichash(out, DIGEST, bytes, len, NULL, 0);
}

bool graph_write(const Graph *g, Buf *out) {
    const size_t begin = out->len;
    unsigned char sum[DIGEST];
    if (g->failed) return false;
    buf_put(out, MAGIC, sizeof MAGIC);
    buf_u16(out, FILE_VERSION);
    buf_u64(out, op_table_hash());
    put_graph(out, g);
    if (out->failed || out->len - begin > LIMIT_GRAPH_BYTES - DIGEST) return false;
    digest(out->data + begin, out->len - begin, sum);
    buf_put(out, sum, DIGEST);
    return !out->failed;
}

/* What is left to read, and how many nodes there may still be at all levels. */
typedef struct {
    Reader in;
    uint32_t nodes;
} Source;

/* A count of things that take at least `least` bytes each, and of which there are at most `most`. */
static uint32_t get_count(Source *s, size_t least, size_t most) {
    const size_t fit = (s->in.len - s->in.at) / least;
    return (uint32_t)read_count(&s->in, fit < most ? fit : most);
}

static uint32_t get_u32(Source *s) { return (uint32_t)read_count(&s->in, UINT32_MAX); }

static void get_slots(Source *s, Graph *g) {
    uint32_t n = get_count(s, 3, LIMIT_GRAPH_SLOTS);
    for (uint32_t i = 0; i < n && !s->in.failed && !g->failed; i++) {
        SlotRole role = (SlotRole)read_u8(&s->in);
        uint32_t index = get_u32(s);
        size_t size = (size_t)read_count(&s->in, LIMIT_SPACE);
        if (role >= SLOT_ROLES || graph_slot(g, role, index, size) != i) s->in.failed = true;
    }
}

static void get_consts(Source *s, Graph *g) {
    const uint32_t n = get_count(s, sizeof(double), LIMIT_GRAPH_BYTES);
    if (!n || s->in.failed) return;
    g->consts = malloc(n * sizeof *g->consts);
    if (!g->consts) {
        g->failed = true;
        return;
    }
    g->nconsts = g->consts_room = n;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t bits = read_u64(&s->in);
        memcpy(&g->consts[i], &bits, sizeof bits);
    }
}

/* A list of at most `most` numbers in memory of its own. */
static uint32_t *get_u32s(Source *s, uint32_t *n, uint32_t most) {
    *n = get_count(s, 1, most);
    uint32_t *list = malloc((*n + (size_t)1) * sizeof *list);
    for (uint32_t i = 0; list && i < *n; i++) list[i] = get_u32(s);
    return list;
}

static int64_t *get_attrs(Source *s, uint32_t *n) {
    *n = get_count(s, 1, LIMIT_GRAPH_NODES);
    int64_t *list = malloc((*n + (size_t)1) * sizeof *list);
    for (uint32_t i = 0; list && i < *n; i++) list[i] = (int64_t)read_varint(&s->in); /* negative ones and the bits of reals fill all 64 */
    return list;
}

static Graph *get_graph(Source *s, uint32_t depth);

static uint32_t get_subs(Source *s, uint32_t depth, Graph *subs[2]) {
    uint32_t n = (uint32_t)read_count(&s->in, 2), got = 0;
    while (got < n && (subs[got] = get_graph(s, depth + 1))) got++;
    if (got < n) s->in.failed = true;
    return got;
}

/* An input that is not before the node, or a node that stood before, gives another id than expected. */
static void get_node(Source *s, Graph *g, uint32_t id, uint32_t depth) {
    uint32_t nin, rank, nattr;
    Graph *subs[2];
    Op op = (Op)read_u8(&s->in);
    uint32_t *ins = get_u32s(s, &nin, LIMIT_GRAPH_NODES), *dims = get_u32s(s, &rank, LIMIT_GRAPH_RANK);
    int64_t *attrs = get_attrs(s, &nattr);
    const uint32_t nsub = get_subs(s, depth, subs);
    if (!ins || !dims || !attrs) g->failed = true;
    for (uint32_t i = 0; ins && i < nin; i++) ins[i] = id - ins[i];
    if (g->failed || s->in.failed || s->nodes == 0) {
        s->in.failed = true;
        for (uint32_t i = 0; i < nsub; i++) graph_free(subs[i]);
    } else {
        s->nodes--;
        if (graph_add(g, &(NodeSpec){.op = op, .ins = ins, .nin = nin, .dims = dims, .rank = rank, .attrs = attrs, .nattr = nattr,
                                     .subs = subs, .nsub = nsub}) != id)
            s->in.failed = true;
    }
    free(ins);
    free(dims);
    free(attrs);
}

static Graph *get_graph(Source *s, uint32_t depth) {
    Graph *g = depth <= LIMIT_GRAPH_DEPTH ? graph_new() : NULL;
    if (!g) return NULL;
    get_slots(s, g);
    get_consts(s, g);
    const uint32_t nnodes = get_count(s, 5, LIMIT_GRAPH_NODES);
    for (uint32_t id = 0; id < nnodes && !s->in.failed && !g->failed; id++) get_node(s, g, id, depth);
    const uint32_t noutputs = get_count(s, 3, LIMIT_GRAPH_SLOTS);
    for (uint32_t i = 0; i < noutputs && !s->in.failed && !g->failed; i++) {
        OutRole role = (OutRole)read_u8(&s->in);
        uint32_t index = get_u32(s);
        graph_output(g, role, index, get_u32(s));
    }
    if (!s->in.failed && !g->failed) return g;
    graph_free(g);
    return NULL;
}

static Graph *refuse(Graph *g, char *why, size_t room, const char *message) {
    if (room) snprintf(why, room, "%s", message);
    graph_free(g);
    return NULL;
}

Graph *graph_read(const void *bytes, size_t len, char *why, size_t room) {
    unsigned char sum[DIGEST];
    if (len < HEAD + DIGEST || len > LIMIT_GRAPH_BYTES) return refuse(NULL, why, room, "not of a graph's length");
    Source s = {.in = reader_of(bytes, len - DIGEST), .nodes = LIMIT_GRAPH_NODES};
    const unsigned char *magic = read_raw(&s.in, sizeof MAGIC);
    if (memcmp(magic, MAGIC, sizeof MAGIC) || read_u16(&s.in) != FILE_VERSION) return refuse(NULL, why, room, "not a graph of this version");
    if (read_u64(&s.in) != op_table_hash()) return refuse(NULL, why, room, "made with another op table");
    digest(bytes, len - DIGEST, sum);
    if (memcmp(sum, (const unsigned char *)bytes + len - DIGEST, DIGEST)) return refuse(NULL, why, room, "the checksum is wrong");
    Graph *g = get_graph(&s, 0);
    if (!g || !reader_done(&s.in)) return refuse(g, why, room, "malformed, or out of memory");
    if (!graph_verify(g, why, room)) {
        graph_free(g);
        return NULL;
    }
    return g;
}
