/* Placing values with lifetimes into one block of memory: values that never live together may share a place.
 *
 * Units are the caller's (elements). slab_place fails only when memory runs out or the total does not fit a size_t. */
#ifndef CAJAL_SLAB_H
#define CAJAL_SLAB_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    size_t size;
    uint32_t first, last; /* positions, both inclusive; first <= last < npositions */
    size_t offset;        /* out */
} SlabItem;

/* Fills the offsets; *total is the block's size. First fit in order of `first`. */
bool slab_place(SlabItem *items, size_t n, size_t npositions, size_t *total);
#endif
