#include "emu/device/fw_cfg.h"

#include "emu/core/bytes.h"
#include "emu/core/memory.h"
#include "emu/core/port.h"
#include <string.h>

#define MAX_FILES 32
#define NAME_SIZE 56
#define ITEM_MASK                                                                                  \
    0xbfff /* bit 14 once meant writing; bit 15 items of one architecture, of which there are none \
            */

#define DMA_ERROR  0x01u
#define DMA_READ   0x02u
#define DMA_SKIP   0x04u
#define DMA_SELECT 0x08u
#define DMA_WRITE  0x10u

struct fw_cfg {
    struct device device;
    GPtrArray *items; /* GByteArray by item number, NULL where none; made at the first use */
    char names[MAX_FILES][NAME_SIZE];
    unsigned file_count;
    uint16_t selected;
    uint32_t offset;
    uint32_t dma_high;
};

static GByteArray *item_at(struct fw_cfg *cfg, unsigned item)
{
    return cfg->items && item < cfg->items->len ? g_ptr_array_index(cfg->items, item) : NULL;
}

static void free_item(gpointer item)
{
    if (item)
        g_byte_array_unref(item);
}

void fw_cfg_add(struct device *device, uint16_t item, const void *bytes, size_t size)
{
    struct fw_cfg *cfg = (struct fw_cfg *)device;
    if (!cfg->items)
        cfg->items = g_ptr_array_new_with_free_func(free_item);
    if (cfg->items->len <= item)
        g_ptr_array_set_size(cfg->items, item + 1);
    free_item(g_ptr_array_index(cfg->items, item));
    GByteArray *copy = g_byte_array_new();
    g_byte_array_append(copy, bytes, (guint)size);
    g_ptr_array_index(cfg->items, item) = copy;
}

void fw_cfg_add_integer(struct device *device, uint16_t item, uint64_t value, unsigned size)
{
    fw_cfg_add(device, item, &value, size);
}

/* ---- files ------------------------------------------------------------------------------- */

static void big_endian(GByteArray *out, uint32_t value, unsigned size)
{
    for (unsigned i = size; i-- > 0;) {
        guint8 byte = (guint8)(value >> (i * 8));
        g_byte_array_append(out, &byte, 1);
    }
}

static void write_directory(struct fw_cfg *cfg)
{
    g_autoptr(GByteArray) directory = g_byte_array_new();
    big_endian(directory, cfg->file_count, 4);
    for (unsigned i = 0; i < cfg->file_count; i++) {
        const GByteArray *file = item_at(cfg, FW_CFG_ITEM_FIRST_FILE + i);
        big_endian(directory, file->len, 4);
        big_endian(directory, FW_CFG_ITEM_FIRST_FILE + i, 2);
        big_endian(directory, 0, 2);
        g_byte_array_append(directory, (const guint8 *)cfg->names[i], NAME_SIZE);
    }
    fw_cfg_add(&cfg->device, FW_CFG_ITEM_DIRECTORY, directory->data, directory->len);
}

bool fw_cfg_add_file(struct device *device, const char *name, const void *bytes, size_t size)
{
    struct fw_cfg *cfg = (struct fw_cfg *)device;
    if (cfg->file_count == MAX_FILES || strlen(name) >= NAME_SIZE)
        return false;
    memcpy(cfg->names[cfg->file_count], name, strlen(name));
    fw_cfg_add(device, (uint16_t)(FW_CFG_ITEM_FIRST_FILE + cfg->file_count), bytes, size);
    cfg->file_count++;
    write_directory(cfg);
    return true;
}

GByteArray *fw_cfg_file(struct device *device, const char *name)
{
    struct fw_cfg *cfg = (struct fw_cfg *)device;
    for (unsigned i = 0; i < cfg->file_count; i++) {
        if (strcmp(cfg->names[i], name) == 0)
            return item_at(cfg, FW_CFG_ITEM_FIRST_FILE + i);
    }
    return NULL;
}

/* ---- ports ------------------------------------------------------------------------------- */

static uint8_t next_byte(struct fw_cfg *cfg)
{
    const GByteArray *item = item_at(cfg, cfg->selected);
    return item && cfg->offset < item->len ? item->data[cfg->offset++] : 0;
}

static uint32_t port_510_read(void *opaque, uint16_t offset, unsigned size)
{
    return offset == 1 ? next_byte(opaque) : 0;
}

static void port_510_write(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    struct fw_cfg *cfg = opaque;
    if (offset != 0)
        return;
    cfg->selected = (uint16_t)value & ITEM_MASK;
    cfg->offset = 0;
}

static void transfer(struct fw_cfg *cfg, uint32_t control, uint32_t length, uint64_t address)
{
    static const uint8_t zeroes[4096];
    const GByteArray *item = item_at(cfg, cfg->selected);
    uint32_t left = item && cfg->offset < item->len ? item->len - cfg->offset : 0;
    uint32_t have = MIN(length, left);
    if (control & DMA_READ) {
        struct memory_map *memory = cfg->device.board->memory;
        if (have)
            memory_dma_write(memory, address, item->data + cfg->offset, have);
        /* Beyond the item's end zeroes follow; a guest that asks for gigabytes gets an item's worth
         * at most of work done for it. */
        uint32_t rest = MIN(length - have, UINT32_C(1) << 20);
        for (uint32_t done = 0; done < rest; done += sizeof(zeroes))
            memory_dma_write(memory, address + have + done, zeroes,
                             MIN(rest - done, (uint32_t)sizeof(zeroes)));
    }
    cfg->offset += have;
}

/* The request: control u32, length u32, address u64, all big endian; control is written back. */
static void run_dma(struct fw_cfg *cfg, uint64_t request_address)
{
    struct memory_map *memory = cfg->device.board->memory;
    uint8_t request[16];
    uint64_t raw;
    memory_dma_read(memory, request_address, request, sizeof(request));
    uint32_t control = GUINT32_FROM_BE((uint32_t)bytes_load(request, 4));
    uint32_t length = GUINT32_FROM_BE((uint32_t)bytes_load(request + 4, 4));
    raw = bytes_load(request + 8, 8);
    if (control & DMA_SELECT) {
        cfg->selected = control >> 16 & ITEM_MASK;
        cfg->offset = 0;
    }
    uint32_t result = 0;
    if (control & DMA_WRITE)
        result = DMA_ERROR; /* nothing here is writable */
    else if (control & (DMA_READ | DMA_SKIP))
        transfer(cfg, control, length, GUINT64_FROM_BE(raw));
    result = GUINT32_TO_BE(result);
    memory_dma_write(memory, request_address, &result, 4);
}

static uint32_t dma_read(void *opaque, uint16_t offset, unsigned size)
{
    /* "QEMU CFG" as a big-endian number says that the interface is there. */
    return size == 4 ? (offset == 0 ? 0x554d4551 : 0x47464320) : 0;
}

static void dma_write(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    struct fw_cfg *cfg = opaque;
    if (size != 4)
        return;
    if (offset == 0) {
        cfg->dma_high = GUINT32_FROM_BE(value);
        return;
    }
    uint64_t address = (uint64_t)cfg->dma_high << 32 | GUINT32_FROM_BE(value);
    cfg->dma_high = 0;
    run_dma(cfg, address);
}

static const struct port_ops selector_ops = {port_510_read, port_510_write, 2};
static const struct port_ops dma_ops = {dma_read, dma_write, 4};

/* ---- the device -------------------------------------------------------------------------- */

static bool realize(struct device *device, GError **error)
{
    fw_cfg_add(device, FW_CFG_ITEM_SIGNATURE, "QEMU", 4);
    fw_cfg_add_integer(device, FW_CFG_ITEM_ID, 3, 4); /* traditional and DMA interface */
    port_add(device->board->ports, "fw-cfg", 0x510, 2, &selector_ops, device);
    port_add(device->board->ports, "fw-cfg-dma", 0x514, 8, &dma_ops, device);
    return true;
}

static void reset(struct device *device)
{
    struct fw_cfg *cfg = (struct fw_cfg *)device;
    cfg->selected = 0;
    cfg->offset = cfg->dma_high = 0;
}

static void finish(struct device *device)
{
    struct fw_cfg *cfg = (struct fw_cfg *)device;
    if (cfg->items)
        g_ptr_array_unref(cfg->items);
}

static const struct state_field state[] = {
    STATE_UINT(struct fw_cfg, selected),
    STATE_UINT(struct fw_cfg, offset),
    STATE_UINT(struct fw_cfg, dma_high),
    STATE_END,
};

const struct device_ops fw_cfg_ops = {.name = "fw-cfg",
                                      .size = sizeof(struct fw_cfg),
                                      .state_version = 1,
                                      .state = state,
                                      .realize = realize,
                                      .reset = reset,
                                      .finish = finish};
