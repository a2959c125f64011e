#include "worker/process.h"
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

/* OOM_SCORE: half of all memory is added to what it is held to use. NICE: about a tenth of a core when somebody else wants all of it. */
enum { OOM_SCORE = 500, NICE = 10 };

bool process_dies_with(pid_t parent) {
    /* The parent may have died before; then another process is the parent by now. */
    return prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() == parent;
}

void process_goes_first(void) {
    char text[16] = "";
    int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    if (read(fd, text, sizeof text - 1) > 0 && atoi(text) < OOM_SCORE) dprintf(fd, "%d", OOM_SCORE);
    close(fd);
}

void process_gives_way(void) {
    sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){0});
    setpriority(PRIO_PROCESS, 0, NICE);
}

/* Kilobytes of private memory that can be written to, which is what RLIMIT_DATA counts; 0: it cannot be told. */
static uint64_t data_kilobytes(void) {
    char line[256];
    unsigned long long kilobytes = 0;
    FILE *f = fopen("/proc/self/status", "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmData: %llu", &kilobytes) == 1) break;
    if (f) fclose(f);
    return kilobytes;
}

void process_cap_memory(uint64_t bytes) {
    const uint64_t kilobytes = data_kilobytes();
    if (!bytes || !kilobytes) return;
    const rlim_t most = kilobytes * 1024 + bytes;
    setrlimit(RLIMIT_DATA, &(struct rlimit){most, most});
}
