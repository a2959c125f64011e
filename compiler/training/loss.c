/* Losses: which output and target they take, and their nodes. Formulas as PyTorch's; a row's loss is the mean over its elements, of
 * cross_entropy and nll the one term of the row. */
#include "compiler/training/link_inside.h"
#include "schema/graph/ops.h"

static const char *target_pointer(Link *k) { return cx_printf(k->cx, "/loss/%s/target", loss_names[k->spec->loss]); }

static bool by_class(LossKind loss) { return loss == LOSS_CROSS_ENTROPY || loss == LOSS_NLL; }

/* The type that a column of one integer a row is read as, beside the output; NULL: it is no class index here. */
static const Type *class_type(Link *k, const LinkColumn *column) {
    const Type *output = k->out->output;
    if (column->rank || !link_is_integer(column)) return NULL;
    if (output->kind == TYPE_BOOL || output->kind == TYPE_NAT) return output;
    return by_class(k->spec->loss) ? type_nat(k->cx, output->dim) : NULL;
}

/* A number a row beside an output of several. */
static void refuse_target(Link *k, const LinkColumn *column, const Dims *shape, const char *pointer) {
    const Type *output = k->out->output;
    const bool classes = by_class(k->spec->loss) || output->kind == TYPE_BOOL || output->kind == TYPE_NAT;
    const char *class = classes ? cx_printf(k->cx, "the class of a row, one integer from 0 to %zu (u8 or i64), or ", output->dim - 1) : "";
    link_fail(k, ERR_bad_run, pointer, "The column \"%.60s\" is %s, one number a row; beside the program's output, %s, the loss \"%s\" wants %snumbers of shape %s.",
              column->name, link_column_dtype(column), type_text(k->cx, output), loss_names[k->spec->loss], class, link_dims(k, shape));
}

static void check_metrics(Link *k, const LinkColumn *column, bool discrete) {
    if (k->spec->metrics[METRIC_PSNR] && k->out->output->dim == 1)
        link_fail(k, ERR_bad_run, "/evaluate/metrics",
                  "The metric \"psnr\" needs an output of several numbers a row: the largest of a row less its smallest is its peak.");
    if (k->spec->metrics[METRIC_ACCURACY] && !discrete)
        link_fail(k, ERR_bad_run, "/evaluate/metrics",
                  "The metric \"accuracy\" needs a target of one integer a row (u8 or i64), the class, and \"%.60s\" is none: it is %s.",
                  k->spec->target, link_column_dtype(column));
}

void loss_target(Link *k) {
    const char *pointer = target_pointer(k), *name = k->spec->target;
    const LinkColumn *column = link_column(k, name, pointer);
    const Type *output = k->out->output, *class = class_type(k, column);
    const Dims shape = link_shape(k, output, "/program"), row = link_row(k, column, pointer);
    if (by_class(k->spec->loss) && shape.rank != 1)
        link_fail(k, ERR_bad_run, "/loss", "The loss \"%s\" needs an output with one axis, a number a class; the program's is %s.",
                  loss_names[k->spec->loss], type_text(k->cx, output));
    if (!class && row.rank == 0 && !dims_equal(&shape, &(Dims){.rank = 1, .at = {1}})) refuse_target(k, column, &shape, pointer);
    check_metrics(k, column, class != NULL);
    link_column_typed(k, name, class ? class : output, "the program's output", pointer);
}

/* ---- nodes; v: the output, t: the target, [n] each ---- */

static uint32_t scale(Rewrite *rw, uint32_t x, double factor, double shift) { return link_map(rw, x, FUNCTION_scale, factor, shift); }

/* factor · Σ x */
static uint32_t sum_of(Rewrite *rw, uint32_t x, double factor) {
    const Dims number = {.rank = 0};
    const int64_t axis = 0;
    return scale(rw, rewrite_node(rw, OP_sum, &x, 1, &number, &axis, 1), factor, 0);
}

/* factor · Σ a·b */
static uint32_t dot(Rewrite *rw, uint32_t a, uint32_t b, double factor) {
    const Dims number = {.rank = 0};
    const int64_t attrs[] = {1, 1, 0, 0, 0};
    return scale(rw, rewrite_node(rw, OP_contract, (uint32_t[]){a, b}, 2, &number, attrs, 5), factor, 0);
}

static uint32_t difference(Rewrite *rw, uint32_t v, uint32_t t) { return rewrite_plus(rw, v, scale(rw, t, -1, 0)); }

/* -mean(t·log v + (1 - t)·log(1 - v)) */
static uint32_t bce(Rewrite *rw, uint32_t v, uint32_t t, double n) {
    const uint32_t yes = dot(rw, t, link_map(rw, v, FUNCTION_log, 0, 0), -1 / n);
    const uint32_t no = dot(rw, scale(rw, t, -1, 1), link_map(rw, scale(rw, v, -1, 1), FUNCTION_log, 0, 0), -1 / n);
    return rewrite_plus(rw, yes, no);
}

uint32_t loss_emit(LinkLevel *level, uint32_t v, uint32_t t) {
    Rewrite *rw = &level->rw;
    const size_t n = rw->to->nodes[v].size;
    const Dims flat = {.rank = 1, .at = {(uint32_t)n}};
    const int64_t log_of_first[] = {0, 1};
    v = rewrite_reshape(rw, v, &flat);
    switch (level->link->spec->loss) {
    case LOSS_L1: return sum_of(rw, link_map(rw, difference(rw, v, t), FUNCTION_abs, 0, 0), 1 / (double)n);
    case LOSS_MSE: return sum_of(rw, link_map(rw, difference(rw, v, t), FUNCTION_square, 0, 0), 1 / (double)n);
    case LOSS_CROSS_ENTROPY: return dot(rw, t, rewrite_node(rw, OP_softmax, &v, 1, &flat, log_of_first, 2), -1);
    case LOSS_NLL: return dot(rw, t, v, -1);
    case LOSS_BCE: return bce(rw, v, t, (double)n);
    case LOSS_COUNT: break;
    }
    return v;
}
