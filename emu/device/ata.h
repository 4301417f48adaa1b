/*
 * An ATA disk (ATA/ATAPI-6, T13 1410D): the task file, PIO and DMA commands, LBA28 and LBA48.
 *
 * A drive is a state machine that the channel (emu/device/ide.c) drives with register accesses and
 * the disk worker with completions. All with the board lock held.
 */
#pragma once

#include "emu/core/state.h"
#include "emu/device/disk_worker.h"

#define ATA_SECTOR 512u

enum ata_status_bits {
    ATA_ERR = 0x01,
    ATA_DRQ = 0x08,
    ATA_DSC = 0x10,
    ATA_DF = 0x20,
    ATA_DRDY = 0x40,
    ATA_BSY = 0x80,
};
enum ata_error_bits {
    ATA_ABRT = 0x04,
    ATA_IDNF = 0x10,
    ATA_UNC = 0x40,
};

enum ata_phase {
    ATA_IDLE,
    ATA_PIO_IN,   /* the guest reads buffer[position..end] */
    ATA_PIO_OUT,  /* the guest writes it */
    ATA_FETCH,    /* waiting for a chunk from the disk */
    ATA_STORE,    /* waiting for a chunk to reach the disk */
    ATA_FLUSH,    /* waiting for a flush */
    ATA_DMA_WAIT, /* a chunk is to be moved and the bus master is not started */
    ATA_PACKET,   /* the guest writes a packet command */
    ATA_PHASE_COUNT,
};

struct ata_drive;

/* What a packet device (a CD-ROM drive) has beside the task file; emu/device/atapi.h. */
struct atapi {
    uint8_t sense_key, sense_code, sense_qualifier; /* of the last command that failed */
    uint8_t attention; /* the code of a unit attention that waits to be told; 0: none */
    bool event;        /* a medium came or went, and GET EVENT STATUS did not tell yet */
    bool tray_open, locked;
    uint32_t block_limit; /* bytes of one DRQ block */
};

/* What a drive asks of its channel. */
struct ata_channel_ops {
    void (*interrupt)(void *channel, struct ata_drive *drive);
    /* Moves `length` bytes between `bytes` and guest memory. False when the bus master is stopped;
     * *ret_moved is less than length when the guest's table was too short. */
    bool (*dma)(void *channel, struct ata_drive *drive, uint8_t *bytes, size_t length,
                bool to_guest, size_t *ret_moved);
    void (*dma_end)(void *channel, struct ata_drive *drive, bool error);
};

struct ata_drive {
    bool present, is_packet;
    struct disk_worker *worker; /* NULL: a packet device without a medium */
    struct atapi atapi;
    const struct ata_channel_ops *ops;
    void *channel;
    char serial[21], model[41];

    /* The task file; [1] is what was there before the last write, for LBA48. */
    uint8_t feature[2], count[2], lba_low[2], lba_middle[2], lba_high[2];
    uint8_t select, status, error, command;
    uint8_t multiple; /* sectors a DRQ block of READ/WRITE MULTIPLE; 0: not set */
    uint8_t phase;    /* enum ata_phase */
    bool in_flight;   /* the request at the worker is this command's */
    bool is_dma, is_lba48, to_guest, is_identify;
    uint8_t transfer_mode;
    uint64_t sector;                /* of the chunk in the buffer */
    uint32_t left;                  /* sectors of the command, the chunk's included */
    uint32_t block;                 /* bytes of one DRQ block */
    uint32_t position, end, filled; /* in the buffer: next byte, the DRQ block's end, the chunk's */
    uint8_t *buffer;                /* DISK_CHUNK bytes */
};

extern const struct state_field ata_drive_state[];

/* After present, is_packet and worker were set; the worker is the machine's. `index` makes the
 * serial number. */
void ata_init(struct ata_drive *drive, unsigned index, const struct ata_channel_ops *ops,
              void *channel);
void ata_finish(struct ata_drive *drive);
void ata_reset(struct ata_drive *drive); /* also the signature after a software reset */
bool ata_loaded(struct ata_drive *drive, GError **error);

uint8_t ata_read(const struct ata_drive *drive, unsigned reg, bool high_order); /* 1-7 */
void ata_write(struct ata_drive *drive, unsigned reg, uint8_t value);           /* 1-6 */
void ata_command(struct ata_drive *drive, uint8_t command);
uint32_t ata_data_read(struct ata_drive *drive, unsigned size);
void ata_data_write(struct ata_drive *drive, uint32_t value, unsigned size);
void ata_dma_started(struct ata_drive *drive); /* the bus master may move data now */
void ata_identify(const struct ata_drive *drive, uint8_t identify[512]);
