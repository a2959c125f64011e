/* What the parts of lowering stand on: environments, failures, the stack of frames. */
#include "compiler/lower/lower.h"
#include "schema/limits.h"
#include <stdarg.h>
#include <stdio.h>

/* ---- environments ---- */

const Env *lower_bind(Lower *lower, const Env *below, const Val *val) {
    Env *env = ARENA_NEW(&lower->cx->arena, Env);
    *env = (Env){.below = below, .val = val, .jump = env};
    if (!below) return env;
    const Env *j = below->jump;
    env->depth = below->depth + 1;
    env->jump = below->depth - j->depth == j->depth - j->jump->depth ? j->jump : below;
    return env;
}

const Val *lower_lookup(const Env *env, uint32_t depth) {
    while (env->depth > depth) env = env->jump->depth >= depth ? env->jump : env->below;
    return env->val;
}

/* ---- failures ---- */

void lower_fail(Lower *lower, ErrCode code, uint32_t node, const char *hint, const char *format, ...) {
    if (lower->trial) longjmp(lower->retry, 1);
    va_list args;
    char message[400];
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    cx_fail(lower->cx, code, AT(AT_NODE, node), hint, "%s", message);
}

void fail_bound(Lower *lower, uint32_t node, uint64_t bound, uint64_t need, const char *what) {
    lower_fail(lower, ERR_nat_bound_exceeded, node, "Declare a larger bound, as in `N[20]`, or make `nat.dim` larger.",
               "%s takes naturals below %llu, and this one may be as large as %llu.", what, (unsigned long long)bound,
               (unsigned long long)(need - 1));
}

_Noreturn void fail_steps(Lower *lower, uint32_t node) {
    cx_fail(lower->cx, ERR_too_large, AT(AT_NODE, node), "Make functions that are used often linear, or iterations shorter.",
            "Compiling this program takes more than %llu steps: its functions unfold to too many neurons, or its sizes grow too slowly.",
            (unsigned long long)LIMIT_LOWER_STEPS);
}

/* ---- frames ---- */

LowerFrame *push_frame(Lower *lower, LowerFrameKind kind, uint32_t node) {
    if (lower->top == lower->room) {
        uint32_t room = lower->room ? lower->room * 2 : 64;
        lower->stack = arena_grow(&lower->cx->arena, lower->stack, lower->top, room, sizeof *lower->stack);
        lower->room = room;
    }
    LowerFrame *f = &lower->stack[lower->top++];
    *f = (LowerFrame){.kind = kind, .node = node};
    return f;
}

void pop_frame(Lower *lower, const Val *result) {
    lower->top--;
    lower->result = result;
}
