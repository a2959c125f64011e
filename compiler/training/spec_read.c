#include "compiler/training/spec_read.h"
#include "compiler/training/spec_reader.h"
#include <string.h>

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
