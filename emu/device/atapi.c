#include "emu/device/atapi.h"

#include "emu/device/ata_internal.h"
#include "emu/device/net_sum.h"
#include <string.h>

#define SECTORS_OF_512 (ATAPI_SECTOR / ATA_SECTOR)
#define REPLY_MAX      4096u
#define LEAD_IN        150 /* sectors before the first: two seconds */
#define LEAD_OUT       0xaa
#define PROFILE_CD     0x0008
#define PROFILE_DVD    0x0010
#define CD_SECTORS     449100u /* 99:50:00, the most a CD has */

/* ---- the medium -------------------------------------------------------------------------- */

static bool has_medium(const struct ata_drive *drive)
{
    return drive->worker && !drive->atapi.tray_open;
}

static uint32_t sectors(const struct ata_drive *drive)
{
    uint64_t count = drive->worker ? disk_worker_size(drive->worker) / ATAPI_SECTOR : 0;
    return (uint32_t)MIN(count, (uint64_t)UINT32_MAX);
}

void atapi_change_medium(struct ata_drive *drive, struct disk_worker *worker)
{
    bool under_way = drive->phase == ATA_FETCH;
    drive->worker = worker;
    drive->in_flight = false;
    drive->atapi.tray_open = false;
    drive->atapi.event = true;
    drive->atapi.attention = worker ? 0x28 : 0; /* the medium may have changed */
    if (worker)
        disk_worker_connect(worker, ata_request_done, drive);
    if (under_way)
        atapi_fail(drive, ATAPI_NOT_READY, 0x3a, 0);
}

void atapi_reset(struct ata_drive *drive)
{
    struct atapi *atapi = &drive->atapi;
    atapi->sense_key = atapi->sense_code = atapi->sense_qualifier = 0;
    atapi->attention = 0x29; /* power on or reset */
    atapi->locked = false;
}

/* ---- ends -------------------------------------------------------------------------------- */

static void set_sense(struct ata_drive *drive, uint8_t key, uint8_t code, uint8_t qualifier)
{
    drive->atapi.sense_key = key;
    drive->atapi.sense_code = code;
    drive->atapi.sense_qualifier = qualifier;
}

void atapi_fail(struct ata_drive *drive, enum atapi_sense key, uint8_t code, uint8_t qualifier)
{
    set_sense(drive, (uint8_t)key, code, qualifier);
    ata_end_command(drive, (uint8_t)(key << 4 | ATA_ABRT));
}

static void fail_field(struct ata_drive *drive)
{
    atapi_fail(drive, ATAPI_ILLEGAL_REQUEST, 0x24, 0); /* invalid field in the packet */
}

/* A reply of at most what the guest allocated; nothing is as good as success. */
static void reply(struct ata_drive *drive, const uint8_t *bytes, uint32_t length,
                  uint32_t allocated)
{
    length = MIN(length, allocated);
    if (length == 0) {
        ata_end_command(drive, 0);
        return;
    }
    memcpy(drive->buffer, bytes, length);
    ata_begin_reply(drive, length);
}

/* ---- commands ---------------------------------------------------------------------------- */

typedef void command_function(struct ata_drive *drive, const uint8_t *packet);

static void succeed(struct ata_drive *drive, const uint8_t *packet)
{
    ata_end_command(drive, 0);
}

static void request_sense(struct ata_drive *drive, const uint8_t *packet)
{
    struct atapi *atapi = &drive->atapi;
    if (!atapi->sense_key && atapi->attention) {
        set_sense(drive, ATAPI_UNIT_ATTENTION, atapi->attention, 0);
        atapi->attention = 0;
    }
    uint8_t bytes[18] = {0x70, 0, atapi->sense_key, 0, 0, 0, 0, 10};
    bytes[12] = atapi->sense_code;
    bytes[13] = atapi->sense_qualifier;
    set_sense(drive, 0, 0, 0);
    reply(drive, bytes, sizeof(bytes), packet[4]);
}

static void inquiry(struct ata_drive *drive, const uint8_t *packet)
{
    uint8_t bytes[36] = {0x05, 0x80, 0x00, 0x21, 31};
    if (packet[1] & 1) {
        fail_field(drive); /* no vital product data */
        return;
    }
    memcpy(bytes + 8, "DROVER  CD-ROM          1.0 ", 28);
    reply(drive, bytes, sizeof(bytes), packet[4]);
}

static void start_stop(struct ata_drive *drive, const uint8_t *packet)
{
    struct atapi *atapi = &drive->atapi;
    if (packet[4] & 2) { /* load or eject */
        bool open = !(packet[4] & 1);
        if (open && atapi->locked) {
            atapi_fail(drive, ATAPI_ILLEGAL_REQUEST, 0x53, 2); /* removal prevented */
            return;
        }
        if (open != atapi->tray_open)
            atapi->event = true;
        if (!open && atapi->tray_open && drive->worker)
            atapi->attention = 0x28;
        atapi->tray_open = open;
    }
    ata_end_command(drive, 0);
}

static void prevent_removal(struct ata_drive *drive, const uint8_t *packet)
{
    drive->atapi.locked = packet[4] & 1;
    ata_end_command(drive, 0);
}

static void read_capacity(struct ata_drive *drive, const uint8_t *packet)
{
    uint8_t bytes[8];
    net_store32(bytes, sectors(drive) ? sectors(drive) - 1 : 0);
    net_store32(bytes + 4, ATAPI_SECTOR);
    reply(drive, bytes, sizeof(bytes), sizeof(bytes));
}

static void begin_read(struct ata_drive *drive, uint32_t sector, uint32_t count)
{
    uint32_t total = sectors(drive);
    if (sector >= total || count > total - sector) {
        atapi_fail(drive, ATAPI_ILLEGAL_REQUEST, 0x21, 0); /* address out of range */
        return;
    }
    if (count == 0) {
        ata_end_command(drive, 0);
        return;
    }
    drive->sector = (uint64_t)sector * SECTORS_OF_512;
    drive->left = count * SECTORS_OF_512;
    drive->to_guest = true;
    ata_begin_transfer(drive);
}

/* The transfer counts sectors of 512 bytes in 32 bits. */
#define COUNT_MAX (UINT32_MAX / SECTORS_OF_512)

static void read_10(struct ata_drive *drive, const uint8_t *packet)
{
    begin_read(drive, net_load32(packet + 2), net_load16(packet + 7));
}

static void read_12(struct ata_drive *drive, const uint8_t *packet)
{
    begin_read(drive, net_load32(packet + 2), MIN(net_load32(packet + 6), COUNT_MAX));
}

/* READ CD: of a data disc, the user data of each sector. */
static void read_cd(struct ata_drive *drive, const uint8_t *packet)
{
    uint32_t count = (uint32_t)packet[6] << 16 | net_load16(packet + 7);
    unsigned fields = packet[9] & 0xf8;
    if (fields == 0 || count == 0)
        ata_end_command(drive, 0);
    else if (fields == 0x10 && (packet[10] & 7) == 0)
        begin_read(drive, net_load32(packet + 2), count);
    else
        fail_field(drive);
}

static void put_address(uint8_t *bytes, uint32_t sector, bool as_time)
{
    if (!as_time) {
        net_store32(bytes, sector);
        return;
    }
    sector += LEAD_IN;
    bytes[0] = 0;
    bytes[1] = (uint8_t)(sector / 75 / 60);
    bytes[2] = (uint8_t)(sector / 75 % 60);
    bytes[3] = (uint8_t)(sector % 75);
}

/* One data track, and the lead-out. */
static void read_toc(struct ata_drive *drive, const uint8_t *packet)
{
    bool as_time = packet[1] & 2;
    unsigned format = packet[2] & 15 ? packet[2] & 15 : packet[9] >> 6, first = packet[6];
    uint8_t bytes[64] = {0, 0, 1, 1};
    uint32_t length = 4;
    if (format == 1) { /* sessions: one, which begins with track 1 */
        bytes[length + 1] = 0x14;
        bytes[length + 2] = 1;
        put_address(bytes + length + 4, 0, as_time);
        length += 8;
    } else if (format == 0 && (first <= 1 || first == LEAD_OUT)) {
        for (unsigned track = first <= 1 ? 1 : LEAD_OUT;; track = LEAD_OUT) {
            bytes[length + 1] = 0x14; /* data */
            bytes[length + 2] = (uint8_t)track;
            put_address(bytes + length + 4, track == 1 ? 0 : sectors(drive), as_time);
            length += 8;
            if (track == LEAD_OUT)
                break;
        }
    } else {
        fail_field(drive);
        return;
    }
    net_store16(bytes, (uint16_t)(length - 2));
    reply(drive, bytes, length, net_load16(packet + 7));
}

static uint16_t current_profile(const struct ata_drive *drive)
{
    if (!has_medium(drive))
        return 0;
    return sectors(drive) > CD_SECTORS ? PROFILE_DVD : PROFILE_CD;
}

static uint32_t add_feature(uint8_t *bytes, uint16_t code, uint8_t flags, const uint8_t *data,
                            uint8_t length)
{
    net_store16(bytes, code);
    bytes[2] = flags;
    bytes[3] = length;
    memcpy(bytes + 4, data, length);
    return 4u + length;
}

static void get_configuration(struct ata_drive *drive, const uint8_t *packet)
{
    uint16_t profile = current_profile(drive);
    const uint8_t profiles[8] = {0, PROFILE_DVD, profile == PROFILE_DVD, 0,
                                 0, PROFILE_CD,  profile == PROFILE_CD,  0};
    static const uint8_t core[8] = {0, 0, 0, 2},
                         removable[4] = {0x29}; /* ATAPI; tray, eject, lock */
    uint8_t bytes[64] = {0};
    uint32_t length = 8;
    length += add_feature(bytes + length, 0x0000, 3, profiles, sizeof(profiles));
    length += add_feature(bytes + length, 0x0001, 3, core, sizeof(core));
    length += add_feature(bytes + length, 0x0003, 3, removable, sizeof(removable));
    net_store32(bytes, length - 4);
    net_store16(bytes + 6, profile);
    reply(drive, bytes, length, net_load16(packet + 7));
}

static void get_event_status(struct ata_drive *drive, const uint8_t *packet)
{
    struct atapi *atapi = &drive->atapi;
    uint8_t bytes[8] = {0, 6, 0, 0x10}; /* only medium events there are */
    if (!(packet[1] & 1)) {
        fail_field(drive); /* waiting is not offered */
        return;
    }
    if (!(packet[4] & 0x10)) {
        bytes[1] = 2;
        bytes[2] = 0x80;
        reply(drive, bytes, 4, net_load16(packet + 7));
        return;
    }
    bytes[2] = 4;
    if (atapi->event)
        bytes[4] = has_medium(drive) ? 2 : 3; /* new medium, medium removed */
    atapi->event = false;
    bytes[5] = (uint8_t)((atapi->tray_open ? 1 : 0) | (has_medium(drive) ? 2 : 0));
    reply(drive, bytes, sizeof(bytes), net_load16(packet + 7));
}

static void read_disc_information(struct ata_drive *drive, const uint8_t *packet)
{
    static const uint8_t bytes[34] = {0, 32, 0x0e, 1, 1, 1, 1, 0x20}; /* complete, one session */
    reply(drive, bytes, sizeof(bytes), net_load16(packet + 7));
}

/* Error recovery (1) and capabilities (0x2a). */
static void mode_sense(struct ata_drive *drive, const uint8_t *packet)
{
    unsigned page = packet[2] & 0x3f;
    uint8_t bytes[64] = {0};
    uint32_t length = 8;
    if (packet[2] >> 6 == 3) {
        atapi_fail(drive, ATAPI_ILLEGAL_REQUEST, 0x39, 0); /* nothing is saved */
        return;
    }
    if (page == 1 || page == 0x3f) {
        bytes[length] = 1;
        bytes[length + 1] = 6;
        bytes[length + 3] = 5;
        length += 8;
    }
    if (page == 0x2a || page == 0x3f) {
        static const uint8_t speed[] = {0x2c, 0x20}; /* kB/s, 64 times an audio CD */
        uint8_t *at = bytes + length;
        at[0] = 0x2a;
        at[1] = 18;
        at[2] = 0x3b;                                            /* reads CD-R, CD-RW, DVD */
        at[6] = (uint8_t)(0x29 | (drive->atapi.locked ? 2 : 0)); /* tray, eject, lock */
        memcpy(at + 8, speed, 2);
        net_store16(at + 12, 512);
        memcpy(at + 14, speed, 2);
        length += 20;
    }
    if (length == 8) {
        fail_field(drive);
        return;
    }
    net_store16(bytes, (uint16_t)(length - 2));
    bytes[2] = has_medium(drive) ? 0x01 : drive->atapi.tray_open ? 0x71 : 0x70;
    reply(drive, bytes, length, net_load16(packet + 7));
}

static void mechanism_status(struct ata_drive *drive, const uint8_t *packet)
{
    uint8_t bytes[8] = {0};
    bytes[1] = drive->atapi.tray_open ? 0x10 : 0;
    bytes[5] = 1;
    reply(drive, bytes, sizeof(bytes), net_load16(packet + 8));
}

/* READ DVD STRUCTURE, the physical format of layer 0 (6.22.2.1). */
static void read_dvd_structure(struct ata_drive *drive, const uint8_t *packet)
{
    uint8_t bytes[4 + 2048] = {0};
    if (packet[7] != 0 || current_profile(drive) != PROFILE_DVD) {
        fail_field(drive);
        return;
    }
    net_store16(bytes, sizeof(bytes) - 2);
    bytes[4] = 0x01;
    bytes[6] = 1;
    net_store32(bytes + 8, 0x30000);
    net_store32(bytes + 12, 0x30000 + sectors(drive) - 1);
    reply(drive, bytes, sizeof(bytes), net_load16(packet + 8));
}

#define NEEDS_MEDIUM 1
#define SILENT       2 /* does not tell of unit attentions, nor ends them */
static const struct {
    uint8_t code, flags;
    command_function *run;
} commands[] = {
    {0x00, NEEDS_MEDIUM, succeed}, /* TEST UNIT READY */
    {0x03, SILENT, request_sense},
    {0x12, SILENT, inquiry},
    {0x1b, 0, start_stop},
    {0x1e, 0, prevent_removal},
    {0x25, NEEDS_MEDIUM, read_capacity},
    {0x28, NEEDS_MEDIUM, read_10},
    {0x2b, NEEDS_MEDIUM, succeed}, /* SEEK */
    {0x43, NEEDS_MEDIUM, read_toc},
    {0x46, SILENT, get_configuration},
    {0x4a, SILENT, get_event_status},
    {0x51, NEEDS_MEDIUM, read_disc_information},
    {0x5a, 0, mode_sense},
    {0xa8, NEEDS_MEDIUM, read_12},
    {0xad, NEEDS_MEDIUM, read_dvd_structure},
    {0xbb, 0, succeed}, /* SET CD SPEED */
    {0xbd, 0, mechanism_status},
    {0xbe, NEEDS_MEDIUM, read_cd},
};

void atapi_begin(struct ata_drive *drive)
{
    struct atapi *atapi = &drive->atapi;
    uint32_t limit = drive->lba_middle[0] | (uint32_t)drive->lba_high[0] << 8;
    /* An even number of bytes a block; 0 and 0xffff are the most there is (7.21.4). */
    atapi->block_limit = limit == 0 || limit == 0xffff ? 0xfffe : MAX(limit & ~1u, 2u);
    drive->is_dma = drive->feature[0] & 1;
    drive->phase = ATA_PACKET;
    drive->position = 0;
    drive->end = drive->filled = ATAPI_PACKET;
    drive->block = atapi->block_limit;
    drive->count[0] = ATAPI_REASON_CMD;
    drive->status = ATA_DRDY | ATA_DSC | ATA_DRQ; /* without an interrupt, as word 0 says */
}

void atapi_run(struct ata_drive *drive)
{
    struct atapi *atapi = &drive->atapi;
    uint8_t packet[ATAPI_PACKET];
    memcpy(packet, drive->buffer, sizeof(packet));
    drive->status = ATA_BSY;
    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (commands[i].code != packet[0])
            continue;
        if (atapi->attention && !(commands[i].flags & SILENT)) {
            uint8_t code = atapi->attention;
            atapi->attention = 0;
            atapi_fail(drive, ATAPI_UNIT_ATTENTION, code, 0);
        } else if (commands[i].flags & NEEDS_MEDIUM && !has_medium(drive)) {
            atapi_fail(drive, ATAPI_NOT_READY, 0x3a, atapi->tray_open ? 2 : 1);
        } else {
            commands[i].run(drive, packet);
        }
        return;
    }
    atapi_fail(drive, ATAPI_ILLEGAL_REQUEST, 0x20, 0); /* no such command */
}
