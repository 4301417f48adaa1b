/* get, events, wait: lists and watches. */
#include <stdio.h>
#include <string.h>

#include "controller/cli/client.h"
#include "controller/cli/output.h"
#include "controller/cli/run.h"
#include "controller/cli/target.h"
#include "controller/cli/watch.h"
#include "controller/object/object.h"

struct viewer {
    const struct kind *kind;
    enum output_form form;
    bool with_namespace;
    const char *name; /* only this one, or NULL */
    struct table *table;
};

static bool show_change(void *opaque, const char *type, const json_t *object)
{
    struct viewer *viewer = opaque;

    if (viewer->name && strcmp(object_name(object), viewer->name) != 0)
        return true;
    if (viewer->form == OUTPUT_JSON) {
        json_dumpf(object, stdout, JSON_COMPACT);
        putchar('\n');
    } else if (viewer->form == OUTPUT_YAML) {
        puts("---");
        output_yaml(object);
    } else if (viewer->form == OUTPUT_NAME) {
        g_autofree char *reference = output_reference(viewer->kind, object);

        printf("%s%s\n", reference, strcmp(type, "DELETED") == 0 ? " deleted" : "");
    } else {
        table_kind_row(viewer->table, viewer->kind, object, viewer->form == OUTPUT_WIDE,
                       viewer->with_namespace);
        table_flush(viewer->table);
    }
    fflush(stdout);
    return true;
}

/* What there is, then what changes, without a gap between the two. */
static bool watch_list(struct client *client, const struct options *options, struct viewer *viewer,
                       GError **error)
{
    const char *revision;
    json_auto_t *list = NULL;
    g_autofree char *path = target_list_path(viewer->kind, options, NULL);
    const json_t *item;
    bool ok;
    size_t i;

    list = client_request(client, "GET", path, NULL, NULL, error);
    if (!list)
        return false;
    viewer->table = table_new(true);
    table_kind_columns(viewer->table, viewer->kind, viewer->form == OUTPUT_WIDE,
                       viewer->with_namespace);
    json_array_foreach (json_object_get(list, "items"), i, item)
        show_change(viewer, "ADDED", item);
    revision = object_string(list, "metadata.resourceVersion", NULL);
    ok = watch_changes(client, viewer->kind, options, revision, show_change, viewer, error);
    table_free(viewer->table);
    return ok;
}

static int get_one(struct client *client, const struct kind *kind, const char *name,
                   const struct options *options, enum output_form form, GError **error)
{
    g_autofree char *path = target_path(kind, options_namespace(options), name);
    json_auto_t *object = client_request(client, "GET", path, NULL, NULL, error);

    if (!object)
        return STATUS_FAILED;
    output_object(kind, object, form, false);
    return STATUS_OK;
}

int run_get(struct client *client, const struct options *options, GError **error)
{
    const struct kind *kind = NULL;
    const char *name = NULL;
    enum output_form form;

    if (!output_form_parse(options->output, &form, error))
        return STATUS_USAGE;
    if (strchr(options->arguments[0], '/') || options->count == 2) {
        if (!target_parse(options, 0, NULL, &kind, &name, error))
            return STATUS_USAGE;
    } else if (!(kind = target_kind(options->arguments[0], error))) {
        return STATUS_USAGE;
    }
    if (options->watch) {
        struct viewer viewer = {kind, form, options->all, name, NULL};

        return watch_list(client, options, &viewer, error) ? STATUS_OK : STATUS_FAILED;
    }
    if (name)
        return get_one(client, kind, name, options, form, error);

    g_autofree char *path = target_list_path(kind, options, NULL);
    json_auto_t *list = client_request(client, "GET", path, NULL, NULL, error);

    if (list)
        output_list(kind, list, form, options->all);
    return list ? STATUS_OK : STATUS_FAILED;
}

/* ---- events ---------------------------------------------------------------------------------- */

/* The uid of --for's object, as the query that selects its events. */
static char *events_query(struct client *client, const struct options *options, GError **error)
{
    char *argument[] = {options->object, NULL};
    struct options of = {.arguments = argument, .count = 1};
    g_autofree char *path = NULL;
    json_auto_t *object = NULL;
    const struct kind *kind;
    const char *name;

    if (!target_parse(&of, 0, NULL, &kind, &name, error))
        return NULL;
    path = target_path(kind, options_namespace(options), name);
    object = client_request(client, "GET", path, NULL, NULL, error);
    return object ? g_strdup_printf("fieldSelector=involved.uid%%3D%s", object_uid(object)) : NULL;
}

int run_events(struct client *client, const struct options *options, GError **error)
{
    g_autofree char *query = NULL, *path = NULL;
    json_auto_t *list = NULL;
    enum output_form form;

    if (!output_form_parse(options->output, &form, error))
        return STATUS_USAGE;
    if (options->object && !(query = events_query(client, options, error)))
        return STATUS_FAILED;
    if (options->watch && !query) {
        struct viewer viewer = {&kind_event, form, options->all, NULL, NULL};

        return watch_list(client, options, &viewer, error) ? STATUS_OK : STATUS_FAILED;
    }
    path = target_list_path(&kind_event, options, query);
    list = client_request(client, "GET", path, NULL, NULL, error);
    if (list)
        output_list(&kind_event, list, form, options->all);
    return list ? STATUS_OK : STATUS_FAILED;
}

/* ---- wait ------------------------------------------------------------------------------------ */

int run_wait(struct client *client, const struct options *options, GError **error)
{
    struct options of = *options;
    const struct kind *kind;
    const char *name;

    of.count = 1; /* the second argument is the phase */
    if (!target_parse(&of, 0, &kind_virtualmachine, &kind, &name, error))
        return STATUS_USAGE;
    return watch_phase(client, kind, name, options, options->arguments[1], NULL, error)
               ? STATUS_OK
               : STATUS_FAILED;
}
