/* Data, loss, optimizer, schedule, evaluation, checkpoints. */
#include "compiler/training/spec_reader.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- data ---- */

static int by_name(const void *a, const void *b) { return strcmp(((const SpecColumn *)a)->name, ((const SpecColumn *)b)->name); }

static void read_columns(SpecReader *r, JsonNode columns) {
    static const Field fields[] = {{"scale", FIELD_DOUBLE, offsetof(SpecColumn, scale), false, NULL},
                                   {"shift", FIELD_DOUBLE, offsetof(SpecColumn, shift), false, NULL},
                                   {NULL, FIELD_NODE, 0, false, NULL}};
    Spec *s = r->spec;
    uint32_t n = 0;
    for (JsonNode node = columns->child; node; node = node->next) n += n <= LIMIT_RUN_BINDS;
    if (n > LIMIT_RUN_BINDS) spec_fail(r, "/data/columns", "At most %d columns are given.", LIMIT_RUN_BINDS);
    s->columns = ARENA_ARRAY(&s->arena, SpecColumn, n);
    for (JsonNode node = columns->child; node; node = node->next) {
        SpecColumn *column = &s->columns[s->ncolumns++];
        if (!*node->string || strlen(node->string) > LIMIT_RUN_NAME)
            spec_fail(r, "/data/columns", "The name of a column has 1 to %d bytes.", LIMIT_RUN_NAME);
        const char *pointer = spec_under(r, "/data/columns", node->string);
        *column = (SpecColumn){.name = node->string, .scale = 1, .pointer = pointer};
        spec_decode(r, node, pointer, fields, column);
        spec_fits(r, spec_under(r, pointer, "scale"), column->scale);
        spec_fits(r, spec_under(r, pointer, "shift"), column->shift);
        if (column->scale == 0) spec_fail(r, spec_under(r, pointer, "scale"), "A scale of 0 would make all data equal.");
    }
    if (n) qsort(s->columns, n, sizeof *s->columns, by_name);
}

static void read_data(SpecReader *r, JsonNode data) {
    struct { JsonNode train, test, columns; } d = {0};
    static const Field fields[] = {{"train", FIELD_NODE, 0, true, NULL}, {"test", FIELD_NODE, sizeof(JsonNode), false, NULL},
                                   {"columns", FIELD_OBJECT, 2 * sizeof(JsonNode), false, NULL}, {NULL, FIELD_NODE, 0, false, NULL}};
    spec_decode(r, data, "/data", fields, &d);
    r->spec->train_data = spec_string(r, d.train, "/data/train");
    r->spec->test_data = d.test ? spec_string(r, d.test, "/data/test") : NULL;
    if (d.columns) read_columns(r, d.columns);
}

/* ---- loss ---- */

static void read_loss(SpecReader *r, JsonNode node) {
    JsonNode body, target = NULL;
    const char *at;
    static const Field fields[] = {{"target", FIELD_NODE, 0, true, NULL}, {NULL, FIELD_NODE, 0, false, NULL}};
    r->spec->loss = (LossKind)spec_choice(r, node, "/loss", loss_names, "a loss", &body, &at);
    if (!body) spec_fail(r, "/loss", "A loss needs the column it compares with: {\"%s\": {\"target\": \"y\"}}.", loss_names[r->spec->loss]);
    spec_decode(r, body, at, fields, &target);
    r->spec->target = spec_string(r, target, spec_under(r, at, "target"));
}

/* ---- optimizer ---- */

static void read_betas(SpecReader *r, JsonNode betas, const char *pointer, SpecOptimizer *o) {
    JsonNode first = json_count(&r->spec->json, betas) == 2 ? json_items(&r->spec->json, betas) : NULL;
    for (JsonNode at = first; at; at = at->next)
        if (json_kind(at) != JSON_NUMBER || !(at->valuedouble >= 0 && at->valuedouble < 1)) first = NULL;
    if (!first) spec_fail(r, pointer, "\"betas\" must be two numbers in [0, 1).");
    o->beta1 = first->valuedouble;
    o->beta2 = first->next->valuedouble;
}

static void check_optimizer(SpecReader *r, const SpecOptimizer *o, const char *at) {
    if (!(o->lr > 0)) spec_fail(r, spec_under(r, at, "lr"), "The learning rate \"lr\" must be larger than 0.");
    if (!(o->weight_decay >= 0)) spec_fail(r, spec_under(r, at, "weight_decay"), "\"weight_decay\" must not be negative.");
    if (!(o->eps >= 0)) spec_fail(r, spec_under(r, at, "eps"), "\"eps\" must not be negative.");
    if (!(o->momentum >= 0)) spec_fail(r, spec_under(r, at, "momentum"), "\"momentum\" must not be negative.");
    const struct { const char *key; double v; } numbers[] = {{"lr", o->lr}, {"weight_decay", o->weight_decay}, {"eps", o->eps},
                                                             {"momentum", o->momentum}, {"dampening", o->dampening}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) spec_fits(r, spec_under(r, at, numbers[i].key), numbers[i].v);
    if (o->nesterov && (!(o->momentum > 0) || o->dampening != 0))
        spec_fail(r, spec_under(r, at, "nesterov"), "\"nesterov\" needs a \"momentum\" larger than 0 and no \"dampening\".");
}

static void read_optimizer(SpecReader *r, JsonNode node) {
    static const Field sgd[] = {{"lr", FIELD_DOUBLE, offsetof(SpecOptimizer, lr), false, NULL},
                                {"momentum", FIELD_DOUBLE, offsetof(SpecOptimizer, momentum), false, NULL},
                                {"dampening", FIELD_DOUBLE, offsetof(SpecOptimizer, dampening), false, NULL},
                                {"weight_decay", FIELD_DOUBLE, offsetof(SpecOptimizer, weight_decay), false, NULL},
                                {"nesterov", FIELD_BOOL, offsetof(SpecOptimizer, nesterov), false, NULL},
                                {NULL, FIELD_NODE, 0, false, NULL}};
    typedef struct { SpecOptimizer o; JsonNode betas; } Adam;
    static const Field adam[] = {{"lr", FIELD_DOUBLE, offsetof(Adam, o.lr), false, NULL},
                                 {"betas", FIELD_ARRAY, offsetof(Adam, betas), false, NULL},
                                 {"eps", FIELD_DOUBLE, offsetof(Adam, o.eps), false, NULL},
                                 {"weight_decay", FIELD_DOUBLE, offsetof(Adam, o.weight_decay), false, NULL},
                                 {NULL, FIELD_NODE, 0, false, NULL}};
    JsonNode body;
    const char *at;
    Adam a = {.o = {.lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8}};
    a.o.kind = (OptimizerKind)spec_choice(r, node, "/optimizer", optimizer_names, "an optimizer", &body, &at);
    if (a.o.kind == OPTIMIZER_ADAMW) a.o.weight_decay = 1e-2;
    if (body) spec_decode(r, body, at, a.o.kind == OPTIMIZER_SGD ? sgd : adam, &a);
    if (a.betas) read_betas(r, a.betas, spec_under(r, at, "betas"), &a.o);
    check_optimizer(r, &a.o, at);
    r->spec->optimizer = a.o;
}

/* ---- schedule ---- */

static void check_length(SpecReader *r, uint64_t steps, uint64_t least, const char *at, JsonNode body, const char *key) {
    if (steps >= least && steps <= LIMIT_RUN_STEPS) return;
    spec_fail(r, json_get(body, key) ? spec_under(r, at, key) : at, "This schedule needs \"%s\", from %llu to %llu steps.", key,
              (unsigned long long)least, (unsigned long long)LIMIT_RUN_STEPS);
}

static void check_schedule(SpecReader *r, const SpecSchedule *s, const char *at, JsonNode body) {
    if (s->kind == SCHEDULE_STEP) check_length(r, s->every, 1, at, body, "every");
    if (s->kind == SCHEDULE_STEP && !(s->gamma > 0)) spec_fail(r, spec_under(r, at, "gamma"), "\"gamma\" must be larger than 0.");
    if (s->kind == SCHEDULE_COSINE) check_length(r, s->over, json_get(body, "over") != NULL, at, body, "over");
    check_length(r, s->warmup, s->kind == SCHEDULE_WARMUP, at, body, s->kind == SCHEDULE_WARMUP ? "over" : "warmup");
    if (!(s->lr_min >= 0 && s->lr_min <= r->spec->optimizer.lr))
        spec_fail(r, spec_under(r, at, "lr_min"), "\"lr_min\" must be from 0 to the learning rate.");
}

static void read_schedule(SpecReader *r, JsonNode node) {
    static const Field none[] = {{NULL, FIELD_NODE, 0, false, NULL}};
    static const Field step[] = {{"every", FIELD_UINT, offsetof(SpecSchedule, every), false, NULL},
                                 {"gamma", FIELD_DOUBLE, offsetof(SpecSchedule, gamma), false, NULL},
                                 {"warmup", FIELD_UINT, offsetof(SpecSchedule, warmup), false, NULL},
                                 {NULL, FIELD_NODE, 0, false, NULL}};
    static const Field cosine[] = {{"over", FIELD_UINT, offsetof(SpecSchedule, over), false, NULL},
                                   {"lr_min", FIELD_DOUBLE, offsetof(SpecSchedule, lr_min), false, NULL},
                                   {"warmup", FIELD_UINT, offsetof(SpecSchedule, warmup), false, NULL},
                                   {NULL, FIELD_NODE, 0, false, NULL}};
    static const Field warmup[] = {{"over", FIELD_UINT, offsetof(SpecSchedule, warmup), false, NULL}, {NULL, FIELD_NODE, 0, false, NULL}};
    static const Field *const tables[SCHEDULE_COUNT] = {none, step, cosine, warmup};
    SpecSchedule s = {.gamma = 0.1};
    JsonNode body;
    const char *at;
    s.kind = (ScheduleKind)spec_choice(r, node, "/schedule", schedule_names, "a schedule", &body, &at);
    if (body) spec_decode(r, body, at, tables[s.kind], &s);
    check_schedule(r, &s, at, body);
    r->spec->schedule = s;
}

/* ---- evaluation, checkpoints ---- */

static void read_metrics(SpecReader *r, JsonNode metrics) {
    JsonNode body;
    const char *at;
    size_t i = 0;
    memset(r->spec->metrics, 0, sizeof r->spec->metrics);
    for (JsonNode node = json_items(&r->spec->json, metrics); node; node = node->next, i++) {
        const uint32_t metric = spec_choice(r, node, spec_item(r, "/evaluate/metrics", i), metric_names, "a metric", &body, &at);
        if (body) spec_fail(r, at, "A metric is its bare name.");
        if (r->spec->metrics[metric]) spec_fail(r, at, "The metric \"%s\" stands twice.", metric_names[metric]);
        r->spec->metrics[metric] = true;
    }
    if (!i) spec_fail(r, "/evaluate/metrics", "\"metrics\" must be an array of at least one metric.");
}

/* Nothing would come of such an evaluation. */
static void refuse_loss_alone(SpecReader *r, const char *pointer) {
    bool others = r->spec->test_data != NULL;
    for (MetricKind kind = 0; kind < METRIC_COUNT; kind++) others = others || (kind != METRIC_LOSS && r->spec->metrics[kind]);
    if (!others) spec_fail(r, pointer, "Every step reports the loss on train data: give \"test\" data, or a metric other than \"loss\".");
}

static void read_evaluate(SpecReader *r, JsonNode evaluate) {
    struct { uint64_t every, rows; JsonNode metrics; } e = {0};
    static const Field fields[] = {{"every", FIELD_UINT, 0, true, NULL}, {"rows", FIELD_UINT, 8, false, NULL},
                                   {"metrics", FIELD_ARRAY, 16, false, NULL}, {NULL, FIELD_NODE, 0, false, NULL}};
    spec_decode(r, evaluate, "/evaluate", fields, &e);
    if (!e.every || e.every > LIMIT_RUN_STEPS)
        spec_fail(r, "/evaluate/every", "\"every\" must be from 1 to %llu steps.", (unsigned long long)LIMIT_RUN_STEPS);
    if (json_get(evaluate, "rows") && !e.rows)
        spec_fail(r, "/evaluate/rows", "\"rows\" must be at least 1; leave it away to evaluate on all.");
    if (e.metrics) read_metrics(r, e.metrics);
    refuse_loss_alone(r, e.metrics ? "/evaluate/metrics" : "/evaluate");
    r->spec->evaluate_every = e.every;
    r->spec->evaluate_rows = e.rows;
}

static void read_checkpoint(SpecReader *r, JsonNode checkpoint) {
    struct { uint64_t every, keep; } c = {.keep = r->spec->checkpoint_keep};
    static const Field fields[] = {{"every", FIELD_UINT, 0, true, NULL}, {"keep", FIELD_UINT, 8, false, NULL}, {NULL, FIELD_NODE, 0,
                                                                                          false, NULL}};
    spec_decode(r, checkpoint, "/checkpoint", fields, &c);
    if (!c.every || c.every > LIMIT_RUN_STEPS)
        spec_fail(r, "/checkpoint/every", "\"every\" must be from 1 to %llu steps.", (unsigned long long)LIMIT_RUN_STEPS);
    if (c.keep > LIMIT_RUN_KEPT) spec_fail(r, "/checkpoint/keep", "At most %d checkpoints are kept.", LIMIT_RUN_KEPT);
    r->spec->checkpoint_every = c.every;
    r->spec->checkpoint_keep = c.keep;
}

void spec_training(SpecReader *r, const SpecParts *parts) {
    r->spec->metrics[METRIC_LOSS] = true;
    r->spec->checkpoint_keep = 2;
    read_data(r, parts->data);
    read_loss(r, parts->loss);
    read_optimizer(r, parts->optimizer);
    if (parts->schedule) read_schedule(r, parts->schedule);
    if (parts->evaluate) read_evaluate(r, parts->evaluate);
    if (parts->checkpoint) read_checkpoint(r, parts->checkpoint);
}
