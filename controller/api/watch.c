/* ?watch=1: changes as they come, one JSON object a line. */
#include "controller/api/call.h"
#include "controller/object/selector.h"

#include <string.h>

#define BATCH            256        /* changes read at a time */
#define BEHIND_MAX       (4u << 20) /* bytes a slow reader may leave unread before we hang up */
#define BOOKMARK_SECONDS 15

struct watcher {
    struct api *api;
    struct evhttp_request *request;
    struct evhttp_connection *connection;
    char *prefix;
    char *involved_uid; /* or NULL */
    struct selector *selector;
    uint64_t revision; /* everything up to it has been sent */
    unsigned quiet;    /* seconds since something was sent */
};

static void watcher_free(struct watcher *watcher)
{
    g_ptr_array_remove(watcher->api->watchers, watcher);
    selector_free(watcher->selector);
    g_free(watcher->prefix);
    g_free(watcher->involved_uid);
    g_free(watcher);
}

static void closed(struct evhttp_connection *connection, void *opaque)
{
    struct watcher *watcher = opaque;
    request_abandon(watcher->request);
    watcher_free(watcher);
}

static void send_line(struct watcher *watcher, json_t *line /* taken */)
{
    char *text = json_dumps(line, JSON_COMPACT);
    struct evbuffer *buffer = evbuffer_new();
    evbuffer_add_printf(buffer, "%s\n", text);
    evhttp_send_reply_chunk(watcher->request, buffer);
    evbuffer_free(buffer);
    free(text);
    json_decref(line);
    watcher->quiet = 0;
}

static void end(struct watcher *watcher)
{
    evhttp_connection_set_closecb(watcher->connection, NULL, NULL);
    evhttp_send_reply_end(watcher->request);
    watcher_free(watcher);
}

static bool selected(const struct watcher *watcher, const json_t *object)
{
    return object && selector_matches(watcher->selector, object_at(object, "metadata.labels")) &&
           (!watcher->involved_uid ||
            strcmp(object_string(object, "involved.uid", ""), watcher->involved_uid) == 0);
}

static void send_change(struct watcher *watcher, const struct store_change *change)
{
    json_auto_t *old =
        change->old_value ? registry_parse(change->old_value, change->revision) : NULL;
    json_auto_t *new = change->value ? registry_parse(change->value, change->revision) : NULL;
    bool was = selected(watcher, old), is = selected(watcher, new);
    if (!was && !is)
        return;
    const char *type = !was ? "ADDED" : !is ? "DELETED" : "MODIFIED";
    send_line(watcher, json_pack("{s:s, s:O}", "type", type, "object", new ? new : old));
}

/* False when the watcher has been ended. */
static bool pump(struct watcher *watcher)
{
    struct evbuffer *output =
        bufferevent_get_output(evhttp_connection_get_bufferevent(watcher->connection));
    struct store *store = registry_store(watcher->api->registry);
    while (watcher->revision < store_revision(store)) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GPtrArray) changes = store_changes(store, watcher->prefix, watcher->revision,
                                                     BATCH, &watcher->revision, &error);
        if (!changes || evbuffer_get_length(output) > BEHIND_MAX) {
            bool compacted = g_error_matches(error, STORE_ERROR, STORE_ERROR_COMPACTED);
            const char *why = error ? error->message : "too slow a reader: list again";
            send_line(
                watcher,
                json_pack("{s:s, s:o}", "type", "ERROR", "error",
                          api_error_json(compacted || !error ? API_EXPIRED : API_INTERNAL, why)));
            end(watcher);
            return false;
        }
        for (guint i = 0; i < changes->len; i++)
            send_change(watcher, changes->pdata[i]);
    }
    return true;
}

void watch_start(struct api_call *call, struct selector *selector, const char *involved_uid)
{
    struct store *store = registry_store(call->api->registry);
    const char *from = call_query(call, "resourceVersion");
    struct watcher *watcher = g_new0(struct watcher, 1);
    watcher->api = call->api;
    watcher->request = call->request;
    watcher->connection = evhttp_request_get_connection(call->request);
    watcher->prefix = registry_key(call->kind, call->namespace, NULL);
    watcher->involved_uid = g_strdup(involved_uid);
    watcher->selector = selector;
    watcher->revision = from ? g_ascii_strtoull(from, NULL, 10) : store_revision(store);
    g_ptr_array_add(call->api->watchers, watcher);
    api_count(call->api, call->request, 200, call->kind->plural);
    evhttp_add_header(evhttp_request_get_output_headers(call->request), "Content-Type",
                      "application/json");
    evhttp_connection_set_closecb(watcher->connection, closed, watcher);
    evhttp_send_reply_start(call->request, 200, NULL);
    pump(watcher);
}

void watch_pump(struct api *api)
{
    for (guint i = api->watchers->len; i > 0; i--)
        pump(api->watchers->pdata[i - 1]);
}

void watch_tick(struct api *api)
{
    for (guint i = api->watchers->len; i > 0; i--) {
        struct watcher *watcher = api->watchers->pdata[i - 1];
        if (++watcher->quiet < BOOKMARK_SECONDS || !pump(watcher))
            continue;
        g_autofree char *revision = g_strdup_printf("%" G_GUINT64_FORMAT, watcher->revision);
        send_line(watcher,
                  json_pack("{s:s, s:s}", "type", "BOOKMARK", "resourceVersion", revision));
    }
}

void watch_free_all(struct api *api)
{
    while (api->watchers->len > 0) {
        struct watcher *watcher = api->watchers->pdata[0];
        evhttp_connection_set_closecb(watcher->connection, NULL, NULL);
        watcher_free(watcher);
    }
}
