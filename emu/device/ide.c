#include "emu/device/ide.h"

#include "emu/core/bytes.h"
#include "emu/core/memory.h"
#include "emu/core/port.h"
#include "emu/device/ata.h"
#include "emu/device/atapi.h"

#define BM_START     0x01
#define BM_TO_MEMORY 0x08
#define BM_ACTIVE    0x01
#define BM_ERROR     0x02
#define BM_INTERRUPT 0x04

#define CONTROL_NO_INTERRUPT 0x02
#define CONTROL_RESET        0x04
#define CONTROL_HIGH_ORDER   0x80

#define PRD_LAST     0x80000000u
#define PRD_MAX_WALK 8192u /* entries of 64 KiB tables of 8 bytes */

struct channel {
    struct ide *ide;
    struct irq *irq;
    struct ata_drive drives[2];
    uint8_t selected, control;
    bool irq_pending;
    /* The bus master. */
    uint8_t bm_command, bm_status;
    uint32_t prd_table, prd_next;   /* the table, and the entry after the current one */
    uint32_t prd_address, prd_left; /* of the current entry */
    bool prd_last;
};

struct ide {
    struct pci_device pci;
    struct port_range *bus_master;
    struct channel channels[2];
};

static const struct pci_identity identity = {.vendor = 0x8086,
                                             .device = 0x7010,
                                             .subsystem_vendor = 0x1af4,
                                             .subsystem = 0x1100,
                                             .class_code = 0x010180};

/* ---- interrupts -------------------------------------------------------------------------- */

static void update_irq(struct channel *channel)
{
    irq_set(channel->irq, channel->irq_pending && !(channel->control & CONTROL_NO_INTERRUPT));
}

static void interrupt(void *opaque, struct ata_drive *drive)
{
    struct channel *channel = opaque;
    if (drive != &channel->drives[channel->selected])
        return;
    channel->irq_pending = true;
    channel->bm_status |= BM_INTERRUPT;
    update_irq(channel);
}

/* ---- bus master -------------------------------------------------------------------------- */

static bool next_prd(struct channel *channel)
{
    uint8_t entry[8];
    if (channel->prd_last)
        return false;
    memory_dma_read(channel->ide->pci.device.board->memory, channel->prd_next, entry,
                    sizeof(entry));
    uint32_t flags = (uint32_t)bytes_load(entry + 4, 4);
    channel->prd_address = (uint32_t)bytes_load(entry, 4) & ~1u;
    channel->prd_left = flags & 0xfffe;
    if (channel->prd_left == 0)
        channel->prd_left = 0x10000;
    channel->prd_last = flags & PRD_LAST;
    channel->prd_next += 8;
    return true;
}

static bool dma(void *opaque, struct ata_drive *drive, uint8_t *bytes, size_t length, bool to_guest,
                size_t *ret_moved)
{
    struct channel *channel = opaque;
    struct memory_map *memory = channel->ide->pci.device.board->memory;
    size_t moved = 0;
    if (!(channel->bm_command & BM_START) || !pci_is_master(&channel->ide->pci))
        return false;
    for (unsigned walk = 0; moved < length && walk < PRD_MAX_WALK; walk++) {
        if (channel->prd_left == 0 && !next_prd(channel))
            break;
        size_t piece = MIN(length - moved, (size_t)channel->prd_left);
        if (to_guest)
            memory_dma_write(memory, channel->prd_address, bytes + moved, piece);
        else
            memory_dma_read(memory, channel->prd_address, bytes + moved, piece);
        channel->prd_address += (uint32_t)piece;
        channel->prd_left -= (uint32_t)piece;
        moved += piece;
    }
    *ret_moved = moved;
    return true;
}

static void dma_end(void *opaque, struct ata_drive *drive, bool error)
{
    struct channel *channel = opaque;
    /* Active stays while the table has more than the drive had (SFF 8038i, 3.1). */
    if (channel->prd_left == 0 && channel->prd_last)
        channel->bm_status &= (uint8_t)~BM_ACTIVE;
    if (error)
        channel->bm_status |= BM_ERROR;
}

static const struct ata_channel_ops channel_ops = {interrupt, dma, dma_end};

static void write_bm_command(struct channel *channel, uint8_t value)
{
    uint8_t old = channel->bm_command;
    channel->bm_command = value & (BM_START | BM_TO_MEMORY);
    if (!(value & BM_START)) {
        channel->bm_status &= (uint8_t)~BM_ACTIVE;
    } else if (!(old & BM_START)) {
        channel->bm_status |= BM_ACTIVE;
        channel->prd_next = channel->prd_table;
        channel->prd_left = 0;
        channel->prd_last = false;
        ata_dma_started(&channel->drives[channel->selected]);
    }
}

static uint32_t bm_read(void *opaque, uint16_t offset, unsigned size)
{
    const struct channel *channel = &((struct ide *)opaque)->channels[offset >> 3];
    switch (offset & 7) {
    case 0:
        return channel->bm_command;
    case 2:
        return channel->bm_status;
    case 4:
    case 5:
    case 6:
    case 7:
        return channel->prd_table >> ((offset & 3) * 8) & 0xff;
    default:
        return 0;
    }
}

static void bm_write(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    struct channel *channel = &((struct ide *)opaque)->channels[offset >> 3];
    unsigned shift = (offset & 3) * 8;
    switch (offset & 7) {
    case 0:
        write_bm_command(channel, (uint8_t)value);
        break;
    case 2: /* drive bits are written, error and interrupt cleared by ones */
        channel->bm_status = (uint8_t)((value & 0x60) | (channel->bm_status & BM_ACTIVE) |
                                       (channel->bm_status & ~value & (BM_ERROR | BM_INTERRUPT)));
        break;
    case 4:
    case 5:
    case 6:
    case 7:
        channel->prd_table =
            ((channel->prd_table & ~(0xffu << shift)) | (value & 0xff) << shift) & ~3u;
        break;
    default:
        break;
    }
}

/* ---- task file ports --------------------------------------------------------------------- */

static bool is_empty(const struct channel *channel)
{
    return !channel->drives[0].present && !channel->drives[1].present;
}

static uint32_t task_read(void *opaque, uint16_t offset, unsigned size)
{
    struct channel *channel = opaque;
    struct ata_drive *drive = &channel->drives[channel->selected];
    if (is_empty(channel))
        return UINT32_MAX; /* nobody drives the cable */
    if (offset == 0)
        return drive->present ? ata_data_read(drive, size) : 0;
    if (size > 1)
        return UINT32_MAX;
    if (offset == 7) {
        channel->irq_pending = false;
        update_irq(channel);
    }
    if (!drive->present)
        return 0;
    return ata_read(drive, offset, channel->control & CONTROL_HIGH_ORDER);
}

static void task_write(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    struct channel *channel = opaque;
    struct ata_drive *drive = &channel->drives[channel->selected];
    if (offset == 0) {
        if (drive->present)
            ata_data_write(drive, value, size);
        return;
    }
    if (size > 1)
        return;
    if (offset == 7) {
        channel->irq_pending = false;
        update_irq(channel);
        if (drive->present)
            ata_command(drive, (uint8_t)value);
        return;
    }
    channel->control &= (uint8_t)~CONTROL_HIGH_ORDER;
    /* Both drives hear every register. */
    for (int i = 0; i < 2; i++)
        ata_write(&channel->drives[i], offset, (uint8_t)value);
    if (offset == 6)
        channel->selected = value >> 4 & 1;
}

static uint32_t control_read(void *opaque, uint16_t offset, unsigned size)
{
    const struct channel *channel = opaque;
    const struct ata_drive *drive = &channel->drives[channel->selected];
    if (is_empty(channel))
        return UINT32_MAX;
    return drive->present ? drive->status : 0;
}

static void reset_drives(struct channel *channel)
{
    channel->selected = 0;
    channel->irq_pending = false;
    ata_reset(&channel->drives[0]);
    ata_reset(&channel->drives[1]);
    update_irq(channel);
}

static void control_write(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    struct channel *channel = opaque;
    uint8_t old = channel->control;
    channel->control = (uint8_t)value;
    if (value & CONTROL_RESET && !(old & CONTROL_RESET)) {
        reset_drives(channel);
        for (int i = 0; i < 2; i++) {
            if (channel->drives[i].present)
                channel->drives[i].status = ATA_BSY;
        }
    } else if (!(value & CONTROL_RESET) && old & CONTROL_RESET) {
        reset_drives(channel);
    }
    update_irq(channel);
}

static const struct port_ops bm_ops = {bm_read, bm_write, 1};
static const struct port_ops task_ops = {task_read, task_write, 4};
static const struct port_ops control_ops = {control_read, control_write, 1};

/* ---- the device -------------------------------------------------------------------------- */

void ide_connect(struct device *device, struct irq *primary, struct irq *secondary)
{
    struct ide *ide = (struct ide *)device;
    ide->channels[0].irq = primary;
    ide->channels[1].irq = secondary;
}

static struct ata_drive *drive_at(struct device *device, unsigned position)
{
    return &((struct ide *)device)->channels[position >> 1 & 1].drives[position & 1];
}

void ide_add_disk(struct device *device, unsigned position, struct disk_worker *worker)
{
    drive_at(device, position)->worker = worker;
    drive_at(device, position)->present = true;
}

void ide_add_cdrom(struct device *device, unsigned position, struct disk_worker *worker)
{
    ide_add_disk(device, position, worker);
    drive_at(device, position)->is_packet = true;
}

void ide_change_medium(struct device *device, unsigned position, struct disk_worker *worker)
{
    atapi_change_medium(drive_at(device, position), worker);
}

bool ide_medium_is_locked(struct device *device, unsigned position)
{
    return drive_at(device, position)->atapi.locked;
}

static bool realize(struct device *device, GError **error)
{
    static const uint16_t task_ports[2] = {0x1f0, 0x170}, control_ports[2] = {0x3f6, 0x376};
    struct ide *ide = (struct ide *)device;
    struct port_map *ports = device->board->ports;
    pci_attach(&ide->pci, &identity);
    for (unsigned i = 0x40; i < 0x50; i++)
        ide->pci.writable[i] = 0xff;
    for (unsigned i = 0; i < 2; i++) {
        struct channel *channel = &ide->channels[i];
        channel->ide = ide;
        for (unsigned j = 0; j < 2; j++)
            ata_init(&channel->drives[j], i * 2 + j, &channel_ops, channel);
        port_add(ports, "ide", task_ports[i], 8, &task_ops, channel);
        port_add(ports, "ide-control", control_ports[i], 1, &control_ops, channel);
    }
    ide->bus_master = port_add(ports, "ide-dma", 0, 16, &bm_ops, ide);
    pci_add_io_bar(&ide->pci, 4, 16, ide->bus_master);
    return true;
}

static void reset(struct device *device)
{
    struct ide *ide = (struct ide *)device;
    pci_reset(&ide->pci);
    ide->pci.config[PCI_STATUS] = 0x80;
    ide->pci.config[PCI_STATUS + 1] = 0x02;
    ide->pci.config[0x41] = ide->pci.config[0x43] = 0x80; /* both channels decode their ports */
    for (int i = 0; i < 2; i++) {
        struct channel *channel = &ide->channels[i];
        channel->control = channel->bm_command = channel->bm_status = 0;
        channel->prd_table = channel->prd_left = 0;
        channel->prd_last = false;
        reset_drives(channel);
    }
}

static bool loaded(struct device *device, GError **error)
{
    struct ide *ide = (struct ide *)device;
    pci_loaded(&ide->pci);
    for (int i = 0; i < 4; i++) {
        ide->channels[i / 2].selected &= 1;
        if (!ata_loaded(&ide->channels[i / 2].drives[i % 2], error))
            return false;
    }
    return true;
}

static void finish(struct device *device)
{
    struct ide *ide = (struct ide *)device;
    for (int i = 0; i < 4; i++)
        ata_finish(&ide->channels[i / 2].drives[i % 2]);
}

static const struct state_field channel_state[] = {
    STATE_STRUCTS(struct channel, drives, ata_drive_state),
    STATE_UINT(struct channel, selected),
    STATE_UINT(struct channel, control),
    STATE_UINT(struct channel, irq_pending),
    STATE_UINT(struct channel, bm_command),
    STATE_UINT(struct channel, bm_status),
    STATE_UINT(struct channel, prd_table),
    STATE_UINT(struct channel, prd_next),
    STATE_UINT(struct channel, prd_address),
    STATE_UINT(struct channel, prd_left),
    STATE_UINT(struct channel, prd_last),
    STATE_END,
};
static const struct state_field state[] = {
    PCI_STATE(struct ide, pci),
    STATE_STRUCTS(struct ide, channels, channel_state),
    STATE_END,
};

const struct device_ops ide_ops = {.name = "ide",
                                   .size = sizeof(struct ide),
                                   .state_version = 1,
                                   .state = state,
                                   .realize = realize,
                                   .reset = reset,
                                   .loaded = loaded,
                                   .finish = finish};
