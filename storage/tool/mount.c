/*
 * The commands that show a disk as files: mount, unmount.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "storage/fuse/mount.h"
#include "storage/tool/report.h"

struct mount_options {
    gboolean writable;
    gboolean foreground;
};

/* In the background there is nobody to read what is said. */
static void leave_terminal(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    for (int fd = 0; fd < 3 && null >= 0; fd++)
        dup2(null, fd);
    if (null > 2)
        close(null);
    setsid();
    if (chdir("/") < 0)
        return; /* only keeps a folder busy */
}

/* Serves until the folder is unmounted. `ready` is told when it is mounted; -1: nobody waits. */
static int serve(const char *path, const char *folder, bool writable, int ready)
{
    unsigned flags = BLOCK_OPEN_PROBE_RAW | BLOCK_OPEN_CHAIN;
    g_autofree char *absolute = g_canonicalize_filename(path, NULL);
    struct disk_mount *mount = NULL;
    struct block_device *device;
    GError *error = NULL;
    bool ok;

    device = block_open(absolute, flags | (writable ? 0 : BLOCK_OPEN_READ_ONLY), &error);
    if (device)
        mount = disk_mount_new(device, folder, &error);
    if (!mount) {
        block_abandon(device);
        return tool_fail(error);
    }
    if (ready >= 0) {
        leave_terminal();
        ok = write(ready, "", 1) == 1;
        close(ready);
    }
    ok = disk_mount_run(mount, &error);
    disk_mount_free(mount);
    if (!ok) {
        block_abandon(device);
        return tool_fail(error);
    }
    return block_close(device, &error) ? STATUS_OK : tool_fail(error);
}

/* Forks before anything is open, since locks and threads do not follow. The parent ends when the
 * disk is mounted, or with the child's status. */
static int serve_in_background(const char *path, const char *folder, bool writable)
{
    int channel[2], status;
    char byte;
    pid_t child;

    if (pipe2(channel, O_CLOEXEC) < 0 || (child = fork()) < 0) {
        perror("drover-vhd: cannot start a process");
        return STATUS_FAILED;
    }
    if (child == 0) {
        close(channel[0]);
        _exit(serve(path, folder, writable, channel[1]));
    }
    close(channel[1]);
    if (read(channel[0], &byte, 1) == 1)
        return STATUS_OK;
    if (waitpid(child, &status, 0) < 0 || !WIFEXITED(status))
        return STATUS_FAILED;
    return WEXITSTATUS(status);
}

static int run_mount(char **arguments, const void *opaque)
{
    const struct mount_options *options = opaque;

    if (options->foreground)
        return serve(arguments[0], arguments[1], options->writable, -1);
    return serve_in_background(arguments[0], arguments[1], options->writable);
}

static int run_unmount(char **arguments, const void *opaque)
{
    GError *error = NULL;

    return disk_unmount(arguments[0], &error) ? STATUS_OK : tool_fail(error);
}

static const struct command_option mount_options[] = {
    {"writable", 'w', G_OPTION_ARG_NONE, G_STRUCT_OFFSET(struct mount_options, writable),
     "let the files be written", NULL},
    {"foreground", 'f', G_OPTION_ARG_NONE, G_STRUCT_OFFSET(struct mount_options, foreground),
     "stay until it is unmounted, or until SIGINT or SIGTERM", NULL},
    {.name = NULL},
};

const struct command command_mount = {
    .name = "mount",
    .arguments = "FILE FOLDER",
    .least = 2,
    .most = 2,
    .summary = "show a disk and its partitions as files",
    .details =
        "In FOLDER there are then disk.img, the whole disk, and a partition-N.img for each\n"
        "partition, which mount(8) or a file system's tools can use. Nothing is written but\n"
        "with --writable; then fsync puts what was written on stable storage.",
    .examples = "drover-vhd mount disk.vhd /mnt/disk\n"
                "drover-vhd mount disk.vhd /mnt/disk --writable\n"
                "mount -o loop,ro /mnt/disk/partition-1.img /mnt/files",
    .options = mount_options,
    .options_size = sizeof(struct mount_options),
    .run = run_mount,
};

const struct command command_unmount = {
    .name = "unmount",
    .arguments = "FOLDER",
    .least = 1,
    .most = 1,
    .summary = "end what mount began, with everything written",
    .details = "Returns when the disk's file is flushed and closed.",
    .examples = "drover-vhd unmount /mnt/disk",
    .run = run_unmount,
};
