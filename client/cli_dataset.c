#include "client/cli.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* What the service takes as a name; it becomes part of a path. */
static bool is_name(const char *text, size_t len) {
    size_t good = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
    return len > 0 && len <= 100 && good >= len;
}

static ExitCode complain(const char *about, const char *what) {
    fprintf(stderr, "cajal: %s: %s\n", about, what);
    return EXIT_USAGE;
}

static const char *text_of(const cJSON *object, const char *key) {
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));
    return text ? text : "";
}

static double number_of(const cJSON *object, const char *key) {
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsNumber(v) ? v->valuedouble : 0;
}

/* ---- answers ---- */

/* x u8[28,28], label i64 */
static void print_columns(const cJSON *record) {
    const cJSON *column, *extent;
    bool first = true;
    cJSON_ArrayForEach(column, cJSON_GetObjectItemCaseSensitive(record, "columns")) {
        const char *before = "[";
        printf("%s%s %s", first ? "" : ", ", text_of(column, "name"), text_of(column, "dtype"));
        cJSON_ArrayForEach(extent, cJSON_GetObjectItemCaseSensitive(column, "shape")) {
            printf("%s%.0f", before, extent->valuedouble);
            before = ",";
        }
        if (*before == ',') putchar(']');
        first = false;
    }
    putchar('\n');
}

static void print_record(const cJSON *record) {
    printf("%-10s%s\n", "name", text_of(record, "name"));
    printf("%-10s%.0f\n", "rows", number_of(record, "rows"));
    printf("%-10s%.0f\n", "bytes", number_of(record, "bytes"));
    printf("%-10s%s\n", "sha256", text_of(record, "sha256"));
    printf("%-10s%s\n", "created", text_of(record, "created"));
    printf("%-10s", "columns");
    print_columns(record);
}

static void print_list(const cJSON *answer) {
    const cJSON *record;
    printf("%-30s %10s %12s  %s\n", "data set", "rows", "bytes", "columns");
    cJSON_ArrayForEach(record, cJSON_GetObjectItemCaseSensitive(answer, "datasets")) {
        printf("%-30s %10.0f %12.0f  ", text_of(record, "name"), number_of(record, "rows"), number_of(record, "bytes"));
        print_columns(record);
    }
    if (cJSON_IsString(cJSON_GetObjectItemCaseSensitive(answer, "next_page_token"))) printf("… and older ones\n");
}

/* As a tensor of the answer to /eval is. */
static void print_column_rows(const cJSON *column) {
    cJSON *tensor = cJSON_CreateObject(), *shape = cJSON_AddArrayToObject(tensor, "shape");
    for (const cJSON *at = column; shape && cJSON_IsArray(at); at = at->child)
        cJSON_AddItemToArray(shape, cJSON_CreateNumber(cJSON_GetArraySize(at)));
    cJSON_AddItemReferenceToObject(tensor, "data", (cJSON *)column);
    cli_print_tensor(stdout, column->string, tensor);
    cJSON_Delete(tensor);
}

static void print_rows(const cJSON *answer) {
    const cJSON *column;
    cJSON_ArrayForEach(column, cJSON_GetObjectItemCaseSensitive(answer, "columns")) print_column_rows(column);
}

/* ---- files ---- */

typedef struct {
    void *map; /* NULL: the bytes are in buf */
    Buf buf;
    const void *bytes;
    size_t len;
} Content;

static ExitCode read_stdin(Content *content) {
    char chunk[65536];
    size_t n;
    content->buf.cap = LIMIT_BULK_BYTES;
    while ((n = fread(chunk, 1, sizeof chunk, stdin)) > 0) buf_put(&content->buf, chunk, n);
    if (ferror(stdin)) return complain("<stdin>", "cannot be read");
    if (content->buf.failed) return complain("<stdin>", "is larger than a body may be");
    if (content->buf.len) content->bytes = content->buf.data;
    content->len = content->buf.len;
    return EXIT_OK;
}

/* Mapped: it goes from the page cache to the socket. */
static ExitCode read_content(const char *path, Content *content) {
    struct stat st;
    *content = (Content){.bytes = ""};
    if (strcmp(path, "-") == 0) return read_stdin(content);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0 || S_ISDIR(st.st_mode)) {
        ExitCode code = complain(path, fd >= 0 && S_ISDIR(st.st_mode) ? "is a directory" : strerror(errno));
        if (fd >= 0) close(fd);
        return code;
    }
    content->len = (size_t)st.st_size;
    content->map = content->len ? mmap(NULL, content->len, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
    close(fd);
    if (content->map == MAP_FAILED) {
        content->map = NULL;
        return complain(path, strerror(errno));
    }
    if (content->map) content->bytes = content->map;
    return EXIT_OK;
}

static void content_release(Content *content) {
    if (content->map) munmap(content->map, content->len);
    buf_release(&content->buf);
}

/* ---- commands ---- */

/* One [COLUMN=]FILE. What stands before a = that could be no column's name belongs to the file's. */
static ExitCode put_file(CliCall *call, const char *name, const char *operand) {
    const char *equals = strchr(operand, '=');
    bool named = equals && is_name(operand, (size_t)(equals - operand));
    const char *path = named ? equals + 1 : operand;
    char *column = named ? strndup(operand, (size_t)(equals - operand)) : NULL;
    Content content;
    if (named && !column) return complain(path, "out of memory");
    ExitCode code = read_content(path, &content);
    call->program.name = path; /* what a diagnostic calls it */
    if (code == EXIT_OK) code = cli_judge(call, client_dataset_put(call->client, name, column, content.bytes, content.len, &call->response));
    content_release(&content);
    free(column);
    return code;
}

static ExitCode put_files(CliCall *call, const char *name, CliList files) {
    ExitCode code = EXIT_OK;
    if (!files.count) return complain("dataset put", "a file is missing: FILE (safetensors), or COLUMN=FILE (IDX or npy)");
    for (size_t i = 0; i < files.count && code == EXIT_OK; i++) code = put_file(call, name, files.items[i]);
    return cli_print_answer(call, code, print_record);
}

static ExitCode show(CliCall *call, const char *name) {
    const char *rows = call->options->rows;
    char path[200];
    if (rows && (!*rows || strlen(rows) > 10 || strspn(rows, "0123456789") != strlen(rows))) return complain("--rows", "a number is wanted");
    if (rows) snprintf(path, sizeof path, "/datasets/%s/rows?count=%s", name, rows);
    else snprintf(path, sizeof path, "/datasets/%s", name);
    return cli_print_answer(call, cli_get(call, path), rows ? print_rows : print_record);
}

static ExitCode forget(CliCall *call, const char *name) {
    char path[200];
    snprintf(path, sizeof path, "/datasets/%s", name);
    return cli_judge(call, client_json(call->client, "DELETE", path, NULL, &call->response));
}

ExitCode cli_dataset_run(CliCall *call) {
    CliList operands = call->options->operands;
    const char *action = operands.items[0], *name = operands.count > 1 ? operands.items[1] : "";
    bool put = strcmp(action, "put") == 0, list = strcmp(action, "list") == 0, one = strcmp(action, "show") == 0, rm = strcmp(action, "rm") == 0;
    if (!put && !list && !one && !rm) return complain(action, "not what `cajal dataset` does: put, list, show or rm");
    if (call->options->rows && !one) return complain("--rows", "belongs to `cajal dataset show`");
    if (operands.count > (list ? 1 : 2) && !put) return complain(operands.items[operands.count - 1], "what is this for?");
    if (list) return cli_print_answer(call, cli_get(call, "/datasets?limit=100"), print_list);
    if (!is_name(name, strlen(name)))
        return complain(*name ? name : action, "a data set's name is wanted: 1 to 100 of A-Z, a-z, 0-9, \".\", \"_\" and \"-\"");
    call->program.name = name;
    if (put) return put_files(call, name, (CliList){operands.items + 2, operands.count - 2});
    return one ? show(call, name) : forget(call, name);
}
