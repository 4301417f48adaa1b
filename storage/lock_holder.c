#include "storage/lock_holder.h"

#include <dirent.h>
#include <glib.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Whether a line of fdinfo speaks of a lock on that inode. The device is left to the caller: some
 * file systems show another one here than stat(2) does. */
static bool line_locks(const char *line, ino_t inode, bool writers_only)
{
    g_autofree char *wanted = g_strdup_printf(":%llu ", (unsigned long long)inode);

    return strstr(line, wanted) &&
           (strstr(line, " WRITE ") || (!writers_only && strstr(line, " READ ")));
}

static bool descriptor_locks(const char *fdinfo, ino_t inode, bool writers_only)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;

    if (!g_file_get_contents(fdinfo, &text, NULL, NULL))
        return false;
    lines = g_strsplit(text, "\n", -1);
    for (int i = 0; lines[i]; i++)
        if (g_str_has_prefix(lines[i], "lock:") && line_locks(lines[i], inode, writers_only))
            return true;
    return false;
}

/* The descriptor must be of this very file: an inode's number alone is not enough. */
static bool process_locks(const char *pid, const struct stat *file, bool writers_only)
{
    g_autofree char *folder = g_build_filename("/proc", pid, "fd", NULL);
    DIR *dir = opendir(folder);
    struct dirent *entry;
    bool found = false;

    while (dir && !found && (entry = readdir(dir))) {
        g_autofree char *fd = g_build_filename(folder, entry->d_name, NULL);
        g_autofree char *info = g_build_filename("/proc", pid, "fdinfo", entry->d_name, NULL);
        struct stat st;

        found = stat(fd, &st) == 0 && st.st_dev == file->st_dev && st.st_ino == file->st_ino &&
                descriptor_locks(info, file->st_ino, writers_only);
    }
    if (dir)
        closedir(dir);
    return found;
}

static char *describe(const char *pid)
{
    g_autofree char *path = g_build_filename("/proc", pid, "comm", NULL);
    g_autofree char *name = NULL;

    if (!g_file_get_contents(path, &name, NULL, NULL))
        return g_strdup_printf("process %s", pid);
    return g_strdup_printf("process %s (%s)", pid, g_strchomp(name));
}

char *lock_holder_describe(int fd, bool writers_only)
{
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    char *holder = NULL;
    struct stat file;

    if (!proc || fstat(fd, &file) < 0) {
        if (proc)
            closedir(proc);
        return NULL;
    }
    while (!holder && (entry = readdir(proc)))
        if (g_ascii_isdigit(entry->d_name[0]) && process_locks(entry->d_name, &file, writers_only))
            holder = describe(entry->d_name);
    closedir(proc);
    return holder;
}
