/*
 * The commands that make a new file: create, convert.
 */
#include <string.h>
#include <unistd.h>

#include "storage/convert.h"
#include "storage/size.h"
#include "storage/tool/progress.h"
#include "storage/tool/report.h"

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

/* ---- create -----------------------------------------------------------------------------------
 */

struct create_options {
    char *size;
    char *type;
    char *parent;
};

static int create_child(const char *path, const struct create_options *options)
{
    GError *error = NULL;

    if (options->size || options->type)
        return tool_usage("--parent goes without --size and --type: a child is as large as its "
                          "parent, and differencing");
    if (!block_create_child(path, options->parent, &error))
        return tool_fail(error);
    return STATUS_OK;
}

static int run_create(char **arguments, const void *opaque)
{
    const struct create_options *options = opaque;
    enum block_format format;
    GError *error = NULL;
    uint64_t size;

    if (options->parent)
        return create_child(arguments[0], options);
    if (!options->size)
        return tool_usage("create needs --size, as in --size 10G, or --parent FILE");
    if (!parse_type(options->type, &format))
        return STATUS_USAGE;
    if (!size_parse(options->size, &size, &error) ||
        !block_create(arguments[0], format, size, &error))
        return tool_fail(error);
    return STATUS_OK;
}

static const struct command_option create_options[] = {
    {"size",               's', G_OPTION_ARG_STRING, G_STRUCT_OFFSET(struct create_options, size),
     "size of the disk: 512M, 10G", "SIZE"},
    {"type", 't', G_OPTION_ARG_STRING, G_STRUCT_OFFSET(struct create_options, type),
     "dynamic (when not given), fixed or raw", "TYPE"},
    {"parent",               'p', G_OPTION_ARG_FILENAME, G_STRUCT_OFFSET(struct create_options, parent),
     "make a differencing disk, a child of this one", "FILE"},
    {NULL             },
};

const struct command command_create = {
    .name = "create",
    .arguments = "FILE",
    .least = 1,
    .most = 1,
    .summary = "make an empty disk, or a child of another one",
    .examples = "drover-vhd create data.vhd --size 10G\n"
                "drover-vhd create child.vhd --parent data.vhd",
    .options = create_options,
    .options_size = sizeof(struct create_options),
    .run = run_create,
};

/* ---- convert ----------------------------------------------------------------------------------
 */

struct convert_options {
    char *type;
    struct progress_options progress;
};

static bool convert(struct block_device *from, const char *to_path, enum block_format format,
                    struct progress *progress, GError **error)
{
    struct block_device *to;

    if (!block_create(to_path, format, block_size(from), error))
        return false;
    to = block_open(to_path, BLOCK_OPEN_PROBE_RAW, error);
    if (to && block_copy(from, to, progress_update, progress, error))
        return block_close(to, error);
    block_abandon(to);
    unlink(to_path); /* made a moment ago, and incomplete */
    return false;
}

static int run_convert(char **arguments, const void *opaque)
{
    const struct convert_options *options = opaque;
    struct progress *progress;
    struct block_device *from;
    enum block_format format;
    GError *error = NULL;
    bool ok;

    if (!parse_type(options->type, &format))
        return STATUS_USAGE;
    from = tool_open(arguments[0], &error);
    if (!from)
        return tool_fail(error);
    progress = progress_begin(arguments[1], &options->progress);
    ok = convert(from, arguments[1], format, progress, &error);
    progress_end(progress);
    block_abandon(from);
    return ok ? STATUS_OK : tool_fail(error);
}

static const struct command_option convert_options[] = {
    {"type",               't', G_OPTION_ARG_STRING, G_STRUCT_OFFSET(struct convert_options, type),
     "dynamic (when not given), fixed or raw", "TYPE"},
    PROGRESS_OPTIONS(struct convert_options, progress),
    {NULL},
};

const struct command command_convert = {
    .name = "convert",
    .arguments = "FROM TO",
    .least = 2,
    .most = 2,
    .summary = "copy a disk into a new file of another type",
    .details = "What FROM has not allocated, and what is zero in it, takes no space in TO.",
    .examples = "drover-vhd convert disk.img disk.vhd --type dynamic",
    .options = convert_options,
    .options_size = sizeof(struct convert_options),
    .run = run_convert,
};
