/*
 * The SMBIOS structures: their checksums and counts, and what dmidecode makes of them.
 */
#include "emu/core/bytes.h"
#include "emu/machine/smbios.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <glib/gstdio.h>
#include <unistd.h>

#define TABLES_AT 32 /* in a dump as dmidecode takes it */

static uint8_t sum(const uint8_t *bytes, size_t length)
{
    uint8_t total = 0;
    while (length--)
        total += *bytes++;
    return total;
}

/* Walks the structures as a guest does; gives their count, and the longest one's length. */
static unsigned walk(const GByteArray *tables, unsigned *ret_longest)
{
    unsigned count = 0, type = 0;
    const uint8_t *at = tables->data, *end = tables->data + tables->len;
    for (*ret_longest = 0; type != 127; count++) {
        assert_true(end - at >= 4 && end - at >= at[1]);
        const uint8_t *next = at + at[1];
        while (end - next >= 2 && (next[0] || next[1]))
            next++;
        assert_true(end - next >= 2);
        next += 2;
        type = at[0];
        *ret_longest = MAX(*ret_longest, (unsigned)(next - at));
        at = next;
    }
    assert_ptr_equal(at, end);
    return count;
}

static void check_anchor(const struct smbios_tables *smbios)
{
    const uint8_t *anchor = smbios->anchor;
    unsigned longest, count = walk(smbios->tables, &longest);
    assert_memory_equal(anchor, "_SM_", 4);
    assert_memory_equal(anchor + 16, "_DMI_", 5);
    assert_int_equal(sum(anchor, SMBIOS_ANCHOR_SIZE), 0);
    assert_int_equal(sum(anchor + 16, 15), 0);
    assert_int_equal(bytes_load(anchor + 8, 2), longest);
    assert_int_equal(bytes_load(anchor + 22, 2), smbios->tables->len);
    assert_int_equal(bytes_load(anchor + 28, 2), count);
}

/* What dmidecode prints about the structures, with one space for white space; free it. */
static char *decode(struct smbios_tables *smbios)
{
    g_autofree char *path = NULL, *output = NULL;
    const int file = g_file_open_tmp("smbios-XXXXXX", &path, NULL);
    assert_true(file >= 0);
    uint8_t head[TABLES_AT] = {0};
    smbios_place(smbios, TABLES_AT);
    check_anchor(smbios);
    memcpy(head, smbios->anchor, SMBIOS_ANCHOR_SIZE);
    assert_int_equal(write(file, head, sizeof(head)), sizeof(head));
    assert_int_equal(write(file, smbios->tables->data, smbios->tables->len), smbios->tables->len);
    close(file);
    char *arguments[] = {"dmidecode", "--from-dump", path, NULL};
    g_auto(GStrv) environment = g_environ_setenv(g_get_environ(), "PATH", "/usr/sbin:/sbin", TRUE);
    gboolean runs = g_spawn_sync(NULL, arguments, environment, G_SPAWN_SEARCH_PATH_FROM_ENVP, NULL,
                                 NULL, &output, NULL, NULL, NULL);
    g_unlink(path);
    if (!runs)
        return NULL;
    g_auto(GStrv) words = g_strsplit_set(output, " \t\n", -1);
    GString *text = g_string_new(" ");
    for (char **word = words; *word; word++) {
        if (**word)
            g_string_append_printf(text, "%s ", *word);
    }
    return g_string_free(text, FALSE);
}

static void expect(const char *text, const char *const *phrases)
{
    for (; *phrases; phrases++) {
        if (!strstr(text, *phrases))
            fail_msg("dmidecode does not say \"%s\":\n%s", *phrases, text);
    }
    static const char *const bad[] = {"<BAD", "<OUT OF SPEC>", "Wrong", "truncated", "Invalid"};
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        if (strstr(text, bad[i]))
            fail_msg("dmidecode says \"%s\":\n%s", bad[i], text);
    }
}

static void test_small(void **state)
{
    static const char *const phrases[] = {
        " SMBIOS 2.8 present. ",
        " Manufacturer: Drover Product Name: Drover ",
        " Serial Number: shop/web-1 UUID: 00112233-4455-6677-8899-aabbccddeeff ",
        " Socket Designation: CPU 1 Type: Central Processor ",
        " Maximum Capacity: 512 MB ",
        " Size: 512 MB Form Factor: DIMM ",
        " Range Size: 512 MB ",
        " ID: C3 06 00 00 FF FB 8B 07 ",
        NULL,
    };
    const struct smbios_machine machine = {
        .name = "shop/web-1",
        .uuid = "00112233-4455-6677-8899-aabbccddeeff",
        .cpus = 2,
        .cpu_signature = 0x6c3,
        .cpu_features = 0x078bfbff,
        .memory_below_4g = UINT64_C(512) << 20,
    };
    struct smbios_tables smbios;
    smbios_build(&smbios, &machine);
    check_anchor(&smbios);
    g_autofree char *text = decode(&smbios);
    smbios_clear(&smbios);
    if (!text)
        skip(); /* there is no dmidecode */
    expect(text, phrases);
}

static void test_large(void **state)
{
    static const char *const phrases[] = {
        " Serial Number: Not Specified UUID: Not Settable ",
        " Socket Designation: CPU 15 ",
        " Maximum Capacity: 5 TB ",
        " Size: 5 TB ",
        " Range Size: 3 GB ",
        " Starting Address: 0x0000000100000000k Ending Address: ",
        NULL,
    };
    const struct smbios_machine machine = {
        .cpus = 16,
        .memory_below_4g = UINT64_C(3) << 30,
        .memory_above_4g = (UINT64_C(5) << 40) - (UINT64_C(3) << 30),
    };
    struct smbios_tables smbios;
    smbios_build(&smbios, &machine);
    g_autofree char *text = decode(&smbios);
    smbios_clear(&smbios);
    if (!text)
        skip(); /* there is no dmidecode */
    expect(text, phrases);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_small), cmocka_unit_test(test_large)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
