#include "client/cli/cli.h"
#include <string.h>

static ExitCode post(CliCall *call, const char *path, bool is_call) {
    ExitCode code = cli_program_body(call->options, &call->program, is_call, &call->body);
    if (code != EXIT_OK) return code;
    return cli_judge(call, client_json(call->client, "POST", path, buf_text(&call->body), &call->response));
}

static void print_record(const cJSON *answer) { cli_print_record(stdout, answer); }
static void print_tensor(const cJSON *answer) { cli_print_tensor(stdout, "", answer); }
static void print_matrix(const cJSON *answer) { cli_print_tensor(stdout, "matrix", answer); }
static void print_versions(const cJSON *answer) { cli_print_members(stdout, answer); }

static void print_gradients(const cJSON *answer) {
    const cJSON *grads = cJSON_GetObjectItemCaseSensitive(answer, "grads"), *grad;
    char title[200];
    int position = 0;
    cli_print_tensor(stdout, "output", cJSON_GetObjectItemCaseSensitive(answer, "output"));
    cJSON_ArrayForEach(grad, cJSON_GetObjectItemCaseSensitive(grads, "inputs")) {
        snprintf(title, sizeof title, "gradient by %s", grad->string);
        cli_print_tensor(stdout, title, grad);
    }
    cJSON_ArrayForEach(grad, cJSON_GetObjectItemCaseSensitive(grads, "args")) {
        snprintf(title, sizeof title, "gradient by argument %d", position++);
        cli_print_tensor(stdout, title, grad);
    }
}

enum { HASH_TEXT = 7 + 64 + 1 };

static bool is_hash(const char *text) {
    return text && strncmp(text, "sha256:", 7) == 0 && strspn(text + 7, "0123456789abcdef") == 64 && !text[HASH_TEXT - 1];
}

/* The program's hash, compiling it first where the source was given. It is checked: it becomes part of a path. */
static ExitCode find_hash(CliCall *call, char hash[HASH_TEXT]) {
    ExitCode code = EXIT_OK;
    const char *text = call->program.hash;
    cJSON *answer = NULL;
    if (!text) {
        code = post(call, "/compile", false);
        if (code == EXIT_OK) answer = cli_parse_answer(call, &code);
        text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(answer, "program"));
    }
    bool good = is_hash(text);
    snprintf(hash, HASH_TEXT, "%s", good ? text : "");
    if (code == EXIT_OK && !good) {
        fprintf(stderr, "cajal: not a program's hash: %s\n", text ? text : "");
        code = EXIT_USAGE;
    }
    cJSON_Delete(answer);
    return code;
}

static ExitCode run_show(CliCall *call) {
    const CliOptions *options = call->options;
    char hash[HASH_TEXT], path[HASH_TEXT + 60];
    ExitCode code = find_hash(call, hash);
    if (code != EXIT_OK) return code;
    if (options->graph) {
        if (strspn(options->graph, "abcdefghijklmnopqrstuvwxyz") != strlen(options->graph) || strlen(options->graph) > 20) {
            fprintf(stderr, "cajal: --graph: dot, json or svg\n");
            return EXIT_USAGE;
        }
        snprintf(path, sizeof path, "/programs/%s/graph?format=%s", hash, options->graph);
        code = cli_judge(call, client_request(call->client, "GET", path, NULL, NULL, 0, &call->response));
        if (code == EXIT_OK) cli_print_raw(call);
        return code;
    }
    snprintf(path, sizeof path, "/programs/%s%s", hash, options->matrix ? "/matrix" : "");
    return cli_print_answer(call, cli_get(call, path), options->matrix ? print_matrix : print_record);
}

static ExitCode run_command(CliCall *call) {
    ExitCode code = EXIT_OK;
    if (call->options->command == COMMAND_VERSION) return cli_print_answer(call, cli_get(call, "/version"), print_versions);
    if (call->options->command == COMMAND_DATASET) return cli_dataset_run(call);
    if (!cli_takes_program(call->options)) return cli_runs_run(call);
    code = cli_program_read(call->options, &call->program);
    if (code != EXIT_OK) return code;
    switch (call->options->command) {
    case COMMAND_EVAL: return cli_print_answer(call, post(call, "/eval", true), print_tensor);
    case COMMAND_GRAD: return cli_print_answer(call, post(call, "/grad", true), print_gradients);
    case COMMAND_SHOW: return run_show(call);
    default: break;
    }
    if (call->program.hash) {
        fprintf(stderr, "cajal: a hash is compiled already; try: cajal show %s\n", call->program.hash);
        return EXIT_USAGE;
    }
    return cli_print_answer(call, post(call, "/compile", false), print_record);
}

ExitCode cli_commands_run(const CliOptions *options) {
    CliCall call = {.options = options, .client = client_new(options->url, NULL)};
    if (!call.client) {
        fprintf(stderr, "cajal: out of memory\n");
        return EXIT_USAGE;
    }
    ExitCode code = run_command(&call);
    client_free(call.client);
    cli_program_release(&call.program);
    client_response_release(&call.response);
    buf_release(&call.body);
    return code;
}
