#include "client/cli.h"
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

enum { BAR = 24, KEPT = 5 /* metrics in the line */, KEY = 32, RETRIES = 30 };
/* Without a terminal: a line so often. */
#define QUIET_SECONDS 5.0

typedef struct {
    char key[KEY];
    double value;
} Latest;

typedef struct {
    const char *run;
    bool terminal, json;
    int signals; /* a descriptor that has SIGINT to read; -1: none */
    Buf line;    /* of the stream, so far */
    char last[32]; /* sequence number of the last event */
    double step, steps, speed, speed_step, speed_time, shown;
    Latest latest[KEPT];
    int nlatest;
    char state[20], reason[400];
    bool ended, interrupted;
} Watch;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static const cJSON *get(const cJSON *object, const char *key) { return cJSON_GetObjectItemCaseSensitive(object, key); }

static void take_number(const cJSON *data, const char *key, double *out) {
    const cJSON *v = get(data, key);
    if (cJSON_IsNumber(v)) *out = v->valuedouble;
}

static void take_text(const cJSON *data, const char *key, char *out, size_t room) {
    const char *text = cJSON_GetStringValue(get(data, key));
    if (text) snprintf(out, room, "%s", text);
}

/* Non-finite numbers come as strings. */
static double value_of(const cJSON *v) { return cJSON_IsNumber(v) ? v->valuedouble : v && v->valuestring ? strtod(v->valuestring, NULL) : NAN; }

static void take_values(Watch *w, const cJSON *values) {
    const cJSON *v;
    cJSON_ArrayForEach(v, values) {
        int i = 0;
        while (i < w->nlatest && strcmp(w->latest[i].key, v->string) != 0) i++;
        if (i == KEPT) continue;
        if (i == w->nlatest) snprintf(w->latest[w->nlatest++].key, KEY, "%s", v->string);
        w->latest[i].value = value_of(v);
    }
}

/* Seconds of the epoch; 0: no time. */
static double time_of(const char *text) {
    struct tm t = {0};
    double seconds = 0;
    if (!text || sscanf(text, "%d-%d-%dT%d:%d:%lfZ", &t.tm_year, &t.tm_mon, &t.tm_mday, &t.tm_hour, &t.tm_min, &seconds) != 6) return 0;
    t.tm_year -= 1900;
    t.tm_mon--;
    return (double)timegm(&t) + seconds;
}

/* Steps a second, by the events' own times: those of long ago come all at once. */
static void take_speed(Watch *w, double time) {
    double passed = time - w->speed_time;
    if (w->step < w->speed_step || !w->speed_time) {
        w->speed_step = w->step;
        w->speed_time = time;
    } else if (passed > 1) {
        double fresh = (w->step - w->speed_step) / passed;
        w->speed = w->speed ? 0.8 * w->speed + 0.2 * fresh : fresh;
        w->speed_step = w->step;
        w->speed_time = time;
    }
}

static void put_status(const Watch *w, Buf *out) {
    double part = w->steps > 0 ? w->step / w->steps : 0, left = w->speed > 0 ? (w->steps - w->step) / w->speed : 0;
    int full = (int)(part * BAR);
    if (w->terminal) buf_printf(out, "[%.*s%*s] ", full, "########################", BAR - full, "");
    buf_printf(out, "%.0f/%.0f", w->step, w->steps);
    for (int i = 0; i < w->nlatest; i++) buf_printf(out, "  %s %.4g", w->latest[i].key, w->latest[i].value);
    if (w->speed > 0) buf_printf(out, "  %.3g steps/s", w->speed);
    if (left >= 1) buf_printf(out, "  %d:%02d left", (int)(left / 60), (int)left % 60);
}

static void show(Watch *w, bool must) {
    double time = now();
    if (w->json || (!must && time - w->shown < (w->terminal ? 0.1 : QUIET_SECONDS))) return;
    Buf text;
    buf_init(&text);
    put_status(w, &text);
    printf(w->terminal ? "\r%s\033[K" : "%s\n", buf_text(&text));
    fflush(stdout);
    buf_release(&text);
    w->shown = time;
}

/* A line of its own above the bar. */
static void say(const Watch *w, const char *what, const char *more) {
    if (w->json) return;
    printf("%s%s%s%s\n", w->terminal ? "\r\033[K" : "", what, *more ? ": " : "", more);
    fflush(stdout);
}

static void take_event(Watch *w, const char *kind, const cJSON *data) {
    char text[400] = "";
    take_number(data, "step", &w->step);
    take_number(data, "steps", &w->steps);
    if (strcmp(kind, "metric") == 0) {
        take_values(w, get(data, "values"));
        take_speed(w, time_of(cJSON_GetStringValue(get(data, "time"))));
        show(w, false);
    } else if (strcmp(kind, "state") == 0 || strcmp(kind, "end") == 0) {
        take_text(data, "state", w->state, sizeof w->state);
        take_text(data, "reason", w->reason, sizeof w->reason);
        w->ended = strcmp(kind, "end") == 0;
        if (w->ended) show(w, true);
        else if (strcmp(w->state, "running") == 0 || strcmp(w->state, "queued") == 0) say(w, w->state, w->reason);
    } else if (strcmp(kind, "log") == 0) {
        take_text(data, "text", text, sizeof text);
        say(w, "log", text);
    }
}

static void take_line(Watch *w) {
    if (!w->line.len) return; /* a heartbeat */
    if (w->json) printf("%s\n", buf_text(&w->line));
    cJSON *event = cJSON_Parse(buf_text(&w->line));
    const cJSON *id = get(event, "seq");
    const char *kind = cJSON_GetStringValue(get(event, "event"));
    if (cJSON_IsNumber(id)) snprintf(w->last, sizeof w->last, "%.0f", id->valuedouble);
    if (kind) take_event(w, kind, event);
    cJSON_Delete(event);
}

static bool take(void *arg, const char *bytes, size_t len) {
    Watch *w = arg;
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] != '\n') {
            buf_putc(&w->line, bytes[i]);
            continue;
        }
        take_line(w);
        buf_clear(&w->line);
    }
    return !w->line.failed;
}

static bool wait_more(void *arg) {
    Watch *w = arg;
    struct signalfd_siginfo info;
    if (w->signals >= 0 && read(w->signals, &info, sizeof info) > 0) w->interrupted = true;
    return !w->interrupted;
}

/* SIGINT as something to read: whoever interrupts us leaves the run going. */
static int catch_interrupts(sigset_t *before) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, before);
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

/* How many steps there are: no event says so. */
static ExitCode find_steps(CliCall *call, Watch *w) {
    char path[160];
    snprintf(path, sizeof path, "/runs/%s", w->run);
    ExitCode code = cli_get(call, path);
    cJSON *record = code == EXIT_OK ? cli_parse_answer(call, &code) : NULL;
    take_number(record, "steps", &w->steps);
    cJSON_Delete(record);
    return code;
}

/* Until the run has ended, we are interrupted, or the service is gone for good. */
static ExitCode follow(CliCall *call, Watch *w) {
    char path[160], after[64];
    const ClientSink sink = {take, wait_more, w};
    const char *headers[] = {"Accept: application/x-ndjson", NULL, NULL};
    snprintf(path, sizeof path, "/runs/%s/events", w->run);
    for (int tries = 0; tries < RETRIES; tries++) {
        char before[sizeof w->last];
        snprintf(before, sizeof before, "%s", w->last);
        if (w->last[0]) {
            snprintf(after, sizeof after, "Last-Event-ID: %s", w->last);
            headers[1] = after;
        }
        buf_clear(&w->line);
        ClientStatus status = client_stream(call->client, path, headers, &sink, &call->response);
        if (w->interrupted || w->ended) return EXIT_OK;
        if (status == CLIENT_OK && call->response.status >= 300) return cli_judge(call, status);
        if (status != CLIENT_OK && !w->last[0]) return cli_judge(call, status); /* it was never there */
        if (strcmp(before, w->last) != 0) tries = 0;
        sleep(1);
    }
    return cli_judge(call, CLIENT_BROKEN);
}

ExitCode cli_watch(CliCall *call, const char *run) {
    sigset_t before;
    Watch w = {.run = run, .json = call->options->json};
    w.terminal = isatty(STDOUT_FILENO) && !w.json;
    w.signals = catch_interrupts(&before);
    buf_init(&w.line);
    w.line.cap = LIMIT_JSON_BYTES;
    ExitCode code = find_steps(call, &w);
    if (code == EXIT_OK) code = follow(call, &w);
    buf_release(&w.line);
    if (w.signals >= 0) close(w.signals);
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (w.interrupted) {
        fprintf(stderr, "%sThe run goes on. To return: cajal watch %s; to stop it: cajal cancel %s\n", w.terminal ? "\n" : "", run, run);
        return EXIT_OK;
    }
    if (code != EXIT_OK || !w.ended) return code;
    if (!w.json) printf("%s%s %s%s%s\n", w.terminal ? "\n" : "", run, w.state, *w.reason ? ": " : "", w.reason);
    return strcmp(w.state, "failed") == 0 ? EXIT_FAILED : EXIT_OK;
}
