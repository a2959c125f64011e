#include "worker/plan/exec.h"
#include "schema/limits.h"
#include <cblas.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { SLAB_ALIGN = 64 };
static size_t aligned(size_t bytes) { return (bytes + SLAB_ALIGN - 1) / SLAB_ALIGN * SLAB_ALIGN; }

void workspace_release(Workspace *w) {
    free(w->slab);
    free(w->table);
    *w = (Workspace){.threads = w->threads, .box = w->box};
}

void workspace_trim(Workspace *w) {
    if (w->room > 2 * EXEC_TILE_BYTES || w->table_room > EXEC_TILE_BYTES / sizeof *w->table) workspace_release(w);
}

/* Bytes of a slab for `rows` rows, SIZE_MAX when that does not fit. */
static size_t slab_bytes(const Plan *p, size_t rows) {
    size_t n;
    if (__builtin_mul_overflow(p->row_size, rows, &n) || __builtin_add_overflow(n, p->shared_size, &n) ||
        __builtin_mul_overflow(n, plan_element(p), &n))
        return SIZE_MAX;
    return n;
}

size_t exec_tile(const Plan *p, size_t rows, size_t most) {
    size_t tile = most ? most : EXEC_TILE, row = p->row_size * plan_element(p);
    if (tile > rows || p->single_tile) tile = rows;
    if (!p->single_tile) {
        while (tile > EXEC_TILE_LEAST && row > EXEC_CACHE_BYTES / tile) tile /= 2;
        while (tile > 1 && row > EXEC_TILE_BYTES / tile) tile /= 2;
    }
    return slab_bytes(p, tile) > LIMIT_JOB_BYTES ? 0 : tile;
}

static bool reserve(Workspace *w, size_t bytes, size_t table) {
    if (bytes > w->room) {
        free(w->slab);
        w->room = aligned(bytes);
        w->slab = aligned_alloc(SLAB_ALIGN, w->room);
        if (!w->slab) w->room = 0;
    }
    if (table > w->table_room) {
        free(w->table);
        w->table = calloc(table, sizeof *w->table);
        w->table_room = w->table ? table : 0;
    }
    return (w->slab || !bytes) && (w->table || !table);
}

/* Where every value of a plan and its sub-plans is, but for bound ones. Sub-plans nest at most LIMIT_GRAPH_DEPTH deep. */
static void bind_plan(const Plan *p, void **at, void *shared, void *rows, size_t tile);

static void bind_sub(const SubPlan *sub, void **at, size_t nvalues, size_t tile) {
    bind_plan(sub->plan, at + nvalues + sub->table, sub->shared == VALUE_NONE ? NULL : at[sub->shared],
              sub->rows == VALUE_NONE ? NULL : at[sub->rows], tile);
}

static void bind_plan(const Plan *p, void **at, void *shared, void *rows, size_t tile) {
    size_t element = plan_element(p);
    const void *consts = p->f64 ? (const void *)p->graph->consts : p->consts32;
    for (uint32_t v = 0; v < p->nvalues; v++) {
        const PlanValue *value = &p->values[v];
        if (value->home == HOME_CONST) at[v] = (char *)consts + value->offset * element;
        else if (value->home == HOME_BOUND) at[v] = NULL;
        else if (value->batched) at[v] = (char *)rows + value->offset * tile * element;
        else at[v] = (char *)shared + value->offset * element;
    }
    for (size_t i = 0; i < p->nsubs; i++) bind_sub(p->nested[i], at, p->nvalues, tile);
}

/* Discrete values must be places of their slot: afterwards the load kernel need not look. */
static bool check_discrete(const ExecInput *in, size_t rows, const Slot *slot, Err *err) {
    for (size_t r = 0; r < rows; r++) {
        int64_t v = in->dtype == DT_I64 ? ((const int64_t *)in->data)[r] : ((const uint8_t *)in->data)[r];
        if (v < 0 || (in->discrete == 2 && v > 1))
            return err_set(err, ERR_bad_tensor, "%lld is no %s.", (long long)v, in->discrete == 2 ? "boolean" : "natural");
        if (in->discrete != 2 && (uint64_t)v >= slot->size)
            return err_set(err, ERR_nat_bound_exceeded, "The natural %lld does not fit the input's size, %zu.", (long long)v,
                             slot->size);
    }
    return true;
}

static bool check_input(const ExecInput *in, size_t rows, const Slot *slot, Err *err) {
    if (!in->data) return err_set(err, ERR_missing_input, "An input has no tensor.");
    if (!in->discrete) {
        if (in->dtype != DT_F32 && in->dtype != DT_F64) return err_set(err, ERR_bad_tensor, "A dense tensor is F32 or F64.");
        if (!in->cols || in->cols > slot->size)
            return err_set(err, ERR_shape_mismatch, "A tensor has %zu elements a row where %zu fit.", in->cols, slot->size);
        return true;
    }
    if (in->dtype == DT_F32 || in->dtype == DT_F64)
        return err_set(err, ERR_bad_tensor, "A discrete tensor is I64, U8 or BOOL.");
    if (in->discrete == 2 && slot->size != 2)
        return err_set(err, ERR_shape_mismatch, "A boolean stands where none is wanted.");
    return check_discrete(in, in->batched ? rows : 1, slot, err);
}

static bool check(const Plan *p, const ExecInput *inputs, const ExecOutput *outputs, size_t rows, Err *err) {
    if (p->rows && rows != p->rows) return err_set(err, ERR_internal, "A plan for %zu rows was given %zu.", p->rows, rows);
    if (!rows || rows > LIMIT_ROWS) return err_set(err, ERR_too_large, "A batch has 1 to %zu rows.", LIMIT_ROWS);
    if (p->macs_shared + p->macs_row * (double)rows > LIMIT_JOB_MACS)
        return err_set(err, ERR_too_large, "This call needs about %.2g multiply-adds; the limit is %.2g.",
                         p->macs_shared + p->macs_row * (double)rows, LIMIT_JOB_MACS);
    for (uint32_t s = 0; s < p->graph->nslots; s++)
        if (p->slot_values[s] != VALUE_NONE && !check_input(&inputs[s], rows, &p->graph->slots[s], err)) return false;
    for (uint32_t o = 0; o < p->graph->noutputs; o++)
        if (outputs[o].data && p->outputs[o].batched && !outputs[o].batched)
            return err_set(err, ERR_bad_request, "Output %u has one row for each of the batch.", o);
    return true;
}

/* How many threads share the tiles: all, but for little work or little memory. */
static unsigned team_size(const Plan *p, size_t rows, size_t tile, unsigned threads, bool eager) {
    bool batched = p->phase_at[PHASE_EACH] != p->phase_at[PHASE_AFTER] && !p->single_tile;
    if (!batched || (!eager && p->macs_row * (double)rows < EXEC_TEAM_MACS)) return 1;
    size_t most = LIMIT_JOB_BYTES / (slab_bytes(p, tile) + 64), tiles = (rows + tile - 1) / tile;
    if (threads > tiles) threads = (unsigned)tiles;
    if (threads > most) threads = (unsigned)most;
    return threads ? threads : 1;
}

typedef struct {
    Exec first; /* thread 0's */
    unsigned n;
    size_t tile, slab; /* rows; bytes of a thread's slab */
    Workspace *w;
} Team;

/* Thread t's own table and slab; what is settled before the tiles is read where thread 0 has it. */
static void join_team(const Team *team, unsigned t) {
    const Plan *p = team->first.plan;
    void **at = team->w->table + t * p->table;
    char *slab = (char *)team->w->slab + t * team->slab;
    bind_plan(p, at, slab, slab + p->shared_size * plan_element(p), team->tile);
    for (uint32_t v = 0; t && v < p->nvalues; v++)
        if (p->values[v].once) at[v] = team->first.at[v];
}

static void run_tiles(const Team *team, unsigned t) {
    Exec x = team->first;
    size_t end = x.all_rows * (t + 1) / team->n;
    x.at = team->w->table + t * x.plan->table;
    for (x.row0 = x.all_rows * t / team->n; x.row0 < end; x.row0 += x.rows, x.again = true) {
        x.rows = end - x.row0 < team->tile ? end - x.row0 : team->tile;
        exec_state_phase(&x, PHASE_EACH);
    }
}

/* Each thread's sums over its rows, added in the threads' order. */
static void add_sums(const Team *team) {
    const Plan *p = team->first.plan;
    for (uint32_t v = 0; v < p->nvalues; v++)
        for (unsigned t = 1; t < team->n && p->values[v].sum; t++) {
            void *to = team->first.at[v], *from = team->w->table[t * p->table + v];
            for (size_t i = 0; p->f64 && i < p->values[v].size; i++) ((double *)to)[i] += ((double *)from)[i];
            for (size_t i = 0; !p->f64 && i < p->values[v].size; i++) ((float *)to)[i] += ((float *)from)[i];
        }
}

/* A tile's BLAS calls are one thread's, in a team or alone: a row's bits must not depend on how many share the work. */
static void run_each(const Team *team) {
    int threads = team->first.plan->blas ? openblas_get_num_threads() : 1;
    if (team->n > 1) {
#pragma omp parallel for num_threads(team->n) schedule(static, 1)
        for (unsigned t = 0; t < team->n; t++) {
            if (t) join_team(team, t);
            run_tiles(team, t);
        }
        add_sums(team);
        return;
    }
    if (threads > 1) openblas_set_num_threads(1);
    run_tiles(team, 0);
    if (threads > 1) openblas_set_num_threads(threads);
}

/* A shared output is made where its caller wants it, when that is as aligned as a slab: `store` has nothing left to copy then. */
static void bind_outputs(const Team *team) {
    const Plan *p = team->first.plan;
    for (uint32_t o = 0; o < p->graph->noutputs; o++) {
        const ExecOutput *out = &team->first.outputs[o];
        const uint32_t v = p->outputs[o].value;
        const bool one = v != VALUE_NONE && !p->values[v].batched && p->values[v].home == HOME_SLAB;
        if (one && out->data && !out->batched && (uintptr_t)out->data % SLAB_ALIGN == 0) team->first.at[v] = out->data;
    }
}

bool exec_run(const Plan *p, const ExecInput *inputs, const ExecOutput *outputs, size_t rows, size_t most, Workspace *w,
              Err *err) {
    if (!check(p, inputs, outputs, rows, err)) return false;
    size_t tile = exec_tile(p, rows, most);
    if (!tile)
        return err_set(err, ERR_too_large, "This call needs more than %zu MiB of working memory.", LIMIT_JOB_BYTES >> 20);
    Team team = {.n = team_size(p, rows, tile, w->threads, most > 0), .tile = tile, .slab = aligned(slab_bytes(p, tile)), .w = w};
    if (!reserve(w, team.n * team.slab, team.n * p->table)) return err_set(err, ERR_too_large, "This takes more memory than a worker may have.");
    team.first = (Exec){.plan = p, .at = w->table, .all_rows = rows, .rows = 1, .inputs = inputs, .outputs = outputs,
                        .op = w->box ? &w->box->op : NULL};
    join_team(&team, 0);
    bind_outputs(&team);
    exec_state_phase(&team.first, PHASE_ONCE);
    if (p->phase_at[PHASE_EACH] != p->phase_at[PHASE_AFTER]) run_each(&team);
    exec_state_phase(&team.first, PHASE_AFTER);
    if (w->box) atomic_store_explicit(&w->box->op, 0, memory_order_relaxed);
    return true;
}
