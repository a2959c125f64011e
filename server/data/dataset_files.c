#include "server/data/dataset_files.h"
#include "server/data/block_sums.h"
#include "server/data/file.h"
#include "schema/base/time.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER "datasets"
#define SUFFIX ".safetensors"
#define TEMPORARY "tmp-"
enum { FINDS = 3 };

struct DatasetFiles {
    Store *store;
    const Log *log;
    int dir;              /* descriptor of the folder */
    char path[DATASET_FILES_PATH - 128];
    pthread_mutex_t lock; /* a reference and the file it is to are changed together */
    Disk *disk;           /* NULL: not watched */
    uint64_t most;        /* bytes that all contents may have together */
    atomic_uint_least64_t bytes; /* that they have; changed with the lock held */
};

typedef char FileName[DATASET_SHA + sizeof SUFFIX];

static void file_name(const char *sha256, FileName out) { snprintf(out, sizeof(FileName), "%.64s" SUFFIX, sha256); }

/* 0: there is none. */
static uint64_t size_of(const DatasetFiles *c, const char *name) {
    struct stat st;
    return fstatat(c->dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_size > 0 ? (uint64_t)st.st_size : 0;
}

/* For good: what was deleted does not turn up in lost+found after a power cut. */
static void remove_file(DatasetFiles *c, const char *name, const char *why) {
    const uint64_t bytes = strncmp(name, TEMPORARY, strlen(TEMPORARY)) == 0 ? 0 : size_of(c, name);
    const bool gone = unlinkat(c->dir, name, 0) == 0;
    if (gone) c->bytes -= bytes;
    if (gone && fsync(c->dir) == 0) log_put(c->log, LOG_INFO, "data removed", "file=%s cause=%s", name, why);
    else if (errno != ENOENT) log_put(c->log, LOG_ERROR, "data not removed", "file=%s cause=\"%s\"", name, strerror(errno));
}

/* With the lock held. */
static void collect(DatasetFiles *c, const char *sha256) {
    FileName name;
    if (!*sha256 || store_content_used(c->store, sha256)) return;
    file_name(sha256, name);
    remove_file(c, name, "unused");
    store_content_delete(c->store, sha256);
}

/* ---- start and end ---- */

static bool is_content(const char *name, char sha256[DATASET_SHA + 1]) {
    const size_t hex = strspn(name, "0123456789abcdef");
    if (hex != DATASET_SHA || strcmp(name + hex, SUFFIX) != 0) return false;
    memcpy(sha256, name, DATASET_SHA);
    sha256[DATASET_SHA] = 0;
    return true;
}

static void sweep_entry(DatasetFiles *c, LostFound *lost, const char *name) {
    char sha256[DATASET_SHA + 1];
    if (strncmp(name, TEMPORARY, strlen(TEMPORARY)) == 0) remove_file(c, name, "unfinished");
    if (!is_content(name, sha256)) return;
    if (store_content_used(c->store, sha256)) c->bytes += size_of(c, name);
    else lost_found_take(lost, FOLDER, NULL, name, "no data set or run has it");
}

static bool sweep(DatasetFiles *c, LostFound *lost) {
    DIR *dir = opendir(c->path);
    if (!dir) return false;
    for (struct dirent *entry; (entry = readdir(dir));) sweep_entry(c, lost, entry->d_name);
    closedir(dir);
    return true;
}

/* The folder, and its name in the data directory on the disk: rows will refer to what is in it. */
static bool make_folder(const DatasetFiles *c, const char *data) {
    if (mkdir(c->path, 0700) != 0) return errno == EEXIST;
    int above = open(data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = above >= 0 && fsync(above) == 0;
    if (above >= 0) close(above);
    return ok;
}

DatasetFiles *dataset_files_open(LostFound *lost, Store *store, char *why, size_t room) {
    DatasetFiles *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    *c = (DatasetFiles){.store = store, .log = lost->log, .dir = -1, .most = UINT64_MAX};
    pthread_mutex_init(&c->lock, NULL);
    bool fits = (size_t)snprintf(c->path, sizeof c->path, "%s/" FOLDER, lost->data) < sizeof c->path;
    if (!fits) errno = ENAMETOOLONG;
    if (fits && make_folder(c, lost->data)) c->dir = open(c->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (c->dir >= 0 && sweep(c, lost)) return c;
    snprintf(why, room, "cannot use %s: %s", c->path, strerror(errno));
    dataset_files_close(c);
    return NULL;
}

void dataset_files_use_disk(DatasetFiles *c, Disk *disk, uint64_t most) {
    c->disk = disk;
    c->most = most;
}

void dataset_files_close(DatasetFiles *c) {
    if (!c) return;
    if (c->dir >= 0) close(c->dir);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* ---- finding ---- */

static bool open_content(DatasetFiles *c, const char *sha256, Dataset *out, Err *err) {
    FileName name;
    file_name(sha256, name);
    int fd = openat(c->dir, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return err_set(err, errno == ENOENT || errno == EIO ? ERR_damaged : file_code(errno), "The stored file of the data set cannot be opened: %s.", strerror(errno));
    if (!dataset_read(fd, out, err)) {
        close(fd);
        return false;
    }
    snprintf(out->sha256, sizeof out->sha256, "%s", sha256);
    store_content_get(c->store, sha256, &out->content);
    return true;
}

/* The record says all that the header does; a file that another was put in place of says something else. */
static bool is_as_recorded(const Dataset *d, const char *name, const StoredDataset *row) {
    Buf record;
    buf_init(&record);
    dataset_put_record(&record, name, d, row->created);
    bool same = !record.failed && strcmp(buf_text(&record), row->record) == 0;
    buf_release(&record);
    return same;
}

static bool find_row(DatasetFiles *c, const char *name, StoredDataset *row, Err *err) {
    ErrCode code = store_dataset_get(c->store, name, row);
    if (code == ERR_not_found) return err_set(err, code, "There is no data set %s.", name);
    return code == ERR_NONE || err_set(err, code, "The database does not give the data set %s.", name);
}

bool dataset_files_find(DatasetFiles *c, const char *name, Dataset *out, Err *err) {
    *out = (Dataset){.fd = -1};
    char before[DATASET_SHA + 1] = "";
    for (int i = 0; i < FINDS; i++) {
        StoredDataset row;
        *err = (Err){0}; /* the last attempt's counts */
        if (!find_row(c, name, &row, err)) return false;
        bool moved = strcmp(before, row.sha256) != 0, found = open_content(c, row.sha256, out, err);
        if (found && !is_as_recorded(out, name, &row)) {
            dataset_release(out);
            found = err_set(err, ERR_damaged, "The stored file of the data set %s is not the one that was put.", name);
        }
        if (found) out->record = row.record;
        else stored_dataset_release(&row);
        if (found) return true;
        /* A thread may have put another content between the two looks. */
        if (!moved) break;
        strcpy(before, row.sha256);
    }
    log_put(c->log, LOG_ERROR, "damaged data set", "name=%s cause=\"%s\"", name, err->message);
    return false;
}

bool dataset_files_find_sha(DatasetFiles *c, const char *sha256, Dataset *out, Err *err) {
    *out = (Dataset){.fd = -1};
    if (open_content(c, sha256, out, err)) return true;
    log_put(c->log, LOG_ERROR, "damaged data set", "sha256=%s cause=\"%s\"", sha256, err->message);
    return false;
}

bool dataset_files_record(DatasetFiles *c, const char *name, Buf *out, Err *err) {
    StoredDataset row;
    Dataset d;
    Err why = {0};
    if (!find_row(c, name, &row, err)) return false;
    const bool opens = open_content(c, row.sha256, &d, &why);
    dataset_put_damage(out, row.record, strlen(row.record), row.damaged || (opens ? !is_as_recorded(&d, name, &row) : why.code == ERR_damaged));
    if (opens) dataset_release(&d);
    stored_dataset_release(&row);
    return true;
}

/* ---- holding against sums ---- */

static bool damaged(DatasetFiles *c, const Dataset *d, Err *err) {
    log_put(c->log, LOG_ERROR, "damaged data set", "sha256=%s cause=\"its bytes are not those that were put\"", d->sha256);
    store_content_mark(c->store, d->sha256);
    return err_set(err, ERR_damaged, "The stored file of the data set is damaged: its bytes are not those that were put.");
}

static bool given_up(Err *err) { return err_set(err, ERR_internal, "The request was given up, or memory is short."); }

/* By its name. */
static bool verify_whole(DatasetFiles *c, Dataset *d, const atomic_bool *stop, Err *err) {
    char sha256[DATASET_SHA + 1];
    StoredContent content;
    const ErrCode code = block_sums_make(d->fd, d->bytes, stop, sha256, &content);
    if (code == ERR_internal) return given_up(err);
    if (code || strcmp(sha256, d->sha256) != 0) {
        stored_content_release(&content);
        return damaged(c, d, err);
    }
    store_content_put(c->store, d->sha256, &content);
    stored_content_release(&d->content);
    d->content = content;
    return true;
}

/* A part of it by its sums. */
static bool verify_part(DatasetFiles *c, const Dataset *d, uint64_t from, uint64_t len, const atomic_bool *stop, Err *err) {
    const ErrCode code = block_sums_hold(&d->content, d->fd, from, len, stop);
    if (code == ERR_damaged) return damaged(c, d, err);
    return !code || given_up(err);
}

bool dataset_files_verify(DatasetFiles *c, Dataset *d, const atomic_bool *stop, Err *err) {
    if (!d->content.sums || d->content.bytes != d->bytes) return verify_whole(c, d, stop, err);
    if (!verify_part(c, d, 0, d->bytes, stop, err)) return false;
    if (d->content.damaged) store_content_put(c->store, d->sha256, &d->content); /* it was put again */
    return true;
}

bool dataset_files_verify_rows(DatasetFiles *c, Dataset *d, uint64_t from, uint64_t count, const atomic_bool *stop, Err *err) {
    if (!d->content.sums || d->content.bytes != d->bytes) return verify_whole(c, d, stop, err);
    uint64_t header = d->columns->offset;
    if (from > d->rows) from = d->rows;
    if (count > d->rows - from) count = d->rows - from;
    for (size_t i = 0; i < d->ncolumns; i++) {
        const DatasetColumn *col = &d->columns[i];
        if (col->offset < header) header = col->offset;
        if (!verify_part(c, d, col->offset + from * col->bytes, count * col->bytes, stop, err)) return false;
    }
    return verify_part(c, d, 0, header, stop, err);
}

int dataset_files_open_content(DatasetFiles *c, const char *sha256) {
    FileName name;
    file_name(sha256, name);
    return openat(c->dir, name, O_RDONLY | O_CLOEXEC);
}

/* With the lock held: the file of that name is the one that was read. */
static bool is_in_place(const DatasetFiles *c, const char *sha256, int fd) {
    struct stat read, now;
    FileName name;
    file_name(sha256, name);
    if (fstatat(c->dir, name, &now, 0) != 0) return fd < 0 && errno == ENOENT;
    return fd >= 0 && fstat(fd, &read) == 0 && read.st_ino == now.st_ino;
}

void dataset_files_note(DatasetFiles *c, const char *sha256, int fd, const StoredContent *sums) {
    StoredContent known;
    pthread_mutex_lock(&c->lock);
    if (is_in_place(c, sha256, fd) && store_content_used(c->store, sha256)) {
        const ErrCode code = store_content_get_aside(c->store, sha256, &known);
        if (!sums) {
            log_put(c->log, LOG_ERROR, "damaged data set", "sha256=%s cause=\"%s\"", sha256, fd < 0 ? "its file is gone" : "its bytes are not those that were put");
            store_content_mark(c->store, sha256);
        } else if (code || known.damaged || known.len != sums->len || memcmp(known.sums, sums->sums, sums->len) != 0) {
            store_content_put(c->store, sha256, sums);
        }
        stored_content_release(&known);
    }
    pthread_mutex_unlock(&c->lock);
}

/* ---- changing ---- */

uint64_t dataset_files_bytes(DatasetFiles *c) { return c->bytes; }

bool dataset_files_has_room(DatasetFiles *c, uint64_t bytes) { return !c->disk || disk_has_room(c->disk, bytes); }

int dataset_files_temporary(DatasetFiles *c, char path[DATASET_FILES_PATH]) {
    snprintf(path, DATASET_FILES_PATH, "%s/" TEMPORARY "XXXXXX", c->path);
    if (!dataset_files_has_room(c, 0)) {
        errno = ENOSPC;
        return -1;
    }
    return mkostemp(path, O_CLOEXEC);
}

/* With the lock held: the file in its place, then the row. */
static RowResult place(DatasetFiles *c, const char *path, const DatasetRow *row, char before[DATASET_SHA + 1]) {
    FileName name;
    file_name(row->sha256, name);
    RowResult result = ROW_FAILED;
    const uint64_t had = size_of(c, name);
    const bool renamed = renameat(AT_FDCWD, path, c->dir, name) == 0;
    if (renamed) c->bytes += size_of(c, name) - had;
    if (renamed && fsync(c->dir) == 0) {
        result = store_dataset_put(c->store, row, before);
    } else {
        if (file_code(errno) == ERR_storage_full) result = ROW_FULL;
        log_put(c->log, LOG_ERROR, "data not placed", "file=%s cause=\"%s\"", name, strerror(errno));
    }
    collect(c, result == ROW_DONE ? before : row->sha256);
    return result;
}

/* With the lock held: it is not there yet, and would be too much. */
static bool exceeds(const DatasetFiles *c, const Dataset *d) {
    FileName name;
    file_name(d->sha256, name);
    return !size_of(c, name) && (d->bytes > c->most || c->bytes > c->most - d->bytes);
}

RowResult dataset_files_put(DatasetFiles *c, const char *path, const char *name, const char *base, Dataset *d, bool *fresh) {
    char before[DATASET_SHA + 1] = "";
    int64_t created = time_epoch_us();
    Buf record;
    buf_init(&record);
    dataset_put_record(&record, name, d, created);
    d->record = buf_take(&record, NULL);
    if (!d->record) return ROW_FAILED;
    DatasetRow row = {.name = name, .sha256 = d->sha256, .record = d->record, .base = base, .created = created};
    pthread_mutex_lock(&c->lock);
    RowResult result = exceeds(c, d) ? ROW_QUOTA : place(c, path, &row, before);
    if (result == ROW_DONE && d->content.sums) store_content_put(c->store, d->sha256, &d->content);
    pthread_mutex_unlock(&c->lock);
    *fresh = !*before;
    return result;
}

RowResult dataset_files_delete(DatasetFiles *c, const char *name) {
    char before[DATASET_SHA + 1];
    pthread_mutex_lock(&c->lock);
    RowResult result = store_dataset_delete(c->store, name, before);
    if (result == ROW_DONE) collect(c, before);
    pthread_mutex_unlock(&c->lock);
    return result;
}

void dataset_files_collect(DatasetFiles *c, const char *sha256) {
    pthread_mutex_lock(&c->lock);
    collect(c, sha256);
    pthread_mutex_unlock(&c->lock);
}
