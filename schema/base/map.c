#include "schema/base/map.h"
#include "schema/base/hash.h"
#include <stdlib.h>
#include <string.h>

void map_init(Map *map) { *map = (Map){0}; }

void map_release(Map *map) {
    for (size_t i = 0; i < map->room; i++) free(map->slots[i].key);
    free(map->slots);
    *map = (Map){0};
}

static uint64_t hash_of(const void *key, size_t len) {
    uint64_t h = hash_bytes(HASH_START, key, len);
    return h ^ (h >> 32);
}

/* The key's slot, or the free one where it would go. */
static size_t find(const Map *map, const void *key, size_t len, uint64_t hash) {
    size_t i = hash & (map->room - 1);
    for (; map->slots[i].value; i = (i + 1) & (map->room - 1)) {
        const struct MapSlot *s = &map->slots[i];
        if (s->hash == hash && s->len == len && memcmp(s->key, key, len) == 0) break;
    }
    return i;
}

void *map_get(const Map *map, const void *key, size_t len) {
    return map->room ? map->slots[find(map, key, len, hash_of(key, len))].value : NULL;
}

static bool grow(Map *map) {
    Map bigger = {.room = map->room ? map->room * 2 : 16, .count = map->count};
    bigger.slots = calloc(bigger.room, sizeof *bigger.slots);
    if (!bigger.slots) return false;
    for (size_t i = 0; i < map->room; i++) {
        if (!map->slots[i].value) continue;
        size_t j = map->slots[i].hash & (bigger.room - 1);
        while (bigger.slots[j].value) j = (j + 1) & (bigger.room - 1);
        bigger.slots[j] = map->slots[i];
    }
    free(map->slots);
    *map = bigger;
    return true;
}

bool map_put(Map *map, const void *key, size_t len, void *value) {
    if (map->count * 2 >= map->room && !grow(map)) return false;
    uint64_t hash = hash_of(key, len);
    struct MapSlot *s = &map->slots[find(map, key, len, hash)];
    if (!s->value) {
        void *copy = malloc(len ? len : 1);
        if (!copy) return false;
        memcpy(copy, key, len);
        *s = (struct MapSlot){.key = copy, .len = len, .hash = hash};
        map->count++;
    }
    s->value = value;
    return true;
}

void *map_remove(Map *map, const void *key, size_t len) {
    if (!map->room) return NULL;
    size_t hole = find(map, key, len, hash_of(key, len));
    void *value = map->slots[hole].value;
    if (!value) return NULL;
    free(map->slots[hole].key);
    map->count--;
    /* Close the gap: a later entry whose home is not between the gap and itself moves into it. */
    for (size_t i = (hole + 1) & (map->room - 1); map->slots[i].value; i = (i + 1) & (map->room - 1)) {
        size_t home = map->slots[i].hash & (map->room - 1);
        if (((i - home) & (map->room - 1)) < ((i - hole) & (map->room - 1))) continue;
        map->slots[hole] = map->slots[i];
        hole = i;
    }
    map->slots[hole] = (struct MapSlot){0};
    return value;
}

void *map_next(const Map *map, size_t *at) {
    while (*at < map->room) {
        void *value = map->slots[(*at)++].value;
        if (value) return value;
    }
    return NULL;
}
