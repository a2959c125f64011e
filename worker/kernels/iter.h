/* Template of iter.c. No more steps are run than lead to what some row's count takes. */

typedef struct {
    const REAL *data;
    size_t stride; /* to the next row; 0 when shared */
} K(Rows);

static K(Rows) K(rows_of)(const Exec *x, uint32_t value, size_t size) {
    return (K(Rows)){x->at[value], x->plan->values[value].batched ? size : 0};
}

static void K(copy_out)(REAL *y, K(Rows) a, size_t n, size_t rows) {
    for (size_t r = 0; r < rows; r++) memcpy(y + r * n, a.data + r * a.stride, n * sizeof *y);
}

/* y [outer,n] += c[o·k + i] · s [n], a row each. What a row does not take (language.md §5) it gets nothing of, however long others make the
 * iteration. */
static void K(read_out)(REAL *y, size_t rows, size_t outer, size_t n, K(Rows) c, size_t k, size_t i, K(Rows) s) {
    for (size_t r = 0; r < rows; r++) {
        const REAL *state = s.data + r * s.stride;
        for (size_t o = 0; o < outer; o++, y += n) {
            REAL f = c.data[r * c.stride + o * k + i];
            if (f == 0) continue;
            for (size_t e = 0; e < n; e++) y[e] += f * state[e];
        }
    }
}

/* How many states of k the counts of some row take: all up to the last coefficient that is not 0. 0: none. */
static size_t K(states_taken)(size_t rows, size_t outer, K(Rows) c, size_t k) {
    size_t most = 0;
    if (!c.stride) rows = 1;
    for (size_t r = 0; r < rows; r++)
        for (size_t o = 0; o < outer && most < k; o++) {
            const REAL *count = c.data + r * c.stride + o * k;
            for (size_t i = k; i > most; i--)
                if (count[i - 1] != 0) most = i;
        }
    return most;
}

static void K(iter_read)(Exec *x, const Step *s, void *const *now, size_t i) {
    const IterDetail *d = s->iter;
    for (uint32_t r = 0; r < d->nreads; r++) {
        const Readout *read = &d->reads[r];
        if (i >= read->k) continue;
        size_t n = d->sizes[read->comp];
        K(Rows) state = {now[read->comp], d->state_batched ? n : 0};
        K(read_out)
        (x->at[s->out], s->out_batched ? x->rows : 1, read->outer, n, K(rows_of)(x, read->count, read->outer * read->k), read->k, i, state);
    }
}

/* Steps that lead to a state which some row takes. */
static size_t K(iter_steps)(const Exec *x, const IterDetail *d) {
    size_t most = 1;
    for (uint32_t r = 0; r < d->nreads; r++) {
        const Readout *read = &d->reads[r];
        size_t taken = K(states_taken)(x->rows, read->outer, K(rows_of)(x, read->count, read->outer * read->k), read->k);
        most = taken > most ? taken : most;
    }
    return most - 1;
}

void K(kernel_iter)(Exec *x, const Step *s) {
    const IterDetail *d = s->iter;
    Exec sub = sub_exec(x, &d->step, d->state_batched);
    void **now = x->at + x->plan->nvalues + d->now;
    const size_t steps = K(iter_steps)(x, d);
    memset(x->at[s->out], 0, (s->out_batched ? x->rows : 1) * s->size * sizeof(REAL));
    bind_captures(x, &sub, d->captures);
    for (uint32_t c = 0; c < d->ncomps; c++) {
        now[c] = x->at[d->states[2 * c]];
        K(copy_out)(now[c], K(rows_of)(x, d->bases[c], d->sizes[c]), d->sizes[c], sub.rows);
    }
    if (steps) exec_state_phase(&sub, PHASE_ONCE);
    for (size_t i = 0;; i++) {
        K(iter_read)(x, s, now, i);
        if (i == steps) return;
        bind_slots(&sub, SLOT_STATE, now);
        for (uint32_t c = 0; c < d->ncomps; c++) now[c] = x->at[d->states[2 * c + (i + 1) % 2]];
        bind_outputs(&sub, OUT_STATE, now);
        exec_state_phase(&sub, PHASE_EACH);
    }
}

/* The states of a recurrence, s₀ = base, sᵢ₊₁ = step(sᵢ), a segment at a time. */
typedef struct {
    Exec sub;
    const IterVjpDetail *d;
    size_t k;          /* states that are taken */
    size_t n, segment; /* elements of a state, all rows; which segment is there */
    REAL *states, *marks;
} K(States);

static void K(states_step)(K(States) *a, REAL *from, REAL *to) {
    bind_slots(&a->sub, SLOT_STATE, (void *[]){from});
    bind_outputs(&a->sub, OUT_STATE, (void *[]){to});
    exec_state_phase(&a->sub, PHASE_EACH);
}

/* From its first state on. */
static void K(states_fill)(K(States) *a, size_t segment) {
    size_t left = a->k - segment * a->d->segment, count = left < a->d->segment ? left : a->d->segment;
    a->segment = segment;
    if (a->marks) memcpy(a->states, a->marks + segment * a->n, a->n * sizeof(REAL));
    for (size_t i = 1; i < count; i++) K(states_step)(a, a->states + (i - 1) * a->n, a->states + i * a->n);
}

static REAL *K(states_at)(K(States) *a, size_t i) {
    if (i / a->d->segment != a->segment) K(states_fill)(a, i / a->d->segment);
    return a->states + i % a->d->segment * a->n;
}

/* The result gains what the states of the segment that is there give. */
static void K(states_read)(Exec *x, const K(States) *a) {
    const IterVjpDetail *d = a->d;
    size_t first = a->segment * d->segment, end = first + d->segment < a->k ? first + d->segment : a->k;
    K(Rows) count = K(rows_of)(x, d->count, d->outer * d->k);
    for (size_t i = first; d->result != VALUE_NONE && i < end; i++) {
        K(Rows) state = {a->states + (i - first) * a->n, d->state_batched ? d->size : 0};
        K(read_out)(x->at[d->result], d->batched ? x->rows : 1, d->outer, d->size, count, d->k, i, state);
    }
}

/* Where the count's own cotangent is asked for all states are, else those that some row takes. */
static size_t K(states_wanted)(const Exec *x, const IterVjpDetail *d) {
    size_t taken = d->count_bar != VALUE_NONE ? d->k : K(states_taken)(x->rows, d->outer, K(rows_of)(x, d->count, d->outer * d->k), d->k);
    return taken ? taken : 1;
}

/* Forwards once: leaves the last segment. */
static K(States) K(states_run)(Exec *x, const IterVjpDetail *d, size_t rows) {
    K(States) a = {.sub = sub_exec(x, &d->step, d->state_batched),
                   .d = d,
                   .k = K(states_wanted)(x, d),
                   .n = rows * d->size,
                   .states = x->at[d->states],
                   .marks = d->marks == VALUE_NONE ? NULL : x->at[d->marks]};
    size_t last = (a.k - 1) / d->segment;
    if (d->result != VALUE_NONE) memset(x->at[d->result], 0, (d->batched ? x->rows : 1) * d->outer * d->size * sizeof(REAL));
    bind_captures(x, &a.sub, d->captures);
    K(copy_out)(a.marks ? a.marks : a.states, K(rows_of)(x, d->base, d->size), d->size, rows);
    if (a.k > 1) exec_state_phase(&a.sub, PHASE_ONCE);
    for (size_t i = 0; i < last; i++) {
        K(states_fill)(&a, i);
        K(states_read)(x, &a);
        K(states_step)(&a, a.states + (d->segment - 1) * a.n, a.marks + (i + 1) * a.n);
    }
    K(states_fill)(&a, last);
    K(states_read)(x, &a);
    return a;
}

/* The count's cotangent: n̄[o,i] = Σ_e ȳ[o,e] · sᵢ[e] */
static void K(vjp_count)(const IterVjpDetail *d, REAL *bar, size_t rows, K(Rows) y, K(Rows) state, size_t i) {
    for (size_t r = 0; r < rows; r++)
        for (size_t o = 0; o < d->outer; o++) {
            const REAL *a = y.data + r * y.stride + o * d->size, *s = state.data + r * state.stride;
            REAL sum = 0;
            for (size_t e = 0; e < d->size; e++) sum += a[e] * s[e];
            bar[(r * d->outer + o) * d->k + i] = sum;
        }
}

/* s̄ += Σ_o n[o,i] · ȳ[o,·]. Before its first the cotangent is 0, be it +0 or what longer rows have made of it: adding 0 makes them one. */
static void K(vjp_inject)(const IterVjpDetail *d, REAL *bar, size_t rows, K(Rows) y, K(Rows) count, size_t i) {
    for (size_t r = 0; r < rows; r++, bar += d->size)
        for (size_t o = 0; o < d->outer; o++) {
            const REAL *a = y.data + r * y.stride + o * d->size;
            REAL f = count.data[r * count.stride + o * d->k + i];
            if (f == 0) continue;
            for (size_t e = 0; e < d->size; e++) bar[e] = (bar[e] + 0) + f * a[e];
        }
}

/* A capture's cotangent is a sum over the steps run, and over all tiles where rows are summed. */
static void K(vjp_clear)(Exec *x, const IterVjpDetail *d, size_t rows) {
    for (uint32_t j = 0; j < d->ncaps; j++) {
        if (d->capture_bar[j] == VALUE_NONE || (d->capture_sum[j] && x->again)) continue;
        memset(x->at[d->capture_bar[j]], 0, (d->capture_sum[j] ? 1 : rows) * d->capture_size[j] * sizeof(REAL));
    }
}

void K(kernel_iter_vjp)(Exec *x, const Step *s) {
    const IterVjpDetail *d = s->vjp;
    size_t rows = d->batched ? x->rows : 1;
    K(States) states = K(states_run)(x, d, d->state_batched ? x->rows : 1);
    Exec sub = sub_exec(x, &d->vjp, d->batched);
    bind_captures(x, &sub, d->captures);
    bind_capture_bars(x, &sub, d->capture_bar);
    K(vjp_clear)(x, d, rows);
    if (states.k > 1) exec_state_phase(&sub, PHASE_ONCE);
    K(Rows) y = K(rows_of)(x, d->cotangent, d->outer * d->size), count = K(rows_of)(x, d->count, d->outer * d->k);
    REAL *bar = x->at[d->adjoint[0]];
    memset(bar, 0, rows * d->size * sizeof *bar);
    for (size_t i = states.k; i-- > 0;) {
        if (d->count_bar != VALUE_NONE)
            K(vjp_count)(d, x->at[d->count_bar], rows, y, (K(Rows)){K(states_at)(&states, i), d->state_batched ? d->size : 0}, i);
        K(vjp_inject)(d, bar, rows, y, count, i);
        if (!i) break;
        bind_slots(&sub, SLOT_STATE, (void *[]){K(states_at)(&states, i - 1)});
        bind_slots(&sub, SLOT_COTANGENT, (void *[]){bar});
        bar = x->at[d->adjoint[(states.k - i) % 2]];
        bind_outputs(&sub, OUT_STATE, (void *[]){bar});
        exec_state_phase(&sub, PHASE_EACH);
    }
    if (d->base_bar != VALUE_NONE) memcpy(x->at[d->base_bar], bar, rows * d->size * sizeof *bar);
}
