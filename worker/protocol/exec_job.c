#include "worker/protocol/exec_job.h"
#include "worker/protocol/careful.h"
#include "worker/protocol/interpret.h"
#include "schema/base/time.h"
#include <stdlib.h>
#include <string.h>

typedef struct {
    const ExecMsg *m;
    Err *err;
    unsigned char *base; /* the area, wherever it is */
    unsigned char *heap; /* it is here, */
    Area area;           /* or here, */
    Mapped mapped;       /* or the caller's */
} ExecJob;

/* Where inputs and results are: the caller's area, or one of our own with the inline inputs at its beginning. */
static bool job_open(ExecJob *job, Maps *maps, Frame *frame) {
    const ExecMsg *m = job->m;
    job->area.fd = job->mapped.area.fd = -1;
    if (frame->area >= 0) {
        int fd = frame->area;
        frame->area = -1;
        if (!maps_open(maps, fd, m->area_size, &job->mapped)) return err_set(job->err, ERR_internal, "The area cannot be mapped.");
        job->base = job->mapped.area.data;
        return true;
    }
    if (m->area_size - m->results_at <= WIRE_INLINE_AREA) job->base = job->heap = calloc(1, m->area_size + 1);
    else if (area_create(&job->area, m->area_size)) job->base = job->area.data;
    if (!job->base) return err_set(job->err, ERR_too_large, "This takes more memory than a worker may have.");
    if (m->inline_len) memcpy(job->base, m->inline_area, m->inline_len);
    return true;
}

static bool set_inputs(ExecJob *job, const Graph *g, ExecInput *inputs, bool *batched) {
    for (uint32_t i = 0; i < job->m->ntensors; i++) {
        const TensorMsg *t = &job->m->tensors[i];
        if (t->slot >= g->nslots || inputs[t->slot].data)
            return err_set(job->err, ERR_bad_request, "Tensor %u has no slot.", i);
        inputs[t->slot] = (ExecInput){job->base + t->offset, (DType)t->dtype, t->discrete, t->batched, t->cols};
        batched[t->slot] = t->batched;
    }
    return true;
}

static bool set_outputs(ExecJob *job, const Graph *g, ExecOutput *outputs, bool *wanted) {
    const ExecMsg *m = job->m;
    for (uint32_t i = 0; i < m->nresults; i++) {
        const ResultMsg *r = &m->results[i];
        uint64_t bytes;
        if (r->output >= g->noutputs || outputs[r->output].data)
            return err_set(job->err, ERR_bad_request, "Result %u has no output.", i);
        size_t size = g->nodes[g->outputs[r->output].node].size;
        if (__builtin_mul_overflow(size * dtype_size((DType)m->dtype), r->batched ? m->rows : UINT64_C(1), &bytes) ||
            bytes > m->area_size - r->offset)
            return err_set(job->err, ERR_bad_request, "Result %u does not fit the area.", i);
        outputs[r->output] = (ExecOutput){job->base + r->offset, r->batched};
        wanted[r->output] = true;
    }
    return true;
}

static bool execute(ExecJob *job, Cache *cache, Workspace *w) {
    const ExecMsg *m = job->m;
    Loaded *loaded = cache_find(cache, m->key);
    if (!loaded) return err_set(job->err, ERR_internal, "There is no graph with key %llu here.", (unsigned long long)m->key);
    const Graph *g = loaded_graph(loaded);
    ExecInput *inputs = calloc(g->nslots + (size_t)1, sizeof *inputs);
    ExecOutput *outputs = calloc(g->noutputs + (size_t)1, sizeof *outputs);
    bool *flags = calloc((size_t)g->nslots + g->noutputs + 1, sizeof *flags), *wanted = flags ? flags + g->nslots : NULL;
    bool ok = inputs && outputs && flags;
    if (!ok) err_set(job->err, ERR_too_large, "This takes more memory than a worker may have.");
    ok = ok && set_inputs(job, g, inputs, flags) && set_outputs(job, g, outputs, wanted);
    const Plan *plan =
        ok ? loaded_plan(loaded, (PlanSpec){.f64 = m->dtype == DT_F64, .batched = flags, .wanted = wanted}, job->err) : NULL;
    ok = plan && exec_run(plan, inputs, outputs, m->rows, 0, w, job->err) &&
         careful_mend(g, m->dtype == DT_F64, inputs, outputs, m->rows, job->err);
    workspace_trim(w);
    free(inputs);
    free(outputs);
    free(flags);
    return ok;
}

void exec_job_put_err(Buf *out, const Err *err) {
    ExecutedMsg executed = {
        .code = (uint16_t)err->code, .message = (const unsigned char *)err->message, .message_len = strlen(err->message)};
    wire_put_executed(out, &executed);
}

void exec_job_answer(Cache *cache, Workspace *w, Maps *maps, Frame *frame, const ExecMsg *m, Buf *out, ExecAnswer *answer) {
    Err err = {0};
    ExecJob job = {.m = m, .err = &err};
    *answer = (ExecAnswer){.area.fd = -1};
    if (job_open(&job, maps, frame)) {
        uint64_t start = (uint64_t)time_monotonic_ns();
        bool ok = m->key ? execute(&job, cache, w) : interpret_exec(m, job.base, &err);
        ExecutedMsg executed = {.exec_ns = (uint64_t)time_monotonic_ns() - start};
        if (ok && job.heap) {
            executed.inline_results = job.base + m->results_at;
            executed.inline_len = m->area_size - m->results_at;
        }
        if (ok) wire_put_executed(out, &executed);
    }
    if (err.code != ERR_NONE) exec_job_put_err(out, &err);
    if (err.code == ERR_NONE) answer->area = job.area;
    else area_release(&job.area);
    maps_close(maps, &job.mapped);
    free(job.heap);
}
