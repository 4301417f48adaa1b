#include "emu/device/pci.h"

#include "emu/core/bytes.h"
#include "emu/core/memory.h"
#include "emu/core/port.h"
#include "emu/device/pci_msi.h"
#include <sys/mman.h>

#define STATUS_INTERRUPT 0x08 /* the device asks for INTx (PCI 2.3) */

static unsigned bar_offset(unsigned bar)
{
    return bar == PCI_ROM_BAR ? PCI_ROM_ADDRESS : PCI_BAR0 + bar * 4;
}

/* What a register holds after reset, and at once. */
static void put(struct pci_device *device, unsigned offset, uint32_t value, unsigned size)
{
    bytes_store(device->initial + offset, value, size);
    bytes_store(device->config + offset, value, size);
}

void pci_place(struct pci_device *device, struct pci_bus *bus, unsigned devfn)
{
    device->bus = bus;
    device->devfn = devfn;
    bus->functions[devfn] = device;
}

void pci_attach(struct pci_device *device, const struct pci_identity *identity)
{
    device->identity = identity;
    device->next_free = 0x40;
    put(device, PCI_VENDOR_ID, identity->vendor, 2);
    put(device, PCI_DEVICE_ID, identity->device, 2);
    put(device, PCI_REVISION, identity->revision, 1);
    put(device, PCI_CLASS, identity->class_code, 3);
    put(device, PCI_HEADER_TYPE, identity->multifunction ? 0x80 : 0, 1);
    put(device, PCI_SUBSYSTEM_VENDOR_ID, identity->subsystem_vendor, 2);
    put(device, PCI_SUBSYSTEM_ID, identity->subsystem, 2);
    put(device, PCI_INTERRUPT_PIN, identity->interrupt_pin, 1);
    bytes_store(device->writable + PCI_COMMAND, 0x0547, 2);
    device->writable[0x0c] = 0xff; /* cache line size */
    device->writable[0x0d] = 0xff; /* latency timer */
    device->writable[PCI_INTERRUPT_LINE] = 0xff;
}

/* ---- base address registers -------------------------------------------------------------- */

static void add_bar(struct pci_device *device, unsigned bar, struct pci_bar what)
{
    device->bars[bar] = what;
    uint32_t mask = (uint32_t) ~(what.size - 1);
    if (bar == PCI_ROM_BAR)
        mask |= 1;
    bytes_store(device->writable + bar_offset(bar), mask, 4);
}

void pci_add_memory_bar(struct pci_device *device, unsigned bar, uint64_t size, bool prefetchable,
                        struct memory_region *region)
{
    add_bar(device, bar, (struct pci_bar){.size = size, .region = region});
    memory_region_enable(region, false);
    put(device, bar_offset(bar), prefetchable ? 8 : 0, 4);
}

void pci_add_io_bar(struct pci_device *device, unsigned bar, unsigned size,
                    struct port_range *range)
{
    add_bar(device, bar, (struct pci_bar){.size = size, .is_io = true, .range = range});
    port_range_enable(range, 0);
    put(device, bar_offset(bar), 1, 4);
}

static void map_bar(struct pci_device *device, unsigned index)
{
    const struct pci_bar *bar = &device->bars[index];
    if (bar->size == 0)
        return;
    uint32_t value = (uint32_t)bytes_load(device->config + bar_offset(index), 4);
    uint32_t base = value & (uint32_t) ~(bar->size - 1);
    unsigned need = bar->is_io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;
    bool enabled = (device->config[PCI_COMMAND] & need) && base != 0;
    if (index == PCI_ROM_BAR && !(value & 1))
        enabled = false;
    /* All ones is a guest measuring the register's size. */
    if (base == (uint32_t) ~(bar->size - 1) || (bar->is_io && base > 0xffff))
        enabled = false;
    if (bar->is_io) {
        if (enabled)
            port_range_move(bar->range, (uint16_t)base);
        port_range_enable(bar->range, enabled);
    } else {
        if (enabled)
            memory_region_move(bar->region, base);
        memory_region_enable(bar->region, enabled);
    }
    if (bar->moved)
        bar->moved(device, enabled, base);
}

static void map_bars(struct pci_device *device)
{
    for (unsigned i = 0; i < PCI_BAR_COUNT; i++)
        map_bar(device, i);
}

void pci_reset(struct pci_device *device)
{
    pci_set_intx(device, false);
    memcpy(device->config, device->initial, sizeof(device->config));
    if (device->msi)
        pci_msi_reset(device);
    map_bars(device);
}

void pci_loaded(struct pci_device *device)
{
    map_bars(device);
}

unsigned pci_add_capability(struct pci_device *device, enum pci_capability id, unsigned size)
{
    unsigned offset = device->next_free;
    g_assert(offset + size <= 256);
    put(device, offset, id | (uint32_t)device->initial[PCI_CAPABILITIES] << 8, 2);
    put(device, PCI_CAPABILITIES, offset, 1);
    put(device, PCI_STATUS, device->initial[PCI_STATUS] | 0x10, 1);
    device->next_free = (uint8_t)((offset + size + 3) & ~3u);
    return offset;
}

/* One image serves several models of a vendor, but firmware takes it for the one that it names
 * only: it is made to name this one. Its bytes still sum up to 0. */
static void name_device(const struct pci_device *device, uint8_t *rom, size_t size)
{
    size_t at = size >= 0x1a ? (size_t)bytes_load(rom + 0x18, 2) : size;
    if (at + 24 > size || memcmp(rom + at, "PCIR", 4) != 0 ||
        bytes_load(rom + at + 4, 2) != device->identity->vendor)
        return;
    uint8_t before = (uint8_t)(rom[at + 6] + rom[at + 7]);
    bytes_store(rom + at + 6, device->identity->device, 2);
    rom[6] = (uint8_t)(rom[6] + before - rom[at + 6] - rom[at + 7]);
}

bool pci_add_rom(struct pci_device *device, const uint8_t *bytes, size_t size)
{
    size_t whole = MEMORY_PAGE_SIZE;
    while (whole < size)
        whole *= 2;
    uint8_t *pages = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED)
        return false;
    memcpy(pages, bytes, size);
    name_device(device, pages, size);
    device->rom = pages;
    device->rom_size = whole;
    pci_add_memory_bar(device, PCI_ROM_BAR, whole, false,
                       memory_add_host(device->device.board->memory, "rom", UINT64_C(1) << 50,
                                       whole, 1, pages, false));
    return true;
}

void pci_free_rom(struct pci_device *device)
{
    if (device->rom)
        munmap(device->rom, device->rom_size);
    device->rom = NULL;
}

/* ---- interrupts -------------------------------------------------------------------------- */

static void drive_intx(struct pci_device *device)
{
    bool level =
        device->intx && !(bytes_load(device->config + PCI_COMMAND, 2) & PCI_COMMAND_NO_INTX);
    device->config[PCI_STATUS] = (uint8_t)((device->config[PCI_STATUS] & ~STATUS_INTERRUPT) |
                                           (device->intx ? STATUS_INTERRUPT : 0));
    if (device->intx_driven == level)
        return;
    device->intx_driven = level;
    unsigned line = ((device->devfn >> 3) + device->identity->interrupt_pin - 1 + 3) & 3;
    uint32_t *users = &device->bus->pirq_users[line];
    *users += level ? 1 : (uint32_t)-1;
    irq_set(device->bus->pirq[line], *users != 0);
}

void pci_set_intx(struct pci_device *device, bool level)
{
    if (!device->identity->interrupt_pin)
        return;
    device->intx = level;
    drive_intx(device);
}

bool pci_is_master(const struct pci_device *device)
{
    return device->config[PCI_COMMAND] & PCI_COMMAND_MASTER;
}

/* ---- configuration accesses -------------------------------------------------------------- */

uint32_t pci_config_read(struct pci_bus *bus, unsigned devfn, unsigned offset, unsigned size)
{
    struct pci_device *device = bus->functions[devfn & 0xff];
    if (!device || offset + size > 256)
        return UINT32_MAX;
    if (device->reading)
        device->reading(device, offset, size);
    return (uint32_t)bytes_load(device->config + offset, size);
}

void pci_config_write(struct pci_bus *bus, unsigned devfn, unsigned offset, uint32_t value,
                      unsigned size)
{
    struct pci_device *device = bus->functions[devfn & 0xff];
    if (!device || offset + size > 256)
        return;
    for (unsigned i = 0; i < size; i++) {
        uint8_t mask = device->writable[offset + i], byte = (uint8_t)(value >> (i * 8));
        device->config[offset + i] =
            (uint8_t)((device->config[offset + i] & ~mask) | (byte & mask));
    }
    if (offset < PCI_INTERRUPT_LINE && offset + size > PCI_COMMAND)
        map_bars(device);
    if (device->identity->interrupt_pin)
        drive_intx(device);
    if (device->msi)
        pci_msi_written(device);
    if (device->written)
        device->written(device, offset, size);
}
