/*
 * A VHD's parent locator in each of its forms: UTF-16, eight-bit, URL, alias record. What comes out
 * is a path that can be used, or nothing; and what we write is read again.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "storage/vhd_locator.h"
#include "tests/fuzz/fuzz.h"

static void check_path(enum vhd_locator_form form, const char *path)
{
    bool relative = form == VHD_LOCATOR_W2RU || form == VHD_LOCATOR_WI2R;
    bool absolute = form == VHD_LOCATOR_W2KU || form == VHD_LOCATOR_WI2K;

    if (!*path || !g_utf8_validate(path, -1, NULL) || (relative && path[0] == '/') ||
        (absolute && path[0] != '/'))
        abort();
}

/* A path that was read, written and read again. */
static void round_trip(enum vhd_locator_form form, const char *path)
{
    g_autofree char *absolute = g_strconcat("/", path + strspn(path, "/"), NULL);
    g_autofree char *relative = g_strconcat("./", path + strspn(path, "/"), NULL);
    g_autofree char *bytes = NULL, *again = NULL;
    gsize length = 0;

    g_strdelimit(relative, "\\", '/');
    g_strdelimit(absolute, "\\", '/');
    bytes = vhd_locator_encode(form, relative, absolute, &length);
    if (!bytes)
        return;
    again = vhd_locator_decode(form, (const uint8_t *)bytes, length);
    if (!again || (strcmp(again, relative) != 0 && strcmp(again, absolute) != 0))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum vhd_locator_form form;
    g_autofree char *path = NULL;

    if (size < 1)
        return -1;
    form = (enum vhd_locator_form)(data[0] % VHD_LOCATOR_FORM_COUNT);
    path = vhd_locator_decode(form, data + 1, size - 1);
    if (!path)
        return 0;
    check_path(form, path);
    for (int i = 0; i < VHD_LOCATOR_FORM_COUNT; i++)
        round_trip((enum vhd_locator_form)i, path);
    return 0;
}
