#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "storage/fuse/mount.h"

static bool fail(GError **error, const char *folder, const char *why)
{
    g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_IO, "cannot unmount %s: %s", folder, why);
    return false;
}

/* A descriptor that becomes readable when the serving process has ended; -1: nothing of ours is
 * mounted there. */
static int open_server(const char *folder)
{
    char text[16] = {0};
    ssize_t n = getxattr(folder, DISK_MOUNT_PID_ATTRIBUTE, text, sizeof(text) - 1);
    pid_t pid = n > 0 ? (pid_t)g_ascii_strtoll(text, NULL, 10) : 0;

    return pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
}

static bool flush_disk(const char *folder, GError **error)
{
    g_autofree char *path = g_build_filename(folder, "disk.img", NULL);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;

    if (!ok)
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_IO, "cannot flush %s: %s", path,
                    g_strerror(errno));
    if (fd >= 0)
        close(fd);
    return ok;
}

/* As root by the system call; else by the helper that FUSE has for it. */
static bool unmount_folder(const char *folder, GError **error)
{
    const char *argv[] = {"fusermount3", "-u", folder, NULL};
    g_autofree char *said = NULL;
    g_autoptr(GError) local = NULL;
    int status = 0;

    if (umount2(folder, UMOUNT_NOFOLLOW) == 0)
        return true;
    if (errno != EPERM)
        return fail(error, folder,
                    errno == EBUSY ? "a file in it is open, or some process is in it"
                                   : g_strerror(errno));
    if (!g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, &said,
                      &status, &local))
        return fail(error, folder, local->message);
    if (!g_spawn_check_wait_status(status, NULL))
        return fail(error, folder, g_strchomp(said));
    return true;
}

bool disk_unmount(const char *folder, GError **error)
{
    g_autofree char *path = g_canonicalize_filename(folder, NULL);
    struct pollfd server = {.fd = open_server(path), .events = POLLIN};
    bool ok;

    if (server.fd < 0)
        return fail(error, folder, "no disk is mounted there");
    ok = flush_disk(path, error) && unmount_folder(path, error);
    while (ok && poll(&server, 1, -1) < 0 && errno == EINTR)
        ;
    close(server.fd);
    return ok;
}
