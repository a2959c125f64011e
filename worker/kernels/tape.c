/* Tapes (worker/plan/tape.h): straight-line code over blocks of rows. */
#include "worker/kernels/kernels.h"
#include <string.h>
#define KERNEL_TEMPLATE "worker/kernels/tape.h"
#include "worker/kernels/variants.h"
