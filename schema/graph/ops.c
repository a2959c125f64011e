#include "schema/graph/ops.h"
#include "schema/base/hash.h"

enum { FOLD_opaque, FOLD_folds };

static const OpRow rows[OP_COUNT] = {
#define ATTR(kind, name) {ATTR_##kind, #name, true},
#define DETAIL(kind, name) {ATTR_##kind, #name, false},
#define OP(name, inputs, linear, subs, fold, family, attributes, ...) \
    [OP_##name] = {#name, inputs, linear, subs, FOLD_##fold, FAMILY_##family, {attributes{ATTR_none, NULL, false}}},
#include "schema/graph/ops.def"
#undef OP
#undef DETAIL
#undef ATTR
};

const OpRow *op_row(Op op) { return &rows[op]; }

static const FunctionRow functions[FUNCTION_COUNT] = {
#define FUNCTION(name, p0, p1, wrong, reads, ...) {#name, {p0, p1}, READS_##reads},
    /* where a function's slope is read off */
#define READS_x false
#define READS_y true
#include "schema/graph/functions.def"
#undef READS_y
#undef READS_x
#undef FUNCTION
};

const FunctionRow *function_row(Function f) { return &functions[f]; }

/* ---- the table's hash ---- */

/* Raised when the meaning of an op, of a function or of an attribute's kind changes while the rows stay. */
enum { OP_MEANING = 3 };

/* The NUL included, as a separator. */
static uint64_t hash_text(uint64_t h, const char *text) { return hash_bytes(h, text, strlen(text) + 1); }

static uint64_t hash_row(uint64_t h, const OpRow *row) {
    h = hash_text(hash_text(h, row->name), row->linear);
    h = hash_word(hash_word(h, (uint64_t)(row->inputs + 1)), row->subs);
    h = hash_word(hash_word(h, row->folds), row->family);
    for (const OpAttr *attr = row->attrs; attr->kind; attr++) h = hash_text(hash_word(h, attr->kind), attr->name);
    return hash_word(h, ATTR_none);
}

uint64_t op_table_hash(void) {
    uint64_t h = hash_word(HASH_START, OP_MEANING);
    for (int op = 0; op < OP_COUNT; op++) h = hash_row(h, &rows[op]);
    for (int f = 0; f < FUNCTION_COUNT; f++) {
        h = hash_text(h, functions[f].name);
        for (int i = 0; i < 2; i++) h = hash_text(h, functions[f].parameter[i]);
    }
    return h;
}

/* ---- attributes ---- */

uint32_t attr_places(const Graph *g, const GNode *n, AttrKind kind, uint32_t at) {
    const int64_t *a = node_attrs(g, n) + at;
    const uint32_t left = n->nattr - at;
    uint32_t places = 1;
    switch (kind) {
    case ATTR_values: places = 2; break;
    case ATTR_function: places = 3; break;
    case ATTR_perm: places = g->nodes[node_ins(g, n)[0]].rank; break;
    case ATTR_labels:
        places = 3;
        for (uint32_t i = 0; i < 3 && left >= 3; i++) {
            if (a[i] < 0 || a[i] > LIMIT_GRAPH_RANK) return UINT32_MAX;
            places += (uint32_t)a[i];
        }
        break;
    case ATTR_readouts:
        if (left && (a[0] < 0 || a[0] > LIMIT_GRAPH_NODES)) return UINT32_MAX;
        places = left ? 1 + 2 * (uint32_t)a[0] : 1;
        break;
    case ATTR_none: case ATTR_slot: case ATTR_network: case ATTR_axis: case ATTR_new_axis: case ATTR_at: case ATTR_index: case ATTR_mode:
    case ATTR_flag: case ATTR_integer: case ATTR_real: case ATTR_amount: case ATTR_extent: case ATTR_count: break;
    }
    return places <= left ? places : UINT32_MAX;
}

/* ---- iterations, batches ---- */

bool op_is_result(const Graph *g, const GNode *n) {
    return n->op == OP_tuple_get && node_attrs(g, n)[0] + 1 == g->nodes[node_ins(g, n)[0]].nin;
}

uint32_t op_batched_by(const Graph *g, const GNode *n, const uint32_t **ins) {
    *ins = node_ins(g, n);
    if (n->op == OP_batch_sum) {
        ++*ins;
        return 1;
    }
    if (!op_is_result(g, n)) return n->nin;
    const GNode *tuple = &g->nodes[**ins];
    *ins = node_ins(g, tuple);
    return tuple->nin - 1; /* all but the cotangent */
}

uint32_t op_reads(const GNode *n) { return n->op == OP_batch_sum ? 1 : n->nin; }

/* ---- shapes ---- */

uint32_t window_extent(uint32_t n, uint32_t kernel, uint32_t stride, uint32_t pad) {
    const uint64_t room = n + 2 * (uint64_t)pad;
    if (!kernel || !stride || room < kernel || room > LIMIT_SPACE) return 0;
    return (uint32_t)((room - kernel) / stride + 1);
}

/* ---- names ---- */

const char *slot_role_name(SlotRole role) {
    static const char *const names[SLOT_ROLES] = {"input", "arg", "cotangent", "tangent_input", "tangent_arg", "state",
                                                   "capture", "network", "column", "weight"};
    return names[role];
}

const char *out_role_name(OutRole role) {
    static const char *const names[OUT_ROLES] = {"value", "grad_input", "grad_arg", "tangent", "state",
                                                 "capture", "loss", "bound", "grad_weight"};
    return names[role];
}

const char *shift_mode_name(ShiftMode mode) {
    static const char *const names[] = {"exact", "drop", "saturate"};
    return names[mode];
}
