/*
 * Partition tables and free space: MBR, GPT, ext, FAT, NTFS, swap, by way of precompact. Nothing it
 * finds free may lie outside of its partition, and ranges ascend.
 */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "storage/endian.h"
#include "storage/fsmap/partition.h"
#include "storage/fsmap/precompact.h"

struct walk {
    uint64_t begin, end, last;
};

static bool note(void *opaque, uint64_t offset, uint64_t length, GError **error)
{
    struct walk *walk = opaque;

    if (length == 0 || offset < walk->begin || offset > walk->end || length > walk->end - offset ||
        offset < walk->last)
        abort();
    walk->last = offset + length;
    return true;
}

static void walk(struct block_device *device, uint64_t offset, uint64_t length)
{
    struct walk state = {offset, offset + length, offset};
    struct fs_report report;

    if (fs_map_free(device, offset, length, note, &state, &report, NULL))
        fs_report_clear(&report);
}

/* GPT's header and table. */
static void fix_checksums(void)
{
    int fd = fuzz_open();
    uint8_t head[512], *table;
    size_t length;

    if (pread(fd, head, sizeof(head), 512) == sizeof(head) && memcmp(head, "EFI PART", 8) == 0) {
        length = (size_t)load_le32(head + 80) % 129 * 128;
        table = g_malloc0(length + 1);
        if (pread(fd, table, length, 1024) == (ssize_t)length)
            store_le32(head + 88, (uint32_t)crc32(0, table, (uInt)length));
        g_free(table);
        store_le32(head + 16, 0);
        store_le32(head + 16, (uint32_t)crc32(0, head, load_le32(head + 12) % 513));
        if (pwrite(fd, head, sizeof(head), 512) < 0)
            abort();
    }
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct precompact_result result;
    struct partition_table table;
    struct block_device *device;
    unsigned bits;

    if (!fuzz_make_file(data, size, 128u << 20, &bits))
        return -1;
    if (bits & FUZZ_FIX_CHECKSUMS)
        fix_checksums();
    device = block_open(fuzz_path(), BLOCK_OPEN_PROBE_RAW, NULL);
    if (!device)
        return 0;
    if (partition_table_read(device, &table, NULL)) {
        for (guint i = 0; i < MIN(table.partitions->len, 8); i++) {
            const struct partition *p = table.partitions->pdata[i];

            walk(device, p->offset, p->length);
        }
        partition_table_clear(&table);
    }
    walk(device, 0, block_size(device));
    if (bits & FUZZ_WRITABLE && precompact(device, false, NULL, NULL, &result, NULL))
        precompact_result_clear(&result);
    block_abandon(device);
    return 0;
}
