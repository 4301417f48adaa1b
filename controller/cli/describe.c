/* describe: an object for people, with its conditions and events. */
#include <stdio.h>
#include <string.h>

#include "controller/cli/client.h"
#include "controller/cli/output.h"
#include "controller/cli/run.h"
#include "controller/cli/target.h"
#include "controller/object/object.h"

#define INDENT 2

static void print_value(const char *key, const json_t *value, int depth);

/* "hostSelector" as "Host selector". */
static char *title_of(const char *key)
{
    GString *title = g_string_new(NULL);

    for (const char *c = key; *c; c++) {
        if (c == key)
            g_string_append_c(title, g_ascii_toupper(*c));
        else if (g_ascii_isupper(*c))
            g_string_append_printf(title, " %c", g_ascii_tolower(*c));
        else
            g_string_append_c(title, *c);
    }
    return g_string_free(title, FALSE);
}

static void print_members_but(const json_t *object, const char *left_out, int depth)
{
    const char *key;
    json_t *value;

    json_object_foreach ((json_t *)object, key, value)
        if (strcmp(key, left_out) != 0)
            print_value(key, value, depth);
}

/* Conditions have a table of their own. */
static void print_members(const json_t *object, int depth)
{
    print_members_but(object, "conditions", depth);
}

static void print_items(const json_t *array, int depth)
{
    json_t *item;
    size_t i;

    json_array_foreach ((json_t *)array, i, item) {
        const char *name = json_string_value(json_object_get(item, "name"));

        if (json_is_object(item)) {
            printf("%*s%s:\n", depth * INDENT, "", name ? name : "-");
            print_members_but(item, "name", depth + 1);
        } else {
            print_value("-", item, depth);
        }
    }
}

/* A label's key is a person's own word, and stays as it is. */
static void print_labels(const json_t *labels, int depth)
{
    const char *key;
    json_t *value;

    json_object_foreach ((json_t *)labels, key, value)
        printf("%*s%s=%s\n", depth * INDENT, "", key, json_string_value(value));
}

static void print_value(const char *key, const json_t *value, int depth)
{
    json_auto_t *wrapped = json_pack("{s:O}", key, value);
    g_autofree char *title = title_of(key);
    g_autofree char *text = NULL;

    if (json_is_object(value) || json_is_array(value)) {
        if (json_object_size(value) + json_array_size(value) == 0)
            return;
        printf("%*s%s:\n", depth * INDENT, "", title);
        if (strcmp(key, "labels") == 0 || strcmp(key, "hostSelector") == 0)
            print_labels(value, depth + 1);
        else if (json_is_object(value))
            print_members(value, depth + 1);
        else
            print_items(value, depth + 1);
        return;
    }
    text = strchr(key, '.') ? NULL : output_value(wrapped, key);
    printf("%*s%-*s  %s\n", depth * INDENT, "", 20 - depth * INDENT, title, text ? text : "-");
}

static void print_conditions(const json_t *object)
{
    const json_t *conditions = object_at(object, "status.conditions"), *condition;
    struct table *table;
    size_t i;

    if (json_array_size(conditions) == 0)
        return;
    printf("Conditions:\n");
    table = table_new(true);
    table_column(table, "  TYPE");
    table_column(table, "STATUS");
    table_column(table, "REASON");
    table_column(table, "AGE");
    table_column(table, "MESSAGE");
    json_array_foreach ((json_t *)conditions, i, condition) {
        g_autofree char *type = g_strconcat("  ", object_string(condition, "type", ""), NULL);
        g_autofree char *age = output_age(object_string(condition, "lastTransitionTime", NULL));

        table_cell(table, type);
        table_cell(table, object_string(condition, "status", NULL));
        table_cell(table, object_string(condition, "reason", NULL));
        table_cell(table, age);
        table_cell(table, object_string(condition, "message", NULL));
    }
    table_flush(table);
    table_free(table);
}

static void print_events(struct client *client, const json_t *object)
{
    g_autofree char *path =
        g_strdup_printf("/api/v1/events?fieldSelector=involved.uid%%3D%s", object_uid(object));
    json_auto_t *list = client_request(client, "GET", path, NULL, NULL, NULL);

    if (json_array_size(json_object_get(list, "items")) == 0)
        return;
    printf("Events:\n");
    output_list(&kind_event, list, OUTPUT_TABLE, false);
}

int run_describe(struct client *client, const struct options *options, GError **error)
{
    g_autofree char *path = NULL;
    json_auto_t *object = NULL;
    const struct kind *kind;
    const char *name, *key;
    json_t *value;

    if (!target_parse(options, 0, NULL, &kind, &name, error))
        return STATUS_USAGE;
    path = target_path(kind, options_namespace(options), name);
    object = client_request(client, "GET", path, NULL, NULL, error);
    if (!object)
        return STATUS_FAILED;
    printf("%-20s  %s\n", "Kind", kind->name);
    print_members(object_at(object, "metadata"), 0);
    json_object_foreach (object, key, value)
        if (strcmp(key, "metadata") != 0 && strcmp(key, "kind") != 0 &&
            strcmp(key, "apiVersion") != 0)
            print_value(key, value, 0);
    print_conditions(object);
    print_events(client, object);
    return STATUS_OK;
}
