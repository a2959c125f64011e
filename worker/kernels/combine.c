/* Elementwise kernels and sums over rows: add, if, sum, accumulate. */
#include "worker/kernels/kernels.h"
#include <string.h>
#define KERNEL_TEMPLATE "worker/kernels/combine.h"
#include "worker/kernels/variants.h"
