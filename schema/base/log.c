#include "schema/base/log.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *const names[LOG_LEVELS] = {"debug", "info", "warn", "error"};

int log_level_of(const char *name) {
    for (int i = 0; i < LOG_LEVELS; i++)
        if (strcmp(names[i], name) == 0) return i;
    return -1;
}

void log_put(const Log *log, LogLevel level, const char *event, const char *format, ...) {
    if (level < log->level) return;
    char line[2048];
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t n = strftime(line, sizeof line, "%Y-%m-%dT%H:%M:%S", &utc);
    n += (size_t)snprintf(line + n, sizeof line - n, ".%03ldZ %s %s ", now.tv_nsec / 1000000, names[level], event);
    va_list args;
    va_start(args, format);
    int more = n < sizeof line - 1 ? vsnprintf(line + n, sizeof line - 1 - n, format, args) : 0;
    va_end(args);
    if (more > 0) n += (size_t)more;
    if (n > sizeof line - 2) n = sizeof line - 2;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)line[i] < 32 || line[i] == 127) line[i] = '?';
    while (n && line[n - 1] == ' ') n--;
    line[n++] = '\n';
    /* A log that cannot be written is no reason to stop serving. */
    if (write(log->fd, line, n) < 0) return;
}
