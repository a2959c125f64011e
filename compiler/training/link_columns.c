/* Columns of the data as slots. */
#include "compiler/training/link_inside.h"
#include "schema/formats/elements.h"
#include <stdlib.h>
#include <string.h>

static const LinkColumn *find_column(const LinkData *data, const char *name) {
    for (uint32_t i = 0; i < data->ncolumns; i++)
        if (strcmp(data->columns[i].name, name) == 0) return &data->columns[i];
    return NULL;
}

const LinkColumn *link_column(Link *k, const char *name, const char *pointer) {
    const LinkColumn *column = find_column(k->train, name);
    if (!column) link_fail(k, ERR_bad_run, pointer, "The data set \"%s\" has no column \"%.60s\".", k->spec->train_data, name);
    return column;
}

bool link_is_integer(const LinkColumn *column) { return column->dtype != DT_F32 && column->dtype != DT_F64; }

const char *link_column_dtype(const LinkColumn *column) { return element_name(element_of_dtype(column->dtype)); }

Dims link_row(Link *k, const LinkColumn *column, const char *pointer) {
    Dims dims = {.rank = column->rank};
    for (uint32_t i = 0; i < column->rank; i++) {
        if (!column->dims[i] || column->dims[i] > LIMIT_SPACE)
            link_fail(k, ERR_bad_run, pointer, "A row of the column \"%.60s\" is empty or has more than %zu elements.",
                      column->name, LIMIT_SPACE);
        dims.at[i] = (uint32_t)column->dims[i];
    }
    link_size(k, &dims, pointer);
    return dims;
}

/* Slots are compared by what a row of them is. */
static void add_slot(Link *k, const LinkSlot *slot, const char *pointer) {
    Linked *out = k->out;
    for (uint32_t i = 0; i < out->nslots; i++) {
        const LinkSlot *there = &out->slots[i];
        if (strcmp(there->name, slot->name)) continue;
        if (there->discrete == slot->discrete && there->size == slot->size && (!slot->discrete || there->type == slot->type)) return;
        link_fail(k, ERR_bad_run, pointer,
                  "The column \"%.60s\" is used as %s here, and as %s elsewhere; one run uses a column in one way.", slot->name,
                  type_text(k->cx, slot->type), type_text(k->cx, there->type));
    }
    if (out->nslots == k->slots_room) {
        const uint32_t room = k->slots_room ? 2 * k->slots_room : 8;
        out->slots = arena_grow(&k->cx->arena, out->slots, out->nslots, room, sizeof *out->slots);
        k->slots_room = room;
    }
    out->slots[out->nslots++] = *slot;
}

void link_column_typed(Link *k, const char *name, const Type *type, const char *what, const char *pointer) {
    const LinkColumn *column = link_column(k, name, pointer);
    const Dims row = link_row(k, column, pointer), want = link_shape(k, type, pointer);
    LinkSlot slot = {.name = column->name, .column = (uint32_t)(column - k->train->columns), .size = type->dim, .type = type};
    slot.discrete = (type->kind == TYPE_BOOL || type->kind == TYPE_NAT) && !row.rank && link_is_integer(column);
    const bool number = !row.rank && type->kind == TYPE_REAL && type->dim == 1;
    const bool basis = !row.rank && (type->kind == TYPE_BOOL || type->kind == TYPE_NAT);
    if (!slot.discrete && !number && !dims_equal(&row, &want))
        link_fail(k, ERR_shape_mismatch, pointer, "The column \"%.60s\" is %s, %s of shape %s a row, and %s has type %s, shape %s%s.", column->name,
                  link_column_dtype(column), link_is_integer(column) ? "integers" : "numbers", link_dims(k, &row), what, type_text(k->cx, type),
                  link_dims(k, &want), basis ? "; which basis vector it is would be one integer a row (u8 or i64)" : "");
    add_slot(k, &slot, pointer);
}

Dims link_column_plain(Link *k, const char *name, const char *pointer) {
    const LinkColumn *column = link_column(k, name, pointer);
    Dims row = link_row(k, column, pointer);
    if (!row.rank && link_is_integer(column))
        link_fail(k, ERR_bad_run, pointer,
                  "The column \"%.60s\" is %s, one integer a row: bind it to a variable of type 2 or N[k], and name that variable here.", column->name,
                  link_column_dtype(column));
    if (!row.rank) row = (Dims){.rank = 1, .at = {1}};
    uint64_t extents[LAYER_RANK];
    for (uint32_t i = 0; i < row.rank; i++) extents[i] = row.at[i];
    add_slot(k, &(LinkSlot){.name = column->name, .column = (uint32_t)(column - k->train->columns), .size = dims_product(&row),
                            .type = type_real(k->cx, extents, row.rank)}, pointer);
    return row;
}

static void check_test(Link *k, LinkSlot *slot) {
    const LinkColumn *train = &k->train->columns[slot->column], *test = find_column(k->test, slot->name);
    if (!test) link_fail(k, ERR_bad_run, "/data/test", "The data set \"%s\" has no column \"%.60s\".", k->spec->test_data, slot->name);
    const Dims want = link_row(k, train, "/data/train"), row = link_row(k, test, "/data/test");
    if (!dims_equal(&row, &want))
        link_fail(k, ERR_shape_mismatch, "/data/test", "The column \"%.60s\" has rows of shape %s in \"%s\", and %s in \"%s\".", slot->name,
                  link_dims(k, &want), k->spec->train_data, link_dims(k, &row), k->spec->test_data);
    if (slot->discrete && !link_is_integer(test))
        link_fail(k, ERR_bad_run, "/data/test", "The column \"%.60s\" is %s in \"%s\", and %s in \"%s\", where integers (u8 or i64) are wanted as well.",
                  slot->name, link_column_dtype(train), k->spec->train_data, link_column_dtype(test), k->spec->test_data);
    slot->test_column = (uint32_t)(test - k->test->columns);
}

static int by_name(const void *a, const void *b) { return strcmp(((const LinkSlot *)a)->name, ((const LinkSlot *)b)->name); }

void link_settle_columns(Link *k) {
    Linked *out = k->out;
    for (uint32_t i = 0; i < k->spec->ncolumns; i++) link_column(k, k->spec->columns[i].name, k->spec->columns[i].pointer);
    if (out->nslots) qsort(out->slots, out->nslots, sizeof *out->slots, by_name);
    for (uint32_t i = 0; i < out->nslots; i++) {
        LinkSlot *slot = &out->slots[i];
        const SpecColumn column = spec_column(k->spec, slot->name);
        if (slot->discrete && column.pointer)
            link_fail(k, ERR_bad_run, column.pointer, "The column \"%.60s\" is used as basis vectors: it has no scale.", slot->name);
        slot->scale = column.scale;
        slot->shift = column.shift;
        slot->test_column = LINK_NONE;
        if (k->test) check_test(k, slot);
    }
}

uint32_t link_slot(const Link *k, const char *name) {
    const LinkSlot *found = bsearch(&(LinkSlot){.name = name}, k->out->slots, k->out->nslots, sizeof *k->out->slots, by_name);
    return (uint32_t)(found - k->out->slots);
}
