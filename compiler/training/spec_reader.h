/* Inside spec_read: a reader whose first error unwinds to spec_read, so that the files that use it read like the form they describe.
 *
 * Memory is the Spec's arena, which unwinds likewise. Pointers ("/nets/a/layers/3") are arena strings. */
#ifndef CAJAL_SPEC_READER_H
#define CAJAL_SPEC_READER_H
#include "compiler/training/spec.h"
#include <setjmp.h>

typedef struct {
    Spec *spec;
    Err *err;
    jmp_buf unwind;
    uint32_t nlayers; /* of all networks so far */
} SpecReader;

_Noreturn void spec_fail(SpecReader *r, const char *pointer, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* pointer/key, the key escaped (RFC 6901) */
const char *spec_under(SpecReader *r, const char *pointer, const char *key);
const char *spec_item(SpecReader *r, const char *pointer, size_t index);
/* printf into the arena; at most LIMIT_RUN_NAME names and short words, so never long */
char *spec_printf(SpecReader *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* json_decode, refusing as bad_run. */
void spec_decode(SpecReader *r, JsonNode object, const char *pointer, const Field *fields, void *out);
/* A number that the run's dtype has no place for is refused. */
void spec_fits(SpecReader *r, const char *pointer, double v);
/* A choice among names: "adam" or {"adam": {…}}. The index into `names` (NULL at the end); body: what stands under the name, NULL for the
 * bare name; at: the body's pointer, or the name's. what: "an optimizer" */
uint32_t spec_choice(SpecReader *r, JsonNode node, const char *pointer, const char *const *names, const char *what, JsonNode *body,
                     const char **at);
/* A string that names something of this run or a data set: 1 to LIMIT_RUN_NAME bytes. */
const char *spec_string(SpecReader *r, JsonNode node, const char *pointer);
/* A name that becomes part of weights' names: letters, digits, _ and -. */
const char *spec_name(SpecReader *r, const char *text, const char *pointer);
/* "x" or ["x", "y"]: at least one string, at most `most`. */
const char **spec_strings(SpecReader *r, JsonNode node, const char *pointer, uint32_t most, uint32_t *count);
/* Where string `index` of these stands: the place of the node itself when it is the bare name. */
const char *spec_string_place(SpecReader *r, JsonNode node, const char *pointer, uint32_t index);
/* {"run": id, "name": …} or {"init": …, "std": …}; name: what it is when not given. */
typedef struct {
    InitKind init;
    double deviation;
    const char *run, *name;
} SpecWeights;
SpecWeights spec_weights(SpecReader *r, JsonNode node, const char *pointer, const char *name);

/* The parts, a file each. */
void spec_nets(SpecReader *r, JsonNode nets);                          /* spec_nets.c */
void spec_layers(SpecReader *r, JsonNode node, const char *pointer, SpecValue *value); /* spec_layers.c */
void spec_layer_by(SpecReader *r, JsonNode body, const char *pointer, SpecValue *value); /* conv2d_by, as a value's only layer */
void spec_binds(SpecReader *r, JsonNode bind);                         /* spec_bind.c */

/* The parts that are about training, as nodes; NULL when they are not there. spec_train.c */
typedef struct {
    JsonNode data, loss, optimizer, schedule, evaluate, checkpoint;
} SpecParts;
void spec_training(SpecReader *r, const SpecParts *parts);
#endif
