/*
 * The BIOS, and what it is told: CMOS bytes and fw_cfg items, in the form SeaBIOS reads them.
 */
#include "emu/core/bytes.h"
#include "emu/core/memory.h"
#include "emu/cpu/models.h"
#include "emu/device/cmos.h"
#include "emu/device/floppy.h"
#include "emu/device/fw_cfg.h"
#include "emu/device/vga.h"
#include "emu/machine/kernel_rom.h"
#include "emu/machine/machine_internal.h"
#include <gio/gio.h>
#include <string.h>
#include <sys/mman.h>

#define DEFAULT_BIOS "/usr/share/seabios/bios-256k.bin"
#define VIDEO_BIOS   "/usr/share/seabios/vgabios-stdvga.bin"
#define MAX_BIOS     (16u << 20)
#define LOW_BIOS     0x20000u /* the part that also shows below 1 MiB */

static bool read_file(const char *what, const char *path, char **ret_bytes, gsize *ret_size,
                      GError **error)
{
    if (g_file_get_contents(path, ret_bytes, ret_size, error))
        return true;
    g_prefix_error(error, "cannot read the %s: ", what);
    return false;
}

static bool map_bios(struct machine *machine, const char *path, const char *bytes, gsize size,
                     GError **error)
{
    if (size < 0x10000 || size > MAX_BIOS || size % 0x10000) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                    "firmware %s has %" G_GSIZE_FORMAT
                    " bytes; a BIOS image has a multiple of 64 KiB, up to 16 MiB",
                    path, size);
        return false;
    }
    uint8_t *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NO_SPACE, "cannot get memory for the firmware");
        return false;
    }
    memcpy(pages, bytes, size);
    machine->bios_pages = pages;
    machine->bios_size = size;
    struct memory_map *memory = machine->board.memory;
    memory_add_host(memory, "bios", (UINT64_C(1) << 32) - size, size, 0, pages, false);
    size_t low = MIN(size, LOW_BIOS);
    memory_add_host(memory, "bios-low", 0x100000 - low, low, 0, pages + size - low, false);
    return true;
}

bool firmware_load(struct machine *machine, GError **error)
{
    g_autofree char *bios = NULL, *video = NULL;
    gsize size = 0, video_size = 0;
    const char *path = machine->config->firmware ? machine->config->firmware : DEFAULT_BIOS;
    if (machine->linux_image)
        return true; /* no firmware runs */
    if (!read_file(machine->config->firmware ? "firmware" : "firmware (Debian package seabios)",
                   path, &bios, &size, error) ||
        !map_bios(machine, path, bios, size, error) ||
        !read_file("video BIOS (Debian package seabios)", VIDEO_BIOS, &video, &video_size, error))
        return false;
    if (!vga_set_rom(machine->devices[PC_VGA], (uint8_t *)video, video_size)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA, "video BIOS %s is above 64 KiB",
                    VIDEO_BIOS);
        return false;
    }
    return true;
}

/* ---- CMOS -------------------------------------------------------------------------------- */

static void set_word(struct device *cmos, unsigned index, uint64_t value)
{
    cmos_set(cmos, index, (uint8_t)value);
    cmos_set(cmos, index + 1, (uint8_t)(value >> 8));
}

/* Boot devices as the BIOS numbers them: 1 floppy, 2 disk, 3 CD, 4 network. */
static unsigned boot_code(char letter)
{
    switch (letter) {
    case 'a':
        return 1;
    case 'c':
        return 2;
    case 'd':
        return 3;
    case 'n':
        return 4;
    default:
        return 0;
    }
}

static void describe_boot_order(struct device *cmos, const char *order)
{
    unsigned codes[3] = {0, 0, 0};
    for (unsigned i = 0; i < 3 && order[i]; i++)
        codes[i] = boot_code(order[i]);
    cmos_set(cmos, 0x3d, (uint8_t)(codes[1] << 4 | codes[0]));
    cmos_set(cmos, 0x38,
             (uint8_t)(codes[2] << 4 | 1)); /* bit 0: no check for a floppy's signature */
}

/* The drives' types, and their part of the equipment byte. */
static unsigned describe_floppies(struct machine *machine, struct device *cmos)
{
    const struct device *floppy = machine->devices[PC_FLOPPY];
    unsigned count = machine->config->floppy_count;
    cmos_set(cmos, 0x10,
             (uint8_t)(floppy_drive_type(floppy, 0) << 4 | floppy_drive_type(floppy, 1)));
    return count ? (count - 1) << 6 | 1 : 0;
}

static void describe_cmos(struct machine *machine)
{
    struct device *cmos = machine->devices[PC_CMOS];
    const struct machine_config *config = machine->config;
    uint64_t below = memory_ram_below_4g(machine->board.memory);
    uint64_t above = memory_ram_size(machine->board.memory) - below;
    uint64_t extended_kib = MIN((below - (1 << 20)) >> 10, 0xffff);
    uint64_t beyond_16m = below > (16 << 20) ? MIN((below - (16 << 20)) >> 16, 0xffff) : 0;
    cmos_set(cmos, 0x14, (uint8_t)(0x06 | describe_floppies(machine, cmos))); /* FPU, PS/2 mouse */
    set_word(cmos, 0x15, 640);
    set_word(cmos, 0x17, extended_kib);
    set_word(cmos, 0x30, extended_kib);
    set_word(cmos, 0x34, beyond_16m);
    set_word(cmos, 0x5b, above >> 16);
    cmos_set(cmos, 0x5d, (uint8_t)(above >> 32));
    cmos_set(cmos, 0x5f, (uint8_t)(config->cpus - 1));
    describe_boot_order(cmos, config->boot_order ? config->boot_order : "cd");
}

/* ---- fw_cfg ------------------------------------------------------------------------------ */

static void add_range(GByteArray *map, uint64_t base, uint64_t length, uint32_t type)
{
    g_byte_array_append(map, (const guint8 *)&base, 8);
    g_byte_array_append(map, (const guint8 *)&length, 8);
    g_byte_array_append(map, (const guint8 *)&type, 4);
}

static void describe_memory(struct machine *machine, struct device *fw_cfg)
{
    g_autoptr(GByteArray) map = g_byte_array_new();
    uint64_t below = memory_ram_below_4g(machine->board.memory);
    uint64_t above = memory_ram_size(machine->board.memory) - below;
    add_range(map, 0, below, 1);
    if (above)
        add_range(map, UINT64_C(1) << 32, above, 1);
    fw_cfg_add_file(fw_cfg, "etc/e820", map->data, map->len);
}

/* The kernel, if there is one; without a boot order disks as on the command line, by the names that
 * SeaBIOS gives them (Open Firmware paths). */
static void describe_disk_order(struct machine *machine, struct device *fw_cfg)
{
    g_autoptr(GString) order = g_string_new(machine->kernel_rom ? KERNEL_ROM_BOOT_NAME : "");
    for (unsigned i = 0; i < machine->config->disk_count && !machine->config->boot_order; i++) {
        g_autofree char *path = cards_disk_path(machine, i);
        g_string_append_printf(order, "%s%s", order->len ? "\n" : "", path);
    }
    if (order->len)
        fw_cfg_add_file(fw_cfg, "bootorder", order->str, order->len + 1);
}

unsigned acpi_parts(const struct machine_config *config)
{
    return 1u << ACPI_PART_HPET | (config->floppy_count > 0) << ACPI_PART_FLOPPY |
           (config->serial2 != NULL) << ACPI_PART_COM2 |
           (config->parallel != NULL) << ACPI_PART_LPT |
           config->extras[MACHINE_EXTRA_PVPANIC] << ACPI_PART_PVPANIC;
}

void firmware_smbios(struct machine *machine, struct smbios_tables *ret_smbios)
{
    const struct machine_config *config = machine->config;
    uint64_t below = memory_ram_below_4g(machine->board.memory);
    struct cpu_model model = {0};
    cpu_model_parse(config->cpu_model, &model, NULL); /* a wrong one is told where CPUs are made */
    const struct smbios_machine described = {
        .name = config->name,
        .uuid = config->uuid,
        .cpus = config->cpus,
        .cpu_signature = model.signature,
        .cpu_features = model.features.word[WORD_1_EDX],
        .memory_below_4g = below,
        .memory_above_4g = memory_ram_size(machine->board.memory) - below,
    };
    smbios_build(ret_smbios, &described);
}

static void add_smbios(struct machine *machine, struct device *fw_cfg)
{
    struct smbios_tables smbios;
    firmware_smbios(machine, &smbios);
    fw_cfg_add_file(fw_cfg, SMBIOS_TABLES_FILE, smbios.tables->data, smbios.tables->len);
    fw_cfg_add_file(fw_cfg, SMBIOS_ANCHOR_FILE, smbios.anchor, sizeof(smbios.anchor));
    smbios_clear(&smbios);
}

void firmware_describe(struct machine *machine)
{
    /* Sleep states by number: bit 7 there, the low bits the sleep type. */
    static const uint8_t system_states[6] = {0x80, 0, 0, 0x01, 0x02, 0x80};
    struct device *fw_cfg = machine->devices[PC_FW_CFG];
    const struct machine_config *config = machine->config;
    fw_cfg_add_integer(fw_cfg, FW_CFG_ITEM_RAM_SIZE, config->memory, 8);
    fw_cfg_add_integer(fw_cfg, FW_CFG_ITEM_NOGRAPHIC, 0, 2);
    fw_cfg_add_integer(fw_cfg, FW_CFG_ITEM_NB_CPUS, config->cpus, 2);
    fw_cfg_add_integer(fw_cfg, FW_CFG_ITEM_MAX_CPUS, config->cpus, 2);
    fw_cfg_add_integer(fw_cfg, FW_CFG_ITEM_BOOT_MENU, 0, 2);
    fw_cfg_add_file(fw_cfg, "etc/system-states", system_states, sizeof(system_states));
    describe_memory(machine, fw_cfg);
    describe_disk_order(machine, fw_cfg);
    if (machine->kernel_rom)
        kernel_rom_describe(machine->kernel_rom, fw_cfg);
    acpi_tables_build(&machine->acpi, config->cpus, acpi_parts(config));
    fw_cfg_add_file(fw_cfg, ACPI_TABLES_FILE, machine->acpi.tables->data,
                    machine->acpi.tables->len);
    fw_cfg_add_file(fw_cfg, ACPI_RSDP_FILE, machine->acpi.rsdp->data, machine->acpi.rsdp->len);
    fw_cfg_add_file(fw_cfg, ACPI_LOADER_FILE, machine->acpi.loader->data,
                    machine->acpi.loader->len);
    add_smbios(machine, fw_cfg);
    describe_cmos(machine);
}
