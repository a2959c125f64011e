#include "server/data/draft.h"
#include "schema/formats/idx.h"
#include "schema/formats/npy.h"
#include "schema/formats/safetensors.h"
#include "schema/formats/sniff.h"
#include "schema/limits.h"
#include "server/data/block_sums.h"
#include "server/data/file.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PIECE = 1 << 20 };

/* ---- columns ---- */

static bool room_for(Draft *draft, size_t n, Err *err) {
    if (n > LIMIT_COLUMNS) return err_set(err, ERR_too_large, "A data set may have at most %d columns.", LIMIT_COLUMNS);
    DraftColumn *columns = realloc(draft->columns, n * sizeof *columns);
    if (!columns) return err_set(err, ERR_internal, "Memory is short.");
    draft->columns = columns;
    return true;
}

static bool take_tensor(Draft *draft, const BulkTensor *t, const unsigned char *data, Err *err) {
    DraftColumn *c = &draft->columns[draft->n];
    uint64_t rows;
    *c = (DraftColumn){.tensor = *t, .data = data};
    c->tensor.name = NULL;
    if (!bulk_fits(t, data, err) || !dataset_column_of(t, &c->column, &rows, err)) return false;
    draft->n++;
    if (draft->n == 1) draft->rows = rows;
    return rows == draft->rows || err_set(err, ERR_bad_tensor, "The column %s has %zu rows, the column %s has %zu.", c->column.name, (size_t)rows,
                                          draft->columns->column.name, (size_t)draft->rows);
}

/* body: what all tensors' offsets are in; NULL: each is in its own of `bodies`. */
static bool take_bulk(Draft *draft, const Bulk *bulk, const unsigned char *body, const unsigned char *const *bodies, Err *err) {
    if (bulk->n == 0) return err_set(err, ERR_bad_tensor, "There is no column in it.");
    if (!room_for(draft, bulk->n, err)) return false;
    for (size_t i = 0; i < bulk->n; i++) {
        const BulkTensor *t = &bulk->items[i];
        if (!take_tensor(draft, t, (body ? body : bodies[i]) + t->offset, err)) return false;
    }
    return true;
}

typedef bool Read(const unsigned char *body, size_t len, Bulk *out, Err *err);

/* column: the name that the one tensor has here; NULL: tensors have names. */
static bool read_bulk(Draft *draft, Read *read, const unsigned char *body, size_t len, const char *column, Err *err) {
    Bulk bulk;
    if (!read(body, len, &bulk, err)) return false;
    BulkTensor one = column ? *bulk.items : (BulkTensor){0};
    one.name = (char *)column; /* which is only read */
    bool ok = take_bulk(draft, column ? &(Bulk){.items = &one, .n = 1} : &bulk, body, NULL, err);
    bulk_release(&bulk);
    return ok;
}

bool draft_read(Draft *draft, const unsigned char *body, size_t len, const char *column, Err *err) {
    const bool is_idx = idx_is(body, len), is_npy = npy_is(body, len);
    *draft = (Draft){.base = -1};
    if ((is_idx || is_npy) && !column)
        return err_set(err, ERR_bad_request, "%s holds one column: say ?column= which.", is_idx ? "An IDX file" : "An npy file");
    if (is_idx || is_npy) return read_bulk(draft, is_idx ? idx_read : npy_read, body, len, column, err);
    const char *what = safetensors_is(body, len) ? NULL : sniff(body, len);
    if (what) return err_set(err, ERR_bad_tensor, "This is %s; send safetensors, npy, npz or IDX.", what);
    if (column)
        return err_set(err, ERR_bad_request, "?column= names the column of an IDX or npy file, and the body is neither; safetensors bring their columns' names.");
    return read_bulk(draft, safetensors_read, body, len, NULL, err);
}

bool draft_read_npz(Draft *draft, const Npz *npz, const char *column, Err *err) {
    *draft = (Draft){.base = -1};
    if (column) return err_set(err, ERR_bad_request, "?column= names the column of an IDX or npy file; an npz brings its columns' names.");
    return take_bulk(draft, &npz->bulk, NULL, npz->data, err);
}

static bool has_column(const Draft *draft, const char *name) {
    for (size_t i = 0; i < draft->n; i++)
        if (strcmp(draft->columns[i].column.name, name) == 0) return true;
    return false;
}

bool draft_add(Draft *draft, const Dataset *base, Err *err) {
    if (!room_for(draft, draft->n + base->ncolumns, err)) return false;
    for (size_t i = 0; i < base->ncolumns; i++) {
        const DatasetColumn *c = &base->columns[i];
        if (has_column(draft, c->name)) continue;
        if (base->rows != draft->rows)
            return err_set(err, ERR_shape_mismatch, "The column has %zu rows, the data set's column %s has %zu.", (size_t)draft->rows, c->name,
                           (size_t)base->rows);
        DraftColumn *added = &draft->columns[draft->n];
        *added = (DraftColumn){.column = *c, .from = c->offset};
        added->column.name = strdup(c->name);
        if (!added->column.name) return err_set(err, ERR_internal, "Memory is short.");
        draft->n++;
    }
    draft->base = base->fd;
    return true;
}

void draft_release(Draft *draft) {
    for (size_t i = 0; i < draft->n; i++) free(draft->columns[i].column.name);
    free(draft->columns);
    stored_content_release(&draft->content);
    *draft = (Draft){.base = -1};
}

/* ---- writing ---- */

typedef struct {
    int fd;
    const atomic_bool *stop;
    crypto_hash_sha256_state sha;
    BlockSummer blocks;
    Err *err;
} Sink;

static bool failed(Err *err, int cause) {
    return err_set(err, file_code(cause), "The data set cannot be written: %s.", strerror(cause));
}

static bool put(Sink *sink, const unsigned char *bytes, size_t len) {
    if (atomic_load(sink->stop)) return err_set(sink->err, ERR_internal, "The request was given up.");
    crypto_hash_sha256_update(&sink->sha, bytes, len);
    block_summer_put(&sink->blocks, bytes, len);
    return file_write(sink->fd, bytes, len) || failed(sink->err, errno);
}

/* A column of the base, as it lies there. */
static bool put_stored(Sink *sink, int base, const DraftColumn *c, uint64_t total, unsigned char *piece) {
    for (uint64_t done = 0; done < total;) {
        size_t n = total - done < PIECE ? (size_t)(total - done) : PIECE;
        if (pread(base, piece, n, (off_t)(c->from + done)) != (ssize_t)n)
            return err_set(sink->err, ERR_internal, "The stored data set cannot be read.");
        if (!put(sink, piece, n)) return false;
        done += n;
    }
    return true;
}

/* A column of the body; what lies there as it is to be is written from there. */
static bool put_tensor(Sink *sink, const DraftColumn *c, unsigned char *piece) {
    const BulkTensor *t = &c->tensor;
    const size_t size = dtype_size(t->dtype), most = PIECE / size;
    for (size_t done = 0; done < t->count;) {
        size_t n = t->count - done < most ? t->count - done : most;
        if (!bulk_plain(t)) bulk_convert(t, c->data, done, n, piece);
        if (!put(sink, bulk_plain(t) ? c->data + done * size : piece, n * size)) return false;
        done += n;
    }
    return true;
}

static int by_size_and_name(const void *a, const void *b) {
    const DatasetColumn *s = &((const DraftColumn *)a)->column, *t = &((const DraftColumn *)b)->column;
    size_t m = dtype_size(s->dtype), n = dtype_size(t->dtype);
    return m != n ? (m < n) - (m > n) : strcmp(s->name, t->name);
}

/* *size: of the file. False: more than a data set may have. */
static bool put_header(const Draft *draft, Buf *header, uint64_t *size) {
    BulkTensor *tensors = calloc(draft->n, sizeof *tensors);
    uint64_t bytes, total = 0;
    bool fits = true;
    header->failed |= !tensors;
    for (size_t i = 0; tensors && i < draft->n; i++) {
        const DatasetColumn *c = &draft->columns[i].column;
        fits = fits && !__builtin_mul_overflow(draft->rows, c->bytes, &bytes) && !__builtin_add_overflow(total, bytes, &total);
        tensors[i] = (BulkTensor){.name = c->name, .dtype = c->dtype, .rank = c->rank + 1, .shape = {(size_t)draft->rows},
                                  .bytes = fits ? (size_t)bytes : 0};
        memcpy(tensors[i].shape + 1, c->dims, c->rank * sizeof *c->dims);
    }
    if (tensors) safetensors_put_header(header, tensors, draft->n);
    free(tensors);
    *size = header->len + total;
    return fits && total <= LIMIT_DATASET_BYTES;
}

static bool put_columns(Sink *sink, const Draft *draft, unsigned char *piece) {
    bool ok = true;
    for (size_t i = 0; i < draft->n && ok; i++) {
        const DraftColumn *c = &draft->columns[i];
        ok = c->data ? put_tensor(sink, c, piece) : put_stored(sink, draft->base, c, draft->rows * c->column.bytes, piece);
    }
    return ok;
}

uint64_t draft_bytes(const Draft *draft) {
    uint64_t total = 0, bytes;
    for (size_t i = 0; i < draft->n; i++)
        if (__builtin_mul_overflow(draft->rows, draft->columns[i].column.bytes, &bytes) || __builtin_add_overflow(total, bytes, &total)) return UINT64_MAX;
    return total;
}

bool draft_write(Draft *draft, int fd, const atomic_bool *stop, char sha256[DATASET_SHA + 1], Err *err) {
    Sink sink = {.fd = fd, .stop = stop, .err = err};
    unsigned char digest[crypto_hash_sha256_BYTES], *piece = malloc(PIECE);
    Buf header;
    buf_init(&header);
    crypto_hash_sha256_init(&sink.sha);
    qsort(draft->columns, draft->n, sizeof *draft->columns, by_size_and_name);
    uint64_t size = 0;
    bool ok = put_header(draft, &header, &size) || err_set(err, ERR_too_large, "A data set may have at most %zu bytes.", LIMIT_DATASET_BYTES);
    if (ok && (header.failed || !piece || !block_summer_begin(&sink.blocks, size))) ok = err_set(err, ERR_internal, "Memory is short.");
    ok = ok && put(&sink, header.data, header.len) && put_columns(&sink, draft, piece);
    if (ok && fsync(fd) != 0) ok = failed(err, errno);
    crypto_hash_sha256_final(&sink.sha, digest);
    sodium_bin2hex(sha256, DATASET_SHA + 1, digest, sizeof digest);
    if (ok) draft->content = block_summer_take(&sink.blocks);
    block_summer_release(&sink.blocks);
    buf_release(&header);
    free(piece);
    return ok;
}
