#include "tests/bench/file.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

bool file_read(const char *path, Buf *out) {
    FILE *in = fopen(path, "rb");
    char chunk[65536];
    size_t n;
    buf_init(out);
    while (in && (n = fread(chunk, 1, sizeof chunk, in)) > 0) buf_put(out, chunk, n);
    bool ok = in && !ferror(in) && !out->failed;
    if (!ok) fprintf(stderr, "%s: %s\n", path, strerror(errno));
    if (in) fclose(in);
    return ok;
}
