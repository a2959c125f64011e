/* The files of data sets, DIR/datasets/<sha256>.safetensors, kept as long as a data set or a run refers to them, together with the rows
 * that refer.
 *
 * A file is written under a name of its own, and gets its place in one step when it is whole and on the disk; the row follows. At the next start
 * what was not finished is removed, and what a crash left in between, or nobody knows any more, goes to lost+found. Finding (and records) is for
 * the loop's thread, everything else for any.
 * Ownership: what a find fills is released by dataset_release. */
#ifndef CAJAL_DATASET_FILES_H
#define CAJAL_DATASET_FILES_H
#include "server/data/dataset.h"
#include "server/disk.h"
#include "server/lost_found.h"
#include <stdatomic.h>

typedef struct DatasetFiles DatasetFiles;

/* Makes the folder and sweeps it. `lost` is only used here; its data directory and log last. NULL: `why`. */
DatasetFiles *dataset_files_open(LostFound *lost, Store *store, char *why, size_t room);
/* From now on what is added leaves the disk's reserve free, and all contents together are at most `most` bytes. */
void dataset_files_use_disk(DatasetFiles *files, Disk *disk, uint64_t most);
void dataset_files_close(DatasetFiles *files);

/* The data set of that name, its header held against its record. False: not_found, damaged (the row or the file), internal. The
 * descriptor stays good whatever becomes of the data set. */
bool dataset_files_find(DatasetFiles *files, const char *name, Dataset *out, Err *err);
/* The same by content, which a run may still have when the data set has another one; without a record. */
bool dataset_files_find_sha(DatasetFiles *files, const char *sha256, Dataset *out, Err *err);

/* Holds the whole file against what was put: its blocks' sums, or its name when there are none yet (they are then kept). What comes of it is kept in
 * the database. False: damaged, or internal (`stop`, looked at now and then, is true; memory is short). */
bool dataset_files_verify(DatasetFiles *files, Dataset *dataset, const atomic_bool *stop, Err *err);
/* The same for what dataset_put_rows reads of it, without more of the file than that when the sums are there. */
bool dataset_files_verify_rows(DatasetFiles *files, Dataset *dataset, uint64_t from, uint64_t count, const atomic_bool *stop, Err *err);

/* For who reads it all (the scrub): the content's file, -1 with errno; and what reading it has shown: its sums, or NULL when it is damaged (fd -1: not
 * there), unless by now another file is in its place. */
int dataset_files_open_content(DatasetFiles *files, const char *sha256);
void dataset_files_note(DatasetFiles *files, const char *sha256, int fd, const StoredContent *sums);

/* Appends the record of the data set of that name, which says whether its content is known to be damaged. False: as dataset_files_find. */
bool dataset_files_record(DatasetFiles *files, const char *name, Buf *out, Err *err);

enum { DATASET_FILES_PATH = 4096 };
/* What all contents take. */
uint64_t dataset_files_bytes(DatasetFiles *files);
/* So many bytes more may be added. */
bool dataset_files_has_room(DatasetFiles *files, uint64_t bytes);
/* A new file to write and read, not yet anybody's: its descriptor and path. -1 with errno; ENOSPC also when nothing may be added. */
int dataset_files_temporary(DatasetFiles *files, char path[DATASET_FILES_PATH]);
/* Makes the flushed temporary file at `path` the content of a name. `dataset`: as read from it, with its sha256; gets its record. base: as in
 * DatasetRow. `fresh`: there was no data set of the name. The path is the caller's to remove unless DONE. */
RowResult dataset_files_put(DatasetFiles *files, const char *path, const char *name, const char *base, Dataset *dataset, bool *fresh);
RowResult dataset_files_delete(DatasetFiles *files, const char *name);
/* Removes the content if nobody refers to it. For those who have taken a reference away. */
void dataset_files_collect(DatasetFiles *files, const char *sha256);
#endif
