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

/* OpenBLAS takes a CPU newer than itself for its oldest one, several times slower. It reads its choice from the environment while
 * it is loaded, so a better one needs a second start. */
static void choose_core(char **argv) {
#ifdef __x86_64__
    if (strcmp(openblas_get_corename(), "Prescott") != 0 || getenv("OPENBLAS_CORETYPE")) return;
    bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd");
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (!avx2 || setenv("OPENBLAS_CORETYPE", avx512 ? "SkylakeX" : "Haswell", 1)) return;
    execv("/proc/self/exe", argv); /* when this fails, the slow one does */
#else
    (void)argv;
#endif
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
    choose_core(argv);
    signal(SIGPIPE, SIG_IGN); /* a dead daemon is seen by reading the socket */
    Log log = {LOG_INFO, 2};
    return serve_run(WIRE_FD, (unsigned)threads, &log);
}
