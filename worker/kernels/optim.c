/* The optimizers' inner loops. */
#include "worker/train/train_optim.h"
#include <math.h>

enum { LANES = 16 };
#define KERNEL_TEMPLATE "worker/kernels/optim.h"
#include "worker/kernels/variants.h"
