/*
 * Inside the floppy controller: the structure that its files share.
 */
#pragma once

#include "emu/device/floppy.h"

#define FLOPPY_SECTOR      512u
#define FLOPPY_SECTOR_CODE 2u /* N: 128 << N bytes */
#define FLOPPY_TRACK       (36u * FLOPPY_SECTOR)

enum { DOR_DRIVE = 0x03, DOR_RUN = 0x04, DOR_GATE = 0x08 };
enum { MSR_BUSY = 0x10, MSR_NO_DMA = 0x20, MSR_TO_HOST = 0x40, MSR_READY = 0x80 };
enum { ST0_ABNORMAL = 0x40, ST0_INVALID = 0x80, ST0_SEEK_END = 0x20, ST0_EQUIPMENT = 0x10 };
enum {
    ST1_NO_MARK = 0x01,
    ST1_NOT_WRITABLE = 0x02,
    ST1_NO_DATA = 0x04,
    ST1_DATA_ERROR = 0x20,
    ST1_END = 0x80,
};
enum {
    ST2_NOT_SATISFIED = 0x04, /* of SCAN */
    ST2_EQUAL = 0x08,
    ST2_WRONG_CYLINDER = 0x10,
    ST2_DATA_ERROR = 0x20,
    ST2_MARK = 0x40,
};
enum { CONFIG_IMPLIED_SEEK = 0x40, CONFIG_NO_FIFO = 0x20, CONFIG_NO_POLL = 0x10 };

/* How a disk is laid out. */
struct floppy_format {
    uint32_t kib;
    uint8_t tracks, heads, sectors;
    uint8_t rate;     /* the data rate's code: 0 500, 1 300, 2 250 kbit/s, 3 1 Mbit/s */
    uint8_t in_types; /* bits of enum floppy_type: the drives that read it */
    uint8_t type;     /* the drive it belongs into */
};
const struct floppy_format *floppy_format_for(uint64_t bytes); /* NULL: none */

enum floppy_phase {
    FLOPPY_COMMAND,   /* bytes of a command are awaited */
    FLOPPY_FETCH,     /* sectors come from the disk */
    FLOPPY_TO_HOST,   /* buffer[position..filled] goes to the guest */
    FLOPPY_FROM_HOST, /* and comes from it */
    FLOPPY_STORE,     /* sectors go to the disk */
    FLOPPY_RESULT,    /* bytes of the result are to be read */
    FLOPPY_PHASE_COUNT,
};

enum floppy_work {
    WORK_READ,
    WORK_WRITE,
    WORK_VERIFY,
    WORK_FORMAT,
    WORK_SCAN,
    WORK_FORMAT_WRITE,
    WORK_COUNT,
};
/* What SCAN looks for, as the command's code has it. */
enum { SCAN_EQUAL = 0x11, SCAN_LOW = 0x19, SCAN_HIGH = 0x1d };

struct floppy;

struct floppy_drive {
    struct floppy *floppy;
    uint8_t type; /* enum floppy_type */
    struct disk_worker *worker;
    const struct floppy_format *format; /* of the disk in it; NULL: none */
    uint8_t track;                      /* where the heads are */
    bool changed;                       /* the disk change line */
    uint8_t next_id;                    /* the sector that passes by next */
};

struct floppy {
    struct device device;
    struct irq *output;
    struct device *dma;
    struct floppy_drive drives[FLOPPY_DRIVES];

    uint8_t dor, rate, tape;
    bool interrupt;
    uint8_t phase; /* enum floppy_phase */
    uint8_t command[16], command_length;
    uint8_t result[16], result_length, result_position;

    /* What SENSE INTERRUPT tells: a bit and an ST0 for each drive. */
    uint8_t sense_mask, sense[4], present_track[4];
    bool sense_reset; /* they are of a reset, which had one interrupt for all */

    uint8_t step_rate, head_load; /* of SPECIFY; bit 0 of the latter: no DMA */
    uint8_t config, precompensation_track, perpendicular;
    bool locked;
    uint8_t last_count; /* the last track size or EOT, for DUMPREG */

    /* The transfer under way. */
    uint8_t work; /* enum floppy_work */
    uint8_t drive, head;
    uint8_t cylinder, side, sector, size_code, end_sector; /* C, H, R, N, EOT */
    bool multi_track, whole_track, terminal;
    uint8_t extra_st1, extra_st2; /* for the result, though the command goes on */
    uint8_t verify_left;          /* sectors of a VERIFY with a count; 0: to the end */
    uint8_t format_left;          /* sectors of a FORMAT AND WRITE */
    uint8_t scan, scan_step;      /* the code; to the next sector's number */
    uint8_t filler;               /* of FORMAT */
    bool in_flight;               /* the request at the worker is this transfer's */
    uint32_t position, filled;    /* in the buffer: the next byte, the end */
    uint8_t *buffer;              /* FLOPPY_TRACK bytes */
};

/* floppy.c */
void floppy_set_interrupt(struct floppy *floppy, bool level);
void floppy_reset_controller(struct floppy *floppy);
/* The drive a command names, NULL for one that is not there. */
struct floppy_drive *floppy_drive_at(struct floppy *floppy, unsigned number);

/* floppy_commands.c */
void floppy_command_byte(struct floppy *floppy, uint8_t byte);
/* Steps the heads of a drive. */
void floppy_step(struct floppy_drive *drive, unsigned track);
/* The result phase; with an interrupt where the command has an execution phase. */
void floppy_give_result(struct floppy *floppy, unsigned length, bool interrupt);

/* floppy_transfer.c */
void floppy_begin_transfer(struct floppy *floppy, enum floppy_work work);
void floppy_begin_format(struct floppy *floppy);
void floppy_begin_format_write(struct floppy *floppy);
void floppy_read_id(struct floppy *floppy);
void floppy_serve_dma(void *opaque);
void floppy_request_done(void *opaque, void *tag, bool ok, const uint8_t *data, size_t length);
void floppy_start_request(struct floppy *floppy);
void floppy_update_request(struct floppy *floppy); /* for DMA, after its gate has changed */
/* The guest reads or writes the data port in the middle of a transfer. */
uint8_t floppy_data_read(struct floppy *floppy);
void floppy_data_write(struct floppy *floppy, uint8_t byte);
/* Ends the transfer with an error. */
void floppy_fail(struct floppy *floppy, uint8_t st1, uint8_t st2);
bool floppy_uses_dma(const struct floppy *floppy);
