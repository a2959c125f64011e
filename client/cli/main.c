#include "client/cli/cli.h"

int main(int argc, char **argv) {
    CliOptions options = {0};
    ExitCode code = cli_options_parse(&options, argc, argv);
    if (code == EXIT_OK && options.help) cli_options_help(stdout, options.command);
    else if (code == EXIT_OK) code = cli_commands_run(&options);
    cli_options_release(&options);
    if (fflush(stdout) != 0 && code == EXIT_OK) {
        perror("cajal: standard output");
        code = EXIT_FAILED;
    }
    return code;
}
