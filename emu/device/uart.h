/*
 * The 16550A serial port (National Semiconductor PC16550D).
 *
 * What the guest sends goes to a back end's function; what comes from outside is offered with
 * uart_receive(), which takes as much as the FIFO has room for.
 */
#pragma once

#include "emu/core/irq.h"
#include "emu/device/device.h"

extern const struct device_ops uart_ops;
extern const struct device_ops uart_second_ops; /* the same with a name of its own */

/* Called with the board lock held; must not block. */
typedef void uart_send_function(void *opaque, const uint8_t *bytes, size_t count);

/* Before realize; one that is not connected is not there. */
void uart_connect(struct device *device, uint16_t port, struct irq *output);
void uart_set_back_end(struct device *device, uart_send_function *send, void *opaque);
/* Takes up to `count` bytes from the line; returns how many. Board lock held. */
size_t uart_receive(struct device *device, const uint8_t *bytes, size_t count);
size_t uart_receive_room(const struct device *device);
uint64_t uart_bytes_sent(const struct device *device);
uint64_t uart_bytes_received(const struct device *device);
