#include "controller/object/object.h"
#include "controller/object/quantity.h"

#include <string.h>

/* The next part of a dotted path; advances `*path` past it. */
static char *next_part(const char **path)
{
    const char *dot = strchr(*path, '.');
    char *part = dot ? g_strndup(*path, (gsize)(dot - *path)) : g_strdup(*path);
    *path = dot ? dot + 1 : NULL;
    return part;
}

json_t *object_at(const json_t *object, const char *path)
{
    const json_t *at = object;
    while (path && at) {
        g_autofree char *part = next_part(&path);
        at = json_object_get(at, part);
    }
    return (json_t *)at;
}

const char *object_string(const json_t *object, const char *path, const char *otherwise)
{
    const json_t *value = object_at(object, path);
    return json_is_string(value) ? json_string_value(value) : otherwise;
}

int64_t object_integer(const json_t *object, const char *path, int64_t otherwise)
{
    const json_t *value = object_at(object, path);
    return json_is_integer(value) ? json_integer_value(value) : otherwise;
}

bool object_boolean(const json_t *object, const char *path, bool otherwise)
{
    const json_t *value = object_at(object, path);
    return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

uint64_t object_size(const json_t *object, const char *path, uint64_t otherwise)
{
    const json_t *value = object_at(object, path);
    uint64_t bytes;
    if (json_is_integer(value) && json_integer_value(value) >= 0)
        return (uint64_t)json_integer_value(value);
    if (json_is_string(value) && quantity_parse_bytes(json_string_value(value), &bytes, NULL))
        return bytes;
    return otherwise;
}

void object_set(json_t *object, const char *path, json_t *value)
{
    json_t *at = object;
    for (;;) {
        g_autofree char *part = next_part(&path);
        if (!path) {
            if (value)
                json_object_set_new(at, part, value);
            else
                json_object_del(at, part);
            return;
        }
        json_t *child = json_object_get(at, part);
        if (!json_is_object(child)) {
            if (!value)
                return;
            child = json_object();
            json_object_set_new(at, part, child);
        }
        at = child;
    }
}

void object_set_string(json_t *object, const char *path, const char *value)
{
    object_set(object, path, value ? json_string(value) : NULL);
}

void object_set_integer(json_t *object, const char *path, int64_t value)
{
    object_set(object, path, json_integer(value));
}

const char *object_name(const json_t *object)
{
    return object_string(object, "metadata.name", "");
}

const char *object_namespace(const json_t *object)
{
    return object_string(object, "metadata.namespace", "");
}

const char *object_uid(const json_t *object)
{
    return object_string(object, "metadata.uid", "");
}

char *object_time_text(int64_t seconds)
{
    g_autoptr(GDateTime) time = g_date_time_new_from_unix_utc(seconds);
    return time ? g_date_time_format(time, "%Y-%m-%dT%H:%M:%SZ") : g_strdup("");
}

const json_t *object_condition(const json_t *object, const char *type)
{
    size_t i;
    json_t *condition;
    json_array_foreach (object_at(object, "status.conditions"), i, condition)
        if (strcmp(object_string(condition, "type", ""), type) == 0)
            return condition;
    return NULL;
}

bool object_set_condition(json_t *object, const char *type, const char *status, const char *reason,
                          const char *message)
{
    json_t *condition = (json_t *)object_condition(object, type);
    bool turned = !condition || strcmp(object_string(condition, "status", ""), status) != 0;
    if (!turned && strcmp(object_string(condition, "reason", ""), reason) == 0 &&
        strcmp(object_string(condition, "message", ""), message) == 0)
        return false;
    if (!condition) {
        json_t *conditions = object_at(object, "status.conditions");
        if (!conditions) {
            conditions = json_array();
            object_set(object, "status.conditions", conditions);
        }
        condition = json_object();
        json_array_append_new(conditions, condition);
        object_set_string(condition, "type", type);
    }
    object_set_string(condition, "status", status);
    object_set_string(condition, "reason", reason);
    object_set_string(condition, "message", message);
    if (turned) {
        g_autofree char *now = object_time_text(g_get_real_time() / G_USEC_PER_SEC);
        object_set_string(condition, "lastTransitionTime", now);
    }
    return true;
}
