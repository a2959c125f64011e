/* Convolution steps: rows of images, kernels shared (packed once, before the tiles) or a row's own (packed row by row). */
#include "worker/kernels/conv_image.h"
#include <string.h>
#define KERNEL_TEMPLATE "worker/kernels/convolve.h"
#include "worker/kernels/variants.h"
