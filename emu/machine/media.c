/*
 * The disks, discs and floppies of a machine: opening their files, changing what can be changed,
 * closing them.
 */
#include "emu/device/floppy.h"
#include "emu/device/ide.h"
#include "emu/machine/machine_internal.h"
#include <gio/gio.h>
#include <sys/stat.h>
#include <unistd.h>

/* Takes `device`, which may be NULL. */
static struct disk_worker *make_worker(struct machine *machine, const char *file,
                                       struct block_device *device, uint64_t smallest,
                                       GError **error)
{
    if (!device)
        return NULL;
    if (block_size(device) < smallest) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA, "%s is smaller than one sector",
                    file);
        block_abandon(device);
        return NULL;
    }
    return disk_worker_new(&machine->board, file, device, error);
}

static struct disk_worker *open_disk(struct machine *machine, const struct machine_disk *disk,
                                     GError **error)
{
    unsigned flags = (disk->read_only ? BLOCK_OPEN_READ_ONLY : 0) |
                     (disk->raw ? BLOCK_OPEN_PROBE_RAW : 0) | (disk->chain ? BLOCK_OPEN_CHAIN : 0);
    struct block_device *device =
        disk->undo ? block_undo_open(disk->file, error) : block_open(disk->file, flags, error);
    if (device)
        block_set_limits(device, &disk->limits);
    return make_worker(machine, disk->file, device, BLOCK_SECTOR_SIZE, error);
}

/* What can be changed: a plain image, too. */
static struct disk_worker *open_medium(struct machine *machine, const char *file, bool read_only,
                                       uint64_t smallest, GError **error)
{
    unsigned flags = BLOCK_OPEN_PROBE_RAW | (read_only ? BLOCK_OPEN_READ_ONLY : 0);
    return make_worker(machine, file, block_open(file, flags, error), smallest, error);
}

static struct disk_worker *open_disc(struct machine *machine, const char *file, GError **error)
{
    return open_medium(machine, file, true, 2048, error);
}

/* A file that nobody may write, or we may not, is a disk with its tab open; root's rights aside. */
static bool is_protected(const char *file)
{
    struct stat status;
    return access(file, W_OK) != 0 || (stat(file, &status) == 0 && !(status.st_mode & 0222));
}

/* A floppy disk for a drive of `type`, FLOPPY_NONE: for one that is chosen by the disk. */
static struct disk_worker *open_floppy(struct machine *machine, const struct machine_floppy *floppy,
                                       enum floppy_type type, GError **error)
{
    bool read_only = floppy->read_only || is_protected(floppy->file);
    struct disk_worker *worker =
        open_medium(machine, floppy->file, read_only, BLOCK_SECTOR_SIZE, error);
    if (!worker)
        return NULL;
    uint64_t size = disk_worker_size(worker);
    if (type == FLOPPY_NONE)
        type = floppy_type_for(size);
    if (floppy_fits(type, size))
        return worker;
    if (floppy_type_for(size) == FLOPPY_NONE)
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                    "%s has %" G_GUINT64_FORMAT
                    " bytes, which is no floppy disk's size: 160, 180, 320, 360, 720, 1200, 1440, "
                    "1680, 1722 or 2880 KiB",
                    floppy->file, size);
    else
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                    "%s, of %" G_GUINT64_FORMAT " KiB, does not fit a drive of %s", floppy->file,
                    size >> 10, floppy_type_name(type));
    disk_worker_close(worker, NULL);
    return NULL;
}

/* ---- opening ----------------------------------------------------------------------------- */

static bool open_disks(struct machine *machine, GError **error)
{
    const struct machine_config *config = machine->config;
    for (unsigned i = 0; i < config->disk_count; i++) {
        machine->disks[i] = open_disk(machine, &config->disks[i], error);
        machine->undo[i] = config->disks[i].undo_action;
        if (!machine->disks[i]) {
            g_prefix_error(error, "disk %u: ", i);
            return false;
        }
    }
    return true;
}

static bool open_discs(struct machine *machine, GError **error)
{
    const struct machine_config *config = machine->config;
    for (unsigned i = 0; i < config->cdrom_count; i++) {
        if (!config->cdroms[i])
            continue;
        machine->discs[i] = open_disc(machine, config->cdroms[i], error);
        if (!machine->discs[i]) {
            g_prefix_error(error, "CD-ROM drive %u: ", i);
            return false;
        }
    }
    return true;
}

static bool open_floppies(struct machine *machine, GError **error)
{
    const struct machine_config *config = machine->config;
    for (unsigned i = 0; i < config->floppy_count; i++) {
        if (!config->floppies[i].file)
            continue;
        machine->floppies[i] = open_floppy(machine, &config->floppies[i], FLOPPY_NONE, error);
        if (!machine->floppies[i]) {
            g_prefix_error(error, "floppy drive %u: ", i);
            return false;
        }
    }
    return true;
}

bool media_open(struct machine *machine, GError **error)
{
    return open_disks(machine, error) && open_discs(machine, error) &&
           open_floppies(machine, error);
}

/* ---- all of them ------------------------------------------------------------------------- */

/* Where the worker of each medium there may be is kept; NULL ends. */
static struct disk_worker **place(struct machine *machine, unsigned index)
{
    if (index < MACHINE_MAX_DISKS)
        return &machine->disks[index];
    index -= MACHINE_MAX_DISKS;
    if (index < MACHINE_MAX_CDROMS)
        return &machine->discs[index];
    index -= MACHINE_MAX_CDROMS;
    return index < MACHINE_MAX_FLOPPIES ? &machine->floppies[index] : NULL;
}

/* What was saved goes on on its undo disks; what never ran has changed nothing. */
static bool end_undo(struct machine *machine, unsigned index, GError **error)
{
    const struct machine_disk *disk = &machine->config->disks[index];
    if (!disk->undo || !machine->has_run || machine->is_saved ||
        block_undo_end(disk->file, machine->undo[index], NULL, NULL, error))
        return true;
    g_prefix_error(error, "disk %u: ", index);
    return false;
}

static bool close_medium(struct machine *machine, unsigned index, GError **error)
{
    struct disk_worker *worker = g_steal_pointer(place(machine, index));
    if (!worker)
        return true;
    return disk_worker_close(worker, error) &&
           (index >= machine->config->disk_count || end_undo(machine, index, error));
}

bool media_close(struct machine *machine, GError **error)
{
    bool ok = true;
    for (unsigned i = 0; place(machine, i); i++) {
        /* The first failure is told; the others' files are closed all the same. */
        if (!close_medium(machine, i, ok ? error : NULL))
            ok = false;
    }
    return ok;
}

bool machine_set_undo(struct machine *machine, unsigned disk, enum block_undo_action action,
                      GError **error)
{
    if (disk < machine->config->disk_count && machine->config->disks[disk].undo) {
        machine->undo[disk] = action;
        return true;
    }
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND,
                "disk %u runs on no undo disk; start the machine with --disk file=...,undo=keep",
                disk);
    return false;
}

void media_drain(struct machine *machine)
{
    struct disk_worker **worker;
    for (unsigned i = 0; (worker = place(machine, i)); i++) {
        if (*worker)
            disk_worker_drain(*worker);
    }
}

bool media_flush(struct machine *machine, GError **error)
{
    struct disk_worker **worker;
    for (unsigned i = 0; (worker = place(machine, i)); i++) {
        if (*worker && !disk_worker_flush(*worker, error))
            return false;
    }
    return true;
}

void machine_disk_counters(struct machine *machine, unsigned disk,
                           struct disk_counters *ret_counters, uint64_t *ret_size)
{
    disk_worker_counters(machine->disks[disk], ret_counters);
    *ret_size = disk_worker_size(machine->disks[disk]);
}

/* ---- changing ---------------------------------------------------------------------------- */

bool machine_change_disc(struct machine *machine, unsigned drive, const char *path, GError **error)
{
    unsigned position = pc_cdrom_position(machine, drive);
    struct device *ide = machine->devices[PC_IDE];
    if (drive >= machine->config->cdrom_count) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND,
                    "there is no CD-ROM drive %u; start the machine with --cdrom", drive);
        return false;
    }
    struct disk_worker *disc = path ? open_disc(machine, path, error) : NULL, *old;
    if (path && !disc)
        return false;
    board_lock(&machine->board);
    old = machine->discs[drive];
    machine->discs[drive] = disc;
    ide_change_medium(ide, position, disc);
    board_unlock(&machine->board);
    /* What is under way there may take its time, and needs the board's lock to end. */
    return !old || disk_worker_close(old, error);
}

bool machine_change_floppy(struct machine *machine, unsigned drive, const char *path,
                           GError **error)
{
    struct device *controller = machine->devices[PC_FLOPPY];
    struct machine_floppy floppy = {.file = path};
    if (drive >= machine->config->floppy_count) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND,
                    "there is no floppy drive %u; start the machine with --floppy", drive);
        return false;
    }
    struct disk_worker *disk =
        path ? open_floppy(machine, &floppy, floppy_drive_type(controller, drive), error) : NULL;
    struct disk_worker *old;
    if (path && !disk)
        return false;
    board_lock(&machine->board);
    old = machine->floppies[drive];
    machine->floppies[drive] = disk;
    floppy_change_medium(controller, drive, disk);
    board_unlock(&machine->board);
    return !old || disk_worker_close(old, error);
}
