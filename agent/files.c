#include "agent/files.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent.h"

static bool fail(GError **error, const char *what, const char *path)
{
    int number = errno;

    g_set_error(error, AGENT_ERROR, AGENT_ERROR_FAILED, "cannot %s %s: %s", what, path,
                g_strerror(number));
    return false;
}

bool folder_sync(const char *path, GError **error)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;

    if (!ok)
        fail(error, "sync", path);
    if (fd >= 0)
        close(fd);
    return ok;
}

static bool sync_parent(const char *path, GError **error)
{
    g_autofree char *parent = g_path_get_dirname(path);

    return folder_sync(parent, error);
}

static bool write_all(int fd, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t n = write(fd, bytes, length);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        bytes += n;
        length -= (size_t)n;
    }
    return true;
}

bool file_replace(const char *path, const void *content, size_t length, int mode, GError **error)
{
    g_autofree char *fresh = g_strconcat(path, ".new", NULL);
    int fd;
    bool ok;

    if (unlink(fresh) < 0 && errno != ENOENT) /* of a crash, with a mode or content of its own */
        return fail(error, "remove", fresh);
    fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0)
        return fail(error, "create", fresh);
    ok = write_all(fd, content, length) && fsync(fd) == 0;
    if (!ok)
        fail(error, "write", fresh);
    close(fd);
    if (ok && rename(fresh, path) < 0)
        ok = fail(error, "rename to", path);
    if (!ok) {
        unlink(fresh);
        return false;
    }
    return sync_parent(path, error);
}

bool folder_make(const char *path, int mode, GError **error)
{
    if (g_mkdir_with_parents(path, mode) == 0)
        return true;
    return fail(error, "create folder", path);
}

bool folder_remove(const char *path, GError **error)
{
    GDir *dir = g_dir_open(path, 0, NULL);
    const char *name;

    if (!dir)
        return !g_file_test(path, G_FILE_TEST_EXISTS) || fail(error, "open folder", path);
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *file = g_build_filename(path, name, NULL);

        if (unlink(file) < 0 && errno != ENOENT) {
            fail(error, "remove", file);
            g_dir_close(dir);
            return false;
        }
    }
    g_dir_close(dir);
    if (rmdir(path) < 0 && errno != ENOENT)
        return fail(error, "remove folder", path);
    return sync_parent(path, error);
}

bool file_remove(const char *path, GError **error)
{
    if (unlink(path) == 0)
        return sync_parent(path, error);
    return errno == ENOENT || fail(error, "remove", path);
}

bool file_move(const char *from, const char *to, GError **error)
{
    if (rename(from, to) < 0)
        return fail(error, "move into place", to);
    return sync_parent(to, error) && sync_parent(from, error);
}
