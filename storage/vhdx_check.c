/*
 * Looking for damage in a VHDX. What there is twice, and one of them good, can be repaired; so can
 * a log that waits to be replayed, and what lies behind the last part.
 */
#include <string.h>

#include "storage/vhdx.h"

#define TABLE_BYTES (64u << 10)

static void find_error(struct block_check *check, struct host_file *file, GError *error)
{
    const char *path = host_file_path(file), *text = error->message;

    /* "PATH is damaged: what" as a finding is "what" */
    if (g_str_has_prefix(text, path) && g_str_has_prefix(text + strlen(path), " is damaged: "))
        text += strlen(path) + strlen(" is damaged: ");
    block_check_find(check, false, "%s", text);
    g_error_free(error);
}

/* Whether both headers, and both region tables, are as they should be. */
static void check_copies(struct host_file *file, struct block_check *check)
{
    g_autofree uint8_t *first = g_malloc(TABLE_BYTES), *second = g_malloc(TABLE_BYTES);
    struct vhdx_header header;

    for (unsigned i = 0; i < 2; i++)
        if (!host_file_read(file, VHDX_HEADER_OFFSET(i), first, VHDX_PAGE, NULL) ||
            !vhdx_header_decode(&header, first))
            block_check_find(check, true, "header %u is damaged; the other one serves", i + 1);
    if (!host_file_read(file, VHDX_REGION_OFFSET(0), first, TABLE_BYTES, NULL) ||
        !host_file_read(file, VHDX_REGION_OFFSET(1), second, TABLE_BYTES, NULL) ||
        memcmp(first, second, TABLE_BYTES) != 0)
        block_check_find(check, true, "the two region tables differ");
}

/* The image as a driver sees it, without a parent; NULL with an error. */
static struct vhdx *open_for_check(struct host_file *file, bool writable, GError **error)
{
    struct vhdx *vhdx = g_new0(struct vhdx, 1);
    struct block_device *device = &vhdx->device;

    device->driver = &block_driver_vhdx_dynamic;
    device->file = file;
    device->read_only = !writable;
    pthread_mutex_init(&device->slow, NULL);
    pthread_mutex_init(&device->tables, NULL);
    if (device->driver->open(device, error))
        return vhdx;
    device->driver->release(device);
    g_free(vhdx);
    return NULL;
}

static void close_after_check(struct vhdx *vhdx)
{
    vhdx->device.driver->release(&vhdx->device);
    pthread_mutex_destroy(&vhdx->device.slow);
    pthread_mutex_destroy(&vhdx->device.tables);
    g_free(vhdx);
}

static void check_log_and_end(struct vhdx *vhdx, struct block_check *check)
{
    uint64_t size;

    if (vhdx->view.changes)
        block_check_find(check, true, "its log is to be replayed: it was not closed in order");
    else if (!vhdx_guid_is_zero(vhdx->header.log_guid))
        block_check_find(check, true, "its log is in use and empty");
    if (vhdx->view.changes || !host_file_size(vhdx->device.file, &size, NULL) ||
        size <= vhdx->space.end)
        return;
    check->leaked = size - vhdx->space.end; /* no damage: others lay a file out ahead of need */
}

/* Opening for writing has replayed the log; two header updates make both headers new. */
static bool mend(struct vhdx *vhdx, GError **error)
{
    struct host_file *file = vhdx->device.file;
    struct vhdx_header header = vhdx->header;
    uint64_t size;

    if (!vhdx_regions_store(file, &vhdx->regions, error))
        return false;
    for (unsigned i = 0; i < 2; i++)
        if (!vhdx_update_header(vhdx, &header, error))
            return false;
    return host_file_size(file, &size, error) &&
           (size <= vhdx->space.end || host_file_resize(file, vhdx->space.end, error)) &&
           host_file_flush(file, error);
}

static bool repair_image(struct host_file *file, struct block_check *check, GError **error)
{
    struct vhdx *vhdx = open_for_check(file, true, error);

    if (!vhdx)
        return false;
    check->repaired = mend(vhdx, error);
    close_after_check(vhdx);
    return check->repaired;
}

bool vhdx_check(struct host_file *file, bool repair, struct block_check *check, GError **error)
{
    GError *found = NULL;
    struct vhdx *vhdx = open_for_check(file, false, &found);

    if (!vhdx && found->domain == BLOCK_ERROR && found->code == BLOCK_ERROR_IO) {
        g_propagate_error(error, found);
        return false;
    }
    check_copies(file, check);
    if (vhdx) {
        check_log_and_end(vhdx, check);
        close_after_check(vhdx);
    } else {
        find_error(check, file, found);
    }
    return !repair || !block_check_is_repairable(check) || repair_image(file, check, error);
}
