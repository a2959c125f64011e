/* cajald: start-up, signals, shutdown. */
#include "compiler/language/canon.h"
#include "schema/protocol/build.h"
#include "schema/graph/graph.h"
#include "server/runs/purge.h"
#include "server/runs/runfile.h"
#include "server/http/http.h"
#include "server/programs/program.h"
#include "server/machine.h"
#include "server/routes.h"
#include "server/runs/scheduler.h"
#include "server/upkeep/scrub.h"
#include "server/version.h"
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define DRAIN_TICK ((int64_t)20000000)
enum { TASK_THREADS = 2 };

typedef struct {
    Machine machine;
    Server server;
    Metrics metrics;
    Watch signals;
    Timer drain;
    int64_t drain_until;
} Daemon;

static bool worker_path(const Config *config, char out[4096]) {
    if (*config->worker) return (size_t)snprintf(out, 4096, "%s", config->worker) < 4096;
    ssize_t n = readlink("/proc/self/exe", out, 4096 - 16);
    if (n <= 0) return false;
    out[n] = 0;
    strcpy(strrchr(out, '/') + 1, "cajal-worker");
    return true;
}

/* By default every core once, and one worker more, as one is kept for short jobs. */
static int worker_count(const Config *config, const Machine *machine) {
    const int cores = machine->cores / (int)config->threads;
    return config->workers ? (int)config->workers : (cores > 0 ? cores : 1) + 1;
}

/* Of the machine's memory half is the daemon's and what is under way; a worker's jobs may take their part of the other, but not so little that what is
 * allowed elsewhere does not go: should several take all of it, the kernel ends one of them. */
static uint64_t worker_memory(const Config *config, const Machine *machine) {
    const uint64_t processes = (uint64_t)worker_count(config, machine) + config->runs, part = machine->memory / 2 / processes;
    const uint64_t enough = LIMIT_JOB_BYTES * 2 + LIMIT_WORKER_GRAPH_BYTES, least = machine->memory / 4 < enough ? machine->memory / 4 : enough;
    return config->worker_memory ? config->worker_memory : part > least ? part : least;
}

/* Descriptors that are nobody's connection: the database, workers, data sets and areas under way. The last of them are no request's either: runs and the
 * database go on whatever is asked for. */
enum { RESERVED_DESCRIPTORS = 512, LEAST_CONNECTIONS = 64, LAST_DESCRIPTORS = 128 };

static int most_fd(const Machine *machine) {
    const uint64_t last = machine->descriptors / 4 < LAST_DESCRIPTORS ? machine->descriptors / 4 : LAST_DESCRIPTORS;
    return machine->descriptors < INT_MAX ? (int)(machine->descriptors - last) : INT_MAX;
}

/* As many connections as there are descriptors for. */
static void fit_connections(Config *config, const Machine *machine, const Log *log) {
    const uint64_t room = machine->descriptors > RESERVED_DESCRIPTORS + LEAST_CONNECTIONS ? machine->descriptors - RESERVED_DESCRIPTORS : LEAST_CONNECTIONS;
    if (config->max_connections <= room) return;
    log_put(log, LOG_WARN, "fewer connections", "wanted=%llu taken=%llu cause=\"the limit of open files is %llu\"",
            (unsigned long long)config->max_connections, (unsigned long long)room, (unsigned long long)machine->descriptors);
    config->max_connections = room;
}

/* What data sets and checkpoints may take when nobody says. */
static void fit_disk(Config *config, const Disk *disk) {
    enum { DATASETS_PART = 2, CHECKPOINTS_PART = 4 };
    const uint64_t size = disk_size(disk);
    if (!config->dataset_bytes) config->dataset_bytes = size ? size / DATASETS_PART : UINT64_MAX;
    if (!config->checkpoint_bytes) config->checkpoint_bytes = size ? size / CHECKPOINTS_PART : UINT64_MAX;
}

/* ---- shutdown ---- */

static void on_drain_tick(void *arg) {
    Daemon *d = arg;
    bool drained = http_inflight(d->server.http) == 0 && scheduler_drained(d->server.scheduler);
    if (drained || loop_now() >= d->drain_until) loop_stop(d->server.loop);
    else loop_timer(d->server.loop, &d->drain, loop_now() + DRAIN_TICK);
}

static void on_signal(void *arg, uint32_t events) {
    Daemon *d = arg;
    struct signalfd_siginfo info;
    (void)events;
    if (read(d->signals.fd, &info, sizeof info) != sizeof info) return;
    if (d->server.draining) {
        loop_stop(d->server.loop);
        return;
    }
    log_put(&d->server.log, LOG_INFO, "shutting down", "inflight=%zu", http_inflight(d->server.http));
    d->server.draining = true;
    d->drain_until = loop_now() + (int64_t)d->server.config->drain_ms * 1000000;
    http_quiesce(d->server.http);
    scheduler_drain(d->server.scheduler);
    d->drain = (Timer){.fire = on_drain_tick, .arg = d};
    on_drain_tick(d);
}

/* Blocked before any thread or worker is started, which inherit the mask (workers get a clean one). */
static bool watch_signals(Daemon *d) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0) return false;
    d->signals = (Watch){.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), .events = EPOLLIN, .ready = on_signal, .arg = d};
    return d->signals.fd >= 0 && loop_watch(d->server.loop, &d->signals);
}

/* ---- start-up ---- */

/* The requests of a pass leave for the workers together. */
static int on_idle(void *arg) {
    Server *s = arg;
    int ms = http_turn(s->http);
    dispatch_flush(s->dispatch);
    return ms;
}

/* What the data directory has, and what of it the database knows. */
static bool open_data(Server *s, const char *version, char *why, size_t room) {
    const Config *config = s->config;
    LostFound lost = {.data = config->data, .log = &s->log};
    const StoreSpec spec = {.dir = config->data, .version = version, .graph_bytes = config->store_bytes, .log = &s->log, .recover = config->recover};
    s->store = store_open(&spec, why, room);
    s->dataset_files = s->store ? dataset_files_open(&lost, s->store, why, room) : NULL;
    if (!s->dataset_files) return false;
    store_use_disk(s->store, s->disk);
    dataset_files_use_disk(s->dataset_files, s->disk, config->dataset_bytes);
    if (!(s->purge = purge_new(s))) return false; /* which takes away folders that nobody knows any more */
    runfile_sweep(&lost, s->store);
    lost_found_end(&lost);
    s->lost_found = lost_found_count(config->data);
    return true;
}

static bool start(Daemon *d, char *why, size_t room) {
    Server *s = &d->server;
    const Config *config = s->config;
    char path[4096], version[64];
    snprintf(why, room, "memory is short");
    s->metrics = &d->metrics;
    if (!s->disk || sodium_init() < 0 || !(s->loop = loop_new()) || !watch_signals(d) || !(s->tasks = tasks_new(s->loop, TASK_THREADS)) ||
        !(s->bulk = tasks_new(s->loop, 1)) || !(s->writes = tasks_new(s->loop, 1)))
        return false;
    snprintf(version, sizeof version, "%d/%016llx/%s", CANON_VERSION, (unsigned long long)op_table_hash(), build_compiler);
    shm_pool_init(&s->shm_pool, s->loop, s->tasks, s->most_fd);
    if (!open_data(s, version, why, room) || !worker_path(config, path)) return false;
    PoolSpec pool = {.loop = s->loop, .log = &s->log, .metrics = s->metrics, .program = path, .workers = worker_count(config, &d->machine),
                     .memory = worker_memory(config, &d->machine),
                     .threads = (int)config->threads};
    s->dispatch = dispatch_new(&pool, (size_t)config->max_queue, (int64_t)config->max_exec_ms * 1000000);
    s->programs = programs_new(s);
    pool.workers = (int)config->runs;
    pool.threads = d->machine.cores;
    s->scheduler = scheduler_new(s, &pool);
    if (!s->dispatch || !s->programs || !s->scheduler) return false;
    s->http = http_new(s, why, room);
    if (!s->http) return false;
    dispatch_start(s->dispatch);
    if (!scheduler_start(s->scheduler)) log_put(&s->log, LOG_ERROR, "runs not queued", "cause=\"the database does not answer\"");
    s->scrub = scrub_new(s);
    loop_on_idle(s->loop, on_idle, s);
    return true;
}

/* Callers first, then those who work for them. */
static void stop(Daemon *d) {
    Server *s = &d->server;
    http_free(s->http);
    tasks_free(s->tasks);
    tasks_free(s->bulk);
    tasks_free(s->writes);
    s->tasks = s->bulk = s->writes = s->shm_pool.tasks = NULL; /* what comes of the last ones is not begun any more */
    if (s->loop) loop_drain(s->loop);
    scrub_free(s->scrub);
    purge_free(s->purge);
    scheduler_free(s->scheduler);
    dispatch_free(s->dispatch);
    programs_free(s->programs);
    call_free_spares(s);
    parties_release(&s->parties);
    shm_pool_release(&s->shm_pool);
    dataset_files_close(s->dataset_files);
    store_close(s->store);
    disk_close(s->disk);
    metrics_release(s->metrics);
    if (d->signals.fd > 0) close(d->signals.fd);
    loop_free(s->loop);
}

static void say_ready(const Server *s) {
    char host[256];
    uint16_t port;
    config_address(s->config->listen, host, &port);
    bool v6 = strchr(host, ':') != NULL;
    printf("cajald ready on http://%s%s%s:%u (pid %d, version %s)\n", v6 ? "[" : "", host, v6 ? "]" : "", http_port(s->http), (int)getpid(),
           CAJAL_VERSION);
    fflush(stdout);
}

int main(int argc, char **argv) {
    Config config;
    char why[1024];
    ConfigResult result = config_load(&config, argc, argv, stdout, why, sizeof why);
    if (result != CONFIG_RUN) {
        if (result == CONFIG_BAD) fprintf(stderr, "cajald: %s\n", why);
        config_release(&config);
        return result == CONFIG_STOP ? 0 : 2;
    }
    Daemon d = {.machine = machine_take(), .server = {.config = &config, .routes = &service_routes, .log = {.level = (LogLevel)log_level_of(config.log_level), .fd = 2}}};
    metrics_init(&d.metrics);
    d.server.disk = disk_open(config.data, config.reserve_bytes, &d.server.log);
    if (d.server.disk) fit_disk(&config, d.server.disk);
    fit_connections(&config, &d.machine, &d.server.log);
    d.server.most_held = d.machine.memory / 2 < LIMIT_BODIES_BYTES ? (size_t)(d.machine.memory / 2) : LIMIT_BODIES_BYTES;
    d.server.most_fd = most_fd(&d.machine);
    bool ok = start(&d, why, sizeof why);
    if (ok) {
        say_ready(&d.server);
        loop_run(d.server.loop);
    } else {
        fprintf(stderr, "cajald: %s\n", why);
    }
    stop(&d);
    config_release(&config);
    return ok ? 0 : 1;
}
