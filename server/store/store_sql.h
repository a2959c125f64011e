/* What the files of the store share: its statements in one table, its connections, and how a statement is run. For store*.c only.
 *
 * Statements of `reader` are run in the loop's thread, those of `writer` by who holds the lock. Every one that was stepped is finished
 * (store_finish) before it is used again. */
#ifndef CAJAL_STORE_SQL_H
#define CAJAL_STORE_SQL_H
#include "schema/base/log.h"
#include "schema/errors.h"
#include "server/disk.h"
#include <pthread.h>
#include <sodium.h>
#include <sqlite3.h>
#include <stdatomic.h>

enum { STORE_SUM = crypto_generichash_BYTES_MIN }; /* bytes of a checksum, BLAKE2b-128 (store_sums.h) */

/* Whether a row is as it was written. A row that is looked up is held against what was asked for, which an index may have wrong. */
#define PROGRAM_INTACT "checksum = blake(record, x'00', text)"
#define DATASET_INTACT(name) "d.checksum = blake(" name ", x'00', d.sha256, x'00', d.record)"
#define RUN_INTACT \
    "(r.head_sum = blake_parts(r.seq, r.id, r.name, r.program, r.forked_from, r.created) AND r.progress_sum = blake_parts(r.seq, r.state, r.reason," \
    " r.started, r.ended, r.step, r.steps, r.epoch, r.latest, r.versions, r.attempts, r.events, r.code))"
#define POINTS_SUMMED "first, first_value, last, last_value, least, least_value, most, most_value, n, points_sum"

/* STATEMENT(name, connection, SQL) */
#define PROGRAM_STATEMENTS(STATEMENT) \
    STATEMENT(ping, reader, "SELECT (SELECT hash FROM programs LIMIT 1), (SELECT id FROM graphs LIMIT 1), (SELECT name FROM datasets LIMIT 1)," \
              " (SELECT seq FROM runs LIMIT 1)") \
    STATEMENT(program, reader, "SELECT canonical, record, text, version, " PROGRAM_INTACT " FROM programs WHERE hash = ?1") \
    STATEMENT(graph, reader, "SELECT blob, version, checksum = blake_parts(?1, ?2, version, blob) FROM graphs" \
              " WHERE hash = ?1 AND variant = ?2") \
    STATEMENT(list, reader, "SELECT created, hash, record, " PROGRAM_INTACT " FROM programs WHERE (created, hash) < (?1, ?2)" \
              " ORDER BY created DESC, hash DESC LIMIT ?3") \
    STATEMENT(put_program, writer, "INSERT INTO programs (hash, canonical, record, text, version, checksum, created)" \
              " VALUES (?1, ?2, ?3, ?4, ?5, blake(?3, x'00', ?4), ?6)" \
              " ON CONFLICT (hash) DO UPDATE SET canonical = ?2, record = ?3, text = ?4, version = ?5, checksum = blake(?3, x'00', ?4)") \
    STATEMENT(put_graph, writer, "INSERT INTO graphs (hash, variant, version, blob, bytes, last_used, checksum)" \
              " VALUES (?1, ?2, ?3, ?4, ?5, ?6, blake_parts(?1, ?2, ?3, ?4))" \
              " ON CONFLICT (hash, variant) DO UPDATE SET version = ?3, blob = ?4, bytes = ?5, last_used = ?6," \
              " checksum = blake_parts(?1, ?2, ?3, ?4)") \
    STATEMENT(touch, writer, "UPDATE graphs SET last_used = ?3 WHERE hash = ?1 AND variant = ?2") \
    STATEMENT(delete, writer, "DELETE FROM programs WHERE hash = ?1") \
    STATEMENT(total, writer, "SELECT coalesce(sum(bytes), 0) FROM graphs") \
    STATEMENT(evict, writer, "DELETE FROM graphs WHERE id = (SELECT g.id FROM graphs g JOIN programs p USING (hash)" \
              " WHERE p.pinned = 0 ORDER BY g.last_used LIMIT 1)" \
              " RETURNING bytes")

#define CONTENT "SELECT bytes, block, sums, damaged, checksum = blake_parts(?1, bytes, block, sums) FROM contents WHERE sha256 = ?1"

#define DATASET_STATEMENTS(STATEMENT) \
    STATEMENT(dataset, reader, "SELECT sha256, record, created, " DATASET_INTACT("?1") ", c.damaged FROM datasets d" \
              " LEFT JOIN contents c USING (sha256) WHERE name = ?1") \
    STATEMENT(dataset_list, reader, "SELECT created, name, record, " DATASET_INTACT("name") ", c.damaged FROM datasets d" \
              " LEFT JOIN contents c USING (sha256) WHERE (created, name) < (?1, ?2) ORDER BY created DESC, name DESC LIMIT ?3") \
    STATEMENT(dataset_now, writer, "SELECT sha256, EXISTS (SELECT 1 FROM run_data r WHERE r.dataset = d.name AND r.held" \
              " AND r.sha256 = d.sha256) FROM datasets d WHERE name = ?1") \
    STATEMENT(put_dataset, writer, "INSERT INTO datasets (name, sha256, record, created, checksum)" \
              " VALUES (?1, ?2, ?3, ?4, blake(?1, x'00', ?2, x'00', ?3))" \
              " ON CONFLICT (name) DO UPDATE SET sha256 = ?2, record = ?3, created = ?4, checksum = blake(?1, x'00', ?2, x'00', ?3)") \
    STATEMENT(delete_dataset, writer, "DELETE FROM datasets WHERE name = ?1") \
    STATEMENT(content_used, writer, "SELECT EXISTS (SELECT 1 FROM datasets WHERE sha256 = ?1)" \
              " OR EXISTS (SELECT 1 FROM run_data WHERE sha256 = ?1)") \
    /* the same without indexes: none has the second column (NOT INDEXED says nothing to a table WITHOUT ROWID) */ \
    STATEMENT(content_used_in_tables, writer, "SELECT EXISTS (SELECT 1 FROM datasets WHERE +sha256 = ?1 AND +created >= 0)" \
              " OR EXISTS (SELECT 1 FROM run_data WHERE +sha256 = ?1 AND +held >= 0)") \
    STATEMENT(content, reader, CONTENT) \
    STATEMENT(content_now, writer, CONTENT) \
    STATEMENT(put_content, writer, "INSERT INTO contents (sha256, bytes, block, sums, checksum) VALUES (?1, ?2, ?3, ?4, blake_parts(?1, ?2, ?3, ?4))" \
              " ON CONFLICT (sha256) DO UPDATE SET bytes = ?2, block = ?3, sums = ?4, checksum = blake_parts(?1, ?2, ?3, ?4), damaged = 0") \
    STATEMENT(mark_content, writer, "INSERT INTO contents (sha256, bytes, block, sums, checksum, damaged) VALUES (?1, 0, 0, x'', x'', 1)" \
              " ON CONFLICT (sha256) DO UPDATE SET damaged = 1") \
    STATEMENT(delete_content, writer, "DELETE FROM contents WHERE sha256 = ?1")

/* What a list of runs needs of one (store_runs.c, read_progress). */
#define RUN_COLUMNS \
    "seq, id, name, program, forked_from, created, state, reason, started, ended, step, steps, epoch, latest, versions, attempts, events, code, " \
    RUN_INTACT

/* A deleted run has its row until all others of it are gone (store_purge.h). */
#define RUN_THERE " AND state <> 'deleted'"
#define WHOLE_RUN \
    "SELECT " RUN_COLUMNS ", spec, facts, canonical, link, checksum = blake_parts(id, spec, program, canonical, facts, link) FROM runs r WHERE id = ?1" RUN_THERE

#define RUN_STATEMENTS(STATEMENT) \
    STATEMENT(begin, writer, "BEGIN IMMEDIATE") \
    STATEMENT(commit, writer, "COMMIT") \
    STATEMENT(rollback, writer, "ROLLBACK") \
    STATEMENT(run, reader, WHOLE_RUN) \
    STATEMENT(run_aside, writer, WHOLE_RUN) \
    STATEMENT(run_head, reader, "SELECT " RUN_COLUMNS " FROM runs r WHERE id = ?1" RUN_THERE) \
    STATEMENT(run_list, reader, "SELECT " RUN_COLUMNS " FROM runs r WHERE seq < ?1" RUN_THERE " ORDER BY seq DESC LIMIT ?2") \
    STATEMENT(run_list_of, reader, "SELECT " RUN_COLUMNS " FROM runs r WHERE seq < ?1 AND state = ?3 ORDER BY seq DESC LIMIT ?2") \
    STATEMENT(run_active, reader, "SELECT id FROM runs WHERE state IN ('queued', 'running') ORDER BY seq") \
    STATEMENT(run_there, writer, "SELECT 1 FROM runs WHERE id = ?1" RUN_THERE) \
    STATEMENT(run_there_in_table, writer, "SELECT 1 FROM runs NOT INDEXED WHERE id = ?1" RUN_THERE) \
    STATEMENT(program_held, writer, "SELECT 1 FROM runs WHERE program = ?1 AND state IN ('queued', 'running') LIMIT 1") \
    STATEMENT(add_run, writer, "INSERT INTO runs (state, reason, started, ended, step, steps, epoch, latest, versions, attempts, events, code," \
              " id, name, spec, program, facts, forked_from, canonical, link, created, checksum)" \
              " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21," \
              " blake_parts(?13, ?15, ?16, ?19, ?17, ?20))") \
    STATEMENT(sum_run, writer, "UPDATE runs SET head_sum = blake_parts(seq, id, name, program, forked_from, created)," \
              " progress_sum = blake_parts(seq, state, reason, started, ended, step, steps, epoch, latest, versions, attempts, events, code)" \
              " WHERE seq = ?1") \
    STATEMENT(run_progress, writer, "UPDATE runs SET state = ?1, reason = ?2, started = ?3, ended = ?4, step = ?5, steps = ?6, epoch = ?7," \
              " latest = ?8, versions = ?9, attempts = ?10, events = ?11, code = ?12," \
              " progress_sum = blake_parts(seq, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) WHERE seq = ?13") \
    STATEMENT(delete_run, writer, "UPDATE runs SET state = 'deleted' WHERE id = ?1 AND state <> 'deleted' AND (?2 OR state NOT IN ('queued', 'running'))") \
    STATEMENT(runs_deleted, reader, "SELECT id FROM runs WHERE state = 'deleted'") \
    STATEMENT(purge_next, writer, "SELECT seq FROM runs WHERE state = 'deleted' LIMIT 1") \
    STATEMENT(purge_points, writer, "DELETE FROM run_points WHERE id IN (SELECT id FROM run_points WHERE run = ?1 LIMIT 128)") \
    STATEMENT(purge_events, writer, "DELETE FROM run_events WHERE rowid IN (SELECT rowid FROM run_events WHERE run = ?1 LIMIT 64)") \
    STATEMENT(purge_run, writer, "DELETE FROM runs WHERE seq = ?1") \
    STATEMENT(free_pages, writer, "PRAGMA freelist_count") \
    STATEMENT(add_run_data, writer, "INSERT OR REPLACE INTO run_data (run, dataset, sha256, held)" \
              " SELECT ?1, name, sha256, 1 FROM datasets WHERE name = ?2 AND sha256 = ?3") \
    STATEMENT(hold_run_data, writer, "UPDATE run_data SET held = ?2 WHERE run = ?1 AND held <> ?2") \
    STATEMENT(delete_run_data, writer, "DELETE FROM run_data WHERE run = ?1") \
    STATEMENT(run_events, reader, "SELECT first, kind, lines, checksum = blake_parts(?1, first, last, kind, lines) FROM run_events" \
              " WHERE run = ?1 AND last > ?2 ORDER BY last") \
    STATEMENT(events_known, reader, "SELECT events FROM runs WHERE seq = ?1") \
    STATEMENT(put_events, writer, "INSERT INTO run_events (run, first, last, kind, lines, checksum)" \
              " VALUES (?1, ?2, ?3, ?4, ?5, blake_parts(?1, ?2, ?3, ?4, ?5))") \
    STATEMENT(run_take, writer, "SELECT event_rows, event_bytes FROM runs WHERE seq = ?1") \
    STATEMENT(set_take, writer, "UPDATE runs SET event_rows = ?2, event_bytes = ?3 WHERE seq = ?1") \
    STATEMENT(events_take, writer, "SELECT count(*), coalesce(sum(length(CAST(lines AS BLOB))), 0) FROM run_events WHERE run = ?1") \
    STATEMENT(drop_events, writer, "DELETE FROM run_events WHERE run = ?1" \
              " AND last <= (SELECT last FROM run_events WHERE run = ?1 ORDER BY last LIMIT 1 OFFSET ?2)" \
              " AND CASE kind WHEN 'metric' THEN 0 WHEN 'checkpoint' THEN 0 WHEN 'log' THEN 1 ELSE 2 END <= ?3") \
    STATEMENT(run_checkpoints, reader, "SELECT step, bytes, checksum, damaged FROM run_checkpoints WHERE run = ?1 ORDER BY step") \
    STATEMENT(run_checkpoint, reader, "SELECT c.step, c.bytes, c.checksum, c.damaged FROM runs r LEFT JOIN run_checkpoints c" \
              " ON c.run = r.seq AND c.step BETWEEN ?2 AND ?3 WHERE r.id = ?1" RUN_THERE " ORDER BY c.step DESC LIMIT 1") \
    STATEMENT(checkpoint_total, writer, "SELECT coalesce(sum(bytes), 0) FROM run_checkpoints") \
    STATEMENT(delete_checkpoints, writer, "DELETE FROM run_checkpoints WHERE run = (SELECT seq FROM runs WHERE id = ?1)") \
    STATEMENT(put_checkpoint, writer, "INSERT OR REPLACE INTO run_checkpoints (run, step, bytes, checksum) VALUES (?1, ?2, ?3, ?4)") \
    STATEMENT(mark_checkpoint, writer, "UPDATE run_checkpoints SET damaged = ?3 WHERE run = ?1 AND step = ?2 AND damaged <> ?3") \
    STATEMENT(prune_checkpoint, writer, "DELETE FROM run_checkpoints WHERE run = ?1 AND step = ?2") \
    STATEMENT(drop_checkpoints, writer, "DELETE FROM run_checkpoints WHERE run = ?1 AND step > ?2") \
    STATEMENT(drop_points, writer, "DELETE FROM run_points WHERE run = ?1 AND first > ?2") \
    STATEMENT(run_keys, reader, "SELECT key FROM run_series WHERE run = ?1 ORDER BY key") \
    STATEMENT(run_keys_now, writer, "SELECT key FROM run_series WHERE run = ?1") \
    STATEMENT(run_series, writer, "SELECT stride, n, bucket, checksum = blake_parts(?1, ?2, stride, n, bucket) FROM run_series" \
              " WHERE run = ?1 AND key = ?2") \
    STATEMENT(put_series, writer, "INSERT OR REPLACE INTO run_series (run, key, stride, n, bucket, checksum)" \
              " VALUES (?1, ?2, ?3, ?4, ?5, blake_parts(?1, ?2, ?3, ?4, ?5))") \
    STATEMENT(run_count, writer, "SELECT coalesce(sum(n), 0) FROM run_points WHERE run = ?1 AND key = ?2 AND last >= ?3") \
    STATEMENT(run_points, writer, "SELECT " POINTS_SUMMED ", id, head_sum = blake_parts(?1, ?2, " POINTS_SUMMED ")" \
              " FROM run_points WHERE run = ?1 AND key = ?2 AND last >= ?3 ORDER BY first") \
    STATEMENT(block_points, writer, "SELECT points, blake(points) = ?2 FROM run_points WHERE id = ?1") \
    STATEMENT(next_points, writer, "SELECT id, last, points, head_sum = blake_parts(?1, ?2, " POINTS_SUMMED ") AND points_sum = blake(points)" \
              " FROM run_points WHERE run = ?1 AND key = ?2 AND first > ?3 ORDER BY first") \
    STATEMENT(delete_points, writer, "DELETE FROM run_points WHERE id = ?1") \
    STATEMENT(last_points, writer, "SELECT id, n, points, head_sum = blake_parts(?1, ?2, " POINTS_SUMMED ") AND points_sum = blake(points)" \
              " FROM run_points WHERE run = ?1 AND key = ?2 ORDER BY first DESC LIMIT 1") \
    STATEMENT(put_points, writer, "INSERT OR REPLACE INTO run_points (id, run, key, " POINTS_SUMMED ", points, head_sum)" \
              " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, blake(?13), ?13," \
              " blake_parts(?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, blake(?13)))")

/* Some rows behind a place (?1 a number, ?2 a text): number, text, whether it is intact, bytes (store_scrub.c). */
#define SCRUB_ROWS " LIMIT 32"
#define SCRUB_STATEMENTS(STATEMENT) \
    STATEMENT(scrub_at, writer, "SELECT started, place FROM scrub") \
    STATEMENT(put_scrub, writer, "INSERT OR REPLACE INTO scrub (id, started, place) VALUES (1, ?1, ?2)") \
    STATEMENT(scrub_content, writer, "SELECT min(sha256) FROM (SELECT min(sha256) AS sha256 FROM datasets WHERE sha256 > ?1" \
              " UNION ALL SELECT min(sha256) FROM run_data WHERE sha256 > ?1)") \
    STATEMENT(scrub_checkpoint, writer, "SELECT c.step, c.bytes, c.checksum, c.damaged, c.run, r.id FROM run_checkpoints c JOIN runs r ON r.seq = c.run" \
              " WHERE (c.run, c.step) > (?1, ?2)" RUN_THERE " ORDER BY c.run, c.step LIMIT 1") \
    STATEMENT(scrub_programs, writer, "SELECT 0, hash, " PROGRAM_INTACT ", length(canonical) + length(record) + length(text), canonical FROM programs" \
              " WHERE hash > ?2 ORDER BY hash" SCRUB_ROWS) \
    STATEMENT(scrub_graphs, writer, "SELECT id, '', version <> ?3 OR checksum = blake_parts(hash, variant, version, blob), bytes FROM graphs" \
              " WHERE id > ?1 ORDER BY id" SCRUB_ROWS) \
    STATEMENT(scrub_datasets, writer, "SELECT 0, name, " DATASET_INTACT("name") ", length(record) FROM datasets d WHERE name > ?2 ORDER BY name" SCRUB_ROWS) \
    STATEMENT(scrub_runs, writer, "SELECT seq, '', " RUN_INTACT " AND checksum = blake_parts(id, spec, program, canonical, facts, link)," \
              " length(spec) + length(facts) + length(canonical) + length(link) FROM runs r WHERE seq > ?1" RUN_THERE " ORDER BY seq" SCRUB_ROWS) \
    STATEMENT(scrub_events, writer, "SELECT rowid, '', checksum = blake_parts(run, first, last, kind, lines), length(lines) FROM run_events" \
              " WHERE rowid > ?1 ORDER BY rowid" SCRUB_ROWS) \
    STATEMENT(scrub_points, writer, "SELECT id, '', head_sum = blake_parts(run, key, " POINTS_SUMMED ") AND points_sum = blake(points), length(points)" \
              " FROM run_points WHERE id > ?1 ORDER BY id" SCRUB_ROWS) \
    STATEMENT(scrub_series, writer, "SELECT run, '', min(checksum = blake_parts(run, key, stride, n, bucket)), sum(length(bucket)) FROM run_series" \
              " WHERE run > ?1 GROUP BY run ORDER BY run" SCRUB_ROWS) \
    STATEMENT(scrub_sums, writer, "SELECT 0, sha256, NOT length(sums) OR checksum = blake_parts(sha256, bytes, block, sums), length(sums) FROM contents" \
              " WHERE sha256 > ?2 ORDER BY sha256" SCRUB_ROWS) \
    STATEMENT(damaged_files, reader, "SELECT (SELECT count(*) FROM contents c WHERE damaged AND (EXISTS (SELECT 1 FROM datasets d WHERE d.sha256 = c.sha256)" \
              " OR EXISTS (SELECT 1 FROM run_data u WHERE u.sha256 = c.sha256))) + (SELECT count(*) FROM run_checkpoints WHERE damaged)")

#define STORE_STATEMENTS(STATEMENT) \
    PROGRAM_STATEMENTS(STATEMENT) DATASET_STATEMENTS(STATEMENT) RUN_STATEMENTS(STATEMENT) SCRUB_STATEMENTS(STATEMENT)

typedef struct StoreChecker StoreChecker; /* store_check.h */

typedef struct Store {
    sqlite3 *reader, *writer;
#define STATEMENT(name, connection, sql) sqlite3_stmt *name;
    STORE_STATEMENTS(STATEMENT)
#undef STATEMENT
    const Log *log;
    Disk *disk;           /* NULL: not watched */
    pthread_mutex_t lock; /* guards the writer and what follows */
    uint64_t graph_bytes, total_bytes;
    bool durable;                  /* the writer flushes with every commit */
    int64_t locked_from, locked_at; /* when another process's lock was met first, and last; monotonic nanoseconds, 0: never */
    int claim;
    StoreChecker *checker;         /* NULL: the database has been checked */
    atomic_bool damaged, repaired;
    atomic_uint_least64_t checkpoint_bytes; /* of all runs */
    atomic_uint_least64_t damage; /* rows found damaged, each as often as it was read */
    char version[64];
} Store;

typedef enum { STEP_ROW, STEP_END, STEP_FAILED } StoreStep;
/* One step. A failure is logged under `what`, and damage remembered. */
StoreStep store_step(Store *store, sqlite3_stmt *s, const char *what);
/* Steps a write and finishes it. */
ErrCode store_outcome(Store *store, sqlite3_stmt *s, const char *what);
void store_finish(sqlite3_stmt *s);
/* What adds to the database may be written. */
bool store_has_room(const Store *store);
/* What came of a write that does not: true if the disk was full, and it may be tried again. */
bool store_again(const Store *store, ErrCode code);
/* After a change of rows of checkpoints; with the lock held, or before anybody else has the store. */
void store_count_checkpoints(Store *store);

/* A write begins and ends with these, holding the lock in between; `code` is what came of it. DURABLE: it is on the disk when store_end returns
 * ERR_NONE; another process's lock is waited for, a while (STORE_PATIENCE_NS from when it was met first), without our own. CACHE: what can be had
 * again; it survives a crash of the service, not of the machine, and waits for nobody. Both: ERR_storage_busy. */
typedef enum { WRITE_DURABLE, WRITE_CACHE } StoreWrite;
#define STORE_PATIENCE_NS ((int64_t)5000000000)
ErrCode store_begin(Store *store, StoreWrite kind);
ErrCode store_end(Store *store, ErrCode code);

/* The text must last until the statement is finished. */
void store_bind_text(sqlite3_stmt *s, int i, const char *text);
/* The row's text, valid until the next step; "" for NULL. */
const char *store_column_text(sqlite3_stmt *s, int column);
/* The statement's word (PROGRAM_INTACT and so on) that the row is as it was written. If it is not, that is logged and counted. */
bool store_intact(Store *store, sqlite3_stmt *s, int column, const char *what, const char *which);
#endif
