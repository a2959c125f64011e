/* /eval, /grad, /jvp and /programs/{hash}/matrix: one request from body to answer.
 *
 *     eval_read      the body: JSON or binary tensors; an inline program through the compiler's front half
 *     (eval.c)       the program's variant
 *     eval_prepare   values held against the program's types, laid out in the area that goes to the worker
 *     (eval.c)       the job
 *     eval_write     the results as JSON, safetensors or npy
 *
 * The three eval_ functions are pure: they may run on a thread, and leave errors in ev->errand.err or ev->frontend. An Eval and its arrays are in the call's
 * memory. */
#ifndef CAJAL_EVAL_H
#define CAJAL_EVAL_H
#include "schema/formats/bulk.h"
#include "schema/formats/json.h"
#include "schema/limits.h"
#include "server/routes.h"
#include "server/http/errand.h"
#include "server/programs/program_build.h"
#include "server/runs/model.h"
#include "server/eval/value.h"

typedef enum { EVAL_VALUE, EVAL_GRAD, EVAL_JVP, EVAL_MATRIX } EvalKind;
typedef enum { ENGINE_NEURONS, ENGINE_INTERPRETER } EvalEngine;

/* What the request says. Nodes are of the JSON body; a binary body fills options from the query. */
typedef struct {
    ProgramSpec spec;
    ModelWant model;      /* run NULL: a program is evaluated, not a trained run */
    JsonNode inputs, columns, outputs, args, cotangent, wrt, tangents;
    int f64, engine;
    bool decode;
} EvalRequest;

/* One value as given: a node, or a tensor of a binary body, or neither. */
typedef struct {
    JsonNode node;
    const BulkTensor *tensor;
} Given;

/* A result as it is answered. */
typedef struct {
    OutRole role;
    uint32_t index;
    uint32_t output; /* the graph's; UINT32_MAX: it has none, the result is zero */
    const Type *type;
    bool batched;
    size_t offset, bytes, size; /* in the area; elements a row */
    size_t rank, shape[LIMIT_TENSOR_RANK];
} EvalResult;

typedef struct {
    Errand errand;
    EvalKind kind;
    Json json;
    Bulk bulk;
    EvalRequest request;
    char *wrt_text; /* a binary body's ?wrt=; NULL: none */
    Frontend frontend;
    Resolve resolve;
    /* prepared */
    uint32_t nargs, ninputs;
    uint32_t *bound, nbound; /* variables of a model's program whose values are wanted */
    const Type *output_type;
    Given *given;       /* inputs, args, tangents of inputs, tangents of args; the cotangent last */
    Value *values;      /* likewise */
    bool *wanted;       /* by input, then argument: its gradient is asked for */
    bool batched;       /* some value is */
    size_t rows;
    EvalResult *results;
    size_t nresults, results_at, area_size;
    size_t json_size;   /* what the results take as JSON, at most; 0 in a binary form */
    ExecRequest exec;   /* for the worker; lent to it */
    size_t *row_bytes;
    unsigned char *inline_values; /* NULL: values are in the area */
    Area area;          /* fd -1: values travel in the frame */
    /* back from the worker */
    Area result_area;   /* the worker's own; fd -1: none */
    unsigned char *inline_results;
    /* answer */
    Buf head;
    size_t body_at, body_len; /* the area's part of the answer */
} Eval;

bool eval_read(void *ev);
bool eval_prepare(void *ev);
bool eval_write(void *ev);
/* How many arguments the request gives. Call after eval_read. */
uint32_t eval_count_args(Eval *ev);
/* Copies what only the connection knows: call before eval_read, in the loop. */
bool eval_read_query(Eval *ev);
/* The first result byte, once the worker has answered. */
const unsigned char *eval_results(const Eval *ev);
#endif
