/* A run's specification: read from any bytes; what is accepted is linked with its own program and two small data sets, and must give graphs that
 * verify, or a diagnostic. */
#include "compiler/training/link.h"
#include "compiler/passes/rewrite.h"
#include "compiler/language/syntax.h"
#include "compiler/training/spec_read.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/programs.h"
#include <string.h>

enum { MOST_LAYERS = 64 };

static const LinkColumn columns[] = {{.name = "x", .dtype = DT_U8, .rank = 2, .dims = {6, 6}},
                                     {.name = "y", .dtype = DT_F32, .rank = 2, .dims = {6, 6}},
                                     {.name = "v", .dtype = DT_F64, .rank = 1, .dims = {3}},
                                     {.name = "n", .dtype = DT_I64}};
static const LinkData data = {columns, sizeof columns / sizeof *columns, 4096};

static void link_program(Cx *cx, const Spec *spec, Program *volatile *made, char *pointer) {
    Program *p = *made = program_new(cx, NAT_DEFAULT);
    if (spec->context) syntax_json_context(cx, p, (Json *)&spec->json, spec->context);
    syntax_text(cx, p, spec->source, strlen(spec->source));
    Linked *linked = link_run(cx, spec, p, check_program(cx, p), &data, &data, pointer);
    programs_check_graph(linked->forward);
    Graph *train = rewrite_guard(cx, link_train(cx, linked, spec->batch_size));
    programs_check_graph(train);
    graph_free(rewrite_give(cx, train));
    graph_free(rewrite_give(cx, linked->forward));
}

static void check_link(const Spec *spec) {
    Program *volatile p = NULL;
    char pointer[LINK_POINTER];
    Cx cx;
    programs_cx(&cx);
    CX_TRY(&cx) link_program(&cx, spec, &p, pointer);
    if (cx.diag.code) programs_show(&cx, p);
    cx_release(&cx);
}

static void check_spec(const Spec *spec) {
    fuzz_require(!spec->epochs != !spec->steps && spec->batch_size && spec->optimizer.lr > 0, "a specification is complete");
    for (uint32_t i = 0; i < spec->nnets; i++) {
        const SpecNet *net = &spec->nets[i];
        fuzz_require(net->out < net->ninputs + net->nvalues, "a network's output is one of its values");
        for (uint32_t v = 0; v < net->nvalues; v++)
            for (uint32_t k = 0; k < net->values[v].nof; k++) fuzz_require(net->values[v].from[k] < net->ninputs + v,
                                                                           "a value is made of those before it");
    }
    for (uint32_t i = 1; i < spec->nbinds; i++) fuzz_require(strcmp(spec->binds[i - 1].variable, spec->binds[i].variable) < 0,
                                                             "bindings are sorted");
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    Spec spec;
    Err err = {0};
    uint32_t layers = 0;
    if (!spec_read(&spec, (const char *)bytes, size, &err)) {
        fuzz_require(err.code == ERR_bad_run || err.code == ERR_bad_json || err.code == ERR_too_large, "a specification is refused as one");
        fuzz_require(err.message[0], "a refusal says why");
        return 0;
    }
    check_spec(&spec);
    for (uint32_t i = 0; i < spec.nnets; i++)
        for (uint32_t v = 0; v < spec.nets[i].nvalues; v++) layers += spec.nets[i].values[v].nlayers;
    if (spec.source && layers <= MOST_LAYERS) check_link(&spec);
    spec_release(&spec);
    return 0;
}
