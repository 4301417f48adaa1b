#include "controller/object/quantity.h"
#include "controller/object/error.h"

#include <string.h>

struct unit {
    const char *suffix;
    uint64_t bytes;
};
static const struct unit units[] = {
    {"", 1},
    {"Ki", UINT64_C(1) << 10},
    {"Mi", UINT64_C(1) << 20},
    {"Gi", UINT64_C(1) << 30},
    {"Ti", UINT64_C(1) << 40},
    {"Pi", UINT64_C(1) << 50},
    {"k", 1000},
    {"M", 1000000},
    {"G", UINT64_C(1000000000)},
    {"T", UINT64_C(1000000000000)},
    {"P", UINT64_C(1000000000000000)},
};

static const struct unit *unit_find(const char *suffix)
{
    for (size_t i = 0; i < G_N_ELEMENTS(units); i++)
        if (strcmp(units[i].suffix, suffix) == 0)
            return &units[i];
    return NULL;
}

/* What "Mib", "MB", "mi", "m" was most likely meant to be; NULL when nothing fits. */
static const char *unit_meant(const char *suffix)
{
    static const struct {
        char letter;
        const char *binary, *decimal;
    } meant[] = {
        {'k', "Ki", "k"}, {'m', "Mi", "M"}, {'g', "Gi", "G"}, {'t', "Ti", "T"}, {'p', "Pi", "P"},
    };
    if (g_ascii_strcasecmp(suffix, "b") == 0 || g_ascii_strcasecmp(suffix, "bytes") == 0)
        return "";
    for (size_t i = 0; i < G_N_ELEMENTS(meant); i++) {
        if (g_ascii_tolower(suffix[0]) != meant[i].letter)
            continue;
        const char *rest = suffix + 1;
        if (g_ascii_strcasecmp(rest, "i") == 0 || g_ascii_strcasecmp(rest, "ib") == 0)
            return meant[i].binary;
        if (*rest == '\0' || g_ascii_strcasecmp(rest, "b") == 0)
            return meant[i].binary; /* memory and disks are counted in these, "MB" or not */
    }
    return NULL;
}

bool quantity_parse_bytes(const char *text, uint64_t *ret_bytes, GError **error)
{
    size_t digits = strspn(text, "0123456789");
    const char *suffix = text + digits;
    char *end;
    if (digits == 0) {
        g_set_error(error, OBJECT_ERROR, OBJECT_ERROR_INVALID,
                    "\"%.40s\" is no size: write digits and a unit, like 512Mi or 20Gi", text);
        return false;
    }
    const struct unit *unit = unit_find(suffix);
    if (!unit) {
        const char *meant = unit_meant(suffix);
        if (suffix[0] == '.' || suffix[0] == ',')
            g_set_error(error, OBJECT_ERROR, OBJECT_ERROR_INVALID,
                        "\"%.40s\" is no whole number: take a smaller unit, 1536Mi for 1.5Gi",
                        text);
        else if (meant)
            g_set_error(error, OBJECT_ERROR, OBJECT_ERROR_INVALID,
                        "unit \"%s\" is not known: did you mean %.*s%s?", suffix, (int)digits, text,
                        meant);
        else
            g_set_error(error, OBJECT_ERROR, OBJECT_ERROR_INVALID,
                        "unit \"%.20s\" is not known: use Ki, Mi, Gi or Ti (or k, M, G, T)",
                        suffix);
        return false;
    }
    guint64 number = g_ascii_strtoull(text, &end, 10);
    if (digits > 19 || number > (guint64)INT64_MAX / unit->bytes) {
        g_set_error(error, OBJECT_ERROR, OBJECT_ERROR_INVALID, "\"%.40s\" is too large", text);
        return false;
    }
    *ret_bytes = number * unit->bytes;
    return true;
}

char *quantity_format_bytes(uint64_t bytes)
{
    size_t best = 0;
    for (size_t i = 1; i <= 5 && bytes != 0; i++)
        if (bytes % units[i].bytes == 0)
            best = i;
    return g_strdup_printf("%" G_GUINT64_FORMAT "%s", bytes / units[best].bytes,
                           units[best].suffix);
}

char *quantity_human_bytes(uint64_t bytes)
{
    size_t unit = 0;
    while (unit < 5 && bytes >= units[unit + 1].bytes)
        unit++;
    uint64_t size = units[unit].bytes;
    uint64_t tenths = bytes / size * 10 + (bytes % size * 10 + size / 2) / size;
    if (tenths >= 10240 && unit < 5) {
        unit++;
        tenths /= 1024;
    }
    if (tenths % 10 == 0)
        return g_strdup_printf("%" G_GUINT64_FORMAT "%s", tenths / 10, units[unit].suffix);
    return g_strdup_printf("%" G_GUINT64_FORMAT ".%u%s", tenths / 10, (unsigned)(tenths % 10),
                           units[unit].suffix);
}

bool quantity_parse_percent(const char *text, uint32_t *ret_millicpus, GError **error)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || strcmp(text + digits, "%") != 0) {
        g_set_error(error, OBJECT_ERROR, OBJECT_ERROR_INVALID,
                    "\"%.40s\" is no share of a CPU: write percent of one CPU, like 50%% or 150%%",
                    text);
        return false;
    }
    guint64 percent = g_ascii_strtoull(text, NULL, 10);
    if (digits > 7 || percent < 1 || percent > 1000000) {
        g_set_error(error, OBJECT_ERROR, OBJECT_ERROR_INVALID,
                    "\"%.40s\" is out of range: 1%% to 1000000%% of one CPU", text);
        return false;
    }
    *ret_millicpus = (uint32_t)percent * 10;
    return true;
}
