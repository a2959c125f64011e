/* Programs as text. A first line `-- nat: DIM POLICY` sets the policy, as in tests/golden. */
#include "compiler/language/syntax.h"
#include "schema/formats/utf8.h"
#include "schema/limits.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/programs.h"
#include <string.h>

static Nat nat_of(const char *text) {
    unsigned long long dim = NAT_DEFAULT.dim;
    char policy[20] = "exact";
    sscanf(text, "-- nat: %19llu %19s", &dim, policy);
    if (!dim || dim > LIMIT_NUMERAL) dim = NAT_DEFAULT.dim; /* no request says that */
    return (Nat){dim, !strcmp(policy, "drop") ? NAT_DROP : !strcmp(policy, "saturate") ? NAT_SATURATE : NAT_EXACT};
}

static bool is_utf8(const char *at, const char *end) {
    while (at < end) {
        size_t n = utf8_step(at, end);
        if (!n) return false;
        at += n;
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = malloc(size + 1);
    Program *volatile p = NULL;
    Cx cx;
    if (!text) return 0;
    if (size) memcpy(text, data, size);
    text[size] = 0;
    programs_cx(&cx);
    if (is_utf8(text, text + size)) {
        CX_TRY(&cx) {
            p = program_new(&cx, nat_of(text));
            syntax_text(&cx, p, text, size);
        }
        if (cx.diag.code) programs_show(&cx, p);
        else programs_check(&cx, p);
    }
    cx_release(&cx);
    free(text);
    return 0;
}
