#define FUSE_USE_VERSION 312

#include "storage/fuse/mount.h"

#include <errno.h>
#include <fuse.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "storage/fsmap/partition.h"

#define IO_MOST (1u << 20) /* bytes of one request */

struct entry { /* a file: a window of the disk */
    char *name;
    uint64_t offset, length;
};

struct disk_mount {
    struct block_device *device;
    struct fuse *fuse;
    char *folder;
    GPtrArray *entries; /* of struct entry */
    time_t made;
    bool mounted;
};

static struct disk_mount *current(void)
{
    return fuse_get_context()->private_data;
}

static const struct entry *find_entry(const char *path)
{
    const struct disk_mount *mount = current();

    for (guint i = 0; i < mount->entries->len; i++) {
        const struct entry *entry = mount->entries->pdata[i];

        if (strcmp(path + 1, entry->name) == 0)
            return entry;
    }
    return NULL;
}

/* Takes the error; the message goes to standard error, which a program in the background does not
 * have. */
static int errno_of(GError *error)
{
    int number = EIO;

    if (g_error_matches(error, BLOCK_ERROR, BLOCK_ERROR_NO_SPACE))
        number = ENOSPC;
    else if (g_error_matches(error, BLOCK_ERROR, BLOCK_ERROR_READ_ONLY))
        number = EROFS;
    fprintf(stderr, "drover-vhd: %s\n", error->message);
    g_error_free(error);
    return -number;
}

/* ---- what the kernel asks ---------------------------------------------------------------------
 */

static int on_getattr(const char *path, struct stat *st, struct fuse_file_info *info)
{
    const struct disk_mount *mount = current();
    const struct entry *entry = find_entry(path);
    bool read_only = block_is_read_only(mount->device);

    *st = (struct stat){.st_uid = getuid(),
                        .st_gid = getgid(),
                        .st_mtim = {.tv_sec = mount->made},
                        .st_ctim = {.tv_sec = mount->made},
                        .st_atim = {.tv_sec = mount->made},
                        .st_blksize = 4096};
    if (strcmp(path, "/") == 0) {
        st->st_mode = S_IFDIR | 0500;
        st->st_nlink = 2;
        return 0;
    }
    if (!entry)
        return -ENOENT;
    st->st_mode = S_IFREG | (read_only ? 0400 : 0600);
    st->st_nlink = 1;
    st->st_size = (off_t)entry->length;
    st->st_blocks = (blkcnt_t)(entry->length / 512);
    return 0;
}

static int on_readdir(const char *path, void *buffer, fuse_fill_dir_t fill, off_t offset,
                      struct fuse_file_info *info, enum fuse_readdir_flags flags)
{
    const struct disk_mount *mount = current();

    fill(buffer, ".", NULL, 0, 0);
    fill(buffer, "..", NULL, 0, 0);
    for (guint i = 0; i < mount->entries->len; i++)
        fill(buffer, ((struct entry *)mount->entries->pdata[i])->name, NULL, 0, 0);
    return 0;
}

static int on_open(const char *path, struct fuse_file_info *info)
{
    const struct disk_mount *mount = current();

    if (!find_entry(path))
        return -ENOENT;
    if ((info->flags & O_ACCMODE) != O_RDONLY && block_is_read_only(mount->device))
        return -EROFS;
    /* The same bytes are in two files; the kernel's caches of them would not agree. */
    info->direct_io = !block_is_read_only(mount->device);
    return 0;
}

static int on_read(const char *path, char *buffer, size_t length, off_t offset,
                   struct fuse_file_info *info)
{
    const struct entry *entry = find_entry(path);
    GError *error = NULL;

    if (!entry)
        return -ENOENT;
    if (offset < 0 || (uint64_t)offset >= entry->length)
        return 0;
    length = MIN(length, entry->length - (uint64_t)offset);
    if (!block_read(current()->device, entry->offset + (uint64_t)offset, buffer, length, &error))
        return errno_of(error);
    return (int)length;
}

static int on_write(const char *path, const char *buffer, size_t length, off_t offset,
                    struct fuse_file_info *info)
{
    const struct entry *entry = find_entry(path);
    GError *error = NULL;

    if (!entry)
        return -ENOENT;
    if (offset < 0 || (uint64_t)offset >= entry->length)
        return -ENOSPC;
    length = MIN(length, entry->length - (uint64_t)offset);
    if (!block_write(current()->device, entry->offset + (uint64_t)offset, buffer, length, &error))
        return errno_of(error);
    return (int)length;
}

static int on_fsync(const char *path, int data_only, struct fuse_file_info *info)
{
    GError *error = NULL;

    return block_flush(current()->device, &error) ? 0 : errno_of(error);
}

/* A disk keeps its size; setting the one it has, as copying tools do, is fine. */
static int on_truncate(const char *path, off_t size, struct fuse_file_info *info)
{
    const struct entry *entry = find_entry(path);

    if (!entry)
        return -ENOENT;
    return (uint64_t)size == entry->length ? 0 : -EPERM;
}

static int on_fallocate(const char *path, int mode, off_t offset, off_t length,
                        struct fuse_file_info *info)
{
    const struct entry *entry = find_entry(path);
    struct block_device *device = current()->device;
    GError *error = NULL;
    uint64_t at, n;

    if (!entry)
        return -ENOENT;
    if (offset < 0 || length <= 0 || (uint64_t)offset >= entry->length)
        return -EINVAL;
    at = entry->offset + (uint64_t)offset;
    n = MIN((uint64_t)length, entry->length - (uint64_t)offset);
    if (mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE) &&
        (mode & ~FALLOC_FL_KEEP_SIZE) != FALLOC_FL_ZERO_RANGE)
        return -EOPNOTSUPP;
    return block_write_zeroes(device, at, n, mode & FALLOC_FL_PUNCH_HOLE, &error) ? 0
                                                                                  : errno_of(error);
}

static off_t on_lseek(const char *path, off_t offset, int whence, struct fuse_file_info *info)
{
    const struct entry *entry = find_entry(path);
    struct block_extent extent;
    GError *error = NULL;
    uint64_t at, end;

    if (!entry)
        return -ENOENT;
    if (offset < 0 || (uint64_t)offset >= entry->length)
        return -ENXIO;
    end = entry->offset + entry->length;
    for (at = entry->offset + (uint64_t)offset; at < end; at = extent.offset + extent.length) {
        if (!block_next_extent(current()->device, at, &extent, &error))
            return errno_of(error);
        if ((extent.kind == BLOCK_EXTENT_DATA) == (whence == SEEK_DATA))
            return (off_t)(at - entry->offset);
    }
    return whence == SEEK_HOLE ? (off_t)entry->length : -ENXIO;
}

static int on_getxattr(const char *path, const char *name, char *value, size_t size)
{
    g_autofree char *pid = g_strdup_printf("%d", getpid());
    size_t length = strlen(pid);

    if (strcmp(path, "/") != 0 || strcmp(name, DISK_MOUNT_PID_ATTRIBUTE) != 0)
        return -ENODATA;
    if (size && size < length)
        return -ERANGE;
    if (size)
        memcpy(value, pid, length);
    return (int)length;
}

static void *on_init(struct fuse_conn_info *connection, struct fuse_config *config)
{
    connection->max_write = IO_MOST;
    config->use_ino = 0;
    config->kernel_cache = block_is_read_only(current()->device);
    config->nullpath_ok = 0;
    return current();
}

static const struct fuse_operations operations = {
    .init = on_init,
    .getattr = on_getattr,
    .readdir = on_readdir,
    .open = on_open,
    .read = on_read,
    .write = on_write,
    .fsync = on_fsync,
    .truncate = on_truncate,
    .fallocate = on_fallocate,
    .lseek = on_lseek,
    .getxattr = on_getxattr,
};

/* ---- mounting ---------------------------------------------------------------------------------
 */

static void free_entry(void *opaque)
{
    struct entry *entry = opaque;

    g_free(entry->name);
    g_free(entry);
}

static void add_entry(struct disk_mount *mount, char *name, uint64_t offset, uint64_t length)
{
    struct entry entry = {name, offset, length};

    g_ptr_array_add(mount->entries, g_memdup2(&entry, sizeof(entry)));
}

/* A disk whose table is damaged is still shown, as a whole: it may be wanted to mend it. */
static void add_entries(struct disk_mount *mount)
{
    g_autoptr(GError) error = NULL;
    struct partition_table table;

    add_entry(mount, g_strdup("disk.img"), 0, block_size(mount->device));
    if (!partition_table_read(mount->device, &table, &error)) {
        fprintf(stderr, "drover-vhd: %s; only the whole disk is shown\n", error->message);
        return;
    }
    for (guint i = 0; i < table.partitions->len; i++) {
        const struct partition *p = table.partitions->pdata[i];

        add_entry(mount, g_strdup_printf("partition-%u.img", p->number), p->offset, p->length);
    }
    partition_table_clear(&table);
}

static bool set_error(GError **error, const char *what, const char *folder, int number)
{
    g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_IO, "cannot %s %s: %s", what, folder,
                g_strerror(number));
    return false;
}

/* libfuse says more on standard error. */
static bool start(struct disk_mount *mount, GError **error)
{
    bool read_only = block_is_read_only(mount->device);
    g_autofree char *source = g_path_get_basename(block_path(mount->device));
    g_autofree char *options = NULL;
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);

    g_strdelimit(source, ",\\", '_');
    options = g_strdup_printf("-o%s,fsname=%s,subtype=drover-vhd,default_permissions",
                              read_only ? "ro" : "rw", source);
    fuse_opt_add_arg(&args, "drover-vhd");
    fuse_opt_add_arg(&args, options);
    mount->fuse = fuse_new(&args, &operations, sizeof(operations), mount);
    fuse_opt_free_args(&args);
    if (!mount->fuse)
        return set_error(error, "mount on", mount->folder, EINVAL);
    errno = 0;
    if (fuse_mount(mount->fuse, mount->folder) != 0)
        return set_error(error, "mount on", mount->folder, errno ? errno : EPERM);
    mount->mounted = true;
    return true;
}

struct disk_mount *disk_mount_new(struct block_device *device, const char *folder, GError **error)
{
    struct disk_mount *mount = g_new0(struct disk_mount, 1);

    mount->device = device;
    mount->folder = g_canonicalize_filename(folder, NULL);
    mount->entries = g_ptr_array_new_with_free_func(free_entry);
    mount->made = time(NULL);
    if (!g_file_test(folder, G_FILE_TEST_IS_DIR)) {
        set_error(error, "mount on", folder, ENOTDIR);
        disk_mount_free(mount);
        return NULL;
    }
    add_entries(mount);
    if (!start(mount, error)) {
        disk_mount_free(mount);
        return NULL;
    }
    return mount;
}

bool disk_mount_run(struct disk_mount *mount, GError **error)
{
    struct fuse_session *session = fuse_get_session(mount->fuse);
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    int result;

    fuse_set_signal_handlers(session);
    result = fuse_loop_mt(mount->fuse, config);
    fuse_remove_signal_handlers(session);
    fuse_loop_cfg_destroy(config);
    if (!block_flush(mount->device, error))
        return false;
    return result >= 0 || set_error(error, "serve", mount->folder, -result);
}

void disk_mount_free(struct disk_mount *mount)
{
    if (!mount)
        return;
    if (mount->mounted)
        fuse_unmount(mount->fuse);
    if (mount->fuse)
        fuse_destroy(mount->fuse);
    g_ptr_array_unref(mount->entries);
    g_free(mount->folder);
    g_free(mount);
}
