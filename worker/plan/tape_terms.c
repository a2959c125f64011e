#include "worker/plan/tape.h"
#include "schema/base/hash.h"
#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 2 * TAPE_TERMS };

bool tape_init(Tape *t, const Graph *g) {
    *t = (Tape){.terms = malloc(TAPE_TERMS * sizeof *t->terms),
                .buckets = calloc(BUCKETS, sizeof *t->buckets),
                .pool = malloc(TAPE_POOL * sizeof *t->pool),
                .elements = malloc((g->nnodes + (size_t)1) * sizeof *t->elements),
                .ends = malloc(((size_t)g->nnodes + g->noutputs + 1) * sizeof *t->ends)};
    if (!t->terms || !t->buckets || !t->pool || !t->elements || !t->ends) {
        tape_release(t);
        return false;
    }
    t->zero = tape_const(t, 0);
    t->one = tape_const(t, 1);
    return true;
}

void tape_release(Tape *t) {
    free(t->terms);
    free(t->buckets);
    free(t->pool);
    free(t->elements);
    free(t->ends);
    *t = (Tape){0};
}

uint32_t tape_take(Tape *t, size_t n) {
    if (n > TAPE_POOL - t->npool) t->failed = true;
    if (t->failed) return 0;
    uint32_t at = t->npool;
    for (size_t i = 0; i < n; i++) t->pool[at + i] = t->zero;
    t->npool += (uint32_t)n;
    return at;
}

static uint32_t hash(const TapeTerm *term) {
    uint64_t bits, h = HASH_START;
    memcpy(&bits, &term->value, sizeof bits);
    const uint64_t words[] = {term->op, term->a, term->b, term->c, bits};
    for (int i = 0; i < 5; i++) h = hash_word(h, words[i]);
    return (uint32_t)(h >> 32) % BUCKETS;
}

static uint32_t intern(Tape *t, TapeTerm term) {
    if (t->failed) return 0;
    uint32_t at = hash(&term);
    for (; t->buckets[at]; at = (at + 1) % BUCKETS) {
        const TapeTerm *old = &t->terms[t->buckets[at] - 1];
        if (old->op == term.op && old->a == term.a && old->b == term.b && old->c == term.c &&
            memcmp(&old->value, &term.value, sizeof term.value) == 0)
            return t->buckets[at] - 1;
    }
    if (t->nterms == TAPE_TERMS) return t->failed = true, 0;
    t->terms[t->nterms++] = term;
    t->buckets[at] = t->nterms;
    return t->nterms - 1;
}

uint32_t tape_const(Tape *t, double value) { return intern(t, (TapeTerm){.op = TERM_CONST, .shared = true, .value = value}); }

uint32_t tape_leaf(Tape *t, TermOp op, uint32_t a, uint32_t b) {
    return intern(t, (TapeTerm){.op = op, .shared = op == TERM_SHARED, .a = a, .b = b});
}

static bool is_const(const Tape *t, uint32_t a) { return t->terms[a].op == TERM_CONST; }

/* Sums and products commute to the bit. */
static void sort(uint32_t *a, uint32_t *b) {
    uint32_t t = *a;
    if (t <= *b) return;
    *a = *b;
    *b = t;
}

static uint32_t compute(Tape *t, TermOp op, uint32_t a, uint32_t b, uint32_t c) {
    bool shared = t->terms[a].shared && t->terms[b].shared && (op != TERM_FMA || t->terms[c].shared);
    sort(&a, &b);
    return intern(t, (TapeTerm){.op = op, .shared = shared, .a = a, .b = b, .c = c});
}

uint32_t tape_add(Tape *t, uint32_t a, uint32_t b) {
    if (t->failed) return 0;
    if (a == t->zero) return b;
    if (b == t->zero) return a;
    if (is_const(t, a) && is_const(t, b)) return tape_const(t, t->terms[a].value + t->terms[b].value);
    return compute(t, TERM_ADD, a, b, 0);
}

uint32_t tape_mul(Tape *t, uint32_t a, uint32_t b) {
    if (t->failed) return 0;
    if (a == t->zero || b == t->zero) return t->zero;
    if (a == t->one) return b;
    if (b == t->one) return a;
    if (is_const(t, a) && is_const(t, b)) return tape_const(t, t->terms[a].value * t->terms[b].value);
    return compute(t, TERM_MUL, a, b, 0);
}

uint32_t tape_fma(Tape *t, uint32_t a, uint32_t b, uint32_t c) {
    if (t->failed) return 0;
    bool trivial = c == t->zero || a == t->zero || b == t->zero || a == t->one || b == t->one || (is_const(t, a) && is_const(t, b));
    return trivial ? tape_add(t, tape_mul(t, a, b), c) : compute(t, TERM_FMA, a, b, c);
}
