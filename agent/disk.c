#include "agent/disk.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/files.h"
#include "agent/worker.h"
#include "storage/block.h"
#include "storage/convert.h"

#define RETRY_US (30 * G_USEC_PER_SEC) /* before a failed disk is tried again */

struct disk {
    char *uid;
    Cluster__DiskState state;
    uint64_t size_bytes;
    char *message;     /* why it failed, or NULL */
    char *machine_uid; /* who has it open, or NULL */
    int64_t retry_at;  /* monotonic us; a failed disk is not tried before */
    bool busy;         /* a job works on it */
    bool ordered_absent;
};

struct disks {
    struct agent *agent;
    GHashTable *table; /* uid -> struct disk */
};

/* A job that makes one disk. */
struct make {
    struct disks *disks;
    char *uid;
    char *source;  /* path, or NULL for an empty disk */
    char *staging; /* path it is made at */
    char *target;
    uint64_t size_bytes; /* 0: the source's */
    enum block_format format;
    GError *error;
};

static void disk_free(void *item)
{
    struct disk *disk = item;

    g_free(disk->uid);
    g_free(disk->message);
    g_free(disk->machine_uid);
    g_free(disk);
}

static void set_state(struct disk *disk, Cluster__DiskState state, const char *message)
{
    disk->state = state;
    g_free(disk->message);
    disk->message = g_strdup(message);
}

static struct disk *get_disk(struct disks *disks, const char *uid)
{
    struct disk *disk = g_hash_table_lookup(disks->table, uid);

    if (!disk) {
        disk = g_new0(struct disk, 1);
        disk->uid = g_strdup(uid);
        disk->state = CLUSTER__DISK_STATE__DISK_ABSENT;
        g_hash_table_insert(disks->table, disk->uid, disk);
    }
    return disk;
}

char *disks_path(const struct disks *disks, const char *uid)
{
    g_autofree char *name = g_strconcat(uid, ".vhd", NULL);

    return agent_path(disks->agent, "disks", name, NULL);
}

/* Reads the image's own words on its size; a file that cannot be read as a disk has failed. */
static void examine(struct disks *disks, struct disk *disk)
{
    g_autofree char *path = disks_path(disks, disk->uid);
    g_autoptr(GError) error = NULL;
    struct block_device *device;

    if (!g_file_test(path, G_FILE_TEST_EXISTS)) {
        set_state(disk, CLUSTER__DISK_STATE__DISK_ABSENT, NULL);
        return;
    }
    device = block_open(path, BLOCK_OPEN_READ_ONLY, &error);
    if (device) {
        disk->size_bytes = block_size(device);
        block_abandon(device);
    } else if (!g_error_matches(error, BLOCK_ERROR, BLOCK_ERROR_LOCKED)) {
        set_state(disk, CLUSTER__DISK_STATE__DISK_FAILED, error->message);
        return;
    } /* locked: a machine that outlived the agent runs on it */
    set_state(disk, CLUSTER__DISK_STATE__DISK_READY, NULL);
}

static bool scan(struct disks *disks, GError **error)
{
    g_autofree char *folder = agent_path(disks->agent, "disks", NULL);
    GDir *dir = g_dir_open(folder, 0, error);
    const char *name;

    if (!dir)
        return false;
    while ((name = g_dir_read_name(dir))) {
        if (g_str_has_suffix(name, ".vhd")) {
            g_autofree char *uid = g_strndup(name, strlen(name) - 4);

            examine(disks, get_disk(disks, uid));
        }
    }
    g_dir_close(dir);
    return true;
}

struct disks *disks_new(struct agent *agent, GError **error)
{
    g_autofree char *folder = agent_path(agent, "disks", NULL);
    g_autofree char *staging = agent_path(agent, "staging", NULL);
    struct disks *disks = g_new0(struct disks, 1);

    disks->agent = agent;
    disks->table = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, disk_free);
    if (folder_make(folder, 0700, error) && folder_make(staging, 0700, error) && scan(disks, error))
        return disks;
    disks_free(disks);
    return NULL;
}

void disks_free(struct disks *disks)
{
    if (!disks)
        return;
    g_hash_table_destroy(disks->table);
    g_free(disks);
}

/* ---- making ---------------------------------------------------------------------------------- */

static bool fill(struct make *make, struct block_device *source)
{
    struct block_device *device = block_open(make->staging, 0, &make->error);

    if (!device)
        return false;
    if (source && !block_copy(source, device, NULL, NULL, &make->error)) {
        block_abandon(device);
        return false;
    }
    return block_close(device, &make->error);
}

static bool make_from(struct make *make, struct block_device *source)
{
    uint64_t size = make->size_bytes;

    if (source && size == 0)
        size = block_size(source);
    if (source && size < block_size(source)) {
        g_set_error(&make->error, AGENT_ERROR, AGENT_ERROR_FAILED,
                    "the disk is to have %" G_GUINT64_FORMAT
                    " bytes, but its source %s has %" G_GUINT64_FORMAT "; ask for at least that",
                    size, make->source, block_size(source));
        return false;
    }
    return block_create(make->staging, make->format, size, &make->error) && fill(make, source) &&
           file_move(make->staging, make->target, &make->error);
}

static void make_run(void *data)
{
    struct make *make = data;
    struct block_device *source = NULL;

    unlink(make->staging); /* left from an attempt that was cut off */
    if (make->source) {
        source =
            block_open(make->source, BLOCK_OPEN_READ_ONLY | BLOCK_OPEN_PROBE_RAW, &make->error);
        if (!source)
            return;
    }
    if (!make_from(make, source))
        unlink(make->staging);
    block_abandon(source);
}

static void make_done(void *data)
{
    struct make *make = data;
    struct disk *disk = get_disk(make->disks, make->uid);

    disk->busy = false;
    if (make->error) {
        g_warning("disk %s: %s", make->uid, make->error->message);
        set_state(disk, CLUSTER__DISK_STATE__DISK_FAILED, make->error->message);
        disk->retry_at = g_get_monotonic_time() + RETRY_US;
    } else {
        examine(make->disks, disk);
        g_message("disk %s is ready", make->uid);
    }
    agent_changed(make->disks->agent);
    agent_reconcile(make->disks->agent, NULL);
    g_clear_error(&make->error);
    g_free(make->uid);
    g_free(make->source);
    g_free(make->staging);
    g_free(make->target);
    g_free(make);
}

/* The path of a source file inside the image folder; NULL for one that would lead out of it. */
static char *source_path(const struct agent *agent, const char *relative)
{
    g_auto(GStrv) parts = g_strsplit(relative, "/", -1);

    for (char **part = parts; *part; part++)
        if (strcmp(*part, "..") == 0)
            return NULL;
    if (g_path_is_absolute(relative) || !agent->config.images)
        return NULL;
    return g_build_filename(agent->config.images, relative, NULL);
}

static void start_make(struct disks *disks, struct disk *disk, const Cluster__DiskOrder *order)
{
    g_autofree char *name = g_strconcat(disk->uid, ".vhd", NULL);
    g_autofree char *source = NULL;
    struct make *make;

    if (order->source_file && *order->source_file) {
        source = source_path(disks->agent, order->source_file);
        if (!source) {
            set_state(disk, CLUSTER__DISK_STATE__DISK_FAILED,
                      "source.file must be a path inside the agent's --images folder");
            disk->retry_at = INT64_MAX;
            agent_changed(disks->agent);
            return;
        }
    }
    make = g_new0(struct make, 1);
    *make = (struct make){
        .disks = disks,
        .uid = g_strdup(disk->uid),
        .source = g_steal_pointer(&source),
        .staging = agent_path(disks->agent, "staging", name, NULL),
        .target = disks_path(disks, disk->uid),
        .size_bytes = order->size_bytes,
        .format = g_strcmp0(order->type, "fixed") == 0 ? BLOCK_FORMAT_VHD_FIXED
                                                       : BLOCK_FORMAT_VHD_DYNAMIC,
    };
    disk->busy = true;
    set_state(disk, CLUSTER__DISK_STATE__DISK_CREATING, NULL);
    agent_changed(disks->agent);
    workers_run(disks->agent->workers, make_run, make_done, make);
}

static void want_present(struct disks *disks, struct disk *disk, const Cluster__DiskOrder *order)
{
    bool failed = disk->state == CLUSTER__DISK_STATE__DISK_FAILED;

    disk->ordered_absent = false;
    if (disk->busy || disk->state == CLUSTER__DISK_STATE__DISK_READY ||
        (failed && g_get_monotonic_time() < disk->retry_at))
        return;
    if (failed)
        examine(disks, disk);
    if (disk->state == CLUSTER__DISK_STATE__DISK_READY)
        agent_changed(disks->agent);
    if (disk->state !=
        CLUSTER__DISK_STATE__DISK_ABSENT) { /* there, good or damaged: never replaced */
        disk->retry_at = g_get_monotonic_time() + RETRY_US;
        return;
    }
    if (order->must_exist) {
        set_state(disk, CLUSTER__DISK_STATE__DISK_FAILED,
                  "the disk's file is gone from this host; an empty one is not made in its place");
        disk->retry_at = g_get_monotonic_time() + RETRY_US;
        agent_changed(disks->agent);
        return;
    }
    start_make(disks, disk, order);
}

static void want_absent(struct disks *disks, struct disk *disk)
{
    g_autofree char *path = disks_path(disks, disk->uid);
    g_autoptr(GError) error = NULL;

    disk->ordered_absent = true;
    if (disk->busy || disk->machine_uid || disk->state == CLUSTER__DISK_STATE__DISK_ABSENT)
        return;
    if (file_remove(path, &error)) {
        g_message("disk %s is deleted", disk->uid);
        set_state(disk, CLUSTER__DISK_STATE__DISK_ABSENT, NULL);
    } else {
        set_state(disk, CLUSTER__DISK_STATE__DISK_FAILED, error->message);
    }
    agent_changed(disks->agent);
}

static gboolean is_forgotten(void *key, void *item, void *opaque)
{
    const Cluster__Assignment *assignment = opaque;
    const struct disk *disk = item;

    if (disk->busy || disk->machine_uid || disk->state != CLUSTER__DISK_STATE__DISK_ABSENT)
        return FALSE;
    for (size_t i = 0; i < assignment->n_disks; i++)
        if (g_strcmp0(assignment->disks[i]->uid, disk->uid) == 0)
            return FALSE;
    return TRUE;
}

void disks_reconcile(struct disks *disks, const Cluster__Assignment *assignment)
{
    g_hash_table_foreach_remove(disks->table, is_forgotten, (void *)assignment);
    for (size_t i = 0; i < assignment->n_disks; i++) {
        const Cluster__DiskOrder *order = assignment->disks[i];
        struct disk *disk;

        if (!order->uid || !g_uuid_string_is_valid(order->uid))
            continue;
        disk = get_disk(disks, order->uid);
        if (order->want == CLUSTER__DISK_WANT__DISK_WANT_PRESENT)
            want_present(disks, disk, order);
        else if (order->want == CLUSTER__DISK_WANT__DISK_WANT_ABSENT)
            want_absent(disks, disk);
    }
}

/* ---- what others ask ------------------------------------------------------------------------- */

char *disks_ready_path(struct disks *disks, const char *uid, char **ret_reason)
{
    struct disk *disk = g_hash_table_lookup(disks->table, uid);

    if (!disk || disk->state == CLUSTER__DISK_STATE__DISK_ABSENT)
        *ret_reason = g_strdup("is not here yet");
    else if (disk->busy)
        *ret_reason = g_strdup("is being made");
    else if (disk->state != CLUSTER__DISK_STATE__DISK_READY)
        *ret_reason = g_strdup(disk->message ? disk->message : "is not ready");
    else if (disk->ordered_absent)
        *ret_reason = g_strdup("is to be deleted");
    else
        return disks_path(disks, uid);
    return NULL;
}

void disks_set_user(struct disks *disks, const char *uid, const char *machine_uid)
{
    struct disk *disk = get_disk(disks, uid);

    g_free(disk->machine_uid);
    disk->machine_uid = g_strdup(machine_uid);
}

void disks_refresh(struct disks *disks, const char *uid)
{
    examine(disks, get_disk(disks, uid));
    agent_changed(disks->agent);
}

static Cluster__DiskReport *report_of(struct disks *disks, const struct disk *disk)
{
    g_autofree char *path = disks_path(disks, disk->uid);
    Cluster__DiskReport *report = g_new(Cluster__DiskReport, 1);
    struct stat st;

    cluster__disk_report__init(report);
    report->uid = g_strdup(disk->uid);
    report->has_state = TRUE;
    report->state = disk->state;
    report->message = g_strdup(disk->message);
    report->machine_uid = g_strdup(disk->machine_uid);
    if (disk->state == CLUSTER__DISK_STATE__DISK_READY && stat(path, &st) == 0) {
        report->has_size_bytes = disk->size_bytes != 0; /* not known while another has it locked */
        report->has_allocated_bytes = report->has_file_bytes = TRUE;
        report->size_bytes = disk->size_bytes;
        report->allocated_bytes = (uint64_t)st.st_blocks * 512;
        report->file_bytes = (uint64_t)st.st_size;
    }
    return report;
}

Cluster__DiskReport **disks_reports(struct disks *disks, size_t *ret_count)
{
    Cluster__DiskReport **reports = g_new0(Cluster__DiskReport *, g_hash_table_size(disks->table));
    GHashTableIter iter;
    void *item;
    size_t n = 0;

    g_hash_table_iter_init(&iter, disks->table);
    while (g_hash_table_iter_next(&iter, NULL, &item))
        reports[n++] = report_of(disks, item);
    *ret_count = n;
    return reports;
}

void disks_reports_free(Cluster__DiskReport **reports, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        g_free(reports[i]->uid);
        g_free(reports[i]->message);
        g_free(reports[i]->machine_uid);
        g_free(reports[i]);
    }
    g_free(reports);
}
