/* Includes the template once for float and once for double. No guard: that is its purpose. */
#define DTYPE f32
#define REAL float
#define REAL_BYTES 4
#define BLAS(name) cblas_s##name
#include KERNEL_TEMPLATE
#undef DTYPE
#undef REAL
#undef REAL_BYTES
#undef BLAS
#define DTYPE f64
#define REAL double
#define REAL_BYTES 8
#define BLAS(name) cblas_d##name
#include KERNEL_TEMPLATE
#undef DTYPE
#undef REAL
#undef REAL_BYTES
#undef BLAS
