/*
 * VHDX: headers, log, region table, metadata, allocation table, sector bitmaps, parent locators.
 * A parent stands beside the image as "parent.vhdx".
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>
#include <unistd.h>

#include "storage/crc32c.h"
#include "storage/endian.h"
#include "storage/vhdx_format.h"

#define TABLE_BYTES (64u << 10)
#define LOG_PIECE   (64u << 10) /* where honest entries of the seeds are */

static void fix(uint8_t *raw, size_t length)
{
    store_le32(raw + 4, 0);
    store_le32(raw + 4, crc32c(raw, length));
}

static void fix_at(int fd, uint64_t at, size_t length)
{
    g_autofree uint8_t *raw = g_malloc(length);

    if (pread(fd, raw, length, (off_t)at) != (ssize_t)length)
        return;
    fix(raw, length);
    if (pwrite(fd, raw, length, (off_t)at) < 0)
        return;
}

/* Each entry at the beginning of the log or of its second half. */
static void fix_log(int fd, uint64_t at)
{
    g_autofree uint8_t *raw = g_malloc(LOG_PIECE);

    if (pread(fd, raw, LOG_PIECE, (off_t)at) != LOG_PIECE || memcmp(raw, "loge", 4) != 0 ||
        load_le32(raw + 8) < 64 || load_le32(raw + 8) > LOG_PIECE)
        return;
    fix(raw, load_le32(raw + 8));
    if (pwrite(fd, raw, 8, (off_t)at) < 0)
        return;
}

static void fix_checksums(void)
{
    int fd = fuzz_open();

    for (unsigned i = 0; i < 2; i++) {
        fix_at(fd, VHDX_HEADER_OFFSET(i), VHDX_PAGE);
        fix_at(fd, VHDX_REGION_OFFSET(i), TABLE_BYTES);
        fix_log(fd, VHDX_MIB + i * VHDX_MIB / 2);
    }
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned bits;

    if (!fuzz_make_file(data, size, 64u << 20, &bits))
        return -1;
    if (bits & FUZZ_FIX_CHECKSUMS)
        fix_checksums();
    fuzz_use_image(bits);
    fuzz_check_image(bits);
    return 0;
}
