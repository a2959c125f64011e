/* Canonical bytes: what canon_read takes is what canon_write would have written, and a program; types on their own likewise. */
#include "compiler/language/canon.h"
#include "compiler/language/check.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/programs.h"
#include <string.h>

static void check_type(const uint8_t *data, size_t size) {
    Cx cx;
    Buf out;
    buf_init(&out);
    programs_cx(&cx);
    CX_TRY(&cx) {
        Reader in = reader_of(data, size);
        const Type *type = canon_get_type(&cx, &in);
        canon_put_type(&out, type);
        fuzz_require(out.len == in.at && !memcmp(out.data, data, out.len), "a type has one encoding");
    }
    buf_release(&out);
    cx_release(&cx);
}

static void check_program_bytes(const uint8_t *data, size_t size) {
    Cx cx;
    Program *volatile p = NULL;
    volatile bool typed = false;
    programs_cx(&cx);
    CX_TRY(&cx) {
        p = canon_read(&cx, data, size);
        check_program(&cx, p);
        typed = true;
        size_t len;
        const unsigned char *bytes = canon_write(&cx, p, &len);
        fuzz_require(len == size && !memcmp(bytes, data, len), "a program has one encoding");
    }
    if (!p) fuzz_require(cx.diag.code == ERR_internal || cx.diag.code == ERR_too_large, "damaged bytes are told so");
    else if (!cx.diag.code) programs_check(&cx, p);
    else if (!typed) programs_show(&cx, p);
    cx_release(&cx);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    check_type(data, size);
    check_program_bytes(data, size);
    return 0;
}
