#include "server/programs/record.h"
#include "schema/formats/json.h"
#include "schema/limits.h"

void record_put_type(Buf *out, const Type *type) {
    size_t shape[LIMIT_TYPE_RANK], rank = type->vector ? type_shape(type, shape) : 0;
    buf_puts(out, "\"type\":\"");
    type_print(out, type);
    buf_puts(out, "\",\"shape\":");
    if (!rank) buf_puts(out, "null");
    for (size_t i = 0; i < rank; i++) buf_printf(out, "%c%zu", i ? ',' : '[', shape[i]);
    if (rank) buf_putc(out, ']');
}

static void put_inputs(Buf *out, const Variant *v, const ProgramInputs *inputs) {
    for (uint32_t i = 0; i < v->ninputs; i++) {
        buf_puts(out, i ? ",{\"name\":" : "{\"name\":");
        json_put_string(out, inputs->names[i]);
        buf_putc(out, ',');
        record_put_type(out, v->inputs[i]);
        buf_printf(out, ",\"smooth\":%s}", inputs->smooth[i] ? "true" : "false");
    }
}

static void put_args(Buf *out, const Variant *v) {
    const Type *at = v->type;
    for (uint32_t i = 0; i < v->total_args; i++) {
        buf_puts(out, i ? ",{" : "{");
        record_put_type(out, v->args[i]);
        buf_printf(out, ",\"smooth\":%s}", at->kind == TYPE_SMOOTH ? "true" : "false");
        at = at->cod;
    }
}

void record_put(Buf *out, const char *hash, const Variant *v, const ProgramInputs *inputs, const char *text) {
    const BuildFacts *f = &v->facts;
    buf_printf(out, "{\"program\":\"%s\",\"type\":\"", hash);
    type_print(out, v->type);
    buf_puts(out, "\",\"inputs\":[");
    put_inputs(out, v, inputs);
    buf_puts(out, "],\"args\":[");
    put_args(out, v);
    buf_puts(out, "],\"output\":{");
    record_put_type(out, v->output);
    buf_puts(out, "},\"text\":");
    json_put_string(out, text);
    buf_printf(out, ",\"graph\":{\"neurons\":%llu,\"weights\":%llu,\"recurrent\":%llu,\"macs\":", (unsigned long long)f->neurons,
               (unsigned long long)f->weights, (unsigned long long)f->recurrent);
    json_put_double(out, f->macs);
    buf_printf(out, "},\"verified\":{\"cases\":%u,\"exhaustive\":%s},\"compile_us\":%llu,\"verify_us\":%llu", f->cases,
               f->exhaustive ? "true" : "false", (unsigned long long)f->compile_us, (unsigned long long)f->verify_us);
}

void record_finish(Buf *out, const char *record, size_t len, bool cached) {
    buf_put(out, record, len);
    buf_printf(out, ",\"cached\":%s}", cached ? "true" : "false");
}
