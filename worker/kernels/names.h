/* Names of a template's functions: K(name) is name_DTYPE_ISA. */
#ifndef CAJAL_KERNEL_NAMES_H
#define CAJAL_KERNEL_NAMES_H
#define K_PASTE(name, dtype, isa) name##_##dtype##_##isa
#define K_NAME(name, dtype, isa) K_PASTE(name, dtype, isa)
#define K(name) K_NAME(name, DTYPE, ISA)
#endif
