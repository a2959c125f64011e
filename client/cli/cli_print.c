#include "client/cli/cli.h"
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* More than this is not read by people; --json has everything. */
enum { MOST_ROWS = 40, MOST_COLUMNS = 24, MOST_VALUES = 1000, MOST_NESTING = 16, CELL = 32 };

static void print_number(Buf *out, double v) {
    if (v == 0) v = 0; /* no minus zero */
    if (v == floor(v) && fabs(v) < 1e15) buf_printf(out, "%.0f", v);
    else buf_printf(out, "%.6g", v);
}

static void print_scalar(Buf *out, const cJSON *value) {
    if (cJSON_IsNumber(value)) print_number(out, value->valuedouble);
    else if (cJSON_IsString(value)) buf_puts(out, value->valuestring);
    else buf_puts(out, cJSON_IsTrue(value) ? "true" : cJSON_IsFalse(value) ? "false" : "null");
}

static void print_shape(FILE *out, const cJSON *shape) {
    const cJSON *extent;
    bool first = true;
    fputc('[', out);
    cJSON_ArrayForEach(extent, shape) {
        fprintf(out, "%s%.0f", first ? "" : ",", extent->valuedouble);
        first = false;
    }
    fputc(']', out);
}

static void format_cell(char cell[CELL], const cJSON *value) {
    Buf text;
    buf_init(&text);
    print_scalar(&text, value);
    snprintf(cell, CELL, "%s", buf_text(&text));
    buf_release(&text);
}

/* The widest cell of the part that is shown. */
static int cell_width(const cJSON *rows) {
    int width = 1, i = 0;
    const cJSON *row, *value;
    char cell[CELL];
    cJSON_ArrayForEach(row, rows) {
        int j = 0;
        if (i++ == MOST_ROWS) break;
        cJSON_ArrayForEach(value, row) {
            if (j++ == MOST_COLUMNS) break;
            format_cell(cell, value);
            int len = (int)strlen(cell);
            if (len > width) width = len;
        }
    }
    return width;
}

static void print_row(FILE *out, const cJSON *row, int width) {
    const cJSON *value;
    int j = 0;
    char cell[CELL];
    fputs("  ", out);
    cJSON_ArrayForEach(value, row) {
        if (j == MOST_COLUMNS) break;
        format_cell(cell, value);
        fprintf(out, "%s%*s", j++ ? "  " : "", width, cell);
    }
    int left = cJSON_GetArraySize(row) - j;
    if (left > 0) fprintf(out, "  … %d more", left);
    fputc('\n', out);
}

static void print_grid(FILE *out, const cJSON *rows) {
    int width = cell_width(rows), i = 0;
    const cJSON *row;
    cJSON_ArrayForEach(row, rows) {
        if (i++ == MOST_ROWS) {
            fprintf(out, "  … %d more rows\n", cJSON_GetArraySize(rows) - MOST_ROWS);
            return;
        }
        print_row(out, row, width);
    }
}

/* Slices along the leading axes, each a grid under its index. */
static void print_slices(FILE *out, const cJSON *data, int rank, Buf *index) {
    if (rank == 2) {
        if (index->len) fprintf(out, "  [%s, :, :]\n", buf_text(index));
        print_grid(out, data);
        return;
    }
    const cJSON *slice;
    size_t len = index->len;
    int i = 0;
    cJSON_ArrayForEach(slice, data) {
        if (i == MOST_ROWS) {
            fprintf(out, "  … %d more\n", cJSON_GetArraySize(data) - MOST_ROWS);
            return;
        }
        buf_printf(index, "%s%d", len ? ", " : "", i++);
        print_slices(out, slice, rank - 1, index);
        index->len = len;
    }
}

static void print_data(FILE *out, const cJSON *data) {
    int rank = 0;
    for (const cJSON *d = data; cJSON_IsArray(d); d = d->child) rank++;
    Buf index;
    buf_init(&index);
    if (rank == 1) print_row(out, data, 1);
    else if (rank >= 2 && rank <= MOST_NESTING + 2) print_slices(out, data, rank, &index);
    buf_release(&index);
}

static void print_values(FILE *out, const cJSON *values) {
    Buf line;
    const cJSON *value;
    int i = 0;
    buf_init(&line);
    if (!cJSON_IsArray(values)) print_scalar(&line, values);
    cJSON_ArrayForEach(value, values) {
        if (i == MOST_VALUES) {
            buf_printf(&line, " … %d more", cJSON_GetArraySize(values) - MOST_VALUES);
            break;
        }
        if (i++) buf_putc(&line, ' ');
        print_scalar(&line, value);
    }
    fprintf(out, "  %s\n", buf_text(&line));
    buf_release(&line);
}

void cli_print_tensor(FILE *out, const char *title, const cJSON *tensor) {
    if (!cJSON_IsObject(tensor)) return; /* null: not asked for */
    const cJSON *values = cli_member(tensor, "values");
    const char *type = cli_member_text(tensor, "type");
    fprintf(out, "%s%s%s  ", title, *title && *type ? "  " : "", type);
    print_shape(out, cli_member(tensor, "shape"));
    fputc('\n', out);
    if (values) print_values(out, values);
    else print_data(out, cli_member(tensor, "data"));
}

static void print_line(FILE *out, const char *label, const char *text) { fprintf(out, "%-10s%s\n", label, text); }

static void print_variables(FILE *out, const char *label, const cJSON *list) {
    const cJSON *item;
    cJSON_ArrayForEach(item, list) {
        const char *name = cli_member_text(item, "name"), *type = cli_member_text(item, "type");
        bool smooth = cJSON_IsTrue(cli_member(item, "smooth")), arrow = smooth && strstr(type, "-o");
        fprintf(out, "%-10s%s%s%s%s%s%s  ", label, name, *name ? " : " : "", smooth ? "!" : "", arrow ? "(" : "", type,
                arrow ? ")" : "");
        if (cJSON_IsArray(cli_member(item, "shape"))) print_shape(out, cli_member(item, "shape"));
        fputc('\n', out);
    }
}

static void print_counts(FILE *out, const cJSON *record) {
    const cJSON *graph = cli_member(record, "graph"), *verified = cli_member(record, "verified"), *cached = cli_member(record, "cached");
    Buf line;
    buf_init(&line);
    static const struct {
        const char *key, *unit;
    } counts[] = {{"neurons", "neurons"}, {"weights", "weights"}, {"recurrent", "recurrent"}, {"macs", "multiply-adds a row"}};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        if (i) buf_puts(&line, ", ");
        print_scalar(&line, cli_member(graph, counts[i].key));
        buf_printf(&line, " %s", counts[i].unit);
    }
    print_line(out, "graph", buf_text(&line));
    buf_clear(&line);
    buf_printf(&line, "%.0f cases%s", cJSON_GetNumberValue(cli_member(verified, "cases")),
               cJSON_IsTrue(cli_member(verified, "exhaustive")) ? ", all there are" : "");
    print_line(out, "verified", buf_text(&line));
    buf_clear(&line);
    buf_printf(&line, "in %.0f us%s", cJSON_GetNumberValue(cli_member(record, "compile_us")),
               !cached ? "" : cJSON_IsTrue(cached) ? ", and kept: this time from the cache" : "");
    print_line(out, "compiled", buf_text(&line));
    buf_release(&line);
}

void cli_print_record(FILE *out, const cJSON *record) {
    print_line(out, "program", cli_member_text(record, "program"));
    print_line(out, "text", cli_member_text(record, "text"));
    print_line(out, "type", cli_member_text(record, "type"));
    print_variables(out, "input", cli_member(record, "inputs"));
    print_variables(out, "argument", cli_member(record, "args"));
    fprintf(out, "%-10s%s  ", "output", cli_member_text(cli_member(record, "output"), "type"));
    print_shape(out, cli_member(cli_member(record, "output"), "shape"));
    fputc('\n', out);
    print_counts(out, record);
}

static void print_members(FILE *out, const cJSON *object, Buf *path, int depth) {
    const cJSON *member;
    size_t len = path->len;
    cJSON_ArrayForEach(member, object) {
        if (len) buf_putc(path, '.');
        if (member->string) buf_puts(path, member->string);
        if ((cJSON_IsObject(member) || cJSON_IsArray(member)) && depth < MOST_NESTING) print_members(out, member, path, depth + 1);
        else {
            char cell[200];
            Buf text;
            buf_init(&text);
            print_scalar(&text, member);
            snprintf(cell, sizeof cell, "%s", buf_text(&text));
            buf_release(&text);
            fprintf(out, "%-20s %s\n", buf_text(path), cell);
        }
        path->len = len;
    }
}

void cli_print_members(FILE *out, const cJSON *object) {
    Buf path;
    buf_init(&path);
    print_members(out, object, &path, 0);
    buf_release(&path);
}

void cli_print_plain(FILE *out, const char *text) {
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        bool high = *c == 0xC2 && c[1] >= 0x80 && c[1] < 0xA0; /* U+0080 to U+009F, in UTF-8 */
        fputc(*c < 0x20 || *c == 0x7F || high ? '?' : *c, out);
        if (high) c++;
    }
}

/* The service does not know the file: its name goes in front of every place, " --> 1:15" and " --> /body/if", and in JSON what leads there. Of a
 * request that is a program, pointers begin at its term. */
static void print_place(FILE *out, const char *name, const CliProgram *program, const char *place, size_t len) {
    const bool text = isdigit((unsigned char)*place), term = program->json && !text && strncmp(place, "/context", 8) != 0;
    fprintf(out, "--> %s:", name);
    if (text && program->text) fprintf(out, "%s:", program->text);
    if (term) fputs(*place == '/' ? "/term" : "/term: ", out); /* "the whole term" */
    fprintf(out, "%.*s", (int)len, place);
}

static void print_rendered(FILE *out, const char *name, const CliProgram *program, const char *text) {
    while (*text) {
        size_t len = strcspn(text, "\n"), blanks = strspn(text, " ");
        if (strncmp(text + blanks, "--> ", 4) == 0) {
            fprintf(out, "%*s", (int)blanks, "");
            print_place(out, name, program, text + blanks + 4, len - blanks - 4);
        } else fwrite(text, 1, len, out);
        fputc('\n', out);
        text += len + (text[len] == '\n');
    }
}

static void print_diagnostic(FILE *out, const char *name, const char *message, const cJSON *diagnostic, const char *code) {
    const char *path = cli_member_text(diagnostic, "path"), *hint = cli_member_text(diagnostic, "hint");
    fprintf(out, "cajal: %s: %s%s", name, path, *path ? ": " : "");
    cli_print_plain(out, message);
    fprintf(out, " (%s)\n", code);
    if (*hint) fprintf(out, "  = help: %s\n", hint);
}

void cli_print_problem(FILE *out, const char *name, const CliProgram *program, ClientResponse *response) {
    const char *body = buf_text(&response->body);
    cJSON *problem = cJSON_Parse(body);
    const char *rendered = cli_member_text(problem, "rendered"), *code = cli_member_text(problem, "code");
    if (*rendered) print_rendered(out, name, program, rendered);
    else if (*code) print_diagnostic(out, name, cli_member_text(problem, "detail"), cJSON_GetArrayItem(cli_member(problem, "diagnostics"), 0), code);
    else fprintf(out, "cajal: the service answered with HTTP status %d: %.200s\n", response->status, body);
    if (response->status >= 500 && *code) fprintf(out, "cajal: request %s\n", cli_member_text(problem, "request_id"));
    cJSON_Delete(problem);
}
