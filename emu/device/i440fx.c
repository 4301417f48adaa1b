#include "emu/device/i440fx.h"

#include "emu/core/memory.h"
#include "emu/core/port.h"

#define PAM_FIRST     0x59
#define PAM_COUNT     7
#define PAM_REGIONS   13 /* one of 64 KiB, twelve of 16 KiB */
#define SMRAM         0x72
#define SMRAM_OPEN    0x40 /* everybody sees the memory at 0xa0000 */
#define SMRAM_LOCK    0x10
#define SMRAM_ENABLED 0x08

struct i440fx {
    struct pci_device pci;
    struct pci_bus bus;
    struct memory_region *pam[PAM_REGIONS];
    struct memory_region *smram, *smram_open; /* for system management mode; for all */
};

static const struct pci_identity identity = {.vendor = 0x8086,
                                             .device = 0x1237,
                                             .subsystem_vendor = 0x1af4,
                                             .subsystem = 0x1100,
                                             .class_code = 0x060000,
                                             .revision = 2};

struct pci_bus *i440fx_bus(struct device *device)
{
    struct i440fx *bridge = (struct i440fx *)device;
    if (!bridge->pci.bus)
        pci_place(&bridge->pci, &bridge->bus, PCI_DEVFN(0, 0));
    return &bridge->bus;
}

/* Region 0 is 0xf0000, the high half of the first register; then two regions a register. */
static unsigned pam_bits(const struct i440fx *bridge, unsigned region)
{
    unsigned nibble = region + 1;
    uint8_t value = bridge->pci.config[PAM_FIRST + nibble / 2];
    return (nibble & 1 ? value >> 4 : value) & 3;
}

static void apply_pam(struct i440fx *bridge)
{
    for (unsigned i = 0; i < PAM_REGIONS; i++) {
        unsigned bits = pam_bits(bridge, i);
        memory_shadow_set(bridge->pam[i], bits & 1, bits & 2);
    }
}

/* Locked, the register stays as it is until the next reset, and closed. */
static void apply_smram(struct i440fx *bridge)
{
    uint8_t *value = &bridge->pci.config[SMRAM];
    if (*value & SMRAM_LOCK)
        *value &= ~SMRAM_OPEN;
    bridge->pci.writable[SMRAM] = *value & SMRAM_LOCK ? 0 : 0x78;
    bool enabled = *value & SMRAM_ENABLED, open = enabled && *value & SMRAM_OPEN;
    memory_shadow_set(bridge->smram_open, open, open);
    memory_region_enable(bridge->smram, enabled);
}

static void config_written(struct pci_device *device, unsigned offset, unsigned size)
{
    if (offset < PAM_FIRST + PAM_COUNT && offset + size > PAM_FIRST)
        apply_pam((struct i440fx *)device);
    if (offset <= SMRAM && offset + size > SMRAM)
        apply_smram((struct i440fx *)device);
}

/* ---- ports 0xcf8 - 0xcff ----------------------------------------------------------------- */

static bool selects_bus_0(const struct pci_bus *bus)
{
    return (bus->address & 0x80ff0000) == 0x80000000;
}

static uint32_t address_read(void *opaque, uint16_t offset, unsigned size)
{
    struct i440fx *bridge = opaque;
    return size == 4 ? bridge->bus.address : UINT32_MAX;
}

static void address_write(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    struct i440fx *bridge = opaque;
    /* Only a whole dword is the address register (PCI 2.1, 3.7.4.1). */
    if (size == 4 && offset == 0)
        bridge->bus.address = value & 0x80fffffc;
}

static uint32_t data_read(void *opaque, uint16_t offset, unsigned size)
{
    struct pci_bus *bus = &((struct i440fx *)opaque)->bus;
    if (!selects_bus_0(bus))
        return UINT32_MAX;
    return pci_config_read(bus, bus->address >> 8 & 0xff, (bus->address & 0xfc) + offset, size);
}

static void data_write(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    struct pci_bus *bus = &((struct i440fx *)opaque)->bus;
    if (selects_bus_0(bus))
        pci_config_write(bus, bus->address >> 8 & 0xff, (bus->address & 0xfc) + offset, value,
                         size);
}

static const struct port_ops address_ops = {address_read, address_write, 4};
static const struct port_ops data_ops = {data_read, data_write, 4};

/* ---- the device -------------------------------------------------------------------------- */

static bool realize(struct device *device, GError **error)
{
    struct i440fx *bridge = (struct i440fx *)device;
    pci_attach(&bridge->pci, &identity);
    memset(bridge->pci.writable + 0x50, 0xff, 0xb0);
    bridge->pci.written = config_written;
    for (unsigned i = 0; i < PAM_REGIONS; i++)
        bridge->pam[i] = memory_add_shadow(device->board->memory, "pam",
                                           i == 0 ? 0xf0000 : 0xc0000 + (i - 1) * 0x4000,
                                           i == 0 ? 0x10000 : 0x4000, 10);
    struct memory_map *memory = device->board->memory;
    bridge->smram_open =
        memory_add_shadow(memory, "smram-open", MEMORY_SMRAM_BASE, MEMORY_SMRAM_SIZE, 11);
    bridge->smram = memory_add_host(memory, "smram", MEMORY_SMRAM_ALIAS, MEMORY_SMRAM_SIZE, 0,
                                    memory_ram_host(memory) + MEMORY_SMRAM_BASE, true);
    port_add(device->board->ports, "pci-address", 0xcf8, 4, &address_ops, bridge);
    port_add(device->board->ports, "pci-data", 0xcfc, 4, &data_ops, bridge);
    return true;
}

static void reset(struct device *device)
{
    struct i440fx *bridge = (struct i440fx *)device;
    pci_reset(&bridge->pci);
    bridge->bus.address = 0;
    bridge->pci.config[PCI_COMMAND] = 0x06;
    bridge->pci.config[PCI_STATUS + 1] = 0x02;
    bridge->pci.config[SMRAM] = 0x02;
    apply_pam(bridge);
    apply_smram(bridge);
}

static bool loaded(struct device *device, GError **error)
{
    apply_pam((struct i440fx *)device);
    apply_smram((struct i440fx *)device);
    return true;
}

static const struct state_field state[] = {
    PCI_STATE(struct i440fx, pci),
    STATE_UINT(struct i440fx, bus.address),
    STATE_UINTS(struct i440fx, bus.pirq_users),
    STATE_END,
};

const struct device_ops i440fx_ops = {.name = "i440fx",
                                      .size = sizeof(struct i440fx),
                                      .state_version = 1,
                                      .state = state,
                                      .realize = realize,
                                      .reset = reset,
                                      .loaded = loaded};
