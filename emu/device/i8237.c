#include "emu/device/i8237.h"

#include "emu/core/memory.h"
#include "emu/core/port.h"
#include <string.h>

#define COMMAND_DISABLE 0x04

#define MODE_KIND    0x0c /* of the transfer */
#define MODE_WRITE   0x04 /* to memory */
#define MODE_READ    0x08 /* from memory */
#define MODE_AUTO    0x10
#define MODE_DOWN    0x20
#define MODE_SELECT  0xc0
#define MODE_CASCADE 0xc0

#define CASCADE 4 /* the channel that the first controller is behind */

struct client {
    void (*serve)(void *opaque);
    void *opaque;
};

struct controller {
    uint16_t base_address[4], base_count[4], address[4], count[4];
    uint8_t mode[4];
    uint8_t command, status, request, mask;
    uint8_t lines;  /* the devices' requests; `request` holds those made by software */
    bool high_byte; /* the byte pointer flip-flop */
};

struct dma {
    struct device device;
    struct controller controllers[2];
    uint8_t pages[16];
    struct client clients[I8237_CHANNELS];
};

/* ---- channels ---------------------------------------------------------------------------- */

static bool is_open(const struct controller *controller, unsigned number)
{
    return !(controller->command & COMMAND_DISABLE) && !(controller->mask & 1u << number);
}

/* Whether a channel's cycles reach the bus: of the first controller only through the second. */
static bool may_run(const struct dma *dma, unsigned channel)
{
    const struct controller *second = &dma->controllers[1];
    const struct controller *controller = &dma->controllers[channel / 4];
    if (!is_open(controller, channel % 4) ||
        (controller->mode[channel % 4] & MODE_SELECT) == MODE_CASCADE)
        return false;
    return channel >= 4 || (is_open(second, CASCADE % 4) &&
                            (second->mode[CASCADE % 4] & MODE_SELECT) == MODE_CASCADE);
}

/* The page register of each channel (PIIX3, table 3). */
static uint64_t address_of(const struct dma *dma, unsigned channel)
{
    static const uint8_t places[I8237_CHANNELS] = {7, 3, 1, 2, 0xf, 0xb, 9, 0xa};
    uint64_t page = dma->pages[places[channel]];
    uint64_t address = dma->controllers[channel / 4].address[channel % 4];
    return channel < 4 ? page << 16 | address : (page & 0xfe) << 16 | address << 1;
}

/* The most cycles that go one way through memory without a break: the address wraps at its sixteen
 * bits. */
static size_t straight_cycles(const struct controller *controller, unsigned number, size_t wanted)
{
    size_t left = (size_t)controller->count[number] + 1;
    size_t address = controller->address[number];
    size_t room = controller->mode[number] & MODE_DOWN ? 1 : 0x10000 - address;
    return MIN(wanted, MIN(left, room));
}

static void terminal_count(struct controller *controller, unsigned number)
{
    uint8_t bit = (uint8_t)(1u << number);
    controller->status |= bit;
    controller->request &= (uint8_t)~bit;
    if (controller->mode[number] & MODE_AUTO) {
        controller->address[number] = controller->base_address[number];
        controller->count[number] = controller->base_count[number];
    } else {
        controller->mask |= bit;
    }
}

/* Runs the address and the count over some cycles; true at the terminal count. */
static bool count_cycles(struct controller *controller, unsigned number, size_t cycles)
{
    int step = controller->mode[number] & MODE_DOWN ? -1 : 1;
    bool terminal = cycles > controller->count[number];
    controller->address[number] = (uint16_t)(controller->address[number] + step * (int)cycles);
    controller->count[number] = (uint16_t)(controller->count[number] - cycles);
    if (terminal)
        terminal_count(controller, number);
    return terminal;
}

/* One of `out` (to memory) and `in` (from it) is there. */
static size_t move(struct dma *dma, unsigned channel, const uint8_t *out, uint8_t *in,
                   size_t length, bool *ret_terminal)
{
    struct controller *controller = &dma->controllers[channel / 4];
    unsigned number = channel % 4, width = channel < 4 ? 1 : 2;
    uint8_t kind = controller->mode[number] & MODE_KIND;
    size_t moved = 0;
    *ret_terminal = false;
    while (moved + width <= length && !*ret_terminal && may_run(dma, channel)) {
        size_t cycles = straight_cycles(controller, number, (length - moved) / width);
        uint64_t address = address_of(dma, channel);
        if (out && kind == MODE_WRITE)
            memory_dma_write(dma->device.board->memory, address, out + moved, cycles * width);
        else if (in && kind == MODE_READ)
            memory_dma_read(dma->device.board->memory, address, in + moved, cycles * width);
        else if (in)
            memset(in + moved, 0, cycles * width);
        moved += cycles * width;
        *ret_terminal = count_cycles(controller, number, cycles);
    }
    return moved;
}

size_t i8237_write(struct device *device, unsigned channel, const uint8_t *bytes, size_t length,
                   bool *ret_terminal)
{
    return move((struct dma *)device, channel, bytes, NULL, length, ret_terminal);
}

size_t i8237_read(struct device *device, unsigned channel, uint8_t *bytes, size_t length,
                  bool *ret_terminal)
{
    return move((struct dma *)device, channel, NULL, bytes, length, ret_terminal);
}

/* A request by software where no device answers: the bus floats, and the block goes by. */
static void run_alone(struct dma *dma, unsigned channel)
{
    uint8_t bytes[512];
    bool terminal = false;
    for (unsigned i = 0; i < 0x20000 / sizeof(bytes) && !terminal; i++) {
        memset(bytes, 0xff, sizeof(bytes));
        if ((dma->controllers[channel / 4].mode[channel % 4] & MODE_KIND) == MODE_READ)
            i8237_read(&dma->device, channel, bytes, sizeof(bytes), &terminal);
        else
            i8237_write(&dma->device, channel, bytes, sizeof(bytes), &terminal);
    }
    dma->controllers[channel / 4].request &= (uint8_t) ~(1u << channel % 4);
}

/* After anything that may open a channel: lets those who wait have it. */
static void serve(struct dma *dma)
{
    for (unsigned channel = 0; channel < I8237_CHANNELS; channel++) {
        const struct controller *controller = &dma->controllers[channel / 4];
        uint8_t bit = (uint8_t)(1u << channel % 4);
        const struct client *client = &dma->clients[channel];
        if (!((controller->lines | controller->request) & bit) || !may_run(dma, channel))
            continue;
        if (client->serve && controller->lines & bit)
            client->serve(client->opaque);
        else if (!client->serve)
            run_alone(dma, channel);
    }
}

void i8237_attach(struct device *device, unsigned channel, void (*function)(void *opaque),
                  void *opaque)
{
    ((struct dma *)device)->clients[channel] = (struct client){function, opaque};
}

void i8237_request(struct device *device, unsigned channel, bool level)
{
    struct dma *dma = (struct dma *)device;
    struct controller *controller = &dma->controllers[channel / 4];
    uint8_t bit = (uint8_t)(1u << channel % 4);
    controller->lines = level ? controller->lines | bit : controller->lines & (uint8_t)~bit;
    if (level && may_run(dma, channel))
        dma->clients[channel].serve(dma->clients[channel].opaque);
}

/* ---- registers --------------------------------------------------------------------------- */

static uint32_t read_register(struct controller *controller, unsigned index)
{
    if (index < 8) {
        uint16_t value = index & 1 ? controller->count[index / 2] : controller->address[index / 2];
        bool high = controller->high_byte;
        controller->high_byte = !high;
        return high ? value >> 8 : value & 0xff;
    }
    uint8_t value = 0;
    if (index == 8) {
        value = (uint8_t)(controller->status | (controller->lines | controller->request) << 4);
        controller->status = 0; /* terminal counts clear when read */
    } else if (index == 15) {
        value = controller->mask;
    }
    return value;
}

static void write_count(struct controller *controller, unsigned index, uint8_t byte)
{
    unsigned channel = index / 2;
    uint16_t *base =
        index & 1 ? &controller->base_count[channel] : &controller->base_address[channel];
    uint16_t *current = index & 1 ? &controller->count[channel] : &controller->address[channel];
    if (controller->high_byte)
        *base = (uint16_t)((*base & 0x00ff) | byte << 8);
    else
        *base = (uint16_t)((*base & 0xff00) | byte);
    *current = *base;
    controller->high_byte = !controller->high_byte;
}

static void master_clear(struct controller *controller)
{
    controller->command = controller->status = controller->request = 0;
    controller->mask = 0x0f;
    controller->high_byte = false;
}

static void write_register(struct controller *controller, unsigned index, uint8_t byte)
{
    uint8_t bit = (uint8_t)(1u << (byte & 3));
    switch (index) {
    case 8:
        controller->command = byte;
        break;
    case 9:
        controller->request =
            byte & 4 ? controller->request | bit : controller->request & (uint8_t)~bit;
        break;
    case 10:
        controller->mask = byte & 4 ? controller->mask | bit : controller->mask & (uint8_t)~bit;
        break;
    case 11:
        controller->mode[byte & 3] = byte;
        break;
    case 12:
        controller->high_byte = false;
        break;
    case 13:
        master_clear(controller);
        break;
    case 14:
        controller->mask = 0;
        break;
    case 15:
        controller->mask = byte & 0x0f;
        break;
    default:
        write_count(controller, index, byte);
        break;
    }
}

static void write_and_serve(void *opaque, unsigned which, unsigned index, uint32_t value)
{
    struct dma *dma = opaque;
    write_register(&dma->controllers[which], index, (uint8_t)value);
    if (index >= 8)
        serve(dma);
}

static uint32_t first_read(void *opaque, uint16_t offset, unsigned size)
{
    return read_register(&((struct dma *)opaque)->controllers[0], offset);
}

static void first_write(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    write_and_serve(opaque, 0, offset, value);
}

/* The second controller's registers are two ports apart. */
static uint32_t second_read(void *opaque, uint16_t offset, unsigned size)
{
    return offset & 1 ? 0xff : read_register(&((struct dma *)opaque)->controllers[1], offset / 2);
}

static void second_write(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    if (!(offset & 1))
        write_and_serve(opaque, 1, offset / 2, value);
}

static uint32_t page_read(void *opaque, uint16_t offset, unsigned size)
{
    return ((struct dma *)opaque)->pages[offset];
}

static void page_write(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    ((struct dma *)opaque)->pages[offset] = (uint8_t)value;
}

static const struct port_ops first_ops = {first_read, first_write, 1};
static const struct port_ops second_ops = {second_read, second_write, 1};
static const struct port_ops page_ops = {page_read, page_write, 1};

static bool realize(struct device *device, GError **error)
{
    struct port_map *ports = device->board->ports;
    port_add(ports, "dma-first", 0x00, 16, &first_ops, device);
    port_add(ports, "dma-second", 0xc0, 32, &second_ops, device);
    port_add(ports, "dma-page", 0x80, 16, &page_ops, device);
    return true;
}

static void reset(struct device *device)
{
    struct dma *dma = (struct dma *)device;
    memset(dma->controllers, 0, sizeof(dma->controllers));
    memset(dma->pages, 0, sizeof(dma->pages));
    master_clear(&dma->controllers[0]);
    master_clear(&dma->controllers[1]);
}

static const struct state_field controller_state[] = {
    STATE_UINTS(struct controller, base_address), STATE_UINTS(struct controller, base_count),
    STATE_UINTS(struct controller, address),      STATE_UINTS(struct controller, count),
    STATE_BYTES(struct controller, mode),         STATE_UINT(struct controller, command),
    STATE_UINT(struct controller, status),        STATE_UINT(struct controller, request),
    STATE_UINT(struct controller, mask),          STATE_UINT(struct controller, lines),
    STATE_UINT(struct controller, high_byte),     STATE_END,
};
static const struct state_field state[] = {
    STATE_STRUCTS(struct dma, controllers, controller_state),
    STATE_BYTES(struct dma, pages),
    STATE_END,
};

const struct device_ops i8237_ops = {.name = "i8237",
                                     .size = sizeof(struct dma),
                                     .state_version = 1,
                                     .state = state,
                                     .realize = realize,
                                     .reset = reset};
