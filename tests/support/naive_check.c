#include "tests/support/naive_check.h"
#include "compiler/language/check.h"

typedef struct {
    Grade grade;
    uint32_t use;
    Diag cause;
} Use;

typedef struct {
    Cx *cx;
    const Program *p;
    const Type **vars; /* by binder */
    Diag diag;         /* the first error */
} Naive;

static void report(Naive *k, ErrCode code, At at, At other) {
    if (!k->diag.code) k->diag = (Diag){.code = code, .at = at, .other = other};
}

static Use *table(Naive *k) { return ARENA_ARRAY(&k->cx->arena, Use, k->p->nbinders); }

static Use *plus(Naive *k, const Use *a, const Use *b) {
    Use *out = table(k);
    for (uint32_t i = 0; i < k->p->nbinders; i++) {
        out[i] = a[i].grade ? a[i] : b[i];
        if (!a[i].grade || !b[i].grade) continue;
        out[i].grade = GRADE_OMEGA;
        if (a[i].grade == GRADE_OMEGA && a[i].cause.code == ERR_linear_reused) continue;
        out[i].cause = (Diag){.code = ERR_linear_reused, .at = AT(AT_NODE, b[i].use), .other = AT(AT_NODE, a[i].use)};
    }
    return out;
}

static Use *join(Naive *k, const Use *a, const Use *b) {
    Use *out = table(k);
    for (uint32_t i = 0; i < k->p->nbinders; i++) {
        out[i] = a[i].grade ? a[i] : b[i];
        if (a[i].grade == b[i].grade) continue;
        out[i].grade = GRADE_OMEGA;
        if (a[i].grade == GRADE_OMEGA) out[i].cause = a[i].cause;
        else if (b[i].grade == GRADE_OMEGA) out[i].cause = b[i].cause;
        else out[i].cause = (Diag){.code = ERR_linear_branches, .at = AT(AT_NODE, out[i].use)};
    }
    return out;
}

/* ω times the usages, with this cause; at nothing: each its own use. */
static Use *scale(Naive *k, const Use *a, Diag cause) {
    Use *out = table(k);
    for (uint32_t i = 0; i < k->p->nbinders; i++) {
        out[i] = a[i];
        if (a[i].grade != GRADE_ONE) continue;
        out[i].grade = GRADE_OMEGA;
        out[i].cause = cause;
        if (cause.at.kind == AT_NOTHING) out[i].cause.at = AT(AT_NODE, a[i].use);
    }
    return out;
}

static void leave(Naive *k, Use *uses, uint32_t binder) {
    const Binder *b = &k->p->binders[binder];
    bool declared = b->kind == BINDER_CONTEXT || b->kind == BINDER_FUN;
    Use use = uses[binder];
    uses[binder] = (Use){0};
    if (declared && b->smooth) return;
    if (declared && !b->type->vector) report(k, ERR_not_a_vector, AT(AT_BINDER, binder), AT_NOWHERE);
    else if (use.grade == GRADE_ZERO) report(k, ERR_linear_unused, AT(AT_BINDER, binder), AT_NOWHERE);
    else if (use.grade == GRADE_OMEGA && declared) report(k, use.cause.code, use.cause.at, use.cause.other);
}

static const Type *judge(Naive *k, uint32_t node, Use **uses);

/* Judges a subterm and what type it must have; whether all went well so far. */
static bool want(Naive *k, uint32_t node, const Type *is, const Type *wanted) {
    if (!k->diag.code && !type_equal(is, wanted)) report(k, ERR_type_mismatch, AT(AT_NODE, node), AT_NOWHERE);
    return !k->diag.code;
}

static const Type *judge_app(Naive *k, const TermNode *t, Use **uses) {
    Use *uf, *ua;
    const Type *f = judge(k, t->kid[0], &uf), *a = k->diag.code ? NULL : judge(k, t->kid[1], &ua);
    if (k->diag.code) return NULL;
    if (!type_is_arrow(f)) report(k, ERR_not_a_function, AT(AT_NODE, t->kid[0]), AT_NOWHERE);
    if (k->diag.code || !want(k, t->kid[1], a, f->dom)) return NULL;
    if (f->kind == TYPE_SMOOTH) ua = scale(k, ua, (Diag){.code = ERR_linear_smooth});
    *uses = plus(k, uf, ua);
    return f->cod;
}

static const Type *judge_if(Naive *k, const TermNode *t, Use **uses) {
    Use *u[3];
    const Type *types[3];
    for (int i = 0; i < 3; i++) {
        types[i] = judge(k, t->kid[i], &u[i]);
        if (k->diag.code) return NULL;
    }
    if (!want(k, t->kid[0], types[0], type_bool(k->cx)) || !want(k, t->kid[2], types[2], types[1])) return NULL;
    *uses = plus(k, u[0], join(k, u[1], u[2]));
    return types[1];
}

static const Type *judge_let(Naive *k, const TermNode *t, Use **uses) {
    Use *be, *in;
    k->vars[t->binder] = judge(k, t->kid[0], &be);
    const Type *type = k->diag.code ? NULL : judge(k, t->kid[1], &in);
    if (k->diag.code) return NULL;
    Use x = in[t->binder];
    leave(k, in, t->binder);
    *uses = plus(k, x.grade == GRADE_OMEGA ? scale(k, be, x.cause) : be, in);
    return type;
}

static const Type *judge_iter(Naive *k, const TermNode *t, Use **uses) {
    Use *base, *step, *count;
    const Type *state = k->vars[t->binder] = judge(k, t->kid[0], &base);
    const Type *next = k->diag.code ? NULL : judge(k, t->kid[1], &step);
    if (k->diag.code) return NULL;
    Use y = step[t->binder];
    leave(k, step, t->binder);
    const Type *n = k->diag.code ? NULL : judge(k, t->kid[2], &count);
    if (k->diag.code) return NULL;
    if (!state->vector) report(k, ERR_not_a_vector, AT(AT_NODE, t->kid[0]), AT_NOWHERE);
    if (!want(k, t->kid[1], next, state) || !want(k, t->kid[2], n, type_nat(k->cx, 0))) return NULL;
    if (y.grade == GRADE_OMEGA) base = scale(k, base, y.cause);
    *uses = plus(k, plus(k, base, scale(k, step, (Diag){.code = ERR_linear_in_step})), count);
    return state;
}

/* NULL after an error. */
static const Type *judge(Naive *k, uint32_t node, Use **uses) {
    const TermNode *t = &k->p->nodes[node];
    const Type *type;
    switch (t->kind) {
    case TERM_VAR:
        *uses = table(k);
        (*uses)[t->binder] = (Use){.grade = GRADE_ONE, .use = node};
        return k->vars[t->binder];
    case TERM_TRUE:
    case TERM_FALSE: *uses = table(k); return type_bool(k->cx);
    case TERM_NAT: *uses = table(k); return type_nat(k->cx, 0);
    case TERM_SUCC:
        type = judge(k, t->kid[0], uses);
        return !k->diag.code && want(k, t->kid[0], type, type_nat(k->cx, 0)) ? type : NULL;
    case TERM_FUN:
        k->vars[t->binder] = k->p->binders[t->binder].type;
        type = judge(k, t->kid[0], uses);
        if (k->diag.code) return NULL;
        leave(k, *uses, t->binder);
        return k->diag.code ? NULL : type_arrow(k->cx, k->p->binders[t->binder].smooth, k->vars[t->binder], type, AT_NOWHERE);
    case TERM_IF: return judge_if(k, t, uses);
    case TERM_APP: return judge_app(k, t, uses);
    case TERM_LET: return judge_let(k, t, uses);
    default: return judge_iter(k, t, uses);
    }
}

Diag naive_check(Cx *cx, const Program *p) {
    Naive k = {.cx = cx, .p = p, .vars = ARENA_ARRAY(&cx->arena, const Type *, p->nbinders)};
    Use *uses;
    for (uint32_t b = 0; b < p->context; b++) k.vars[b] = p->binders[b].type;
    judge(&k, program_root(p), &uses);
    for (uint32_t b = 0; b < p->context && !k.diag.code; b++) leave(&k, uses, b);
    return k.diag;
}
