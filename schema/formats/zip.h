/* The directory of a zip archive (PKWARE's APPNOTE.TXT 6.3), for members that are stored or deflated.
 *
 * The reader is a pure function of the bytes, and strict: the directory is what lies before the end record, each member's own header says the same
 * as the directory, members lie wholly in front of the directory and do not overlap, and no name stands twice. So the members' packed bytes are no
 * more than the archive's, and a size that the directory states is one that the caller can refuse before anything is unpacked; whether the
 * packed bytes make up that size and the checksum is the caller's to see. Encrypted members, other methods, several disks and zip64 in the
 * directory (4 GiB and more) are refused.
 * Ownership: names and data stay in the body; zip_release. Errors: bad_tensor, too_large (more members than `most`), internal. */
#ifndef CAJAL_ZIP_H
#define CAJAL_ZIP_H
#include "schema/errors.h"
#include <stddef.h>
#include <stdint.h>

typedef struct {
    const char *name;    /* without a NUL behind it, and with none inside */
    size_t name_len;
    size_t begin, offset; /* of its own header, and of the packed bytes, in the body */
    size_t packed, size; /* bytes there, and unpacked; the same where it is not deflated */
    uint32_t crc;        /* of the unpacked bytes, CRC-32 */
    bool deflated;
} ZipMember;

typedef struct {
    ZipMember *members; /* in the order in which they lie in the body */
    size_t n;
} Zip;

/* The first bytes are those of a zip archive, and of no safetensors that a reader would take. */
bool zip_is(const unsigned char *body, size_t len);
bool zip_read(const unsigned char *body, size_t len, size_t most, Zip *out, Err *err);
void zip_release(Zip *zip);
#endif
