#include "compiler/language/levels.h"

const uint32_t *levels_of(Cx *cx, const Program *p) {
    uint32_t *levels = ARENA_ARRAY(&cx->arena, uint32_t, p->nbinders);
    uint32_t *depth = ARENA_ARRAY(&cx->arena, uint32_t, p->nnodes); /* variables in scope, by node */
    const uint32_t *inputs = program_inputs(cx, p);
    for (uint32_t i = 0; i < p->context; i++) levels[inputs[i]] = i;
    if (p->nnodes) depth[p->nnodes - 1] = p->context;
    /* Backwards, a node comes before its children. */
    for (uint32_t n = p->nnodes; n-- > 0;) {
        const TermNode *t = &p->nodes[n];
        for (int k = 0; k < 3 && t->kid[k] != TERM_NONE; k++) depth[t->kid[k]] = depth[n];
        switch (t->kind) {
        case TERM_FUN:
            levels[t->binder] = depth[n];
            depth[t->kid[0]]++;
            break;
        case TERM_LET:
        case TERM_ITER: /* be and base are outside the scope; so is the count */
            levels[t->binder] = depth[n];
            depth[t->kid[1]]++;
            break;
        default: break;
        }
    }
    return levels;
}
