/*
 * A machine and its disks as they are at one moment, while it goes on: its state in a file, and
 * each disk's content in a file beside the disk's own, which from then on is a child of that.
 */
#include "emu/machine/machine_internal.h"
#include "storage/operations.h"
#include <gio/gio.h>
#include <stdio.h>
#include <unistd.h>

struct replacement {
    const struct machine_disk *disk;
    const char *saved;
    GError *failure; /* the disk could not be kept, but goes on as it was */
};

static struct block_device *reopen(const struct machine_disk *disk, unsigned flags, GError **error)
{
    struct block_device *device = block_open(disk->file, flags, error);
    if (device)
        block_set_limits(device, &disk->limits);
    return device;
}

static struct block_device *replace(void *opaque, GError **error)
{
    struct replacement *replacement = opaque;
    const struct machine_disk *disk = replacement->disk;
    if (block_snapshot(disk->file, replacement->saved, &replacement->failure))
        return reopen(disk, BLOCK_OPEN_CHAIN, error);
    return reopen(disk, disk->chain ? BLOCK_OPEN_CHAIN : 0, error);
}

static char *saved_name(const struct machine_disk *disk, const char *path)
{
    g_autofree char *name = g_path_get_basename(path);
    return g_strconcat(disk->file, ".", name, NULL);
}

/* All that can be known beforehand. */
static bool check_disks(const struct machine *machine, const char *path, GError **error)
{
    for (unsigned i = 0; i < machine->config->disk_count; i++) {
        const struct machine_disk *disk = &machine->config->disks[i];
        const char *problem = NULL;
        g_autofree char *saved = saved_name(disk, path);
        if (disk->read_only)
            continue;
        if (disk->undo)
            problem = "runs on an undo disk, which cannot be kept as well";
        else if (disk->raw)
            problem = "is of a format that has no children; make it a VHD or VHDX with drover-vhd "
                      "convert";
        else if (g_file_test(saved, G_FILE_TEST_EXISTS))
            problem = "has a snapshot of that name already";
        if (problem) {
            g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED, "disk %u, %s, %s", i,
                        disk->file, problem);
            return false;
        }
    }
    return true;
}

static bool keep_disk(struct machine *machine, unsigned index, const char *path, GError **error)
{
    const struct machine_disk *disk = &machine->config->disks[index];
    g_autofree char *saved = saved_name(disk, path);
    struct replacement replacement = {.disk = disk, .saved = saved};
    if (disk->read_only)
        return true;
    if (!disk_worker_reopen(machine->disks[index], replace, &replacement, error)) {
        g_clear_error(&replacement.failure);
        g_prefix_error(error, "disk %u is lost, and the machine ends: ", index);
        machine_quit(machine); /* it cannot go on without */
        return false;
    }
    if (!replacement.failure)
        return true;
    g_propagate_prefixed_error(error, replacement.failure, "disk %u goes on as it was: ", index);
    return false;
}

static bool take(struct machine *machine, const char *path, GError **error)
{
    if (!check_disks(machine, path, error) || !machine_save_file(machine, path, error))
        return false;
    machine->is_saved = false; /* it goes on, on disks of its own */
    for (unsigned i = 0; i < machine->config->disk_count; i++) {
        if (keep_disk(machine, i, path, error))
            continue;
        unlink(path); /* it belongs to disks that are not all there */
        return false;
    }
    return true;
}

bool machine_snapshot(struct machine *machine, const char *path, GError **error)
{
    bool was_paused = machine->paused;
    if (g_file_test(path, G_FILE_TEST_EXISTS)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_EXISTS, "%s is there already", path);
        return false;
    }
    if (!was_paused)
        machine_pause(machine);
    bool ok = take(machine, path, error);
    if (!was_paused)
        machine_resume(machine);
    return ok;
}
