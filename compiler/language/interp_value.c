#include "compiler/language/interp_value.h"
#include "schema/limits.h"

void *heap_take(Heap *heap, size_t bytes) {
    if (bytes > LIMIT_INTERP_BYTES || heap->bytes > LIMIT_INTERP_BYTES - bytes)
        cx_fail(heap->cx, ERR_too_large, AT_NOWHERE, NULL, "Interpreting this program needs more than %zu MiB.",
                LIMIT_INTERP_BYTES >> 20);
    heap->bytes += bytes;
    return arena_alloc(&heap->cx->arena, bytes);
}

static Cell *cell_new(Heap *heap, uint32_t kind, uint32_t info) {
    Cell *cell = heap->spare;
    if (cell) heap->spare = cell->next;
    else cell = heap_take(heap, sizeof *cell);
    *cell = (Cell){.refs = 1, .kind = kind & 3, .info = info & 0x3FFFFFFF};
    return cell;
}

/* Drops a reference; a cell that nobody holds any more joins the list of the dying. */
static void drop(Cell **dying, const InterpValue *v) {
    if (!v || !value_is_cell(v)) return;
    Cell *cell = (Cell *)v;
    if (--cell->refs) return;
    const InterpValue *value = cell->kind == CELL_ENV ? cell->value : NULL;
    Cell *up = cell->kind == CELL_ENV ? cell->up : cell->kind == CELL_CLOSURE ? cell->env : NULL;
    /* The jump pointer is not needed any more: its place links the list. */
    *cell = (Cell){.kind = CELL_FREE, .value = value, .up = up, .jump = *dying};
    *dying = cell;
}

/* A loop, since chains of environments are as long as the program likes. */
void cell_release(Heap *heap, const InterpValue *v) {
    Cell *dying = NULL;
    drop(&dying, v);
    while (dying) {
        Cell *cell = dying;
        dying = cell->jump;
        drop(&dying, cell->value);
        drop(&dying, cell->up);
        cell->next = heap->spare;
        heap->spare = cell;
    }
}

const InterpValue *closure_new(Heap *heap, uint32_t node, Cell *env) {
    Cell *cell = cell_new(heap, CELL_CLOSURE, node);
    cell->env = env;
    return cell;
}

const InterpValue *basis_new(Heap *heap, const Type *type, size_t index) {
    if (type->kind == TYPE_BOOL) return value_bool(index == 0);
    if (!type_is_arrow(type)) return value_nat(index);
    Cell *cell = cell_new(heap, CELL_BASIS, 0);
    cell->type = type;
    cell->index = index;
    return cell;
}

static uint32_t depth_of(const Cell *env) { return env ? env->info : 0; }

Cell *env_push(Heap *heap, Cell *up, const InterpValue *value) {
    Cell *cell = cell_new(heap, CELL_ENV, depth_of(up) + 1);
    cell->value = value;
    cell->up = up;
    const Cell *far = up ? up->jump : NULL;
    bool join = up && depth_of(up) - depth_of(far) == depth_of(far) - depth_of(far ? far->jump : NULL);
    cell->jump = join && far ? far->jump : up;
    return cell;
}

const InterpValue *env_at(const Cell *env, uint32_t level) {
    while (env->info != level + 1) env = env->jump && env->jump->info >= level + 1 ? env->jump : env->up;
    return env->value;
}
