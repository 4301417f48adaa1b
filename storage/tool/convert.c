/*
 * The command that copies a disk into a new file, of any type we write.
 */
#include "storage/convert.h"

#include <string.h>
#include <unistd.h>

#include "storage/stream.h"
#include "storage/tool/progress.h"
#include "storage/tool/type.h"

struct convert_options {
    struct type_options type;
    struct progress_options progress;
};

static bool copy_to_file(struct block_device *from, const char *to_path,
                         const struct block_create_options *create, struct progress *progress,
                         GError **error)
{
    struct block_device *to;

    if (!block_create_with(to_path, create, error))
        return false;
    to = block_open(to_path, BLOCK_OPEN_PROBE_RAW, error);
    if (to && block_copy(from, to, progress_update, progress, error))
        return block_close(to, error);
    block_abandon(to);
    unlink(to_path); /* made a moment ago, and incomplete */
    return false;
}

static int convert(struct block_device *from, const char *to_path,
                   const struct convert_options *options, struct block_create_options *create)
{
    bool to_stdout = strcmp(to_path, "-") == 0, ok;
    struct progress *progress;
    GError *error = NULL;

    if (to_stdout && !block_stream_can(create->format))
        return tool_usage("to standard output goes raw or vhd-fixed only, not %s: the others are "
                          "not written from beginning to end",
                          block_format_name(create->format));
    create->size = block_size(from);
    progress = progress_begin(to_stdout ? block_path(from) : to_path, &options->progress);
    if (to_stdout)
        ok = block_stream(from, create->format, STDOUT_FILENO, "standard output", progress_update,
                          progress, &error);
    else
        ok = copy_to_file(from, to_path, create, progress, &error);
    progress_end(progress);
    return ok ? STATUS_OK : tool_fail(error);
}

static int run_convert(char **arguments, const void *opaque)
{
    const struct convert_options *options = opaque;
    struct block_create_options create = {0};
    struct block_device *from;
    GError *error = NULL;
    int status;

    if (!tool_parse_type(&options->type, &create))
        return STATUS_USAGE;
    from = tool_open(arguments[0], &error);
    if (!from)
        return tool_fail(error);
    status = convert(from, arguments[1], options, &create);
    block_abandon(from);
    return status;
}

static const struct command_option convert_options[] = {
    TYPE_OPTIONS(struct convert_options, type),
    PROGRESS_OPTIONS(struct convert_options, progress),
    {.name = NULL},
};

const struct command command_convert = {
    .name = "convert",
    .arguments = "FROM TO",
    .least = 2,
    .most = 2,
    .summary = "copy a disk into a new file of another type",
    .details =
        "FROM may be of any type that is read, a child of others too, or a block device of the\n"
        "host; TO becomes a disk that stands alone. What FROM has not allocated, and what is\n"
        "zero in it, takes no space in TO. With - for TO, raw and vhd-fixed go to standard\n"
        "output.",
    .examples = "drover-vhd convert disk.img disk.vhd\n"
                "drover-vhd convert disk.vhd disk.vhdx --type vhdx\n"
                "drover-vhd convert disk.vhd - --type raw | zstd >disk.img.zst",
    .options = convert_options,
    .options_size = sizeof(struct convert_options),
    .run = run_convert,
};
