#include "controller/cli/options.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

struct option {
    char key; /* in command->options */
    const char *name;
    char letter; /* 0: none */
    GOptionArg type;
    size_t offset;
    const char *help, *value;
};

#define AT(member) offsetof(struct options, member)
/* clang-format off */
static const struct option all[] = {
    {'c', "config", 0, G_OPTION_ARG_FILENAME, AT(config), "which cluster", "FILE"},
    {'n', "namespace", 'n', G_OPTION_ARG_STRING, AT(namespace), "\"default\" if not given", "NAME"},
    {'A', "all-namespaces", 'A', G_OPTION_ARG_NONE, AT(all), "of all namespaces", NULL},
    {'f', "filename", 'f', G_OPTION_ARG_FILENAME_ARRAY, AT(files),
     "manifests, - for standard input; may be repeated", "FILE"},
    {'o', "output", 'o', G_OPTION_ARG_STRING, AT(output), "table, wide, json, yaml or name", "FORM"},
    {'l', "selector", 'l', G_OPTION_ARG_STRING, AT(selector), "labels: app=web,tier!=db",
     "SELECTOR"},
    {'w', "watch", 'w', G_OPTION_ARG_NONE, AT(watch), "go on with what changes", NULL},
    {'F', "force", 0, G_OPTION_ARG_NONE, AT(force), "do not ask nicely", NULL},
    {'W', "wait", 0, G_OPTION_ARG_NONE, AT(wait), "until it is done", NULL},
    {'L', "follow", 'f', G_OPTION_ARG_NONE, AT(follow), "go on with what comes", NULL},
    {'d', "dry-run", 0, G_OPTION_ARG_STRING, AT(dry_run), "server: check, but change nothing",
     "server"},
    {'t', "to", 0, G_OPTION_ARG_STRING, AT(target), "the host to move to", "HOST"},
    {'O', "for", 0, G_OPTION_ARG_STRING, AT(object), "of one object", "KIND/NAME"},
    {'T', "tail", 0, G_OPTION_ARG_INT, AT(tail), "only the last of it (65536)", "BYTES"},
    {'x', "timeout", 0, G_OPTION_ARG_INT, AT(timeout), "how long to wait (300)", "SECONDS"},
};
/* clang-format on */

static bool takes(const struct command *command, const struct option *option)
{
    return strchr(command->options, option->key) != NULL;
}

char **options_names(const struct command *command)
{
    GPtrArray *names = g_ptr_array_new();

    for (size_t i = 0; i < G_N_ELEMENTS(all); i++)
        if (takes(command, &all[i]))
            g_ptr_array_add(names, g_strconcat("--", all[i].name, NULL));
    g_ptr_array_add(names, g_strdup("--help"));
    g_ptr_array_add(names, NULL);
    return (char **)g_ptr_array_free(names, FALSE);
}

static void fill_entries(struct options *options, const struct command *command,
                         GOptionEntry *entries)
{
    size_t n = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(all); i++)
        if (takes(command, &all[i]))
            entries[n++] = (GOptionEntry){
                all[i].name, all[i].letter, 0, all[i].type, (char *)options + all[i].offset,
                all[i].help, all[i].value};
    entries[n++] =
        (GOptionEntry){"help", 'h', G_OPTION_FLAG_HIDDEN, G_OPTION_ARG_NONE, NULL, NULL, NULL};
    entries[n] = (GOptionEntry){
        G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_STRING_ARRAY, &options->arguments, NULL,
        command->arguments};
}

static void print_help(GOptionContext *context, const struct command *command)
{
    g_autofree char *help = g_option_context_get_help(context, TRUE, NULL);
    const char *list = strstr(help, "Help Options:");
    const char *application = strstr(help, "Application Options:");

    printf("drover %s %s\n    %s\n", command->name, command->arguments, command->summary);
    if (command->details)
        printf("\n%s\n", command->details);
    printf("\nExample:\n  %s\n", command->example);
    if (application || list)
        printf("\n%s", application ? strchr(application, '\n') + 1 : "");
}

static bool check_count(const struct options *options, const struct command *command,
                        GError **error)
{
    if (options->count >= command->min && (command->max < 0 || options->count <= command->max))
        return true;
    if (options->count < command->min)
        g_set_error(error, CLI_ERROR, CLI_ERROR_USAGE, "drover %s takes %s, as in: %s",
                    command->name, command->arguments, command->example);
    else
        g_set_error(error, CLI_ERROR, CLI_ERROR_USAGE, "\"%s\" is too much for drover %s %s",
                    options->arguments[command->max], command->name, command->arguments);
    return false;
}

bool options_parse(struct options *options, const struct command *command, int argc, char **argv,
                   bool *ret_helped, GError **error)
{
    GOptionEntry entries[G_N_ELEMENTS(all) + 3] = {0};
    GOptionContext *context = g_option_context_new(NULL);
    gboolean help = FALSE;
    GError *problem = NULL;
    bool ok;

    fill_entries(options, command, entries);
    for (GOptionEntry *entry = entries; entry->long_name; entry++)
        if (strcmp(entry->long_name, "help") == 0)
            entry->arg_data = &help;
    g_option_context_set_help_enabled(context, FALSE);
    g_option_context_add_main_entries(context, entries, NULL);
    ok = g_option_context_parse(context, &argc, &argv, &problem);
    if (!ok) {
        g_set_error(error, CLI_ERROR, CLI_ERROR_USAGE, "%s; see drover %s --help", problem->message,
                    command->name);
        g_error_free(problem);
    }
    *ret_helped = ok && help;
    if (*ret_helped)
        print_help(context, command);
    g_option_context_free(context);
    if (!options->arguments)
        options->arguments = g_new0(char *, 1);
    options->count = (int)g_strv_length(options->arguments);
    return ok && (help || check_count(options, command, error));
}

void options_clear(struct options *options)
{
    g_free(options->config);
    g_free(options->namespace);
    g_strfreev(options->files);
    g_free(options->output);
    g_free(options->selector);
    g_free(options->dry_run);
    g_free(options->target);
    g_free(options->object);
    g_strfreev(options->arguments);
}

const char *options_namespace(const struct options *options)
{
    return options->namespace ? options->namespace : NAMESPACE_DEFAULT;
}
