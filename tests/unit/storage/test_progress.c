/*
 * The progress bar's line, at given moments: no clock is read here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "storage/tool/progress.h"
#include <string.h>

#define GIB (UINT64_C(1) << 30)

static void expect_line(const char *expected, uint64_t done, uint64_t total, double seconds,
                        int width)
{
    g_autofree char *line = progress_line("disk.vhd", done, total, seconds, width);

    assert_string_equal(line, expected);
    assert_true((int)g_utf8_strlen(line, -1) < width);
}

static void test_line(void **state)
{
    expect_line("disk.vhd  [#########.........]   50 %  1.0 GiB of 2.0 GiB  512 MiB/s  0:02 left",
                GIB, 2 * GIB, 2, 80);
    expect_line("disk.vhd  [....................]    0 %  0 B of 2.0 GiB  0 B/s  -:-- left", 0,
                2 * GIB, 0, 74);
    expect_line("disk.vhd  [##################]  100 %  2.0 GiB of 2.0 GiB  512 MiB/s  0:00 left",
                2 * GIB, 2 * GIB, 4, 80);
}

static void test_long_times(void **state)
{
    g_autofree char *hours = progress_line("x", GIB, 11 * GIB, 1000, 120);
    g_autofree char *days = progress_line("x", 1, GIB, 10, 120);

    assert_non_null(strstr(hours, "2:46:40 left"));
    assert_non_null(strstr(days, "days left"));
}

/* No line is ever wider than the terminal, whatever the name; nor is anything divided by zero. */
static void test_widths(void **state)
{
    for (int width = 1; width < 200; width++) {
        g_autofree char *line =
            progress_line("Sicherungsträger-für-alles.vhd", GIB, 3 * GIB, 1, width);
        g_autofree char *empty = progress_line("", 0, 0, 0, width);

        assert_true((int)g_utf8_strlen(line, -1) < width);
        assert_true((int)g_utf8_strlen(empty, -1) < width);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_line),
        cmocka_unit_test(test_long_times),
        cmocka_unit_test(test_widths),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
