/*
 * drover: finds the command, gives it its options and a client, prints its error.
 */
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "controller/cli/cli.h"
#include "controller/cli/client.h"
#include "controller/cli/options.h"
#include "controller/object/field.h"

static void print_help(void)
{
    puts("drover: virtual machines on many hosts\n");
    for (const struct command *command = commands; command->name; command++)
        printf("  %-13s %-18s %s\n", command->name, command->arguments, command->summary);
    puts("\ndrover COMMAND --help tells more and gives an example. Which cluster: --config FILE,\n"
         "$DROVER_CONFIG or ~/.config/drover/config.yaml. Exit status: 0 done, 1 failed (diff:\n"
         "differs), 2 wrong usage.");
}

static int fail(const GError *error)
{
    fprintf(stderr, "drover: %s\n", error->message);
    return g_error_matches(error, CLI_ERROR, CLI_ERROR_USAGE) ? STATUS_USAGE : STATUS_FAILED;
}

static int unknown_command(const char *text)
{
    const char *names[32] = {NULL}, *nearest;
    size_t n = 0;

    for (const struct command *c = commands; c->name && n + 1 < G_N_ELEMENTS(names); c++)
        names[n++] = c->name;
    nearest = nearest_text(names, text);
    fprintf(stderr, "drover: \"%s\" is no command; %s%s\n", text,
            nearest ? "did you mean drover " : "see drover --help", nearest ? nearest : "");
    return STATUS_USAGE;
}

static int run_with_client(const struct command *command, const struct options *options,
                           GError **error)
{
    struct client_config *config = client_config_load(options->config, error);
    struct client *client;
    int status;

    if (!config)
        return STATUS_FAILED;
    client = client_new(config);
    status = command->run(client, options, error);
    client_free(client);
    return status;
}

static int run_command(const struct command *command, int argc, char **argv)
{
    struct options options = {0};
    g_autoptr(GError) error = NULL;
    int status = STATUS_OK;
    bool helped;

    if (!options_parse(&options, command, argc, argv, &helped, &error))
        status = STATUS_USAGE;
    else if (!helped && command->offline)
        status = command->run(NULL, &options, &error);
    else if (!helped)
        status = run_with_client(command, &options, &error);
    if (error) {
        int failed = fail(error);

        /* diff tells "differs" from "could not tell" */
        status = strcmp(command->name, "diff") == 0 ? STATUS_USAGE : failed;
    }
    options_clear(&options);
    return status;
}

int main(int argc, char **argv)
{
    const struct command *command;

    setlocale(LC_CTYPE, "");
    signal(SIGPIPE, SIG_DFL);
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_help();
        return argc < 2 ? STATUS_USAGE : STATUS_OK;
    }
    if (strcmp(argv[1], "--version") == 0)
        argv[1] = (char *)"version";
    command = command_find(argv[1]);
    if (!command)
        return unknown_command(argv[1]);
    argv[1] = argv[0];
    return run_command(command, argc - 1, argv + 1);
}
