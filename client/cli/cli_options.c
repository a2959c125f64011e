#include "client/cli/cli.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    Command command;
    const char *name, *operands, *help;
    size_t least, most; /* operands; those that take a program count its arguments only */
} CommandRow;
static const CommandRow commands[] = {
    {COMMAND_COMPILE, "compile", "PROGRAM", "compile a program: its hash, type and neurons", 0, 0},
    {COMMAND_EVAL, "eval", "PROGRAM [ARG...]", "run it on arguments", 0, SIZE_MAX},
    {COMMAND_GRAD, "grad", "PROGRAM [ARG...]", "run it and differentiate (a VJP)", 0, SIZE_MAX},
    {COMMAND_SHOW, "show", "PROGRAM", "what the service knows of it; its graph or matrix", 0, 0},
    {COMMAND_DATASET, "dataset", "put|list|show|rm", "keep data: put NAME [COLUMN=]FILE..., list, show NAME, rm NAME", 1, SIZE_MAX},
    {COMMAND_TRAIN, "train", "SPEC", "start a run from its specification, a JSON file (- is standard input)", 1, 1},
    {COMMAND_RUNS, "runs", "[RUN]", "list the runs, newest first; or tell about one", 0, 1},
    {COMMAND_WATCH, "watch", "RUN", "follow a run until it ends", 1, 1},
    {COMMAND_CANCEL, "cancel", "RUN", "stop a run; what it has learned is kept", 1, 1},
    {COMMAND_RESUME, "resume", "RUN", "go on with a cancelled or failed run", 1, 1},
    {COMMAND_WEIGHTS, "weights", "RUN", "save a run's weights as safetensors", 1, 1},
    {COMMAND_VERSION, "version", "", "versions of this client and of the service", 0, 0},
};

enum { TAKES_PROGRAM = COMMAND_COMPILE | COMMAND_EVAL | COMMAND_GRAD | COMMAND_SHOW, CALLS = COMMAND_EVAL | COMMAND_GRAD };
enum { FOLLOWS = COMMAND_TRAIN | COMMAND_RESUME, ABOUT_RUNS = FOLLOWS | COMMAND_RUNS | COMMAND_WATCH | COMMAND_CANCEL | COMMAND_WEIGHTS };
enum { ANY = TAKES_PROGRAM | ABOUT_RUNS | COMMAND_DATASET | COMMAND_VERSION };

typedef enum { TAKES_NOTHING, TAKES_TEXT, TAKES_LIST } Takes;
typedef struct {
    const char *name, *value; /* value: what the help calls it */
    Takes takes;
    size_t offset;
    int commands;
    const char *help;
} OptionRow;
#define AT_FIELD(field) offsetof(CliOptions, field)
static const OptionRow rows[] = {
    {"-e", "TEXT", TAKES_TEXT, AT_FIELD(text), TAKES_PROGRAM, "the program itself, in place of PROGRAM"},
    {"--input", "NAME=JSON", TAKES_LIST, AT_FIELD(inputs), CALLS, "the value of a context variable; repeat for more"},
    {"--dtype", "f32|f64", TAKES_TEXT, AT_FIELD(dtype), CALLS, "precision (default f32)"},
    {"--decode", NULL, TAKES_NOTHING, AT_FIELD(decode), COMMAND_EVAL, "print booleans and naturals, not vectors"},
    {"--engine", "NAME", TAKES_TEXT, AT_FIELD(engine), COMMAND_EVAL, "`interpreter`: run the reference interpreter"},
    {"--cotangent", "JSON", TAKES_TEXT, AT_FIELD(cotangent), COMMAND_GRAD, "a tensor like the output (default: ones)"},
    {"--wrt", "NAME|POSITION", TAKES_LIST, AT_FIELD(wrt), COMMAND_GRAD,
     "differentiate by this input or argument only; repeat for more"},
    {"--nat-dim", "N", TAKES_TEXT, AT_FIELD(nat_dim), TAKES_PROGRAM, "size of a natural that nothing else bounds (default 10)"},
    {"--overflow", "MODE", TAKES_TEXT, AT_FIELD(overflow), TAKES_PROGRAM, "exact (default), drop or saturate"},
    {"--graph", "FORM", TAKES_TEXT, AT_FIELD(graph), COMMAND_SHOW, "print the neuron graph: dot, json or svg"},
    {"--matrix", NULL, TAKES_NOTHING, AT_FIELD(matrix), COMMAND_SHOW, "print a closed function as its matrix"},
    {"--rows", "N", TAKES_TEXT, AT_FIELD(rows), COMMAND_DATASET, "with show: the first N rows"},
    {"--watch", NULL, TAKES_NOTHING, AT_FIELD(watch), FOLLOWS, "and follow it, as `cajal watch` does; Ctrl-C leaves the run going"},
    {"--all", NULL, TAKES_NOTHING, AT_FIELD(all), COMMAND_RUNS | COMMAND_DATASET, "with a list: all, not the newest 100 only"},
    {"--state", "STATE", TAKES_TEXT, AT_FIELD(state), COMMAND_RUNS, "queued, running, done, failed or cancelled ones only"},
    {"--step", "N", TAKES_TEXT, AT_FIELD(step), COMMAND_WEIGHTS, "of the checkpoint at this step (default: the last)"},
    {"-o", "FILE", TAKES_TEXT, AT_FIELD(output), COMMAND_WEIGHTS, "where to (default: standard output, unless that is a terminal)"},
    {"--json", NULL, TAKES_NOTHING, AT_FIELD(json), ANY, "print the service's answer as it came"},
    {"--url", "URL", TAKES_TEXT, AT_FIELD(url), ANY, "the service (default $CAJAL_URL, else " CLIENT_DEFAULT_URL ")"},
    {"--help", NULL, TAKES_NOTHING, AT_FIELD(help), ANY, "print this"},
};
enum { NROWS = sizeof rows / sizeof *rows, NCOMMANDS = sizeof commands / sizeof *commands };

/* Ends an option's line with the commands that take it, unless all programs' do. */
static void print_whose(FILE *out, int mask) {
    bool some = false;
    for (int c = 0; c < NCOMMANDS && (mask & TAKES_PROGRAM) != TAKES_PROGRAM; c++)
        if (mask & (int)commands[c].command) {
            fprintf(out, "%s%s", some ? ", " : " [", commands[c].name);
            some = true;
        }
    fputs(some ? "]\n" : "\n", out);
}

static void print_options(FILE *out, Command command) {
    for (int i = 0; i < NROWS; i++) {
        char left[64];
        if (command && !(rows[i].commands & (int)command)) continue;
        snprintf(left, sizeof left, "%s %s", rows[i].name, rows[i].value ? rows[i].value : "");
        fprintf(out, "  %-22s%s", left, rows[i].help);
        print_whose(out, command ? ANY : rows[i].commands);
    }
}

static const CommandRow *command_row(Command command) {
    const CommandRow *row = commands;
    while (row->command != command) row++;
    return row;
}

static void print_commands(FILE *out) {
    fputs("usage: cajal COMMAND [OPTION...] [--] [OPERAND...]\n\n", out);
    for (int i = 0; i < NCOMMANDS; i++) fprintf(out, "  cajal %-8s%-18s%s\n", commands[i].name, commands[i].operands, commands[i].help);
}

void cli_options_help(FILE *out, Command command) {
    const CommandRow *row = command ? command_row(command) : NULL;
    if (row) fprintf(out, "usage: cajal %s [OPTION...] %s\n\n%s\n", row->name, row->operands, row->help);
    else print_commands(out);
    if (!command || (command & TAKES_PROGRAM))
        fputs("\nPROGRAM is a file (- is standard input) with a program's text; or with a request's JSON, {\"term\": …,\n"
              "\"context\": …, \"nat\": …}, when its name ends in .json or it begins with {; or the hash of a compiled program, sha256:…\n"
              "An ARG is a JSON value: true, 3, [0.2, 0.8], {\"values\": [3, 1, 4]}.\n",
              out);
    fputc('\n', out);
    print_options(out, command);
    fputs("\n$CAJAL_TOKEN is sent as a bearer token when it is set.\n"
          "Exit codes: 0 done; 1 the program, its arguments or the request was refused (4xx); 2 wrong usage; 3 no answer\n"
          "from the service; 4 the service failed (5xx); 5 a run that was followed failed, was cancelled or was left going.\n",
          out);
}

bool cli_takes_program(const CliOptions *options) { return options->command & TAKES_PROGRAM; }

static ExitCode usage(const char *what, const char *which) {
    fprintf(stderr, "cajal: %s %s\nTry: cajal --help\n", what, which);
    return EXIT_USAGE;
}

static bool list_add(CliList *list, const char *item, int most) {
    if (!list->items) list->items = calloc((size_t)most, sizeof *list->items); /* no list is longer than argv */
    if (!list->items) return false;
    list->items[list->count++] = item;
    return true;
}

static const OptionRow *find_option(const char *arg, size_t len) {
    for (int i = 0; i < NROWS; i++)
        if (strlen(rows[i].name) == len && memcmp(rows[i].name, arg, len) == 0) return &rows[i];
    return strcmp(arg, "-h") == 0 ? find_option("--help", 6) : NULL;
}

/* Takes argv[*i] and, where the option has one, its value. */
static ExitCode take_option(CliOptions *options, int argc, char **argv, int *i) {
    const char *arg = argv[*i], *equals = strncmp(arg, "--", 2) == 0 ? strchr(arg, '=') : NULL;
    const OptionRow *row = find_option(arg, equals ? (size_t)(equals - arg) : strlen(arg));
    if (!row) return usage("no such option:", arg);
    void *field = (char *)options + row->offset;
    int commands_so_far = options->command ? (int)options->command : ANY;
    if ((row->commands & commands_so_far) != commands_so_far)
        return usage(options->command ? "this command does not take" : "give the command before", row->name);
    if (row->takes == TAKES_NOTHING) {
        if (equals) return usage("no value belongs to", row->name);
        *(bool *)field = true;
        return EXIT_OK;
    }
    const char *value = equals ? equals + 1 : *i + 1 < argc ? argv[++*i] : NULL;
    if (!value) return usage("a value is missing after", row->name);
    if (row->takes == TAKES_LIST) return list_add(field, value, argc) ? EXIT_OK : usage("out of memory at", row->name);
    if (*(const char **)field) return usage("given twice:", row->name);
    *(const char **)field = value;
    return EXIT_OK;
}

static Command find_command(const char *name) {
    for (int i = 0; i < NCOMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0) return commands[i].command;
    return 0;
}

static ExitCode check_operands(const CliOptions *o) {
    const CommandRow *row = command_row(o->command);
    bool program = o->command & TAKES_PROGRAM;
    size_t count = o->operands.count, args = !program || o->text ? count : count - (count > 0);
    if (program && !o->text && !count) return usage("a program is missing:", "a file, -, sha256:… or -e TEXT");
    if (args < row->least) return usage("missing:", row->operands);
    if (args > row->most) return usage(program ? "one program at a time; what is this for?" : "what is this for?", o->operands.items[count - 1]);
    if (o->graph && o->matrix) return usage("one of these at a time:", "--graph, --matrix");
    return EXIT_OK;
}

ExitCode cli_options_parse(CliOptions *options, int argc, char **argv) {
    bool only_operands = false;
    ExitCode code = EXIT_OK;
    for (int i = 1; i < argc && code == EXIT_OK; i++) {
        const char *arg = argv[i];
        if (!only_operands && strcmp(arg, "--") == 0) only_operands = true;
        else if (!only_operands && arg[0] == '-' && arg[1]) code = take_option(options, argc, argv, &i);
        else if (!options->command) {
            options->command = find_command(arg);
            if (!options->command) code = usage("no such command:", arg);
        } else if (!list_add(&options->operands, arg, argc)) code = usage("out of memory at", arg);
    }
    if (code != EXIT_OK || options->help) return code;
    if (!options->command) return usage("a command is missing:", "see cajal --help");
    return check_operands(options);
}

void cli_options_release(CliOptions *options) {
    free(options->operands.items);
    free(options->inputs.items);
    free(options->wrt.items);
}
