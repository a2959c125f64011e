/* The database: programs and compiled graphs; what else it holds is in store_*.h. The only user of SQLite.
 *
 * Reads are made in the loop's thread, writes by any one thread at a time (a lock), each side with a connection of its own; WAL lets
 * them overlap. Rows carry checksums and the compiler's version: a damaged or outdated one is reported absent (and logged), never served.
 * Ownership: what a get fills is the caller's (…_release, buf_release).
 * Errors: writes return ERR_NONE, ERR_storage_full, ERR_storage_busy (another process holds the database, and did for a while), or
 * ERR_internal; nothing here ends the process. What SQLite reports of a read is logged;
 * once it has found the database damaged, store_healthy says so until the end. */
#ifndef CAJAL_STORE_H
#define CAJAL_STORE_H
#include "schema/base/buf.h"
#include "schema/base/log.h"
#include "schema/errors.h"
#include "server/disk.h"
#include "server/store/store_spec.h"

typedef struct Store Store;

typedef struct {
    char *hash;
    unsigned char *canonical;
    size_t canonical_len;
    char *record, *text; /* NULL: damaged; the record also when outdated */
} StoredProgram;
void stored_program_release(StoredProgram *p);

/* Opens or makes DIR/cajal.db, for one process at a time. It is checked, or (a large one) being checked from now on; damaged indexes are made
 * again. NULL: `why`; also for a damaged database, and for none beside data, unless `recover` is set (README.md). */
Store *store_open(const StoreSpec *spec, char *why, size_t room);
void store_close(Store *store);
/* From now on what adds to the database leaves the disk's reserve free (storage_full), and what does not may use it. */
void store_use_disk(Store *store, Disk *disk);
/* DAMAGED: also when it does not answer. CHECKING: nothing was found yet. REPAIRED: indexes were made again, or it is a salvaged one. */
typedef enum { STORE_SOUND, STORE_CHECKING, STORE_REPAIRED, STORE_DAMAGED } StoreState;
StoreState store_state(Store *store);
bool store_healthy(Store *store); /* not DAMAGED */
uint64_t store_damage(Store *store); /* rows found damaged so far, each as often as it was read */
const char *store_library(void);  /* SQLite's version */

bool store_program_get(Store *store, const char *hash, StoredProgram *out);
bool store_graph_get(Store *store, const char *hash, const char *variant, Buf *out);

/* A place in a list that is ordered by age: that of the row (created, key). Key "": before the first. */
typedef struct {
    uint64_t created;
    char key[104];
} StorePlace;
/* False: no more. */
typedef bool StoreRow(void *arg, const char *record, size_t len);
/* The records of up to `limit` programs, newest first, those behind the place `after`. *last is the place of the last one looked at, its key "" when there is nothing behind it. ERR_internal: the database does not answer. */
ErrCode store_programs(Store *store, const StorePlace *after, size_t limit, StoreRow *row, void *arg, StorePlace *last);

/* Writes. Programs and graphs can be made again: they wait for nobody, and may be lost with the machine's power. A program that is there keeps its spelling, unless that is damaged. */
ErrCode store_program_put(Store *store, const char *hash, const void *canonical, size_t canonical_len, const char *record,
                          const char *text);
ErrCode store_graph_put(Store *store, const char *hash, const char *variant, const void *blob, size_t len);
ErrCode store_touch(Store *store, const char *hash, const char *variant);
/* ERR_not_found when there is none, ERR_conflict while a queued or running run uses it. */
ErrCode store_program_delete(Store *store, const char *hash);
#endif
