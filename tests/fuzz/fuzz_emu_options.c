/*
 * drover-emu's command line: the first byte chooses the option, the rest is its text. What is taken
 * must be in the range that the option has.
 */
#include <stdlib.h>
#include <string.h>

#include "emu/cpu/models.h"
#include "emu/machine/options.h"
#include "emu/machine/smbios.h"
#include "emu/net/backend.h"
#include "tests/fuzz/fuzz.h"

static void try_disk(const char *text)
{
    struct machine_disk disk = {0};

    if (options_parse_disk(text, &disk, NULL) && (!disk.file || !*disk.file))
        abort();
    g_free((char *)disk.file);
}

static void try_floppy(const char *text)
{
    struct machine_floppy floppy = {0};

    options_parse_floppy(text, &floppy, NULL);
    g_free((char *)floppy.file);
}

static void try_port(const char *text)
{
    struct machine_port port = {0};

    if (options_parse_port(text, &port, NULL) && (!port.name || !port.where))
        abort();
    g_free((char *)port.name);
    g_free((char *)port.where);
}

static void try_net(const char *text)
{
    struct net_config config = {0};

    if (net_config_parse(text, &config, NULL) && config.kind >= NET_KIND_COUNT)
        abort();
    net_config_clear(&config);
}

static void try_forward(const char *text)
{
    struct net_forward forward;

    net_forward_parse(text, &forward, NULL);
}

static void try_model(const char *text)
{
    struct cpu_model model;

    cpu_model_parse(text, &model, NULL);
}

static void try_numbers(const char *text)
{
    uint64_t bytes;
    unsigned count;

    if (options_parse_memory(text, &bytes, NULL) && (bytes < 1u << 20 || bytes % (1u << 20)))
        abort();
    options_parse_code_cache(text, &bytes, NULL);
    if (options_parse_count("--cpus", text, 16, &count, NULL) && (count < 1 || count > 16))
        abort();
    options_check_boot_order(text, NULL);
}

/* The name, and what is taken for a UUID, stand in the tables that a guest reads. */
static void try_smbios(const char *text)
{
    struct smbios_machine machine = {.name = text,
                                     .uuid = options_check_uuid(text, NULL) ? text : NULL,
                                     .cpus = 1,
                                     .memory_below_4g = 1u << 20};
    struct smbios_tables tables;

    smbios_build(&tables, &machine);
    smbios_place(&tables, 0xf0000);
    smbios_clear(&tables);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const tries[])(const char *text) = {
        try_disk, try_floppy, try_port, try_net, try_forward, try_model, try_numbers, try_smbios};
    g_autofree char *text = NULL;

    if (size < 1)
        return -1;
    text = g_strndup((const char *)data + 1, size - 1);
    tries[data[0] % G_N_ELEMENTS(tries)](text);
    return 0;
}
