/* A run linked for tests: random data and weights, and evaluation by the naive evaluator. Everything fails the test that calls it. */
#ifndef CAJAL_TEST_TRIAL_H
#define CAJAL_TEST_TRIAL_H
#include "compiler/training/link.h"
#include "compiler/passes/naive.h"
#include "tests/support/graphs.h"

enum { TRIAL_ROWS = 3, TRIAL_MOST = 64 };

typedef struct {
    Cx cx;
    Spec spec;
    Linked *linked;                                    /* its graph is the trial's */
    char pointer[LINK_POINTER];
    double *columns[TRIAL_MOST], *weights[TRIAL_MOST]; /* by slot; columns [TRIAL_ROWS, size], as the network sees them */
} Trial;

#define COLUMN(name_, dtype_, ...) {.name = name_, .dtype = dtype_, .rank = sizeof((size_t[]){__VA_ARGS__}) / sizeof(size_t), .dims = {__VA_ARGS__}}
#define NUMBER(name_, dtype_) {.name = name_, .dtype = dtype_}
extern const LinkData trial_data; /* image [6,6] u8, label [6,6], digit and odd (integers), three [3], other [3], number, channels [2,5,4]; 1000 rows */

/* ' becomes "; free() */
char *trial_quoted(const char *text);
/* False: it was refused; m->cx.diag and m->pointer say why. m is released either way. The program is the specification's source. */
bool trial_link(Trial *m, const char *text, const LinkData *train, const LinkData *test);
/* Linked with trial_data, and filled. ' stands for ". */
void trial_make(Trial *m, const char *spec);
void trial_fill(Trial *m, uint64_t seed);
void trial_release(Trial *m);

void trial_verify(const Graph *g);
uint32_t trial_slot(const Trial *m, const char *column);
uint32_t trial_weight(const Trial *m, const char *name);
uint32_t trial_output(const Graph *g, OutRole role, uint32_t index);
/* cotangent: or a tangent, one for all rows; inputs: of a served graph, by INPUT slot. Either may be NULL where the graph has no such slot. */
NaiveOutput *trial_eval(const Trial *m, const Graph *g, const double *cotangent, double *const *inputs);
void trial_outputs_release(NaiveOutput *out, const Graph *g);
/* The mean loss of the batch. */
double trial_loss(const Trial *m);
/* |got - want| ≤ tolerance · (1 + |want|) */
void trial_close(double got, double want, double tolerance, const char *what);
#endif
