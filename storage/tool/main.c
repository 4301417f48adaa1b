/*
 * drover-vhd: the disk tool. One table of commands; help comes from it.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "storage/block.h"
#include "storage/convert.h"
#include "storage/size.h"

enum exit_status {
    STATUS_OK = 0,
    STATUS_FAILED = 1,
    STATUS_USAGE = 2,
};

struct options {
    char *size;
    char *type;
    char *output;
    gboolean quiet;
    char **arguments; /* what is left: files */
};

struct command {
    const char *name;
    const char *arguments; /* as in help */
    int count;             /* how many of them */
    const char *summary;
    const char *example;
    const char *options; /* the letters of those it takes */
    int (*run)(const struct options *options);
};

static int fail(GError *error)
{
    fprintf(stderr, "drover-vhd: %s\n", error->message);
    g_error_free(error);
    return STATUS_FAILED;
}

G_GNUC_PRINTF(1, 2) static int usage(const char *format, ...)
{
    va_list args;

    fputs("drover-vhd: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputs("\n", stderr);
    return STATUS_USAGE;
}

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
    usage("\"%s\" is no type; it is dynamic, fixed or raw", text);
    return false;
}

static int run_create(const struct options *options)
{
    enum block_format format;
    GError *error = NULL;
    uint64_t size;

    if (!options->size)
        return usage("create needs --size, as in --size 10G");
    if (!parse_type(options->type, &format))
        return STATUS_USAGE;
    if (!size_parse(options->size, &size, &error) ||
        !block_create(options->arguments[0], format, size, &error))
        return fail(error);
    return STATUS_OK;
}

static void print_info_json(const char *path, const struct block_info *info)
{
    g_autofree char *escaped = g_strescape(path, NULL);

    printf("{\"file\": \"%s\", \"format\": \"%s\", \"virtualSize\": %" G_GUINT64_FORMAT
           ", \"fileSize\": %" G_GUINT64_FORMAT ", \"diskUsage\": %" G_GUINT64_FORMAT
           ", \"blockSize\": %u, \"blocks\": %u, \"blocksAllocated\": %u, \"geometry\": "
           "{\"cylinders\": %u, \"heads\": %u, \"sectorsPerTrack\": %u}}\n",
           escaped, block_format_name(info->format), info->virtual_size, info->file_size,
           info->disk_usage, info->block_size, info->blocks_total, info->blocks_allocated,
           info->cylinders, info->heads, info->sectors_per_track);
}

static void print_info(const char *path, const struct block_info *info)
{
    g_autofree char *size = size_format(info->virtual_size);
    g_autofree char *file = size_format(info->file_size);
    g_autofree char *used = size_format(info->disk_usage);

    printf("file         %s\n", path);
    printf("format       %s\n", block_format_name(info->format));
    printf("size         %s\n", size);
    printf("file size    %s\n", file);
    printf("on disk      %s\n", used);
    if (info->block_size)
        printf("blocks       %u of %u allocated, %u KiB each\n", info->blocks_allocated,
               info->blocks_total, info->block_size / 1024);
    if (info->format == BLOCK_FORMAT_RAW)
        return;
    printf("geometry     %u cylinders, %u heads, %u sectors per track\n", info->cylinders,
           info->heads, info->sectors_per_track);
    printf("creator      \"%s\"\n", info->creator);
    printf("id           ");
    for (int i = 0; i < 16; i++)
        printf("%02x%s", info->unique_id[i], i == 3 || i == 5 || i == 7 || i == 9 ? "-" : "");
    printf("\n");
}

static int run_info(const struct options *options)
{
    const char *path = options->arguments[0];
    struct block_device *device;
    struct block_info info;
    GError *error = NULL;
    bool ok;

    if (options->output && strcmp(options->output, "json") != 0)
        return usage("\"%s\" is no output form; it is json, or none for people", options->output);
    device = block_open(path, BLOCK_OPEN_READ_ONLY | BLOCK_OPEN_PROBE_RAW, &error);
    if (!device)
        return fail(error);
    ok = block_get_info(device, &info, &error);
    block_abandon(device);
    if (!ok)
        return fail(error);
    if (options->output)
        print_info_json(path, &info);
    else
        print_info(path, &info);
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
    from = block_open(options->arguments[0], BLOCK_OPEN_READ_ONLY | BLOCK_OPEN_PROBE_RAW, &error);
    if (!from)
        return fail(error);
    ok = convert(from, options->arguments[1], format, &meter, &error);
    block_abandon(from);
    return ok ? STATUS_OK : fail(error);
}

/* clang-format off */
static const struct command commands[] = {
    {"create", "FILE", 1, "make an empty disk", "drover-vhd create data.vhd --size 10G", "st",
     run_create},
    {"info", "FILE", 1, "show what a disk is", "drover-vhd info data.vhd -o json", "o", run_info},
    {"convert", "FROM TO", 2, "copy a disk into a new file of another type",
     "drover-vhd convert disk.img disk.vhd --type dynamic", "tq", run_convert},
};
/* clang-format on */

static void print_help(void)
{
    puts("drover-vhd: create, inspect and convert virtual disks\n");
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++)
        printf("  drover-vhd %-8s %-10s %s\n      %s\n", commands[i].name, commands[i].arguments,
               commands[i].summary, commands[i].example);
    puts("\nOptions: --size SIZE (512M, 10G), --type dynamic|fixed|raw (dynamic when not given),\n"
         "-o json, --quiet. Exit status: 0 done, 1 failed, 2 wrong usage.");
}

static int parse_and_run(const struct command *command, GOptionContext *context,
                         struct options *options, int argc, char **argv)
{
    GError *error = NULL;

    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        usage("%s: %s", command->name, error->message);
        g_error_free(error);
        return STATUS_USAGE;
    }
    if (!options->arguments || (int)g_strv_length(options->arguments) != command->count)
        return usage("%s takes %s; see drover-vhd %s --help", command->name, command->arguments,
                     command->name);
    return command->run(options);
}

static int run_command(const struct command *command, int argc, char **argv)
{
    struct options options = {0};
    const GOptionEntry all[] = {
        {"size",   's', 0, G_OPTION_ARG_STRING, &options.size,   "size of the disk",      "SIZE"},
        {"type",   't', 0, G_OPTION_ARG_STRING, &options.type,   "dynamic, fixed or raw", "TYPE"},
        {"output", 'o', 0, G_OPTION_ARG_STRING, &options.output, "json for programs",     "FORM"},
        {"quiet",  'q', 0, G_OPTION_ARG_NONE,   &options.quiet,  "no progress",           NULL  },
    };
    GOptionEntry own[G_N_ELEMENTS(all) + 2] = {
        {G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &options.arguments, NULL,
         command->arguments},
    };
    g_autofree char *parameter = g_strdup_printf("- %s", command->summary);
    g_autofree char *example = g_strdup_printf("Example:\n  %s", command->example);
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
    return usage("\"%s\" is no command; they are create, info and convert", argv[1]);
}
