#include "server/lost_found.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_ROOM = 4096, SAME_NAMES = 100000 };
#define FOLDER "lost+found"

static bool sync_folder(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0) close(fd);
    return ok;
}

static bool make_folder(const LostFound *l, char out[PATH_ROOM]) {
    if ((size_t)snprintf(out, PATH_ROOM, "%s/" FOLDER, l->data) >= PATH_ROOM) return false;
    return mkdir(out, 0700) == 0 ? sync_folder(l->data) : errno == EEXIST;
}

/* A name that nothing there has: as it was, or with .2, .3 and so on behind. */
static bool move(const char *from, const char *folder, const char *owner, const char *name, char to[PATH_ROOM]) {
    for (int i = 1; i < SAME_NAMES; i++) {
        char number[16] = "";
        if (i > 1) snprintf(number, sizeof number, ".%d", i);
        if ((size_t)snprintf(to, PATH_ROOM, "%s/%s%s%s%s", folder, owner ? owner : "", owner ? "." : "", name, number) >= PATH_ROOM) {
            errno = ENAMETOOLONG;
            return false;
        }
        struct stat there;
        if (lstat(to, &there) != 0) return rename(from, to) == 0;
    }
    return false;
}

bool lost_found_take(LostFound *l, const char *folder, const char *owner, const char *name, const char *cause) {
    char from[PATH_ROOM], at[PATH_ROOM], to[PATH_ROOM];
    errno = ENAMETOOLONG;
    const bool fits = (size_t)snprintf(from, PATH_ROOM, "%s/%s%s%s", l->data, folder, *folder ? "/" : "", name) < PATH_ROOM;
    if (fits && make_folder(l, at) && move(from, at, owner, name, to) && sync_folder(at)) {
        if (l->moved++ < LOST_FOUND_LINES)
            log_put(l->log, LOG_WARN, "moved to lost+found", "from=%s to=%s cause=\"%s\"", from + strlen(l->data) + 1, to + strlen(l->data) + 1, cause);
        return true;
    }
    log_put(l->log, LOG_ERROR, "not moved to lost+found", "from=%s/%s cause=\"%s\"", folder, name, strerror(errno));
    return false;
}

void lost_found_end(LostFound *l) {
    if (l->moved) log_put(l->log, LOG_WARN, "lost+found", "moved=%zu dir=%s/" FOLDER, l->moved, l->data);
}

size_t lost_found_count(const char *data) {
    char path[PATH_ROOM];
    size_t n = 0;
    DIR *dir = (size_t)snprintf(path, sizeof path, "%s/" FOLDER, data) < sizeof path ? opendir(path) : NULL;
    for (struct dirent *e; dir && (e = readdir(dir));) n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    if (dir) closedir(dir);
    return n;
}
