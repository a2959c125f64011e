/* What a file is by its first bytes, for the message that refuses it. */
#ifndef CAJAL_SNIFF_H
#define CAJAL_SNIFF_H
#include <stddef.h>

/* "an HDF5 file", "zstd data", "a CSV file", …; NULL: not known. Forms that are taken are named as well. */
const char *sniff(const unsigned char *body, size_t len);
#endif
