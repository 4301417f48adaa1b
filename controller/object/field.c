#include "controller/object/field.h"

#include <string.h>

static const char *const type_names[FIELD_TYPE_COUNT] = {
    [FIELD_STRING] = "text",
    [FIELD_INTEGER] = "whole number",
    [FIELD_BOOLEAN] = "true or false",
    [FIELD_NAME] = "name",
    [FIELD_ENUM] = "word",
    [FIELD_SIZE] = "size",
    [FIELD_TIME] = "time",
    [FIELD_LABELS] = "labels",
    [FIELD_OBJECT] = "object",
    [FIELD_LIST] = "list",
};

const char *field_type_name(enum field_type type)
{
    return type_names[type];
}

const struct field *field_find(const struct field *children, const char *name)
{
    for (const struct field *field = children; field && field->name; field++)
        if (strcmp(field->name, name) == 0)
            return field;
    return NULL;
}

/* Edit distance, letters' case apart, a swap of neighbours being one edit. */
static unsigned distance(const char *left, const char *right)
{
    enum { LONGEST = 40 };
    unsigned rows[3][LONGEST + 1];
    size_t left_length = strlen(left), right_length = strlen(right);
    if (left_length > LONGEST || right_length > LONGEST)
        return LONGEST;
    unsigned *before = rows[0], *last = rows[1], *now = rows[2];
    for (unsigned i = 0; i <= right_length; i++)
        last[i] = i;
    for (size_t l = 1; l <= left_length; l++) {
        now[0] = (unsigned)l;
        for (size_t r = 1; r <= right_length; r++) {
            char a = g_ascii_tolower(left[l - 1]), b = g_ascii_tolower(right[r - 1]);
            now[r] = MIN(MIN(now[r - 1], last[r]) + 1, last[r - 1] + (a != b));
            if (l > 1 && r > 1 && a == g_ascii_tolower(right[r - 2]) &&
                b == g_ascii_tolower(left[l - 2]))
                now[r] = MIN(now[r], before[r - 2] + 1);
        }
        unsigned *spare = before;
        before = last;
        last = now;
        now = spare;
    }
    return last[right_length];
}

/* Keeps the nearer of `*best` and `candidate`. */
static void consider(const char *text, const char *candidate, const char **best, unsigned *nearest)
{
    unsigned d = distance(text, candidate);
    if (d < *nearest) {
        *nearest = d;
        *best = candidate;
    }
}

/* Up to a third of the letters may be wrong, but two at least. */
static unsigned tolerance(const char *text)
{
    return MAX(3, (unsigned)MIN(strlen(text), 40) / 3 + 1);
}

const char *field_nearest(const struct field *children, const char *name)
{
    const char *best = NULL;
    unsigned nearest = tolerance(name);
    for (const struct field *field = children; field && field->name; field++)
        if (!(field->flags & FIELD_NOT_YET))
            consider(name, field->name, &best, &nearest);
    return best;
}

const char *nearest_text(const char *const *values, const char *text)
{
    const char *best = NULL;
    unsigned nearest = tolerance(text);
    for (; *values; values++)
        consider(text, *values, &best, &nearest);
    return best;
}
