/*
 * The command that frees what a disk's file systems do not use.
 */
#include "storage/fsmap/precompact.h"

#include <stdio.h>

#include "storage/size.h"
#include "storage/tool/progress.h"
#include "storage/tool/report.h"

struct precompact_options {
    gboolean dry_run;
    gboolean json;
    struct progress_options progress;
};

static void print_json(const struct precompact_result *result)
{
    printf("{\"partitionTable\": \"%s\", \"freeBytes\": %" G_GUINT64_FORMAT ", \"volumes\": [",
           result->table, result->free_bytes);
    for (guint i = 0; i < result->volumes->len; i++) {
        const struct precompact_volume *volume = result->volumes->pdata[i];

        printf("%s{\"partition\": %u, \"name\": ", i ? ",\n " : "", volume->number);
        tool_print_json(volume->name);
        printf(", \"offset\": %" G_GUINT64_FORMAT ", \"length\": %" G_GUINT64_FORMAT
               ", \"type\": \"%s\", \"state\": \"%s\", \"freeBytes\": %" G_GUINT64_FORMAT,
               volume->offset, volume->length, volume->report.type,
               fs_state_name(volume->report.state), volume->report.free_bytes);
        if (volume->report.why) {
            printf(", \"why\": ");
            tool_print_json(volume->report.why);
        }
        printf("}");
    }
    printf("]}\n");
}

static void print_volume(const struct precompact_volume *volume)
{
    g_autofree char *length = size_format(volume->length);
    g_autofree char *free_bytes = size_format(volume->report.free_bytes);

    if (volume->number)
        printf("partition %-3u", volume->number);
    else
        printf("whole disk   ");
    printf("  %-8s %s: ", volume->report.type, length);
    if (volume->report.state == FS_MAPPED)
        printf("%s free\n", free_bytes);
    else
        printf("left alone: %s\n", volume->report.why);
}

static void print_text(const struct precompact_result *result, bool dry_run)
{
    g_autofree char *sum = size_format(result->free_bytes);

    for (guint i = 0; i < result->volumes->len; i++)
        print_volume(result->volumes->pdata[i]);
    printf("%s %s\n", dry_run ? "could be given back:" : "given back:", sum);
}

static bool precompact_disk(struct block_device *device, void *context, GError **error)
{
    const struct precompact_options *options = context;
    struct progress *progress = progress_begin(block_path(device), &options->progress);
    struct precompact_result result;
    bool ok = precompact(device, options->dry_run, progress_update, progress, &result, error);

    progress_end(progress);
    if (!ok)
        return false;
    if (options->json)
        print_json(&result);
    else
        print_text(&result, options->dry_run);
    precompact_result_clear(&result);
    return true;
}

static int run_precompact(char **arguments, const void *opaque)
{
    struct precompact_options options = *(const struct precompact_options *)opaque;

    return tool_on_disk(arguments[0], options.dry_run, precompact_disk, &options);
}

static const struct command_option precompact_options[] = {
    {"dry-run", 'n', G_OPTION_ARG_NONE, G_STRUCT_OFFSET(struct precompact_options, dry_run),
     "only say what is free", NULL},
    {"json", 0, G_OPTION_ARG_NONE, G_STRUCT_OFFSET(struct precompact_options, json),
     "for programs: one JSON value", NULL},
    PROGRESS_OPTIONS(struct precompact_options, progress),
    {.name = NULL},
};

const struct command command_precompact = {
    .name = "precompact",
    .arguments = "FILE",
    .least = 1,
    .most = 1,
    .summary = "give back what the disk's file systems do not use",
    .details =
        "Blocks that hold free space only become unallocated, without booting the system on the\n"
        "disk, which must be shut down. Known are ext2, ext3, ext4, FAT, NTFS and Linux swap, on\n"
        "MBR and GPT partitions or the whole disk. Others, and those that are damaged or were not\n"
        "cleanly unmounted, are left alone, and it says so. Then compact the file.",
    .examples = "drover-vhd precompact disk.vhd\ndrover-vhd precompact disk.vhd --dry-run --json",
    .options = precompact_options,
    .options_size = sizeof(struct precompact_options),
    .run = run_precompact,
};
