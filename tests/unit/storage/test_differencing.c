/*
 * Differencing disks: a chain shows what a model in memory says, through reopening; a parent is
 * found again where it should be, and another disk is not taken for it; a power loss takes nothing
 * that was flushed.
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

#include "storage/block.h"
#include "storage/check.h"
#include "storage/convert.h"
#include "storage/endian.h"
#include "storage/vhd_footer.h"
#include "storage/vhd_header.h"

#define MIB       (UINT64_C(1) << 20)
#define AT_HEADER 512
#define AT_BAT    1536

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
    struct block_device *device = block_open(path, flags | BLOCK_OPEN_CHAIN, &error);

    if (!device)
        fail_msg("%s", error->message);
    return device;
}

static void must_create_child(const char *path, const char *parent)
{
    GError *error = NULL;

    if (!block_create_child(path, parent, &error))
        fail_msg("%s", error->message);
}

static void assert_refused(const char *path, unsigned flags, int code, const char *words)
{
    GError *error = NULL;

    assert_null(block_open(path, flags, &error));
    if (error->code != code || !strstr(error->message, words))
        fail_msg("code %d, \"%s\"; expected code %d with \"%s\"", error->code, error->message, code,
                 words);
    g_error_free(error);
}

static char *folder_of(const char *name)
{
    char *path = scratch(name);

    assert_int_equal(g_mkdir_with_parents(path, 0755), 0);
    return path;
}

static void write_text(const char *path, uint64_t offset, const char *text)
{
    struct block_device *device = must_open(path, 0);

    assert_true(block_write(device, offset, text, strlen(text), NULL));
    assert_true(block_close(device, NULL));
}

static void assert_text(const char *path, uint64_t offset, const char *text)
{
    struct block_device *device = must_open(path, BLOCK_OPEN_READ_ONLY);
    char read[64];

    assert_true(block_read(device, offset, read, strlen(text), NULL));
    assert_memory_equal(read, text, strlen(text));
    block_abandon(device);
}

/* ---- content ----------------------------------------------------------------------------------
 */

static void random_writes(GRand *rand, struct block_device *device, uint8_t *model, uint64_t size)
{
    for (int i = 0; i < 40; i++) {
        uint64_t offset = (uint64_t)g_rand_double_range(rand, 0, (double)size);
        gint32 most = g_rand_boolean(rand) ? 3000 : 400000;
        size_t length = MIN((size_t)g_rand_int_range(rand, 1, most), size - offset);
        bool zero = g_rand_int_range(rand, 0, 5) == 0;

        if (g_rand_boolean(rand)) { /* whole sectors, as guests write */
            offset = offset / 512 * 512;
            length = MIN((length + 511) / 512 * 512, size - offset);
        }
        for (size_t k = 0; k < length; k++)
            model[offset + k] = zero ? 0 : (uint8_t)g_rand_int(rand);
        assert_true(block_write(device, offset, model + offset, length, NULL));
        if (g_rand_int_range(rand, 0, 10) == 0)
            assert_true(block_flush(device, NULL));
    }
}

static void assert_content(struct block_device *device, const uint8_t *model, uint64_t size)
{
    g_autofree uint8_t *read = g_malloc(size);
    struct block_extent extent;

    assert_int_equal(block_size(device), size);
    assert_true(block_read(device, 0, read, size, NULL));
    assert_memory_equal(read, model, size);
    for (uint64_t at = 0; at < size; at += extent.length) {
        assert_true(block_next_extent(device, at, &extent, NULL));
        assert_int_equal(extent.offset, at);
        assert_true(extent.length > 0 && extent.length <= size - at);
        if (extent.kind != BLOCK_EXTENT_DATA && extent.length > 1)
            assert_true(model[at] == 0 &&
                        memcmp(model + at, model + at + 1, extent.length - 1) == 0);
    }
}

static void chain_of_three(enum block_format base)
{
    const uint64_t size = 9 * MIB + 512;
    g_autofree char *a = scratch("a.vhd"), *b = scratch("b.vhd"), *c = scratch("c.vhd");
    const char *paths[] = {a, b, c};
    uint8_t *models[3];
    GRand *rand = g_rand_new_with_seed(11);
    struct block_device *device;

    for (int i = 0; i < 3; i++) {
        if (i == 0)
            assert_true(block_create(a, base, size, NULL));
        else
            must_create_child(paths[i], paths[i - 1]);
        models[i] = i == 0 ? g_malloc0(size) : g_memdup2(models[i - 1], size);
        for (int round = 0; round < 2; round++) {
            device = must_open(paths[i], 0);
            random_writes(rand, device, models[i], size);
            assert_content(device, models[i], size);
            assert_true(block_close(device, NULL));
        }
    }
    for (int i = 0; i < 3; i++) { /* what the children wrote is not in their parents */
        device = must_open(paths[i], BLOCK_OPEN_READ_ONLY);
        assert_content(device, models[i], size);
        block_abandon(device);
        g_free(models[i]);
    }
    g_rand_free(rand);
}

static void test_chain_of_three(void **state)
{
    chain_of_three(BLOCK_FORMAT_VHD_DYNAMIC);
    chain_of_three(BLOCK_FORMAT_VHD_FIXED);
}

static void test_convert_makes_it_stand_alone(void **state)
{
    g_autofree char *a = scratch("a.vhd"), *b = scratch("b.vhd"), *alone = scratch("alone.vhd");
    struct block_device *from, *to;
    struct block_check check;

    assert_true(block_create(a, BLOCK_FORMAT_VHD_DYNAMIC, 16 * MIB, NULL));
    write_text(a, 5 * MIB, "from the parent");
    must_create_child(b, a);
    write_text(b, 5 * MIB + 5, "via"); /* less than a sector: the rest is the parent's */
    assert_text(b, 5 * MIB, "from via parent");
    assert_text(a, 5 * MIB, "from the parent");
    assert_true(block_create(alone, BLOCK_FORMAT_VHD_DYNAMIC, 16 * MIB, NULL));
    from = must_open(b, BLOCK_OPEN_READ_ONLY);
    to = must_open(alone, 0);
    assert_true(block_copy(from, to, NULL, NULL, NULL));
    block_abandon(from);
    assert_true(block_close(to, NULL));
    assert_int_equal(g_unlink(a), 0);
    assert_text(alone, 5 * MIB, "from via parent");
    assert_true(block_check(b, false, &check, NULL)); /* needs no parent */
    assert_int_equal(check.findings->len, 0);
    assert_int_equal(check.format, BLOCK_FORMAT_VHD_DIFFERENCING);
    block_check_clear(&check);
}

/* ---- parents ----------------------------------------------------------------------------------
 */

static void test_parent_is_found(void **state)
{
    g_autofree char *base = folder_of("base"), *kids = folder_of("kids"), *far = folder_of("far");
    g_autofree char *parent = g_build_filename(base, "pärent ☂.vhd", NULL);
    g_autofree char *child = g_build_filename(kids, "child.vhd", NULL);
    g_autofree char *beside = g_build_filename(kids, "pärent ☂.vhd", NULL);
    g_autofree char *far_base = g_build_filename(far, "base", NULL);
    g_autofree char *far_parent = g_build_filename(far_base, "pärent ☂.vhd", NULL);
    g_autofree char *deep = g_build_filename(far, "kids", NULL);
    g_autofree char *deeper = g_build_filename(deep, "child.vhd", NULL);
    struct block_device *device;

    g_unlink(parent);
    g_unlink(child);
    g_unlink(beside);
    g_unlink(deeper);
    assert_true(block_create(parent, BLOCK_FORMAT_VHD_DYNAMIC, 4 * MIB, NULL));
    write_text(parent, MIB, "here");
    must_create_child(child, parent);
    assert_text(child, MIB, "here");

    /* both locators say where; with the child gone deeper only the absolute one is right */
    g_mkdir_with_parents(deep, 0755);
    assert_int_equal(g_rename(child, deeper), 0);
    assert_text(deeper, MIB, "here");
    device = must_open(deeper, BLOCK_OPEN_READ_ONLY);
    assert_string_equal(block_path(block_parent(device)), parent);
    block_abandon(device);
    assert_int_equal(g_rename(deeper, child), 0);

    /* the parent moved beside its child: neither locator is right, but its name */
    assert_int_equal(g_rename(parent, beside), 0);
    assert_text(child, MIB, "here");
    assert_int_equal(g_rename(beside, parent), 0);

    /* both moved alike: the relative one */
    g_mkdir_with_parents(far_base, 0755);
    assert_int_equal(g_rename(parent, far_parent), 0);
    assert_int_equal(g_rename(child, deeper), 0);
    assert_text(deeper, MIB, "here");
    assert_int_equal(g_unlink(far_parent), 0);
    assert_refused(deeper, BLOCK_OPEN_CHAIN, BLOCK_ERROR_IO, "looked for");
}

static void test_another_disk_is_no_parent(void **state)
{
    g_autofree char *a = scratch("a.vhd"), *b = scratch("b.vhd");

    assert_true(block_create(a, BLOCK_FORMAT_VHD_DYNAMIC, 4 * MIB, NULL));
    must_create_child(b, a);
    assert_refused(b, 0, BLOCK_ERROR_UNSUPPORTED, "stand alone"); /* no chain was asked for */
    assert_int_equal(g_unlink(a), 0);
    assert_true(block_create(a, BLOCK_FORMAT_VHD_DYNAMIC, 4 * MIB, NULL));
    assert_refused(b, BLOCK_OPEN_CHAIN, BLOCK_ERROR_FORMAT, "it is another disk");
    assert_int_equal(g_unlink(a), 0);
    assert_true(block_create(a, BLOCK_FORMAT_RAW, 4 * MIB, NULL));
    assert_refused(b, BLOCK_OPEN_CHAIN, BLOCK_ERROR_FORMAT, "no disk image");
}

static void test_locks(void **state)
{
    g_autofree char *a = scratch("a.vhd"), *b = scratch("b.vhd"), *c = scratch("c.vhd");
    struct block_device *first, *second;

    assert_true(block_create(a, BLOCK_FORMAT_VHD_DYNAMIC, 4 * MIB, NULL));
    must_create_child(b, a);
    must_create_child(c, a);
    first = must_open(b, 0);
    second = must_open(c, 0); /* two children share a parent */
    assert_refused(a, 0, BLOCK_ERROR_LOCKED, "in use");
    block_abandon(first);
    block_abandon(second);
    first = must_open(a, 0);
    assert_refused(b, BLOCK_OPEN_CHAIN, BLOCK_ERROR_LOCKED, "in use");
    block_abandon(first);
}

static void test_loop(void **state)
{
    g_autofree char *a = scratch("a.vhd"), *b = scratch("b.vhd"), *c = scratch("c.vhd");
    g_autofree char *base = scratch("loop-base.vhd");
    g_autoptr(GError) error = NULL;

    assert_true(block_create(base, BLOCK_FORMAT_VHD_DYNAMIC, 4 * MIB, NULL));
    must_create_child(a, base);
    must_create_child(b, a);
    must_create_child(c, b);
    assert_int_equal(g_unlink(base), 0);
    assert_int_equal(link(c, base), 0); /* the last as the first one's parent */
    assert_refused(c, BLOCK_OPEN_CHAIN, BLOCK_ERROR_FORMAT, "loop");
    assert_refused(c, BLOCK_OPEN_CHAIN | BLOCK_OPEN_READ_ONLY, BLOCK_ERROR_FORMAT, "loop");
    assert_false(block_create_child(b, b, &error));
    g_unlink(base);
}

static void test_depth(void **state)
{
    g_autofree char *name = NULL, *before = scratch("d0.vhd");
    g_autofree char *spare = scratch("spare.vhd"), *last = NULL;
    g_autoptr(GError) error = NULL;
    struct block_device *device;

    assert_true(block_create(before, BLOCK_FORMAT_VHD_DYNAMIC, 4 * MIB, NULL));
    write_text(before, 0, "deep");
    for (int i = 1; i <= BLOCK_MAX_PARENTS; i++) {
        g_autofree char *file = g_strdup_printf("d%d.vhd", i);
        char *path = scratch(file);

        must_create_child(path, before);
        g_free(before);
        before = path;
    }
    assert_text(before, 0, "deep");
    assert_false(block_create_child(spare, before, &error));
    assert_non_null(strstr(error->message, "64 parents"));
    g_clear_error(&error);
    assert_false(g_file_test(spare, G_FILE_TEST_EXISTS));

    /* one more below: what was d0 becomes a child of d0's old content */
    name = scratch("bottom.vhd");
    last = scratch("d0.vhd.old");
    g_autofree char *d0 = g_build_filename(
        g_getenv("TEST_TMP") ? g_getenv("TEST_TMP") : g_get_tmp_dir(), "d0.vhd", NULL);
    assert_true(block_create(name, BLOCK_FORMAT_VHD_DYNAMIC, 4 * MIB, NULL));
    assert_int_equal(g_rename(d0, last), 0);
    must_create_child(d0, name);
    uint8_t footer[VHD_FOOTER_SIZE], old[VHD_FOOTER_SIZE];
    int fd = open(last, O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread(fd, old, sizeof(old), 0), sizeof(old));
    close(fd);
    fd = open(d0, O_RDWR | O_CLOEXEC);
    assert_int_equal(pread(fd, footer, sizeof(footer), 0), sizeof(footer));
    memcpy(footer + 68, old + 68, 16); /* the identity its children ask for */
    store_be32(footer + 64, vhd_checksum(footer, sizeof(footer), 64));
    assert_int_equal(pwrite(fd, footer, sizeof(footer), 0), sizeof(footer));
    assert_int_equal(pwrite(fd, footer, sizeof(footer), lseek(fd, -512, SEEK_END)), 512);
    close(fd);
    device = block_open(before, BLOCK_OPEN_CHAIN, &error);
    assert_null(device);
    assert_refused(before, BLOCK_OPEN_CHAIN, BLOCK_ERROR_UNSUPPORTED, "64 parents is the most");
}

/* What other programs read: ids, name and paths where the specification has them. */
static void test_header_on_disk(void **state)
{
    g_autofree char *a = scratch("a.vhd"), *b = scratch("b.vhd");
    static const char relative[] = ".\0\\\0a\0.\0v\0h\0d", name[] = "\0a\0.\0v\0h\0d\0";
    uint8_t header[VHD_HEADER_SIZE], footer[VHD_FOOTER_SIZE], text[64];
    int fd;

    assert_true(block_create(a, BLOCK_FORMAT_VHD_DYNAMIC, 4 * MIB, NULL));
    must_create_child(b, a);
    fd = open(a, O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread(fd, footer, sizeof(footer), 0), sizeof(footer));
    close(fd);
    fd = open(b, O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread(fd, header, sizeof(header), AT_HEADER), sizeof(header));
    assert_memory_equal(header + 40, footer + 68, 16);
    assert_memory_equal(header + 64, name, sizeof(name));
    assert_memory_equal(header + 576, "W2ru", 4);
    assert_int_equal(load_be32(header + 576 + 4), 512);
    assert_int_equal(load_be32(header + 576 + 8), sizeof(relative));
    assert_int_equal(pread(fd, text, sizeof(text), (off_t)load_be64(header + 576 + 16)),
                     sizeof(text));
    assert_memory_equal(text, relative, sizeof(relative));
    assert_memory_equal(header + 600, "W2ku", 4);
    close(fd);
}

/* ---- power loss -------------------------------------------------------------------------------
 */

static void put_file(const char *path, const char *bytes, gsize length)
{
    assert_true(g_file_set_contents(path, bytes, (gssize)length, NULL));
}

/* The crashed copy must show each sector as it was flushed, or, of those in `pending`, as written.
 */
static void assert_survived(const char *path, const uint8_t *flushed, const uint8_t *pending,
                            uint64_t size)
{
    struct block_device *device = must_open(path, 0);
    g_autofree uint8_t *read = g_malloc(size);

    assert_true(block_read(device, 0, read, size, NULL));
    for (uint64_t at = 0; at < size; at += 512)
        if (memcmp(read + at, flushed + at, 512) != 0 && memcmp(read + at, pending + at, 512) != 0)
            fail_msg("sector %d is neither old nor new", (int)(at / 512));
    block_abandon(device);
}

/* Takes of each changed 512-byte piece of the file the old or the new one, at random. */
static void mix(GRand *rand, char *out, const char *before, gsize before_length, const char *after,
                gsize after_length)
{
    for (gsize at = 0; at < after_length; at += 512) {
        bool old = g_rand_boolean(rand);

        if (!old)
            memcpy(out + at, after + at, MIN(512, after_length - at));
        else if (at + 512 <= before_length)
            memcpy(out + at, before + at, 512);
        else
            memset(out + at, 0, MIN(512, after_length - at));
    }
}

static void test_power_loss(void **state)
{
    const uint64_t size = 6 * MIB;
    g_autofree char *a = scratch("a.vhd"), *b = scratch("b.vhd"), *crashed = scratch("crash.vhd");
    g_autofree uint8_t *flushed = g_malloc(size), *pending = g_malloc(size);
    GRand *rand = g_rand_new_with_seed(5);
    struct block_device *device;

    assert_true(block_create(a, BLOCK_FORMAT_VHD_DYNAMIC, size, NULL));
    memset(flushed, 0xee, size);
    device = must_open(a, 0);
    assert_true(block_write(device, 0, flushed, size, NULL));
    assert_true(block_close(device, NULL));
    must_create_child(b, a);
    device = must_open(b, 0);
    memcpy(pending, flushed, size);
    for (int round = 0; round < 12; round++) {
        g_autofree char *before = NULL, *after = NULL, *mixed = NULL;
        gsize before_length, after_length;

        assert_true(g_file_get_contents(b, &before, &before_length, NULL));
        for (int i = 0; i < 6; i++) {
            uint64_t at = (uint64_t)g_rand_int_range(rand, 0, (gint32)(size / 512 - 64)) * 512;
            size_t length = (size_t)g_rand_int_range(rand, 1, 64) * 512;

            for (size_t k = 0; k < length; k++)
                pending[at + k] = (uint8_t)g_rand_int(rand);
            assert_true(block_write(device, at, pending + at, length, NULL));
        }
        /* before the flush any of the new pieces may be down, none of which the tables know */
        assert_true(g_file_get_contents(b, &after, &after_length, NULL));
        mixed = g_malloc(after_length);
        for (int i = 0; i < 4; i++) {
            mix(rand, mixed, before, before_length, after, after_length);
            put_file(crashed, mixed, after_length);
            assert_survived(crashed, flushed, pending, size);
        }
        /* within the flush: data down, of the tables any part */
        g_free(g_steal_pointer(&before));
        before = g_steal_pointer(&after);
        before_length = after_length;
        assert_true(block_flush(device, NULL));
        assert_true(g_file_get_contents(b, &after, &after_length, NULL));
        assert_int_equal(before_length, after_length);
        for (int i = 0; i < 4; i++) {
            mix(rand, mixed, before, before_length, after, after_length);
            memcpy(mixed + after_length - 512, after + after_length - 512, 512);
            put_file(crashed, mixed, after_length);
            assert_survived(crashed, flushed, pending, size);
        }
        memcpy(flushed, pending, size);
        put_file(crashed, after, after_length);
        assert_survived(crashed, flushed, flushed, size);
    }
    block_abandon(device);
    g_rand_free(rand);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chain_of_three),  cmocka_unit_test(test_convert_makes_it_stand_alone),
        cmocka_unit_test(test_parent_is_found), cmocka_unit_test(test_another_disk_is_no_parent),
        cmocka_unit_test(test_locks),           cmocka_unit_test(test_loop),
        cmocka_unit_test(test_depth),           cmocka_unit_test(test_header_on_disk),
        cmocka_unit_test(test_power_loss),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
