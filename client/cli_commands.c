#include "client/cli.h"
#include <string.h>

/* One command under way. */
typedef struct {
    const CliOptions *options;
    Client *client;
    CliProgram program;
    ClientResponse response;
    Buf body;
} Call;

/* What the answer means for the exit code; says on stderr what there is to say. */
static ExitCode judge(Call *call, ClientStatus status) {
    if (status == CLIENT_BAD_URL || status == CLIENT_NO_MEMORY) {
        fprintf(stderr, "cajal: %s\n", client_error(call->client));
        return EXIT_USAGE;
    }
    if (status != CLIENT_OK) {
        fprintf(stderr, "cajal: no answer from the service: %s\n", client_error(call->client));
        return EXIT_UNREACHABLE;
    }
    int http = call->response.status;
    if (http >= 200 && http < 300) return EXIT_OK;
    cli_print_problem(stderr, call->program.name ? call->program.name : client_url(call->client), &call->response);
    return http >= 400 && http < 500 ? EXIT_REFUSED : EXIT_FAILED;
}

/* The answer as it came, for --json and for forms that are not ours to lay out. */
static void print_raw(Call *call) {
    const Buf *body = &call->response.body;
    if (!body->len) return;
    fwrite(body->data, 1, body->len, stdout);
    if (body->data[body->len - 1] != '\n') putchar('\n');
}

static ExitCode get_json(Call *call, const char *path) {
    return judge(call, client_json(call->client, "GET", path, NULL, &call->response));
}

static ExitCode post(Call *call, const char *path, bool is_call) {
    ExitCode code = cli_program_body(call->options, &call->program, is_call, &call->body);
    if (code != EXIT_OK) return code;
    return judge(call, client_json(call->client, "POST", path, buf_text(&call->body), &call->response));
}

/* The last answer as JSON; NULL, and the exit code, when it is none. */
static cJSON *parse_answer(Call *call, ExitCode *code) {
    cJSON *answer = cJSON_Parse(buf_text(&call->response.body));
    if (cJSON_IsObject(answer)) return answer;
    cJSON_Delete(answer);
    fprintf(stderr, "cajal: the service's answer is not the JSON that was expected\n");
    *code = EXIT_FAILED;
    return NULL;
}

typedef void PrintAnswer(const cJSON *answer);

static ExitCode print_answer(Call *call, ExitCode code, PrintAnswer *print) {
    if (call->options->json) {
        print_raw(call);
        return code;
    }
    if (code != EXIT_OK) return code;
    cJSON *answer = parse_answer(call, &code);
    if (answer) print(answer);
    cJSON_Delete(answer);
    return code;
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
static ExitCode find_hash(Call *call, char hash[HASH_TEXT]) {
    ExitCode code = EXIT_OK;
    const char *text = call->program.hash;
    cJSON *answer = NULL;
    if (!text) {
        code = post(call, "/compile", false);
        if (code == EXIT_OK) answer = parse_answer(call, &code);
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

static ExitCode run_show(Call *call) {
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
        code = judge(call, client_request(call->client, "GET", path, NULL, NULL, 0, &call->response));
        if (code == EXIT_OK) print_raw(call);
        return code;
    }
    snprintf(path, sizeof path, "/programs/%s%s", hash, options->matrix ? "/matrix" : "");
    return print_answer(call, get_json(call, path), options->matrix ? print_matrix : print_record);
}

static ExitCode run_command(Call *call) {
    ExitCode code = EXIT_OK;
    if (call->options->command == COMMAND_VERSION) return print_answer(call, get_json(call, "/version"), print_versions);
    code = cli_program_read(call->options, &call->program);
    if (code != EXIT_OK) return code;
    switch (call->options->command) {
    case COMMAND_EVAL: return print_answer(call, post(call, "/eval", true), print_tensor);
    case COMMAND_GRAD: return print_answer(call, post(call, "/grad", true), print_gradients);
    case COMMAND_SHOW: return run_show(call);
    default: break;
    }
    if (call->program.hash) {
        fprintf(stderr, "cajal: a hash is compiled already; try: cajal show %s\n", call->program.hash);
        return EXIT_USAGE;
    }
    return print_answer(call, post(call, "/compile", false), print_record);
}

ExitCode cli_commands_run(const CliOptions *options) {
    Call call = {.options = options, .client = client_new(options->url, NULL)};
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
