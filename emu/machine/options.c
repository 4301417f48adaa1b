#include "emu/machine/options.h"

#include "emu/core/memory.h"
#include "emu/cpu/cpu.h"
#include "emu/machine/line.h"
#include "storage/size.h"
#include <gio/gio.h>
#include <string.h>

G_GNUC_PRINTF(2, 3)
static bool fail(GError **error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_set_error_literal(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, text);
    return false;
}

/* Of the form of a size, but none that there is: 0M, or more than 64 bits hold. */
static bool is_size_out_of_range(const char *text)
{
    g_autofree char *one = g_strconcat("1", text + strspn(text, "0123456789"), NULL);
    uint64_t bytes;
    return size_parse(one, &bytes, NULL);
}

/* A size of whole MiB between two bounds. */
static bool parse_size(const char *option, const char *text, uint64_t least, uint64_t most,
                       uint64_t *ret_bytes, GError **error)
{
    uint64_t bytes = 0;
    if (strspn(text, "0123456789") == strlen(text) && *text)
        return fail(error, "--%s %s: the unit is missing; for MiB write %sM", option, text, text);
    if (!g_ascii_isdigit(text[0]) ||
        (!size_parse(text, &bytes, NULL) && !is_size_out_of_range(text)))
        return fail(error, "--%s %s: give a number with a unit of K, M, G or T, as 512M", option,
                    text);
    if (bytes % (1 << 20) || bytes < least || bytes > most) {
        g_autofree char *top =
            most >> 40 ? g_strdup("1T") : g_strdup_printf("%" G_GUINT64_FORMAT "M", most >> 20);
        return fail(error, "--%s %s: give whole MiB, from %" G_GUINT64_FORMAT "M to %s", option,
                    text, least >> 20, top);
    }
    *ret_bytes = bytes;
    return true;
}

bool options_parse_memory(const char *text, uint64_t *ret_bytes, GError **error)
{
    return parse_size("memory", text, 1 << 20, MEMORY_MAX_RAM, ret_bytes, error);
}

bool options_parse_code_cache(const char *text, uint64_t *ret_bytes, GError **error)
{
    return parse_size("code-cache", text, CPU_CODE_CACHE_MIN, CPU_CODE_CACHE_MAX, ret_bytes, error);
}

/* Splits at single commas; two of them are one that belongs to the text. */
static GPtrArray *split(const char *text)
{
    GPtrArray *parts = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GString) part = g_string_new(NULL);
    for (const char *c = text; *c; c++) {
        if (*c != ',') {
            g_string_append_c(part, *c);
        } else if (c[1] == ',') {
            g_string_append_c(part, ',');
            c++;
        } else {
            g_ptr_array_add(parts, g_strdup(part->str));
            g_string_truncate(part, 0);
        }
    }
    g_ptr_array_add(parts, g_strdup(part->str));
    return parts;
}

static bool parse_switch(const char *value, bool *ret_value)
{
    *ret_value = strcmp(value, "on") == 0;
    return *ret_value || strcmp(value, "off") == 0;
}

/* Bytes with a unit or without, operations as a number. */
static bool parse_limit(const char *text, const char *key, const char *value,
                        struct block_limits *limits, GError **error)
{
    const struct {
        const char *key;
        bool bytes;
        uint64_t *limit;
    } keys[] = {
        {"bps", true, &limits->bytes_per_second},
        {"bps-burst", true, &limits->bytes_burst},
        {"iops", false, &limits->operations_per_second},
        {"iops-burst", false, &limits->operations_burst},
    };
    for (guint i = 0; i < G_N_ELEMENTS(keys); i++) {
        guint64 number;
        if (strcmp(key, keys[i].key) != 0)
            continue;
        if (keys[i].bytes)
            return size_parse(value, keys[i].limit, NULL) ||
                   fail(error, "--disk %s: %s is a number of bytes, as 20M, not \"%s\"", text, key,
                        value);
        if (!g_ascii_string_to_unsigned(value, 10, 1, UINT32_MAX, &number, NULL))
            return fail(error, "--disk %s: %s is a number of operations, not \"%s\"", text, key,
                        value);
        *keys[i].limit = number;
        return true;
    }
    return fail(
        error,
        "--disk %s: \"%s\" is not known; use file=PATH, bus=ide or virtio, format=vhd or "
        "raw, readonly=on or off, chain=on or off, undo=commit, keep or discard, bps=SIZE, iops=N, "
        "bps-burst=SIZE, iops-burst=N",
        text, key);
}

/* What goes only together, or not. */
static bool check_disk(const char *text, const struct machine_disk *disk, GError **error)
{
    const struct block_limits *l = &disk->limits;
    if (disk->undo && disk->read_only)
        return fail(error, "--disk %s: a read-only disk needs no undo disk", text);
    if (disk->undo && disk->raw)
        return fail(error,
                    "--disk %s: an undo disk stands on a VHD or VHDX; convert it first with "
                    "drover-vhd convert",
                    text);
    if ((l->bytes_burst && !l->bytes_per_second) ||
        (l->operations_burst && !l->operations_per_second))
        return fail(error,
                    "--disk %s: a burst goes with its rate: bps-burst with bps, iops-burst "
                    "with iops",
                    text);
    return true;
}

static bool parse_disk_part(const char *text, const char *key, const char *value,
                            struct machine_disk *disk, char **file, GError **error)
{
    if (strcmp(key, "file") == 0 && *value) {
        g_free(*file);
        *file = g_strdup(value);
        return true;
    }
    if (strcmp(key, "bus") == 0) {
        for (unsigned bus = 0; bus < MACHINE_BUS_COUNT; bus++) {
            if (strcmp(value, machine_bus_name(bus)) == 0) {
                disk->bus = bus;
                return true;
            }
        }
        return fail(error, "--disk %s: bus \"%s\" is not known; use ide or virtio", text, value);
    }
    if (strcmp(key, "format") == 0) {
        disk->raw = strcmp(value, "raw") == 0;
        return disk->raw || strcmp(value, "vhd") == 0 ||
               fail(error, "--disk %s: format \"%s\" is not known; use vhd or raw", text, value);
    }
    if (strcmp(key, "readonly") == 0)
        return parse_switch(value, &disk->read_only) ||
               fail(error, "--disk %s: readonly is on or off, not \"%s\"", text, value);
    if (strcmp(key, "chain") == 0)
        return parse_switch(value, &disk->chain) ||
               fail(error, "--disk %s: chain is on or off, not \"%s\"", text, value);
    if (strcmp(key, "undo") == 0) {
        disk->undo = block_undo_parse(value, &disk->undo_action);
        return disk->undo ||
               fail(error, "--disk %s: undo is commit, keep or discard, not \"%s\"", text, value);
    }
    return parse_limit(text, key, value, &disk->limits, error);
}

bool options_parse_disk(const char *text, struct machine_disk *ret_disk, GError **error)
{
    g_autoptr(GPtrArray) parts = split(text);
    g_autofree char *file = NULL;
    struct machine_disk disk = {.bus = MACHINE_BUS_IDE};
    for (guint i = 0; i < parts->len; i++) {
        char *part = g_ptr_array_index(parts, i), *equals = strchr(part, '=');
        if (!equals)
            return fail(error, "--disk %s: \"%s\" has no value; write file=PATH,bus=ide", text,
                        part);
        *equals = '\0';
        if (!parse_disk_part(text, part, equals + 1, &disk, &file, error))
            return false;
    }
    if (!file)
        return fail(error, "--disk %s: the file is missing; write file=PATH,bus=ide", text);
    if (!check_disk(text, &disk, error))
        return false;
    *ret_disk = disk;
    ret_disk->file = g_steal_pointer(&file);
    return true;
}

bool options_parse_floppy(const char *text, struct machine_floppy *ret_floppy, GError **error)
{
    g_autoptr(GPtrArray) parts = split(text);
    struct machine_floppy floppy = {0};
    for (guint i = 1; i < parts->len; i++) {
        const char *part = g_ptr_array_index(parts, i);
        if (!g_str_has_prefix(part, "readonly=") || !parse_switch(part + 9, &floppy.read_only))
            return fail(error, "--floppy %s: give FILE[,readonly=on] or none", text);
    }
    const char *file = g_ptr_array_index(parts, 0);
    if (!*file)
        return fail(error, "--floppy %s: the file is missing; for an empty drive write none", text);
    if (strcmp(file, "none") != 0)
        floppy.file = g_strdup(file);
    *ret_floppy = floppy;
    return true;
}

bool options_parse_port(const char *text, struct machine_port *ret_port, GError **error)
{
    const char *equals = strchr(text, '=');
    if (!equals || equals == text || equals - text > 60 || !line_check(equals + 1) ||
        strcmp(equals + 1, "stdio") == 0)
        return fail(
            error,
            "--port %s: give NAME=unix:PATH, NAME=file:PATH or NAME=none, the name of up to "
            "60 characters",
            text);
    *ret_port =
        (struct machine_port){g_strndup(text, (gsize)(equals - text)), g_strdup(equals + 1)};
    return true;
}

bool options_parse_count(const char *option, const char *text, unsigned maximum,
                         unsigned *ret_count, GError **error)
{
    guint64 number;
    if (!g_ascii_string_to_unsigned(text, 10, 1, maximum, &number, NULL))
        return fail(error, "--%s %s: give a number from 1 to %u", option, text, maximum);
    *ret_count = (unsigned)number;
    return true;
}

bool options_check_uuid(const char *text, GError **error)
{
    return g_uuid_string_is_valid(text) ||
           fail(error, "--uuid %s: give it as 01234567-89ab-cdef-0123-456789abcdef", text);
}

bool options_check_boot_order(const char *text, GError **error)
{
    bool seen[256] = {false};
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (!strchr("acdn", *c) || seen[*c])
            return fail(error,
                        "--boot-order %s: give letters, each once: a floppy, c disk, d CD, "
                        "n network",
                        text);
        seen[*c] = true;
    }
    return *text || fail(error, "--boot-order: give letters, as cd");
}

bool options_check_name(const char *option, const char *value, const char *const *names,
                        GError **error)
{
    if (g_strv_contains(names, value))
        return true;
    g_autofree char *known = g_strjoinv(", ", (char **)names);
    return fail(error, "--%s %s: not known; this build has %s", option, value, known);
}
