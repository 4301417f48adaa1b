/* delete, start, stop, restart, migrate: things done to objects. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "controller/cli/apply.h"
#include "controller/cli/client.h"
#include "controller/cli/output.h"
#include "controller/cli/run.h"
#include "controller/cli/target.h"
#include "controller/cli/watch.h"
#include "controller/object/object.h"
#include "controller/object/quantity.h"

/* ---- delete ---------------------------------------------------------------------------------- */

static bool delete_one(struct client *client, const struct kind *kind, const char *name,
                       const struct options *options, GError **error)
{
    g_autofree char *base = target_path(kind, options_namespace(options), name);
    g_autofree char *path = g_strconcat(base, options->force ? "?force=1" : "", NULL);
    g_autofree char *lower = g_ascii_strdown(kind->name, -1);
    long status = 0;
    json_auto_t *object = client_request(client, "DELETE", path, NULL, &status, error);

    if (!object)
        return false;
    if (status == 202 && options->wait) {
        if (!watch_phase(client, kind, name, options, "Deleted", NULL, error))
            return false;
        status = 200;
    }
    printf("%s/%s %s\n", lower, name, status == 200 ? "deleted" : "is being deleted");
    fflush(stdout);
    return true;
}

/* In reverse, so that machines go before the disks they use. */
static bool delete_files(struct client *client, const struct options *options, GError **error)
{
    g_autoptr(GPtrArray) files = apply_load(options, error);

    for (guint i = files ? files->len : 0; i-- > 0;) {
        const GPtrArray *documents = files->pdata[i];

        for (guint j = documents->len; j-- > 0;) {
            const struct manifest *manifest = documents->pdata[j];
            const struct kind *kind = kind_find(object_string(manifest->object, "kind", ""));
            const char *namespace = object_string(manifest->object, "metadata.namespace", NULL);
            struct options of = *options;
            g_autoptr(GError) problem = NULL;

            if (namespace)
                of.namespace = (char *)namespace;
            if (!delete_one(client, kind, object_name(manifest->object), &of, &problem) &&
                !strstr(problem->message, "no ")) {
                g_propagate_error(error, g_steal_pointer(&problem));
                return false;
            }
        }
    }
    return files != NULL;
}

int run_delete(struct client *client, const struct options *options, GError **error)
{
    const struct kind *kind = NULL;
    const char *name;

    if (options->files)
        return delete_files(client, options, error) ? STATUS_OK : STATUS_FAILED;
    if (options->count == 0) {
        g_set_error_literal(error, CLI_ERROR, CLI_ERROR_USAGE,
                            "delete what? write KIND/NAME, or give -f FILE");
        return STATUS_USAGE;
    }
    for (int i = 0; i < options->count; i++) {
        if (i == 0 && !strchr(options->arguments[0], '/')) { /* delete KIND NAME NAME … */
            kind = target_kind(options->arguments[0], error);
            if (!kind)
                return STATUS_USAGE;
            continue;
        }
        struct options one = *options;
        const struct kind *of = kind;

        one.count = i + 1;
        if (!target_parse(&one, i, kind, &of, &name, error))
            return STATUS_USAGE;
        if (!delete_one(client, of, name, options, error))
            return STATUS_FAILED;
    }
    return STATUS_OK;
}

/* ---- start, stop, restart -------------------------------------------------------------------- */

static int machine_action(struct client *client, const struct options *options, const char *action,
                          const char *phase, GError **error)
{
    const struct kind *kind;
    const char *name;

    if (!target_parse(options, 0, &kind_virtualmachine, &kind, &name, error))
        return STATUS_USAGE;
    if (kind != &kind_virtualmachine) {
        g_set_error(error, CLI_ERROR, CLI_ERROR_USAGE, "only machines can %s, not a %s", action,
                    kind->name);
        return STATUS_USAGE;
    }
    g_autofree char *base = target_path(kind, options_namespace(options), name);
    g_autofree char *path =
        g_strdup_printf("%s/%s%s", base, action, options->force ? "?force=1" : "");
    json_auto_t *object = client_request(client, "POST", path, NULL, NULL, error);

    if (!object || (options->wait && !watch_phase(client, kind, name, options, phase, NULL, error)))
        return STATUS_FAILED;
    printf("virtualmachine/%s: %s%s\n", name, action, options->wait ? " done" : " asked for");
    return STATUS_OK;
}

int run_start(struct client *client, const struct options *options, GError **error)
{
    return machine_action(client, options, "start", "Running", error);
}

int run_stop(struct client *client, const struct options *options, GError **error)
{
    return machine_action(client, options, "stop", "Stopped", error);
}

int run_restart(struct client *client, const struct options *options, GError **error)
{
    return machine_action(client, options, "restart", "Running", error);
}

/* ---- migrate --------------------------------------------------------------------------------- */

/* A line for each phase; while copying, how far it is, on a terminal in place. */
static void show_progress(const json_t *migration)
{
    static const char *const moving = "Copying";
    const char *phase = object_string(migration, "status.phase", "Pending");
    uint64_t done = (uint64_t)object_integer(migration, "status.bytesDone", 0);
    uint64_t total = (uint64_t)object_integer(migration, "status.bytesTotal", 0);
    g_autofree char *done_text = quantity_human_bytes(done);
    g_autofree char *total_text = quantity_human_bytes(total);

    if (!isatty(STDERR_FILENO))
        return;
    if (strcmp(phase, moving) == 0 && total)
        fprintf(stderr, "\r\033[K%s %s of %s (%d %%)", phase, done_text, total_text,
                (int)(done * 100 / total));
    else
        fprintf(stderr, "\r\033[K%s", phase);
}

int run_migrate(struct client *client, const struct options *options, GError **error)
{
    const struct kind *kind;
    const char *name, *migration;
    g_autofree char *base = NULL, *path = NULL;
    json_auto_t *body =
        options->target ? json_pack("{s:s}", "targetHost", options->target) : json_object();
    json_auto_t *object = NULL;
    bool ok = true;

    if (!target_parse(options, 0, &kind_virtualmachine, &kind, &name, error))
        return STATUS_USAGE;
    base = target_path(kind, options_namespace(options), name);
    path = g_strconcat(base, "/migrate", NULL);
    object = client_request(client, "POST", path, body, NULL, error);
    if (!object)
        return STATUS_FAILED;
    migration = object_name(object);
    printf("migration/%s created\n", migration);
    fflush(stdout);
    if (options->wait) {
        ok = watch_phase(client, &kind_migration, migration, options, "Succeeded", show_progress,
                         error);
        if (isatty(STDERR_FILENO))
            fputs("\r\033[K", stderr);
    }
    if (ok && options->wait)
        printf("migration/%s succeeded: virtualmachine/%s is on %s\n", migration, name,
               options->target ? options->target : "its new host");
    return ok ? STATUS_OK : STATUS_FAILED;
}
