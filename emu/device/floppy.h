/*
 * The floppy disk controller, an 82078 in its PC AT mode (Intel 290468 and 290475): ports 0x3f0 to
 * 0x3f5 and 0x3f7, interrupt 6, DMA channel 2, and two drives with disks of 160 KB to 2.88 MB.
 *
 * Nothing takes time here but the host's file: seeks end at once and sectors come as fast as the
 * guest takes them. An image holds sectors of 512 bytes and nothing else of a track: address and
 * deleted marks are made up, and formatting writes the filler to the whole track. SCAN, SAVE,
 * RESTORE and FORMAT AND WRITE are refused as invalid. Board lock held throughout.
 *
 *      floppy.c           ports, reset, media, saved state
 *      floppy_commands.c  the table of commands; those without data
 *      floppy_transfer.c  reading, writing, formatting
 */
#pragma once

#include "emu/core/irq.h"
#include "emu/device/device.h"
#include "emu/device/disk_worker.h"

#define FLOPPY_DRIVES 2

extern const struct device_ops floppy_ops;

/* Kinds of drives, by their number in CMOS memory. */
enum floppy_type {
    FLOPPY_NONE,
    FLOPPY_360K,
    FLOPPY_1200K,
    FLOPPY_720K,
    FLOPPY_1440K,
    FLOPPY_2880K,
    FLOPPY_TYPE_COUNT,
};

/* The drive that an image of so many bytes belongs into; FLOPPY_NONE: it is no floppy disk's. */
enum floppy_type floppy_type_for(uint64_t bytes);
/* Whether a drive can read such a disk. */
bool floppy_fits(enum floppy_type type, uint64_t bytes);
const char *floppy_type_name(enum floppy_type type); /* "1.44M" */

/* Before realize. `dma` is the 8237 (i8237.h). Both borrowed. */
void floppy_connect(struct device *device, struct irq *output, struct device *dma);
/* A drive with a disk that fits, or (NULL) with none; before realize. */
void floppy_add_drive(struct device *device, unsigned drive, enum floppy_type type,
                      struct disk_worker *worker);
/* Another disk that fits, or none. The old one's worker is free to be closed afterwards. */
void floppy_change_medium(struct device *device, unsigned drive, struct disk_worker *worker);
enum floppy_type floppy_drive_type(const struct device *device, unsigned drive);
