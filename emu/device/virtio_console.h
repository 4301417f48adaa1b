/*
 * The virtio console (virtio 1.0, 5.3): port 0 is a console, the others are byte streams between
 * the guest and the host, known by their names. Drivers without the multiport feature, of the
 * legacy interface too, have the console only.
 */
#pragma once

#include "emu/device/device.h"

#define VIRTIO_CONSOLE_MAX_PORTS 9 /* the console included */

extern const struct device_ops virtio_console_ops;

/* The host's end of a port; board lock held, nothing may block. */
struct virtio_console_ends {
    void (*send)(void *opaque, const uint8_t *bytes, size_t count);
    size_t (*queued)(const void *opaque); /* bytes sent that nobody has taken yet */
    void (*feed)(void *opaque);           /* the guest has room: offer what was not taken */
    bool (*is_open)(const void *opaque);
    void *opaque;
};

/* Before realize. Names of the ports after the console, borrowed. */
void virtio_console_set_ports(struct device *device, const char *const *names, unsigned count);
/* Port `index` for what follows; 0 is the console. */
void *virtio_console_port(struct device *device, unsigned index);
void virtio_console_connect(void *port, const struct virtio_console_ends *ends);

/* From the host. */
size_t virtio_console_receive(void *port, const uint8_t *bytes, size_t count); /* what was taken */
void virtio_console_opened(void *port, bool open);
void virtio_console_drained(void *port);
