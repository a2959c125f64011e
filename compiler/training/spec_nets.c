/* Networks: the short form, layers alone, and the long one, named values. */
#include "compiler/training/spec_reader.h"
#include <string.h>

/* The number that a name has in the network: input i, or ninputs + value i, of the values read so far. */
static uint32_t find_value(SpecReader *r, const SpecNet *net, const char *name, const char *pointer) {
    for (uint32_t i = 0; i < net->ninputs; i++)
        if (strcmp(net->inputs[i], name) == 0) return i;
    for (uint32_t i = 0; i < net->nvalues; i++)
        if (strcmp(net->values[i].name, name) == 0) return net->ninputs + i;
    spec_fail(r, pointer, "\"%.60s\" is no input of this network and no value before this place.", name);
}

static void refuse_twice(SpecReader *r, const SpecNet *net, const char *name, const char *pointer) {
    bool twice = false;
    for (uint32_t i = 0; i < net->ninputs; i++) twice = twice || strcmp(net->inputs[i], name) == 0;
    for (uint32_t i = 0; i < net->nvalues; i++) twice = twice || strcmp(net->values[i].name, name) == 0;
    if (twice) spec_fail(r, pointer, "The name \"%.60s\" stands twice in this network.", name);
}

static void read_value(SpecReader *r, JsonNode node, const char *pointer, const SpecNet *net, SpecValue *value) {
    struct { JsonNode layers, by, of; } v = {0};
    static const Field fields[] = {{"layers", FIELD_ARRAY, 0, false, NULL}, {"conv2d_by", FIELD_OBJECT, sizeof(JsonNode), false, NULL},
                                   {"of", FIELD_NODE, 2 * sizeof(JsonNode), true, NULL}, {NULL, FIELD_NODE, 0, false, NULL}};
    spec_decode(r, node, pointer, fields, &v);
    if (!v.layers == !v.by) spec_fail(r, pointer, "A value is made by exactly one of \"layers\" and \"conv2d_by\".");
    const char *of = spec_under(r, pointer, "of");
    value->of = spec_strings(r, v.of, of, 2, &value->nof);
    if (value->nof != (v.by ? 2 : 1))
        spec_fail(r, of,
                  v.by ? "\"conv2d_by\" takes two inputs: the image and the kernel." : "\"layers\" take one input; \"conv2d_by\" alone takes two.");
    uint32_t *from = ARENA_ARRAY(&r->spec->arena, uint32_t, value->nof);
    for (uint32_t i = 0; i < value->nof; i++) from[i] = find_value(r, net, value->of[i], spec_string_place(r, v.of, of, i));
    value->from = from;
    if (v.by) spec_layer_by(r, v.by, spec_under(r, pointer, "conv2d_by"), value);
    else spec_layers(r, v.layers, spec_under(r, pointer, "layers"), value);
}

/* ["w", {"layers": …, "of": …}] */
static void read_let(SpecReader *r, JsonNode node, const char *pointer, SpecNet *net) {
    JsonNode name = json_kind(node) == JSON_ARRAY && json_count(&r->spec->json, node) == 2 ? node->child : NULL;
    if (!name || json_kind(name) != JSON_STRING) spec_fail(r, pointer, "A value must be written [name, {…}].");
    SpecValue *value = &net->values[net->nvalues];
    *value = (SpecValue){.name = spec_name(r, name->valuestring, spec_item(r, pointer, 0)), .pointer = pointer};
    refuse_twice(r, net, value->name, spec_item(r, pointer, 0));
    read_value(r, name->next, spec_item(r, pointer, 1), net, value);
    net->nvalues++;
}

static void read_inputs(SpecReader *r, JsonNode inputs, SpecNet *net) {
    const char *at = spec_under(r, net->pointer, "inputs");
    uint32_t n;
    net->inputs = spec_strings(r, inputs, at, LIMIT_RUN_VALUES, &n);
    for (uint32_t i = 0; i < n; i++, net->ninputs++) {
        const char *place = spec_string_place(r, inputs, at, i);
        refuse_twice(r, net, spec_name(r, net->inputs[i], place), place);
    }
}

/* A value that the output does not need would have weights that never learn. */
static void refuse_unused(SpecReader *r, const SpecNet *net) {
    bool *used = ARENA_ARRAY(&r->spec->arena, bool, (size_t)net->ninputs + net->nvalues);
    used[net->out] = true;
    for (uint32_t v = net->nvalues; v-- > 0;) {
        const SpecValue *value = &net->values[v];
        if (!used[net->ninputs + v]) spec_fail(r, value->pointer, "The output of this network does not need its value \"%s\".", value->name);
        for (uint32_t i = 0; i < value->nof; i++) used[value->from[i]] = true;
    }
}

static void read_long(SpecReader *r, JsonNode inputs, JsonNode let, const char *out, SpecNet *net) {
    const char *at = spec_under(r, net->pointer, "let");
    read_inputs(r, inputs, net);
    const size_t values = json_count(&r->spec->json, let);
    if (!values || values > LIMIT_RUN_VALUES) spec_fail(r, at, "\"let\" must be an array of 1 to %d values.", LIMIT_RUN_VALUES);
    net->values = ARENA_ARRAY(&r->spec->arena, SpecValue, values);
    size_t i = 0;
    for (JsonNode node = json_items(&r->spec->json, let); node; node = node->next) read_let(r, node, spec_item(r, at, i++), net);
    if (i != values) longjmp(r->unwind, 1); /* no memory to open the array */
    net->out = find_value(r, net, out, spec_under(r, net->pointer, "out"));
    refuse_unused(r, net);
}

static void read_short(SpecReader *r, JsonNode layers, SpecNet *net) {
    static const uint32_t first = 0;
    net->inputs = ARENA_NEW(&r->spec->arena, const char *);
    net->inputs[net->ninputs++] = "";
    net->values = ARENA_NEW(&r->spec->arena, SpecValue);
    net->values[net->nvalues++] = (SpecValue){.of = net->inputs, .nof = 1, .from = &first, .pointer = net->pointer};
    spec_layers(r, layers, spec_under(r, net->pointer, "layers"), net->values);
    net->out = 1;
}

typedef struct {
    JsonNode layers, inputs, let, weights;
    const char *out;
    bool train;
} NetFields;

static void read_net(SpecReader *r, JsonNode node, SpecNet *net) {
    static const Field fields[] = {{"layers", FIELD_ARRAY, offsetof(NetFields, layers), false, NULL},
                                   {"inputs", FIELD_NODE, offsetof(NetFields, inputs), false, NULL},
                                   {"let", FIELD_ARRAY, offsetof(NetFields, let), false, NULL},
                                   {"out", FIELD_STRING, offsetof(NetFields, out), false, NULL},
                                   {"weights", FIELD_OBJECT, offsetof(NetFields, weights), false, NULL},
                                   {"train", FIELD_BOOL, offsetof(NetFields, train), false, NULL},
                                   {NULL, FIELD_NODE, 0, false, NULL}};
    NetFields f = {.train = true};
    spec_decode(r, node, net->pointer, fields, &f);
    net->train = f.train;
    const bool some = f.inputs || f.let || f.out, all = f.inputs && f.let && f.out;
    if (f.layers ? some : !all) spec_fail(r, net->pointer, "A network is given by \"layers\", or by \"inputs\", \"let\" and \"out\".");
    if (f.layers) read_short(r, f.layers, net);
    else read_long(r, f.inputs, f.let, f.out, net);
    if (!f.weights) return;
    const char *at = spec_under(r, net->pointer, "weights");
    const SpecWeights from = spec_weights(r, f.weights, at, spec_printf(r, "nets.%s", net->name));
    if (!from.run) spec_fail(r, at, "A network's weights come from a \"run\"; those that come from none are initialised by layer.");
    net->from_run = from.run;
    net->from_name = from.name;
}

void spec_nets(SpecReader *r, JsonNode nets) {
    Spec *s = r->spec;
    uint32_t n = 0;
    for (JsonNode node = nets->child; node; node = node->next) n += n <= LIMIT_RUN_NETS;
    if (n > LIMIT_RUN_NETS) spec_fail(r, "/nets", "A run has at most %d networks.", LIMIT_RUN_NETS);
    s->nets = ARENA_ARRAY(&s->arena, SpecNet, n);
    for (JsonNode node = nets->child; node; node = node->next, s->nnets++) {
        const char *pointer = spec_under(r, "/nets", node->string);
        s->nets[s->nnets] = (SpecNet){.name = spec_name(r, node->string, pointer), .pointer = pointer};
        read_net(r, node, &s->nets[s->nnets]);
    }
}
