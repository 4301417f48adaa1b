/* drover-controller: options, and the command that makes join tokens. */
#include "controller/api/token_command.h"
#include "controller/controller.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const level_names[] = {"error", "warning", "info", "debug", NULL};
static const GLogLevelFlags levels[] = {G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL,
                                        G_LOG_LEVEL_WARNING, G_LOG_LEVEL_MESSAGE | G_LOG_LEVEL_INFO,
                                        G_LOG_LEVEL_DEBUG};

/* Lines on stderr, as the journal wants them; levels above the asked one are dropped. */
static GLogWriterOutput write_log(GLogLevelFlags level, const GLogField *fields, gsize count,
                                  gpointer shown)
{
    if (!(level & GPOINTER_TO_UINT(shown) & G_LOG_LEVEL_MASK))
        return G_LOG_WRITER_HANDLED;
    for (gsize i = 0; i < count; i++)
        if (strcmp(fields[i].key, "MESSAGE") == 0)
            fprintf(stderr, "%s%s\n", level & G_LOG_LEVEL_WARNING ? "warning: " : "",
                    (const char *)fields[i].value);
    return G_LOG_WRITER_HANDLED;
}

static bool set_log_level(const char *name, GError **error)
{
    GLogLevelFlags shown = 0;
    for (size_t i = 0; level_names[i]; i++) {
        shown |= levels[i];
        if (strcmp(level_names[i], name) == 0) {
            g_log_set_writer_func(write_log, GUINT_TO_POINTER(shown), NULL);
            return true;
        }
    }
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                "--log-level %s: must be error, warning, info or debug", name);
    return false;
}

static int run(const struct controller_config *config)
{
    g_autoptr(GError) error = NULL;
    struct controller *controller = controller_new(config, &error);
    if (!controller) {
        fprintf(stderr, "drover-controller: %s\n", error->message);
        return EXIT_FAILURE;
    }
    g_autofree char *greeting = controller_greeting(controller);
    fputs(greeting, stdout);
    fflush(stdout);
    controller_run(controller);
    controller_free(controller);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    g_autofree char *data = NULL, *listen = NULL, *agents = NULL, *level = NULL, *advertise = NULL;
    gboolean version = FALSE;
    int hours = 24;
    const GOptionEntry entries[] = {
        {"data", 'd', 0, G_OPTION_ARG_FILENAME, &data,
         "Where it keeps everything (default /var/lib/drover-controller)", "DIR"},
        {"listen", 'l', 0, G_OPTION_ARG_STRING, &listen,
         "Address of the REST API (default 0.0.0.0:7443)", "ADDRESS:PORT"},
        {"agent-listen", 'a', 0, G_OPTION_ARG_STRING, &agents,
         "Where agents dial (default tls+tcp://0.0.0.0:7444)", "URL"},
        {"advertise", 0, 0, G_OPTION_ARG_STRING, &advertise,
         "The address others reach it by, where that is not the one it listens at", "ADDRESS"},
        {"log-level", 0, 0, G_OPTION_ARG_STRING, &level, "error, warning, info (default) or debug",
         "LEVEL"},
        {"hours", 0, 0, G_OPTION_ARG_INT, &hours, "With token create: how long it is good", "N"},
        {"version", 0, 0, G_OPTION_ARG_NONE, &version, "Print the version", NULL},
        G_OPTION_ENTRY_NULL,
    };
    g_autoptr(GOptionContext) options = g_option_context_new("[token create]");
    g_autoptr(GError) error = NULL;
    g_option_context_set_summary(options, "Keeps what a Drover cluster should be, and sees to it.");
    g_option_context_add_main_entries(options, entries, NULL);
    if (!g_option_context_parse(options, &argc, &argv, &error) ||
        !set_log_level(level ? level : "info", &error)) {
        fprintf(stderr, "drover-controller: %s\n", error->message);
        return EXIT_FAILURE;
    }
    if (version) {
        puts("drover-controller " DROVER_VERSION);
        return EXIT_SUCCESS;
    }
    struct controller_config config = {
        .data_dir = data ? data : "/var/lib/drover-controller",
        .listen = listen ? listen : "0.0.0.0:7443",
        .agent_listen = agents ? agents : "tls+tcp://0.0.0.0:7444",
        .advertise = advertise,
    };
    if (argc == 1)
        return run(&config);
    if (argc == 3 && strcmp(argv[1], "token") == 0 && strcmp(argv[2], "create") == 0)
        return token_command(config.data_dir, hours);
    fprintf(stderr, "drover-controller: %s: unknown command; the one there is: token create\n",
            argv[1]);
    return EXIT_FAILURE;
}
