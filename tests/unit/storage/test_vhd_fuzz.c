/*
 * Damaged and hostile VHDs, thousands of them, seeded: opening, reading, writing and flushing one
 * may fail, with an error, but must not crash, hang or use memory out of proportion. Half of them
 * have their checksums made right again, so that the damage gets past the first check.
 *
 * DROVER_FUZZ_ROUNDS sets how many (1000).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "storage/block.h"
#include "storage/endian.h"
#include "storage/vhd_footer.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIB         (UINT64_C(1) << 20)
#define DISK_SIZE   (24 * MIB)
#define HEAD_LENGTH 2048 /* footer copy, dynamic header, allocation table */

struct seed {
    uint8_t head[HEAD_LENGTH];
    uint8_t footer[VHD_FOOTER_SIZE];
    uint64_t file_size;
};

static void load_seed(struct seed *seed, enum block_format format)
{
    const char *folder = g_getenv("TEST_TMP");
    g_autofree char *path = g_build_filename(folder ? folder : g_get_tmp_dir(), "seed.vhd", NULL);
    struct block_device *device;
    int fd;

    unlink(path);
    assert_true(block_create(path, format, DISK_SIZE, NULL));
    device = block_open(path, 0, NULL);
    assert_non_null(device);
    for (uint64_t i = 0; i < 4; i++)
        assert_true(block_write(device, i * 5 * MIB, "seed", 4, NULL));
    assert_true(block_close(device, NULL));
    fd = open(path, O_RDONLY | O_CLOEXEC);
    seed->file_size = (uint64_t)lseek(fd, 0, SEEK_END);
    assert_int_equal(pread(fd, seed->head, HEAD_LENGTH, 0), HEAD_LENGTH);
    assert_int_equal(
        pread(fd, seed->footer, VHD_FOOTER_SIZE, (off_t)(seed->file_size - VHD_FOOTER_SIZE)),
        VHD_FOOTER_SIZE);
    close(fd);
    unlink(path);
}

/* Values that parsers stumble over, at any width. */
static void spoil(GRand *rand, uint8_t *bytes, size_t length)
{
    static const uint64_t odd[] = {0,          1,
                                   511,        512,
                                   UINT32_MAX, UINT32_MAX - 1,
                                   UINT64_MAX, UINT64_C(1) << 63,
                                   INT64_MAX,  UINT64_C(1) << 31};
    size_t at = (size_t)g_rand_int_range(rand, 0, (gint32)length - 8);

    switch (g_rand_int_range(rand, 0, 4)) {
    case 0:
        bytes[at] = (uint8_t)g_rand_int(rand);
        break;
    case 1:
        bytes[at] ^= (uint8_t)(1 << g_rand_int_range(rand, 0, 8));
        break;
    case 2:
        store_be32(bytes + at / 4 * 4, (uint32_t)odd[g_rand_int_range(rand, 0, G_N_ELEMENTS(odd))]);
        break;
    default:
        store_be64(bytes + at / 8 * 8, odd[g_rand_int_range(rand, 0, G_N_ELEMENTS(odd))]);
    }
}

static void make_file(GRand *rand, const struct seed *seed, const char *path)
{
    struct seed bad = *seed;
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    uint64_t size = bad.file_size;

    for (int i = g_rand_int_range(rand, 1, 5); i > 0; i--) {
        bool tail = g_rand_int_range(rand, 0, 3) == 0;

        spoil(rand, tail ? bad.footer : bad.head, tail ? 128 : 1600);
    }
    if (g_rand_boolean(rand)) {
        store_be32(bad.footer + 64, vhd_checksum(bad.footer, 512, 64));
        store_be32(bad.head + 64, vhd_checksum(bad.head, 512, 64));
        store_be32(bad.head + 512 + 36, vhd_checksum(bad.head + 512, 1024, 36));
    }
    if (g_rand_int_range(rand, 0, 8) == 0)
        size = (uint64_t)g_rand_int_range(rand, 0, (gint32)size);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bad.head, HEAD_LENGTH, 0), HEAD_LENGTH);
    assert_int_equal(pwrite(fd, bad.footer, 512, (off_t)(bad.file_size - 512)), 512);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    close(fd);
}

/* Whatever opens must keep its word: reads inside the disk work or fail with an error. */
static bool use(GRand *rand, const char *path)
{
    g_autoptr(GError) error = NULL;
    struct block_device *device = block_open(path, 0, &error);
    struct block_extent extent;
    uint8_t buffer[1024];
    uint64_t size;

    if (!device) {
        assert_non_null(error);
        return false;
    }
    size = block_size(device);
    for (int i = 0; i < 8; i++) {
        uint64_t at = (uint64_t)g_rand_double_range(rand, 0, (double)(size - 512));

        g_clear_error(&error);
        if (!block_read(device, at, buffer, 512, &error))
            assert_non_null(error);
        g_clear_error(&error);
        if (!block_write(device, at, "damage", 6, &error))
            assert_non_null(error);
        g_clear_error(&error);
        if (block_next_extent(device, at, &extent, &error)) {
            assert_true(extent.length > 0);
            assert_true(extent.offset + extent.length <= size);
        }
    }
    g_clear_error(&error);
    if (!block_close(device, &error))
        assert_non_null(error);
    return true;
}

static void fuzz(enum block_format format)
{
    const char *text = g_getenv("DROVER_FUZZ_ROUNDS");
    int rounds = text ? (int)g_ascii_strtoll(text, NULL, 10) : 1000;
    GRand *rand = g_rand_new_with_seed(2006);
    int fd = memfd_create("fuzz.vhd", MFD_CLOEXEC), opened = 0;
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);
    struct seed seed;

    load_seed(&seed, format);
    for (int i = 0; i < rounds; i++) {
        make_file(rand, &seed, path);
        opened += use(rand, path);
    }
    print_message("%d of %d opened\n", opened, rounds);
    assert_true(opened > rounds / 50); /* else nothing behind the first check was reached */
    assert_true(opened < rounds);
    g_rand_free(rand);
    close(fd);
}

static void test_dynamic(void **state)
{
    fuzz(BLOCK_FORMAT_VHD_DYNAMIC);
}

static void test_fixed(void **state)
{
    fuzz(BLOCK_FORMAT_VHD_FIXED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dynamic),
        cmocka_unit_test(test_fixed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
