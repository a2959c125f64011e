#include "compiler/training/spec.h"
#include "compiler/training/spec_read.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the reader ---- */

void spec_fail(SpecReader *r, const char *pointer, const char *format, ...) {
    char message[sizeof r->err->message];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    err_at(r->err, ERR_bad_run, pointer, "%s", message);
    longjmp(r->unwind, 1);
}

const char *spec_under(SpecReader *r, const char *pointer, const char *key) {
    const size_t n = strlen(pointer), m = strlen(key);
    char *made = arena_alloc(&r->spec->arena, n + 2 * m + 2), *to = made + n;
    memcpy(made, pointer, n);
    *to++ = '/';
    for (; *key; key++) {
        if (*key == '~' || *key == '/') *to++ = '~', *to++ = *key == '~' ? '0' : '1';
        else *to++ = *key;
    }
    return made;
}

char *spec_printf(SpecReader *r, const char *format, ...) {
    char text[8 * LIMIT_RUN_NAME];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return arena_strndup(&r->spec->arena, text, strlen(text));
}

const char *spec_item(SpecReader *r, const char *pointer, size_t index) {
    char number[24];
    snprintf(number, sizeof number, "%zu", index);
    return spec_under(r, pointer, number);
}

void spec_decode(SpecReader *r, JsonNode object, const char *pointer, const Field *fields, void *out) {
    if (json_decode(object, pointer, fields, out, r->err)) return;
    r->err->code = ERR_bad_run;
    longjmp(r->unwind, 1);
}

static void list_names(const char *const *names, char *out, size_t room) {
    size_t n = 0;
    for (size_t i = 0; names[i] && n < room; i++) n += (size_t)snprintf(out + n, room - n, "%s%s", i ? ", " : "", names[i]);
}

uint32_t spec_choice(SpecReader *r, JsonNode node, const char *pointer, const char *const *names, const char *what, JsonNode *body,
                     const char **at) {
    const char *name = NULL;
    char all[300] = "";
    *body = NULL;
    *at = pointer;
    if (json_kind(node) == JSON_STRING) name = node->valuestring;
    if (json_kind(node) == JSON_OBJECT && node->child && !node->child->next) {
        name = node->child->string;
        *body = node->child;
        *at = spec_under(r, pointer, name);
    }
    list_names(names, all, sizeof all);
    if (!name) spec_fail(r, pointer, "This must be %s: a name, or an object with one key; the names are %s.", what, all);
    for (uint32_t i = 0; names[i]; i++)
        if (strcmp(names[i], name) == 0) return i;
    spec_fail(r, *at, "\"%.60s\" is not %s; there are %s.", name, what, all);
}

const char *spec_string(SpecReader *r, JsonNode node, const char *pointer) {
    if (json_kind(node) != JSON_STRING || !*node->valuestring || strlen(node->valuestring) > LIMIT_RUN_NAME)
        spec_fail(r, pointer, "This must be a string of 1 to %d bytes.", LIMIT_RUN_NAME);
    return node->valuestring;
}

const char *spec_name(SpecReader *r, const char *text, const char *pointer) {
    static const char *const legal = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    const size_t n = strlen(text);
    if (!n || n > LIMIT_RUN_NAME || strspn(text, legal) != n)
        spec_fail(r, pointer, "A name must be 1 to %d letters, digits, _ and -.", LIMIT_RUN_NAME);
    return text;
}

const char *spec_string_place(SpecReader *r, JsonNode node, const char *pointer, uint32_t index) {
    return json_kind(node) == JSON_STRING ? pointer : spec_item(r, pointer, index);
}

const char **spec_strings(SpecReader *r, JsonNode node, const char *pointer, uint32_t most, uint32_t *count) {
    const bool one = json_kind(node) == JSON_STRING;
    const size_t n = one ? 1 : json_count(&r->spec->json, node);
    if (!n || n > most) spec_fail(r, pointer, "This must be a name, or an array of 1 to %u names.", most);
    const char **made = ARENA_ARRAY(&r->spec->arena, const char *, n);
    JsonNode at = one ? node : json_items(&r->spec->json, node);
    for (*count = 0; *count < n && at; at = at->next, (*count)++)
        made[*count] = spec_string(r, at, spec_string_place(r, node, pointer, *count));
    if (*count != n) longjmp(r->unwind, 1); /* no memory to open the array */
    return made;
}

typedef struct {
    const char *run, *name;
    int init;
    double deviation;
} WeightFields;

SpecWeights spec_weights(SpecReader *r, JsonNode node, const char *pointer, const char *name) {
    static const Field fields[] = {{"run", FIELD_STRING, offsetof(WeightFields, run), false, NULL},
                                   {"name", FIELD_STRING, offsetof(WeightFields, name), false, NULL},
                                   {"init", FIELD_ENUM, offsetof(WeightFields, init), false, init_names},
                                   {"std", FIELD_DOUBLE, offsetof(WeightFields, deviation), false, NULL},
                                   {NULL, FIELD_NODE, 0, false, NULL}};
    WeightFields w = {.init = -1};
    spec_decode(r, node, pointer, fields, &w);
    if (w.run && (w.init >= 0 || json_get(node, "std")))
        spec_fail(r, pointer, "Weights come from a \"run\" or from an \"init\", not from both.");
    if (w.name && !w.run) spec_fail(r, spec_under(r, pointer, "name"), "A \"name\" goes with the \"run\" that the weights come from.");
    if (w.run) spec_string(r, json_get(node, "run"), spec_under(r, pointer, "run"));
    if (w.name && strncmp(w.name, "bind.", 5) != 0 && strncmp(w.name, "nets.", 5) != 0)
        spec_fail(r, spec_under(r, pointer, "name"), "The names of weights begin with \"bind.\" or \"nets.\".");
    if (json_get(node, "std") && (w.init != INIT_NORMAL || !(w.deviation > 0)))
        spec_fail(r, spec_under(r, pointer, "std"), "\"std\" is larger than 0 and goes with the init \"normal\".");
    return (SpecWeights){.init = w.init < 0 ? INIT_KAIMING : (InitKind)w.init, .deviation = w.deviation > 0 ? w.deviation : 1,
                         .run = w.run, .name = w.run && w.name ? w.name : name};
}

/* ---- the specification ---- */

const char *const init_names[] = {"kaiming", "zeros", "ones", "normal", NULL};

static void read_program(SpecReader *r, JsonNode program) {
    static const Field fields[] = {{"source", FIELD_STRING, offsetof(Spec, source), false, NULL},
                                   {"term", FIELD_NODE, offsetof(Spec, term), false, NULL},
                                   {"program", FIELD_STRING, offsetof(Spec, program), false, NULL},
                                   {"context", FIELD_OBJECT, offsetof(Spec, context), false, NULL},
                                   {"nat", FIELD_OBJECT, offsetof(Spec, nat), false, NULL},
                                   {NULL, FIELD_NODE, 0, false, NULL}};
    Spec *s = r->spec;
    spec_decode(r, program, "/program", fields, s);
    if ((s->source != NULL) + (s->term != NULL) + (s->program != NULL) != 1)
        spec_fail(r, "/program", "A program is given by exactly one of \"source\", \"term\" and \"program\".");
    if (s->program && (s->context || s->nat))
        spec_fail(r, "/program", "A program given by its hash has its context and its sizes already.");
}

typedef struct {
    const char *name;
    JsonNode program, nets, bind;
    SpecParts parts;
    double clip_norm;
    uint64_t batch_size, epochs, steps, seed;
    int nonfinite, dtype;
} Top;

static void check_steps(SpecReader *r, JsonNode root, const Top *top) {
    const bool epochs = json_get(root, "epochs"), steps = json_get(root, "steps");
    if (epochs == steps) spec_fail(r, "", "A run's length is given by exactly one of \"epochs\" and \"steps\".");
    if (epochs && (!top->epochs || top->epochs > LIMIT_RUN_STEPS))
        spec_fail(r, "/epochs", "\"epochs\" must be from 1 to %llu.", (unsigned long long)LIMIT_RUN_STEPS);
    if (steps && (!top->steps || top->steps > LIMIT_RUN_STEPS))
        spec_fail(r, "/steps", "\"steps\" must be from 1 to %llu.", (unsigned long long)LIMIT_RUN_STEPS);
    if (!top->batch_size || top->batch_size > LIMIT_RUN_BATCH)
        spec_fail(r, "/batch_size", "\"batch_size\" must be from 1 to %d.", LIMIT_RUN_BATCH);
    if (json_get(root, "clip_norm") && !(top->clip_norm > 0))
        spec_fail(r, "/clip_norm", "\"clip_norm\" must be larger than 0; leave it away to clip nothing.");
    if (strlen(top->name) > LIMIT_RUN_NAME) spec_fail(r, "/name", "A run's name has at most %d bytes.", LIMIT_RUN_NAME);
}

static void read_top(SpecReader *r, JsonNode root) {
    static const char *const nonfinite[] = {"stop", "skip", NULL}, *const dtypes[] = {"f32", "f64", NULL};
    static const Field fields[] = {{"name", FIELD_STRING, offsetof(Top, name), false, NULL},
                                   {"program", FIELD_OBJECT, offsetof(Top, program), true, NULL},
                                   {"nets", FIELD_OBJECT, offsetof(Top, nets), false, NULL},
                                   {"bind", FIELD_OBJECT, offsetof(Top, bind), true, NULL},
                                   {"data", FIELD_OBJECT, offsetof(Top, parts.data), true, NULL},
                                   {"loss", FIELD_NODE, offsetof(Top, parts.loss), true, NULL},
                                   {"optimizer", FIELD_NODE, offsetof(Top, parts.optimizer), true, NULL},
                                   {"schedule", FIELD_NODE, offsetof(Top, parts.schedule), false, NULL},
                                   {"clip_norm", FIELD_DOUBLE, offsetof(Top, clip_norm), false, NULL},
                                   {"batch_size", FIELD_UINT, offsetof(Top, batch_size), true, NULL},
                                   {"epochs", FIELD_UINT, offsetof(Top, epochs), false, NULL},
                                   {"steps", FIELD_UINT, offsetof(Top, steps), false, NULL},
                                   {"seed", FIELD_UINT, offsetof(Top, seed), false, NULL},
                                   {"evaluate", FIELD_OBJECT, offsetof(Top, parts.evaluate), false, NULL},
                                   {"checkpoint", FIELD_OBJECT, offsetof(Top, parts.checkpoint), false, NULL},
                                   {"on_nonfinite", FIELD_ENUM, offsetof(Top, nonfinite), false, nonfinite},
                                   {"dtype", FIELD_ENUM, offsetof(Top, dtype), false, dtypes},
                                   {NULL, FIELD_NODE, 0, false, NULL}};
    Top top = {.name = ""};
    Spec *s = r->spec;
    spec_decode(r, root, "", fields, &top);
    check_steps(r, root, &top);
    s->name = top.name;
    s->clip_norm = top.clip_norm;
    s->batch_size = top.batch_size;
    s->epochs = top.epochs;
    s->steps = top.steps;
    s->seed = top.seed;
    s->skip_nonfinite = top.nonfinite;
    s->dtype = top.dtype ? DT_F64 : DT_F32;
    read_program(r, top.program);
    if (top.nets) spec_nets(r, top.nets);
    spec_binds(r, top.bind);
    spec_training(r, &top.parts);
}

/* In a function of its own, so that nothing is changed between setjmp and longjmp but what the reader points to. */
static bool read_spec(SpecReader *r) {
    Spec *s = r->spec;
    s->arena.on_fail = &r->unwind;
    if (setjmp(r->unwind)) return false;
    read_top(r, s->json.root);
    s->arena.on_fail = NULL;
    return true;
}

bool spec_read(Spec *spec, const char *text, size_t len, Err *err) {
    SpecReader r = {.spec = spec, .err = err};
    *spec = (Spec){0};
    *err = (Err){0};
    arena_init(&spec->arena, LIMIT_RUN_BYTES);
    if (len > LIMIT_JSON_BYTES) return err_set(err, ERR_too_large, "A specification has at most %zu bytes.", LIMIT_JSON_BYTES);
    if (!json_parse(&spec->json, text, len, err)) return false;
    if (read_spec(&r)) return true;
    if (err->code == ERR_NONE) err_set(err, ERR_too_large, "There is not enough memory to read this specification.");
    spec_release(spec);
    return false;
}

void spec_release(Spec *spec) {
    json_release(&spec->json);
    arena_release(&spec->arena);
    *spec = (Spec){0};
}

SpecColumn spec_column(const Spec *spec, const char *name) {
    for (uint32_t i = 0; i < spec->ncolumns; i++)
        if (strcmp(spec->columns[i].name, name) == 0) return spec->columns[i];
    return (SpecColumn){.name = name, .scale = 1};
}

static void tell_run(void (*run)(void *arg, const char *id, const char *pointer), void *arg, const char *id, const char *pointer) {
    char at[200];
    snprintf(at, sizeof at, "%s/weights/run", pointer);
    if (id) run(arg, id, at);
}

void spec_each_run(const Spec *spec, void (*run)(void *arg, const char *id, const char *pointer), void *arg) {
    for (uint32_t i = 0; i < spec->nnets; i++) tell_run(run, arg, spec->nets[i].from_run, spec->nets[i].pointer);
    for (uint32_t i = 0; i < spec->nbinds; i++) tell_run(run, arg, spec->binds[i].from_run, spec->binds[i].pointer);
}
