#include "client/cli/cli.h"
#include <errno.h>
#include <string.h>

ExitCode cli_complain(const char *about, const char *what) {
    fprintf(stderr, "cajal: %s: %s\n", about, what);
    return EXIT_USAGE;
}

/* The service's own rule for names; "." and ".." would change a path. */
bool cli_is_word(const char *text, size_t len) {
    static const char good[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    return len > 0 && len <= 100 && strspn(text, good) >= len && !(text[0] == '.' && (len == 1 || (len == 2 && text[1] == '.')));
}

bool cli_is_number(const char *text) {
    return *text && strlen(text) < 19 && strspn(text, "0123456789") == strlen(text) && (*text != '0' || !text[1]);
}

static ExitCode read_all(FILE *in, const char *name, size_t most, Buf *out) {
    char part[65536], what[80];
    size_t n;
    out->cap = most + 1; /* buf_text's NUL */
    while (!out->failed && (n = fread(part, 1, sizeof part, in)) > 0) buf_put(out, part, n);
    if (ferror(in)) return cli_complain(name, strerror(errno));
    if (!out->failed && out->len <= most) return EXIT_OK;
    snprintf(what, sizeof what, "is larger than a request may be (%zu MiB)", most >> 20);
    return cli_complain(name, what);
}

const char *cli_file_name(const char *path) { return strcmp(path, "-") == 0 ? "<stdin>" : path; }

ExitCode cli_read(const char *path, size_t most, Buf *out) {
    FILE *in = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    if (!in) return cli_complain(path, strerror(errno));
    ExitCode code = read_all(in, cli_file_name(path), most, out);
    if (in != stdin) fclose(in);
    return code;
}
