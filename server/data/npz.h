/* npz, numpy's form for several arrays: a zip archive of npy members, stored or deflated. Members' names without .npy are the tensors'.
 *
 * What the members take unpacked is known from the archive's directory and refused before anything is unpacked; each must then be exactly that, and
 * of the checksum that stands there.
 * Ownership: an Npz points into the body and into what was unpacked, which outlive it; npz_release.
 * Errors: bad_tensor, body_too_large, too_large (more than LIMIT_COLUMNS members), and what the sink returns; messages name the member. */
#ifndef CAJAL_NPZ_H
#define CAJAL_NPZ_H
#include "schema/formats/bulk.h"
#include "schema/formats/zip.h"
#include "server/data/inflate.h"

typedef struct {
    Zip zip;
    Bulk bulk;                  /* a tensor a member; offsets are in that member */
    const unsigned char **data; /* the members, unpacked */
} Npz;

/* The directory, and every packed member handed to the sink, one behind the other in the directory's order: at most `most` bytes. */
bool npz_unpack(Npz *npz, const unsigned char *body, size_t len, size_t most, InflateSink *sink, void *arg, Err *err);
/* The tensors. `unpacked`: what the sink took. */
bool npz_read(Npz *npz, const unsigned char *body, const unsigned char *unpacked, Err *err);
void npz_release(Npz *npz);
#endif
