/* The service itself: /livez /readyz /version /metrics /openapi.json /workers */
#include "compiler/language/canon.h"
#include "schema/protocol/build.h"
#include "server/embedded.h"
#include "server/http/errand.h"
#include "server/routes.h"
#include "server/http/http.h"
#include "server/programs/program.h"
#include "server/runs/scheduler.h"
#include "server/store/store_runs.h"
#include "server/store/store_scrub.h"
#include "server/version.h"
#include <cjson/cJSON.h>
#include <microhttpd.h>
#include <sodium.h>
#include <stdio.h>

#define READY_NS ((int64_t)2000000000)

static void answer_text(Call *call, const char *type, const char *text) {
    Buf body;
    buf_init(&body);
    buf_puts(&body, text);
    call_answer(call, 200, type, &body);
}

void handle_livez(Call *call) { answer_text(call, "application/json", "{\"live\":true}"); }

void handle_openapi(Call *call) {
    Buf body;
    buf_init(&body);
    buf_put(&body, embedded_openapi, embedded_openapi_len);
    call_answer(call, 200, "application/json", &body);
}

void handle_version(Call *call) {
    Buf body;
    buf_init(&body);
    buf_printf(&body, "{\"service\":\"cajal\",\"version\":\"%s\",\"language\":%d,\"compiler\":\"%s\",\"op_table\":\"%016llx\",\"protocol\":%d", CAJAL_VERSION,
               CANON_VERSION, build_compiler, (unsigned long long)op_table_hash(), WIRE_VERSION);
    buf_printf(&body, ",\"libraries\":{\"libmicrohttpd\":\"%s\",\"sqlite\":\"%s\",\"cjson\":\"%s\",\"libsodium\":\"%s\"}}",
               MHD_get_version(), store_library(), cJSON_Version(), sodium_version_string());
    call_answer(call, 200, "application/json", &body);
}

void handle_workers(Call *call) {
    Buf body;
    buf_init(&body);
    buf_puts(&body, "{\"workers\":");
    dispatch_json(&body, call->server->dispatch);
    buf_putc(&body, '}');
    call_answer(call, 200, "application/json", &body);
}

void handle_metrics(Call *call) {
    Server *server = call->server;
    size_t ready, busy;
    dispatch_count(server->dispatch, &ready, &busy);
    size_t queued, running;
    scheduler_count(server->scheduler, &queued, &running);
    MetricsGauges gauges = {.runs_queued = queued, .runs_running = running, .damaged_rows = store_damage(server->store), .damaged_files = store_damaged_files(server->store),
                            .queue = dispatch_queue(server->dispatch), .workers = ready, .busy = busy,
                            .inflight = http_inflight(server->http),
                            .storage_full = disk_full(server->disk), .checkpoint_bytes = store_checkpoint_bytes(server->store),
                            .dataset_bytes = dataset_files_bytes(server->dataset_files),
                            .graph_bytes = programs_bytes(server->programs), .ready = ready > 0 && !server->draining,
                            .lost_found = server->lost_found, .loop_longest_ns = loop_longest(server->loop)};
    Buf body;
    buf_init(&body);
    metrics_put(&body, server->metrics, &gauges);
    dispatch_metrics(&body, server->dispatch);
    call_answer(call, 200, "text/plain; version=0.0.4", &body);
}

/* ---- readiness: a ping goes through a worker like any job ---- */

typedef struct {
    Errand errand;
    Timer timer;
    bool verbose;
} Probe;

static void release(void *arg) {
    Probe *p = arg;
    loop_untimer(p->errand.call->server->loop, &p->timer);
}

/* A full disk keeps nobody from evaluating: it is ready all the same, and says so. */
static void put_ready(Buf *out, const Probe *p, const char *store) {
    const Server *server = p->errand.call->server;
    const bool full = disk_full(server->disk);
    buf_puts(out, "{\"ready\":true");
    if (full) buf_puts(out, ",\"storage\":\"storage_full\"");
    if (p->verbose)
        buf_printf(out, ",\"checks\":{\"worker\":\"ok\",\"store\":\"%s\",\"lost_found\":%zu,\"damaged_files\":%llu,\"storage\":\"%s\",\"draining\":false}",
                   store, server->lost_found, (unsigned long long)store_damaged_files(server->store), full ? "storage_full" : "ok");
    buf_putc(out, '}');
}

/* worker: what is wrong with the workers; NULL: nothing. */
static void answer_ready(const Probe *p, const char *worker) {
    Call *call = p->errand.call;
    const Server *server = call->server;
    static const char *const states[] = {[STORE_SOUND] = "ok", [STORE_CHECKING] = "ok, being checked", [STORE_REPAIRED] = "ok, repaired; see the log"};
    const StoreState state = store_state(server->store);
    bool draining = server->draining, store = state != STORE_DAMAGED;
    if (!worker && store && !draining) {
        Buf body;
        buf_init(&body);
        put_ready(&body, p, states[state]);
        call_answer(call, 200, "application/json", &body);
    } else {
        Buf why;
        buf_init(&why);
        if (!p->verbose) buf_puts(&why, "Not ready; ?verbose says why.");
        else if (worker) buf_puts(&why, worker);
        if (p->verbose && !store) buf_printf(&why, "%sThe database is damaged, or does not answer; see the log.", why.len ? " " : "");
        if (p->verbose && draining) buf_printf(&why, "%sThe service is shutting down.", why.len ? " " : "");
        call_fail(call, draining ? ERR_draining : ERR_no_worker, "%s", buf_text(&why));
        buf_release(&why);
    }
}

static void refuse(void *arg) {
    const Probe *p = arg;
    answer_ready(p, p->errand.err.message);
}

static const ErrandKind kind = {.size = sizeof(Probe), .release = release, .refuse = refuse};

static void conclude(Probe *p, const char *worker) {
    answer_ready(p, worker);
    errand_end(p);
}

static void on_pong(void *arg, const JobResult *result) {
    (void)result;
    conclude(arg, NULL);
}

static void on_silence(void *arg) {
    conclude(arg, "No worker answered within two seconds.");
}

void handle_readyz(Call *call) {
    Probe *p = errand_begin(call, &kind);
    if (!p) return;
    p->verbose = call_query(call, "verbose") != NULL;
    Server *server = call->server;
    size_t ready, busy;
    dispatch_count(server->dispatch, &ready, &busy);
    if (ready && busy == ready && dispatch_queue(server->dispatch) < server->config->max_queue) {
        /* All are busy with jobs within their deadlines (a worker that is past one is ended): a ping would only wait behind what they do. */
        conclude(p, NULL);
        return;
    }
    JobSpec spec = {.type = FRAME_ping, .reply = FRAME_pong, .area = -1, .small = true};
    p->timer = (Timer){.fire = on_silence, .arg = p};
    loop_timer(server->loop, &p->timer, loop_now() + READY_NS);
    errand_job(p, &spec, on_pong);
}
