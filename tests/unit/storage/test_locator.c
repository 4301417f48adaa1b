/*
 * Every form in which a child may name its parent, alone: as other programs wrote them, byte for
 * byte; and what is said of a parent that is not quite what it was.
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
#include <utime.h>

#include "storage/block.h"
#include "storage/endian.h"
#include "storage/vhd_header.h"
#include "storage/vhd_locator.h"

#define MIB         (UINT64_C(1) << 20)
#define AT_HEADER   512
#define AT_NAME     64
#define AT_LOCATORS 576
#define AT_TEXT     (AT_HEADER + VHD_HEADER_SIZE + 512) /* behind a table of one sector */

/* A folder with base/p.vhd and kids/c.vhd, which stands on it. */
struct family {
    char *folder, *parent, *child;
};

static struct family make_family(void)
{
    const char *top = g_getenv("TEST_TMP");
    char *pattern = g_build_filename(top ? top : g_get_tmp_dir(), "locator-XXXXXX", NULL);
    struct family family = {.folder = g_mkdtemp(pattern)};
    g_autofree char *base = g_build_filename(pattern, "base", NULL);
    g_autofree char *kids = g_build_filename(pattern, "kids", NULL);

    assert_non_null(family.folder);
    g_mkdir(base, 0755);
    g_mkdir(kids, 0755);
    family.parent = g_build_filename(base, "p.vhd", NULL);
    family.child = g_build_filename(kids, "c.vhd", NULL);
    assert_true(block_create(family.parent, BLOCK_FORMAT_VHD_DYNAMIC, 4 * MIB, NULL));
    assert_true(block_create_child(family.child, family.parent, NULL));
    return family;
}

static void free_family(struct family *family)
{
    g_free(family->folder);
    g_free(family->parent);
    g_free(family->child);
}

static void read_header(const char *path, uint8_t header[VHD_HEADER_SIZE])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    assert_int_equal(pread(fd, header, VHD_HEADER_SIZE, AT_HEADER), VHD_HEADER_SIZE);
    close(fd);
}

static void write_header(const char *path, uint8_t header[VHD_HEADER_SIZE], const void *text,
                         size_t length)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    store_be32(header + 36, vhd_checksum(header, VHD_HEADER_SIZE, 36));
    assert_int_equal(pwrite(fd, header, VHD_HEADER_SIZE, AT_HEADER), VHD_HEADER_SIZE);
    assert_int_equal(pwrite(fd, text, length, AT_TEXT), length);
    close(fd);
}

/* The child says only this of its parent. */
static void set_only_locator(const char *path, const char *code, const void *text, size_t length)
{
    uint8_t header[VHD_HEADER_SIZE];

    read_header(path, header);
    memset(header + AT_NAME, 0, VHD_NAME_BYTES);
    memset(header + AT_LOCATORS, 0, VHD_LOCATORS * 24);
    memcpy(header + AT_LOCATORS, code, 4);
    store_be32(header + AT_LOCATORS + 4, 512);
    store_be32(header + AT_LOCATORS + 8, (uint32_t)length);
    store_be64(header + AT_LOCATORS + 16, AT_TEXT);
    write_header(path, header, text, length);
}

static bool finds(const struct family *family)
{
    struct block_device *device =
        block_open(family->child, BLOCK_OPEN_READ_ONLY | BLOCK_OPEN_CHAIN, NULL);
    bool found = device && block_parent(device);

    block_abandon(device);
    return found;
}

static void assert_found(const struct family *family, const char *code, const void *text,
                         size_t length, bool expected)
{
    set_only_locator(family->child, code, text, length);
    if (finds(family) != expected)
        fail_msg("a %s locator was %s", code, expected ? "not understood" : "believed");
}

static void test_relative_forms(void **state)
{
    static const char narrow[] = "..\\base\\p.vhd", url[] = "file://../base/p.vhd";
    struct family family = make_family();
    g_autofree char *wide = NULL;
    gsize length;

    wide = g_convert(narrow, -1, "UTF-16LE", "UTF-8", NULL, &length, NULL);
    assert_found(&family, "W2ru", wide, length, true);
    assert_found(&family, "Wi2r", narrow, strlen(narrow), true);
    assert_found(&family, "Wi2r", narrow, sizeof(narrow), true); /* with its zero, as some do */
    assert_found(&family, "MacX", url, strlen(url), true);       /* as Xen's blktap writes it */
    assert_found(&family, "W2ku", wide, length, false);          /* it is not absolute */
    assert_found(&family, "Abcd", narrow, strlen(narrow), false);
    free_family(&family);
}

static void test_absolute_forms(void **state)
{
    static const char drive[] = "C:\\base\\p.vhd";
    struct family family = make_family();
    g_autofree char *narrow = g_strdelimit(g_strdup(family.parent), "/", '\\');
    g_autofree char *url = g_strconcat("file://", family.parent, NULL);
    g_autofree char *host = g_strconcat("file://localhost", family.parent, NULL);
    g_autofree char *wide = NULL, *marked = NULL, *escaped = NULL;
    gsize length;

    wide = g_convert(narrow, -1, "UTF-16LE", "UTF-8", NULL, &length, NULL);
    marked = g_malloc(length + 2);
    memcpy(marked, "\xff\xfe", 2);
    memcpy(marked + 2, wide, length);
    escaped = g_strdup_printf("file://%s/base/%%70.vhd", family.folder);
    assert_found(&family, "W2ku", wide, length, true);
    assert_found(&family, "W2ku", marked, length + 2, true);
    assert_found(&family, "Wi2k", narrow, strlen(narrow), true);
    assert_found(&family, "MacX", url, strlen(url), true);
    assert_found(&family, "MacX", host, strlen(host), true);
    assert_found(&family, "MacX", escaped, strlen(escaped), true);
    assert_found(&family, "MacX", family.parent, strlen(family.parent), false); /* no URL */
    assert_found(&family, "Wi2k", drive, strlen(drive), false);
    assert_found(&family, "W2ru", wide, length, false); /* it is not relative */
    free_family(&family);
}

/* An alias record of version 2 with the file's name, and tags where they are given. */
static size_t make_alias(uint8_t *out, const char *name, const char *path, const char *mount)
{
    const char *const texts[] = {path, mount};
    size_t at = 150;

    memset(out, 0, 512);
    store_be16(out + 6, 2);
    out[50] = (uint8_t)strlen(name);
    memcpy(out + 51, name, strlen(name));
    for (unsigned i = 0; i < 2; i++) {
        if (!texts[i])
            continue;
        store_be16(out + at, (uint16_t)(18 + i));
        store_be16(out + at + 2, (uint16_t)strlen(texts[i]));
        memcpy(out + at + 4, texts[i], strlen(texts[i]));
        at += 4 + (strlen(texts[i]) + 1) / 2 * 2;
    }
    store_be16(out + at, 0xffff);
    return at + 4;
}

static void test_alias(void **state)
{
    struct family family = make_family();
    g_autofree char *beside = g_build_filename(family.folder, "kids", "p.vhd", NULL);
    uint8_t alias[512];
    size_t length;

    length = make_alias(alias, "elsewhere", "base/p.vhd", family.folder);
    assert_found(&family, "Mac ", alias, length, true);
    assert_found(&family, "Mac ", alias, 149, false); /* cut short */
    alias[7] = 3;                                     /* a version nobody has described */
    assert_found(&family, "Mac ", alias, length, false);
    length = make_alias(alias, "p.vhd", NULL, NULL);
    assert_found(&family, "Mac ", alias, length, false); /* it is not beside the child */
    assert_int_equal(g_rename(family.parent, beside), 0);
    assert_found(&family, "Mac ", alias, length, true);
    free_family(&family);
}

/* What others read: each form that can say it, once, and each true. */
static void test_written(void **state)
{
    static const char codes[] = "W2ruW2kuWi2rWi2kMacX";
    struct family family = make_family();
    g_autofree char *umlaut = g_build_filename(family.folder, "base", "p\xc3\xa4.vhd", NULL);
    uint8_t header[VHD_HEADER_SIZE];

    read_header(family.child, header);
    for (unsigned i = 0; i < 5; i++) {
        uint8_t text[512];
        const uint8_t *entry = header + AT_LOCATORS + i * 24;
        int fd = open(family.child, O_RDONLY | O_CLOEXEC);

        assert_memory_equal(entry, codes + i * 4, 4);
        assert_int_equal(load_be32(entry + 4) % 512, 0);
        assert_int_equal(load_be64(entry + 16) % 512, 0);
        assert_int_equal(pread(fd, text, sizeof(text), (off_t)load_be64(entry + 16)), sizeof(text));
        close(fd);
        /* on its own it leads to the parent */
        g_autofree char *copy = g_build_filename(family.folder, "kids", "copy.vhd", NULL);
        struct family alone = {.child = copy};
        g_autofree char *bytes = NULL;
        gsize length;

        assert_true(g_file_get_contents(family.child, &bytes, &length, NULL));
        assert_true(g_file_set_contents(copy, bytes, (gssize)length, NULL));
        set_only_locator(copy, codes + i * 4, text, load_be32(entry + 8));
        assert_true(finds(&alone));
    }
    assert_int_equal(load_be32(header + AT_LOCATORS + 5 * 24), 0);

    /* eight-bit forms cannot say it */
    assert_int_equal(g_rename(family.parent, umlaut), 0);
    assert_int_equal(g_unlink(family.child), 0);
    assert_true(block_create_child(family.child, umlaut, NULL));
    read_header(family.child, header);
    assert_memory_equal(header + AT_LOCATORS, "W2ru", 4);
    assert_memory_equal(header + AT_LOCATORS + 24, "W2ku", 4);
    assert_memory_equal(header + AT_LOCATORS + 48, "MacX", 4);
    assert_true(finds(&family));
    free_family(&family);
}

/* A copy, or another name, is the same disk: told, not refused. */
static void test_touched_and_renamed(void **state)
{
    struct family family = make_family();
    g_autofree char *renamed = g_build_filename(family.folder, "base", "q.vhd", NULL);
    static const char url[] = "file://../base/q.vhd";
    struct utimbuf long_ago = {.actime = 1000000000, .modtime = 1000000000};
    struct block_device *device;
    struct block_info info;
    uint8_t header[VHD_HEADER_SIZE];

    device = block_open(family.child, BLOCK_OPEN_READ_ONLY | BLOCK_OPEN_CHAIN, NULL);
    assert_true(block_get_info(device, &info, NULL));
    assert_false(info.parent_touched);
    assert_false(info.parent_renamed);
    block_abandon(device);

    assert_int_equal(g_rename(family.parent, renamed), 0);
    assert_int_equal(utime(renamed, &long_ago), 0);
    read_header(family.child, header);
    memcpy(header + AT_LOCATORS, "MacX", 4);
    store_be32(header + AT_LOCATORS + 8, (uint32_t)strlen(url));
    store_be64(header + AT_LOCATORS + 16, AT_TEXT);
    write_header(family.child, header, url, strlen(url));
    device = block_open(family.child, BLOCK_OPEN_READ_ONLY | BLOCK_OPEN_CHAIN, NULL);
    assert_non_null(device);
    assert_true(block_get_info(device, &info, NULL));
    assert_true(info.parent_touched);
    assert_true(info.parent_renamed);
    block_abandon(device);
    free_family(&family);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_relative_forms),
        cmocka_unit_test(test_absolute_forms),
        cmocka_unit_test(test_alias),
        cmocka_unit_test(test_written),
        cmocka_unit_test(test_touched_and_renamed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
