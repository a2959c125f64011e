/* cajal-worker [--threads N] [--parent PID] [--memory BYTES] [--background]: started by cajald with the socket as descriptor WIRE_FD. */
#include "schema/protocol/wire.h"
#include "schema/limits.h"
#include "worker/process.h"
#include "worker/protocol/serve.h"
#include <cblas.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int usage(void) {
    fprintf(stderr, "usage: cajal-worker [--threads N] [--parent PID] [--memory BYTES] [--background]\nStarted by cajald, with its socket as descriptor %d.\n", WIRE_FD);
    return 2;
}

/* OpenBLAS takes a CPU newer than itself for its oldest one, several times slower: the better choice, NULL when it chose well. */
static const char *better_core(void) {
#ifdef __x86_64__
    if (strcmp(openblas_get_corename(), "Prescott") != 0 || getenv("OPENBLAS_CORETYPE")) return NULL;
    bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd");
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    return avx512 ? "SkylakeX" : avx2 ? "Haswell" : NULL;
#else
    return NULL;
#endif
}

/* Both libraries read their choices from the environment while they are loaded, so other ones need a second start. OpenMP's threads
 * shall sleep while they wait: an idle worker uses no CPU, and a core may have better things to do. */
static void settle_libraries(char **argv, unsigned long threads) {
    const char *core = better_core();
    bool wait = threads > 1 && !getenv("OMP_WAIT_POLICY");
    if (!core && !wait) return;
    if (core && setenv("OPENBLAS_CORETYPE", core, 1)) return;
    if (wait && setenv("OMP_WAIT_POLICY", "passive", 1)) return;
    execv("/proc/self/exe", argv); /* when this fails, what there is does */
}

typedef struct {
    unsigned long threads;
    unsigned long parent; /* who started it, and without whom it is not to be; 0: not said */
    unsigned long memory; /* bytes that jobs may take; 0: no limit */
    bool background;      /* gives way to what else wants the CPU: training */
} Options;

static bool read_number(const char *text, unsigned long least, unsigned long most, unsigned long *out) {
    char *end;
    *out = strtoul(text, &end, 10);
    return *text && !*end && *out >= least && *out <= most;
}

static bool read_options(int argc, char **argv, Options *out) {
    *out = (Options){.threads = 1};
    for (int i = 1; i < argc; i++) {
        const bool last = i + 1 == argc;
        if (strcmp(argv[i], "--background") == 0) out->background = true;
        else if (strcmp(argv[i], "--threads") == 0 && !last && read_number(argv[i + 1], 1, LIMIT_THREADS, &out->threads)) i++;
        else if (strcmp(argv[i], "--parent") == 0 && !last && read_number(argv[i + 1], 1, INT_MAX, &out->parent)) i++;
        else if (strcmp(argv[i], "--memory") == 0 && !last && read_number(argv[i + 1], 0, LONG_MAX, &out->memory)) i++;
        else return false;
    }
    return true;
}

int main(int argc, char **argv) {
    Options options;
    if (!read_options(argc, argv, &options)) return usage();
    int type = 0;
    socklen_t len = sizeof type;
    if (getsockopt(WIRE_FD, SOL_SOCKET, SO_TYPE, &type, &len) || type != SOCK_SEQPACKET) return usage();
    if (options.parent && !process_dies_with((pid_t)options.parent)) return 0;
    process_goes_first();
    if (options.background) process_gives_way();
    settle_libraries(argv, options.threads);
    serve_warm_up((unsigned)options.threads);
    process_cap_memory(options.memory);
    signal(SIGPIPE, SIG_IGN); /* a dead daemon is seen by reading the socket */
    Log log = {LOG_INFO, 2};
    Area box;
    bool seen = area_open(&box, WIRE_BOX_FD, WIRE_BOX_BYTES, true); /* a bench drives workers without one */
    return serve_run(WIRE_FD, (unsigned)options.threads, seen ? box.data : NULL, &log);
}
