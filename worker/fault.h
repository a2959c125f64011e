/* Why a job is refused: a code and one sentence for the client. */
#ifndef CAJAL_FAULT_H
#define CAJAL_FAULT_H
#include "schema/errors.h"
#include <stdbool.h>

typedef struct {
    ErrCode code; /* ERR_NONE: no fault */
    char message[256];
} Fault;

/* Always false, so that a check can end in `return fault_set(…)`. The first fault stays. */
bool fault_set(Fault *fault, ErrCode code, const char *format, ...) __attribute__((format(printf, 3, 4)));
#endif
