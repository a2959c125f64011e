#include "client/cli/cli.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

#define HEAD "run              state                 step  name"

static bool is_word(const char *text) { return cli_is_word(text, strlen(text)); }

static ExitCode refuse(const char *what, const char *text) {
    fprintf(stderr, "cajal: not a %s: %s\n", what, text);
    return EXIT_USAGE;
}

/* The run's id in the last answer; it is checked: it becomes part of a path. */
static ExitCode answered_run(CliCall *call, char id[101]) {
    ExitCode code = EXIT_OK;
    cJSON *answer = cli_parse_answer(call, &code);
    const char *text = cli_member_text(answer, "id");
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
    const char *path = call->options->operands.items[0];
    const char *headers[] = {"Accept: application/json", "Content-Type: application/json", NULL};
    ExitCode code = cli_read(path, LIMIT_JSON_BYTES, &call->body);
    if (code != EXIT_OK) return code;
    call->program.name = cli_file_name(path); /* what a diagnostic calls it */
    call->program.text = "/program/source";
    return started(call, cli_judge(call, client_request(call->client, "POST", "/runs", headers, call->body.data, call->body.len, &call->response)));
}

/* ---- one and all ---- */

static void print_line(const cJSON *run) {
    char steps[48];
    snprintf(steps, sizeof steps, "%.0f/%.0f", cli_member_number(run, "step"), cli_member_number(run, "steps"));
    printf("%-16s %-10s %15s  ", cli_member_text(run, "id"), cli_member_text(run, "state"), steps);
    cli_print_plain(stdout, cli_member_text(run, "name"));
    putchar('\n');
}

static ExitCode list_runs(CliCall *call) {
    const char *state = call->options->state;
    char path[200];
    if (state && !is_word(state)) return refuse("state", state);
    snprintf(path, sizeof path, "/runs?limit=100%s%s", state ? "&state=" : "", state ? state : "");
    return cli_list(call, path, "runs", HEAD, print_line);
}

static void print_text(const cJSON *run, const char *key) {
    const char *text = cli_member_text(run, key);
    if (!*text) return;
    printf("%-14s ", key);
    cli_print_plain(stdout, text);
    putchar('\n');
}

static void print_run(const cJSON *run) {
    static const char *const texts[] = {"id", "name", "state", "reason", "created", "started", "ended", "program"};
    const cJSON *data, *latest, *step;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) print_text(run, texts[i]);
    printf("%-14s %.0f of %.0f\n", "step", cli_member_number(run, "step"), cli_member_number(run, "steps"));
    printf("%-14s %.0f\n", "parameters", cli_member_number(run, "parameters"));
    cJSON_ArrayForEach(data, cli_member(run, "data"))
        printf("%-14s %s, %.0f rows\n", data->string, cli_member_text(data, "name"), cli_member_number(data, "rows"));
    cJSON_ArrayForEach(latest, cli_member(run, "latest")) {
        if (cJSON_IsNumber(latest)) printf("%-14s %.6g\n", latest->string, latest->valuedouble);
        else print_text(cli_member(run, "latest"), latest->string); /* NaN */
    }
    printf("%-14s", "checkpoints");
    cJSON_ArrayForEach(step, cli_member(run, "checkpoints")) printf(" %.0f", step->valuedouble);
    putchar('\n');
}

static ExitCode show_run(CliCall *call, const char *run) {
    char path[160];
    if (call->options->state || call->options->all) return cli_complain(run, "--state and --all are for the list of runs");
    snprintf(path, sizeof path, "/runs/%s", run);
    return cli_print_answer(call, cli_get(call, path), print_run);
}

/* ---- actions ---- */

static void print_state(const cJSON *run) {
    const char *id = cli_member_text(run, "id"), *state = cli_member_text(run, "state");
    printf("%s: %s, step %.0f of %.0f\n", id, state, cli_member_number(run, "step"), cli_member_number(run, "steps"));
}

static ExitCode act(CliCall *call, const char *run, const char *action) {
    char path[160];
    snprintf(path, sizeof path, "/runs/%s/%s", run, action);
    return cli_judge(call, client_json(call->client, "POST", path, NULL, &call->response));
}

static ExitCode save(const CliCall *call) {
    const Buf *body = &call->response.body;
    const char *path = call->options->output;
    bool file = path && strcmp(path, "-") != 0;
    FILE *out = file ? fopen(path, "wb") : stdout;
    bool ok = out && fwrite(body->data, 1, body->len, out) == body->len && fflush(out) == 0;
    if (file && out && fclose(out) != 0) ok = false;
    return ok ? EXIT_OK : cli_complain(file ? path : "standard output", strerror(errno));
}

static ExitCode save_weights(CliCall *call, const char *run) {
    const char *step = call->options->step;
    const char *headers[] = {"Accept: application/vnd.safetensors", NULL};
    char path[200];
    if (step && !cli_is_number(step)) return refuse("step", step);
    if (!call->options->output && isatty(STDOUT_FILENO))
        return cli_complain("weights", "are no text for a terminal: -o FILE, or -o - if you mean it");
    snprintf(path, sizeof path, "/runs/%s/weights%s%s", run, step ? "?step=" : "", step ? step : "");
    ExitCode code = cli_judge(call, client_request(call->client, "GET", path, headers, NULL, 0, &call->response));
    return code == EXIT_OK ? save(call) : code;
}

ExitCode cli_runs_run(CliCall *call) {
    CliList operands = call->options->operands;
    if (call->options->command == COMMAND_TRAIN) return run_train(call);
    if (!operands.count) return list_runs(call);
    const char *run = operands.items[0];
    if (!is_word(run)) return refuse("run's id", run);
    call->program.name = run; /* what a diagnostic is about */
    switch (call->options->command) {
    case COMMAND_RUNS: return show_run(call, run);
    case COMMAND_WATCH: return cli_watch(call, run);
    case COMMAND_RESUME: return started(call, act(call, run, "resume"));
    case COMMAND_WEIGHTS: return save_weights(call, run);
    default: return cli_print_answer(call, act(call, run, "cancel"), print_state);
    }
}
