/*
 * VHDX against a model in memory: seeded writes, zeroes, discards, flushes, reopenings, compacting
 * and resizing, of dynamic, fixed and differencing disks, with both sector sizes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "storage/check.h"
#include "storage/crc32c.h"
#include "storage/driver.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB  (UINT64_C(1) << 20)
#define SIZE (9 * MIB) /* and a bit, so that the last block is not whole */

static char *path_of(const char *name)
{
    const char *folder = g_getenv("TEST_TMP");

    return g_build_filename(folder ? folder : g_get_tmp_dir(), name, NULL);
}

struct fixture {
    char *path, *parent_path;
    struct block_device *device;
    uint8_t *model;
    uint8_t *buffer;
    uint64_t size;
    GRand *rand;
};

static void check_ok(bool ok, GError *error)
{
    if (!ok)
        fail_msg("%s", error ? error->message : "no error set");
}

static void open_disk(struct fixture *f)
{
    GError *error = NULL;

    f->device = block_open(f->path, BLOCK_OPEN_CHAIN, &error);
    check_ok(f->device != NULL, error);
    assert_int_equal(block_size(f->device), f->size);
}

static void close_disk(struct fixture *f)
{
    GError *error = NULL;

    check_ok(block_close(f->device, &error), error);
    f->device = NULL;
}

static void compare_all(struct fixture *f)
{
    GError *error = NULL;

    check_ok(block_read(f->device, 0, f->buffer, f->size, &error), error);
    if (memcmp(f->buffer, f->model, f->size) != 0) {
        uint64_t at = 0;

        while (f->buffer[at] == f->model[at])
            at++;
        fail_msg("byte %" G_GUINT64_FORMAT " is %02x, not %02x", at, f->buffer[at], f->model[at]);
    }
}

/* Extents tile the disk, and what is not data reads as zero. */
static void compare_extents(struct fixture *f)
{
    struct block_extent extent;
    GError *error = NULL;

    for (uint64_t at = 0; at < f->size; at += extent.length) {
        check_ok(block_next_extent(f->device, at, &extent, &error), error);
        assert_int_equal(extent.offset, at);
        assert_true(extent.length > 0 && extent.length <= f->size - at);
        if (extent.kind != BLOCK_EXTENT_DATA)
            assert_true(block_is_zero(f->model + at, extent.length));
    }
}

static void check_clean(struct fixture *f)
{
    struct block_check check;
    GError *error = NULL;

    check_ok(block_check(f->path, false, &check, &error), error);
    for (guint i = 0; i < check.findings->len; i++)
        print_message("found: %s\n", ((struct block_finding *)check.findings->pdata[i])->text);
    assert_int_equal(check.findings->len, 0);
    block_check_clear(&check);
}

static void random_change(struct fixture *f)
{
    uint64_t at = (uint64_t)g_rand_double_range(f->rand, 0, (double)f->size);
    uint64_t most = g_rand_int_range(f->rand, 0, 4) ? 20000 : 3 * MIB;
    uint64_t n = (uint64_t)g_rand_double_range(f->rand, 1, (double)most);
    GError *error = NULL;
    bool ok = true;

    n = MIN(n, f->size - at);
    if (g_rand_boolean(f->rand)) { /* as guests do */
        at = at / 4096 * 4096;
        n = MIN((n + 4095) / 4096 * 4096, f->size - at);
    }
    switch (g_rand_int_range(f->rand, 0, 10)) {
    case 0:
        ok = block_write_zeroes(f->device, at, n, g_rand_boolean(f->rand), &error);
        memset(f->model + at, 0, n);
        break;
    case 1:
        ok = block_discard(f->device, at, n, &error);
        check_ok(ok && block_read(f->device, at, f->buffer, n, &error), error);
        for (uint64_t i = 0; i < n; i++)
            assert_true(f->buffer[i] == 0 || f->buffer[i] == f->model[at + i]);
        memcpy(f->model + at, f->buffer, n);
        break;
    case 2:
        ok = block_flush(f->device, &error);
        break;
    default:
        memset(f->model + at, g_rand_int_range(f->rand, 0, 256), n);
        ok = block_write(f->device, at, f->model + at, n, &error);
    }
    check_ok(ok, error);
}

static void random_life(struct fixture *f, int rounds)
{
    for (int i = 0; i < rounds; i++) {
        open_disk(f);
        compare_all(f);
        for (int k = g_rand_int_range(f->rand, 1, 40); k > 0; k--)
            random_change(f);
        compare_all(f);
        compare_extents(f);
        if (f->device->driver->compact && g_rand_int_range(f->rand, 0, 3) == 0) {
            GError *error = NULL;

            check_ok(f->device->driver->compact(f->device, NULL, NULL, &error), error);
            compare_all(f);
        }
        close_disk(f);
        check_clean(f);
    }
}

static void set_up(struct fixture *f, const char *name, uint32_t seed)
{
    *f = (struct fixture){
        .path = path_of(name),
        .size = SIZE + 12288,
        .rand = g_rand_new_with_seed(seed),
    };
    f->model = g_malloc0(f->size * 3);
    f->buffer = g_malloc(f->size * 3);
    unlink(f->path);
}

static void tear_down(struct fixture *f)
{
    unlink(f->path);
    if (f->parent_path)
        unlink(f->parent_path);
    g_free(f->path);
    g_free(f->parent_path);
    g_free(f->model);
    g_free(f->buffer);
    g_rand_free(f->rand);
}

static void make(struct fixture *f, enum block_format format, uint32_t sector_size)
{
    const struct block_create_options options = {
        .format = format,
        .size = f->size,
        .block_size = 1 << 20,
        .sector_size = sector_size,
        .parent = f->parent_path,
    };
    GError *error = NULL;

    check_ok(block_create_with(f->path, &options, &error), error);
}

static void test_dynamic(void **state)
{
    struct fixture f;

    for (uint32_t sector_size = 512; sector_size <= 4096; sector_size *= 8) {
        set_up(&f, "dynamic.vhdx", sector_size);
        make(&f, BLOCK_FORMAT_VHDX_DYNAMIC, sector_size);
        random_life(&f, 12);
        tear_down(&f);
    }
}

static void test_fixed(void **state)
{
    struct fixture f;

    set_up(&f, "fixed.vhdx", 1);
    make(&f, BLOCK_FORMAT_VHDX_FIXED, 0);
    random_life(&f, 6);
    tear_down(&f);
}

/* A child, on a parent with content that must not change. */
static void test_differencing(void **state)
{
    struct fixture parent, f;
    uint8_t *before;

    for (uint32_t sector_size = 512; sector_size <= 4096; sector_size *= 8) {
        set_up(&parent, "parent.vhdx", 7 + sector_size);
        make(&parent, BLOCK_FORMAT_VHDX_DYNAMIC, sector_size);
        random_life(&parent, 2);
        before = g_memdup2(parent.model, parent.size);
        set_up(&f, "child.vhdx", 8 + sector_size);
        f.parent_path = g_strdup(parent.path);
        memcpy(f.model, parent.model, parent.size);
        make(&f, BLOCK_FORMAT_VHDX_DIFFERENCING, sector_size);
        random_life(&f, 14);
        open_disk(&parent);
        assert_memory_equal(parent.model, before, parent.size);
        compare_all(&parent);
        block_abandon(parent.device);
        g_free(before);
        tear_down(&f);
        tear_down(&parent);
    }
}

/* What was flushed is there when the process ends without closing; what was not may be. */
static void test_abandoned(void **state)
{
    struct fixture f;
    GError *error = NULL;
    int pid, status;

    set_up(&f, "abandoned.vhdx", 3);
    make(&f, BLOCK_FORMAT_VHDX_DYNAMIC, 0);
    for (int i = 0; i < 6; i++) {
        uint64_t at = (uint64_t)i * 3 * MIB / 2;

        memset(f.model + at, 0x10 + i, 9000);
        pid = fork();
        if (pid == 0) {
            f.device = block_open(f.path, 0, NULL);
            _exit(!f.device || !block_write(f.device, at, f.model + at, 9000, NULL) ||
                  !block_flush(f.device, NULL) ||
                  !block_write(f.device, 8 * MIB, "not flushed", 11, NULL));
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        f.device = block_open(f.path, BLOCK_OPEN_READ_ONLY, &error); /* through the log */
        check_ok(f.device != NULL, error);
        check_ok(block_read(f.device, at, f.buffer, 9000, &error), error);
        assert_memory_equal(f.buffer, f.model + at, 9000);
        block_abandon(f.device);
    }
    tear_down(&f);
}

static void resize_to(struct fixture *f, uint64_t size)
{
    GError *error = NULL;

    open_disk(f);
    check_ok(f->device->driver->resize(f->device, size, &error), error);
    f->size = size;
    compare_all(f);
    close_disk(f);
    check_clean(f);
    open_disk(f);
    compare_all(f);
    close_disk(f);
}

static void test_resize(void **state)
{
    static const enum block_format formats[] = {BLOCK_FORMAT_VHDX_DYNAMIC, BLOCK_FORMAT_VHDX_FIXED};
    struct fixture f;

    for (size_t i = 0; i < G_N_ELEMENTS(formats); i++) {
        set_up(&f, "resized.vhdx", 4);
        make(&f, formats[i], 0);
        random_life(&f, 2);
        resize_to(&f, f.size + 5 * MIB + 512);
        random_life(&f, 2);
        memset(f.model + 5 * MIB + 1024, 0, f.size - (5 * MIB + 1024));
        resize_to(&f, 5 * MIB + 1024);
        resize_to(&f, 12 * MIB); /* what was cut off does not come back */
        random_life(&f, 2);
        tear_down(&f);
    }
}

/* The allocation table has to move for this. */
static void test_resize_far(void **state)
{
    struct fixture f;
    GError *error = NULL;

    set_up(&f, "far.vhdx", 5);
    make(&f, BLOCK_FORMAT_VHDX_DYNAMIC, 0);
    random_life(&f, 2);
    open_disk(&f);
    check_ok(f.device->driver->resize(f.device, UINT64_C(1) << 40, &error), error);
    compare_all(&f);
    check_ok(block_write(f.device, (UINT64_C(1) << 40) - 3, "end", 3, &error), error);
    close_disk(&f);
    check_clean(&f);
    f.device = block_open(f.path, BLOCK_OPEN_READ_ONLY, &error);
    check_ok(f.device != NULL, error);
    compare_all(&f);
    check_ok(block_read(f.device, (UINT64_C(1) << 40) - 3, f.buffer, 3, &error), error);
    assert_memory_equal(f.buffer, "end", 3);
    block_abandon(f.device);
    tear_down(&f);
}

/* A child gets another parent with the same content. */
static void test_set_parent(void **state)
{
    struct fixture f;
    GError *error = NULL;
    struct block_device *other;
    g_autofree char *other_path = path_of("other-with-a-much-longer-name-than-before.vhdx");
    struct block_info info;

    set_up(&f, "rebased.vhdx", 6);
    f.parent_path = path_of("first.vhdx");
    unlink(f.parent_path);
    unlink(other_path);
    check_ok(block_create(f.parent_path, BLOCK_FORMAT_VHDX_DYNAMIC, f.size, &error), error);
    check_ok(block_create(other_path, BLOCK_FORMAT_VHDX_DYNAMIC, f.size, &error), error);
    make(&f, BLOCK_FORMAT_VHDX_DIFFERENCING, 0);
    random_life(&f, 2);
    open_disk(&f);
    other = block_open(other_path, BLOCK_OPEN_READ_ONLY, &error);
    check_ok(other != NULL, error);
    check_ok(f.device->driver->set_parent(f.device, other, &error), error);
    block_abandon(other);
    close_disk(&f);
    unlink(f.parent_path);
    random_life(&f, 2);
    open_disk(&f);
    assert_string_equal(block_path(block_parent(f.device)), other_path);
    check_ok(block_get_info(f.device, &info, &error), error);
    assert_int_equal(info.block_size, MIB);
    close_disk(&f);
    unlink(other_path);
    tear_down(&f);
}

static void test_crc32c(void **state)
{
    assert_int_equal(crc32c("123456789", 9), 0xe3069283); /* RFC 3720's check value */
    assert_int_equal(crc32c("", 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc32c),     cmocka_unit_test(test_dynamic),
        cmocka_unit_test(test_fixed),      cmocka_unit_test(test_differencing),
        cmocka_unit_test(test_abandoned),  cmocka_unit_test(test_resize),
        cmocka_unit_test(test_resize_far), cmocka_unit_test(test_set_parent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
