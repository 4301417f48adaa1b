/* Lists and single objects: GET, POST, PUT, DELETE. */
#include "controller/api/call.h"
#include "controller/api/merge.h"
#include "controller/object/selector.h"
#include "controller/reconcile/machine.h"
#include "controller/reconcile/migration.h"

#include <string.h>

/* ---- reading --------------------------------------------------------------------------------- */

static const char *involved_uid(const struct api_call *call)
{
    const char *fields = call_query(call, "fieldSelector");
    return fields && g_str_has_prefix(fields, "involved.uid=") ? fields + strlen("involved.uid=")
                                                               : NULL;
}

static void reply_list(struct api_call *call, const struct selector *selector)
{
    g_autoptr(GPtrArray) objects = registry_list(call->api->registry, call->kind, call->namespace);
    const char *uid = involved_uid(call);
    json_t *items = json_array();
    for (guint i = 0; i < objects->len; i++) {
        json_t *object = objects->pdata[i];
        if (selector_matches(selector, object_at(object, "metadata.labels")) &&
            (!uid || strcmp(object_string(object, "involved.uid", ""), uid) == 0))
            json_array_append(items, object);
    }
    g_autofree char *name = g_strconcat(call->kind->name, "List", NULL);
    g_autofree char *revision =
        g_strdup_printf("%" G_GUINT64_FORMAT, store_revision(registry_store(call->api->registry)));
    json_auto_t *list = json_pack("{s:s, s:s, s:{s:s}, s:o}", "apiVersion", API_VERSION, "kind",
                                  name, "metadata", "resourceVersion", revision, "items", items);
    call_reply(call, 200, list);
}

void objects_list(struct api_call *call)
{
    const char *text = call_query(call, "labelSelector");
    g_autoptr(GError) error = NULL;
    g_autoptr(Selector) selector = selector_parse(text ? text : "", &error);
    if (!selector)
        call_fail(call, API_BAD_REQUEST, "%s", error->message);
    else if (call_flag(call, "watch"))
        watch_start(call, g_steal_pointer(&selector), involved_uid(call));
    else
        reply_list(call, selector);
}

void objects_get(struct api_call *call)
{
    json_t *object = call_object(call);
    if (object)
        call_reply(call, 200, object);
}

/* ---- writing --------------------------------------------------------------------------------- */

/* The body, admitted and of the path's kind and namespace; NULL having answered. */
static json_t *admitted_body(struct api_call *call)
{
    json_auto_t *body = call_body(call, false);
    g_autoptr(GPtrArray) problems = problems_new();
    const struct kind *kind = NULL;
    if (!body)
        return NULL;
    if (call->namespace && json_is_object(body) && !object_at(body, "metadata.namespace"))
        object_set_string(body, "metadata.namespace", call->namespace);
    json_auto_t *object = object_admit(body, &kind, problems);
    if (object && kind != call->kind)
        problems_add(problems, "kind", "must be %s here, not %s", call->kind->name, kind->name);
    if (object && call->namespace && strcmp(object_namespace(object), call->namespace) != 0)
        problems_add(problems, "metadata.namespace", "must be %s here, not %s", call->namespace,
                     object_namespace(object));
    if (object && call->name && strcmp(object_name(object), call->name) != 0)
        problems_add(problems, "metadata.name", "must be %s here, not %s", call->name,
                     object_name(object));
    if (problems->len > 0) {
        call_invalid(call, problems);
        return NULL;
    }
    return json_incref(object);
}

void objects_create(struct api_call *call)
{
    if (!call->kind->creatable) {
        call_fail(call, API_METHOD, "a %s cannot be created: the controller makes it itself",
                  call->kind->name);
        return;
    }
    json_auto_t *object = admitted_body(call);
    g_autoptr(GError) error = NULL;
    if (!object)
        return;
    if (registry_get(call->api->registry, call->kind, object_namespace(object),
                     object_name(object)))
        call_fail(call, API_EXISTS, "%s %s exists in namespace %s", call->kind->name,
                  object_name(object), object_namespace(object));
    else if (!registry_create(call->api->registry, object, &error))
        call_fail_store(call, error);
    else {
        cluster_touch(call->api->cluster);
        call_reply(call, 201, object);
    }
}

void objects_update(struct api_call *call)
{
    json_t *old = call_object(call);
    json_auto_t *object = old ? admitted_body(call) : NULL;
    g_autoptr(GPtrArray) problems = problems_new();
    g_autoptr(GError) error = NULL;
    if (!object)
        return;
    if (!object_check_update(call->kind, old, object, problems)) {
        call_invalid(call, problems);
        return;
    }
    json_auto_t *merged = object_merge(old, object);
    if (!registry_update(call->api->registry, merged, &error))
        call_fail_store(call, error);
    else {
        cluster_touch(call->api->cluster);
        call_reply(call, 200,
                   registry_get(call->api->registry, call->kind, call->namespace, call->name));
    }
}

/* ---- deleting -------------------------------------------------------------------------------- */

/* Why the object must stay, or NULL. */
static char *deletion_refusal(struct api_call *call, const json_t *object)
{
    struct registry *registry = call->api->registry;
    if (call->kind == &kind_disk) {
        const char *uid = object_string(object, "status.machineUid", NULL);
        const json_t *machine = uid ? registry_find_uid(registry, uid) : NULL;
        if (machine && !object_at(machine, "metadata.deletionTimestamp"))
            return g_strdup_printf("machine %s uses disk %s: delete the machine, or take the disk "
                                   "out of its spec while it is stopped",
                                   object_name(machine), object_name(object));
    }
    if (call->kind != &kind_host)
        return NULL;
    static const struct kind *const kept[] = {&kind_virtualmachine, &kind_disk};
    for (size_t k = 0; k < G_N_ELEMENTS(kept); k++) {
        g_autoptr(GPtrArray) objects = registry_list(registry, kept[k], NULL);
        for (guint i = 0; i < objects->len; i++)
            if (strcmp(object_string(objects->pdata[i], "status.host", ""), call->name) == 0)
                return g_strdup_printf("%s %s/%s is on host %s: move or delete it first",
                                       kept[k]->name, object_namespace(objects->pdata[i]),
                                       object_name(objects->pdata[i]), call->name);
    }
    return NULL;
}

static bool goes_at_once(struct api_call *call, const json_t *object)
{
    if (call->kind == &kind_event || call->kind == &kind_host)
        return true;
    if (call->kind == &kind_migration)
        return migration_finished(object);
    return call_flag(call, "force");
}

static void forget_host(struct api_call *call)
{
    g_autofree char *key = g_strdup_printf("/hostsecrets/%s", call->name);
    store_delete(registry_store(call->api->registry), key, STORE_ANY, NULL);
    if (call->api->cluster->forget_host)
        call->api->cluster->forget_host(call->name, call->api->cluster->forget_data);
    cluster_host(call->api->cluster, call->name)->registered = false;
}

static void delete_at_once(struct api_call *call, json_t *object)
{
    json_auto_t *kept = json_incref(object);
    g_autoptr(GError) error = NULL;
    if (!registry_delete(call->api->registry, object, &error)) {
        call_fail_store(call, error);
        return;
    }
    if (call->kind == &kind_host)
        forget_host(call);
    cluster_touch(call->api->cluster);
    call_reply(call, 200, kept);
}

void objects_delete(struct api_call *call)
{
    json_t *object = call_object(call);
    g_autoptr(GError) error = NULL;
    if (!object)
        return;
    g_autofree char *refusal = deletion_refusal(call, object);
    if (refusal) {
        call_fail(call, API_CONFLICT, "%s", refusal);
        return;
    }
    if (goes_at_once(call, object)) {
        delete_at_once(call, object);
        return;
    }
    json_auto_t *draft = json_deep_copy(object);
    if (!object_at(draft, "metadata.deletionTimestamp")) {
        g_autofree char *now = object_time_text(g_get_real_time() / G_USEC_PER_SEC);
        object_set_string(draft, "metadata.deletionTimestamp", now);
    }
    if (!registry_update(call->api->registry, draft, &error)) {
        call_fail_store(call, error);
        return;
    }
    cluster_touch(call->api->cluster);
    call_reply(call, 202, draft);
}
