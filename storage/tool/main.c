/*
 * drover-vhd: the disk tool. Help, parsing and dispatch, all from the commands' own tables.
 */
#include <stdio.h>
#include <string.h>

#include "storage/tool/report.h"

static const struct command *const commands[] = {
    &command_create,  &command_info,       &command_convert, &command_map,     &command_compare,
    &command_check,   &command_precompact, &command_mount,   &command_unmount, &command_serve,
    &command_compact, &command_resize,     &command_merge,   &command_rebase,  &command_snapshot,
    &command_undo,    &command_bitmap,
};

static const char common_status[] = "0 done, 1 failed, 2 wrong usage, 4 the file is in use by "
                                    "another process, 5 no space left";

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++)
        if (strcmp(name, commands[i]->name) == 0)
            return commands[i];
    return NULL;
}

static int unknown_command(const char *name)
{
    return tool_usage("\"%s\" is no command; drover-vhd help lists them", name);
}

/* ---- help -------------------------------------------------------------------------------------
 */

static void print_overview(void)
{
    puts("drover-vhd: create, inspect, convert and serve virtual disks\n");
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++)
        printf("  %-10s %-16s %s\n", commands[i]->name, commands[i]->arguments,
               commands[i]->summary);
    printf("\ndrover-vhd help COMMAND shows its options and examples.\n"
           "A disk's format is found by its content, never by its file's name.\n\n"
           "Exit status: %s; but of\n",
           common_status);
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++)
        if (commands[i]->status)
            printf("  %-10s %s\n", commands[i]->name, commands[i]->status);
}

/* `examples`, each line indented. */
static char *indent(const char *lines)
{
    g_auto(GStrv) each = g_strsplit(lines, "\n", -1);
    g_autofree char *joined = g_strjoinv("\n  ", each);

    return g_strconcat("  ", joined, NULL);
}

static GOptionContext *make_context(const struct command *command)
{
    g_autofree char *parameter = g_strdup_printf("- %s", command->summary);
    g_autofree char *examples = indent(command->examples);
    g_autofree char *end = g_strdup_printf("Example:\n%s\n\nExit status:\n  %s\n", examples,
                                           command->status ? command->status : common_status);
    GOptionContext *context = g_option_context_new(parameter);

    if (command->details)
        g_option_context_set_summary(context, command->details);
    g_option_context_set_description(context, end);
    return context;
}

/* ---- running ----------------------------------------------------------------------------------
 */

/* What the parser fills. */
struct parsed {
    uint8_t *values; /* the command's own options */
    char **arguments;
};

static GOptionEntry *make_entries(const struct command *command, struct parsed *parsed)
{
    GArray *entries = g_array_new(true, true, sizeof(GOptionEntry));
    const GOptionEntry remaining = {
        .long_name = G_OPTION_REMAINING,
        .arg = G_OPTION_ARG_FILENAME_ARRAY,
        .arg_data = &parsed->arguments,
        .arg_description = command->arguments,
    };

    g_array_append_val(entries, remaining);
    for (const struct command_option *o = command->options; o && o->name; o++) {
        const GOptionEntry entry = {
            .long_name = o->name,
            .short_name = o->letter,
            .arg = o->type,
            .arg_data = parsed->values + o->offset,
            .description = o->help,
            .arg_description = o->argument,
        };

        g_array_append_val(entries, entry);
    }
    return (GOptionEntry *)(void *)g_array_free(entries, false);
}

static void free_values(const struct command *command, uint8_t *values)
{
    for (const struct command_option *o = command->options; o && o->name; o++)
        if (o->type == G_OPTION_ARG_STRING || o->type == G_OPTION_ARG_FILENAME)
            g_free(*(char **)(void *)(values + o->offset));
    g_free(values);
}

static int parse_and_run(const struct command *command, GOptionContext *context,
                         struct parsed *parsed, int argc, char **argv)
{
    static char *none[] = {NULL};
    char **arguments;
    GError *error = NULL;
    int count, status;

    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        status = tool_usage("%s: %s", command->name, error->message);
        g_error_free(error);
        return status;
    }
    arguments = parsed->arguments ? parsed->arguments : none;
    count = (int)g_strv_length(arguments);
    if (count < command->least || count > command->most)
        return tool_usage("%s takes %s; see drover-vhd help %s", command->name, command->arguments,
                          command->name);
    return command->run(arguments, parsed->values);
}

/* `argv` begins with the command's name, which GLib's help shows with the program's. */
static int run_command(const struct command *command, int argc, char **argv)
{
    struct parsed parsed = {.values = g_malloc0(MAX(command->options_size, 1))};
    g_autofree GOptionEntry *entries = make_entries(command, &parsed);
    g_autofree char *name = g_strconcat("drover-vhd ", command->name, NULL);
    GOptionContext *context = make_context(command);
    int status;

    g_set_prgname(name);
    g_option_context_add_main_entries(context, entries, NULL);
    status = parse_and_run(command, context, &parsed, argc, argv);
    g_option_context_free(context);
    g_strfreev(parsed.arguments);
    free_values(command, parsed.values);
    return status;
}

static int run_help(char **arguments)
{
    const struct command *command;
    char flag[] = "--help";
    char *help[] = {arguments[0], flag, NULL};

    if (!arguments[0]) {
        print_overview();
        return STATUS_OK;
    }
    command = find_command(arguments[0]);
    if (!command || arguments[1])
        return command ? tool_usage("help takes one command") : unknown_command(arguments[0]);
    return run_command(command, 2, help); /* GLib prints the help and ends the program */
}

int main(int argc, char **argv)
{
    const struct command *command;

    if (argc < 2) {
        print_overview();
        return STATUS_USAGE;
    }
    if (strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0)
        return run_help(argv + 2);
    if (strcmp(argv[1], "--version") == 0) {
        puts("drover-vhd " DROVER_VERSION);
        return STATUS_OK;
    }
    command = find_command(argv[1]);
    return command ? run_command(command, argc - 1, argv + 1) : unknown_command(argv[1]);
}
