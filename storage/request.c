/*
 * The data path: from a request to the places in host files where its bytes lie.
 */
#include <string.h>

#include "storage/bitmap.h"
#include "storage/driver.h"

#define ZERO_CHUNK (256u << 10) /* bytes written at once where zeroes have to be written */

/* ---- checks and limits ----------------------------------------------------------------------- */

bool block_check_request(struct block_device *device, const char *what, uint64_t offset,
                         uint64_t length, bool writing, GError **error)
{
    if (writing && device->read_only) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_READ_ONLY, "%s is open read-only",
                    block_path(device));
        return false;
    }
    if (offset <= device->size && length <= device->size - offset)
        return true;
    g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_RANGE,
                "cannot %s %" G_GUINT64_FORMAT " bytes at %" G_GUINT64_FORMAT
                " of %s: the disk has %" G_GUINT64_FORMAT " bytes",
                what, length, offset, block_path(device), device->size);
    return false;
}

void block_set_limits(struct block_device *device, const struct block_limits *limits)
{
    static const struct block_limits none;

    block_throttle_init(&device->throttle, limits ? limits : &none, g_get_monotonic_time());
    device->throttled = limits && (limits->bytes_per_second || limits->operations_per_second);
}

int64_t block_throttle_delay(struct block_device *device, uint64_t bytes)
{
    int64_t delay;

    if (!device->throttled)
        return 0;
    block_tables_lock(device);
    delay = block_throttle_take(&device->throttle, bytes, g_get_monotonic_time());
    block_tables_unlock(device);
    return delay;
}

static void wait_for_limits(struct block_device *device, uint64_t bytes)
{
    int64_t delay = block_throttle_delay(device, bytes);

    if (delay > 0)
        g_usleep((gulong)delay);
}

void block_note_write(struct block_device *device, uint64_t offset, uint64_t length)
{
    for (guint i = 0; device->bitmaps && i < device->bitmaps->len; i++)
        block_bitmap_set(device->bitmaps->pdata[i], offset, length);
}

bool block_is_zero(const void *bytes, size_t length)
{
    const uint8_t *b = bytes;

    if (length < 16)
        return length == 0 || (b[0] == 0 && memcmp(b, b + 1, length - 1) == 0);
    /* sixteen bytes tell most data from zeroes before the long comparison begins */
    static const uint8_t zero[16];
    return memcmp(b, zero, 16) == 0 && memcmp(b, b + 16, length - 16) == 0;
}

bool block_all_ones(const uint8_t *bitmap, uint32_t bits)
{
    for (uint32_t i = 0; i < bits / 8; i++)
        if (bitmap[i] != 0xff)
            return false;
    return true;
}

/* ---- grace periods ---------------------------------------------------------------------------
 *
 * A mapped request counts under its epoch's lowest bit. The epoch goes on only when nothing of the
 * one before is under way, so what began in epoch e has ended once e + 2 has come.
 */

static void advance_epoch(struct block_device *device)
{
    if (device->in_flight[(device->epoch + 1) & 1] == 0)
        device->epoch++;
}

uint64_t block_grace_ticket(struct block_device *device)
{
    return device->epoch;
}

bool block_grace_over(struct block_device *device, uint64_t ticket)
{
    for (int i = 0; i < 2 && device->epoch < ticket + 2; i++)
        advance_epoch(device);
    return device->epoch >= ticket + 2;
}

/* ---- resolving ------------------------------------------------------------------------------- */

static void map_one(struct block_device *device, uint64_t offset, uint64_t length, bool writing,
                    struct block_map *map, struct block_segment *segment)
{
    *map = (struct block_map){.kind = BLOCK_MAP_SLOW, .length = length};
    if (!device->driver->map)
        return;
    block_tables_lock(device);
    device->driver->map(device, offset, length, writing, map);
    if (map->kind == BLOCK_MAP_FILE) {
        segment->epoch = (unsigned)(device->epoch & 1);
        device->in_flight[segment->epoch]++;
        device->writes_mapped += writing;
    }
    block_tables_unlock(device);
}

void block_resolve(struct block_device *device, uint64_t offset, uint64_t length, bool writing,
                   struct block_segment *ret_segment)
{
    struct block_map map;

    for (;;) {
        map_one(device, offset, length, writing, &map, ret_segment);
        length = map.length;
        if (map.kind != BLOCK_MAP_PARENT)
            break;
        device = device->parent;
        if (!device || offset >= device->size) {
            map.kind = BLOCK_MAP_ZERO;
            break;
        }
        length = MIN(length, device->size - offset);
    }
    ret_segment->kind = map.kind;
    ret_segment->device = device;
    ret_segment->offset = offset;
    ret_segment->length = length;
    ret_segment->file_offset = map.file_offset;
}

void block_segment_end(const struct block_segment *segment)
{
    struct block_device *device = segment->device;

    block_tables_lock(device);
    device->in_flight[segment->epoch]--;
    block_tables_unlock(device);
}

static bool slow_read(const struct block_segment *segment, void *buffer, GError **error)
{
    struct block_device *device = segment->device;
    bool ok;

    pthread_mutex_lock(&device->slow);
    ok = device->driver->read(device, segment->offset, buffer, segment->length, error);
    pthread_mutex_unlock(&device->slow);
    return ok;
}

static bool read_segment(const struct block_segment *segment, void *buffer, GError **error)
{
    bool ok;

    switch (segment->kind) {
    case BLOCK_MAP_FILE:
        ok = host_file_read(segment->device->file, segment->file_offset, buffer, segment->length,
                            error);
        block_segment_end(segment);
        return ok;
    case BLOCK_MAP_ZERO:
        memset(buffer, 0, segment->length);
        return true;
    default:
        return slow_read(segment, buffer, error);
    }
}

bool block_perform_read(struct block_device *device, uint64_t offset, void *buffer, size_t length,
                        GError **error)
{
    uint8_t *to = buffer;
    struct block_segment segment;

    for (; length > 0; length -= segment.length) {
        block_resolve(device, offset, length, false, &segment);
        if (!read_segment(&segment, to, error))
            return false;
        to += segment.length;
        offset += segment.length;
    }
    return true;
}

/* What reads as zero and is to be zero needs no place. */
static bool is_needless(struct block_device *device, uint64_t offset, const void *buffer,
                        size_t length)
{
    struct block_map map;

    block_tables_lock(device);
    device->driver->map(device, offset, length, false, &map);
    block_tables_unlock(device);
    return map.kind == BLOCK_MAP_ZERO && map.length == length && block_is_zero(buffer, length);
}

/* By the driver: either the whole of it, or only so far that it can be mapped. */
static bool write_slowly(const struct block_segment *segment, const void *buffer, bool *ret_written,
                         GError **error)
{
    struct block_device *device = segment->device;
    bool ok = true;

    pthread_mutex_lock(&device->slow);
    *ret_written = true;
    if (!device->driver->allocate) {
        ok = device->driver->write(device, segment->offset, buffer, segment->length, error);
    } else if (!is_needless(device, segment->offset, buffer, segment->length)) {
        ok = device->driver->allocate(device, segment->offset, segment->length, error);
        *ret_written = false;
    }
    pthread_mutex_unlock(&device->slow);
    return ok;
}

static bool write_segment(const struct block_segment *segment, const void *buffer,
                          bool *ret_written, GError **error)
{
    bool ok;

    if (segment->kind != BLOCK_MAP_FILE)
        return write_slowly(segment, buffer, ret_written, error);
    ok = host_file_write(segment->device->file, segment->file_offset, buffer, segment->length,
                         error);
    block_segment_end(segment);
    *ret_written = true;
    return ok;
}

bool block_perform_write(struct block_device *device, uint64_t offset, const void *buffer,
                         size_t length, GError **error)
{
    const uint8_t *from = buffer;
    struct block_segment segment;
    bool written;

    while (length > 0) {
        block_resolve(device, offset, length, true, &segment);
        if (!write_segment(&segment, from, &written, error))
            return false;
        if (!written)
            continue;
        from += segment.length;
        offset += segment.length;
        length -= segment.length;
    }
    return true;
}

/* ---- the public calls ------------------------------------------------------------------------ */

bool block_read(struct block_device *device, uint64_t offset, void *buffer, size_t length,
                GError **error)
{
    if (!block_check_request(device, "read", offset, length, false, error))
        return false;
    wait_for_limits(device, length);
    return block_perform_read(device, offset, buffer, length, error);
}

bool block_write(struct block_device *device, uint64_t offset, const void *buffer, size_t length,
                 GError **error)
{
    if (!block_check_request(device, "write", offset, length, true, error))
        return false;
    wait_for_limits(device, length);
    block_note_write(device, offset, length);
    return block_perform_write(device, offset, buffer, length, error);
}

bool block_flush(struct block_device *device, GError **error)
{
    bool ok;

    if (device->read_only)
        return true;
    pthread_mutex_lock(&device->slow);
    ok = device->driver->flush(device, error);
    pthread_mutex_unlock(&device->slow);
    return ok;
}

bool block_discard(struct block_device *device, uint64_t offset, uint64_t length, GError **error)
{
    bool ok;

    if (!block_check_request(device, "discard", offset, length, true, error))
        return false;
    if (length == 0 || !device->driver->discard)
        return true;
    wait_for_limits(device, 0);
    block_note_write(device, offset, length);
    pthread_mutex_lock(&device->slow);
    ok = device->driver->discard(device, offset, length, error);
    pthread_mutex_unlock(&device->slow);
    return ok;
}

static bool write_zero_bytes(struct block_device *device, uint64_t offset, uint64_t length,
                             GError **error)
{
    g_autofree uint8_t *zero = g_malloc0(MIN(length, ZERO_CHUNK));

    while (length > 0) {
        size_t n = MIN(length, ZERO_CHUNK);

        if (!block_perform_write(device, offset, zero, n, error))
            return false;
        offset += n;
        length -= n;
    }
    return true;
}

bool block_write_zeroes(struct block_device *device, uint64_t offset, uint64_t length,
                        bool may_unmap, GError **error)
{
    bool ok;

    if (!block_check_request(device, "zero", offset, length, true, error))
        return false;
    if (length == 0)
        return true;
    wait_for_limits(device, 0);
    block_note_write(device, offset, length);
    if (!device->driver->write_zeroes)
        return write_zero_bytes(device, offset, length, error);
    pthread_mutex_lock(&device->slow);
    ok = device->driver->write_zeroes(device, offset, length, may_unmap, error);
    pthread_mutex_unlock(&device->slow);
    return ok;
}

static bool peek_extent(struct block_device *device, uint64_t offset, struct block_extent *extent)
{
    bool known;

    if (!device->driver->peek_extent)
        return false;
    block_tables_lock(device);
    known = device->driver->peek_extent(device, offset, extent);
    block_tables_unlock(device);
    return known;
}

static bool look_for_extent(struct block_device *device, uint64_t offset,
                            struct block_extent *extent, GError **error)
{
    bool ok;

    if (device->driver->extents_unlocked)
        return device->driver->next_extent(device, offset, extent, error);
    pthread_mutex_lock(&device->slow);
    ok = device->driver->next_extent(device, offset, extent, error);
    pthread_mutex_unlock(&device->slow);
    return ok;
}

/* This image's own extent, ending no later than `length` bytes on. */
static bool own_extent(struct block_device *device, uint64_t offset, uint64_t length,
                       struct block_extent *extent, GError **error)
{
    bool ok = peek_extent(device, offset, extent) || look_for_extent(device, offset, extent, error);

    if (ok)
        extent->length = MIN(extent->length, length);
    return ok;
}

bool block_next_extent(struct block_device *device, uint64_t offset,
                       struct block_extent *ret_extent, GError **error)
{
    uint64_t length = device->size - MIN(offset, device->size);
    struct block_extent extent = {0};
    unsigned depth = 0;

    if (!block_check_request(device, "map", offset, 1, false, error))
        return false;
    for (struct block_device *d = device; d; d = d->parent, depth++) {
        if (offset >= d->size) { /* a smaller parent has nothing here, nor has any below it here */
            extent = (struct block_extent){offset, length, BLOCK_EXTENT_UNALLOCATED, 0};
            break;
        }
        if (d->size < device->size)
            length = MIN(length, d->size - offset);
        if (!own_extent(d, offset, length, &extent, error))
            return false;
        length = extent.length;
        extent.depth = depth;
        if (extent.kind != BLOCK_EXTENT_UNALLOCATED)
            break;
        extent.depth = 0;
    }
    *ret_extent = extent;
    return true;
}
