#include "controller/object/validate.h"
#include "controller/object/name.h"
#include "controller/object/object.h"
#include "controller/object/quantity.h"

#include <string.h>

#define STRING_MAX 1024
#define LIST_MAX   64
#define LABELS_MAX 64

/* ---- problems -------------------------------------------------------------------------------- */

void problem_free(struct problem *problem)
{
    g_free(problem->path);
    g_free(problem->message);
    g_free(problem);
}

GPtrArray *problems_new(void)
{
    return g_ptr_array_new_with_free_func((GDestroyNotify)problem_free);
}

void problems_add(GPtrArray *problems, const char *path, const char *format, ...)
{
    struct problem *problem = g_new0(struct problem, 1);
    va_list arguments;
    va_start(arguments, format);
    problem->path = g_strdup(path);
    problem->message = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_ptr_array_add(problems, problem);
}

char *problems_text(const GPtrArray *problems)
{
    g_autoptr(GString) out = g_string_new(NULL);
    for (guint i = 0; i < problems->len; i++) {
        const struct problem *problem = problems->pdata[i];
        g_string_append_printf(out, "%s%s%s%s", i ? "; " : "", problem->path,
                               problem->path[0] ? ": " : "", problem->message);
    }
    return g_string_free(g_steal_pointer(&out), FALSE);
}

static void add_error(GPtrArray *problems, const char *path, GError *error)
{
    problems_add(problems, path, "%s", error->message);
    g_error_free(error);
}

/* ---- values ---------------------------------------------------------------------------------- */

/* Each returns the value to store (a new reference), or NULL having added a problem. */
typedef json_t *(*admit_fn)(const struct field *field, const json_t *value, const char *path,
                            GPtrArray *problems);
static json_t *admit_value(const struct field *field, const json_t *value, const char *path,
                           GPtrArray *problems);

static const char *json_type_text(const json_t *value)
{
    static const char *const names[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "a list",  [JSON_STRING] = "text",
        [JSON_INTEGER] = "a number", [JSON_REAL] = "a number", [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",      [JSON_NULL] = "nothing",
    };
    return names[json_typeof(value)];
}

static json_t *wrong_type(const json_t *value, const char *path, GPtrArray *problems,
                          const char *expected)
{
    g_autofree char *shown = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    if (shown && strlen(shown) <= 40 && !json_is_null(value))
        problems_add(problems, path, "must be %s, not %s", expected, shown);
    else
        problems_add(problems, path, "must be %s, not %s", expected, json_type_text(value));
    return NULL;
}

static json_t *admit_string(const struct field *field, const json_t *value, const char *path,
                            GPtrArray *problems)
{
    size_t limit = field->max ? (size_t)field->max : STRING_MAX;
    if (!json_is_string(value))
        return wrong_type(value, path, problems, "text (in YAML, put it in quotes)");
    if (json_string_length(value) > limit) {
        problems_add(problems, path, "must have at most %zu bytes, not %zu", limit,
                     json_string_length(value));
        return NULL;
    }
    return json_copy((json_t *)value);
}

static json_t *admit_integer(const struct field *field, const json_t *value, const char *path,
                             GPtrArray *problems)
{
    if (!json_is_integer(value))
        return wrong_type(value, path, problems, "a whole number");
    json_int_t number = json_integer_value(value);
    if (field->max && (number < field->min || number > field->max)) {
        problems_add(problems, path,
                     "must be %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT ", not %" G_GINT64_FORMAT,
                     field->min, field->max, (gint64)number);
        return NULL;
    }
    return json_integer(number);
}

static json_t *admit_boolean(const struct field *field, const json_t *value, const char *path,
                             GPtrArray *problems)
{
    if (!json_is_boolean(value))
        return wrong_type(value, path, problems, "true or false");
    return json_boolean(json_is_true(value));
}

static json_t *admit_name(const struct field *field, const json_t *value, const char *path,
                          GPtrArray *problems)
{
    GError *error = NULL;
    if (!json_is_string(value))
        return wrong_type(value, path, problems, "a name (in YAML, put it in quotes)");
    if (!name_check(json_string_value(value), &error)) {
        add_error(problems, path, error);
        return NULL;
    }
    return json_copy((json_t *)value);
}

static json_t *admit_enum(const struct field *field, const json_t *value, const char *path,
                          GPtrArray *problems)
{
    g_autofree char *list = g_strjoinv(", ", (char **)field->values);
    bool single = field->values[1] == NULL;
    g_autofree char *expected = g_strconcat(single ? "" : "one of ", list, NULL);
    if (!json_is_string(value))
        return wrong_type(value, path, problems, expected);
    const char *text = json_string_value(value);
    if (g_strv_contains(field->values, text))
        return json_copy((json_t *)value);
    const char *nearest = nearest_text(field->values, text);
    problems_add(problems, path, "must be %s, not \"%.80s\"%s%s%s", expected, text,
                 nearest && !single ? ": did you mean " : "", nearest && !single ? nearest : "",
                 nearest && !single ? "?" : "");
    return NULL;
}

static json_t *admit_size(const struct field *field, const json_t *value, const char *path,
                          GPtrArray *problems)
{
    GError *error = NULL;
    uint64_t bytes;
    if (json_is_integer(value) && json_integer_value(value) >= 0)
        bytes = (uint64_t)json_integer_value(value);
    else if (!json_is_string(value))
        return wrong_type(value, path, problems, "a size, like 512Mi or 20Gi");
    else if (!quantity_parse_bytes(json_string_value(value), &bytes, &error)) {
        add_error(problems, path, error);
        return NULL;
    }
    g_autofree char *shown = quantity_format_bytes(bytes);
    if (field->max && ((int64_t)bytes < field->min || (int64_t)bytes > field->max)) {
        g_autofree char *min = quantity_format_bytes((uint64_t)field->min);
        g_autofree char *max = quantity_format_bytes((uint64_t)field->max);
        bool unitless = json_is_integer(value) && (int64_t)bytes < field->min;
        problems_add(problems, path, "must be %s to %s, not %s%s%s%s", min, max, shown,
                     unitless ? " bytes: did you mean " : "", unitless ? shown : "",
                     unitless ? "Mi?" : "");
        return NULL;
    }
    return json_string(shown);
}

static json_t *admit_time(const struct field *field, const json_t *value, const char *path,
                          GPtrArray *problems)
{
    g_autoptr(GDateTime) time =
        json_is_string(value) ? g_date_time_new_from_iso8601(json_string_value(value), NULL) : NULL;
    if (!time)
        return wrong_type(value, path, problems, "a time like 2024-01-31T12:00:00Z");
    return json_copy((json_t *)value);
}

static json_t *admit_labels(const struct field *field, const json_t *value, const char *path,
                            GPtrArray *problems)
{
    const char *key;
    json_t *entry;
    guint before = problems->len;
    if (!json_is_object(value))
        return wrong_type(value, path, problems, "a map of labels, like {app: web}");
    if (json_object_size(value) > LABELS_MAX)
        problems_add(problems, path, "must have at most %d entries, not %zu", LABELS_MAX,
                     json_object_size(value));
    json_object_foreach ((json_t *)value, key, entry) {
        g_autofree char *entry_path = g_strdup_printf("%s.%.80s", path, key);
        GError *error = NULL;
        if (!label_key_check(key, &error))
            add_error(problems, entry_path, error);
        else if (!json_is_string(entry))
            wrong_type(entry, entry_path, problems, "text (in YAML, put it in quotes)");
        else if (!label_value_check(json_string_value(entry), &error))
            add_error(problems, entry_path, error);
    }
    return problems->len == before ? json_deep_copy(value) : NULL;
}

static char *child_path(const char *path, const char *name)
{
    return path[0] ? g_strdup_printf("%s.%.80s", path, name) : g_strdup_printf("%.80s", name);
}

static void unknown_field(const struct field *children, const char *path, const char *name,
                          GPtrArray *problems)
{
    const char *nearest = field_nearest(children, name);
    if (nearest) {
        problems_add(problems, path, "unknown field: did you mean \"%s\"?", nearest);
        return;
    }
    g_autoptr(GString) known = g_string_new(NULL);
    for (const struct field *child = children; child->name; child++)
        if (!(child->flags & (FIELD_READ_ONLY | FIELD_NOT_YET)))
            g_string_append_printf(known, "%s%s", known->len ? ", " : "", child->name);
    problems_add(problems, path, "unknown field; known here: %s", known->str);
}

static void admit_child(const struct field *child, const json_t *value, const char *path,
                        json_t *admitted, GPtrArray *problems)
{
    if (child->flags & FIELD_NOT_YET) {
        problems_add(problems, path, "not yet: %s Leave the field out.", child->doc);
        return;
    }
    json_t *taken = admit_value(child, value, path, problems);
    if (taken)
        json_object_set_new(admitted, child->name, taken);
}

static json_t *admit_object(const struct field *field, const json_t *value, const char *path,
                            GPtrArray *problems)
{
    const char *name;
    json_t *entry;
    if (!json_is_object(value))
        return wrong_type(value, path, problems, "an object with fields");
    json_auto_t *admitted = json_object();
    json_object_foreach ((json_t *)value, name, entry) {
        const struct field *child = field_find(field->children, name);
        g_autofree char *at = child_path(path, name);
        if (!child)
            unknown_field(field->children, at, name, problems);
        else if (!(child->flags & FIELD_READ_ONLY) && !json_is_null(entry))
            admit_child(child, entry, at, admitted, problems);
    }
    for (const struct field *child = field->children; child->name; child++) {
        if (!json_is_null(json_object_get(value, child->name)) &&
            json_object_get(value, child->name))
            continue;
        g_autofree char *at = child_path(path, child->name);
        if (child->default_json) {
            json_auto_t *given = json_loads(child->default_json, JSON_DECODE_ANY, NULL);
            admit_child(child, given, at, admitted, problems);
        } else if (child->flags & FIELD_REQUIRED)
            problems_add(problems, at, "is missing: %s", child->doc);
    }
    return json_incref(admitted);
}

/* Two entries of a list must not have the same key. */
static void check_keys(const struct field *field, const json_t *list, const char *path,
                       GPtrArray *problems)
{
    for (const struct field *child = field->children; child->name; child++) {
        g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
        size_t i;
        json_t *entry;
        if (!(child->flags & FIELD_LIST_KEY))
            continue;
        json_array_foreach (list, i, entry) {
            const char *key = object_string(entry, child->name, NULL);
            g_autofree char *at = g_strdup_printf("%s[%zu].%s", path, i, child->name);
            if (key && !g_hash_table_add(seen, (gpointer)key))
                problems_add(problems, at, "\"%s\" is taken by another entry of the list", key);
        }
    }
}

static json_t *admit_list(const struct field *field, const json_t *value, const char *path,
                          GPtrArray *problems)
{
    size_t limit = field->max ? (size_t)field->max : LIST_MAX, i;
    json_t *entry;
    if (!json_is_array(value))
        return wrong_type(value, path, problems, "a list");
    if (json_array_size(value) > limit) {
        problems_add(problems, path, "must have at most %zu entries, not %zu", limit,
                     json_array_size(value));
        return NULL;
    }
    json_t *admitted = json_array();
    json_array_foreach (value, i, entry) {
        g_autofree char *at = g_strdup_printf("%s[%zu]", path, i);
        json_t *taken = admit_object(field, entry, at, problems);
        if (taken)
            json_array_append_new(admitted, taken);
    }
    check_keys(field, admitted, path, problems);
    return admitted;
}

static const admit_fn admitters[FIELD_TYPE_COUNT] = {
    [FIELD_STRING] = admit_string, [FIELD_INTEGER] = admit_integer, [FIELD_BOOLEAN] = admit_boolean,
    [FIELD_NAME] = admit_name,     [FIELD_ENUM] = admit_enum,       [FIELD_SIZE] = admit_size,
    [FIELD_TIME] = admit_time,     [FIELD_LABELS] = admit_labels,   [FIELD_OBJECT] = admit_object,
    [FIELD_LIST] = admit_list,
};

static json_t *admit_value(const struct field *field, const json_t *value, const char *path,
                           GPtrArray *problems)
{
    return admitters[field->type](field, value, path, problems);
}

/* ---- whole objects --------------------------------------------------------------------------- */

static const struct kind *find_kind(const json_t *input, GPtrArray *problems)
{
    const char *version = object_string(input, "apiVersion", NULL);
    const char *name = object_string(input, "kind", NULL);
    if (!version)
        problems_add(problems, "apiVersion", "is missing: write apiVersion: " API_VERSION);
    else if (strcmp(version, API_VERSION) != 0)
        problems_add(problems, "apiVersion", "must be " API_VERSION ", not \"%.80s\"", version);
    if (!name) {
        problems_add(problems, "kind", "is missing: write kind: VirtualMachine, for one");
        return NULL;
    }
    const char *names[16] = {NULL};
    for (size_t i = 0; kinds[i] && i < G_N_ELEMENTS(names) - 1; i++) {
        if (strcmp(kinds[i]->name, name) == 0)
            return kinds[i];
        names[i] = kinds[i]->name;
    }
    const char *nearest = nearest_text(names, name);
    g_autofree char *list = g_strjoinv(", ", (char **)names);
    problems_add(problems, "kind", "there is no kind \"%.80s\"%s%s%s; known: %s", name,
                 nearest ? ": did you mean " : "", nearest ? nearest : "", nearest ? "?" : "",
                 list);
    return NULL;
}

json_t *object_admit(const json_t *input, const struct kind **ret_kind, GPtrArray *problems)
{
    guint before = problems->len;
    if (!json_is_object(input)) {
        problems_add(problems, "",
                     "a manifest must be an object with apiVersion, kind, metadata "
                     "and spec");
        return NULL;
    }
    const struct kind *kind = find_kind(input, problems);
    if (!kind)
        return NULL;
    if (ret_kind)
        *ret_kind = kind;
    struct field root = {.type = FIELD_OBJECT, .children = kind->fields};
    json_auto_t *admitted = admit_object(&root, input, "", problems);
    if (kind->check && problems->len == before)
        kind->check(admitted, problems);
    return problems->len == before ? json_incref(admitted) : NULL;
}

static void check_unchanged(const struct field *children, const json_t *old, const json_t *updated,
                            const char *path, GPtrArray *problems)
{
    for (const struct field *child = children; child->name; child++) {
        const json_t *before = json_object_get(old, child->name);
        const json_t *after = json_object_get(updated, child->name);
        g_autofree char *at = child_path(path, child->name);
        if (child->flags & FIELD_READ_ONLY)
            continue;
        if (child->flags & FIELD_IMMUTABLE) {
            bool same = (!before && !after) || (before && after && json_equal(before, after));
            g_autofree char *shown =
                before ? json_dumps(before, JSON_ENCODE_ANY | JSON_COMPACT) : g_strdup("unset");
            if (!same)
                problems_add(problems, at,
                             "cannot be changed (it is %s): delete the object and make it anew",
                             shown);
        } else if (child->type == FIELD_OBJECT && before && after)
            check_unchanged(child->children, before, after, at, problems);
    }
}

bool object_check_update(const struct kind *kind, const json_t *old, const json_t *updated,
                         GPtrArray *problems)
{
    guint before = problems->len;
    check_unchanged(kind->fields, old, updated, "", problems);
    return problems->len == before;
}
