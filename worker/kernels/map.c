/* Functions element by element, and softmax along an axis (schema/graph/functions.def, schema/graph/ops.def). */
#include "worker/kernels/kernels.h"
#include "schema/graph/ops.h"
#include <float.h>
#include <math.h>
#include <string.h>

enum { COLUMNS = 64 }; /* of a softmax along an outer axis, at a time */

#define KERNEL_TEMPLATE "worker/kernels/map.h"
#include "worker/kernels/variants.h"
