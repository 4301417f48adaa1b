/*
 * The cluster's keys and certificates, under the controller's data directory:
 *     pki/ca.crt, pki/ca.key                  the cluster's CA, made at the first start
 *     pki/controller.crt, pki/controller.key  the controller's own, made when its addresses change
 *     drover.yaml                             how an administrator reaches the API
 * All but the CA certificate have mode 0600.
 */
#pragma once

#include "controller/store/store.h"
#include "proto/message.h"
#include "proto/pki.h"

struct credentials;

/* Reads what is there and makes what is not. `address` is the REST address people are told. */
struct credentials *credentials_open(const char *data_dir, struct store *store, const char *address,
                                     GError **error);
/* Writes drover.yaml if it is not there or names another server; after the port is known. */
bool credentials_write_config(struct credentials *credentials, uint16_t port, GError **error);
void credentials_free(struct credentials *credentials);

const char *credentials_ca(const struct credentials *credentials);     /* PEM */
const char *credentials_ca_key(const struct credentials *credentials); /* PEM */
const char *credentials_ca_pin(const struct credentials *credentials); /* SHA-256, hex */
const char *credentials_config_path(const struct credentials *credentials);
/* SHA-256, hex, of the administrator's token. */
const char *credentials_admin_hash(const struct credentials *credentials);
/* For the agents' port. Borrowed. */
struct message_tls credentials_message_tls(const struct credentials *credentials);
/* For the REST port: clients need no certificate. Caller SSL_CTX_free()s. */
SSL_CTX *credentials_rest_tls(const struct credentials *credentials, GError **error);
