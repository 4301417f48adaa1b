/*
 * drover-agent: options, signals, log.
 */
#include <event2/thread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/host.h"
#include "storage/size.h"

enum exit_status {
    STATUS_OK = 0,
    STATUS_FAILED = 1,
    STATUS_USAGE = 2,
};

struct options {
    struct agent_config config;
    char *memory;
    int cpus;
    gboolean version;
};

static int fail(int status, const char *message)
{
    fprintf(stderr, "drover-agent: %s\n", message);
    return status;
}

/* The default beside our own binary, so that a build folder works without being installed. */
static char *find_emulator(void)
{
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *folder = self ? g_path_get_dirname(self) : NULL;
    char *beside = folder ? g_build_filename(folder, "drover-emu", NULL) : NULL;

    if (beside && g_file_test(beside, G_FILE_TEST_IS_EXECUTABLE))
        return beside;
    g_free(beside);
    return g_find_program_in_path("drover-emu");
}

static bool is_host_name(const char *text)
{
    size_t length = strlen(text);

    if (length == 0 || length > 63 || text[0] == '-' || text[length - 1] == '-')
        return false;
    for (const char *c = text; *c; c++)
        if (!g_ascii_islower(*c) && !g_ascii_isdigit(*c) && *c != '-')
            return false;
    return true;
}

static char *check_config(struct agent_config *config)
{
    for (char **label = config->labels; label && *label; label++)
        if (!strchr(*label, '=') || **label == '=')
            return g_strdup_printf("--label \"%s\" is none; write KEY=VALUE, as in rack=a", *label);
    if (!is_host_name(config->name))
        return g_strdup_printf("--name \"%s\" is no host name; it has a-z, 0-9 and '-', at most 63",
                               config->name);
    if (!config->emulator)
        return g_strdup("there is no drover-emu beside this program or in PATH; give --emulator");
    if (!g_file_test(config->emulator, G_FILE_TEST_IS_EXECUTABLE))
        return g_strdup_printf("--emulator %s is not a program", config->emulator);
    if (config->images && !g_file_test(config->images, G_FILE_TEST_IS_DIR))
        return g_strdup_printf("--images %s is not a folder", config->images);
    return NULL;
}

static void replace(char **text, char *fresh)
{
    g_free(*text);
    *text = fresh;
}

/* What was not given, and what has to be absolute. */
static char *complete(struct options *options)
{
    struct agent_config *config = &options->config;
    g_autoptr(GError) error = NULL;

    if (!config->name)
        config->name = g_ascii_strdown(g_get_host_name(), -1);
    replace(&config->data,
            g_canonicalize_filename(config->data ? config->data : "/var/lib/drover-agent", NULL));
    if (config->images)
        replace(&config->images, g_canonicalize_filename(config->images, NULL));
    if (!config->emulator)
        config->emulator = find_emulator();
    else
        replace(&config->emulator, g_canonicalize_filename(config->emulator, NULL));
    if (!config->transfer_listen)
        config->transfer_listen = g_strdup("0.0.0.0:7445");
    if (!config->metrics_listen)
        config->metrics_listen = g_strdup("127.0.0.1:7446");
    config->cpus = options->cpus > 0 ? (unsigned)options->cpus : host_cpus();
    config->memory_bytes = host_memory_total() / 10 * 9; /* a tenth is the host's own */
    if (options->memory && !size_parse(options->memory, &config->memory_bytes, &error))
        return g_strdup_printf("--memory: %s", error->message);
    return check_config(config);
}

static void options_clear(struct options *options)
{
    struct agent_config *config = &options->config;

    g_free(config->name);
    g_free(config->data);
    g_free(config->images);
    g_free(config->emulator);
    g_free(config->transfer_listen);
    g_free(config->metrics_listen);
    g_free(config->join_token);
    g_free(config->controller);
    g_strfreev(config->labels);
    g_free(options->memory);
}

static bool parse(struct options *options, int argc, char **argv, GError **error)
{
    struct agent_config *config = &options->config;
    /* clang-format off */
    const GOptionEntry entries[] = {
        {"controller", 0, 0, G_OPTION_ARG_STRING, &config->controller,
         "the controller's REST address, to join", "https://HOST:PORT"},
        {"join-token", 0, 0, G_OPTION_ARG_STRING, &config->join_token,
         "from drover-controller token create; needed once", "TOKEN"},
        {"name", 0, 0, G_OPTION_ARG_STRING, &config->name, "of this host (its host name)", "NAME"},
        {"data", 0, 0, G_OPTION_ARG_FILENAME, &config->data,
         "folder of disks and machines (/var/lib/drover-agent)", "FOLDER"},
        {"images", 0, 0, G_OPTION_ARG_FILENAME, &config->images,
         "folder that a Disk's source.file is taken from", "FOLDER"},
        {"label", 0, 0, G_OPTION_ARG_STRING_ARRAY, &config->labels,
         "of this host, for hostSelector; may be repeated", "KEY=VALUE"},
        {"memory", 0, 0, G_OPTION_ARG_STRING, &options->memory,
         "for machines in all (nine tenths of what there is)", "SIZE"},
        {"cpus", 0, 0, G_OPTION_ARG_INT, &options->cpus, "for machines in all (all)", "N"},
        {"transfer-listen", 0, 0, G_OPTION_ARG_STRING, &config->transfer_listen,
         "where other agents send disks to (0.0.0.0:7445)", "ADDRESS:PORT"},
        {"metrics-listen", 0, 0, G_OPTION_ARG_STRING, &config->metrics_listen,
         "where /metrics is (127.0.0.1:7446)", "ADDRESS:PORT"},
        {"emulator", 0, 0, G_OPTION_ARG_FILENAME, &config->emulator, "the drover-emu to run",
         "FILE"},
        {"version", 0, 0, G_OPTION_ARG_NONE, &options->version, "print the version", NULL},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    /* clang-format on */
    GOptionContext *context = g_option_context_new("- run this host's machines");
    bool ok;

    g_option_context_set_description(
        context, "Example:\n  drover-agent --controller https://192.0.2.1:7443 --join-token "
                 "drover-join:… --images /srv/images --label rack=a\n\n"
                 "SIGTERM ends the agent; its machines run on, and the next agent with the same\n"
                 "--data takes them up again. Exit status: 0 ended, 1 failed, 2 wrong usage.");
    g_option_context_add_main_entries(context, entries, NULL);
    ok = g_option_context_parse(context, &argc, &argv, error);
    if (ok && argc > 1) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "\"%s\" is too much; options begin with --", argv[1]);
        ok = false;
    }
    g_option_context_free(context);
    return ok;
}

static void on_signal(evutil_socket_t signal_number, short what, void *opaque)
{
    g_message("ending; machines run on");
    agent_stop(opaque);
}

static int run(const struct agent_config *config)
{
    g_autoptr(GError) error = NULL;
    struct event *term, *interrupt;
    struct agent *agent = agent_new(config, &error);

    if (!agent)
        return fail(STATUS_FAILED, error->message);
    term = evsignal_new(agent->base, SIGTERM, on_signal, agent);
    interrupt = evsignal_new(agent->base, SIGINT, on_signal, agent);
    event_add(term, NULL);
    event_add(interrupt, NULL);
    agent_run(agent);
    event_free(term);
    event_free(interrupt);
    agent_free(agent);
    return STATUS_OK;
}

int main(int argc, char **argv)
{
    struct options options = {0};
    g_autoptr(GError) error = NULL;
    g_autofree char *problem = NULL;
    int status;

    signal(SIGPIPE, SIG_IGN);
    evthread_use_pthreads();
    if (!parse(&options, argc, argv, &error))
        status = fail(STATUS_USAGE, error->message);
    else if (options.version)
        status = puts("drover-agent " DROVER_VERSION) < 0;
    else if ((problem = complete(&options)))
        status = fail(STATUS_USAGE, problem);
    else
        status = run(&options.config);
    options_clear(&options);
    return status;
}
