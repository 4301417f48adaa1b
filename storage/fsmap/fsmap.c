#include "storage/fsmap/fsmap.h"

#include <string.h>

#include "storage/fsmap/fs_internal.h"

G_DEFINE_QUARK(drover - fs - error, fs_error)

/* NTFS before FAT: its boot sector has the same shape. */
static const struct fs_type *const types[] = {
    &fs_type_ntfs,
    &fs_type_fat,
    &fs_type_ext,
    &fs_type_swap,
};

/* Marks of what we know by name only, to say what it is that is left alone. */
static const struct {
    uint32_t offset;
    const char *bytes;
    const char *name;
} marks[] = {
    {0, "LUKS\xba\xbe", "LUKS"},
    {0, "XFSB", "XFS"},
    {3, "EXFAT   ", "exFAT"},
    {3, "-FVE-FS-", "BitLocker"},
    {3, "ReFS", "ReFS"},
    {0, "hsqs", "squashfs"},
    {32, "NXSB", "APFS"},
    {512, "LABELONE", "LVM"},
    {4096, "\xfc\x4e\x2b\xa9", "Linux RAID"},
    {32769, "CD001", "ISO 9660"},
    {65600, "_BHRfS_M", "btrfs"},
};

const char *fs_state_name(enum fs_state state)
{
    static const char *const names[FS_STATE_COUNT] = {
        [FS_MAPPED] = "mapped",   [FS_UNKNOWN] = "unknown",         [FS_UNCLEAN] = "unclean",
        [FS_DAMAGED] = "damaged", [FS_UNSUPPORTED] = "unsupported",
    };

    return names[state];
}

void fs_report_clear(struct fs_report *report)
{
    g_clear_pointer(&report->why, g_free);
}

bool fs_read(struct fs_volume *volume, uint64_t offset, void *buffer, size_t length, GError **error)
{
    if (offset > volume->length || length > volume->length - offset)
        return fs_refuse(error, FS_DAMAGED,
                         "it refers to byte %" G_GUINT64_FORMAT
                         ", beyond its end at %" G_GUINT64_FORMAT,
                         offset, volume->length);
    return block_read(volume->device, volume->offset + offset, buffer, length, error);
}

static bool pass_on(struct fs_volume *volume, GError **error)
{
    uint64_t length = volume->pending_length;

    volume->pending_length = 0;
    return length == 0 || !volume->fn ||
           volume->fn(volume->opaque, volume->offset + volume->pending_offset, length, error);
}

bool fs_give(struct fs_volume *volume, uint64_t offset, uint64_t length, GError **error)
{
    uint64_t pending_end = volume->pending_offset + volume->pending_length;

    if (length == 0)
        return true;
    if (offset > volume->length || length > volume->length - offset)
        return fs_refuse(error, FS_DAMAGED, "its free space reaches beyond its end");
    volume->free_bytes += length;
    if (volume->pending_length && pending_end == offset) {
        volume->pending_length += length;
        return true;
    }
    if (!pass_on(volume, error))
        return false;
    volume->pending_offset = offset;
    volume->pending_length = length;
    return true;
}

bool fs_refuse(GError **error, enum fs_state state, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error_literal(error, FS_ERROR, (int)state, text);
    return false;
}

static bool has_mark(struct fs_volume *volume, uint64_t offset, const char *bytes)
{
    size_t length = strlen(bytes);
    uint8_t found[16];

    return fs_read(volume, offset, found, length, NULL) && memcmp(found, bytes, length) == 0;
}

static void report_unknown(struct fs_volume *volume, struct fs_report *report)
{
    report->state = FS_UNKNOWN;
    report->type = "unknown";
    report->why = g_strdup("its file system is not known");
    for (size_t i = 0; i < G_N_ELEMENTS(marks); i++) {
        if (has_mark(volume, marks[i].offset, marks[i].bytes)) {
            report->type = marks[i].name;
            g_free(report->why);
            report->why = g_strdup_printf("free space of %s is not known", marks[i].name);
            return;
        }
    }
}

static bool walk(struct fs_volume *volume, const struct fs_type *type, struct fs_report *report,
                 GError **error)
{
    GError *local = NULL;
    bool ok;

    volume->type = type->name;
    ok = type->walk(volume, &local) && pass_on(volume, &local);
    report->type = volume->type;
    if (ok) {
        report->state = FS_MAPPED;
        report->free_bytes = volume->free_bytes;
        return true;
    }
    if (local->domain != FS_ERROR) {
        g_propagate_error(error, local);
        return false;
    }
    report->state = (enum fs_state)local->code;
    report->why = g_strdup(local->message);
    g_error_free(local);
    return true;
}

bool fs_map_free(struct block_device *device, uint64_t offset, uint64_t length, fs_free_fn fn,
                 void *opaque, struct fs_report *ret_report, GError **error)
{
    struct fs_volume volume = {
        .device = device, .offset = offset, .length = length, .fn = fn, .opaque = opaque};

    *ret_report = (struct fs_report){0};
    for (size_t i = 0; i < G_N_ELEMENTS(types); i++)
        if (types[i]->probe(&volume))
            return walk(&volume, types[i], ret_report, error);
    report_unknown(&volume, ret_report);
    return true;
}
