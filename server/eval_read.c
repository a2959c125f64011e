#include "server/eval.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const dtypes[] = {"f32", "f64", NULL};
static const char *const engines[] = {"neurons", "interpreter", NULL};

#define COMMON_FIELDS \
    PROGRAM_FIELDS(EvalRequest, spec), {"program", FIELD_STRING, offsetof(EvalRequest, spec.program), false, NULL}, \
    {"inputs", FIELD_OBJECT, offsetof(EvalRequest, inputs), false, NULL}, {"args", FIELD_ARRAY, offsetof(EvalRequest, args), false, NULL}, \
    {"dtype", FIELD_ENUM, offsetof(EvalRequest, f64), false, dtypes}, {"decode", FIELD_BOOL, offsetof(EvalRequest, decode), false, NULL}
#define END {NULL, 0, 0, false, NULL}

static const Field eval_fields[] = {COMMON_FIELDS, {"engine", FIELD_ENUM, offsetof(EvalRequest, engine), false, engines}, END};
static const Field grad_fields[] = {COMMON_FIELDS, {"cotangent", FIELD_NODE, offsetof(EvalRequest, cotangent), false, NULL},
                                    {"wrt", FIELD_ARRAY, offsetof(EvalRequest, wrt), false, NULL}, END};
static const Field jvp_fields[] = {COMMON_FIELDS, {"tangents", FIELD_OBJECT, offsetof(EvalRequest, tangents), false, NULL}, END};
static const Field *const fields_of[] = {[EVAL_VALUE] = eval_fields, [EVAL_GRAD] = grad_fields, [EVAL_JVP] = jvp_fields};

static bool read_enum(Eval *ev, const char *key, const char *const *names, int *out) {
    const char *text = call_query(ev->call, key);
    if (!text) return true;
    for (int i = 0; names[i]; i++)
        if (strcmp(names[i], text) == 0) {
            *out = i;
            return true;
        }
    return err_set(&ev->err, ERR_bad_request, "", "?%s=%.50s is not known.", key, text);
}

bool eval_read_query(Eval *ev) {
    static const char *const booleans[] = {"false", "true", NULL};
    EvalRequest *r = &ev->request;
    if (ev->kind == EVAL_MATRIX) {
        memcpy(ev->hash, ev->call->param.text, sizeof ev->call->param.text);
        r->spec.program = ev->hash;
        return read_enum(ev, "dtype", dtypes, &r->f64);
    }
    if (!(ev->call->body.kind & BODY_BINARY))
        return !call_query_count(ev->call) ||
               err_set(&ev->err, ERR_bad_request, "", "A JSON body has all its options in itself, and none in the query.");
    const char *program = call_query(ev->call, "program"), *wrt = call_query(ev->call, "wrt");
    int decode = 0;
    if (!program || strlen(program) >= sizeof ev->hash)
        return err_set(&ev->err, ERR_bad_request, "", "A binary body comes with ?program=sha256:….");
    if (wrt && strlen(wrt) >= sizeof ev->wrt_text) return err_set(&ev->err, ERR_bad_request, "", "?wrt is too long.");
    strcpy(ev->hash, program);
    strcpy(ev->wrt_text, wrt ? wrt : "");
    r->spec.program = ev->hash;
    if (!read_enum(ev, "dtype", dtypes, &r->f64) || !read_enum(ev, "decode", booleans, &decode)) return false;
    r->decode = decode == 1;
    return ev->kind != EVAL_VALUE || read_enum(ev, "engine", engines, &r->engine);
}

static bool read_json(Eval *ev) {
    const Body *body = &ev->call->body;
    ProgramSpec *spec = &ev->request.spec;
    if (!json_parse(&ev->json, (const char *)body->data, body->len, &ev->err)) return false;
    if (!json_decode(ev->json.root, "", fields_of[ev->kind], &ev->request, &ev->err)) return false;
    int named = !!spec->source + !!spec->term + !!spec->program;
    if (named != 1) return err_set(&ev->err, ERR_bad_request, "", "Give exactly one of program, source and term.");
    if (!spec->program) return front_make(&ev->front, &ev->json, spec, ev->call->server->config->max_nat);
    return !(spec->context || spec->nat) ||
           err_set(&ev->err, ERR_bad_request, spec->context ? "/context" : "/nat",
                   "A program given by its hash has its own context and nat.");
}

bool eval_read(void *arg) {
    Eval *ev = arg;
    const Body *body = &ev->call->body;
    switch (body->kind) {
    case BODY_SAFETENSORS: return safetensors_read(body->data, body->len, &ev->bulk, &ev->err);
    case BODY_NPY: return npy_read(body->data, body->len, &ev->bulk, &ev->err);
    case BODY_JSON: return read_json(ev);
    default: return true;
    }
}

uint32_t eval_count_args(Eval *ev) {
    size_t n = 0;
    if (ev->request.args) n = json_count(&ev->json, ev->request.args);
    for (size_t i = 0; i < ev->bulk.n; i++) n += strncmp(ev->bulk.items[i].name, "args.", 5) == 0;
    return n < WIRE_ALL_ARGS ? (uint32_t)n : WIRE_ALL_ARGS - 1;
}
