/* Graph files. What is accepted verifies, is written back identically, survives pruning and derivation, and small ones give the
 * same numbers by the plain evaluator and by plan and kernels. Each input is tried as it is, and with head and checksum made right,
 * so that the contents are reached. */
#include "compiler/derive/derive.h"
#include "compiler/lower/compile.h"
#include "compiler/passes/naive.h"
#include "compiler/passes/optimise.h"
#include "schema/graph/ops.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/programs.h"
#include "worker/plan/exec.h"
#include <math.h>
#include <sodium.h>
#include <string.h>

enum { HEAD = 14, DIGEST = 16, ROWS = 3 };
#define SMALL 1e5
#define EXACT 0x1p52

typedef struct {
    const Graph *g;
    NaiveInput *inputs;
    ExecInput *tensors;
    bool *batched, *wanted;
    double **data; /* by slot */
} Evaluation;

static void fill(Evaluation *e, bool positive) {
    for (uint32_t i = 0; i < e->g->nslots; i++) {
        size_t n = e->g->slots[i].size * (e->batched[i] ? ROWS : 1);
        for (size_t j = 0; j < n; j++) e->data[i][j] = positive ? 3 : (double)((i + 3 * j) % 7) - 3;
    }
}

/* Constants become small whole numbers, so that sums are exact in any order. */
static void set_consts(Graph *g, bool positive) {
    for (size_t i = 0; i < g->nconsts; i++) g->consts[i] = positive ? 2 : (double)(i % 5) - 2;
    for (uint32_t i = 0; i < g->nsubs; i++) set_consts(g->subs[i], positive);
}

/* most: bounds of the results where they are exact; NULL: they are not. */
static void compare(Evaluation *e, const NaiveOutput *most) {
    const Graph *g = e->g;
    Err err = {0};
    Workspace w = {0};
    NaiveOutput *want = calloc(g->noutputs + (size_t)1, sizeof *want);
    ExecOutput *got = calloc(g->noutputs + (size_t)1, sizeof *got);
    if (!naive_eval(g, ROWS, e->inputs, want)) fuzz_require(false, "a graph that evaluates once does again");
    for (uint32_t o = 0; o < g->noutputs; o++)
        got[o] = (ExecOutput){calloc(want[o].size * ROWS, sizeof(double)), want[o].batched};
    Plan *plan = plan_new(&(PlanSpec){.graph = g, .f64 = true, .batched = e->batched, .wanted = e->wanted}, &err);
    bool ran = plan && exec_run(plan, e->tensors, got, ROWS, 2, &w, &err);
    fuzz_require(ran || err.code == ERR_too_large || err.code == ERR_not_tabulable, "a graph can be planned and run");
    for (uint32_t o = 0; ran && o < g->noutputs; o++)
        for (size_t i = 0; i < want[o].size * (want[o].batched ? ROWS : 1); i++)
            if (most && most[o].data[i] < EXACT)
                fuzz_require(((double *)got[o].data)[i] == want[o].data[i], "plan and plain evaluator agree");
    plan_free(plan);
    workspace_release(&w);
    for (uint32_t o = 0; o < g->noutputs; o++) free(got[o].data);
    naive_release(want, g->noutputs);
    free(want);
    free(got);
}

/* The optimised graph, which rounds differently at most. */
static void compare_optimised(Evaluation *e, const NaiveOutput *most) {
    const Graph *g = e->g;
    NaiveOutput *want = calloc(g->noutputs + (size_t)1, sizeof *want), *got = calloc(g->noutputs + (size_t)1, sizeof *got);
    Graph *volatile made = NULL;
    Cx cx;
    programs_cx(&cx);
    CX_TRY(&cx) made = optimise_graph(&cx, g);
    bool both = made && naive_eval(g, ROWS, e->inputs, want) && naive_eval(made, ROWS, e->inputs, got);
    for (uint32_t o = 0; both && o < g->noutputs; o++)
        for (size_t i = 0; i < want[o].size * (want[o].batched ? ROWS : 1); i++) {
            double w = want[o].data[i], had = got[o].data[got[o].batched == want[o].batched ? i : i % want[o].size];
            if (most[o].data[i] < EXACT) fuzz_require(fabs(had - w) <= 1e-9 * (1 + most[o].data[i]), "optimised and plain graph agree");
        }
    naive_release(want, g->noutputs);
    naive_release(got, g->noutputs);
    free(want);
    free(got);
    graph_free(made);
    cx_release(&cx);
}

/* Not what a function, a division or a choice is made of. */
static bool adds_and_multiplies(const Graph *g) {
    for (uint32_t i = 0; i < g->nnodes; i++) {
        const Op op = g->nodes[i].op;
        if (op >= OP_map && op != OP_broadcast && op != OP_sum && op != OP_conv2d && op != OP_conv2d_dx && op != OP_conv2d_dw) return false;
    }
    for (uint32_t i = 0; i < g->nsubs; i++)
        if (!adds_and_multiplies(g->subs[i])) return false;
    return true;
}

/* With positive numbers first: where every op adds and multiplies only and those results are small, all that enters them is. */
static void evaluate(Graph *g) {
    const size_t n = g->nslots + (size_t)1;
    Evaluation e = {.g = g, .inputs = calloc(n, sizeof *e.inputs), .tensors = calloc(n, sizeof *e.tensors),
                    .batched = calloc(n, sizeof *e.batched), .wanted = calloc(g->noutputs + (size_t)1, sizeof *e.wanted),
                    .data = calloc(n, sizeof *e.data)};
    NaiveOutput *most = calloc(g->noutputs + (size_t)1, sizeof *most);
    for (uint32_t i = 0; i < g->nslots; i++) {
        size_t size = g->slots[i].size;
        e.batched[i] = i % 2 == 0;
        e.data[i] = calloc(size * ROWS + 1, sizeof **e.data);
        e.inputs[i] = (NaiveInput){e.data[i], e.batched[i]};
        e.tensors[i] = (ExecInput){.data = e.data[i], .dtype = DT_F64, .batched = e.batched[i], .cols = size};
    }
    for (uint32_t o = 0; o < g->noutputs; o++) e.wanted[o] = true;
    set_consts(g, true);
    fill(&e, true);
    if (!adds_and_multiplies(g)) {
        fill(&e, false);
        compare(&e, NULL);
    } else if (naive_eval(g, ROWS, e.inputs, most)) {
        set_consts(g, false);
        fill(&e, false);
        compare(&e, most);
        compare_optimised(&e, most);
        naive_release(most, g->noutputs);
    }
    for (uint32_t i = 0; i < g->nslots; i++) free(e.data[i]);
    free(e.data);
    free(e.inputs);
    free(e.tensors);
    free(e.batched);
    free(e.wanted);
    free(most);
}

static void check_transform(const Graph *g, Graph *(*transform)(Cx *, const Graph *)) {
    Graph *volatile made = NULL;
    Cx cx;
    programs_cx(&cx);
    CX_TRY(&cx) made = rewrite_give(&cx, transform(&cx, g));
    fuzz_require(!cx.diag.code || cx.diag.code == ERR_too_large, "only the limits keep a graph from being transformed");
    if (!cx.diag.code) programs_check_graph(made);
    graph_free(made);
    cx_release(&cx);
}

static void check_transforms(const Graph *g) {
    /* derive_graph_vjp and derive_graph_jvp promise something for lowered graphs only: one VALUE, and inputs and arguments alone */
    bool lowered = g->noutputs == 1 && g->outputs[0].role == OUT_VALUE;
    for (uint32_t i = 0; i < g->nslots; i++) lowered = lowered && (g->slots[i].role <= SLOT_ARG || g->slots[i].role == SLOT_NETWORK);
    for (uint32_t i = 0; i < g->nnodes; i++) { /* no derivative itself */
        const OpRow *row = op_row(g->nodes[i].op);
        lowered = lowered && (!row->inputs || row->linear[0]);
    }
    check_transform(g, rewrite_prune);
    check_transform(g, optimise_graph);
    if (lowered) check_transform(g, derive_graph_vjp);
    if (lowered) check_transform(g, derive_graph_jvp);
}

static void check(const uint8_t *data, size_t size) {
    char why[300];
    Buf out;
    Graph *g = graph_read(data, size, why, sizeof why);
    if (!g) return;
    buf_init(&out);
    fuzz_require(graph_write(g, &out) && out.len == size && !memcmp(out.data, data, size), "a graph has one file form");
    buf_release(&out);
    programs_check_graph(g);
    check_transforms(g);
    GraphStats stats = graph_stats(g);
    if (stats.macs < SMALL && stats.bytes < SMALL) evaluate(g);
    graph_free(g);
}

/* The file with right head and checksum around the contents. */
static void check_repaired(const uint8_t *data, size_t size) {
    static const char magic[] = {'C', 'J', 'G', 'R'};
    unsigned char sum[DIGEST];
    Buf file;
    buf_init(&file);
    buf_put(&file, magic, sizeof magic);
    buf_u16(&file, 1);
    buf_u64(&file, op_table_hash());
    buf_put(&file, data + HEAD, size - HEAD - DIGEST);
    crypto_generichash(sum, DIGEST, file.data, file.len, NULL, 0);
    buf_put(&file, sum, DIGEST);
    check(file.data, file.len);
    buf_release(&file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    check(data, size);
    if (size >= HEAD + DIGEST) check_repaired(data, size);
    return 0;
}
