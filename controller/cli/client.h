/*
 * The controller's REST API (controller/api/api.h) from the client's side, over libcurl.
 */
#pragma once

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "controller/cli/config.h"

struct client;

/* Takes `config`. Connects at the first request. */
struct client *client_new(struct client_config *config);
void client_free(struct client *client); /* NULL is fine */
const struct client_config *client_config(const struct client *client);

/* One request; `body` may be NULL (borrowed). The answer's JSON (a new reference; json_null() for
 * an empty one), or NULL with the server's own message. `ret_status` may be NULL; it is set, also
 * with an error, when the server has answered. */
json_t *client_request(struct client *client, const char *method, const char *path,
                       const json_t *body, long *ret_status, GError **error);

/* GETs a stream; calls `fn` with what comes, until the server closes or `fn` returns false. */
bool client_stream(struct client *client, const char *path,
                   bool (*fn)(void *opaque, const char *bytes, size_t length), void *opaque,
                   GError **error);

/* GETs with an upgrade: a connected TLS stream, to be used through client_upgraded_*(). */
struct upgraded;
struct upgraded *client_upgrade(struct client *client, const char *path, const char *protocol,
                                GError **error);
int upgraded_fd(const struct upgraded *stream);
/* >0 bytes, 0 nothing now, -1 the stream is over. */
ssize_t upgraded_read(struct upgraded *stream, void *buffer, size_t size);
bool upgraded_write(struct upgraded *stream, const void *bytes, size_t length);
void upgraded_free(struct upgraded *stream);

/* Percent-encodes one part of a path or query. Caller frees. */
char *client_escape(const char *text);
