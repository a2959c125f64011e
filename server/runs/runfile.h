/* A run's checkpoint files: DIR/runs/<id>/<step>.safetensors, each there whole or not at all. For any thread.
 *
 * A file gets its name when it is whole and on the disk; its row (store_runs.h) follows, with the sum of its bytes. A file without a row is of
 * no use, and a row whose file is missing or has another sum is not used. */
#ifndef CAJAL_RUNFILE_H
#define CAJAL_RUNFILE_H
#include "schema/formats/json.h"
#include "server/lost_found.h"
#include "server/store/store_runs.h"

/* Copies `bytes` of the descriptor. storage_full or internal, with the cause. */
bool runfile_write(const char *data, const char *id, uint64_t step, int from, uint64_t bytes, RunCheckpoint *out, Err *err);
/* The checkpoint of one run as the first of another. Also conflict: it is not there any more. */
bool runfile_share(const char *data, const char *from, const char *to, uint64_t step, Err *err);
/* O_RDONLY, its bytes held against the row. -1 with errno: it is not to be used; ENOENT when it is not there (pruned, perhaps), EBADMSG when it is
 * damaged. */
int runfile_open(const char *data, const char *id, const RunCheckpoint *checkpoint);
/* The same without reading it. -1 with errno. */
int runfile_open_as_is(const char *data, const char *id, uint64_t step);
void runfile_remove(const char *data, const char *id, uint64_t step);
void runfile_remove_all(const char *data, const char *id);
/* At start-up: removes what was not finished; files without a row, and folders of runs that nobody knows, go to lost+found. */
void runfile_sweep(LostFound *lost, Store *store);
#endif
