/*
 * The command for dirty bitmaps: what has been written since a backup, and a backup of just that.
 */
#include <stdio.h>
#include <string.h>

#include "storage/backup.h"
#include "storage/size.h"
#include "storage/tool/progress.h"
#include "storage/tool/report.h"

struct bitmap_options {
    char *grain;
    char *base;
    gboolean json;
    gboolean clear;
    struct progress_options progress;
};

/* What an action works on. */
struct context {
    struct block_device *device;
    const char *name; /* NULL where an action takes none */
    const char *to;   /* likewise */
    struct block_bitmap *bitmap;
    uint64_t grain; /* 0: the usual one */
    const struct bitmap_options *options;
};

/* ---- showing --------------------------------------------------------------------------------- */

static void print_one(struct block_bitmap *bitmap, bool json, bool first)
{
    uint64_t dirty = block_bitmap_dirty_bytes(bitmap);
    const char *state = block_bitmap_was_sound(bitmap) ? "" : "  all of it: it was not kept";

    if (!json) {
        printf("%-24s %9u %16" G_GUINT64_FORMAT "%s\n", block_bitmap_name(bitmap),
               block_bitmap_grain(bitmap), dirty, state);
        return;
    }
    printf("%s{\"name\": ", first ? "" : ",\n ");
    tool_print_json(block_bitmap_name(bitmap));
    printf(", \"grain\": %u, \"dirtyBytes\": %" G_GUINT64_FORMAT ", \"sound\": %s}",
           block_bitmap_grain(bitmap), dirty, block_bitmap_was_sound(bitmap) ? "true" : "false");
}

static bool list(struct context *context, GError **error)
{
    bool json = context->options->json;
    struct block_bitmap *bitmap;

    if (json)
        printf("[");
    else if (block_bitmap_at(context->device, 0))
        printf("%-24s %9s %16s\n", "name", "grain", "dirty bytes");
    for (unsigned i = 0; (bitmap = block_bitmap_at(context->device, i)); i++)
        print_one(bitmap, json, i == 0);
    if (json)
        printf("]\n");
    return true;
}

static bool map(struct context *context, GError **error)
{
    bool json = context->options->json;
    const char *separator = "";
    uint64_t at = 0, length;

    printf(json ? "[" : "%16s %16s\n", "offset", "length");
    for (; block_bitmap_next(context->bitmap, at, &at, &length); at += length) {
        printf(json ? "%s{\"offset\": %" G_GUINT64_FORMAT ", \"length\": %" G_GUINT64_FORMAT "}"
                    : "%s%16" G_GUINT64_FORMAT " %16" G_GUINT64_FORMAT "\n",
               separator, at, length);
        separator = json ? ",\n " : "";
    }
    if (json)
        printf("]\n");
    return true;
}

/* ---- changing -------------------------------------------------------------------------------- */

static bool add(struct context *context, GError **error)
{
    /* one that is too large is refused with what would be right */
    uint32_t grain = (uint32_t)MIN(context->grain, UINT32_MAX);

    return block_bitmap_add(context->device, context->name, grain, error) != NULL;
}

static bool clear(struct context *context, GError **error)
{
    block_bitmap_clear(context->bitmap, 0, block_size(context->device));
    return true;
}

static bool forget(struct context *context, GError **error)
{
    block_bitmap_remove(context->device, context->name);
    return true;
}

static bool export(struct context *context, GError **error)
{
    struct progress *progress = progress_begin(context->to, &context->options->progress);
    uint64_t bytes = 0;
    bool ok = block_backup_dirty(context->device, context->bitmap, context->options->base,
                                 context->to, &bytes, progress_update, progress, error);
    g_autofree char *text = size_format(bytes);

    progress_end(progress);
    if (!ok)
        return false;
    printf("%s copied\n", text);
    return !context->options->clear || clear(context, error);
}

static const struct {
    const char *name;
    int arguments; /* FILE and what comes after it */
    const char *usage;
    bool existing; /* the bitmap has to be there */
    bool writing;
    bool (*run)(struct context *context, GError **error);
} actions[] = {
    {"add", 2, "add FILE NAME", false, true, add},
    {"list", 1, "list FILE", false, false, list},
    {"map", 2, "map FILE NAME", true, false, map},
    {"export", 3, "export FILE NAME TO --base LAST", true, false, export},
    {"clear", 2, "clear FILE NAME", true, true, clear},
    {"remove", 2, "remove FILE NAME", true, true, forget},
};

/* ---- the command ----------------------------------------------------------------------------- */

static bool find_bitmap(struct context *context, GError **error)
{
    context->bitmap = block_bitmap_find(context->device, context->name);
    if (context->bitmap)
        return true;
    g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_ARGUMENT, "%s has no bitmap \"%s\"",
                block_path(context->device), context->name);
    return false;
}

static int perform(unsigned action, char **arguments, const struct bitmap_options *options)
{
    bool writing = actions[action].writing || options->clear;
    struct context context = {.options = options};
    GError *error = NULL;

    context.device = block_open(
        arguments[0],
        BLOCK_OPEN_PROBE_RAW | BLOCK_OPEN_CHAIN | (writing ? 0 : BLOCK_OPEN_READ_ONLY), &error);
    if (!context.device)
        return tool_fail(error);
    context.name = arguments[1];
    context.to = arguments[1] ? arguments[2] : NULL;
    if ((actions[action].existing && !find_bitmap(&context, &error)) ||
        !actions[action].run(&context, &error)) {
        block_close(context.device, NULL); /* the other bitmaps are kept */
        return tool_fail(error);
    }
    return block_close(context.device, &error) ? STATUS_OK : tool_fail(error);
}

static int run_bitmap(char **arguments, const void *opaque)
{
    const struct bitmap_options *options = opaque;
    int count = (int)g_strv_length(arguments) - 1;

    for (unsigned i = 0; i < G_N_ELEMENTS(actions); i++) {
        if (strcmp(arguments[0], actions[i].name) != 0)
            continue;
        if (count != actions[i].arguments || !options->base != (actions[i].run != export))
            return tool_usage("write: drover-vhd bitmap %s", actions[i].usage);
        if ((options->grain && actions[i].run != add) || (options->clear && !options->base))
            return tool_usage("--grain goes with bitmap add, --clear with bitmap export");
        return perform(i, arguments + 1, options);
    }
    return tool_usage("bitmap does add, list, map, export, clear or remove, not \"%s\"",
                      arguments[0]);
}

static const struct command_option bitmap_options[] = {
    {"json", 0, G_OPTION_ARG_NONE, G_STRUCT_OFFSET(struct bitmap_options, json),
     "list and map, for programs: one JSON value", NULL},
    {"grain", 'g', G_OPTION_ARG_STRING, G_STRUCT_OFFSET(struct bitmap_options, grain),
     "add: how much is noted as one, 512 to 64M (64K when not given)", "SIZE"},
    {"base", 'b', G_OPTION_ARG_FILENAME, G_STRUCT_OFFSET(struct bitmap_options, base),
     "export: the backup before, a VHD or VHDX", "LAST"},
    {"clear", 0, G_OPTION_ARG_NONE, G_STRUCT_OFFSET(struct bitmap_options, clear),
     "export: and clear the bitmap, for the next one", NULL},
    PROGRESS_OPTIONS(struct bitmap_options, progress),
    {.name = NULL},
};

const struct command command_bitmap = {
    .name = "bitmap",
    .arguments = "ACTION FILE ...",
    .least = 2,
    .most = 4,
    .summary = "note what is written, for incremental backups",
    .details =
        "Actions: add FILE NAME, list FILE, map FILE NAME, export FILE NAME TO --base LAST,\n"
        "clear FILE NAME, remove FILE NAME.\n\n"
        "A bitmap notes which parts of a disk are written, by whom and when ever it is opened,\n"
        "and is kept beside it in FILE.bitmaps. export makes TO a child of LAST, the backup\n"
        "before, with what has been written since: TO shows the disk as it is now. Where a\n"
        "bitmap was not kept, after a crash, all counts as written: a backup may be larger than\n"
        "need be, never less than it must.",
    .examples = "drover-vhd bitmap add data.vhd daily\n"
                "drover-vhd convert data.vhd full.vhd\n"
                "drover-vhd bitmap list data.vhd\n"
                "drover-vhd bitmap export data.vhd daily monday.vhd --base full.vhd --clear\n"
                "drover-vhd bitmap export data.vhd daily tuesday.vhd --base monday.vhd --clear",
    .options = bitmap_options,
    .options_size = sizeof(struct bitmap_options),
    .run = run_bitmap,
};
