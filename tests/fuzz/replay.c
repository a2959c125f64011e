/* Runs one fuzz target over files, without a fuzzer: replay_TARGET FILE|FOLDER...
 *
 * Closes with "N passed, N failed" (tests/run.sh); a target that aborts leaves the file's name as the last line. */
#include "tests/fuzz/fuzz.h"
#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

typedef struct {
    unsigned passed, failed;
} Counts;

/* In memory exactly as long as the file, so that a sanitizer sees a read past the end; NULL when it cannot be read. */
static uint8_t *read_whole(const char *path, size_t *len) {
    FILE *in = fopen(path, "rb");
    struct stat st;
    if (!in) return NULL;
    *len = fstat(fileno(in), &st) ? 0 : (size_t)st.st_size;
    uint8_t *bytes = malloc(*len ? *len : 1);
    bool ok = bytes && fread(bytes, 1, *len, in) == *len;
    fclose(in);
    if (ok) return bytes;
    free(bytes);
    return NULL;
}

static void replay_file(const char *path, Counts *counts) {
    size_t len;
    uint8_t *bytes = read_whole(path, &len);
    printf("%s\n", path);
    fflush(stdout);
    if (bytes) LLVMFuzzerTestOneInput(bytes, len);
    counts->passed += bytes != NULL;
    counts->failed += bytes == NULL;
    free(bytes);
}

static void replay_folder(const char *path, Counts *counts) {
    struct dirent **entries;
    int n = scandir(path, &entries, NULL, alphasort);
    if (n < 0) counts->failed++;
    for (int i = 0; i < n; i++) {
        char file[4096];
        snprintf(file, sizeof file, "%s/%s", path, entries[i]->d_name);
        if (*entries[i]->d_name != '.') replay_file(file, counts);
        free(entries[i]);
    }
    if (n >= 0) free(entries);
}

int main(int argc, char **argv) {
    Counts counts = {0};
    for (int i = 1; i < argc; i++) {
        struct stat st;
        if (!stat(argv[i], &st) && S_ISDIR(st.st_mode)) replay_folder(argv[i], &counts);
        else replay_file(argv[i], &counts);
    }
    printf("%u passed, %u failed\n", counts.passed, counts.failed);
    return counts.failed != 0;
}
