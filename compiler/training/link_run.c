/* link_run: what is bound to what, shapes, and the forward graph. */
#include "compiler/training/link_inside.h"
#include "schema/formats/elements.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- which variable is bound to what ---- */

static const char *variable_name(const Link *k, uint32_t variable) { return sym_name(k->cx, k->p->binders[k->inputs[variable]].name); }

static int by_variable(const void *a, const void *b) { return strcmp(((const SpecBind *)a)->variable, ((const SpecBind *)b)->variable); }

static void match_binds(Link *k) {
    const Spec *spec = k->spec;
    const uint32_t n = k->p->context;
    k->inputs = program_inputs(k->cx, k->p);
    k->bind_of = ARENA_ARRAY(&k->cx->arena, uint32_t, n);
    k->variable_of = ARENA_ARRAY(&k->cx->arena, uint32_t, spec->nbinds);
    k->own_weight = ARENA_ARRAY(&k->cx->arena, uint32_t, spec->nbinds);
    for (uint32_t i = 0; i < spec->nbinds; i++) k->variable_of[i] = LINK_NONE;
    for (uint32_t v = 0; v < n; v++) {
        const SpecBind key = {.variable = variable_name(k, v)},
                       *bind = spec->nbinds ? bsearch(&key, spec->binds, spec->nbinds, sizeof key, by_variable) : NULL;
        if (!bind) link_fail(k, ERR_missing_input, "/bind", "The program's variable \"%.60s\" is not bound.", key.variable);
        k->bind_of[v] = (uint32_t)(bind - spec->binds);
        k->variable_of[k->bind_of[v]] = v;
    }
    for (uint32_t i = 0; i < spec->nbinds; i++)
        if (k->variable_of[i] == LINK_NONE)
            link_fail(k, ERR_unknown_input, spec->binds[i].pointer, "The program has no variable \"%.60s\".", spec->binds[i].variable);
}

/* The sized types of those variables that are vectors. */
static void size_variables(Link *k) {
    Linked *out = k->out;
    out->nvariables = k->p->context;
    out->variables = ARENA_ARRAY(&k->cx->arena, const Type *, out->nvariables);
    out->names = ARENA_ARRAY(&k->cx->arena, const char *, out->nvariables);
    for (uint32_t v = 0; v < out->nvariables; v++) {
        const Type *type = k->p->binders[k->inputs[v]].type;
        out->names[v] = variable_name(k, v);
        if (type->vector) out->variables[v] = type_with_size(k->cx, type, k->p->nat.dim, false);
    }
}

/* ---- shapes of the bindings ---- */

/* Kaiming's fan-in of a table: the product of the linear domains. */
static double fan_in(const Type *type) {
    double product = 1;
    for (; type->kind == TYPE_LIN; type = type->cod) product *= (double)type->dom->dim;
    return product;
}

static void plan_weights(Link *k, const SpecBind *bind, const Type *type) {
    const Dims dims = link_shape(k, type, bind->pointer);
    LinkWeight w = {.name = cx_printf(k->cx, "bind.%s", bind->variable), .rank = dims.rank, .init = bind->init, .train = bind->train,
                    .bound = bind->init == INIT_NORMAL ? bind->deviation : bind->init == INIT_KAIMING ? 1 / sqrt(fan_in(type)) : 0,
                    .from_run = bind->from_run, .from_name = bind->from_name};
    memcpy(w.dims, dims.at, dims.rank * sizeof *w.dims);
    k->own_weight[bind - k->spec->binds] = link_weight_add(k, &w, bind->pointer);
}

static void check_output(Link *k, const SpecBind *bind, const Dims *gives, const Type *type, const char *what) {
    const Dims want = link_shape(k, type, bind->pointer);
    if (dims_equal(gives, &want)) return;
    link_fail(k, ERR_shape_mismatch, bind->pointer, "The network \"%s\" gives %s, and %s \"%.60s\" has type %s, shape %s.",
              k->nets[bind->net].spec->name, link_dims(k, gives), what, bind->variable, type_text(k->cx, type), link_dims(k, &want));
}

static void plan_net(Link *k, const SpecBind *bind, const Type *type) {
    Dims *inputs = ARENA_ARRAY(&k->cx->arena, Dims, bind->nof);
    for (uint32_t i = 0; i < bind->nof; i++) {
        const uint32_t from = bind->from[i];
        const char *at = bind->of_pointers[i];
        inputs[i] = from == LINK_NONE ? link_column_plain(k, bind->of[i], at) : link_shape(k, k->out->variables[k->variable_of[from]], at);
    }
    const Dims gives = net_plan(k, &k->nets[bind->net], inputs, bind->pointer);
    check_output(k, bind, &gives, type, "the variable");
}

/* A network as the function: its inputs are the domains, all of them smooth. */
static void plan_function(Link *k, const SpecBind *bind, const Type *type) {
    NetPlan *net = &k->nets[bind->net];
    const Type *cod = type;
    uint32_t n = 0;
    for (; type_is_arrow(cod); cod = cod->cod, n++) {
        const char *const text = type_text(k->cx, type);
        if (cod->kind == TYPE_LIN)
            link_fail(k, ERR_type_mismatch, bind->pointer,
                      "\"%.60s\" has type %s, which promises to be linear in an argument; a network is not. Write ! before each domain, or bind weights.",
                      bind->variable, text);
        if (!cod->dom->vector)
            link_fail(k, ERR_type_mismatch, bind->pointer, "\"%.60s\" has type %s, and no network takes a function.", bind->variable, text);
    }
    if (n != net->spec->ninputs)
        link_fail(k, ERR_type_mismatch, bind->pointer,
                  "\"%.60s\" has type %s, with %u argument%s, and the network \"%s\" has %u input%s.", bind->variable,
                  type_text(k->cx, type), n, n == 1 ? "" : "s", net->spec->name, net->spec->ninputs, net->spec->ninputs == 1 ? "" : "s");
    Dims *inputs = ARENA_ARRAY(&k->cx->arena, Dims, n);
    cod = type;
    for (uint32_t i = 0; i < n; i++, cod = cod->cod)
        inputs[i] = link_shape(k, type_with_size(k->cx, cod->dom, k->p->nat.dim, false), bind->pointer);
    const Dims gives = net_plan(k, net, inputs, bind->pointer);
    check_output(k, bind, &gives, type_with_size(k->cx, cod, k->p->nat.dim, false), "the result of");
}

static void plan_bind(Link *k, const SpecBind *bind, uint32_t variable) {
    const Type *type = k->out->variables[variable], *written = k->p->binders[k->inputs[variable]].type;
    const char *what = cx_printf(k->cx, "the variable \"%.60s\"", bind->variable);
    if (bind->kind == BIND_NET_FUNCTION && !type_is_arrow(written))
        link_fail(k, ERR_type_mismatch, bind->pointer,
                  "\"%.60s\" has type %s, which is no function: say what the network is applied to, \"of\".",
                  bind->variable, type_text(k->cx, written));
    if (bind->kind != BIND_NET_FUNCTION && !type)
        link_fail(k, ERR_type_mismatch, bind->pointer,
                  "\"%.60s\" has type %s, a smooth function: only a network without \"of\" can be bound to it.",
                  bind->variable, type_text(k->cx, written));
    switch (bind->kind) {
    case BIND_COLUMN: link_column_typed(k, bind->column, type, what, bind->pointer); break;
    case BIND_CONSTANT: link_shape(k, type, bind->pointer); break;
    case BIND_WEIGHTS: plan_weights(k, bind, type); break;
    case BIND_NET: plan_net(k, bind, type); break;
    case BIND_NET_FUNCTION: plan_function(k, bind, written); break;
    }
}

static void plan_binds(Link *k) {
    const Spec *spec = k->spec;
    k->nets = ARENA_ARRAY(&k->cx->arena, NetPlan, spec->nnets);
    for (uint32_t i = 0; i < spec->nnets; i++) k->nets[i].spec = &spec->nets[i];
    for (uint32_t i = 0; i < spec->nbinds; i++) plan_bind(k, &spec->binds[spec->order[i]], k->variable_of[spec->order[i]]);
    for (uint32_t i = 0; i < k->out->nslots; i++) k->out->slots[i].needed = true; /* the target comes later */
}

/* ---- nodes ---- */

/* true, false and naturals are basis vectors; else a tensor of the type's shape. */
static double *read_constant(Link *k, const SpecBind *bind, const Type *type, const Dims *dims) {
    const char *pointer = cx_printf(k->cx, "%s/constant", bind->pointer);
    const JsonNode node = bind->constant;
    double *data = ARENA_ARRAY(&k->cx->arena, double, type->dim);
    const JsonKind kind = json_kind(node);
    uint64_t natural;
    Tensor t;
    Err err = {0};
    if (kind == JSON_BOOL && type->kind == TYPE_BOOL) {
        data[cJSON_IsTrue(node) ? 0 : 1] = 1;
        return data;
    }
    if (type->kind == TYPE_NAT && json_natural(node, type->dim - 1, &natural)) {
        data[natural] = 1;
        return data;
    }
    if (kind != JSON_NUMBERS)
        link_fail(k, ERR_bad_run, pointer, "This is no value of type %s, shape %s.", type_text(k->cx, type), link_dims(k, dims));
    if (!json_numbers(&k->spec->json, node, &t, &err)) link_fail(k, ERR_bad_run, pointer, "%s", err.message);
    bool fits = t.rank == dims->rank, finite = true;
    for (uint32_t i = 0; fits && i < dims->rank; i++) fits = t.shape[i] == dims->at[i];
    for (size_t i = 0; fits && i < type->dim; i++) finite = finite && isfinite(t.data[i]);
    if (fits) memcpy(data, t.data, type->dim * sizeof *data);
    tensor_release(&t);
    if (!fits) link_fail(k, ERR_shape_mismatch, pointer, "A value of type %s has shape %s.", type_text(k->cx, type), link_dims(k, dims));
    if (!finite) link_fail(k, ERR_bad_run, pointer, "A constant's numbers are finite.");
    const size_t beyond = k->spec->dtype == DT_F32 ? elements_beyond_f32(data, type->dim) : type->dim;
    if (beyond < type->dim)
        link_fail(k, ERR_bad_run, pointer, "Element %zu is %.9g, and f32 ends at %.9g. Give the run \"dtype\": \"f64\".", beyond, data[beyond],
                  (double)__FLT_MAX__);
    return data;
}

static uint32_t emit_constant(LinkLevel *level, const SpecBind *bind, const Type *type) {
    Link *k = level->link;
    const Dims dims = link_shape(k, type, bind->pointer);
    return link_const(&level->rw, read_constant(k, bind, type, &dims), type->dim);
}

static uint32_t column_input(LinkLevel *level, const char *name) {
    const uint32_t slot = link_slot(level->link, name);
    return link_input(&level->rw, SLOT_COLUMN, slot, level->link->out->slots[slot].size);
}

static uint32_t emit_net(LinkLevel *level, const SpecBind *bind, const uint32_t *bound) {
    Link *k = level->link;
    uint32_t *inputs = ARENA_ARRAY(&k->cx->arena, uint32_t, bind->nof);
    for (uint32_t i = 0; i < bind->nof; i++)
        inputs[i] = bind->from[i] == LINK_NONE ? column_input(level, bind->of[i]) : bound[k->variable_of[bind->from[i]]];
    return net_emit(level, &k->nets[bind->net], inputs);
}

static uint32_t emit_bind(LinkLevel *level, const SpecBind *bind, const Type *type, const uint32_t *bound) {
    const Dims flat = {.rank = 1, .at = {(uint32_t)type->dim}};
    uint32_t node = LINK_NONE;
    switch (bind->kind) {
    case BIND_COLUMN: return column_input(level, bind->column);
    case BIND_CONSTANT: return emit_constant(level, bind, type);
    case BIND_WEIGHTS: node = link_weight(level, level->link->own_weight[bind - level->link->spec->binds]); break;
    case BIND_NET: node = emit_net(level, bind, bound); break;
    case BIND_NET_FUNCTION: return LINK_NONE; /* link_inline's, call by call */
    }
    return rewrite_reshape(&level->rw, node, &flat);
}

static void emit_all(Link *k, const Graph *program) {
    Linked *out = k->out;
    LinkLevel level = {.link = k, .weights = ARENA_ARRAY(&k->cx->arena, uint32_t, out->nweights)};
    uint32_t *bound = ARENA_ARRAY(&k->cx->arena, uint32_t, out->nvariables);
    level.rw = (Rewrite){.cx = k->cx, .from = program, .to = rewrite_guard(k->cx, graph_new())};
    level.rw.moved = ARENA_ARRAY(&k->cx->arena, uint32_t, program->nnodes);
    level.bound = bound;
    for (uint32_t i = 0; i < out->nslots; i++) graph_slot(level.rw.to, SLOT_COLUMN, i, out->slots[i].size);
    for (uint32_t i = 0; i < out->nweights; i++) graph_slot(level.rw.to, SLOT_WEIGHT, i, out->weights[i].size);
    for (uint32_t i = 0; i < k->spec->nbinds; i++) {
        const uint32_t at = k->spec->order[i], v = k->variable_of[at];
        bound[v] = out->variables[v] ? emit_bind(&level, &k->spec->binds[at], out->variables[v], bound) : LINK_NONE;
    }
    const uint32_t value = link_inline(&level), loss = loss_emit(&level, value, column_input(&level, k->spec->target));
    graph_output(level.rw.to, OUT_VALUE, 0, value);
    graph_output(level.rw.to, OUT_LOSS, 0, loss);
    for (uint32_t v = 0; v < out->nvariables; v++)
        if (out->variables[v]) graph_output(level.rw.to, OUT_BOUND, v, bound[v]);
    out->forward = rewrite_finish_as_is(&level.rw);
}

/* What an iteration's step reads of the weights are inputs of the iteration. */
static void check_learns(Link *k) {
    const Graph *g = k->out->forward;
    bool *trained = ARENA_ARRAY(&k->cx->arena, bool, g->nnodes), learns = false;
    for (uint32_t i = 0; i < g->nnodes; i++) {
        const GNode *n = &g->nodes[i];
        const Slot *slot = n->op == OP_input ? &g->slots[node_attrs(g, n)[0]] : NULL;
        trained[i] = slot && slot->role == SLOT_WEIGHT && k->out->weights[slot->index].train;
        for (uint32_t x = 0; x < n->nin; x++) trained[i] = trained[i] || trained[node_ins(g, n)[x]];
    }
    for (uint32_t i = 0; i < g->noutputs; i++) learns = learns || (g->outputs[i].role == OUT_LOSS && trained[g->outputs[i].node]);
    if (!learns) link_fail(k, ERR_bad_run, "/bind", "The program's value does not depend on any weight that is trained.");
}

/* ---- the run ---- */

static void check_rows(Link *k) {
    if (!k->train->rows) link_fail(k, ERR_bad_run, "/data/train", "The data set \"%s\" has no rows.", k->spec->train_data);
    if (k->test && !k->test->rows) link_fail(k, ERR_bad_run, "/data/test", "The data set \"%s\" has no rows.", k->spec->test_data);
    for (int test = 0; test < 2; test++)
        if ((test && k->test ? k->test : k->train)->rows > LIMIT_RUN_ROWS)
            link_fail(k, ERR_too_large, test ? "/data/test" : "/data/train", "A run takes data sets of at most %llu rows.",
                      (unsigned long long)LIMIT_RUN_ROWS);
    if (k->spec->batch_size > k->train->rows)
        link_fail(k, ERR_bad_run, "/batch_size", "A batch of %llu is larger than the data: \"%s\" has %llu row%s.",
                  (unsigned long long)k->spec->batch_size, k->spec->train_data, (unsigned long long)k->train->rows, k->train->rows == 1 ? "" : "s");
    if (k->spec->epochs > LIMIT_RUN_STEPS / (k->train->rows / k->spec->batch_size))
        link_fail(k, ERR_bad_run, "/epochs", "These are more than %llu steps: an epoch has %llu.", (unsigned long long)LIMIT_RUN_STEPS,
                  (unsigned long long)(k->train->rows / k->spec->batch_size));
}

static void count_cost(Link *k) {
    const GraphStats stats = graph_stats(k->out->forward);
    k->out->macs = 3 * stats.macs;
    k->out->bytes = 2 * stats.bytes * (double)dtype_size(k->spec->dtype);
}

Linked *link_run(Cx *cx, const Spec *spec, const Program *p, const Checked *checked, const LinkData *train, const LinkData *test,
                 char pointer[LINK_POINTER]) {
    Link *k = ARENA_NEW(&cx->arena, Link);
    *k = (Link){.cx = cx, .spec = spec, .p = p, .train = train, .test = test, .pointer = pointer, .out = ARENA_NEW(&cx->arena, Linked)};
    pointer[0] = 0;
    k->out->dtype = spec->dtype;
    check_rows(k);
    match_binds(k);
    const Type *type = checked->types[program_root(p)];
    if (type_is_arrow(type))
        link_fail(k, ERR_bad_run, "/program",
                  "The program is a function, of type %s; a run needs its value: make the arguments variables of its context.",
                  type_text(cx, type));
    Signature signature;
    Graph *program = rewrite_guard(cx, compile_lower(cx, p, checked, 0, &signature));
    k->out->output = signature.output;
    size_variables(k);
    plan_binds(k);
    loss_target(k);
    link_settle_columns(k);
    k->out->target = link_slot(k, spec->target);
    k->out->slots[k->out->target].probability = spec->loss == LOSS_BCE;
    link_settle_weights(k);
    emit_all(k, program);
    check_learns(k);
    graph_free(rewrite_give(cx, program));
    count_cost(k);
    return k->out;
}
