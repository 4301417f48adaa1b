#include "emu/device/i8237.h"

#include "emu/core/port.h"
#include <string.h>

struct controller {
    uint16_t base_address[4], base_count[4], address[4], count[4];
    uint8_t mode[4];
    uint8_t command, status, request, mask;
    bool high_byte; /* the byte pointer flip-flop */
};

struct dma {
    struct device device;
    struct controller controllers[2];
    uint8_t pages[16];
};

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
        value = controller->status;
        controller->status &= 0xf0; /* terminal counts clear when read */
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

static uint32_t first_read(void *opaque, uint16_t offset, unsigned size)
{
    return read_register(&((struct dma *)opaque)->controllers[0], offset);
}

static void first_write(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    write_register(&((struct dma *)opaque)->controllers[0], offset, (uint8_t)value);
}

/* The second controller's registers are two ports apart. */
static uint32_t second_read(void *opaque, uint16_t offset, unsigned size)
{
    return offset & 1 ? 0xff : read_register(&((struct dma *)opaque)->controllers[1], offset / 2);
}

static void second_write(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    if (!(offset & 1))
        write_register(&((struct dma *)opaque)->controllers[1], offset / 2, (uint8_t)value);
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
    STATE_UINTS(struct controller, base_address),
    STATE_UINTS(struct controller, base_count),
    STATE_UINTS(struct controller, address),
    STATE_UINTS(struct controller, count),
    STATE_BYTES(struct controller, mode),
    STATE_UINT(struct controller, command),
    STATE_UINT(struct controller, status),
    STATE_UINT(struct controller, request),
    STATE_UINT(struct controller, mask),
    STATE_UINT(struct controller, high_byte),
    STATE_END,
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
