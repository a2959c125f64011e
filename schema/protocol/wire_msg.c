/* The messages of a worker of the pool (builds, graphs, executions): a table of fields each (wire_fields.h), and what the tables do not say. */
#include "schema/limits.h"
#include "schema/protocol/wire_fields.h"
#include <stdlib.h>
#include <string.h>

static const WireField hello_fields[] = {
    U(32, HelloMsg, version, UINT32_MAX), U(64, HelloMsg, build, UINT64_MAX), U(32, HelloMsg, pid, UINT32_MAX),
    U(32, HelloMsg, threads, UINT32_MAX), BYTES(HelloMsg, libraries), END,
};
static const WireField build_fields[] = {
    BYTES(BuildMsg, program), U(32, BuildMsg, nargs, UINT32_MAX), U(8, BuildMsg, derive, DERIVE_LOWERED), FLAG(BuildMsg, verify),
    U(64, BuildMsg, nat_limit, UINT64_MAX), END,
};
static const WireField built_fields[] = {
    U(16, BuiltMsg, code, ERR_COUNT - 1), U(8, BuiltMsg, at_kind, UINT8_MAX), U(8, BuiltMsg, other_kind, UINT8_MAX),
    U(32, BuiltMsg, at_index, UINT32_MAX), U(32, BuiltMsg, other_index, UINT32_MAX), BYTES(BuiltMsg, message), BYTES(BuiltMsg, hint),
    BYTES(BuiltMsg, graph), BYTES(BuiltMsg, types), U(32, BuiltMsg, ninputs, UINT32_MAX), U(32, BuiltMsg, nargs, UINT32_MAX),
    U(64, BuiltMsg, smooth_args, UINT64_MAX), U(64, BuiltMsg, neurons, UINT64_MAX), U(64, BuiltMsg, weights, UINT64_MAX),
    U(64, BuiltMsg, recurrent, UINT64_MAX), REAL(BuiltMsg, macs), U(32, BuiltMsg, cases, UINT32_MAX), FLAG(BuiltMsg, exhaustive),
    U(64, BuiltMsg, compile_us, UINT64_MAX), U(64, BuiltMsg, verify_us, UINT64_MAX), END,
};
static const WireField load_fields[] = {U(64, LoadMsg, key, UINT64_MAX), BYTES(LoadMsg, graph), END};
static const WireField drop_fields[] = {U(64, DropMsg, key, UINT64_MAX), END};
static const WireField exec_fields[] = {
    U(64, ExecMsg, key, UINT64_MAX), U(8, ExecMsg, dtype, DT_F64), U(32, ExecMsg, rows, LIMIT_ROWS), U(64, ExecMsg, area_size, LIMIT_JOB_BYTES),
    U(64, ExecMsg, results_at, LIMIT_JOB_BYTES), U(32, ExecMsg, ntensors, WIRE_TENSORS), U(32, ExecMsg, nresults, WIRE_TENSORS),
    INLINE(ExecMsg, inline_area), BYTES(ExecMsg, program), U(32, ExecMsg, nargs, UINT32_MAX), U(64, ExecMsg, nat_limit, UINT64_MAX), END,
};
static const WireField tensor_fields[] = {
    U(32, TensorMsg, slot, UINT32_MAX), U(8, TensorMsg, dtype, DT_COUNT - 1), FLAG(TensorMsg, batched), U(8, TensorMsg, discrete, 2),
    U(64, TensorMsg, cols, LIMIT_JOB_BYTES), U(64, TensorMsg, offset, LIMIT_JOB_BYTES), END,
};
static const WireField result_fields[] = {
    U(32, ResultMsg, output, UINT32_MAX), FLAG(ResultMsg, batched), U(64, ResultMsg, offset, LIMIT_JOB_BYTES), END,
};
enum { RESULT_BYTES = 4 + 1 + 8, TENSOR_BYTES = 4 + 1 + 1 + 1 + 8 + 8 }; /* as they travel */
static const WireField executed_fields[] = {
    U(16, ExecutedMsg, code, ERR_COUNT - 1), BYTES(ExecutedMsg, message), U(64, ExecutedMsg, exec_ns, UINT64_MAX), INLINE(ExecutedMsg, inline_results), END,
};

void wire_put_hello(Buf *out, const HelloMsg *m) { wire_put_fields(out, hello_fields, m); }
bool wire_get_hello(const Frame *frame, HelloMsg *m) { return wire_get_all(frame, FRAME_hello, hello_fields, m, sizeof *m); }
void wire_put_build(Buf *out, const BuildMsg *m) { wire_put_fields(out, build_fields, m); }
bool wire_get_build(const Frame *frame, BuildMsg *m) { return wire_get_all(frame, FRAME_build, build_fields, m, sizeof *m); }
void wire_put_built(Buf *out, const BuiltMsg *m) { wire_put_fields(out, built_fields, m); }
bool wire_get_built(const Frame *frame, BuiltMsg *m) { return wire_get_all(frame, FRAME_built, built_fields, m, sizeof *m); }
void wire_put_load(Buf *out, const LoadMsg *m) { wire_put_fields(out, load_fields, m); }
bool wire_get_load(const Frame *frame, LoadMsg *m) { return wire_get_all(frame, FRAME_load, load_fields, m, sizeof *m); }
void wire_put_drop(Buf *out, const DropMsg *m) { wire_put_fields(out, drop_fields, m); }
bool wire_get_drop(const Frame *frame, DropMsg *m) { return wire_get_all(frame, FRAME_drop, drop_fields, m, sizeof *m); }
void wire_put_executed(Buf *out, const ExecutedMsg *m) { wire_put_fields(out, executed_fields, m); }
bool wire_get_executed(const Frame *frame, ExecutedMsg *m) { return wire_get_all(frame, FRAME_executed, executed_fields, m, sizeof *m); }

void wire_put_exec(Buf *out, const ExecMsg *m) {
    wire_put_fields(out, exec_fields, m);
    for (uint32_t i = 0; i < m->ntensors; i++) wire_put_fields(out, tensor_fields, &m->tensors[i]);
    for (uint32_t i = 0; i < m->nresults; i++) wire_put_fields(out, result_fields, &m->results[i]);
}

/* The tensor lies within the inputs' part of the area, aligned to its elements. */
static bool tensor_fits(const ExecMsg *m, const TensorMsg *t) {
    const bool dense = t->dtype == DT_F32 || t->dtype == DT_F64;
    const size_t size = dtype_size((DType)t->dtype), cols = t->discrete ? 1 : t->cols;
    uint64_t bytes;
    if (dense == (t->discrete != 0) || !cols || t->offset % size || t->offset > m->results_at) return false;
    if (__builtin_mul_overflow(t->batched ? m->rows : UINT64_C(1), cols * size, &bytes)) return false;
    return bytes <= m->results_at - t->offset;
}

static bool run_fits(const ExecMsg *m, bool has_area) {
    if (!m->rows || m->results_at > m->area_size) return false;
    if (m->inline_len != (has_area ? 0 : m->results_at)) return false;
    for (uint32_t i = 0; i < m->ntensors; i++)
        if (!tensor_fits(m, &m->tensors[i])) return false;
    for (uint32_t i = 0; i < m->nresults; i++) {
        const uint64_t at = m->results[i].offset;
        if (at < m->results_at || at >= m->area_size || at % dtype_size((DType)m->dtype)) return false;
    }
    return true;
}

bool wire_get_exec(const Frame *frame, ExecMsg *m) {
    Reader in = reader_of(frame->body, frame->len);
    *m = (ExecMsg){0};
    if (frame->type != FRAME_exec) return false;
    wire_get_fields(&in, exec_fields, m);
    const size_t left = in.len - in.at;
    if (in.failed || left != (size_t)m->ntensors * TENSOR_BYTES + (size_t)m->nresults * RESULT_BYTES) return false;
    m->tensors = calloc(m->ntensors + (size_t)1, sizeof *m->tensors);
    m->results = calloc(m->nresults + (size_t)1, sizeof *m->results);
    if (m->tensors && m->results) {
        for (uint32_t i = 0; i < m->ntensors; i++) wire_get_fields(&in, tensor_fields, &m->tensors[i]);
        for (uint32_t i = 0; i < m->nresults; i++) wire_get_fields(&in, result_fields, &m->results[i]);
        if (reader_done(&in) && run_fits(m, frame->area >= 0)) return true;
    }
    exec_msg_release(m);
    return false;
}

void exec_msg_release(ExecMsg *msg) {
    free(msg->tensors);
    free(msg->results);
    msg->tensors = NULL;
    msg->results = NULL;
}

enum { MEMBER_HEAD = 4 }; /* its length */

size_t wire_begin_member(Buf *out) {
    buf_u32(out, 0);
    return out->len;
}

void wire_end_member(Buf *out, size_t begun) {
    if (out->failed) return;
    Buf length = {.data = out->data + begun - MEMBER_HEAD, .room = MEMBER_HEAD};
    buf_u32(&length, (uint32_t)(out->len - begun));
}

bool wire_next_member(const Frame *whole, Reader *in, Frame *member) {
    if (in->failed || in->at == in->len) return false;
    const size_t len = read_u32(in);
    const unsigned char *body = read_raw(in, len);
    *member = (Frame){.type = whole->type == FRAME_exec_batch ? FRAME_exec : FRAME_executed, .body = (unsigned char *)body, .len = len, .area = -1};
    return body != NULL;
}
