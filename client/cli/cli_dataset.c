#include "client/cli/cli.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD "data set                             rows        bytes  columns"

/* ---- answers ---- */

/* x u8[28,28], label i64 */
static void print_columns(const cJSON *record) {
    const cJSON *column, *extent;
    bool first = true;
    cJSON_ArrayForEach(column, cli_member(record, "columns")) {
        const char *before = "[";
        printf("%s%s %s", first ? "" : ", ", cli_member_text(column, "name"), cli_member_text(column, "dtype"));
        cJSON_ArrayForEach(extent, cli_member(column, "shape")) {
            printf("%s%.0f", before, extent->valuedouble);
            before = ",";
        }
        if (*before == ',') putchar(']');
        first = false;
    }
    putchar('\n');
}

static void print_record(const cJSON *record) {
    printf("%-10s%s\n", "name", cli_member_text(record, "name"));
    printf("%-10s%.0f\n", "rows", cli_member_number(record, "rows"));
    printf("%-10s%.0f\n", "bytes", cli_member_number(record, "bytes"));
    printf("%-10s%s\n", "sha256", cli_member_text(record, "sha256"));
    printf("%-10s%s\n", "created", cli_member_text(record, "created"));
    printf("%-10s", "columns");
    print_columns(record);
}

static void print_line(const cJSON *record) {
    printf("%-30s %10.0f %12.0f  ", cli_member_text(record, "name"), cli_member_number(record, "rows"), cli_member_number(record, "bytes"));
    print_columns(record);
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
    cJSON_ArrayForEach(column, cli_member(answer, "columns")) print_column_rows(column);
}

/* ---- files ---- */

typedef struct {
    void *map; /* NULL: the bytes are in buf */
    Buf buf;
    const void *bytes;
    size_t len;
} Content;

static ExitCode map_file(const char *path, size_t len, Content *content) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    void *map = fd >= 0 ? mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
    ExitCode code = map == MAP_FAILED ? cli_complain(path, strerror(errno)) : EXIT_OK;
    if (fd >= 0) close(fd);
    if (code == EXIT_OK) content->bytes = content->map = map, content->len = len;
    return code;
}

/* A file is mapped: it goes from the page cache to the socket. A pipe is read. */
static ExitCode read_content(const char *path, Content *content) {
    struct stat st;
    *content = (Content){.bytes = ""};
    if (strcmp(path, "-") != 0 && stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0) return map_file(path, (size_t)st.st_size, content);
    ExitCode code = cli_read(path, LIMIT_BULK_BYTES, &content->buf);
    if (content->buf.len) content->bytes = content->buf.data;
    content->len = content->buf.len;
    return code;
}

static void content_release(Content *content) {
    if (content->map) munmap(content->map, content->len);
    buf_release(&content->buf);
}

/* ---- commands ---- */

/* One [COLUMN=]FILE. What stands before a = that could be no column's name belongs to the file's. */
static ExitCode put_file(CliCall *call, const char *name, const char *operand) {
    const char *equals = strchr(operand, '=');
    bool named = equals && cli_is_word(operand, (size_t)(equals - operand));
    const char *path = named ? equals + 1 : operand;
    char *column = named ? strndup(operand, (size_t)(equals - operand)) : NULL;
    Content content;
    if (named && !column) return cli_complain(path, "out of memory");
    ExitCode code = read_content(path, &content);
    call->program.name = cli_file_name(path); /* what a diagnostic calls it */
    if (code == EXIT_OK) code = cli_judge(call, client_dataset_put(call->client, name, column, content.bytes, content.len, &call->response));
    content_release(&content);
    free(column);
    return code;
}

static ExitCode put_files(CliCall *call, const char *name, CliList files) {
    ExitCode code = EXIT_OK;
    if (!files.count) return cli_complain("dataset put", "a file is missing: FILE (safetensors or npz), or COLUMN=FILE (IDX or npy)");
    for (size_t i = 0; i < files.count && code == EXIT_OK; i++) code = put_file(call, name, files.items[i]);
    return cli_print_answer(call, code, print_record);
}

static ExitCode show(CliCall *call, const char *name) {
    const char *rows = call->options->rows;
    char path[200];
    if (rows && !cli_is_number(rows)) return cli_complain("--rows", "wants a natural number");
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
    if (!put && !list && !one && !rm) return cli_complain(action, "not what `cajal dataset` does: put, list, show or rm");
    if (call->options->rows && !one) return cli_complain("--rows", "belongs to `cajal dataset show`");
    if (operands.count > (list ? 1 : 2) && !put) return cli_complain(operands.items[operands.count - 1], "what is this for?");
    if (call->options->all && !list) return cli_complain("--all", "belongs to `cajal dataset list`");
    if (list) return cli_list(call, "/datasets?limit=100", "datasets", HEAD, print_line);
    if (!cli_is_word(name, strlen(name)))
        return cli_complain(*name ? name : action, "a data set's name is wanted: 1 to 100 of A-Z, a-z, 0-9, \".\", \"_\" and \"-\"");
    call->program.name = name;
    if (put) return put_files(call, name, (CliList){operands.items + 2, operands.count - 2});
    return one ? show(call, name) : forget(call, name);
}
