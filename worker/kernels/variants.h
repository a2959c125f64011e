/* Includes the template named by KERNEL_TEMPLATE once for each instruction set and each of float and double; K(name) is then
 * name_f32_avx2 and so on, VECTOR_BYTES the length of a register. No guard: that is its purpose.
 * One binary runs on every CPU; a plan takes the kernels of the best set there is (KERNEL_OF in kernels.h). */
#include "worker/kernels/names.h"

#define ISA base
#define VECTOR_BYTES 16
#include "worker/kernels/both.h"
#undef ISA
#undef VECTOR_BYTES

#ifdef __x86_64__
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define ISA avx2
#define VECTOR_BYTES 32
#include "worker/kernels/both.h"
#undef ISA
#undef VECTOR_BYTES
#ifdef __clang__
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,fma"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,fma")
#endif
#define ISA avx512
#define VECTOR_BYTES 64
#include "worker/kernels/both.h"
#undef ISA
#undef VECTOR_BYTES
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
#undef KERNEL_TEMPLATE
