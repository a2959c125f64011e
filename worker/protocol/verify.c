#include "worker/protocol/verify.h"
#include "compiler/language/interp.h"
#include "schema/base/hash.h"
#include "schema/limits.h"
#include <math.h>
#include <stdlib.h>

enum { CHUNK = 64 };                   /* cases run together */
#define CHUNK_BYTES ((size_t)64 << 20) /* of their results */
#define VERIFY_MACS 1e9               /* of all cases together, elements moved included */

typedef struct {
    Cx *cx;
    const Program *program;
    const Signature *sig;
    const Graph *g;
    Err err;
    Plan *plan;
    Workspace *w;
    uint32_t nvars;
    size_t *dims;       /* by variable: inputs, then arguments */
    int64_t *places;    /* [variable][CHUNK]: the basis vectors of the chunk's cases */
    ExecInput *inputs;  /* by slot */
    double *got, *want; /* CHUNK (or fewer) × output; one */
    const InterpValue **values;
    size_t chunk, out_dim;
    Interp interp;
    bool all;             /* all combinations, not samples */
    uint64_t seed, drawn; /* of the samples */
} Verifier;

static const Type *var_type(const Signature *sig, uint32_t v) {
    return v < sig->ninputs ? sig->inputs[v] : sig->args[v - sig->ninputs];
}

/* Domains nest at most LIMIT_TYPE_DEPTH. */
static bool has_real(const Type *type) {
    for (; type_is_arrow(type); type = type->cod)
        if (has_real(type->dom)) return true;
    return type->kind == TYPE_REAL;
}

static bool verifiable(const Signature *sig) {
    for (uint32_t v = 0; v < sig->ninputs + sig->nargs; v++)
        if (!var_type(sig, v)->vector || has_real(var_type(sig, v))) return false;
    return true;
}

static size_t count_cases(Verifier *t) {
    size_t n = 1;
    for (uint32_t v = 0; v < t->nvars; v++)
        if (__builtin_mul_overflow(n, t->dims[v], &n)) n = SIZE_MAX;
    t->all = n <= LIMIT_VERIFY_EXHAUSTIVE;
    return t->all ? n : LIMIT_VERIFY_SAMPLES;
}

static void choose(Verifier *t, size_t first, size_t n) {
    for (size_t c = 0; c < n; c++) {
        size_t rest = first + c;
        for (uint32_t v = t->nvars; v-- > 0; rest /= t->dims[v])
            t->places[v * CHUNK + c] = (int64_t)(t->all ? rest % t->dims[v] : hash_random(t->seed, t->drawn++) % t->dims[v]);
    }
}

static bool run_neurons(Verifier *t, size_t n) {
    for (uint32_t s = 0; s < t->g->nslots; s++) {
        const Slot *slot = &t->g->slots[s];
        uint32_t v = slot->index + (slot->role == SLOT_ARG ? t->sig->ninputs : 0);
        t->inputs[s] = (ExecInput){.data = t->places + v * CHUNK, .dtype = DT_I64, .discrete = 1, .batched = true};
    }
    return exec_run(t->plan, t->inputs, &(ExecOutput){t->got, true}, n, 0, t->w, &t->err);
}

/* "x = 3, argument 1 = 0", each the place of a basis vector; long lists are cut. */
static const char *describe(Verifier *t, size_t c) {
    const uint32_t *order = program_inputs(t->cx, t->program);
    const char *text = "";
    for (uint32_t v = 0; v < t->nvars && v < 8; v++) {
        const char *sep = v ? ", " : "";
        long long place = t->places[v * CHUNK + c];
        if (v < t->sig->ninputs)
            text = cx_printf(t->cx, "%s%s%s = %lld", text, sep, sym_name(t->cx, t->program->binders[order[v]].name), place);
        else text = cx_printf(t->cx, "%s%sargument %u = %lld", text, sep, v - t->sig->ninputs, place);
    }
    return cx_printf(t->cx, "%s%s", *text ? text : "no inputs", t->nvars > 8 ? ", …" : "");
}

static void check_case(Verifier *t, size_t c) {
    for (uint32_t v = 0; v < t->nvars; v++)
        t->values[v] = interp_basis(&t->interp, var_type(t->sig, v), (size_t)t->places[v * CHUNK + c]);
    const InterpValue *value = interp_run(&t->interp, t->values, t->values + t->sig->ninputs, t->sig->nargs);
    interp_vector(&t->interp, value, t->sig->output, t->want);
    const double *got = t->got + c * t->out_dim;
    for (size_t i = 0; i < t->out_dim; i++)
        if (!(fabs(got[i] - t->want[i]) <= 1e-9))
            cx_fail(t->cx, ERR_compiler_mismatch, AT_NOWHERE, NULL,
                    "With %s, element %zu of the neurons' result is %g, and the interpreter's %g.", describe(t, c), i, got[i],
                    t->want[i]);
}

/* How many of the chunk's cases agree before the budget ends; a mismatch fails the Cx. */
static size_t check_chunk(Verifier *t, size_t n) {
    volatile size_t done = 0;
    CX_TRY(t->cx)
    for (size_t c = 0; c < n; c++) {
        check_case(t, c);
        done = c + 1;
    }
    if (t->cx->diag.code == ERR_too_large) t->cx->diag = (Diag){0};
    return done;
}

static bool prepare(Verifier *t) {
    const Signature *sig = t->sig;
    size_t bytes = t->out_dim * sizeof *t->got;
    t->chunk = bytes > CHUNK_BYTES / CHUNK ? CHUNK_BYTES / bytes : CHUNK;
    t->dims = calloc(t->nvars + (size_t)1, sizeof *t->dims);
    t->places = calloc((t->nvars + (size_t)1) * CHUNK, sizeof *t->places);
    t->inputs = calloc(t->g->nslots + (size_t)1, sizeof *t->inputs);
    t->values = calloc(t->nvars + (size_t)1, sizeof *t->values);
    t->want = malloc(bytes);
    t->got = malloc(bytes * t->chunk);
    bool *batched = malloc(t->g->nslots + (size_t)1);
    if (!t->dims || !t->places || !t->inputs || !t->values || !t->want || !t->got || !batched) {
        free(batched);
        return err_set(&t->err, ERR_too_large, "This takes more memory than a worker may have.");
    }
    for (uint32_t v = 0; v < t->nvars; v++) t->dims[v] = var_type(sig, v)->dim;
    for (uint32_t s = 0; s < t->g->nslots; s++) batched[s] = true;
    t->plan = plan_new(&(PlanSpec){.graph = t->g, .f64 = true, .batched = batched, .wanted = (bool[]){true}}, &t->err);
    free(batched);
    return t->plan;
}

static bool run_cases(Verifier *t, Verified *out) {
    size_t cases = count_cases(t), most = cases;
    double macs = t->plan->macs_shared / (double)t->chunk + t->plan->macs_row + (double)t->out_dim;
    for (uint32_t v = 0; v < t->nvars; v++) macs += (double)t->dims[v];
    if (macs * (double)most > VERIFY_MACS) most = (size_t)(VERIFY_MACS / macs);
    while (out->cases < most) {
        size_t n = most - out->cases < t->chunk ? most - out->cases : t->chunk;
        choose(t, out->cases, n);
        if (!run_neurons(t, n)) return false;
        size_t done = check_chunk(t, n);
        out->cases += (uint32_t)done;
        if (t->cx->diag.code) return false;
        if (done < n) break;
    }
    out->exhaustive = t->all && out->cases == cases;
    return true;
}

static void report(Verifier *t) { CX_TRY(t->cx) cx_fail(t->cx, t->err.code, AT_NOWHERE, NULL, "%s", t->err.message); }

bool verify_program(Cx *cx, const Program *p, const Signature *sig, const Graph *g, uint64_t seed, Workspace *w, Verified *out) {
    Verifier t = {.cx = cx,
                  .program = p,
                  .sig = sig,
                  .g = g,
                  .w = w,
                  .nvars = sig->ninputs + sig->nargs,
                  .out_dim = sig->output->dim,
                  .interp = {.cx = cx, .program = p, .step_limit = LIMIT_INTERP_STEPS},
                  .seed = seed};
    *out = (Verified){0};
    if (!verifiable(sig) || t.out_dim > CHUNK_BYTES / sizeof(double)) return true;
    bool ok = prepare(&t) && run_cases(&t, out);
    if (t.err.code == ERR_too_large) ok = true; /* not to be had within the limits: fewer cases, no failure */
    else if (t.err.code) report(&t);
    plan_free(t.plan);
    free(t.dims);
    free(t.places);
    free(t.inputs);
    free(t.values);
    free(t.want);
    free(t.got);
    return ok;
}
