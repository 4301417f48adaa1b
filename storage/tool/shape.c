/*
 * The commands that change a disk's size in the file, or to the guest: compact, resize.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "storage/operations.h"
#include "storage/size.h"
#include "storage/tool/progress.h"
#include "storage/tool/report.h"

/* ---- compact --------------------------------------------------------------------------------- */

struct compact_options {
    char *output;
    struct progress_options progress;
};

static bool usage_of(struct block_device *device, uint64_t *ret_usage, GError **error)
{
    struct block_info info;

    if (!block_get_info(device, &info, error))
        return false;
    *ret_usage = info.disk_usage;
    return true;
}

static void say_gain(uint64_t before, uint64_t after)
{
    g_autofree char *was = size_format(before), *is = size_format(after);

    printf("%s on the host's disk before, %s now\n", was, is);
}

static bool compact(struct block_device *device, const struct compact_options *options,
                    struct progress *progress, uint64_t *ret_after, GError **error)
{
    if (options->output)
        return block_compact_to(device, options->output, ret_after, progress_update, progress,
                                error);
    return block_compact(device, progress_update, progress, error) && block_flush(device, error) &&
           usage_of(device, ret_after, error);
}

static bool compact_disk(struct block_device *device, void *context, GError **error)
{
    const struct compact_options *options = context;
    struct progress *progress =
        progress_begin(options->output ? options->output : block_path(device), &options->progress);
    uint64_t before = 0, after = 0;
    bool ok = usage_of(device, &before, error) && compact(device, options, progress, &after, error);

    progress_end(progress);
    if (ok)
        say_gain(before, after);
    return ok;
}

static int run_compact(char **arguments, const void *opaque)
{
    struct compact_options options = *(const struct compact_options *)opaque;

    return tool_on_disk(arguments[0], options.output, compact_disk, &options);
}

static const struct command_option compact_options[] = {
    {"output", 'o', G_OPTION_ARG_FILENAME, G_STRUCT_OFFSET(struct compact_options, output),
     "leave FILE as it is and write the compacted disk here", "NEW"},
    PROGRESS_OPTIONS(struct compact_options, progress),
    {.name = NULL},
};

const struct command command_compact = {
    .name = "compact",
    .arguments = "FILE",
    .least = 1,
    .most = 1,
    .summary = "give back what a disk does not need",
    .details = "Blocks that hold only zeroes, or what the parent has there, leave the file; the\n"
               "others move together and the end is cut off. In place, that needs no space\n"
               "beyond the file's, and a crash at any moment leaves the disk good. What the\n"
               "guest has deleted is not zero yet: run drover-vhd precompact first.",
    .examples = "drover-vhd compact data.vhd\n"
                "drover-vhd compact data.vhd --output small.vhd",
    .options = compact_options,
    .options_size = sizeof(struct compact_options),
    .run = run_compact,
};

/* ---- resize ---------------------------------------------------------------------------------- */

struct resize_options {
    gboolean smallest;
};

/* To the size that `context` points to, 0: the smallest. */
static bool resize_disk(struct block_device *device, void *context, GError **error)
{
    g_autofree char *before = size_format(block_size(device)), *after = NULL;
    uint64_t size = *(const uint64_t *)context;

    if (size == 0) {
        if (!block_used_end(device, &size, error))
            return false;
        size = MAX(size, BLOCK_SECTOR_SIZE);
    }
    if (!block_resize(device, size, error))
        return false;
    after = size_format(block_size(device));
    printf("%s before, %s now\n", before, after);
    return true;
}

static int run_resize(char **arguments, const void *opaque)
{
    const struct resize_options *options = opaque;
    uint64_t size = 0;

    if (!arguments[1] == !options->smallest)
        return tool_usage("resize takes a size, as in resize data.vhd 20G, or --smallest");
    if (arguments[1] && !tool_parse_size(arguments[1], &size))
        return STATUS_USAGE;
    return tool_on_disk(arguments[0], false, resize_disk, &size);
}

static const struct command_option resize_options[] = {
    {"smallest", 0, G_OPTION_ARG_NONE, G_STRUCT_OFFSET(struct resize_options, smallest),
     "cut off the zeroes at the disk's end", NULL},
    {.name = NULL},
};

const struct command command_resize = {
    .name = "resize",
    .arguments = "FILE [SIZE]",
    .least = 1,
    .most = 2,
    .summary = "make a disk larger, or smaller where it is free",
    .details = "A disk shrinks only as far as it holds nothing but zeroes beyond the new end.\n"
               "Partitions and file systems are the guest's to resize: before shrinking, after\n"
               "growing.",
    .examples = "drover-vhd resize data.vhd 20G\n"
                "drover-vhd resize data.vhd --smallest",
    .options = resize_options,
    .options_size = sizeof(struct resize_options),
    .run = run_resize,
};
