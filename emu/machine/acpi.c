#include "emu/machine/acpi.h"

#include "emu/core/bytes.h"
#include "emu/device/hpet.h"
#include "emu/device/ioapic.h"
#include "emu/device/lapic.h"
#include "emu/device/piix4_pm.h"
#include "emu/machine/com2.hex"
#include "emu/machine/dsdt.hex"
#include "emu/machine/floppy.hex"
#include "emu/machine/hpet.hex"
#include "emu/machine/lpt.hex"
#include "emu/machine/pvpanic.hex"
#include <string.h>

#define HEADER_SIZE   36
#define CHECKSUM_AT   9
#define COMMAND_SIZE  128
#define FILE_SIZE     56
#define FACS_SIZE     64
#define FADT_SIZE     244
#define RSDP_SIZE     36
#define SCI_INTERRUPT 9

enum loader_command { LOADER_ALLOCATE = 1, LOADER_ADD_POINTER = 2, LOADER_ADD_CHECKSUM = 3 };
enum loader_zone { ZONE_HIGH = 1, ZONE_FSEG = 2 };

/* ---- the loader's script ----------------------------------------------------------------- */

static uint8_t *new_command(struct acpi_tables *t, enum loader_command command)
{
    guint at = t->loader->len;
    g_byte_array_set_size(t->loader, at + COMMAND_SIZE);
    uint8_t *bytes = t->loader->data + at;
    memset(bytes, 0, COMMAND_SIZE);
    bytes_store(bytes, command, 4);
    return bytes + 4;
}

static void set_name(uint8_t *field, const char *name)
{
    memcpy(field, name, strlen(name) + 1);
}

static void allocate(struct acpi_tables *t, const char *file, uint32_t align, enum loader_zone zone)
{
    uint8_t *command = new_command(t, LOADER_ALLOCATE);
    set_name(command, file);
    bytes_store(command + FILE_SIZE, align, 4);
    command[FILE_SIZE + 4] = (uint8_t)zone;
}

/* The pointer at `offset` in `file` holds an offset into the tables' file. */
static void add_pointer(struct acpi_tables *t, const char *file, uint32_t offset, uint8_t size)
{
    uint8_t *command = new_command(t, LOADER_ADD_POINTER);
    set_name(command, file);
    set_name(command + FILE_SIZE, ACPI_TABLES_FILE);
    bytes_store(command + 2 * FILE_SIZE, offset, 4);
    command[2 * FILE_SIZE + 4] = size;
}

static void add_checksum(struct acpi_tables *t, const char *file, uint32_t offset, uint32_t start,
                         uint32_t length)
{
    uint8_t *command = new_command(t, LOADER_ADD_CHECKSUM);
    set_name(command, file);
    bytes_store(command + FILE_SIZE, offset, 4);
    bytes_store(command + FILE_SIZE + 4, start, 4);
    bytes_store(command + FILE_SIZE + 8, length, 4);
}

/* ---- tables ------------------------------------------------------------------------------ */

static void put(struct acpi_tables *t, uint64_t value, unsigned size)
{
    g_byte_array_append(t->tables, (const guint8 *)&value, size);
}

static guint begin_table(struct acpi_tables *t, const char *signature, uint8_t revision)
{
    guint at = t->tables->len;
    g_byte_array_append(t->tables, (const guint8 *)signature, 4);
    put(t, 0, 4); /* the length, when it is known */
    put(t, revision, 1);
    put(t, 0, 1);
    g_byte_array_append(t->tables, (const guint8 *)"DROVERDROVERPC", 14);
    put(t, 1, 4);
    g_byte_array_append(t->tables, (const guint8 *)"DRVR", 4);
    put(t, 1, 4);
    return at;
}

static void end_table(struct acpi_tables *t, guint at)
{
    bytes_store(t->tables->data + at + 4, t->tables->len - at, 4);
    add_checksum(t, ACPI_TABLES_FILE, at + CHECKSUM_AT, at, t->tables->len - at);
}

static guint build_facs(struct acpi_tables *t)
{
    guint at = t->tables->len;
    g_byte_array_append(t->tables, (const guint8 *)"FACS", 4);
    put(t, FACS_SIZE, 4);
    g_byte_array_set_size(t->tables, at + FACS_SIZE);
    memset(t->tables->data + at + 8, 0, FACS_SIZE - 8);
    return at;
}

static guint build_dsdt(struct acpi_tables *t)
{
    guint at = t->tables->len;
    g_byte_array_append(t->tables, dsdt_aml_code, sizeof(dsdt_aml_code));
    t->tables->data[at + CHECKSUM_AT] = 0;
    add_checksum(t, ACPI_TABLES_FILE, at + CHECKSUM_AT, at, sizeof(dsdt_aml_code));
    return at;
}

/* A generic address structure (5.2.3.2) for an I/O port. */
static void set_port_address(uint8_t *field, uint8_t bits, uint8_t access, uint64_t port)
{
    field[0] = 1; /* system I/O */
    field[1] = bits;
    field[3] = access;
    bytes_store(field + 4, port, 8);
}

/* The fixed description table, 5.2.9. */
static guint build_fadt(struct acpi_tables *t, guint facs, guint dsdt)
{
    const uint16_t pm = PIIX4_PM_DEFAULT_BASE;
    guint at = begin_table(t, "FACP", 3);
    g_byte_array_set_size(t->tables, at + FADT_SIZE);
    uint8_t *fadt = t->tables->data + at;
    memset(fadt + HEADER_SIZE, 0, FADT_SIZE - HEADER_SIZE);
    bytes_store(fadt + 36, facs, 4);
    bytes_store(fadt + 40, dsdt, 4);
    bytes_store(fadt + 46, SCI_INTERRUPT, 2);
    bytes_store(fadt + 48, PIIX4_SMI_PORT, 4);
    fadt[52] = PIIX4_ACPI_ENABLE;
    fadt[53] = PIIX4_ACPI_DISABLE;
    bytes_store(fadt + 56, pm, 4);             /* PM1a event */
    bytes_store(fadt + 64, pm + 4, 4);         /* PM1a control */
    bytes_store(fadt + 76, pm + 8, 4);         /* timer */
    bytes_store(fadt + 80, PIIX4_GPE_BASE, 4); /* GPE0 */
    fadt[88] = 4;
    fadt[89] = 2;
    fadt[91] = 4;
    fadt[92] = 4;
    bytes_store(fadt + 96, 0xfff, 2); /* C2 and C3: not there */
    bytes_store(fadt + 98, 0xfff, 2);
    fadt[106] = 0x0d;                   /* the day alarm, none for the month */
    fadt[108] = 0x32;                   /* the century's byte in CMOS */
    bytes_store(fadt + 109, 0x0003, 2); /* legacy devices and an 8042 */
    /* WBINVD works, C1 works, the sleep button is no fixed one, the RTC wakes nobody from S4;
     * reset register. */
    bytes_store(fadt + 112, 1u << 0 | 1u << 2 | 1u << 5 | 1u << 10, 4);
    set_port_address(fadt + 116, 8, 1, 0xcf9);
    fadt[128] = 0x06;
    /* The 64-bit pointer to the FACS stays 0: two pointers would be two tables to some systems. */
    bytes_store(fadt + 140, dsdt, 8);
    set_port_address(fadt + 148, 32, 2, pm);
    set_port_address(fadt + 172, 16, 2, pm + 4);
    set_port_address(fadt + 208, 32, 3, pm + 8);
    set_port_address(fadt + 220, 32, 1, PIIX4_GPE_BASE);
    add_pointer(t, ACPI_TABLES_FILE, at + 36, 4);
    add_pointer(t, ACPI_TABLES_FILE, at + 40, 4);
    add_pointer(t, ACPI_TABLES_FILE, at + 140, 8);
    end_table(t, at);
    return at;
}

/* An ISA interrupt whose line or trigger is not the ISA standard (5.2.12.5). */
static void put_override(struct acpi_tables *t, uint8_t irq, uint32_t input, uint16_t flags)
{
    put(t, 2, 1);
    put(t, 10, 1);
    put(t, 0, 1);
    put(t, irq, 1);
    put(t, input, 4);
    put(t, flags, 2);
}

/* The multiple APIC description table, 5.2.12. */
static guint build_madt(struct acpi_tables *t, unsigned cpus)
{
    static const uint8_t level_irqs[] = {5, SCI_INTERRUPT, 10, 11};
    guint at = begin_table(t, "APIC", 3);
    put(t, LAPIC_BASE, 4);
    put(t, 1, 4); /* there are 8259s too */
    for (unsigned i = 0; i < cpus; i++) {
        put(t, 0, 1);
        put(t, 8, 1);
        put(t, i, 1);
        put(t, i, 1);
        put(t, 1, 4);
    }
    put(t, 1, 1);
    put(t, 12, 1);
    put(t, 0, 2);
    put(t, IOAPIC_BASE, 4);
    put(t, 0, 4);
    put_override(t, 0, 2, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(level_irqs); i++)
        put_override(t, level_irqs[i], level_irqs[i], 0x000d); /* active high, level */
    put(t, 4, 1);                                              /* LINT1 of every processor is NMI */
    put(t, 6, 1);
    put(t, 0xff, 1);
    put(t, 0, 2);
    put(t, 1, 1);
    end_table(t, at);
    return at;
}

/* \_SB.C000 and so on: the processors as devices (8.4), which the MADT's entries are matched with.
 * In ACPI machine language (20.2): a scope, and in it devices of two names each. */
static guint build_ssdt(struct acpi_tables *t, unsigned cpus)
{
    enum { DEVICE_SIZE = 29 };
    guint at = begin_table(t, "SSDT", 2);
    unsigned length = 2 + 5 + cpus * DEVICE_SIZE; /* of the scope, its two length bytes included */
    put(t, 0x10, 1);
    put(t, 0x40 | (length & 15), 1);
    put(t, length >> 4, 1);
    g_byte_array_append(t->tables, (const guint8 *)"\\_SB_", 5);
    for (unsigned i = 0; i < cpus; i++) {
        char name[5];
        g_snprintf(name, sizeof(name), "C%03X", i & 0xfff);
        put(t, 0x825b, 2);
        put(t, DEVICE_SIZE - 2, 1);
        g_byte_array_append(t->tables, (const guint8 *)name, 4);
        g_byte_array_append(t->tables,
                            (const guint8 *)"\x08_HID\x0d"
                                            "ACPI0007",
                            15);
        g_byte_array_append(t->tables, (const guint8 *)"\x08_UID\x0a", 6);
        put(t, i, 1);
    }
    end_table(t, at);
    return at;
}

static guint build_root(struct acpi_tables *t, bool extended, const guint *tables, unsigned count)
{
    unsigned size = extended ? 8 : 4;
    guint at = begin_table(t, extended ? "XSDT" : "RSDT", 1);
    for (unsigned i = 0; i < count; i++) {
        add_pointer(t, ACPI_TABLES_FILE, t->tables->len, (uint8_t)size);
        put(t, tables[i], size);
    }
    end_table(t, at);
    return at;
}

/* The root pointer, 5.2.5.3: the first 20 bytes have a checksum of their own. */
static void build_rsdp(struct acpi_tables *t, guint rsdt, guint xsdt)
{
    g_byte_array_set_size(t->rsdp, RSDP_SIZE);
    uint8_t *rsdp = t->rsdp->data;
    memset(rsdp, 0, RSDP_SIZE);
    memcpy(rsdp, "RSD PTR ", 8);
    memcpy(rsdp + 9, "DROVER", 6);
    rsdp[15] = 2;
    bytes_store(rsdp + 16, rsdt, 4);
    bytes_store(rsdp + 20, RSDP_SIZE, 4);
    bytes_store(rsdp + 24, xsdt, 8);
    add_pointer(t, ACPI_RSDP_FILE, 16, 4);
    add_pointer(t, ACPI_RSDP_FILE, 24, 8);
    add_checksum(t, ACPI_RSDP_FILE, 8, 0, 20);
    add_checksum(t, ACPI_RSDP_FILE, 32, 0, RSDP_SIZE);
}

/* The event timer's table (IA-PC HPET Specification 1.0a, 3.2.4). */
static guint build_hpet(struct acpi_tables *t)
{
    guint at = begin_table(t, "HPET", 1);
    put(t, HPET_CAPABILITIES, 4);
    put(t, 0, 4); /* in memory, and what that does not say */
    put(t, HPET_BASE, 8);
    put(t, 0, 1);      /* its number */
    put(t, 0x1000, 2); /* ticks that a periodic interrupt takes at least */
    put(t, 0, 1);
    end_table(t, at);
    return at;
}

/* A table that the compiler made, with its checksum in place. */
static guint build_part(struct acpi_tables *t, enum acpi_part part)
{
    static const struct {
        const unsigned char *code;
        guint size;
    } parts[ACPI_PART_COUNT] = {
        [ACPI_PART_HPET] = {hpet_aml_code, sizeof(hpet_aml_code)},
        [ACPI_PART_PVPANIC] = {pvpanic_aml_code, sizeof(pvpanic_aml_code)},
        [ACPI_PART_COM2] = {com2_aml_code, sizeof(com2_aml_code)},
        [ACPI_PART_LPT] = {lpt_aml_code, sizeof(lpt_aml_code)},
        [ACPI_PART_FLOPPY] = {floppy_aml_code, sizeof(floppy_aml_code)},
    };
    guint at = t->tables->len;
    g_byte_array_append(t->tables, parts[part].code, parts[part].size);
    return at;
}

void acpi_tables_build(struct acpi_tables *t, unsigned cpus, unsigned parts)
{
    t->tables = g_byte_array_new();
    t->rsdp = g_byte_array_new();
    t->loader = g_byte_array_new();
    allocate(t, ACPI_TABLES_FILE, 64, ZONE_HIGH);
    allocate(t, ACPI_RSDP_FILE, 16, ZONE_FSEG);
    guint facs = build_facs(t); /* first, for it needs the alignment */
    guint dsdt = build_dsdt(t);
    guint tables[4 + ACPI_PART_COUNT], count = 3;
    tables[0] = build_fadt(t, facs, dsdt);
    tables[1] = build_madt(t, cpus);
    tables[2] = build_ssdt(t, cpus);
    if (parts & 1u << ACPI_PART_HPET)
        tables[count++] = build_hpet(t);
    for (unsigned part = 0; part < ACPI_PART_COUNT; part++) {
        if (parts & 1u << part)
            tables[count++] = build_part(t, part);
    }
    guint rsdt = build_root(t, false, tables, count);
    guint xsdt = build_root(t, true, tables, count);
    build_rsdp(t, rsdt, xsdt);
}

void acpi_tables_clear(struct acpi_tables *t)
{
    g_clear_pointer(&t->tables, g_byte_array_unref);
    g_clear_pointer(&t->rsdp, g_byte_array_unref);
    g_clear_pointer(&t->loader, g_byte_array_unref);
}

/* ---- placing without firmware ------------------------------------------------------------ */

static uint8_t *file_bytes(struct acpi_tables *t, const uint8_t *name)
{
    return strcmp((const char *)name, ACPI_RSDP_FILE) == 0 ? t->rsdp->data : t->tables->data;
}

void acpi_tables_place(struct acpi_tables *t, uint64_t tables_address, uint64_t rsdp_address)
{
    for (guint at = 0; at + COMMAND_SIZE <= t->loader->len; at += COMMAND_SIZE) {
        const uint8_t *command = t->loader->data + at + 4;
        uint32_t kind = (uint32_t)bytes_load(command - 4, 4);
        uint8_t *file = file_bytes(t, command);
        if (kind == LOADER_ADD_POINTER) {
            uint8_t *pointer = file + bytes_load(command + 2 * FILE_SIZE, 4);
            unsigned size = command[2 * FILE_SIZE + 4];
            bytes_store(pointer, bytes_load(pointer, size) + tables_address, size);
        } else if (kind == LOADER_ADD_CHECKSUM) {
            uint8_t *sum = file + bytes_load(command + FILE_SIZE, 4);
            const uint8_t *start = file + bytes_load(command + FILE_SIZE + 4, 4);
            uint32_t length = (uint32_t)bytes_load(command + FILE_SIZE + 8, 4);
            uint8_t total = 0;
            *sum = 0;
            for (uint32_t i = 0; i < length; i++)
                total += start[i];
            *sum = (uint8_t)-total;
        }
    }
}
