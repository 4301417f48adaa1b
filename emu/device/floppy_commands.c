#include "emu/device/floppy_internal.h"
#include <string.h>

#define VERSION_82078 0x90
#define PART_82078    0x41 /* stepping and kind of the 44-pin part */
#define MAX_STEPS     79   /* that RECALIBRATE makes */

void floppy_give_result(struct floppy *floppy, unsigned length, bool interrupt)
{
    floppy->phase = FLOPPY_RESULT;
    floppy->result_length = (uint8_t)length;
    floppy->result_position = 0;
    if (interrupt)
        floppy_set_interrupt(floppy, true);
}

static void give_byte(struct floppy *floppy, uint8_t byte)
{
    floppy->result[0] = byte;
    floppy_give_result(floppy, 1, false);
}

static void invalid(struct floppy *floppy)
{
    give_byte(floppy, ST0_INVALID);
}

static void read_data(struct floppy *floppy)
{
    floppy_begin_transfer(floppy, WORK_READ);
}

static void write_data(struct floppy *floppy)
{
    floppy_begin_transfer(floppy, WORK_WRITE);
}

static void verify(struct floppy *floppy)
{
    floppy_begin_transfer(floppy, WORK_VERIFY);
}

static void scan(struct floppy *floppy)
{
    floppy->scan = floppy->command[0] & 0x1f;
    floppy->scan_step = floppy->command[8];
    floppy_begin_transfer(floppy, WORK_SCAN);
}

static void version(struct floppy *floppy)
{
    give_byte(floppy, VERSION_82078);
}

static void part_id(struct floppy *floppy)
{
    give_byte(floppy, PART_82078);
}

/* ---- heads ------------------------------------------------------------------------------- */

void floppy_step(struct floppy_drive *drive, unsigned track)
{
    if (drive->track == track)
        return;
    drive->track = (uint8_t)track;
    if (drive->format)
        drive->changed = false;
}

static void end_seek(struct floppy *floppy, unsigned number, uint8_t status)
{
    floppy->sense_mask |= (uint8_t)(1u << number);
    floppy->sense[number] = (uint8_t)(status | number);
    floppy->sense_reset = false;
    floppy_set_interrupt(floppy, true);
}

static void recalibrate(struct floppy *floppy)
{
    unsigned number = floppy->command[1] & 3;
    struct floppy_drive *drive = floppy_drive_at(floppy, number);
    bool found = drive && drive->track <= MAX_STEPS;
    if (drive)
        floppy_step(drive, found ? 0 : drive->track - MAX_STEPS);
    floppy->present_track[number] = 0;
    end_seek(floppy, number, found ? ST0_SEEK_END : ST0_SEEK_END | ST0_ABNORMAL | ST0_EQUIPMENT);
}

static void seek_to(struct floppy *floppy, unsigned track)
{
    unsigned number = floppy->command[1] & 3;
    struct floppy_drive *drive = floppy_drive_at(floppy, number);
    floppy->present_track[number] = (uint8_t)track;
    if (drive)
        floppy_step(drive, track);
    end_seek(floppy, number, ST0_SEEK_END | (floppy->command[1] & 4));
}

static void seek(struct floppy *floppy)
{
    seek_to(floppy, floppy->command[2]);
}

static void relative_seek(struct floppy *floppy)
{
    unsigned now = floppy->present_track[floppy->command[1] & 3], steps = floppy->command[2];
    bool inward = floppy->command[0] & 0x40;
    seek_to(floppy, inward ? MIN(now + steps, 0xff) : now - MIN(steps, now));
}

/* ---- questions --------------------------------------------------------------------------- */

static void sense_interrupt(struct floppy *floppy)
{
    if (!floppy->sense_mask) {
        invalid(floppy);
        return;
    }
    unsigned number = (unsigned)__builtin_ctz(floppy->sense_mask);
    floppy->sense_mask &= (uint8_t) ~(1u << number);
    floppy->result[0] = floppy->sense[number];
    floppy->result[1] = floppy->present_track[number];
    floppy_set_interrupt(floppy, floppy->sense_mask && !floppy->sense_reset);
    floppy_give_result(floppy, 2, false);
}

static void sense_drive(struct floppy *floppy)
{
    const struct floppy_drive *drive = floppy_drive_at(floppy, floppy->command[1] & 3);
    uint8_t status = 0x28 | (floppy->command[1] & 7); /* ready, and two-sided */
    if (drive && drive->track == 0)
        status |= 0x10;
    if (drive && drive->worker && disk_worker_read_only(drive->worker))
        status |= 0x40;
    give_byte(floppy, status);
}

static void dump_registers(struct floppy *floppy)
{
    uint8_t *result = floppy->result;
    memcpy(result, floppy->present_track, 4);
    result[4] = floppy->step_rate;
    result[5] = floppy->head_load;
    result[6] = floppy->last_count;
    result[7] = (uint8_t)(floppy->locked << 7 | (floppy->perpendicular & 0x3f));
    result[8] = floppy->config;
    result[9] = floppy->precompensation_track;
    floppy_give_result(floppy, 10, false);
}

/* What RESTORE takes, so that software can have the controller as it was. */
static void save(struct floppy *floppy)
{
    uint8_t *result = floppy->result;
    memset(result, 0, sizeof(floppy->result));
    result[0] = floppy->rate & 3;
    memcpy(result + 2, floppy->present_track, 4);
    result[6] = floppy->step_rate;
    result[7] = floppy->head_load;
    result[8] = floppy->last_count;
    result[9] = (uint8_t)(floppy->locked << 7 | (floppy->perpendicular & 0x3f));
    result[10] = floppy->config;
    result[11] = floppy->precompensation_track;
    floppy_give_result(floppy, sizeof(floppy->result), false);
}

/* ---- settings ---------------------------------------------------------------------------- */

static void specify(struct floppy *floppy)
{
    floppy->step_rate = floppy->command[1];
    floppy->head_load = floppy->command[2];
}

static void configure(struct floppy *floppy)
{
    floppy->config = floppy->command[2] & 0x7f;
    floppy->precompensation_track = floppy->command[3];
}

/* The drives' bits change only where OW is set. */
static void set_perpendicular(struct floppy *floppy)
{
    uint8_t mask = floppy->command[1] & 0x80 ? 0x3f : 0x03;
    floppy->perpendicular =
        (uint8_t)((floppy->perpendicular & ~mask) | (floppy->command[1] & mask));
}

static void lock(struct floppy *floppy)
{
    floppy->locked = floppy->command[0] & 0x80;
    give_byte(floppy, floppy->locked ? 0x10 : 0);
}

static void restore(struct floppy *floppy)
{
    const uint8_t *saved = floppy->command + 1;
    floppy->rate = saved[0] & 3;
    memcpy(floppy->present_track, saved + 2, 4);
    floppy->step_rate = saved[6];
    floppy->head_load = saved[7];
    floppy->last_count = saved[8];
    floppy->locked = saved[9] & 0x80;
    floppy->perpendicular = saved[9] & 0x3f;
    floppy->config = saved[10] & 0x7f;
    floppy->precompensation_track = saved[11];
}

static void power_down(struct floppy *floppy)
{
    give_byte(floppy, floppy->command[1]);
}

static void option(struct floppy *floppy)
{
    give_byte(floppy, floppy->command[1]);
}

/* A byte for each drive, up to four, and one whose bit 7 ends them. */
static void drive_specification(struct floppy *floppy)
{
    uint8_t last = floppy->command[floppy->command_length - 1u];
    if (last & 0x40) /* no result is wanted */
        return;
    memset(floppy->result, 0, 4);
    floppy_give_result(floppy, 4, false);
}

/* ---- the table --------------------------------------------------------------------------- */

static const struct {
    uint8_t code, mask;
    uint8_t length; /* bytes, the code's included */
    void (*run)(struct floppy *floppy);
} commands[] = {
    {0x06, 0x1f, 9, read_data},
    {0x0c, 0x1f, 9, read_data},
    {0x05, 0x3f, 9, write_data},
    {0x09, 0x3f, 9, write_data},
    {0x02, 0x9f, 9, read_data},
    {0x16, 0x1f, 9, verify},
    {SCAN_EQUAL, 0x1f, 9, scan},
    {SCAN_LOW, 0x1f, 9, scan},
    {SCAN_HIGH, 0x1f, 9, scan},
    {0x10, 0xff, 1, version},
    {0x0d, 0xbf, 6, floppy_begin_format},
    {0xad, 0xbf, 6, floppy_begin_format_write},
    {0x2e, 0xff, 1, save},
    {0x4e, 0xff, 17, restore},
    {0x07, 0xff, 2, recalibrate},
    {0x08, 0xff, 1, sense_interrupt},
    {0x03, 0xff, 3, specify},
    {0x04, 0xff, 2, sense_drive},
    {0x0f, 0xff, 3, seek},
    {0x13, 0xff, 4, configure},
    {0x8f, 0xbf, 3, relative_seek},
    {0x0e, 0xff, 1, dump_registers},
    {0x0a, 0xbf, 2, floppy_read_id},
    {0x12, 0xff, 2, set_perpendicular},
    {0x14, 0x7f, 1, lock},
    {0x18, 0xff, 1, part_id},
    {0x17, 0xff, 2, power_down},
    {0x33, 0xff, 2, option},
    {0x8e, 0xff, 2, drive_specification},
};

void floppy_command_byte(struct floppy *floppy, uint8_t byte)
{
    /* The last byte of RESTORE, the longest, means nothing. */
    if (floppy->command_length < sizeof(floppy->command))
        floppy->command[floppy->command_length] = byte;
    floppy->command_length++;
    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++) {
        if ((floppy->command[0] & commands[i].mask) != commands[i].code)
            continue;
        bool more = floppy->command_length < commands[i].length;
        /* Each drive's byte of DRIVE SPECIFICATION may be followed by another. */
        if (commands[i].run == drive_specification && !(byte & 0x80))
            more = floppy->command_length < 6;
        if (more)
            return;
        commands[i].run(floppy);
        floppy->command_length = 0;
        return;
    }
    invalid(floppy);
    floppy->command_length = 0;
}
