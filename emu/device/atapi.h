/*
 * A CD-ROM drive behind packet commands (ATA/ATAPI-6, PACKET; MMC-3; SFF 8020i). Its disc is an
 * image of 2,048-byte sectors that can be changed while the machine runs.
 *
 * The task file and the transfer of data are the disks' own (ata.c, ata_transfer.c). Board lock
 * held throughout.
 */
#pragma once

#include "emu/device/ata.h"

#define ATAPI_SECTOR     2048u
#define ATAPI_PACKET     12u
#define ATAPI_REASON_IN  2 /* interrupt reason: data to the host */
#define ATAPI_REASON_END 3 /* the command is over */
#define ATAPI_REASON_CMD 1 /* a packet is awaited */

enum atapi_sense {
    ATAPI_NOT_READY = 2,
    ATAPI_MEDIUM_ERROR = 3,
    ATAPI_ILLEGAL_REQUEST = 5,
    ATAPI_UNIT_ATTENTION = 6,
};

void atapi_begin(struct ata_drive *drive); /* the PACKET command */
void atapi_run(struct ata_drive *drive);   /* the packet stands in the buffer */
void atapi_reset(struct ata_drive *drive);
/* Ends the command with sense data. */
void atapi_fail(struct ata_drive *drive, enum atapi_sense key, uint8_t code, uint8_t qualifier);
/* Another disc, or none (NULL). */
void atapi_change_medium(struct ata_drive *drive, struct disk_worker *worker);
