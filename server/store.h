/* The database: programs and compiled graphs. The only user of SQLite.
 *
 * Reads are made in the loop's thread, writes by any one thread at a time (a lock), each side with a connection of its own; WAL lets
 * them overlap. Rows carry checksums and the compiler's version: a damaged or outdated one is reported absent (and logged), never served.
 * Ownership: what a get fills is the caller's (…_release, buf_release).
 * Errors: writes return ERR_NONE, ERR_storage_full, or ERR_internal; nothing here ends the process. */
#ifndef CAJAL_STORE_H
#define CAJAL_STORE_H
#include "schema/base/buf.h"
#include "schema/base/log.h"
#include "schema/errors.h"

typedef struct Store Store;

typedef struct {
    char *hash;
    unsigned char *canonical;
    size_t canonical_len;
    char *record, *text; /* NULL: damaged; the record also when outdated */
} StoredProgram;
void stored_program_release(StoredProgram *p);

/* Opens or makes DIR/cajal.db; graphs beyond `graph_bytes` are evicted. `version` names the compiler. NULL: `why`. */
Store *store_open(const char *dir, const char *version, uint64_t graph_bytes, const Log *log, char *why, size_t room);
void store_close(Store *store);
bool store_healthy(Store *store); /* a trivial read works */
const char *store_library(void);  /* SQLite's version */

bool store_program_get(Store *store, const char *hash, StoredProgram *out);
bool store_graph_get(Store *store, const char *hash, const char *variant, Buf *out);

/* The records of up to `limit` programs, newest first, those after the place (created, hash) when hash is not "". */
typedef struct {
    uint64_t created;
    char hash[80];
} StorePlace;
typedef void StoreRow(void *arg, const char *record, size_t len);
/* Returns the number of rows given; *last is the place of the last one. */
size_t store_programs(Store *store, const StorePlace *after, size_t limit, StoreRow *row, void *arg, StorePlace *last);

/* Writes. A program that is there keeps its spelling, unless that is damaged. */
ErrCode store_program_put(Store *store, const char *hash, const void *canonical, size_t canonical_len, const char *record,
                          const char *text);
ErrCode store_graph_put(Store *store, const char *hash, const char *variant, const void *blob, size_t len);
ErrCode store_touch(Store *store, const char *hash, const char *variant);
/* ERR_not_found when there is none. */
ErrCode store_program_delete(Store *store, const char *hash);
#endif
