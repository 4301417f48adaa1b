/*
 * Who the host is in its cluster: key, certificate, CA and secret, got once by joining.
 *
 * Kept in DATA/identity with mode 0600. The join is described in controller/api/api.h.
 */
#pragma once

#include <glib.h>
#include <stdint.h>

#include "proto/message.h"

struct identity {
    char *host;
    char *cluster_id;
    char *ca, *certificate, *key; /* PEM */
    uint8_t secret[MESSAGE_SECRET_LENGTH];
    char *endpoint;  /* nng URL of the controller's agent port */
    char *rest_host; /* of the controller's REST port, for streams */
    uint16_t rest_port;
};

/* Loads what DATA/identity has; where there is nothing, joins `controller` with `join_token` and
 * saves. An identity of another host name is an error. */
struct identity *identity_open(const char *folder, const char *host, const char *controller,
                               const char *join_token, GError **error);
void identity_free(struct identity *identity);
