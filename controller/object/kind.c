/* The table of kinds, and their documentation as text. */
#include "controller/object/kind.h"
#include "controller/object/error.h"
#include "controller/object/quantity.h"

#include <string.h>

const struct kind *const kinds[] = {
    &kind_virtualmachine, &kind_disk, &kind_host, &kind_migration, &kind_event, NULL,
};

const struct kind *kind_by_plural(const char *plural)
{
    for (size_t i = 0; kinds[i]; i++)
        if (strcmp(kinds[i]->plural, plural) == 0)
            return kinds[i];
    return NULL;
}

const struct kind *kind_find(const char *text)
{
    for (size_t i = 0; kinds[i]; i++) {
        const struct kind *kind = kinds[i];
        if (g_ascii_strcasecmp(text, kind->name) == 0 ||
            g_ascii_strcasecmp(text, kind->plural) == 0)
            return kind;
        for (const char *const *name = kind->short_names; *name; name++)
            if (g_ascii_strcasecmp(text, *name) == 0)
                return kind;
    }
    return NULL;
}

/* ---- explain --------------------------------------------------------------------------------- */

#define WIDTH 78

static void append_wrapped(GString *out, const char *indent, const char *text)
{
    g_auto(GStrv) words = g_strsplit(text, " ", -1);
    size_t column = WIDTH + 1;
    for (char **word = words; *word; word++) {
        if (column + 1 + strlen(*word) > WIDTH) {
            g_string_append_printf(out, "%s%s",
                                   out->len && out->str[out->len - 1] != '\n' ? "\n" : "", indent);
            column = strlen(indent);
        } else {
            g_string_append_c(out, ' ');
            column++;
        }
        g_string_append(out, *word);
        column += strlen(*word);
    }
    g_string_append_c(out, '\n');
}

static void append_range(GString *out, const struct field *field)
{
    if (field->type == FIELD_SIZE && field->max) {
        g_autofree char *min = quantity_format_bytes((uint64_t)field->min);
        g_autofree char *max = quantity_format_bytes((uint64_t)field->max);
        g_string_append_printf(out, ", %s to %s", min, max);
    } else if (field->type == FIELD_INTEGER && field->max)
        g_string_append_printf(out, ", %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT, field->min,
                               field->max);
    else if (field->type == FIELD_LIST && field->max)
        g_string_append_printf(out, ", at most %" G_GINT64_FORMAT, field->max);
    for (size_t i = 0; field->values && field->values[i]; i++)
        g_string_append_printf(out, "%s%s", i ? "|" : ": ", field->values[i]);
}

/* "size, 1Mi to 1Ti, required" */
static void append_type(GString *out, const struct field *field)
{
    static const struct {
        unsigned flag;
        const char *text;
    } flags[] = {
        {FIELD_REQUIRED, ", required"},
        {FIELD_IMMUTABLE, ", cannot be changed later"},
        {FIELD_READ_ONLY, ", read-only"},
        {FIELD_NOT_YET, ", not yet"},
    };
    g_string_append(out, field_type_name(field->type));
    append_range(out, field);
    for (size_t i = 0; i < G_N_ELEMENTS(flags); i++)
        if (field->flags & flags[i].flag)
            g_string_append(out, flags[i].text);
    if (field->default_json && strcmp(field->default_json, "{}") != 0)
        g_string_append_printf(out, ", default %s", field->default_json);
}

static void append_children(GString *out, const struct field *children)
{
    g_string_append(out, "\nFIELDS\n");
    for (const struct field *child = children; child->name; child++) {
        g_string_append_printf(out, "  %s  <", child->name);
        append_type(out, child);
        g_string_append(out, ">\n");
        append_wrapped(out, "      ", child->doc);
    }
}

char *kind_explain(const struct kind *kind, const char *path, GError **error)
{
    const struct field *children = kind->fields, *field = NULL;
    g_auto(GStrv) parts = g_strsplit(path ? path : "", ".", -1);
    for (char **part = parts; *part; part++) {
        /* A kind's own table has no parent that could lack children. */
        const struct field *next = children ? field_find(children, *part) : NULL;
        if (!next) {
            const char *nearest = children ? field_nearest(children, *part) : NULL;
            g_set_error(error, OBJECT_ERROR, OBJECT_ERROR_INVALID,
                        "%s%s%s has no field \"%s\"%s%s%s", kind->name, field ? ", " : "",
                        field ? field->name : "", *part, nearest ? ": did you mean \"" : "",
                        nearest ? nearest : "", nearest ? "\"?" : "");
            return NULL;
        }
        field = next;
        children = next->children;
    }
    g_autoptr(GString) out = g_string_new(NULL);
    g_string_append_printf(out, "KIND   %s (%s)\n", kind->name, API_VERSION);
    if (field) {
        g_string_append_printf(out, "FIELD  %s <", path);
        append_type(out, field);
        g_string_append(out, ">\n");
    }
    g_string_append_c(out, '\n');
    append_wrapped(out, "", field ? field->doc : kind->doc);
    if (children)
        append_children(out, children);
    return g_string_free(g_steal_pointer(&out), FALSE);
}
