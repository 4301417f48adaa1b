#include "storage/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/block.h"
#include "storage/lock_holder.h"

#define COPY_CHUNK (256u << 10)

struct host_file {
    int fd;
    bool is_device;
    bool read_failed; /* this and the next: only ever set, by any thread */
    bool flush_failed;
    char *path;
};

void host_file_set_error(GError **error, const struct host_file *file, const char *what, int number)
{
    int code = number == ENOSPC || number == EDQUOT ? BLOCK_ERROR_NO_SPACE : BLOCK_ERROR_IO;

    g_set_error(error, BLOCK_ERROR, code, "cannot %s %s: %s", what, file->path, g_strerror(number));
}

static void set_locked(GError **error, const struct host_file *file, bool read_only)
{
    g_autofree char *holder = lock_holder_describe(file->fd, read_only);

    g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_LOCKED,
                "%s is in use by %s%s; stop the machine or tool that has it open", file->path,
                holder ? holder : "another process (which one cannot be found out)",
                read_only ? ", which writes it" : "");
}

static bool lock_file(struct host_file *file, bool read_only, GError **error)
{
    struct flock lock = {.l_type = read_only ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};

    if (fcntl(file->fd, F_OFD_SETLK, &lock) == 0)
        return true;
    if (errno == EAGAIN || errno == EACCES)
        set_locked(error, file, read_only);
    else
        host_file_set_error(error, file, "lock", errno);
    return false;
}

static struct host_file *open_locked(const char *path, int flags, bool read_only, const char *what,
                                     GError **error)
{
    struct host_file *file = g_new0(struct host_file, 1);
    struct stat st;

    file->path = g_strdup(path);
    file->fd = open(path, flags | O_CLOEXEC, 0644);
    if (file->fd < 0) {
        host_file_set_error(error, file, what, errno);
        goto fail;
    }
    if (fstat(file->fd, &st) < 0) {
        host_file_set_error(error, file, "stat", errno);
        goto fail;
    }
    file->is_device = S_ISBLK(st.st_mode);
    if (!S_ISREG(st.st_mode) && !file->is_device) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_UNSUPPORTED,
                    "cannot %s %s: it is not a regular file or block device", what, path);
        goto fail;
    }
    if (!lock_file(file, read_only, error))
        goto fail;
    return file;
fail:
    host_file_close(file);
    return NULL;
}

struct host_file *host_file_open(const char *path, bool read_only, GError **error)
{
    return open_locked(path, read_only ? O_RDONLY : O_RDWR, read_only, "open", error);
}

struct host_file *host_file_create(const char *path, GError **error)
{
    return open_locked(path, O_RDWR | O_CREAT | O_EXCL, false, "create", error);
}

void host_file_close(struct host_file *file)
{
    if (!file)
        return;
    if (file->fd >= 0)
        close(file->fd);
    g_free(file->path);
    g_free(file);
}

const char *host_file_path(const struct host_file *file)
{
    return file->path;
}

bool host_file_is(const struct host_file *file, const char *path)
{
    struct stat own, other;

    return fstat(file->fd, &own) == 0 && stat(path, &other) == 0 && own.st_dev == other.st_dev &&
           own.st_ino == other.st_ino;
}

bool host_file_is_device(const struct host_file *file)
{
    return file->is_device;
}

int host_file_fd(const struct host_file *file)
{
    return file->fd;
}

bool host_file_size(struct host_file *file, uint64_t *ret_size, GError **error)
{
    struct stat st;

    if (file->is_device && ioctl(file->fd, BLKGETSIZE64, ret_size) == 0)
        return true;
    if (fstat(file->fd, &st) < 0) {
        host_file_set_error(error, file, "stat", errno);
        return false;
    }
    *ret_size = (uint64_t)st.st_size;
    return true;
}

bool host_file_usage(struct host_file *file, uint64_t *ret_bytes, GError **error)
{
    struct stat st;

    if (fstat(file->fd, &st) < 0) {
        host_file_set_error(error, file, "stat", errno);
        return false;
    }
    *ret_bytes = (uint64_t)st.st_blocks * 512; /* stat(2): st_blocks counts 512-byte units */
    return true;
}

bool host_file_read(struct host_file *file, uint64_t offset, void *buffer, size_t length,
                    GError **error)
{
    uint8_t *to = buffer;

    while (length > 0) {
        ssize_t n = pread(file->fd, to, length, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            host_file_set_error(error, file, "read", errno);
            __atomic_store_n(&file->read_failed, true, __ATOMIC_RELAXED);
            return false;
        }
        if (n == 0) {
            g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_FORMAT,
                        "%s is truncated: it ends before offset %" G_GUINT64_FORMAT, file->path,
                        offset + length);
            return false;
        }
        to += n;
        offset += (uint64_t)n;
        length -= (size_t)n;
    }
    return true;
}

bool host_file_read_failed(const struct host_file *file)
{
    return __atomic_load_n(&file->read_failed, __ATOMIC_RELAXED);
}

bool host_file_write(struct host_file *file, uint64_t offset, const void *buffer, size_t length,
                     GError **error)
{
    const uint8_t *from = buffer;

    while (length > 0) {
        ssize_t n = pwrite(file->fd, from, length, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            host_file_set_error(error, file, "write", n < 0 ? errno : ENOSPC);
            return false;
        }
        from += n;
        offset += (uint64_t)n;
        length -= (size_t)n;
    }
    return true;
}

bool host_file_resize(struct host_file *file, uint64_t size, GError **error)
{
    if (file->is_device) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_UNSUPPORTED,
                    "cannot resize %s: a block device has the size it has", file->path);
        return false;
    }
    if (ftruncate(file->fd, (off_t)size) == 0)
        return true;
    host_file_set_error(error, file, "resize", errno);
    return false;
}

/* ---- holes and copies ------------------------------------------------------------------------ */

bool host_file_punch(struct host_file *file, uint64_t offset, uint64_t length)
{
    if (file->is_device) /* a discard need not read as zero */
        return false;
    return length == 0 || fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                    (off_t)offset, (off_t)length) == 0;
}

bool host_file_zero(struct host_file *file, uint64_t offset, uint64_t length, GError **error)
{
    g_autofree uint8_t *zero = NULL;

    if (length == 0 || host_file_punch(file, offset, length))
        return true;
    if (file->is_device && fallocate(file->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
                                     (off_t)offset, (off_t)length) == 0)
        return true;
    zero = g_malloc0(MIN(length, COPY_CHUNK));
    while (length > 0) {
        size_t n = MIN(length, COPY_CHUNK);

        if (!host_file_write(file, offset, zero, n, error))
            return false;
        offset += n;
        length -= n;
    }
    return true;
}

static bool copy_through_memory(struct host_file *from, uint64_t from_offset, struct host_file *to,
                                uint64_t to_offset, uint64_t length, GError **error)
{
    g_autofree uint8_t *chunk = g_malloc(MIN(MAX(length, 1), COPY_CHUNK));

    while (length > 0) {
        size_t n = MIN(length, COPY_CHUNK);

        if (!host_file_read(from, from_offset, chunk, n, error) ||
            !host_file_write(to, to_offset, chunk, n, error))
            return false;
        from_offset += n;
        to_offset += n;
        length -= n;
    }
    return true;
}

bool host_file_copy(struct host_file *from, uint64_t from_offset, struct host_file *to,
                    uint64_t to_offset, uint64_t length, GError **error)
{
    while (length > 0) {
        off_t in = (off_t)from_offset, out = (off_t)to_offset;
        ssize_t n = copy_file_range(from->fd, &in, to->fd, &out, length, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) /* whatever the reason: the plain way works, or says why not */
            return copy_through_memory(from, from_offset, to, to_offset, length, error);
        from_offset += (uint64_t)n;
        to_offset += (uint64_t)n;
        length -= (uint64_t)n;
    }
    return true;
}

/* ---- durability ------------------------------------------------------------------------------ */

/* A failed sync may have lost what it was to write, and Linux tells of that only once: a later one
 * that succeeds proves nothing. */
bool host_file_flush(struct host_file *file, GError **error)
{
    if (__atomic_load_n(&file->flush_failed, __ATOMIC_RELAXED)) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_IO,
                    "cannot flush %s: an earlier flush of it failed, so that writes since the last "
                    "good one may be lost; close it and look at the host's disk",
                    file->path);
        return false;
    }
    if (fdatasync(file->fd) == 0)
        return true;
    host_file_set_error(error, file, "flush", errno);
    __atomic_store_n(&file->flush_failed, true, __ATOMIC_RELAXED);
    return false;
}

bool host_file_flush_directory(struct host_file *file, GError **error)
{
    g_autofree char *directory = g_path_get_dirname(file->path);
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;

    if (!ok)
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_IO, "cannot flush directory %s: %s", directory,
                    g_strerror(errno));
    if (fd >= 0)
        close(fd);
    return ok;
}

bool host_file_next_run(struct host_file *file, uint64_t offset, uint64_t *ret_end, bool *ret_data,
                        GError **error)
{
    uint64_t size = 0;
    off_t data, end;

    if (!host_file_size(file, &size, error))
        return false;
    data = lseek(file->fd, (off_t)offset, SEEK_DATA);
    if (data < 0 && errno == ENXIO) { /* no data to the end of the file */
        *ret_data = false;
        *ret_end = size;
        return true;
    }
    if (data < 0) {
        *ret_data = true;
        *ret_end = size;
        return true;
    }
    if ((uint64_t)data > offset) {
        *ret_data = false;
        *ret_end = (uint64_t)data;
        return true;
    }
    end = lseek(file->fd, (off_t)offset, SEEK_HOLE);
    *ret_data = true;
    *ret_end = end < 0 ? size : (uint64_t)end;
    return true;
}
