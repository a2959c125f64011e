#include "compiler/training/spec.h"
#include <stdio.h>
#include <string.h>

const char *const init_names[] = {"kaiming", "zeros", "ones", "normal", NULL};
const char *const loss_names[] = {"l1", "mse", "cross_entropy", "nll", "bce", NULL};
const char *const optimizer_names[] = {"sgd", "adam", "adamw", NULL};
const char *const schedule_names[] = {"constant", "step", "cosine", "warmup", NULL};
const char *const metric_names[] = {"loss", "psnr", "accuracy", "mae", NULL};

void spec_release(Spec *spec) {
    json_release(&spec->json);
    arena_release(&spec->arena);
    *spec = (Spec){0};
}

SpecColumn spec_column(const Spec *spec, const char *name) {
    for (uint32_t i = 0; i < spec->ncolumns; i++)
        if (strcmp(spec->columns[i].name, name) == 0) return spec->columns[i];
    return (SpecColumn){.name = name, .scale = 1};
}

static void tell_run(void (*run)(void *arg, const char *id, const char *pointer), void *arg, const char *id, const char *pointer) {
    char at[200];
    snprintf(at, sizeof at, "%s/weights/run", pointer);
    if (id) run(arg, id, at);
}

void spec_each_run(const Spec *spec, void (*run)(void *arg, const char *id, const char *pointer), void *arg) {
    for (uint32_t i = 0; i < spec->nnets; i++) tell_run(run, arg, spec->nets[i].from_run, spec->nets[i].pointer);
    for (uint32_t i = 0; i < spec->nbinds; i++) tell_run(run, arg, spec->binds[i].from_run, spec->binds[i].pointer);
}
