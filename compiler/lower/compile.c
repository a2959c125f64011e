#include "compiler/lower/compile.h"
#include "compiler/language/levels.h"
#include "compiler/lower/lower.h"
#include "compiler/passes/rewrite.h"
#include "schema/limits.h"

/* ---- the machine ---- */

/* Runs until the stack is empty; the result. */
static const Val *run(Lower *lower) {
    if (setjmp(lower->retry)) {
        /* The trial's frame goes on with no result. */
        lower->top = lower->trial;
        lower->result = NULL;
    }
    while (lower->top) {
        LowerFrame *f = &lower->stack[lower->top - 1];
        if (++lower->steps > LIMIT_LOWER_STEPS) fail_steps(lower, f->node);
        if (f->kind == FRAME_ITER) step_iter(lower, f);
        else step_eval(lower, f);
    }
    return lower->result;
}

/* ---- bounds as written ---- */

typedef struct {
    Lower *lower;
    uint32_t binder;
} BoundCheck;

static uint64_t check_bound(void *ctx, uint64_t bound, uint64_t same, bool contra) {
    (void)same, (void)contra;
    const BoundCheck *c = ctx;
    Cx *cx = c->lower->cx;
    Nat nat = c->lower->p->nat;
    At at = AT(AT_BINDER, c->binder);
    if (bound && nat.overflow != NAT_EXACT && bound != nat.dim)
        cx_fail(cx, ERR_nat_bound_exceeded, at, "Leave the bound away, or use \"overflow\": \"exact\".",
                "Under the policy \"%s\" every natural has size %llu, and here N[%llu] is written.", nat_policy_name(nat.overflow),
                (unsigned long long)nat.dim, (unsigned long long)bound);
    if (bound > cx->nat_limit)
        cx_fail(cx, ERR_nat_bound_exceeded, at, NULL, "N[%llu] is beyond the service's limit of %llu.", (unsigned long long)bound,
                (unsigned long long)cx->nat_limit);
    return bound;
}

static void check_bounds(Lower *lower) {
    const Program *p = lower->p;
    if (p->nat.dim < 1 || p->nat.dim > lower->cx->nat_limit)
        cx_fail(lower->cx, ERR_nat_bound_exceeded, AT_NOWHERE, NULL, "nat.dim must be between 1 and %llu.",
                (unsigned long long)lower->cx->nat_limit);
    for (uint32_t b = 0; b < p->nbinders; b++)
        if (p->binders[b].type)
            type_zip(lower->cx, p->binders[b].type, p->binders[b].type, check_bound, &(BoundCheck){lower, b});
}

/* ---- inputs and arguments ---- */

static const Val *network(Lower *lower, uint32_t index, const Type *type) {
    Val *val = ARENA_NEW(&lower->cx->arena, Val);
    *val = (Val){.kind = VAL_NETWORK, .type = type};
    val->network.index = index;
    if (!lower->dry) graph_slot(lower->levels[0].graph, SLOT_NETWORK, index, 0); /* part of the interface, used or not */
    return val;
}

static const Env *bind_inputs(Lower *lower, Signature *sig) {
    const Program *p = lower->p;
    const uint32_t *order = program_inputs(lower->cx, p);
    const Env *env = NULL;
    sig->ninputs = p->context;
    sig->inputs = ARENA_ARRAY(&lower->cx->arena, const Type *, p->context);
    for (uint32_t i = 0; i < p->context; i++) {
        const Type *type = p->binders[order[i]].type, *sized = type_with_size(lower->cx, type, p->nat.dim, false);
        sig->inputs[i] = sized;
        const Val *val = type->vector ? vec_slot(lower, SLOT_INPUT, i, sized, program_root(p)) : network(lower, i, type);
        env = lower_bind(lower, env, val);
    }
    return env;
}

typedef struct {
    const Type *type;
    bool smooth;
} Param;

static const Val *apply_next(Lower *lower, const Val *function, uint32_t index, Param *param) {
    uint32_t root = program_root(lower->p);
    const Type *type = function->type;
    param->smooth = type->kind == TYPE_SMOOTH;
    param->type = param_type(lower, function);
    const Val *arg = type->dom->vector ? vec_slot(lower, SLOT_ARG, index, param->type, root)
                                       : network(lower, lower->p->context + index, param->type);
    push_apply(lower, function, arg, root);
    return run(lower);
}

static Lower *lower_new(Cx *cx, const Program *p, const Checked *checked) {
    Lower *lower = ARENA_NEW(&cx->arena, Lower);
    *lower = (Lower){.cx = cx, .p = p, .checked = checked, .depth = levels_of(cx, p), .levels_room = LIMIT_GRAPH_DEPTH};
    lower->levels = ARENA_ARRAY(&cx->arena, Level, lower->levels_room);
    lower->levels[0].graph = level_graph(lower);
    return lower;
}

static Graph *finish(Lower *lower, const Val *value) {
    Graph *g = lower->levels[0].graph;
    graph_output(g, OUT_VALUE, 0, value->vec.ref.node);
    Graph *pruned = rewrite_prune(lower->cx, g);
    graph_free(rewrite_give(lower->cx, g));
    return rewrite_give(lower->cx, pruned);
}

Graph *compile_lower(Cx *cx, const Program *p, const Checked *checked, uint32_t nargs, Signature *sig) {
    Lower *lower = lower_new(cx, p, checked);
    check_bounds(lower);
    push_eval(lower, program_root(p), bind_inputs(lower, sig));
    const Val *value = run(lower), *result = NULL;
    Param *params = NULL;
    uint32_t n = 0, room = 0;
    for (;; n++) {
        if (n == nargs || (nargs == UINT32_MAX && !type_is_arrow(value->type))) {
            push_tabulate(lower, value, program_root(p));
            result = run(lower);
            lower->dry = 1; /* what follows only tells the types of the arguments not given */
        }
        if (!type_is_arrow(value->type)) break;
        if (n == room) {
            room = room ? room * 2 : 8;
            params = arena_grow(&cx->arena, params, n, room, sizeof *params);
        }
        value = apply_next(lower, value, n, &params[n]);
    }
    if (!result)
        cx_fail(cx, ERR_too_many_args, AT_NOWHERE, NULL, "The program takes %u argument%s, and %u are given.", n, n == 1 ? "" : "s", nargs);
    sig->nargs = n;
    sig->args = ARENA_ARRAY(&cx->arena, const Type *, n);
    sig->smooth_args = ARENA_ARRAY(&cx->arena, bool, n);
    sig->type = sig->output = value->type;
    for (uint32_t i = n; i-- > 0;) {
        sig->args[i] = params[i].type;
        sig->smooth_args[i] = params[i].smooth;
        sig->type = type_arrow(cx, params[i].smooth, params[i].type, sig->type, AT_NOWHERE);
    }
    return finish(lower, result);
}
