/*
 * Strict validation of what people send: unknown fields, wrong types and units, ranges, names.
 *
 * A problem names its place by path, so that a program which parsed YAML can say file, line and
 * column: "spec.disks[1].bus"; "metadata.labels.app" for a map's entry; "" for the whole object.
 * An unknown field's path ends with the unknown name.
 */
#pragma once

#include "controller/object/kind.h"

struct problem {
    char *path;
    char *message; /* no path in it: "must be one of ide, not \"scsi\"" */
};
void problem_free(struct problem *problem);
GPtrArray *problems_new(void); /* of struct problem, freed with it */
void problems_add(GPtrArray *problems, const char *path, const char *format, ...)
    G_GNUC_PRINTF(3, 4);
/* All of them as one text, "path: message; path: message". Caller frees. */
char *problems_text(const GPtrArray *problems);

/* Checks a whole manifest and returns what is to be stored: defaults filled in, the namespace set,
 * read-only fields (status, uid …) left out; metadata.resourceVersion is kept where given. On
 * problems returns NULL, having added every one found. `ret_kind` may be NULL; it is set as soon as
 * the kind is known. */
json_t *object_admit(const json_t *input, const struct kind **ret_kind, GPtrArray *problems);

/* Immutable fields of `updated` (admitted) against the stored `old`. False: problems added. */
bool object_check_update(const struct kind *kind, const json_t *old, const json_t *updated,
                         GPtrArray *problems);
