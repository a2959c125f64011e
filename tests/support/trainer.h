/* A worker that trains, driven as the daemon does: a thread serving one end of a socket pair, data sets and checkpoints in memfds. */
#ifndef CAJAL_TEST_TRAINER_H
#define CAJAL_TEST_TRAINER_H
#include "schema/base/log.h"
#include "schema/protocol/wire_train.h"
#include <pthread.h>

typedef struct {
    int sock, theirs;
    unsigned threads;
    pthread_t thread;
    int code;
    Log log;
    uint64_t id;
} Trainer;

void trainer_start(Trainer *t, unsigned threads); /* hello read */
int trainer_finish(Trainer *t);                   /* the worker's exit code */

/* A data set under construction: columns one after the other. */
enum { SET_COLUMNS = 4 };
typedef struct {
    Buf file;
    ColumnMsg columns[SET_COLUMNS];
    uint32_t n;
    uint64_t rows;
} TestSet;
/* rank 0: a number a row. data: rows × product of dims doubles, stored as dtype. */
void set_column(TestSet *set, const char *name, DType dtype, const uint64_t *dims, uint32_t rank, const double *data);
void set_release(TestSet *set);
/* The data frame. */
void trainer_data(Trainer *t, DataKind kind, const TestSet *set);

/* Canonical bytes of a program's text; free(). */
unsigned char *trainer_canonical(const char *source, size_t *len);

typedef struct {
    char key[40];
    uint64_t step;
    double value;
} SeenPoint;
typedef struct {
    uint64_t step;
    unsigned char *file;
    size_t len;
} SeenCheckpoint;
/* What a run said. */
typedef struct {
    SeenPoint *points;
    size_t npoints;
    SeenCheckpoint *checkpoints;
    size_t ncheckpoints;
    char ready[2000], logs[2000], end[400];
    uint64_t step, steps;
    ErrCode code;
    bool stopped;
} Seen;

/* The train frame; from: a checkpoint or NULL. */
void trainer_train(Trainer *t, const char *source, const char *spec, const SeenCheckpoint *from);
/* Reads progress frames until END; sends a stop as soon as they tell of `stop_at` steps (UINT64_MAX: never). */
void trainer_watch(Trainer *t, uint64_t stop_at, Seen *seen);
void seen_release(Seen *seen);
/* The only value of that key at that step. */
double seen_at(const Seen *seen, const char *key, uint64_t step);
const SeenCheckpoint *seen_last(const Seen *seen);
#endif
