#include "worker/protocol/build_job.h"
#include "compiler/derive/derive.h"
#include "compiler/language/canon.h"
#include "compiler/passes/optimise.h"
#include "schema/base/hash.h"
#include "schema/base/time.h"
#include "worker/protocol/verify.h"
#include <string.h>

typedef struct {
    Cx cx;
    const BuildMsg *m;
    Program *program;
    Signature sig;
    Graph *volatile graph, *volatile derived; /* volatile: set between setjmp and longjmp */
    Buf file, types;
    Verified verified;
    uint64_t compile_us, verify_us;
} Build;

static uint64_t now_us(void) { return (uint64_t)time_monotonic_ns() / 1000; }

static const Graph *result(const Build *b) { return b->derived ? b->derived : b->graph; }

/* Takes g, also when it fails. */
static Graph *optimised(Build *b, Graph *g) {
    rewrite_guard(&b->cx, g);
    Graph *made = optimise_graph(&b->cx, g);
    graph_free(rewrite_give(&b->cx, g));
    return made;
}

static void compile(Build *b) {
    const BuildMsg *m = b->m;
    b->program = canon_read(&b->cx, m->program, m->program_len);
    Checked *checked = check_program(&b->cx, b->program);
    Graph *lowered = compile_lower(&b->cx, b->program, checked, m->nargs, &b->sig);
    b->graph = m->derive == DERIVE_LOWERED ? lowered : optimised(b, lowered);
    if (m->derive == DERIVE_VJP) b->derived = optimised(b, derive_graph_vjp(&b->cx, b->graph));
    if (m->derive == DERIVE_JVP) b->derived = optimised(b, derive_graph_jvp(&b->cx, b->graph));
    char why[200];
    if (!graph_verify(result(b), why, sizeof why))
        cx_fail(&b->cx, ERR_internal, AT_NOWHERE, NULL, "The compiled graph is broken: %s", why);
    if (!graph_write(result(b), &b->file))
        cx_fail(&b->cx, ERR_too_large, AT_NOWHERE, NULL, "The compiled graph does not fit into memory.");
    canon_put_type(&b->types, b->sig.type);
    for (uint32_t i = 0; i < b->sig.ninputs; i++) canon_put_type(&b->types, b->sig.inputs[i]);
    for (uint32_t i = 0; i < b->sig.nargs; i++) canon_put_type(&b->types, b->sig.args[i]);
    canon_put_type(&b->types, b->sig.output);
    if (b->types.failed) cx_fail(&b->cx, ERR_too_large, AT_NOWHERE, NULL, "This takes more memory than a worker may have.");
}

static void put_diag(const Diag *diag, Buf *out) {
    BuiltMsg built = {.code = (uint16_t)diag->code,
                      .at_kind = (uint8_t)diag->at.kind,
                      .other_kind = (uint8_t)diag->other.kind,
                      .at_index = diag->at.index,
                      .other_index = diag->other.index,
                      .message = (const unsigned char *)diag->message,
                      .hint = (const unsigned char *)diag->hint,
                      .message_len = diag->message ? strlen(diag->message) : 0,
                      .hint_len = diag->hint ? strlen(diag->hint) : 0};
    wire_put_built(out, &built);
}

static void put_built(const Build *b, Buf *out) {
    GraphStats stats = graph_stats(b->graph);
    BuiltMsg built = {.graph = b->file.data,
                      .graph_len = b->file.len,
                      .types = b->types.data,
                      .types_len = b->types.len,
                      .ninputs = b->sig.ninputs,
                      .nargs = b->sig.nargs,
                      .neurons = stats.neurons,
                      .weights = stats.weights,
                      .recurrent = stats.recurrent,
                      .macs = stats.macs,
                      .cases = b->verified.cases,
                      .exhaustive = b->verified.exhaustive,
                      .compile_us = b->compile_us,
                      .verify_us = b->verify_us};
    for (uint32_t i = 0; i < b->sig.nargs && i < 64; i++) built.smooth_args |= (uint64_t)b->sig.smooth_args[i] << i;
    wire_put_built(out, &built);
}

void build_job_answer(const BuildMsg *m, Workspace *w, Buf *out) {
    Build b = {.m = m};
    cx_init(&b.cx);
    if (m->nat_limit) b.cx.nat_limit = m->nat_limit;
    uint64_t start = now_us();
    CX_TRY(&b.cx) compile(&b);
    b.compile_us = now_us() - start;
    bool whole = m->nargs == WIRE_ALL_ARGS || m->nargs == b.sig.nargs;
    if (!b.cx.diag.code && m->verify && whole && m->derive == DERIVE_NONE) {
        start = now_us();
        verify_program(&b.cx, b.program, &b.sig, b.graph, hash_bytes(HASH_START, m->program, m->program_len), w, &b.verified);
        workspace_trim(w);
        b.verify_us = now_us() - start;
    }
    if (b.cx.diag.code) put_diag(&b.cx.diag, out);
    else put_built(&b, out);
    graph_free(b.graph);
    graph_free(b.derived);
    buf_release(&b.file);
    buf_release(&b.types);
    cx_release(&b.cx);
}
