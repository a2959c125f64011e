/* What things on the heap really take: the allocator's rounding and bookkeeping included (glibc's). For those who keep within a budget. */
#ifndef CAJAL_HEAP_H
#define CAJAL_HEAP_H
#include <malloc.h>
#include <stddef.h>

/* Of something malloced; NULL takes nothing. */
static inline size_t heap_bytes(const void *p) { return p ? malloc_usable_size((void *)p) + sizeof(size_t) : 0; }
#endif
