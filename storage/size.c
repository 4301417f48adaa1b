#include "storage/size.h"

#include <string.h>

#include "storage/block.h"

bool size_parse(const char *text, uint64_t *ret_bytes, GError **error)
{
    static const char units[] = "KMGT";
    uint64_t value = 0;
    unsigned shift = 0;
    char *end = NULL;

    if (g_ascii_isdigit(text[0]))
        value = g_ascii_strtoull(text, &end, 10);
    if (end && *end) {
        const char *unit = strchr(units, g_ascii_toupper(*end));

        if (unit && (!end[1] || strcmp(end + 1, "i") == 0 || strcmp(end + 1, "iB") == 0)) {
            shift = 10 * (unsigned)(unit - units + 1);
            end = "";
        }
    }
    if (!end || *end || value == 0 || value > (UINT64_MAX >> 1) >> shift) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_ARGUMENT,
                    "\"%s\" is no size; write a number of bytes, or one with K, M, G or T, as in "
                    "512M or 10G",
                    text);
        return false;
    }
    *ret_bytes = value << shift;
    return true;
}

char *size_format(uint64_t bytes)
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    unsigned unit = 0;

    while (value >= 1024 && unit + 1 < G_N_ELEMENTS(units)) {
        value /= 1024;
        unit++;
    }
    if (unit == 0)
        return g_strdup_printf("%" G_GUINT64_FORMAT " bytes", bytes);
    return g_strdup_printf("%.4g %s (%" G_GUINT64_FORMAT " bytes)", value, units[unit], bytes);
}
