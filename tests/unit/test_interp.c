/* The interpreter: language.md §4. */
#include "compiler/language/interp.h"
#include "tests/support/gen.h"
#include "tests/support/terms.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NONE = -1 };

typedef struct {
    Nat nat;
    const char *text;
    int nbasis;
    size_t basis[4]; /* basis indices of the inputs by name, then of arguments */
    int place;       /* the basis index of the result, or NONE */
} Case;

#define EXACT {10, NAT_EXACT}
#define DROP {10, NAT_DROP}
#define SATURATE {10, NAT_SATURATE}
enum { TRUE = 0, FALSE = 1 };

static const Case cases[] = {
    {EXACT, "true", 0, {0}, TRUE},
    {EXACT, "(if false true false)", 0, {0}, FALSE},
    {EXACT, "(succ (succ 40))", 0, {0}, 42},
    {EXACT, "(\\ n N (iter true y (if y false true) n))", 1, {7}, FALSE},
    {EXACT, "(\\ m N (\\ n N (iter m y (succ y) n)))", 2, {9, 8}, 17},
    {EXACT, "[m N] [k N] (iter m y (succ y) k)", 2, {3, 4}, 7},
    {EXACT, "(let f (\\ x N (succ x)) (f (f 9)))", 0, {0}, 11},
    {EXACT, "((\\ !f (2 -o 2) (\\ x 2 (f (f x)))) (\\ b 2 (if b false true)))", 1, {TRUE}, TRUE},
    /* the innermost binding counts, and closures keep their own */
    {EXACT, "(let x 1 (let f (\\ !y 2 x) (let x true (f x))))", 0, {0}, 1},
    {EXACT, "(let x 1 (iter x x (succ x) x))", 0, {0}, 2},
    {EXACT, "(iter (\\ x N (succ x)) f (\\ x N (succ (f x))) 4)", 1, {3}, 8},
    {EXACT, "(iter 0 y (iter y z (succ z) y) 5)", 0, {0}, 0},
    {EXACT, "(iter 1 y (iter y z (succ z) y) 5)", 0, {0}, 32},
    /* none */
    {DROP, "12", 0, {0}, NONE},
    {DROP, "(succ 9)", 0, {0}, NONE},
    {DROP, "(succ 8)", 0, {0}, 9},
    {DROP, "(succ (succ 9))", 0, {0}, NONE},
    {DROP, "(iter true y y 10)", 0, {0}, NONE},
    {DROP, "(iter 10 y ((\\ !u N 3) y) 1)", 0, {0}, 3},
    {DROP, "(iter 10 y (succ y) 0)", 0, {0}, NONE},
    {DROP, "((\\ !x N true) 10)", 0, {0}, TRUE},
    {DROP, "(let x 10 (iter true y y x))", 0, {0}, NONE},
    {DROP, "(if (iter true y y 10) 1 2)", 0, {0}, NONE},
    {DROP, "((iter (\\ x N x) f f 10) 3)", 0, {0}, NONE},
    {SATURATE, "12", 0, {0}, 9},
    {SATURATE, "(succ 9)", 0, {0}, 9},
    {SATURATE, "(iter 0 y (succ y) 12)", 0, {0}, 9},
    {SATURATE, "(iter true y (if y false true) 12)", 0, {0}, FALSE},
    /* basis functions: (o, i) of A -o B is o·dim(A) + i; on i it gives o, elsewhere none */
    {EXACT, "[f (2 -o N[3])] (f false)", 1, {2 * 2 + 1}, 2},
    {EXACT, "[f (2 -o N[3])] (f true)", 1, {2 * 2 + 1}, NONE},
    {EXACT, "[f (N -o 2)] (f 7)", 1, {1 * 10 + 7}, FALSE},
    {EXACT, "[f (N -o 2)] (f 6)", 1, {1 * 10 + 7}, NONE},
    {EXACT, "[f (2 -o (2 -o 2))] (f false true)", 1, {(1 * 2 + 0) * 2 + 1}, FALSE},
    {EXACT, "[f (2 -o (2 -o 2))] (f true true)", 1, {(1 * 2 + 0) * 2 + 1}, NONE},
    /* … whose argument is a function: its coefficient is found by applying it */
    {EXACT, "[f ((2 -o 2) -o N[3])] (f (\\ x 2 (if x false true)))", 1, {2 * 4 + (1 * 2 + 0)}, 2},
    {EXACT, "[f ((2 -o 2) -o N[3])] (f (\\ x 2 (if x false true)))", 1, {2 * 4 + (0 * 2 + 0)}, NONE},
    {EXACT, "[f ((2 -o 2) -o 2)] [g (2 -o 2)] (f g)", 2, {1 * 4 + 3, 3}, FALSE},
    {EXACT, "[f ((2 -o 2) -o 2)] [g (2 -o 2)] (f g)", 2, {1 * 4 + 3, 2}, NONE},
    {EXACT, "[f ((2 -o (2 -o 2)) -o 2)] (f (\\ x 2 (\\ y 2 (if x y y))))", 1, {1 * 8 + ((1 * 2 + 1) * 2 + 0)}, FALSE},
    {EXACT, "[f (((2 -o 2) -o 2) -o 2)] (f (\\ g (2 -o 2) (g true)))", 1, {0 * 8 + (1 * 4 + (1 * 2 + 0))}, TRUE},
    {EXACT, "[f (((2 -o 2) -o 2) -o 2)] (f (\\ g (2 -o 2) (g true)))", 1, {0 * 8 + (1 * 4 + (1 * 2 + 1))}, NONE},
    /* real vectors are carried */
    {EXACT, "[a R[2,2]] [f (R[2,2] -o 2)] (f a)", 2, {3, 1 * 4 + 3}, FALSE},
    {EXACT, "[a R[2,2]] a", 1, {3}, 3},
};

static const InterpValue *run_case(Interp *in, const Checked *checked, const size_t *basis, uint32_t nargs, const Type **type) {
    const Program *p = in->program;
    const uint32_t *inputs = program_inputs(in->cx, p);
    const InterpValue *values[64];
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->context; i++) {
        const Type *t = type_with_size(in->cx, p->binders[inputs[i]].type, p->nat.dim, false);
        values[n] = interp_basis(in, t, basis[n]), n++;
    }
    *type = checked->types[program_root(p)];
    for (uint32_t i = 0; i < nargs; i++, *type = (*type)->cod) {
        values[n] = interp_basis(in, type_with_size(in->cx, (*type)->dom, p->nat.dim, false), basis[n]);
        n++;
    }
    return interp_run(in, values, values + p->context, nargs);
}

static void run_row(const Case *c) {
    Cx cx;
    cx_init(&cx);
    CX_TRY(&cx) {
        Interp in = {.cx = &cx, .program = terms_read(&cx, c->nat, c->text), .step_limit = 10000};
        const Type *type;
        const InterpValue *v =
            run_case(&in, check_program(&cx, in.program), c->basis, (uint32_t)c->nbasis - in.program->context, &type);
        type = type_with_size(&cx, type, 50, true);
        double *out = ARENA_ARRAY(&cx.arena, double, type->dim);
        interp_vector(&in, v, type, out);
        for (size_t k = 0; k < type->dim; k++)
            if (out[k] != ((int)k == c->place)) fail_msg("%s: place %zu is %g", c->text, k, out[k]);
        if (c->place == NONE) assert_ptr_equal(v, interp_none());
    }
    if (cx.diag.code) fail_msg("%s: %s", c->text, cx.diag.message);
    cx_release(&cx);
}

static void test_table(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) run_row(&cases[i]);
}

/* The vector of a basis value is that basis vector, at every type. */
static void test_basis(void **state) {
    (void)state;
    uint64_t seed = rng_seed("basis vectors");
    Rng rng = {.seed = seed};
    for (int i = 0; i < 200; i++) {
        Cx cx;
        cx_init(&cx);
        CX_TRY(&cx) {
            Nat nat = {.dim = 1 + rng_below(&rng, 3)};
            Interp in = {.cx = &cx, .program = terms_read(&cx, nat, "true"), .step_limit = 1000000};
            const Type *type = type_with_size(&cx, gen_type(&cx, &rng, nat, 3), nat.dim, false);
            double *out = ARENA_ARRAY(&cx.arena, double, type->dim);
            for (size_t k = 0; k < type->dim; k += 1 + rng_below(&rng, 5)) {
                interp_vector(&in, interp_basis(&in, type, k), type, out);
                for (size_t j = 0; j < type->dim; j++)
                    if (out[j] != (j == k))
                        fail_msg("seed %llu: basis %zu of %s at %zu", (unsigned long long)seed, k, type_text(&cx, type), j);
            }
        }
        if (cx.diag.code) fail_msg("%s", cx.diag.message);
        cx_release(&cx);
    }
}

static void test_table_is_row_major(void **state) {
    (void)state;
    Cx cx;
    cx_init(&cx);
    CX_TRY(&cx) {
        Interp in = {.cx = &cx, .step_limit = 10000};
        in.program = terms_read(&cx, NAT_DEFAULT, "(\\ a N[2] (\\ b 2 (iter a y (succ y) (if b 1 0))))");
        const Type *type = type_arrow(&cx, false, type_nat(&cx, 2),
                                      type_arrow(&cx, false, type_bool(&cx), type_nat(&cx, 3), AT_NOWHERE), AT_NOWHERE);
        double out[12];
        interp_vector(&in, interp_run(&in, NULL, NULL, 0), type, out);
        for (size_t o = 0; o < 3; o++)
            for (size_t b = 0; b < 2; b++)
                for (size_t a = 0; a < 2; a++) assert_true(out[(o * 2 + b) * 2 + a] == (o == a + (b == 0)));
    }
    assert_int_equal(cx.diag.code, ERR_NONE);
    cx_release(&cx);
}

/* Applied to basis vectors, a program of any type over 2 and N gives one basis vector or none. */
static void test_results_fit_their_types(void **state) {
    (void)state;
    uint64_t seed = rng_seed("results fit");
    volatile int something = 0;
    for (int i = 0; i < 1500; i++) {
        Cx cx;
        cx_init(&cx);
        GenOptions options = GEN_DEFAULT;
        options.seed = seed + (uint64_t)i;
        options.nat.overflow = (NatPolicy)(i % 3);
        CX_TRY(&cx) {
            Interp in = {.cx = &cx, .program = gen_program(&cx, &options), .step_limit = 200000};
            const Checked *checked = check_program(&cx, in.program);
            const Type *type = checked->types[program_root(in.program)];
            Rng rng = {.seed = options.seed};
            size_t basis[64];
            uint32_t n = 0, nargs = 0;
            const uint32_t *inputs = program_inputs(&cx, in.program);
            for (uint32_t b = 0; b < in.program->context; b++)
                basis[n++] =
                    rng_next(&rng) % type_with_size(&cx, in.program->binders[inputs[b]].type, options.nat.dim, false)->dim;
            for (; type_is_arrow(type); type = type->cod, nargs++)
                basis[n++] = rng_next(&rng) % type_with_size(&cx, type->dom, options.nat.dim, false)->dim;
            const InterpValue *v = run_case(&in, checked, basis, nargs, &type);
            double out[2000], sum = 0;
            bool fixed = options.nat.overflow != NAT_EXACT;
            type = type_with_size(&cx, type, fixed ? options.nat.dim : 2000, true);
            interp_vector(&in, v, type, out);
            for (size_t k = 0; k < type->dim; k++) sum += out[k];
            assert_true(sum == (v != interp_none()));
            something += sum == 1;
        }
        /* Without sizes a natural may pass 2000, and an iteration the budget; rarely. */
        if (cx.diag.code && cx.diag.code != ERR_too_large &&
            (cx.diag.code != ERR_compiler_mismatch || options.nat.overflow != NAT_EXACT))
            fail_msg("seed %llu: %s", (unsigned long long)options.seed, cx.diag.message);
        cx_release(&cx);
    }
    assert_true(something > 500);
}

static ErrCode run_text(Nat nat, const char *text, uint64_t limit, size_t *used, size_t *result) {
    Cx cx;
    cx_init(&cx);
    CX_TRY(&cx) {
        Interp in = {.cx = &cx, .program = terms_read(&cx, nat, text), .step_limit = limit};
        check_program(&cx, in.program);
        const InterpValue *v = interp_run(&in, NULL, NULL, 0);
        const Type *type = type_nat(&cx, 64);
        double out[64];
        interp_vector(&in, v, type, out);
        for (size_t k = 0; k < 64; k++)
            if (out[k] != 0) *result = k;
    }
    *used = cx.arena.used;
    ErrCode code = cx.diag.code;
    cx_release(&cx);
    return code;
}

static void test_limits(void **state) {
    (void)state;
    size_t used, result;
    assert_int_equal(run_text(NAT_DEFAULT, "(iter 0 y (iter 0 z z y) 100000000)", 100000, &used, &result), ERR_too_large);
    assert_int_equal(run_text(NAT_DEFAULT, "(succ 63)", 100, &used, &result), ERR_compiler_mismatch);
    assert_int_equal(run_text(NAT_DEFAULT, "(succ 62)", 100, &used, &result), ERR_NONE);
    assert_int_equal(result, 63);
}

/* Long iterations take no memory, whatever values their steps make and drop. */
static void test_memory_is_bounded(void **state) {
    (void)state;
    static const char *const texts[] = {
        "(iter 0 y (iter 7 z (if (iter true b b y) z z) 1000) 1000)",
        "(iter 7 y ((\\ f (N -o N) (f y)) (\\ x N x)) 500000)",
        "(iter 7 y ((iter (\\ x N x) f (\\ x N (f x)) 3) y) 100000)",
        "(iter 7 y (let a y (let b true (if b a (if b a a)))) 300000)",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        size_t used, result = 0;
        const char *text = texts[i];
        ErrCode code = run_text(NAT_DEFAULT, text, 20000000, &used, &result);
        assert_int_equal(code, ERR_NONE);
        assert_int_equal(result, 7);
        if (used > 100000) fail_msg("%s took %zu bytes", text, used);
    }
}

/* Neither deep terms nor deep values touch the C stack. */
static void test_deep(void **state) {
    (void)state;
    enum { DEEP = 200000 };
    Cx cx;
    cx_init(&cx);
    CX_TRY(&cx) {
        Program *p = program_new(&cx, NAT_DEFAULT);
        Sym x = sym_intern(&cx, "x", 1), f = sym_intern(&cx, "f", 1);
        /* iter {\x:N. x | f -> \x:N. succ (f x)} (DEEP) applied to succ (succ … 0) */
        uint32_t b = term_bind(&cx, p, BINDER_FUN, x, type_nat(&cx, 0), false, TERM_NONE, TERM_NONE);
        uint32_t base = term_fun(&cx, p, b, term_var(&cx, p, x, TERM_NONE), TERM_NONE);
        uint32_t state_binder = term_bind(&cx, p, BINDER_ITER, f, NULL, false, base, TERM_NONE);
        b = term_bind(&cx, p, BINDER_FUN, x, type_nat(&cx, 0), false, TERM_NONE, TERM_NONE);
        uint32_t function = term_var(&cx, p, f, TERM_NONE), argument = term_var(&cx, p, x, TERM_NONE);
        uint32_t step = term_succ(&cx, p, term_app(&cx, p, function, argument, TERM_NONE), TERM_NONE);
        step = term_fun(&cx, p, b, step, TERM_NONE);
        term_unbind(p, state_binder);
        uint32_t count = term_const(&cx, p, TERM_NAT, DEEP, TERM_NONE);
        function = term_iter(&cx, p, state_binder, step, count, TERM_NONE);
        argument = term_const(&cx, p, TERM_NAT, 0, TERM_NONE);
        for (int i = 0; i < DEEP; i++) argument = term_succ(&cx, p, argument, TERM_NONE);
        term_app(&cx, p, function, argument, TERM_NONE);
        check_program(&cx, p);
        Interp in = {.cx = &cx, .program = p, .step_limit = 10000000};
        const InterpValue *v = interp_run(&in, NULL, NULL, 0);
        const Type *type = type_nat(&cx, 2 * DEEP + 1);
        double *out = ARENA_ARRAY(&cx.arena, double, type->dim);
        interp_vector(&in, v, type, out);
        assert_true(out[2 * DEEP] == 1);
    }
    if (cx.diag.code) fail_msg("%s", cx.diag.message);
    cx_release(&cx);
}

/* An Interp whose run was cut off goes on with the next. */
static void test_goes_on_after_a_failure(void **state) {
    (void)state;
    Cx cx;
    cx_init(&cx);
    Interp in = {.cx = &cx, .step_limit = 20};
    CX_TRY(&cx) {
        in.program = terms_read(&cx, NAT_DEFAULT, "(\\ n N (iter 3 y y n))");
        interp_run(&in, NULL, (const InterpValue *[]){interp_basis(&in, type_nat(&cx, 100), 99)}, 1);
    }
    assert_int_equal(cx.diag.code, ERR_too_large);
    in.steps = 0;
    CX_TRY(&cx) {
        const InterpValue *v = interp_run(&in, NULL, (const InterpValue *[]){interp_basis(&in, type_nat(&cx, 100), 2)}, 1);
        double out[10];
        interp_vector(&in, v, type_nat(&cx, 10), out);
        assert_true(out[3] == 1);
    }
    assert_int_equal(cx.diag.code, ERR_NONE);
    cx_release(&cx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_basis),
        cmocka_unit_test(test_table_is_row_major),
        cmocka_unit_test(test_results_fit_their_types),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_memory_is_bounded),
        cmocka_unit_test(test_deep),
        cmocka_unit_test(test_goes_on_after_a_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
