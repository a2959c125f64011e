/* The protocol between cajald and cajal-worker: typed frames over a SOCK_SEQPACKET socket pair.
 *
 * A frame is a 24-byte header (magic, version, type, id, body length, flags; little-endian), the body, and up to two descriptors: a body too
 * long for a packet travels in a sealed memfd (wire_send and wire_recv do this by themselves), and a job's tensors in another, the *area* (memory that both sides map).
 * Each message has one put and one get, here, used by both sides; a get checks every length and count, and that nothing is left over.
 * A side that receives a frame it cannot read closes the socket (the worker exits, the daemon kills it).
 * Ownership: messages point into the frame's body; frame_release frees it and closes descriptors not taken (set to -1). */
#ifndef CAJAL_WIRE_H
#define CAJAL_WIRE_H
#include "schema/base/buf.h"
#include "schema/errors.h"
#include "schema/formats/dtype.h"
#include "schema/limits.h"

enum { WIRE_VERSION = 5, WIRE_PACKET = 60 * 1024, WIRE_INLINE_AREA = 16 * 1024, WIRE_FD = 3, WIRE_BOX_FD = 4, WIRE_BOX_BYTES = 4096 };

/* FRAME(name, direction, meaning); ids pair a reply with its request */
#define WIRE_FRAMES(FRAME) \
    FRAME(hello, worker, "first: version, build, libraries") \
    FRAME(build, daemon, "compile one variant of a program")   FRAME(built, worker, "its graph and record, or a diagnostic") \
    FRAME(load, daemon, "keep a graph under a key")            FRAME(drop, daemon, "forget it") \
    FRAME(exec, daemon, "execute a loaded graph or interpret")  FRAME(executed, worker, "done, or an error; also answers load") \
    FRAME(exec_batch, daemon, "several small executions, inline") FRAME(executed_batch, worker, "their answers, in that order, inline") \
    FRAME(ping, daemon, "")                                    FRAME(pong, worker, "") \
    FRAME(link, daemon, "check a run, or make what serves it") FRAME(linked, worker, "the record or graph, or what is wrong") \
    FRAME(data, daemon, "a data set of the run to come")       FRAME(train, daemon, "begin or go on") \
    FRAME(progress, worker, "what happens in a run")               FRAME(stop, daemon, "end the run after this step") \
    FRAME(saved, daemon, "a checkpoint is written")
typedef enum {
    FRAME_NONE,
#define FRAME(name, direction, meaning) FRAME_##name,
    WIRE_FRAMES(FRAME)
#undef FRAME
    FRAME_TYPES
} FrameType;

typedef struct {
    FrameType type;
    uint64_t id;
    unsigned char *body;
    size_t len;
    int area; /* descriptor or -1 */
} Frame;

/* 0, or a negative errno (-EAGAIN: the socket is full). area is lent, -1 for none. */
int wire_send(int sock, FrameType type, uint64_t id, const Buf *body, int area);
/* 1 a frame, 0 end of stream, or a negative errno (-EAGAIN, -EPROTO for a malformed one, -EMFILE where this process could not have a descriptor of it). */
int wire_recv(int sock, Frame *frame);
void frame_release(Frame *frame);

/* Shared memory: a memfd, mapped. */
typedef struct {
    int fd;
    void *data;
    size_t size;
} Area;
/* A new one of `size` bytes. False: memory or descriptors are short. */
bool area_create(Area *area, size_t size);
/* Maps the descriptor after checking that it is at least `size` long and sealed against shrinking; false when it is not. at_once: all of it will be used, and mapping all pages now, which takes a tenth of a second a gigabyte, costs a fraction of a fault a page. */
bool area_open(Area *area, int fd, size_t size, bool at_once);
void area_release(Area *area);

/* A page that daemon and worker share from the start, as descriptor WIRE_BOX_FD: what the worker is at, read when it has died. */
typedef struct {
    _Atomic uint32_t op; /* the Op whose kernel runs, plus 1; 0: none */
} BlackBox;

typedef struct {
    uint32_t version; /* WIRE_VERSION */
    uint64_t build;   /* build_all: another build's worker is not used */
    uint32_t pid, threads;
    const char *libraries; /* "OpenBLAS 0.3.21 …", for logs and /workers */
    size_t libraries_len;
} HelloMsg;

typedef enum { DERIVE_NONE, DERIVE_VJP, DERIVE_JVP, DERIVE_LOWERED /* the value, not optimised: for people to look at */ } Derive;
#define WIRE_ALL_ARGS UINT32_MAX

typedef struct {
    const unsigned char *program; /* canonical bytes */
    size_t program_len;
    uint32_t nargs; /* the result applied to this many arguments; WIRE_ALL_ARGS */
    uint8_t derive; /* Derive */
    bool verify;
    uint64_t nat_limit;
} BuildMsg;

typedef struct {
    uint16_t code; /* ErrCode; the next four fields are the diagnostic (compiler/language/cx.h), the rest is for ERR_NONE */
    uint8_t at_kind, other_kind;
    uint32_t at_index, other_index;
    const unsigned char *message, *hint;
    size_t message_len, hint_len;
    const unsigned char *graph; /* file form (graph.h) */
    size_t graph_len;
    const unsigned char *types; /* canon_put_type each: the program's sized type, inputs by name, all its arguments (sized), the output after all */
    size_t types_len;
    uint32_t ninputs, nargs;
    uint64_t smooth_args; /* bit i: argument i's arrow is smooth; more than 64 arguments: the rest are linear or smooth as in the type */
    uint64_t neurons, weights, recurrent;
    double macs;
    uint32_t cases;
    bool exhaustive;
    uint64_t compile_us, verify_us;
} BuiltMsg;

typedef struct {
    uint64_t key;
    const unsigned char *graph;
    size_t graph_len;
} LoadMsg;

/* One tensor in the area. Dense (F32, F64): `cols` elements a row, at most the slot's size, zero-padded to it. Discrete (I64, U8, BOOL):
 * one value a row, meaning that basis vector (booleans: 1 is true, the 0th). */
typedef struct {
    uint32_t slot; /* index of the graph's slot */
    uint8_t dtype;
    bool batched;  /* has `rows` rows, else one */
    uint8_t discrete; /* 0 dense, 1 natural, 2 boolean */
    uint64_t cols, offset;
} TensorMsg;
/* Where an output goes: rows × size elements of the call's dtype (one row when the result is shared). */
typedef struct {
    uint32_t output; /* index of the graph's output */
    bool batched;    /* the daemon's expectation; the worker refuses a difference */
    uint64_t offset;
} ResultMsg;
enum { WIRE_TENSORS = LIMIT_GRAPH_SLOTS };
typedef struct {
    uint64_t key;
    uint8_t dtype; /* F32 or F64 */
    uint32_t rows; /* of batched tensors; 1 when there are none */
    uint64_t area_size; /* inputs, then results */
    uint64_t results_at; /* where the results begin */
    uint32_t ntensors, nresults;
    TensorMsg *tensors; /* malloced by get; exec_msg_release */
    ResultMsg *results;
    const unsigned char *inline_area; /* the first results_at bytes, when the frame brings no descriptor */
    size_t inline_len;
    /* with key 0: the interpreter on discrete values, nargs as in build */
    const unsigned char *program;
    size_t program_len;
    uint32_t nargs;
    uint64_t nat_limit;
} ExecMsg;
void exec_msg_release(ExecMsg *msg);

typedef struct {
    uint16_t code;
    const unsigned char *message;
    size_t message_len;
    uint64_t exec_ns;
    const unsigned char *inline_results; /* area[results_at ..) when there is no descriptor */
    size_t inline_len;
} ExecutedMsg;

typedef struct {
    uint64_t key;
} DropMsg;

void wire_put_hello(Buf *out, const HelloMsg *m);
bool wire_get_hello(const Frame *frame, HelloMsg *m);
void wire_put_build(Buf *out, const BuildMsg *m);
bool wire_get_build(const Frame *frame, BuildMsg *m);
void wire_put_built(Buf *out, const BuiltMsg *m);
bool wire_get_built(const Frame *frame, BuiltMsg *m);
void wire_put_load(Buf *out, const LoadMsg *m);
bool wire_get_load(const Frame *frame, LoadMsg *m);
void wire_put_drop(Buf *out, const DropMsg *m);
bool wire_get_drop(const Frame *frame, DropMsg *m);
void wire_put_exec(Buf *out, const ExecMsg *m);
bool wire_get_exec(const Frame *frame, ExecMsg *m);
void wire_put_executed(Buf *out, const ExecutedMsg *m);
bool wire_get_executed(const Frame *frame, ExecutedMsg *m);

/* The members of an exec_batch or executed_batch frame, one after the other: what is put between begin and end is one. */
size_t wire_begin_member(Buf *out);
void wire_end_member(Buf *out, size_t begun);
/* The next one as an exec or executed frame of its own, which has no id and points into the whole (not to be released). False at the end
 * (then reader_done) and when the rest is no member. */
bool wire_next_member(const Frame *whole, Reader *in, Frame *member);
#endif
