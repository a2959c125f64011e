#include "worker/train/train_model.h"
#include "worker/train/train_random.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define EVAL_BYTES ((size_t)64 << 20) /* of an evaluation's rows at a time; */
#define EVAL_MACS 1e9                 /* and their work, so that a stop need not wait for long */
#define HUGE_PAGE ((size_t)2 << 20)

static bool no_memory(Err *err) { return err_set(err, ERR_too_large, "This takes more memory than a worker may have."); }
static size_t element(bool f64) { return f64 ? sizeof(double) : sizeof(float); }

/* ---- plans ---- */

static bool slot_is(const Graph *g, uint32_t s, SlotRole role) { return g->slots[s].role == role; }

static bool wanted_in(OutRole role, bool training) {
    return role == OUT_LOSS || (training ? role == OUT_GRAD_WEIGHT : role == OUT_VALUE);
}

/* rows: a training step's; 0: a forward pass of any number. */
static bool plan_pass(ModelPass *pass, bool f64, size_t rows, Err *err) {
    const Graph *g = pass->graph;
    bool *flags = calloc((size_t)g->nslots + g->noutputs + 1, sizeof *flags);
    if (!flags) return no_memory(err);
    for (uint32_t s = 0; s < g->nslots; s++) flags[s] = slot_is(g, s, SLOT_COLUMN);
    for (uint32_t o = 0; o < g->noutputs; o++) flags[g->nslots + o] = wanted_in(g->outputs[o].role, rows > 0);
    pass->plan = plan_new(&(PlanSpec){.graph = g, .f64 = f64, .batched = flags, .wanted = flags + g->nslots, .rows = rows}, err);
    free(flags);
    return pass->plan != NULL;
}

/* A tile a thread, where the work pays for waking them. */
static size_t tile_of(const Plan *p, size_t rows, unsigned threads) {
    return p->macs_row * (double)rows < EXEC_TEAM_MACS ? 0 : (rows + threads - 1) / threads;
}

/* Bytes of the slabs; 0 when a step does not fit. */
static size_t slabs(const Plan *p, size_t rows, unsigned threads) {
    const size_t most = tile_of(p, rows, threads), tile = exec_tile(p, rows, most);
    if (!tile) return 0;
    const size_t tiles = (rows + tile - 1) / tile, team = p->single_tile || !most ? 1 : tiles < threads ? tiles : threads;
    const size_t bytes = (p->shared_size + p->row_size * tile) * plan_element(p) * team;
    return bytes ? bytes : 1;
}

static bool too_much(Err *err) {
    return err_set(err, ERR_too_large, "A training step needs more than %zu MiB of working memory: a smaller batch_size would do.",
                     LIMIT_JOB_BYTES >> 20);
}

/* What the executor would refuse. */
static bool check_work(const Plan *p, size_t rows, Err *err) {
    const double macs = p->macs_shared + p->macs_row * (double)rows;
    return macs <= LIMIT_JOB_MACS || err_set(err, ERR_too_large, "A step needs about %.2g multiply-adds; the limit is %.2g.", macs, LIMIT_JOB_MACS);
}

/* ---- memory ---- */

static size_t padded(const TrainModel *m, uint32_t weight) { return (m->linked->weights[weight].size * element(m->f64) + 63) / 64 * 64; }

/* Weight, gradient and states of each, one behind the other; on the second walk `base` is where they are. */
static size_t lay_out(TrainModel *m, char *base) {
    const uint32_t states = optim_states(&m->spec->optimizer);
    size_t at = 0;
    for (uint32_t j = 0, t = 0; j < m->linked->nweights; j++) {
        const size_t bytes = padded(m, j);
        if (base) m->weights[j] = base + at;
        at += bytes;
        if (!m->linked->weights[j].train) continue;
        if (base) {
            OptimTensor *tensor = &m->optim.tensors[t];
            *tensor = (OptimTensor){.weight = m->weights[j], .gradient = base + at, .size = m->linked->weights[j].size};
            for (uint32_t s = 0; s < states; s++) tensor->state[s] = base + at + (1 + s) * bytes;
            m->trained[t] = j;
        }
        at += (1 + states) * bytes;
        t++;
    }
    return at;
}

/* The sum of all tensors is known to be in range before anything is laid out. */
static bool check_size(TrainModel *m, Err *err) {
    const uint32_t copies = 2 + optim_states(&m->spec->optimizer);
    size_t n = 0;
    for (uint32_t j = 0; j < m->linked->nweights; j++) {
        const LinkWeight *w = &m->linked->weights[j];
        if (w->size > LIMIT_SPACE || (n += w->size + 16) > LIMIT_JOB_BYTES / element(m->f64) / copies)
            return err_set(err, ERR_too_large, "The weights, their gradients and the optimizer's states take more than %zu MiB.",
                             LIMIT_JOB_BYTES >> 20);
        m->optim.ntensors += w->train;
    }
    m->file.n = m->linked->nweights + m->optim.ntensors * optim_states(&m->spec->optimizer);
    return m->file.n <= LIMIT_TENSORS || err_set(err, ERR_too_large, "A run has at most %d tensors in a checkpoint.", LIMIT_TENSORS);
}

static bool take_memory(TrainModel *m, Err *err) {
    const uint32_t n = m->linked->nweights;
    const size_t bytes = lay_out(m, NULL), e = element(m->f64);
    m->weights = calloc(n + (size_t)1, sizeof *m->weights);
    m->trained = calloc(n + (size_t)1, sizeof *m->trained);
    m->optim.tensors = calloc(n + (size_t)1, sizeof *m->optim.tensors);
    if (!m->weights || !m->trained || !m->optim.tensors) return no_memory(err);
    m->memory = aligned_alloc(HUGE_PAGE, (bytes + HUGE_PAGE) / HUGE_PAGE * HUGE_PAGE);
    m->loss = calloc(m->spec->batch_size, e);
    m->eval_loss = calloc(m->eval_rows, e);
    m->eval_value = calloc(m->eval_rows, m->linked->output->dim * e);
    if (!m->memory || !m->loss || !m->eval_loss || !m->eval_value) return no_memory(err);
    madvise(m->memory, bytes, MADV_HUGEPAGE); /* an update goes through all of it; refused, it is only slower */
    memset(m->memory, 0, bytes);
    lay_out(m, m->memory);
    return true;
}

static bool name_tensors(TrainModel *m) {
    const uint32_t states = optim_states(&m->spec->optimizer);
    CheckpointTensor *tensor = m->file.tensors = calloc(m->file.n + (size_t)1, sizeof *m->file.tensors);
    if (!tensor) return false;
    for (uint32_t j = 0; j < m->linked->nweights; j++) {
        const LinkWeight *w = &m->linked->weights[j];
        *tensor++ = (CheckpointTensor){strdup(w->name), w->dims, w->rank, m->weights[j], w->size, false};
    }
    for (uint32_t t = 0; t < m->optim.ntensors; t++)
        for (uint32_t s = 0; s < states; s++) {
            const LinkWeight *w = &m->linked->weights[m->trained[t]];
            *tensor = (CheckpointTensor){NULL, w->dims, w->rank, m->optim.tensors[t].state[s], w->size, true};
            if (asprintf(&tensor->name, "optimizer.%s.%s", optim_state_name(&m->spec->optimizer, s), w->name) < 0) tensor->name = NULL;
            tensor++;
        }
    for (uint32_t i = 0; i < m->file.n; i++)
        if (!m->file.tensors[i].name) return false;
    m->file.f64 = m->f64;
    return true;
}

/* ---- passes ---- */

static uint32_t tensor_of(const TrainModel *m, uint32_t weight) {
    uint32_t t = 0;
    while (t < m->optim.ntensors && m->trained[t] != weight) t++;
    return t;
}

/* Slots read weights and the loss's cotangent, outputs write losses, values and gradients. */
static bool bind_pass(TrainModel *m, ModelPass *pass, void *loss, void *value, Err *err) {
    const Graph *g = pass->graph;
    const DType own = m->f64 ? DT_F64 : DT_F32;
    pass->inputs = calloc(g->nslots + (size_t)1, sizeof *pass->inputs);
    pass->outputs = calloc(g->noutputs + (size_t)1, sizeof *pass->outputs);
    if (!pass->inputs || !pass->outputs) return no_memory(err);
    for (uint32_t s = 0; s < g->nslots; s++) {
        const Slot *slot = &g->slots[s];
        const void *one = m->f64 ? (const void *)&m->cotangent64 : &m->cotangent32;
        if (slot->role == SLOT_COLUMN) continue;
        if (slot->role == SLOT_WEIGHT) pass->inputs[s] = (ExecInput){.data = m->weights[slot->index], .dtype = own, .cols = slot->size};
        else pass->inputs[s] = (ExecInput){.data = one, .dtype = own, .cols = 1};
    }
    for (uint32_t o = 0; o < g->noutputs; o++) {
        const Output *out = &g->outputs[o];
        if (out->role == OUT_LOSS) pass->outputs[o] = (ExecOutput){loss, true};
        if (out->role == OUT_VALUE) pass->outputs[o] = (ExecOutput){value, value != NULL};
        if (out->role != OUT_GRAD_WEIGHT) continue;
        const uint32_t t = tensor_of(m, out->index);
        if (t == m->optim.ntensors) return err_set(err, ERR_internal, "There is a gradient of a weight that is not trained.");
        pass->outputs[o].data = (void *)m->optim.tensors[t].gradient;
    }
    return true;
}

static size_t rows_at_once(const Plan *forward, size_t row) {
    size_t rows = EVAL_BYTES / row;
    if ((double)rows * forward->macs_row > EVAL_MACS) rows = (size_t)(EVAL_MACS / forward->macs_row);
    return rows < 1 ? 1 : rows > EXEC_TILE ? EXEC_TILE : rows;
}

/* Plans, rows of an evaluation (whose columns, value and loss are held), and what it all takes, before any of it is taken. */
static bool settle(TrainModel *m, Err *err) {
    const Linked *linked = m->linked;
    const size_t batch = m->spec->batch_size, e = element(m->f64);
    size_t row = (linked->output->dim + 1) * e;
    if (!check_size(m, err)) return false;
    m->bytes = lay_out(m, NULL);
    for (uint32_t s = 0; s < linked->nslots; s++) row += linked->slots[s].size * e;
    if (row > LIMIT_JOB_BYTES / batch) return too_much(err);
    if (!plan_pass(&m->step, m->f64, batch, err) || !plan_pass(&m->forward, m->f64, 0, err)) return false;
    m->eval_rows = rows_at_once(m->forward.plan, row);
    m->step.tile = tile_of(m->step.plan, batch, m->threads);
    m->forward.tile = tile_of(m->forward.plan, m->eval_rows, m->threads);
    const size_t step = slabs(m->step.plan, batch, m->threads), forward = slabs(m->forward.plan, m->eval_rows, m->threads);
    if (!step || !forward) return too_much(err);
    if (!check_work(m->step.plan, batch, err) || !check_work(m->forward.plan, m->eval_rows, err)) return false;
    m->bytes += (m->eval_rows + batch) * row + (step > forward ? step : forward); /* one workspace serves both */
    return true;
}

static bool make(TrainModel *m, Err *err) {
    if (!take_memory(m, err)) return false;
    m->cotangent64 = 1 / (double)m->spec->batch_size;
    m->cotangent32 = (float)m->cotangent64;
    if (!bind_pass(m, &m->step, m->loss, NULL, err) || !bind_pass(m, &m->forward, m->eval_loss, m->eval_value, err)) return false;
    m->optim.spec = &m->spec->optimizer;
    m->optim.f64 = m->f64;
    m->optim.isa = m->step.plan->isa;
    m->optim.threads = m->threads;
    return (optim_init(&m->optim) && name_tensors(m)) || no_memory(err);
}

static void begin(TrainModel *m, const Spec *spec, const Linked *linked, const Graph *step, const Graph *forward, unsigned threads) {
    *m = (TrainModel){.spec = spec, .linked = linked, .f64 = linked->dtype == DT_F64, .threads = threads, .step.graph = step, .forward.graph = forward};
}

bool model_init(TrainModel *m, const Spec *spec, const Linked *linked, const Graph *step, const Graph *forward, unsigned threads, Err *err) {
    begin(m, spec, linked, step, forward, threads);
    const bool ok = settle(m, err) && make(m, err);
    if (!ok) model_release(m);
    return ok;
}

bool model_measure(const Spec *spec, const Linked *linked, const Graph *step, const Graph *forward, unsigned threads, size_t *bytes, Err *err) {
    TrainModel m;
    begin(&m, spec, linked, step, forward, threads);
    const bool ok = settle(&m, err);
    *bytes = m.bytes;
    model_release(&m);
    return ok;
}

static void release_pass(ModelPass *pass) {
    plan_free(pass->plan);
    free(pass->inputs);
    free(pass->outputs);
}

void model_release(TrainModel *m) {
    for (uint32_t i = 0; m->file.tensors && i < m->file.n; i++) free(m->file.tensors[i].name);
    free(m->file.tensors);
    optim_release(&m->optim);
    free(m->optim.tensors);
    free(m->trained);
    free(m->weights);
    free(m->memory);
    free(m->loss);
    free(m->eval_loss);
    free(m->eval_value);
    release_pass(&m->step);
    release_pass(&m->forward);
    *m = (TrainModel){0};
}

/* ---- weights ---- */

static void set(TrainModel *m, uint32_t weight, size_t i, double value) {
    if (m->f64) ((double *)m->weights[weight])[i] = value;
    else ((float *)m->weights[weight])[i] = (float)value;
}

static double draw(const LinkWeight *w, uint64_t key, size_t i) {
    switch (w->init) {
    case INIT_KAIMING: return (2 * random_unit(key, i) - 1) * w->bound;
    case INIT_NORMAL: return random_normal(key, i) * w->bound;
    case INIT_ONES: return 1;
    default: return 0;
    }
}

void model_draw(TrainModel *m) {
    for (uint32_t j = 0; j < m->linked->nweights; j++) {
        const LinkWeight *w = &m->linked->weights[j];
        const uint64_t key = random_key(m->spec->seed, w->name, 0);
        for (size_t i = 0; !w->from_run && i < w->size; i++) set(m, j, i, draw(w, key, i));
    }
}

bool model_take(TrainModel *m, uint32_t weight, const unsigned char *file, size_t len, Err *err) {
    const LinkWeight *w = &m->linked->weights[weight];
    double *values = malloc(w->size * sizeof *values);
    if (!values) return no_memory(err);
    bool ok = checkpoint_weight(file, len, w->from_name, w->dims, w->rank, values, err);
    const size_t beyond = ok && !m->f64 ? elements_beyond_f32(values, w->size) : w->size;
    if (ok && beyond < w->size)
        ok = err_set(err, ERR_bad_run, "The earlier run's weight \"%.100s\" has %.9g, which is beyond f32.", w->from_name, values[beyond]);
    for (size_t i = 0; ok && i < w->size; i++) set(m, weight, i, values[i]);
    free(values);
    return ok;
}

/* ---- a step ---- */

static bool run(ModelPass *pass, const Feed *feed, size_t rows, Workspace *w, Err *err) {
    const Graph *g = pass->graph;
    for (uint32_t s = 0; s < g->nslots; s++)
        if (slot_is(g, s, SLOT_COLUMN)) pass->inputs[s] = feed_input(feed, g->slots[s].index);
    return exec_run(pass->plan, pass->inputs, pass->outputs, rows, pass->tile, w, err);
}

bool model_step(TrainModel *m, const Feed *feed, Workspace *w, Err *err) { return run(&m->step, feed, m->spec->batch_size, w, err); }

bool model_forward(TrainModel *m, const Feed *feed, size_t rows, Workspace *w, Err *err) { return run(&m->forward, feed, rows, w, err); }

double model_loss(const TrainModel *m) {
    double sum = 0;
    for (size_t r = 0; r < m->spec->batch_size; r++) sum += m->f64 ? ((const double *)m->loss)[r] : (double)((const float *)m->loss)[r];
    return sum / (double)m->spec->batch_size;
}

uint32_t model_nonfinite(const TrainModel *m) {
    for (uint32_t t = 0; t < m->optim.ntensors; t++) {
        const OptimTensor *tensor = &m->optim.tensors[t];
        for (size_t i = 0; i < tensor->size; i++)
            if (!isfinite(m->f64 ? ((const double *)tensor->gradient)[i] : (double)((const float *)tensor->gradient)[i])) return m->trained[t];
    }
    return UINT32_MAX;
}
