/*
 * VHD: footer, header, allocation table, bitmaps, parent locators; fixed, dynamic, differencing.
 * A parent stands beside the image as "parent.vhd".
 */
#include "tests/fuzz/fuzz.h"

#include <unistd.h>

#include "storage/endian.h"
#include "storage/vhd_footer.h"
#include "storage/vhd_header.h"

static void fix(int fd, uint64_t at, size_t length, size_t checksum_at)
{
    uint8_t raw[1024];

    if (pread(fd, raw, length, (off_t)at) != (ssize_t)length)
        return;
    store_be32(raw + checksum_at, vhd_checksum(raw, length, checksum_at));
    if (pwrite(fd, raw, length, (off_t)at) < 0)
        return;
}

static void fix_checksums(void)
{
    int fd = fuzz_open();
    off_t size = lseek(fd, 0, SEEK_END);
    uint8_t offset[8];

    fix(fd, 0, VHD_FOOTER_SIZE, 64);
    if (size >= VHD_FOOTER_SIZE)
        fix(fd, (uint64_t)size - VHD_FOOTER_SIZE, VHD_FOOTER_SIZE, 64);
    if (pread(fd, offset, sizeof(offset), 16) == sizeof(offset) &&
        load_be64(offset) < (uint64_t)size)
        fix(fd, load_be64(offset), VHD_HEADER_SIZE, 36);
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
