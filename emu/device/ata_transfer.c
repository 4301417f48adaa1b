#include "emu/device/ata_internal.h"

#include "emu/core/bytes.h"
#include <string.h>

/* ---- ends of commands -------------------------------------------------------------------- */

void ata_end_command(struct ata_drive *drive, uint8_t error)
{
    bool was_dma = drive->is_dma;
    if (drive->is_packet)
        drive->count[0] = ATAPI_REASON_END;
    drive->phase = ATA_IDLE;
    drive->is_dma = false;
    drive->error = error;
    drive->status = ATA_DRDY | ATA_DSC | (error ? ATA_ERR : 0);
    if (was_dma)
        drive->ops->dma_end(drive->channel, drive, error != 0);
    drive->ops->interrupt(drive->channel, drive);
}

void ata_set_address(struct ata_drive *drive, uint64_t sector)
{
    drive->lba_low[0] = (uint8_t)sector;
    drive->lba_middle[0] = (uint8_t)(sector >> 8);
    drive->lba_high[0] = (uint8_t)(sector >> 16);
    if (drive->is_lba48) {
        drive->lba_low[1] = (uint8_t)(sector >> 24);
        drive->lba_middle[1] = (uint8_t)(sector >> 32);
        drive->lba_high[1] = (uint8_t)(sector >> 40);
    } else {
        drive->select = (uint8_t)((drive->select & 0xf0) | (sector >> 24 & 15));
    }
}

/* ---- moving data ------------------------------------------------------------------------- */

static uint32_t chunk_bytes(const struct ata_drive *drive)
{
    return MIN(drive->left, DISK_CHUNK / ATA_SECTOR) * ATA_SECTOR;
}

void ata_open_block(struct ata_drive *drive)
{
    drive->end = MIN(drive->position + drive->block, drive->filled);
    if (drive->is_packet && !drive->is_identify) { /* how much there is, and that it is data */
        uint32_t length = drive->end - drive->position;
        drive->lba_middle[0] = (uint8_t)length;
        drive->lba_high[0] = (uint8_t)(length >> 8);
        drive->count[0] = ATAPI_REASON_IN;
    }
    drive->status = ATA_DRDY | ATA_DSC | ATA_DRQ;
}

void ata_start_request(struct ata_drive *drive)
{
    drive->status = ATA_BSY | ATA_DRDY | ATA_DSC;
    if (disk_worker_busy(drive->worker))
        return;
    drive->in_flight = true;
    uint64_t offset = drive->sector * ATA_SECTOR;
    if (drive->phase == ATA_FETCH)
        disk_worker_start(drive->worker, DISK_READ, offset, NULL, chunk_bytes(drive), NULL);
    else if (drive->phase == ATA_STORE)
        disk_worker_start(drive->worker, DISK_WRITE, offset, drive->buffer, drive->filled, NULL);
    else
        disk_worker_start(drive->worker, DISK_FLUSH, 0, NULL, 0, NULL);
}

static void wait_for(struct ata_drive *drive, enum ata_phase phase)
{
    drive->phase = phase;
    ata_start_request(drive);
}

/* A chunk is done with: the next one, or the command's end. */
static void next_chunk(struct ata_drive *drive);

static void dma_move(struct ata_drive *drive)
{
    size_t moved = 0;
    drive->phase = ATA_DMA_WAIT;
    if (!drive->ops->dma(drive->channel, drive, drive->buffer, drive->filled, drive->to_guest,
                         &moved))
        return;
    if (moved < drive->filled)
        ata_end_command(drive, ATA_ABRT); /* the guest's table ended before its data */
    else if (drive->to_guest)
        next_chunk(drive);
    else
        wait_for(drive, ATA_STORE);
}

static void begin_chunk(struct ata_drive *drive)
{
    drive->filled = chunk_bytes(drive);
    drive->position = 0;
    if (drive->to_guest) {
        wait_for(drive, ATA_FETCH);
    } else if (drive->is_dma) {
        dma_move(drive);
    } else {
        drive->phase = ATA_PIO_OUT;
        ata_open_block(drive);
    }
}

static void next_chunk(struct ata_drive *drive)
{
    uint32_t sectors = drive->filled / ATA_SECTOR;
    drive->sector += sectors;
    drive->left -= MIN(drive->left, sectors);
    if (drive->left > 0) {
        begin_chunk(drive);
        /* The guest waits for the interrupt before it writes the next block. */
        if (drive->phase == ATA_PIO_OUT)
            drive->ops->interrupt(drive->channel, drive);
        return;
    }
    if (drive->is_packet) {
        ata_end_command(drive, 0);
        return;
    }
    ata_set_address(drive, drive->sector - 1);
    drive->count[0] = drive->count[1] = 0;
    if (drive->to_guest && !drive->is_dma) {
        drive->phase = ATA_IDLE; /* reads by PIO end without an interrupt of their own */
        drive->status = ATA_DRDY | ATA_DSC;
    } else {
        ata_end_command(drive, 0);
    }
}

static void fetched(struct ata_drive *drive)
{
    if (drive->is_dma) {
        dma_move(drive);
        return;
    }
    drive->phase = ATA_PIO_IN;
    ata_open_block(drive);
    drive->ops->interrupt(drive->channel, drive);
}

void ata_request_done(void *opaque, void *tag, bool ok, const uint8_t *data, size_t length)
{
    struct ata_drive *drive = opaque;
    bool waits =
        drive->phase == ATA_FETCH || drive->phase == ATA_STORE || drive->phase == ATA_FLUSH;
    if (!drive->in_flight) { /* of a command that a reset ended; the current one may go now */
        if (waits)
            ata_start_request(drive);
        return;
    }
    drive->in_flight = false;
    if (!waits)
        return;
    if (!ok && drive->is_packet) {
        atapi_fail(drive, ATAPI_MEDIUM_ERROR, 0x11, 0); /* unrecovered read error */
    } else if (!ok) {
        ata_set_address(drive, drive->sector);
        ata_end_command(drive, drive->phase == ATA_FETCH ? ATA_UNC : ATA_ABRT);
    } else if (drive->phase == ATA_FETCH) {
        memcpy(drive->buffer, data, MIN(length, DISK_CHUNK));
        fetched(drive);
    } else if (drive->phase == ATA_STORE) {
        next_chunk(drive);
    } else {
        ata_end_command(drive, 0);
    }
}

void ata_dma_started(struct ata_drive *drive)
{
    if (drive->phase == ATA_DMA_WAIT)
        dma_move(drive);
}

/* The end of a DRQ block. */
static void block_done(struct ata_drive *drive)
{
    if (drive->is_identify) {
        drive->is_identify = false;
        drive->phase = ATA_IDLE;
        drive->status = ATA_DRDY | ATA_DSC;
    } else if (drive->position < drive->filled) {
        ata_open_block(drive);
        drive->ops->interrupt(drive->channel, drive);
    } else if (drive->to_guest) {
        next_chunk(drive);
    } else {
        wait_for(drive, ATA_STORE);
    }
}

uint32_t ata_data_read(struct ata_drive *drive, unsigned size)
{
    if (drive->phase != ATA_PIO_IN || drive->end - drive->position < size)
        return 0;
    uint32_t value = (uint32_t)bytes_load(drive->buffer + drive->position, size);
    drive->position += size;
    if (drive->position == drive->end)
        block_done(drive);
    return value;
}

void ata_data_write(struct ata_drive *drive, uint32_t value, unsigned size)
{
    if (drive->phase == ATA_PACKET && drive->end - drive->position >= size) {
        bytes_store(drive->buffer + drive->position, value, size);
        drive->position += size;
        if (drive->position == drive->end)
            atapi_run(drive);
        return;
    }
    if (drive->phase != ATA_PIO_OUT || drive->end - drive->position < size)
        return;
    bytes_store(drive->buffer + drive->position, value, size);
    drive->position += size;
    if (drive->position == drive->end)
        block_done(drive);
}

void ata_begin_transfer(struct ata_drive *drive)
{
    begin_chunk(drive);
}

void ata_begin_reply(struct ata_drive *drive, uint32_t length)
{
    drive->to_guest = true;
    drive->left = 0;
    drive->filled = length;
    drive->position = 0;
    if (drive->is_dma) {
        dma_move(drive);
        return;
    }
    drive->phase = ATA_PIO_IN;
    ata_open_block(drive);
    drive->ops->interrupt(drive->channel, drive);
}

void ata_begin_flush(struct ata_drive *drive)
{
    wait_for(drive, ATA_FLUSH);
}
