#include "storage/vhd_parent.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "storage/utf16.h"
#include "storage/vhd_locator.h"

#define MAX_LOCATOR_BYTES (64u << 10)
#define VHD_EPOCH         INT64_C(946684800) /* 2000-01-01 in Unix time */

/* ---- naming -----------------------------------------------------------------------------------
 */

/* The way from folder to file, both absolute and without dots, in the form ".\a" or "..\a". */
char *vhd_relative_path(const char *folder, const char *file)
{
    g_auto(GStrv) from = g_strsplit(folder + 1, "/", -1), to = g_strsplit(file + 1, "/", -1);
    GString *path = g_string_new(NULL);
    guint same = 0;

    while (from[same] && *from[same] && to[same + 1] && strcmp(from[same], to[same]) == 0)
        same++;
    for (guint i = same; from[i] && *from[i]; i++)
        g_string_append(path, "..\\");
    if (path->len == 0)
        g_string_append(path, ".\\");
    for (guint i = same; to[i]; i++) {
        g_string_append(path, to[i]);
        if (to[i + 1])
            g_string_append_c(path, '\\');
    }
    return g_string_free(path, false);
}

/* Pads the paths to sectors, as the specification has it. */
static void add_locator(struct vhd_locator *locator, enum vhd_locator_form form, uint64_t base,
                        GByteArray *paths, const char *text, gsize length)
{
    static const uint8_t zero[BLOCK_SECTOR_SIZE];

    *locator = (struct vhd_locator){
        .code = vhd_locator_code(form), .length = (uint32_t)length, .offset = base + paths->len};
    g_byte_array_append(paths, (const uint8_t *)text, (guint)length);
    if (length % BLOCK_SECTOR_SIZE)
        g_byte_array_append(paths, zero, (guint)(BLOCK_SECTOR_SIZE - length % BLOCK_SECTOR_SIZE));
    locator->space = (uint32_t)(base + paths->len - locator->offset);
}

/* One of each form that can say it: what reads the disk may know only one of them. */
static bool add_locators(struct vhd_header *header, uint64_t base, GByteArray *paths,
                         const char *relative, const char *absolute, GError **error)
{
    struct vhd_locator *next = header->locators;

    for (int form = 0; form < VHD_LOCATOR_FORM_COUNT; form++) {
        gsize length = 0;
        g_autofree char *text = vhd_locator_encode(form, relative, absolute, &length);

        if (text && length <= MAX_LOCATOR_BYTES)
            add_locator(next++, form, base, paths, text, length);
    }
    if (header->locators[0].code == vhd_locator_code(VHD_LOCATOR_W2RU))
        return true;
    g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_ARGUMENT,
                "its path \"%s\" is no UTF-8, or longer than 64 KiB", absolute);
    return false;
}

static bool set_name(struct vhd_header *header, const char *path, GError **error)
{
    g_autofree char *name = g_path_get_basename(path);
    g_autofree char *text = NULL;
    gsize length;

    text = utf16_encode(name, true, &length, error);
    if (!text)
        return false;
    memset(header->parent_name, 0, VHD_NAME_BYTES);
    memcpy(header->parent_name, text, MIN(length, VHD_NAME_BYTES));
    return true;
}

/* Seconds since 2000; 0 when unknown. */
static uint32_t file_timestamp(struct block_device *device)
{
    struct stat st;

    if (stat(block_path(device), &st) < 0 || st.st_mtime < VHD_EPOCH)
        return 0;
    return (uint32_t)(st.st_mtime - VHD_EPOCH);
}

bool vhd_parent_touched(const struct vhd_header *header, struct block_device *parent)
{
    return header->parent_timestamp != file_timestamp(parent);
}

/* A parent without an id could not be told from another disk. */
static bool set_identity(struct vhd_header *header, struct block_device *parent, GError **error)
{
    static const uint8_t none[16];
    struct block_info info = {0};

    if (parent->driver->get_info)
        parent->driver->get_info(parent, &info);
    if (memcmp(info.unique_id, none, 16) == 0) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_ARGUMENT,
                    "%s is a %s image, which has no id to know it by; convert it to a VHD first",
                    block_path(parent), parent->driver->name);
        return false;
    }
    memcpy(header->parent_id, info.unique_id, 16);
    header->parent_timestamp = file_timestamp(parent);
    memset(header->locators, 0, sizeof(header->locators));
    return true;
}

GByteArray *vhd_parent_describe(struct vhd_header *header, uint64_t base, const char *child_path,
                                struct block_device *parent, GError **error)
{
    g_autofree char *child_folder = g_path_get_dirname(child_path);
    char *folder = realpath(child_folder, NULL), *file = realpath(block_path(parent), NULL);
    g_autofree char *relative = folder && file ? vhd_relative_path(folder, file) : NULL;
    GByteArray *paths = g_byte_array_new();
    bool ok = false;

    if (!relative)
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_IO, "cannot find out where %s and %s lie",
                    child_path, block_path(parent));
    else if (strchr(file, '\\') || strchr(relative, '/'))
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_ARGUMENT,
                    "%s cannot be a parent: a VHD takes a backslash in its path for a slash",
                    block_path(parent));
    else
        ok = set_identity(header, parent, error) && set_name(header, file, error) &&
             add_locators(header, base, paths, relative, file, error);
    free(folder);
    free(file);
    if (ok)
        return paths;
    g_prefix_error(error, "cannot name the parent: ");
    g_byte_array_unref(paths);
    return NULL;
}

/* ---- finding ----------------------------------------------------------------------------------
 */

/* The path of a locator; NULL when it cannot be read. */
static char *read_locator(struct host_file *file, const struct vhd_locator *locator)
{
    enum vhd_locator_form form;
    g_autofree uint8_t *raw = NULL;

    if (!vhd_locator_form_of(locator->code, &form) || locator->length == 0 ||
        locator->length > MAX_LOCATOR_BYTES)
        return NULL;
    raw = g_malloc(locator->length);
    if (!host_file_read(file, locator->offset, raw, locator->length, NULL))
        return NULL;
    return vhd_locator_decode(form, raw, locator->length);
}

/* The last part of the parent's name, which some writers give with its folders. */
static char *read_name(const struct vhd_header *header)
{
    g_autofree char *text = NULL;
    gsize length = 0;

    while (length < VHD_NAME_BYTES &&
           (header->parent_name[length] || header->parent_name[length + 1]))
        length += 2;
    text = utf16_decode(header->parent_name, length, true);
    if (!text || !*text)
        return NULL;
    return g_path_get_basename(g_strdelimit(text, "\\", '/'));
}

/* The paths of the locators of one form that are, or are not, absolute. */
static void add_candidates(GPtrArray *all, struct block_device *child,
                           const struct vhd_header *header, uint32_t code, bool absolute)
{
    g_autofree char *folder = g_path_get_dirname(block_path(child));

    for (int i = 0; i < VHD_LOCATORS; i++) {
        g_autofree char *text = NULL;

        if (header->locators[i].code != code)
            continue;
        text = read_locator(child->file, &header->locators[i]);
        if (!text || g_path_is_absolute(text) != absolute)
            continue;
        if (absolute)
            g_ptr_array_add(all, g_steal_pointer(&text));
        else
            g_ptr_array_add(all, g_build_filename(
                                     folder, g_str_has_prefix(text, "./") ? text + 2 : text, NULL));
    }
}

/* A chain that is moved as a whole is found by the relative ones, so these come first. */
static GPtrArray *candidates(struct block_device *child, const struct vhd_header *header)
{
    g_autofree char *folder = g_path_get_dirname(block_path(child));
    GPtrArray *all = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *name = read_name(header);

    for (int absolute = 0; absolute < 2; absolute++)
        for (int form = 0; form < VHD_LOCATOR_FORM_COUNT; form++)
            add_candidates(all, child, header, vhd_locator_code(form), absolute);
    if (name)
        g_ptr_array_add(all, g_build_filename(folder, name, NULL));
    return all;
}

bool vhd_parent_renamed(const struct vhd_header *header, struct block_device *parent)
{
    g_autofree char *known = read_name(header), *name = g_path_get_basename(block_path(parent));
    g_autofree char *a = known ? g_utf8_casefold(known, -1) : NULL; /* as Windows compares them */
    g_autofree char *valid = g_utf8_make_valid(name, -1), *b = g_utf8_casefold(valid, -1);

    return a && strcmp(a, b) != 0;
}

static char *id_text(const uint8_t id[16])
{
    GString *text = g_string_new(NULL);

    for (int i = 0; i < 16; i++)
        g_string_append_printf(text, "%02x%s", id[i],
                               i == 3 || i == 5 || i == 7 || i == 9 ? "-" : "");
    return g_string_free(text, false);
}

static bool check_id(struct block_device *child, const struct vhd_header *header,
                     struct block_device *parent, GError **error)
{
    g_autofree char *wanted = id_text(header->parent_id), *found = NULL;
    struct block_info info = {0};

    if (parent->driver->get_info)
        parent->driver->get_info(parent, &info);
    if (memcmp(info.unique_id, header->parent_id, 16) == 0)
        return true;
    found = id_text(info.unique_id);
    g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_FORMAT,
                "%s was made upon a disk with id %s, but %s has id %s: it is another disk",
                block_path(child), wanted, block_path(parent), found);
    return false;
}

static struct block_device *try_candidate(struct block_device *child,
                                          const struct vhd_header *header, const char *path,
                                          GError **error)
{
    struct block_device *parent = block_open_parent(path, child, error);

    if (!parent || check_id(child, header, parent, error))
        return parent;
    block_abandon(parent);
    return NULL;
}

struct block_device *vhd_parent_open(struct block_device *child, const struct vhd_header *header,
                                     GError **error)
{
    GPtrArray *paths = candidates(child, header);
    struct block_device *parent = NULL;
    bool found = false;

    /* The first that is there decides. Going on after a failure would let a hostile chain make us
     * try every combination of every disk's locators. */
    for (guint i = 0; i < paths->len && !found; i++) {
        found = g_file_test(paths->pdata[i], G_FILE_TEST_EXISTS);
        if (found)
            parent = try_candidate(child, header, paths->pdata[i], error);
    }
    if (!found) {
        g_autofree char *id = id_text(header->parent_id);

        g_ptr_array_add(paths, NULL);
        g_autofree char *list = g_strjoinv(", ", (char **)paths->pdata);

        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_IO,
                    "cannot open %s: its parent (id %s) is not where it was; looked for: %s",
                    block_path(child), id, *list ? list : "nothing, for it names none");
    }
    g_ptr_array_unref(paths);
    return parent;
}
