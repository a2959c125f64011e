/* Properties of the compiler on random well-typed programs (language.md §3, §5, §6), by the naive evaluator:
 *   correctness   on basis vectors the graph's value is the interpreter's result, under all three policies
 *   sizes         every discrete value the interpreter computes fits the size inferred (interp_vector fails otherwise)
 *   linearity     the value is linear in each linear input and argument, whatever the others are
 *   tables        with fewer arguments given the value is the table of the rest: applied to them it is the same
 *   plans         what workers compute of graph, VJP and JVP is their value, whatever is a row's own and what is shared
 *   passes        each pass, and all of them, keep the value of graph, VJP and JVP, and make no graph dearer
 *   derivatives   ⟨ȳ, J·ẋ⟩ = ⟨Jᵀ·ȳ, ẋ⟩, and J·ẋ is what central differences say
 * CAJAL_SEED repeats a run, CAJAL_PROGRAMS sets how many programs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "compiler/derive/derive.h"
#include "compiler/lower/compile.h"
#include "compiler/language/interp.h"
#include "compiler/passes/naive.h"
#include "compiler/passes/optimise.h"
#include "compiler/language/syntax.h"
#include "tests/support/gen.h"
#include "tests/support/planned.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLES = 6, MOST_ELEMENTS = 20000, MOST_WORK = 1000000 };

typedef struct {
    Cx cx;
    Program *program;
    Checked *checked;
    Signature sig;
    Graph *graph, *vjp, *jvp;
    Rng rng;
    uint64_t seed;
} Subject;

static const Nat policies[] = {{4, NAT_EXACT}, {3, NAT_DROP}, {3, NAT_SATURATE}};

static size_t elements(const Subject *s) {
    size_t n = s->sig.output->dim;
    for (uint32_t i = 0; i < s->graph->nslots; i++) n += s->graph->slots[i].size;
    return n;
}

/* A random program of this seed, compiled; false when its sizes are refused or it is too large for a quick test. */
static bool make_subject(Subject *s, uint64_t seed, Nat nat) {
    memset(s, 0, sizeof *s);
    s->seed = seed;
    s->rng = (Rng){.seed = seed};
    cx_init(&s->cx);
    CX_TRY(&s->cx) {
        GenOptions options = GEN_DEFAULT;
        options.seed = seed;
        options.nat = nat;
        options.size = 5 + rng_below(&s->rng, 40);
        s->program = gen_program(&s->cx, &options);
        s->checked = check_program(&s->cx, s->program);
    }
    if (s->cx.diag.code) fail_msg("seed %llu: a generated program is refused: %s", (unsigned long long)seed, s->cx.diag.message);
    CX_TRY(&s->cx) {
        s->graph = compile_lower(&s->cx, s->program, s->checked, UINT32_MAX, &s->sig);
        s->vjp = derive_graph_vjp(&s->cx, s->graph);
        s->jvp = derive_graph_jvp(&s->cx, s->graph);
    }
    ErrCode code = s->cx.diag.code;
    if (code && code != ERR_nat_bound_exceeded && code != ERR_too_large && code != ERR_not_tabulable)
        fail_msg("seed %llu: %s: %s", (unsigned long long)seed, err_name(code), s->cx.diag.message);
    return code == ERR_NONE && elements(s) <= MOST_ELEMENTS && cost_total(graph_cost(s->vjp)) <= MOST_WORK;
}

static void drop_subject(Subject *s) {
    if (s->graph) graph_free(s->graph);
    if (s->vjp) graph_free(s->vjp);
    if (s->jvp) graph_free(s->jvp);
    cx_release(&s->cx);
}

static _Noreturn void report(Subject *s, const char *what) {
    Buf text;
    buf_init(&text);
    syntax_print(&text, &s->cx, s->program);
    print_error("seed %llu: %s\n%s\n", (unsigned long long)s->seed, what, buf_text(&text));
    buf_release(&text);
    fail();
    abort();
}

/* Runs body on random programs under every policy until `wanted` were suitable. */
static void for_programs(const char *test, void (*body)(Subject *s)) {
    uint64_t seed = rng_seed(test), wanted = getenv("CAJAL_PROGRAMS") ? strtoull(getenv("CAJAL_PROGRAMS"), NULL, 10) : 300, done = 0;
    for (uint64_t i = 0; done < wanted; i++) {
        assert_true(i < wanted * 20); /* the generator must not run dry */
        Subject s;
        if (make_subject(&s, seed + i, policies[i % 3])) {
            body(&s);
            done++;
        }
        drop_subject(&s);
    }
}

/* ---- evaluating a graph on one vector a slot ---- */

static double **new_vectors(const Graph *g) {
    double **v = calloc(g->nslots + 1, sizeof *v);
    for (uint32_t i = 0; i < g->nslots; i++) v[i] = calloc(g->slots[i].size + 1, sizeof **v);
    return v;
}

static void free_vectors(const Graph *g, double **v) {
    for (uint32_t i = 0; i < g->nslots; i++) free(v[i]);
    free(v);
}

static void fill(Subject *s, const Graph *g, double **v) {
    for (uint32_t i = 0; i < g->nslots; i++)
        for (size_t j = 0; j < g->slots[i].size; j++) v[i][j] = rng_real(&s->rng);
}

static NaiveOutput *eval(Subject *s, const Graph *g, double **v) {
    NaiveInput *inputs = calloc(g->nslots + 1, sizeof *inputs);
    NaiveOutput *outputs = calloc(g->noutputs, sizeof *outputs);
    for (uint32_t i = 0; i < g->nslots; i++) inputs[i].data = v[i];
    if (!naive_eval(g, 1, inputs, outputs)) report(s, "the graph does not evaluate");
    free(inputs);
    return outputs;
}

static void free_outputs(const Graph *g, NaiveOutput *outputs) {
    naive_release(outputs, g->noutputs);
    free(outputs);
}

/* Values that have run away (iterations nest, and inputs are any real numbers) say nothing. */
static bool close_to(double a, double b, double scale, double tolerance) { return !(scale < 1e100) || fabs(a - b) <= tolerance * (1 + scale); }

static double largest(const double *v, size_t n) {
    double most = 0;
    for (size_t i = 0; i < n; i++) most = isfinite(v[i]) ? fmax(most, fabs(v[i])) : INFINITY;
    return most;
}

/* ---- correctness ---- */

static const Type *slot_type(const Subject *s, const Slot *slot) {
    return slot->role == SLOT_INPUT ? s->sig.inputs[slot->index] : s->sig.args[slot->index];
}

static void interpret(Subject *s, const size_t *basis, double *out) {
    CX_TRY(&s->cx) {
        Interp in = {.cx = &s->cx, .program = s->program, .step_limit = 1000000};
        const InterpValue **inputs = ARENA_ARRAY(&s->cx.arena, const InterpValue *, s->sig.ninputs);
        const InterpValue **args = ARENA_ARRAY(&s->cx.arena, const InterpValue *, s->sig.nargs);
        for (uint32_t i = 0; i < s->graph->nslots; i++) {
            const Slot *slot = &s->graph->slots[i];
            *(slot->role == SLOT_INPUT ? &inputs[slot->index] : &args[slot->index]) = interp_basis(&in, slot_type(s, slot), basis[i]);
        }
        interp_vector(&in, interp_run(&in, inputs, args, s->sig.nargs), s->sig.output, out);
    }
    if (s->cx.diag.code) report(s, s->cx.diag.message);
}

static void body_correct(Subject *s) {
    const Graph *g = s->graph;
    double **v = new_vectors(g), *want = calloc(s->sig.output->dim, sizeof *want);
    size_t *basis = calloc(g->nslots + 1, sizeof *basis);
    for (int sample = 0; sample < SAMPLES; sample++) {
        for (uint32_t i = 0; i < g->nslots; i++) {
            memset(v[i], 0, g->slots[i].size * sizeof **v);
            basis[i] = rng_below(&s->rng, (uint32_t)g->slots[i].size);
            v[i][basis[i]] = 1;
        }
        interpret(s, basis, want);
        NaiveOutput *got = eval(s, g, v);
        for (size_t i = 0; i < got->size; i++)
            if (got->data[i] != want[i]) report(s, "the neurons and the interpreter disagree");
        free_outputs(g, got);
    }
    free(basis);
    free(want);
    free_vectors(g, v);
}

/* ---- linearity ---- */

static bool is_linear(Subject *s, const Slot *slot) {
    if (slot->role == SLOT_ARG) return !s->sig.smooth_args[slot->index];
    bool smooth = true;
    CX_TRY(&s->cx) smooth = s->program->binders[program_inputs(&s->cx, s->program)[slot->index]].smooth;
    return !smooth;
}

static void body_linear(Subject *s) {
    const Graph *g = s->graph;
    double **v = new_vectors(g), a = rng_real(&s->rng), b = rng_real(&s->rng);
    fill(s, g, v);
    for (uint32_t i = 0; i < g->nslots; i++) {
        if (!is_linear(s, &g->slots[i])) continue;
        size_t n = g->slots[i].size;
        double *first = malloc(n * sizeof *first), *second = malloc(n * sizeof *second);
        memcpy(first, v[i], n * sizeof *first);
        for (size_t j = 0; j < n; j++) second[j] = rng_real(&s->rng);
        NaiveOutput *of_first = eval(s, g, v);
        memcpy(v[i], second, n * sizeof *second);
        NaiveOutput *of_second = eval(s, g, v);
        for (size_t j = 0; j < n; j++) v[i][j] = a * first[j] + b * second[j];
        NaiveOutput *of_sum = eval(s, g, v);
        double scale = largest(of_first->data, of_first->size) + largest(of_second->data, of_second->size);
        for (size_t j = 0; j < of_sum->size; j++)
            if (!close_to(of_sum->data[j], a * of_first->data[j] + b * of_second->data[j], scale, 1e-11)) report(s, "not linear in a linear variable");
        free_outputs(g, of_first);
        free_outputs(g, of_second);
        free_outputs(g, of_sum);
        free(first);
        free(second);
    }
    free_vectors(g, v);
}

/* ---- derivatives ---- */

/* The vector that `from` has in the slot of the same meaning; tangent: in its tangent's slot. */
static void transfer(const Graph *to, double **v, const Graph *from, double **have, bool tangent) {
    for (uint32_t i = 0; i < from->nslots; i++)
        for (uint32_t j = 0; j < to->nslots; j++) {
            SlotRole role = from->slots[i].role;
            if (tangent) role = role == SLOT_INPUT ? SLOT_TANGENT_INPUT : SLOT_TANGENT_ARG;
            if (to->slots[j].role == role && to->slots[j].index == from->slots[i].index)
                memcpy(v[j], have[i], from->slots[i].size * sizeof **v);
        }
}

static void body_derivative(Subject *s) {
    const Graph *g = s->graph;
    double **x = new_vectors(g), **dx = new_vectors(g), **in_vjp = new_vectors(s->vjp), **in_jvp = new_vectors(s->jvp);
    fill(s, g, x);
    fill(s, g, dx);
    fill(s, s->vjp, in_vjp);
    transfer(s->vjp, in_vjp, g, x, false);
    transfer(s->jvp, in_jvp, g, x, false);
    transfer(s->jvp, in_jvp, g, dx, true);
    NaiveOutput *back = eval(s, s->vjp, in_vjp), *forward = eval(s, s->jvp, in_jvp);
    double left = 0, right = 0, scale = 0;
    for (uint32_t i = 0; i < s->vjp->nslots; i++)
        if (s->vjp->slots[i].role == SLOT_COTANGENT)
            for (size_t j = 0; j < forward[1].size; j++) {
                left += in_vjp[i][j] * forward[1].data[j];
                scale += fabs(in_vjp[i][j] * forward[1].data[j]);
            }
    for (uint32_t o = 1; o < s->vjp->noutputs; o++)
        for (uint32_t i = 0; i < g->nslots; i++) {
            bool input = s->vjp->outputs[o].role == OUT_GRAD_INPUT;
            if (g->slots[i].role != (input ? SLOT_INPUT : SLOT_ARG) || g->slots[i].index != s->vjp->outputs[o].index) continue;
            for (size_t j = 0; j < g->slots[i].size; j++) {
                right += back[o].data[j] * dx[i][j];
                scale += fabs(back[o].data[j] * dx[i][j]);
            }
        }
    if (!close_to(left, right, scale, 1e-11)) report(s, "the VJP is not the JVP's transpose");
    NaiveOutput *value = eval(s, g, x);
    const double h = 1e-6;
    for (uint32_t i = 0; i < g->nslots; i++)
        for (size_t j = 0; j < g->slots[i].size; j++) x[i][j] += h * dx[i][j];
    NaiveOutput *above = eval(s, g, x);
    for (uint32_t i = 0; i < g->nslots; i++)
        for (size_t j = 0; j < g->slots[i].size; j++) x[i][j] -= 2 * h * dx[i][j];
    NaiveOutput *below = eval(s, g, x);
    double size = largest(value->data, value->size) + largest(forward[1].data, forward[1].size);
    for (size_t j = 0; j < value->size; j++) {
        if (size < 1e100 && (forward[0].data[j] != value->data[j] || back[0].data[j] != value->data[j])) report(s, "a derived graph changes the value");
        if (!close_to(forward[1].data[j], (above->data[j] - below->data[j]) / (2 * h), size, 1e-5)) report(s, "the JVP is not the difference quotient");
    }
    free_outputs(g, value);
    free_outputs(g, above);
    free_outputs(g, below);
    free_outputs(s->vjp, back);
    free_outputs(s->jvp, forward);
    free_vectors(g, x);
    free_vectors(g, dx);
    free_vectors(s->vjp, in_vjp);
    free_vectors(s->jvp, in_jvp);
}

/* ---- tables ---- */

static double *slot_vector(const Graph *g, double **v, SlotRole role, uint32_t index) {
    for (uint32_t i = 0; i < g->nslots; i++)
        if (g->slots[i].role == role && g->slots[i].index == index) return v[i];
    return NULL;
}

/* table [m, n] · x, in place: entry (o, i) stands at o·n + i */
static void apply_table(double *table, size_t m, const double *x, size_t n) {
    for (size_t o = 0; o < m; o++) {
        double sum = 0;
        for (size_t i = 0; i < n; i++) sum += table[o * n + i] * x[i];
        table[o] = sum;
    }
}

static void body_tables(Subject *s) {
    double **v = new_vectors(s->graph);
    fill(s, s->graph, v);
    NaiveOutput *want = eval(s, s->graph, v);
    for (uint32_t given = 0; given < s->sig.nargs; given++) {
        Signature sig;
        Graph *volatile g = NULL;
        CX_TRY(&s->cx) g = compile_lower(&s->cx, s->program, s->checked, given, &sig);
        if (s->cx.diag.code == ERR_not_tabulable || s->cx.diag.code == ERR_too_large || s->cx.diag.code == ERR_nat_bound_exceeded) continue;
        if (s->cx.diag.code) report(s, s->cx.diag.message);
        assert_ptr_equal(sig.type, s->sig.type);
        double **w = new_vectors(g);
        transfer(g, w, s->graph, v, false);
        NaiveOutput *got = eval(s, g, w);
        const Type *type = sig.type;
        for (uint32_t i = 0; i < given; i++) type = type->cod;
        if (got->size != type->dim) report(s, "a table has another size than its type");
        for (uint32_t i = given; i < s->sig.nargs; i++, type = type->cod)
            apply_table(got->data, type->cod->dim, slot_vector(s->graph, v, SLOT_ARG, i), type->dom->dim);
        double scale = largest(want->data, want->size);
        for (size_t i = 0; i < want->size; i++)
            if (!close_to(got->data[i], want->data[i], scale, 1e-10)) report(s, "a table is not its function");
        free_outputs(g, got);
        free_vectors(g, w);
        graph_free(g);
    }
    free_outputs(s->graph, want);
    free_vectors(s->graph, v);
}

/* ---- passes ---- */

static void expect_same(Subject *s, const Graph *before, const Graph *after, double **v) {
    char why[300];
    if (!graph_verify(after, why, sizeof why)) report(s, why);
    assert_int_equal(before->nslots, after->nslots);
    assert_int_equal(before->noutputs, after->noutputs);
    NaiveOutput *want = eval(s, before, v), *got = eval(s, after, v);
    for (uint32_t o = 0; o < before->noutputs; o++) {
        double scale = largest(want[o].data, want[o].size);
        assert_int_equal(want[o].size, got[o].size);
        for (size_t i = 0; i < want[o].size; i++)
            if (!close_to(got[o].data[i], want[o].data[i], scale, 1e-9)) report(s, "a pass changes the value");
    }
    if (cost_total(graph_cost(after)) > cost_total(graph_cost(before))) report(s, "a pass makes the graph dearer");
    free_outputs(before, want);
    free_outputs(after, got);
}

static Graph *pass(Subject *s, Graph *(*run)(Cx *, const Graph *), const Graph *g) {
    Graph *volatile made = NULL;
    CX_TRY(&s->cx) made = rewrite_give(&s->cx, run(&s->cx, g));
    if (s->cx.diag.code) report(s, s->cx.diag.message);
    return made;
}

static void body_passes(Subject *s) {
    static Graph *(*const passes[])(Cx *, const Graph *) = {optimise_structure, optimise_contraction, optimise_collapse, optimise_recur, optimise_share, optimise_graph};
    const Graph *all[] = {s->graph, s->vjp, s->jvp};
    for (int i = 0; i < 3; i++) {
        double **v = new_vectors(all[i]);
        fill(s, all[i], v);
        for (size_t p = 0; p < sizeof passes / sizeof *passes; p++) {
            Graph *made = pass(s, passes[p], all[i]);
            expect_same(s, all[i], made, v);
            graph_free(made);
        }
        free_vectors(all[i], v);
    }
}

/* ---- plans ---- */

static double any_real(void *rng) { return rng_real(rng); }

static void body_plans(Subject *s) {
    const Graph *all[] = {s->graph, s->vjp, s->jvp};
    Buf text;
    buf_init(&text);
    buf_printf(&text, "seed %llu: ", (unsigned long long)s->seed);
    syntax_print(&text, &s->cx, s->program);
    for (int i = 0; i < 3; i++) {
        Planned c = {.g = pass(s, optimise_graph, all[i]), .rows = 1 + rng_below(&s->rng, 5)};
        bool fits = c.g->nslots <= PLANNED_SLOTS && c.g->noutputs <= PLANNED_OUTPUTS;
        for (uint32_t k = 0; fits && k < c.g->nslots; k++) c.batched[k] = rng_chance(&s->rng, 60);
        if (fits) planned_fill(&c, any_real, &s->rng);
        for (int n = 0; fits && n < 3 && planned_largest(&c) < 1e100; n++) {
            PlannedWay way = planned_way(&s->rng, c.rows);
            way.f64 = true;
            way.near64 = 1e-9;
            planned_against_naive(&c, &way, buf_text(&text));
        }
        planned_release(&c);
    }
    buf_release(&text);
}

/* ---- the graphs themselves ---- */

static void body_graphs(Subject *s) {
    const Graph *all[] = {s->graph, s->vjp, s->jvp};
    char why[300];
    for (int i = 0; i < 3; i++) {
        if (!graph_verify(all[i], why, sizeof why)) report(s, why);
        Buf file, again;
        buf_init(&file);
        buf_init(&again);
        assert_true(graph_write(all[i], &file));
        Graph *read = graph_read(file.data, file.len, why, sizeof why);
        if (!read) report(s, why);
        assert_true(graph_write(read, &again));
        assert_int_equal(file.len, again.len);
        assert_memory_equal(file.data, again.data, file.len);
        graph_free(read);
        buf_release(&file);
        buf_release(&again);
    }
}

static void test_correct(void **state) { (void)state; for_programs("correct", body_correct); }
static void test_linear(void **state) { (void)state; for_programs("linear", body_linear); }
static void test_derivative(void **state) { (void)state; for_programs("derivative", body_derivative); }
static void test_tables(void **state) { (void)state; for_programs("tables", body_tables); }
static void test_passes(void **state) { (void)state; for_programs("passes", body_passes); }
static void test_plans(void **state) { (void)state; for_programs("plans", body_plans); }
static void test_graphs(void **state) { (void)state; for_programs("graphs", body_graphs); }

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_correct), cmocka_unit_test(test_linear), cmocka_unit_test(test_derivative), cmocka_unit_test(test_tables), cmocka_unit_test(test_passes),
                                       cmocka_unit_test(test_plans),   cmocka_unit_test(test_graphs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
