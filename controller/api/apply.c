/* POST /api/v1/apply: make it so, whether it exists or not. */
#include "controller/api/call.h"
#include "controller/api/merge.h"

static void reply(struct api_call *call, const char *result, const json_t *object, json_t *diff)
{
    json_auto_t *body = json_pack("{s:s, s:O}", "result", result, "object", object);
    if (diff)
        json_object_set_new(body, "diff", diff);
    call_reply(call, 200, body);
}

static void create(struct api_call *call, json_t *object, bool dry)
{
    g_autoptr(GError) error = NULL;
    if (!dry && !registry_create(call->api->registry, object, &error)) {
        call_fail_store(call, error);
        return;
    }
    if (!dry)
        cluster_touch(call->api->cluster);
    reply(call, "created", object, NULL);
}

static void configure(struct api_call *call, const struct kind *kind, json_t *old,
                      const json_t *object, bool dry)
{
    g_autoptr(GPtrArray) problems = problems_new();
    g_autoptr(GError) error = NULL;
    if (!object_check_update(kind, old, object, problems)) {
        call_invalid(call, problems);
        return;
    }
    if (object_at(old, "metadata.deletionTimestamp")) {
        call_fail(call, API_CONFLICT, "%s %s is being deleted: apply it again when it is gone",
                  kind->name, object_name(old));
        return;
    }
    json_auto_t *merged = object_merge(old, object);
    json_t *diff = object_diff(old, merged);
    if (json_array_size(diff) == 0) {
        json_decref(diff);
        reply(call, "unchanged", old, NULL);
    } else if (dry) {
        reply(call, "configured", merged, diff);
    } else if (registry_update(call->api->registry, merged, &error)) {
        cluster_touch(call->api->cluster);
        reply(call, "configured", merged, diff);
    } else {
        json_decref(diff);
        call_fail_store(call, error);
    }
}

void apply_handle(struct api_call *call)
{
    json_auto_t *body = call_body(call, false);
    g_autoptr(GPtrArray) problems = problems_new();
    const struct kind *kind = NULL;
    bool dry = call_flag(call, "dryRun");
    if (!body)
        return;
    json_auto_t *object = object_admit(body, &kind, problems);
    if (!object) {
        call_invalid(call, problems);
        return;
    }
    json_t *old =
        registry_get(call->api->registry, kind, object_namespace(object), object_name(object));
    if (!old && !kind->creatable) {
        problems_add(problems, "kind", "a %s cannot be created: the controller makes it itself",
                     kind->name);
        call_invalid(call, problems);
    } else if (old)
        configure(call, kind, old, object, dry);
    else
        create(call, object, dry);
}
