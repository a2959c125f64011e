/* The canonical form: schema/canonical.md, language.md §7. */
#include "compiler/language/canon.h"
#include "compiler/language/check.h"
#include "tests/support/gen.h"
#include "tests/support/terms.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void hash_of(Nat nat, const char *text, char out[CANON_HASH_TEXT]) {
    Cx cx;
    cx_init(&cx);
    out[0] = 0;
    CX_TRY(&cx) {
        Program *p = terms_read(&cx, nat, text);
        check_program(&cx, p);
        size_t len;
        const unsigned char *bytes = canon_write(&cx, p, &len);
        canon_hash(bytes, len, out);
    }
    if (cx.diag.code) fail_msg("%s: %s", text, cx.diag.message);
    cx_release(&cx);
}

/* The example of canonical.md, byte by byte. */
static void test_example(void **state) {
    (void)state;
    const unsigned char want[] = {0x43, 0x4A, 0x4C, 0x50, 1, 0, 10, 0, 7, 0, 0, 6, 0, 0, 3, 2};
    Cx cx;
    cx_init(&cx);
    CX_TRY(&cx) {
        size_t len;
        const unsigned char *got = canon_write(&cx, terms_read(&cx, NAT_DEFAULT, "(\\ x 2 (if x false true))"), &len);
        assert_int_equal(len, sizeof want);
        assert_memory_equal(got, want, len);
    }
    assert_int_equal(cx.diag.code, ERR_NONE);
    cx_release(&cx);
}

/* Hashes are a public promise: a change here is a new CANON_VERSION. */
static void test_pinned(void **state) {
    (void)state;
    static const struct {
        Nat nat;
        const char *text, *hash;
    } pins[] = {
        {{10, NAT_EXACT}, "(\\ x 2 (if x false true))", 
         "sha256:bc87ce435047c1bbe411011a26003c96b67d560108e0bb8d619a8a10bb969a3d"},
        {{10, NAT_EXACT}, "[n N] [!step (!R[28,28] -o R[28,28])] [a R[28,28]] (iter a y y n)", 
         "sha256:030c8568e3abead071a8202633e57e040f60563e4d0cdb142b5577eddc75c442"},
        {{300, NAT_DROP}, "[!f ((2 -o N) -o 2)] (let g (\\ n N[300] (iter 0 y (succ y) n)) (f (\\ x 2 (g (if x 200 1)))))", 
         "sha256:6195f16b721e9d988ab424da1ed941aadba904527f6812a8961c97ace8e9d6b9"},
        {{4, NAT_SATURATE}, "(\\ !x N (iter x y (iter y z (succ z) x) x))", 
         "sha256:c962a73ea6d97ca12b9aeb91a28e22af4760cf91a381323f0139e177b4f3bb12"},
    };
    for (size_t i = 0; i < sizeof pins / sizeof *pins; i++) {
        char hash[CANON_HASH_TEXT];
        hash_of(pins[i].nat, pins[i].text, hash);
        assert_string_equal(hash, pins[i].hash);
    }
}

static void test_same(void **state) {
    (void)state;
    static const char *const pairs[][2] = {
        {"(\\ x 2 (\\ y 2 (if x y y)))", "(\\ a 2 (\\ x 2 (if a x x)))"},
        {"(\\ x N (let x x (iter x x x 2)))", "(\\ a N (let b a (iter b c c 2)))"},
        {"[b 2] [a 2] (if a b b)", "[a 2] [b 2] (if a b b)"},
        {"[x1 2] (\\ x 2 (if x1 x x))", "[x1 2] (\\ x2 2 (if x1 x2 x2))"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char a[CANON_HASH_TEXT], b[CANON_HASH_TEXT];
        hash_of(NAT_DEFAULT, pairs[i][0], a);
        hash_of(NAT_DEFAULT, pairs[i][1], b);
        assert_string_equal(a, b);
    }
}

static void test_different(void **state) {
    (void)state;
    static const struct {
        Nat nat;
        const char *text;
    } all[] = {
        {{10, NAT_EXACT}, "1"},
        {{10, NAT_EXACT}, "(succ 0)"},
        {{11, NAT_EXACT}, "1"},
        {{10, NAT_DROP}, "1"},
        {{10, NAT_SATURATE}, "1"},
        {{10, NAT_EXACT}, "(let x 1 x)"},
        {{10, NAT_EXACT}, "((\\ x N x) 1)"},
        {{10, NAT_EXACT}, "((\\ !x N x) 1)"},
        {{10, NAT_EXACT}, "((\\ x N[10] x) 1)"},
        {{10, NAT_EXACT}, "[a 2] [b 2] (if a b b)"},
        {{10, NAT_EXACT}, "[a 2] [b 2] (if b a a)"},
        {{10, NAT_EXACT}, "[a 2] [c 2] (if a c c)"},
        {{10, NAT_EXACT}, "[a 2] [!b 2] (if a b b)"},
        {{10, NAT_EXACT}, "(\\ x 2 (\\ y 2 (if x y y)))"},
        {{10, NAT_EXACT}, "(\\ x 2 (\\ y 2 (if y x x)))"},
        {{10, NAT_EXACT}, "[a R[2,3]] a"},
        {{10, NAT_EXACT}, "[a R[3,2]] a"},
        {{10, NAT_EXACT}, "[a R[6]] a"},
    };
    enum { N = sizeof all / sizeof *all };
    char hashes[N][CANON_HASH_TEXT];
    for (int i = 0; i < N; i++) {
        hash_of(all[i].nat, all[i].text, hashes[i]);
        for (int j = 0; j < i; j++) assert_string_not_equal(hashes[i], hashes[j]);
    }
}

/* The same node and binder at every index, the context's binders being sorted in b. */
static void assert_same_tree(Cx *cx, const Program *a, const Program *b) {
    const uint32_t *inputs = program_inputs(cx, a);
    assert_int_equal(a->nnodes, b->nnodes);
    assert_int_equal(a->nbinders, b->nbinders);
    assert_int_equal(a->context, b->context);
    for (uint32_t n = 0; n < a->nnodes; n++) {
        const TermNode *x = &a->nodes[n], *y = &b->nodes[n];
        assert_int_equal(x->kind, y->kind);
        assert_memory_equal(x->kid, y->kid, sizeof x->kid);
        assert_int_equal(x->nat, y->nat);
        assert_int_equal(x->binder, y->binder < b->context ? inputs[y->binder] : y->binder);
    }
    for (uint32_t i = 0; i < b->nbinders; i++) {
        const Binder *x = &a->binders[i < b->context ? inputs[i] : i], *y = &b->binders[i];
        assert_true(x->kind == y->kind && x->smooth == y->smooth && x->type == y->type && x->owner == y->owner &&
                    x->source == y->source);
        if (i < b->context) assert_int_equal(x->name, y->name);
        for (uint32_t j = 0; j < i; j++) assert_int_not_equal(y->name, b->binders[j].name);
    }
}

static GenOptions options_for(uint64_t seed, int i) {
    GenOptions options = GEN_DEFAULT;
    options.seed = seed + (uint64_t)i;
    options.size = 5 + (uint32_t)i % 60;
    options.nat.overflow = (NatPolicy)(i % 3);
    options.discrete = i % 2;
    return options;
}

static void test_round_trip(void **state) {
    (void)state;
    uint64_t seed = rng_seed("canonical round trip");
    for (int i = 0; i < 1000; i++) {
        Cx cx;
        cx_init(&cx);
        GenOptions options = options_for(seed, i);
        CX_TRY(&cx) {
            Program *p = gen_program(&cx, &options);
            size_t len, again;
            const unsigned char *bytes = canon_write(&cx, p, &len);
            Program *q = canon_read(&cx, bytes, len);
            assert_same_tree(&cx, p, q);
            check_program(&cx, q);
            const unsigned char *more = canon_write(&cx, q, &again); /* other bound names */
            assert_int_equal(len, again);
            assert_memory_equal(bytes, more, len);
        }
        if (cx.diag.code) fail_msg("seed %llu: %s", (unsigned long long)options.seed, cx.diag.message);
        cx_release(&cx);
    }
}

/* Reads damaged bytes; what is accepted must be the encoding of what was read. */
static bool read_damaged(const unsigned char *bytes, size_t len) {
    Cx cx;
    cx_init(&cx);
    volatile bool accepted = false;
    CX_TRY(&cx) {
        Program *p = canon_read(&cx, bytes, len);
        size_t again;
        const unsigned char *more = canon_write(&cx, p, &again);
        assert_int_equal(len, again);
        assert_memory_equal(bytes, more, len);
        accepted = true;
    }
    if (!accepted) assert_int_equal(cx.diag.code, ERR_internal);
    cx_release(&cx);
    return accepted;
}

static void test_damage(void **state) {
    (void)state;
    uint64_t seed = rng_seed("canonical damage");
    int refused = 0;
    for (int i = 0; i < 100; i++) {
        Cx cx;
        cx_init(&cx);
        unsigned char bytes[4096];
        volatile size_t length = 0;
        GenOptions options = options_for(seed, i);
        CX_TRY(&cx) {
            size_t len;
            const unsigned char *good = canon_write(&cx, gen_program(&cx, &options), &len);
            length = len < sizeof bytes - 1 ? len : 0;
            memcpy(bytes, good, length);
        }
        cx_release(&cx);
        size_t len = length;
        if (!len) continue;
        assert_true(read_damaged(bytes, len));
        bytes[len] = 0;
        assert_false(read_damaged(bytes, len + 1));
        for (size_t n = 0; n < len; n += 1 + n / 16) assert_false(read_damaged(bytes, n));
        Rng rng = {.seed = options.seed};
        for (int k = 0; k < 100; k++) {
            size_t at = rng_below(&rng, (uint32_t)len);
            unsigned char before = bytes[at];
            bytes[at] = (unsigned char)(rng_chance(&rng, 50) ? before ^ (1u << rng_below(&rng, 8)) : rng_next(&rng) & 15);
            refused += !read_damaged(bytes, len);
            bytes[at] = before;
        }
    }
    assert_true(refused > 1000);
}

/* Encodings a writer would never choose. */
static void test_refuses(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
    } bad[] = {
        {"CJLP\x01\x00\x8A\x00\x00\x02", 10},         /* 10 in two bytes */
        {"CJLP\x01\x00\x00\x00\x02", 9},              /* dim 0 */
        {"CJLP\x01\x03\x0A\x00\x02", 9},              /* a policy too many */
        {"CJLP\x02\x00\x0A\x00\x02", 9},              /* another version */
        {"CJLP\x01\x00\x0A\x00\x0B", 9},              /* a tag too many */
        {"CJLP\x01\x00\x0A\x00\x00\x00", 10},         /* a bound variable that nothing binds */
        {"CJLP\x01\x00\x0A\x00\x01\x00", 10},         /* a context variable of no context */
        {"CJLP\x01\x00\x0A\x02\x01" "b\x00\x00\x01" "a\x00\x00\x02", 17},  /* b before a */
        {"CJLP\x01\x00\x0A\x02\x01" "a\x00\x00\x01" "a\x00\x00\x02", 17},  /* a twice */
        {"CJLP\x01\x00\x0A\x01\x02" "if\x00\x00\x02", 14},                 /* a keyword */
        {"CJLP\x01\x00\x0A\x00\x07\x00\x03\x04\x00\x00\x00\x02", 16},      /* a linear arrow from a smooth function */
        {"CJLP\x01\x00\x0A\x00\x07\x00\x02\x00\x02", 13},                  /* R[] */
        {"CJLP\x01\x00\x0A\x00\x07\x02\x00\x02", 12},                      /* flag 2 */
        {"CJLP\x01\x00\x0A\x00\x04\x81\x80\x80\x80\x80\x80\x80\x10", 16},  /* 2^53 + 1 */
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (read_damaged((const unsigned char *)bad[i].bytes, bad[i].len)) fail_msg("case %zu is accepted", i);
    assert_true(read_damaged((const unsigned char *)"CJLP\x01\x00\x0A\x00\x04\x80\x80\x80\x80\x80\x80\x80\x10", 17)); /* 2^53 */
}

/* Depth costs no C stack: a hundred thousand λs, or that many domains of a type. */
static void test_deep(void **state) {
    (void)state;
    enum { DEEP = 100000 };
    Buf b;
    buf_init(&b);
    buf_put(&b, "CJLP\x01\x00\x0A\x00", 8);
    for (int i = 0; i < DEEP; i++) buf_put(&b, "\x07\x01\x00", 3);
    for (int i = 0; i < DEEP; i++) buf_u8(&b, 5);
    buf_put(&b, "\x04\x00", 2);
    assert_true(read_damaged(b.data, b.len));
    buf_clear(&b);
    buf_put(&b, "CJLP\x01\x00\x0A\x00\x07\x00", 10);
    for (int i = 0; i < DEEP; i++) buf_u8(&b, 3);
    for (int i = 0; i < DEEP + 1; i++) buf_u8(&b, 0);
    buf_u8(&b, 2);
    assert_false(read_damaged(b.data, b.len));
    buf_release(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_example),    cmocka_unit_test(test_pinned), cmocka_unit_test(test_same),
        cmocka_unit_test(test_different),  cmocka_unit_test(test_round_trip), cmocka_unit_test(test_damage),
        cmocka_unit_test(test_refuses),    cmocka_unit_test(test_deep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
