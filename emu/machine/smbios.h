/*
 * The SMBIOS structures of a machine (DSP0134, 2.8): what dmidecode, Linux's DMI quirks and Windows
 * read about its maker, its processors and its memory. Firmware places them where it finds them in
 * fw_cfg, as QEMU documents it; without firmware smbios_place() does.
 */
#pragma once

#include <glib.h>
#include <stdint.h>

#define SMBIOS_TABLES_FILE "etc/smbios/smbios-tables"
#define SMBIOS_ANCHOR_FILE "etc/smbios/smbios-anchor"
#define SMBIOS_ANCHOR_SIZE 31

struct smbios_machine {
    const char *name; /* shown as the serial number; NULL: none */
    const char *uuid; /* as text; NULL: none */
    unsigned cpus;
    uint32_t cpu_signature, cpu_features; /* EAX and EDX of CPUID 1 */
    uint64_t memory_below_4g, memory_above_4g;
};

struct smbios_tables {
    GByteArray *tables;
    uint8_t anchor[SMBIOS_ANCHOR_SIZE]; /* 2.1 entry point, with no address until placed */
};

/* Free with smbios_clear(). */
void smbios_build(struct smbios_tables *smbios, const struct smbios_machine *machine);
void smbios_clear(struct smbios_tables *smbios);
/* Makes the anchor good for tables at `address`. */
void smbios_place(struct smbios_tables *smbios, uint32_t address);
