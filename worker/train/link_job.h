/* Link jobs: a run's specification checked against program and data sets, or the graph that serves a trained model.
 *
 * LINK_CHECK does everything that training would but run: what it accepts, trains. Its `info` is JSON for the run's record.
 * Errors go back in the LinkedMsg: a diagnostic with its place in the program, or with a JSON Pointer into the specification. */
#ifndef CAJAL_LINK_JOB_H
#define CAJAL_LINK_JOB_H
#include "compiler/training/link.h"
#include "schema/protocol/wire_train.h"

/* area: the checkpoint's descriptor (SERVE), the caller's. threads: those a run would have. */
void link_job_answer(const LinkMsg *m, int area, unsigned threads, Buf *out);
/* A data set's columns as linking takes them; the Cx's. */
const LinkData *link_job_data(Cx *cx, const ColumnMsg *columns, uint32_t n, uint64_t rows);
#endif
