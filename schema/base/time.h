/* The two clocks, and how a moment is written. */
#ifndef CAJAL_TIME_H
#define CAJAL_TIME_H
#include "schema/base/buf.h"

/* Nanoseconds of a clock that only goes forward: for durations and deadlines. */
int64_t time_monotonic_ns(void);
/* Microseconds of the Unix epoch: for records. */
int64_t time_epoch_us(void);
/* Appends microseconds of the Unix epoch as a JSON string, RFC 3339 in UTC: "2026-11-23T08:07:31.123456Z". */
void time_put_json(Buf *out, int64_t us);
#endif
