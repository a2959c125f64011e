#include "client/cli.h"

ExitCode cli_judge(CliCall *call, ClientStatus status) {
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

void cli_print_raw(const CliCall *call) {
    const Buf *body = &call->response.body;
    if (!body->len) return;
    fwrite(body->data, 1, body->len, stdout);
    if (body->data[body->len - 1] != '\n') putchar('\n');
}

ExitCode cli_get(CliCall *call, const char *path) {
    return cli_judge(call, client_json(call->client, "GET", path, NULL, &call->response));
}

cJSON *cli_parse_answer(CliCall *call, ExitCode *code) {
    cJSON *answer = cJSON_Parse(buf_text(&call->response.body));
    if (cJSON_IsObject(answer)) return answer;
    cJSON_Delete(answer);
    fprintf(stderr, "cajal: the service's answer is not the JSON that was expected\n");
    *code = EXIT_FAILED;
    return NULL;
}

ExitCode cli_print_answer(CliCall *call, ExitCode code, void (*print)(const cJSON *answer)) {
    if (call->options->json) {
        cli_print_raw(call);
        return code;
    }
    if (code != EXIT_OK) return code;
    cJSON *answer = cli_parse_answer(call, &code);
    if (answer) print(answer);
    cJSON_Delete(answer);
    return code;
}
