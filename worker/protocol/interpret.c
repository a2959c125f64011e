#include "worker/protocol/interpret.h"
#include "compiler/language/canon.h"
#include "compiler/lower/compile.h"
#include "compiler/language/interp.h"
#include "schema/limits.h"

typedef struct {
    Cx *cx;
    const ExecMsg *m;
    unsigned char *base;
    Program *program;
    Signature sig;
    uint32_t nargs, nvars;
    const Type **types; /* of inputs, then arguments */
    const TensorMsg **tensors;
    const Type *output;
} Interpretation;

static void open_program(Interpretation *t) {
    Cx *cx = t->cx;
    const ExecMsg *m = t->m;
    t->program = canon_read(cx, m->program, m->program_len);
    Checked *checked = check_program(cx, t->program);
    graph_free(compile_lower(cx, t->program, checked, m->nargs, &t->sig)); /* for the sizes */
    t->nargs = m->nargs == WIRE_ALL_ARGS ? t->sig.nargs : m->nargs;
    t->nvars = t->sig.ninputs + t->nargs;
    t->types = ARENA_ARRAY(&cx->arena, const Type *, t->nvars);
    t->output = t->sig.type;
    for (uint32_t i = 0; i < t->sig.ninputs; i++) t->types[i] = t->sig.inputs[i];
    for (uint32_t i = 0; i < t->nargs; i++) {
        t->types[t->sig.ninputs + i] = t->sig.args[i];
        t->output = t->output->cod;
    }
}

static void take_tensors(Interpretation *t) {
    Cx *cx = t->cx;
    t->tensors = ARENA_ARRAY(&cx->arena, const TensorMsg *, t->nvars);
    for (uint32_t i = 0; i < t->m->ntensors; i++) {
        const TensorMsg *tensor = &t->m->tensors[i];
        if (tensor->slot >= t->nvars || t->tensors[tensor->slot])
            cx_fail(cx, ERR_bad_request, AT_NOWHERE, NULL, "Tensor %u has no slot.", i);
        if (!tensor->discrete)
            cx_fail(cx, ERR_bad_request, AT_NOWHERE, "Give booleans or naturals.", "The interpreter takes discrete values only.");
        t->tensors[tensor->slot] = tensor;
    }
    for (uint32_t v = 0; v < t->nvars; v++)
        if (!t->tensors[v]) cx_fail(cx, ERR_missing_input, AT_NOWHERE, NULL, "An input has no value.");
}

static const InterpValue *value_at(Interpretation *t, Interp *in, uint32_t var, size_t row) {
    const TensorMsg *tensor = t->tensors[var];
    const Type *type = t->types[var];
    const void *data = t->base + tensor->offset;
    size_t at = tensor->batched ? row : 0;
    int64_t v = tensor->dtype == DT_I64 ? ((const int64_t *)data)[at] : ((const uint8_t *)data)[at];
    if (!type->vector) cx_fail(t->cx, ERR_not_tabulable, AT_NOWHERE, NULL, "A network input has no discrete values.");
    if (v < 0 || (tensor->discrete == 2 && (v > 1 || type->kind != TYPE_BOOL)))
        cx_fail(t->cx, ERR_bad_tensor, AT_NOWHERE, NULL, "%lld is no value of type %s.", (long long)v, type_text(t->cx, type));
    if (tensor->discrete == 2) v = 1 - v;
    if ((uint64_t)v >= type->dim)
        cx_fail(t->cx, ERR_nat_bound_exceeded, AT_NOWHERE, NULL, "%lld does not fit %s.", (long long)v, type_text(t->cx, type));
    return interp_basis(in, type, (size_t)v);
}

/* Room for the results in the area, checked before the interpreter starts. */
static double *result_room(Interpretation *t, unsigned char **out, bool *batched) {
    const ExecMsg *m = t->m;
    const ResultMsg *r = m->results;
    Cx *cx = t->cx;
    size_t bytes;
    if (!t->output->vector)
        cx_fail(cx, ERR_not_tabulable, AT_NOWHERE, NULL, "The result is a smooth function, which has no vector.");
    if (m->nresults != 1 || r->output || (m->rows > 1 && !r->batched))
        cx_fail(cx, ERR_bad_request, AT_NOWHERE, NULL, "There is one result.");
    if (t->output->dim > LIMIT_SPACE) cx_fail(cx, ERR_too_large, AT_NOWHERE, NULL, "The result is too large.");
    if (__builtin_mul_overflow(t->output->dim * dtype_size((DType)m->dtype), (size_t)m->rows, &bytes) ||
        bytes > m->area_size - r->offset)
        cx_fail(cx, ERR_bad_request, AT_NOWHERE, NULL, "The result does not fit the area.");
    *out = t->base + r->offset;
    *batched = r->batched;
    return ARENA_ARRAY(&cx->arena, double, t->output->dim);
}

static void interpret(Interpretation *t) {
    open_program(t);
    take_tensors(t);
    unsigned char *out;
    bool batched;
    double *vector = result_room(t, &out, &batched);
    size_t dim = t->output->dim, rows = batched ? t->m->rows : 1;
    const InterpValue **values = ARENA_ARRAY(&t->cx->arena, const InterpValue *, t->nvars);
    Interp in = {.cx = t->cx, .program = t->program, .step_limit = LIMIT_INTERP_STEPS};
    for (size_t row = 0; row < rows; row++) {
        for (uint32_t v = 0; v < t->nvars; v++) values[v] = value_at(t, &in, v, row);
        interp_vector(&in, interp_run(&in, values, values + t->sig.ninputs, t->nargs), t->output, vector);
        for (size_t i = 0; i < dim; i++) {
            if (t->m->dtype == DT_F64) ((double *)out)[row * dim + i] = vector[i];
            else ((float *)out)[row * dim + i] = (float)vector[i];
        }
    }
}

bool interpret_exec(const ExecMsg *m, void *base, Err *err) {
    Cx cx;
    cx_init(&cx);
    if (m->nat_limit) cx.nat_limit = m->nat_limit;
    Interpretation t = {.cx = &cx, .m = m, .base = base};
    CX_TRY(&cx) interpret(&t);
    bool ok = cx.diag.code == ERR_NONE;
    if (!ok) err_set(err, cx.diag.code, "%s", cx.diag.message);
    cx_release(&cx);
    return ok;
}
