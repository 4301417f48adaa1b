/*
 * The commands that only look: info, map, compare; and check, which repairs when it is told to.
 */
#include <stdio.h>
#include <string.h>

#include "storage/check.h"
#include "storage/convert.h"
#include "storage/size.h"
#include "storage/tool/tool.h"

/* ---- info -------------------------------------------------------------------------------------
 */

static void print_id(const uint8_t id[16])
{
    for (int i = 0; i < 16; i++)
        printf("%02x%s", id[i], i == 3 || i == 5 || i == 7 || i == 9 ? "-" : "");
}

static void print_info_json(struct block_device *device, const struct block_info *info)
{
    const char *separator = "";

    printf("{\"file\": ");
    tool_print_json(block_path(device));
    printf(", \"format\": \"%s\", \"virtualSize\": %" G_GUINT64_FORMAT
           ", \"fileSize\": %" G_GUINT64_FORMAT ", \"diskUsage\": %" G_GUINT64_FORMAT
           ", \"blockSize\": %u, \"blocks\": %u, \"blocksAllocated\": %u, \"geometry\": "
           "{\"cylinders\": %u, \"heads\": %u, \"sectorsPerTrack\": %u}, \"id\": \"",
           block_format_name(info->format), info->virtual_size, info->file_size, info->disk_usage,
           info->block_size, info->blocks_total, info->blocks_allocated, info->cylinders,
           info->heads, info->sectors_per_track);
    print_id(info->unique_id);
    printf("\", \"parents\": [");
    while ((device = block_parent(device))) {
        fputs(separator, stdout);
        tool_print_json(block_path(device));
        separator = ", ";
    }
    printf("]}\n");
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
    if (info->block_size)
        printf("blocks       %u of %u allocated, %u KiB each\n", info->blocks_allocated,
               info->blocks_total, info->block_size / 1024);
    if (info->format == BLOCK_FORMAT_RAW)
        return;
    printf("geometry     %u cylinders, %u heads, %u sectors per track\n", info->cylinders,
           info->heads, info->sectors_per_track);
    printf("creator      \"%s\"\n", info->creator);
    printf("id           ");
    print_id(info->unique_id);
    printf("\n");
    while ((device = block_parent(device)))
        printf("parent       %s (%s)\n", block_path(device),
               block_format_name(block_device_format(device)));
}

int run_info(const struct options *options)
{
    struct block_device *device;
    struct block_info info;
    GError *error = NULL;
    bool ok;

    if (!tool_output_ok(options))
        return STATUS_USAGE;
    device = tool_open(options->arguments[0], &error);
    if (!device)
        return tool_fail(error);
    ok = block_get_info(device, &info, &error);
    if (ok && options->output)
        print_info_json(device, &info);
    else if (ok)
        print_info(device, &info);
    block_abandon(device);
    return ok ? STATUS_OK : tool_fail(error);
}

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

static bool print_map(struct block_device *device, bool json, GError **error)
{
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

int run_map(const struct options *options)
{
    struct block_device *device;
    GError *error = NULL;
    bool ok;

    if (!tool_output_ok(options))
        return STATUS_USAGE;
    device = tool_open(options->arguments[0], &error);
    if (!device)
        return tool_fail(error);
    ok = print_map(device, options->output, &error);
    block_abandon(device);
    return ok ? STATUS_OK : tool_fail(error);
}

/* ---- compare ----------------------------------------------------------------------------------
 */

int run_compare(const struct options *options)
{
    struct block_device *a = NULL, *b = NULL;
    GError *error = NULL;
    uint64_t offset;
    bool equal, ok;

    a = tool_open(options->arguments[0], &error);
    if (a)
        b = tool_open(options->arguments[1], &error);
    ok = b && block_compare(a, b, &equal, &offset, &error);
    if (ok && equal)
        printf("equal\n");
    else if (ok && block_size(a) != block_size(b) && offset == MIN(block_size(a), block_size(b)))
        printf("differ in size: %" G_GUINT64_FORMAT " and %" G_GUINT64_FORMAT
               " bytes, equal up to %" G_GUINT64_FORMAT "\n",
               block_size(a), block_size(b), offset);
    else if (ok)
        printf("differ, first at offset %" G_GUINT64_FORMAT "\n", offset);
    block_abandon(a);
    block_abandon(b);
    if (!ok) {
        tool_fail(error);
        return STATUS_USAGE;
    }
    return equal ? STATUS_OK : STATUS_FAILED;
}

/* ---- check ------------------------------------------------------------------------------------
 */

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

int run_check(const struct options *options)
{
    const char *path = options->arguments[0];
    struct block_check check;
    GError *error = NULL;
    int status;

    if (!tool_output_ok(options))
        return STATUS_USAGE;
    if (!block_check(path, options->repair, &check, &error)) {
        tool_fail(error);
        return STATUS_USAGE;
    }
    if (options->output)
        print_check_json(path, &check);
    else
        print_check(path, &check, options->repair);
    status = check.findings->len == 0 ? STATUS_OK
             : check.repaired         ? STATUS_REPAIRED
                                      : STATUS_FAILED;
    block_check_clear(&check);
    return status;
}
