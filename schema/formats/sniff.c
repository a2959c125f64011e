#include "schema/formats/sniff.h"
#include "schema/formats/idx.h"
#include "schema/formats/npy.h"
#include "schema/formats/safetensors.h"
#include <string.h>

static const struct {
    const char *name;
    unsigned short at, len; /* where the bytes stand, and how many they are */
    const char *bytes;
} magics[] = {
    {"an HDF5 file", 0, 8, "\x89HDF\r\n\x1a\n"},
    {"a zip archive", 0, 4, "PK\3\4"},
    {"a zip archive", 0, 4, "PK\5\6"},
    {"gzip data", 0, 2, "\x1f\x8b"},
    {"zstd data", 0, 4, "\x28\xb5\x2f\xfd"},
    {"xz data", 0, 6, "\xfd" "7zXZ\0"},
    {"bzip2 data", 0, 3, "BZh"},
    {"LZ4 data", 0, 4, "\x04\x22\x4d\x18"},
    {"a 7z archive", 0, 6, "7z\xbc\xaf\x27\x1c"},
    {"a Parquet file", 0, 4, "PAR1"},
    {"an Arrow file", 0, 6, "ARROW1"},
    {"a Feather file", 0, 4, "FEA1"},
    {"a Python pickle", 0, 2, "\x80\2"},
    {"a Python pickle", 0, 2, "\x80\3"},
    {"a Python pickle", 0, 2, "\x80\4"},
    {"a Python pickle", 0, 2, "\x80\5"},
    {"a PNG image", 0, 8, "\x89PNG\r\n\x1a\n"},
    {"a JPEG image", 0, 3, "\xff\xd8\xff"},
    {"a GIF image", 0, 4, "GIF8"},
    {"a TIFF image", 0, 4, "II*\0"},
    {"a TIFF image", 0, 4, "MM\0*"},
    {"a RIFF file", 0, 4, "RIFF"},
    {"a PDF document", 0, 5, "%PDF-"},
    {"a MATLAB file", 0, 10, "MATLAB 5.0"},
    {"a NetCDF file", 0, 4, "CDF\1"},
    {"a NetCDF file", 0, 4, "CDF\2"},
    {"a GGUF file", 0, 4, "GGUF"},
    {"an SQLite database", 0, 16, "SQLite format 3\0"},
    {"a Git LFS pointer", 0, 23, "version https://git-lfs"},
    {"a tar archive", 257, 5, "ustar"},
};
enum { NMAGICS = sizeof magics / sizeof *magics, LOOKED_AT = 512 };

/* Text of one byte or UTF-8: no control characters but those between lines and fields. */
static bool is_text(const unsigned char *body, size_t len) {
    for (size_t i = 0; i < len; i++)
        if ((body[i] < ' ' && !strchr("\t\r\n", body[i])) || !body[i] || body[i] == 0x7f) return false;
    return len > 0;
}

static const char *sniff_text(const unsigned char *body, size_t len) {
    const unsigned char *line_end = memchr(body, '\n', len);
    const size_t line = line_end ? (size_t)(line_end - body) : len;
    if (*body == '{' || *body == '[') return "JSON";
    if (*body == '<') return "HTML or XML";
    const bool fields = memchr(body, ',', line) || memchr(body, ';', line) || memchr(body, '\t', line);
    return fields && line_end ? "a CSV file" : "a text";
}

const char *sniff(const unsigned char *body, size_t len) {
    if (npy_is(body, len)) return "an npy file";
    if (idx_is(body, len)) return "an IDX file";
    if (safetensors_is(body, len)) return "a safetensors file";
    for (size_t i = 0; i < NMAGICS; i++)
        if (len >= (size_t)magics[i].at + magics[i].len && memcmp(body + magics[i].at, magics[i].bytes, magics[i].len) == 0) return magics[i].name;
    const size_t looked_at = len < LOOKED_AT ? len : LOOKED_AT;
    return is_text(body, looked_at) ? sniff_text(body, looked_at) : NULL;
}
