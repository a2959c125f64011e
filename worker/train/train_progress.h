/* A run's conversation with the daemon: what happens goes out, in order; stop, saved and ping come in.
 *
 * Points are gathered and leave together, at the latest after PROGRESS_MS or when a frame is full, and before anything else that is said.
 * Keys of points are lent until progress_release.
 * Ownership: a Progress owns its buffers, not the socket.
 * Errors: `ended` is set when the daemon is gone or memory is short, `malformed` (too) when it sent what does not belong here; sending does
 * nothing from then on. */
#ifndef CAJAL_TRAIN_PROGRESS_H
#define CAJAL_TRAIN_PROGRESS_H
#include "schema/protocol/wire_train.h"
#include "schema/errors.h"

enum { PROGRESS_MS = 100 };

typedef struct {
    int sock;
    uint64_t id;
    uint64_t step, steps; /* where the run is; the loop keeps them */
    double epoch;
    PointMsg *points;
    uint32_t npoints;
    uint64_t sent_ns;
    uint32_t unsaved; /* checkpoints that are not on the disk yet */
    bool stop, ended, malformed;
} Progress;

bool progress_init(Progress *progress, int sock, uint64_t id); /* false: memory is short */
void progress_release(Progress *progress);
void progress_point(Progress *progress, const char *key, double value);
/* Between steps: sends points that have waited, looks for frames. True: go on. */
bool progress_poll(Progress *progress);
void progress_say(Progress *progress, ProgressKind kind, const char *format, ...) __attribute__((format(printf, 3, 4))); /* READY, LOG */
/* Waits while WIRE_CHECKPOINTS before it are not written. */
void progress_checkpoint(Progress *progress, const Area *file);
void progress_end(Progress *progress, ErrCode code, const char *text);
#endif
