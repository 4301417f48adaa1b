#include "emu/machine/smbios.h"

#include "emu/core/bytes.h"
#include <stdbool.h>
#include <string.h>

#define FOUR_GIB     (UINT64_C(1) << 32)
#define NO_HANDLE    0xfffe
#define ARRAY_HANDLE 0x1000
#define MAX_TEXTS    8

/* Types of structures; a structure's handle is its type times 256, and its number. */
enum type {
    TYPE_BIOS = 0,
    TYPE_SYSTEM = 1,
    TYPE_CHASSIS = 3,
    TYPE_PROCESSOR = 4,
    TYPE_MEMORY_ARRAY = 16,
    TYPE_MEMORY_DEVICE = 17,
    TYPE_MEMORY_MAP = 19,
    TYPE_BOOT = 32,
    TYPE_END = 127,
};

/* One structure while it is written: its formatted part, then its texts by number. */
struct writer {
    struct smbios_tables *smbios;
    guint start, count, longest;
    const char *texts[MAX_TEXTS];
    unsigned text_count;
};

static void put(struct writer *w, uint64_t value, unsigned size)
{
    uint8_t bytes[8];
    bytes_store(bytes, value, size);
    g_byte_array_append(w->smbios->tables, bytes, size);
}

static void put_zeroes(struct writer *w, unsigned count)
{
    while (count--)
        put(w, 0, 1);
}

static void begin(struct writer *w, enum type type, unsigned number)
{
    w->start = w->smbios->tables->len;
    w->text_count = 0;
    put(w, type, 1);
    put(w, 0, 1); /* the formatted part's length, when it is known */
    put(w, type << 8 | number, 2);
}

/* The number of a text that end() writes; 0 stands for none. */
static void put_text(struct writer *w, const char *text)
{
    if (!text || !*text) {
        put(w, 0, 1);
        return;
    }
    w->texts[w->text_count++] = text;
    put(w, w->text_count, 1);
}

static void end(struct writer *w)
{
    GByteArray *tables = w->smbios->tables;
    tables->data[w->start + 1] = (uint8_t)(tables->len - w->start);
    for (unsigned i = 0; i < w->text_count; i++)
        g_byte_array_append(tables, (const guint8 *)w->texts[i], (guint)strlen(w->texts[i]) + 1);
    put_zeroes(w, w->text_count ? 1 : 2);
    w->count++;
    w->longest = MAX(w->longest, tables->len - w->start);
}

static void write_bios(struct writer *w)
{
    begin(w, TYPE_BIOS, 0);
    put_text(w, "Drover");
    put_text(w, DROVER_VERSION);
    put(w, 0xe800, 2); /* segment */
    put_text(w, "01/01/2026");
    put(w, 0, 1);                /* 64 KiB */
    put(w, UINT64_C(1) << 3, 8); /* characteristics are not supported */
    put(w, 0, 1);
    put(w, 1 << 2 | 1 << 4, 1); /* targeted content distribution; a virtual machine */
    put(w, 0xffffffff, 4);      /* releases of the BIOS and of an embedded controller: unknown */
    end(w);
}

/* The first three fields of a UUID are little-endian here (7.2.1). */
static void put_uuid(struct writer *w, const char *text)
{
    static const uint8_t order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
    uint8_t bytes[16] = {0};
    unsigned digits = 0;
    for (const char *c = text ? text : ""; *c && digits < 32; c++) {
        if (!g_ascii_isxdigit(*c))
            continue;
        bytes[digits / 2] = (uint8_t)(bytes[digits / 2] << 4 | g_ascii_xdigit_value(*c));
        digits++;
    }
    for (unsigned i = 0; i < 16; i++)
        put(w, bytes[order[i]], 1);
}

static void write_system(struct writer *w, const struct smbios_machine *machine)
{
    begin(w, TYPE_SYSTEM, 0);
    put_text(w, "Drover");
    put_text(w, "Drover");
    put_text(w, DROVER_VERSION);
    put_text(w, machine->name);
    put_uuid(w, machine->uuid);
    put(w, 6, 1); /* woken by the power switch */
    put_text(w, NULL);
    put_text(w, "Virtual Machine");
    end(w);
}

static void write_chassis(struct writer *w, const struct smbios_machine *machine)
{
    begin(w, TYPE_CHASSIS, 0);
    put_text(w, "Drover");
    put(w, 1, 1); /* other */
    put_text(w, DROVER_VERSION);
    put_text(w, machine->name);
    put_text(w, NULL);
    put(w, 0x02030303, 4); /* boot, power and thermal state safe; security unknown */
    put_zeroes(w, 8);      /* OEM, height, power cords, contained elements */
    put_text(w, NULL);
    end(w);
}

static void write_processor(struct writer *w, const struct smbios_machine *machine, unsigned number)
{
    g_autofree char *socket = g_strdup_printf("CPU %u", number);
    begin(w, TYPE_PROCESSOR, number);
    put_text(w, socket);
    put(w, 3, 1); /* a central processor */
    put(w, 1, 1); /* family: other */
    put_text(w, "Drover");
    put(w, machine->cpu_signature, 4);
    put(w, machine->cpu_features, 4);
    put_text(w, NULL);
    put_zeroes(w, 7);  /* voltage, clocks: unknown */
    put(w, 0x41, 1);   /* there and enabled */
    put(w, 1, 1);      /* upgrade: other */
    put(w, 0xffff, 2); /* caches are not told of */
    put(w, 0xffff, 2);
    put(w, 0xffff, 2);
    put_zeroes(w, 3);
    put(w, 0x010101, 3); /* a core, enabled, with one thread */
    put(w, 2, 2);        /* characteristics: unknown */
    put(w, 1, 2);
    end(w);
}

static void write_memory_array(struct writer *w, uint64_t size)
{
    bool is_large = size >> 10 >= 0x80000000;
    begin(w, TYPE_MEMORY_ARRAY, 0);
    put(w, 1, 1); /* location: other */
    put(w, 3, 1); /* system memory */
    put(w, 3, 1); /* no error correction */
    put(w, is_large ? 0x80000000 : size >> 10, 4);
    put(w, NO_HANDLE, 2);
    put(w, 1, 2); /* one device */
    put(w, is_large ? size : 0, 8);
    end(w);
}

static void write_memory_device(struct writer *w, uint64_t size)
{
    bool is_large = size >> 20 >= 0x7fff;
    begin(w, TYPE_MEMORY_DEVICE, 0);
    put(w, ARRAY_HANDLE, 2);
    put(w, NO_HANDLE, 2);
    put(w, 0xffffffff, 4); /* widths: unknown */
    put(w, is_large ? 0x7fff : size >> 20, 2);
    put(w, 9, 1); /* a DIMM */
    put(w, 0, 1);
    put_text(w, "DIMM 0");
    put_text(w, NULL);
    put(w, 7, 1); /* RAM */
    put(w, 2, 2); /* of another kind */
    put(w, 0, 2); /* speed: unknown */
    put_text(w, "Drover");
    put_zeroes(w, 4); /* serial number, asset tag, part number; attributes */
    put(w, is_large ? size >> 20 : 0, 4);
    put_zeroes(w, 8); /* clock and voltages: unknown */
    end(w);
}

static void write_memory_map(struct writer *w, unsigned number, uint64_t base, uint64_t size)
{
    uint64_t last = base + size - 1;
    bool is_high = last >> 10 >= 0xffffffff;
    begin(w, TYPE_MEMORY_MAP, number);
    put(w, is_high ? 0xffffffff : base >> 10, 4);
    put(w, is_high ? 0xffffffff : last >> 10, 4);
    put(w, ARRAY_HANDLE, 2);
    put(w, 1, 1);
    put(w, is_high ? base : 0, 8);
    put(w, is_high ? last : 0, 8);
    end(w);
}

void smbios_build(struct smbios_tables *smbios, const struct smbios_machine *machine)
{
    uint64_t memory = machine->memory_below_4g + machine->memory_above_4g;
    *smbios = (struct smbios_tables){.tables = g_byte_array_new()};
    struct writer w = {.smbios = smbios};
    write_bios(&w);
    write_system(&w, machine);
    write_chassis(&w, machine);
    for (unsigned i = 0; i < machine->cpus; i++)
        write_processor(&w, machine, i);
    write_memory_array(&w, memory);
    write_memory_device(&w, memory);
    write_memory_map(&w, 0, 0, machine->memory_below_4g);
    if (machine->memory_above_4g)
        write_memory_map(&w, 1, FOUR_GIB, machine->memory_above_4g);
    begin(&w, TYPE_BOOT, 0);
    put_zeroes(&w, 7); /* no errors */
    end(&w);
    begin(&w, TYPE_END, 0);
    end(&w);
    uint8_t *anchor = smbios->anchor;
    bytes_store(anchor, 0x5f4d535f, 4); /* "_SM_" */
    anchor[5] = SMBIOS_ANCHOR_SIZE;
    anchor[6] = 2;
    anchor[7] = 8;
    bytes_store(anchor + 8, w.longest, 2);
    bytes_store(anchor + 16, UINT64_C(0x5f494d445f), 5); /* "_DMI_" */
    bytes_store(anchor + 22, smbios->tables->len, 2);
    bytes_store(anchor + 28, w.count, 2);
    anchor[30] = 0x28;
    smbios_place(smbios, 0);
}

void smbios_clear(struct smbios_tables *smbios)
{
    g_clear_pointer(&smbios->tables, g_byte_array_unref);
}

/* Makes the bytes from `start` on sum up to zero with the one at `at`. */
static void set_checksum(uint8_t *anchor, unsigned start, unsigned at)
{
    uint8_t sum = 0;
    anchor[at] = 0;
    for (unsigned i = start; i < SMBIOS_ANCHOR_SIZE; i++)
        sum += anchor[i];
    anchor[at] = (uint8_t)-sum;
}

void smbios_place(struct smbios_tables *smbios, uint32_t address)
{
    bytes_store(smbios->anchor + 24, address, 4);
    set_checksum(smbios->anchor, 16, 21);
    set_checksum(smbios->anchor, 0, 4);
}
