/*
 * block_check() finds each kind of damage, repairs what it may and leaves the rest alone;
 * block_compare() names the first difference.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/check.h"
#include "storage/convert.h"
#include "storage/endian.h"
#include "storage/vhd_footer.h"

#define MIB    (UINT64_C(1) << 20)
#define AT_BAT 1536 /* it follows footer copy and header */

static char *scratch(const char *name)
{
    const char *folder = g_getenv("TEST_TMP");
    char *path = g_build_filename(folder ? folder : g_get_tmp_dir(), name, NULL);

    g_unlink(path);
    return path;
}

static char *three_blocks(const char *name)
{
    char *path = scratch(name);
    struct block_device *device;

    assert_true(block_create(path, BLOCK_FORMAT_VHD_DYNAMIC, 16 * MIB, NULL));
    device = block_open(path, 0, NULL);
    assert_non_null(device);
    for (uint64_t i = 0; i < 3; i++)
        assert_true(block_write(device, i * 4 * MIB, "block", 5, NULL));
    assert_true(block_close(device, NULL));
    return path;
}

static void patch(const char *path, uint64_t offset, const void *bytes, size_t length)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, length, (off_t)offset), length);
    close(fd);
}

static uint64_t file_size(const char *path)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    return (uint64_t)st.st_size;
}

/* Checks, expects one finding with `words` (none when NULL), and says whether it was repaired. */
static bool check(const char *path, bool repair, const char *words)
{
    struct block_check result;
    GError *error = NULL;
    bool repaired;

    if (!block_check(path, repair, &result, &error))
        fail_msg("%s", error->message);
    assert_int_equal(result.findings->len, words ? 1 : 0);
    if (words) {
        const struct block_finding *finding = result.findings->pdata[0];

        if (!strstr(finding->text, words))
            fail_msg("\"%s\" does not say \"%s\"", finding->text, words);
    }
    repaired = result.repaired;
    block_check_clear(&result);
    return repaired;
}

/* Found by looking, which changes nothing; repaired; clean then, with all blocks. */
static void assert_repairable(const char *path, const char *words)
{
    g_autofree char *before = NULL, *after = NULL;
    gsize length, length_after;
    struct block_device *device;
    char text[5];

    assert_true(g_file_get_contents(path, &before, &length, NULL));
    assert_false(check(path, false, words));
    assert_true(g_file_get_contents(path, &after, &length_after, NULL));
    assert_int_equal(length, length_after);
    assert_memory_equal(before, after, length);
    assert_true(check(path, true, words));
    assert_false(check(path, true, NULL));
    device = block_open(path, BLOCK_OPEN_READ_ONLY, NULL);
    assert_non_null(device);
    for (uint64_t i = 0; i < 3; i++) {
        assert_true(block_read(device, i * 4 * MIB, text, 5, NULL));
        assert_memory_equal(text, "block", 5);
    }
    block_abandon(device);
}

static void assert_not_repairable(const char *path, const char *words)
{
    g_autofree char *before = NULL, *after = NULL;
    gsize length, length_after;

    assert_true(g_file_get_contents(path, &before, &length, NULL));
    assert_false(check(path, true, words));
    assert_true(g_file_get_contents(path, &after, &length_after, NULL));
    assert_int_equal(length, length_after);
    assert_memory_equal(before, after, length);
}

static void test_footers(void **state)
{
    g_autofree char *path = three_blocks("footers.vhd");
    uint64_t size = file_size(path);
    uint8_t footer[VHD_FOOTER_SIZE];
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    assert_int_equal(pread(fd, footer, sizeof(footer), 0), sizeof(footer));
    close(fd);
    assert_false(check(path, false, NULL));
    patch(path, size - 512, "garbage!", 8);
    assert_repairable(path, "at its end is missing");
    patch(path, size - 500, "x", 1);
    assert_repairable(path, "at its end is damaged");
    patch(path, 0, "garbage!", 8);
    assert_repairable(path, "beginning is missing");
    patch(path, 100, "x", 1);
    assert_repairable(path, "beginning is damaged");
    footer[84] ^= 1;
    store_be32(footer + 64, vhd_checksum(footer, sizeof(footer), 64));
    patch(path, 0, footer, sizeof(footer));
    assert_repairable(path, "differs");
    assert_int_equal(truncate(path, (off_t)(size - 512)), 0);
    assert_repairable(path, "at its end is missing");
    assert_int_equal(file_size(path), size);
}

static void test_leaked_tail(void **state)
{
    g_autofree char *path = three_blocks("leaked.vhd");
    uint64_t size = file_size(path);
    uint8_t footer[VHD_FOOTER_SIZE];
    int fd = open(path, O_RDWR | O_CLOEXEC);

    assert_int_equal(pread(fd, footer, sizeof(footer), 0), sizeof(footer));
    assert_int_equal(pwrite(fd, footer, sizeof(footer), (off_t)(size + MIB)), sizeof(footer));
    close(fd);
    assert_repairable(path, "1049088 bytes past its last block");
    assert_int_equal(file_size(path), size);
}

static void test_hopeless(void **state)
{
    g_autofree char *path = three_blocks("hopeless.vhd");
    struct block_check result;
    uint8_t good[16], bytes[4];
    int fd = open(path, O_RDWR | O_CLOEXEC);

    assert_int_equal(pread(fd, good, sizeof(good), AT_BAT), sizeof(good));
    close(fd);
    store_be32(bytes, 0x7fffffff);
    patch(path, AT_BAT, bytes, 4);
    assert_not_repairable(path, "block 0 lies at byte 1099511627264, outside");
    patch(path, AT_BAT, good + 8, 4); /* block 0 where block 2 is */
    assert_not_repairable(path, "overlap");
    patch(path, AT_BAT, good, 4);
    patch(path, file_size(path) - 512, "garbage!", 8);
    patch(path, 512 + 100, "x", 1);
    assert_true(block_check(path, true, &result, NULL));
    assert_int_equal(result.findings->len, 2); /* a lost footer, but with a header not to trust */
    assert_false(result.repaired);
    block_check_clear(&result);
    patch(path, 0, "garbage!", 8);
    assert_false(block_check(path, true, &result, NULL));
}

static void test_fixed(void **state)
{
    g_autofree char *path = scratch("fixed.vhd");
    uint8_t footer[VHD_FOOTER_SIZE];
    int fd;

    assert_true(block_create(path, BLOCK_FORMAT_VHD_FIXED, 4 * MIB, NULL));
    assert_false(check(path, false, NULL));
    patch(path, 0, "conectix", 8); /* the guest's own bytes */
    assert_false(check(path, true, NULL));
    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pread(fd, footer, sizeof(footer), 4 * MIB), sizeof(footer));
    assert_int_equal(pwrite(fd, footer, sizeof(footer), MIB), sizeof(footer));
    assert_int_equal(ftruncate(fd, MIB + 512), 0);
    close(fd);
    assert_not_repairable(path, "claims 4194304 bytes, but the file holds 1048576");
}

static void test_refusals(void **state)
{
    g_autofree char *path = three_blocks("held.vhd");
    g_autoptr(GError) error = NULL;
    struct block_device *device = block_open(path, 0, NULL);
    struct block_check result;

    assert_false(block_check(path, false, &result, &error));
    assert_true(g_error_matches(error, BLOCK_ERROR, BLOCK_ERROR_LOCKED));
    block_abandon(device);
    g_clear_error(&error);
    g_unlink(path);
    assert_false(block_check(path, false, &result, &error));
    assert_non_null(strstr(error->message, "No such file"));
}

static void assert_compare(const char *a, const char *b, bool equal, uint64_t offset)
{
    struct block_device *x = block_open(a, BLOCK_OPEN_READ_ONLY, NULL);
    struct block_device *y = block_open(b, BLOCK_OPEN_READ_ONLY, NULL);
    bool found_equal;
    uint64_t found;

    assert_true(block_compare(x, y, &found_equal, &found, NULL, NULL, NULL));
    assert_int_equal(found_equal, equal);
    assert_int_equal(found, offset);
    block_abandon(x);
    block_abandon(y);
}

static void test_compare(void **state)
{
    g_autofree char *a = three_blocks("a.vhd"), *b = scratch("b.vhd"), *c = scratch("c.vhd");
    struct block_device *device;

    assert_true(block_create(b, BLOCK_FORMAT_VHD_FIXED, 16 * MIB, NULL));
    assert_compare(a, b, false, 0);
    device = block_open(b, 0, NULL);
    for (uint64_t i = 0; i < 3; i++)
        assert_true(block_write(device, i * 4 * MIB, "block", 5, NULL));
    assert_true(block_close(device, NULL));
    assert_compare(a, b, true, 16 * MIB);
    device = block_open(b, 0, NULL);
    assert_true(block_write(device, 16 * MIB - 3, "x", 1, NULL)); /* where `a` has no block */
    assert_true(block_close(device, NULL));
    assert_compare(a, b, false, 16 * MIB - 3);
    assert_compare(b, a, false, 16 * MIB - 3);
    assert_true(block_create(c, BLOCK_FORMAT_VHD_DYNAMIC, 4 * MIB, NULL));
    device = block_open(c, 0, NULL);
    assert_true(block_write(device, 0, "block", 5, NULL));
    assert_true(block_close(device, NULL));
    assert_compare(a, c, false, 4 * MIB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_footers),  cmocka_unit_test(test_leaked_tail),
        cmocka_unit_test(test_hopeless), cmocka_unit_test(test_fixed),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_compare),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
