#include "schema/protocol/wire_train.h"
#include "schema/protocol/wire_fields.h"
#include <stdlib.h>
#include <string.h>

static const WireField link_fields[] = {
    U(8, LinkMsg, want, LINK_SERVE), BYTES(LinkMsg, program), BYTES(LinkMsg, spec), U(64, LinkMsg, nat_limit, UINT64_MAX),
    U(64, LinkMsg, train_rows, LIMIT_NUMERAL), U(64, LinkMsg, test_rows, LIMIT_NUMERAL), U(32, LinkMsg, ntrain, LIMIT_COLUMNS),
    U(32, LinkMsg, ntest, LIMIT_COLUMNS), U(64, LinkMsg, area_size, LIMIT_JOB_BYTES), U(8, LinkMsg, derive, DERIVE_JVP),
    FLAG(LinkMsg, stored), BYTES(LinkMsg, outputs), END,
};
static const WireField linked_fields[] = {
    U(16, LinkedMsg, code, ERR_COUNT - 1), U(8, LinkedMsg, at_kind, UINT8_MAX), U(8, LinkedMsg, other_kind, UINT8_MAX),
    U(32, LinkedMsg, at_index, UINT32_MAX), U(32, LinkedMsg, other_index, UINT32_MAX), BYTES(LinkedMsg, message), BYTES(LinkedMsg, hint),
    BYTES(LinkedMsg, pointer), BYTES(LinkedMsg, info), BYTES(LinkedMsg, graph), BYTES(LinkedMsg, types),
    U(32, LinkedMsg, ninputs, UINT32_MAX), REAL(LinkedMsg, macs), END,
};
static const WireField data_fields[] = {
    U(8, DataMsg, kind, DATA_WEIGHTS), BYTES(DataMsg, name), U(64, DataMsg, rows, LIMIT_NUMERAL), U(64, DataMsg, bytes, INT64_MAX),
    U(32, DataMsg, ncolumns, LIMIT_COLUMNS), END,
};
static const WireField column_fields[] = {
    BYTES(ColumnMsg, name), U(8, ColumnMsg, dtype, DT_COUNT - 1), U(64, ColumnMsg, offset, INT64_MAX), U(32, ColumnMsg, rank, LIMIT_ROW_RANK), END,
};
static const WireField train_fields[] = {
    BYTES(TrainMsg, program), BYTES(TrainMsg, spec), U(64, TrainMsg, nat_limit, UINT64_MAX), U(64, TrainMsg, area_size, LIMIT_JOB_BYTES), END,
};
static const WireField news_fields[] = {
    U(8, ProgressMsg, kind, PROGRESS_END), U(64, ProgressMsg, step, UINT64_MAX), U(64, ProgressMsg, steps, UINT64_MAX), REAL(ProgressMsg, epoch),
    BYTES(ProgressMsg, text), U(16, ProgressMsg, code, ERR_COUNT - 1), FLAG(ProgressMsg, stopped), U(64, ProgressMsg, area_size, LIMIT_JOB_BYTES),
    U(32, ProgressMsg, npoints, WIRE_PROGRESS_VALUES), END,
};
static const WireField point_fields[] = {BYTES(PointMsg, key), U(64, PointMsg, step, UINT64_MAX), REAL(PointMsg, value), END};

/* ---- columns ---- */

static void put_columns(Buf *out, const ColumnMsg *columns, uint32_t n) {
    for (const ColumnMsg *c = columns; c < columns + n; c++) {
        wire_put_fields(out, column_fields, c);
        for (uint32_t d = 0; d < c->rank; d++) buf_u64(out, c->dims[d]);
    }
}

/* A name, and a row of at least one element and at most LIMIT_SPACE. */
static bool get_column(Reader *in, ColumnMsg *c) {
    wire_get_fields(in, column_fields, c);
    if (in->failed || !c->name_len || memchr(c->name, 0, c->name_len)) return false;
    uint64_t count = 1;
    for (uint32_t d = 0; d < c->rank; d++) {
        c->dims[d] = read_u64(in);
        if (!c->dims[d] || c->dims[d] > LIMIT_SPACE / count) return false;
        count *= c->dims[d];
    }
    return !in->failed;
}

/* NULL: no such columns, or memory is short. */
static ColumnMsg *get_columns(Reader *in, uint32_t n) {
    ColumnMsg *columns = calloc(n + (size_t)1, sizeof *columns);
    for (uint32_t i = 0; columns && i < n; i++) {
        if (get_column(in, &columns[i])) continue;
        free(columns);
        return NULL;
    }
    return columns;
}

uint64_t column_elements(const ColumnMsg *column) {
    uint64_t count = 1;
    for (uint32_t d = 0; d < column->rank; d++) count *= column->dims[d];
    return count;
}

/* All rows lie in the file. */
static bool column_fits(const ColumnMsg *c, uint64_t rows, uint64_t bytes) {
    uint64_t all;
    return !__builtin_mul_overflow(column_elements(c) * dtype_size((DType)c->dtype), rows, &all) && c->offset <= bytes && all <= bytes - c->offset;
}

/* ---- link ---- */

void wire_put_link(Buf *out, const LinkMsg *m) {
    wire_put_fields(out, link_fields, m);
    put_columns(out, m->train, m->ntrain);
    put_columns(out, m->test, m->ntest);
}

bool wire_get_link(const Frame *frame, LinkMsg *m) {
    Reader in = reader_of(frame->body, frame->len);
    *m = (LinkMsg){0};
    if (frame->type != FRAME_link) return false;
    wire_get_fields(&in, link_fields, m);
    if (in.failed || (m->area_size > 0) != (frame->area >= 0) || (m->want == LINK_SERVE) != (m->area_size > 0)) return false;
    if (m->outputs_len && m->outputs[m->outputs_len - 1]) return false;
    m->train = get_columns(&in, m->ntrain);
    m->test = m->train ? get_columns(&in, m->ntest) : NULL;
    if (m->test && reader_done(&in)) return true;
    link_msg_release(m);
    return false;
}

void link_msg_release(LinkMsg *m) {
    free(m->train);
    free(m->test);
    m->train = m->test = NULL;
}

void wire_put_linked(Buf *out, const LinkedMsg *m) { wire_put_fields(out, linked_fields, m); }
bool wire_get_linked(const Frame *frame, LinkedMsg *m) { return wire_get_all(frame, FRAME_linked, linked_fields, m, sizeof *m); }

/* ---- runs ---- */

void wire_put_data(Buf *out, const DataMsg *m) {
    wire_put_fields(out, data_fields, m);
    put_columns(out, m->columns, m->ncolumns);
}

bool wire_get_data(const Frame *frame, DataMsg *m) {
    Reader in = reader_of(frame->body, frame->len);
    *m = (DataMsg){0};
    if (frame->type != FRAME_data || frame->area < 0) return false;
    wire_get_fields(&in, data_fields, m);
    if (in.failed || !m->bytes || (m->kind == DATA_WEIGHTS && m->ncolumns) || memchr(m->name, 0, m->name_len)) return false;
    m->columns = get_columns(&in, m->ncolumns);
    bool ok = m->columns && reader_done(&in);
    for (uint32_t i = 0; ok && i < m->ncolumns; i++) ok = column_fits(&m->columns[i], m->rows, m->bytes);
    if (!ok) data_msg_release(m);
    return ok;
}

void data_msg_release(DataMsg *m) {
    free(m->columns);
    m->columns = NULL;
}

void wire_put_train(Buf *out, const TrainMsg *m) { wire_put_fields(out, train_fields, m); }

bool wire_get_train(const Frame *frame, TrainMsg *m) {
    return wire_get_all(frame, FRAME_train, train_fields, m, sizeof *m) && (m->area_size > 0) == (frame->area >= 0);
}

void wire_put_progress(Buf *out, const ProgressMsg *m) {
    wire_put_fields(out, news_fields, m);
    for (uint32_t i = 0; i < m->npoints; i++) wire_put_fields(out, point_fields, &m->points[i]);
}

bool wire_get_progress(const Frame *frame, ProgressMsg *m) {
    Reader in = reader_of(frame->body, frame->len);
    *m = (ProgressMsg){0};
    if (frame->type != FRAME_progress) return false;
    wire_get_fields(&in, news_fields, m);
    if (in.failed || (m->area_size > 0) != (frame->area >= 0) || (m->kind == PROGRESS_CHECKPOINT) != (m->area_size > 0)) return false;
    m->points = calloc(m->npoints + (size_t)1, sizeof *m->points);
    for (uint32_t i = 0; m->points && i < m->npoints; i++) wire_get_fields(&in, point_fields, &m->points[i]);
    if (m->points && reader_done(&in)) return true;
    progress_msg_release(m);
    return false;
}

void progress_msg_release(ProgressMsg *m) {
    free(m->points);
    m->points = NULL;
}
