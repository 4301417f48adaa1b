/*
 * The commands for chains of differencing disks: merge, rebase, snapshot, undo.
 */
#include <stdio.h>
#include <string.h>

#include "storage/operations.h"
#include "storage/tool/progress.h"
#include "storage/tool/report.h"

/* What a command does with a chain, by paths: the library opens and locks what it needs. */
typedef bool chain_work_fn(char **arguments, const void *options, struct progress *progress,
                           GError **error);

static int work_on_chain(const char *what, const struct progress_options *options,
                         chain_work_fn *work, char **arguments, const void *all_options)
{
    struct progress *progress = progress_begin(what, options);
    GError *error = NULL;
    bool ok = work(arguments, all_options, progress, &error);

    progress_end(progress);
    return ok ? STATUS_OK : tool_fail(error);
}

/* ---- merge ----------------------------------------------------------------------------------- */

struct merge_options {
    struct progress_options progress;
};

static bool merge(char **arguments, const void *options, struct progress *progress, GError **error)
{
    return block_merge(arguments[0], progress_update, progress, error);
}

static int run_merge(char **arguments, const void *opaque)
{
    const struct merge_options *options = opaque;

    return work_on_chain(arguments[0], &options->progress, merge, arguments, options);
}

static const struct command_option merge_options[] = {
    PROGRESS_OPTIONS(struct merge_options, progress),
    {.name = NULL},
};

const struct command command_merge = {
    .name = "merge",
    .arguments = "CHILD",
    .least = 1,
    .most = 1,
    .summary = "commit a child into its parent, and remove it",
    .details = "Until it has ended the child shows what it showed. A journal beside it,\n"
               "CHILD.merge, notes how far it has come: after a crash, the same command goes on.\n"
               "Other children of that parent become void.",
    .examples = "drover-vhd merge child.vhd",
    .options = merge_options,
    .options_size = sizeof(struct merge_options),
    .run = run_merge,
};

/* ---- rebase ---------------------------------------------------------------------------------- */

struct rebase_options {
    gboolean rename_only;
    struct progress_options progress;
};

static bool rebase(char **arguments, const void *options, struct progress *progress, GError **error)
{
    bool rename_only = ((const struct rebase_options *)options)->rename_only;

    return block_rebase(arguments[0], arguments[1], rename_only, progress_update, progress, error);
}

static int run_rebase(char **arguments, const void *opaque)
{
    const struct rebase_options *options = opaque;

    return work_on_chain(arguments[0], &options->progress, rebase, arguments, options);
}

static const struct command_option rebase_options[] = {
    {"rename-only", 0, G_OPTION_ARG_NONE, G_STRUCT_OFFSET(struct rebase_options, rename_only),
     "PARENT holds what the old parent held; that need not be there", NULL},
    PROGRESS_OPTIONS(struct rebase_options, progress),
    {.name = NULL},
};

const struct command command_rebase = {
    .name = "rebase",
    .arguments = "CHILD PARENT",
    .least = 2,
    .most = 2,
    .summary = "put a child upon another parent",
    .details = "What the child shows stays the same: where the parents differ, it takes the old\n"
               "one's content over. With --rename-only nothing is compared or copied.",
    .examples = "drover-vhd rebase child.vhd other.vhd\n"
                "drover-vhd rebase child.vhd moved/parent.vhd --rename-only",
    .options = rebase_options,
    .options_size = sizeof(struct rebase_options),
    .run = run_rebase,
};

/* ---- snapshot -------------------------------------------------------------------------------- */

static int run_snapshot(char **arguments, const void *opaque)
{
    GError *error = NULL;

    return block_snapshot(arguments[0], arguments[1], &error) ? STATUS_OK : tool_fail(error);
}

const struct command command_snapshot = {
    .name = "snapshot",
    .arguments = "DISK SAVED",
    .least = 2,
    .most = 2,
    .summary = "keep a disk as it is, and go on with a child of it",
    .details = "The disk's file gets the name SAVED, and DISK becomes an empty child of it.\n"
               "drover-vhd merge DISK puts the two together again, under the name SAVED.",
    .examples = "drover-vhd snapshot data.vhd data-monday.vhd",
    .run = run_snapshot,
};

/* ---- undo ------------------------------------------------------------------------------------ */

struct undo_options {
    struct progress_options progress;
};

static int undo_begin(const char *path)
{
    GError *error = NULL;
    struct block_device *device = block_undo_open(path, &error);

    if (!device || !block_close(device, &error))
        return tool_fail(error);
    g_autofree char *undo = block_undo_path(path);

    printf("%s\n", undo);
    return STATUS_OK;
}

static bool undo_end(char **arguments, const void *options, struct progress *progress,
                     GError **error)
{
    enum block_undo_action action;

    return block_undo_parse(arguments[0], &action) && /* it was looked at before */
           block_undo_end(arguments[1], action, progress_update, progress, error);
}

static int run_undo(char **arguments, const void *opaque)
{
    const struct undo_options *options = opaque;
    enum block_undo_action action;

    if (strcmp(arguments[0], "begin") == 0)
        return undo_begin(arguments[1]);
    if (!block_undo_parse(arguments[0], &action))
        return tool_usage("undo does begin, commit, keep or discard, not \"%s\"", arguments[0]);
    return work_on_chain(arguments[1], &options->progress, undo_end, arguments, options);
}

static const struct command_option undo_options[] = {
    PROGRESS_OPTIONS(struct undo_options, progress),
    {.name = NULL},
};

const struct command command_undo = {
    .name = "undo",
    .arguments = "ACTION DISK",
    .least = 2,
    .most = 2,
    .summary = "run on an undo disk; commit, keep or discard it",
    .details = "begin makes DISK.undo, a child of DISK, unless one was kept, and prints its name:\n"
               "let the machine run on that. Once it has stopped, commit puts what it wrote into\n"
               "DISK, discard forgets it, keep leaves it for the next begin.",
    .examples = "drover-vhd undo begin data.vhd\n"
                "drover-vhd undo discard data.vhd",
    .options = undo_options,
    .options_size = sizeof(struct undo_options),
    .run = run_undo,
};
