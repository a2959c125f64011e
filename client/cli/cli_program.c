#include "client/cli/cli.h"
#include <stdlib.h>
#include <string.h>

static ExitCode read_file(const char *path, CliProgram *program) {
    Buf text;
    buf_init(&text);
    program->name = cli_file_name(path);
    ExitCode code = cli_read(path, LIMIT_JSON_BYTES, &text);
    program->content = buf_take(&text, &program->len);
    if (code != EXIT_OK) return code;
    if (!program->content) return cli_complain(program->name, "out of memory");
    return memchr(program->content, 0, program->len) ? cli_complain(program->name, "is no text: it holds a NUL byte") : EXIT_OK;
}

static bool ends_with(const char *text, const char *end) {
    size_t a = strlen(text), b = strlen(end);
    return a >= b && strcmp(text + a - b, end) == 0;
}

ExitCode cli_program_read(const CliOptions *options, CliProgram *program) {
    *program = (CliProgram){.name = options->text ? "<text>" : options->operands.items[0]};
    if (!options->text && strncmp(program->name, "sha256:", 7) == 0) {
        program->hash = program->name;
        return EXIT_OK;
    }
    ExitCode code = EXIT_OK;
    if (options->text) {
        program->content = strdup(options->text);
        program->len = strlen(options->text);
        if (!program->content) code = cli_complain(program->name, "out of memory");
    } else code = read_file(options->operands.items[0], program);
    if (code != EXIT_OK) return code;
    const char *first = program->content + strspn(program->content, " \t\r\n");
    program->json = *first == '{' || ends_with(program->name, ".json"); /* no program's text begins with a brace */
    if (program->json) program->text = "/source";
    return EXIT_OK;
}

void cli_program_release(CliProgram *program) { free(program->content); }

CliList cli_program_args(const CliOptions *options) {
    size_t skip = options->text ? 0 : 1;
    if (options->operands.count <= skip) return (CliList){0};
    return (CliList){.items = options->operands.items + skip, .count = options->operands.count - skip};
}

static bool is_json(const char *text) {
    cJSON *value = cJSON_ParseWithOpts(text, NULL, true);
    cJSON_Delete(value);
    return value != NULL;
}

static void put_string(Buf *out, const char *text) {
    cJSON *value = cJSON_CreateString(text);
    char *printed = value ? cJSON_PrintUnformatted(value) : NULL;
    if (printed) buf_puts(out, printed);
    else out->failed = true;
    cJSON_free(printed);
    cJSON_Delete(value);
}

static void put_key(Buf *out, const char *key) {
    if (out->len && out->data[out->len - 1] != '{') buf_puts(out, ", ");
    put_string(out, key);
    buf_puts(out, ": ");
}

static void put_text_option(Buf *out, const char *key, const char *value) {
    if (!value) return;
    put_key(out, key);
    put_string(out, value);
}

/* A value from the command line goes into the request as it was written, so that no digit of a number is lost. */
static ExitCode put_json_option(Buf *out, const char *what, const char *value) {
    if (!is_json(value)) {
        fprintf(stderr, "cajal: %s: not JSON: %s\n", what, value);
        return EXIT_USAGE;
    }
    buf_puts(out, value);
    return EXIT_OK;
}

static ExitCode put_inputs(Buf *out, CliList inputs) {
    put_key(out, "inputs");
    buf_putc(out, '{');
    for (size_t i = 0; i < inputs.count; i++) {
        const char *item = inputs.items[i], *equals = strchr(item, '=');
        char *name = equals ? strndup(item, (size_t)(equals - item)) : NULL;
        if (!name) return cli_complain("--input", "wants NAME=JSON");
        put_key(out, name);
        free(name);
        ExitCode code = put_json_option(out, "--input", equals + 1);
        if (code != EXIT_OK) return code;
    }
    buf_putc(out, '}');
    return EXIT_OK;
}

static ExitCode put_args(Buf *out, CliList args) {
    put_key(out, "args");
    buf_putc(out, '[');
    for (size_t i = 0; i < args.count; i++) {
        if (i) buf_puts(out, ", ");
        ExitCode code = put_json_option(out, "argument", args.items[i]);
        if (code != EXIT_OK) return code;
    }
    buf_putc(out, ']');
    return EXIT_OK;
}

/* An argument by position, an input by name. */
static void put_wrt(Buf *out, CliList wrt) {
    put_key(out, "wrt");
    buf_putc(out, '[');
    for (size_t i = 0; i < wrt.count; i++) {
        if (i) buf_puts(out, ", ");
        if (cli_is_number(wrt.items[i])) buf_puts(out, wrt.items[i]);
        else put_string(out, wrt.items[i]);
    }
    buf_putc(out, ']');
}

static ExitCode put_nat(const CliOptions *options, Buf *out) {
    if (!options->nat_dim && !options->overflow) return EXIT_OK;
    if (options->nat_dim && !cli_is_number(options->nat_dim)) return cli_complain("--nat-dim", "wants a natural number");
    put_key(out, "nat");
    buf_putc(out, '{');
    if (options->nat_dim) {
        put_key(out, "dim");
        buf_puts(out, options->nat_dim);
    }
    put_text_option(out, "overflow", options->overflow);
    buf_putc(out, '}');
    return EXIT_OK;
}

/* The members of a request in a file, as they stand there. */
static ExitCode put_members(const CliProgram *program, Buf *out) {
    cJSON *request = cJSON_ParseWithOpts(program->content, NULL, true);
    bool object = cJSON_IsObject(request), empty = !object || !request->child;
    cJSON_Delete(request);
    if (!object) return cli_complain(program->name, "is not a JSON object");
    if (empty) return EXIT_OK;
    const char *begin = strchr(program->content, '{') + 1, *end = strrchr(program->content, '}');
    buf_put(out, begin, (size_t)(end - begin));
    return EXIT_OK;
}

static ExitCode put_program(const CliProgram *program, Buf *out) {
    if (program->json) return put_members(program, out);
    put_text_option(out, program->hash ? "program" : "source", program->hash ? program->hash : program->content);
    return EXIT_OK;
}

static ExitCode put_call(const CliOptions *options, const CliProgram *program, Buf *out) {
    CliList args = cli_program_args(options);
    ExitCode code = EXIT_OK;
    if (options->inputs.count) code = put_inputs(out, options->inputs);
    /* a request in a file may bring its own arguments */
    if (code == EXIT_OK && (args.count || !program->json)) code = put_args(out, args);
    put_text_option(out, "dtype", options->dtype);
    put_text_option(out, "engine", options->engine);
    if (options->decode) {
        put_key(out, "decode");
        buf_puts(out, "true");
    }
    if (code == EXIT_OK && options->cotangent) {
        put_key(out, "cotangent");
        code = put_json_option(out, "--cotangent", options->cotangent);
    }
    if (options->wrt.count) put_wrt(out, options->wrt);
    return code;
}

ExitCode cli_program_body(const CliOptions *options, const CliProgram *program, bool call, Buf *out) {
    buf_putc(out, '{');
    ExitCode code = put_program(program, out);
    if (code == EXIT_OK) code = put_nat(options, out);
    if (code == EXIT_OK && call) code = put_call(options, program, out);
    buf_putc(out, '}');
    if (code == EXIT_OK && out->failed) code = cli_complain(program->name, "out of memory");
    return code;
}
