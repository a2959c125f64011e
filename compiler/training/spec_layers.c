/* Layers, by their table (schema/graph/layers.def). */
#include "compiler/training/spec_reader.h"
#include <math.h>
#include <string.h>

typedef enum { PARAM_NONE, PARAM_UINT, PARAM_PAIR, PARAM_REAL, PARAM_FLAG, PARAM_EXTENTS } ParamKind;
typedef struct {
    ParamKind kind;
    const char *name;
    double preset; /* -1, -2: layers.def; of UINT and PAIR only */
    double least;
} LayerParam;

typedef struct {
    const char *name;
    const char *(*check)(const SpecLayer *layer);
    LayerParam params[LAYER_PARAMS + 1];
} LayerRow;

/* ---- what PyTorch refuses too, a rule by the name in the layer's row: NULL, or what is wrong ---- */

static const char *check_any(const SpecLayer *layer) {
    (void)layer;
    return NULL;
}

static const char *check_softplus(const SpecLayer *layer) {
    return layer->softplus.beta > 0 ? NULL : "The \"beta\" of softplus must be larger than 0.";
}

static const char *check_hardtanh(const SpecLayer *layer) {
    return layer->hardtanh.min < layer->hardtanh.max ? NULL : "The \"min\" of hardtanh must be smaller than its \"max\".";
}

/* Of both poolings, whose parameters are the same. */
static const char *check_pool(const SpecLayer *layer) {
    const double *pad = layer->max_pool2d.pad, *kernel = layer->max_pool2d.kernel;
    return pad[0] <= kernel[0] / 2 && pad[1] <= kernel[1] / 2 ? NULL : "The \"pad\" of a pooling must be at most half its \"kernel\".";
}

/* ---- the table ---- */

static const LayerRow rows[LAYER_COUNT] = {
#define UINT(name, preset, least) {PARAM_UINT, #name, preset, least},
#define PAIR(name, preset, least) {PARAM_PAIR, #name, preset, least},
#define REAL(name, preset) {PARAM_REAL, #name, preset, 0},
#define FLAG(name, preset) {PARAM_FLAG, #name, preset, 0},
#define EXTENTS {PARAM_EXTENTS, "", 0, 0},
#define LAYER(name, check, shape, emit, parameters) [LAYER_##name] = {#name, check_##check, {parameters{PARAM_NONE, NULL, 0, 0}}},
#include "schema/graph/layers.def"
#undef LAYER
#undef EXTENTS
#undef FLAG
#undef REAL
#undef PAIR
#undef UINT
};

const char *layer_name(LayerKind kind) { return rows[kind].name; }

static bool is_extent(JsonNode node, double least) {
    uint64_t extent;
    return json_natural(node, LIMIT_SPACE, &extent) && (double)extent >= least;
}

/* One integer, or [vertical, horizontal]. */
static void read_pair(SpecReader *r, JsonNode node, const char *at, const LayerParam *param, double *to) {
    JsonNode first = node, second = node;
    if (json_kind(node) == JSON_NUMBERS && json_count(&r->spec->json, node) == 2) {
        first = json_items(&r->spec->json, node);
        second = first ? first->next : NULL;
    }
    if (!first || !second || !is_extent(first, param->least) || !is_extent(second, param->least))
        spec_fail(r, at, "\"%s\" must be an integer from %.0f to %zu, or a pair of them, [vertical, horizontal].", param->name,
                  param->least, LIMIT_SPACE);
    to[0] = first->valuedouble;
    to[1] = second->valuedouble;
}

static void read_param(SpecReader *r, JsonNode node, const char *at, const LayerParam *param, double *to) {
    switch (param->kind) {
    case PARAM_UINT:
        if (!is_extent(node, param->least))
            spec_fail(r, at, "\"%s\" must be an integer from %.0f to %zu.", param->name, param->least, LIMIT_SPACE);
        *to = node->valuedouble;
        return;
    case PARAM_PAIR: read_pair(r, node, at, param, to); return;
    case PARAM_REAL:
        if (json_kind(node) != JSON_NUMBER) spec_fail(r, at, "\"%s\" must be a number.", param->name);
        spec_fits(r, at, node->valuedouble);
        *to = node->valuedouble;
        return;
    case PARAM_FLAG:
        if (json_kind(node) != JSON_BOOL) spec_fail(r, at, "\"%s\" must be true or false.", param->name);
        *to = cJSON_IsTrue(node);
        return;
    case PARAM_EXTENTS: case PARAM_NONE: break; /* read_dims */
    }
}

static void preset_param(SpecReader *r, const char *layer, const char *pointer, const LayerParam *param, double *to) {
    const uint32_t places = param->kind == PARAM_PAIR ? 2 : 1;
    const bool extent = param->kind == PARAM_PAIR || param->kind == PARAM_UINT;
    if (extent && param->preset == -1) spec_fail(r, pointer, "The layer \"%s\" needs \"%s\".", layer, param->name);
    for (uint32_t i = 0; i < places; i++) to[i] = extent && param->preset == -2 ? to[(int)i - 2] : param->preset;
}

static void refuse_unknown(SpecReader *r, const LayerRow *row, JsonNode body, const char *pointer) {
    for (JsonNode node = body->child; node; node = node->next) {
        const LayerParam *param = row->params;
        while (param->kind != PARAM_NONE && strcmp(param->name, node->string)) param++;
        if (param->kind == PARAM_NONE)
            spec_fail(r, spec_under(r, pointer, node->string), "The layer \"%s\" has no parameter \"%.60s\".", row->name, node->string);
    }
}

static void read_params(SpecReader *r, const LayerRow *row, JsonNode body, const char *pointer, SpecLayer *layer) {
    double *to = layer->param;
    if (body && json_kind(body) != JSON_OBJECT) spec_fail(r, pointer, "The parameters of \"%s\" must be an object.", row->name);
    if (body) refuse_unknown(r, row, body, pointer);
    for (const LayerParam *param = row->params; param->kind != PARAM_NONE; param++) {
        JsonNode node = body ? json_get(body, param->name) : NULL;
        if (node) read_param(r, node, spec_under(r, pointer, param->name), param, to);
        else preset_param(r, row->name, pointer, param, to);
        to += param->kind == PARAM_PAIR ? 2 : 1;
    }
}

static void read_dims(SpecReader *r, JsonNode body, const char *pointer, SpecLayer *layer) {
    const size_t n = body && json_kind(body) == JSON_NUMBERS ? json_count(&r->spec->json, body) : 0;
    if (!n || n > LAYER_RANK) spec_fail(r, pointer, "\"%s\" needs an array of 1 to %d extents.", layer_name(layer->kind), LAYER_RANK);
    double size = 1;
    for (JsonNode at = json_items(&r->spec->json, body); at && layer->rank < n; at = at->next) {
        if (!is_extent(at, 1)) spec_fail(r, spec_item(r, pointer, layer->rank), "An extent must be an integer from 1 to %zu.", LIMIT_SPACE);
        size *= at->valuedouble;
        layer->dims[layer->rank++] = (uint32_t)at->valuedouble;
    }
    if (layer->rank < n) longjmp(r->unwind, 1); /* no memory to open the array */
    if (size > (double)LIMIT_SPACE) spec_fail(r, pointer, "A tensor may have at most %zu elements.", LIMIT_SPACE);
}

static void check_layer(SpecReader *r, const SpecLayer *layer, const char *pointer) {
    const char *wrong = rows[layer->kind].check(layer);
    if (wrong) spec_fail(r, pointer, "%s", wrong);
}

static void count_layer(SpecReader *r, const char *pointer) {
    if (++r->nlayers > LIMIT_RUN_LAYERS) spec_fail(r, pointer, "The networks of a run have at most %d layers.", LIMIT_RUN_LAYERS);
}

static void read_layer(SpecReader *r, JsonNode node, const char *pointer, SpecLayer *layer) {
    const char *names[LAYER_COUNT + 1], *at;
    JsonNode body;
    for (int i = 0; i < LAYER_COUNT; i++) names[i] = rows[i].name;
    names[LAYER_COUNT] = NULL;
    *layer = (SpecLayer){.kind = (LayerKind)spec_choice(r, node, pointer, names, "a layer", &body, &at), .pointer = pointer};
    count_layer(r, pointer);
    if (layer->kind == LAYER_conv2d_by)
        spec_fail(r, pointer,
                  "\"conv2d_by\" takes two inputs: it stands alone, as in [\"z\", {\"conv2d_by\": {}, \"of\": [\"y\", \"w\"]}].");
    if (rows[layer->kind].params[0].kind == PARAM_EXTENTS) read_dims(r, body, at, layer);
    else read_params(r, &rows[layer->kind], body, at, layer);
    check_layer(r, layer, at);
}

void spec_layers(SpecReader *r, JsonNode node, const char *pointer, SpecValue *value) {
    const size_t n = json_count(&r->spec->json, node);
    if (!n || n > LIMIT_RUN_LAYERS) spec_fail(r, pointer, "\"layers\" must be an array of 1 to %d layers.", LIMIT_RUN_LAYERS);
    value->layers = ARENA_ARRAY(&r->spec->arena, SpecLayer, n);
    for (JsonNode at = json_items(&r->spec->json, node); at; at = at->next, value->nlayers++)
        read_layer(r, at, spec_item(r, pointer, value->nlayers), &value->layers[value->nlayers]);
    if (value->nlayers != n) longjmp(r->unwind, 1); /* no memory to open the array */
}

void spec_layer_by(SpecReader *r, JsonNode body, const char *pointer, SpecValue *value) {
    value->layers = ARENA_NEW(&r->spec->arena, SpecLayer);
    value->layers[value->nlayers++] = (SpecLayer){.kind = LAYER_conv2d_by, .pointer = pointer};
    count_layer(r, pointer);
    read_params(r, &rows[LAYER_conv2d_by], body, pointer, value->layers);
}
