#include "emu/device/testdev.h"

#include "emu/core/bytes.h"
#include "emu/core/memory.h"
#include "emu/core/port.h"
#include <string.h>

#define MEMORY_BASE UINT64_C(0xff000000)
#define MEMORY_SIZE 0x10000u
#define IRQ_PORTS   24 /* of an IOAPIC; those above the ISA interrupts go nowhere */

struct testdev {
    struct device device;
    struct irq *irqs[TESTDEV_IRQS];
    struct memory_region *region; /* NULL: the device is not there */
    bool connected;
    uint32_t data;
    uint8_t *memory; /* MEMORY_SIZE bytes */
};

static uint32_t data_read(void *opaque, uint16_t offset, unsigned size)
{
    return ((struct testdev *)opaque)->data >> (offset & 3) * 8 & (uint32_t)bytes_mask(size);
}

static void data_write(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    struct testdev *test = opaque;
    unsigned shift = (offset & 3) * 8;
    uint32_t mask = (uint32_t)bytes_mask(size) << shift;
    test->data = (test->data & ~mask) | (value << shift & mask);
}

/* The map's version goes up, and with that every translation goes. */
static void flush_write(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    struct testdev *test = opaque;
    memory_region_enable(test->region, false);
    memory_region_enable(test->region, true);
}

static void irq_write(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    if (offset < TESTDEV_IRQS)
        irq_set(((struct testdev *)opaque)->irqs[offset], value != 0);
}

static uint64_t memory_read_register(void *opaque, uint64_t offset, unsigned size)
{
    return bytes_load(((struct testdev *)opaque)->memory + offset, size);
}

static void memory_write_register(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    bytes_store(((struct testdev *)opaque)->memory + offset, value, size);
}

static const struct port_ops data_ops = {data_read, data_write, 4};
static const struct port_ops byte_ops = {data_read, data_write, 1};
static const struct port_ops flush_ops = {NULL, flush_write, 4};
static const struct port_ops irq_ops = {NULL, irq_write, 1};
static const struct mmio_ops memory_ops = {memory_read_register, memory_write_register, 8};

void testdev_connect(struct device *device, struct irq *const irqs[TESTDEV_IRQS])
{
    struct testdev *test = (struct testdev *)device;
    memcpy(test->irqs, irqs, sizeof(test->irqs));
    test->connected = true;
}

static bool realize(struct device *device, GError **error)
{
    struct testdev *test = (struct testdev *)device;
    struct port_map *ports = device->board->ports;
    test->memory = g_malloc0(MEMORY_SIZE);
    if (!test->connected)
        return true;
    port_add(ports, "testdev", 0xe0, 4, &data_ops, test);
    port_add(ports, "testdev-flush", 0xe4, 4, &flush_ops, test);
    port_add(ports, "testdev-bytes", 0xe8, 4, &byte_ops, test);
    port_add(ports, "testdev-irq", 0x2000, IRQ_PORTS, &irq_ops, test);
    test->region = memory_add_mmio(device->board->memory, "testdev", MEMORY_BASE, MEMORY_SIZE, 20,
                                   &memory_ops, test);
    return true;
}

static void reset(struct device *device)
{
    struct testdev *test = (struct testdev *)device;
    for (unsigned i = 0; i < TESTDEV_IRQS && test->connected; i++)
        irq_set(test->irqs[i], 0);
    test->data = 0;
    memset(test->memory, 0, MEMORY_SIZE);
}

static void finish(struct device *device)
{
    g_clear_pointer(&((struct testdev *)device)->memory, g_free);
}

static const struct state_field state[] = {
    STATE_UINT(struct testdev, data),
    {"memory", STATE_KIND_BUFFER, offsetof(struct testdev, memory), 1, MEMORY_SIZE, NULL},
    STATE_END,
};

const struct device_ops testdev_ops = {.name = "testdev",
                                       .size = sizeof(struct testdev),
                                       .state_version = 1,
                                       .state = state,
                                       .realize = realize,
                                       .reset = reset,
                                       .finish = finish};
