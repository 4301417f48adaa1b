#include "controller/reconcile/cluster.h"

#include <string.h>

#define KEEP_SECONDS (24 * 3600)
#define KEEP_COUNT   1000

static char *time_text(int64_t seconds)
{
    return object_time_text(seconds);
}

static json_t *new_event(const json_t *object, bool warning, const char *reason,
                         const char *message, const char *name, const char *now)
{
    const char *namespace = object_namespace(object);
    return json_pack("{s:s, s:s, s:{s:s, s:s}, s:{s:s, s:s, s:s, s:s}, s:s, s:s, s:s, s:s}",
                     "apiVersion", API_VERSION, "kind", "Event", "metadata", "name", name,
                     "namespace", namespace[0] ? namespace : NAMESPACE_DEFAULT, "involved", "kind",
                     object_string(object, "kind", ""), "namespace", namespace, "name",
                     object_name(object), "uid", object_uid(object), "type",
                     warning ? "Warning" : "Normal", "reason", reason, "message", message,
                     "firstTime", now);
}

/* The name is made of what it says, so that the same thing said again is the same event. */
void event_record(struct cluster *cluster, const json_t *object, bool warning, const char *reason,
                  const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *message = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_autofree char *text = g_strconcat(object_uid(object), "|", reason, "|", message, NULL);
    g_autofree char *hash = g_compute_checksum_for_string(G_CHECKSUM_SHA256, text, -1);
    g_autofree char *name = g_strndup(hash, 20);
    g_autofree char *now = time_text(g_get_real_time() / G_USEC_PER_SEC);
    const char *namespace = object_namespace(object);
    json_t *known = registry_get(cluster->registry, &kind_event,
                                 namespace[0] ? namespace : NAMESPACE_DEFAULT, name);
    json_auto_t *event =
        known ? json_deep_copy(known) : new_event(object, warning, reason, message, name, now);
    object_set_string(event, "lastTime", now);
    object_set_integer(event, "count", object_integer(event, "count", 0) + 1);
    g_message("%s %s/%s: %s: %s", object_string(object, "kind", ""), namespace, object_name(object),
              reason, message);
    cluster_save(cluster, event);
}

static int compare_times(const void *left, const void *right)
{
    return strcmp(object_string(*(json_t *const *)left, "lastTime", ""),
                  object_string(*(json_t *const *)right, "lastTime", ""));
}

void event_expire(struct cluster *cluster)
{
    g_autoptr(GPtrArray) events = registry_list(cluster->registry, &kind_event, NULL);
    g_autofree char *oldest = time_text(g_get_real_time() / G_USEC_PER_SEC - KEEP_SECONDS);
    g_ptr_array_sort(events, compare_times);
    for (guint i = 0; i < events->len; i++) {
        bool old = strcmp(object_string(events->pdata[i], "lastTime", ""), oldest) < 0;
        if (!old && events->len - i <= KEEP_COUNT)
            break;
        cluster_remove(cluster, events->pdata[i]);
    }
}
