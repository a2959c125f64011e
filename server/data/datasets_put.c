/* PUT /datasets/{name}: the body, inflated where it is gzip, becomes a file of the stored form (on the thread for what takes seconds), and that the name's
 * content (on the one that writes to the database). */
#include "server/data/draft.h"
#include "schema/formats/safetensors.h"
#include "server/data/file.h"
#include "server/data/spill.h"
#include "server/http/errand.h"
#include "server/routes.h"
#include "schema/limits.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    Errand errand;
    DatasetFiles *dataset_files;
    char *column;         /* NULL: none was named */
    Dataset base;         /* what the column is added to; fd -1: nothing */
    Dataset stored;       /* with the record to answer */
    char path[DATASET_FILES_PATH]; /* of the file that is to be placed; "": none */
    bool fresh;           /* the name is new */
    RowResult result;
} Put;

/* ---- on a task thread ---- */

/* The bytes that are read: the body, or what came out of it. */
typedef struct {
    const unsigned char *data;
    size_t len;
} Bytes;

static size_t most_inflated(const Put *p) {
    const uint64_t most = p->errand.call->server->config->max_body;
    return most < LIMIT_DATASET_BYTES ? (size_t)most : LIMIT_DATASET_BYTES;
}

static bool fail_inflating(Put *p, ErrCode code, int cause) {
    switch (code) {
    case ERR_bad_tensor: return err_set(&p->errand.err, code, "The body is no gzip file, or a damaged one.");
    case ERR_body_too_large: return err_set(&p->errand.err, code, "A body may have at most %zu bytes, inflated.", most_inflated(p));
    default: return err_set(&p->errand.err, code, "The body cannot be inflated: %s.", cause ? strerror(cause) : "memory is short");
    }
}

static bool unzip_body(Put *p, Spill *spill, Bytes *bytes) {
    ErrCode code = spill_begin(spill, p->dataset_files, &p->errand.cancelled);
    if (code == ERR_NONE) code = inflate_gzip(bytes->data, bytes->len, most_inflated(p), spill_put, spill);
    if (code == ERR_NONE) code = spill_map(spill);
    *bytes = (Bytes){spill->map, spill->len};
    return code == ERR_NONE || fail_inflating(p, code, spill->cause);
}

/* The draft as a file that has no place yet. */
static bool store_draft(Put *p, Draft *draft) {
    char sha256[DATASET_SHA + 1];
    const bool room = dataset_files_has_room(p->dataset_files, draft_bytes(draft));
    int fd = room ? dataset_files_temporary(p->dataset_files, p->path) : -1;
    if (!room) errno = ENOSPC;
    if (fd < 0) {
        *p->path = 0;
        return err_set(&p->errand.err, file_code(errno), "The data set cannot be written: %s.", strerror(errno));
    }
    bool ok = draft_write(draft, fd, &p->errand.cancelled, sha256, &p->errand.err) && dataset_read(fd, &p->stored, &p->errand.err);
    if (!ok) {
        close(fd);
        return false;
    }
    memcpy(p->stored.sha256, sha256, sizeof sha256);
    p->stored.content = draft->content;
    draft->content = (StoredContent){0};
    return true;
}

/* With the columns of the data set that a single one is added to; what is damaged of that would get a sum of its own. */
static bool store_with_base(Put *p, Draft *draft) {
    Err *err = &p->errand.err;
    const size_t own = draft->n;
    if (p->base.fd >= 0 && !draft_add(draft, &p->base, err)) return false;
    if (draft->n > own && !dataset_files_verify(p->dataset_files, &p->base, &p->errand.cancelled, err)) return false;
    return store_draft(p, draft);
}

static bool store_plain(Put *p, Bytes bytes) {
    Draft draft;
    const bool ok = draft_read(&draft, bytes.data, bytes.len, p->column, &p->errand.err) && store_with_base(p, &draft);
    draft_release(&draft);
    return ok;
}

static bool unpack_npz(Put *p, Npz *npz, Bytes bytes, Spill *spill) {
    Err *err = &p->errand.err, why = {0};
    ErrCode code = spill_begin(spill, p->dataset_files, &p->errand.cancelled);
    if (code != ERR_NONE) return fail_inflating(p, code, spill->cause);
    if (!npz_unpack(npz, bytes.data, bytes.len, most_inflated(p), spill_put, spill, &why))
        return spill->cause ? fail_inflating(p, why.code, spill->cause) : err_set(err, why.code, "%s", why.message);
    code = spill_map(spill);
    return code == ERR_NONE ? npz_read(npz, bytes.data, spill->map, err) : fail_inflating(p, code, spill->cause);
}

static bool store_npz(Put *p, Bytes bytes) {
    Npz npz = {0};
    Spill spill = {.fd = -1};
    Draft draft = {.base = -1};
    const bool ok = unpack_npz(p, &npz, bytes, &spill) && draft_read_npz(&draft, &npz, p->column, &p->errand.err) && store_with_base(p, &draft);
    draft_release(&draft);
    npz_release(&npz);
    spill_release(&spill);
    return ok;
}

static bool store_body(void *arg) {
    Put *p = arg;
    const Body *body = &p->errand.call->body;
    Bytes bytes = {body->data, body->len};
    Spill spill = {.fd = -1};
    bool ok = !(body->gzip || inflate_is_gzip(body->data, body->len)) || unzip_body(p, &spill, &bytes);
    if (ok) ok = zip_is(bytes.data, bytes.len) ? store_npz(p, bytes) : store_plain(p, bytes);
    spill_release(&spill);
    return ok;
}

/* On the thread that writes to the database: the file under the name. */
static bool place(void *arg) {
    Put *p = arg;
    const char *base = !p->column ? NULL : p->base.fd >= 0 ? p->base.sha256 : "";
    p->result = dataset_files_put(p->dataset_files, p->path, p->errand.call->param.text, base, &p->stored, &p->fresh);
    if (p->result == ROW_DONE) *p->path = 0;
    return true;
}

/* ---- in the loop ---- */

static void drop_file(Put *p) {
    if (*p->path) unlink(p->path);
    *p->path = 0;
}

static void release(void *arg) {
    Put *p = arg;
    drop_file(p);
    dataset_release(&p->base);
    dataset_release(&p->stored);
}

static const ErrandKind kind = {.size = sizeof(Put), .release = release};

static void begin(Put *p);

static void placed(void *arg) {
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
        drop_file(p);
        begin(p);
        break;
    case ROW_HELD: errand_fail(p, ERR_conflict, "A run that is queued or running uses the data set %s.", name); break;
    case ROW_BUSY: errand_fail(p, ERR_storage_busy, "The data set cannot be stored: another process holds the database."); break;
    case ROW_FULL: errand_fail(p, ERR_storage_full, "The data set cannot be stored: the disk is full."); break;
    case ROW_QUOTA:
        errand_fail(p, ERR_storage_full, "The data sets may have %llu bytes together (--max-datasets); delete some first.",
                    (unsigned long long)p->errand.call->server->config->dataset_bytes);
        break;
    default: errand_fail(p, ERR_internal, "The data set cannot be stored."); break;
    }
}

static void stored(void *arg) {
    Put *p = arg;
    errand_work(p, p->errand.call->server->writes, place, placed);
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
    else if (column && !dataset_column_name_ok(column)) call_fail(call, ERR_bad_request, "The name of a column is %s, and not " SAFETENSORS_METADATA ".", names);
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
