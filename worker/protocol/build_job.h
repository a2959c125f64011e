/* Build jobs: canonical bytes to a graph and its record: read, check, lower, derive, write, verify.
 *
 * Errors are the compilation's diagnostic, in the BuiltMsg; a daemon that checked before sees only those of lowering and later. */
#ifndef CAJAL_BUILD_JOB_H
#define CAJAL_BUILD_JOB_H
#include "worker/plan/exec.h"

void build_job_answer(const BuildMsg *m, Workspace *w, Buf *out);
#endif
