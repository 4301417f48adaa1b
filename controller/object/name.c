#include "controller/object/name.h"
#include "controller/object/error.h"

#include <string.h>

#define NAME_MAX_LENGTH 63

static bool fail(GError **error, const char *text, const char *rule)
{
    g_set_error(error, OBJECT_ERROR, OBJECT_ERROR_INVALID, "\"%.80s\" %s", text, rule);
    return false;
}

bool name_check(const char *text, GError **error)
{
    size_t length = strlen(text);
    if (length == 0 || length > NAME_MAX_LENGTH)
        return fail(error, text, "is no name: a name has 1 to 63 characters");
    for (size_t i = 0; i < length; i++)
        if (!g_ascii_islower(text[i]) && !g_ascii_isdigit(text[i]) && text[i] != '-')
            return fail(error, text, "is no name: only a-z, 0-9 and '-' are allowed");
    if (text[0] == '-' || text[length - 1] == '-')
        return fail(error, text, "is no name: '-' must not be its first or last character");
    return true;
}

static bool label_part_check(const char *text, size_t length)
{
    if (length > NAME_MAX_LENGTH)
        return false;
    for (size_t i = 0; i < length; i++) {
        bool edge = i == 0 || i == length - 1;
        if (!g_ascii_isalnum(text[i]) && (edge || !strchr("-_.", text[i])))
            return false;
    }
    return true;
}

bool label_key_check(const char *text, GError **error)
{
    const char *slash = strrchr(text, '/');
    const char *name = slash ? slash + 1 : text;
    if (*name == '\0' || !label_part_check(name, strlen(name)) ||
        (slash && (slash == text || !label_part_check(text, (size_t)(slash - text)))))
        return fail(error, text,
                    "is no label key: 1 to 63 letters, digits, '-', '_' or '.', with a letter or "
                    "digit at both ends, and before that a domain and '/' where wanted");
    return true;
}

bool label_value_check(const char *text, GError **error)
{
    if (!label_part_check(text, strlen(text)))
        return fail(error, text,
                    "is no label value: at most 63 letters, digits, '-', '_' or '.', with a letter "
                    "or digit at both ends");
    return true;
}
