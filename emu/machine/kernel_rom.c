#include "emu/machine/kernel_rom.h"

#include "emu/core/bytes.h"
#include "emu/core/memory.h"
#include "emu/device/fw_cfg.h"
#include "emu/machine/kernel_rom.hex"
#include "emu/machine/kernel_rom_internal.h"
#include <gio/gio.h>
#include <string.h>

#define PNP_HEADER 0x20
#define PARAMETERS                                                                                 \
    1024 /* in the ROM: kind, segment, stack, depth u16, entry u32, width, height u16 */
#define PARTS      (PARAMETERS + 16)
#define PART_SIZE  16
#define FIRST_ITEM 0x11 /* numbers that no other item of ours has */
#define READ_ITEM  0x0a /* of the configuration device's DMA: select and read */

#define SETUP        0x10000u
#define COMMAND_LINE 0x20000u
#define PROTECTED    0x100000u
#define MAX_COMMAND  2048u
#define FIRMWARE_ROOM                                                                              \
    (UINT64_C(1) << 20) /* what the firmware takes at the top of memory, at most */

G_GNUC_PRINTF(2, 3)
bool kernel_rom_fail(GError **error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA, text);
    return false;
}

static void free_part(gpointer part)
{
    g_byte_array_unref(((struct kernel_part *)part)->bytes);
    g_free(part);
}

void kernel_rom_add(struct kernel_rom *rom, uint64_t address, GByteArray *bytes)
{
    struct kernel_part *part = g_new0(struct kernel_part, 1);
    *part = (struct kernel_part){address, bytes};
    g_ptr_array_add(rom->parts, part);
}

static GByteArray *copy(const char *bytes, gsize size)
{
    GByteArray *array = g_byte_array_new();
    g_byte_array_append(array, (const guint8 *)bytes, (guint)size);
    return array;
}

/* ---- Linux ------------------------------------------------------------------------------- */

static bool add_initrd(struct kernel_rom *rom, const struct machine_config *config,
                       GByteArray *setup, uint64_t kernel_end, GError **error)
{
    g_autofree char *bytes = NULL;
    gsize size;
    if (!g_file_get_contents(config->initrd, &bytes, &size, error)) {
        g_prefix_error(error, "cannot read the initrd: ");
        return false;
    }
    unsigned version = (unsigned)bytes_load(setup->data + 0x206, 2);
    uint64_t limit = version >= 0x203 ? bytes_load(setup->data + 0x22c, 4) : 0x37ffffff;
    uint64_t top = MIN(MIN(config->memory, MEMORY_HOLE_BASE) - FIRMWARE_ROOM, limit + 1);
    uint64_t address = top > size ? (top - size) & ~UINT64_C(4095) : 0;
    if (address < kernel_end)
        return kernel_rom_fail(error,
                               "kernel and initrd do not fit in the memory: give more than "
                               "--memory %" G_GUINT64_FORMAT "M",
                               config->memory >> 20);
    bytes_store(setup->data + 0x218, address, 4);
    bytes_store(setup->data + 0x21c, size, 4);
    kernel_rom_add(rom, address, copy(bytes, size));
    return true;
}

static bool load_linux(struct kernel_rom *rom, const struct machine_config *config,
                       const char *bytes, gsize size, GError **error)
{
    const char *command = config->append ? config->append : "";
    if (size < 0x300 || memcmp(bytes + 0x202, "HdrS", 4) != 0 ||
        bytes_load(bytes + 0x206, 2) < 0x202 || !(bytes[0x211] & 1))
        return kernel_rom_fail(
            error,
            "kernel %s is neither a Linux bzImage of boot protocol 2.02 or newer "
            "nor a Multiboot kernel",
            config->kernel);
    gsize sectors = (uint8_t)bytes[0x1f1], setup_size = ((sectors ? sectors : 4) + 1) * 512;
    if (setup_size >= size || config->memory < 2 * PROTECTED ||
        size - setup_size > config->memory - 2 * PROTECTED)
        return kernel_rom_fail(error, "kernel %s is cut short, or does not fit in the memory",
                               config->kernel);
    if (strlen(command) >= MAX_COMMAND)
        return kernel_rom_fail(error, "the kernel's command line is longer than %u characters",
                               MAX_COMMAND - 1);
    GByteArray *setup = copy(bytes, setup_size);
    kernel_rom_add(rom, SETUP, setup);
    setup->data[0x210] = 0xff; /* a loader without a number */
    setup->data[0x211] |= 0x80;
    bytes_store(setup->data + 0x224, COMMAND_LINE - SETUP - 0x200, 2); /* the heap's end */
    bytes_store(setup->data + 0x228, COMMAND_LINE, 4);
    kernel_rom_add(rom, PROTECTED, copy(bytes + setup_size, size - setup_size));
    kernel_rom_add(rom, COMMAND_LINE, copy(command, strlen(command) + 1));
    rom->kind = KERNEL_LINUX;
    return !config->initrd || add_initrd(rom, config, setup, PROTECTED + size, error);
}

/* ---- life -------------------------------------------------------------------------------- */

struct kernel_rom *kernel_rom_load(const struct machine_config *config, GError **error)
{
    g_autofree char *bytes = NULL;
    gsize size;
    if (!g_file_get_contents(config->kernel, &bytes, &size, error)) {
        g_prefix_error(error, "cannot read the kernel: ");
        return NULL;
    }
    struct kernel_rom *rom = g_new0(struct kernel_rom, 1);
    rom->parts = g_ptr_array_new_with_free_func(free_part);
    if (kernel_rom_is_multiboot(bytes, size)
            ? kernel_rom_load_multiboot(rom, config, bytes, size, error)
            : load_linux(rom, config, bytes, size, error))
        return rom;
    kernel_rom_free(rom);
    return NULL;
}

void kernel_rom_free(struct kernel_rom *rom)
{
    if (!rom)
        return;
    g_ptr_array_unref(rom->parts);
    g_free(rom);
}

/* ---- the ROM ----------------------------------------------------------------------------- */

static uint8_t sum(const uint8_t *bytes, size_t size)
{
    uint8_t total = 0;
    while (size--)
        total = (uint8_t)(total + *bytes++);
    return total;
}

static void put_part(uint8_t *to, unsigned item, const struct kernel_part *part)
{
    uint32_t control = GUINT32_TO_BE(item << 16 | READ_ITEM),
             length = GUINT32_TO_BE(part->bytes->len);
    uint64_t address = GUINT64_TO_BE(part->address);
    memcpy(to, &control, 4);
    memcpy(to + 4, &length, 4);
    memcpy(to + 8, &address, 8);
}

void kernel_rom_describe(const struct kernel_rom *rom, struct device *fw_cfg)
{
    uint8_t image[sizeof(kernel_rom_code)];
    memcpy(image, kernel_rom_code, sizeof(image));
    bytes_store(image + PARAMETERS, rom->kind, 2);
    bytes_store(image + PARAMETERS + 2, SETUP >> 4, 2);
    bytes_store(image + PARAMETERS + 4, COMMAND_LINE - SETUP - 16, 2);
    bytes_store(image + PARAMETERS + 6, rom->depth, 2);
    bytes_store(image + PARAMETERS + 8, rom->entry, 4);
    bytes_store(image + PARAMETERS + 12, rom->width, 2);
    bytes_store(image + PARAMETERS + 14, rom->height, 2);
    for (guint i = 0; i < rom->parts->len; i++) {
        const struct kernel_part *part = g_ptr_array_index(rom->parts, i);
        fw_cfg_add(fw_cfg, (uint16_t)(FIRST_ITEM + i), part->bytes->data, part->bytes->len);
        put_part(image + PARTS + i * PART_SIZE, FIRST_ITEM + i, part);
    }
    image[PNP_HEADER + 9] = (uint8_t)-sum(image + PNP_HEADER, 32);
    image[sizeof(image) - 1] = (uint8_t)-sum(image, sizeof(image) - 1);
    fw_cfg_add_file(fw_cfg, "genroms/drover-kernel.bin", image, sizeof(image));
}
