/* Running a plan: tiles of rows, each through the plan's steps; nothing is allocated in between.
 *
 * Threads take equal runs of tiles, each with a slab of its own. Sums over the batch add up tile by tile, then thread by thread, in
 * order: a run's bits depend on nothing but plan, rows, tile size and threads, and those of a row on nothing but the row.
 * Ownership: inputs and outputs are lent; a Workspace keeps its memory for the next run (workspace_trim gives large ones back).
 * Errors: too_large before any memory is taken (LIMIT_JOB_BYTES, LIMIT_JOB_MACS), internal when malloc fails;
 * nat_bound_exceeded and bad_tensor for discrete values that are no place of their slot. */
#ifndef CAJAL_EXEC_H
#define CAJAL_EXEC_H
#include "schema/protocol/wire.h"
#include "worker/plan/plan.h"

typedef struct {
    void *slab;
    size_t room;
    void **table;
    size_t table_room;
    unsigned threads; /* that may share a run; 0 is 1 */
    BlackBox *box;    /* lent; NULL: nobody looks */
} Workspace;
void workspace_release(Workspace *w);
void workspace_trim(Workspace *w);

enum { EXEC_TILE = 1024 };                 /* rows a tile, at most */
enum { EXEC_TILE_LEAST = 128 };            /* fewer only when memory asks for it */
#define EXEC_CACHE_BYTES ((size_t)1 << 20) /* of a tile's batched values: they stay in a core's cache */
#define EXEC_TILE_BYTES ((size_t)32 << 20) /* what a tile's slab should stay below */
#define EXEC_TEAM_MACS 4e6                 /* waking another thread costs more than this much work */

/* Tile rows for a run of `rows`; 0 when even the smallest tile is beyond LIMIT_JOB_BYTES. `most` caps it (0: EXEC_TILE). */
size_t exec_tile(const Plan *plan, size_t rows, size_t most);
/* inputs by slot, outputs by output. `tile`: 0, or the largest tile to use, and then all threads, however little work (tests). */
bool exec_run(const Plan *plan, const ExecInput *inputs, const ExecOutput *outputs, size_t rows, size_t tile, Workspace *w,
              Err *err);
#endif
