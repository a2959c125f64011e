#include "server/eval/eval.h"
#include "schema/formats/npy.h"
#include "schema/formats/safetensors.h"
#include "schema/formats/sniff.h"
#include "schema/limits.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Room for a hash or a run's id in a query, and for what ?wrt names: longer than any that is right. */
enum { LONGEST_HASH = 127, LONGEST_WRT = 1023 };

static const char *const dtypes[] = {"f32", "f64", NULL};
static const char *const engines[] = {"neurons", "interpreter", NULL};

#define COMMON_FIELDS \
    PROGRAM_FIELDS(EvalRequest, spec), {"program", FIELD_STRING, offsetof(EvalRequest, spec.program), false, NULL}, \
    {"inputs", FIELD_OBJECT, offsetof(EvalRequest, inputs), false, NULL}, {"args", FIELD_ARRAY, offsetof(EvalRequest, args), false, NULL}, \
    {"run", FIELD_STRING, offsetof(EvalRequest, model.run), false, NULL}, {"step", FIELD_UINT, offsetof(EvalRequest, model.step), false, NULL}, \
    {"columns", FIELD_OBJECT, offsetof(EvalRequest, columns), false, NULL}, {"outputs", FIELD_ARRAY, offsetof(EvalRequest, outputs), false, NULL}, \
    {"dtype", FIELD_ENUM, offsetof(EvalRequest, f64), false, dtypes}, {"decode", FIELD_BOOL, offsetof(EvalRequest, decode), false, NULL}
#define END {NULL, 0, 0, false, NULL}

static const Field eval_fields[] = {COMMON_FIELDS, {"engine", FIELD_ENUM, offsetof(EvalRequest, engine), false, engines}, END};
static const Field grad_fields[] = {COMMON_FIELDS, {"cotangent", FIELD_NODE, offsetof(EvalRequest, cotangent), false, NULL},
                                    {"wrt", FIELD_ARRAY, offsetof(EvalRequest, wrt), false, NULL}, END};
static const Field jvp_fields[] = {COMMON_FIELDS, {"tangents", FIELD_OBJECT, offsetof(EvalRequest, tangents), false, NULL}, END};
static const Field *const fields_of[] = {[EVAL_VALUE] = eval_fields, [EVAL_GRAD] = grad_fields, [EVAL_JVP] = jvp_fields};

static bool read_enum(Eval *ev, const char *key, const char *const *names, int *out) {
    const char *text = call_query(ev->errand.call, key);
    if (!text) return true;
    for (int i = 0; names[i]; i++)
        if (strcmp(names[i], text) == 0) {
            *out = i;
            return true;
        }
    char list[100] = "";
    for (int i = 0, n = 0; names[i] && n < (int)sizeof list; i++) n += snprintf(list + n, sizeof list - (size_t)n, "%s%s", i ? ", " : "", names[i]);
    return err_set(&ev->errand.err, ERR_bad_request, "?%s is one of %s, and not %.50s.", key, list, text);
}

/* ?step= and ?outputs=a,b of a binary body. */
static bool read_run_query(Eval *ev) {
    ModelWant *want = &ev->request.model;
    const char *step = call_query(ev->errand.call, "step"), *outputs = call_query(ev->errand.call, "outputs");
    size_t len = outputs ? strlen(outputs) : 0;
    if (!step && !outputs) return true;
    if (!want->run) return err_set(&ev->errand.err, ERR_bad_request, "?step and ?outputs go with a ?run.");
    if (step && (!*step || strspn(step, "0123456789") != strlen(step) || strlen(step) > 18))
        return err_set(&ev->errand.err, ERR_bad_request, "?step is the step of one of the run's checkpoints.");
    want->at_step = step != NULL;
    want->step = step ? strtoull(step, NULL, 10) : 0;
    char *names = len <= LIMIT_OUTPUTS_BYTES ? call_alloc(ev->errand.call, len + 1, 1) : NULL;
    if (!names) return err_set(&ev->errand.err, ERR_too_large, "?outputs takes at most %d bytes.", LIMIT_OUTPUTS_BYTES);
    for (size_t i = 0; i < len; i++) names[i] = outputs[i] == ',' ? 0 : outputs[i];
    want->outputs = names;
    want->outputs_len = len ? len + 1 : 0;
    return true;
}

bool eval_read_query(Eval *ev) {
    static const char *const booleans[] = {"false", "true", NULL};
    EvalRequest *r = &ev->request;
    if (ev->kind == EVAL_MATRIX) {
        r->spec.program = ev->errand.call->param.text;
        return read_enum(ev, "dtype", dtypes, &r->f64);
    }
    if (!(ev->errand.call->body.kind & BODY_BINARY))
        return !call_query_count(ev->errand.call) ||
               err_set(&ev->errand.err, ERR_bad_request, "A JSON body has all its options in itself, and none in the query.");
    const char *program = call_query(ev->errand.call, "program"), *run = call_query(ev->errand.call, "run"), *wrt = call_query(ev->errand.call, "wrt");
    const char *named = run ? run : program;
    int decode = 0;
    if (!named || (run && program) || strlen(named) > LONGEST_HASH)
        return err_set(&ev->errand.err, ERR_bad_request, "A binary body comes with ?program=sha256:… or ?run=….");
    if (wrt && strlen(wrt) > LONGEST_WRT) return err_set(&ev->errand.err, ERR_bad_request, "?wrt is too long.");
    named = arena_strndup(&ev->errand.call->memory, named, strlen(named));
    if (run) r->model.run = named;
    else r->spec.program = named;
    if (wrt && *wrt) ev->wrt_text = arena_strndup(&ev->errand.call->memory, wrt, strlen(wrt));
    if (!read_run_query(ev)) return false;
    if (!named || (wrt && *wrt && !ev->wrt_text)) return err_set(&ev->errand.err, ERR_internal, "Memory is short.");
    if (!read_enum(ev, "dtype", dtypes, &r->f64) || !read_enum(ev, "decode", booleans, &decode)) return false;
    r->decode = decode == 1;
    return ev->kind != EVAL_VALUE || read_enum(ev, "engine", engines, &r->engine);
}

/* Names, each with a NUL behind it. */
static bool read_outputs(Eval *ev) {
    EvalRequest *r = &ev->request;
    Buf names;
    buf_init(&names);
    names.cap = LIMIT_OUTPUTS_BYTES;
    for (JsonNode item = r->outputs ? json_items(&ev->json, r->outputs) : NULL; item; item = item->next) {
        if (json_kind(item) != JSON_STRING || !*item->valuestring) {
            buf_release(&names);
            return err_at(&ev->errand.err, ERR_bad_request, "/outputs", "outputs are names of the program's variables.");
        }
        buf_put(&names, item->valuestring, strlen(item->valuestring) + 1);
    }
    char *copy = names.failed ? NULL : call_alloc(ev->errand.call, names.len + 1, 1);
    if (copy && names.len) memcpy(copy, names.data, names.len);
    r->model.outputs = copy;
    r->model.outputs_len = names.len;
    buf_release(&names);
    return copy || err_at(&ev->errand.err, ERR_too_large, "/outputs", "The names of outputs take at most %d bytes.", LIMIT_OUTPUTS_BYTES);
}

/* What goes with a run and what with a program. */
static bool check_run(Eval *ev) {
    EvalRequest *r = &ev->request;
    const ProgramSpec *spec = &r->spec;
    if (r->inputs && r->columns)
        return err_at(&ev->errand.err, ERR_bad_request, "/columns", "Give columns as the data set has them, or inputs as the network sees them, not both.");
    if (spec->context || spec->nat) return err_at(&ev->errand.err, ERR_bad_request, spec->context ? "/context" : "/nat", "A run has its own program.");
    if (r->args && json_count(&ev->json, r->args)) return err_at(&ev->errand.err, ERR_too_many_args, "/args", "A trained run takes columns, and no arguments.");
    if (r->engine == ENGINE_INTERPRETER) return err_at(&ev->errand.err, ERR_bad_request, "/engine", "A trained run has no interpreter.");
    r->model.at_step = json_get(ev->json.root, "step") != NULL;
    r->model.stored = r->columns != NULL;
    if (r->columns) r->inputs = r->columns;
    return read_outputs(ev);
}

/* A file of tensors without its Content-Type, which begins as no JSON does. */
static bool check_json(Eval *ev, const Body *body) {
    if (npy_is(body->data, body->len)) return err_set(&ev->errand.err, ERR_bad_json, "This is an npy file; its Content-Type is application/x-npy.");
    return !safetensors_is(body->data, body->len) ||
           err_set(&ev->errand.err, ERR_bad_json, "This is a safetensors file; its Content-Type is application/vnd.safetensors.");
}

static bool read_json(Eval *ev) {
    const Body *body = &ev->errand.call->body;
    const EvalRequest *r = &ev->request;
    const ProgramSpec *spec = &r->spec;
    if (!check_json(ev, body) || !json_parse(&ev->json, (const char *)body->data, body->len, &ev->errand.err)) return false;
    if (!json_decode(ev->json.root, "", fields_of[ev->kind], &ev->request, &ev->errand.err)) return false;
    int named = !!spec->source + !!spec->term + !!spec->program + !!r->model.run;
    if (named != 1) return err_set(&ev->errand.err, ERR_bad_request, "Give exactly one of program, source, term and run.");
    if (r->model.run) return check_run(ev);
    if (r->columns || r->outputs || json_get(ev->json.root, "step"))
        return err_at(&ev->errand.err, ERR_bad_request, r->columns ? "/columns" : r->outputs ? "/outputs" : "/step", "This goes with a run.");
    if (!spec->program) return frontend_make(&ev->frontend, &ev->json, spec, ev->errand.call->server->config->max_nat);
    return !(spec->context || spec->nat) ||
           err_at(&ev->errand.err, ERR_bad_request, spec->context ? "/context" : "/nat",
                   "A program given by its hash has its own context and nat.");
}

/* A run's tensors are all columns.x, or all inputs.x. */
static bool check_names(Eval *ev) {
    size_t stored = 0;
    if (!ev->request.model.run) return true;
    for (size_t i = 0; i < ev->bulk.n; i++) stored += strncmp(ev->bulk.items[i].name, "columns.", 8) == 0;
    ev->request.model.stored = stored > 0;
    for (size_t i = 0; i < ev->bulk.n && stored; i++)
        if (strncmp(ev->bulk.items[i].name, "inputs.", 7) == 0)
            return err_set(&ev->errand.err, ERR_bad_request, "Give columns as the data set has them, or inputs as the network sees them, not both.");
    return true;
}

/* A body that is known to be something else than its Content-Type says. `is`: it begins as that says. */
static bool check_form(Eval *ev, bool is) {
    const Body *body = &ev->errand.call->body;
    const char *what = is ? NULL : sniff(body->data, body->len);
    return !what || err_set(&ev->errand.err, ERR_bad_tensor,
                            "This is %s; send safetensors as application/vnd.safetensors, or npy as application/x-npy, in Content-Type.", what);
}

bool eval_read(void *arg) {
    Eval *ev = arg;
    const Body *body = &ev->errand.call->body;
    Err *err = &ev->errand.err;
    switch (body->kind) {
    case BODY_SAFETENSORS:
        return check_form(ev, safetensors_is(body->data, body->len)) && safetensors_read(body->data, body->len, &ev->bulk, err) && check_names(ev);
    case BODY_NPY: return check_form(ev, npy_is(body->data, body->len)) && npy_read(body->data, body->len, &ev->bulk, err);
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
