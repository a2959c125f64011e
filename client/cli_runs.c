#include "client/cli.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const cJSON *get(const cJSON *object, const char *key) { return cJSON_GetObjectItemCaseSensitive(object, key); }
static const char *text_of(const cJSON *object, const char *key) {
    const char *text = cJSON_GetStringValue(get(object, key));
    return text ? text : "";
}
static double number_of(const cJSON *object, const char *key) {
    const cJSON *v = get(object, key);
    return cJSON_IsNumber(v) ? v->valuedouble : 0;
}

/* What becomes part of a path must not be able to change it. */
static bool is_word(const char *text) {
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)text[i]) && !strchr("._-", text[i])) return false;
    return len > 0 && len <= 100 && text[0] != '.';
}

static ExitCode refuse(const char *what, const char *text) {
    fprintf(stderr, "cajal: not a %s: %s\n", what, text);
    return EXIT_USAGE;
}

static bool read_all(FILE *in, Buf *out) {
    char chunk[65536];
    size_t n;
    out->cap = LIMIT_JSON_BYTES;
    while ((n = fread(chunk, 1, sizeof chunk, in)) > 0) buf_put(out, chunk, n);
    return !ferror(in) && !out->failed;
}

static ExitCode read_spec(CliCall *call, const char *path) {
    FILE *in = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    bool ok = in && read_all(in, &call->body);
    if (!ok) perror(path);
    if (in && in != stdin) fclose(in);
    call->program.name = path; /* what a diagnostic calls it */
    return ok ? EXIT_OK : EXIT_USAGE;
}

/* The run's id in the last answer; it is checked: it becomes part of a path. */
static ExitCode answered_run(CliCall *call, char id[101]) {
    ExitCode code = EXIT_OK;
    cJSON *answer = cli_parse_answer(call, &code);
    const char *text = text_of(answer, "id");
    if (code == EXIT_OK && !is_word(text)) code = refuse("run's id", text);
    snprintf(id, 101, "%s", code == EXIT_OK ? text : "");
    cJSON_Delete(answer);
    return code;
}

/* After a run was started or taken up again: its id, and with --watch what becomes of it. */
static ExitCode started(CliCall *call, ExitCode code) {
    char id[101];
    if (code != EXIT_OK) return code;
    if (call->options->json) cli_print_raw(call);
    code = answered_run(call, id);
    if (code != EXIT_OK) return code;
    if (call->options->watch) return cli_watch(call, id);
    if (!call->options->json) printf("%s\n", id);
    if (isatty(STDERR_FILENO)) fprintf(stderr, "To follow it: cajal watch %s\n", id);
    return EXIT_OK;
}

static ExitCode run_train(CliCall *call) {
    ExitCode code = read_spec(call, call->options->operands.items[0]);
    if (code != EXIT_OK) return code;
    const char *headers[] = {"Accept: application/json", "Content-Type: application/json", NULL};
    return started(call, cli_judge(call, client_request(call->client, "POST", "/runs", headers, call->body.data, call->body.len, &call->response)));
}

static void print_runs(const cJSON *answer) {
    const cJSON *run, *runs = get(answer, "runs");
    printf("%-16s %-10s %15s  %s\n", "run", "state", "step", "name");
    cJSON_ArrayForEach(run, runs) {
        char steps[48];
        snprintf(steps, sizeof steps, "%.0f/%.0f", number_of(run, "step"), number_of(run, "steps"));
        printf("%-16s %-10s %15s  %s\n", text_of(run, "id"), text_of(run, "state"), steps, text_of(run, "name"));
    }
    if (cJSON_IsString(get(answer, "next_page_token"))) printf("… and older ones\n");
}

static ExitCode list_runs(CliCall *call) {
    const char *state = call->options->state;
    char path[200];
    if (state && !is_word(state)) return refuse("state", state);
    snprintf(path, sizeof path, "/runs?limit=100%s%s", state ? "&state=" : "", state ? state : "");
    return cli_print_answer(call, cli_get(call, path), print_runs);
}

static void print_state(const cJSON *answer) {
    printf("%s: %s, step %.0f of %.0f\n", text_of(answer, "id"), text_of(answer, "state"), number_of(answer, "step"), number_of(answer, "steps"));
}

static ExitCode act(CliCall *call, const char *run, const char *action) {
    char path[160];
    snprintf(path, sizeof path, "/runs/%s/%s", run, action);
    return cli_judge(call, client_json(call->client, "POST", path, NULL, &call->response));
}

static ExitCode save(const CliCall *call) {
    const Buf *body = &call->response.body;
    const char *path = call->options->output;
    FILE *out = path && strcmp(path, "-") != 0 ? fopen(path, "wb") : stdout;
    bool ok = out && fwrite(body->data, 1, body->len, out) == body->len && fflush(out) == 0;
    if (!ok) perror(path ? path : "cajal: standard output");
    if (out && out != stdout && fclose(out) != 0 && ok) {
        perror(path);
        ok = false;
    }
    return ok ? EXIT_OK : EXIT_USAGE;
}

static ExitCode save_weights(CliCall *call, const char *run) {
    const char *step = call->options->step;
    char path[200];
    if (step && (strspn(step, "0123456789") != strlen(step) || !*step || strlen(step) > 20)) return refuse("step", step);
    snprintf(path, sizeof path, "/runs/%s/weights%s%s", run, step ? "?step=" : "", step ? step : "");
    const char *headers[] = {"Accept: application/vnd.safetensors", NULL};
    ExitCode code = cli_judge(call, client_request(call->client, "GET", path, headers, NULL, 0, &call->response));
    return code == EXIT_OK ? save(call) : code;
}

ExitCode cli_runs_run(CliCall *call) {
    if (call->options->command == COMMAND_TRAIN) return run_train(call);
    if (call->options->command == COMMAND_RUNS) return list_runs(call);
    const char *run = call->options->operands.items[0];
    if (!is_word(run)) return refuse("run's id", run);
    switch (call->options->command) {
    case COMMAND_WATCH: return cli_watch(call, run);
    case COMMAND_RESUME: return started(call, act(call, run, "resume"));
    case COMMAND_WEIGHTS: return save_weights(call, run);
    default: return cli_print_answer(call, act(call, run, "cancel"), print_state);
    }
}
