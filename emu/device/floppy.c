#include "emu/device/floppy.h"

#include "emu/core/port.h"
#include "emu/device/floppy_internal.h"
#include "emu/device/i8237.h"
#include <gio/gio.h>
#include <string.h>

#define DMA_CHANNEL 2

#define IN(type) (uint8_t)(1u << (type))

static const struct floppy_format formats[] = {
    {160, 40, 1, 8, 2, IN(FLOPPY_360K), FLOPPY_360K},
    {180, 40, 1, 9, 2, IN(FLOPPY_360K), FLOPPY_360K},
    {320, 40, 2, 8, 2, IN(FLOPPY_360K), FLOPPY_360K},
    {360, 40, 2, 9, 2, IN(FLOPPY_360K), FLOPPY_360K},
    {720, 80, 2, 9, 2, IN(FLOPPY_720K) | IN(FLOPPY_1440K) | IN(FLOPPY_2880K), FLOPPY_1440K},
    {1200, 80, 2, 15, 0, IN(FLOPPY_1200K), FLOPPY_1200K},
    {1440, 80, 2, 18, 0, IN(FLOPPY_1440K) | IN(FLOPPY_2880K), FLOPPY_1440K},
    {1680, 80, 2, 21, 0, IN(FLOPPY_1440K) | IN(FLOPPY_2880K), FLOPPY_1440K},
    {1722, 82, 2, 21, 0, IN(FLOPPY_1440K) | IN(FLOPPY_2880K), FLOPPY_1440K},
    {2880, 80, 2, 36, 3, IN(FLOPPY_2880K), FLOPPY_2880K},
};

const struct floppy_format *floppy_format_for(uint64_t bytes)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(formats); i++) {
        if (bytes == (uint64_t)formats[i].kib << 10)
            return &formats[i];
    }
    return NULL;
}

enum floppy_type floppy_type_for(uint64_t bytes)
{
    const struct floppy_format *format = floppy_format_for(bytes);
    return format ? format->type : FLOPPY_NONE;
}

bool floppy_fits(enum floppy_type type, uint64_t bytes)
{
    const struct floppy_format *format = floppy_format_for(bytes);
    return format && format->in_types & 1u << type;
}

const char *floppy_type_name(enum floppy_type type)
{
    static const char *const names[FLOPPY_TYPE_COUNT] = {"none", "360K",  "1.2M",
                                                         "720K", "1.44M", "2.88M"};
    return type < FLOPPY_TYPE_COUNT ? names[type] : "unknown";
}

/* ---- the interrupt, reset ---------------------------------------------------------------- */

static void update_irq(struct floppy *floppy)
{
    irq_set(floppy->output, floppy->interrupt && floppy->dor & DOR_GATE);
}

void floppy_set_interrupt(struct floppy *floppy, bool level)
{
    floppy->interrupt = level;
    update_irq(floppy);
}

struct floppy_drive *floppy_drive_at(struct floppy *floppy, unsigned number)
{
    return number < FLOPPY_DRIVES && floppy->drives[number].type ? &floppy->drives[number] : NULL;
}

/* What every reset does: LOCK keeps the FIFO's settings from those by software. */
void floppy_reset_controller(struct floppy *floppy)
{
    floppy->phase = FLOPPY_COMMAND;
    floppy->command_length = 0;
    floppy->in_flight = false;
    floppy->position = floppy->filled = 0;
    floppy->sense_mask = 0;
    memset(floppy->present_track, 0, sizeof(floppy->present_track));
    floppy->config &= CONFIG_NO_FIFO | 0x0f;
    if (!floppy->locked) {
        floppy->config = CONFIG_NO_FIFO;
        floppy->precompensation_track = 0;
    }
    floppy->perpendicular &= 0x3c; /* the drives' bits, which only a hardware reset clears */
    i8237_request(floppy->dma, DMA_CHANNEL, false);
    floppy_set_interrupt(floppy, false);
}

/* The controller looks at the drives after a reset and finds that each became ready. */
static void leave_reset(struct floppy *floppy)
{
    floppy->sense_mask = 0x0f;
    for (unsigned i = 0; i < 4; i++)
        floppy->sense[i] = (uint8_t)(0xc0 | i);
    floppy->sense_reset = true;
    floppy_set_interrupt(floppy, true);
}

/* ---- ports ------------------------------------------------------------------------------- */

static uint8_t main_status(const struct floppy *floppy)
{
    bool dma = floppy_uses_dma(floppy);
    if (!(floppy->dor & DOR_RUN))
        return 0;
    switch (floppy->phase) {
    case FLOPPY_COMMAND:
        return MSR_READY | (floppy->command_length ? MSR_BUSY : 0);
    case FLOPPY_TO_HOST:
        return MSR_BUSY | (dma ? 0 : MSR_READY | MSR_TO_HOST | MSR_NO_DMA);
    case FLOPPY_FROM_HOST:
        return MSR_BUSY | (dma ? 0 : MSR_READY | MSR_NO_DMA);
    case FLOPPY_RESULT:
        return MSR_BUSY | MSR_READY | MSR_TO_HOST;
    default:
        return MSR_BUSY;
    }
}

static uint8_t read_fifo(struct floppy *floppy)
{
    if (floppy->phase == FLOPPY_TO_HOST && !floppy_uses_dma(floppy))
        return floppy_data_read(floppy);
    if (floppy->phase != FLOPPY_RESULT)
        return 0;
    uint8_t byte = floppy->result[floppy->result_position++];
    floppy_set_interrupt(floppy, false);
    if (floppy->result_position == floppy->result_length)
        floppy->phase = FLOPPY_COMMAND;
    return byte;
}

static void write_fifo(struct floppy *floppy, uint8_t byte)
{
    if (!(floppy->dor & DOR_RUN))
        return;
    if (floppy->phase == FLOPPY_FROM_HOST && !floppy_uses_dma(floppy))
        floppy_data_write(floppy, byte);
    else if (floppy->phase == FLOPPY_COMMAND)
        floppy_command_byte(floppy, byte);
}

static void write_dor(struct floppy *floppy, uint8_t value)
{
    uint8_t old = floppy->dor;
    floppy->dor = value;
    if (old & DOR_RUN && !(value & DOR_RUN))
        floppy_reset_controller(floppy);
    else if (!(old & DOR_RUN) && value & DOR_RUN)
        leave_reset(floppy);
    update_irq(floppy);
    floppy_update_request(floppy);
}

static void write_rate_select(struct floppy *floppy, uint8_t value)
{
    floppy->rate = value & 3;
    if (value & 0x80 && floppy->dor & DOR_RUN) {
        floppy_reset_controller(floppy);
        leave_reset(floppy);
    }
}

static uint32_t port_read_low(void *opaque, uint16_t offset, unsigned size)
{
    struct floppy *floppy = opaque;
    switch (offset) {
    case 2:
        return floppy->dor;
    case 3:
        return floppy->tape;
    case 4:
        return main_status(floppy);
    case 5:
        return read_fifo(floppy);
    default: /* the PS/2's status registers are not there in an AT */
        return 0xff;
    }
}

static void port_write_low(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    struct floppy *floppy = opaque;
    switch (offset) {
    case 2:
        write_dor(floppy, (uint8_t)value);
        break;
    case 3:
        floppy->tape = value & 3;
        break;
    case 4:
        write_rate_select(floppy, (uint8_t)value);
        break;
    case 5:
        write_fifo(floppy, (uint8_t)value);
        break;
    default:
        break;
    }
}

static uint32_t input_read(void *opaque, uint16_t offset, unsigned size)
{
    struct floppy *floppy = opaque;
    const struct floppy_drive *drive = floppy_drive_at(floppy, floppy->dor & DOR_DRIVE);
    return drive && drive->changed ? 0x80 : 0;
}

static void control_write(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    ((struct floppy *)opaque)->rate = value & 3;
}

static const struct port_ops low_ops = {port_read_low, port_write_low, 1};
static const struct port_ops input_ops = {input_read, control_write, 1};

/* ---- drives ------------------------------------------------------------------------------ */

static void insert(struct floppy_drive *drive, struct disk_worker *worker)
{
    drive->worker = worker;
    drive->format = worker ? floppy_format_for(disk_worker_size(worker)) : NULL;
    drive->changed = true;
    drive->next_id = 1;
    if (worker)
        disk_worker_connect(worker, floppy_request_done, drive);
}

void floppy_add_drive(struct device *device, unsigned drive, enum floppy_type type,
                      struct disk_worker *worker)
{
    struct floppy *floppy = (struct floppy *)device;
    floppy->drives[drive].type = (uint8_t)type;
    floppy->drives[drive].floppy = floppy;
    insert(&floppy->drives[drive], worker);
}

void floppy_change_medium(struct device *device, unsigned drive, struct disk_worker *worker)
{
    struct floppy *floppy = (struct floppy *)device;
    bool moving = floppy->phase != FLOPPY_COMMAND && floppy->phase != FLOPPY_RESULT;
    insert(&floppy->drives[drive], worker);
    if (moving && floppy->drive == drive)
        floppy_fail(floppy, ST1_NO_MARK, 0);
}

enum floppy_type floppy_drive_type(const struct device *device, unsigned drive)
{
    return ((const struct floppy *)device)->drives[drive].type;
}

/* ---- the device -------------------------------------------------------------------------- */

void floppy_connect(struct device *device, struct irq *output, struct device *dma)
{
    struct floppy *floppy = (struct floppy *)device;
    floppy->output = output;
    floppy->dma = dma;
    i8237_attach(dma, DMA_CHANNEL, floppy_serve_dma, floppy);
}

static bool realize(struct device *device, GError **error)
{
    struct floppy *floppy = (struct floppy *)device;
    floppy->buffer = g_malloc0(FLOPPY_TRACK);
    port_add(device->board->ports, "floppy", 0x3f0, 6, &low_ops, floppy);
    port_add(device->board->ports, "floppy-input", 0x3f7, 1, &input_ops, floppy);
    return true;
}

static void reset(struct device *device)
{
    struct floppy *floppy = (struct floppy *)device;
    floppy->dor = 0;
    floppy->rate = 2;
    floppy->tape = 0;
    floppy->locked = false;
    floppy_reset_controller(floppy);
    floppy->step_rate = floppy->head_load = 0;
    floppy->perpendicular = 0;
    floppy->last_count = 0;
}

static void finish(struct device *device)
{
    g_clear_pointer(&((struct floppy *)device)->buffer, g_free);
}

static const struct state_field drive_state[] = {
    STATE_UINT(struct floppy_drive, track),
    STATE_UINT(struct floppy_drive, changed),
    STATE_UINT(struct floppy_drive, next_id),
    STATE_END,
};

static const struct state_field state[] = {
    STATE_STRUCTS(struct floppy, drives, drive_state),
    STATE_UINT(struct floppy, dor),
    STATE_UINT(struct floppy, rate),
    STATE_UINT(struct floppy, tape),
    STATE_UINT(struct floppy, interrupt),
    STATE_UINT(struct floppy, phase),
    STATE_BYTES(struct floppy, command),
    STATE_UINT(struct floppy, command_length),
    STATE_BYTES(struct floppy, result),
    STATE_UINT(struct floppy, result_length),
    STATE_UINT(struct floppy, result_position),
    STATE_UINT(struct floppy, sense_mask),
    STATE_BYTES(struct floppy, sense),
    STATE_BYTES(struct floppy, present_track),
    STATE_UINT(struct floppy, sense_reset),
    STATE_UINT(struct floppy, step_rate),
    STATE_UINT(struct floppy, head_load),
    STATE_UINT(struct floppy, config),
    STATE_UINT(struct floppy, precompensation_track),
    STATE_UINT(struct floppy, perpendicular),
    STATE_UINT(struct floppy, locked),
    STATE_UINT(struct floppy, last_count),
    STATE_UINT(struct floppy, work),
    STATE_UINT(struct floppy, drive),
    STATE_UINT(struct floppy, head),
    STATE_UINT(struct floppy, cylinder),
    STATE_UINT(struct floppy, side),
    STATE_UINT(struct floppy, sector),
    STATE_UINT(struct floppy, size_code),
    STATE_UINT(struct floppy, end_sector),
    STATE_UINT(struct floppy, multi_track),
    STATE_UINT(struct floppy, whole_track),
    STATE_UINT(struct floppy, terminal),
    STATE_UINT(struct floppy, extra_st1),
    STATE_UINT(struct floppy, extra_st2),
    STATE_UINT(struct floppy, verify_left),
    STATE_UINT(struct floppy, format_left),
    STATE_UINT(struct floppy, scan),
    STATE_UINT(struct floppy, scan_step),
    STATE_UINT(struct floppy, filler),
    STATE_UINT(struct floppy, position),
    STATE_UINT(struct floppy, filled),
    {"buffer", STATE_KIND_BUFFER, offsetof(struct floppy, buffer), 1, FLOPPY_TRACK, NULL},
    STATE_END,
};

static bool is_sane(struct floppy *floppy)
{
    const struct floppy_drive *drive = floppy_drive_at(floppy, floppy->drive);
    if (floppy->phase >= FLOPPY_PHASE_COUNT || floppy->command_length > sizeof(floppy->command))
        return false;
    if (floppy->phase == FLOPPY_RESULT)
        return floppy->result_length <= sizeof(floppy->result) &&
               floppy->result_position < floppy->result_length;
    if (floppy->phase == FLOPPY_COMMAND)
        return true;
    return floppy->work < WORK_COUNT && floppy->filled <= FLOPPY_TRACK && floppy->filled > 0 &&
           floppy->position <= floppy->filled && drive && drive->format &&
           drive->track < drive->format->tracks && floppy->head < drive->format->heads &&
           floppy->sector >= 1 && floppy->sector <= drive->format->sectors;
}

static bool loaded(struct device *device, GError **error)
{
    struct floppy *floppy = (struct floppy *)device;
    if (!is_sane(floppy)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                    "saved state: a floppy command under way makes no sense for this machine's "
                    "disks");
        floppy->phase = FLOPPY_COMMAND;
        floppy->command_length = 0;
        return false;
    }
    floppy->in_flight = false;
    if (floppy->phase == FLOPPY_FETCH || floppy->phase == FLOPPY_STORE)
        floppy_start_request(floppy);
    return true;
}

const struct device_ops floppy_ops = {.name = "floppy",
                                      .size = sizeof(struct floppy),
                                      .state_version = 1,
                                      .state = state,
                                      .realize = realize,
                                      .reset = reset,
                                      .loaded = loaded,
                                      .finish = finish};
