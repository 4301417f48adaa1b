/*
 * The PCI bus (PCI Local Bus Specification 2.1): configuration space, base address registers, INTx.
 *
 * A PCI device's structure begins with struct pci_device. In realize it calls pci_attach() and
 * pci_add_*_bar(); in reset, pci_reset(); in loaded, pci_loaded(). Board lock held throughout.
 */
#pragma once

#include "emu/core/irq.h"
#include "emu/device/device.h"

#define PCI_DEVFN(slot, function) ((slot) << 3 | (function))
#define PCI_ROM_BAR               6
#define PCI_BAR_COUNT             7

enum pci_register {
    PCI_VENDOR_ID = 0x00,
    PCI_DEVICE_ID = 0x02,
    PCI_COMMAND = 0x04,
    PCI_STATUS = 0x06,
    PCI_REVISION = 0x08,
    PCI_CLASS = 0x09, /* programming interface, subclass, class */
    PCI_HEADER_TYPE = 0x0e,
    PCI_BAR0 = 0x10,
    PCI_SUBSYSTEM_VENDOR_ID = 0x2c,
    PCI_SUBSYSTEM_ID = 0x2e,
    PCI_ROM_ADDRESS = 0x30,
    PCI_CAPABILITIES = 0x34,
    PCI_INTERRUPT_LINE = 0x3c,
    PCI_INTERRUPT_PIN = 0x3d,
};
enum pci_command {
    PCI_COMMAND_IO = 1,
    PCI_COMMAND_MEMORY = 2,
    PCI_COMMAND_MASTER = 4,
    PCI_COMMAND_NO_INTX = 0x400,
};
enum pci_capability {
    PCI_CAPABILITY_MSI = 0x05,
    PCI_CAPABILITY_VENDOR = 0x09,
    PCI_CAPABILITY_MSIX = 0x11,
};

struct lapic_bus;
struct memory_region;
struct pci_msi;
struct port_range;
struct pci_device;

/* One bus, numbered 0. `pirq` are the four interrupt lines at the south bridge, each shared: a line
 * is up while any function's INTx is. */
struct pci_bus {
    struct pci_device *functions[256]; /* borrowed */
    uint32_t address;                  /* the configuration address register, port 0xcf8 */
    uint32_t pirq_users[4];
    struct irq *pirq[4];         /* borrowed; may be NULL */
    struct lapic_bus *lapic_bus; /* where message-signalled interrupts go; borrowed; may be NULL */
};

struct pci_bar {
    uint64_t size; /* bytes, a power of two; 0: no such register */
    bool is_io;
    struct memory_region *region;
    struct port_range *range;
    /* Perhaps it has been moved; may be NULL. */
    void (*moved)(struct pci_device *device, bool enabled, uint32_t base);
};

/* What a function's registers read after reset; the rest of them is 0. */
struct pci_identity {
    uint16_t vendor, device, subsystem_vendor, subsystem;
    uint32_t class_code; /* class << 16 | subclass << 8 | interface */
    uint8_t revision;
    uint8_t interrupt_pin; /* 0 none, 1 INTA ... */
    bool multifunction;
};

struct pci_device {
    struct device device;
    struct pci_bus *bus;
    unsigned devfn;
    uint8_t config[256];
    uint8_t initial[256];  /* what config is after reset */
    uint8_t writable[256]; /* which bits a guest may change */
    uint8_t next_free;     /* where the next capability goes */
    struct pci_bar bars[PCI_BAR_COUNT];
    bool intx,
        intx_driven; /* what the device wants; what its line does: command bit 10 is between */
    const struct pci_identity *identity;
    uint8_t *rom; /* of pci_add_rom(): rom_size bytes, page aligned */
    size_t rom_size;
    struct pci_msi *msi; /* NULL: it has none; emu/device/pci_msi.h */
    /* Before a guest's read of `size` bytes at `offset`; may be NULL. */
    void (*reading)(struct pci_device *device, unsigned offset, unsigned size);
    /* After a guest's write of `size` bytes at `offset`; may be NULL. */
    void (*written)(struct pci_device *device, unsigned offset, unsigned size);
};

#define PCI_STATE(type, member)                                                                    \
    STATE_BYTES(type, member.config), STATE_UINT(type, member.intx),                               \
        STATE_UINT(type, member.intx_driven)

void pci_place(struct pci_device *device, struct pci_bus *bus, unsigned devfn); /* before realize */
void pci_attach(struct pci_device *device, const struct pci_identity *identity);
void pci_reset(struct pci_device *device);
void pci_loaded(struct pci_device *device);

/* The region or range is the device's; the bus moves and enables it. It starts disabled. */
void pci_add_memory_bar(struct pci_device *device, unsigned bar, uint64_t size, bool prefetchable,
                        struct memory_region *region);
void pci_add_io_bar(struct pci_device *device, unsigned bar, unsigned size,
                    struct port_range *range);
/* Adds a capability of `size` bytes, the two of its header included, and returns where it is in
 * configuration space; what it holds after reset is to be put into `initial`. In realize. */
unsigned pci_add_capability(struct pci_device *device, enum pci_capability id, unsigned size);
/* Gives the device a copy of `bytes` as its expansion ROM. After realize; pci_free_rom() before
 * the device goes. False when the host has no memory. */
bool pci_add_rom(struct pci_device *device, const uint8_t *bytes, size_t size);
void pci_free_rom(struct pci_device *device);
void pci_set_intx(struct pci_device *device, bool level);
bool pci_is_master(const struct pci_device *device);

/* Configuration accesses as the host bridge makes them: aligned, `size` 1, 2 or 4. */
uint32_t pci_config_read(struct pci_bus *bus, unsigned devfn, unsigned offset, unsigned size);
void pci_config_write(struct pci_bus *bus, unsigned devfn, unsigned offset, uint32_t value,
                      unsigned size);
