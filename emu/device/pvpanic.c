#include "emu/device/pvpanic.h"

#include "emu/core/port.h"

struct pvpanic {
    struct device device;
    void (*tell)(void *opaque, unsigned events);
    void *opaque;
};

static uint32_t events_read(void *opaque, uint16_t offset, unsigned size)
{
    return PVPANIC_EVENTS;
}

static void events_write(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    struct pvpanic *panic = opaque;
    if (value & PVPANIC_EVENTS)
        panic->tell(panic->opaque, value & PVPANIC_EVENTS);
}

static const struct port_ops ports = {events_read, events_write, 1};

void pvpanic_connect(struct device *device, void (*tell)(void *opaque, unsigned events),
                     void *opaque)
{
    ((struct pvpanic *)device)->tell = tell;
    ((struct pvpanic *)device)->opaque = opaque;
}

static bool realize(struct device *device, GError **error)
{
    if (((struct pvpanic *)device)->tell)
        port_add(device->board->ports, "pvpanic", PVPANIC_PORT, 1, &ports, device);
    return true;
}

static void reset(struct device *device)
{
}

static const struct state_field state[] = {STATE_END};

const struct device_ops pvpanic_ops = {.name = "pvpanic",
                                       .size = sizeof(struct pvpanic),
                                       .state_version = 1,
                                       .state = state,
                                       .realize = realize,
                                       .reset = reset};
