/* A hash map from byte strings to pointers (open addressing, linear probing).
 *
 * Ownership: keys are copied; values are the caller's. NULL is no value.
 * Errors: map_put returns false when memory is short, and changes nothing. */
#ifndef CAJAL_MAP_H
#define CAJAL_MAP_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    struct MapSlot {
        void *key;
        size_t len;
        uint64_t hash;
        void *value; /* NULL: the slot is free */
    } *slots;
    size_t room, count;
} Map;

void map_init(Map *map);
void map_release(Map *map);
void *map_get(const Map *map, const void *key, size_t len);
/* Adds, or replaces the value. */
bool map_put(Map *map, const void *key, size_t len, void *value);
/* Takes the entry out and returns its value; NULL when there is none. */
void *map_remove(Map *map, const void *key, size_t len);
/* Walks all values in no order: start with *at = 0; NULL at the end. The map must not change meanwhile. */
void *map_next(const Map *map, size_t *at);
#endif
