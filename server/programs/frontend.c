#include "server/programs/frontend.h"
#include "compiler/language/check.h"
#include "schema/limits.h"
#include <stdlib.h>
#include <string.h>

enum { PRINTED_AHEAD = 16 * LIMIT_LOOP_BYTES }; /* bytes of arena */

typedef struct {
    uint64_t dim;
    int overflow;
} NatSpec;

static bool read_nat(const ProgramSpec *spec, uint64_t nat_limit, Nat *nat, Err *err) {
    static const char *const policies[] = {"exact", "drop", "saturate", NULL};
    static const Field fields[] = {{"dim", FIELD_UINT, offsetof(NatSpec, dim), false, NULL},
                                   {"overflow", FIELD_ENUM, offsetof(NatSpec, overflow), false, policies}, {NULL, 0, 0, false, NULL}};
    NatSpec got = {nat->dim, nat->overflow};
    if (!spec->nat) return true;
    if (!json_decode(spec->nat, "/nat", fields, &got, err)) return false;
    if (got.dim == 0) return err_at(err, ERR_bad_request, "/nat/dim", "A natural's size is at least 1.");
    if (got.dim > nat_limit)
        return err_at(err, ERR_nat_bound_exceeded, "/nat/dim", "Naturals of this service have at most size %llu.",
                       (unsigned long long)nat_limit);
    *nat = (Nat){.dim = got.dim, .overflow = (NatPolicy)got.overflow};
    return true;
}

static void refuse_contexts(Frontend *f) {
    err_at(&f->err, ERR_bad_request, "/context", "The text has a context of its own; give one of the two.");
}

static void read_program(Frontend *f, Json *json, const ProgramSpec *spec, Nat nat) {
    f->program = program_new(&f->cx, nat);
    f->program->within = spec->within;
    if (spec->context) syntax_json_context(&f->cx, f->program, json, spec->context);
    if (spec->term) syntax_json_term(&f->cx, f->program, json, spec->term);
    else if (syntax_text(&f->cx, f->program, spec->source, strlen(spec->source)) && spec->context) refuse_contexts(f);
}

/* Whether the text brings a context of its own, asked when it did not parse beside the request's. */
static void blame_contexts(Frontend *f, const ProgramSpec *spec) {
    Diag first = f->cx.diag;
    CX_TRY(&f->cx) {
        if (syntax_text(&f->cx, program_new(&f->cx, NAT_DEFAULT), spec->source, strlen(spec->source))) refuse_contexts(f);
    }
    f->cx.diag = first;
}

static char *print(const Frontend *f) {
    Buf text;
    buf_init(&text);
    syntax_print(&text, &f->cx, f->program);
    return buf_take(&text, NULL);
}

/* What took much memory to read has been read on a thread. */
static void identify(Frontend *f) {
    check_program(&f->cx, f->program);
    f->canonical = canon_write(&f->cx, f->program, &f->canonical_len);
    canon_hash(f->canonical, f->canonical_len, f->hash);
    if (f->cx.arena.used > PRINTED_AHEAD) f->text = print(f);
}

char *frontend_text(Frontend *f) {
    char *text = f->text;
    f->text = NULL;
    return text ? text : print(f);
}

bool frontend_make(Frontend *f, Json *json, const ProgramSpec *spec, uint64_t nat_limit) {
    Nat nat = NAT_DEFAULT;
    *f = (Frontend){0};
    cx_init(&f->cx);
    f->cx.nat_limit = nat_limit;
    if (!spec->source == !spec->term) return err_set(&f->err, ERR_bad_request, "Give exactly one of source and term.");
    if (!read_nat(spec, nat_limit, &nat, &f->err)) return false;
    CX_TRY(&f->cx) {
        read_program(f, json, spec, nat);
        if (!f->err.code) identify(f);
    }
    if (f->cx.diag.code == ERR_parse_error && spec->source && spec->context) blame_contexts(f, spec);
    return !f->err.code && !f->cx.diag.code;
}

bool frontend_restore(Frontend *f, const unsigned char *canonical, size_t len, const char *text) {
    *f = (Frontend){0};
    cx_init(&f->cx);
    CX_TRY(&f->cx) {
        const Program *known = canon_read(&f->cx, canonical, len);
        f->program = program_new(&f->cx, known->nat);
        for (uint32_t b = 0; b < known->context; b++)
            term_context(&f->cx, f->program, known->binders[b].name, known->binders[b].type, known->binders[b].smooth, TERM_NONE);
        syntax_text(&f->cx, f->program, text, strlen(text));
    }
    if (!f->cx.diag.code) return true;
    f->program = NULL;
    return false;
}

void frontend_release(Frontend *f) {
    cx_release(&f->cx);
    free(f->text);
    *f = (Frontend){0};
}

void frontend_refuse(const Frontend *f, Call *call) {
    if (f->err.code) call_fail_err(call, &f->err);
    else call_fail_diag(call, &f->cx, f->program, &f->cx.diag);
}

/* Canonical form numbers the context's binders in order of name; the program as written, in its own order. */
static At written(Cx *cx, const Program *p, At at) {
    if (at.kind == AT_BINDER && at.index < p->context) at.index = program_inputs(cx, p)[at.index];
    return at;
}

void frontend_explain(const Frontend *frontend, Call *call, const Failure *failure) {
    const char *message = failure->message ? failure->message : err_title(failure->code);
    if (err_status(failure->code) != 422 || failure->code == ERR_quarantined || !frontend || !frontend->program) {
        call_fail(call, failure->code, "%s", message);
        return;
    }
    Frontend *f = (Frontend *)frontend;
    Diag diag = {.code = failure->code, .message = message, .hint = failure->hint};
    CX_TRY(&f->cx) {
        diag.at = written(&f->cx, f->program, failure->at);
        diag.other = written(&f->cx, f->program, failure->other);
    }
    call_fail_diag(call, &f->cx, f->program, &diag);
}
