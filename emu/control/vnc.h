/*
 * The screen, keyboard and mouse for remote viewers (RFB, RFC 6143), by libvncserver, on a unix
 * socket (mode 0600) or a loopback port. There is no password: who may connect is the socket's
 * owner's business, or what stands before it. On the unix socket viewers may speak WebSocket
 * (RFC 6455), as noVNC does; at a port they may not, since there any web site's pages could.
 *
 * A thread of its own serves the viewers, so that a slow one stops neither a CPU nor the device
 * thread; it takes the board lock for as long as a copy of what changed takes. Without a viewer it
 * sleeps.
 */
#pragma once

#include "emu/machine/machine.h"

struct vnc_server;

/* `where` is "unix:PATH" or "127.0.0.1:PORT" ("[::1]:PORT"). Before machine_run(). */
struct vnc_server *vnc_server_new(struct machine *machine, const char *where, GError **error);
/* Before the machine is freed; NULL is fine. */
void vnc_server_free(struct vnc_server *server);
/* Whether a text is such a place; the error tells what would be right. */
bool vnc_check(const char *where, GError **error);
