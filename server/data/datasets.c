/* GET /datasets, GET and DELETE /datasets/{name}, GET /datasets/{name}/rows */
#include "schema/limits.h"
#include "server/http/handlers.h"
#include "server/http/list.h"
#include <stdlib.h>
#include <string.h>

static bool put_row(void *arg, const char *record, size_t len) {
    buf_put(list_next(arg), record, len);
    return list_has_room(arg);
}

void handle_datasets(Call *call) {
    List list;
    if (list_begin(&list, call, "datasets"))
        list_end(&list, store_datasets(call->server->store, &list.after, list.limit, put_row, &list, &list.last));
}

void handle_dataset(Call *call) {
    Dataset dataset;
    Err err;
    Buf body;
    if (!dataset_files_find(call->server->dataset_files, call->param.text, &dataset, &err)) {
        call_fail_err(call, &err);
        return;
    }
    buf_init(&body);
    buf_puts(&body, dataset.record);
    dataset_release(&dataset);
    call_answer(call, 200, "application/json", &body);
}

/* ---- rows ---- */

typedef struct {
    Call *call;
    Dataset dataset;
    uint64_t from, count;
    Buf body;
    bool read;
    Task task;
} Showing;

static void show(void *arg) {
    Showing *s = arg;
    s->read = dataset_put_rows(&s->body, &s->dataset, s->from, s->count);
}

static void shown(void *arg) {
    Showing *s = arg;
    if (!s->read) call_fail(s->call, ERR_internal, "The stored file of the data set cannot be read.");
    else call_answer(s->call, 200, "application/json", &s->body);
    buf_release(&s->body);
    dataset_release(&s->dataset);
    call_drop(s->call);
    free(s);
}

/* The most bytes that the rows' numbers can take as JSON; SIZE_MAX: more than can be told. */
static size_t most_bytes(const Dataset *d, uint64_t count) {
    enum { NUMBER = 28 }; /* "-1.7976931348623157e+308" with a comma and its share of brackets */
    size_t row = 0, total;
    for (size_t i = 0; i < d->ncolumns; i++)
        if (__builtin_add_overflow(row, d->columns[i].count, &row)) return SIZE_MAX;
    return __builtin_mul_overflow(row, (size_t)count * NUMBER, &total) ? SIZE_MAX : total;
}

/* Takes the data set over. */
static void show_rows(Call *call, Dataset *dataset, uint64_t from, uint64_t count) {
    size_t most = most_bytes(dataset, count < dataset->rows ? count : dataset->rows);
    Showing *s = NULL;
    if (most > LIMIT_JSON_ANSWER)
        call_fail(call, ERR_too_large, "So many rows may take more than %zu bytes as JSON; ask for fewer.", LIMIT_JSON_ANSWER);
    else if (!call_hold(call, most)) call_fail(call, ERR_queue_full, "The requests in flight take too much memory.");
    else if (!(s = calloc(1, sizeof *s))) call_fail(call, ERR_internal, "Memory is short.");
    if (!s) {
        dataset_release(dataset);
        return;
    }
    *s = (Showing){.call = call, .dataset = *dataset, .from = from, .count = count, .task = {.work = show, .done = shown, .arg = s}};
    call_keep(call);
    tasks_add(call->server->tasks, &s->task);
}

void handle_dataset_rows(Call *call) {
    uint64_t from, count;
    Dataset dataset;
    Err err;
    if (!call_query_uint(call, "from", 0, 0, LIMIT_NUMERAL, &from)) return;
    if (!call_query_uint(call, "count", 10, 1, LIMIT_DATASET_ROWS, &count)) return;
    if (dataset_files_find(call->server->dataset_files, call->param.text, &dataset, &err)) show_rows(call, &dataset, from, count);
    else call_fail_err(call, &err);
}

/* ---- deleting ---- */

typedef struct {
    Call *call;
    RowResult result;
    Task task;
} Deletion;

static void delete_dataset(void *arg) {
    Deletion *d = arg;
    d->result = dataset_files_delete(d->call->server->dataset_files, d->call->param.text);
}

static void deleted(void *arg) {
    Deletion *d = arg;
    Call *call = d->call;
    Buf none;
    buf_init(&none);
    switch (d->result) {
    case ROW_DONE: call_answer(call, 204, NULL, &none); break;
    case ROW_ABSENT: call_fail(call, ERR_not_found, "There is no data set %s.", call->param.text); break;
    case ROW_HELD: call_fail(call, ERR_conflict, "A run that is queued or running uses the data set %s.", call->param.text); break;
    default: call_fail(call, ERR_internal, "The database refused."); break;
    }
    call_drop(call);
    free(d);
}

void handle_dataset_delete(Call *call) {
    Deletion *d = calloc(1, sizeof *d);
    if (!d) {
        call_fail(call, ERR_internal, "Memory is short.");
        return;
    }
    *d = (Deletion){.call = call, .task = {.work = delete_dataset, .done = deleted, .arg = d}};
    call_keep(call);
    tasks_add(call->server->tasks, &d->task);
}
