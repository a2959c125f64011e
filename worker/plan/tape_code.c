/* Terms to code: what is reached from the ends, registers by lifetimes. */
#include "worker/kernels/kernels.h"
#include "worker/plan/tape.h"
#include <stdlib.h>
#include <string.h>

enum { REGISTER_BYTES = 32 << 10, LANES_LEAST = 64, LANES_MOST = 256 };

/* Terms an operation reads. */
static uint32_t operands(const TapeTerm *term, uint32_t of[3]) {
    of[0] = term->a, of[1] = term->b, of[2] = term->c;
    switch (term->op) {
    case TERM_ADD:
    case TERM_MUL:
        return 2;
    case TERM_FMA:
        return 3;
    default:
        return 0;
    }
}

static size_t end_size(const Planner *b, const TapeEnd *end) { return b->g->nodes[end->node].size; }

/* last[k]: the last term that reads term k, or KEPT, or 0 when nothing does. Term 0 is a constant, so 0 reads nothing. */
enum { KEPT = UINT32_MAX };
static void find_last(const Tape *t, const Planner *b, uint32_t *last) {
    for (uint32_t e = 0; e < t->nends; e++)
        for (size_t i = 0; i < end_size(b, &t->ends[e]); i++) last[t->pool[t->elements[t->ends[e].node] + i]] = KEPT;
    for (uint32_t k = t->nterms; k-- > 0;) {
        uint32_t of[3], n = last[k] ? operands(&t->terms[k], of) : 0;
        for (uint32_t i = 0; i < n; i++)
            if (!last[of[i]]) last[of[i]] = k;
    }
}

uint32_t tape_count(const Tape *t, const Planner *b) {
    uint32_t *last = calloc(t->nterms, sizeof *last), n = 0;
    if (!last) return UINT32_MAX;
    find_last(t, b, last);
    for (uint32_t k = 0; k < t->nterms; k++) n += last[k] && !t->terms[k].shared && t->terms[k].op != TERM_LOAD;
    free(last);
    return n;
}

typedef struct {
    const Tape *t;
    Planner *b;
    TapeDetail *d;
    uint32_t *last, *place; /* by term: its scalar or register */
    uint32_t *free_regs, nfree;
    uint32_t *reads, nreads; /* values */
} Coder;

static uint32_t take_reg(Coder *c) { return c->nfree ? c->free_regs[--c->nfree] : c->d->nregs++; }

static void put_scalar(Coder *c, uint32_t k) {
    const TapeTerm *m = &c->t->terms[k];
    TapeScalar *s = &c->d->scalars[c->place[k] = c->d->nscalars++];
    switch (m->op) {
    case TERM_CONST:
        *s = (TapeScalar){.op = SCALAR_CONST, .number = m->value};
        return;
    case TERM_SHARED:
        *s = (TapeScalar){.op = SCALAR_VALUE, .a = c->b->nodes[m->a].value, .b = m->b};
        if (!c->nreads || c->reads[c->nreads - 1] != s->a) c->reads[c->nreads++] = s->a;
        return;
    default:
        *s = (TapeScalar){.op = m->op == TERM_ADD ? SCALAR_ADD : m->op == TERM_MUL ? SCALAR_MUL : SCALAR_FMA,
                          .a = c->place[m->a],
                          .b = c->place[m->b],
                          .c = c->place[m->c]};
    }
}

/* By what is a scalar: a, b (a first, as they commute) and c. */
static TapeOp op_of(const TapeTerm *m, bool a, bool b, bool c) {
    if (m->op == TERM_ADD) return a ? TAPE_ADD_SR : TAPE_ADD_RR;
    if (m->op == TERM_MUL) return a ? TAPE_MUL_SR : TAPE_MUL_RR;
    if (a && b) return TAPE_FMA_SSR;
    if (a) return c ? TAPE_FMA_SRS : TAPE_FMA_SRR;
    return c ? TAPE_FMA_RRS : TAPE_FMA_RRR;
}

static void put_code(Coder *c, uint32_t k) {
    const TapeTerm *terms = c->t->terms, *m = &terms[k];
    uint32_t of[3], n = operands(m, of), a = m->a, b = m->b;
    if (terms[b].shared) a = m->b, b = m->a;
    TapeInstr *i = &c->d->code[c->d->ncode++];
    *i = (TapeInstr){.op = op_of(m, terms[a].shared, terms[b].shared, n == 3 && terms[m->c].shared), .a = c->place[a], .b = c->place[b]};
    if (n == 3) i->c = c->place[m->c];
    for (uint32_t j = 0; j < n; j++) {
        bool again = (j > 0 && of[j] == of[0]) || (j > 1 && of[j] == of[1]);
        if (!again && !terms[of[j]].shared && c->last[of[j]] == k) c->free_regs[c->nfree++] = c->place[of[j]];
    }
    i->d = c->place[k] = take_reg(c);
}

/* All loads stand first, a port a slot. */
static bool put_loads(Coder *c) {
    const Tape *t = c->t;
    c->d->loads = planner_alloc(c->b, c->b->g->nslots, sizeof *c->d->loads);
    for (uint32_t s = 0; planner_ok(c->b) && s < c->b->g->nslots; s++) {
        uint32_t n = 0;
        for (uint32_t k = 0; k < t->nterms; k++) n += c->last[k] && t->terms[k].op == TERM_LOAD && t->terms[k].a == s;
        if (!n) continue;
        TapePort *port = &c->d->loads[c->d->nloads++];
        *port = (TapePort){.at = s, .element = planner_alloc(c->b, 2 * (size_t)n, sizeof *port->element)};
        if (!planner_ok(c->b)) return false;
        port->reg = port->element + n;
        for (uint32_t k = 0; k < t->nterms; k++) {
            if (!c->last[k] || t->terms[k].op != TERM_LOAD || t->terms[k].a != s) continue;
            port->element[port->n] = t->terms[k].b;
            port->reg[port->n++] = c->place[k] = take_reg(c);
        }
    }
    return planner_ok(c->b);
}

/* An end's register; a scalar gets one for the occasion. */
static uint32_t end_reg(Coder *c, uint32_t term) {
    if (!c->t->terms[term].shared) return c->place[term];
    uint32_t reg = take_reg(c);
    c->d->code[c->d->ncode++] = (TapeInstr){.op = TAPE_SET, .d = reg, .a = c->place[term]};
    return reg;
}

static bool put_stores(Coder *c) {
    c->d->stores = planner_alloc(c->b, c->t->nends, sizeof *c->d->stores);
    for (uint32_t e = 0; planner_ok(c->b) && e < c->t->nends; e++) {
        const TapeEnd *end = &c->t->ends[e];
        size_t n = end_size(c->b, end);
        TapePort *port = &c->d->stores[c->d->nstores++];
        *port = (TapePort){.at = end->sum ? c->b->nodes[end->to].value : end->to,
                           .sum = end->sum,
                           .n = (uint32_t)n,
                           .element = planner_alloc(c->b, 2 * n, sizeof *port->element)};
        if (!planner_ok(c->b)) return false;
        port->reg = port->element + n;
        for (uint32_t i = 0; i < n; i++) {
            port->element[i] = i;
            port->reg[i] = end_reg(c, c->t->pool[c->t->elements[end->node] + i]);
        }
    }
    return planner_ok(c->b);
}

static size_t ends_size(const Coder *c) {
    size_t n = 0;
    for (uint32_t e = 0; e < c->t->nends; e++) n += end_size(c->b, &c->t->ends[e]);
    return n;
}

static bool put_all(Coder *c) {
    const Tape *t = c->t;
    find_last(t, c->b, c->last);
    for (uint32_t k = 0; k < t->nterms; k++)
        if (c->last[k] && t->terms[k].shared) put_scalar(c, k);
    if (!put_loads(c)) return false;
    for (uint32_t k = 0; k < t->nterms; k++)
        if (c->last[k] && !t->terms[k].shared && t->terms[k].op != TERM_LOAD) put_code(c, k);
    return put_stores(c);
}

static void emit(Coder *c) {
    TapeDetail *d = c->d;
    Planner *b = c->b;
    size_t row = (d->nregs ? d->nregs : 1) * plan_element(b->plan);
    for (d->lanes = LANES_MOST; d->lanes > LANES_LEAST && d->lanes * row > REGISTER_BYTES;) d->lanes /= 2;
    d->scalars_at = planner_value(b, d->nscalars, false, HOME_SLAB, PHASE_ONCE);
    d->regs_at = planner_value(b, (size_t)d->nregs * d->lanes, false, HOME_SLAB, PHASE_EACH);
    uint32_t *writes = planner_alloc(b, (size_t)d->nstores + 2, sizeof *writes), n = 0;
    if (!planner_ok(b)) return;
    planner_work(b, false, d->nscalars);
    double moved = (double)ends_size(c);
    for (uint32_t i = 0; i < d->nloads; i++) moved += d->loads[i].n;
    planner_work(b, true, d->ncode + moved);
    planner_step(b, (Step){.run = KERNEL_OF(b->plan, tape_scalars), .op = OP_input, .out = d->scalars_at, .tape = d},
                 &(StepUse){.reads = c->reads, .nreads = c->nreads});
    writes[n++] = d->regs_at;
    for (uint32_t i = 0; i < d->nstores; i++)
        if (d->stores[i].sum) writes[n++] = d->stores[i].at;
    planner_step(b, (Step){.run = KERNEL_OF(b->plan, tape), .op = OP_input, .out = VALUE_NONE, .in = {d->scalars_at}, .tape = d},
                 &(StepUse){.nin = 1, .writes = writes, .nwrites = n, .at_least = PHASE_EACH});
}

void tape_steps(const Tape *t, Planner *b) {
    Coder c = {.t = t, .b = b, .d = planner_alloc(b, 1, sizeof *c.d)};
    uint32_t *room = calloc(3 * (size_t)t->nterms, sizeof *room);
    size_t n = t->nterms + ends_size(&c);
    if (!room) err_set(b->err, ERR_too_large, "This takes more memory than a worker may have.");
    if (!planner_ok(b)) {
        free(room);
        return;
    }
    c.last = room, c.place = room + t->nterms, c.free_regs = room + 2 * (size_t)t->nterms;
    c.d->scalars = planner_alloc(b, t->nterms, sizeof *c.d->scalars);
    c.d->code = planner_alloc(b, n, sizeof *c.d->code);
    c.reads = planner_alloc(b, t->nterms, sizeof *c.reads);
    if (planner_ok(b) && put_all(&c)) emit(&c);
    free(room);
}
