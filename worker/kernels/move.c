/* Kernels that move elements and do no arithmetic to speak of: fill, slide, permute, copy, gather, load, store. */
#include "worker/kernels/kernels.h"
#include "schema/limits.h"
#include <string.h>
#define KERNEL_TEMPLATE "worker/kernels/move.h"
#include "worker/kernels/variants.h"
