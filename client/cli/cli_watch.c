#include "client/cli/cli_progress.h"
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* A second apart, until the service is given up: long enough for one that is updated. */
enum { RETRIES = 300 };

typedef struct {
    const char *run;
    CliProgress progress;
    bool json;
    int signals;   /* a descriptor that has SIGINT to read; -1: none */
    Buf line;      /* of the stream, so far */
    char last[32]; /* sequence number of the last event */
    char state[20], reason[400];
    bool ended, interrupted;
} Watch;

static void take_text(const cJSON *event, const char *key, char *out, size_t room) { snprintf(out, room, "%s", cli_member_text(event, key)); }

static void say(const Watch *w, const char *what, const char *more) {
    if (!w->json) cli_progress_say(&w->progress, what, more);
}

static void show(Watch *w, bool must) {
    if (!w->json) cli_progress_show(&w->progress, must);
}

/* A run that was resumed has several ends: the state of now is the last one's. */
static void take_state(Watch *w, const char *kind, const cJSON *event) {
    take_text(event, "state", w->state, sizeof w->state);
    take_text(event, "reason", w->reason, sizeof w->reason);
    w->ended = strcmp(kind, "end") == 0;
    if (strcmp(w->state, "running") != 0 && strcmp(w->state, "queued") != 0) return;
    cli_progress_restart(&w->progress);
    say(w, w->state, w->reason);
}

static void take_event(Watch *w, const char *kind, const cJSON *event) {
    const cJSON *step = cli_member(event, "step");
    if (cJSON_IsNumber(step)) w->progress.step = step->valuedouble;
    if (strcmp(kind, "metric") == 0) {
        cli_progress_metric(&w->progress, event);
        show(w, false);
    } else if (strcmp(kind, "state") == 0 || strcmp(kind, "end") == 0) take_state(w, kind, event);
    else if (strcmp(kind, "log") == 0) say(w, "log", cli_member_text(event, "text"));
}

static void take_line(Watch *w) {
    cJSON *event = cJSON_Parse(buf_text(&w->line));
    if (strcmp(cli_member_text(event, "event"), "heartbeat") == 0) {
        cJSON_Delete(event);
        return;
    }
    if (w->json) printf("%s\n", buf_text(&w->line));
    const cJSON *seq = cli_member(event, "seq");
    if (cJSON_IsNumber(seq)) snprintf(w->last, sizeof w->last, "%.0f", seq->valuedouble);
    take_event(w, cli_member_text(event, "event"), event);
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
    fflush(stdout); /* whoever reads --json reads it as it happens */
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

static void wait_a_second(Watch *w) {
    struct pollfd interrupt = {.fd = w->signals, .events = POLLIN};
    poll(&interrupt, 1, 1000);
    wait_more(w);
}

/* How many steps there are: no event says so. */
static ExitCode find_steps(CliCall *call, Watch *w) {
    char path[160];
    snprintf(path, sizeof path, "/runs/%s", w->run);
    ExitCode code = cli_get(call, path);
    cJSON *record = code == EXIT_OK ? cli_parse_answer(call, &code) : NULL;
    w->progress.steps = cli_member_number(record, "steps");
    cJSON_Delete(record);
    return code;
}

/* One connection, from the event after the last. True: there is no use in another; *code says why, unless the run has ended or we were interrupted. */
static bool listen_once(CliCall *call, Watch *w, ExitCode *code) {
    char path[160], after[64];
    const ClientSink sink = {take, wait_more, w};
    const char *headers[] = {"Accept: application/x-ndjson", w->last[0] ? after : NULL, NULL};
    snprintf(path, sizeof path, "/runs/%s/events", w->run);
    snprintf(after, sizeof after, "Last-Event-ID: %s", w->last);
    buf_clear(&w->line);
    ClientStatus status = client_stream(call->client, path, headers, &sink, &call->response);
    if (w->interrupted || w->ended) return true;
    if (status == CLIENT_STOPPED) {
        fprintf(stderr, "cajal: an event is longer than %zu MiB\n", w->line.cap >> 20);
        *code = EXIT_FAILED;
        return true;
    }
    bool refused = status == CLIENT_OK && call->response.status >= 400 && call->response.status < 500; /* 503: it is just starting or ending */
    if (refused) *code = cli_judge(call, status);
    return refused;
}

/* Until the run has ended, we are interrupted, or the service is gone for good. */
static ExitCode follow(CliCall *call, Watch *w) {
    ExitCode code = EXIT_OK;
    for (int failures = 0; failures < RETRIES; failures++) {
        char before[sizeof w->last];
        memcpy(before, w->last, sizeof before);
        if (listen_once(call, w, &code)) return code;
        if (strcmp(before, w->last) != 0) failures = 0;
        if (failures == 0) say(w, "the connection is lost; trying again, the run does not depend on it", client_error(call->client));
        wait_a_second(w);
        if (w->interrupted) return EXIT_OK;
    }
    return cli_judge(call, CLIENT_BROKEN);
}

static ExitCode conclude(const Watch *w) {
    const char *line_end = w->progress.bar ? "\n" : "";
    if (w->interrupted) {
        fprintf(stderr, "%sThe run goes on. To return: cajal watch %s; to stop it: cajal cancel %s\n",
                line_end, w->run, w->run);
        return EXIT_NOT_DONE;
    }
    if (!w->json) {
        printf("%s%s %s%s", line_end, w->run, w->state, *w->reason ? ": " : "");
        cli_print_plain(stdout, w->reason);
        putchar('\n');
    }
    return strcmp(w->state, "done") == 0 ? EXIT_OK : EXIT_NOT_DONE;
}

ExitCode cli_watch(CliCall *call, const char *run) {
    sigset_t before;
    Watch w = {.run = run, .json = call->options->json};
    call->program.name = run; /* what a diagnostic is about */
    w.progress.bar = !w.json && cli_progress_can_rewrite();
    buf_init(&w.line);
    w.line.cap = LIMIT_JSON_BYTES;
    ExitCode code = find_steps(call, &w);
    if (code != EXIT_OK) return code;
    say(&w, "run", run);
    w.signals = catch_interrupts(&before);
    code = follow(call, &w);
    if (w.ended) show(&w, true);
    buf_release(&w.line);
    if (w.signals >= 0) close(w.signals);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return code == EXIT_OK ? conclude(&w) : code;
}
