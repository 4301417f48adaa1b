/*
 * Multiboot 1 kernels: finding the header, loading the kernel and its modules, describing them.
 */
#include "emu/core/bytes.h"
#include "emu/core/memory.h"
#include "emu/machine/kernel_rom_internal.h"
#include <elf.h>
#include <string.h>

#define SEARCH_SIZE   8192u
#define MAGIC         0x1badb002u
#define HEADER_SIZE   32u
#define WANTS_VIDEO   0x00000004u
#define MUST_NOT_PASS 0x0000fff8u /* what a loader has to know, and none does yet (3.1.2) */
#define HAS_ADDRESSES 0x00010000u
#define VIDEO_SIZE    48u /* of a header with a picture's size */

#define INFO_ADDRESS 0x9000u
#define MAP_ADDRESS  (INFO_ADDRESS + 0x100)
#define INFO_SIZE    118u
/* memory, boot device, command line, modules, map, loader's name, picture */
#define INFO_FLAGS    0x124fu
#define INFO_VIDEO    88u /* the picture's address; its line length, width, height, depth, kind */
#define TEXT_KIND     2u
#define BOOT_DEVICE   0x8000ffffu
#define MODULE_SIZE   16u
#define MAX_KERNEL    (UINT64_C(1) << 30)
#define FIRMWARE_ROOM (UINT64_C(1) << 20)

/* Where the header is, or `size` for nowhere. */
static gsize find_header(const char *bytes, gsize size)
{
    for (gsize at = 0; at + 12 <= MIN(size, (gsize)SEARCH_SIZE); at += 4) {
        if (bytes_load(bytes + at, 4) == MAGIC &&
            (uint32_t)(bytes_load(bytes + at, 4) + bytes_load(bytes + at + 4, 4) +
                       bytes_load(bytes + at + 8, 4)) == 0)
            return at;
    }
    return size;
}

bool kernel_rom_is_multiboot(const char *bytes, gsize size)
{
    return find_header(bytes, size) < size;
}

/* What is loaded: bytes for one range of memory. */
struct image {
    uint64_t start, end; /* end: with what is zeroed */
    GByteArray *bytes;
    uint32_t entry;
};

/* The addresses in the header, for files that are no ELF (3.1.3). */
static bool load_addresses(const char *bytes, gsize size, gsize header, struct image *image,
                           GError **error)
{
    if (header + HEADER_SIZE > size)
        return kernel_rom_fail(error, "the Multiboot header is cut short");
    uint32_t header_address = (uint32_t)bytes_load(bytes + header + 12, 4);
    uint32_t load = (uint32_t)bytes_load(bytes + header + 16, 4);
    uint32_t load_end = (uint32_t)bytes_load(bytes + header + 20, 4);
    uint32_t bss_end = (uint32_t)bytes_load(bytes + header + 24, 4);
    bool sane =
        header_address >= load && header_address - load <= header && (!load_end || load_end > load);
    gsize from = sane ? header - (header_address - load) : size;
    gsize length = load_end ? load_end - (uint64_t)load : size - from;
    if (!sane || length > size - from)
        return kernel_rom_fail(error, "the addresses in the Multiboot header do not fit the file");
    image->start = load;
    image->end = MAX((uint64_t)load + length, bss_end);
    image->entry = (uint32_t)bytes_load(bytes + header + 28, 4);
    g_byte_array_append(image->bytes, (const guint8 *)bytes + from, (guint)length);
    return true;
}

/* The segments of an ELF that are loaded, from a copy of their headers. */
static bool find_range(const char *bytes, gsize size, const Elf32_Ehdr *elf, struct image *image,
                       GError **error)
{
    image->start = UINT64_MAX;
    for (unsigned i = 0; i < elf->e_phnum; i++) {
        Elf32_Phdr segment;
        memcpy(&segment, bytes + elf->e_phoff + i * sizeof(segment), sizeof(segment));
        if (segment.p_type != PT_LOAD || segment.p_memsz == 0)
            continue;
        if (segment.p_filesz > segment.p_memsz || segment.p_offset > size ||
            segment.p_filesz > size - segment.p_offset)
            return kernel_rom_fail(error, "a segment of the kernel lies outside its file");
        image->start = MIN(image->start, segment.p_paddr);
        image->end = MAX(image->end, (uint64_t)segment.p_paddr + segment.p_memsz);
    }
    return image->start < image->end || kernel_rom_fail(error, "the kernel has nothing to load");
}

static bool load_elf(const char *bytes, gsize size, struct image *image, GError **error)
{
    Elf32_Ehdr elf;
    if (size < sizeof(elf) || memcmp(bytes, ELFMAG, SELFMAG) != 0)
        return kernel_rom_fail(error, "the kernel is no ELF file, nor has its Multiboot header "
                                      "addresses");
    memcpy(&elf, bytes, sizeof(elf));
    if (elf.e_ident[EI_CLASS] != ELFCLASS32 || elf.e_machine != EM_386)
        return kernel_rom_fail(error, "the kernel is no 32-bit ELF file for x86, which Multiboot "
                                      "kernels are; objcopy -O elf32-i386 makes one");
    if (elf.e_phentsize != sizeof(Elf32_Phdr) || elf.e_phoff > size ||
        (uint64_t)elf.e_phnum * sizeof(Elf32_Phdr) > size - elf.e_phoff)
        return kernel_rom_fail(error, "the kernel's ELF headers are cut short");
    if (!find_range(bytes, size, &elf, image, error))
        return false;
    if (image->end - image->start > MAX_KERNEL)
        return kernel_rom_fail(error, "the kernel's segments span more than 1 GiB");
    g_byte_array_set_size(image->bytes, (guint)(image->end - image->start));
    memset(image->bytes->data, 0, image->bytes->len);
    for (unsigned i = 0; i < elf.e_phnum; i++) {
        Elf32_Phdr segment;
        memcpy(&segment, bytes + elf.e_phoff + i * sizeof(segment), sizeof(segment));
        if (segment.p_type == PT_LOAD && segment.p_memsz)
            memcpy(image->bytes->data + (segment.p_paddr - image->start), bytes + segment.p_offset,
                   segment.p_filesz);
    }
    image->entry = elf.e_entry;
    return true;
}

/* ---- modules ----------------------------------------------------------------------------- */

static void align_page(GByteArray *bytes)
{
    static const guint8 zeroes[4096];
    g_byte_array_append(bytes, zeroes, -bytes->len & 4095);
}

/* One of the list: a file, and after a blank its arguments. Its place and its string are added. */
static bool add_module(const char *text, uint64_t base, GByteArray *data, GByteArray *table,
                       GByteArray *strings, GError **error)
{
    g_autofree char *file = g_strndup(text, strcspn(text, " ")), *bytes = NULL;
    gsize size;
    uint8_t entry[MODULE_SIZE] = {0};
    if (!g_file_get_contents(file, &bytes, &size, error)) {
        g_prefix_error(error, "cannot read the module: ");
        return false;
    }
    align_page(data);
    if (size > MAX_KERNEL || data->len > MAX_KERNEL)
        return kernel_rom_fail(error, "the modules take more than 1 GiB");
    bytes_store(entry, base + data->len, 4);
    bytes_store(entry + 4, base + data->len + size, 4);
    bytes_store(entry + 8, strings->len, 4); /* made an address later */
    g_byte_array_append(data, (const guint8 *)bytes, (guint)size);
    g_byte_array_append(table, entry, sizeof(entry));
    g_byte_array_append(strings, (const guint8 *)text, (guint)strlen(text) + 1);
    return true;
}

/* The modules from `base` on, then their table, then all strings. */
static bool add_modules(struct kernel_rom *rom, const struct machine_config *config, uint64_t base,
                        uint8_t info[INFO_SIZE], GError **error)
{
    GByteArray *data = g_byte_array_new();
    g_autoptr(GByteArray) table = g_byte_array_new(), strings = g_byte_array_new();
    g_autofree char *command =
        g_strdup_printf("%s %s", config->kernel, config->append ? config->append : "");
    g_auto(GStrv) modules = g_strsplit(config->initrd ? config->initrd : "", ",", -1);
    kernel_rom_add(rom, base, data);
    for (char **module = modules; *module; module++) {
        if (**module && !add_module(*module, base, data, table, strings, error))
            return false;
    }
    align_page(data);
    uint64_t table_at = base + data->len, strings_at = table_at + table->len;
    for (guint i = 0; i < table->len; i += MODULE_SIZE)
        bytes_store(table->data + i + 8, bytes_load(table->data + i + 8, 4) + strings_at, 4);
    bytes_store(info + 16, strings_at + strings->len, 4);
    g_byte_array_append(strings, (const guint8 *)command, (guint)strlen(command) + 1);
    bytes_store(info + 64, strings_at + strings->len, 4);
    g_byte_array_append(strings, (const guint8 *)"drover", 7);
    bytes_store(info + 20, table->len / MODULE_SIZE, 4);
    bytes_store(info + 24, table_at, 4);
    g_byte_array_append(data, table->data, table->len);
    g_byte_array_append(data, strings->data, strings->len);
    if (base + data->len > MIN(config->memory, MEMORY_HOLE_BASE) - FIRMWARE_ROOM)
        return kernel_rom_fail(
            error, "kernel and modules do not fit in %" G_GUINT64_FORMAT " MiB of memory",
            config->memory >> 20);
    return true;
}

/* ---- the picture ------------------------------------------------------------------------- */

/* What the header asks for (3.1.4). Where it leaves that to us, it gets what screens have. */
static bool read_video(struct kernel_rom *rom, const char *bytes, gsize size, gsize header,
                       GError **error)
{
    uint32_t flags = (uint32_t)bytes_load(bytes + header + 4, 4);
    if (flags & MUST_NOT_PASS)
        return kernel_rom_fail(error,
                               "it asks its loader for what Multiboot 1 does not have: its "
                               "header's flags are 0x%x, of which the low 16 bits may be "
                               "0 to 7",
                               flags);
    if (!(flags & WANTS_VIDEO))
        return true;
    if (header + VIDEO_SIZE > size)
        return kernel_rom_fail(error, "the Multiboot header is cut short");
    const char *wish = bytes + header + HEADER_SIZE;
    uint64_t kind = bytes_load(wish, 4), width = bytes_load(wish + 4, 4),
             height = bytes_load(wish + 8, 4), depth = bytes_load(wish + 12, 4);
    if (kind != 0)
        return true; /* text, which there is */
    rom->width = (uint16_t)(width && width <= UINT16_MAX ? width : 1024);
    rom->height = (uint16_t)(height && height <= UINT16_MAX ? height : 768);
    rom->depth = (uint16_t)(depth && depth <= 32 ? depth : 32);
    return true;
}

/* The screen as the BIOS leaves it; the ROM describes the picture instead where it has made one. */
static void describe_text(uint8_t info[INFO_SIZE])
{
    static const uint32_t screen[] = {0xb8000, 0, 160, 80, 25};
    for (unsigned i = 0; i < G_N_ELEMENTS(screen); i++)
        bytes_store(info + INFO_VIDEO + 4 * i, screen[i], 4);
    info[INFO_VIDEO + 20] = 16;
    info[INFO_VIDEO + 21] = TEXT_KIND;
}

bool kernel_rom_load_multiboot(struct kernel_rom *rom, const struct machine_config *config,
                               const char *bytes, gsize size, GError **error)
{
    gsize header = find_header(bytes, size);
    uint8_t info[INFO_SIZE] = {0};
    struct image image = {.bytes = g_byte_array_new()};
    GByteArray *described = g_byte_array_new();
    kernel_rom_add(rom, 0, image.bytes);
    kernel_rom_add(rom, INFO_ADDRESS, described);
    bool ok = read_video(rom, bytes, size, header, error) &&
              (bytes_load(bytes + header + 4, 4) & HAS_ADDRESSES
                   ? load_addresses(bytes, size, header, &image, error)
                   : load_elf(bytes, size, &image, error));
    if (!ok) {
        g_prefix_error(error, "kernel %s: ", config->kernel);
        return false;
    }
    ((struct kernel_part *)g_ptr_array_index(rom->parts, 0))->address = image.start;
    if (image.start < 0x10000)
        return kernel_rom_fail(error,
                               "kernel %s: it wants to be at 0x%" G_GINT64_MODIFIER
                               "x, where the firmware's data is",
                               config->kernel, image.start);
    if (!add_modules(rom, config, (image.end + 4095) & ~UINT64_C(4095), info, error))
        return false;
    bytes_store(info, INFO_FLAGS, 4);
    describe_text(info);
    bytes_store(info + 12, BOOT_DEVICE, 4);
    bytes_store(info + 48, MAP_ADDRESS, 4);
    g_byte_array_append(described, info, sizeof(info));
    rom->kind = KERNEL_MULTIBOOT;
    rom->entry = image.entry;
    return true;
}
