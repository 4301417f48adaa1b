#include "emu/device/debug_port.h"

#include "emu/core/port.h"

struct debug_port {
    struct device device;
    struct debug_port_ends ends;
};

/* Firmware knows by the value read that somebody listens. */
static uint32_t text_read(void *opaque, uint16_t offset, unsigned size)
{
    return 0xe9;
}

static void text_write(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    struct debug_port *port = opaque;
    port->ends.text(port->ends.opaque, (uint8_t)value);
}

static void exit_write(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    struct debug_port *port = opaque;
    port->ends.exit(port->ends.opaque, (int)((value & 0x7f) << 1 | 1));
}

static const struct port_ops text_ops = {text_read, text_write, 1};
static const struct port_ops exit_ops = {NULL, exit_write, 1};

void debug_port_connect(struct device *device, const struct debug_port_ends *ends)
{
    ((struct debug_port *)device)->ends = *ends;
}

static bool realize(struct device *device, GError **error)
{
    struct debug_port *port = (struct debug_port *)device;
    if (port->ends.text) {
        port_add(device->board->ports, "debug-402", 0x402, 1, &text_ops, port);
        port_add(device->board->ports, "debug-e9", 0xe9, 1, &text_ops, port);
    }
    if (port->ends.exit)
        port_add(device->board->ports, "debug-exit", port->ends.exit_port, 1, &exit_ops, port);
    return true;
}

static void reset(struct device *device)
{
}

static const struct state_field state[] = {STATE_END};

const struct device_ops debug_port_ops = {.name = "debug-port",
                                          .size = sizeof(struct debug_port),
                                          .state_version = 1,
                                          .state = state,
                                          .realize = realize,
                                          .reset = reset};
