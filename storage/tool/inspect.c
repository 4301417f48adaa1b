/*
 * The commands that only look: info, map, compare; and check, which repairs when it is told to.
 */
#include <stdio.h>
#include <string.h>

#include "storage/check.h"
#include "storage/convert.h"
#include "storage/size.h"
#include "storage/tool/progress.h"
#include "storage/tool/report.h"

struct form_options {
    gboolean json;
};

static const struct command_option form_options[] = {
    {"json", 0, G_OPTION_ARG_NONE, G_STRUCT_OFFSET(struct form_options, json),
     "for programs: one JSON value", NULL},
    {.name = NULL},
};

/* ---- info -------------------------------------------------------------------------------------
 */

static void print_id(const uint8_t id[16])
{
    for (int i = 0; i < 16; i++)
        printf("%02x%s", id[i], i == 3 || i == 5 || i == 7 || i == 9 ? "-" : "");
}

/* The facts of one image, without the closing brace. */
static void print_facts(struct block_device *device, const struct block_info *info)
{
    printf("{\"file\": ");
    tool_print_json(block_path(device));
    printf(
        ", \"format\": \"%s\", \"virtualSize\": %" G_GUINT64_FORMAT
        ", \"fileSize\": %" G_GUINT64_FORMAT ", \"diskUsage\": %" G_GUINT64_FORMAT
        ", \"blockSize\": %u, \"blocks\": %u, \"blocksAllocated\": %u, \"sectorSize\": %u"
        ", \"geometry\": {\"cylinders\": %u, \"heads\": %u, \"sectorsPerTrack\": %u}, \"id\": \"",
        block_format_name(info->format), info->virtual_size, info->file_size, info->disk_usage,
        info->block_size, info->blocks_total, info->blocks_allocated, info->sector_size,
        info->cylinders, info->heads, info->sectors_per_track);
    print_id(info->unique_id);
    printf("\"");
    if (block_parent(device))
        printf(", \"parentTouched\": %s, \"parentRenamed\": %s",
               info->parent_touched ? "true" : "false", info->parent_renamed ? "true" : "false");
}

/* "parents" has their files, "chain" all of what is known of each. */
static bool print_info_json(struct block_device *device, const struct block_info *info,
                            GError **error)
{
    const char *separator = "";
    struct block_info of_parent;

    print_facts(device, info);
    printf(", \"parents\": [");
    for (struct block_device *p = block_parent(device); p; p = block_parent(p)) {
        fputs(separator, stdout);
        tool_print_json(block_path(p));
        separator = ", ";
    }
    printf("], \"chain\": [");
    separator = "";
    for (struct block_device *p = block_parent(device); p; p = block_parent(p)) {
        if (!block_get_info(p, &of_parent, error))
            return false;
        fputs(separator, stdout);
        print_facts(p, &of_parent);
        printf("}");
        separator = ",\n ";
    }
    printf("]}\n");
    return true;
}

static void print_warnings(struct block_device *device, const struct block_info *info)
{
    if (info->parent_renamed)
        printf("warning      %s knows its parent by another name\n", block_path(device));
    if (info->parent_touched)
        printf("warning      %s was changed, or copied, since its child was made: if it was "
               "changed, what the child shows is void\n",
               block_path(block_parent(device)));
}

static void print_info(struct block_device *device, const struct block_info *info)
{
    g_autofree char *size = size_format(info->virtual_size);
    g_autofree char *file = size_format(info->file_size);
    g_autofree char *used = size_format(info->disk_usage);

    printf("file         %s\n", block_path(device));
    printf("format       %s\n", block_format_name(info->format));
    printf("size         %s\n", size);
    printf("file size    %s\n", file);
    printf("on disk      %s\n", used);
    if (info->blocks_total)
        printf("blocks       %u of %u allocated, %u KiB each\n", info->blocks_allocated,
               info->blocks_total, info->block_size / 1024);
    if (info->format == BLOCK_FORMAT_RAW)
        return;
    if (info->sector_size)
        printf("sector size  %u bytes\n", info->sector_size);
    if (info->cylinders)
        printf("geometry     %u cylinders, %u heads, %u sectors per track\n", info->cylinders,
               info->heads, info->sectors_per_track);
    if (*info->creator)
        printf("creator      \"%s\"\n", info->creator);
    printf("id           ");
    print_id(info->unique_id);
    printf("\n");
    print_warnings(device, info);
    while ((device = block_parent(device)))
        printf("parent       %s (%s)\n", block_path(device),
               block_format_name(block_device_format(device)));
}

static bool show_info(struct block_device *device, void *context, GError **error)
{
    const struct form_options *options = context;
    struct block_info info;

    if (!block_get_info(device, &info, error))
        return false;
    if (options->json)
        return print_info_json(device, &info, error);
    print_info(device, &info);
    return true;
}

static int run_info(char **arguments, const void *opaque)
{
    struct form_options options = *(const struct form_options *)opaque;

    return tool_on_disk(arguments[0], true, show_info, &options);
}

const struct command command_info = {
    .name = "info",
    .arguments = "FILE",
    .least = 1,
    .most = 1,
    .summary = "show what a disk is, and its parents",
    .examples = "drover-vhd info data.vhd\ndrover-vhd info data.vhd --json",
    .options = form_options,
    .options_size = sizeof(struct form_options),
    .run = run_info,
};

/* ---- map --------------------------------------------------------------------------------------
 */

/* The run of equal extents that starts at `at`. */
static bool merged_extent(struct block_device *device, uint64_t at, struct block_extent *ret_run,
                          GError **error)
{
    struct block_extent run, next;

    if (!block_next_extent(device, at, &run, error))
        return false;
    while (run.offset + run.length < block_size(device)) {
        if (!block_next_extent(device, run.offset + run.length, &next, error))
            return false;
        if (next.kind != run.kind)
            break;
        run.length += next.length;
    }
    *ret_run = run;
    return true;
}

static bool print_map(struct block_device *device, void *context, GError **error)
{
    bool json = ((const struct form_options *)context)->json;
    const char *separator = "";
    struct block_extent run;

    if (json)
        printf("[");
    else
        printf("%16s %16s\n", "offset", "length");
    for (uint64_t at = 0; at < block_size(device); at += run.length) {
        if (!merged_extent(device, at, &run, error))
            return false;
        if (run.kind != BLOCK_EXTENT_DATA)
            continue;
        printf(json ? "%s{\"offset\": %" G_GUINT64_FORMAT ", \"length\": %" G_GUINT64_FORMAT "}"
                    : "%s%16" G_GUINT64_FORMAT " %16" G_GUINT64_FORMAT "\n",
               separator, run.offset, run.length);
        separator = json ? ",\n " : "";
    }
    if (json)
        printf("]\n");
    return true;
}

static int run_map(char **arguments, const void *opaque)
{
    struct form_options options = *(const struct form_options *)opaque;

    return tool_on_disk(arguments[0], true, print_map, &options);
}

const struct command command_map = {
    .name = "map",
    .arguments = "FILE",
    .least = 1,
    .most = 1,
    .summary = "list what is allocated; the rest reads as zero",
    .examples = "drover-vhd map data.vhd\ndrover-vhd map data.vhd --json",
    .options = form_options,
    .options_size = sizeof(struct form_options),
    .run = run_map,
};

/* ---- compare ----------------------------------------------------------------------------------
 */

static void print_comparison(struct block_device *a, struct block_device *b, bool equal,
                             uint64_t offset, bool json)
{
    bool size_only = block_size(a) != block_size(b) && offset == MIN(block_size(a), block_size(b));

    if (json) {
        printf("{\"equal\": %s", equal ? "true" : "false");
        if (!equal)
            printf(", \"offset\": %" G_GUINT64_FORMAT, offset);
        printf(", \"sizes\": [%" G_GUINT64_FORMAT ", %" G_GUINT64_FORMAT "]}\n", block_size(a),
               block_size(b));
    } else if (equal) {
        printf("equal\n");
    } else if (size_only) {
        printf("differ in size: %" G_GUINT64_FORMAT " and %" G_GUINT64_FORMAT
               " bytes, equal up to %" G_GUINT64_FORMAT "\n",
               block_size(a), block_size(b), offset);
    } else {
        printf("differ, first at offset %" G_GUINT64_FORMAT "\n", offset);
    }
}

struct compare_options {
    gboolean json;
    struct progress_options progress;
};

static bool compare(struct block_device *a, struct block_device *b,
                    const struct progress_options *options, bool *ret_equal, uint64_t *ret_offset,
                    GError **error)
{
    struct progress *progress = progress_begin(block_path(b), options);
    bool ok = block_compare(a, b, ret_equal, ret_offset, progress_update, progress, error);

    progress_end(progress);
    return ok;
}

static int run_compare(char **arguments, const void *opaque)
{
    const struct compare_options *options = opaque;
    struct block_device *a = NULL, *b = NULL;
    GError *error = NULL;
    uint64_t offset;
    bool equal, ok;

    a = tool_open(arguments[0], &error);
    if (a)
        b = tool_open(arguments[1], &error);
    ok = b && compare(a, b, &options->progress, &equal, &offset, &error);
    if (ok)
        print_comparison(a, b, equal, offset, options->json);
    block_abandon(a);
    block_abandon(b);
    if (!ok)
        return tool_fail_to_answer(error);
    return equal ? STATUS_OK : STATUS_FAILED;
}

static const struct command_option compare_options[] = {
    {"json", 0, G_OPTION_ARG_NONE, G_STRUCT_OFFSET(struct compare_options, json),
     "for programs: one JSON value", NULL},
    PROGRESS_OPTIONS(struct compare_options, progress),
    {.name = NULL},
};

const struct command command_compare = {
    .name = "compare",
    .arguments = "A B",
    .least = 2,
    .most = 2,
    .summary = "say whether two disks hold the same",
    .details = "The disks may be of different formats. What neither has allocated is not read.",
    .examples = "drover-vhd compare disk.img disk.vhd",
    .status = "0 equal, 1 they differ, 2 could not be read, 4 one is in use",
    .options = compare_options,
    .options_size = sizeof(struct compare_options),
    .run = run_compare,
};

/* ---- check ------------------------------------------------------------------------------------
 */

struct check_options {
    gboolean json;
    gboolean repair;
};

static const char *verdict(const struct block_check *check)
{
    if (check->findings->len == 0)
        return "clean";
    return check->repaired ? "repaired" : "damaged";
}

static void print_check_json(const char *path, const struct block_check *check)
{
    printf("{\"file\": ");
    tool_print_json(path);
    printf(", \"format\": \"%s\", \"verdict\": \"%s\", \"leakedBytes\": %" G_GUINT64_FORMAT
           ", \"findings\": [",
           block_format_name(check->format), verdict(check), check->leaked);
    for (guint i = 0; i < check->findings->len; i++) {
        const struct block_finding *finding = check->findings->pdata[i];

        printf("%s{\"repairable\": %s, \"text\": ", i ? ", " : "",
               finding->repairable ? "true" : "false");
        tool_print_json(finding->text);
        printf("}");
    }
    printf("]}\n");
}

static void print_check(const char *path, const struct block_check *check, bool repair)
{
    bool hopeless = false;

    for (guint i = 0; i < check->findings->len; i++) {
        const struct block_finding *finding = check->findings->pdata[i];

        printf("%s: %s%s\n", path, finding->text, finding->repairable ? "" : " (not repairable)");
        hopeless |= !finding->repairable;
    }
    printf("%s: %s%s\n", path, verdict(check),
           hopeless && repair                             ? "; left as it was"
           : check->findings->len && !hopeless && !repair ? "; --repair puts it right"
                                                          : "");
}

static int run_check(char **arguments, const void *opaque)
{
    const struct check_options *options = opaque;
    const char *path = arguments[0];
    struct block_check check;
    GError *error = NULL;
    int status;

    if (!block_check(path, options->repair, &check, &error))
        return tool_fail_to_answer(error);
    if (options->json)
        print_check_json(path, &check);
    else
        print_check(path, &check, options->repair);
    status = check.findings->len == 0 ? STATUS_OK
             : check.repaired         ? STATUS_REPAIRED
                                      : STATUS_FAILED;
    block_check_clear(&check);
    return status;
}

static const struct command_option check_options[] = {
    {"json", 0, G_OPTION_ARG_NONE, G_STRUCT_OFFSET(struct check_options, json),
     "for programs: one JSON value", NULL},
    {"repair", 'r', G_OPTION_ARG_NONE, G_STRUCT_OFFSET(struct check_options, repair),
     "put right what can be, or leave the file as it is", NULL},
    {.name = NULL},
};

const struct command command_check = {
    .name = "check",
    .arguments = "FILE",
    .least = 1,
    .most = 1,
    .summary = "look for damage, and repair what can be",
    .details =
        "Says what it finds. With --repair a file whose every damage can be put right is; any\n"
        "other is left as it is. Parents are not looked at.",
    .examples = "drover-vhd check data.vhd\ndrover-vhd check data.vhd --repair",
    .status = "0 clean, 1 damaged, 2 could not be read, 3 was damaged and is repaired, 4 in use",
    .options = check_options,
    .options_size = sizeof(struct check_options),
    .run = run_check,
};
