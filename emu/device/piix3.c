#include "emu/device/piix3.h"

#include "emu/core/memory.h"
#include "emu/core/port.h"

#define PIRQ_ROUTE 0x60

struct piix3 {
    struct pci_device pci;
    struct irq isa[16], pirq[4];
    struct irq *pic[16], *ioapic[16];
    uint16_t isa_levels; /* what ISA devices drive */
    uint8_t pirq_levels; /* what PCI devices drive */
    uint16_t out_levels; /* what the controllers see */
    uint8_t reset_control;
    uint8_t port_92;
};

static const struct pci_identity identity = {.vendor = 0x8086,
                                             .device = 0x7000,
                                             .subsystem_vendor = 0x1af4,
                                             .subsystem = 0x1100,
                                             .class_code = 0x060100,
                                             .multifunction = true};

static void update_lines(struct piix3 *bridge)
{
    uint16_t levels = bridge->isa_levels;
    for (unsigned i = 0; i < 4; i++) {
        uint8_t route = bridge->pci.config[PIRQ_ROUTE + i];
        if (!(route & 0x80) && (bridge->pirq_levels & 1u << i))
            levels |= (uint16_t)(1u << (route & 15));
    }
    uint16_t changed = levels ^ bridge->out_levels;
    bridge->out_levels = levels;
    for (unsigned i = 0; i < 16; i++) {
        if (!(changed & 1u << i))
            continue;
        irq_set(bridge->pic[i], levels >> i & 1);
        irq_set(bridge->ioapic[i], levels >> i & 1);
    }
}

static void set_isa(void *receiver, int input, int level)
{
    struct piix3 *bridge = receiver;
    uint16_t bit = (uint16_t)(1u << input);
    bridge->isa_levels = level ? bridge->isa_levels | bit : bridge->isa_levels & (uint16_t)~bit;
    update_lines(bridge);
}

static void set_pirq(void *receiver, int input, int level)
{
    struct piix3 *bridge = receiver;
    uint8_t bit = (uint8_t)(1u << input);
    bridge->pirq_levels = level ? bridge->pirq_levels | bit : bridge->pirq_levels & (uint8_t)~bit;
    update_lines(bridge);
}

void piix3_wire(struct device *device, struct irq *const pic[16], struct irq *const ioapic[16])
{
    struct piix3 *bridge = (struct piix3 *)device;
    for (int i = 0; i < 16; i++) {
        bridge->isa[i] = (struct irq){set_isa, bridge, i};
        bridge->pic[i] = pic[i];
        bridge->ioapic[i] = ioapic[i];
    }
    for (int i = 0; i < 4; i++)
        bridge->pirq[i] = (struct irq){set_pirq, bridge, i};
}

struct irq *piix3_isa_irq(struct device *device, unsigned number)
{
    return &((struct piix3 *)device)->isa[number & 15];
}

struct irq *piix3_pirq(struct device *device, unsigned number)
{
    return &((struct piix3 *)device)->pirq[number & 3];
}

/* ---- registers --------------------------------------------------------------------------- */

static void config_written(struct pci_device *device, unsigned offset, unsigned size)
{
    if (offset < PIRQ_ROUTE + 4 && offset + size > PIRQ_ROUTE)
        update_lines((struct piix3 *)device);
}

static uint32_t reset_read(void *opaque, uint16_t offset, unsigned size)
{
    return ((struct piix3 *)opaque)->reset_control;
}

static void reset_write(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    struct piix3 *bridge = opaque;
    bridge->reset_control = value & 0x02;
    if (value & 0x04)
        board_ask(bridge->pci.device.board, BOARD_RESET);
}

static uint32_t port_92_read(void *opaque, uint16_t offset, unsigned size)
{
    return ((struct piix3 *)opaque)->port_92;
}

static void port_92_write(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    struct piix3 *bridge = opaque;
    uint8_t old = bridge->port_92;
    bridge->port_92 = value & 0x02;
    if ((old ^ value) & 0x02)
        memory_set_a20(bridge->pci.device.board->memory, value & 0x02);
    if (value & 0x01)
        board_ask(bridge->pci.device.board, BOARD_RESET);
}

static const struct port_ops reset_ops = {reset_read, reset_write, 1};
static const struct port_ops port_92_ops = {port_92_read, port_92_write, 1};

/* ---- the device -------------------------------------------------------------------------- */

static bool realize(struct device *device, GError **error)
{
    struct piix3 *bridge = (struct piix3 *)device;
    pci_attach(&bridge->pci, &identity);
    bridge->pci.written = config_written;
    memset(bridge->pci.writable + 0x40, 0xff, 0x70);
    port_add(device->board->ports, "reset-control", 0xcf9, 1, &reset_ops, bridge);
    port_add(device->board->ports, "port-92", 0x92, 1, &port_92_ops, bridge);
    return true;
}

static void reset(struct device *device)
{
    struct piix3 *bridge = (struct piix3 *)device;
    pci_reset(&bridge->pci);
    bridge->pci.config[PCI_COMMAND] = 0x07;
    bridge->pci.config[PCI_STATUS + 1] = 0x02;
    bridge->pci.config[0x4c] = 0x4d;
    bridge->pci.config[0x4e] = 0x03;
    memset(bridge->pci.config + PIRQ_ROUTE, 0x80, 4);
    bridge->reset_control = 0;
    bridge->port_92 = 0x02;
    memory_set_a20(device->board->memory, true);
    update_lines(bridge);
}

static const struct state_field state[] = {
    PCI_STATE(struct piix3, pci),
    STATE_UINT(struct piix3, isa_levels),
    STATE_UINT(struct piix3, pirq_levels),
    STATE_UINT(struct piix3, out_levels),
    STATE_UINT(struct piix3, reset_control),
    STATE_UINT(struct piix3, port_92),
    STATE_END,
};

static bool loaded(struct device *device, GError **error)
{
    struct piix3 *bridge = (struct piix3 *)device;
    pci_loaded(&bridge->pci);
    memory_set_a20(device->board->memory, bridge->port_92 & 0x02);
    return true;
}

const struct device_ops piix3_ops = {.name = "piix3",
                                     .size = sizeof(struct piix3),
                                     .state_version = 1,
                                     .state = state,
                                     .realize = realize,
                                     .reset = reset,
                                     .loaded = loaded};
