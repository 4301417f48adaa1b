#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "storage/check.h"
#include "storage/driver.h"
#include "storage/endian.h"
#include "storage/operations.h"

#define HEAD    5
#define RECORD  6
#define CHUNK   65536
#define EXTENTS 200 /* looked at; a disk may have millions */
#define FLAGS   (BLOCK_OPEN_CHAIN)

static const char *folder(void)
{
    static char *made;

    if (!made) {
        const char *given = getenv("FUZZ_FOLDER");

        made = given ? g_strdup(given) : g_dir_make_tmp("drover-fuzz-XXXXXX", NULL);
    }
    return made;
}

char *fuzz_beside(const char *name)
{
    return g_build_filename(folder(), name, NULL);
}

const char *fuzz_path(void)
{
    static char *path;

    if (!path)
        path = fuzz_beside("image");
    return path;
}

int fuzz_open(void)
{
    return open(fuzz_path(), O_RDWR | O_CLOEXEC);
}

bool fuzz_make_file(const uint8_t *data, size_t size, uint64_t most, unsigned *ret_bits)
{
    uint64_t file_size;
    int fd;

    if (size < HEAD)
        return false;
    *ret_bits = data[0];
    file_size = (uint64_t)load_le32(data + 1) * 512;
    if (file_size > most)
        return false;
    fd = open(fuzz_path(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)file_size) < 0)
        abort();
    for (size_t at = HEAD; size - at >= RECORD;) {
        uint64_t where = (uint64_t)load_le32(data + at) * 512;
        size_t n = MIN(load_le16(data + at + 4), size - at - RECORD);

        at += RECORD;
        if (where < file_size && pwrite(fd, data + at, MIN(n, file_size - where), (off_t)where) < 0)
            abort();
        at += n;
    }
    close(fd);
    return true;
}

static void look_at(struct block_device *device)
{
    g_autofree uint8_t *buffer = g_malloc(CHUNK);
    uint64_t size = block_size(device);
    struct block_extent extent;
    struct block_info info;
    uint64_t at = 0;

    block_get_info(device, &info, NULL);
    for (int i = 0; i < EXTENTS && at < size; i++) {
        if (!block_next_extent(device, at, &extent, NULL))
            break;
        if (extent.offset != at || extent.length == 0 || extent.length > size - at)
            abort();
        if (block_read(device, at, buffer, MIN(CHUNK, extent.length), NULL) &&
            extent.kind != BLOCK_EXTENT_DATA && !block_is_zero(buffer, MIN(CHUNK, extent.length)))
            abort();
        at += extent.length;
    }
    block_read(device, size - MIN(size, 700), buffer, MIN(size, 700), NULL);
}

/* Writes here and there; what a flush has called safe must be read again. */
static void change(struct block_device *device)
{
    static const char text[] = "written by the fuzzer";
    uint64_t size = block_size(device), places[] = {0, size / 2, size - sizeof(text)};
    char found[sizeof(text)];

    if (size < 4 * sizeof(text))
        return;
    for (size_t i = 0; i < G_N_ELEMENTS(places); i++) {
        if (!block_write(device, places[i], text, sizeof(text), NULL) ||
            !block_flush(device, NULL) ||
            !block_read(device, places[i], found, sizeof(found), NULL))
            continue;
        if (memcmp(found, text, sizeof(text)) != 0)
            abort();
    }
    block_discard(device, 0, MIN(size, 4u << 20), NULL);
    block_write_zeroes(device, size / 3, MIN(size / 3, 3u << 20), true, NULL);
    block_flush(device, NULL);
    if (device->driver->compact)
        device->driver->compact(device, NULL, NULL, NULL);
    /* a longer table, and the other way: what shrinks has to be looked through, so not the giants
     */
    if (block_resize(device, size / 512 * 512 + (1u << 20), NULL) && size <= 64u << 20)
        block_resize(device, size / 512 * 512, NULL);
}

void fuzz_use_image(unsigned bits)
{
    struct block_device *device;

    device = block_open(fuzz_path(), FLAGS | BLOCK_OPEN_READ_ONLY, NULL);
    if (device)
        look_at(device);
    block_abandon(device);
    if (!(bits & FUZZ_WRITABLE))
        return;
    device = block_open(fuzz_path(), FLAGS, NULL);
    if (!device)
        return;
    change(device);
    look_at(device);
    block_close(device, NULL);
}

void fuzz_check_image(unsigned bits)
{
    struct block_check check;
    bool repair = bits & FUZZ_WRITABLE, repaired;

    if (!block_check(fuzz_path(), repair, &check, NULL))
        return;
    repaired = check.repaired;
    block_check_clear(&check);
    if (!repaired)
        return;
    if (!block_check(fuzz_path(), false, &check, NULL) || check.findings->len > 0)
        abort();
    block_check_clear(&check);
}
