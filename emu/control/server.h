/*
 * The control socket: nng rep over ipc://, messages of proto/emu.proto. Served by the device
 * thread.
 */
#pragma once

#include "emu/machine/machine.h"

struct control_server;

/* `url` is "ipc://PATH"; the socket's mode becomes 0600. Borrows the machine. */
struct control_server *control_server_new(struct machine *machine, const char *url, GError **error);
/* Serves no more; before the machine goes. NULL is fine here and below. */
void control_server_stop(struct control_server *server);
/* Closes the socket. Best done late: the reply to COMMAND_QUIT may still be on its way. */
void control_server_free(struct control_server *server);
/* Packs the reply to a packed request: what the socket does with each message. New bytes. */
GBytes *control_server_answer(struct machine *machine, const uint8_t *request, size_t size);
