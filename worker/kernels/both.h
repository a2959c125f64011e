/* Includes the template named by KERNEL_TEMPLATE once for float and once for double. No guard: that is its purpose. */
#define REAL float
#define K(name) name##_f32
#define BLAS(name) cblas_s##name
#include KERNEL_TEMPLATE
#undef REAL
#undef K
#undef BLAS
#define REAL double
#define K(name) name##_f64
#define BLAS(name) cblas_d##name
#include KERNEL_TEMPLATE
#undef REAL
#undef K
#undef BLAS
#undef KERNEL_TEMPLATE
