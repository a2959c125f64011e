/* Iterations: the sizes their states reach (language.md §6), then the step as one sub-graph.
 *
 * Sizes are the sequence S₀ = base, Sᵢ₊₁ = F(Sᵢ), F found by dry runs of the step. F is built from maxima, sums and products by sizes, hence
 * monotone and convex in every natural. So when two differences in a row are equal, Δ, and F(S + mΔ) = S + (m+1)Δ at some m, then F
 * is affine all the way from S to there: the search for the largest such m (galloping from the far end, then halving) replaces up to 65,535 dry
 * runs by sixteen, exactly. A probe that breaks a bound is a trial: it counts as "not affine to there". */
#include "compiler/lower/lower.h"

enum { DELTAS = 64, WORTH_A_TRIAL = 6 };

typedef enum {
    ITER_BASE, ITER_TABULATE_BASE, ITER_COUNT, ITER_PLAN, ITER_DRY_TABULATE, ITER_DRY_NEXT, ITER_TRIAL_TABULATE, ITER_TRIAL_END,
    ITER_STEP_TABULATE, ITER_STEP_END
} IterPhase;

typedef struct {
    uint64_t by[DELTAS];
    uint32_t count;
    bool growth; /* only codomains grow, nothing shrinks */
} Delta;

struct IterState {
    const Val *base, *count;
    const Type *now;     /* S at `index` */
    const Type *stepped; /* join of the states a step is applied to: S₀ … Sₖ₋₂ */
    const Type *all;     /* join of S₀ … Sₖ₋₁: the size of the iteration */
    uint64_t k, index;
    Delta delta; /* from the state before `now`; count 0: none */
    /* a trial: from `now` on, is growth by delta affine for `probe` more steps? It is for less than `low`, and not for more than `high`. */
    uint64_t low, high, probe;
    uint32_t outer_trial, outer_dry;
};

static uint64_t put_delta(void *ctx, uint64_t a, uint64_t b, bool contra) {
    Delta *d = ctx;
    d->growth = d->growth && d->count < DELTAS && (contra ? a == b : a <= b);
    if (d->growth) d->by[d->count++] = b - a;
    return a;
}

static Delta delta_between(Cx *cx, const Type *a, const Type *b) {
    Delta d = {.growth = true};
    type_zip(cx, a, b, put_delta, &d);
    if (!d.growth) d.count = 0;
    return d;
}

static bool delta_equal(const Delta *a, const Delta *b) {
    if (!a->count || a->count != b->count) return false;
    for (uint32_t i = 0; i < a->count; i++)
        if (a->by[i] != b->by[i]) return false;
    return true;
}

typedef struct {
    const Delta *delta;
    uint64_t times, limit, room; /* room: how many times until some natural passes the limit */
    uint32_t at;
} Stride;

static uint64_t stride_bound(void *ctx, uint64_t a, uint64_t b, bool contra) {
    (void)b, (void)contra;
    Stride *s = ctx;
    uint64_t by = s->delta->by[s->at++];
    uint64_t room = by && a <= s->limit ? (s->limit - a) / by : UINT64_MAX;
    if (room < s->room) s->room = room;
    return a + by * s->times;
}

static const Type *advance(Lower *lower, const Type *type, const Delta *delta, uint64_t times) {
    Stride s = {.delta = delta, .times = times, .limit = lower->cx->nat_limit, .room = UINT64_MAX};
    return type_zip(lower->cx, type, type, stride_bound, &s);
}

static uint64_t room_for(Lower *lower, const Type *type, const Delta *delta) {
    Stride s = {.delta = delta, .times = 0, .limit = lower->cx->nat_limit, .room = UINT64_MAX};
    type_zip(lower->cx, type, type, stride_bound, &s);
    return s.room;
}

static void push_step(Lower *lower, LowerFrame *f, const Val *state, IterPhase next) {
    f->phase = next;
    push_eval(lower, lower->p->nodes[f->node].kid[1], lower_bind(lower, f->env, state));
}

static void push_dry(Lower *lower, LowerFrame *f, const Type *type, IterPhase next) {
    Val *state = ARENA_NEW(&lower->cx->arena, Val);
    *state = (Val){.kind = VAL_VEC, .type = type};
    push_step(lower, f, state, next);
}

static uint64_t widest(void *ctx, uint64_t a, uint64_t b, bool contra) {
    (void)ctx, (void)contra;
    return a > b ? a : b;
}

/* Sizes are known: lower the step once, on a state wide enough for all that is stepped and all that is read. */
static void begin_step(Lower *lower, LowerFrame *f) {
    IterState *it = f->iter;
    if (lower->dry) {
        pop_frame(lower, vec_resize(lower, it->base, it->all));
        return;
    }
    const Type *wide = it->stepped == it->all ? it->all : type_zip(lower->cx, it->stepped, it->all, widest, NULL);
    it->base = vec_resize(lower, it->base, wide);
    if (++lower->level >= lower->levels_room)
        cx_fail(lower->cx, ERR_too_large, AT(AT_NODE, f->node), NULL, "Iterations are nested more than %u deep.", lower->levels_room - 1);
    lower->levels[lower->level] = (Level){.graph = level_graph(lower)};
    push_step(lower, f, vec_resize(lower, vec_state(lower, it->base), it->stepped), ITER_STEP_TABULATE);
}

static void end_step(Lower *lower, LowerFrame *f) {
    IterState *it = f->iter;
    vec_step_output(lower, vec_resize(lower, lower->result, it->base->type), it->base);
    const Level *step = &lower->levels[lower->level--];
    pop_frame(lower, vec_resize(lower, vec_iter(lower, it->count, it->base, step), it->all));
}

static void end_dry(Lower *lower, LowerFrame *f) {
    lower->dry--;
    begin_step(lower, f);
}

/* `next` is S at index + 1. */
static void advance_state(Lower *lower, LowerFrame *f, const Type *next) {
    IterState *it = f->iter;
    bool fixed = next == it->now;
    Delta delta = delta_between(lower->cx, it->now, next);
    bool steady = delta_equal(&delta, &it->delta);
    it->all = type_join(lower->cx, it->all, next);
    it->now = next;
    it->delta = delta;
    if (fixed || ++it->index == it->k - 1) {
        end_dry(lower, f);
        return;
    }
    it->stepped = type_join(lower->cx, it->stepped, next);
    uint64_t left = it->k - 2 - it->index, room = room_for(lower, next, &delta);
    if (!steady || left < WORTH_A_TRIAL || room < WORTH_A_TRIAL) {
        push_dry(lower, f, next, ITER_DRY_TABULATE);
        return;
    }
    it->low = 0;
    it->high = it->probe = left < room ? left : room;
    it->outer_trial = lower->trial;
    it->outer_dry = lower->dry;
    lower->trial = lower->top;
    push_dry(lower, f, advance(lower, next, &it->delta, it->probe), ITER_TRIAL_TABULATE);
}

static void end_trial(Lower *lower, LowerFrame *f) {
    IterState *it = f->iter;
    Cx *cx = lower->cx;
    lower->dry = it->outer_dry;
    bool affine = lower->result && lower->result->type == advance(lower, it->now, &it->delta, it->probe + 1);
    if (affine) it->low = it->probe + 1;
    else it->high = it->probe ? it->probe - 1 : 0;
    if (it->low <= it->high && !(it->probe == 0 && !affine)) {
        it->probe = it->low + (it->high - it->low) / 2;
        push_dry(lower, f, advance(lower, it->now, &it->delta, it->probe), ITER_TRIAL_TABULATE);
        return;
    }
    lower->trial = it->outer_trial;
    if (it->low == 0) { /* not even one step: go on one by one */
        it->delta.count = 0;
        push_dry(lower, f, it->now, ITER_DRY_TABULATE);
        return;
    }
    /* F is affine at now + mΔ for every m < low: jump to the last of them and take its step. */
    const Type *last = advance(lower, it->now, &it->delta, it->low - 1), *next = advance(lower, it->now, &it->delta, it->low);
    it->stepped = type_join(cx, it->stepped, last);
    it->index += it->low - 1;
    it->now = last;
    it->delta.count = 0;
    advance_state(lower, f, next);
}

static void plan(Lower *lower, LowerFrame *f) {
    IterState *it = f->iter;
    it->count = lower->result;
    it->k = it->count->type->bound;
    it->now = it->stepped = it->all = it->base->type;
    if (it->k == 1) {
        pop_frame(lower, vec_first(lower, it->count, it->base));
    } else if (!it->now->has_nat || lower->p->nat.overflow != NAT_EXACT) {
        begin_step(lower, f);
    } else {
        lower->dry++;
        push_dry(lower, f, it->now, ITER_DRY_TABULATE);
    }
}

void step_iter(Lower *lower, LowerFrame *f) {
    const uint32_t *kid = lower->p->nodes[f->node].kid;
    switch ((IterPhase)f->phase) {
    case ITER_BASE:
        f->iter = ARENA_NEW(&lower->cx->arena, IterState);
        f->phase = ITER_TABULATE_BASE;
        push_eval(lower, kid[0], f->env);
        return;
    case ITER_TABULATE_BASE:
        f->phase = ITER_COUNT;
        push_tabulate(lower, lower->result, kid[0]);
        return;
    case ITER_COUNT:
        f->iter->base = lower->result;
        f->phase = ITER_PLAN;
        push_eval(lower, kid[2], f->env);
        return;
    case ITER_PLAN: plan(lower, f); return;
    case ITER_DRY_TABULATE:
        f->phase = ITER_DRY_NEXT;
        push_tabulate(lower, lower->result, kid[1]);
        return;
    case ITER_DRY_NEXT: advance_state(lower, f, lower->result->type); return;
    case ITER_TRIAL_TABULATE:
        f->phase = ITER_TRIAL_END;
        if (lower->result) push_tabulate(lower, lower->result, kid[1]);
        return;
    case ITER_TRIAL_END: end_trial(lower, f); return;
    case ITER_STEP_TABULATE:
        f->phase = ITER_STEP_END;
        push_tabulate(lower, lower->result, kid[1]);
        return;
    case ITER_STEP_END: end_step(lower, f); return;
    }
}
