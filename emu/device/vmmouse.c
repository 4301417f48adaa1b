#include "emu/device/vmmouse.h"

#include "emu/core/port.h"

#define PORT          0x5658
#define MAGIC         0x564d5868u
#define VERSION       6u          /* of the backdoor */
#define PRODUCT       2u          /* a server's */
#define MOUSE_VERSION 0x3442554au /* the first word after the driver came */
#define QUEUE_WORDS   1024u
#define EVENT_WORDS   4u
#define STATUS_ERROR  0xffff0000u

enum command {
    COMMAND_VERSION = 10,
    COMMAND_MEMORY = 20,
    COMMAND_DATA = 39,
    COMMAND_STATUS = 40,
    COMMAND_CONTROL = 41
};
enum control {
    CONTROL_ENABLE = 0x45414552,
    CONTROL_DISABLE = 0x000000f5,
    CONTROL_RELATIVE = 0x4c455252,
    CONTROL_ABSOLUTE = 0x53424152,
};
enum { BUTTON_LEFT = 0x20, BUTTON_RIGHT = 0x10, BUTTON_MIDDLE = 0x08 };

struct vmmouse {
    struct device device;
    struct vmmouse_ends ends;
    bool enabled, absolute, error;
    uint16_t head, count; /* words in the queue */
    uint32_t queue[QUEUE_WORDS];
};

static void put(struct vmmouse *mouse, uint32_t word)
{
    mouse->queue[(mouse->head + mouse->count++) % QUEUE_WORDS] = word;
}

/* ---- what the driver asks ---------------------------------------------------------------- */

static void read_words(struct vmmouse *mouse, uint32_t *registers)
{
    uint32_t wanted = registers[VMMOUSE_EBX];
    if (wanted == 0 || wanted > EVENT_WORDS || wanted > mouse->count) { /* out of step */
        mouse->enabled = false;
        mouse->error = true;
        mouse->count = 0;
        return;
    }
    for (uint32_t i = 0; i < wanted; i++) {
        registers[i] = mouse->queue[mouse->head];
        mouse->head = (uint16_t)((mouse->head + 1) % QUEUE_WORDS);
    }
    mouse->count = (uint16_t)(mouse->count - wanted);
}

static void control(struct vmmouse *mouse, uint32_t what)
{
    switch (what) {
    case CONTROL_ENABLE:
        mouse->head = mouse->count = 0;
        mouse->error = false;
        mouse->enabled = true;
        put(mouse, MOUSE_VERSION);
        break;
    case CONTROL_DISABLE:
        mouse->enabled = false;
        mouse->error = true; /* by which the driver sees that it is off */
        mouse->count = 0;
        break;
    case CONTROL_RELATIVE:
    case CONTROL_ABSOLUTE:
        mouse->absolute = what == CONTROL_ABSOLUTE;
        break;
    default:
        break;
    }
}

static void run(struct vmmouse *mouse, uint32_t *registers)
{
    switch (registers[VMMOUSE_ECX] & 0xffff) {
    case COMMAND_VERSION:
        registers[VMMOUSE_EAX] = VERSION;
        registers[VMMOUSE_EBX] = MAGIC;
        registers[VMMOUSE_ECX] = PRODUCT;
        break;
    case COMMAND_MEMORY:
        registers[VMMOUSE_EAX] = (uint32_t)MIN(mouse->ends.ram_size, UINT64_C(0x7fffffff));
        registers[VMMOUSE_EBX] = 0x1177;
        break;
    case COMMAND_DATA:
        read_words(mouse, registers);
        break;
    case COMMAND_STATUS:
        registers[VMMOUSE_EAX] = mouse->error ? STATUS_ERROR : mouse->count;
        break;
    case COMMAND_CONTROL:
        control(mouse, registers[VMMOUSE_EBX]);
        break;
    default:
        registers[VMMOUSE_EAX] = UINT32_MAX;
        break;
    }
}

/* The answer for EAX goes the way of every IN; the others are put into the registers. */
static uint32_t backdoor(void *opaque, uint16_t offset, unsigned size)
{
    struct vmmouse *mouse = opaque;
    uint32_t registers[VMMOUSE_REGISTERS];
    if (size != 4 || !mouse->ends.get || !mouse->ends.get(mouse->ends.opaque, registers) ||
        registers[VMMOUSE_EAX] != MAGIC)
        return UINT32_MAX;
    run(mouse, registers);
    mouse->ends.set(mouse->ends.opaque, registers);
    return registers[VMMOUSE_EAX];
}

static const struct port_ops ports = {backdoor, NULL, 4};

/* ---- from the host ----------------------------------------------------------------------- */

bool vmmouse_is_absolute(const struct device *device)
{
    const struct vmmouse *mouse = (const struct vmmouse *)device;
    return mouse->enabled && mouse->absolute;
}

void vmmouse_point(struct device *device, unsigned x, unsigned y, unsigned buttons, int wheel)
{
    struct vmmouse *mouse = (struct vmmouse *)device;
    if (!mouse->enabled || mouse->count + EVENT_WORDS > QUEUE_WORDS)
        return;
    put(mouse, (buttons & 1 ? BUTTON_LEFT : 0) | (buttons & 2 ? BUTTON_RIGHT : 0) |
                   (buttons & 4 ? BUTTON_MIDDLE : 0));
    put(mouse, MIN(x, 0xffffu));
    put(mouse, MIN(y, 0xffffu));
    put(mouse, (uint32_t)wheel);
    mouse->ends.nudge(mouse->ends.opaque);
}

/* ---- the device -------------------------------------------------------------------------- */

void vmmouse_connect(struct device *device, const struct vmmouse_ends *ends)
{
    ((struct vmmouse *)device)->ends = *ends;
}

static bool realize(struct device *device, GError **error)
{
    port_add(device->board->ports, "vmmouse", PORT, 4, &ports, device);
    return true;
}

static void reset(struct device *device)
{
    struct vmmouse *mouse = (struct vmmouse *)device;
    mouse->enabled = mouse->absolute = mouse->error = false;
    mouse->head = mouse->count = 0;
}

static bool loaded(struct device *device, GError **error)
{
    struct vmmouse *mouse = (struct vmmouse *)device;
    mouse->head %= QUEUE_WORDS;
    mouse->count = MIN(mouse->count, QUEUE_WORDS);
    return true;
}

static const struct state_field state[] = {
    STATE_UINT(struct vmmouse, enabled),
    STATE_UINT(struct vmmouse, absolute),
    STATE_UINT(struct vmmouse, error),
    STATE_UINT(struct vmmouse, head),
    STATE_UINT(struct vmmouse, count),
    STATE_UINTS(struct vmmouse, queue),
    STATE_END,
};

const struct device_ops vmmouse_ops = {.name = "vmmouse",
                                       .size = sizeof(struct vmmouse),
                                       .state_version = 1,
                                       .state = state,
                                       .realize = realize,
                                       .reset = reset,
                                       .loaded = loaded};
