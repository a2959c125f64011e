#include "server/eval/eval.h"
#include "schema/formats/npy.h"
#include "schema/formats/safetensors.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const unsigned char *eval_results(const Eval *ev) {
    if (ev->result_area.fd >= 0) return (unsigned char *)ev->result_area.data + ev->results_at;
    if (ev->inline_results) return ev->inline_results;
    return (unsigned char *)ev->area.data + ev->results_at;
}

static const unsigned char *data_of(const Eval *ev, const EvalResult *r) { return eval_results(ev) + (r->offset - ev->results_at); }

/* ---- decoding ---- */

/* The place of the largest coefficient, the first of equals; -1 for a row of zeros or with NaN. */
static ptrdiff_t largest(const Eval *ev, const unsigned char *row, size_t n) {
    ptrdiff_t best = 0;
    double top = 0;
    bool zero = true;
    for (size_t i = 0; i < n; i++) {
        double v = ev->request.f64 ? ((const double *)row)[i] : (double)((const float *)row)[i];
        if (isnan(v)) return -1;
        zero = zero && v == 0;
        if (i && v <= top) continue;
        top = v;
        best = (ptrdiff_t)i;
    }
    return zero ? -1 : best;
}

static void put_decoded(Buf *out, const Eval *ev, const EvalResult *r) {
    size_t rows = r->batched ? ev->rows : 1, stride = r->bytes / rows;
    buf_puts(out, r->batched ? ",\"values\":[" : ",\"values\":");
    for (size_t row = 0; row < rows; row++) {
        ptrdiff_t i = largest(ev, data_of(ev, r) + row * stride, r->size);
        if (row) buf_putc(out, ',');
        if (i < 0) buf_puts(out, "null");
        else if (r->type->kind == TYPE_BOOL) buf_puts(out, i == 0 ? "true" : "false");
        else buf_decimal(out, (uint64_t)i);
    }
    if (r->batched) buf_putc(out, ']');
}

/* ---- JSON ---- */

enum { SHORT_ANSWER = 250 };

static void put_shape(Buf *out, const EvalResult *r) {
    buf_puts(out, "\"shape\":[");
    for (size_t i = 0; i < r->rank; i++) {
        if (i) buf_putc(out, ',');
        buf_decimal(out, r->shape[i]);
    }
    buf_puts(out, "],\"data\":");
}

/* Row by row: once nobody waits for it any more, it is not worth a thread's time. */
static void put_tensor(Buf *out, const Eval *ev, const EvalResult *r) {
    put_shape(out, r);
    if (r->rank < 2) {
        json_put_tensor(out, data_of(ev, r), ev->request.f64, r->shape, r->rank);
        return;
    }
    size_t stride = r->bytes / r->shape[0];
    buf_putc(out, '[');
    for (size_t row = 0; row < r->shape[0] && !ev->errand.cancelled; row++) {
        if (row) buf_putc(out, ',');
        json_put_tensor(out, data_of(ev, r) + row * stride, ev->request.f64, r->shape + 1, r->rank - 1);
    }
    buf_putc(out, ']');
}

/* Without braces around, as the next. */
static void put_typed(Buf *out, const Eval *ev, const EvalResult *r) {
    buf_puts(out, "\"type\":\"");
    type_print(out, r->type);
    buf_puts(out, "\",");
    put_tensor(out, ev, r);
}

static void put_output(Buf *out, const Eval *ev) {
    const EvalResult *r = &ev->results[0];
    put_typed(out, ev, r);
    if (ev->request.decode) put_decoded(out, ev, r);
}

/* The variables asked for, which are the last results. */
static void put_bound(Buf *out, const Eval *ev) {
    const EvalResult *r = ev->results + ev->nresults - ev->nbound;
    buf_puts(out, ",\"outputs\":{");
    for (uint32_t i = 0; i < ev->nbound; i++) {
        if (i) buf_putc(out, ',');
        json_put_string(out, model_variable_name(model_of(ev->resolve.entry), ev->bound[i]));
        buf_puts(out, ":{");
        put_typed(out, ev, &r[i]);
        buf_putc(out, '}');
    }
    buf_putc(out, '}');
}

static void put_gradient(Buf *out, const Eval *ev, const EvalResult *r) {
    buf_putc(out, '{');
    put_tensor(out, ev, r);
    buf_putc(out, '}');
}

static void put_gradients(Buf *out, const Eval *ev) {
    bool first = true;
    const EvalResult *next = &ev->results[1]; /* in order: inputs wanted, arguments wanted */
    buf_puts(out, ",\"grads\":{\"inputs\":{");
    for (uint32_t i = 0; i < ev->ninputs; i++) {
        if (!ev->wanted[i]) continue;
        if (!first) buf_putc(out, ',');
        first = false;
        json_put_string(out, ev->resolve.entry->inputs.names[i]);
        buf_putc(out, ':');
        put_gradient(out, ev, next++);
    }
    buf_puts(out, "},\"args\":[");
    for (uint32_t i = 0; i < ev->nargs; i++) {
        if (i) buf_putc(out, ',');
        if (ev->wanted[ev->ninputs + i]) put_gradient(out, ev, next++);
        else buf_puts(out, "null");
    }
    buf_puts(out, "]}");
}

static void put_json(Eval *ev) {
    Buf *out = &ev->head;
    buf_reserve(out, SHORT_ANSWER);
    bool nested = ev->kind == EVAL_GRAD || ev->kind == EVAL_JVP;
    buf_puts(out, nested ? "{\"output\":{" : "{");
    put_output(out, ev);
    if (nested) buf_putc(out, '}');
    if (ev->kind == EVAL_GRAD) put_gradients(out, ev);
    if (ev->kind == EVAL_JVP) {
        buf_puts(out, ",\"tangent\":{");
        put_tensor(out, ev, &ev->results[1]);
        buf_putc(out, '}');
    }
    if (ev->nbound) put_bound(out, ev);
    buf_putc(out, '}');
}

/* ---- binary ---- */

static char *result_name(const Eval *ev, const EvalResult *r) {
    Buf name;
    buf_init(&name);
    switch (r->role) {
    case OUT_GRAD_INPUT: buf_printf(&name, "grads.inputs.%s", ev->resolve.entry->inputs.names[r->index]); break;
    case OUT_BOUND: buf_printf(&name, "outputs.%s", model_variable_name(model_of(ev->resolve.entry), r->index)); break;
    case OUT_GRAD_ARG: buf_printf(&name, "grads.args.%u", r->index); break;
    case OUT_TANGENT: buf_puts(&name, "tangent"); break;
    default: buf_puts(&name, "output");
    }
    return buf_take(&name, NULL);
}

static bool put_safetensors(Eval *ev) {
    Bulk bulk = {.items = calloc(ev->nresults, sizeof *bulk.items)};
    bool ok = bulk.items != NULL;
    for (; ok && bulk.n < ev->nresults; bulk.n++) {
        const EvalResult *r = &ev->results[bulk.n];
        BulkTensor *t = &bulk.items[bulk.n];
        *t = (BulkTensor){.name = result_name(ev, r), .dtype = ev->request.f64 ? DT_F64 : DT_F32, .rank = r->rank, .bytes = r->bytes};
        memcpy(t->shape, r->shape, sizeof t->shape);
        ok = t->name != NULL;
    }
    if (ok) safetensors_put_header(&ev->head, bulk.items, bulk.n);
    bulk_release(&bulk);
    return ok;
}

/* The results lie in the area one after the other, as both formats want them. */
static bool put_binary(Eval *ev) {
    const EvalResult *r = &ev->results[0];
    if (ev->errand.call->form == FORM_NPY) npy_put_header(&ev->head, ev->request.f64 ? DT_F64 : DT_F32, r->shape, r->rank);
    else if (!put_safetensors(ev)) return err_set(&ev->errand.err, ERR_internal, "Memory is short.");
    ev->body_at = ev->results_at;
    ev->body_len = ev->area_size - ev->results_at;
    if (ev->inline_results) buf_put(&ev->head, ev->inline_results, ev->body_len);
    return true;
}

bool eval_write(void *arg) {
    Eval *ev = arg;
    if (ev->errand.call->form == FORM_JSON) put_json(ev);
    else if (!put_binary(ev)) return false;
    return !ev->head.failed || err_set(&ev->errand.err, ERR_internal, "Memory is short.");
}
