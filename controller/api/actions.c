/* What one does to a machine: start, stop, restart, migrate. Each writes what is wanted; the
 * reconcilers do it. */
#include "controller/api/call.h"
#include "controller/reconcile/machine.h"

#include <string.h>

/* The machine's draft, or NULL having answered. */
static json_t *draft_of(struct api_call *call)
{
    json_t *machine = call_object(call);
    if (machine && object_at(machine, "metadata.deletionTimestamp")) {
        call_fail(call, API_CONFLICT, "machine %s is being deleted", call->name);
        return NULL;
    }
    return machine ? json_deep_copy(machine) : NULL;
}

static void save(struct api_call *call, json_t *draft)
{
    g_autoptr(GError) error = NULL;
    if (!registry_update(call->api->registry, draft, &error)) {
        call_fail_store(call, error);
        return;
    }
    cluster_touch(call->api->cluster);
    call_reply(call, 202, draft);
}

/* Always and Halted are not for start and stop. */
static bool has_switch(struct api_call *call, const json_t *draft, const char *verb)
{
    const char *strategy = object_string(draft, "spec.runStrategy", "Always");
    if (strcmp(strategy, "Manual") == 0 || strcmp(strategy, "RerunOnFailure") == 0)
        return true;
    call_fail(call, API_CONFLICT,
              "machine %s has runStrategy %s, which decides by itself; to %s it by hand set "
              "runStrategy: Manual",
              call->name, strategy, verb);
    return false;
}

static void set_power(struct api_call *call, const char *power, const char *verb)
{
    json_auto_t *draft = draft_of(call);
    if (!draft || !has_switch(call, draft, verb))
        return;
    bool off = strcmp(power, "Off") == 0;
    object_set_string(draft, "status.power", power);
    object_set(draft, "status.force", off && call_flag(call, "force") ? json_true() : NULL);
    if (!off) {
        object_set(draft, "status.nextStart", NULL);
        object_set(draft, "status.failures", NULL);
    }
    save(call, draft);
}

void action_start(struct api_call *call)
{
    set_power(call, "On", "start");
}

void action_stop(struct api_call *call)
{
    set_power(call, "Off", "stop");
}

void action_restart(struct api_call *call)
{
    json_auto_t *draft = draft_of(call);
    if (!draft)
        return;
    if (!machine_wanted(draft)) {
        call_fail(call, API_CONFLICT, "machine %s is not meant to run now: %s", call->name,
                  object_at(draft, "status.migration") ? "it is being moved" : "start it instead");
        return;
    }
    if (!machine_ended(draft)) {
        object_set_integer(draft, "status.restartId", object_integer(draft, "status.startId", 0));
        object_set(draft, "status.force", call_flag(call, "force") ? json_true() : NULL);
    }
    object_set(draft, "status.nextStart", NULL);
    object_set(draft, "status.failures", NULL);
    save(call, draft);
}

/* ---- migrate --------------------------------------------------------------------------------- */

static json_t *new_migration(struct api_call *call, const char *target)
{
    g_autofree char *random = g_uuid_string_random();
    g_autofree char *name = g_strdup_printf("%.54s-%.8s", call->name, random);
    json_t *migration = json_pack("{s:s, s:s, s:{s:s, s:s}, s:{s:s}}", "apiVersion", API_VERSION,
                                  "kind", "Migration", "metadata", "name", name, "namespace",
                                  call->namespace, "spec", "machine", call->name);
    object_set_string(migration, "spec.targetHost", target);
    return migration;
}

void action_migrate(struct api_call *call)
{
    json_auto_t *body = call_body(call, true);
    json_auto_t *machine = body ? draft_of(call) : NULL;
    g_autoptr(GPtrArray) problems = problems_new();
    g_autoptr(GError) error = NULL;
    if (!machine)
        return;
    const char *other = object_string(machine, "status.migration", NULL);
    if (other) {
        call_fail(call, API_CONFLICT, "machine %s is being moved already, by Migration %s",
                  call->name, other);
        return;
    }
    json_auto_t *asked = new_migration(call, object_string(body, "targetHost", NULL));
    json_auto_t *migration = object_admit(asked, NULL, problems);
    if (!migration)
        call_invalid(call, problems);
    else if (!registry_create(call->api->registry, migration, &error))
        call_fail_store(call, error);
    else {
        cluster_touch(call->api->cluster);
        call_reply(call, 201, migration);
    }
}
