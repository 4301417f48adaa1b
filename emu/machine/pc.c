/*
 * The PC: which devices it has and how they are wired.
 */
#include "emu/cpu/cpu.h"
#include "emu/device/cmos.h"
#include "emu/device/debug_port.h"
#include "emu/device/floppy.h"
#include "emu/device/fw_cfg.h"
#include "emu/device/hpet.h"
#include "emu/device/i440fx.h"
#include "emu/device/i8042.h"
#include "emu/device/i8237.h"
#include "emu/device/i8254.h"
#include "emu/device/i8259.h"
#include "emu/device/ide.h"
#include "emu/device/ioapic.h"
#include "emu/device/parallel.h"
#include "emu/device/piix3.h"
#include "emu/device/piix4_pm.h"
#include "emu/device/pvpanic.h"
#include "emu/device/testdev.h"
#include "emu/device/uart.h"
#include "emu/device/vga.h"
#include "emu/device/vmmouse.h"
#include "emu/machine/machine_internal.h"
#include <stdio.h>
#include <time.h>

#include <unistd.h>

static const struct device_ops *const parts[PC_COUNT] = {
    [PC_I440FX] = &i440fx_ops,   [PC_PIIX3] = &piix3_ops,        [PC_I8259] = &i8259_ops,
    [PC_IOAPIC] = &ioapic_ops,   [PC_I8254] = &i8254_ops,        [PC_CMOS] = &cmos_ops,
    [PC_HPET] = &hpet_ops,       [PC_I8042] = &i8042_ops,        [PC_I8237] = &i8237_ops,
    [PC_UART] = &uart_ops,       [PC_VMMOUSE] = &vmmouse_ops,    [PC_PVPANIC] = &pvpanic_ops,
    [PC_TESTDEV] = &testdev_ops, [PC_UART_2] = &uart_second_ops, [PC_PARALLEL] = &parallel_ops,
    [PC_FLOPPY] = &floppy_ops,   [PC_PIIX4_PM] = &piix4_pm_ops,  [PC_IDE] = &ide_ops,
    [PC_VGA] = &vga_ops,         [PC_FW_CFG] = &fw_cfg_ops,      [PC_DEBUG] = &debug_port_ops,
};

/* PCI functions and their places. */
static const struct {
    enum pc_slot slot;
    unsigned devfn;
} places[] = {
    {PC_PIIX3, PCI_DEVFN(1, 0)},
    {PC_IDE, PCI_DEVFN(1, 1)},
    {PC_PIIX4_PM, PCI_DEVFN(1, 3)},
    {PC_VGA, PCI_DEVFN(2, 0)},
};

/* The 8259's INTR reaches LINT0 of every local APIC. */
static void set_intr(void *receiver, int input, int level)
{
    struct machine *machine = receiver;
    for (unsigned i = 0; i < machine->vcpu_count; i++)
        irq_set(lapic_lint0(machine->vcpus[i].lapic), level);
}

static void raise_smi(void *receiver, int input, int level)
{
    struct machine *machine = receiver;
    if (level && machine->vcpu_count)
        cpu_request_smi(machine->vcpus[0].cpu);
}

static void wire_interrupts(struct machine *machine)
{
    struct device **d = machine->devices;
    struct irq *pic[16], *ioapic[16];
    machine->intr = (struct irq){set_intr, machine, 0};
    i8259_connect(d[PC_I8259], &machine->intr);
    ioapic_connect(d[PC_IOAPIC], &machine->lapic_bus);
    machine->lapic_bus.pic = d[PC_I8259];
    for (unsigned i = 0; i < 16; i++) {
        /* 2 is the cascade at the 8259s, and the timer's at the IOAPIC. */
        pic[i] = i == 2 ? NULL : i8259_input(d[PC_I8259], i);
        ioapic[i] = i == 2 ? NULL : ioapic_input(d[PC_IOAPIC], i == 0 ? 2 : i);
    }
    piix3_wire(d[PC_PIIX3], pic, ioapic);
    struct irq *const legacy[] = {piix3_isa_irq(d[PC_PIIX3], 0), piix3_isa_irq(d[PC_PIIX3], 8)};
    for (unsigned i = 0; i < 8; i++)
        ioapic[i] = ioapic_input(d[PC_IOAPIC], 16 + i);
    hpet_connect(d[PC_HPET], legacy, ioapic, i8254_replaced(d[PC_I8254]));
}

static void wire_pci(struct machine *machine)
{
    struct pci_bus *bus = i440fx_bus(machine->devices[PC_I440FX]);
    for (unsigned i = 0; i < G_N_ELEMENTS(places); i++)
        pci_place((struct pci_device *)machine->devices[places[i].slot], bus, places[i].devfn);
    bus->lapic_bus = &machine->lapic_bus;
    for (unsigned i = 0; i < 4; i++)
        bus->pirq[i] = piix3_pirq(machine->devices[PC_PIIX3], i);
}

unsigned pc_disk_position(const struct machine *machine, unsigned disk)
{
    unsigned position = 0;
    for (unsigned i = 0; i < disk; i++)
        position += machine->config->disks[i].bus == MACHINE_BUS_IDE;
    return position;
}

/* The secondary master is where people expect it, if disks leave it free. */
unsigned pc_cdrom_position(const struct machine *machine, unsigned drive)
{
    return MAX(pc_disk_position(machine, machine->config->disk_count), 2u) + drive;
}

/* An empty drive is one that takes the most kinds of disks. */
static enum floppy_type floppy_type_of(const struct disk_worker *worker)
{
    return worker ? floppy_type_for(disk_worker_size(worker)) : FLOPPY_2880K;
}

static void wire_isa(struct machine *machine)
{
    struct device **d = machine->devices, *bridge = d[PC_PIIX3];
    i8254_connect(d[PC_I8254], hpet_legacy_input(d[PC_HPET], HPET_LEGACY_PIT));
    i8042_connect(d[PC_I8042], piix3_isa_irq(bridge, 1), piix3_isa_irq(bridge, 12));
    uart_connect(d[PC_UART], 0x3f8, piix3_isa_irq(bridge, 4));
    if (machine->config->serial2)
        uart_connect(d[PC_UART_2], 0x2f8, piix3_isa_irq(bridge, 3));
    if (machine->config->parallel)
        parallel_connect(d[PC_PARALLEL], 0x378, piix3_isa_irq(bridge, 7));
    cmos_connect(d[PC_CMOS], hpet_legacy_input(d[PC_HPET], HPET_LEGACY_RTC));
    cmos_set_time(d[PC_CMOS], (int64_t)time(NULL));
    machine->smi = (struct irq){raise_smi, machine, 0};
    piix4_pm_connect(d[PC_PIIX4_PM], piix3_isa_irq(bridge, 9), &machine->smi);
    floppy_connect(d[PC_FLOPPY], piix3_isa_irq(bridge, 6), d[PC_I8237]);
    for (unsigned i = 0; i < machine->config->floppy_count; i++)
        floppy_add_drive(d[PC_FLOPPY], i, floppy_type_of(machine->floppies[i]),
                         machine->floppies[i]);
    ide_connect(d[PC_IDE], piix3_isa_irq(bridge, 14), piix3_isa_irq(bridge, 15));
    for (unsigned i = 0; i < machine->config->disk_count; i++) {
        if (machine->config->disks[i].bus == MACHINE_BUS_IDE)
            ide_add_disk(d[PC_IDE], pc_disk_position(machine, i), machine->disks[i]);
    }
    for (unsigned i = 0; i < machine->config->cdrom_count; i++)
        ide_add_cdrom(d[PC_IDE], pc_cdrom_position(machine, i), machine->discs[i]);
}

/* ---- the debug ports --------------------------------------------------------------------- */

static void debug_text(void *opaque, uint8_t byte)
{
    struct machine *machine = opaque;
    if (write(machine->debug_fd, &byte, 1) < 0)
        return; /* a full disk must not stop a guest over a debug log */
}

static void debug_exit(void *opaque, int status)
{
    struct machine *machine = opaque;
    atomic_store(&machine->exit_status, status);
    machine_request(machine, REQUEST_DEBUG_EXIT);
}

static void wire_debug(struct machine *machine)
{
    struct debug_port_ends ends = {machine->debug_fd >= 0 ? debug_text : NULL,
                                   machine->config->debug_exit ? debug_exit : NULL,
                                   (uint16_t)machine->config->debug_exit, machine};
    debug_port_connect(machine->devices[PC_DEBUG], &ends);
}

/* The guest's last words, or so it says. */
static void panicked(void *opaque, unsigned events)
{
    static const enum machine_request requests[MACHINE_ON_PANIC_COUNT] = {
        [MACHINE_ON_PANIC_PAUSE] = REQUEST_PAUSE,
        [MACHINE_ON_PANIC_RESET] = REQUEST_RESET,
        [MACHINE_ON_PANIC_POWER_OFF] = REQUEST_POWER_OFF,
    };
    struct machine *machine = opaque;
    if (!(events & PVPANIC_PANICKED))
        return; /* it goes on by itself */
    atomic_store(&machine->panicked, true);
    if (!machine->panic_told) /* one that panics for ever is not worth a million lines */
        fprintf(stderr, "drover-emu: the guest has panicked (--on-panic %s)\n",
                machine_on_panic_names[machine->config->on_panic]);
    machine->panic_told = true;
    if (requests[machine->config->on_panic])
        machine_request(machine, requests[machine->config->on_panic]);
}

static void wire_extras(struct machine *machine)
{
    struct device **d = machine->devices;
    struct irq *irqs[TESTDEV_IRQS];
    for (unsigned i = 0; i < TESTDEV_IRQS; i++)
        irqs[i] = piix3_isa_irq(d[PC_PIIX3], i);
    if (machine->config->extras[MACHINE_EXTRA_TESTDEV])
        testdev_connect(d[PC_TESTDEV], irqs);
    if (machine->config->extras[MACHINE_EXTRA_PVPANIC])
        pvpanic_connect(d[PC_PVPANIC], panicked, machine);
    pointer_wire(machine);
}

/* ---- life -------------------------------------------------------------------------------- */

static bool realize(struct device *device, GError **error)
{
    if (device->ops->realize(device, error))
        return true;
    g_prefix_error(error, "device %s: ", device->ops->name);
    return false;
}

bool pc_build(struct machine *machine, GError **error)
{
    lapic_bus_init(&machine->lapic_bus);
    for (unsigned i = 0; i < PC_COUNT; i++)
        machine->devices[i] = device_new(parts[i], &machine->board);
    wire_interrupts(machine);
    wire_pci(machine);
    wire_isa(machine);
    wire_debug(machine);
    wire_extras(machine);
    if (!firmware_load(machine, error))
        return false;
    for (unsigned i = 0; i < PC_COUNT; i++) {
        if (!realize(machine->devices[i], error))
            return false;
    }
    if (!cards_new(machine, i440fx_bus(machine->devices[PC_I440FX]), error))
        return false;
    for (unsigned i = 0; i < machine->cards->len; i++) {
        if (!realize(cards_device(machine, i), error))
            return false;
    }
    if (!cards_add_roms(machine, error))
        return false;
    firmware_describe(machine);
    return true;
}

void pc_reset(struct machine *machine)
{
    board_lock(&machine->board);
    for (unsigned i = 0; i < PC_COUNT; i++)
        machine->devices[i]->ops->reset(machine->devices[i]);
    for (unsigned i = 0; i < machine->cards->len; i++)
        cards_device(machine, i)->ops->reset(cards_device(machine, i));
    for (unsigned i = 0; i < machine->vcpu_count; i++) {
        struct vcpu *vcpu = &machine->vcpus[i];
        cpu_reset(vcpu->cpu);
        vcpu->lapic->ops->reset(vcpu->lapic);
    }
    if (machine->linux_image)
        linux_boot(machine);
    board_unlock(&machine->board);
}

void pc_free(struct machine *machine)
{
    cards_free(machine);
    for (unsigned i = 0; i < PC_COUNT; i++)
        g_clear_pointer(&machine->devices[i], device_free);
    lapic_bus_finish(&machine->lapic_bus);
}
