/*
 * Starting a Linux kernel without firmware: the 32-bit boot protocol (Linux documentation,
 * arch/x86/boot), and the little of a BIOS's work on the chipset that the kernel relies on.
 *
 *      0x10000  boot_params          0x1f000  a descriptor table        0x20000  the command line
 *      1 MiB    the kernel           below the top of low memory: initrd, then the ACPI tables
 */
#include "emu/core/bytes.h"
#include "emu/core/memory.h"
#include "emu/core/port.h"
#include "emu/cpu/cpu.h"
#include "emu/cpu/state.h"
#include "emu/device/i440fx.h"
#include "emu/device/piix4_pm.h"
#include "emu/machine/machine_internal.h"
#include <gio/gio.h>
#include <string.h>

#define BOOT_PARAMS   0x10000u
#define GDT           0x1f000u
#define COMMAND_LINE  0x20000u
#define KERNEL        0x100000u
#define RSDP_ADDRESS  0xf0000u
#define SMBIOS_ANCHOR 0xf0040u
#define SMBIOS_TABLES 0xf0080u
#define ACPI_RESERVE  0x10000u
#define MAX_COMMAND   2048u
#define HEADER_AT     0x1f1u
#define E820_AT       0x2d0u
#define CODE_SELECTOR 0x10
#define DATA_SELECTOR 0x18

struct linux_image {
    char *kernel, *initrd, *command;
    gsize kernel_size, initrd_size, setup_size;
    uint64_t initrd_address;
};

/* ---- files ------------------------------------------------------------------------------- */

void linux_image_free(struct linux_image *image)
{
    if (!image)
        return;
    g_free(image->kernel);
    g_free(image->initrd);
    g_free(image->command);
    g_free(image);
}
typedef struct linux_image linux_image; /* g_autoptr wants a plain name */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(linux_image, linux_image_free)

G_GNUC_PRINTF(2, 3)
static bool fail(GError **error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA, text);
    return false;
}

static bool check_kernel(struct linux_image *image, const struct machine_config *config,
                         GError **error)
{
    const char *kernel = image->kernel;
    if (image->kernel_size < 0x300 || memcmp(kernel + 0x202, "HdrS", 4) != 0)
        return fail(error, "kernel %s is not a Linux bzImage: it has no setup header",
                    config->kernel);
    unsigned version = (unsigned)bytes_load(kernel + 0x206, 2);
    if (version < 0x204 || !(kernel[0x211] & 1))
        return fail(error,
                    "kernel %s has boot protocol %u.%02u; a bzImage of 2.04 or newer is "
                    "needed",
                    config->kernel, version >> 8, version & 255);
    unsigned sectors = (uint8_t)kernel[HEADER_AT];
    image->setup_size = ((sectors ? sectors : 4) + 1) * 512u;
    if (image->setup_size >= image->kernel_size)
        return fail(error, "kernel %s is cut short", config->kernel);
    return true;
}

/* Where the initrd goes: as high as the kernel allows, below what the ACPI tables take. */
static bool place(struct linux_image *image, const struct machine_config *config, GError **error)
{
    uint64_t top = MIN(config->memory, MEMORY_HOLE_BASE) - ACPI_RESERVE;
    uint64_t limit = bytes_load(image->kernel + 0x22c, 4);
    uint64_t kernel_end = KERNEL + image->kernel_size - image->setup_size;
    if (bytes_load(image->kernel + 0x206, 2) >= 0x20a) {
        uint64_t preferred = bytes_load(image->kernel + 0x258, 8);
        kernel_end = MAX(kernel_end, preferred + bytes_load(image->kernel + 0x260, 4));
    }
    image->initrd_address = (MIN(top, limit + 1) - MIN(top, image->initrd_size)) & ~UINT64_C(4095);
    if (config->memory <= KERNEL + ACPI_RESERVE || kernel_end > image->initrd_address)
        return fail(error,
                    "kernel and initrd do not fit in %" G_GUINT64_FORMAT
                    " MiB of memory: give --memory %" G_GUINT64_FORMAT "M or more",
                    config->memory >> 20,
                    ((kernel_end + image->initrd_size + ACPI_RESERVE) >> 20) + 2);
    return true;
}

struct linux_image *linux_image_load(const struct machine_config *config, GError **error)
{
    g_autoptr(linux_image) image = g_new0(struct linux_image, 1);
    if (!g_file_get_contents(config->kernel, &image->kernel, &image->kernel_size, error)) {
        g_prefix_error(error, "cannot read the kernel: ");
        return NULL;
    }
    if (!check_kernel(image, config, error))
        return NULL;
    if (config->initrd &&
        !g_file_get_contents(config->initrd, &image->initrd, &image->initrd_size, error)) {
        g_prefix_error(error, "cannot read the initrd: ");
        return NULL;
    }
    image->command = g_strdup(config->append ? config->append : "");
    if (strlen(image->command) >= MAX_COMMAND) {
        fail(error, "the kernel's command line is longer than %u characters", MAX_COMMAND - 1);
        return NULL;
    }
    return place(image, config, error) ? g_steal_pointer(&image) : NULL;
}

/* ---- what a BIOS would have done --------------------------------------------------------- */

static void set_config(struct pci_bus *bus, unsigned devfn, unsigned offset, uint32_t value,
                       unsigned size)
{
    pci_config_write(bus, devfn, offset, value, size);
}

static void prepare_chipset(struct machine *machine)
{
    static const uint8_t routes[4] = {10, 10, 11, 11};
    struct pci_bus *bus = i440fx_bus(machine->devices[PC_I440FX]);
    const unsigned bridge = PCI_DEVFN(1, 0), ide = PCI_DEVFN(1, 1), pm = PCI_DEVFN(1, 3);
    /* RAM at 0xc0000-0xfffff. */
    set_config(bus, 0, 0x59, 0x30, 1);
    for (unsigned i = 0; i < 6; i++)
        set_config(bus, 0, 0x5a + i, 0x33, 1);
    for (unsigned i = 0; i < 4; i++)
        set_config(bus, bridge, 0x60 + i, routes[i], 1);
    port_write(machine->board.ports, 0x4d1, 0x0e, 1); /* 9, 10 and 11 are levels */
    port_write(machine->board.ports, 0xd6, 0xc0, 1);  /* the first DMA controller's way out */
    port_write(machine->board.ports, 0xd4, 0, 1);
    set_config(bus, ide, PCI_BAR0 + 16, 0xc000, 4);
    set_config(bus, ide, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MASTER, 2);
    set_config(bus, pm, 0x40, PIIX4_PM_DEFAULT_BASE | 1, 4);
    set_config(bus, pm, 0x80, 1, 1);
    set_config(bus, pm, PCI_INTERRUPT_LINE, 9, 1);
    set_config(bus, PCI_DEVFN(2, 0), PCI_BAR0, 0xfd000000, 4);
    set_config(bus, PCI_DEVFN(2, 0), PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY, 2);
}

static uint64_t tables_address(const struct machine *machine)
{
    return memory_ram_below_4g(machine->board.memory) - ACPI_RESERVE;
}

static void place_tables(struct machine *machine)
{
    struct acpi_tables tables = {0};
    acpi_tables_build(&tables, machine->config->cpus, acpi_parts(machine->config));
    acpi_tables_place(&tables, tables_address(machine), RSDP_ADDRESS);
    memory_write(machine->board.memory, tables_address(machine), tables.tables->data,
                 tables.tables->len);
    memory_write(machine->board.memory, RSDP_ADDRESS, tables.rsdp->data, tables.rsdp->len);
    acpi_tables_clear(&tables);

    struct smbios_tables smbios;
    firmware_smbios(machine, &smbios);
    smbios_place(&smbios, SMBIOS_TABLES);
    memory_write(machine->board.memory, SMBIOS_TABLES, smbios.tables->data, smbios.tables->len);
    memory_write(machine->board.memory, SMBIOS_ANCHOR, smbios.anchor, sizeof(smbios.anchor));
    smbios_clear(&smbios);
}

/* ---- the boot protocol ------------------------------------------------------------------- */

static void add_e820(uint8_t *params, uint64_t base, uint64_t end, uint32_t type)
{
    uint8_t *count = &params[0x1e8];
    uint8_t *entry = params + E820_AT + *count * 20;
    bytes_store(entry, base, 8);
    bytes_store(entry + 8, end - base, 8);
    bytes_store(entry + 16, type, 4);
    (*count)++;
}

static void describe_memory(struct machine *machine, uint8_t *params)
{
    uint64_t below = memory_ram_below_4g(machine->board.memory);
    uint64_t above = memory_ram_size(machine->board.memory) - below;
    const uint64_t four_gib = UINT64_C(1) << 32;
    add_e820(params, 0, 0x9fc00, 1);
    add_e820(params, 0x9fc00, 0xa0000, 2);
    add_e820(params, 0xf0000, 0x100000, 2);
    add_e820(params, 0x100000, tables_address(machine), 1);
    add_e820(params, tables_address(machine), below, 3); /* ACPI tables */
    add_e820(params, 0xfec00000, four_gib, 2);
    if (above)
        add_e820(params, four_gib, four_gib + above, 1);
}

static void write_params(struct machine *machine, const struct linux_image *image)
{
    uint8_t params[4096] = {0};
    gsize header_end = 0x202u + (uint8_t)image->kernel[0x201];
    memcpy(params + HEADER_AT, image->kernel + HEADER_AT,
           MIN(header_end, MIN(image->kernel_size, E820_AT)) - HEADER_AT);
    params[0x210] = 0xff; /* a loader without a number */
    params[0x211] |= 0x01;
    bytes_store(params + 0x070, RSDP_ADDRESS, 8);
    bytes_store(params + 0x228, COMMAND_LINE, 4);
    if (image->initrd) {
        bytes_store(params + 0x218, image->initrd_address, 4);
        bytes_store(params + 0x21c, image->initrd_size, 4);
    }
    describe_memory(machine, params);
    memory_write(machine->board.memory, BOOT_PARAMS, params, sizeof(params));
}

static struct segment flat_segment(uint16_t selector, uint16_t type)
{
    return (struct segment){.base = 0,
                            .limit = UINT32_MAX,
                            .selector = selector,
                            .attributes = (uint16_t)(type | SEG_S | SEG_P | SEG_DB | SEG_G)};
}

static void set_registers(struct machine *machine)
{
    struct cpu *cpu = machine->vcpus[0].cpu;
    struct cpu_state *state = cpu_state(cpu);
    struct segment data = flat_segment(DATA_SELECTOR, SEG_WRITABLE | SEG_ACCESSED);
    for (unsigned i = 0; i < GPR_COUNT; i++)
        state->gpr[i] = 0;
    state->gpr[RSI] = BOOT_PARAMS;
    state->gpr[RSP] = BOOT_PARAMS;
    state->rip = KERNEL;
    state->rflags = 2;
    state->cr0 = CR0_PE | CR0_ET | CR0_NE;
    state->seg[SEG_CS] = flat_segment(CODE_SELECTOR, SEG_CODE | SEG_WRITABLE | SEG_ACCESSED);
    state->seg[SEG_DS] = state->seg[SEG_ES] = state->seg[SEG_SS] = data;
    state->seg[SEG_FS] = state->seg[SEG_GS] = data;
    state->gdtr = (struct descriptor_table){GDT, 4 * 8 - 1};
    state->cpl = 0;
    cpu_state_changed(cpu);
}

void linux_boot(struct machine *machine)
{
    static const uint64_t gdt[4] = {0, 0, UINT64_C(0x00cf9b000000ffff),
                                    UINT64_C(0x00cf93000000ffff)};
    const struct linux_image *image = machine->linux_image;
    struct memory_map *memory = machine->board.memory;
    prepare_chipset(machine);
    place_tables(machine);
    write_params(machine, image);
    memory_write(memory, GDT, gdt, sizeof(gdt));
    memory_write(memory, COMMAND_LINE, image->command, strlen(image->command) + 1);
    memory_write(memory, KERNEL, image->kernel + image->setup_size,
                 image->kernel_size - image->setup_size);
    if (image->initrd)
        memory_write(memory, image->initrd_address, image->initrd, image->initrd_size);
    set_registers(machine);
}
