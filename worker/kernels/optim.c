/* The optimizers' inner loops. */
#include "worker/kernels/optim_work.h"
#include <math.h>

enum { LANES = 16 };
#define KERNEL_TEMPLATE "worker/kernels/optim.h"
#include "worker/kernels/variants.h"
