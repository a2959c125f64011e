/* The machine's frames but for iterations: terms, application, bounds as written, tabulating. */
#include "compiler/lower/lower.h"
#include "schema/limits.h"
#include <stdlib.h>

/* A closure applied more often than this is tabulated, if its table is small: otherwise chains of such functions double the program
 * at every link. */
enum { INLINE_USES = 8, TABLE_CELLS = 4096 };

typedef struct {
    const Type *argument;
    const Type *result; /* dry runs: the result's type */
    const Val *table;   /* the function over that argument type */
} Remembered;
struct Uses {
    uint32_t count, known, room; /* room: a power of two */
    Remembered **slots;          /* open addressing by the argument type */
};

/* ---- terms ---- */

static const Val *closure(Lower *lower, uint32_t node, const Env *env) {
    Val *val = ARENA_NEW(&lower->cx->arena, Val);
    *val = (Val){.kind = VAL_CLOSURE, .type = lower->checked->types[node]};
    val->closure.fun = node;
    val->closure.env = env;
    val->closure.uses = ARENA_NEW(&lower->cx->arena, Uses);
    return val;
}

void push_eval(Lower *lower, uint32_t node, const Env *env) {
    const TermNode *n = &lower->p->nodes[node];
    static const LowerFrameKind frames[TERM_KINDS] = {
        [TERM_SUCC] = FRAME_SUCC, [TERM_IF] = FRAME_IF, [TERM_APP] = FRAME_APP, [TERM_LET] = FRAME_LET, [TERM_ITER] = FRAME_ITER};
    switch (n->kind) {
    case TERM_VAR: lower->result = lower_lookup(env, lower->depth[n->binder]); return;
    case TERM_TRUE: lower->result = vec_bool(lower, true); return;
    case TERM_FALSE: lower->result = vec_bool(lower, false); return;
    case TERM_NAT: lower->result = vec_nat(lower, n->nat, node); return;
    case TERM_FUN: lower->result = closure(lower, node, env); return;
    default:
        if (frames[n->kind] == FRAME_NOTHING) abort();
        push_frame(lower, frames[n->kind], node)->env = env;
    }
}

static void step_succ(Lower *lower, LowerFrame *f) {
    if (f->phase++ == 0) push_eval(lower, lower->p->nodes[f->node].kid[0], f->env);
    else pop_frame(lower, vec_succ(lower, lower->result, f->node));
}

static const Val *choose(Lower *lower, const Val *cond, const Val *then, const Val *otherwise) {
    if (then->kind == VAL_VEC && otherwise->kind == VAL_VEC) return vec_if(lower, cond, then, otherwise);
    Val *val = ARENA_NEW(&lower->cx->arena, Val);
    *val = (Val){.kind = VAL_CHOICE, .type = then->type};
    val->choice.cond = cond;
    val->choice.then = then;
    val->choice.otherwise = otherwise;
    return val;
}

static void step_if(Lower *lower, LowerFrame *f) {
    const uint32_t *kid = lower->p->nodes[f->node].kid;
    switch (f->phase++) {
    case 0: push_eval(lower, kid[0], f->env); return;
    case 1: f->a = lower->result; push_eval(lower, kid[1], f->env); return;
    case 2: f->b = lower->result; push_eval(lower, kid[2], f->env); return;
    default: pop_frame(lower, choose(lower, f->a, f->b, lower->result));
    }
}

static void step_app(Lower *lower, LowerFrame *f) {
    const uint32_t *kid = lower->p->nodes[f->node].kid, node = f->node;
    switch (f->phase++) {
    case 0: push_eval(lower, kid[0], f->env); return;
    case 1: f->a = lower->result; push_eval(lower, kid[1], f->env); return;
    default: {
        const Val *function = f->a;
        pop_frame(lower, lower->result);
        push_apply(lower, function, lower->result, node);
    }
    }
}

static void step_let(Lower *lower, LowerFrame *f) {
    const uint32_t *kid = lower->p->nodes[f->node].kid;
    if (f->phase++ == 0) {
        push_eval(lower, kid[0], f->env);
        return;
    }
    const Env *env = lower_bind(lower, f->env, lower->result);
    pop_frame(lower, NULL);
    push_eval(lower, kid[1], env);
}

/* ---- applying ---- */

static Remembered **remembered_slot(const Uses *uses, const Type *argument) {
    uint32_t i = argument->hash & (uses->room - 1);
    while (uses->slots[i] && uses->slots[i]->argument != argument) i = (i + 1) & (uses->room - 1);
    return &uses->slots[i];
}

static Remembered *remembered(Lower *lower, Uses *uses, const Type *argument) {
    if (2 * uses->known >= uses->room) {
        Uses grown = {.count = uses->count, .known = uses->known, .room = uses->room ? 2 * uses->room : 8};
        grown.slots = ARENA_ARRAY(&lower->cx->arena, Remembered *, grown.room);
        for (uint32_t i = 0; i < uses->room; i++)
            if (uses->slots[i]) *remembered_slot(&grown, uses->slots[i]->argument) = uses->slots[i];
        *uses = grown;
    }
    Remembered **slot = remembered_slot(uses, argument);
    if (*slot) return *slot;
    *slot = ARENA_NEW(&lower->cx->arena, Remembered);
    (*slot)->argument = argument;
    uses->known++;
    return *slot;
}

/* Inlines a closure. */
static void push_body(Lower *lower, const Val *function, const Val *argument, uint32_t node) {
    const TermNode *fun = &lower->p->nodes[function->closure.fun];
    argument = val_admit(lower, argument, lower->p->binders[fun->binder].type, node);
    push_eval(lower, fun->kid[0], lower_bind(lower, function->closure.env, argument));
}

static void push_tabulate_over(Lower *lower, const Val *function, const Type *param, uint32_t node) {
    LowerFrame *f = push_frame(lower, FRAME_TABULATE, node);
    f->a = function;
    f->type = param;
}

/* Vector results of vector arguments: sizes are looked up in a dry run; otherwise a linear function applied often is tabulated once
 * per argument type. */
static void push_closure(Lower *lower, const Val *function, const Val *argument, uint32_t node) {
    Uses *uses = function->closure.uses;
    bool vectors = argument->kind == VAL_VEC && function->type->cod->vector && !type_is_arrow(function->type->cod);
    if (!vectors || ++uses->count <= INLINE_USES) {
        push_body(lower, function, argument, node);
        return;
    }
    Remembered *known = remembered(lower, uses, argument->type);
    if (lower->dry && known->result) {
        Val *val = ARENA_NEW(&lower->cx->arena, Val);
        *val = (Val){.kind = VAL_VEC, .type = known->result};
        lower->result = val;
    } else if (!lower->dry && known->table) {
        lower->result = vec_apply(lower, known->table, argument, node);
    } else {
        LowerFrame *f = push_frame(lower, FRAME_REMEMBER, node);
        f->a = function;
        f->b = argument;
        f->type = argument->type;
    }
}

static void step_remember(Lower *lower, LowerFrame *f) {
    Remembered *known = remembered(lower, f->a->closure.uses, f->type);
    bool table = !lower->dry && f->a->type->kind == TYPE_LIN && known->result && known->result->dim <= TABLE_CELLS / f->type->dim;
    if (f->phase++ == 0) {
        if (table) push_tabulate_over(lower, f->a, f->type, f->node);
        else push_body(lower, f->a, f->b, f->node);
        return;
    }
    if (table) {
        known->table = lower->result;
        lower->result = vec_apply(lower, known->table, f->b, f->node);
    }
    known->result = lower->result->type;
    pop_frame(lower, lower->result);
}

void push_apply(Lower *lower, const Val *function, const Val *argument, uint32_t node) {
    static const LowerFrameKind frames[] = {[VAL_VEC] = FRAME_TABLE, [VAL_CHOICE] = FRAME_CHOICE, [VAL_BOUNDED] = FRAME_BOUNDED,
                                            [VAL_NETWORK] = FRAME_NETWORK};
    if (function->kind == VAL_CLOSURE) {
        push_closure(lower, function, argument, node);
        return;
    }
    LowerFrame *f = push_frame(lower, frames[function->kind], node);
    f->a = function;
    f->b = argument;
}

static void step_table(Lower *lower, LowerFrame *f) {
    if (f->phase++ == 0) push_tabulate(lower, f->b, f->node);
    else pop_frame(lower, vec_apply(lower, f->a, lower->result, f->node));
}

static void step_choice(Lower *lower, LowerFrame *f) {
    const Val *choice = f->a;
    switch (f->phase++) {
    case 0: push_apply(lower, choice->choice.then, f->b, f->node); return;
    case 1: {
        const Val *argument = f->b;
        f->b = lower->result;
        push_apply(lower, choice->choice.otherwise, argument, f->node);
        return;
    }
    default: pop_frame(lower, choose(lower, choice->choice.cond, f->b, lower->result));
    }
}

static void step_bounded(Lower *lower, LowerFrame *f) {
    const Type *type = f->a->type;
    if (f->phase++ == 0) push_apply(lower, f->a->bounded.inner, val_admit(lower, f->b, type->dom, f->node), f->node);
    else pop_frame(lower, val_admit(lower, lower->result, type->cod, f->node));
}

static void step_network(Lower *lower, LowerFrame *f) {
    const Val *network = f->a;
    const Type *type = network->type;
    if (f->phase++ == 0) {
        if (!type->dom->vector)
            cx_fail(lower->cx, ERR_not_tabulable, AT(AT_NODE, f->node), NULL,
                    "A network cannot take a smooth function as its argument: it has no tensor.");
        push_tabulate(lower, f->b, f->node);
        return;
    }
    const Type *want = type_with_size(lower->cx, type->dom, lower->p->nat.dim, false);
    uint32_t n = network->network.nargs;
    const Val **args = arena_grow(&lower->cx->arena, network->network.args, n, n + 1, sizeof *args);
    args[n] = vec_fit(lower, lower->result, want, f->node);
    Val *applied = ARENA_NEW(&lower->cx->arena, Val);
    *applied = (Val){.kind = VAL_NETWORK, .type = type->cod};
    applied->network.index = network->network.index;
    applied->network.nargs = n + 1;
    applied->network.args = args;
    const Type *cod = type->cod->vector ? type_with_size(lower->cx, type->cod, lower->p->nat.dim, false) : NULL;
    pop_frame(lower, cod ? vec_call(lower, applied, cod, f->node) : applied);
}

/* ---- bounds ---- */

static bool has_bound(const Type *type) {
    for (; type_is_arrow(type); type = type->cod)
        if (has_bound(type->dom)) return true;
    return type->bound != 0;
}

/* Does a vector of sized type `type` respect the bounds written in `annotation`? The first that is broken. */
static bool admits(const Type *type, const Type *annotation, bool contra, uint64_t *bound, uint64_t *need) {
    for (; type_is_arrow(type); type = type->cod, annotation = annotation->cod)
        if (!admits(type->dom, annotation->dom, !contra, bound, need)) return false;
    if (!annotation->bound || (contra ? type->bound >= annotation->bound : type->bound <= annotation->bound)) return true;
    *bound = contra ? type->bound : annotation->bound;
    *need = contra ? annotation->bound : type->bound;
    return false;
}

static uint64_t bound_or(void *ctx, uint64_t a, uint64_t b, bool contra) {
    (void)ctx, (void)contra;
    return a ? a : b;
}

/* A branch of a function that is a choice, and the bounds it is held to on the way there (NULL: none). */
typedef struct {
    const Val *val;
    const Type *written;
} Leaf;

typedef struct {
    Lower *lower;
    const Type *type; /* in: an annotation; out: what was found */
    uint32_t node;
} LeafVisit;

/* Choices and bounds nest as deep as the term, so their chain is a worklist; there may be many more ways through it than values, so they
 * count as steps. */
static void for_leaves(LeafVisit *visit, const Val *function, void (*fn)(LeafVisit *visit, const Leaf *leaf)) {
    Lower *lower = visit->lower;
    Arena *arena = &lower->cx->arena;
    uint32_t n = 0, room = 16;
    Leaf *todo = ARENA_ARRAY(arena, Leaf, room);
    todo[n++] = (Leaf){function, NULL};
    while (n) {
        Leaf at = todo[--n];
        if (++lower->steps > LIMIT_LOWER_STEPS) fail_steps(lower, program_root(lower->p));
        if (n + 2 > room) {
            todo = arena_grow(arena, todo, n, room * 2, sizeof *todo);
            room *= 2;
        }
        if (at.val->kind == VAL_CHOICE) {
            todo[n++] = (Leaf){at.val->choice.otherwise, at.written};
            todo[n++] = (Leaf){at.val->choice.then, at.written};
        } else if (at.val->kind == VAL_BOUNDED) {
            const Type *own = at.val->type;
            todo[n++] = (Leaf){at.val->bounded.inner, at.written ? type_zip(lower->cx, at.written, own, bound_or, NULL) : own};
        } else {
            fn(visit, &at);
        }
    }
}

/* What has sizes already is held to the annotation at once. */
static void admit_leaf(LeafVisit *visit, const Leaf *leaf) {
    Lower *lower = visit->lower;
    uint64_t bound, need;
    if (leaf->val->kind == VAL_CLOSURE) return;
    const Type *sized = type_with_size(lower->cx, leaf->val->type, lower->p->nat.dim, false);
    if (!admits(sized, visit->type, false, &bound, &need)) fail_bound(lower, visit->node, bound, need, "The parameter");
}

const Val *val_admit(Lower *lower, const Val *val, const Type *annotation, uint32_t node) {
    if (annotation->erased == annotation || !has_bound(annotation)) return val;
    for_leaves(&(LeafVisit){lower, annotation, node}, val, admit_leaf);
    if (val->kind == VAL_VEC) return val;
    Val *held = ARENA_NEW(&lower->cx->arena, Val);
    *held = (Val){.kind = VAL_BOUNDED, .type = annotation};
    held->bounded.inner = val;
    return held;
}

/* A choice's parameter is the smaller of its branches'. */
static void meet_leaf(LeafVisit *visit, const Leaf *leaf) {
    Lower *lower = visit->lower;
    const Val *val = leaf->val;
    const Type *dom = val->type->dom;
    if (val->kind == VAL_CLOSURE) dom = lower->p->binders[lower->p->nodes[val->closure.fun].binder].type;
    dom = type_with_size(lower->cx, dom, lower->p->nat.dim, false);
    if (leaf->written) dom = type_zip(lower->cx, leaf->written->dom, dom, bound_or, NULL);
    visit->type = visit->type ? type_meet(lower->cx, visit->type, dom) : dom;
}

const Type *param_type(Lower *lower, const Val *function) {
    LeafVisit visit = {lower, NULL, TERM_NONE};
    for_leaves(&visit, function, meet_leaf);
    return visit.type;
}

/* ---- tabulating ---- */

void push_tabulate(Lower *lower, const Val *val, uint32_t node) {
    if (val->kind == VAL_VEC) {
        lower->result = val;
        return;
    }
    if (!val->type->vector)
        cx_fail(lower->cx, ERR_not_tabulable, AT(AT_NODE, node), "Apply it to its smooth arguments first.",
                "A function of type %s is smooth: it is no matrix and has no tensor.", type_text(lower->cx, val->type));
    push_tabulate_over(lower, val, param_type(lower, val), node);
}

static void step_tabulate(Lower *lower, LowerFrame *f) {
    switch (f->phase++) {
    case 0: {
        const Val *function = f->a, *param = vec_param(lower, f->type, &f->axis, f->node);
        if (function->kind == VAL_CLOSURE) push_body(lower, function, param, f->node);
        else push_apply(lower, function, param, f->node);
        return;
    }
    case 1: push_tabulate(lower, lower->result, f->node); return;
    default: pop_frame(lower, vec_close(lower, lower->result, f->axis, f->type, f->node));
    }
}

void step_eval(Lower *lower, LowerFrame *f) {
    static void (*const steps[FRAME_KINDS])(Lower *, LowerFrame *) = {
        [FRAME_SUCC] = step_succ, [FRAME_IF] = step_if, [FRAME_APP] = step_app, [FRAME_LET] = step_let, [FRAME_CHOICE] = step_choice,
        [FRAME_BOUNDED] = step_bounded, [FRAME_TABLE] = step_table, [FRAME_NETWORK] = step_network, [FRAME_TABULATE] = step_tabulate,
        [FRAME_REMEMBER] = step_remember};
    steps[f->kind](lower, f);
}
