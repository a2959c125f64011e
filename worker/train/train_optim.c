#include "worker/train/train_optim.h"
#include <math.h>
#include <omp.h>
#include <stdlib.h>

uint32_t optim_states(const SpecOptimizer *spec) {
    if (spec->kind == OPTIMIZER_SGD) return spec->momentum != 0;
    return 2;
}

const char *optim_state_name(const SpecOptimizer *spec, uint32_t state) {
    if (spec->kind == OPTIMIZER_SGD) return "momentum";
    return state ? "v" : "m";
}

bool optim_init(Optim *o) {
    size_t n = 0;
    o->npieces = 0;
    o->elements = 0;
    for (uint32_t t = 0; t < o->ntensors; t++) {
        n += (o->tensors[t].size + OPTIM_PIECE - 1) / OPTIM_PIECE;
        o->elements += o->tensors[t].size;
    }
    o->pieces = calloc(n ? n : 1, sizeof *o->pieces);
    o->sums = calloc(n ? n : 1, sizeof *o->sums);
    if (!o->pieces || !o->sums) return optim_release(o), false;
    for (uint32_t t = 0; t < o->ntensors; t++)
        for (size_t from = 0; from < o->tensors[t].size; from += OPTIM_PIECE) {
            const size_t left = o->tensors[t].size - from;
            o->pieces[o->npieces++] = (OptimPiece){t, from, left < OPTIM_PIECE ? left : OPTIM_PIECE};
        }
    return true;
}

void optim_release(Optim *o) {
    free(o->pieces);
    free(o->sums);
    o->pieces = NULL;
    o->sums = NULL;
}

/* The variants stand in the order of Isa. */
#define OPTIM_BOTH(name, isa) optim_##name##_f32_##isa, optim_##name##_f64_##isa,
#define OPTIM_OF(o, name) (((const OptimKernel[]){KERNEL_VARIANTS(OPTIM_BOTH, name)})[2 * (o)->isa + (o)->f64])

static OptimWork at_piece(const Optim *o, const OptimPiece *p, OptimWork work) {
    const OptimTensor *t = &o->tensors[p->tensor];
    const size_t at = p->from * (o->f64 ? sizeof(double) : sizeof(float));
    work.w = (char *)t->weight + at;
    work.g = (const char *)t->gradient + at;
    work.s0 = t->state[0] ? (char *)t->state[0] + at : NULL;
    work.s1 = t->state[1] ? (char *)t->state[1] + at : NULL;
    work.count = p->count;
    return work;
}

/* Waking threads is worth it from two full pieces each. */
static void run_pieces(Optim *o, OptimKernel kernel, const OptimWork *common, double *sums) {
    const unsigned threads = o->elements / (2 * OPTIM_PIECE) >= o->threads ? o->threads : 1;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (size_t i = 0; i < o->npieces; i++) {
        OptimWork work = at_piece(o, &o->pieces[i], *common);
        kernel(&work);
        if (sums) sums[i] = work.sum;
    }
}

double optim_norm(Optim *o) {
    double sum = 0;
    run_pieces(o, OPTIM_OF(o, squares), &(OptimWork){0}, o->sums);
    for (size_t i = 0; i < o->npieces; i++) sum += o->sums[i];
    return sqrt(sum);
}

/* The first update takes the gradient itself as the momentum, undampened. */
static OptimKernel settle_sgd(const Optim *o, OptimWork *work) {
    const SpecOptimizer *spec = o->spec;
    if (!optim_states(spec)) return OPTIM_OF(o, plain);
    work->keep0 = spec->momentum;
    work->take0 = o->updates == 1 ? 1 : 1 - spec->dampening;
    work->near = spec->nesterov;
    work->far = spec->nesterov ? spec->momentum : 1;
    return OPTIM_OF(o, momentum);
}

static OptimKernel settle_adam(const Optim *o, OptimWork *work) {
    const SpecOptimizer *spec = o->spec;
    const double t = (double)o->updates;
    if (spec->kind == OPTIMIZER_ADAMW) {
        work->shrink = 1 - work->rate * spec->weight_decay;
        work->decay = 0;
    }
    work->keep0 = spec->beta1;
    work->take0 = 1 - spec->beta1;
    work->keep1 = spec->beta2;
    work->take1 = 1 - spec->beta2;
    work->rate /= 1 - pow(spec->beta1, t);
    work->root = sqrt(1 - pow(spec->beta2, t));
    work->eps = spec->eps;
    return OPTIM_OF(o, adam);
}

void optim_step(Optim *o, double lr, double scale) {
    OptimWork work = {.scale = scale, .decay = o->spec->weight_decay, .rate = lr, .shrink = 1};
    o->updates++;
    OptimKernel kernel = o->spec->kind == OPTIMIZER_SGD ? settle_sgd(o, &work) : settle_adam(o, &work);
    run_pieces(o, kernel, &work, NULL);
}
