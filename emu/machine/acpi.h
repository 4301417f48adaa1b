/*
 * The ACPI tables of the board (ACPI Specification 6.3), and the script by which firmware places
 * them: the table loader's commands as QEMU documents them and SeaBIOS carries them out.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct acpi_tables {
    GByteArray *tables; /* all but the RSDP; pointers are offsets until placed */
    GByteArray *rsdp;
    GByteArray *loader; /* commands of 128 bytes */
};

#define ACPI_TABLES_FILE "etc/acpi/tables"
#define ACPI_RSDP_FILE   "etc/acpi/rsdp"
#define ACPI_LOADER_FILE "etc/table-loader"

/* Devices that some machines have. */
enum acpi_part {
    ACPI_PART_HPET,
    ACPI_PART_FLOPPY,
    ACPI_PART_COM2,
    ACPI_PART_LPT,
    ACPI_PART_PVPANIC,
    ACPI_PART_COUNT
};

/* For a board with `cpus` processors and `parts`, bits of enum acpi_part. Free with
 * acpi_tables_clear(). */
void acpi_tables_build(struct acpi_tables *tables, unsigned cpus, unsigned parts);
void acpi_tables_clear(struct acpi_tables *tables);
/* Does the loader's work where no firmware does it: makes the pointers and checksums good for
 * tables at `tables_address` (64-byte aligned) and the RSDP at `rsdp_address`. */
void acpi_tables_place(struct acpi_tables *tables, uint64_t tables_address, uint64_t rsdp_address);
