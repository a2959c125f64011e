#include "compiler/language/check.h"
#include "compiler/language/usage.h"
#include <string.h>

typedef struct {
    Cx *cx;
    const Program *p;
    Checked *out;
    UsagePool *pool;
    UsageSet *stack; /* usages of complete nodes whose parent is to come */
    uint32_t depth, room;
    Usage *states;   /* of iterations whose step is complete and whose count is to come: the state variable's */
    uint32_t nstates, states_room;
    uint32_t *early; /* by node: the parent whose rule says of this child what need not wait for the others (judge_early); TERM_NONE */
} Checker;

static const char *name_of(const Checker *c, uint32_t binder) { return sym_name(c->cx, c->p->binders[binder].name); }

/* A type for a message: cut when it is long. */
static const char *brief(Cx *cx, const Type *type) {
    enum { MOST = 200 };
    char text[MOST + 1];
    Buf out;
    buf_init(&out);
    out.cap = MOST;
    type_print(&out, type);
    size_t len = out.len;
    bool cut = out.failed;
    if (len) memcpy(text, out.data, len);
    text[len] = 0;
    buf_release(&out);
    return cx_printf(cx, cut ? "%s…" : "%s", text);
}

/* One edit apart: a letter more, less, other, or two swapped. */
static bool close_names(const char *a, const char *b) {
    size_t na = strlen(a), nb = strlen(b), i = 0;
    while (i < na && i < nb && a[i] == b[i]) i++;
    while (na > i && nb > i && a[na - 1] == b[nb - 1]) na--, nb--;
    if (na - i <= 1 && nb - i <= 1) return true;
    return na - i == 2 && nb - i == 2 && a[i] == b[i + 1] && a[i + 1] == b[i];
}

/* The first node of each subtree: it spans [begin, node]. */
static const uint32_t *subtree_begins(Cx *cx, const Program *p) {
    uint32_t *begin = ARENA_ARRAY(&cx->arena, uint32_t, p->nnodes);
    for (uint32_t n = 0; n < p->nnodes; n++) begin[n] = p->nodes[n].kid[0] == TERM_NONE ? n : begin[p->nodes[n].kid[0]];
    return begin;
}

static _Noreturn void fail_unbound(Checker *c, uint32_t node) {
    const Program *p = c->p;
    const char *name = sym_name(c->cx, p->nodes[node].name), *near = NULL;
    const uint32_t *begin = subtree_begins(c->cx, p);
    for (uint32_t b = p->nbinders; b-- > 0 && !near;) {
        const Binder *binder = &p->binders[b];
        if (binder->kind != BINDER_CONTEXT) {
            if (binder->owner == TERM_NONE) continue;
            uint32_t scope = p->nodes[binder->owner].kid[binder->kind == BINDER_FUN ? 0 : 1];
            if (node < begin[scope] || node > scope) continue;
        }
        if (close_names(name, name_of(c, b))) near = name_of(c, b);
    }
    const char *hint = near ? cx_printf(c->cx, "Did you mean `%s`?", near)
                            : "Bind it with a λ or a let around this place, or declare it in the context.";
    cx_fail(c->cx, ERR_unbound_variable, AT(AT_NODE, node), hint, "The variable `%s` is not bound here.", name);
}

static _Noreturn void fail_unused(Checker *c, uint32_t binder) {
    static const char *const what[] = {"context variable", "parameter", "let-bound variable", "iteration's state"};
    const Binder *b = &c->p->binders[binder];
    const char *name = name_of(c, binder), *hint;
    switch (b->kind) {
    case BINDER_LET: hint = "Use it, or remove the let."; break;
    case BINDER_ITER: hint = "Let the step use its state."; break;
    default: hint = cx_printf(c->cx, "Use it exactly once, or declare it as `%s : !%s%s%s` to use it any number of times.", name,
                              type_is_arrow(b->type) ? "(" : "", brief(c->cx, b->type), type_is_arrow(b->type) ? ")" : "");
    }
    cx_fail(c->cx, ERR_linear_unused, AT(AT_BINDER, binder), hint, "The %s `%s` is not used.", what[b->kind], name);
}

/* A linear variable's grade is ω: the error is its cause's. */
static _Noreturn void fail_grade(Checker *c, uint32_t binder, const Usage *u) {
    Cx *cx = c->cx;
    const Type *type = c->out->binders[binder];
    const char *name = name_of(c, binder);
    uint32_t via = c->p->nodes[u->cause.node].binder;
    const char *through = via == binder ? "" : cx_printf(cx, ", through `%s`", name_of(c, via));
    const char *declare = cx_printf(cx, "eclare it as `%s : !%s%s%s`", name, type_is_arrow(type) ? "(" : "", brief(cx, type),
                                    type_is_arrow(type) ? ")" : "");
    At at = AT(AT_NODE, u->cause.node);
    switch (u->cause.code) {
    case ERR_linear_branches:
        cx_fail(cx, ERR_linear_branches, at, cx_printf(cx, "Use it in both branches, or d%s.", declare),
                "The linear variable `%s` is used in one branch of an if and not in the other%s.", name, through);
    case ERR_linear_in_step:
        cx_fail(cx, ERR_linear_in_step, at,
                cx_printf(cx, "Use it in the base or the count, or d%s to use it in every step.", declare),
                "The linear variable `%s` is used inside an iteration's step, which runs any number of times%s.", name, through);
    case ERR_linear_smooth:
        cx_fail(cx, ERR_linear_smooth, at, cx_printf(cx, "D%s: smooth functions take what is smooth.", declare),
                "The linear variable `%s` flows into a smooth function%s.", name, through);
    default:
        cx_fail2(cx, ERR_linear_reused, at, AT(AT_NODE, u->cause.other),
                 cx_printf(cx, "D%s to use it any number of times.", declare),
                 "The linear variable `%s` is used more than once%s.", name, through);
    }
}

/* A context variable or λ parameter, on leaving its scope. */
static void judge_declared(Checker *c, UsageSet *set, uint32_t binder) {
    const Binder *b = &c->p->binders[binder];
    if (b->smooth) return;
    if (!b->type->vector)
        cx_fail(c->cx, ERR_not_a_vector, AT(AT_BINDER, binder),
                cx_printf(c->cx, "Declare it as `%s : !(%s)`.", name_of(c, binder), brief(c->cx, b->type)),
                "The type of the linear variable `%s` contains a smooth arrow, so it is no vector type.", name_of(c, binder));
    Usage u = usage_take(c->pool, set, binder);
    if (u.grade == GRADE_ZERO) fail_unused(c, binder);
    if (u.grade == GRADE_OMEGA) fail_grade(c, binder, &u);
}

/* The variable of a let or of an iteration's step, on leaving its scope. */
static Usage judge_bound(Checker *c, UsageSet *set, uint32_t binder) {
    Usage u = usage_take(c->pool, set, binder);
    if (u.grade == GRADE_ZERO) fail_unused(c, binder);
    c->out->grades[binder] = u.grade;
    return u;
}

static void push(Checker *c, UsageSet set) {
    if (c->depth == c->room) {
        uint32_t room = c->room ? c->room * 2 : 64;
        c->stack = arena_grow(&c->cx->arena, c->stack, c->depth, room, sizeof *c->stack);
        c->room = room;
    }
    c->stack[c->depth++] = set;
}

static UsageSet pop(Checker *c) { return c->stack[--c->depth]; }

static void push_state(Checker *c, Usage state) {
    if (c->nstates == c->states_room) {
        uint32_t room = c->states_room ? c->states_room * 2 : 16;
        c->states = arena_grow(&c->cx->arena, c->states, c->nstates, room, sizeof *c->states);
        c->states_room = room;
    }
    c->states[c->nstates++] = state;
}

static const Type *type_at(const Checker *c, uint32_t node) { return c->out->types[node]; }

/* The node must have the type; `what` begins the message. */
static void expect(Checker *c, uint32_t node, const Type *want, const char *what, const char *hint) {
    const Type *is = type_at(c, node);
    if (!type_equal(is, want))
        cx_fail(c->cx, ERR_type_mismatch, AT(AT_NODE, node), hint, "%s has type %s where %s is expected.", what, brief(c->cx, is),
                brief(c->cx, want));
}

static const Type *check_var(Checker *c, uint32_t node) {
    const TermNode *t = &c->p->nodes[node];
    if (t->binder == TERM_NONE) fail_unbound(c, node);
    const Binder *b = &c->p->binders[t->binder];
    if (!c->out->binders[t->binder]) c->out->binders[t->binder] = b->type ? b->type : type_at(c, b->source);
    push(c, b->smooth ? (UsageSet){0} : usage_one(c->pool, t->binder, node));
    return c->out->binders[t->binder];
}

static const Type *check_if(Checker *c, const TermNode *t) {
    expect(c, t->kid[2], type_at(c, t->kid[1]), "The else branch", "Both branches have one type.");
    UsageSet otherwise = pop(c), then = pop(c), condition = pop(c);
    push(c, usage_add(c->pool, condition, usage_join(c->pool, then, otherwise)));
    return type_at(c, t->kid[1]);
}

static const Type *check_fun(Checker *c, const TermNode *t) {
    const Binder *b = &c->p->binders[t->binder];
    judge_declared(c, &c->stack[c->depth - 1], t->binder);
    return type_arrow(c->cx, b->smooth, b->type, type_at(c, t->kid[0]), AT(AT_BINDER, t->binder));
}

static const Type *check_app(Checker *c, const TermNode *t) {
    const Type *f = type_at(c, t->kid[0]);
    expect(c, t->kid[1], f->dom, "The argument", NULL);
    UsageSet argument = pop(c), function = pop(c);
    if (f->kind == TYPE_SMOOTH) usage_scale(c->pool, &argument, (Cause){ERR_linear_smooth, TERM_NONE, TERM_NONE});
    push(c, usage_add(c->pool, function, argument));
    return f->cod;
}

static const Type *check_let(Checker *c, const TermNode *t) {
    UsageSet in = pop(c), be = pop(c);
    Usage x = judge_bound(c, &in, t->binder);
    if (x.grade == GRADE_OMEGA) usage_scale(c->pool, &be, x.cause);
    push(c, usage_add(c->pool, be, in));
    c->out->binders[t->binder] = type_at(c, t->kid[0]);
    return type_at(c, t->kid[1]);
}

static const Type *check_iter(Checker *c, const TermNode *t) {
    const Type *state = type_at(c, t->kid[0]);
    expect(c, t->kid[2], type_nat(c->cx, 0), "The count", "A count is a natural.");
    UsageSet count = pop(c), step = pop(c), base = pop(c);
    Usage y = c->states[--c->nstates];
    if (y.grade == GRADE_OMEGA) usage_scale(c->pool, &base, y.cause);
    usage_scale(c->pool, &step, (Cause){ERR_linear_in_step, TERM_NONE, TERM_NONE});
    push(c, usage_add(c->pool, usage_add(c->pool, base, step), count));
    c->out->binders[t->binder] = state;
    return state;
}

static void judge_function(Checker *c, uint32_t node) {
    const Type *f = type_at(c, node);
    if (!type_is_arrow(f))
        cx_fail(c->cx, ERR_not_a_function, AT(AT_NODE, node), "Only a function can be applied: remove the argument, or parenthesise.",
                "This is applied to an argument, and has type %s.", brief(c->cx, f));
}

static void judge_base(Checker *c, uint32_t node) {
    const Type *state = type_at(c, node);
    if (!state->vector)
        cx_fail(c->cx, ERR_not_a_vector, AT(AT_NODE, node), "Iterate over values or linear functions.",
                "The state of an iteration has type %s, which contains a smooth arrow and is no vector type.", brief(c->cx, state));
}

/* The step is the scope of the state variable, and ends before the count begins. */
static void judge_step(Checker *c, const TermNode *t) {
    push_state(c, judge_bound(c, &c->stack[c->depth - 1], t->binder));
    expect(c, t->kid[1], type_at(c, t->kid[0]), "The step", "A step gives the type of the base.");
}

/* What is wrong with a node as its parent's child is said on leaving it, before anything behind it is looked at: errors come in the order of the nodes
 * that they are about. The last children's are their parents' to say, at once. */
static void judge_early(Checker *c, uint32_t node) {
    if (c->early[node] == TERM_NONE) return;
    const TermNode *parent = &c->p->nodes[c->early[node]];
    if (parent->kind == TERM_IF) expect(c, node, type_bool(c->cx), "The condition", "A condition is a boolean.");
    else if (parent->kind == TERM_APP) judge_function(c, node);
    else if (node == parent->kid[0]) judge_base(c, node);
    else judge_step(c, parent);
}

static const Type *check_node(Checker *c, uint32_t node) {
    const TermNode *t = &c->p->nodes[node];
    switch (t->kind) {
    case TERM_VAR: return check_var(c, node);
    case TERM_TRUE:
    case TERM_FALSE: push(c, (UsageSet){0}); return type_bool(c->cx);
    case TERM_NAT: push(c, (UsageSet){0}); return type_nat(c->cx, 0);
    case TERM_SUCC:
        expect(c, t->kid[0], type_nat(c->cx, 0), "The argument of succ", "succ takes a natural.");
        return type_nat(c->cx, 0);
    case TERM_IF: return check_if(c, t);
    case TERM_FUN: return check_fun(c, t);
    case TERM_APP: return check_app(c, t);
    case TERM_LET: return check_let(c, t);
    default: return check_iter(c, t);
    }
}

static void prepare(Checker *c) {
    const Program *p = c->p;
    Arena *arena = &c->cx->arena;
    c->out->types = ARENA_ARRAY(arena, const Type *, p->nnodes);
    c->out->binders = ARENA_ARRAY(arena, const Type *, p->nbinders);
    c->out->grades = ARENA_ARRAY(arena, Grade, p->nbinders);
    c->early = ARENA_ARRAY(arena, uint32_t, p->nnodes);
    for (uint32_t n = 0; n < p->nnodes; n++) c->early[n] = TERM_NONE;
    for (uint32_t n = 0; n < p->nnodes; n++) {
        const TermNode *t = &p->nodes[n];
        if (t->kind == TERM_IF || t->kind == TERM_APP || t->kind == TERM_ITER) c->early[t->kid[0]] = n;
        if (t->kind == TERM_ITER) c->early[t->kid[1]] = n;
    }
    for (uint32_t b = 0; b < p->nbinders; b++) {
        c->out->binders[b] = p->binders[b].type;
        c->out->grades[b] = p->binders[b].smooth ? GRADE_OMEGA : GRADE_ONE;
    }
}

Checked *check_program(Cx *cx, const Program *p) {
    Checker c = {.cx = cx, .p = p, .out = ARENA_NEW(&cx->arena, Checked), .pool = usage_pool(cx)};
    prepare(&c);
    for (uint32_t n = 0; n < p->nnodes; n++) {
        c.out->types[n] = check_node(&c, n);
        judge_early(&c, n);
    }
    for (uint32_t b = 0; b < p->context; b++) judge_declared(&c, &c.stack[0], b);
    return c.out;
}
