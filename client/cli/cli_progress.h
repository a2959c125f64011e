/* How far a run is, as a person wants to see it: on a terminal a bar that is rewritten in place, elsewhere a line every few seconds.
 *
 * Ownership: a value without heap memory; starts zeroed but for `bar`. Errors: none. */
#ifndef CAJAL_CLI_PROGRESS_H
#define CAJAL_CLI_PROGRESS_H
#include "client/cli/cli.h"

enum { PROGRESS_METRICS = 8, PROGRESS_KEY = 32 };
typedef struct {
    bool bar;           /* standard output is a terminal that can go back to a line's beginning */
    double step, steps; /* done, and in all; steps 0: unknown */
    double speed;       /* steps a second; 0: not known yet */
    double speed_step, speed_time, shown;
    struct {
        char key[PROGRESS_KEY];
        double value;
    } latest[PROGRESS_METRICS];
    int nlatest;
} CliProgress;

/* May standard output be written over? Not when it is a file, a pipe or a dumb terminal. */
bool cli_progress_can_rewrite(void);
/* From the event of kind metric: its values, and by its time the speed. p->step is the event's already. */
void cli_progress_metric(CliProgress *p, const cJSON *event);
/* The run starts or goes on: what was measured of its speed is not of now. */
void cli_progress_restart(CliProgress *p);
/* Shows it, but not too often unless it `must` be. */
void cli_progress_show(CliProgress *p, bool must);
/* A line of its own, above the bar. more: "" for none. */
void cli_progress_say(const CliProgress *p, const char *what, const char *more);
#endif
