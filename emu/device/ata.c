#include "emu/device/ata_internal.h"

#include <gio/gio.h>
#include <string.h>

/* ---- commands ---------------------------------------------------------------------------- */

enum command_kind {
    ABORTED, /* what is not in the table */
    NOTHING, /* succeeds at once */
    READ,
    WRITE,
    VERIFY,
    FLUSH,
    IDENTIFY,
    SET_FEATURES,
    SET_MULTIPLE,
    DIAGNOSE,
    NATIVE_MAX,
    POWER_MODE,
};
#define F_DMA      1
#define F_LBA48    2
#define F_MULTIPLE 4

static const struct {
    uint8_t kind, flags;
} commands[256] = {
    [0x10 ... 0x1f] = {NOTHING, 0}, /* RECALIBRATE */
    [0x20] = {READ, 0},
    [0x21] = {READ, 0},
    [0x24] = {READ, F_LBA48},
    [0x25] = {READ, F_LBA48 | F_DMA},
    [0x27] = {NATIVE_MAX, F_LBA48},
    [0x29] = {READ, F_LBA48 | F_MULTIPLE},
    [0x30] = {WRITE, 0},
    [0x31] = {WRITE, 0},
    [0x34] = {WRITE, F_LBA48},
    [0x35] = {WRITE, F_LBA48 | F_DMA},
    [0x39] = {WRITE, F_LBA48 | F_MULTIPLE},
    [0x40] = {VERIFY, 0},
    [0x41] = {VERIFY, 0},
    [0x42] = {VERIFY, F_LBA48},
    [0x70] = {NOTHING, 0}, /* SEEK */
    [0x90] = {DIAGNOSE, 0},
    [0x91] = {NOTHING, 0}, /* INITIALIZE DEVICE PARAMETERS */
    [0xc4] = {READ, F_MULTIPLE},
    [0xc5] = {WRITE, F_MULTIPLE},
    [0xc6] = {SET_MULTIPLE, 0},
    [0xc8] = {READ, F_DMA},
    [0xc9] = {READ, F_DMA},
    [0xca] = {WRITE, F_DMA},
    [0xcb] = {WRITE, F_DMA},
    [0xe0 ... 0xe3] = {NOTHING, 0}, /* standby and idle */
    [0xe5] = {POWER_MODE, 0},
    [0xe6] = {NOTHING, 0},
    [0xe7] = {FLUSH, 0},
    [0xea] = {FLUSH, F_LBA48},
    [0xec] = {IDENTIFY, 0},
    [0xef] = {SET_FEATURES, 0},
    [0xf8] = {NATIVE_MAX, 0},
};

static uint64_t address(const struct ata_drive *drive)
{
    uint64_t low = drive->lba_low[0], middle = drive->lba_middle[0], high = drive->lba_high[0];
    if (drive->is_lba48)
        return low | middle << 8 | high << 16 | (uint64_t)drive->lba_low[1] << 24 |
               (uint64_t)drive->lba_middle[1] << 32 | (uint64_t)drive->lba_high[1] << 40;
    if (drive->select & 0x40)
        return low | middle << 8 | high << 16 | (uint64_t)(drive->select & 15) << 24;
    /* Cylinder, head, sector in the geometry that IDENTIFY tells; sectors count from 1. */
    uint64_t cylinder = middle | high << 8;
    return low == 0 ? UINT64_MAX : (cylinder * 16 + (drive->select & 15)) * 63 + low - 1;
}

static uint32_t sector_count(const struct ata_drive *drive)
{
    if (!drive->is_lba48)
        return drive->count[0] ? drive->count[0] : 256;
    uint32_t count = drive->count[0] | (uint32_t)drive->count[1] << 8;
    return count ? count : 65536;
}

static bool in_range(const struct ata_drive *drive, uint64_t sector, uint32_t count)
{
    uint64_t sectors = disk_worker_size(drive->worker) / ATA_SECTOR;
    return sector < sectors && count <= sectors - sector;
}

static void transfer(struct ata_drive *drive, bool to_guest, unsigned flags)
{
    uint64_t sector = address(drive);
    uint32_t count = sector_count(drive);
    if (!in_range(drive, sector, count)) {
        ata_end_command(drive, ATA_IDNF);
        return;
    }
    if ((flags & F_MULTIPLE && drive->multiple == 0) ||
        (!to_guest && disk_worker_read_only(drive->worker))) {
        ata_end_command(drive, ATA_ABRT);
        return;
    }
    drive->sector = sector;
    drive->left = count;
    drive->to_guest = to_guest;
    drive->is_dma = flags & F_DMA;
    drive->block = flags & F_MULTIPLE ? drive->multiple * ATA_SECTOR : ATA_SECTOR;
    ata_begin_transfer(drive);
}

static void verify(struct ata_drive *drive)
{
    ata_end_command(drive, in_range(drive, address(drive), sector_count(drive)) ? 0 : ATA_IDNF);
}

static void identify(struct ata_drive *drive)
{
    ata_identify(drive, drive->buffer);
    drive->is_identify = true;
    drive->to_guest = true;
    drive->phase = ATA_PIO_IN;
    drive->position = 0;
    drive->filled = drive->block = ATA_SECTOR;
    ata_open_block(drive);
    drive->ops->interrupt(drive->channel, drive);
}

static void set_features(struct ata_drive *drive)
{
    static const uint8_t accepted[] = {0x02, 0x82, 0x55, 0xaa, 0x05, 0x85, 0x66, 0xcc, 0x42, 0xc2};
    uint8_t error = ATA_ABRT, mode = drive->count[0];
    if (drive->feature[0] == 0x03) {
        /* PIO default and flow control modes, multiword DMA 0-2, ultra DMA 0-5. */
        if (mode <= 1 || (mode >= 8 && mode <= 12) || (mode >= 0x20 && mode <= 0x22) ||
            (mode >= 0x40 && mode <= 0x45)) {
            drive->transfer_mode = mode;
            error = 0;
        }
    } else if (memchr(accepted, drive->feature[0], sizeof(accepted))) {
        error = 0;
    }
    ata_end_command(drive, error);
}

static void set_multiple(struct ata_drive *drive)
{
    uint8_t count = drive->count[0];
    bool ok = count <= 16 && (count & (count - 1)) == 0;
    if (ok)
        drive->multiple = count;
    ata_end_command(drive, ok ? 0 : ATA_ABRT);
}

static void native_max(struct ata_drive *drive)
{
    uint64_t last = disk_worker_size(drive->worker) / ATA_SECTOR - 1;
    if (!drive->is_lba48)
        last = MIN(last, UINT64_C(0x0fffffff));
    ata_set_address(drive, last);
    ata_end_command(drive, 0);
}

static void signature(struct ata_drive *drive)
{
    drive->count[0] = drive->lba_low[0] = 1;
    drive->lba_middle[0] = drive->lba_high[0] = 0;
    if (drive->is_packet) {
        drive->lba_middle[0] = 0x14;
        drive->lba_high[0] = 0xeb;
    }
    drive->error = 1; /* diagnostic code: passed */
}

static void run_command(struct ata_drive *drive, uint8_t kind, uint8_t flags)
{
    switch (kind) {
    case NOTHING:
        ata_end_command(drive, 0);
        break;
    case READ:
    case WRITE:
        transfer(drive, kind == READ, flags);
        break;
    case VERIFY:
        verify(drive);
        break;
    case FLUSH:
        ata_begin_flush(drive);
        break;
    case IDENTIFY:
        identify(drive);
        break;
    case SET_FEATURES:
        set_features(drive);
        break;
    case SET_MULTIPLE:
        set_multiple(drive);
        break;
    case DIAGNOSE:
        ata_end_command(drive, 0);
        signature(drive);
        break;
    case NATIVE_MAX:
        native_max(drive);
        break;
    case POWER_MODE:
        drive->count[0] = 0xff; /* active */
        ata_end_command(drive, 0);
        break;
    default:
        ata_end_command(drive, ATA_ABRT);
        break;
    }
}

/* What of the disks' commands a packet device has, too; the rest it aborts. */
static void run_packet_device_command(struct ata_drive *drive, uint8_t command)
{
    switch (command) {
    case 0xa0:
        atapi_begin(drive);
        break;
    case 0xa1:
        identify(drive);
        break;
    case 0x90:
    case 0xe0 ... 0xe3:
    case 0xe5:
    case 0xe6:
    case 0xef:
        run_command(drive, commands[command].kind, 0);
        break;
    case 0x20: /* READ SECTORS and IDENTIFY DEVICE say what this is (9.1.2) */
    case 0xec:
        signature(drive);
        ata_end_command(drive, ATA_ABRT);
        break;
    default:
        ata_end_command(drive, ATA_ABRT);
        break;
    }
}

void ata_command(struct ata_drive *drive, uint8_t command)
{
    if (drive->is_packet && command == 0x08) { /* DEVICE RESET works at any time */
        ata_reset(drive);
        return;
    }
    if (drive->status & (ATA_BSY | ATA_DRQ))
        return; /* only a reset ends what is under way */
    drive->command = command;
    drive->error = 0;
    drive->is_identify = drive->is_dma = false;
    drive->is_lba48 = commands[command].flags & F_LBA48;
    if (drive->is_packet)
        run_packet_device_command(drive, command);
    else
        run_command(drive, commands[command].kind, commands[command].flags);
}

/* ---- the task file ----------------------------------------------------------------------- */

uint8_t ata_read(const struct ata_drive *drive, unsigned reg, bool high_order)
{
    switch (reg) {
    case 1:
        return drive->error;
    case 2:
        return drive->count[high_order];
    case 3:
        return drive->lba_low[high_order];
    case 4:
        return drive->lba_middle[high_order];
    case 5:
        return drive->lba_high[high_order];
    case 6:
        return drive->select | 0xa0;
    default:
        return drive->status;
    }
}

static void push(uint8_t pair[2], uint8_t value)
{
    pair[1] = pair[0];
    pair[0] = value;
}

void ata_write(struct ata_drive *drive, unsigned reg, uint8_t value)
{
    if (drive->status & ATA_BSY && reg != 6)
        return;
    switch (reg) {
    case 1:
        push(drive->feature, value);
        break;
    case 2:
        push(drive->count, value);
        break;
    case 3:
        push(drive->lba_low, value);
        break;
    case 4:
        push(drive->lba_middle, value);
        break;
    case 5:
        push(drive->lba_high, value);
        break;
    case 6:
        drive->select = value;
        break;
    default:
        break;
    }
}

/* ---- life -------------------------------------------------------------------------------- */

void ata_init(struct ata_drive *drive, unsigned index, const struct ata_channel_ops *ops,
              void *channel)
{
    drive->ops = ops;
    drive->channel = channel;
    drive->buffer = g_malloc0(DISK_CHUNK);
    g_snprintf(drive->serial, sizeof(drive->serial), "DR%08u", index + 1);
    g_snprintf(drive->model, sizeof(drive->model), "DROVER %s",
               drive->is_packet ? "CD-ROM" : "HARDDISK");
    if (drive->worker)
        disk_worker_connect(drive->worker, ata_request_done, drive);
}

void ata_finish(struct ata_drive *drive)
{
    g_clear_pointer(&drive->buffer, g_free);
}

void ata_reset(struct ata_drive *drive)
{
    drive->phase = ATA_IDLE;
    drive->in_flight = drive->is_dma = drive->is_identify = false;
    drive->multiple = 0;
    drive->select = 0;
    drive->feature[0] = 0;
    signature(drive);
    drive->status = drive->present && !drive->is_packet ? ATA_DRDY | ATA_DSC : 0;
    if (drive->is_packet)
        atapi_reset(drive);
}

bool ata_loaded(struct ata_drive *drive, GError **error)
{
    bool sane = drive->phase < ATA_PHASE_COUNT && drive->filled <= DISK_CHUNK &&
                drive->end <= drive->filled && drive->position <= drive->end &&
                (drive->is_packet || drive->filled % ATA_SECTOR == 0) && drive->multiple <= 16 &&
                drive->block > 0 && (drive->is_packet || drive->left <= 65536);
    if (drive->phase == ATA_IDLE) {
        drive->position = drive->end = drive->filled = 0;
        return true;
    }
    bool needs_worker =
        drive->phase == ATA_FETCH || drive->phase == ATA_STORE || drive->phase == ATA_FLUSH;
    if (!sane || !drive->present || (needs_worker && !drive->worker)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                    "saved state: an ATA command under way makes no sense for this machine's disk");
        return false;
    }
    if (needs_worker)
        ata_start_request(drive);
    return true;
}

static const struct state_field atapi_state[] = {
    STATE_UINT(struct atapi, sense_key),
    STATE_UINT(struct atapi, sense_code),
    STATE_UINT(struct atapi, sense_qualifier),
    STATE_UINT(struct atapi, attention),
    STATE_UINT(struct atapi, event),
    STATE_UINT(struct atapi, tray_open),
    STATE_UINT(struct atapi, locked),
    STATE_UINT(struct atapi, block_limit),
    STATE_END,
};

const struct state_field ata_drive_state[] = {
    STATE_STRUCT(struct ata_drive, atapi, atapi_state),
    STATE_BYTES(struct ata_drive, feature),
    STATE_BYTES(struct ata_drive, count),
    STATE_BYTES(struct ata_drive, lba_low),
    STATE_BYTES(struct ata_drive, lba_middle),
    STATE_BYTES(struct ata_drive, lba_high),
    STATE_UINT(struct ata_drive, select),
    STATE_UINT(struct ata_drive, status),
    STATE_UINT(struct ata_drive, error),
    STATE_UINT(struct ata_drive, command),
    STATE_UINT(struct ata_drive, multiple),
    STATE_UINT(struct ata_drive, phase),
    STATE_UINT(struct ata_drive, is_dma),
    STATE_UINT(struct ata_drive, is_lba48),
    STATE_UINT(struct ata_drive, to_guest),
    STATE_UINT(struct ata_drive, is_identify),
    STATE_UINT(struct ata_drive, transfer_mode),
    STATE_UINT(struct ata_drive, sector),
    STATE_UINT(struct ata_drive, left),
    STATE_UINT(struct ata_drive, block),
    STATE_UINT(struct ata_drive, position),
    STATE_UINT(struct ata_drive, end),
    STATE_UINT(struct ata_drive, filled),
    {"buffer", STATE_KIND_BUFFER, offsetof(struct ata_drive, buffer), 1, DISK_CHUNK, NULL},
    STATE_END,
};
