/*
 * Dirty bitmaps: they know every write, survive closing, and after a crash, a copy or damage call
 * everything dirty.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "storage/bitmap.h"
#include "storage/operations.h"

#define MIB  (UINT64_C(1) << 20)
#define SIZE (40 * MIB)

static char *scratch(const char *name)
{
    const char *folder = g_getenv("TEST_TMP");
    char *path = g_build_filename(folder ? folder : g_get_tmp_dir(), name, NULL);
    g_autofree char *sidecar = g_strconcat(path, ".bitmaps", NULL);

    g_unlink(path);
    g_unlink(sidecar);
    return path;
}

static struct block_device *open_disk(const char *path)
{
    GError *error = NULL;
    struct block_device *device = block_open(path, 0, &error);

    if (!device)
        fail_msg("%s", error->message);
    return device;
}

static char *disk_with_bitmap(const char *name)
{
    char *path = scratch(name);
    struct block_device *device;

    assert_true(block_create(path, BLOCK_FORMAT_VHD_DYNAMIC, SIZE, NULL));
    device = open_disk(path);
    assert_non_null(block_bitmap_add(device, "backup", 0, NULL));
    assert_true(block_close(device, NULL));
    return path;
}

static void assert_wholly_dirty(struct block_device *device)
{
    struct block_bitmap *bitmap = block_bitmap_find(device, "backup");

    assert_non_null(bitmap);
    assert_false(block_bitmap_was_sound(bitmap));
    assert_int_equal(block_bitmap_dirty_bytes(bitmap), block_size(device));
}

static void test_notes_and_survives(void **state)
{
    g_autofree char *path = disk_with_bitmap("bitmap.vhd");
    g_autofree bool *dirty = g_new0(bool, SIZE / BLOCK_BITMAP_GRAIN);
    GRand *rand = g_rand_new_with_seed(5);
    g_autofree uint8_t *data = g_malloc0(MIB);
    uint64_t at, length;

    for (int round = 0; round < 5; round++) {
        struct block_device *device = open_disk(path);
        struct block_bitmap *bitmap = block_bitmap_find(device, "backup");

        assert_true(block_bitmap_was_sound(bitmap));
        for (int i = 0; i < 10; i++) {
            uint64_t offset = (uint64_t)g_rand_int_range(rand, 0, SIZE - MIB);
            size_t n = (size_t)g_rand_int_range(rand, 1, MIB);

            if (i % 4 == 3)
                assert_true(block_discard(device, offset, n, NULL));
            else if (i % 4 == 2)
                assert_true(block_write_zeroes(device, offset, n, true, NULL));
            else
                assert_true(block_write(device, offset, data, n, NULL));
            for (uint64_t g = offset / BLOCK_BITMAP_GRAIN;
                 g <= (offset + n - 1) / BLOCK_BITMAP_GRAIN; g++)
                dirty[g] = true;
        }
        block_bitmap_clear(bitmap, 7 * MIB + 1, MIB); /* whole grains inside only */
        for (uint64_t g = 7 * 16 + 1; g < 8 * 16; g++)
            dirty[g] = false;
        for (uint64_t g = 0; g < SIZE / BLOCK_BITMAP_GRAIN; g++) {
            bool found = block_bitmap_next(bitmap, g * BLOCK_BITMAP_GRAIN, &at, &length);

            assert_int_equal(found && at == g * BLOCK_BITMAP_GRAIN, dirty[g]);
        }
        assert_true(block_close(device, NULL));
    }
    g_rand_free(rand);
}

static void test_crash_makes_all_dirty(void **state)
{
    g_autofree char *path = disk_with_bitmap("bitmap-crash.vhd");
    struct block_device *device = open_disk(path);

    block_abandon(device); /* as a crash: never closed */
    device = open_disk(path);
    assert_wholly_dirty(device);
    assert_true(block_close(device, NULL));
    device = open_disk(path); /* in order again, and still dirty */
    assert_true(block_bitmap_was_sound(block_bitmap_find(device, "backup")));
    assert_int_equal(block_bitmap_dirty_bytes(block_bitmap_find(device, "backup")), SIZE);
    assert_true(block_close(device, NULL));
}

static void test_foreign_write_makes_all_dirty(void **state)
{
    g_autofree char *path = disk_with_bitmap("bitmap-foreign.vhd");
    struct block_device *device;
    FILE *file = fopen(path, "r+");

    g_usleep(20000); /* so that the file's time is another one */
    fputs("conectix", file);
    fclose(file);
    device = open_disk(path);
    assert_wholly_dirty(device);
    block_abandon(device);
}

static void test_damage(void **state)
{
    g_autofree char *path = disk_with_bitmap("bitmap-damage.vhd");
    g_autofree char *sidecar = g_strconcat(path, ".bitmaps", NULL), *good = NULL;
    g_autoptr(GError) error = NULL;
    struct block_device *device;
    gsize length;

    assert_true(g_file_get_contents(sidecar, &good, &length, NULL));
    for (gsize i = 0; i < length; i += 1 + i / 8) {
        g_autofree char *bad = g_memdup2(good, length);

        bad[i] ^= 0x21;
        assert_true(g_file_set_contents(sidecar, bad, (gssize)length, NULL));
        device = block_open(path, 0, &error);
        if (device) {
            if (block_bitmap_find(device, "backup")) /* else the name itself is the damage */
                assert_wholly_dirty(device);
        } else {
            assert_non_null(strstr(error->message, ".bitmaps is damaged"));
        }
        g_clear_error(&error);
        block_abandon(device);
    }
    assert_true(g_file_set_contents(sidecar, good, 700, NULL)); /* cut in its bits */
    device = open_disk(path);
    assert_wholly_dirty(device);
    block_abandon(device);
}

static void test_limits(void **state)
{
    g_autofree char *path = scratch("bitmap-limits.vhd");
    g_autofree char *sidecar = g_strconcat(path, ".bitmaps", NULL);
    g_autofree char *long_name = g_strnfill(64, 'x');
    struct block_device *device;

    assert_true(block_create(path, BLOCK_FORMAT_VHD_DYNAMIC, SIZE, NULL));
    device = open_disk(path);
    assert_null(block_bitmap_add(device, "", 0, NULL));
    assert_null(block_bitmap_add(device, long_name, 0, NULL));
    assert_null(block_bitmap_add(device, "odd", 3000, NULL));
    assert_non_null(block_bitmap_add(device, "a", 512, NULL));
    assert_null(block_bitmap_add(device, "a", 512, NULL));
    for (int i = 1; i < BLOCK_BITMAP_MAX; i++) {
        char name[] = {(char)('a' + i), 0};

        assert_non_null(block_bitmap_add(device, name, 0, NULL));
    }
    assert_null(block_bitmap_add(device, "one too many", 0, NULL));
    for (int i = 0; i < BLOCK_BITMAP_MAX; i++) {
        char name[] = {(char)('a' + i), 0};

        block_bitmap_remove(device, name);
    }
    assert_true(block_close(device, NULL));
    assert_false(g_file_test(sidecar, G_FILE_TEST_EXISTS)); /* none left, none kept */
}

static void test_resize(void **state)
{
    g_autofree char *path = disk_with_bitmap("bitmap-resize.vhd");
    struct block_device *device = open_disk(path);
    uint64_t at, length;

    assert_true(block_resize(device, 2 * SIZE, NULL));
    assert_true(block_bitmap_next(block_bitmap_find(device, "backup"), 0, &at, &length));
    assert_int_equal(at, SIZE);
    assert_int_equal(length, SIZE);
    assert_true(block_close(device, NULL));
    device = open_disk(path);
    assert_true(block_bitmap_was_sound(block_bitmap_find(device, "backup")));
    assert_int_equal(block_bitmap_dirty_bytes(block_bitmap_find(device, "backup")), SIZE);
    block_abandon(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_notes_and_survives),
        cmocka_unit_test(test_crash_makes_all_dirty),
        cmocka_unit_test(test_foreign_write_makes_all_dirty),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_resize),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
