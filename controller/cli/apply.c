/* apply, diff, and delete's files: manifests against the cluster. */
#include <stdio.h>
#include <string.h>

#include "controller/cli/apply.h"
#include "controller/cli/client.h"
#include "controller/cli/output.h"
#include "controller/cli/run.h"
#include "controller/object/object.h"
#include "controller/object/validate.h"

/* One document, checked here by the same tables the controller has. */
static bool check_document(struct manifest *manifest, const struct options *options,
                           GString *problems_out)
{
    g_autoptr(GPtrArray) problems = problems_new();
    const struct kind *kind = NULL;
    json_t *admitted;

    if (options->namespace && !object_at(manifest->object, "metadata.namespace"))
        object_set_string(manifest->object, "metadata.namespace", options->namespace);
    admitted = object_admit(manifest->object, &kind, problems);
    json_decref(admitted);
    for (guint i = 0; i < problems->len; i++) {
        const struct problem *problem = problems->pdata[i];
        g_autofree char *place = manifest_place(manifest, problem->path);

        g_string_append_printf(problems_out, "%s%s: %s%s%s", problems_out->len ? "\n" : "", place,
                               problem->path, *problem->path ? ": " : "", problem->message);
    }
    return problems->len == 0;
}

GPtrArray *apply_load(const struct options *options, GError **error)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new_with_free_func((GDestroyNotify)g_ptr_array_unref);
    g_autoptr(GString) problems = g_string_new(NULL);
    guint documents = 0;

    if (!options->files) {
        g_set_error_literal(error, CLI_ERROR, CLI_ERROR_USAGE,
                            "which manifests? give -f FILE, or -f - for standard input");
        return NULL;
    }
    for (char **file = options->files; *file; file++) {
        GPtrArray *one = manifest_load(*file, error);

        if (!one)
            return NULL;
        g_ptr_array_add(all, one);
        documents += one->len;
        for (guint i = 0; i < one->len; i++)
            check_document(one->pdata[i], options, problems);
    }
    if (problems->len) {
        g_set_error(error, CLI_ERROR, CLI_ERROR_FAILED, "%s", problems->str);
        return NULL;
    }
    if (documents == 0) {
        g_set_error(error, CLI_ERROR, CLI_ERROR_FAILED, "there is no document in %s",
                    options->files[0]);
        return NULL;
    }
    return g_steal_pointer(&all);
}

/* The server's answer for one document. Its error is placed in the file. */
static json_t *post(struct client *client, const struct manifest *manifest, bool dry,
                    GError **error)
{
    g_autofree char *place = NULL;
    GError *refused = NULL;
    json_t *answer =
        client_request(client, "POST", dry ? "/api/v1/apply?dryRun=true" : "/api/v1/apply",
                       manifest->object, NULL, &refused);

    if (answer)
        return answer;
    place = manifest_place(manifest, "");
    g_set_error(error, CLI_ERROR, CLI_ERROR_FAILED, "%s: %s", place, refused->message);
    g_error_free(refused);
    return NULL;
}

static const struct kind *kind_of(const json_t *object)
{
    const struct kind *kind = kind_find(object_string(object, "kind", ""));

    return kind ? kind : &kind_event; /* a kind this client does not know has no better name */
}

static void say_result(const json_t *answer, const char *suffix)
{
    const json_t *object = json_object_get(answer, "object");
    g_autofree char *reference = output_reference(kind_of(object), object);

    printf("%s %s%s\n", reference, json_string_value(json_object_get(answer, "result")), suffix);
    fflush(stdout);
}

static bool apply_one(struct client *client, const struct manifest *manifest,
                      const struct options *options, enum output_form form, json_t *applied,
                      GError **error)
{
    bool dry = options->dry_run != NULL;
    json_auto_t *answer = post(client, manifest, dry, error);

    if (!answer)
        return false;
    if (form == OUTPUT_TABLE)
        say_result(answer, dry ? " (dry run)" : "");
    json_array_append(applied, json_object_get(answer, "object"));
    return true;
}

/* One object alone, or a list of them, as `get` shows them. */
static void show(const json_t *applied, enum output_form form)
{
    json_auto_t *list = NULL;
    const json_t *only = json_array_get(applied, 0);

    if (json_array_size(applied) == 1) {
        output_object(kind_of(only), only, form, false);
        return;
    }
    list =
        json_pack("{s:s, s:s, s:O}", "kind", "List", "apiVersion", API_VERSION, "items", applied);
    output_list(kind_of(only), list, form, false);
}

int run_apply(struct client *client, const struct options *options, GError **error)
{
    json_auto_t *applied = json_array();
    g_autoptr(GPtrArray) files = NULL;
    enum output_form form;

    if (options->dry_run && strcmp(options->dry_run, "server") != 0) {
        g_set_error(error, CLI_ERROR, CLI_ERROR_USAGE,
                    "--dry-run=%s is not known; it is --dry-run=server", options->dry_run);
        return STATUS_USAGE;
    }
    if (!output_form_parse(options->output, &form, error) || !(files = apply_load(options, error)))
        return STATUS_FAILED;
    for (guint i = 0; i < files->len; i++) {
        const GPtrArray *documents = files->pdata[i];

        for (guint j = 0; j < documents->len; j++)
            if (!apply_one(client, documents->pdata[j], options, form, applied, error))
                return STATUS_FAILED;
    }
    if (form != OUTPUT_TABLE)
        show(applied, form);
    return STATUS_OK;
}

/* ---- diff ------------------------------------------------------------------------------------ */

static void print_side(char sign, const char *path, const json_t *value)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);

    printf("  %c %s: %s\n", sign, path, text);
    free(text);
}

static void print_difference(const json_t *answer)
{
    const json_t *change;
    size_t i;

    say_result(answer, "");
    json_array_foreach (json_object_get(answer, "diff"), i, change) {
        const char *path = json_string_value(json_object_get(change, "path"));
        const json_t *before = json_object_get(change, "old");
        const json_t *after = json_object_get(change, "new");

        if (before && !json_is_null(before))
            print_side('-', path, before);
        if (after && !json_is_null(after))
            print_side('+', path, after);
    }
}

int run_diff(struct client *client, const struct options *options, GError **error)
{
    g_autoptr(GPtrArray) files = apply_load(options, error);
    bool differs = false;

    for (guint i = 0; files && i < files->len; i++) {
        const GPtrArray *documents = files->pdata[i];

        for (guint j = 0; j < documents->len; j++) {
            json_auto_t *answer = post(client, documents->pdata[j], true, error);

            if (!answer)
                return STATUS_FAILED;
            if (strcmp(object_string(answer, "result", ""), "unchanged") == 0)
                continue;
            differs = true;
            print_difference(answer);
        }
    }
    return differs ? STATUS_FAILED : STATUS_OK;
}
