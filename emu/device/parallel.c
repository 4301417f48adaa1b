#include "emu/device/parallel.h"

#include "emu/core/port.h"

/* The lines as the registers show them; busy and acknowledge are inverted there. */
#define STATUS_IDLE  0xdf /* ready, no acknowledge, selected, no fault; the low bits float */
#define STATUS_READY 0x80
#define STATUS_ACK   0x40

#define CONTROL_STROBE    0x01
#define CONTROL_INIT      0x04 /* 0: the printer is being reset */
#define CONTROL_SELECT    0x08
#define CONTROL_INTERRUPT 0x10
#define CONTROL_INPUT     0x20
#define CONTROL_WRITABLE  0x3f

struct parallel {
    struct device device;
    struct parallel_ends ends;
    uint16_t port; /* 0: not there */
    struct irq *output;
    uint8_t data, control;
    bool acknowledges; /* the pulse after a byte, until the status has been read */
};

static uint8_t read_status(struct parallel *parallel)
{
    uint8_t status = STATUS_IDLE;
    if (parallel->acknowledges)
        status &= (uint8_t)~STATUS_ACK;
    if (parallel->acknowledges || parallel->control & CONTROL_STROBE ||
        (parallel->ends.busy && parallel->ends.busy(parallel->ends.opaque)))
        status &= (uint8_t)~STATUS_READY;
    parallel->acknowledges = false;
    return status;
}

static void write_control(struct parallel *parallel, uint8_t value)
{
    uint8_t risen = value & (uint8_t)~parallel->control,
            fallen = parallel->control & (uint8_t)~value;
    bool is_on = value & CONTROL_INIT && value & CONTROL_SELECT;
    parallel->control = value & CONTROL_WRITABLE;
    if (risen & CONTROL_STROBE && is_on && !(value & CONTROL_INPUT) && parallel->ends.print)
        parallel->ends.print(parallel->ends.opaque, &parallel->data, 1);
    if (fallen & CONTROL_STROBE && is_on) {
        parallel->acknowledges = true;
        if (value & CONTROL_INTERRUPT)
            irq_pulse(parallel->output);
    }
}

static uint32_t parallel_read(void *opaque, uint16_t offset, unsigned size)
{
    struct parallel *parallel = opaque;
    switch (offset) {
    case 0:
        return parallel->control & CONTROL_INPUT ? 0xff : parallel->data;
    case 1:
        return read_status(parallel);
    default:
        return 0xc0 | parallel->control;
    }
}

static void parallel_write(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    struct parallel *parallel = opaque;
    if (offset == 0)
        parallel->data = (uint8_t)value;
    else if (offset == 2)
        write_control(parallel, (uint8_t)value);
}

static const struct port_ops ports = {parallel_read, parallel_write, 1};

void parallel_connect(struct device *device, uint16_t port, struct irq *output)
{
    struct parallel *parallel = (struct parallel *)device;
    parallel->port = port;
    parallel->output = output;
}

void parallel_set_ends(struct device *device, const struct parallel_ends *ends)
{
    ((struct parallel *)device)->ends = *ends;
}

static bool realize(struct device *device, GError **error)
{
    struct parallel *parallel = (struct parallel *)device;
    if (parallel->port)
        port_add(device->board->ports, "parallel", parallel->port, 3, &ports, parallel);
    return true;
}

static void reset(struct device *device)
{
    struct parallel *parallel = (struct parallel *)device;
    parallel->data = 0;
    parallel->control = CONTROL_INIT | CONTROL_SELECT;
    parallel->acknowledges = false;
}

static const struct state_field state[] = {
    STATE_UINT(struct parallel, data),
    STATE_UINT(struct parallel, control),
    STATE_UINT(struct parallel, acknowledges),
    STATE_END,
};

const struct device_ops parallel_ops = {.name = "parallel",
                                        .size = sizeof(struct parallel),
                                        .state_version = 1,
                                        .state = state,
                                        .realize = realize,
                                        .reset = reset};
