/*
 * Small helpers on objects as JSON (jansson; json_auto_t for locals that own one). Paths have dots
 * and no lists: "metadata.name".
 */
#pragma once

#include "controller/object/kind.h"

/* The value at `path`, borrowed, or NULL. */
json_t *object_at(const json_t *object, const char *path);
/* A string, borrowed; `otherwise` where there is none. */
const char *object_string(const json_t *object, const char *path, const char *otherwise);
int64_t object_integer(const json_t *object, const char *path, int64_t otherwise);
bool object_boolean(const json_t *object, const char *path, bool otherwise);
/* A FIELD_SIZE value in bytes; `otherwise` where there is none. */
uint64_t object_size(const json_t *object, const char *path, uint64_t otherwise);

/* Sets, making objects on the way; take `value`. A NULL value deletes. */
void object_set(json_t *object, const char *path, json_t *value);
void object_set_string(json_t *object, const char *path, const char *value); /* NULL deletes */
void object_set_integer(json_t *object, const char *path, int64_t value);

const char *object_name(const json_t *object);      /* metadata.name, "" if missing */
const char *object_namespace(const json_t *object); /* metadata.namespace, "" if none */
const char *object_uid(const json_t *object);

/* status.conditions: sets the entry of `type` ("True", "False", "Unknown"; reason in CamelCase).
 * Returns whether something other than the time changed; lastTransitionTime changes with status. */
bool object_set_condition(json_t *object, const char *type, const char *status, const char *reason,
                          const char *message);
const json_t *object_condition(const json_t *object, const char *type); /* borrowed or NULL */

/* "2024-01-31T12:00:00Z". Caller frees. */
char *object_time_text(int64_t seconds_since_1970);
