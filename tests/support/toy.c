#include "tests/support/toy.h"
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROWS = 256, WIDTH = 4, POLL_US = 5000, POLLS = 24000 };

void toy_data(Ask *a) {
    static float x[ROWS][WIDTH], y[ROWS][WIDTH];
    static int64_t label[ROWS];
    uint32_t state = 1;
    for (int r = 0; r < ROWS; r++) {
        for (int i = 0; i < WIDTH; i++) {
            state = state * 1664525u + 1013904223u;
            x[r][i] = (float)(state >> 8) / (float)(1 << 23) - 1;
        }
        for (int i = 0; i < WIDTH; i++) y[r][i] = 2 * x[r][(i + 1) % WIDTH] - x[r][i];
        label[r] = x[r][0] > 0;
    }
    Buf body, header;
    buf_init(&header);
    buf_printf(&header, "{\"x\":{\"dtype\":\"F32\",\"shape\":[%d,%d],\"data_offsets\":[0,%zu]}", ROWS, WIDTH, sizeof x);
    buf_printf(&header, ",\"y\":{\"dtype\":\"F32\",\"shape\":[%d,%d],\"data_offsets\":[%zu,%zu]}", ROWS, WIDTH, sizeof x, 2 * sizeof x);
    buf_printf(&header, ",\"label\":{\"dtype\":\"I64\",\"shape\":[%d],\"data_offsets\":[%zu,%zu]}}", ROWS, 2 * sizeof x, 2 * sizeof x + sizeof label);
    buf_init(&body);
    buf_u64(&body, header.len);
    buf_put(&body, header.data, header.len);
    buf_put(&body, x, sizeof x);
    buf_put(&body, y, sizeof y);
    buf_put(&body, label, sizeof label);
    ask_bytes(a, 201, "PUT /datasets/toy", NULL, body.data, body.len);
    buf_release(&header);
    buf_release(&body);
}

void toy_spec(char out[1000], uint64_t steps, uint64_t every) {
    snprintf(out, 1000,
             "{'name': 'toy', 'program': {'source': 'f : !(R[4] -o R[4]), x : R[4] |- f x'}, 'bind': {'x': {'column': 'x'}, 'f': {'weights': {}}},"
             " 'data': {'train': 'toy'}, 'loss': {'mse': {'target': 'y'}}, 'optimizer': {'adam': {'lr': 0.01}}, 'batch_size': 16, 'steps': %llu,"
             " 'seed': 7, 'evaluate': {'every': %llu, 'metrics': ['loss', 'mae']}, 'checkpoint': {'every': %llu}}",
             (unsigned long long)steps, (unsigned long long)every, (unsigned long long)every);
}

void toy_post(Ask *a, uint64_t steps, uint64_t every, char id[TOY_ID]) {
    char spec[1000];
    toy_spec(spec, steps, every);
    ask(a, 202, "POST /runs", spec);
    snprintf(id, TOY_ID, "%s", ask_text(a, "id"));
}

const char *toy_route(char out[128], const char *method, const char *id, const char *rest) {
    snprintf(out, 128, "%s /runs/%s%s", method, id, rest);
    return out;
}

void toy_wait(Ask *a, const char *id, const char *state) {
    static const char *const over[] = {"done", "failed", "cancelled"};
    char route[128];
    toy_route(route, "GET", id, "");
    for (int i = 0; i < POLLS; i++) {
        ask(a, 200, route, NULL);
        const char *now = ask_text(a, "state");
        if (strcmp(now, state) == 0) return;
        for (size_t k = 0; k < 3; k++)
            if (strcmp(now, over[k]) == 0) fail_msg("the run is %s (%s) instead of %s", now, ask_find(a, "reason") ? ask_text(a, "reason") : "", state);
        usleep(POLL_US);
    }
    fail_msg("the run did not become %s", state);
}

void toy_run(Ask *a, uint64_t steps, uint64_t every, char id[TOY_ID]) {
    toy_post(a, steps, every, id);
    toy_wait(a, id, "done");
}

void toy_wait_step(Ask *a, const char *id, uint64_t step) {
    char route[128];
    toy_route(route, "GET", id, "");
    for (int i = 0; i < POLLS; i++) {
        ask(a, 200, route, NULL);
        if (ask_number(a, "step") >= (double)step) return;
        usleep(POLL_US);
    }
    fail_msg("the run did not come to step %llu", (unsigned long long)step);
}

void toy_weights(Ask *a, const char *id, Buf *out) {
    char route[128];
    ask(a, 200, toy_route(route, "GET", id, "/weights"), NULL);
    buf_put(out, a->response.body.data, a->response.body.len);
}

/* Reads /proc/<pid>/<file>; "" when it is gone. */
static void read_proc(const char *pid, const char *file, char *out, size_t room) {
    char path[300];
    snprintf(path, sizeof path, "/proc/%s/%s", pid, file);
    FILE *in = fopen(path, "r");
    size_t n = in ? fread(out, 1, room - 1, in) : 0;
    if (in) fclose(in);
    for (size_t i = 0; i < n; i++)
        if (!out[i]) out[i] = ' ';
    out[n] = 0;
}

pid_t toy_trainer(const Ask *a) {
    DIR *proc = opendir("/proc");
    pid_t found = 0;
    for (struct dirent *e; proc && (e = readdir(proc)) && !found;) {
        char line[1024], stat[1024];
        int parent = 0;
        if (*e->d_name < '0' || *e->d_name > '9') continue;
        read_proc(e->d_name, "cmdline", line, sizeof line);
        read_proc(e->d_name, "stat", stat, sizeof stat);
        const char *name_end = strrchr(stat, ')');
        if (name_end && sscanf(name_end, ") %*c %d", &parent) == 1 && parent == a->daemon.pid && strstr(line, "--background")) found = atoi(e->d_name);
    }
    if (proc) closedir(proc);
    return found;
}
