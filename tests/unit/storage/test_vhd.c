/*
 * The block layer by itself: what is written is read, in every format and across reopening; damaged
 * images are refused with a clear error; power loss at any write leaves a good image.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/block.h"
#include "storage/convert.h"
#include "storage/endian.h"
#include "storage/size.h"
#include "storage/vhd_footer.h"

#define MIB (UINT64_C(1) << 20)

static char *scratch(const char *name)
{
    const char *folder = g_getenv("TEST_TMP");
    char *path = g_build_filename(folder ? folder : g_get_tmp_dir(), name, NULL);

    g_unlink(path);
    return path;
}

static struct block_device *must_open(const char *path, unsigned flags)
{
    GError *error = NULL;
    struct block_device *device = block_open(path, flags, &error);

    if (!device)
        fail_msg("%s", error->message);
    return device;
}

static void must_create(const char *path, enum block_format format, uint64_t size)
{
    GError *error = NULL;

    if (!block_create(path, format, size, &error))
        fail_msg("%s", error->message);
}

static void assert_refused(const char *path, unsigned flags, int code, const char *words)
{
    GError *error = NULL;
    struct block_device *device = block_open(path, flags, &error);

    assert_null(device);
    assert_non_null(error);
    if (error->code != code || !strstr(error->message, words) || !strstr(error->message, path))
        fail_msg("code %d, \"%s\"; expected code %d with \"%s\" and the path", error->code,
                 error->message, code, words);
    g_error_free(error);
}

/* A disk kept twice: in the image and in memory. */
struct twin {
    struct block_device *device;
    uint8_t *memory;
    uint64_t size;
};

static void twin_write_random(struct twin *twin, GRand *rand)
{
    uint64_t offset = (uint64_t)g_rand_double_range(rand, 0, (double)twin->size);
    size_t length = (size_t)g_rand_int_range(rand, 1, 300000);
    GError *error = NULL;

    length = MIN(length, twin->size - offset);
    for (size_t i = 0; i < length; i++)
        twin->memory[offset + i] = (uint8_t)g_rand_int(rand);
    if (!block_write(twin->device, offset, twin->memory + offset, length, &error))
        fail_msg("%s", error->message);
}

static void twin_compare(struct twin *twin)
{
    g_autofree uint8_t *read = g_malloc(twin->size);

    assert_true(block_read(twin->device, 0, read, twin->size, NULL));
    assert_memory_equal(read, twin->memory, twin->size);
}

static void random_writes(enum block_format format)
{
    g_autofree char *path = scratch(block_format_name(format));
    struct twin twin = {.size = 9 * MIB + 512};
    GRand *rand = g_rand_new_with_seed(7);

    must_create(path, format, twin.size);
    twin.memory = g_malloc0(twin.size);
    for (int round = 0; round < 4; round++) {
        twin.device = must_open(path, BLOCK_OPEN_PROBE_RAW);
        assert_int_equal(block_size(twin.device), twin.size);
        assert_int_equal(block_device_format(twin.device), format);
        for (int i = 0; i < 8; i++)
            twin_write_random(&twin, rand);
        twin_compare(&twin);
        assert_true(block_close(twin.device, NULL));
        twin.device = must_open(path, BLOCK_OPEN_READ_ONLY | BLOCK_OPEN_PROBE_RAW);
        twin_compare(&twin);
        block_abandon(twin.device);
    }
    g_rand_free(rand);
    g_free(twin.memory);
    g_unlink(path);
}

static void test_random_writes(void **state)
{
    for (int format = 0; format < BLOCK_FORMAT_VHD_DIFFERENCING; format++)
        random_writes(format);
}

static void test_range_and_read_only(void **state)
{
    g_autofree char *path = scratch("range.vhd");
    g_autoptr(GError) error = NULL;
    struct block_device *device;
    uint8_t byte = 1;

    must_create(path, BLOCK_FORMAT_VHD_DYNAMIC, 4 * MIB);
    device = must_open(path, BLOCK_OPEN_READ_ONLY);
    assert_false(block_write(device, 0, &byte, 1, &error));
    assert_true(g_error_matches(error, BLOCK_ERROR, BLOCK_ERROR_READ_ONLY));
    g_clear_error(&error);
    assert_false(block_read(device, 4 * MIB, &byte, 1, &error));
    assert_true(g_error_matches(error, BLOCK_ERROR, BLOCK_ERROR_RANGE));
    g_clear_error(&error);
    assert_false(block_read(device, UINT64_MAX, &byte, 2, &error));
    assert_true(g_error_matches(error, BLOCK_ERROR, BLOCK_ERROR_RANGE));
    block_abandon(device);
}

static void test_lock(void **state)
{
    g_autofree char *path = scratch("lock.vhd");
    struct block_device *device;

    must_create(path, BLOCK_FORMAT_VHD_DYNAMIC, 4 * MIB);
    device = must_open(path, 0);
    assert_refused(path, 0, BLOCK_ERROR_LOCKED, "in use");
    assert_refused(path, BLOCK_OPEN_READ_ONLY, BLOCK_ERROR_LOCKED, "in use");
    block_abandon(device);
    device = must_open(path, BLOCK_OPEN_READ_ONLY);
    struct block_device *second = must_open(path, BLOCK_OPEN_READ_ONLY);
    assert_refused(path, 0, BLOCK_ERROR_LOCKED, "in use");
    block_abandon(second);
    block_abandon(device);
}

static void test_sizes(void **state)
{
    g_autofree char *path = scratch("size.vhd");
    g_autoptr(GError) error = NULL;
    static const uint64_t bad[] = {0, 1, 511, 513, (UINT64_C(2040) << 30) + 512, UINT64_MAX};
    struct block_device *device;

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        assert_false(block_create(path, BLOCK_FORMAT_VHD_DYNAMIC, bad[i], &error));
        assert_true(g_error_matches(error, BLOCK_ERROR, BLOCK_ERROR_ARGUMENT));
        g_clear_error(&error);
        assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
    }
    must_create(path, BLOCK_FORMAT_VHD_DYNAMIC, UINT64_C(2040) << 30);
    device = must_open(path, 0);
    assert_true(block_write(device, (UINT64_C(2040) << 30) - 3, "end", 3, NULL));
    assert_true(block_close(device, NULL));
    assert_false(block_create(path, BLOCK_FORMAT_VHD_DYNAMIC, MIB, &error));
    assert_non_null(strstr(error->message, "exists"));
}

/* ---- damage ---------------------------------------------------------------------------------- */

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

/* A dynamic disk with three blocks; the third written begins at the file's last block. */
static char *three_blocks(const char *name)
{
    char *path = scratch(name);
    struct block_device *device;

    must_create(path, BLOCK_FORMAT_VHD_DYNAMIC, 16 * MIB);
    device = must_open(path, 0);
    for (uint64_t i = 0; i < 3; i++)
        assert_true(block_write(device, i * 4 * MIB, "block", 5, NULL));
    assert_true(block_close(device, NULL));
    return path;
}

static void test_truncated(void **state)
{
    g_autofree char *path = three_blocks("truncated.vhd");
    g_autofree char *fixed = scratch("truncated-fixed.vhd");
    uint8_t footer[VHD_FOOTER_SIZE];
    int fd;

    assert_int_equal(truncate(path, (off_t)(file_size(path) - 3 * MIB)), 0);
    assert_refused(path, 0, BLOCK_ERROR_FORMAT, "truncated");
    assert_int_equal(truncate(path, 700), 0);
    assert_refused(path, 0, BLOCK_ERROR_FORMAT, "outside the file");
    assert_int_equal(truncate(path, 100), 0);
    assert_refused(path, 0, BLOCK_ERROR_FORMAT, "no disk image");

    /* a fixed disk whose footer claims more than the file has */
    must_create(fixed, BLOCK_FORMAT_VHD_FIXED, 4 * MIB);
    fd = open(fixed, O_RDWR | O_CLOEXEC);
    assert_int_equal(pread(fd, footer, sizeof(footer), 4 * MIB), sizeof(footer));
    assert_int_equal(ftruncate(fd, 2 * MIB), 0);
    assert_int_equal(pwrite(fd, footer, sizeof(footer), 2 * MIB), sizeof(footer));
    close(fd);
    assert_refused(fixed, 0, BLOCK_ERROR_FORMAT, "claims");
}

static void test_damaged_tables(void **state)
{
    g_autofree char *path = three_blocks("damaged.vhd");
    uint8_t entry[4], bytes[4];
    int fd = open(path, O_RDWR | O_CLOEXEC);

    assert_int_equal(pread(fd, entry, 4, 1536), 4); /* the table follows footer copy and header */
    close(fd);
    patch(path, 1536 + 8, entry, 4); /* block 2 where block 0 is */
    assert_refused(path, 0, BLOCK_ERROR_FORMAT, "overlap");
    store_be32(bytes, 0x7fffffff);
    patch(path, 1536 + 8, bytes, 4);
    assert_refused(path, 0, BLOCK_ERROR_FORMAT, "outside");
    store_be32(bytes, 0);
    patch(path, 1536 + 8, bytes, 4); /* over the headers */
    assert_refused(path, 0, BLOCK_ERROR_FORMAT, "outside");
    patch(path, 512 + 100, "x", 1);
    assert_refused(path, 0, BLOCK_ERROR_FORMAT, "checksum");
}

static void test_lost_footer_is_repaired(void **state)
{
    g_autofree char *path = three_blocks("lost.vhd");
    uint64_t size = file_size(path);
    struct block_device *device;
    char text[5];

    patch(path, size - 512, "garbage", 7);
    device = must_open(path, BLOCK_OPEN_READ_ONLY);
    block_abandon(device);
    assert_int_equal(file_size(path), size); /* reading repairs nothing */
    device = must_open(path, 0);
    assert_true(block_read(device, 8 * MIB, text, 5, NULL));
    assert_memory_equal(text, "block", 5);
    block_abandon(device);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint8_t footer[512];
    assert_int_equal(pread(fd, footer, 512, (off_t)(file_size(path) - 512)), 512);
    close(fd);
    assert_true(vhd_footer_is_cookie(footer));
}

/* A guest that writes what looks like a dynamic VHD into a fixed one must not have it taken so. */
static void test_guest_cannot_change_the_format(void **state)
{
    g_autofree char *inner = scratch("inner.vhd");
    g_autofree char *path = scratch("outer.vhd");
    g_autofree char *bytes = NULL;
    struct block_device *device;
    gsize length;

    must_create(inner, BLOCK_FORMAT_VHD_DYNAMIC, 64 * MIB);
    must_create(path, BLOCK_FORMAT_VHD_FIXED, 4 * MIB);
    assert_true(g_file_get_contents(inner, &bytes, &length, NULL));
    device = must_open(path, 0);
    assert_true(block_write(device, 0, bytes, length, NULL));
    assert_true(block_close(device, NULL));
    device = must_open(path, 0);
    assert_int_equal(block_device_format(device), BLOCK_FORMAT_VHD_FIXED);
    assert_int_equal(block_size(device), 4 * MIB);
    block_abandon(device);
}

/* ---- power loss ------------------------------------------------------------------------------ */

/* The image as it was after each of a run of flushes, with all that came after the flush lost or,
 * torn, only its table or only its tail kept: it must open, and hold what was flushed. */
static void check_image(const char *path, const uint8_t *bytes, size_t length,
                        const uint8_t *flushed, uint64_t size)
{
    struct block_device *device;
    g_autofree uint8_t *read = g_malloc(size);

    assert_true(g_file_set_contents(path, (const char *)bytes, (gssize)length, NULL));
    device = must_open(path, 0);
    assert_true(block_read(device, 0, read, size, NULL));
    for (uint64_t at = 0; at < size; at += 512)
        if (memcmp(read + at, flushed + at, 512) != 0 && flushed[at] != 0)
            fail_msg("flushed sector %d is lost", (int)(at / 512));
    block_abandon(device);
}

static void test_power_loss(void **state)
{
    const uint64_t size = 16 * MIB;
    g_autofree char *path = scratch("live.vhd");
    g_autofree char *copy = scratch("crashed.vhd");
    g_autofree uint8_t *flushed = g_malloc0(size);
    struct block_device *device;

    must_create(path, BLOCK_FORMAT_VHD_DYNAMIC, size);
    device = must_open(path, 0);
    for (unsigned i = 0; i < 8; i++) {
        g_autofree char *before = NULL, *after = NULL;
        gsize before_length, after_length;
        uint8_t sector[512];

        memset(sector, (int)(i + 1), sizeof(sector));
        assert_true(g_file_get_contents(path, &before, &before_length, NULL));
        assert_true(block_write(device, i * 2 * MIB + 4096, sector, sizeof(sector), NULL));
        /* before the flush: any prefix of the file's new bytes may be down */
        assert_true(g_file_get_contents(path, &after, &after_length, NULL));
        check_image(copy, (uint8_t *)before, before_length, flushed, size);
        check_image(copy, (uint8_t *)after, after_length, flushed, size);
        if (after_length > before_length) {
            memcpy(after, before, before_length); /* the end has grown, the old part is old */
            check_image(copy, (uint8_t *)after, after_length, flushed, size);
        }
        assert_true(block_flush(device, NULL));
        memcpy(flushed + i * 2 * MIB + 4096, sector, sizeof(sector));
        g_free(g_steal_pointer(&after));
        assert_true(g_file_get_contents(path, &after, &after_length, NULL));
        check_image(copy, (uint8_t *)after, after_length, flushed, size);
        memset(after + after_length - 512, 0, 512); /* the trailing footer torn */
        check_image(copy, (uint8_t *)after, after_length, flushed, size);
    }
    block_abandon(device);
}

/* The host's file system full at the moment a block is added. */
static void test_no_space(void **state)
{
    g_autofree char *path = three_blocks("full.vhd");
    struct rlimit before, small = {.rlim_cur = (rlim_t)file_size(path) + 4096};
    g_autoptr(GError) error = NULL;
    struct block_device *device = must_open(path, 0);
    char text[5];

    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    small.rlim_max = before.rlim_max;
    setrlimit(RLIMIT_FSIZE, &small);
    assert_false(block_write(device, 14 * MIB, "more", 4, &error));
    assert_non_null(error);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_true(block_read(device, 14 * MIB, text, 4, NULL));
    assert_memory_equal(text, "\0\0\0\0", 4);
    assert_true(block_write(device, 14 * MIB, "more", 4, NULL)); /* there is room again */
    assert_true(block_close(device, NULL));
    device = must_open(path, 0);
    for (uint64_t i = 0; i < 3; i++) {
        assert_true(block_read(device, i * 4 * MIB, text, 5, NULL));
        assert_memory_equal(text, "block", 5);
    }
    assert_true(block_read(device, 14 * MIB, text, 4, NULL));
    assert_memory_equal(text, "more", 4);
    block_abandon(device);
}

/* ---- foreign bitmaps, extents, helpers ------------------------------------------------------- */

static void test_absent_sectors_are_zero(void **state)
{
    g_autofree char *path = three_blocks("bitmap.vhd");
    struct block_device *device = must_open(path, 0);
    uint8_t sector[512], entry[4];
    uint64_t block;
    int fd;

    memset(sector, 0xaa, sizeof(sector));
    assert_true(block_write(device, 1024, sector, 512, NULL));
    assert_true(block_close(device, NULL));
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread(fd, entry, 4, 1536), 4);
    close(fd);
    block = (uint64_t)load_be32(entry) * 512;
    patch(path, block, "\xdf", 1); /* sector 2 is absent, whatever lies there */
    device = must_open(path, 0);
    assert_true(block_read(device, 1024, sector, 512, NULL));
    for (int i = 0; i < 512; i++)
        assert_int_equal(sector[i], 0);
    assert_true(block_write(device, 512, "x", 1, NULL)); /* fills the absent ones */
    assert_true(block_close(device, NULL));
    device = must_open(path, 0);
    assert_true(block_read(device, 1024, sector, 512, NULL));
    for (int i = 0; i < 512; i++)
        assert_int_equal(sector[i], 0);
    block_abandon(device);
}

static void test_extents(void **state)
{
    g_autofree char *path = three_blocks("extents.vhd");
    struct block_device *device = must_open(path, 0);
    struct block_extent extent;
    uint64_t allocated;

    assert_true(block_next_extent(device, 0, &extent, NULL));
    assert_int_equal(extent.kind, BLOCK_EXTENT_DATA);
    assert_int_equal(extent.length, 2 * MIB);
    assert_true(block_next_extent(device, 10 * MIB, &extent, NULL));
    assert_int_equal(extent.kind, BLOCK_EXTENT_UNALLOCATED);
    assert_int_equal(extent.length, 6 * MIB);
    assert_true(block_allocated_bytes(device, &allocated, NULL));
    assert_int_equal(allocated, 6 * MIB);
    assert_true(block_write(device, 12 * MIB, (uint8_t[4096]){0}, 4096, NULL));
    assert_true(block_allocated_bytes(device, &allocated, NULL));
    assert_int_equal(allocated, 6 * MIB); /* zeroes need no block */
    block_abandon(device);
}

static void test_geometry(void **state)
{
    /* worked by hand from the specification's appendix */
    static const struct {
        uint64_t size;
        struct vhd_geometry geometry;
    } cases[] = {
        {100 * MIB, {1003, 12, 17}},
        {UINT64_C(4) << 30, {8322, 16, 63}},
        {UINT64_C(127) << 30, {65278, 16, 255}},
        {UINT64_C(2040) << 30, {65535, 16, 255}},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        struct vhd_geometry g = vhd_geometry_for(cases[i].size);

        assert_int_equal(g.cylinders, cases[i].geometry.cylinders);
        assert_int_equal(g.heads, cases[i].geometry.heads);
        assert_int_equal(g.sectors_per_track, cases[i].geometry.sectors_per_track);
    }
}

static void test_size_texts(void **state)
{
    static const char *const bad[] = {"", "G", "-1", "1X", "1GB", "1.5G", "0", "99999999T", " 1G"};
    uint64_t size;

    assert_true(size_parse("512M", &size, NULL));
    assert_int_equal(size, 512 * MIB);
    assert_true(size_parse("10GiB", &size, NULL));
    assert_int_equal(size, UINT64_C(10) << 30);
    assert_true(size_parse("4096", &size, NULL));
    assert_int_equal(size, 4096);
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;

        assert_false(size_parse(bad[i], &size, &error));
        assert_non_null(error);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_writes),
        cmocka_unit_test(test_range_and_read_only),
        cmocka_unit_test(test_lock),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_damaged_tables),
        cmocka_unit_test(test_lost_footer_is_repaired),
        cmocka_unit_test(test_guest_cannot_change_the_format),
        cmocka_unit_test(test_power_loss),
        cmocka_unit_test(test_no_space),
        cmocka_unit_test(test_absent_sectors_are_zero),
        cmocka_unit_test(test_extents),
        cmocka_unit_test(test_geometry),
        cmocka_unit_test(test_size_texts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
