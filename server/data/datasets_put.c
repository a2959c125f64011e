/* PUT /datasets/{name}: the body, inflated where it is gzip, becomes a file of the stored form, and that the name's content. */
#include "server/data/draft.h"
#include "server/data/file.h"
#include "server/data/gunzip.h"
#include "server/http/handlers.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct {
    Call *call;
    DatasetFiles *dataset_files;
    char *column;         /* NULL: none was named */
    Dataset base;         /* what the column is added to; fd -1: nothing */
    Dataset stored;       /* with the record to answer */
    bool fresh;           /* the name is new */
    atomic_bool stop;     /* nobody waits for it any more */
    RowResult result;     /* when err has no code */
    Err err;
    Task task;
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
    size_t most = (size_t)p->call->server->config->max_body;
    switch (code) {
    case ERR_bad_tensor: return err_set(&p->err, code, "", "The body is no gzip file, or a damaged one.");
    case ERR_body_too_large: return err_set(&p->err, code, "", "A body may have at most %zu bytes, inflated.", most);
    default: return err_set(&p->err, code, "", "The body cannot be inflated: %s.", cause ? strerror(cause) : "memory is short");
    }
}

/* Into an unnamed file, mapped: an inflated body is as large as disks allow, not as memory does. */
static bool inflate_body(Put *p, const unsigned char **data, size_t *len) {
    const Body *body = &p->call->body;
    char path[DATASET_FILES_PATH];
    Spill s = {.fd = dataset_files_temporary(p->dataset_files, path), .stop = &p->stop};
    if (s.fd < 0) return fail_inflating(p, file_code(errno), errno);
    unlink(path);
    ErrCode code = gunzip(body->data, body->len, (size_t)p->call->server->config->max_body, spill, &s);
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
static void store_draft(Put *p, Draft *draft) {
    char path[DATASET_FILES_PATH], sha256[DATASET_SHA + 1];
    const char *base = !p->column ? NULL : p->base.fd >= 0 ? p->base.sha256 : "";
    int fd = dataset_files_temporary(p->dataset_files, path);
    if (fd < 0) {
        err_set(&p->err, file_code(errno), "", "The data set cannot be written: %s.", strerror(errno));
        return;
    }
    bool ok = draft_write(draft, fd, &p->stop, sha256, &p->err) && dataset_read(fd, &p->stored, &p->err);
    if (ok) {
        memcpy(p->stored.sha256, sha256, sizeof sha256);
        p->result = dataset_files_put(p->dataset_files, path, p->call->param.text, base, &p->stored, &p->fresh);
    } else {
        close(fd);
    }
    if (!ok || p->result != ROW_DONE) unlink(path);
}

static void store_body(void *arg) {
    Put *p = arg;
    const Body *body = &p->call->body;
    const unsigned char *data = body->data;
    size_t len = body->len;
    bool inflated = body->gzip || gunzip_is(data, len);
    Draft draft = {.base = -1};
    p->err.code = ERR_NONE;
    if (inflated && !inflate_body(p, &data, &len)) return;
    if (draft_read(&draft, data, len, p->column, &p->err) && (p->base.fd < 0 || draft_add(&draft, &p->base, &p->err))) store_draft(p, &draft);
    draft_release(&draft);
    if (inflated && data) munmap((void *)data, len);
}

/* ---- in the loop ---- */

static void end(Put *p) {
    call_on_cancel(p->call, NULL, NULL);
    dataset_release(&p->base);
    dataset_release(&p->stored);
    call_drop(p->call);
    free(p->column);
    free(p);
}

static void on_cancel(void *arg) { atomic_store(&((Put *)arg)->stop, true); }

static void begin(Put *p);

static void answer(Put *p) {
    const char *name = p->call->param.text;
    Buf body;
    switch (p->result) {
    case ROW_DONE:
        buf_init(&body);
        buf_puts(&body, p->stored.record);
        call_answer(p->call, p->fresh ? 201 : 200, "application/json", &body);
        break;
    case ROW_HELD: call_fail(p->call, ERR_conflict, "A run that is queued or running uses the data set %s.", name); break;
    case ROW_FULL: call_fail(p->call, ERR_storage_full, "The data set cannot be stored: the disk is full."); break;
    default: call_fail(p->call, ERR_internal, "The data set cannot be stored."); break;
    }
}

static void stored(void *arg) {
    Put *p = arg;
    if (!p->err.code && p->result == ROW_MOVED && !atomic_load(&p->stop)) {
        /* Another request changed the data set meanwhile: the column is added to what it is now. */
        dataset_release(&p->stored);
        begin(p);
        return;
    }
    if (p->err.code) call_fail_err(p->call, &p->err);
    else answer(p);
    end(p);
}

static void begin(Put *p) {
    dataset_release(&p->base);
    if (p->column && !dataset_files_find(p->dataset_files, p->call->param.text, &p->base, &p->err) && p->err.code != ERR_not_found) {
        call_fail_err(p->call, &p->err);
        end(p);
        return;
    }
    p->task = (Task){.work = store_body, .done = stored, .arg = p};
    tasks_add(p->call->server->bulk, &p->task);
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
    Put *p = calloc(1, sizeof *p);
    if (!p || (column && !(p->column = strdup(column)))) {
        free(p);
        call_fail(call, ERR_internal, "Memory is short.");
        return;
    }
    p->call = call;
    p->dataset_files = call->server->dataset_files;
    p->base.fd = p->stored.fd = -1;
    call_keep(call);
    call_on_cancel(call, on_cancel, p);
    begin(p);
}
