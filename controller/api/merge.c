#include "controller/api/merge.h"

#include <string.h>

static const char *const taken[] = {"spec", "metadata.labels"};

json_t *object_merge(const json_t *old, const json_t *manifest)
{
    json_t *merged = json_deep_copy(old);
    for (size_t i = 0; i < G_N_ELEMENTS(taken); i++) {
        const json_t *value = object_at(manifest, taken[i]);
        object_set(merged, taken[i], value ? json_deep_copy(value) : NULL);
    }
    const json_t *before = object_at(old, "spec"), *after = object_at(merged, "spec");
    if (before && after && !json_equal(before, after))
        object_set_integer(merged, "metadata.generation",
                           object_integer(old, "metadata.generation", 0) + 1);
    const char *version = object_string(manifest, "metadata.resourceVersion", NULL);
    if (version)
        object_set_string(merged, "metadata.resourceVersion", version);
    return merged;
}

static void add(json_t *list, const char *path, const json_t *old, const json_t *new)
{
    json_t *entry = json_pack("{s:s}", "path", path);
    json_object_set_new(entry, "old", old ? json_deep_copy(old) : json_null());
    json_object_set_new(entry, "new", new ? json_deep_copy(new) : json_null());
    json_array_append_new(list, entry);
}

static void diff(json_t *list, const char *path, const json_t *old, const json_t *new);

static void diff_objects(json_t *list, const char *path, const json_t *old, const json_t *new)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)new, key, value) {
        g_autofree char *at = g_strdup_printf("%s.%s", path, key);
        diff(list, at, json_object_get(old, key), value);
    }
    json_object_foreach ((json_t *)old, key, value) {
        g_autofree char *at = g_strdup_printf("%s.%s", path, key);
        if (!json_object_get(new, key))
            add(list, at, value, NULL);
    }
}

static void diff_lists(json_t *list, const char *path, const json_t *old, const json_t *new)
{
    size_t count = MAX(json_array_size(old), json_array_size(new));
    for (size_t i = 0; i < count; i++) {
        g_autofree char *at = g_strdup_printf("%s[%zu]", path, i);
        diff(list, at, json_array_get(old, i), json_array_get(new, i));
    }
}

static void diff(json_t *list, const char *path, const json_t *old, const json_t *new)
{
    if (json_is_object(old) && json_is_object(new))
        diff_objects(list, path, old, new);
    else if (json_is_array(old) && json_is_array(new))
        diff_lists(list, path, old, new);
    else if ((old || new) && (!old || !new || !json_equal(old, new)))
        add(list, path, old, new);
}

json_t *object_diff(const json_t *old, const json_t *merged)
{
    json_t *list = json_array();
    for (size_t i = 0; i < G_N_ELEMENTS(taken); i++)
        diff(list, taken[i], object_at(old, taken[i]), object_at(merged, taken[i]));
    return list;
}
