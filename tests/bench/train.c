/* train SPEC PROGRAM ROWS DATA WEIGHTS THREADS: a run's training steps in this process, as a worker takes them (worker/train/train_loop.c).
 *
 * SPEC: a file, one batch of ROWS an epoch; PROGRAM: its program as text; DATA: a file of column x, then y, ROWS × 28 × 28 float32 each.
 * Writes the weights as they begin to WEIGHTS, a checkpoint. Then, for each line "N" of its input, takes N steps and prints a line of
 * "MILLISECONDS LOSS" for each of them, one after the other. */
#include "compiler/language/canon.h"
#include "compiler/passes/optimise.h"
#include "compiler/passes/rewrite.h"
#include "compiler/language/syntax.h"
#include "compiler/training/spec_read.h"
#include "worker/train/train_feed.h"
#include "worker/train/train_model.h"
#include "worker/train/train_schedule.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SIDE = 28, SPEC_ROOM = 1 << 16 };
#define SHRINK 0.25f

static _Noreturn void die(const char *what, const char *why) {
    fprintf(stderr, "train: %s: %s\n", what, why);
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct {
    Cx cx;
    Spec spec;
    Linked *linked;
    Graph *step, *forward;
    TrainModel model;
    Feed feed;
    Workspace workspace;
    uint64_t at;
} Run;

static void read_spec(Run *run, const char *path) {
    static char text[SPEC_ROOM];
    Err err = {0};
    FILE *f = fopen(path, "r");
    if (!f) die(path, "cannot be opened");
    size_t len = fread(text, 1, sizeof text, f);
    fclose(f);
    if (!spec_read(&run->spec, text, len, &err)) die(err.pointer, err.message);
}

static void link_all(Run *run, const char *source, const LinkData *data) {
    static char pointer[LINK_POINTER];
    Cx *cx = &run->cx;
    cx_init(cx);
    CX_TRY(cx) {
        Program *program = program_new(cx, NAT_DEFAULT);
        syntax_text(cx, program, source, strlen(source));
        Checked *checked = check_program(cx, program);
        run->linked = link_run(cx, &run->spec, program, checked, data, NULL, pointer);
        run->step = link_train(cx, run->linked, run->spec.batch_size);
        run->forward = optimise_graph(cx, run->linked->forward);
        graph_free(rewrite_give(cx, run->linked->forward));
    }
    if (cx->diag.code) die(pointer, cx->diag.message);
}

/* Weights as they are drawn make ten iterations explode, and then no two ways of adding agree. */
static void draw_weights(TrainModel *m) {
    model_draw(m);
    for (uint32_t j = 0; j < m->linked->nweights; j++)
        for (size_t i = 0; i < m->linked->weights[j].size; i++) ((float *)m->weights[j])[i] *= SHRINK;
}

static void save_weights(Run *run, const char *path) {
    Area area;
    Err err = {0};
    if (!checkpoint_write(&run->model.file, &area, &err)) die(path, err.message);
    FILE *f = fopen(path, "w");
    if (!f || fwrite(area.data, 1, area.size, f) != area.size || fclose(f)) die(path, "cannot be written");
    area_release(&area);
}

static double step(Run *run) {
    Err err = {0};
    TrainModel *m = &run->model;
    const Spec *spec = &run->spec;
    if (!feed_batch(&run->feed, spec->seed, run->at, &err) || !model_step(m, &run->feed, &run->workspace, &err)) die("a step", err.message);
    const double loss = model_loss(m), norm = optim_norm(&m->optim), clip = spec->clip_norm;
    const double rate = schedule_rate(&spec->schedule, spec->optimizer.lr, run->at++, spec->steps);
    optim_step(&m->optim, rate, clip > 0 && norm + 1e-6 > clip ? clip / (norm + 1e-6) : 1);
    return loss;
}

static void take_steps(Run *run, int n) {
    for (int i = 0; i < n; i++) {
        const double began = now(), loss = step(run);
        printf(i ? " %.6f %.9g" : "%.6f %.9g", 1e3 * (now() - began), loss);
    }
    putchar('\n');
    fflush(stdout);
}

int main(int argc, char **argv) {
    static Run run;
    Err err = {0};
    char line[32];
    if (argc != 7) die("usage", "train SPEC PROGRAM ROWS DATA WEIGHTS THREADS");
    const uint64_t rows = strtoull(argv[3], NULL, 10), bytes = rows * SIDE * SIDE * sizeof(float);
    const unsigned threads = (unsigned)strtoul(argv[6], NULL, 10);
    const LinkColumn linked[] = {{.name = "x", .dtype = DT_F32, .rank = 2, .dims = {SIDE, SIDE}}, {.name = "y", .dtype = DT_F32, .rank = 2, .dims = {SIDE, SIDE}}};
    ColumnMsg columns[] = {
        {.name = (const unsigned char *)"x", .name_len = 1, .dtype = DT_F32, .rank = 2, .dims = {SIDE, SIDE}},
        {.name = (const unsigned char *)"y", .name_len = 1, .dtype = DT_F32, .rank = 2, .dims = {SIDE, SIDE}, .offset = bytes}};
    const DataMsg data = {.kind = DATA_TRAIN, .rows = rows, .bytes = 2 * bytes, .ncolumns = 2, .columns = columns};
    read_spec(&run, argv[1]);
    link_all(&run, argv[2], &(LinkData){.columns = linked, .ncolumns = 2, .rows = rows});
    if (!model_init(&run.model, &run.spec, run.linked, run.step, run.forward, threads, &err)) die("the model", err.message);
    const int fd = open(argv[4], O_RDONLY | O_CLOEXEC);
    if (!feed_open(&run.feed, fd, &data, run.linked, false, run.model.f64, run.spec.batch_size, &err)) die("the data", err.message);
    run.workspace.threads = threads;
    draw_weights(&run.model);
    save_weights(&run, argv[5]);
    printf("ready\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) take_steps(&run, atoi(line));
    close(fd);
    return 0;
}
