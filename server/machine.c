#include "server/machine.h"
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { TEXT = 4096 };

/* A small file's text; false when there is none. */
static bool read_text(const char *path, char *out, size_t room) {
    FILE *f = fopen(path, "re");
    if (!f) return false;
    const size_t n = fread(out, 1, room - 1, f);
    out[n] = 0;
    fclose(f);
    return n > 0;
}

/* The group of this process: of version 2 (controller NULL), or of a version 1 controller. False: none. */
static bool group_of(const char *groups, const char *controller, char out[PATH_MAX]) {
    for (const char *line = groups; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        const char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL;
        if (!path) return false;
        const size_t len = (size_t)(path - list - 1), end = strcspn(path + 1, "\n");
        bool is = !controller && len == 0;
        for (const char *at = list + 1; controller && at < path; at += strcspn(at, ",:") + 1)
            is |= strcspn(at, ",:") == strlen(controller) && strncmp(at, controller, strlen(controller)) == 0;
        if (!is || end >= PATH_MAX) continue;
        memcpy(out, path + 1, end);
        out[end] = 0;
        return true;
    }
    return false;
}

/* The least that `read` finds in a group and those above it. */
typedef uint64_t ReadLimit(const char *folder);
static uint64_t least_of(const char *groups, const char *mount, const char *controller, ReadLimit *read) {
    char group[PATH_MAX], folder[PATH_MAX * 2];
    uint64_t least = UINT64_MAX;
    if (!group_of(groups, controller, group)) return least;
    for (;;) {
        snprintf(folder, sizeof folder, "%s%s%s%s", mount, controller ? "/" : "", controller ? controller : "", group);
        const uint64_t limit = read(folder);
        if (limit < least) least = limit;
        char *slash = strrchr(group, '/');
        if (!slash) return least;
        *slash = 0;
    }
}

static bool read_in(const char *folder, const char *name, char out[TEXT]) {
    char path[PATH_MAX * 2 + 64];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return read_text(path, out, TEXT);
}

/* Thousandths of a core. */
static uint64_t share(uint64_t quota, uint64_t period) { return period && quota < UINT64_MAX / 1000 ? quota * 1000 / period : UINT64_MAX; }

static uint64_t cpu_max(const char *folder) {
    char text[TEXT];
    uint64_t quota, period;
    return read_in(folder, "cpu.max", text) && sscanf(text, "%" SCNu64 " %" SCNu64, &quota, &period) == 2 ? share(quota, period) : UINT64_MAX;
}

static uint64_t cpu_quota(const char *folder) {
    char quota[TEXT], period[TEXT];
    if (!read_in(folder, "cpu.cfs_quota_us", quota) || !read_in(folder, "cpu.cfs_period_us", period) || *quota == '-') return UINT64_MAX;
    return share(strtoull(quota, NULL, 10), strtoull(period, NULL, 10));
}

/* A group without a limit has "max", or in version 1 a number beyond all memory. */
static uint64_t bytes_in(const char *folder, const char *name) {
    char text[TEXT];
    return read_in(folder, name, text) && *text >= '0' && *text <= '9' ? strtoull(text, NULL, 10) : UINT64_MAX;
}
static uint64_t memory_max(const char *folder) { return bytes_in(folder, "memory.max"); }
static uint64_t memory_limit(const char *folder) { return bytes_in(folder, "memory.limit_in_bytes"); }

static uint64_t less(uint64_t a, uint64_t b) { return a < b ? a : b; }

uint64_t machine_quota(const char *groups, const char *mount) {
    return less(least_of(groups, mount, NULL, cpu_max), least_of(groups, mount, "cpu", cpu_quota));
}

uint64_t machine_memory_limit(const char *groups, const char *mount) {
    return less(least_of(groups, mount, NULL, memory_max), least_of(groups, mount, "memory", memory_limit));
}

static uint64_t raise_descriptors(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
    const rlim_t before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : before;
}

Machine machine_take(void) {
    static const char mount[] = "/sys/fs/cgroup";
    char groups[TEXT];
    cpu_set_t cpus;
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    Machine m = {.cores = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus) : 1,
                 .memory = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : UINT64_MAX,
                 .descriptors = raise_descriptors()};
    if (read_text("/proc/self/cgroup", groups, sizeof groups)) {
        const uint64_t quota = machine_quota(groups, mount);
        if (quota != UINT64_MAX && quota / 1000 < (uint64_t)m.cores) m.cores = (int)((quota + 999) / 1000);
        m.memory = less(m.memory, machine_memory_limit(groups, mount));
    }
    if (m.cores < 1) m.cores = 1;
    return m;
}
