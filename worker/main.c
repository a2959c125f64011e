/* cajal-worker [--threads N]: started by cajald with the socket as descriptor WIRE_FD. */
#include "schema/wire.h"
#include "worker/serve.h"
#include <cblas.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST_THREADS = 1024 };

static int usage(void) {
    fprintf(stderr, "usage: cajal-worker [--threads N]\nStarted by cajald, with its socket as descriptor %d.\n", WIRE_FD);
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

int main(int argc, char **argv) {
    unsigned long threads = 1;
    if (argc != 1 && argc != 3) return usage();
    if (argc == 3) {
        char *end;
        threads = strtoul(argv[2], &end, 10);
        if (strcmp(argv[1], "--threads") != 0 || !argv[2][0] || *end || threads < 1 || threads > MOST_THREADS) return usage();
    }
    int type = 0;
    socklen_t len = sizeof type;
    if (getsockopt(WIRE_FD, SOL_SOCKET, SO_TYPE, &type, &len) || type != SOCK_SEQPACKET) return usage();
    settle_libraries(argv, threads);
    signal(SIGPIPE, SIG_IGN); /* a dead daemon is seen by reading the socket */
    Log log = {LOG_INFO, 2};
    Area box;
    bool seen = area_open(&box, WIRE_BOX_FD, WIRE_BOX_BYTES); /* a bench drives workers without one */
    return serve_run(WIRE_FD, (unsigned)threads, seen ? box.data : NULL, &log);
}
