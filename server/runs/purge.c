#include "server/runs/purge.h"
#include "server/runs/runfile.h"
#include "server/store/store_purge.h"
#include <stdlib.h>

#define AGAIN_NS ((int64_t)1000000000) /* after a failure */

struct Purge {
    Server *server;
    Task piece;
    bool busy, wanted; /* a piece is under way; another is wanted after it in any case */
    Timer again;
    ErrCode outcome;
    bool more;
};

static void work(void *arg) {
    Purge *p = arg;
    p->outcome = store_purge(p->server->store, &p->more);
}

static void start(Purge *p);

static void done(void *arg) {
    Purge *p = arg;
    p->busy = false;
    if (p->outcome) {
        p->server->metrics->store_failures++;
        loop_timer(p->server->loop, &p->again, loop_now() + AGAIN_NS);
    } else if (p->more || p->wanted) {
        start(p);
    }
}

static void start(Purge *p) {
    p->wanted = p->busy;
    if (p->busy || !p->server->tasks) return;
    loop_untimer(p->server->loop, &p->again);
    p->busy = true;
    p->piece = (Task){.work = work, .done = done, .arg = p};
    tasks_add(p->server->tasks, &p->piece);
}

static void on_again(void *arg) { start(arg); }

static void remove_folder(void *arg, const char *id) {
    const Purge *p = arg;
    runfile_remove_all(p->server->config->data, id);
}

Purge *purge_new(Server *server) {
    Purge *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    *p = (Purge){.server = server, .again = {.fire = on_again, .arg = p}};
    store_purge_runs(server->store, remove_folder, p);
    start(p);
    return p;
}

void purge_begin(Purge *p) { start(p); }

void purge_free(Purge *p) {
    if (!p) return;
    loop_untimer(p->server->loop, &p->again);
    free(p);
}
