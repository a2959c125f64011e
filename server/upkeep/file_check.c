#include "server/upkeep/file_check.h"
#include "server/data/file.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 256 << 10 };

/* Where the hashes want it. */
static FileCheck *make(FileKind kind, int fd) {
    struct stat st = {0};
    if (fd < 0 && errno != ENOENT && errno != EIO) return NULL;
    FileCheck *f = aligned_alloc(_Alignof(FileCheck), sizeof *f);
    if (!f || (fd >= 0 && fstat(fd, &st) != 0)) {
        if (fd >= 0) close(fd);
        free(f);
        return NULL;
    }
    memset(f, 0, sizeof *f);
    f->kind = kind;
    f->fd = fd;
    f->bytes = (uint64_t)st.st_size;
    f->done = fd < 0 || !f->bytes;
    return f;
}

FileCheck *file_check_content(int fd, const char *sha256) {
    FileCheck *f = make(FILE_CONTENT, fd);
    if (!f) return NULL;
    memcpy(f->sha256, sha256, DATASET_SHA);
    crypto_hash_sha256_init(&f->sha);
    if (f->done || block_summer_begin(&f->blocks, f->bytes)) return f;
    file_check_free(f);
    return NULL;
}

FileCheck *file_check_checkpoint(int fd, const char *run, const RunCheckpoint *row) {
    FileCheck *f = make(FILE_CHECKPOINT, fd);
    if (!f) return NULL;
    memcpy(f->run, run, sizeof f->run);
    f->checkpoint = *row;
    f->done |= f->bytes != row->bytes;
    crypto_generichash_init(&f->sum, NULL, 0, sizeof row->sum);
    return f;
}

static bool has_its_sum(FileCheck *f) {
    unsigned char sum[crypto_hash_sha256_BYTES];
    char name[DATASET_SHA + 1];
    if (f->kind == FILE_CHECKPOINT) {
        crypto_generichash_final(&f->sum, sum, sizeof f->checkpoint.sum);
        return memcmp(sum, f->checkpoint.sum, sizeof f->checkpoint.sum) == 0;
    }
    crypto_hash_sha256_final(&f->sha, sum);
    sodium_bin2hex(name, sizeof name, sum, sizeof sum);
    return strcmp(name, f->sha256) == 0;
}

static void take(FileCheck *f, const unsigned char *bytes, size_t len) {
    if (f->kind == FILE_CHECKPOINT) {
        crypto_generichash_update(&f->sum, bytes, len);
        return;
    }
    crypto_hash_sha256_update(&f->sha, bytes, len);
    block_summer_put(&f->blocks, bytes, len);
}

uint64_t file_check_read(FileCheck *f, uint64_t most) {
    unsigned char *piece = malloc(PIECE);
    uint64_t done = 0;
    while (piece && !f->done && done < most) {
        const size_t n = f->bytes - f->at < PIECE ? (size_t)(f->bytes - f->at) : PIECE;
        /* What nobody has mapped is read from the disk again. */
        posix_fadvise(f->fd, (off_t)f->at, (off_t)n, POSIX_FADV_DONTNEED);
        if (!file_read(f->fd, piece, n, f->at)) {
            f->done = true;
            break;
        }
        take(f, piece, n);
        f->at += n;
        done += n;
        if (f->at == f->bytes) {
            f->done = true;
            f->whole = has_its_sum(f);
        }
    }
    free(piece);
    return done;
}

void file_check_free(FileCheck *f) {
    if (!f) return;
    if (f->fd >= 0) close(f->fd);
    block_summer_release(&f->blocks);
    free(f);
}
