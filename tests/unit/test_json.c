/* Strict JSON, tensors in JSON, and decimal numbers. */
#include "schema/formats/json.h"
#include "schema/formats/number.h"
#include "schema/limits.h"
#include "tests/support/gen.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static ErrCode parse(Json *json, const char *text, Err *err) {
    *err = (Err){0};
    return json_parse(json, text, strlen(text), err) ? ERR_NONE : err->code;
}

static void must_parse(Json *json, const char *text) {
    Err err = {0};
    if (parse(json, text, &err)) fail_msg("%s: %s", text, err.message);
}

static void test_strictness(void **state) {
    (void)state;
    static const char *const good[] = {
        "null", " true\n", "0", "-0", "1.5e-7", "\"\"", "[]", "{}", "[[],{}]", "\"\\u00e9\\ud83d\\ude00\\n\\/\"", "{\"a\":1,\"A\":2}",
        "[1,\"NaN\"]", "\t[ 1 , 2 ]\r\n", "\357\273\2771", "\357\273\277 {\"a\":[1,2]}", "\"\x7f\xc3\xa9\xf0\x9f\x98\x80\"", "1e308",
        "1.0000000000000000000000000000000000000000000000000000000000000000000000000000000000000001"};
    static const char *const refused[] = {
        "", " ", "nul", "True", "01", "1.", ".5", "+1", "-", "1e", "1e+", "0x10", "NaN", "Infinity", "1e999", "-1e400", "[1e309]", "[1,]", "[,1]",
        "[1 2]", "[", "]", "{", "}", "[1}", "{\"a\":1]", "{\"a\"}", "{\"a\":}", "{a:1}", "{\"a\":1,}", "{,}", "{1:2}", "\"", "\"a", "\"\\x\"",
        "\"\\", "\"\\u12\"", "\"\\u123g\"", "\"\\ud800\"", "\"\\udc00\"", "\"\\ud800\\u0041\"", "\"\\u0000\"", "\"a\nb\"", "\"\x01\"", "'a'", "1 2",
        "{} {}", "// c\n1", "\"\xff\"", "\"\xc0\x80\"", "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"", "\"\xe2\x82\"", "1\357\273\277", "\357\273\277\357\273\2771", "\357\273\277", "\357\273", "[1]x",
        "{\"a\":1,\"a\":2}", "{\"a\":1,\"\\u0061\":2}", "[{\"b\":{\"x\":1,\"y\":2,\"x\":3}}]", "\v1"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        Json json;
        must_parse(&json, good[i]);
        json_release(&json);
    }
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        Json json;
        Err err = {0};
        if (parse(&json, refused[i], &err) != ERR_bad_json) fail_msg("accepted, or not bad_json: %s", refused[i]);
        assert_true(strlen(err.message) > 10);
    }
    Json json;
    Err err = {0};
    assert_false(json_parse(&json, "1\0", 2, &err));
    assert_int_equal(err.code, ERR_bad_json);
    err = (Err){0};
    assert_false(json_parse(&json, "\"\0\"", 3, &err));
    assert_int_equal(err.code, ERR_bad_json);
}

static void test_messages(void **state) {
    (void)state;
    Json json;
    Err err = {0};
    parse(&json, "{\"a\": [1, }", &err);
    assert_string_equal(err.message, "The body is not acceptable JSON: `}` where a value should be at byte 10.");
    parse(&json, "[true", &err);
    assert_string_equal(err.message, "The body is not acceptable JSON: it ends where `,` or `]` should be, at byte 5.");
    static const struct {
        const char *text, *says;
    } hints[] = {
        {"{\"x\": [1.0, NaN]}", "`N` where a value should be at byte 12; write it as the string \"NaN\"."},
        {"[nan]", "`n` where a value or `]` should be at byte 1; write it as the string \"NaN\"."},
        {"[1,-Infinity]", "a malformed number at byte 3; write it as the string \"-Infinity\"."},
        {"[-inf]", "a malformed number at byte 1; write it as the string \"-Infinity\"."},
        {"Infinity", "`I` where a value should be at byte 0; write it as the string \"Infinity\"."},
        {"[True]", "`T` where a value or `]` should be at byte 1; JSON writes true."},
        {"{\"a\":None}", "`N` where a value should be at byte 5; JSON writes null."},
        {"{'a':1}", "`'` where a key in double quotes or `}` should be at byte 1; JSON has strings in double quotes."},
        {"['a']", "`'` where a value or `]` should be at byte 1; JSON has strings in double quotes."},
        {"[1 // one\n]", "`/` where `,` or `]` should be at byte 3; JSON has no comments."},
        {"# c\n1", "`#` where a value should be at byte 0; JSON has no comments."},
        {"[1,]", "`]` where a value should be at byte 3; the comma before it is one too many."},
        {"[1, ]", "`]` where a value should be at byte 4; the comma before it is one too many."},
        {"{\"a\":1,}", "`}` where a key in double quotes should be at byte 7; the comma before it is one too many."},
        {"{\"a\":]}", "`]` where a value should be at byte 5."},
        {"[+1]", "`+` where a value or `]` should be at byte 1; JSON's numbers have no `+`."},
        {"[.5]", "`.` where a value or `]` should be at byte 1; JSON's numbers have a digit before the point."},
        {"{\"a\":\302\2401}", "U+00A0, a no-break space, where a value should be at byte 5; put a space there."},
        {"{\342\200\234a\342\200\235:1}", "U+201C, a curly quote, where a key in double quotes or `}` should be at byte 1; put `\"` there."},
        {"[1,\342\210\2222]", "U+2212, a minus sign, where a value should be at byte 3; put `-` there."},
        {"[1\357\274\2142]", "U+FF0C, a full-width form, where `,` or `]` should be at byte 2; put `,` there."},
        {"[\342\200\2131]", "U+200B, a zero-width space, where a value or `]` should be at byte 1; take it out."},
        {"[1]\357\273\277", "U+FEFF, a byte order mark, where the end should be at byte 3; take it out."},
        {"\377\376{", "the byte 0xFF where a value should be at byte 0; JSON comes in UTF-8."},
        {"[\303\251]", "the byte 0xC3 where a value or `]` should be at byte 1."},
        {"[nano]", "`n` where a value or `]` should be at byte 1."},
    };
    for (size_t i = 0; i < sizeof hints / sizeof *hints; i++) {
        char want[200];
        snprintf(want, sizeof want, "The body is not acceptable JSON: %s", hints[i].says);
        assert_int_equal(parse(&json, hints[i].text, &err), ERR_bad_json);
        assert_string_equal(err.message, want);
    }
    parse(&json, "{\"p\":[0,{\"q~/\":{\"k\":1,\"k\":1}}]}", &err);
    assert_string_equal(err.message, "The key \"k\" stands twice in one object.");
    assert_string_equal(err.pointer, "/p/1/q~0~1");
}

static void test_sizes(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t n, first, last;
    } cases[] = {
        {"[]", 0, 0, 0}, {"[0]", 1, 0, 0}, {"[ 2 ,\n3]", 2, 2, 3}, {"[9007199254740992,7]", 2, 9007199254740992, 7},
        {"[1,2,3]", SIZE_MAX, 0, 0}, {"[2.0]", SIZE_MAX, 0, 0}, {"[2e0]", SIZE_MAX, 0, 0}, {"[-1]", SIZE_MAX, 0, 0}, {"[-0]", SIZE_MAX, 0, 0},
        {"[9007199254740993]", SIZE_MAX, 0, 0}, {"[99999999999999999999999]", SIZE_MAX, 0, 0}, {"[1,\"NaN\"]", SIZE_MAX, 0, 0},
        {"[[1]]", SIZE_MAX, 0, 0}, {"[true]", SIZE_MAX, 0, 0}, {"2", SIZE_MAX, 0, 0}, {"\"2\"", SIZE_MAX, 0, 0}, {"[[]]", SIZE_MAX, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Json json;
        size_t out[2] = {0};
        must_parse(&json, cases[i].text);
        if (json_sizes(&json, json.root, out, 2) != cases[i].n) fail_msg("%s", cases[i].text);
        if (cases[i].n && cases[i].n != SIZE_MAX) assert_true(out[0] == cases[i].first && out[cases[i].n - 1] == cases[i].last);
        json_release(&json);
    }
}

static void test_depth(void **state) {
    (void)state;
    for (int over = 0; over < 2; over++)
        for (int numbers = 0; numbers < 2; numbers++) {
            size_t n = LIMIT_JSON_DEPTH + (size_t)over;
            char *text = malloc(2 * n + 2);
            memset(text, '[', n);
            text[n] = '1';
            memset(text + n + (size_t)numbers, ']', n);
            Json json;
            Err err = {0};
            bool ok = json_parse(&json, text, 2 * n + (size_t)numbers, &err);
            assert_int_equal(ok, !over);
            if (ok) json_release(&json);
            else assert_int_equal(err.code, ERR_too_large);
            free(text);
        }
}

static void test_many_keys(void **state) {
    (void)state;
    Buf text;
    buf_init(&text);
    enum { KEYS = 200000 };
    for (int i = 0; i < KEYS; i++) buf_printf(&text, "%c\"k%d\":%d", i ? ',' : '{', i, i);
    size_t len = text.len;
    buf_putc(&text, '}');
    Json json;
    Err err = {0};
    assert_true(json_parse(&json, (char *)text.data, text.len, &err));
    assert_true(json_get(json.root, "k199999")->valuedouble == 199999);
    json_release(&json);
    text.len = len;
    buf_puts(&text, ",\"k77\":0}");
    assert_false(json_parse(&json, (char *)text.data, text.len, &err));
    assert_int_equal(err.code, ERR_bad_json);
    buf_release(&text);
}

static void test_kinds(void **state) {
    (void)state;
    static const struct {
        const char *text;
        JsonKind kind;
    } cases[] = {{"null", JSON_NULL}, {"false", JSON_BOOL}, {"2", JSON_NUMBER}, {"\"NaN\"", JSON_STRING}, {"[]", JSON_ARRAY}, {"{}", JSON_OBJECT},
                 {"[1]", JSON_NUMBERS}, {"[[],[1]]", JSON_NUMBERS}, {"[\"NaN\",[[\"-Infinity\",0]]]", JSON_NUMBERS}, {"[\"NaN\"]", JSON_ARRAY},
                 {"[1,\"x\"]", JSON_ARRAY}, {"[1,true]", JSON_ARRAY}, {"[[1],{}]", JSON_ARRAY}, {"[[1],[null]]", JSON_ARRAY}, {"[[]]", JSON_ARRAY}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Json json;
        must_parse(&json, cases[i].text);
        if (json_kind(json.root) != cases[i].kind) fail_msg("%s", cases[i].text);
        json_release(&json);
    }
}

static void test_items(void **state) {
    (void)state;
    Json json;
    must_parse(&json, "{\"wrt\": [0, \"NaN\", [ [3,4] , []] ,-2.5 ],\"mixed\":[1,[2,3],\"f\"],\"none\":[],\"inner\":[[1],[2]]}");
    JsonNode wrt = json_get(json.root, "wrt"), mixed = json_get(json.root, "mixed");
    assert_int_equal(json_kind(wrt), JSON_NUMBERS);
    assert_int_equal(json_count(&json, wrt), 4);
    JsonNode at = json_items(&json, wrt);
    assert_ptr_equal(at, json_items(&json, wrt));
    assert_int_equal(json_count(&json, wrt), 4);
    assert_true(json_kind(at) == JSON_NUMBER && at->valuedouble == 0);
    at = at->next;
    assert_true(json_kind(at) == JSON_STRING && strcmp(at->valuestring, "NaN") == 0);
    at = at->next;
    assert_int_equal(json_kind(at), JSON_NUMBERS);
    assert_int_equal(json_count(&json, at), 2);
    JsonNode deep = json_items(&json, at);
    assert_int_equal(json_count(&json, deep), 2);
    assert_int_equal(json_count(&json, deep->next), 0);
    assert_null(json_items(&json, deep->next));
    at = at->next;
    assert_true(at->valuedouble == -2.5 && !at->next);
    assert_int_equal(json_kind(mixed), JSON_ARRAY);
    assert_int_equal(json_count(&json, mixed), 3);
    assert_int_equal(json_kind(json_items(&json, mixed)->next), JSON_NUMBERS);
    assert_null(json_items(&json, json_get(json.root, "none")));
    assert_null(json_get(json.root, "WRT"));
    json_release(&json);
}

static void test_tensors(void **state) {
    (void)state;
    Json json;
    Err err = {0};
    Tensor t;
    must_parse(&json, "[[[1, -2.5e0,3],[\"NaN\",\"Infinity\",\"-Infinity\"]]]");
    assert_true(json_numbers(&json, json.root, &t, &err));
    assert_true(t.rank == 3 && t.shape[0] == 1 && t.shape[1] == 2 && t.shape[2] == 3 && t.count == 6);
    assert_true(t.data[1] == -2.5 && isnan(t.data[3]) && t.data[4] == INFINITY && t.data[5] == -INFINITY);
    tensor_release(&t);
    json_release(&json);
    static const char *const whole[] = {"[\"NaN\"]", "[[\"NaN\"],[\"Infinity\"]]", "[[1,2],[\"N\\u0061N\",3]]"};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        must_parse(&json, whole[i]);
        if (!json_numbers(&json, json.root, &t, &err)) fail_msg("%s: %s", whole[i], err.message);
        tensor_release(&t);
        json_release(&json);
    }
    static const char *const refused[] = {"[]", "[[]]", "[[1],[]]", "[[],[1]]", "[1,[2]]", "[[1],2]", "[[1,2],[3]]", "[[[1]],[[2],[3]]]", "3", "\"NaN\"",
                                          "[\"nan\"]", "[[1],[true]]", "{}", "[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        must_parse(&json, refused[i]);
        err = (Err){0};
        if (json_numbers(&json, json.root, &t, &err) || err.code != ERR_bad_tensor) fail_msg("%s", refused[i]);
        assert_null(t.data);
        json_release(&json);
    }
}

typedef struct {
    JsonNode term, list;
    const char *source;
    bool decode;
    uint64_t dim;
    double rate;
    int overflow;
} Request;
static const char *const policies[] = {"exact", "drop", "saturate", NULL};
static const Field request_fields[] = {{"term", FIELD_NODE, offsetof(Request, term), false, NULL},
                                       {"list", FIELD_ARRAY, offsetof(Request, list), false, NULL},
                                       {"source", FIELD_STRING, offsetof(Request, source), true, NULL},
                                       {"decode", FIELD_BOOL, offsetof(Request, decode), false, NULL},
                                       {"dim", FIELD_UINT, offsetof(Request, dim), false, NULL},
                                       {"rate", FIELD_DOUBLE, offsetof(Request, rate), false, NULL},
                                       {"overflow", FIELD_ENUM, offsetof(Request, overflow), false, policies},
                                       {NULL, FIELD_NODE, 0, false, NULL}};

static void test_decode(void **state) {
    (void)state;
    Json json;
    Err err = {0};
    Request r = {.dim = 10, .rate = 0.5};
    must_parse(&json, "{\"overflow\":\"saturate\",\"source\":\"x\",\"list\":[1],\"decode\":true,\"dim\":9007199254740992}");
    assert_true(json_decode(json.root, "", request_fields, &r, &err));
    assert_true(r.overflow == 2 && strcmp(r.source, "x") == 0 && r.decode && r.dim == UINT64_C(1) << 53 && r.rate == 0.5 && !r.term && r.list);
    json_release(&json);
    static const struct {
        const char *text, *pointer;
    } refused[] = {{"[1]", "/in"}, {"{}", "/in"}, {"{\"source\":1}", "/in/source"}, {"{\"source\":\"\",\"Source\":1}", "/in/Source"},
                   {"{\"source\":\"\",\"dim\":-1}", "/in/dim"}, {"{\"source\":\"\",\"dim\":1.5}", "/in/dim"}, {"{\"source\":\"\",\"dim\":1e17}", "/in/dim"},
                   {"{\"source\":\"\",\"dim\":9007199254740993}", "/in/dim"}, {"{\"source\":\"\",\"dim\":0.99999999999999999999}", "/in/dim"},
                   {"{\"source\":\"\",\"dim\":1e-400}", "/in/dim"}, {"{\"source\":\"\",\"dim\":9007199254740991.9}", "/in/dim"},
                   {"{\"source\":\"\",\"overflow\":\"wrap\"}", "/in/overflow"}, {"{\"source\":\"\",\"list\":{}}", "/in/list"},
                   {"{\"source\":\"\",\"decode\":null}", "/in/decode"}, {"{\"a/b\":0}", "/in/a~1b"}};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        must_parse(&json, refused[i].text);
        err = (Err){0};
        assert_false(json_decode(json.root, "/in", request_fields, &r, &err));
        assert_int_equal(err.code, ERR_bad_request);
        assert_string_equal(err.pointer, refused[i].pointer);
        json_release(&json);
    }
}

/* Naturals are read as they are written, wherever a double would be another number. */
static void test_naturals(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool is;
        uint64_t n;
        bool rounded;
    } cases[] = {
        {"0", true, 0, false}, {"7.0", true, 7, false}, {"7e0", true, 7, false}, {"70e-1", true, 7, false}, {"9007199254740992", true, UINT64_C(1) << 53, false},
        {"9.007199254740992e15", true, UINT64_C(1) << 53, false}, {"1.00000000000000000000000000", true, 1, false},
        {"9007199254740991.0000000000", true, (UINT64_C(1) << 53) - 1, false}, {"9007199254740993", false, 0, true}, {"9007199254740992.5", false, 0, true},
        {"1.00000000000000000000000001", false, 0, true}, {"0.99999999999999999999", false, 0, true}, {"4503599627370497.0001", false, 0, true},
        {"1e-400", false, 0, true}, {"-0.99999999999999999999", false, 0, true}, {"4503599627370497.5", false, 0, true}, {"2251799813685249.5", false, 0, false}, {"18446744073709551617", false, 0, false},
        {"1e300", false, 0, false}, {"-1", false, 0, false}, {"0.1234567890123456789", false, 0, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int form = 0; form < 3; form++) { /* by itself, in an array that is cut out, in one that is not */
            static const char *const forms[] = {"%s", "[%s]", "[%s,null]"};
            char text[100];
            Json json;
            uint64_t n = 0;
            snprintf(text, sizeof text, forms[form], cases[i].text);
            must_parse(&json, text);
            const JsonNode node = form ? json_items(&json, json.root) : json.root;
            assert_non_null(node);
            if (json_kind(node) != JSON_NUMBER || node->valuedouble != strtod(cases[i].text, NULL)) fail_msg("%s is read as %.17g", text, node->valuedouble);
            if (json_natural(node, UINT64_C(1) << 53, &n) != cases[i].is || n != cases[i].n) fail_msg("%s", text);
            if (cases[i].rounded != (json_rounded(node) != NULL)) fail_msg("%s", text);
            if (json_rounded(node)) assert_string_equal(json_rounded(node), cases[i].text);
            if (cases[i].is && cases[i].n) assert_false(json_natural(node, cases[i].n - 1, &n));
            json_release(&json);
        }
    }
}

static void test_writing(void **state) {
    (void)state;
    Buf out;
    buf_init(&out);
    json_put_string(&out, "a\"\\/\b\f\n\r\t\v\x1f\x7fé\xff");
    assert_string_equal(buf_text(&out), "\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u000b\\u001f\x7fé\uFFFD\"");
    buf_clear(&out);
    const double data[] = {1, -0.0, 0.1, NAN, INFINITY, -INFINITY};
    json_put_tensor(&out, data, true, (const size_t[]){2, 3}, 2);
    assert_string_equal(buf_text(&out), "[[1,-0,0.1],[\"NaN\",\"Infinity\",\"-Infinity\"]]");
    buf_clear(&out);
    const float single = 0.1f;
    json_put_tensor(&out, &single, false, NULL, 0);
    assert_string_equal(buf_text(&out), "0.1");
    buf_clear(&out);
    json_put_tensor(&out, data, true, (const size_t[]){2, 0}, 2);
    assert_string_equal(buf_text(&out), "[[],[]]");
    buf_release(&out);
}

/* Significant digits of a printed number. */
static int significant(const char *text) {
    int n = 0, zeros = 0;
    for (; *text && *text != 'e'; text++) {
        if (*text < '0' || *text > '9' || (*text == '0' && n == 0)) continue;
        zeros = *text == '0' ? zeros + 1 : 0;
        n++;
    }
    return n - zeros;
}

static void check_double(double v) {
    char text[NUMBER_ROOM + 1], libc[64];
    text[number_print(text, v)] = 0;
    double back = strtod(text, NULL);
    Decimal d;
    if (memcmp(&back, &v, sizeof v)) fail_msg("%.17g printed as %s", v, text);
    if (number_scan(text, text + strlen(text), &d) != text + strlen(text)) fail_msg("%s is no JSON number", text);
    back = number_value(&d);
    if (memcmp(&back, &v, sizeof v)) fail_msg("%s read as %.17g", text, back);
    int digits = 1;
    for (; digits < 17 && (snprintf(libc, sizeof libc, "%.*e", digits - 1, v), strtod(libc, NULL) != v); digits++) {}
    if (v != 0 && significant(text) > digits) fail_msg("%s has more digits than %s", text, libc);
}

static void check_float(float v) {
    char text[NUMBER_ROOM + 1], libc[64];
    text[number_print_float(text, v)] = 0;
    float back = strtof(text, NULL), by_double = (float)strtod(text, NULL);
    if (memcmp(&back, &v, sizeof v) || memcmp(&by_double, &v, sizeof v)) fail_msg("%.9g printed as %s", (double)v, text);
    int digits = 1;
    for (; digits < 9 && (snprintf(libc, sizeof libc, "%.*e", digits - 1, (double)v), strtof(libc, NULL) != v); digits++) {}
    /* One more digit is allowed where only readers by way of a double need it. */
    if (v != 0 && significant(text) > digits + ((float)strtod(libc, NULL) != v)) fail_msg("%s has more digits than %s", text, libc);
}

static void test_number_round_trip(void **state) {
    (void)state;
    Rng rng = rng_new("json, printing");
    for (int i = 0; i < 100000; i++) {
        uint64_t bits = rng_next(&rng);
        uint32_t low = (uint32_t)bits;
        double v = 0, unit = (double)(bits >> 11) * 0x1p-53;
        float f;
        memcpy(&v, &bits, sizeof v);
        memcpy(&f, &low, sizeof f);
        if (isfinite(v)) check_double(v);
        if (isfinite(f)) check_float(f);
        check_double(unit);
        check_double(unit * pow(10, (double)(bits % 60) - 30));
        check_double((double)(int64_t)(bits % 2000001 - 1000000) / 1000);
        check_float((float)unit);
    }
    static const double odd[] = {0, -0.0, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 0x1p53, 1e15, 1e16, 1e17, 1e22, 1e23, 1e-5, 9.5e-6, 123456};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) check_double(odd[i]);
}

static void test_number_reading(void **state) {
    (void)state;
    Rng rng = rng_new("json, reading");
    for (int i = 0; i < 100000; i++) {
        char text[1100];
        size_t n = 0, digits = rng_next(&rng) % (i % 100 ? 22 : 900);
        if (rng_next(&rng) & 1) text[n++] = '-';
        text[n++] = (char)('1' + rng_next(&rng) % 9);
        while (digits--) text[n++] = (char)('0' + rng_next(&rng) % 10);
        text[n++] = '.';
        for (digits = rng_next(&rng) % 25 + 1; digits--;) text[n++] = (char)('0' + rng_next(&rng) % 10);
        n += (size_t)snprintf(text + n, 20, "e%d", (int)(rng_next(&rng) % (i % 2 ? 60 : 680)) - (i % 2 ? 30 : 350));
        Decimal d;
        assert_ptr_equal(number_scan(text, text + n, &d), text + n);
        if (number_value(&d) != strtod(text, NULL)) fail_msg("%s", text);
    }
    static const char *const ties[] = {"9007199254740993", "9007199254740993.0000000000000000000000000000000001", "2.4703282292062327e-324",
                                       "2.4703282292062328e-324", "0.500000000000000055511151231257827021181583404541015625", "0e999999999999999999",
                                       "179769313486231580793728971405301e276", "1e-99999999999999999999"};
    for (size_t i = 0; i < sizeof ties / sizeof *ties; i++) {
        Decimal d;
        assert_non_null(number_scan(ties[i], ties[i] + strlen(ties[i]), &d));
        if (number_value(&d) != strtod(ties[i], NULL)) fail_msg("%s", ties[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strictness),  cmocka_unit_test(test_messages), cmocka_unit_test(test_sizes), cmocka_unit_test(test_depth),
        cmocka_unit_test(test_many_keys),   cmocka_unit_test(test_kinds),    cmocka_unit_test(test_items),
        cmocka_unit_test(test_tensors),     cmocka_unit_test(test_decode), cmocka_unit_test(test_naturals),   cmocka_unit_test(test_writing),
        cmocka_unit_test(test_number_round_trip), cmocka_unit_test(test_number_reading)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
