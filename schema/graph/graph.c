#include "schema/graph/graph.h"
#include "schema/limits.h"
#include <stdlib.h>
#include <string.h>

Graph *graph_new(void) { return calloc(1, sizeof(Graph)); }

void graph_free(Graph *g) {
    if (!g) return;
    for (uint32_t i = 0; i < g->nsubs; i++) graph_free(g->subs[i]); /* at most LIMIT_GRAPH_DEPTH deep: graph_add sees to it */
    free(g->nodes);
    free(g->ins);
    free(g->dims);
    free(g->attrs);
    free(g->consts);
    free(g->subs);
    free(g->slots);
    free(g->outputs);
    free(g->buckets);
    free(g);
}

static void *duplicate(const void *from, size_t n, size_t size, bool *ok) {
    if (!n) return NULL;
    void *made = malloc(n * size); /* as large as what is there already */
    if (made) memcpy(made, from, n * size);
    *ok = *ok && made;
    return made;
}

/* Arrays that are just full: adding to the copy grows them. Recursion is at most LIMIT_GRAPH_DEPTH deep. */
Graph *graph_copy(const Graph *g) {
    Graph *to = graph_new();
    bool ok = to;
    if (!to) return NULL;
    *to = (Graph){.nnodes = g->nnodes, .nodes_room = g->nnodes, .nins = g->nins, .ins_room = g->nins, .ndims = g->ndims, .dims_room = g->ndims,
                  .nattrs = g->nattrs, .attrs_room = g->nattrs, .nconsts = g->nconsts, .consts_room = g->nconsts, .subs_room = g->nsubs,
                  .nslots = g->nslots, .slots_room = g->nslots, .slots_mixed = g->slots_mixed, .noutputs = g->noutputs,
                  .outputs_room = g->noutputs, .inside = g->inside, .depth = g->depth, .failed = g->failed};
    to->nodes = duplicate(g->nodes, g->nnodes, sizeof *g->nodes, &ok);
    to->ins = duplicate(g->ins, g->nins, sizeof *g->ins, &ok);
    to->dims = duplicate(g->dims, g->ndims, sizeof *g->dims, &ok);
    to->attrs = duplicate(g->attrs, g->nattrs, sizeof *g->attrs, &ok);
    to->consts = duplicate(g->consts, g->nconsts, sizeof *g->consts, &ok);
    to->slots = duplicate(g->slots, g->nslots, sizeof *g->slots, &ok);
    to->outputs = duplicate(g->outputs, g->noutputs, sizeof *g->outputs, &ok);
    to->subs = duplicate(g->subs, g->nsubs, sizeof(Graph *), &ok);
    for (; ok && to->nsubs < g->nsubs; to->nsubs++) ok = (to->subs[to->nsubs] = graph_copy(g->subs[to->nsubs]));
    if (ok) return to;
    graph_free(to);
    return NULL;
}

/* Appends n elements to an array, doubling its room. `from` may point into the array itself: callers pass node_dims and the like. */
static void *append(Graph *g, void *array, size_t *count, size_t *room, const void *from, size_t n, size_t size) {
    if (!n || g->failed) return array;
    if (n > LIMIT_GRAPH_BYTES / size - *count) {
        g->failed = true;
        return array;
    }
    if (n > *room - *count) {
        const uintptr_t at = (uintptr_t)from - (uintptr_t)array;
        const bool within = array && at < *count * size;
        size_t more = *room ? *room : 16;
        while (more < *count + n) more *= 2;
        void *grown = realloc(array, more * size);
        if (!grown) {
            g->failed = true;
            return array;
        }
        if (within) from = (const char *)grown + at;
        array = grown;
        *room = more;
    }
    memcpy((char *)array + *count * size, from, n * size);
    *count += n;
    return array;
}

/* The counts are of different widths; LIMIT_GRAPH_BYTES keeps all of them in 32 bits. */
#define APPEND(g, array, count, room, from, n) \
    do { \
        size_t count_ = (count), room_ = (room); \
        (array) = append((g), (array), &count_, &room_, (from), (n), sizeof *(array)); \
        (count) = (__typeof__(count))count_; \
        (room) = (__typeof__(room))room_; \
    } while (0)

uint32_t graph_slot(Graph *g, SlotRole role, uint32_t index, size_t size) {
    const Slot *last = g->nslots ? &g->slots[g->nslots - 1] : NULL;
    const bool in_order = !last || last->role < role || (last->role == role && last->index < index);
    for (uint32_t i = 0; (!in_order || g->slots_mixed) && i < g->nslots; i++)
        if (g->slots[i].role == role && g->slots[i].index == index && g->slots[i].size == size) return i;
    if (size > LIMIT_SPACE || g->nslots >= LIMIT_GRAPH_SLOTS) g->failed = true;
    g->slots_mixed = g->slots_mixed || !in_order;
    Slot slot = {.role = role, .index = index, .size = size};
    APPEND(g, g->slots, g->nslots, g->slots_room, &slot, 1);
    return g->failed ? 0 : g->nslots - 1;
}

void graph_copy_slots(Graph *g, const Graph *from) {
    APPEND(g, g->slots, g->nslots, g->slots_room, from->slots, from->nslots);
    g->slots_mixed = from->slots_mixed;
}

void graph_output(Graph *g, OutRole role, uint32_t index, uint32_t node) {
    if (g->noutputs >= LIMIT_GRAPH_SLOTS) g->failed = true;
    Output output = {.role = role, .index = index, .node = node};
    APPEND(g, g->outputs, g->noutputs, g->outputs_room, &output, 1);
}

bool dims_size(const uint32_t *dims, uint32_t rank, size_t *size) {
    *size = 1;
    if (rank > LIMIT_GRAPH_RANK) return false;
    for (uint32_t i = 0; i < rank; i++)
        if (!dims[i] || __builtin_mul_overflow(*size, dims[i], size) || *size > LIMIT_SPACE) return false;
    return true;
}

static NodeSpec spec_of(const Graph *g, const GNode *n) {
    return (NodeSpec){.op = n->op, .ins = g->ins + n->in, .nin = n->nin, .dims = g->dims + n->dims, .rank = n->rank,
                      .attrs = g->attrs + n->attr, .nattr = n->nattr, .subs = g->subs + n->sub, .nsub = n->nsub};
}

static uint64_t mix(uint64_t h, uint64_t v) {
    h = (h ^ v) * UINT64_C(0x9E3779B97F4A7C15);
    return h ^ h >> 29;
}

static uint64_t mix_bytes(uint64_t h, const void *bytes, size_t words) {
    for (size_t i = 0; i < words; i++) {
        uint64_t word;
        memcpy(&word, (const char *)bytes + i * sizeof word, sizeof word);
        h = mix(h, word);
    }
    return h;
}

/* Sub-graphs built in the same way are equal: their lists are. Recursion is at most LIMIT_GRAPH_DEPTH deep. */
static uint64_t hash_graph(uint64_t h, const Graph *g) {
    for (uint32_t i = 0; i < g->nnodes; i++) h = mix(h, g->nodes[i].op);
    h = mix_bytes(mix_bytes(h, g->attrs, g->nattrs), g->consts, g->nconsts);
    h = mix_bytes(h, g->ins, g->nins / 2);
    for (uint32_t i = 0; i < g->nsubs; i++) h = hash_graph(h, g->subs[i]);
    return h;
}

/* A constant is hashed and compared by its elements, not by where they stand; a sub-graph likewise. */
static uint64_t hash(const Graph *g, const NodeSpec *s) {
    uint64_t h = mix(mix(s->op, s->nin), s->rank);
    for (uint32_t i = 0; i < s->nin; i++) h = mix(h, s->ins[i]);
    for (uint32_t i = 0; i < s->rank; i++) h = mix(h, s->dims[i]);
    for (uint32_t i = 0; i < s->nsub; i++) h = hash_graph(h, s->subs[i]);
    if (s->op != OP_const) {
        for (uint32_t i = 0; i < s->nattr; i++) h = mix(h, (uint64_t)s->attrs[i]);
        return h;
    }
    for (int64_t i = 0; i < s->attrs[1]; i++) {
        uint64_t bits;
        memcpy(&bits, &g->consts[s->attrs[0] + i], sizeof bits);
        h = mix(h, bits);
    }
    return h;
}

static bool same(const void *a, const void *b, size_t n, size_t size) { return !n || memcmp(a, b, n * size) == 0; }

static bool same_nodes(const Graph *a, const Graph *b) {
    for (uint32_t i = 0; i < a->nnodes; i++) {
        const GNode *x = &a->nodes[i], *y = &b->nodes[i];
        if (x->op != y->op || x->nin != y->nin || x->rank != y->rank || x->nattr != y->nattr || x->nsub != y->nsub) return false;
    }
    return true;
}

static bool same_interface(const Graph *a, const Graph *b) {
    if (a->nslots != b->nslots || a->noutputs != b->noutputs) return false;
    for (uint32_t i = 0; i < a->nslots; i++)
        if (a->slots[i].role != b->slots[i].role || a->slots[i].index != b->slots[i].index || a->slots[i].size != b->slots[i].size) return false;
    for (uint32_t i = 0; i < a->noutputs; i++) {
        const Output *x = &a->outputs[i], *y = &b->outputs[i];
        if (x->role != y->role || x->index != y->index || x->node != y->node) return false;
    }
    return true;
}

static bool same_graph(const Graph *a, const Graph *b) {
    if (a == b) return true;
    if (a->nnodes != b->nnodes || a->nins != b->nins || a->ndims != b->ndims || a->nattrs != b->nattrs || a->nconsts != b->nconsts ||
        a->nsubs != b->nsubs || !same_nodes(a, b) || !same_interface(a, b))
        return false;
    if (!same(a->ins, b->ins, a->nins, sizeof *a->ins) || !same(a->dims, b->dims, a->ndims, sizeof *a->dims) ||
        !same(a->attrs, b->attrs, a->nattrs, sizeof *a->attrs) || !same(a->consts, b->consts, a->nconsts, sizeof *a->consts))
        return false;
    for (uint32_t i = 0; i < a->nsubs; i++)
        if (!same_graph(a->subs[i], b->subs[i])) return false;
    return true;
}

static bool equal(const Graph *g, const NodeSpec *a, const NodeSpec *b) {
    if (a->op != b->op || a->nin != b->nin || a->rank != b->rank || a->nattr != b->nattr || a->nsub != b->nsub) return false;
    if (!same(a->ins, b->ins, a->nin, sizeof *a->ins) || !same(a->dims, b->dims, a->rank, sizeof *a->dims)) return false;
    for (uint32_t i = 0; i < a->nsub; i++)
        if (!same_graph(a->subs[i], b->subs[i])) return false;
    if (a->op != OP_const) return same(a->attrs, b->attrs, a->nattr, sizeof *a->attrs);
    return a->attrs[1] == b->attrs[1] && same(g->consts + a->attrs[0], g->consts + b->attrs[0], (size_t)a->attrs[1], sizeof(double));
}

/* The bucket of an equal node, or the empty one where it belongs. */
static uint32_t *find(const Graph *g, const NodeSpec *spec) {
    for (uint32_t i = (uint32_t)hash(g, spec);; i++) {
        uint32_t *bucket = &g->buckets[i & (g->nbuckets - 1)];
        if (!*bucket) return bucket;
        NodeSpec other = spec_of(g, &g->nodes[*bucket - 1]);
        if (equal(g, spec, &other)) return bucket;
    }
}

/* Keeps the buckets at most half full. */
static bool reserve_buckets(Graph *g) {
    if (g->nnodes < g->nbuckets / 2) return true;
    uint32_t n = g->nbuckets ? g->nbuckets * 2 : 64;
    while (g->nnodes >= n / 2) n *= 2; /* a copy has none yet */
    uint32_t *buckets = calloc(n, sizeof *buckets);
    if (!buckets) return false;
    free(g->buckets);
    g->buckets = buckets;
    g->nbuckets = n;
    for (uint32_t i = 0; i < g->nnodes; i++) {
        NodeSpec spec = spec_of(g, &g->nodes[i]);
        *find(g, &spec) = i + 1;
    }
    return true;
}

static bool acceptable(const Graph *g, const NodeSpec *s, size_t *size) {
    if ((unsigned)s->op >= OP_COUNT || !dims_size(s->dims, s->rank, size)) return false;
    if (s->nin > LIMIT_GRAPH_NODES || s->nattr > LIMIT_GRAPH_NODES) return false;
    for (uint32_t i = 0; i < s->nin; i++)
        if (s->ins[i] >= g->nnodes) return false;
    if (s->op == OP_const) {
        if (s->nattr != 2 || s->attrs[0] < 0 || s->attrs[1] < 0) return false;
        const uint64_t offset = (uint64_t)s->attrs[0], count = (uint64_t)s->attrs[1];
        if (offset > g->nconsts || count > g->nconsts - offset) return false;
    }
    uint64_t inside = g->inside;
    for (uint32_t i = 0; i < s->nsub; i++) {
        const Graph *sub = s->subs[i];
        if (!sub || sub->failed || sub->depth >= LIMIT_GRAPH_DEPTH) return false;
        inside += sub->nnodes + sub->inside;
    }
    return g->nnodes + inside < LIMIT_GRAPH_NODES;
}

static bool owned(const Graph *g, const Graph *sub) {
    for (uint32_t i = 0; i < g->nsubs; i++)
        if (g->subs[i] == sub) return true;
    return false;
}

static uint32_t reject(Graph *g, const NodeSpec *spec) {
    g->failed = true;
    for (uint32_t i = 0; i < spec->nsub; i++)
        if (!owned(g, spec->subs[i])) graph_free(spec->subs[i]);
    return 0;
}

static void count_subs(Graph *g, const GNode *n) {
    for (uint32_t i = 0; i < n->nsub; i++) {
        const Graph *sub = g->subs[n->sub + i];
        g->inside += sub->nnodes + sub->inside;
        if (sub->depth + 1 > g->depth) g->depth = sub->depth + 1;
    }
}

uint32_t graph_add(Graph *g, const NodeSpec *spec) {
    size_t size;
    if (g->failed || !acceptable(g, spec, &size) || !reserve_buckets(g)) return reject(g, spec);
    uint32_t *bucket = find(g, spec);
    if (*bucket) {
        for (uint32_t i = 0; i < spec->nsub; i++)
            if (spec->subs[i] != g->subs[g->nodes[*bucket - 1].sub + i]) graph_free(spec->subs[i]);
        return *bucket - 1;
    }
    GNode node = {.op = spec->op, .nin = spec->nin, .in = g->nins, .rank = spec->rank, .dims = g->ndims, .nattr = spec->nattr,
                  .attr = g->nattrs, .nsub = spec->nsub, .sub = g->nsubs, .size = size};
    APPEND(g, g->ins, g->nins, g->ins_room, spec->ins, spec->nin);
    APPEND(g, g->dims, g->ndims, g->dims_room, spec->dims, spec->rank);
    APPEND(g, g->attrs, g->nattrs, g->attrs_room, spec->attrs, spec->nattr);
    APPEND(g, g->nodes, g->nnodes, g->nodes_room, &node, 1);
    APPEND(g, g->subs, g->nsubs, g->subs_room, spec->subs, spec->nsub);
    if (g->failed) return reject(g, spec);
    count_subs(g, &node);
    *bucket = g->nnodes;
    return g->nnodes - 1;
}

uint32_t graph_const(Graph *g, const double *data, const uint32_t *dims, uint32_t rank) {
    size_t count;
    if (!dims_size(dims, rank, &count)) g->failed = true;
    if (g->failed) return 0;
    const size_t offset = g->nconsts;
    const uint32_t before = g->nnodes;
    APPEND(g, g->consts, g->nconsts, g->consts_room, data, count);
    const int64_t attrs[] = {(int64_t)offset, (int64_t)count};
    uint32_t node = graph_add(g, &(NodeSpec){.op = OP_const, .dims = dims, .rank = rank, .attrs = attrs, .nattr = 2});
    if (g->nnodes == before) g->nconsts = offset; /* an equal one was there */
    return node;
}
