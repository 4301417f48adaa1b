/*
 * The client's configuration: which server, how to know it, who we are.
 *
 * Looked for in --config FILE, $DROVER_CONFIG, ~/.config/drover/config.yaml, in this order. The
 * controller writes such a file at its first start (controller/api/api.h).
 */
#pragma once

#include <glib.h>

struct client_config {
    char *path;        /* where it was found */
    char *server;      /* "https://HOST:PORT" */
    char *server_name; /* the name in its certificate */
    char *ca;          /* PEM */
    char *token;
};

/* `path` NULL: the other two places. */
struct client_config *client_config_load(const char *path, GError **error);
void client_config_free(struct client_config *config);
