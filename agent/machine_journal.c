#include "agent/machine_journal.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "agent/files.h"

#define STATE_LAST CLUSTER__MACHINE_STATE__MACHINE_FAILED
#define EXIT_LAST  CLUSTER__MACHINE_EXIT__EXIT_LOST

static char *text_of(const json_t *object, const char *key)
{
    return g_strdup(json_string_value(json_object_get(object, key)));
}

static json_int_t number_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static bool in_range(const json_t *object, const char *key, json_int_t last)
{
    json_int_t number = number_of(object, key);

    return number >= 0 && number <= last;
}

/* NULL where the array holds anything but texts. */
static char **texts_of(const json_t *array)
{
    g_autoptr(GPtrArray) texts = g_ptr_array_new_with_free_func(g_free);
    const json_t *item;
    size_t i;

    json_array_foreach ((json_t *)array, i, item) {
        if (!json_is_string(item))
            return NULL;
        g_ptr_array_add(texts, g_strdup(json_string_value(item)));
    }
    g_ptr_array_add(texts, NULL);
    return (char **)g_ptr_array_steal(texts, NULL);
}

bool machine_journal_load(struct machine_journal *journal, const char *folder)
{
    g_autofree char *path = g_build_filename(folder, "journal.json", NULL);
    json_auto_t *object = json_load_file(path, 0, NULL);

    *journal = (struct machine_journal){
        .uid = text_of(object, "uid"),
        .namespace = text_of(object, "namespace"),
        .name = text_of(object, "name"),
        .start_id = (uint64_t)number_of(object, "startId"),
        .state = (Cluster__MachineState)number_of(object, "state"),
        .exit = (Cluster__MachineExit)number_of(object, "exit"),
        .message = text_of(object, "message"),
        .boot_id = text_of(object, "bootId"),
        .started_at = number_of(object, "startedAt"),
        .memory_bytes = (uint64_t)number_of(object, "memoryBytes"),
        .stop_ordered = json_is_true(json_object_get(object, "stopOrdered")),
    };
    journal->disks = texts_of(json_object_get(object, "disks"));
    if (journal->uid && journal->namespace && journal->name && journal->disks &&
        in_range(object, "startId", INT64_MAX) && in_range(object, "state", STATE_LAST) &&
        in_range(object, "exit", EXIT_LAST))
        return true;
    machine_journal_clear(journal);
    return false;
}

bool machine_journal_save(const struct machine_journal *journal, const char *folder, GError **error)
{
    g_autofree char *path = g_build_filename(folder, "journal.json", NULL);
    g_autofree char *message = NULL; /* of whatever bytes a program or a file's name had */
    json_t *disks = json_array();
    json_auto_t *object = NULL;
    char *text;
    bool ok;

    for (char **uid = journal->disks; uid && *uid; uid++)
        json_array_append_new(disks, json_string(*uid));
    if (journal->message)
        message = g_utf8_make_valid(journal->message, -1);
    object =
        json_pack("{s:s, s:s, s:s, s:I, s:i, s:i, s:s*, s:s*, s:I, s:I, s:b, s:o}", "uid",
                  journal->uid, "namespace", journal->namespace, "name", journal->name, "startId",
                  (json_int_t)journal->start_id, "state", (int)journal->state, "exit",
                  (int)journal->exit, "message", message, "bootId", journal->boot_id, "startedAt",
                  (json_int_t)journal->started_at, "memoryBytes", (json_int_t)journal->memory_bytes,
                  "stopOrdered", (int)journal->stop_ordered, "disks", disks);
    text = json_dumps(object, JSON_INDENT(2));
    ok = file_replace(path, text, strlen(text), 0600, error);
    free(text);
    return ok;
}

void machine_journal_clear(struct machine_journal *journal)
{
    g_free(journal->uid);
    g_free(journal->namespace);
    g_free(journal->name);
    g_free(journal->message);
    g_free(journal->boot_id);
    g_strfreev(journal->disks);
    *journal = (struct machine_journal){0};
}
