/*
 * Watching objects change, through lost connections and restarted controllers.
 */
#pragma once

#include "controller/cli/cli.h"

/* Calls `fn` for each change of the list after `revision` until `fn` returns false (true is
 * returned then) or the server refuses. */
bool watch_changes(struct client *client, const struct kind *kind, const struct options *options,
                   const char *revision,
                   bool (*fn)(void *opaque, const char *type, const json_t *object), void *opaque,
                   GError **error);

/* Waits until the object's status.phase is `phase` ("Deleted": until it is gone), at most
 * options->timeout seconds. Phase Failed ends it with an error, unless that is what is waited for.
 * `progress`, may be NULL, is called with each state of the object on the way. */
bool watch_phase(struct client *client, const struct kind *kind, const char *name,
                 const struct options *options, const char *phase,
                 void (*progress)(const json_t *object), GError **error);
