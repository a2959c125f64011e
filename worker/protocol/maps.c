#include "worker/protocol/maps.h"
#include "schema/base/time.h"
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static Mapped take(Maps *maps, size_t i) {
    Mapped taken = maps->kept[i];
    maps->bytes -= taken.area.size;
    maps->n--;
    memmove(&maps->kept[i], &maps->kept[i + 1], (maps->n - i) * sizeof taken);
    return taken;
}

static void drop_oldest(Maps *maps) {
    Mapped oldest = take(maps, 0);
    area_release(&oldest.area);
}

void maps_release(Maps *maps) {
    while (maps->n) drop_oldest(maps);
}

bool maps_open(Maps *maps, int fd, size_t size, Mapped *out) {
    struct stat st;
    *out = (Mapped){.area.fd = -1};
    if (fstat(fd, &st)) {
        close(fd);
        return false;
    }
    for (size_t i = 0; i < maps->n; i++) {
        if (maps->kept[i].inode != st.st_ino || maps->kept[i].device != st.st_dev) continue;
        *out = take(maps, i);
        if (out->area.size >= size) {
            close(fd);
            return true;
        }
        area_release(&out->area);
        break;
    }
    if (!area_open(&out->area, fd, size, true)) {
        close(fd);
        return false;
    }
    out->device = st.st_dev;
    out->inode = st.st_ino;
    return true;
}

void maps_close(Maps *maps, Mapped *mapped) {
    size_t size = mapped->area.size;
    if (mapped->area.fd < 0 || size > MAPS_BYTES) {
        area_release(&mapped->area);
        return;
    }
    while (maps->n == MAPS_KEPT || maps->bytes + size > MAPS_BYTES) drop_oldest(maps);
    mapped->used = (uint64_t)time_monotonic_ns();
    maps->kept[maps->n++] = *mapped;
    maps->bytes += size;
    *mapped = (Mapped){.area.fd = -1};
}

int maps_tidy(Maps *maps) {
    const uint64_t idle = (uint64_t)MAPS_IDLE_MS * 1000000, now = maps->n ? (uint64_t)time_monotonic_ns() : 0;
    while (maps->n && now - maps->kept[0].used >= idle) drop_oldest(maps);
    return maps->n ? (int)((maps->kept[0].used + idle - now) / 1000000) + 1 : -1;
}
