#include "server/eval/eval.h"
#include "schema/limits.h"
#include <errno.h>
#include <string.h>

/* Bytes of a body that may be prepared in the loop when its tensors stay in place: by then a thread costs little beside all else. */
#define MOST_IN_PLACE ((size_t)4 << 20)

static void release(void *arg) {
    Eval *ev = arg;
    ShmPool *pool = &ev->errand.call->server->shm_pool;
    if (ev->area.fd >= 0) {
        /* A worker that still runs the job writes to it. */
        if (ev->errand.abandoned) shm_pool_discard(pool, &ev->area);
        else shm_pool_give(pool, &ev->area);
    }
    if (ev->result_area.fd >= 0) shm_pool_discard(pool, &ev->result_area);
    resolve_release(&ev->resolve);
}

static void scrap(void *arg) {
    Eval *ev = arg;
    for (size_t i = 0; ev->values && i < 2 * ((size_t)ev->ninputs + ev->nargs) + 1; i++) value_release(&ev->values[i]);
    buf_release(&ev->head);
    bulk_release(&ev->bulk);
    frontend_release(&ev->frontend);
    json_release(&ev->json);
}

static void refuse(void *arg) {
    Eval *ev = arg;
    if (ev->errand.err.code) call_fail_err(ev->errand.call, &ev->errand.err);
    else frontend_refuse(&ev->frontend, ev->errand.call);
}

static const ErrandKind kind = {.size = sizeof(Eval), .release = release, .scrap = scrap, .refuse = refuse};

/* On a thread when there is much to do. */
static void step(Eval *ev, bool much, bool (*work)(void *), void (*next)(void *)) {
    errand_work(ev, much ? ev->errand.call->server->tasks : NULL, work, next);
}

/* A failure of the program's: shown in the client's own text, or in the stored one when the program came by hash. */
static void explain(Eval *ev, const Failure *failure) {
    const Entry *e = ev->resolve.entry;
    bool inline_program = ev->frontend.program != NULL;
    if (!inline_program && e && e->canonical) frontend_restore(&ev->frontend, e->canonical, e->canonical_len, e->text);
    frontend_explain(&ev->frontend, ev->errand.call, failure);
    errand_end(ev);
}

/* ---- the answer ---- */

static void written(void *arg) {
    Eval *ev = arg;
    const char *type = form_type(ev->errand.call->form);
    const Model *model = model_of(ev->resolve.entry);
    if (model) call_of_step(ev->errand.call, model_checkpoint_step(model));
    Area *area = ev->result_area.fd >= 0 ? &ev->result_area : ev->area.fd >= 0 ? &ev->area : NULL;
    if (ev->body_len && !ev->inline_results && area) call_answer_area(ev->errand.call, type, &ev->head, area, ev->body_at, ev->body_len);
    else call_answer(ev->errand.call, 200, type, &ev->head);
    errand_end(ev);
}

static bool take_results(Eval *ev, Frame *frame, const ExecutedMsg *executed) {
    size_t len = ev->area_size - ev->results_at;
    if (frame && frame->area >= 0) {
        if (!area_open(&ev->result_area, frame->area, ev->area_size, ev->area_size <= LIMIT_LOOP_BYTES)) {
            ev->result_area.fd = -1;
            return false;
        }
        frame->area = -1;
        return true;
    }
    if (ev->area.fd >= 0) return true;
    if (executed->inline_len != len) return false;
    ev->inline_results = call_alloc(ev->errand.call, len + 1, 1);
    if (ev->inline_results && len) memcpy(ev->inline_results, executed->inline_results, len);
    return ev->inline_results != NULL;
}

static void executed(void *arg, const JobResult *result) {
    Eval *ev = arg;
    const ExecutedMsg *m = result->executed;
    if (m->code) {
        errand_fail(ev, m->code < ERR_COUNT ? (ErrCode)m->code : ERR_internal, "%.*s", (int)m->message_len, (const char *)m->message);
        return;
    }
    if (result->frame && result->frame->area >= 0 && !shm_pool_admits(&ev->errand.call->server->shm_pool, result->frame->area)) {
        failure_short_err(&ev->errand.err, errno);
        errand_refuse(ev);
        return;
    }
    if (!take_results(ev, result->frame, m)) {
        errand_fail(ev, ERR_internal, "A worker's results could not be taken.");
        return;
    }
    call_timed(ev->errand.call, result->queue_ns, (int64_t)m->exec_ns);
    step(ev, ev->errand.call->form == FORM_JSON && ev->area_size - ev->results_at > LIMIT_LOOP_BYTES, eval_write, written);
}

/* Counts the values, the results and the answer that are about to take memory; a body in the area is counted already. */
static bool hold(Eval *ev) {
    size_t body = ev->area.fd >= 0 && ev->errand.call->body.kind != BODY_JSON ? ev->errand.call->body.len : 0;
    return call_hold(ev->errand.call, ev->area_size - (body < ev->area_size ? body : ev->area_size) + ev->json_size,
                     &ev->errand.err);
}

static void prepared(void *arg) {
    Eval *ev = arg;
    const Variant *v = ev->resolve.variant;
    char culprit[VARIANT_CULPRIT];
    bool neurons = ev->request.engine == ENGINE_NEURONS;
    if (!hold(ev)) {
        errand_refuse(ev);
        return;
    }
    JobSpec spec = {.type = FRAME_exec, .reply = FRAME_executed, .exec = &ev->exec, .area = ev->area.fd, .key = neurons ? v->key : 0, .graph = v->graph,
                    .graph_len = v->graph_len, .small = ev->exec.small,
                    .culprit = variant_culprit(culprit, ev->resolve.entry->hash, neurons ? "exec " : "interpret ", v)};
    errand_job(ev, &spec, executed);
}

/* ---- the program ---- */

/* Numbers of the call's dtype that stay where they are cost nothing but a look at their shapes (and a copy of the body, when results need more room). */
static bool all_in_place(const Eval *ev) {
    if (ev->kind != EVAL_VALUE || !ev->resolve.variant->noutputs || ev->errand.call->body.len > MOST_IN_PLACE) return false;
    for (size_t i = 0; i < ev->bulk.n; i++) {
        const BulkTensor *t = &ev->bulk.items[i];
        if (t->dtype != (ev->request.f64 ? DT_F64 : DT_F32) || !bulk_plain(t) || t->offset % dtype_size(t->dtype)) return false;
    }
    return ev->bulk.n != 0;
}

static void prepare(Eval *ev) { step(ev, ev->errand.call->body.len > LIMIT_LOOP_BYTES && !all_in_place(ev), eval_prepare, prepared); }

static void variant_found(void *arg) {
    Eval *ev = arg;
    if (ev->resolve.failure.code) {
        explain(ev, &ev->resolve.failure);
        return;
    }
    ev->output_type = ev->resolve.variant->output;
    prepare(ev);
}

/* What the program's type alone can refuse. */
static bool suits(Eval *ev) {
    const Variant *base = ev->resolve.variant;
    if (ev->nargs > base->total_args)
        return err_at(&ev->errand.err, ERR_too_many_args, "/args", "The program takes %u arguments, and %u are given.", base->total_args,
                       ev->nargs);
    if (ev->kind != EVAL_MATRIX) return true;
    if (base->ninputs) return err_set(&ev->errand.err, ERR_missing_input, "Only a closed program is a matrix; this one has inputs.");
    return base->type->kind == TYPE_LIN || base->type->kind == TYPE_SMOOTH ||
           err_set(&ev->errand.err, ERR_not_a_function, "Only a function is a matrix; /eval gives this program's vector.");
}

static const Derive derives[] = {[EVAL_VALUE] = DERIVE_NONE, [EVAL_GRAD] = DERIVE_VJP, [EVAL_JVP] = DERIVE_JVP, [EVAL_MATRIX] = DERIVE_NONE};

static void base_found(void *arg) {
    Eval *ev = arg;
    Resolve *r = &ev->resolve;
    if (r->failure.code) {
        explain(ev, &r->failure);
        return;
    }
    ev->nargs = eval_count_args(ev);
    ev->ninputs = r->variant->ninputs;
    if (!suits(ev)) {
        errand_refuse(ev);
        return;
    }
    if (ev->request.engine == ENGINE_INTERPRETER) {
        ev->output_type = r->variant->type;
        for (uint32_t i = 0; i < ev->nargs; i++) ev->output_type = ev->output_type->cod;
        prepare(ev);
        return;
    }
    r->done = variant_found;
    resolve_applied(r, ev->nargs, derives[ev->kind]);
}

static void model_found(void *arg) {
    Eval *ev = arg;
    ev->nargs = eval_count_args(ev);
    if (!ev->resolve.failure.code) ev->ninputs = ev->resolve.variant->ninputs;
    if (!ev->resolve.failure.code && !suits(ev)) errand_refuse(ev);
    else variant_found(ev);
}

static void body_read(void *arg) {
    Eval *ev = arg;
    Programs *programs = ev->errand.call->server->programs;
    if (ev->request.model.run) {
        ev->resolve.done = model_found;
        model_resolve(programs, &ev->resolve, &ev->request.model, derives[ev->kind]);
        return;
    }
    program_base(programs, &ev->resolve, ev->frontend.program ? &ev->frontend : NULL, ev->request.spec.program);
}

/* ---- handlers ---- */

/* What of the body is parsed: of a binary one its header, tensors are only pointed at. */
static size_t parsed_bytes(const Body *body) {
    Reader in = reader_of(body->data, body->len);
    if (body->kind != BODY_SAFETENSORS) return body->len;
    size_t head = read_u64(&in);
    return head < body->len ? head : 0; /* 0: it will be refused unread */
}

static void handle(Call *call, EvalKind what) {
    Eval *ev = errand_begin(call, &kind);
    if (!ev) return;
    ev->kind = what;
    ev->area.fd = ev->result_area.fd = -1;
    ev->resolve = (Resolve){.done = base_found, .arg = ev, .party = call_party(call)};
    if (eval_read_query(ev)) step(ev, parsed_bytes(&call->body) > LIMIT_LOOP_BYTES, eval_read, body_read);
    else errand_refuse(ev);
}

void handle_eval(Call *call) { handle(call, EVAL_VALUE); }
void handle_grad(Call *call) { handle(call, EVAL_GRAD); }
void handle_jvp(Call *call) { handle(call, EVAL_JVP); }
void handle_matrix(Call *call) { handle(call, EVAL_MATRIX); }
