/*
 * TransferFrames over a TLS connection, and the hash of a file; for the transfers' threads.
 */
#pragma once

#include <glib.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/cluster.pb-c.h"

#define FRAME_MAX      (1024 * 1024 + 64 * 1024) /* bytes, packed */
#define FRAME_DATA_MAX (1024 * 1024)             /* bytes of data in one */

/* "host:port" to a connected, blocking socket that gives up after `timeout_seconds` of silence. */
int transfer_dial(const char *address, int timeout_seconds, GError **error);
void transfer_socket_timeout(int fd, int seconds);

bool frame_send(SSL *ssl, const Cluster__TransferFrame *frame, GError **error);
/* Free with cluster__transfer_frame__free_unpacked(frame, NULL). An error frame becomes
 * AGENT_ERROR_REFUSED, a broken connection AGENT_ERROR_CONNECTION. */
Cluster__TransferFrame *frame_receive(SSL *ssl, GError **error);
/* Tells the peer why we give up; what goes wrong here is not told. */
void frame_send_error(SSL *ssl, const char *message);

/* Exact positioned file I/O. */
bool file_read_at(int fd, const char *path, uint64_t offset, void *buffer, size_t length,
                  GError **error);
bool file_write_at(int fd, const char *path, uint64_t offset, const void *buffer, size_t length,
                   GError **error);

/* The text of what OpenSSL last complained about on this thread. Caller frees. */
char *tls_reason(SSL *ssl, int result);
