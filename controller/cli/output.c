#include "controller/cli/output.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controller/cli/cli.h"
#include "controller/object/object.h"
#include "controller/object/quantity.h"

bool output_form_parse(const char *text, enum output_form *ret_form, GError **error)
{
    static const char *const names[OUTPUT_FORM_COUNT] = {"table", "wide", "json", "yaml", "name"};

    for (int i = 0; i < OUTPUT_FORM_COUNT; i++) {
        if (!text || strcmp(text, names[i]) == 0) {
            *ret_form = (enum output_form)i;
            return true;
        }
    }
    g_set_error(error, CLI_ERROR, CLI_ERROR_USAGE,
                "-o \"%s\" is no output form; they are table, wide, json, yaml and name", text);
    return false;
}

/* ---- values ---------------------------------------------------------------------------------- */

char *output_age(const char *time_text)
{
    g_autoptr(GDateTime) then = time_text ? g_date_time_new_from_iso8601(time_text, NULL) : NULL;
    gint64 seconds;

    if (!then)
        return NULL;
    seconds = g_get_real_time() / G_USEC_PER_SEC - g_date_time_to_unix(then);
    seconds = MAX(seconds, 0);
    if (seconds < 120)
        return g_strdup_printf("%ds", (int)seconds);
    if (seconds < 7200)
        return g_strdup_printf("%dm", (int)(seconds / 60));
    if (seconds < 172800)
        return g_strdup_printf("%dh", (int)(seconds / 3600));
    return g_strdup_printf("%dd", (int)(seconds / 86400));
}

/* The API's convention: counts of bytes have "bytes" in their name, times end in "Time". */
char *output_value(const json_t *object, const char *path)
{
    const json_t *value = object_at(object, path);
    g_autofree char *lower = g_ascii_strdown(path, -1);

    if (json_is_string(value) && g_str_has_suffix(path, "Time"))
        return output_age(json_string_value(value));
    if (json_is_string(value))
        return *json_string_value(value) ? g_strdup(json_string_value(value)) : NULL;
    if (json_is_integer(value) && strstr(lower, "bytes"))
        return quantity_human_bytes((uint64_t)json_integer_value(value));
    if (json_is_integer(value))
        return g_strdup_printf("%" JSON_INTEGER_FORMAT, json_integer_value(value));
    if (json_is_boolean(value))
        return g_strdup(json_is_true(value) ? "true" : "false");
    return NULL;
}

char *output_reference(const struct kind *kind, const json_t *object)
{
    g_autofree char *singular = g_ascii_strdown(kind->name, -1);

    return g_strdup_printf("%s/%s", singular, object_name(object));
}

void output_json(const json_t *value)
{
    json_dumpf(value, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
    putchar('\n');
}

/* The server lists by name; what has happened is read in the order it did. */
static int compare_events(const void *a, const void *b)
{
    const json_t *left = *(json_t *const *)a, *right = *(json_t *const *)b;
    int order = strcmp(object_string(left, "lastTime", ""), object_string(right, "lastTime", ""));
    gint64 left_revision, right_revision;

    if (order != 0)
        return order;
    left_revision = g_ascii_strtoll(object_string(left, "metadata.resourceVersion", ""), NULL, 10);
    right_revision =
        g_ascii_strtoll(object_string(right, "metadata.resourceVersion", ""), NULL, 10);
    return left_revision < right_revision ? -1 : left_revision > right_revision;
}

static json_t *sort_events(const json_t *items)
{
    size_t n = json_array_size(items);
    g_autofree json_t **array = g_new(json_t *, MAX(n, 1));
    json_t *sorted = json_array();

    for (size_t i = 0; i < n; i++)
        array[i] = json_array_get(items, i);
    qsort(array, n, sizeof(*array), compare_events);
    for (size_t i = 0; i < n; i++)
        json_array_append(sorted, array[i]);
    return sorted;
}

/* ---- lists and objects ----------------------------------------------------------------------- */

static void print_name(const struct kind *kind, const json_t *object)
{
    g_autofree char *reference = output_reference(kind, object);

    puts(reference);
}

static void print_table(const struct kind *kind, const json_t *items, bool wide,
                        bool with_namespace)
{
    json_auto_t *sorted = kind == &kind_event ? sort_events(items) : NULL;
    struct table *table = table_new(true);
    const json_t *item;
    size_t i;

    table_kind_columns(table, kind, wide, with_namespace);
    json_array_foreach (sorted ? sorted : (json_t *)items, i, item)
        table_kind_row(table, kind, item, wide, with_namespace);
    table_flush(table);
    table_free(table);
}

static void print_items(const struct kind *kind, const json_t *items, enum output_form form,
                        bool with_namespace)
{
    const json_t *item;
    size_t i;

    if (form == OUTPUT_NAME) {
        json_array_foreach ((json_t *)items, i, item)
            print_name(kind, item);
    } else if (json_array_size(items) == 0) {
        fprintf(stderr, "No %s found.\n", kind->plural);
    } else {
        print_table(kind, items, form == OUTPUT_WIDE, with_namespace);
    }
}

void output_list(const struct kind *kind, const json_t *list, enum output_form form,
                 bool with_namespace)
{
    if (form == OUTPUT_JSON)
        output_json(list);
    else if (form == OUTPUT_YAML)
        output_yaml(list);
    else
        print_items(kind, json_object_get(list, "items"), form, with_namespace);
}

void output_object(const struct kind *kind, const json_t *object, enum output_form form,
                   bool with_namespace)
{
    json_auto_t *items = NULL;

    if (form == OUTPUT_JSON) {
        output_json(object);
    } else if (form == OUTPUT_YAML) {
        output_yaml(object);
    } else {
        items = json_pack("[O]", object);
        print_items(kind, items, form, with_namespace);
    }
}
