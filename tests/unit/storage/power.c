#include "tests/unit/storage/power.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <linux/falloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* after the headers it needs */
#include <cmocka.h>

#define SECTOR BLOCK_SECTOR_SIZE

/* ---- the log --------------------------------------------------------------------------------- */

enum change_kind {
    CHANGE_WRITE,
    CHANGE_SIZE,
    CHANGE_ZERO,
    CHANGE_SYNC,
    CHANGE_NAME,
    CHANGE_UNNAME,
    CHANGE_SYNC_FOLDER,
    CHANGE_MODEL
};

struct change {
    enum change_kind kind;
    guint file;              /* its number */
    uint64_t offset, length; /* SIZE: the size is `length` */
    uint8_t *data;           /* of WRITE */
    char *name;              /* of NAME, UNNAME */
    struct model_step *step; /* of MODEL */
};

static struct {
    bool recording, skip_syncs, muted;
    char *folder;
    GPtrArray *log;  /* of struct change */
    GHashTable *ids; /* inode to a number of ours: inodes come again */
    guint next_id;
    GHashTable *contents; /* number to GByteArray, at the beginning */
    GHashTable *names;    /* name to number, at the beginning */
    struct model *model, *first;
    unsigned fail_at, calls;
    int fail_number;
    bool fail_lasting, failed;
} power;

static void free_change(void *data)
{
    struct change *change = data;

    g_free(change->data);
    g_free(change->name);
    g_free(change->step);
    g_free(change);
}

static struct change *log_change(enum change_kind kind, guint file)
{
    struct change *change = g_new0(struct change, 1);

    change->kind = kind;
    change->file = file;
    g_ptr_array_add(power.log, change);
    return change;
}

/* ---- the stand-ins --------------------------------------------------------------------------- */

static guint number_of(ino_t inode, bool fresh)
{
    guint number = GPOINTER_TO_UINT(g_hash_table_lookup(power.ids, GSIZE_TO_POINTER(inode)));

    if (number == 0 || fresh) {
        number = ++power.next_id;
        g_hash_table_insert(power.ids, GSIZE_TO_POINTER(inode), GUINT_TO_POINTER(number));
    }
    return number;
}

static bool is_ours(int fd, guint *ret_file)
{
    struct stat st;

    if (!power.recording || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return false;
    *ret_file = number_of(st.st_ino, false);
    return true;
}

static bool fails(bool changes)
{
    bool regular = power.fail_at != 0;

    if (!regular || power.muted)
        return false;
    power.calls++;
    if (power.calls == power.fail_at ||
        (power.calls > power.fail_at && power.fail_lasting && changes)) {
        power.failed = true;
        errno = power.fail_number;
        return true;
    }
    return false;
}

ssize_t pread(int fd, void *buffer, size_t length, off_t offset)
{
    if (power.fail_number == EIO && fails(false))
        return -1;
    return syscall(SYS_pread64, fd, buffer, length, offset);
}

ssize_t pwrite(int fd, const void *buffer, size_t length, off_t offset)
{
    ssize_t n;
    guint file;

    if (fails(true))
        return -1;
    n = syscall(SYS_pwrite64, fd, buffer, length, offset);
    if (n > 0 && is_ours(fd, &file)) {
        struct change *change = log_change(CHANGE_WRITE, file);

        change->offset = (uint64_t)offset;
        change->length = (uint64_t)n;
        change->data = g_memdup2(buffer, (size_t)n);
    }
    return n;
}

int ftruncate(int fd, off_t size)
{
    guint file;

    if (fails(true) || syscall(SYS_ftruncate, fd, size) < 0)
        return -1;
    if (is_ours(fd, &file))
        log_change(CHANGE_SIZE, file)->length = (uint64_t)size;
    return 0;
}

int fallocate(int fd, int mode, off_t offset, off_t length)
{
    guint file;

    if (fails(true) || syscall(SYS_fallocate, fd, mode, offset, length) < 0)
        return -1;
    if (mode & FALLOC_FL_PUNCH_HOLE && is_ours(fd, &file)) {
        struct change *change = log_change(CHANGE_ZERO, file);

        change->offset = (uint64_t)offset;
        change->length = (uint64_t)length;
    }
    return 0;
}

static int sync_fd(int fd, long call)
{
    struct stat st;
    guint file;

    if (fails(true) || (!power.skip_syncs && syscall(call, fd) < 0))
        return -1;
    if (is_ours(fd, &file))
        log_change(CHANGE_SYNC, file);
    else if (power.recording && fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
        log_change(CHANGE_SYNC_FOLDER, 0);
    return 0;
}

int fdatasync(int fd)
{
    return sync_fd(fd, SYS_fdatasync);
}

int fsync(int fd)
{
    return sync_fd(fd, SYS_fsync);
}

/* Through memory instead, where it is seen. */
ssize_t copy_file_range(int from, off_t *from_offset, int to, off_t *to_offset, size_t length,
                        unsigned flags)
{
    errno = ENOSYS;
    return -1;
}

static ino_t inode_of(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? st.st_ino : 0;
}

static void log_name(enum change_kind kind, const char *path, ino_t inode, bool fresh)
{
    if (power.recording && g_str_has_prefix(path, power.folder))
        log_change(kind, inode ? number_of(inode, fresh) : 0)->name = g_path_get_basename(path);
}

int open(const char *path, int flags, ...)
{
    bool making = flags & O_CREAT && inode_of(path) == 0;
    mode_t mode = 0;
    va_list args;
    int fd;

    va_start(args, flags);
    if (flags & O_CREAT)
        mode = va_arg(args, mode_t);
    va_end(args);
    if (making && fails(true))
        return -1;
    fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    if (fd >= 0 && making)
        log_name(CHANGE_NAME, path, inode_of(path), true);
    return fd;
}

int link(const char *from, const char *to)
{
    if (fails(true) || syscall(SYS_link, from, to) < 0)
        return -1;
    log_name(CHANGE_NAME, to, inode_of(to), false);
    return 0;
}

int unlink(const char *path)
{
    if (syscall(SYS_unlink, path) < 0)
        return -1;
    log_name(CHANGE_UNNAME, path, 0, false);
    return 0;
}

/* One change of the log would be two: the new name is an old one's, in one step. */
int rename(const char *from, const char *to)
{
    ino_t inode = inode_of(from);

    if (fails(true) || syscall(SYS_rename, from, to) < 0)
        return -1;
    log_name(CHANGE_NAME, to, inode, false);
    log_name(CHANGE_UNNAME, from, 0, false);
    return 0;
}

void power_fail_at(unsigned n, int number, bool lasting)
{
    power.fail_at = n;
    power.calls = 0;
    power.fail_number = number;
    power.fail_lasting = lasting;
    if (n > 0)
        power.failed = false;
}

bool power_has_failed(void)
{
    return power.failed;
}

void power_skip_syncs(bool skip)
{
    power.skip_syncs = skip;
}

void power_note_step(const struct model *model, const struct model_step *step)
{
    if (power.recording && model == power.model)
        log_change(CHANGE_MODEL, 0)->step = g_memdup2(step, sizeof(*step));
}

/* ---- recording ------------------------------------------------------------------------------- */

static GByteArray *load(const char *path)
{
    char *bytes = NULL;
    gsize length = 0;

    if (!g_file_get_contents(path, &bytes, &length, NULL))
        fail_msg("cannot read %s", path);
    return g_byte_array_new_take((guint8 *)bytes, length);
}

void power_forget(void)
{
    power.recording = false;
    g_clear_pointer(&power.log, g_ptr_array_unref);
    g_clear_pointer(&power.ids, g_hash_table_unref);
    g_clear_pointer(&power.contents, g_hash_table_unref);
    g_clear_pointer(&power.names, g_hash_table_unref);
    g_clear_pointer(&power.first, model_free);
    g_clear_pointer(&power.folder, g_free);
}

void power_record(const char *folder, struct model *model)
{
    GDir *dir = g_dir_open(folder, 0, NULL);
    const char *name;

    power_forget();
    power.log = g_ptr_array_new_with_free_func(free_change);
    power.ids = g_hash_table_new(NULL, NULL);
    power.contents = g_hash_table_new_full(NULL, NULL, NULL, (GDestroyNotify)g_byte_array_unref);
    power.names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    power.folder = g_strdup(folder);
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        guint file = number_of(inode_of(path), false);

        g_hash_table_insert(power.names, g_strdup(name), GUINT_TO_POINTER(file));
        if (!g_hash_table_contains(power.contents, GUINT_TO_POINTER(file)))
            g_hash_table_insert(power.contents, GUINT_TO_POINTER(file), load(path));
    }
    g_dir_close(dir);
    power.model = model;
    power.first = model_copy(model);
    power.recording = true;
}

unsigned power_stop(void)
{
    power.recording = false;
    return power.log->len;
}

/* ---- replaying ------------------------------------------------------------------------------- */

/* A state of all files. */
struct files {
    GHashTable *contents, *names;
};

static struct files copy_files(GHashTable *contents, GHashTable *names)
{
    struct files copy = {
        g_hash_table_new_full(NULL, NULL, NULL, (GDestroyNotify)g_byte_array_unref),
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL),
    };
    GHashTableIter iter;
    void *key, *value;

    g_hash_table_iter_init(&iter, contents);
    while (g_hash_table_iter_next(&iter, &key, &value)) {
        GByteArray *from = value, *to = g_byte_array_sized_new(from->len);

        g_byte_array_append(to, from->data, from->len);
        g_hash_table_insert(copy.contents, key, to);
    }
    g_hash_table_iter_init(&iter, names);
    while (g_hash_table_iter_next(&iter, &key, &value))
        g_hash_table_insert(copy.names, g_strdup(key), value);
    return copy;
}

static void free_files(struct files *files)
{
    g_hash_table_unref(files->contents);
    g_hash_table_unref(files->names);
}

static void set_length(GByteArray *bytes, uint64_t length)
{
    guint before = bytes->len;

    g_byte_array_set_size(bytes, (guint)length);
    if (length > before)
        memset(bytes->data + before, 0, length - before);
}

static GByteArray *content_of(struct files *files, guint file)
{
    GByteArray *bytes = g_hash_table_lookup(files->contents, GUINT_TO_POINTER(file));

    if (!bytes) {
        bytes = g_byte_array_new();
        g_hash_table_insert(files->contents, GUINT_TO_POINTER(file), bytes);
    }
    return bytes;
}

/* The bytes of a write or a hole, where `rand` (may be NULL: all) says so sector by sector. */
static void apply_bytes(GByteArray *bytes, const struct change *change, GRand *rand)
{
    uint64_t at = 0, n;

    for (; at < change->length; at += n) {
        uint64_t offset = change->offset + at;

        n = MIN(change->length - at, SECTOR - offset % SECTOR);
        if (rand && g_rand_boolean(rand))
            continue;
        if (change->kind == CHANGE_ZERO && offset >= bytes->len)
            break;
        if (offset + n > bytes->len && change->kind == CHANGE_WRITE)
            set_length(bytes, offset + n);
        n = MIN(n, bytes->len - offset);
        if (change->kind == CHANGE_WRITE)
            memcpy(bytes->data + offset, change->data + at, n);
        else
            memset(bytes->data + offset, 0, n);
    }
}

static void apply(struct files *files, const struct change *change, GRand *torn)
{
    switch (change->kind) {
    case CHANGE_WRITE:
    case CHANGE_ZERO:
        apply_bytes(content_of(files, change->file), change, torn);
        break;
    case CHANGE_SIZE:
        set_length(content_of(files, change->file), change->length);
        break;
    case CHANGE_NAME:
        g_hash_table_insert(files->names, g_strdup(change->name), GUINT_TO_POINTER(change->file));
        break;
    case CHANGE_UNNAME:
        g_hash_table_remove(files->names, change->name);
        break;
    default:
        break;
    }
}

static bool is_name(const struct change *change)
{
    return change->kind == CHANGE_NAME || change->kind == CHANGE_UNNAME;
}

/* What a sync makes durable leaves the pending changes. */
static void make_durable(struct files *durable, GPtrArray *pending, const struct change *sync)
{
    GPtrArray *rest = g_ptr_array_new();

    for (guint i = 0; i < pending->len; i++) {
        struct change *change = pending->pdata[i];
        bool now = sync->kind == CHANGE_SYNC_FOLDER
                       ? is_name(change)
                       : !is_name(change) && change->file == sync->file;

        if (now)
            apply(durable, change, NULL);
        else
            g_ptr_array_add(rest, change);
    }
    g_ptr_array_set_size(pending, 0);
    for (guint i = 0; i < rest->len; i++)
        g_ptr_array_add(pending, rest->pdata[i]);
    g_ptr_array_unref(rest);
}

enum survival { SURVIVE_NONE, SURVIVE_ALL, SURVIVE_SOME, SURVIVE_BUT_ONE, SURVIVE_ONE };

static void apply_survivors(struct files *files, GPtrArray *pending, enum survival survival,
                            GRand *rand)
{
    guint chosen = pending->len ? (guint)g_rand_int_range(rand, 0, (gint32)pending->len) : 0;
    bool names = true; /* those go in order */

    for (guint i = 0; i < pending->len; i++) {
        struct change *change = pending->pdata[i];
        bool keep = survival == SURVIVE_ALL || (survival == SURVIVE_SOME && g_rand_boolean(rand)) ||
                    (survival == SURVIVE_BUT_ONE && i != chosen) ||
                    (survival == SURVIVE_ONE && i == chosen);

        if (is_name(change)) {
            names = names && keep;
            keep = names;
        }
        if (keep)
            apply(files, change, survival == SURVIVE_SOME && g_rand_boolean(rand) ? rand : NULL);
    }
}

static void empty_folder(const char *folder)
{
    GDir *dir = g_dir_open(folder, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(folder, name, NULL);

        g_unlink(path);
    }
    if (dir)
        g_dir_close(dir);
}

/* Zeroes are left out: large images are mostly that. */
static void write_sparse(int fd, const GByteArray *bytes)
{
    const guint piece = 16384;

    assert_int_equal(syscall(SYS_ftruncate, fd, bytes->len), 0);
    for (guint at = 0; at < bytes->len; at += piece) {
        guint n = MIN(piece, bytes->len - at);

        if (bytes->data[at] || memcmp(bytes->data + at, bytes->data + at + 1, n - 1) != 0)
            assert_int_equal(syscall(SYS_pwrite64, fd, bytes->data + at, n, at), n);
    }
}

static void write_files(const char *folder, struct files *files)
{
    GHashTableIter iter;
    void *name, *file;

    empty_folder(folder);
    g_hash_table_iter_init(&iter, files->names);
    while (g_hash_table_iter_next(&iter, &name, &file)) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        GByteArray *bytes = content_of(files, GPOINTER_TO_UINT(file));
        int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

        assert_true(fd >= 0);
        write_sparse(fd, bytes);
        close(fd);
    }
}

struct replay {
    const char *scratch;
    power_verify_fn verify;
    void *opaque;
    guint32 seed;
    struct model *model;
    struct files durable;
    GPtrArray *pending;
    unsigned looked_at;
};

/* Each way once, then in turn those that chance decides. */
static enum survival survival_of(unsigned variant)
{
    if (variant <= SURVIVE_ONE)
        return (enum survival)variant;
    return variant % 4 == 0 ? SURVIVE_ONE : variant % 4 == 1 ? SURVIVE_BUT_ONE : SURVIVE_SOME;
}

static void look(struct replay *replay, guint moment, unsigned variant)
{
    guint32 seed[] = {replay->seed, moment, variant};
    GRand *rand = g_rand_new_with_seed_array(seed, G_N_ELEMENTS(seed));
    struct files files = copy_files(replay->durable.contents, replay->durable.names);
    g_autofree char *wrong = NULL;

    apply_survivors(&files, replay->pending, survival_of(variant), rand);
    write_files(replay->scratch, &files);
    wrong = replay->verify(replay->scratch, replay->model, replay->opaque);
    if (wrong)
        fail_msg("seed %u, power lost after change %u of %u, variant %u (files in %s): %s",
                 replay->seed, moment, power.log->len, variant, replay->scratch, wrong);
    replay->looked_at++;
    free_files(&files);
    g_rand_free(rand);
}

unsigned power_replay(const char *scratch, unsigned states, guint32 seed, power_verify_fn verify,
                      void *opaque)
{
    struct replay replay = {
        .scratch = scratch,
        .verify = verify,
        .opaque = opaque,
        .seed = seed,
        .model = power.first,
        .durable = copy_files(power.contents, power.names),
        .pending = g_ptr_array_new(),
    };
    unsigned variants = MAX(12, states / MAX(power.log->len, 1));
    GRand *rand = g_rand_new_with_seed(seed);
    double chance = (double)states / ((double)MAX(power.log->len, 1) * variants);

    for (guint i = 0; i < power.log->len; i++) {
        struct change *change = power.log->pdata[i];

        if (change->kind == CHANGE_MODEL)
            model_take_step(replay.model, change->step);
        else if (change->kind == CHANGE_SYNC || change->kind == CHANGE_SYNC_FOLDER)
            make_durable(&replay.durable, replay.pending, change);
        else
            g_ptr_array_add(replay.pending, change);
        if (g_rand_double(rand) < chance || i + 1 == power.log->len)
            for (unsigned v = 0; v < variants; v++)
                look(&replay, i, v);
    }
    g_rand_free(rand);
    g_ptr_array_unref(replay.pending);
    free_files(&replay.durable);
    return replay.looked_at;
}
