#include "server/eval/eval.h"
#include "schema/formats/number.h"
#include "schema/limits.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Above either, a call has a worker for itself. */
#define SMALL_MACS 1e6
#define SMALL_BYTES 4e6

/* ev->given and ev->values: inputs, args, their tangents in the same order, the cotangent. */
static size_t vars(const Eval *ev) { return (size_t)ev->ninputs + ev->nargs; }
static size_t cotangent_at(const Eval *ev) { return 2 * vars(ev); }

static const Type *type_at(const Eval *ev, size_t i) {
    const Variant *v = ev->resolve.variant;
    if (i == cotangent_at(ev)) return ev->output_type;
    i %= vars(ev);
    return i < ev->ninputs ? v->inputs[i] : v->args[i - ev->ninputs];
}

static bool no_memory(Eval *ev) { return err_set(&ev->errand.err, ERR_internal, "Memory is short."); }

enum { NAME_ROOM = 200, NAME_SHOWN = 100 };

/* Without printf: every value of every call comes by here. */
static void put_place(char *out, const char *head, const char *kind, const char *name, size_t index) {
    char digits[24], *at = stpcpy(stpcpy(out, head), kind);
    int n = 0;
    if (name) {
        size_t len = strnlen(name, NAME_SHOWN);
        memcpy(at, name, len);
        at += len;
    } else {
        do digits[n++] = (char)('0' + index % 10);
        while (index /= 10);
        while (n) *at++ = digits[--n];
    }
    *at = 0;
}

/* What messages call the value, and where it stands in a JSON body. */
static void name_at(const Eval *ev, size_t i, char out[NAME_ROOM], char pointer[NAME_ROOM]) {
    if (i == cotangent_at(ev)) {
        strcpy(out, "cotangent");
        strcpy(pointer, "/cotangent");
        return;
    }
    bool tangent = i >= vars(ev);
    i %= vars(ev);
    bool input = i < ev->ninputs;
    const char *name = input ? ev->resolve.entry->inputs.names[i] : NULL;
    bool column = ev->request.model.stored && !tangent;
    put_place(out, tangent ? "tangents." : "", column ? "columns." : input ? "inputs." : "args.", name, i - ev->ninputs);
    put_place(pointer, tangent ? "/tangents/" : "/", column ? "columns/" : input ? "inputs/" : "args/", name, i - ev->ninputs);
}

/* The input of that name; SIZE_MAX: there is none. Names are sorted. */
static size_t input_named(const Eval *ev, const char *name) {
    const ProgramInputs *inputs = &ev->resolve.entry->inputs;
    size_t low = 0, high = ev->ninputs;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(name, inputs->names[middle]);
        if (order == 0) return middle;
        if (order < 0) high = middle;
        else low = middle + 1;
    }
    return SIZE_MAX;
}

static bool unknown(Eval *ev, const char *pointer, const char *name) {
    return err_at(&ev->errand.err, ERR_unknown_input, pointer, "The program has no input \"%.100s\".", name);
}

/* ---- what is given, and for what ---- */

static bool gather_inputs(Eval *ev, JsonNode object, const char *pointer, Given *out) {
    for (JsonNode item = object ? object->child : NULL; item; item = item->next) {
        size_t i = input_named(ev, item->string);
        if (i == SIZE_MAX) return unknown(ev, pointer, item->string);
        out[i].node = item;
    }
    return true;
}

static bool gather_args(Eval *ev, JsonNode list, const char *pointer, Given *out) {
    size_t n = 0;
    for (JsonNode item = list ? json_items(&ev->json, list) : NULL; item; item = item->next) {
        if (n == ev->nargs) return err_at(&ev->errand.err, ERR_bad_request, pointer, "There are more tangents than arguments.");
        out[n++].node = item;
    }
    return true;
}

static bool gather_json(Eval *ev) {
    typedef struct {
        JsonNode inputs, args;
    } Tangents;
    static const Field fields[] = {{"inputs", FIELD_OBJECT, offsetof(Tangents, inputs), false, NULL},
                                   {"args", FIELD_ARRAY, offsetof(Tangents, args), false, NULL}, {NULL, 0, 0, false, NULL}};
    const EvalRequest *r = &ev->request;
    Tangents tangents = {0};
    if (r->tangents && !json_decode(r->tangents, "/tangents", fields, &tangents, &ev->errand.err)) return false;
    Given *primal = ev->given, *tangent = primal + vars(ev);
    ev->given[cotangent_at(ev)].node = r->cotangent;
    return gather_inputs(ev, r->inputs, "/inputs", primal) && gather_args(ev, r->args, "/args", primal + ev->ninputs) &&
           gather_inputs(ev, tangents.inputs, "/tangents/inputs", tangent) &&
           gather_args(ev, tangents.args, "/tangents/args", tangent + ev->ninputs);
}

/* The place that a binary tensor's name means; SIZE_MAX: none. */
static size_t place_named(const Eval *ev, const char *name) {
    size_t base = 0;
    if (ev->kind == EVAL_GRAD && strcmp(name, "cotangent") == 0) return cotangent_at(ev);
    if (ev->kind == EVAL_JVP && strncmp(name, "tangents.", 9) == 0) {
        base = vars(ev);
        name += 9;
    }
    bool column = ev->request.model.stored && strncmp(name, "columns.", 8) == 0;
    if (column || strncmp(name, "inputs.", 7) == 0) {
        size_t i = input_named(ev, name + (column ? 8 : 7));
        return i == SIZE_MAX ? i : base + i;
    }
    if (strncmp(name, "args.", 5) != 0) return SIZE_MAX;
    char *end;
    unsigned long i = strtoul(name + 5, &end, 10);
    bool plain = name[5] >= '0' && name[5] <= '9' && (name[5] != '0' || !name[6]) && !*end;
    return plain && i < ev->nargs ? base + ev->ninputs + i : SIZE_MAX;
}

static bool gather_bulk(Eval *ev) {
    for (size_t i = 0; i < ev->bulk.n; i++) {
        size_t at = place_named(ev, ev->bulk.items[i].name);
        if (at == SIZE_MAX) return unknown(ev, "", ev->bulk.items[i].name);
        ev->given[at].tensor = &ev->bulk.items[i];
    }
    return true;
}

/* ---- wrt ---- */

static bool want_name(Eval *ev, const char *name) {
    size_t i = input_named(ev, name);
    if (i == SIZE_MAX) return unknown(ev, ev->request.wrt ? "/wrt" : "", name);
    return ev->wanted[i] = true;
}

/* `text`: as the caller wrote it. */
static bool want_arg(Eval *ev, bool natural, uint64_t i, const char *text) {
    if (!natural || i >= ev->nargs)
        return err_at(&ev->errand.err, ERR_unknown_input, ev->request.wrt ? "/wrt" : "", "There is no argument %.100s.", text);
    return ev->wanted[ev->ninputs + (size_t)i] = true;
}

static bool want_numbered(Eval *ev, JsonNode node) {
    uint64_t i;
    char text[NUMBER_ROOM + 1];
    const bool natural = json_natural(node, LIMIT_NUMERAL, &i);
    text[number_print(text, node->valuedouble)] = 0;
    return want_arg(ev, natural, natural ? i : 0, json_rounded(node) ? json_rounded(node) : text);
}

static bool want_listed(Eval *ev) {
    char *rest = ev->wrt_text;
    for (char *name; (name = strsep(&rest, ","));) {
        char *end;
        unsigned long i = strtoul(name, &end, 10);
        bool number = *name >= '0' && *name <= '9' && !*end;
        if (!(number ? want_arg(ev, true, i, name) : want_name(ev, name))) return false;
    }
    return true;
}

static bool read_wrt(Eval *ev) {
    JsonNode list = ev->request.wrt;
    if (ev->wrt_text) return want_listed(ev);
    if (!list) memset(ev->wanted, 1, vars(ev));
    for (JsonNode item = list ? json_items(&ev->json, list) : NULL; item; item = item->next) {
        bool ok = json_kind(item) == JSON_STRING   ? want_name(ev, item->valuestring)
                  : json_kind(item) == JSON_NUMBER ? want_numbered(ev, item)
                                                   : err_at(&ev->errand.err, ERR_bad_request, "/wrt",
                                                             "wrt names inputs, and arguments by number.");
        if (!ok) return false;
    }
    return true;
}

/* ---- values ---- */

/* A run's columns come as the data set has them; their tangents as types do. */
static ValueForm form_of(const Eval *ev, size_t i) {
    if (!ev->request.model.stored || i >= ev->ninputs) return VALUE_PLAIN;
    return model_has_number(model_of(ev->resolve.entry), ev->resolve.entry->inputs.names[i]) ? VALUE_NUMBERS : VALUE_COLUMN;
}

static bool read_value(Eval *ev, size_t i) {
    char name[NAME_ROOM], pointer[NAME_ROOM];
    const Given *g = &ev->given[i];
    const Type *type = type_at(ev, i);
    name_at(ev, i, name, pointer);
    bool tangent = i >= vars(ev);
    bool absent = !g->tensor && (!g->node || (tangent && json_kind(g->node) == JSON_NULL));
    if (absent) return tangent || err_at(&ev->errand.err, ERR_missing_input, pointer, "%s is missing.", name);
    if (!type->vector) return err_at(&ev->errand.err, ERR_not_tabulable, pointer, "%s is a smooth function, which no tensor can give.", name);
    const ValueForm form = form_of(ev, i);
    const bool read = g->tensor ? value_of_bulk(g->tensor, ev->errand.call->body.data, type, form, name, &ev->values[i], &ev->errand.err)
                                : value_of_json(&ev->json, g->node, type, form, name, pointer, &ev->values[i], &ev->errand.err);
    return read && (ev->request.f64 || value_fits_f32(&ev->values[i], name, g->node ? pointer : "", &ev->errand.err));
}

/* All batched values have the same rows. */
static bool join_batch(Eval *ev, size_t i) {
    const Value *v = &ev->values[i];
    char name[NAME_ROOM], pointer[NAME_ROOM];
    if (!v->data || !v->batched) return true;
    if (ev->batched && v->rows != ev->rows) {
        name_at(ev, i, name, pointer);
        return err_at(&ev->errand.err, ERR_shape_mismatch, pointer, "%s has %zu rows, and another value of this call has %zu.", name,
                       v->rows, ev->rows);
    }
    ev->batched = true;
    ev->rows = v->rows;
    return true;
}

/* The one row of `v`, numbers of F32 or F64, `rows` times as F64. */
static bool repeat_row(const Value *v, size_t rows, size_t cols, double *to) {
    void *row = malloc(value_bytes(v));
    if (!row) return false;
    value_copy(v, v->data, row);
    for (size_t c = 0; c < cols; c++) to[c] = v->dtype == DT_F32 ? ((const float *)row)[c] : ((const double *)row)[c];
    for (size_t r = 1; r < rows; r++) memcpy(to + r * cols, to, cols * sizeof *to);
    free(row);
    return true;
}

/* The cotangent for every row: ones when none is given, repeated when it is shared, so that a shared value's gradient sums over the
 * rows. */
static bool spread_cotangent(Eval *ev, bool batched) {
    Value *v = &ev->values[cotangent_at(ev)], spread;
    size_t rows = batched ? ev->rows : 1;
    if (v->data && (v->batched || !batched)) return true;
    size_t cols = v->data && !v->discrete ? v->cols : ev->output_type->dim, bytes;
    if (__builtin_mul_overflow(cols, rows * sizeof(double), &bytes) || bytes > LIMIT_JOB_BYTES)
        return err_set(&ev->errand.err, ERR_too_large, "The cotangent for all rows is too large.");
    if (!value_fill(&spread, rows, cols, v->data ? 0 : 1)) return no_memory(ev);
    spread.batched = batched;
    if (v->data && !repeat_row(v, rows, cols, spread.owned)) {
        value_release(&spread);
        return no_memory(ev);
    }
    value_release(v);
    *v = spread;
    return true;
}

static bool check_tangents(Eval *ev) {
    for (size_t i = vars(ev); i < cotangent_at(ev); i++) {
        char name[NAME_ROOM], pointer[NAME_ROOM];
        Value *v = &ev->values[i];
        name_at(ev, i, name, pointer);
        if (v->data && v->batched != ev->values[i - vars(ev)].batched)
            return err_at(&ev->errand.err, ERR_shape_mismatch, pointer,
                           "%s must have a batch axis where its value has one, and only there.", name);
        if (!v->data && !value_fill(v, 1, 1, 0)) return no_memory(ev);
    }
    return true;
}

static bool read_values(Eval *ev) {
    size_t n = ev->kind == EVAL_JVP ? 2 * vars(ev) : vars(ev);
    ev->rows = 1;
    for (size_t i = 0; i < n; i++)
        if (!read_value(ev, i) || !join_batch(ev, i)) return false;
    if (ev->kind == EVAL_JVP) return check_tangents(ev);
    if (ev->kind != EVAL_GRAD) return true;
    bool batched = ev->batched;
    if (!read_value(ev, cotangent_at(ev))) return false;
    if (ev->values[cotangent_at(ev)].discrete)
        return err_at(&ev->errand.err, ERR_bad_tensor, "/cotangent", "The cotangent is a tensor like the output.");
    return join_batch(ev, cotangent_at(ev)) && spread_cotangent(ev, batched);
}

/* ---- results ---- */

static bool value_is_batched(const Eval *ev) {
    for (size_t i = 0; i < vars(ev); i++)
        if (ev->values[i].data && ev->values[i].batched) return true;
    return false;
}

/* `output` is the graph's; UINT32_MAX: none. */
static bool add_result(Eval *ev, OutRole role, uint32_t index, uint32_t output, const Type *type, bool batched) {
    const Variant *v = ev->resolve.variant;
    EvalResult *r = &ev->results[ev->nresults++];
    *r = (EvalResult){.role = role, .index = index, .output = output, .type = type, .batched = batched, .size = type->dim};
    if (batched) r->shape[r->rank++] = ev->rows;
    r->rank += type_shape(type, r->shape + r->rank);
    return ev->request.engine == ENGINE_INTERPRETER || output == UINT32_MAX || v->outputs[output].size == type->dim ||
           err_set(&ev->errand.err, ERR_internal, "An output of the compiled graph has another size than its type.");
}

/* Where each result stands among the graph's outputs: the value, the tangent, the gradients by input, then argument; variables. */
static uint32_t *index_outputs(const Eval *ev) {
    const Variant *v = ev->resolve.variant;
    size_t n = vars(ev) + 2 + v->nbound;
    uint32_t *at = call_alloc(ev->errand.call, n, sizeof *at);
    if (!at) return NULL;
    memset(at, 0xff, n * sizeof *at);
    if (ev->request.engine == ENGINE_INTERPRETER) at[0] = 0;
    for (uint32_t o = 0; o < v->noutputs && ev->request.engine == ENGINE_NEURONS; o++) {
        size_t i = v->outputs[o].index;
        switch (v->outputs[o].role) {
        case OUT_VALUE: i = 0; break;
        case OUT_TANGENT: i = 1; break;
        case OUT_GRAD_INPUT: i += 2; break;
        case OUT_GRAD_ARG: i += 2 + (size_t)ev->ninputs; break;
        case OUT_BOUND: i += 2 + vars(ev); break;
        default: continue;
        }
        if (i < n) at[i] = o;
    }
    return at;
}

static bool choose_results(Eval *ev) {
    uint32_t *at = index_outputs(ev);
    if (!at) return no_memory(ev);
    bool batched = value_is_batched(ev), ok = add_result(ev, OUT_VALUE, 0, at[0], ev->output_type, batched);
    if (ev->kind == EVAL_JVP) ok = ok && add_result(ev, OUT_TANGENT, 0, at[1], ev->output_type, batched);
    for (size_t i = 0; ok && ev->kind == EVAL_GRAD && i < vars(ev); i++) {
        bool input = i < ev->ninputs;
        if (!ev->wanted[i]) continue;
        ok = add_result(ev, input ? OUT_GRAD_INPUT : OUT_GRAD_ARG, (uint32_t)(input ? i : i - ev->ninputs), at[2 + i],
                        type_at(ev, i), ev->values[i].batched);
    }
    for (uint32_t i = 0; ok && i < ev->nbound; i++) {
        uint32_t output = at[2 + vars(ev) + ev->bound[i]];
        bool varies = output != UINT32_MAX && ev->resolve.variant->outputs[output].varies;
        ok = add_result(ev, OUT_BOUND, ev->bound[i], output, ev->resolve.variant->bound[ev->bound[i]], batched && varies);
    }
    return ok;
}

/* ---- the area ---- */

static size_t aligned(size_t at) { return (at + 63) / 64 * 64; }

static bool in_place(const Eval *ev, const Value *v) {
    return !v->owned && !v->tensor && ev->errand.call->body.area.fd >= 0 && (uintptr_t)v->data % dtype_size((DType)v->dtype) == 0;
}

static bool too_large(Eval *ev) {
    return err_set(&ev->errand.err, ERR_too_large, "Values and results of this call take more than %zu bytes.", LIMIT_JOB_BYTES);
}

/* Which slot each value goes to; values whose variable the graph does not need stay behind. */
static uint32_t collect_tensors(const Eval *ev, TensorMsg *tensors, const Value **from) {
    const Variant *v = ev->resolve.variant;
    uint32_t n = 0;
    bool interpreter = ev->request.engine == ENGINE_INTERPRETER;
    for (uint32_t s = 0; s < (interpreter ? vars(ev) : v->nslots); s++) {
        size_t i = s;
        if (!interpreter) {
            const Slot *slot = &v->slots[s];
            switch (slot->role) {
            case SLOT_INPUT: i = slot->index; break;
            case SLOT_ARG: i = ev->ninputs + (size_t)slot->index; break;
            case SLOT_TANGENT_INPUT: i = vars(ev) + slot->index; break;
            case SLOT_TANGENT_ARG: i = vars(ev) + ev->ninputs + (size_t)slot->index; break;
            case SLOT_COTANGENT: i = cotangent_at(ev); break;
            default: continue;
            }
        }
        if (i > cotangent_at(ev) || !ev->values[i].data) continue;
        const Value *value = &ev->values[i];
        from[n] = value;
        tensors[n++] = (TensorMsg){.slot = s, .dtype = value->dtype, .batched = value->batched, .discrete = value->discrete,
                                   .cols = value->cols};
    }
    return n;
}

static bool lay_out(Eval *ev, TensorMsg *tensors, const Value **from, uint32_t n) {
    const Body *body = &ev->errand.call->body;
    size_t at = body->area.fd >= 0 ? aligned(body->len) : 0, element = ev->request.f64 ? sizeof(double) : sizeof(float);
    for (uint32_t i = 0; i < n; i++) {
        if (in_place(ev, from[i])) {
            tensors[i].offset = (uint64_t)((const unsigned char *)from[i]->data - body->data);
            continue;
        }
        tensors[i].offset = at;
        if (__builtin_add_overflow(at, value_bytes(from[i]), &at) || at > LIMIT_JOB_BYTES) return too_large(ev);
        at = aligned(at);
    }
    ev->results_at = at;
    for (size_t i = 0; i < ev->nresults; i++) {
        EvalResult *r = &ev->results[i];
        r->offset = at;
        size_t rows = r->batched ? ev->rows : 1;
        if (__builtin_mul_overflow(r->size, element * rows, &r->bytes) || __builtin_add_overflow(at, r->bytes, &at) || at > LIMIT_JOB_BYTES)
            return too_large(ev);
    }
    ev->area_size = at;
    return true;
}

/* What the results take as JSON at most: every number in full, and brackets. */
static size_t json_size(const Eval *ev) {
    enum { F32_CHARACTERS = 15, F64_CHARACTERS = 25, INDEX_CHARACTERS = 11, BRACKETS = 3 }; /* each with its comma */
    size_t total = 0;
    for (size_t i = 0; i < ev->nresults; i++) {
        const EvalResult *r = &ev->results[i];
        size_t groups = 1;
        for (size_t axis = 0; axis < r->rank; axis++) {
            total += groups * BRACKETS;
            groups *= r->shape[axis];
        }
        total += groups * (ev->request.f64 ? F64_CHARACTERS : F32_CHARACTERS);
    }
    return ev->request.decode ? total + ev->rows * INDEX_CHARACTERS : total;
}

static bool fits_json(Eval *ev) {
    if (ev->errand.call->form != FORM_JSON) return true;
    ev->json_size = json_size(ev);
    return ev->json_size <= LIMIT_JSON_ANSWER ||
           err_set(&ev->errand.err, ERR_too_large, "As JSON the answer may take %zu bytes, which is above %zu; ask for one of the binary forms, with Accept.",
                   ev->json_size, LIMIT_JSON_ANSWER);
}

/* Where the results and the values that do not lie there already go: behind a binary body in its own area, in a new area, or (few bytes) in
 * memory that travels in the frame. NULL with errno. */
static unsigned char *open_area(Eval *ev) {
    Body *body = &ev->errand.call->body;
    if (body->area.fd >= 0) {
        if (!body_area_grow(body->shm_pool, &body->area, body->len, ev->area_size)) return NULL;
        ev->area = body->area;
        body->area.fd = -1;
        body->data = NULL;
        return ev->area.data;
    }
    errno = ENOMEM;
    if (ev->results_at <= WIRE_INLINE_AREA) return call_alloc(ev->errand.call, ev->results_at + 1, 1);
    return shm_pool_make(body->shm_pool, ev->area_size, &ev->area) ? ev->area.data : NULL;
}

static unsigned char *place_values(Eval *ev, const TensorMsg *tensors, const Value *const *from, uint32_t n) {
    /* Values of a body in an area move with it when it grows. */
    bool moves = ev->errand.call->body.area.fd >= 0;
    const unsigned char *old = ev->errand.call->body.data;
    unsigned char *base = open_area(ev);
    for (uint32_t i = 0; base && i < n; i++) {
        const unsigned char *source = from[i]->data;
        if (moves && !from[i]->owned) source = base + (source - old);
        if (source != base + tensors[i].offset) value_copy(from[i], source, base + tensors[i].offset);
    }
    return base;
}

/* Work small enough that other calls may wait behind it: well under a millisecond. */
static bool is_small(const Eval *ev, double cost) {
    const Variant *v = ev->resolve.variant;
    return ev->area.fd < 0 && ev->request.engine == ENGINE_NEURONS && ev->area_size - ev->results_at <= WIRE_INLINE_AREA &&
           cost < SMALL_MACS && v->bytes * (double)ev->rows < SMALL_BYTES;
}

/* Small calls without a batch are batches of one row, so that they can be merged; bits of a row are the same in any batch. */
static void make_batch(ExecMsg *m) {
    for (uint32_t i = 0; i < m->ntensors; i++) m->tensors[i].batched = true;
    for (uint32_t i = 0; i < m->nresults; i++) m->results[i].batched = true;
}

static void set_run(Eval *ev, TensorMsg *tensors, uint32_t n, ResultMsg *results) {
    const Entry *e = ev->resolve.entry;
    bool interpreter = ev->request.engine == ENGINE_INTERPRETER, framed = ev->area.fd < 0;
    uint32_t nresults = 0;
    for (size_t i = 0; i < ev->nresults; i++) {
        const EvalResult *r = &ev->results[i];
        if (r->output == UINT32_MAX) continue;
        ev->row_bytes[nresults] = r->bytes / (r->batched ? ev->rows : 1);
        results[nresults++] = (ResultMsg){.output = r->output, .batched = r->batched, .offset = r->offset};
    }
    ev->exec = (ExecRequest){.cost = ev->resolve.variant->macs * (double)ev->rows, .row_bytes = ev->row_bytes};
    ev->exec.small = is_small(ev, ev->exec.cost);
    ev->exec.msg = (ExecMsg){.key = interpreter ? 0 : ev->resolve.variant->key, .dtype = ev->request.f64 ? DT_F64 : DT_F32,
                           .rows = (uint32_t)ev->rows, .area_size = ev->area_size, .results_at = ev->results_at, .ntensors = n,
                           .nresults = nresults, .tensors = tensors, .results = results,
                           .inline_area = framed ? ev->inline_values : NULL, .inline_len = framed ? ev->results_at : 0,
                           .program = interpreter ? e->canonical : NULL, .program_len = interpreter ? e->canonical_len : 0,
                           .nargs = ev->nargs, .nat_limit = ev->errand.call->server->config->max_nat};
    if (ev->exec.small && n && !ev->batched) make_batch(&ev->exec.msg);
}

/* ShmPool have been used before. */
static void clear_zero_results(const Eval *ev, unsigned char *base) {
    for (size_t i = 0; i < ev->nresults; i++)
        if (ev->results[i].output == UINT32_MAX) memset(base + ev->results[i].offset, 0, ev->results[i].bytes);
}

static bool make_run(Eval *ev) {
    size_t room = cotangent_at(ev) + 1;
    TensorMsg *tensors = call_alloc(ev->errand.call, room, sizeof *tensors);
    const Value **from = call_alloc(ev->errand.call, room, sizeof *from);
    ResultMsg *results = call_alloc(ev->errand.call, ev->nresults, sizeof *results);
    ev->row_bytes = call_alloc(ev->errand.call, ev->nresults, sizeof *ev->row_bytes);
    if (!tensors || !from || !results || !ev->row_bytes) return no_memory(ev);
    uint32_t n = collect_tensors(ev, tensors, from);
    if (!lay_out(ev, tensors, from, n) || !fits_json(ev)) return false;
    unsigned char *base = place_values(ev, tensors, from, n);
    if (!base) return failure_short_err(&ev->errand.err, errno);
    if (ev->area.fd < 0) ev->inline_values = base;
    else clear_zero_results(ev, base);
    set_run(ev, tensors, n, results);
    return true;
}

/* ---- all of it ---- */

/* The variables that a run is asked for; the worker has seen to it that there are such. */
static bool choose_bound(Eval *ev) {
    const ModelWant *want = &ev->request.model;
    const Model *model = model_of(ev->resolve.entry);
    size_t n = 0;
    for (size_t i = 0; i < want->outputs_len; i++) n += !want->outputs[i];
    ev->bound = call_alloc(ev->errand.call, n + 1, sizeof *ev->bound);
    if (!ev->bound) return no_memory(ev);
    const char *end = want->outputs + want->outputs_len;
    for (const char *name = want->outputs; model && name < end; name += strlen(name) + 1) {
        uint32_t v = model_variable(model, name);
        for (uint32_t i = 0; i < ev->nbound; i++)
            if (ev->bound[i] == v) return err_at(&ev->errand.err, ERR_bad_request, "/outputs", "The output %.100s stands there twice.", name);
        if (v >= ev->resolve.variant->nbound) return err_at(&ev->errand.err, ERR_unknown_input, "/outputs", "There is no variable %.100s.", name);
        ev->bound[ev->nbound++] = v;
    }
    return !n || ev->errand.call->form != FORM_NPY || err_at(&ev->errand.err, ERR_bad_request, "/outputs", "An npy file holds one tensor.");
}

bool eval_prepare(void *arg) {
    Eval *ev = arg;
    size_t n = cotangent_at(ev) + 1;
    if (!choose_bound(ev)) return false;
    ev->given = call_alloc(ev->errand.call, n, sizeof *ev->given);
    ev->values = call_alloc(ev->errand.call, n, sizeof *ev->values);
    ev->wanted = call_alloc(ev->errand.call, n, sizeof *ev->wanted);
    ev->results = call_alloc(ev->errand.call, vars(ev) + 2 + ev->nbound, sizeof *ev->results);
    if (!ev->given || !ev->values || !ev->wanted || !ev->results) return no_memory(ev);
    if (!ev->output_type->vector) return err_set(&ev->errand.err, ERR_not_tabulable, "The result is a smooth function, which is no tensor.");
    if (ev->request.decode && ev->output_type->kind != TYPE_BOOL && ev->output_type->kind != TYPE_NAT)
        return err_at(&ev->errand.err, ERR_bad_request, "/decode", "Only results of type 2 and N can be decoded.");
    if (ev->request.decode && ev->errand.call->form != FORM_JSON)
        return err_at(&ev->errand.err, ERR_bad_request, "/decode", "Only JSON answers are decoded; this one is wanted in a binary form.");
    if (!(ev->bulk.n ? gather_bulk(ev) : gather_json(ev)) || (ev->kind == EVAL_GRAD && !read_wrt(ev))) return false;
    return read_values(ev) && choose_results(ev) && make_run(ev);
}
