/* The checker against language.md §3: a table of programs, and a naive checker on random ones. */
#include "compiler/language/check.h"
#include "tests/support/gen.h"
#include "tests/support/naive_check.h"
#include "tests/support/terms.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

typedef struct {
    const char *text, *code; /* code: the error, or the type with bounds erased */
    AtKind kind;
    uint32_t at; /* the blamed node or binder */
} Case;

static const Case cases[] = {
    {"(\\ x 2 (if x false true))", "2 -o 2", 0, 0},
    {"[a 2] [b 2] (if a (if b false true) b)", "2", 0, 0},
    {"(\\ x (2 -o 2) (\\ y 2 (x y)))", "(2 -o 2) -o 2 -o 2", 0, 0},
    {"(\\ !x 2 (if x x x))", "!2 -o 2", 0, 0},
    {"(\\ !x 2 true)", "!2 -o 2", 0, 0},
    {"(\\ n N (iter true y (if y false true) n))", "N -o 2", 0, 0},
    {"[s R[3]] [!f (R[3] -o R[3])] [n N] (iter s y (f y) n)", "R[3]", 0, 0},
    {"[b 2] (let g (\\ x 2 (if x false true)) (g (g b)))", "2", 0, 0},
    {"[!x 2] true", "2", 0, 0},
    {"(\\ n N[7] (succ n))", "N -o N", 0, 0},
    {"[!g (!(!2 -o 2) -o 2)] (g (\\ !x 2 x))", "2", 0, 0},
    {"(if true (\\ x N x) (\\ x N[3] x))", "N -o N", 0, 0},
    /* a let uses its term as often as its variable is used, even in one branch only of a branching that both take */
    {"[b 2] (let g b (if g true false))", "2", 0, 0},
    {"[b 2] [c 2] (if c (let g b g) b)", "2", 0, 0},
    /* the state may be used any number of times when the base has nothing linear */
    {"[n N] (iter true y (if y y false) n)", "2", 0, 0},

    {"x", "unbound_variable", AT_NODE, 0},
    {"(if true (\\ y 2 y) y)", "unbound_variable", AT_NODE, 3},
    {"(iter true y y (if y 1 2))", "unbound_variable", AT_NODE, 2},
    {"(\\ x 2 true)", "linear_unused", AT_BINDER, 0},
    {"[x 2] ((\\ y 2 true) x)", "linear_unused", AT_BINDER, 1},
    {"[x N] true", "linear_unused", AT_BINDER, 0},
    {"(\\ x N (\\ x 2 x))", "linear_unused", AT_BINDER, 0},
    {"(let x true false)", "linear_unused", AT_BINDER, 0},
    {"(iter true y false z)", "linear_unused", AT_BINDER, 0},
    {"[x 2] (if x x (if x false true))", "linear_reused", AT_NODE, 1},
    {"[f (2 -o 2)] (f (f true))", "linear_reused", AT_NODE, 1},
    {"[c 2] [x 2] (if c x true)", "linear_branches", AT_NODE, 1},
    {"[c 2] [x 2] (if c true x)", "linear_branches", AT_NODE, 2},
    {"(\\ x 2 (iter true y (if x y y) 2))", "linear_in_step", AT_NODE, 1},
    {"[b 2] [f (2 -o 2)] [n N] (iter b y (f y) n)", "linear_in_step", AT_NODE, 1},
    {"[!g (!2 -o 2)] [x 2] (g x)", "linear_smooth", AT_NODE, 1},
    {"[!g (!2 -o 2)] [x 2] [n N] (iter x y (g y) n)", "linear_smooth", AT_NODE, 2},
    /* the cause inside is passed on */
    {"[!g (!2 -o 2)] [x 2] (iter true y (if (g x) y y) 2)", "linear_smooth", AT_NODE, 2},
    {"[!g (!2 -o 2)] [x 2] [c 2] (if c (g x) true)", "linear_smooth", AT_NODE, 2},
    {"[x 2] (let z x (if z z true))", "linear_reused", AT_NODE, 2},
    {"[x 2] [c 2] (let z x (if c z true))", "linear_branches", AT_NODE, 2},
    {"[!g (!2 -o 2)] [x 2] (g (if x x true))", "linear_reused", AT_NODE, 2},
    /* two uses are reused whatever they were */
    {"[!g (!2 -o 2)] [x 2] (if (g x) x x)", "linear_reused", AT_NODE, 3},
    {"[x 2] (iter x y (if x y y) 2)", "linear_reused", AT_NODE, 1},
    /* both branches: the first cause stays */
    {"[!g (!2 -o 2)] [x 2] [c 2] (if c (g x) (if x x x))", "linear_smooth", AT_NODE, 2},
    {"[!g (!2 -o 2)] [x 2] [c 2] (if c (iter true y (if x y y) 1) (g x))", "linear_in_step", AT_NODE, 2},

    {"(iter true y (if y 0 1) 0)", "type_mismatch", AT_NODE, 4},
    {"(iter true y y true)", "type_mismatch", AT_NODE, 2},
    {"(if 1 true false)", "type_mismatch", AT_NODE, 0},
    {"(if true true 0)", "type_mismatch", AT_NODE, 2},
    {"(succ true)", "type_mismatch", AT_NODE, 0},
    {"(true false)", "not_a_function", AT_NODE, 0},
    {"((\\ x 2 x) 3)", "type_mismatch", AT_NODE, 2},
    {"((\\ f (2 -o 2) (f true)) (\\ !x 2 x))", "type_mismatch", AT_NODE, 5},
    {"[g (!2 -o 2)] (g true)", "not_a_vector", AT_BINDER, 0},
    {"(\\ g (!2 -o 2) (g true))", "not_a_vector", AT_BINDER, 0},
    {"(iter (\\ !x 2 x) f (\\ !x 2 (f x)) 2)", "not_a_vector", AT_NODE, 1},

    /* several errors: first in post-order, binders on leaving, the context last and in order of declaration */
    {"[x 2] (succ true)", "type_mismatch", AT_NODE, 0},
    {"[x 2] (\\ y 2 true)", "linear_unused", AT_BINDER, 1},
    {"(if (\\ y 2 true) z true)", "linear_unused", AT_BINDER, 0},
    {"[z 2] [a 2] true", "linear_unused", AT_BINDER, 0},
    /* what is wrong with a condition, function, base or step is said before what is wrong behind it */
    {"(if 1 z true)", "type_mismatch", AT_NODE, 0},
    {"(if (if 1 z true) w true)", "type_mismatch", AT_NODE, 0},
    {"(if z 1 true)", "unbound_variable", AT_NODE, 0},
    {"(true z)", "not_a_function", AT_NODE, 0},
    {"(iter (\\ !x 2 x) f z 2)", "not_a_vector", AT_NODE, 1},
    {"(iter 0 y (\\ !x 2 y) z)", "type_mismatch", AT_NODE, 2},
    {"(iter 0 y true z)", "linear_unused", AT_BINDER, 0},
    {"[z 2] [a (!2 -o 2)] true", "linear_unused", AT_BINDER, 0},
};

/* The program of a case, checked; *type is its type's text. */
static Diag check_text(Cx *cx, const char *text, char *type, size_t room) {
    CX_TRY(cx) {
        Program *p = terms_read(cx, NAT_DEFAULT, text);
        Checked *checked = check_program(cx, p);
        snprintf(type, room, "%s", type_text(cx, checked->types[program_root(p)]->erased));
    }
    return cx->diag;
}

static void test_table(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const Case *want = &cases[i];
        Cx cx;
        cx_init(&cx);
        char type[200] = "";
        Diag diag = check_text(&cx, want->text, type, sizeof type);
        const char *got = diag.code ? err_name(diag.code) : type;
        if (strcmp(got, want->code) != 0 || (diag.code && (diag.at.kind != want->kind || diag.at.index != want->at)))
            fail_msg("%s: %s at %d/%u (%s), wanted %s at %d/%u", want->text, got, diag.at.kind, diag.at.index,
                     diag.code ? diag.message : "", want->code, want->kind, want->at);
        cx_release(&cx);
    }
}

static void assert_message(const char *text, const char *message, const char *hint) {
    Cx cx;
    cx_init(&cx);
    char type[200];
    Diag diag = check_text(&cx, text, type, sizeof type);
    assert_true(diag.code);
    assert_string_equal(diag.message, message);
    if (hint) assert_string_equal(diag.hint, hint);
    cx_release(&cx);
}

static void test_messages(void **state) {
    (void)state;
    assert_message("[width 2] (if widht true false)", "The variable `widht` is not bound here.", "Did you mean `width`?");
    assert_message("[x 2] (let z x (if z z true))", "The linear variable `x` is used more than once, through `z`.",
                   "Declare it as `x : !2` to use it any number of times.");
    assert_message("[f (2 -o 2)] (f (f true))", "The linear variable `f` is used more than once.",
                   "Declare it as `f : !(2 -o 2)` to use it any number of times.");
    assert_message("((\\ x 2 x) 3)", "The argument has type N where 2 is expected.", NULL);
}

static void test_reuse_names_both_places(void **state) {
    (void)state;
    Cx cx;
    cx_init(&cx);
    char type[200];
    Diag diag = check_text(&cx, "[f (2 -o 2)] (f (f true))", type, sizeof type);
    assert_int_equal(diag.at.index, 1);
    assert_int_equal(diag.other.kind, AT_NODE);
    assert_int_equal(diag.other.index, 0);
    cx_release(&cx);
}

static void test_grades(void **state) {
    (void)state;
    Cx cx;
    cx_init(&cx);
    Checked *volatile checked = NULL;
    CX_TRY(&cx) {
        Program *p = terms_read(&cx, NAT_DEFAULT, "(\\ a 2 (\\ !b 2 (let x true (let y b (if (if x x x) y (iter a s s 3))))))");
        p->binders[0].smooth = true;
        checked = check_program(&cx, p);
    }
    assert_int_equal(cx.diag.code, ERR_NONE);
    /* a, b smooth; x used twice; y in one branch; s once */
    const Grade want[] = {GRADE_OMEGA, GRADE_OMEGA, GRADE_OMEGA, GRADE_OMEGA, GRADE_ONE};
    for (int b = 0; b < 5; b++) assert_int_equal(checked->grades[b], want[b]);
    cx_release(&cx);
}

static void test_accepts_generated(void **state) {
    (void)state;
    uint64_t seed = rng_seed("accepts generated");
    for (int i = 0; i < 1000; i++) {
        Cx cx;
        cx_init(&cx);
        GenOptions options = GEN_DEFAULT;
        options.seed = seed + (uint64_t)i;
        options.discrete = i % 2;
        CX_TRY(&cx) { check_program(&cx, gen_program(&cx, &options)); }
        if (cx.diag.code) fail_msg("seed %llu: %s", (unsigned long long)options.seed, cx.diag.message);
        cx_release(&cx);
    }
}

/* Makes a few smooth variables linear and lets a few uses name another variable of the same type. */
static void damage(Program *p, Rng *rng) {
    for (uint32_t b = 0; b < p->nbinders; b++)
        if (p->binders[b].smooth && p->binders[b].type->vector && rng_chance(rng, 40)) p->binders[b].smooth = false;
    for (uint32_t n = 0; n < p->nnodes; n++) {
        TermNode *t = &p->nodes[n];
        if (t->kind != TERM_VAR || p->context == 0 || !rng_chance(rng, 5)) continue;
        uint32_t other = rng_below(rng, p->context);
        if (p->binders[t->binder].type && type_equal(p->binders[other].type, p->binders[t->binder].type)) t->binder = other;
    }
}

static void test_agrees_with_naive(void **state) {
    (void)state;
    uint64_t seed = rng_seed("agrees with naive");
    int wrong[ERR_COUNT] = {0};
    for (int i = 0; i < 3000; i++) {
        Cx cx;
        cx_init(&cx);
        GenOptions options = GEN_DEFAULT;
        options.seed = seed + (uint64_t)i;
        Program *volatile p = NULL;
        CX_TRY(&cx) {
            p = gen_program(&cx, &options);
            Rng rng = {.seed = options.seed};
            damage(p, &rng);
            check_program(&cx, p);
        }
        Diag got = cx.diag, want = {0};
        CX_TRY(&cx) { want = naive_check(&cx, p); }
        if (got.code != want.code || got.at.index != want.at.index || got.other.index != want.other.index)
            fail_msg("seed %llu: %s at %u/%u, naively %s at %u/%u", (unsigned long long)options.seed, err_name(got.code),
                     got.at.index, got.other.index, err_name(want.code), want.at.index, want.other.index);
        wrong[got.code]++;
        cx_release(&cx);
    }
    /* The damage must have reached every rule, or this test shows nothing. */
    const ErrCode all[] = {ERR_NONE,           ERR_linear_unused, ERR_linear_reused, ERR_linear_branches,
                           ERR_linear_in_step, ERR_linear_smooth};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) assert_true(wrong[all[i]] > 0);
}

/* Of this process's own time, whoever else has the processor meanwhile. */
static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

enum { DEEP = 10000 };

/* let x = if x then false else true in …, DEEP deep, over `inputs` variables used at the end. */
static void build_lets(Cx *cx, Program *p, int deep) {
    Sym x = sym_intern(cx, "x", 1);
    uint32_t open[DEEP], node = term_const(cx, p, TERM_TRUE, 0, TERM_NONE);
    for (int i = 0; i < deep; i++) {
        open[i] = term_bind(cx, p, BINDER_LET, x, NULL, false, node, TERM_NONE);
        uint32_t c = term_var(cx, p, x, TERM_NONE);
        uint32_t then = term_const(cx, p, TERM_FALSE, 0, TERM_NONE), otherwise = term_const(cx, p, TERM_TRUE, 0, TERM_NONE);
        node = term_if(cx, p, c, then, otherwise, TERM_NONE);
    }
    for (int i = deep; i-- > 0;) node = term_let(cx, p, open[i], node, TERM_NONE);
}

/* let v₀ = w₀ in let v₁ = w₁ in … if vᵢ then vⱼ else (if …), DEEP deep: every branch uses other variables, so that each join
 * makes all of them ω, and the sets grow to DEEP. */
static void build_ifs(Cx *cx, Program *p, int deep) {
    static uint32_t bound[DEEP], conditions[DEEP], branches[DEEP];
    for (int i = 0; i < deep; i++) {
        char name[16];
        int len = snprintf(name, sizeof name, "v%d", i);
        uint32_t source = term_const(cx, p, TERM_TRUE, 0, TERM_NONE);
        bound[i] = term_bind(cx, p, BINDER_LET, sym_intern(cx, name, (size_t)len), NULL, false, source, TERM_NONE);
    }
    for (int i = 0; i < deep; i++) {
        conditions[i] = term_var_of(cx, p, bound[i], TERM_NONE);
        branches[i] = term_var_of(cx, p, bound[i * 7 % deep], TERM_NONE);
    }
    uint32_t node = term_const(cx, p, TERM_TRUE, 0, TERM_NONE);
    for (int i = deep; i-- > 0;) node = term_if(cx, p, conditions[i], branches[i], node, TERM_NONE);
    for (int i = deep; i-- > 0;) node = term_let(cx, p, bound[i], node, TERM_NONE);
}

static double time_once(void (*build)(Cx *, Program *, int), int deep) {
    Cx cx;
    cx_init(&cx);
    volatile double took = 0;
    CX_TRY(&cx) {
        Program *p = program_new(&cx, NAT_DEFAULT);
        build(&cx, p, deep);
        double start = seconds();
        check_program(&cx, p);
        took = seconds() - start;
    }
    if (cx.diag.code) fail_msg("%s", cx.diag.message);
    cx_release(&cx);
    return took;
}

/* The least of a few. */
static double time_check(void (*build)(Cx *, Program *, int), int deep) {
    double least = 1e9;
    for (int i = 0; i < 5; i++) {
        const double took = time_once(build, deep);
        least = took < least ? took : least;
    }
    return least;
}

/* Eight times as deep takes some eight times as long, and twice or three times that where the few fit a cache; what is quadratic takes 64 times, and more. */
static void test_deep_is_fast(void **state) {
    (void)state;
    void (*const builds[])(Cx *, Program *, int) = {build_lets, build_ifs};
    for (int i = 0; i < 2; i++) {
        const double few = time_check(builds[i], DEEP / 8), many = time_check(builds[i], DEEP);
        printf("%d deep: %.2f ms, %d deep: %.2f ms\n", DEEP / 8, 1e3 * few, DEEP, 1e3 * many);
        assert_true(many < 60 * few); /* and what fits a cache takes less than an eighth */
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_reuse_names_both_places),
        cmocka_unit_test(test_grades),
        cmocka_unit_test(test_accepts_generated),
        cmocka_unit_test(test_agrees_with_naive),
        cmocka_unit_test(test_deep_is_fast),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
