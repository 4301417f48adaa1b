/*
 * IMAGE.bitmaps, all numbers little-endian:
 *
 *      0     "DRVDIRTY"
 *      8     u32 version, 1
 *      12    u32 in use: 1 while the image is open for writing
 *      16    u64 size of the disk
 *      24    u64 size of the image's file     as they were when the image was closed;
 *      32    i64 its time, in nanoseconds     not meant while it is in use
 *      40    u32 how many bitmaps
 *      64    SHA-256 of everything from byte 512 on
 *      480   SHA-256 of bytes 0 to 479
 *      512   a record of 128 bytes for each: name (64, zero-filled), u32 grain, u64 bytes of bits
 *            their bits, one after another; bit n is bit n % 8 of byte n / 8
 *
 * The first sector is written alone and last, so that it is the old or the new one.
 */
#include "storage/bitmap.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/driver.h"
#include "storage/endian.h"

#define MAGIC       "DRVDIRTY"
#define VERSION     1
#define HEADER_SIZE 512
#define RECORD_SIZE 128
#define MAX_BYTES   (256u << 20) /* of all bits of an image */

enum {
    AT_VERSION = 8,
    AT_IN_USE = 12,
    AT_DISK_SIZE = 16,
    AT_FILE_SIZE = 24,
    AT_FILE_TIME = 32,
    AT_COUNT = 40,
    AT_BODY_SUM = 64,
    AT_HEADER_SUM = 480,
    RECORD_GRAIN = 64,
    RECORD_BYTES = 72,
};

struct block_bitmap {
    char name[BLOCK_BITMAP_NAME_MAX + 1];
    uint32_t grain;
    uint64_t disk_size;
    uint64_t count; /* bits */
    size_t bytes;   /* of bits */
    bool sound;
    pthread_mutex_t lock; /* guards the bits; nothing is taken inside it */
    uint8_t *bits;
};

/* ---- bits ------------------------------------------------------------------------------------ */

static bool is_power_of_two(uint64_t n)
{
    return n && !(n & (n - 1));
}

static struct block_bitmap *new_bitmap(const char *name, uint32_t grain, uint64_t disk_size)
{
    struct block_bitmap *bitmap = g_new0(struct block_bitmap, 1);

    g_strlcpy(bitmap->name, name, sizeof(bitmap->name));
    bitmap->grain = grain;
    bitmap->disk_size = disk_size;
    bitmap->count = (disk_size + grain - 1) / grain;
    bitmap->bytes = (size_t)((bitmap->count + 7) / 8);
    bitmap->sound = true;
    bitmap->bits = g_malloc0(bitmap->bytes);
    pthread_mutex_init(&bitmap->lock, NULL);
    return bitmap;
}

static void free_bitmap(void *data)
{
    struct block_bitmap *bitmap = data;

    pthread_mutex_destroy(&bitmap->lock);
    g_free(bitmap->bits);
    g_free(bitmap);
}

static bool get_bit(const struct block_bitmap *bitmap, uint64_t n)
{
    return bitmap->bits[n / 8] >> n % 8 & 1;
}

static void fill(struct block_bitmap *bitmap, uint64_t first, uint64_t end, bool value)
{
    for (; first < end && first % 8; first++)
        bitmap->bits[first / 8] = (uint8_t)((bitmap->bits[first / 8] & ~(1u << first % 8)) |
                                            (unsigned)value << first % 8);
    if (end - first >= 8 && first < end)
        memset(bitmap->bits + first / 8, value ? 0xff : 0, (size_t)((end - first) / 8));
    for (first += first < end ? (end - first) / 8 * 8 : 0; first < end; first++)
        bitmap->bits[first / 8] = (uint8_t)((bitmap->bits[first / 8] & ~(1u << first % 8)) |
                                            (unsigned)value << first % 8);
}

void block_bitmap_set(struct block_bitmap *bitmap, uint64_t offset, uint64_t length)
{
    if (length == 0)
        return;
    pthread_mutex_lock(&bitmap->lock);
    fill(bitmap, offset / bitmap->grain, (offset + length - 1) / bitmap->grain + 1, true);
    pthread_mutex_unlock(&bitmap->lock);
}

void block_bitmap_clear(struct block_bitmap *bitmap, uint64_t offset, uint64_t length)
{
    uint64_t first = (offset + bitmap->grain - 1) / bitmap->grain;
    uint64_t end =
        offset + length >= bitmap->disk_size ? bitmap->count : (offset + length) / bitmap->grain;

    pthread_mutex_lock(&bitmap->lock);
    if (first < end)
        fill(bitmap, first, end, false);
    pthread_mutex_unlock(&bitmap->lock);
}

bool block_bitmap_next(struct block_bitmap *bitmap, uint64_t offset, uint64_t *ret_offset,
                       uint64_t *ret_length)
{
    uint64_t first = offset / bitmap->grain, end;

    if (offset >= bitmap->disk_size) /* which may lie in the midst of the last grain */
        return false;
    pthread_mutex_lock(&bitmap->lock);
    while (first < bitmap->count && !get_bit(bitmap, first))
        first += first % 8 == 0 && bitmap->bits[first / 8] == 0 ? 8 : 1;
    end = first;
    while (end < bitmap->count && get_bit(bitmap, end))
        end++;
    pthread_mutex_unlock(&bitmap->lock);
    if (first >= bitmap->count)
        return false;
    *ret_offset = MAX(offset, first * bitmap->grain);
    *ret_length = MIN(end * bitmap->grain, bitmap->disk_size) - *ret_offset;
    return true;
}

uint64_t block_bitmap_dirty_bytes(struct block_bitmap *bitmap)
{
    uint64_t at = 0, length, sum = 0;

    while (at < bitmap->disk_size && block_bitmap_next(bitmap, at, &at, &length)) {
        sum += length;
        at += length;
    }
    return sum;
}

const char *block_bitmap_name(const struct block_bitmap *bitmap)
{
    return bitmap->name;
}

uint32_t block_bitmap_grain(const struct block_bitmap *bitmap)
{
    return bitmap->grain;
}

bool block_bitmap_was_sound(const struct block_bitmap *bitmap)
{
    return bitmap->sound;
}

/* ---- a device's bitmaps ---------------------------------------------------------------------- */

struct block_bitmap *block_bitmap_at(struct block_device *device, unsigned n)
{
    return device->bitmaps && n < device->bitmaps->len ? device->bitmaps->pdata[n] : NULL;
}

struct block_bitmap *block_bitmap_find(struct block_device *device, const char *name)
{
    struct block_bitmap *bitmap;

    for (unsigned i = 0; (bitmap = block_bitmap_at(device, i)); i++)
        if (strcmp(bitmap->name, name) == 0)
            return bitmap;
    return NULL;
}

static void keep(struct block_device *device, struct block_bitmap *bitmap)
{
    if (!device->bitmaps)
        device->bitmaps = g_ptr_array_new_with_free_func(free_bitmap);
    g_ptr_array_add(device->bitmaps, bitmap);
}

static char *sidecar_path(struct block_device *device)
{
    return g_strconcat(block_path(device), ".bitmaps", NULL);
}

static bool fail(GError **error, const char *path, const char *what, const char *why)
{
    g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_IO, "cannot %s %s: %s", what, path, why);
    return false;
}

static void sum(const uint8_t *bytes, size_t length, uint8_t out[32])
{
    GChecksum *checksum = g_checksum_new(G_CHECKSUM_SHA256);
    gsize n = 32;

    g_checksum_update(checksum, bytes, (gssize)length);
    g_checksum_get_digest(checksum, out, &n);
    g_checksum_free(checksum);
}

static bool image_stamp(struct block_device *device, uint64_t *ret_size, int64_t *ret_time)
{
    struct stat st;

    if (fstat(host_file_fd(device->file), &st) < 0)
        return false;
    *ret_size = (uint64_t)st.st_size;
    *ret_time = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    return true;
}

/* ---- saving ---------------------------------------------------------------------------------- */

static GByteArray *encode_body(struct block_device *device)
{
    GByteArray *body = g_byte_array_new();
    struct block_bitmap *bitmap;

    for (unsigned i = 0; (bitmap = block_bitmap_at(device, i)); i++) {
        uint8_t record[RECORD_SIZE] = {0};

        memcpy(record, bitmap->name, sizeof(bitmap->name));
        store_le32(record + RECORD_GRAIN, bitmap->grain);
        store_le64(record + RECORD_BYTES, bitmap->bytes);
        g_byte_array_append(body, record, sizeof(record));
    }
    for (unsigned i = 0; (bitmap = block_bitmap_at(device, i)); i++)
        g_byte_array_append(body, bitmap->bits, (guint)bitmap->bytes);
    return body;
}

static void encode_header(struct block_device *device, const GByteArray *body, bool in_use,
                          uint8_t header[HEADER_SIZE])
{
    uint64_t size = 0;
    int64_t time = 0;

    memset(header, 0, HEADER_SIZE);
    memcpy(header, MAGIC, 8);
    store_le32(header + AT_VERSION, VERSION);
    store_le32(header + AT_IN_USE, in_use || !image_stamp(device, &size, &time));
    store_le64(header + AT_DISK_SIZE, device->size);
    store_le64(header + AT_FILE_SIZE, size);
    store_le64(header + AT_FILE_TIME, (uint64_t)time);
    store_le32(header + AT_COUNT, device->bitmaps->len);
    sum(body->data, body->len, header + AT_BODY_SUM);
    sum(header, AT_HEADER_SUM, header + AT_HEADER_SUM);
}

static bool write_at(int fd, uint64_t offset, const uint8_t *bytes, size_t length)
{
    while (length > 0) {
        ssize_t n = pwrite(fd, bytes, length, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        bytes += n;
        offset += (uint64_t)n;
        length -= (size_t)n;
    }
    return true;
}

/* The header says "in use" before the body is touched, and what it is to say after it is down. */
static bool write_sidecar(struct block_device *device, const char *path, bool in_use,
                          GError **error)
{
    GByteArray *body = encode_body(device);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    uint8_t header[HEADER_SIZE];
    bool ok = fd >= 0;

    for (int pass = 0; ok && pass < 2; pass++) {
        bool last = pass == 1;

        encode_header(device, body, in_use || !last, header);
        ok = write_at(fd, 0, header, sizeof(header)) && fdatasync(fd) == 0;
        if (ok && !last)
            ok = write_at(fd, HEADER_SIZE, body->data, body->len) &&
                 ftruncate(fd, (off_t)(HEADER_SIZE + body->len)) == 0 && fdatasync(fd) == 0;
    }
    if (!ok)
        fail(error, path, "write", g_strerror(errno));
    if (fd >= 0)
        close(fd);
    g_byte_array_unref(body);
    return ok;
}

bool block_bitmaps_save(struct block_device *device, GError **error)
{
    g_autofree char *path = NULL;

    if (!device->bitmaps || device->read_only)
        return true;
    path = sidecar_path(device);
    if (device->bitmaps->len == 0)
        return unlink(path) == 0 || errno == ENOENT ||
               fail(error, path, "remove", g_strerror(errno));
    return write_sidecar(device, path, false, error);
}

/* ---- loading --------------------------------------------------------------------------------- */

/* A header and records that can be trusted; the bits may still not be. */
static bool header_is_whole(const uint8_t *bytes, size_t length)
{
    uint8_t expected[32];
    uint32_t count;

    if (length < HEADER_SIZE || memcmp(bytes, MAGIC, 8) != 0 ||
        load_le32(bytes + AT_VERSION) != VERSION)
        return false;
    sum(bytes, AT_HEADER_SUM, expected);
    count = load_le32(bytes + AT_COUNT);
    return memcmp(bytes + AT_HEADER_SUM, expected, 32) == 0 && count <= BLOCK_BITMAP_MAX &&
           length - HEADER_SIZE >= (size_t)count * RECORD_SIZE;
}

static bool is_sound(struct block_device *device, const uint8_t *bytes, size_t length)
{
    uint8_t expected[32];
    uint64_t size;
    int64_t time;

    sum(bytes + HEADER_SIZE, length - HEADER_SIZE, expected);
    return load_le32(bytes + AT_IN_USE) == 0 && memcmp(bytes + AT_BODY_SUM, expected, 32) == 0 &&
           load_le64(bytes + AT_DISK_SIZE) == device->size && image_stamp(device, &size, &time) &&
           load_le64(bytes + AT_FILE_SIZE) == size &&
           (int64_t)load_le64(bytes + AT_FILE_TIME) == time;
}

static bool decode(struct block_device *device, const uint8_t *bytes, size_t length)
{
    uint32_t count = load_le32(bytes + AT_COUNT);
    const uint8_t *bits = bytes + HEADER_SIZE + (size_t)count * RECORD_SIZE;
    bool sound = is_sound(device, bytes, length);

    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *record = bytes + HEADER_SIZE + (size_t)i * RECORD_SIZE;
        uint32_t grain = load_le32(record + RECORD_GRAIN);
        uint64_t stored = load_le64(record + RECORD_BYTES);
        struct block_bitmap *bitmap;

        if (!memchr(record, 0, BLOCK_BITMAP_NAME_MAX + 1) || !is_power_of_two(grain) ||
            grain < BLOCK_SECTOR_SIZE || grain > (64u << 20) ||
            device->size / grain / 8 > MAX_BYTES)
            return false;
        bitmap = new_bitmap((const char *)record, grain, device->size);
        keep(device, bitmap);
        bitmap->sound =
            sound && stored == bitmap->bytes && stored <= (uint64_t)(bytes + length - bits);
        if (bitmap->sound)
            memcpy(bitmap->bits, bits, bitmap->bytes);
        else
            fill(bitmap, 0, bitmap->count, true);
        bits += MIN(stored, (uint64_t)(bytes + length - bits));
    }
    return true;
}

static bool read_sidecar(const char *path, char **ret_bytes, gsize *ret_length, GError **error)
{
    struct stat st;

    *ret_bytes = NULL;
    if (lstat(path, &st) < 0)
        return errno == ENOENT || fail(error, path, "read", g_strerror(errno));
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > MAX_BYTES)
        return fail(error, path, "read", "it is no file of bitmaps; move it away");
    return g_file_get_contents(path, ret_bytes, ret_length, error);
}

bool block_bitmaps_load(struct block_device *device, GError **error)
{
    g_autofree char *path = sidecar_path(device), *bytes = NULL;
    gsize length;

    if (!read_sidecar(path, &bytes, &length, error))
        return false;
    if (!bytes)
        return true;
    if (!header_is_whole((uint8_t *)bytes, length) || !decode(device, (uint8_t *)bytes, length)) {
        block_bitmaps_free(device);
        if (device->read_only)
            return true;
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_FORMAT,
                    "%s is damaged, so that not even the names of the bitmaps are known; remove it "
                    "and begin them anew with a full copy",
                    path);
        return false;
    }
    return device->read_only || !device->bitmaps || write_sidecar(device, path, true, error);
}

void block_bitmaps_resize(struct block_device *device)
{
    struct block_bitmap *bitmap;

    for (unsigned i = 0; (bitmap = block_bitmap_at(device, i)); i++) {
        uint64_t count = (device->size + bitmap->grain - 1) / bitmap->grain, before = bitmap->count;
        size_t bytes = (size_t)((count + 7) / 8);
        uint8_t *bits = g_malloc0(bytes);

        memcpy(bits, bitmap->bits, MIN(bytes, bitmap->bytes));
        pthread_mutex_lock(&bitmap->lock);
        g_free(bitmap->bits);
        bitmap->bits = bits;
        bitmap->bytes = bytes;
        bitmap->count = count;
        bitmap->disk_size = device->size;
        if (count > before)
            fill(bitmap, before, count, true);
        else if (count % 8)
            bits[bytes - 1] &= (uint8_t)((1u << count % 8) - 1);
        pthread_mutex_unlock(&bitmap->lock);
    }
}

void block_bitmaps_free(struct block_device *device)
{
    g_clear_pointer(&device->bitmaps, g_ptr_array_unref);
}

void block_bitmaps_remove(const char *path)
{
    g_autofree char *sidecar = g_strconcat(path, ".bitmaps", NULL);

    unlink(sidecar); /* one that stays is taken for unsound by whatever comes to lie there */
}

/* ---- beginning and ending -------------------------------------------------------------------- */

static bool check_new(struct block_device *device, const char *name, uint32_t grain, GError **error)
{
    const char *why = NULL;

    if (device->read_only)
        why = "the disk is open read-only";
    else if (!*name || strlen(name) > BLOCK_BITMAP_NAME_MAX || !g_utf8_validate(name, -1, NULL))
        why = "its name must be 1 to 63 bytes of UTF-8";
    else if (!is_power_of_two(grain) || grain < BLOCK_SECTOR_SIZE || grain > (64u << 20))
        why = "a bit stands for a power of two of bytes, from 512 to 64 MiB";
    else if (device->size / grain / 8 > MAX_BYTES / BLOCK_BITMAP_MAX)
        why = "so small a grain makes it too large";
    else if (block_bitmap_find(device, name))
        why = "there is one of that name";
    else if (device->bitmaps && device->bitmaps->len >= BLOCK_BITMAP_MAX)
        why = "a disk has at most 16";
    if (why)
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_ARGUMENT, "cannot add bitmap \"%s\" to %s: %s",
                    name, block_path(device), why);
    return !why;
}

struct block_bitmap *block_bitmap_add(struct block_device *device, const char *name, uint32_t grain,
                                      GError **error)
{
    g_autofree char *path = sidecar_path(device);
    struct block_bitmap *bitmap;

    grain = grain ? grain : BLOCK_BITMAP_GRAIN;
    if (!check_new(device, name, grain, error))
        return NULL;
    bitmap = new_bitmap(name, grain, device->size);
    keep(device, bitmap);
    if (write_sidecar(device, path, true, error))
        return bitmap;
    g_ptr_array_remove(device->bitmaps, bitmap);
    return NULL;
}

void block_bitmap_remove(struct block_device *device, const char *name)
{
    struct block_bitmap *bitmap = block_bitmap_find(device, name);

    if (bitmap)
        g_ptr_array_remove(device->bitmaps, bitmap);
}
