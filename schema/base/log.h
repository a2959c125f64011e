/* Logging: one line per event, "timestamp level event key=value …", written with one write(2) so that lines never mix.
 *
 * The Log is passed along; there is no global one. Control bytes in values are replaced, so that a client cannot forge lines. */
#ifndef CAJAL_LOG_H
#define CAJAL_LOG_H

typedef enum { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_LEVELS } LogLevel;
typedef struct {
    LogLevel level; /* the least that is written */
    int fd;
} Log;

/* The level of that name ("debug" "info" "warn" "error"), or -1. */
int log_level_of(const char *name);
/* `event` is a fixed phrase; `format` gives key=value pairs, or is "". */
void log_put(const Log *log, LogLevel level, const char *event, const char *format, ...) __attribute__((format(printf, 4, 5)));
#endif
