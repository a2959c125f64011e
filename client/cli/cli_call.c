#include "client/cli/cli.h"
#include <string.h>

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
    cli_print_problem(stderr, call->program.name ? call->program.name : client_url(call->client), &call->program, &call->response);
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

/* Prints a page, below `head` unless that is NULL; the token of the next one goes to `token`, "" when there is none. */
static ExitCode list_page(CliCall *call, const char *path, const char *key, const char *head, void (*print)(const cJSON *record), char token[101]) {
    ExitCode code = cli_get(call, path);
    cJSON *answer = code == EXIT_OK ? cli_parse_answer(call, &code) : NULL;
    const char *next = cli_member_text(answer, "next_page_token");
    const cJSON *record;
    bool good = cli_is_word(next, strlen(next));
    snprintf(token, 101, "%s", good ? next : "");
    if (answer && call->options->json) cli_print_raw(call);
    else if (answer) {
        if (head) printf("%s\n", head);
        cJSON_ArrayForEach(record, cli_member(answer, key)) print(record);
    }
    cJSON_Delete(answer);
    return code;
}

ExitCode cli_list(CliCall *call, const char *path, const char *key, const char *head, void (*print)(const cJSON *record)) {
    char token[101] = "", page[400];
    ExitCode code;
    do {
        snprintf(page, sizeof page, "%s%s%s", path, *token ? "&page_token=" : "", token);
        code = list_page(call, page, key, head, print, token);
        head = NULL;
    } while (code == EXIT_OK && *token && call->options->all);
    if (code == EXIT_OK && *token && !call->options->json) printf("… and older ones: --all\n");
    return code;
}
