/* The protocol's frames for runs: linking in a worker of the pool, training in a worker process of its own.
 *
 *   daemon → worker   link     check a run's specification (LINK_CHECK), or make the graph that serves it (LINK_SERVE)
 *   worker → daemon   linked   answers link
 *   daemon → worker   data     data of the run to come: a data set or an earlier run's checkpoint; the descriptor is the frame's area
 *   daemon → worker   train    begin; a checkpoint to go on from is the frame's area
 *   worker → daemon   progress what happens: any number, END is the last
 *   daemon → worker   stop     end after this step, with a checkpoint
 *   daemon → worker   saved    the oldest checkpoint sent is written, or failed to be: at most WIRE_CHECKPOINTS are sent ahead of the disk
 * As in wire.h: messages point into the frame's body; a get checks everything. */
#ifndef CAJAL_WIRE_TRAIN_H
#define CAJAL_WIRE_TRAIN_H
#include "schema/protocol/wire.h"

enum { WIRE_PROGRESS_VALUES = 4096, WIRE_CHECKPOINTS = 2 };

/* A column of a data set: safetensors' dtype, a row's shape, and where its rows begin in the file. */
typedef struct {
    const unsigned char *name;
    size_t name_len;
    uint8_t dtype;   /* DType */
    uint32_t rank;   /* of a row */
    uint64_t dims[LIMIT_ROW_RANK];
    uint64_t offset; /* bytes; need not be aligned */
} ColumnMsg;
uint64_t column_elements(const ColumnMsg *column); /* of a row */

typedef enum { LINK_CHECK, LINK_SERVE } LinkWant;
typedef struct {
    uint8_t want;
    const unsigned char *program; /* canonical bytes */
    size_t program_len;
    const unsigned char *spec;    /* JSON; its program is not looked at */
    size_t spec_len;
    uint64_t nat_limit;
    uint64_t train_rows, test_rows; /* 0: no test data */
    uint32_t ntrain, ntest;
    ColumnMsg *train, *test;      /* malloced by get; link_msg_release */
    /* SERVE; the weights are the frame's area, a checkpoint (safetensors) */
    uint64_t area_size;           /* 0 unless SERVE */
    uint8_t derive;               /* Derive; not LOWERED */
    bool stored;                  /* link.h */
    const unsigned char *outputs; /* names of variables to give beside the value, each with a NUL behind it */
    size_t outputs_len;
} LinkMsg;

/* code ERR_NONE: CHECK: `info`; SERVE: graph, types as in BuiltMsg (type and output are the program's value; inputs: the needed columns by
 * name; no arguments), and in `info` the variables given beside the value, BOUND `index` each: {"variables": [{"index","name","type","shape"}]}.
 * Else: at_kind and at_index point into the canonical program when the program is to blame, pointer into the specification otherwise. */
typedef struct {
    uint16_t code;
    uint8_t at_kind, other_kind;
    uint32_t at_index, other_index;
    const unsigned char *message, *hint, *pointer;
    size_t message_len, hint_len, pointer_len;
    /* JSON: {"output": {"type","shape"}, "columns": [{"name","type","shape","needed"}], "weights": [{"name","shape","train"}], "parameters",
     * "macs" (of a step), "bytes" (of tensors and working memory)} */
    const unsigned char *info;
    size_t info_len;
    const unsigned char *graph, *types;
    size_t graph_len, types_len;
    uint32_t ninputs;
    double macs;
} LinkedMsg;

typedef enum { DATA_TRAIN, DATA_TEST, DATA_WEIGHTS } DataKind;
typedef struct {
    uint8_t kind;
    const unsigned char *name;    /* WEIGHTS: the run's id */
    size_t name_len;
    uint64_t rows, bytes;         /* bytes: of the file behind the descriptor */
    uint32_t ncolumns;
    ColumnMsg *columns;           /* malloced by get; data_msg_release */
} DataMsg;

typedef struct {
    const unsigned char *program, *spec;
    size_t program_len, spec_len;
    uint64_t nat_limit;
    uint64_t area_size;           /* of the checkpoint; 0: from the beginning */
} TrainMsg;

typedef enum { PROGRESS_READY, PROGRESS_POINTS, PROGRESS_CHECKPOINT, PROGRESS_LOG, PROGRESS_END } ProgressKind;
typedef struct {
    const unsigned char *key;     /* "train.loss", "test.psnr", … */
    size_t key_len;
    uint64_t step;
    double value;
} PointMsg;
typedef struct {
    uint8_t kind;
    uint64_t step, steps;         /* steps done; of all */
    double epoch;
    const unsigned char *text;    /* READY: JSON for the run's record (libraries, threads, cpu, dtype); LOG, END: a sentence */
    size_t text_len;
    uint16_t code;                /* END: ERR_NONE when all steps are done or a stop was asked for (`stopped`) */
    bool stopped;
    uint64_t area_size;           /* CHECKPOINT: the file is the frame's area, safetensors */
    uint32_t npoints;
    PointMsg *points;             /* malloced by get; progress_msg_release */
} ProgressMsg;

void wire_put_link(Buf *out, const LinkMsg *m);
bool wire_get_link(const Frame *frame, LinkMsg *m);
void link_msg_release(LinkMsg *m);
void wire_put_linked(Buf *out, const LinkedMsg *m);
bool wire_get_linked(const Frame *frame, LinkedMsg *m);
void wire_put_data(Buf *out, const DataMsg *m);
bool wire_get_data(const Frame *frame, DataMsg *m);
void data_msg_release(DataMsg *m);
void wire_put_train(Buf *out, const TrainMsg *m);
bool wire_get_train(const Frame *frame, TrainMsg *m);
void wire_put_progress(Buf *out, const ProgressMsg *m);
bool wire_get_progress(const Frame *frame, ProgressMsg *m);
void progress_msg_release(ProgressMsg *m);
#endif
