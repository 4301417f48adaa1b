/*
 * drover-vhd: the disk tool. One table of commands; help comes from it.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "storage/block.h"
#include "storage/convert.h"
#include "storage/size.h"
#include "storage/tool/tool.h"

struct command {
    const char *name;
    const char *arguments; /* as in help */
    int count;             /* how many of them */
    const char *summary;
    const char *example;
    const char *options; /* the letters of those it takes */
    const char *status;  /* its exit status, where that says more than done or failed */
    int (*run)(const struct options *options);
};

static bool parse_type(const char *text, enum block_format *ret_format)
{
    static const struct {
        const char *word;
        enum block_format format;
    } words[] = {
        {"dynamic", BLOCK_FORMAT_VHD_DYNAMIC},
        {"fixed",   BLOCK_FORMAT_VHD_FIXED  },
        {"raw",     BLOCK_FORMAT_RAW        },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(words); i++) {
        if (strcmp(words[i].word, text ? text : "dynamic") == 0) {
            *ret_format = words[i].format;
            return true;
        }
    }
    tool_usage("\"%s\" is no type; it is dynamic, fixed or raw", text);
    return false;
}

static int create_child(const struct options *options)
{
    GError *error = NULL;

    if (options->size || options->type)
        return tool_usage("--parent goes without --size and --type: a child is as large as its "
                          "parent, and differencing");
    if (!block_create_child(options->arguments[0], options->parent, &error))
        return tool_fail(error);
    return STATUS_OK;
}

static int run_create(const struct options *options)
{
    enum block_format format;
    GError *error = NULL;
    uint64_t size;

    if (options->parent)
        return create_child(options);
    if (!options->size)
        return tool_usage("create needs --size, as in --size 10G, or --parent FILE");
    if (!parse_type(options->type, &format))
        return STATUS_USAGE;
    if (!size_parse(options->size, &size, &error) ||
        !block_create(options->arguments[0], format, size, &error))
        return tool_fail(error);
    return STATUS_OK;
}

struct meter {
    const char *path;
    int percent; /* last shown; -1 when nothing is to be shown */
};

static void show_progress(void *opaque, uint64_t done, uint64_t total)
{
    struct meter *meter = opaque;
    int percent = (int)(done * 100 / total);

    if (meter->percent < 0 || meter->percent == percent)
        return;
    meter->percent = percent;
    fprintf(stderr, "\r%s  %3d %%%s", meter->path, percent, done == total ? "\n" : "");
}

static bool convert(struct block_device *from, const char *to_path, enum block_format format,
                    struct meter *meter, GError **error)
{
    struct block_device *to;

    if (!block_create(to_path, format, block_size(from), error))
        return false;
    to = block_open(to_path, BLOCK_OPEN_PROBE_RAW, error);
    if (to && block_copy(from, to, show_progress, meter, error))
        return block_close(to, error);
    block_abandon(to);
    unlink(to_path); /* made a moment ago, and incomplete */
    return false;
}

static int run_convert(const struct options *options)
{
    struct meter meter = {options->arguments[1], -1};
    struct block_device *from;
    enum block_format format;
    GError *error = NULL;
    bool ok;

    if (!parse_type(options->type, &format))
        return STATUS_USAGE;
    if (!options->quiet && isatty(STDERR_FILENO))
        meter.percent = 0;
    from = tool_open(options->arguments[0], &error);
    if (!from)
        return tool_fail(error);
    ok = convert(from, options->arguments[1], format, &meter, &error);
    block_abandon(from);
    return ok ? STATUS_OK : tool_fail(error);
}

static const struct command commands[] = {
    {"create",  "FILE",    1, "make an empty disk, or a child of another one",
     "drover-vhd create data.vhd --size 10G\n  drover-vhd create child.vhd --parent data.vhd",                      "stp", NULL,                                          run_create },
    {"info",    "FILE",    1, "show what a disk is, and its parents",           "drover-vhd info data.vhd -o json",
     "o",                                                                                                                  NULL,                                          run_info   },
    {"convert", "FROM TO", 2, "copy a disk into a new file of another type",
     "drover-vhd convert disk.img disk.vhd --type dynamic",                                                         "tq",  NULL,                                          run_convert},
    {"map",     "FILE",    1, "list what is allocated; the rest reads as zero",
     "drover-vhd map data.vhd -o json",                                                                             "o",   NULL,                                          run_map    },
    {"compare", "A B",     2, "say whether two disks hold the same",
     "drover-vhd compare disk.img disk.vhd",                                                                        "",    "0 equal, 1 they differ, 2 could not be read",
     run_compare                                                                                                                                                                     },
    {"check",   "FILE",    1, "look for damage, and repair a lost footer",
     "drover-vhd check data.vhd --repair",                                                                          "or",
     "0 clean, 1 damaged, 2 could not be read, 3 was damaged and is repaired",                                                                                            run_check  },
};

static void print_help(void)
{
    puts("drover-vhd: create, inspect and convert virtual disks\n");
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++)
        printf("  drover-vhd %-8s %-10s %s\n      %s\n", commands[i].name, commands[i].arguments,
               commands[i].summary, commands[i].example);
    puts("\nOptions: --size SIZE (512M, 10G), --type dynamic|fixed|raw (dynamic when not given),\n"
         "--parent FILE, --repair, -o json, --quiet.\n"
         "Exit status: 0 done, 1 failed, 2 wrong usage; but of");
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++)
        if (commands[i].status)
            printf("  %-8s %s\n", commands[i].name, commands[i].status);
}

static int parse_and_run(const struct command *command, GOptionContext *context,
                         struct options *options, int argc, char **argv)
{
    GError *error = NULL;

    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        tool_usage("%s: %s", command->name, error->message);
        g_error_free(error);
        return STATUS_USAGE;
    }
    if (!options->arguments || (int)g_strv_length(options->arguments) != command->count)
        return tool_usage("%s takes %s; see drover-vhd %s --help", command->name,
                          command->arguments, command->name);
    return command->run(options);
}

static int run_command(const struct command *command, int argc, char **argv)
{
    struct options options = {0};
    const GOptionEntry all[] = {
        {"size",   's', 0, G_OPTION_ARG_STRING,   &options.size,   "size of the disk",      "SIZE"},
        {"type",   't', 0, G_OPTION_ARG_STRING,   &options.type,   "dynamic, fixed or raw", "TYPE"},
        {"output", 'o', 0, G_OPTION_ARG_STRING,   &options.output, "json for programs",     "FORM"},
        {"parent", 'p', 0, G_OPTION_ARG_FILENAME, &options.parent, "make a child of it",    "FILE"},
        {"repair", 'r', 0, G_OPTION_ARG_NONE,     &options.repair,
         "rewrite a lost footer, drop what lies past the last block",                       NULL  },
        {"quiet",  'q', 0, G_OPTION_ARG_NONE,     &options.quiet,  "no progress",           NULL  },
    };
    GOptionEntry own[G_N_ELEMENTS(all) + 2] = {
        {G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &options.arguments, NULL,
         command->arguments},
    };
    g_autofree char *parameter = g_strdup_printf("- %s", command->summary);
    g_autofree char *example =
        g_strdup_printf("Example:\n  %s\n\nExit status: %s", command->example,
                        command->status ? command->status : "0 done, 1 failed, 2 wrong usage");
    GOptionContext *context = g_option_context_new(parameter);
    int n = 1, status;

    for (size_t i = 0; i < G_N_ELEMENTS(all); i++)
        if (strchr(command->options, all[i].short_name))
            own[n++] = all[i];
    g_option_context_add_main_entries(context, own, NULL);
    g_option_context_set_description(context, example);
    status = parse_and_run(command, context, &options, argc, argv);
    g_option_context_free(context);
    g_free(options.size);
    g_free(options.type);
    g_free(options.output);
    g_free(options.parent);
    g_strfreev(options.arguments);
    return status;
}

int main(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        print_help();
        return argc < 2 ? STATUS_USAGE : STATUS_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("drover-vhd " DROVER_VERSION);
        return STATUS_OK;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            argv[1] = argv[0];
            return run_command(&commands[i], argc - 1, argv + 1);
        }
    }
    return tool_usage("\"%s\" is no command; drover-vhd --help lists them", argv[1]);
}
