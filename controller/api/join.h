/*
 * Join tokens and the hosts' secrets, as they stand in the store.
 */
#pragma once

#include "controller/api/credentials.h"

#include <jansson.h>

/* Makes a token good for `hours`: {"id", "token", "expires"}. New reference, or NULL. */
json_t *join_token_make(struct store *store, const struct credentials *credentials, int64_t hours,
                        GError **error);
/* The secret agents of `host` sign with; false: no such host. */
bool join_find_secret(struct store *store, const char *host,
                      uint8_t ret_secret[MESSAGE_SECRET_LENGTH]);
