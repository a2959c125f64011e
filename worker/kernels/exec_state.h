/* What kernels see of a plan and of its execution: where every value is now, which rows, and the tensors outside.
 *
 * A plan is an array of steps in three phases, each in topological order: ONCE (what is the same for all tiles; in a step graph: for all
 * iterations), EACH (a tile; an iteration), AFTER (what needs sums over all tiles). All values of an execution lie in one slab of two regions: shared
 * values at `offset`, batched ones at `offset` × tile rows behind them; so one plan serves every number of rows.
 * Ownership: worker/plan (plan.h makes and frees plans, exec.h runs them); kernels change nothing but values and `at`. */
#ifndef CAJAL_EXEC_STATE_H
#define CAJAL_EXEC_STATE_H
#include "schema/formats/dtype.h"
#include "worker/kernels/step.h"
#include <stdatomic.h>

/* Which variant of the kernels. */
#ifdef __x86_64__
typedef enum { ISA_BASE, ISA_AVX2, ISA_AVX512, ISA_COUNT } Isa;
#else
typedef enum { ISA_BASE, ISA_COUNT } Isa;
#endif

typedef enum { PHASE_ONCE, PHASE_EACH, PHASE_AFTER, PHASES } Phase;

typedef enum {
    HOME_SLAB,  /* at `offset` of its region */
    HOME_CONST, /* at `offset` of the plan's constants */
    HOME_BOUND, /* where the iteration that runs this step graph says */
} Home;

typedef struct {
    size_t size; /* elements a row */
    bool batched;
    bool once, sum; /* one for all threads: settled before the tiles, or gathered by them; a sum over rows, one a thread */
    uint8_t home;
    size_t offset; /* elements; in the batched region elements a row */
} PlanValue;

/* Of a step graph: bound by its iteration to where the result shall go, so nothing is copied. */
typedef struct {
    uint32_t value; /* VALUE_NONE: not asked for */
    bool batched;
} PlanOutput;

struct Plan {
    const Graph *graph;
    bool f64, is_step;
    size_t rows; /* every execution has so many; 0: any number */
    Isa isa;
    bool blas;        /* tiles call BLAS */
    bool single_tile; /* a batched value needs a sum over the batch: all rows at once, and such sums are complete in EACH */
    PlanValue *values;
    uint32_t nvalues;
    Step *steps;
    uint32_t nsteps, phase_at[PHASES + 1]; /* steps [phase_at[p], phase_at[p+1]) */
    uint32_t *slot_values;                 /* by slot; VALUE_NONE when not needed */
    PlanOutput *outputs;                   /* by output */
    float *consts32;                       /* f32: the graph's constants, converted once */
    void **owned;                          /* details of steps */
    size_t nowned;
    Plan **subs;
    const SubPlan **nested; /* the same, with where their values lie */
    size_t nsubs;
    size_t shared_size, row_size; /* elements: the shared region, and a row of the batched one */
    size_t table;                 /* pointers a run needs, sub-plans' included */
    double macs_shared, macs_row;
};

static inline size_t plan_element(const Plan *plan) { return plan->f64 ? sizeof(double) : sizeof(float); }

/* One tensor for a slot. Dense: rows × cols elements, cols at most the slot's size and zero-padded to it (a tensor of several
 * axes may be short along the first only, so padding is at the end). Discrete: one value a row, meaning that basis vector. */
typedef struct {
    const void *data; /* NULL: no tensor */
    DType dtype;
    uint8_t discrete; /* 0: dense; 1: naturals; 2: booleans, of which true is basis vector 0 */
    bool batched;
    size_t cols;
} ExecInput;

/* rows × size elements of the plan's dtype; one row unless batched. Written before all inputs are read: apart from them. */
typedef struct {
    void *data; /* NULL: not wanted */
    bool batched;
} ExecOutput;

/* A plan at work; kernels read it. One for the plan itself and one, on the stack, for each step graph being run. */
struct Exec {
    const Plan *plan;
    void **at;         /* by value: where it is now; sub-plans' tables follow */
    size_t row0, rows; /* the tile */
    size_t all_rows;
    bool again; /* sums over the batch add to what is there: not the first tile */
    const ExecInput *inputs;
    const ExecOutput *outputs;
    _Atomic uint32_t *op; /* where whoever looks reads which Op runs, plus 1; NULL: nobody does */
};

/* One phase's steps. */
static inline void exec_state_phase(Exec *x, Phase phase) {
    const Plan *p = x->plan;
    for (uint32_t s = p->phase_at[phase]; s < p->phase_at[phase + 1]; s++) {
        if (x->op) atomic_store_explicit(x->op, (uint32_t)p->steps[s].op + 1, memory_order_relaxed);
        p->steps[s].run(x, &p->steps[s]);
    }
}
#endif
