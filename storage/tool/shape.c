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

static struct block_device *open_to_change(const char *path, GError **error)
{
    return block_open(path, BLOCK_OPEN_PROBE_RAW | BLOCK_OPEN_CHAIN, error);
}

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

static int compact_in_place(const char *path, const struct compact_options *options)
{
    GError *error = NULL;
    struct block_device *device = open_to_change(path, &error);
    uint64_t before = 0, after = 0;
    struct progress *progress;
    bool ok;

    if (!device)
        return tool_fail(error);
    progress = progress_begin(path, &options->progress);
    ok = usage_of(device, &before, &error) &&
         block_compact(device, progress_update, progress, &error) && block_flush(device, &error) &&
         usage_of(device, &after, &error);
    progress_end(progress);
    if (!ok) {
        block_abandon(device);
        return tool_fail(error);
    }
    if (!block_close(device, &error))
        return tool_fail(error);
    say_gain(before, after);
    return STATUS_OK;
}

static int compact_to(const char *path, const struct compact_options *options)
{
    struct progress *progress;
    struct block_device *device;
    uint64_t before = 0, after = 0;
    GError *error = NULL;
    bool ok;

    device = tool_open(path, &error);
    if (!device)
        return tool_fail(error);
    progress = progress_begin(options->output, &options->progress);
    ok = usage_of(device, &before, &error) &&
         block_compact_to(device, options->output, &after, progress_update, progress, &error);
    progress_end(progress);
    block_abandon(device);
    if (!ok)
        return tool_fail(error);
    say_gain(before, after);
    return STATUS_OK;
}

static int run_compact(char **arguments, const void *opaque)
{
    const struct compact_options *options = opaque;

    return options->output ? compact_to(arguments[0], options)
                           : compact_in_place(arguments[0], options);
}

static const struct command_option compact_options[] = {
    {"output", 'o', G_OPTION_ARG_FILENAME, G_STRUCT_OFFSET(struct compact_options, output),
     "leave FILE as it is and write the compacted disk here", "NEW"},
    PROGRESS_OPTIONS(struct compact_options, progress),
    {NULL},
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

static bool resize(struct block_device *device, const char *text, bool smallest, GError **error)
{
    uint64_t size;
    bool ok = smallest ? block_used_end(device, &size, error) : size_parse(text, &size, error);
    g_autofree char *before = size_format(block_size(device)), *after = NULL;

    if (!ok || !block_resize(device, MAX(size, BLOCK_SECTOR_SIZE), error))
        return false;
    after = size_format(block_size(device));
    printf("%s before, %s now\n", before, after);
    return true;
}

static int run_resize(char **arguments, const void *opaque)
{
    const struct resize_options *options = opaque;
    struct block_device *device;
    GError *error = NULL;

    if (!arguments[1] == !options->smallest)
        return tool_usage("resize takes a size, as in resize data.vhd 20G, or --smallest");
    device = open_to_change(arguments[0], &error);
    if (!device)
        return tool_fail(error);
    if (!resize(device, arguments[1], options->smallest, &error)) {
        block_abandon(device);
        return tool_fail(error);
    }
    return block_close(device, &error) ? STATUS_OK : tool_fail(error);
}

static const struct command_option resize_options[] = {
    {"smallest", 0, G_OPTION_ARG_NONE, G_STRUCT_OFFSET(struct resize_options, smallest),
     "cut off the zeroes at the disk's end", NULL},
    {NULL},
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
