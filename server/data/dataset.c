#include "server/data/dataset.h"
#include "schema/base/time.h"
#include "schema/formats/json.h"
#include "schema/formats/safetensors.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* HEADER_MOST: a column's entry has at most 100 characters of name and some 300 of numbers. */
enum { HEADER_MOST = LIMIT_COLUMNS * 512, CHUNK = 64 * 1024 };

bool dataset_name_ok(const char *name) {
    size_t len = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
    /* "." and "..": no client keeps them in a path */
    return len > 0 && len <= DATASET_NAME && !name[len] && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

bool dataset_column_name_ok(const char *name) { return dataset_name_ok(name) && strcmp(name, SAFETENSORS_METADATA) != 0; }

bool dataset_column_of(const BulkTensor *t, DatasetColumn *out, uint64_t *rows, Err *err) {
    *out = (DatasetColumn){.dtype = t->dtype == DT_BOOL ? DT_U8 : t->dtype, .offset = t->offset};
    if (!dataset_column_name_ok(t->name))
        return err_set(err, ERR_bad_tensor, "\"%.100s\" is no column's name: 1 to %d of A-Z, a-z, 0-9, \".\", \"_\" and \"-\", and not " SAFETENSORS_METADATA ".",
                       t->name, DATASET_NAME);
    if (t->rank == 0 || t->rank - 1 > LIMIT_ROW_RANK)
        return err_set(err, ERR_bad_tensor, "The column %s needs an axis of rows, and at most %d others.", t->name, LIMIT_ROW_RANK);
    if (t->count == 0) return err_set(err, ERR_bad_tensor, "The column %s is empty.", t->name);
    out->rank = t->rank - 1;
    out->count = t->count / t->shape[0];
    out->bytes = out->count * dtype_size(out->dtype);
    memcpy(out->dims, t->shape + 1, out->rank * sizeof *out->dims);
    *rows = t->shape[0];
    out->name = strdup(t->name);
    return out->name || err_set(err, ERR_internal, "Memory is short.");
}

/* ---- a file's header ---- */

static bool damaged(Err *err, const char *what) { return err_set(err, ERR_damaged, "The stored file of the data set is damaged: %s.", what); }

/* Of what reads it: the file's damage, or want of memory. */
static bool unread(Err *err, const Err *why) { return why->code == ERR_bad_tensor ? damaged(err, why->message) : err_set(err, ERR_internal, "%s", why->message); }

static bool take_columns(Dataset *d, const Bulk *bulk, Err *err) {
    if (bulk->n == 0 || bulk->n > LIMIT_COLUMNS) return damaged(err, "its columns");
    d->columns = calloc(bulk->n, sizeof *d->columns);
    if (!d->columns) return err_set(err, ERR_internal, "Memory is short.");
    for (; d->ncolumns < bulk->n; d->ncolumns++) {
        Err why = {0};
        uint64_t rows;
        const BulkTensor *t = &bulk->items[d->ncolumns];
        if (!dataset_column_of(t, &d->columns[d->ncolumns], &rows, &why)) return unread(err, &why);
        if (d->ncolumns && rows != d->rows) {
            free(d->columns[d->ncolumns].name);
            return damaged(err, "its columns differ in rows");
        }
        d->rows = rows;
    }
    return true;
}

bool dataset_read(int fd, Dataset *out, Err *err) {
    struct stat st;
    unsigned char start[8], *header = NULL;
    Bulk bulk = {0};
    Dataset d = {.fd = -1};
    if (fstat(fd, &st) != 0 || pread(fd, start, sizeof start, 0) != sizeof start) return damaged(err, "it is too short");
    Reader r = reader_of(start, sizeof start);
    uint64_t len = read_u64(&r);
    if (len > HEADER_MOST) return damaged(err, "its header's length");
    if (!(header = malloc(8 + (size_t)len))) return err_set(err, ERR_internal, "Memory is short.");
    memcpy(header, start, 8);
    d.bytes = (uint64_t)st.st_size;
    bool ok = pread(fd, header + 8, len, 8) == (ssize_t)len || damaged(err, "it is too short");
    if (ok) {
        Err why = {0};
        /* which looks at the header only */
        ok = (safetensors_read(header, d.bytes, &bulk, &why) && bulk_all_plain(&bulk, &why)) || unread(err, &why);
        ok = ok && take_columns(&d, &bulk, err);
    }
    bulk_release(&bulk);
    free(header);
    if (!ok) {
        dataset_release(&d);
        return false;
    }
    d.fd = fd;
    *out = d;
    return true;
}

void dataset_release(Dataset *d) {
    for (size_t i = 0; i < d->ncolumns; i++) free(d->columns[i].name);
    free(d->columns);
    free(d->record);
    stored_content_release(&d->content);
    if (d->fd >= 0) close(d->fd);
    *d = (Dataset){.fd = -1};
}

/* ---- as JSON ---- */

void dataset_put_record(Buf *out, const char *name, const Dataset *d, int64_t created) {
    buf_puts(out, "{\"name\":");
    json_put_string(out, name);
    buf_printf(out, ",\"rows\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"sha256\":\"%s\",\"created\":", d->rows, d->bytes, d->sha256);
    time_put_json(out, created);
    buf_puts(out, ",\"columns\":[");
    for (size_t i = 0; i < d->ncolumns; i++) {
        const DatasetColumn *c = &d->columns[i];
        buf_puts(out, i ? ",{\"name\":" : "{\"name\":");
        json_put_string(out, c->name);
        buf_printf(out, ",\"dtype\":\"%s\",\"shape\":[", element_name(element_of_dtype(c->dtype)));
        for (size_t k = 0; k < c->rank; k++) buf_printf(out, k ? ",%zu" : "%zu", c->dims[k]);
        buf_puts(out, "]}");
    }
    buf_puts(out, "]}");
}

void dataset_put_damage(Buf *out, const char *record, size_t len, bool damaged) {
    buf_put(out, record, damaged ? len - 1 : len);
    if (damaged) buf_puts(out, ",\"damaged\":true}");
}

static void put_element(Buf *out, DType dtype, const unsigned char *at) {
    Reader r = reader_of(at, dtype_size(dtype));
    float f;
    double d;
    uint64_t bits;
    switch (dtype) {
    case DT_F32: memcpy(&f, at, sizeof f); json_put_float(out, f); break;
    case DT_F64: memcpy(&d, at, sizeof d); json_put_double(out, d); break;
    case DT_I64: bits = read_u64(&r); buf_printf(out, "%" PRId64, (int64_t)bits); break;
    default: buf_printf(out, "%u", *at); break;
    }
}

/* How many elements the brackets of each level enclose: the whole, a row, and so on inwards. Returns the levels. */
static size_t nesting(const DatasetColumn *c, uint64_t count, size_t extents[LIMIT_ROW_RANK + 1]) {
    extents[0] = (size_t)count * c->count;
    for (size_t k = 0, inner = c->count; k < c->rank; inner /= c->dims[k++]) extents[k + 1] = inner;
    return c->rank + 1;
}

/* Elements in their order; a bracket opens and closes where its level does. */
static bool put_column(Buf *out, const Dataset *d, const DatasetColumn *c, uint64_t from, uint64_t count, unsigned char chunk[CHUNK]) {
    size_t extents[LIMIT_ROW_RANK + 1], levels = nesting(c, count, extents), size = dtype_size(c->dtype), total = extents[0];
    for (size_t done = 0; done < total && !out->failed;) {
        size_t n = total - done < CHUNK / size ? total - done : CHUNK / size;
        off_t at = (off_t)(c->offset + from * c->bytes + done * size);
        if (pread(d->fd, chunk, n * size, at) != (ssize_t)(n * size)) return false;
        for (size_t i = 0; i < n; i++, done++) {
            if (done) buf_putc(out, ',');
            for (size_t k = 0; k < levels; k++)
                if (done % extents[k] == 0) buf_putc(out, '[');
            put_element(out, c->dtype, chunk + i * size);
            for (size_t k = 0; k < levels; k++)
                if ((done + 1) % extents[k] == 0) buf_putc(out, ']');
        }
    }
    if (!total) buf_puts(out, "[]");
    return true;
}

bool dataset_put_rows(Buf *out, const Dataset *d, uint64_t from, uint64_t count) {
    unsigned char *chunk = malloc(CHUNK);
    bool ok = chunk != NULL;
    if (from > d->rows) from = d->rows;
    if (count > d->rows - from) count = d->rows - from;
    buf_printf(out, "{\"from\":%" PRIu64 ",\"count\":%" PRIu64 ",\"columns\":{", from, count);
    for (size_t i = 0; ok && i < d->ncolumns; i++) {
        if (i) buf_putc(out, ',');
        json_put_string(out, d->columns[i].name);
        buf_putc(out, ':');
        ok = put_column(out, d, &d->columns[i], from, count, chunk);
    }
    buf_puts(out, "}}");
    free(chunk);
    return ok;
}
