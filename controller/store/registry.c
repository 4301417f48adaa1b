#include "controller/store/registry.h"
#include "controller/object/object.h"

#include <string.h>

#define OBJECTS "/objects/"

struct registry {
    struct store *store;
    GTree *objects;   /* key -> json_t */
    GHashTable *uids; /* uid -> json_t, borrowed from objects */
};

static int compare_keys(const void *left, const void *right, void *unused)
{
    return strcmp(left, right);
}

char *registry_key(const struct kind *kind, const char *namespace, const char *name)
{
    if (!kind->namespaced)
    namespace = "-";
    if (!namespace)
        return g_strdup_printf(OBJECTS "%s/", kind->plural);
    return g_strdup_printf(OBJECTS "%s/%s/%s", kind->plural, namespace, name ? name : "");
}

static char *key_of(const json_t *object)
{
    const struct kind *kind = kind_find(object_string(object, "kind", ""));
    return kind ? registry_key(kind, object_namespace(object), object_name(object)) : NULL;
}

json_t *registry_parse(const char *value, uint64_t revision)
{
    json_t *object = json_loads(value, 0, NULL);
    if (object) {
        g_autofree char *text = g_strdup_printf("%" G_GUINT64_FORMAT, revision);
        object_set_string(object, "metadata.resourceVersion", text);
    }
    return object;
}

static void remember(struct registry *registry, const char *key, json_t *object)
{
    const json_t *old = g_tree_lookup(registry->objects, key);
    if (old)
        g_hash_table_remove(registry->uids, object_uid(old));
    if (object) {
        g_tree_replace(registry->objects, g_strdup(key), json_incref(object));
        g_hash_table_replace(registry->uids, g_strdup(object_uid(object)), object);
    } else
        g_tree_remove(registry->objects, key);
}

struct registry *registry_new(struct store *store, GError **error)
{
    g_autoptr(GPtrArray) entries = store_list(store, OBJECTS, 0, NULL, error);
    if (!entries)
        return NULL;
    struct registry *registry = g_new0(struct registry, 1);
    registry->store = store;
    registry->objects = g_tree_new_full(compare_keys, NULL, g_free, (GDestroyNotify)json_decref);
    registry->uids = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (guint i = 0; i < entries->len; i++) {
        const struct store_entry *entry = entries->pdata[i];
        json_auto_t *object = registry_parse(entry->value, entry->revision);
        if (!object) {
            g_set_error(error, STORE_ERROR, STORE_ERROR_FAILED, "reading the store: %s is no JSON",
                        entry->key);
            registry_free(registry);
            return NULL;
        }
        remember(registry, entry->key, object);
    }
    return registry;
}

void registry_free(struct registry *registry)
{
    if (!registry)
        return;
    g_hash_table_unref(registry->uids);
    g_tree_unref(registry->objects);
    g_free(registry);
}

struct store *registry_store(struct registry *registry)
{
    return registry->store;
}

json_t *registry_get(struct registry *registry, const struct kind *kind, const char *namespace,
                     const char *name)
{
    g_autofree char *key = registry_key(kind, namespace, name);
    return g_tree_lookup(registry->objects, key);
}

json_t *registry_find_uid(struct registry *registry, const char *uid)
{
    return g_hash_table_lookup(registry->uids, uid);
}

GPtrArray *registry_list(struct registry *registry, const struct kind *kind, const char *namespace)
{
    GPtrArray *list = g_ptr_array_new_with_free_func((GDestroyNotify)json_decref);
    g_autofree char *prefix = registry_key(kind, namespace, NULL);
    for (GTreeNode *node = g_tree_lower_bound(registry->objects, prefix);
         node && g_str_has_prefix(g_tree_node_key(node), prefix); node = g_tree_node_next(node))
        g_ptr_array_add(list, json_incref(g_tree_node_value(node)));
    return list;
}

unsigned registry_count(struct registry *registry, const struct kind *kind)
{
    unsigned count = 0;
    g_autofree char *prefix = registry_key(kind, NULL, NULL);
    for (GTreeNode *node = g_tree_lower_bound(registry->objects, prefix);
         node && g_str_has_prefix(g_tree_node_key(node), prefix); node = g_tree_node_next(node))
        count++;
    return count;
}

/* ---- writing --------------------------------------------------------------------------------- */

static uint64_t version_of(const json_t *object)
{
    return g_ascii_strtoull(object_string(object, "metadata.resourceVersion", "0"), NULL, 10);
}

/* The text stored: without resourceVersion, which is the entry's revision. */
static char *stored_text(json_t *object)
{
    json_t *metadata = json_object_get(object, "metadata");
    json_t *version = json_incref(json_object_get(metadata, "resourceVersion"));
    json_object_del(metadata, "resourceVersion");
    char *text = json_dumps(object, JSON_COMPACT);
    if (version)
        json_object_set_new(metadata, "resourceVersion", version);
    return text;
}

static void stamp_new(json_t *object)
{
    g_autofree char *uid = g_uuid_string_random();
    g_autofree char *now = object_time_text(g_get_real_time() / G_USEC_PER_SEC);
    object_set_string(object, "metadata.uid", uid);
    object_set_string(object, "metadata.creationTimestamp", now);
    object_set_integer(object, "metadata.generation", 1);
    object_set(object, "metadata.resourceVersion", NULL);
}

bool registry_write(struct registry *registry, json_t *const *objects, size_t count, GError **error)
{
    g_autofree struct store_write *writes = g_new0(struct store_write, count);
    g_autoptr(GPtrArray) changed = g_ptr_array_new();
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        g_autofree char *key = key_of(objects[i]);
        const json_t *now = g_tree_lookup(registry->objects, key);
        bool new = !object_uid(objects[i])[0];
        if (now && !new &&json_equal(now, objects[i]))
            continue;
        if (new)
            stamp_new(objects[i]);
        writes[used].expected = new ? STORE_ABSENT : version_of(objects[i]);
        writes[used].value = stored_text(objects[i]);
        writes[used].key = g_steal_pointer(&key);
        g_ptr_array_add(changed, objects[i]);
        used++;
    }
    uint64_t revision = 0;
    bool ok = used == 0 || store_write(registry->store, writes, used, &revision, error);
    for (size_t i = 0; i < used; i++) {
        if (ok) {
            g_autofree char *text = g_strdup_printf("%" G_GUINT64_FORMAT, revision);
            object_set_string(changed->pdata[i], "metadata.resourceVersion", text);
            remember(registry, writes[i].key, changed->pdata[i]);
        }
        g_free((char *)writes[i].key);
        free((char *)writes[i].value);
    }
    return ok;
}

bool registry_create(struct registry *registry, json_t *object, GError **error)
{
    object_set(object, "metadata.uid", NULL);
    return registry_write(registry, &object, 1, error);
}

bool registry_update(struct registry *registry, json_t *object, GError **error)
{
    return registry_write(registry, &object, 1, error);
}

bool registry_delete(struct registry *registry, const json_t *object, GError **error)
{
    g_autofree char *key = key_of(object);
    if (!store_delete(registry->store, key, version_of(object), error))
        return false;
    remember(registry, key, NULL);
    return true;
}
