#include "storage/vhd_locator.h"

#include <string.h>

#include "storage/endian.h"
#include "storage/utf16.h"

#define URL_PREFIX "file://"

/* Of an alias record of version 2: big-endian. */
enum {
    ALIAS_VERSION = 6,
    ALIAS_NAME = 50, /* the file's name: its length, then up to 63 bytes */
    ALIAS_NAME_MAX = 63,
    ALIAS_TAGS = 150, /* u16 kind, u16 length, bytes padded to an even number; kind 0xffff ends */
    TAG_POSIX_PATH = 18,
    TAG_POSIX_MOUNT = 19,
    TAG_END = 0xffff,
};

static const struct {
    uint32_t code;
    bool relative; /* else it says where from the root on; MacX and Mac may say either */
} forms[VHD_LOCATOR_FORM_COUNT] = {
    [VHD_LOCATOR_W2RU] = {0x57327275, true},  [VHD_LOCATOR_WI2R] = {0x57693272, true},
    [VHD_LOCATOR_W2KU] = {0x57326b75, false}, [VHD_LOCATOR_WI2K] = {0x5769326b, false},
    [VHD_LOCATOR_MACX] = {0x4d616358, false}, [VHD_LOCATOR_MAC] = {0x4d616320, false},
};

uint32_t vhd_locator_code(enum vhd_locator_form form)
{
    return forms[form].code;
}

bool vhd_locator_form_of(uint32_t code, enum vhd_locator_form *ret_form)
{
    for (int i = 0; i < VHD_LOCATOR_FORM_COUNT; i++) {
        if (forms[i].code == code) {
            *ret_form = (enum vhd_locator_form)i;
            return true;
        }
    }
    return false;
}

/* ---- writing --------------------------------------------------------------------------------- */

static char *encode_url(const char *absolute, gsize *ret_length)
{
    char *url = g_filename_to_uri(absolute, NULL, NULL);

    if (url)
        *ret_length = strlen(url);
    return url;
}

char *vhd_locator_encode(enum vhd_locator_form form, const char *relative, const char *absolute,
                         gsize *ret_length)
{
    g_autofree char *path =
        g_strdelimit(g_strdup(forms[form].relative ? relative : absolute), "/", '\\');

    switch (form) {
    case VHD_LOCATOR_W2RU:
    case VHD_LOCATOR_W2KU:
        return utf16_encode(path, false, ret_length, NULL);
    case VHD_LOCATOR_WI2R:
    case VHD_LOCATOR_WI2K:
        *ret_length = strlen(path);
        return g_str_is_ascii(path) ? g_steal_pointer(&path) : NULL;
    case VHD_LOCATOR_MACX:
        return encode_url(absolute, ret_length);
    default:
        return NULL;
    }
}

/* ---- reading --------------------------------------------------------------------------------- */

static char *decode_wide(const uint8_t *bytes, size_t length)
{
    bool marked = length >= 2 && bytes[0] == 0xff && bytes[1] == 0xfe; /* its byte order mark */

    if (marked)
        bytes += 2, length -= 2;
    return utf16_decode(bytes, length, false);
}

/* What is no UTF-8 is taken for Latin-1, which Windows' code pages of Western Europe agree with. */
static char *decode_narrow(const uint8_t *bytes, size_t length)
{
    g_autofree char *text = g_strndup((const char *)bytes, length);
    GString *wide;

    if (g_utf8_validate(text, -1, NULL))
        return g_steal_pointer(&text);
    wide = g_string_new(NULL);
    for (const char *c = text; *c; c++)
        g_string_append_unichar(wide, (unsigned char)*c);
    return g_string_free(wide, false);
}

static char *decode_url(const uint8_t *bytes, size_t length)
{
    g_autofree char *text = g_strndup((const char *)bytes, length);
    const char *path = text + strlen(URL_PREFIX);
    char *plain;

    if (!g_str_has_prefix(text, URL_PREFIX))
        return NULL;
    if (g_str_has_prefix(path, "localhost/"))
        path += strlen("localhost");
    plain = g_uri_unescape_string(path, NULL);
    return plain ? plain : g_strdup(path); /* some write the path as it is */
}

/* The bytes of one tag; NULL when the record has none. */
static const uint8_t *find_tag(const uint8_t *bytes, size_t length, unsigned wanted,
                               size_t *ret_length)
{
    for (size_t at = ALIAS_TAGS; at + 4 <= length;) {
        unsigned kind = load_be16(bytes + at), n = load_be16(bytes + at + 2);

        at += 4;
        if (kind == TAG_END || n > length - at)
            return NULL;
        if (kind == wanted) {
            *ret_length = n;
            return bytes + at;
        }
        at += n + n % 2;
    }
    return NULL;
}

static char *decode_alias(const uint8_t *bytes, size_t length)
{
    const uint8_t *path, *mount;
    size_t path_length, mount_length, name_length;
    g_autofree char *name = NULL;

    if (length < ALIAS_TAGS || load_be16(bytes + ALIAS_VERSION) != 2)
        return NULL;
    path = find_tag(bytes, length, TAG_POSIX_PATH, &path_length);
    mount = find_tag(bytes, length, TAG_POSIX_MOUNT, &mount_length);
    if (path && mount) {
        g_autofree char *below = g_strndup((const char *)path, path_length);
        g_autofree char *volume = g_strndup((const char *)mount, mount_length);

        return g_build_filename("/", volume, below, NULL);
    }
    name_length = bytes[ALIAS_NAME];
    if (name_length == 0 || name_length > ALIAS_NAME_MAX)
        return NULL;
    /* in the Mac's own eight-bit characters, of which only ASCII is taken */
    name = g_strndup((const char *)bytes + ALIAS_NAME + 1, name_length);
    return g_str_is_ascii(name) ? g_steal_pointer(&name) : NULL;
}

/* "C:" and what follows is no path here. */
static bool has_drive(const char *path)
{
    return g_ascii_isalpha(path[0]) && path[1] == ':';
}

char *vhd_locator_decode(enum vhd_locator_form form, const uint8_t *bytes, size_t length)
{
    g_autofree char *text = NULL;
    bool is_windows = form <= VHD_LOCATOR_WI2K;

    if (is_windows && (form == VHD_LOCATOR_W2RU || form == VHD_LOCATOR_W2KU))
        text = decode_wide(bytes, length);
    else if (is_windows)
        text = decode_narrow(bytes, length);
    else
        text = form == VHD_LOCATOR_MACX ? decode_url(bytes, length) : decode_alias(bytes, length);
    if (!text || !*text)
        return NULL;
    if (is_windows) {
        g_strdelimit(text, "\\", '/');
        if (has_drive(text) || g_path_is_absolute(text) == forms[form].relative)
            return NULL;
    }
    return g_utf8_validate(text, -1, NULL) ? g_steal_pointer(&text) : NULL;
}
