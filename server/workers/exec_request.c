#include "server/workers/exec_request.h"
#include <string.h>

enum { ALIGN = 64 };

static size_t aligned(size_t at) { return (at + ALIGN - 1) / ALIGN * ALIGN; }

static size_t tensor_bytes(const ExecMsg *m, const TensorMsg *t) {
    return (t->batched ? m->rows : 1) * (t->discrete ? 1 : t->cols) * dtype_size((DType)t->dtype);
}

size_t exec_request_result_bytes(const ExecRequest *exec) { return exec->msg.area_size - exec->msg.results_at; }

bool exec_request_mergeable(const ExecRequest *exec) {
    const ExecMsg *m = &exec->msg;
    if (!exec->small || !m->key || !m->ntensors || m->ntensors > EXEC_TENSORS || !m->nresults || m->nresults > EXEC_TENSORS) return false;
    bool batched = false;
    for (uint32_t i = 0; i < m->ntensors; i++) batched |= m->tensors[i].batched;
    for (uint32_t i = 0; i < m->nresults; i++) batched &= m->results[i].batched;
    return batched;
}

static bool same_tensor(const ExecMsg *a, const ExecMsg *b, uint32_t i) {
    const TensorMsg *s = &a->tensors[i], *t = &b->tensors[i];
    if (s->slot != t->slot || s->dtype != t->dtype || s->batched != t->batched || s->discrete != t->discrete || s->cols != t->cols) return false;
    return s->batched || memcmp(a->inline_area + s->offset, b->inline_area + t->offset, tensor_bytes(a, s)) == 0;
}

bool exec_request_goes_with(const ExecRequest *a, const ExecRequest *b) {
    const ExecMsg *m = &a->msg, *n = &b->msg;
    if (m->key != n->key || m->dtype != n->dtype || m->ntensors != n->ntensors || m->nresults != n->nresults) return false;
    for (uint32_t i = 0; i < m->nresults; i++)
        if (m->results[i].output != n->results[i].output) return false;
    for (uint32_t i = 0; i < m->ntensors; i++)
        if (!same_tensor(m, n, i)) return false;
    return true;
}

static size_t gather(unsigned char *area, size_t at, TensorMsg *tensor, const ExecRequest *const *execs, size_t n, uint32_t i) {
    tensor->offset = at;
    for (size_t k = 0; k < (tensor->batched ? n : 1); k++) {
        const ExecMsg *m = &execs[k]->msg;
        size_t bytes = tensor_bytes(m, &m->tensors[i]);
        memcpy(area + at, m->inline_area + m->tensors[i].offset, bytes);
        at += bytes;
    }
    return aligned(at);
}

void exec_request_put_merged(Buf *out, const ExecRequest *const *execs, size_t n) {
    unsigned char area[WIRE_INLINE_AREA + EXEC_TENSORS * ALIGN];
    TensorMsg tensors[EXEC_TENSORS];
    ResultMsg results[EXEC_TENSORS];
    ExecMsg m = execs[0]->msg;
    size_t at = 0;
    memcpy(tensors, m.tensors, m.ntensors * sizeof *tensors);
    memcpy(results, m.results, m.nresults * sizeof *results);
    memset(area, 0, sizeof area); /* what lies between tensors travels as well */
    for (size_t k = 1; k < n; k++) m.rows += execs[k]->msg.rows;
    for (uint32_t i = 0; i < m.ntensors; i++) at = gather(area, at, &tensors[i], execs, n, i);
    m.results_at = m.inline_len = at;
    for (uint32_t i = 0; i < m.nresults; i++) {
        results[i].offset = at;
        at += m.rows * execs[0]->row_bytes[i];
    }
    m.area_size = at;
    m.tensors = tensors;
    m.results = results;
    m.inline_area = area;
    wire_put_exec(out, &m);
}

const unsigned char *exec_request_part(const ExecRequest *exec, const unsigned char *merged, size_t row0, size_t all_rows, unsigned char *room) {
    const ExecMsg *m = &exec->msg;
    size_t len = exec_request_result_bytes(exec);
    if (m->nresults == 1 && m->rows * exec->row_bytes[0] == len) return merged + row0 * exec->row_bytes[0];
    /* Results that no output computes are zero. */
    memset(room, 0, len);
    for (uint32_t i = 0; i < m->nresults; i++) {
        memcpy(room + (m->results[i].offset - m->results_at), merged + row0 * exec->row_bytes[i], m->rows * exec->row_bytes[i]);
        merged += all_rows * exec->row_bytes[i];
    }
    return room;
}
