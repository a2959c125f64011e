/* GET /datasets, GET and DELETE /datasets/{name}, GET /datasets/{name}/rows */
#include "schema/limits.h"
#include "server/http/errand.h"
#include "server/routes.h"
#include "server/http/list.h"

static bool put_row(void *arg, const char *record, size_t len, bool damaged) {
    dataset_put_damage(list_next(arg), record, len, damaged);
    return list_has_room(arg);
}

void handle_datasets(Call *call) {
    List list;
    if (list_begin(&list, call, "datasets"))
        list_end(&list, store_datasets(call->server->store, &list.after, list.limit, put_row, &list, &list.last));
}

void handle_dataset(Call *call) {
    Err err = {0};
    Buf body;
    buf_init(&body);
    if (dataset_files_record(call->server->dataset_files, call->param.text, &body, &err)) call_answer(call, 200, "application/json", &body);
    else call_fail_err(call, &err);
}

/* ---- rows ---- */

typedef struct {
    Errand errand;
    Dataset dataset;
    uint64_t from, count;
    Buf body;
} Showing;

static void release(void *arg) {
    Showing *s = arg;
    buf_release(&s->body);
    dataset_release(&s->dataset);
}

static const ErrandKind showing = {.size = sizeof(Showing), .release = release};

static bool show(void *arg) {
    Showing *s = arg;
    Errand *e = &s->errand;
    return dataset_files_verify_rows(e->call->server->dataset_files, &s->dataset, s->from, s->count, &e->cancelled, &e->err) &&
           (dataset_put_rows(&s->body, &s->dataset, s->from, s->count) || err_set(&e->err, ERR_internal, "The stored file of the data set cannot be read."));
}

static void shown(void *arg) {
    Showing *s = arg;
    errand_answer(s, 200, "application/json", &s->body);
}

/* The most bytes that the rows' numbers can take as JSON; SIZE_MAX: more than can be told. */
static size_t most_bytes(const Dataset *d, uint64_t count) {
    enum { NUMBER = 28 }; /* "-1.7976931348623157e+308" with a comma and its share of brackets */
    size_t row = 0, total;
    for (size_t i = 0; i < d->ncolumns; i++)
        if (__builtin_add_overflow(row, d->columns[i].count, &row)) return SIZE_MAX;
    return __builtin_mul_overflow(row, (size_t)count * NUMBER, &total) ? SIZE_MAX : total;
}

void handle_dataset_rows(Call *call) {
    uint64_t from, count;
    if (!call_query_uint(call, "from", 0, 0, LIMIT_NUMERAL, &from)) return;
    if (!call_query_uint(call, "count", 10, 1, LIMIT_DATASET_ROWS, &count)) return;
    Showing *s = errand_begin(call, &showing);
    if (!s) return;
    s->from = from;
    s->count = count;
    s->dataset.fd = -1;
    if (!dataset_files_find(call->server->dataset_files, call->param.text, &s->dataset, &s->errand.err)) {
        errand_refuse(s);
        return;
    }
    const size_t most = most_bytes(&s->dataset, count < s->dataset.rows ? count : s->dataset.rows);
    if (most > LIMIT_JSON_ANSWER)
        errand_fail(s, ERR_too_large, "So many rows may take more than %zu bytes as JSON; ask for fewer.", LIMIT_JSON_ANSWER);
    else if (!call_hold(call, most, &s->errand.err)) errand_refuse(s);
    else errand_work(s, s->dataset.content.sums ? call->server->tasks : call->server->bulk, show, shown);
}

/* ---- deleting ---- */

typedef struct {
    Errand errand;
    RowResult result;
} Deletion;

static const ErrandKind deletion = {.size = sizeof(Deletion), .lasting = true};

static bool delete_dataset(void *arg) {
    Deletion *d = arg;
    Call *call = d->errand.call;
    d->result = dataset_files_delete(call->server->dataset_files, call->param.text);
    return true;
}

static void deleted(void *arg) {
    Deletion *d = arg;
    const char *name = d->errand.call->param.text;
    Buf none = {0};
    switch (d->result) {
    case ROW_DONE: errand_answer(d, 204, NULL, &none); break;
    case ROW_ABSENT: errand_fail(d, ERR_not_found, "There is no data set %s.", name); break;
    case ROW_HELD: errand_fail(d, ERR_conflict, "A run that is queued or running uses the data set %s.", name); break;
    case ROW_BUSY: errand_fail(d, ERR_storage_busy, "Another process holds the database."); break;
    case ROW_FULL: errand_fail(d, ERR_storage_full, "The disk is full, and so is its reserve."); break;
    default: errand_fail(d, ERR_internal, "The database refused."); break;
    }
}

void handle_dataset_delete(Call *call) {
    Deletion *d = errand_begin(call, &deletion);
    if (d) errand_work(d, call->server->writes, delete_dataset, deleted);
}
