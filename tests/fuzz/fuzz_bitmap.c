/*
 * The file of dirty bitmaps beside an image. The input's first byte says whether its sums, and what
 * it says of the image's file, are made right (storage/bitmap.c has the layout).
 */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/bitmap.h"
#include "storage/endian.h"

#define DISK_SIZE   (8u << 20)
#define HEADER_SIZE 512

static void sum(const uint8_t *bytes, size_t length, uint8_t *out)
{
    GChecksum *checksum = g_checksum_new(G_CHECKSUM_SHA256);
    gsize n = 32;

    g_checksum_update(checksum, bytes, (gssize)length);
    g_checksum_get_digest(checksum, out, &n);
    g_checksum_free(checksum);
}

static void fix(uint8_t *raw, size_t size, const char *image)
{
    struct stat st;

    if (size < HEADER_SIZE || stat(image, &st) < 0)
        return;
    store_le64(raw + 24, (uint64_t)st.st_size);
    store_le64(raw + 32, (uint64_t)st.st_mtim.tv_sec * 1000000000 + (uint64_t)st.st_mtim.tv_nsec);
    sum(raw + HEADER_SIZE, size - HEADER_SIZE, raw + 64);
    sum(raw, 480, raw + 480);
}

static void use(struct block_device *device)
{
    uint64_t offset, length;

    for (unsigned i = 0; i < BLOCK_BITMAP_MAX + 1; i++) {
        struct block_bitmap *bitmap = block_bitmap_at(device, i);

        if (!bitmap)
            break;
        for (uint64_t at = 0; block_bitmap_next(bitmap, at, &offset, &length); at = offset + length)
            if (length == 0 || offset < at || offset + length > DISK_SIZE)
                abort();
        block_bitmap_set(bitmap, 5000, 70000);
        block_bitmap_clear(bitmap, 0, DISK_SIZE);
        if (block_bitmap_dirty_bytes(bitmap) > DISK_SIZE)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *path = fuzz_beside("disk.img"), *beside = fuzz_beside("disk.img.bitmaps");
    g_autofree uint8_t *raw = NULL;
    struct block_device *device;

    if (access(path, F_OK) != 0 && !block_create(path, BLOCK_FORMAT_RAW, DISK_SIZE, NULL))
        abort();
    if (size < 1)
        return -1;
    raw = g_memdup2(data + 1, size - 1);
    if (data[0] & FUZZ_FIX_CHECKSUMS)
        fix(raw, size - 1, path);
    if (!g_file_set_contents_full(beside, (const char *)raw, (gssize)(size - 1),
                                  G_FILE_SET_CONTENTS_NONE, 0600, NULL))
        abort();
    device = block_open(path, BLOCK_OPEN_PROBE_RAW, NULL);
    if (!device)
        return 0;
    use(device);
    block_close(device, NULL);
    return 0;
}
