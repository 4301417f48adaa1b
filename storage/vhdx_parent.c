/*
 * How a differencing VHDX names its parent (2.6.2.6), and how the parent is found again.
 *
 * The locator is a list of keys and values. parent_linkage is the parent's data write GUID, as it
 * was when the child was made: a parent that was written since is another disk. relative_path
 * counts from the child's folder; absolute_win32_path, when it begins with a backslash, is a path
 * of ours.
 */
#include <stdlib.h>
#include <string.h>

#include "storage/endian.h"
#include "storage/utf16.h"
#include "storage/vhd_parent.h"
#include "storage/vhdx.h"

#define MAX_LOCATOR (64u << 10)
#define HEAD_BYTES  20u
#define ENTRY_BYTES 12u

static const uint8_t locator_type[VHDX_GUID_BYTES] = {
    0xb7, 0xef, 0x4a, 0xb0, 0x9e, 0xd1, 0x81, 0x4a, 0xb7, 0x89, 0x25, 0xb8, 0xe9, 0x44, 0x59, 0x13,
};

/* ---- naming -----------------------------------------------------------------------------------
 */

static bool add_text(GByteArray *out, const char *text, uint32_t *ret_offset, uint16_t *ret_length,
                     GError **error)
{
    g_autofree char *wide = NULL;
    gsize length;

    wide = utf16_encode(text, false, &length, error);
    if (!wide)
        return false;
    if (length > UINT16_MAX) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_ARGUMENT, "the parent's path is too long");
        return false;
    }
    *ret_offset = out->len;
    *ret_length = (uint16_t)length;
    g_byte_array_append(out, (const uint8_t *)wide, (guint)length);
    return true;
}

static GByteArray *encode(const char *const pairs[][2], uint16_t count, GError **error)
{
    GByteArray *out = g_byte_array_new();

    g_byte_array_set_size(out, HEAD_BYTES + count * ENTRY_BYTES);
    memset(out->data, 0, out->len);
    memcpy(out->data, locator_type, VHDX_GUID_BYTES);
    store_le16(out->data + 18, count);
    for (uint16_t i = 0; i < count; i++) {
        uint32_t offsets[2];
        uint16_t lengths[2];
        uint8_t *entry;

        if (!add_text(out, pairs[i][0], &offsets[0], &lengths[0], error) ||
            !add_text(out, pairs[i][1], &offsets[1], &lengths[1], error)) {
            g_byte_array_unref(out);
            return NULL;
        }
        entry = out->data + HEAD_BYTES + i * ENTRY_BYTES;
        store_le32(entry, offsets[0]);
        store_le32(entry + 4, offsets[1]);
        store_le16(entry + 8, lengths[0]);
        store_le16(entry + 10, lengths[1]);
    }
    return out;
}

static bool is_vhdx(const struct block_device *device)
{
    return device->driver == &block_driver_vhdx_fixed ||
           device->driver == &block_driver_vhdx_dynamic ||
           device->driver == &block_driver_vhdx_differencing;
}

GByteArray *vhdx_parent_describe(const char *child_path, struct block_device *parent,
                                 GError **error)
{
    g_autofree char *child_folder = g_path_get_dirname(child_path), *linkage = NULL;
    g_autofree char *relative = NULL, *absolute = NULL, *next = NULL;
    char *folder, *file;

    if (!is_vhdx(parent)) {
        g_set_error(
            error, BLOCK_ERROR, BLOCK_ERROR_ARGUMENT,
            "%s cannot be the parent of %s: a differencing VHDX stands on a VHDX, and it is "
            "%s",
            block_path(parent), child_path, parent->driver->name);
        return NULL;
    }
    folder = realpath(child_folder, NULL);
    file = realpath(block_path(parent), NULL);
    if (folder && file) {
        relative = vhd_relative_path(folder, file);
        absolute = g_strdelimit(g_strdup(file), "/", '\\');
    }
    if (!relative || strchr(file, '\\') || strchr(relative, '/'))
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_ARGUMENT,
                    "%s cannot be a parent: a VHDX takes a backslash in its path for a slash",
                    block_path(parent));
    else
        linkage = vhdx_guid_text(vhdx_of(parent)->header.data_write_guid);
    free(folder);
    free(file);
    if (!linkage)
        return NULL;
    if (!vhdx_guid_is_zero(vhdx_of(parent)->next_data_guid))
        next = vhdx_guid_text(vhdx_of(parent)->next_data_guid);
    return encode((const char *const[][2]){{"parent_linkage", linkage},
                                           {"relative_path", relative},
                                           {"absolute_win32_path", absolute},
                                           {"parent_linkage2", next}},
                  next ? 4 : 3, error);
}

/* ---- finding ----------------------------------------------------------------------------------
 */

/* The value of a key, with slashes; NULL when there is none, or it is not to be read. */
static char *find_value(const uint8_t *raw, uint32_t length, const char *wanted)
{
    uint32_t count = load_le16(raw + 18);

    for (uint32_t i = 0; i < count && HEAD_BYTES + (i + 1) * ENTRY_BYTES <= length; i++) {
        const uint8_t *entry = raw + HEAD_BYTES + i * ENTRY_BYTES;
        uint32_t key = load_le32(entry), value = load_le32(entry + 4);
        uint32_t key_length = load_le16(entry + 8), value_length = load_le16(entry + 10);
        g_autofree char *name = NULL;

        if (key > length || key_length > length - key || value > length ||
            value_length > length - value)
            continue;
        name = utf16_decode(raw + key, key_length, false);
        if (name && strcmp(name, wanted) == 0)
            return utf16_decode(raw + value, value_length, false);
    }
    return NULL;
}

static char *candidate(struct vhdx *child, const uint8_t *raw, uint32_t length, bool relative)
{
    g_autofree char *folder = g_path_get_dirname(block_path(&child->device));
    g_autofree char *text =
        find_value(raw, length, relative ? "relative_path" : "absolute_win32_path");
    const char *path = text;

    if (!text || !*text)
        return NULL;
    g_strdelimit(text, "\\", '/');
    if (g_str_has_prefix(path, "//?/")) /* Windows' mark of a path that is not to be interpreted */
        path += 3;
    if (relative == g_path_is_absolute(path))
        return NULL;
    if (!relative)
        return g_strdup(path);
    return g_build_filename(folder, g_str_has_prefix(path, "./") ? path + 2 : path, NULL);
}

/* Whether the parent is as the child knew it, or as a merge was to make it. */
static bool is_linked(const struct vhdx *parent, const uint8_t *raw, uint32_t length)
{
    static const char *const keys[] = {"parent_linkage", "parent_linkage2"};
    g_autofree char *found = vhdx_guid_text(parent->header.data_write_guid);

    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
        g_autofree char *linkage = find_value(raw, length, keys[i]);

        if (linkage && g_ascii_strcasecmp(found, linkage) == 0)
            return true;
    }
    return false;
}

static bool check_linked(struct vhdx *child, struct block_device *parent, const uint8_t *raw,
                         uint32_t length, GError **error)
{
    if (!is_vhdx(parent))
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_FORMAT,
                    "%s names %s as its parent, which is no VHDX", block_path(&child->device),
                    block_path(parent));
    else if (!is_linked(vhdx_of(parent), raw, length))
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_FORMAT,
                    "%s was made upon another disk than %s, or that was written since (its data "
                    "write GUID is not the one the child knows)",
                    block_path(&child->device), block_path(parent));
    else
        return true;
    return false;
}

/* Before the parent may be written: the child learns what it will be then. */
static bool prepare_merge(struct vhdx *child, struct block_device *parent, GError **error)
{
    g_autoptr(GByteArray) locator = NULL;

    if (child->device.read_only || parent->read_only)
        return true;
    vhdx_guid_new(vhdx_of(parent)->next_data_guid);
    locator = vhdx_parent_describe(block_path(&child->device), parent, error);
    return locator && vhdx_store_locator(child, locator, error);
}

static struct block_device *open_candidate(struct vhdx *child, const char *path, const uint8_t *raw,
                                           uint32_t length, GError **error)
{
    struct block_device *parent = block_open_parent(path, &child->device, error);

    if (!parent)
        return NULL;
    if (check_linked(child, parent, raw, length, error) && prepare_merge(child, parent, error))
        return parent;
    block_abandon(parent);
    return NULL;
}

struct block_device *vhdx_parent_open(struct vhdx *child, GError **error)
{
    struct vhdx_range place = child->metadata.locator;
    g_autofree char *linkage = NULL, *relative = NULL, *absolute = NULL;
    g_autofree uint8_t *raw = NULL;
    const char *path;

    if (place.length < HEAD_BYTES || place.length > MAX_LOCATOR) {
        vhdx_damaged(child->device.file, error, "its parent locator has an impossible size");
        return NULL;
    }
    raw = g_malloc(place.length);
    if (!vhdx_view_read(&child->view, place.offset, raw, place.length, error))
        return NULL;
    linkage = find_value(raw, place.length, "parent_linkage");
    if (memcmp(raw, locator_type, VHDX_GUID_BYTES) != 0 || !linkage) {
        vhdx_damaged(child->device.file, error, "its parent locator is of no known kind");
        return NULL;
    }
    relative = candidate(child, raw, place.length, true);
    absolute = candidate(child, raw, place.length, false);
    /* the first that is there decides, so that a hostile chain does not branch */
    path = relative && g_file_test(relative, G_FILE_TEST_EXISTS) ? relative : absolute;
    if (path && g_file_test(path, G_FILE_TEST_EXISTS))
        return open_candidate(child, path, raw, place.length, error);
    g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_IO,
                "cannot open %s: its parent (state %s) is not where it was; looked for: %s, %s",
                block_path(&child->device), linkage, relative ? relative : "nothing near it",
                absolute ? absolute : "no path of this system");
    return NULL;
}
