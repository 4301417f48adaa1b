#include "storage/utf16.h"

#include "storage/endian.h"

char *utf16_encode(const char *text, bool big_endian, gsize *ret_length, GError **error)
{
    glong count;
    gunichar2 *units = g_utf8_to_utf16(text, -1, NULL, &count, error);
    uint8_t *bytes = (uint8_t *)units;

    if (!units)
        return NULL;
    for (glong i = 0; i < count; i++) {
        gunichar2 unit = units[i];

        if (big_endian)
            store_be16(bytes + i * 2, unit);
        else
            store_le16(bytes + i * 2, unit);
    }
    *ret_length = (gsize)count * 2;
    return (char *)units;
}

char *utf16_decode(const void *bytes, size_t length, bool big_endian)
{
    g_autofree gunichar2 *units = g_new(gunichar2, length / 2 + 1);
    const uint8_t *from = bytes;

    for (size_t i = 0; i < length / 2; i++)
        units[i] = big_endian ? load_be16(from + i * 2) : load_le16(from + i * 2);
    return g_utf16_to_utf8(units, (glong)(length / 2), NULL, NULL, NULL);
}
