/*
 * Data of floppy commands. Sectors move in chunks: what is left of one side of a track.
 *
 *      READ     FETCH -> TO_HOST -> the next side's FETCH, or the result
 *      WRITE    FROM_HOST -> STORE -> the next side's FROM_HOST, or the result
 *      VERIFY   FETCH -> the next side's, or the result
 *      FORMAT   FROM_HOST (the sectors' names) -> STORE (a track of the filler) -> the result
 *      FORMAT AND WRITE   FROM_HOST (a sector's name and data) -> STORE -> the next sector's
 *      SCAN     FETCH (a sector) -> FROM_HOST -> the next sector's FETCH, or the result
 */
#include "emu/device/floppy_internal.h"
#include "emu/device/i8237.h"
#include <string.h>

#define DMA_CHANNEL 2

bool floppy_uses_dma(const struct floppy *floppy)
{
    return !(floppy->head_load & 1);
}

static struct floppy_drive *current_drive(struct floppy *floppy)
{
    return &floppy->drives[floppy->drive];
}

/* ---- ends -------------------------------------------------------------------------------- */

/* The sector after the last one that was moved (82078, table "result phase"). */
static void advance_name(struct floppy *floppy)
{
    if (floppy->sector <= floppy->end_sector)
        return;
    floppy->sector = 1;
    if (floppy->multi_track && floppy->side == 0) {
        floppy->side = 1;
    } else {
        floppy->side = floppy->multi_track ? 0 : floppy->side;
        floppy->cylinder++;
    }
}

static void end_transfer(struct floppy *floppy, bool ok, uint8_t st1, uint8_t st2)
{
    uint8_t *result = floppy->result;
    i8237_request(floppy->dma, DMA_CHANNEL, false);
    floppy->in_flight = false;
    floppy->position = floppy->filled = 0;
    result[0] = (uint8_t)((ok ? 0 : ST0_ABNORMAL) | floppy->head << 2 | floppy->drive);
    result[1] = st1;
    result[2] = st2;
    result[3] = floppy->cylinder;
    result[4] = floppy->side;
    result[5] = floppy->sector;
    result[6] = floppy->size_code;
    floppy_give_result(floppy, 7, true);
}

void floppy_fail(struct floppy *floppy, uint8_t st1, uint8_t st2)
{
    end_transfer(floppy, false, st1, st2);
}

static void succeed(struct floppy *floppy)
{
    advance_name(floppy);
    end_transfer(floppy, true, floppy->extra_st1, floppy->extra_st2);
}

/* ---- chunks ------------------------------------------------------------------------------ */

/* Sectors from the next one to the end of the command on this side, as far as the disk has any. */
static unsigned sectors_here(struct floppy *floppy)
{
    unsigned last = MIN(floppy->end_sector, current_drive(floppy)->format->sectors);
    unsigned count = floppy->sector <= last ? last - floppy->sector + 1u : 0;
    return floppy->verify_left ? MIN(count, floppy->verify_left) : count;
}

void floppy_start_request(struct floppy *floppy)
{
    struct floppy_drive *drive = current_drive(floppy);
    const struct floppy_format *format = drive->format;
    if (disk_worker_busy(drive->worker))
        return; /* with what a reset left behind; its end starts this one */
    unsigned first = floppy->work == WORK_FORMAT ? 0 : floppy->sector - 1u;
    uint64_t offset =
        (((uint64_t)drive->track * format->heads + floppy->head) * format->sectors + first) *
        FLOPPY_SECTOR;
    floppy->in_flight = true;
    /* A saved state may say what it likes; the disk's end is the disk's end. */
    size_t length = MIN(floppy->filled, disk_worker_size(drive->worker) - offset);
    if (floppy->phase == FLOPPY_FETCH)
        disk_worker_start(drive->worker, DISK_READ, offset, NULL, length, NULL);
    else
        disk_worker_start(drive->worker, DISK_WRITE, offset, floppy->buffer, length, NULL);
}

void floppy_update_request(struct floppy *floppy)
{
    bool moves = floppy->phase == FLOPPY_TO_HOST || floppy->phase == FLOPPY_FROM_HOST;
    i8237_request(floppy->dma, DMA_CHANNEL,
                  moves && floppy_uses_dma(floppy) && floppy->dor & DOR_GATE);
}

static void request_data(struct floppy *floppy, enum floppy_phase phase)
{
    floppy->phase = phase;
    floppy->position = 0;
    if (!floppy_uses_dma(floppy))
        floppy_set_interrupt(floppy, true);
    floppy_update_request(floppy);
}

static void begin_chunk(struct floppy *floppy)
{
    unsigned sectors = sectors_here(floppy);
    if (sectors == 0) { /* the name asked for never passes by */
        floppy_fail(floppy, ST1_NO_DATA, 0);
        return;
    }
    floppy->filled = floppy->work == WORK_SCAN ? FLOPPY_SECTOR : sectors * FLOPPY_SECTOR;
    if (floppy->work == WORK_WRITE) {
        request_data(floppy, FLOPPY_FROM_HOST);
        return;
    }
    floppy->phase = FLOPPY_FETCH;
    floppy_start_request(floppy);
}

/* All of a chunk has been moved: where the command goes on, if it does. */
static void next_chunk(struct floppy *floppy)
{
    const struct floppy_drive *drive = current_drive(floppy);
    if (floppy->terminal) {
        succeed(floppy);
    } else if (floppy->sector <= floppy->end_sector) {
        begin_chunk(floppy); /* which fails: the track has no such sector */
    } else if (floppy->multi_track && floppy->head == 0 && drive->format->heads > 1) {
        floppy->head = 1;
        floppy->side = 1;
        floppy->sector = 1;
        begin_chunk(floppy);
    } else if ((floppy->work == WORK_VERIFY && !floppy->verify_left) || floppy->whole_track) {
        succeed(floppy);
    } else {
        advance_name(floppy);
        end_transfer(floppy, false, ST1_END, 0); /* the guest wanted more than there was */
    }
}

/* ---- SCAN -------------------------------------------------------------------------------- */

/* The disk's sector, which lies behind the guest's bytes in the buffer, against those: a byte of
 * all ones on either side is like any other (82077AA, "scan commands"). */
static int compare_scanned(const struct floppy *floppy)
{
    const uint8_t *host = floppy->buffer, *disk = host + FLOPPY_SECTOR;
    for (unsigned i = 0; i < MIN(floppy->position, FLOPPY_SECTOR); i++) {
        if (host[i] != disk[i] && host[i] != 0xff && disk[i] != 0xff)
            return disk[i] < host[i] ? -1 : 1;
    }
    return 0;
}

static void scanned(struct floppy *floppy)
{
    int order = compare_scanned(floppy);
    bool met = order == 0 || (order < 0 && floppy->scan == SCAN_LOW) ||
               (order > 0 && floppy->scan == SCAN_HIGH);
    floppy->extra_st2 = order == 0 ? ST2_EQUAL : met ? 0 : ST2_NOT_SATISFIED;
    if (met) {
        end_transfer(floppy, true, 0, floppy->extra_st2); /* of this very sector */
        return;
    }
    unsigned next = floppy->sector + MAX(floppy->scan_step, 1u);
    floppy->sector = (uint8_t)MIN(next, 0xff);
    bool other_side = floppy->multi_track && floppy->head == 0;
    if (floppy->terminal || (floppy->sector > floppy->end_sector && !other_side))
        succeed(floppy);
    else
        next_chunk(floppy);
}

/* ---- FORMAT AND WRITE -------------------------------------------------------------------- */

static void next_formatted(struct floppy *floppy)
{
    if (floppy->format_left == 0 || floppy->terminal) {
        end_transfer(floppy, true, 0, 0);
        return;
    }
    floppy->filled = 4 + FLOPPY_SECTOR;
    request_data(floppy, FLOPPY_FROM_HOST);
}

/* The bytes 0 to 3 name the sector that the others are of. */
static void formatted(struct floppy *floppy)
{
    const struct floppy_drive *drive = current_drive(floppy);
    const uint8_t *name = floppy->buffer;
    if (name[0] != drive->track || name[1] != floppy->head || name[2] < 1 ||
        name[2] > drive->format->sectors || name[3] != FLOPPY_SECTOR_CODE) {
        floppy_fail(floppy, ST1_NO_DATA, 0); /* an image holds no others */
        return;
    }
    floppy->format_left--;
    floppy->sector = name[2];
    memset(floppy->buffer + floppy->position, 0, floppy->filled - floppy->position);
    memmove(floppy->buffer, floppy->buffer + 4, FLOPPY_SECTOR);
    floppy->filled = FLOPPY_SECTOR;
    floppy->phase = FLOPPY_STORE;
    floppy_start_request(floppy);
}

/* ---- chunks' ends ------------------------------------------------------------------------ */

/* The guest has taken or given `position` bytes, and the chunk is full or it wants no more. */
static void chunk_done(struct floppy *floppy)
{
    i8237_request(floppy->dma, DMA_CHANNEL, false);
    floppy_set_interrupt(floppy, false);
    unsigned sectors = (floppy->position + FLOPPY_SECTOR - 1) / FLOPPY_SECTOR;
    if (floppy->phase == FLOPPY_TO_HOST) {
        floppy->sector = (uint8_t)(floppy->sector + sectors);
        next_chunk(floppy);
        return;
    }
    if (floppy->work == WORK_SCAN) {
        scanned(floppy);
        return;
    }
    if (floppy->work == WORK_FORMAT_WRITE) {
        formatted(floppy);
        return;
    }
    if (floppy->work == WORK_FORMAT) {
        const struct floppy_drive *drive = current_drive(floppy);
        floppy->filled = drive->format->sectors * FLOPPY_SECTOR;
        memset(floppy->buffer, floppy->filler, floppy->filled);
    } else { /* the rest of a sector that ends early is zeroes */
        floppy->filled = sectors * FLOPPY_SECTOR;
        memset(floppy->buffer + floppy->position, 0, floppy->filled - floppy->position);
    }
    floppy->phase = FLOPPY_STORE;
    floppy_start_request(floppy);
}

void floppy_request_done(void *opaque, void *tag, bool ok, const uint8_t *data, size_t length)
{
    struct floppy_drive *drive = opaque;
    struct floppy *floppy = drive->floppy;
    bool waits = floppy->phase == FLOPPY_FETCH || floppy->phase == FLOPPY_STORE;
    if (!waits || current_drive(floppy) != drive)
        return;
    if (!floppy->in_flight) { /* that was of a command which a reset ended */
        floppy_start_request(floppy);
        return;
    }
    floppy->in_flight = false;
    if (!ok) {
        floppy_fail(floppy, ST1_DATA_ERROR, ST2_DATA_ERROR);
    } else if (floppy->phase == FLOPPY_STORE && floppy->work == WORK_FORMAT_WRITE) {
        next_formatted(floppy);
    } else if (floppy->phase == FLOPPY_STORE) {
        if (floppy->work != WORK_FORMAT)
            floppy->sector = (uint8_t)(floppy->sector + floppy->filled / FLOPPY_SECTOR);
        if (floppy->work == WORK_FORMAT)
            end_transfer(floppy, true, 0, 0);
        else
            next_chunk(floppy);
    } else if (floppy->work == WORK_VERIFY) {
        unsigned sectors = floppy->filled / FLOPPY_SECTOR;
        floppy->sector = (uint8_t)(floppy->sector + sectors);
        if (floppy->verify_left) {
            floppy->verify_left = (uint8_t)(floppy->verify_left - sectors);
            floppy->terminal = floppy->verify_left == 0;
        }
        next_chunk(floppy);
    } else if (floppy->work == WORK_SCAN) {
        memcpy(floppy->buffer + FLOPPY_SECTOR, data, MIN(length, FLOPPY_SECTOR));
        request_data(floppy, FLOPPY_FROM_HOST);
    } else {
        memcpy(floppy->buffer, data, length);
        request_data(floppy, FLOPPY_TO_HOST);
    }
}

/* ---- to and from the guest --------------------------------------------------------------- */

void floppy_serve_dma(void *opaque)
{
    struct floppy *floppy = opaque;
    size_t left = floppy->filled - floppy->position;
    uint8_t *at = floppy->buffer + floppy->position;
    if (floppy->phase == FLOPPY_TO_HOST)
        floppy->position +=
            (uint32_t)i8237_write(floppy->dma, DMA_CHANNEL, at, left, &floppy->terminal);
    else if (floppy->phase == FLOPPY_FROM_HOST)
        floppy->position +=
            (uint32_t)i8237_read(floppy->dma, DMA_CHANNEL, at, left, &floppy->terminal);
    else
        return;
    if (floppy->terminal || floppy->position == floppy->filled)
        chunk_done(floppy);
}

uint8_t floppy_data_read(struct floppy *floppy)
{
    uint8_t byte = floppy->buffer[floppy->position++];
    if (floppy->position == floppy->filled)
        chunk_done(floppy);
    return byte;
}

void floppy_data_write(struct floppy *floppy, uint8_t byte)
{
    floppy->buffer[floppy->position++] = byte;
    if (floppy->position == floppy->filled)
        chunk_done(floppy);
}

/* ---- beginnings -------------------------------------------------------------------------- */

/* Whether the heads are over something that the controller can read; else the command has failed.
 * All of the transfer is set first: a failure tells it. */
static bool find_track(struct floppy *floppy, bool writes)
{
    struct floppy_drive *drive = floppy_drive_at(floppy, floppy->command[1] & 3);
    floppy->in_flight = floppy->terminal = false;
    floppy->extra_st1 = floppy->extra_st2 = 0;
    floppy->head = floppy->command[1] >> 2 & 1;
    floppy->drive = floppy->command[1] & 3;
    if (!drive || !drive->format || drive->format->rate != floppy->rate ||
        drive->track >= drive->format->tracks || floppy->head >= drive->format->heads) {
        floppy_fail(floppy, ST1_NO_MARK, 0);
        return false;
    }
    if (writes && disk_worker_read_only(drive->worker)) {
        floppy_fail(floppy, ST1_NOT_WRITABLE, 0);
        return false;
    }
    return true;
}

/* Whether sectors of that name are on this track. READ TRACK takes what passes by and only tells.
 */
static bool names_fit(struct floppy *floppy)
{
    const struct floppy_drive *drive = current_drive(floppy);
    bool fit = floppy->cylinder == drive->track && floppy->side == floppy->head &&
               floppy->size_code == FLOPPY_SECTOR_CODE && floppy->sector >= 1 &&
               floppy->sector <= drive->format->sectors;
    if (fit)
        return true;
    if (floppy->whole_track) {
        floppy->extra_st1 = ST1_NO_DATA;
        return true;
    }
    floppy_fail(floppy, ST1_NO_DATA, floppy->cylinder != drive->track ? ST2_WRONG_CYLINDER : 0);
    return false;
}

static void implied_seek(struct floppy *floppy)
{
    struct floppy_drive *drive = floppy_drive_at(floppy, floppy->command[1] & 3);
    if (!(floppy->config & CONFIG_IMPLIED_SEEK) || !drive)
        return;
    floppy_step(drive, floppy->command[2]);
    floppy->present_track[floppy->command[1] & 3] = floppy->command[2];
}

void floppy_begin_transfer(struct floppy *floppy, enum floppy_work work)
{
    const uint8_t *command = floppy->command;
    unsigned code = command[0] & 0x1f;
    floppy->work = work;
    floppy->cylinder = command[2];
    floppy->side = command[3];
    floppy->sector = command[4];
    floppy->size_code = command[5];
    floppy->end_sector = floppy->last_count = command[6];
    floppy->whole_track = code == 0x02;
    floppy->multi_track = command[0] & 0x80 && !floppy->whole_track;
    floppy->verify_left = work == WORK_VERIFY && command[1] & 0x80 ? command[8] : 0;
    implied_seek(floppy);
    if (!find_track(floppy, work == WORK_WRITE) || !names_fit(floppy))
        return;
    if (floppy->whole_track)
        floppy->sector = 1;
    if (code == 0x0c && command[0] & 0x20) { /* no sector has a deleted mark; all are skipped */
        floppy_fail(floppy, ST1_NO_DATA, 0);
        return;
    }
    if (code == 0x0c) { /* ends after the first that has not */
        floppy->end_sector = floppy->sector;
        floppy->multi_track = false;
        floppy->extra_st2 = ST2_MARK;
    }
    begin_chunk(floppy);
}

/* Whether a track is to be formatted as the disk in the drive is; else the command has failed. */
static bool begin_track(struct floppy *floppy, enum floppy_work work)
{
    const uint8_t *command = floppy->command;
    floppy->work = work;
    floppy->size_code = command[2];
    floppy->last_count = command[3];
    floppy->filler = command[5];
    floppy->cylinder = floppy->side = 0;
    floppy->sector = 1;
    floppy->verify_left = 0;
    floppy->whole_track = floppy->multi_track = false;
    if (!find_track(floppy, true))
        return false;
    const struct floppy_drive *drive = current_drive(floppy);
    /* An image holds the tracks that its size says, and no others. */
    if (command[2] != FLOPPY_SECTOR_CODE || command[3] != drive->format->sectors) {
        floppy_fail(floppy, ST1_NO_DATA, 0);
        return false;
    }
    return true;
}

void floppy_begin_format(struct floppy *floppy)
{
    if (!begin_track(floppy, WORK_FORMAT))
        return;
    floppy->filled = floppy->command[3] * 4u;
    request_data(floppy, FLOPPY_FROM_HOST);
}

void floppy_begin_format_write(struct floppy *floppy)
{
    if (!begin_track(floppy, WORK_FORMAT_WRITE))
        return;
    floppy->format_left = floppy->command[3];
    next_formatted(floppy);
}

void floppy_read_id(struct floppy *floppy)
{
    floppy->work = WORK_READ;
    floppy->cylinder = floppy->side = 0;
    floppy->sector = 1;
    floppy->size_code = 0;
    if (!find_track(floppy, false))
        return;
    struct floppy_drive *drive = current_drive(floppy);
    drive->next_id = drive->next_id < drive->format->sectors ? drive->next_id + 1 : 1;
    floppy->cylinder = drive->track;
    floppy->side = floppy->head;
    floppy->sector = drive->next_id;
    floppy->size_code = FLOPPY_SECTOR_CODE;
    end_transfer(floppy, true, 0, 0);
}
