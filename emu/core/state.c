/*
 * A section:  "DVST" | version u32 | name length u32 | payload length u64 | name | payload
 * A payload is fields one after the other:
 *             name length u16 | kind u8 | reserved u8 | size u32 | count u64 | data length u64 |
 *             name | data
 * All integers are little endian. A structure's data is `count` payloads, each after its u64
 * length.
 */
#include "emu/core/state.h"

#include "emu/core/bytes.h"
#include <gio/gio.h>
#include <string.h>

#define SECTION_MAGIC  0x54535644u /* "DVST" */
#define SECTION_HEADER 20u
#define FIELD_HEADER   24u

static void put(GByteArray *out, uint64_t value, unsigned size)
{
    g_byte_array_append(out, (const guint8 *)&value, size);
}

/* ---- saving ------------------------------------------------------------------------------ */

static void save_fields(GByteArray *out, const struct state_field *fields, const uint8_t *object);

static void save_data(GByteArray *out, const struct state_field *field, const uint8_t *object)
{
    const uint8_t *at = object + field->offset;
    switch (field->kind) {
    case STATE_KIND_UINT:
        g_byte_array_append(out, at, (guint)(field->size * field->count));
        break;
    case STATE_KIND_BYTES:
        g_byte_array_append(out, at, (guint)field->count);
        break;
    case STATE_KIND_BUFFER:
        g_byte_array_append(out, *(uint8_t *const *)at, (guint)field->count);
        break;
    case STATE_KIND_STRUCT:
        for (size_t i = 0; i < field->count; i++) {
            guint length_at = out->len;
            put(out, 0, 8);
            save_fields(out, field->fields, at + i * field->size);
            bytes_store(out->data + length_at, out->len - length_at - 8, 8);
        }
        break;
    default:
        break;
    }
}

static void save_fields(GByteArray *out, const struct state_field *fields, const uint8_t *object)
{
    for (const struct state_field *field = fields; field->kind != STATE_KIND_END; field++) {
        size_t name_length = strlen(field->name);
        put(out, name_length, 2);
        put(out, field->kind, 1);
        put(out, 0, 1);
        /* A structure's size in memory is no business of the file. */
        put(out, field->kind == STATE_KIND_UINT ? field->size : 0, 4);
        put(out, field->count, 8);
        guint length_at = out->len;
        put(out, 0, 8);
        g_byte_array_append(out, (const guint8 *)field->name, (guint)name_length);
        guint data_at = out->len;
        save_data(out, field, object);
        bytes_store(out->data + length_at, out->len - data_at, 8);
    }
}

void state_save(GByteArray *out, const char *name, unsigned version,
                const struct state_field *fields, const void *object)
{
    size_t name_length = strlen(name);
    put(out, SECTION_MAGIC, 4);
    put(out, version, 4);
    put(out, name_length, 4);
    guint length_at = out->len;
    put(out, 0, 8);
    g_byte_array_append(out, (const guint8 *)name, (guint)name_length);
    guint payload_at = out->len;
    save_fields(out, fields, object);
    bytes_store(out->data + length_at, out->len - payload_at, 8);
}

/* ---- loading ----------------------------------------------------------------------------- */

struct reader {
    const uint8_t *bytes;
    size_t left;
    const char *section;
};

G_GNUC_PRINTF(3, 4)
static bool fail(const struct reader *reader, GError **error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA, "saved state, section %s: %s",
                reader->section, text);
    return false;
}

static const uint8_t *take(struct reader *reader, uint64_t length)
{
    if (length > reader->left)
        return NULL;
    const uint8_t *at = reader->bytes;
    reader->bytes += length;
    reader->left -= (size_t)length;
    return at;
}

static const struct state_field *find_field(const struct state_field *fields, const char *name)
{
    for (; fields->kind != STATE_KIND_END; fields++) {
        if (strcmp(fields->name, name) == 0)
            return fields;
    }
    return NULL;
}

static bool load_fields(struct reader *reader, const struct state_field *fields, uint8_t *object,
                        GError **error);

static bool load_structs(struct reader *data, const struct state_field *field, uint8_t *at,
                         GError **error)
{
    for (size_t i = 0; i < field->count; i++) {
        const uint8_t *length = take(data, 8);
        struct reader inner = {NULL, length ? (size_t)bytes_load(length, 8) : 0, data->section};
        inner.bytes = length ? take(data, inner.left) : NULL;
        if (!inner.bytes)
            return fail(data, error, "field %s is cut short", field->name);
        if (!load_fields(&inner, field->fields, at + i * field->size, error))
            return false;
    }
    return true;
}

static bool load_data(struct reader *data, const struct state_field *field, uint8_t *object,
                      GError **error)
{
    uint8_t *at = object + field->offset;
    if (field->kind == STATE_KIND_STRUCT)
        return load_structs(data, field, at, error);
    size_t length = field->kind == STATE_KIND_UINT ? field->size * field->count : field->count;
    if (data->left != length)
        return fail(data, error, "field %s has %zu bytes where %zu are expected", field->name,
                    data->left, length);
    if (field->kind == STATE_KIND_BUFFER)
        at = *(uint8_t **)at;
    memcpy(at, data->bytes, length);
    return true;
}

static bool load_fields(struct reader *reader, const struct state_field *fields, uint8_t *object,
                        GError **error)
{
    while (reader->left > 0) {
        const uint8_t *header = take(reader, FIELD_HEADER);
        const uint8_t *name_at = header ? take(reader, bytes_load(header, 2)) : NULL;
        if (!name_at)
            return fail(reader, error, "a field's header is cut short");
        g_autofree char *name = g_strndup((const char *)name_at, bytes_load(header, 2));
        struct reader data = {NULL, (size_t)bytes_load(header + 16, 8), reader->section};
        data.bytes = take(reader, data.left);
        if (!data.bytes)
            return fail(reader, error, "field %s is cut short", name);
        const struct state_field *field = find_field(fields, name);
        if (!field)
            return fail(reader, error, "field %s is unknown to this version of drover-emu", name);
        if (header[2] != field->kind || bytes_load(header + 8, 8) != field->count ||
            (field->kind == STATE_KIND_UINT && bytes_load(header + 4, 4) != field->size))
            return fail(reader, error, "field %s has another type or size than expected", name);
        if (!load_data(&data, field, object, error))
            return false;
    }
    return true;
}

/* The section at the reader: its name, version and payload. False when it is damaged. */
static bool take_section(struct reader *reader, const uint8_t **ret_name, size_t *ret_name_length,
                         unsigned *ret_version, struct reader *ret_payload)
{
    const uint8_t *header = take(reader, SECTION_HEADER);
    if (!header || bytes_load(header, 4) != SECTION_MAGIC)
        return false;
    *ret_name_length = (size_t)bytes_load(header + 8, 4);
    *ret_name = take(reader, *ret_name_length);
    uint64_t length = bytes_load(header + 12, 8);
    if (!*ret_name)
        return false;
    *ret_version = (unsigned)bytes_load(header + 4, 4);
    *ret_payload = (struct reader){take(reader, length), (size_t)length, reader->section};
    return ret_payload->bytes != NULL;
}

bool state_load(GBytes *section, const char *name, unsigned version,
                const struct state_field *fields, void *object, GError **error)
{
    struct reader reader = {NULL, 0, name}, payload;
    reader.bytes = g_bytes_get_data(section, &reader.left);
    const uint8_t *found;
    size_t found_length;
    unsigned found_version;
    if (!take_section(&reader, &found, &found_length, &found_version, &payload))
        return fail(&reader, error, "the section's header is damaged");
    if (found_length != strlen(name) || memcmp(found, name, found_length) != 0)
        return fail(&reader, error, "the section is of something else");
    if (found_version > version)
        return fail(&reader, error, "version %u is newer than %u, the newest known here",
                    found_version, version);
    return load_fields(&payload, fields, object, error);
}

GBytes *state_find(GBytes *image, const char *name, unsigned *ret_version)
{
    struct reader reader = {NULL, 0, name}, payload;
    reader.bytes = g_bytes_get_data(image, &reader.left);
    const uint8_t *start = reader.bytes;
    while (reader.left > 0) {
        const uint8_t *begin = reader.bytes, *found;
        size_t found_length;
        unsigned version;
        if (!take_section(&reader, &found, &found_length, &version, &payload))
            return NULL;
        if (found_length != strlen(name) || memcmp(found, name, found_length) != 0)
            continue;
        if (ret_version)
            *ret_version = version;
        return g_bytes_new_from_bytes(image, (gsize)(begin - start), (gsize)(reader.bytes - begin));
    }
    return NULL;
}

char *state_next(GBytes *image, gsize *at)
{
    struct reader reader = {NULL, 0, ""}, payload;
    const uint8_t *name, *start = g_bytes_get_data(image, &reader.left);
    size_t length;
    unsigned version;
    reader.bytes = start + *at;
    reader.left -= MIN(*at, reader.left);
    if (!take_section(&reader, &name, &length, &version, &payload))
        return NULL;
    *at = (gsize)(reader.bytes - start);
    return g_strndup((const char *)name, length);
}
