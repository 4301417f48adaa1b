#include "controller/cli/watch.h"

#include <string.h>

#include "controller/cli/client.h"
#include "controller/cli/target.h"
#include "controller/object/object.h"

#define LINE_MAX_BYTES  (8u << 20)
#define RETRIES_US      (30 * G_USEC_PER_SEC) /* how long an unreachable controller is retried */
#define TIMEOUT_DEFAULT 300
#define POLL_US         250000

struct watch {
    bool (*fn)(void *opaque, const char *type, const json_t *object);
    void *opaque;
    GString *line;
    char *revision; /* of the newest change seen */
    bool ended;     /* fn has enough */
    GError *refused;
};

static void take_line(struct watch *watch, const char *text, size_t length)
{
    json_auto_t *change = json_loadb(text, length, 0, NULL);
    const char *type = object_string(change, "type", "");
    const json_t *object = json_object_get(change, "object");
    const char *revision = object_string(change, "resourceVersion", NULL);

    if (object)
        revision = object_string(object, "metadata.resourceVersion", revision);
    if (revision) {
        g_free(watch->revision);
        watch->revision = g_strdup(revision);
    }
    if (strcmp(type, "ERROR") == 0)
        g_set_error(&watch->refused, CLI_ERROR, CLI_ERROR_FAILED, "%s",
                    object_string(change, "error.message", "the watch was ended"));
    else if (object)
        watch->ended = !watch->fn(watch->opaque, type, object);
}

static bool take_bytes(void *opaque, const char *bytes, size_t length)
{
    struct watch *watch = opaque;
    char *end;

    if (watch->line->len + length > LINE_MAX_BYTES)
        return false;
    g_string_append_len(watch->line, bytes, (gssize)length);
    while (!watch->ended && !watch->refused &&
           (end = memchr(watch->line->str, '\n', watch->line->len))) {
        size_t n = (size_t)(end - watch->line->str);

        take_line(watch, watch->line->str, n);
        g_string_erase(watch->line, 0, (gssize)n + 1);
    }
    return !watch->ended && !watch->refused;
}

bool watch_changes(struct client *client, const struct kind *kind, const struct options *options,
                   const char *revision,
                   bool (*fn)(void *opaque, const char *type, const json_t *object), void *opaque,
                   GError **error)
{
    struct watch watch = {.fn = fn,
                          .opaque = opaque,
                          .line = g_string_new(NULL),
                          .revision = g_strdup(revision ? revision : "0")};
    int64_t lost = 0;
    GError *problem = NULL;

    while (!watch.ended && !watch.refused) {
        g_autofree char *extra = g_strdup_printf("watch=1&resourceVersion=%s", watch.revision);
        g_autofree char *path = target_list_path(kind, options, extra);

        g_clear_error(&problem);
        g_string_truncate(watch.line, 0);
        if (client_stream(client, path, take_bytes, &watch, &problem))
            lost = 0;
        else if (lost == 0)
            lost = g_get_monotonic_time();
        if (lost && g_get_monotonic_time() - lost > RETRIES_US)
            break;
        if (!watch.ended && !watch.refused)
            g_usleep(POLL_US);
    }
    if (watch.refused)
        g_propagate_error(error, g_steal_pointer(&watch.refused));
    else if (!watch.ended)
        g_propagate_error(error, g_steal_pointer(&problem));
    g_clear_error(&problem);
    g_string_free(watch.line, TRUE);
    g_free(watch.revision);
    return watch.ended;
}

/* ---- waiting for a phase --------------------------------------------------------------------- */

enum look {
    LOOK_WAIT,
    LOOK_DONE,
    LOOK_FAILED,
};

static enum look look(const struct kind *kind, const char *name, const json_t *object,
                      const char *phase, GError **error)
{
    const char *now = object_string(object, "status.phase", "");

    if (strcmp(now, phase) == 0)
        return LOOK_DONE;
    if (strcmp(now, "Failed") != 0)
        return LOOK_WAIT;
    g_set_error(error, CLI_ERROR, CLI_ERROR_FAILED, "%s %s has failed: %s", kind->name, name,
                object_string(object, "status.message", "no reason is given"));
    return LOOK_FAILED;
}

static bool timed_out(const struct kind *kind, const char *name, const json_t *object,
                      const char *phase, int seconds, GError **error)
{
    const char *message = object ? object_string(object, "status.message", NULL) : NULL;

    g_set_error(error, CLI_ERROR, CLI_ERROR_FAILED, "%s %s is %s, not %s, after %d s%s%s",
                kind->name, name, object ? object_string(object, "status.phase", "new") : "unknown",
                phase, seconds, message ? ": " : "", message ? message : "");
    return false;
}

/* Polls: one small request, four times a second, copes with everything a watch would have to. */
bool watch_phase(struct client *client, const struct kind *kind, const char *name,
                 const struct options *options, const char *phase,
                 void (*progress)(const json_t *object), GError **error)
{
    int seconds = options->timeout > 0 ? options->timeout : TIMEOUT_DEFAULT;
    int64_t deadline = g_get_monotonic_time() + seconds * G_USEC_PER_SEC;
    g_autofree char *path = target_path(kind, options_namespace(options), name);

    for (;;) {
        g_autoptr(GError) problem = NULL;
        long status = 0;
        json_auto_t *object = client_request(client, "GET", path, NULL, &status, &problem);
        enum look seen = LOOK_WAIT;

        if (!object && status == 404 && strcmp(phase, "Deleted") == 0)
            return true;
        if (!object && status >= 400 && status < 500) {
            g_propagate_error(error, g_steal_pointer(&problem));
            return false;
        }
        if (object && progress)
            progress(object);
        if (object)
            seen = look(kind, name, object, phase, error);
        if (seen != LOOK_WAIT)
            return seen == LOOK_DONE;
        if (g_get_monotonic_time() > deadline)
            return timed_out(kind, name, object, phase, seconds, error);
        g_usleep(POLL_US);
    }
}
