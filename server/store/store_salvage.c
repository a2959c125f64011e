#include "server/store/store_salvage.h"
#include "server/embedded.h"
#include "server/lost_found.h"
#include "server/store/store_migrate.h"
#include "server/store/store_sums.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAKING "tmp-recovered.db"
#define MADE "recovered.db"

static bool path_of(char out[STORE_PATH], const StoreSpec *spec, const char *name) {
    return (size_t)snprintf(out, STORE_PATH, "%s/%s", spec->dir, name) < STORE_PATH;
}

/* Flushes a file, or a folder. */
static bool sync_path(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0) close(fd);
    return ok;
}

/* ---- rows ---- */

typedef struct {
    sqlite3 *from, *to;
    const char *table, *columns; /* "a, b, c" */
    const char *marks;           /* "?1, ?2, ?3" */
    const char *up, *down;       /* what the rows are ordered by */
    bool numbered;               /* it has rowids */
    int ncolumns;
    uint64_t rows;               /* copied */
    bool cut;                    /* some could not be read */
} Copying;

static sqlite3_stmt *prepared(sqlite3 *db, char *sql) {
    sqlite3_stmt *s = NULL;
    if (sql && sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK) s = NULL;
    sqlite3_free(sql);
    return s;
}

typedef enum { COPY_NEW, COPY_KNOWN, COPY_FAILED } Copied;

/* The row that the reading statement stands on; its first column is its number. */
static Copied copy_row(const Copying *c, sqlite3_stmt *from, sqlite3_stmt *to) {
    for (int i = 0; i < c->ncolumns; i++) sqlite3_bind_value(to, i + 1, sqlite3_column_value(from, i + 1));
    const int code = sqlite3_step(to);
    sqlite3_reset(to);
    if (code == SQLITE_DONE) return sqlite3_changes(c->to) ? COPY_NEW : COPY_KNOWN;
    /* What breaks a rule of its table is no row of it. */
    return (code & 0xff) == SQLITE_CONSTRAINT ? COPY_KNOWN : COPY_FAILED;
}

/* Rows behind number *at in one direction, until one is known or none can be read. False: the new database cannot be written. *code: how reading ended. */
static bool copy_from(Copying *c, bool down, int64_t *at, sqlite3_stmt *to, int *code) {
    const char *number = c->numbered ? "rowid" : "0";
    sqlite3_stmt *s = prepared(c->from, sqlite3_mprintf("SELECT %s, %s FROM %s WHERE %s > ?1 ORDER BY %s", number, c->columns, c->table,
                                                        c->numbered ? "rowid" : "1", down ? c->down : c->up));
    Copied copied = COPY_NEW;
    *code = s ? SQLITE_ROW : SQLITE_CORRUPT;
    if (s) sqlite3_bind_int64(s, 1, c->numbered && !down ? *at : c->numbered ? INT64_MIN : 0);
    while (s && copied != COPY_FAILED && !(down && copied == COPY_KNOWN) && (*code = sqlite3_step(s)) == SQLITE_ROW) {
        copied = copy_row(c, s, to);
        c->rows += copied == COPY_NEW;
        if (!down) *at = sqlite3_column_int64(s, 0);
    }
    sqlite3_finalize(s);
    return copied != COPY_FAILED;
}

/* The number of the row behind: one that cannot be read itself, perhaps. */
static bool skip_row(const Copying *c, int64_t *at) {
    sqlite3_stmt *s = prepared(c->from, sqlite3_mprintf("SELECT rowid FROM %s WHERE rowid > ?1 ORDER BY rowid LIMIT 1", c->table));
    if (s) sqlite3_bind_int64(s, 1, *at);
    const bool found = s && sqlite3_step(s) == SQLITE_ROW;
    if (found) *at = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    return found;
}

static bool copy_rows(Copying *c) {
    sqlite3_stmt *to = prepared(c->to, sqlite3_mprintf("INSERT OR IGNORE INTO %s (%s) VALUES (%s)", c->table, c->columns, c->marks));
    int64_t at = INT64_MIN;
    int code = SQLITE_ROW;
    bool ok = to != NULL;
    while (ok && (ok = copy_from(c, false, &at, to, &code)) && code != SQLITE_DONE) {
        c->cut = true;
        if (!c->numbered || !skip_row(c, &at)) break;
    }
    if (ok && c->cut) ok = copy_from(c, true, &at, to, &code);
    sqlite3_finalize(to);
    return ok;
}

/* ---- tables ---- */

typedef struct {
    char columns[2000], marks[1000], up[500], down[500];
    int ncolumns;
} Layout;

static void add(char *list, size_t room, const char *format, const char *name, int number) {
    const size_t len = strlen(list);
    char item[200];
    if (name) snprintf(item, sizeof item, format, name);
    else snprintf(item, sizeof item, format, number);
    snprintf(list + len, room - len, "%s%s", len ? ", " : "", item);
}

/* The table's columns, and the order of its key, as the new database has them. */
static bool lay_out(sqlite3 *db, const char *table, Layout *l) {
    sqlite3_stmt *s = prepared(db, sqlite3_mprintf("SELECT name, pk FROM pragma_table_info(%Q) ORDER BY pk", table));
    *l = (Layout){0};
    while (s && sqlite3_step(s) == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(s, 0);
        add(l->columns, sizeof l->columns, "\"%s\"", name, 0);
        add(l->marks, sizeof l->marks, "?%d", NULL, ++l->ncolumns);
        if (!sqlite3_column_int(s, 1)) continue;
        add(l->up, sizeof l->up, "\"%s\"", name, 0);
        add(l->down, sizeof l->down, "\"%s\" DESC", name, 0);
    }
    sqlite3_finalize(s);
    return l->ncolumns > 0;
}

static bool has_rowid(sqlite3 *db, const char *table) {
    sqlite3_stmt *s = prepared(db, sqlite3_mprintf("SELECT rowid FROM %s", table));
    sqlite3_finalize(s);
    return s != NULL;
}

static bool copy_table(const StoreSpec *spec, sqlite3 *from, sqlite3 *to, const char *table) {
    Layout l;
    if (!lay_out(to, table, &l)) return false;
    const bool numbered = has_rowid(to, table);
    Copying c = {.from = from, .to = to, .table = table, .columns = l.columns, .marks = l.marks, .ncolumns = l.ncolumns, .numbered = numbered,
                 .up = numbered ? "rowid" : l.up, .down = numbered ? "rowid DESC" : l.down};
    const bool ok = copy_rows(&c);
    log_put(spec->log, c.cut ? LOG_ERROR : LOG_INFO, "database salvaged", "table=%s rows=%llu whole=%s", table, (unsigned long long)c.rows, c.cut ? "no" : "yes");
    return ok;
}

/* Rows that refer to one that was lost. */
static bool drop_strays(sqlite3 *db, const char *table) {
    sqlite3_stmt *s = prepared(db, sqlite3_mprintf("SELECT \"table\", \"from\", \"to\" FROM pragma_foreign_key_list(%Q)", table));
    bool ok = s != NULL;
    while (ok && sqlite3_step(s) == SQLITE_ROW) {
        char *sql = sqlite3_mprintf("DELETE FROM %s WHERE \"%s\" NOT IN (SELECT \"%s\" FROM %s)", table, sqlite3_column_text(s, 1), sqlite3_column_text(s, 2),
                                    sqlite3_column_text(s, 0));
        ok = sql && store_run(db, sql);
        sqlite3_free(sql);
    }
    sqlite3_finalize(s);
    return ok;
}

/* Does something with each table that is the service's, in the order that the schema has. */
static bool each_table(const StoreSpec *spec, sqlite3 *from, sqlite3 *to) {
    static const char sql[] = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY rowid";
    sqlite3_stmt *s = prepared(to, sqlite3_mprintf("%s", sql));
    bool ok = s != NULL;
    while (ok && sqlite3_step(s) == SQLITE_ROW) {
        const char *table = (const char *)sqlite3_column_text(s, 0);
        ok = from ? copy_table(spec, from, to, table) : drop_strays(to, table);
    }
    sqlite3_finalize(s);
    return ok;
}

/* ---- files ---- */

/* The new database is made as old as the damaged one is, and then brought up to date. */
static bool fill(const StoreSpec *spec, sqlite3 *from, sqlite3 *to, char *why, size_t room) {
    const int64_t newest = (int64_t)embedded_nmigrations;
    int64_t version = from ? store_number(from, "PRAGMA user_version") : newest;
    if (version < 1 || version > newest) version = newest;
    if (!store_migrate(to, version, why, room)) return false;
    bool ok = store_run(to, "PRAGMA foreign_keys = OFF; BEGIN") && (!from || each_table(spec, from, to)) && each_table(spec, NULL, to) && store_run(to, "COMMIT");
    snprintf(why, room, "what can be read of the damaged database cannot be kept: %s", sqlite3_errmsg(to));
    return ok && store_migrate(to, newest, why, room);
}

static bool make(const StoreSpec *spec, const char *damaged, const char *making, char *why, size_t room) {
    sqlite3 *from = NULL, *to = NULL;
    unlink(making);
    /* One that cannot be opened at all has nothing to give. */
    const bool readable = sqlite3_open_v2(damaged, &from, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) == SQLITE_OK;
    bool ok = sqlite3_open_v2(making, &to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL) == SQLITE_OK &&
              store_sums_register(to) && store_run(to, "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF");
    snprintf(why, room, "cannot make %s: %s", making, to ? sqlite3_errmsg(to) : "no memory");
    ok = ok && fill(spec, readable ? from : NULL, to, why, room);
    sqlite3_close(from);
    ok = sqlite3_close(to) == SQLITE_OK && ok && sync_path(making);
    if (!ok) unlink(making);
    return ok;
}

static bool put_in_place(const StoreSpec *spec, char *why, size_t room) {
    static const char *const old[] = {"cajal.db-wal", "cajal.db"};
    char path[STORE_PATH], made[STORE_PATH];
    struct stat st;
    LostFound lost = {.data = spec->dir, .log = spec->log};
    bool ok = true;
    for (int i = 0; i < 2 && ok; i++)
        ok = path_of(path, spec, old[i]) && (stat(path, &st) != 0 || lost_found_take(&lost, "", NULL, old[i], "damaged"));
    if (path_of(path, spec, "cajal.db-shm")) unlink(path);
    ok = ok && path_of(path, spec, "cajal.db") && path_of(made, spec, MADE) && rename(made, path) == 0 && sync_path(spec->dir);
    if (!ok) snprintf(why, room, "the salvaged database cannot take the place of the damaged one: %s", strerror(errno));
    return ok;
}

bool store_salvage(const StoreSpec *spec, char *why, size_t room) {
    char damaged[STORE_PATH], making[STORE_PATH], made[STORE_PATH];
    log_put(spec->log, LOG_WARN, "database being salvaged", "dir=%s cause=\"%s\"", spec->dir, why);
    if (!path_of(damaged, spec, "cajal.db") || !path_of(making, spec, MAKING) || !path_of(made, spec, MADE)) return false;
    if (!make(spec, damaged, making, why, room)) return false;
    if (rename(making, made) == 0 && sync_path(spec->dir)) return put_in_place(spec, why, room);
    snprintf(why, room, "cannot make %s: %s", made, strerror(errno));
    return false;
}

bool store_salvage_finish(const StoreSpec *spec, char *why, size_t room) {
    char made[STORE_PATH], making[STORE_PATH];
    struct stat st;
    if (path_of(making, spec, MAKING)) unlink(making);
    return !path_of(made, spec, MADE) || stat(made, &st) != 0 || put_in_place(spec, why, room);
}

bool store_set_log_aside(const StoreSpec *spec, char *why, size_t room) {
    static const char log[] = "cajal.db-wal";
    char path[STORE_PATH];
    struct stat st;
    LostFound lost = {.data = spec->dir, .log = spec->log};
    if (!path_of(path, spec, log) || stat(path, &st) != 0 || !st.st_size || lost_found_take(&lost, "", NULL, log, "its database is missing")) return true;
    snprintf(why, room, "cannot move %s away", path);
    return false;
}
