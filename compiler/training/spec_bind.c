/* What the program's context is bound to. */
#include "compiler/training/spec_reader.h"
#include <stdlib.h>
#include <string.h>

enum { NONE = UINT32_MAX };

typedef struct {
    JsonNode column, constant, weights, net, of;
    bool train;
} BindFields;

static uint32_t find_net(SpecReader *r, const char *name, const char *pointer) {
    for (uint32_t i = 0; i < r->spec->nnets; i++)
        if (strcmp(r->spec->nets[i].name, name) == 0) return i;
    spec_fail(r, pointer, "There is no network \"%.60s\" in \"nets\".", name);
}

static void read_bound_net(SpecReader *r, const BindFields *f, SpecBind *bind) {
    const char *at = spec_under(r, bind->pointer, "net");
    bind->net = find_net(r, spec_string(r, f->net, at), at);
    bind->kind = f->of ? BIND_NET : BIND_NET_FUNCTION;
    if (!f->of) return;
    const SpecNet *net = &r->spec->nets[bind->net];
    at = spec_under(r, bind->pointer, "of");
    bind->of = spec_strings(r, f->of, at, LIMIT_RUN_VALUES, &bind->nof);
    bind->of_pointers = ARENA_ARRAY(&r->spec->arena, const char *, bind->nof);
    for (uint32_t i = 0; i < bind->nof; i++) bind->of_pointers[i] = spec_string_place(r, f->of, at, i);
    if (bind->nof != net->ninputs)
        spec_fail(r, at, "The network \"%s\" has %u input%s, and %u %s given.", net->name, net->ninputs,
                  net->ninputs == 1 ? "" : "s", bind->nof,
                  bind->nof == 1 ? "is" : "are");
}

static void read_bound_weights(SpecReader *r, const BindFields *f, SpecBind *bind) {
    const SpecWeights w = spec_weights(r, f->weights, spec_under(r, bind->pointer, "weights"), spec_printf(r, "bind.%s", bind->variable));
    bind->kind = BIND_WEIGHTS;
    bind->init = w.init;
    bind->deviation = w.deviation;
    bind->from_run = w.run;
    bind->from_name = w.run ? w.name : NULL;
    bind->train = f->train;
}

static void read_bind(SpecReader *r, JsonNode node, SpecBind *bind) {
    static const Field fields[] = {{"column", FIELD_NODE, offsetof(BindFields, column), false, NULL},
                                   {"constant", FIELD_NODE, offsetof(BindFields, constant), false, NULL},
                                   {"weights", FIELD_OBJECT, offsetof(BindFields, weights), false, NULL},
                                   {"net", FIELD_NODE, offsetof(BindFields, net), false, NULL},
                                   {"of", FIELD_NODE, offsetof(BindFields, of), false, NULL},
                                   {"train", FIELD_BOOL, offsetof(BindFields, train), false, NULL},
                                   {NULL, FIELD_NODE, 0, false, NULL}};
    BindFields f = {.train = true};
    spec_decode(r, node, bind->pointer, fields, &f);
    if ((f.column != NULL) + (f.constant != NULL) + (f.weights != NULL) + (f.net != NULL) != 1)
        spec_fail(r, bind->pointer, "A variable is bound to exactly one of \"column\", \"constant\", \"weights\" and \"net\".");
    if (f.of && !f.net) spec_fail(r, spec_under(r, bind->pointer, "of"), "\"of\" goes with \"net\".");
    if (json_get(node, "train") && !f.weights)
        spec_fail(r, spec_under(r, bind->pointer, "train"), "\"train\" goes with \"weights\"; a network's stands in \"nets\".");
    if (f.column) bind->column = spec_string(r, f.column, spec_under(r, bind->pointer, "column"));
    bind->constant = f.constant;
    bind->kind = f.constant ? BIND_CONSTANT : BIND_COLUMN;
    if (f.weights) read_bound_weights(r, &f, bind);
    if (f.net) read_bound_net(r, &f, bind);
}

static int by_variable(const void *a, const void *b) { return strcmp(((const SpecBind *)a)->variable, ((const SpecBind *)b)->variable); }

/* The binding of that name; a binding's own name can only mean a column. */
static uint32_t find_bind(const Spec *s, uint32_t self, const char *name) {
    const SpecBind *found = s->nbinds ? bsearch(&(SpecBind){.variable = name}, s->binds, s->nbinds, sizeof *s->binds, by_variable) : NULL;
    return !found || found == &s->binds[self] ? NONE : (uint32_t)(found - s->binds);
}

static void resolve(SpecReader *r, uint32_t self) {
    Spec *s = r->spec;
    SpecBind *bind = &s->binds[self];
    uint32_t *from = ARENA_ARRAY(&s->arena, uint32_t, bind->nof);
    for (uint32_t i = 0; i < bind->nof; i++) {
        from[i] = find_bind(s, self, bind->of[i]);
        if (from[i] != NONE && s->binds[from[i]].kind == BIND_NET_FUNCTION)
            spec_fail(r, bind->of_pointers[i], "\"%.60s\" is bound to a network as a function; it has no value.", bind->of[i]);
    }
    bind->from = from;
}

/* Bindings whose parts are all placed are placed, until none is left. */
static void order_binds(SpecReader *r) {
    Spec *s = r->spec;
    uint32_t *order = ARENA_ARRAY(&s->arena, uint32_t, s->nbinds), n = 0;
    bool *placed = ARENA_ARRAY(&s->arena, bool, s->nbinds);
    for (uint32_t before = NONE; n < s->nbinds;) {
        if (before == n) {
            uint32_t i = 0;
            while (placed[i]) i++;
            spec_fail(r, spec_under(r, s->binds[i].pointer, "of"), "\"%.60s\" is made of itself, by way of other bindings.",
                      s->binds[i].variable);
        }
        before = n;
        for (uint32_t i = 0; i < s->nbinds; i++) {
            bool ready = !placed[i];
            for (uint32_t k = 0; ready && k < s->binds[i].nof; k++) ready = s->binds[i].from[k] == NONE || placed[s->binds[i].from[k]];
            if (ready) placed[order[n++] = i] = true;
        }
    }
    s->order = order;
}

static void refuse_unbound_nets(SpecReader *r) {
    const Spec *s = r->spec;
    bool *bound = ARENA_ARRAY(&r->spec->arena, bool, s->nnets);
    for (uint32_t i = 0; i < s->nbinds; i++)
        if (s->binds[i].kind == BIND_NET || s->binds[i].kind == BIND_NET_FUNCTION) bound[s->binds[i].net] = true;
    for (uint32_t i = 0; i < s->nnets; i++)
        if (!bound[i]) spec_fail(r, s->nets[i].pointer, "No variable is bound to this network, so its shapes are not known.");
}

void spec_binds(SpecReader *r, JsonNode bind) {
    Spec *s = r->spec;
    uint32_t n = 0;
    for (JsonNode node = bind->child; node; node = node->next) n += n <= LIMIT_RUN_BINDS;
    if (n > LIMIT_RUN_BINDS) spec_fail(r, "/bind", "At most %d variables are bound.", LIMIT_RUN_BINDS);
    s->binds = ARENA_ARRAY(&s->arena, SpecBind, n);
    for (JsonNode node = bind->child; node; node = node->next, s->nbinds++) {
        const char *pointer = spec_under(r, "/bind", node->string);
        if (!*node->string || strlen(node->string) > LIMIT_RUN_NAME)
            spec_fail(r, pointer, "The name of a bound variable has 1 to %d bytes.", LIMIT_RUN_NAME);
        s->binds[s->nbinds] = (SpecBind){.variable = node->string, .pointer = pointer};
        read_bind(r, node, &s->binds[s->nbinds]);
    }
    if (n) qsort(s->binds, n, sizeof *s->binds, by_variable);
    for (uint32_t i = 0; i < n; i++) resolve(r, i);
    order_binds(r);
    refuse_unbound_nets(r);
}
