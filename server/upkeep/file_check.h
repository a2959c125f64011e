/* A file that is read through in pieces, from the disk, and held against its sum: a data set's content against its name (and its blocks' sums are made on
 * the way), a checkpoint against its row.
 *
 * Ownership: the descriptor is the check's from the beginning. For one thread at a time. */
#ifndef CAJAL_FILE_CHECK_H
#define CAJAL_FILE_CHECK_H
#include "server/data/block_sums.h"
#include "server/store/store_runs.h"

typedef enum { FILE_CONTENT, FILE_CHECKPOINT } FileKind;
typedef struct {
    FileKind kind;
    int fd;                  /* -1: it cannot be opened */
    bool done, whole;        /* read through; it has its sum */
    uint64_t bytes, at;
    char sha256[DATASET_SHA + 1];
    char run[RUN_ID + 1];
    RunCheckpoint checkpoint;
    BlockSummer blocks;      /* of a content */
    crypto_hash_sha256_state sha;
    crypto_generichash_state sum;
} FileCheck;

/* NULL: memory is short, or the file cannot be opened at this moment (errno). A file that is not there is not whole. */
FileCheck *file_check_content(int fd, const char *sha256);
FileCheck *file_check_checkpoint(int fd, const char *run, const RunCheckpoint *row);
/* Reads on, about so many bytes; returns how many it were. */
uint64_t file_check_read(FileCheck *f, uint64_t most);
void file_check_free(FileCheck *f);
#endif
