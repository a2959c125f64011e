/* What the files of the `cajal` command share: its options, its exit codes, and who does what.
 *
 * Ownership: options point into argv; the lists' arrays are freed by cli_options_release.
 * Errors: functions that can end the command return an ExitCode, having said why on stderr. */
#ifndef CAJAL_CLI_H
#define CAJAL_CLI_H
#include "client/lib/client.h"
#include <cjson/cJSON.h>
#include <stdio.h>

typedef enum {
    EXIT_OK,
    EXIT_REFUSED,     /* the program, its arguments or the request: a 4xx */
    EXIT_USAGE,       /* the command line, or a file that cannot be read */
    EXIT_UNREACHABLE, /* no answer from the service */
    EXIT_FAILED,      /* the service failed: a 5xx, or an answer nobody understands */
    EXIT_NOT_DONE,    /* a run that was followed failed, was cancelled, or was left going */
} ExitCode;

typedef enum {
    COMMAND_COMPILE = 1, COMMAND_EVAL = 2, COMMAND_GRAD = 4, COMMAND_SHOW = 8, COMMAND_VERSION = 16,
    COMMAND_TRAIN = 32, COMMAND_RUNS = 64, COMMAND_WATCH = 128, COMMAND_CANCEL = 256, COMMAND_RESUME = 512, COMMAND_WEIGHTS = 1024,
    COMMAND_DATASET = 2048
} Command;

typedef struct {
    const char **items;
    size_t count;
} CliList;

typedef struct {
    Command command;
    CliList operands; /* the program unless `text`, then the arguments */
    CliList inputs, wrt;
    const char *text, *url, *nat_dim, *overflow, *dtype, *cotangent, *engine, *graph, *state, *step, *output, *rows;
    bool decode, matrix, watch, all, json, help;
} CliOptions;

/* cli_options.c */
ExitCode cli_options_parse(CliOptions *options, int argc, char **argv);
void cli_options_release(CliOptions *options);
bool cli_takes_program(const CliOptions *options); /* the command does */
/* Of one command; 0: of all. */
void cli_options_help(FILE *out, Command command);

/* cli_input.c: what the user gives */
/* "cajal: about: what" on stderr; EXIT_USAGE. */
ExitCode cli_complain(const char *about, const char *what);
/* May it become part of a path: a run's id, a data set's name? */
bool cli_is_word(const char *text, size_t len);
const char *cli_file_name(const char *path); /* as diagnostics call it: "-" is <stdin> */
bool cli_is_number(const char *text); /* a natural in decimal, below 10^18 */
/* Appends a file's bytes, "-" being standard input. More than `most` are an error. */
ExitCode cli_read(const char *path, size_t most, Buf *out);

/* cli_program.c: the request's body. `name` is what diagnostics call the program. */
typedef struct {
    const char *name;
    const char *text; /* where in the named file its text stands, a JSON Pointer; NULL: it is the file */
    const char *hash; /* "sha256:…" when the program is given so */
    char *content;    /* the file or -e's text; free() */
    size_t len;
    bool json;        /* content is a request in JSON, to be completed */
} CliProgram;
ExitCode cli_program_read(const CliOptions *options, CliProgram *program);
void cli_program_release(CliProgram *program);
/* Appends the body of POST /compile, or with `call` of /eval and /grad. */
ExitCode cli_program_body(const CliOptions *options, const CliProgram *program, bool call, Buf *out);
/* The operands after the program. */
CliList cli_program_args(const CliOptions *options);

/* cli_member.c: members of an answer; one that is missing or of another kind is NULL, "" or 0 */
const cJSON *cli_member(const cJSON *object, const char *key);
const char *cli_member_text(const cJSON *object, const char *key);
double cli_member_number(const cJSON *object, const char *key);

/* cli_print.c: answers for people */
void cli_print_record(FILE *out, const cJSON *record);
/* {"type","shape","data"} with an optional "values": the decoded ones instead of the numbers */
void cli_print_tensor(FILE *out, const char *title, const cJSON *tensor);
/* Any object of scalars, a line a member; nested ones by their path. */
void cli_print_members(FILE *out, const cJSON *object);
/* A problem+json, or whatever else came instead of an answer. `name`: what the places are in. */
void cli_print_problem(FILE *out, const char *name, const CliProgram *program, ClientResponse *response);
/* Text from the service, without what a terminal would obey. */
void cli_print_plain(FILE *out, const char *text);

/* cli_call.c: one command under way */
typedef struct {
    const CliOptions *options;
    Client *client;
    CliProgram program;
    ClientResponse response;
    Buf body;
} CliCall;
/* What the answer means for the exit code; says on stderr what there is to say. */
ExitCode cli_judge(CliCall *call, ClientStatus status);
ExitCode cli_get(CliCall *call, const char *path);
/* The answer as it came, for --json and for forms that are not ours to lay out. */
void cli_print_raw(const CliCall *call);
/* The last answer as JSON; NULL, and the exit code, when it is none. */
cJSON *cli_parse_answer(CliCall *call, ExitCode *code);
/* Prints it raw with --json; else, when code is EXIT_OK, by `print`. */
ExitCode cli_print_answer(CliCall *call, ExitCode code, void (*print)(const cJSON *answer));

/* A list of records under `key` of the answers to GET path (with a query that pages can be added to): `head`, then each by `print`. One page, or
 * with --all every one. */
ExitCode cli_list(CliCall *call, const char *path, const char *key, const char *head, void (*print)(const cJSON *record));

/* cli_runs.c: the commands about runs */
ExitCode cli_runs_run(CliCall *call);

/* cli_dataset.c: dataset put, list, show and rm */
ExitCode cli_dataset_run(CliCall *call);

/* cli_watch.c: follows a run's events until it ends, on a terminal with a progress bar; Ctrl-C leaves the run going. */
ExitCode cli_watch(CliCall *call, const char *run);

/* cli_commands.c */
ExitCode cli_commands_run(const CliOptions *options);
#endif
