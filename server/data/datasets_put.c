/* PUT /datasets/{name}: the body, inflated where it is gzip, becomes a file of the stored form, and that the name's content. */
#include "server/data/draft.h"
#include "server/data/file.h"
#include "server/data/gunzip.h"
#include "server/http/errand.h"
#include "server/routes.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct {
    Errand errand;
    DatasetFiles *dataset_files;
    char *column;         /* NULL: none was named */
    Dataset base;         /* what the column is added to; fd -1: nothing */
    Dataset stored;       /* with the record to answer */
    bool fresh;           /* the name is new */
    RowResult result;
} Put;

/* ---- on a task thread ---- */

typedef struct {
    int fd;
    int cause;            /* errno of a failed write */
    const atomic_bool *stop;
} Spill;

static ErrCode spill(void *arg, const void *bytes, size_t len) {
    Spill *s = arg;
    if (!file_write(s->fd, bytes, len)) {
        s->cause = errno;
        return file_code(s->cause);
    }
    return atomic_load(s->stop) ? ERR_internal : ERR_NONE;
}

static bool fail_inflating(Put *p, ErrCode code, int cause) {
    size_t most = (size_t)p->errand.call->server->config->max_body;
    switch (code) {
    case ERR_bad_tensor: return err_set(&p->errand.err, code, "The body is no gzip file, or a damaged one.");
    case ERR_body_too_large: return err_set(&p->errand.err, code, "A body may have at most %zu bytes, inflated.", most);
    default: return err_set(&p->errand.err, code, "The body cannot be inflated: %s.", cause ? strerror(cause) : "memory is short");
    }
}

/* Into an unnamed file, mapped: an inflated body is as large as disks allow, not as memory does. */
static bool inflate_body(Put *p, const unsigned char **data, size_t *len) {
    const Body *body = &p->errand.call->body;
    char path[DATASET_FILES_PATH];
    Spill s = {.fd = dataset_files_temporary(p->dataset_files, path), .stop = &p->errand.cancelled};
    if (s.fd < 0) return fail_inflating(p, file_code(errno), errno);
    unlink(path);
    ErrCode code = gunzip(body->data, body->len, (size_t)p->errand.call->server->config->max_body, spill, &s);
    off_t end = code == ERR_NONE ? lseek(s.fd, 0, SEEK_END) : 0;
    void *map = end > 0 ? mmap(NULL, (size_t)end, PROT_READ, MAP_PRIVATE, s.fd, 0) : NULL;
    if (map == MAP_FAILED) {
        code = ERR_internal;
        map = NULL;
    }
    close(s.fd);
    *data = map;
    *len = map ? (size_t)end : 0;
    return code == ERR_NONE || fail_inflating(p, code, s.cause);
}

/* The draft as a file, and that under the name. */
static bool store_draft(Put *p, Draft *draft) {
    char path[DATASET_FILES_PATH], sha256[DATASET_SHA + 1];
    const char *base = !p->column ? NULL : p->base.fd >= 0 ? p->base.sha256 : "";
    int fd = dataset_files_temporary(p->dataset_files, path);
    if (fd < 0) return err_set(&p->errand.err, file_code(errno), "The data set cannot be written: %s.", strerror(errno));
    bool ok = draft_write(draft, fd, &p->errand.cancelled, sha256, &p->errand.err) && dataset_read(fd, &p->stored, &p->errand.err);
    if (ok) {
        memcpy(p->stored.sha256, sha256, sizeof sha256);
        p->result = dataset_files_put(p->dataset_files, path, p->errand.call->param.text, base, &p->stored, &p->fresh);
    } else {
        close(fd);
    }
    if (!ok || p->result != ROW_DONE) unlink(path);
    return ok;
}

static bool store_body(void *arg) {
    Put *p = arg;
    const Body *body = &p->errand.call->body;
    const unsigned char *data = body->data;
    size_t len = body->len;
    bool inflated = body->gzip || gunzip_is(data, len);
    Draft draft = {.base = -1};
    if (inflated && !inflate_body(p, &data, &len)) return false;
    bool ok = draft_read(&draft, data, len, p->column, &p->errand.err) && (p->base.fd < 0 || draft_add(&draft, &p->base, &p->errand.err)) &&
              store_draft(p, &draft);
    draft_release(&draft);
    if (inflated && data) munmap((void *)data, len);
    return ok;
}

/* ---- in the loop ---- */

static void release(void *arg) {
    Put *p = arg;
    dataset_release(&p->base);
    dataset_release(&p->stored);
}

static const ErrandKind kind = {.size = sizeof(Put), .release = release};

static void begin(Put *p);

static void stored(void *arg) {
    Put *p = arg;
    const char *name = p->errand.call->param.text;
    Buf body;
    switch (p->result) {
    case ROW_DONE:
        buf_init(&body);
        buf_puts(&body, p->stored.record);
        errand_answer(p, p->fresh ? 201 : 200, "application/json", &body);
        break;
    case ROW_MOVED:
        /* Another request changed the data set meanwhile: the column is added to what it is now. */
        dataset_release(&p->stored);
        begin(p);
        break;
    case ROW_HELD: errand_fail(p, ERR_conflict, "A run that is queued or running uses the data set %s.", name); break;
    case ROW_FULL: errand_fail(p, ERR_storage_full, "The data set cannot be stored: the disk is full."); break;
    default: errand_fail(p, ERR_internal, "The data set cannot be stored."); break;
    }
}

static void begin(Put *p) {
    Err err = {0};
    dataset_release(&p->base);
    if (!p->column || dataset_files_find(p->dataset_files, p->errand.call->param.text, &p->base, &err) || err.code == ERR_not_found) {
        errand_work(p, p->errand.call->server->bulk, store_body, stored);
    } else {
        p->errand.err = err;
        errand_refuse(p);
    }
}

static bool check_names(Call *call, const char *column) {
    static const char names[] = "1 to 100 of A-Z, a-z, 0-9, \".\", \"_\" and \"-\"";
    if (!dataset_name_ok(call->param.text)) call_fail(call, ERR_bad_request, "The name of a data set is %s.", names);
    else if (column && !dataset_name_ok(column)) call_fail(call, ERR_bad_request, "The name of a column is %s.", names);
    return !call->answered;
}

void handle_dataset_put(Call *call) {
    const char *column = call_query(call, "column");
    if (!check_names(call, column)) return;
    Put *p = errand_begin(call, &kind);
    if (!p) return;
    p->dataset_files = call->server->dataset_files;
    p->base.fd = p->stored.fd = -1;
    if (column && !(p->column = arena_strndup(&call->memory, column, strlen(column)))) errand_fail(p, ERR_internal, "Memory is short.");
    else begin(p);
}
