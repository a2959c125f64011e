/* A run's conversation with the daemon: news out, in order; stop, saved and ping in.
 *
 * Points are gathered and leave together, at the latest after NEWS_MS or when a frame is full, and before any other news.
 * Keys of points are lent until news_release.
 * Ownership: a News owns its buffers, not the socket.
 * Errors: `ended` is set when the daemon is gone or memory is short, `malformed` (too) when it sent what does not belong here; sending does
 * nothing from then on. */
#ifndef CAJAL_TRAIN_PROGRESS_H
#define CAJAL_TRAIN_PROGRESS_H
#include "schema/protocol/wire_train.h"
#include "worker/fault.h"

enum { NEWS_MS = 100 };

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
} News;

bool news_init(News *news, int sock, uint64_t id); /* false: memory is short */
void news_release(News *news);
void news_point(News *news, const char *key, double value);
/* Between steps: sends points that have waited, looks for frames. True: go on. */
bool news_poll(News *news);
void news_say(News *news, NewsKind kind, const char *format, ...) __attribute__((format(printf, 3, 4))); /* READY, LOG */
/* Waits while WIRE_CHECKPOINTS before it are not written. */
void news_checkpoint(News *news, const Area *file);
void news_end(News *news, ErrCode code, const char *text);
#endif
