/*
 * Files given as kernels: Linux's bzImage started without firmware and by an option ROM, Multiboot
 * kernels with modules. The first byte says which way and with what beside it; the rest is the
 * file.
 */
#include <stdlib.h>

#include "emu/machine/kernel_rom.h"
#include "emu/machine/machine_internal.h"
#include "tests/fuzz/fuzz.h"

enum {
    BY_ROM = 1,
    WITH_INITRD = 2, /* or a module: the file itself */
    LITTLE_MEMORY = 4,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *path = fuzz_beside("kernel"), *modules = NULL;
    struct machine_config config = {.kernel = path, .append = "console=ttyS0", .memory = 64 << 20};

    if (size < 1)
        return -1;
    if (!g_file_set_contents(path, (const char *)data + 1, (gssize)size - 1, NULL))
        abort();
    if (data[0] & LITTLE_MEMORY)
        config.memory = 1 << 20;
    modules = g_strdup_printf(data[0] & BY_ROM ? "%s one,%s two" : "%s", path, path);
    if (data[0] & WITH_INITRD)
        config.initrd =
            data[0] & BY_ROM && kernel_rom_is_multiboot((const char *)data + 1, size - 1) ? modules
                                                                                          : path;
    if (data[0] & BY_ROM) {
        struct kernel_rom *rom = kernel_rom_load(&config, NULL);

        kernel_rom_free(rom);
    } else {
        linux_image_free(linux_image_load(&config, NULL));
    }
    return 0;
}
