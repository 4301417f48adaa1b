#include "emu/device/cmos.h"

#include "emu/core/clock.h"
#include "emu/core/port.h"
#include <time.h>

enum {
    RTC_SECONDS,
    RTC_SECONDS_ALARM,
    RTC_MINUTES,
    RTC_MINUTES_ALARM,
    RTC_HOURS,
    RTC_HOURS_ALARM,
    RTC_WEEKDAY,
    RTC_DAY,
    RTC_MONTH,
    RTC_YEAR,
    RTC_A,
    RTC_B,
    RTC_C,
    RTC_D,
    RTC_CENTURY = 0x32,
};

#define A_UIP         0x80
#define B_SET         0x80
#define B_24H         0x02
#define B_BINARY      0x04
#define FLAG_PERIODIC 0x40 /* the same bit enables in B and tells in C */
#define FLAG_ALARM    0x20
#define FLAG_UPDATE   0x10
#define FLAG_ANY      0x80
#define UPDATE_NS     INT64_C(244141)

struct cmos {
    struct device device;
    uint8_t index;
    uint8_t bytes[128];
    int64_t base;        /* unix seconds at guest time 0 */
    int64_t last_second; /* the last one for which an update was noted */
    int64_t periodic_at; /* guest ns of the next periodic flag, INT64_MAX for none */
    struct timer second_timer, periodic_timer;
    struct irq *output;
};

static int64_t now(const struct cmos *cmos)
{
    return guest_clock_now(cmos->device.board->clock);
}

static int64_t second_of(const struct cmos *cmos, int64_t time)
{
    return cmos->base + time / NS_PER_SECOND;
}

/* ---- time registers ---------------------------------------------------------------------- */

static uint8_t encode(const struct cmos *cmos, int value)
{
    unsigned number = (unsigned)value; /* a saved state may have any clock */
    return (uint8_t)(cmos->bytes[RTC_B] & B_BINARY ? number : number / 10 << 4 | number % 10);
}

static int decode(const struct cmos *cmos, uint8_t value)
{
    return cmos->bytes[RTC_B] & B_BINARY ? value : (value >> 4) * 10 + (value & 15);
}

static uint8_t encode_hours(const struct cmos *cmos, int hours)
{
    if (cmos->bytes[RTC_B] & B_24H)
        return encode(cmos, hours);
    return (uint8_t)(encode(cmos, (hours + 11) % 12 + 1) | (hours >= 12 ? 0x80 : 0));
}

static int decode_hours(const struct cmos *cmos, uint8_t value)
{
    if (cmos->bytes[RTC_B] & B_24H)
        return decode(cmos, value);
    return decode(cmos, value & 0x7f) % 12 + (value & 0x80 ? 12 : 0);
}

/* Brings the time bytes up to date, unless the guest holds them. */
static void show_time(struct cmos *cmos)
{
    if (cmos->bytes[RTC_B] & B_SET)
        return;
    time_t seconds = (time_t)second_of(cmos, now(cmos));
    struct tm tm;
    if (!gmtime_r(&seconds, &tm))
        return;
    cmos->bytes[RTC_SECONDS] = encode(cmos, tm.tm_sec);
    cmos->bytes[RTC_MINUTES] = encode(cmos, tm.tm_min);
    cmos->bytes[RTC_HOURS] = encode_hours(cmos, tm.tm_hour);
    cmos->bytes[RTC_WEEKDAY] = encode(cmos, tm.tm_wday + 1);
    cmos->bytes[RTC_DAY] = encode(cmos, tm.tm_mday);
    cmos->bytes[RTC_MONTH] = encode(cmos, tm.tm_mon + 1);
    cmos->bytes[RTC_YEAR] = encode(cmos, tm.tm_year % 100);
    cmos->bytes[RTC_CENTURY] = encode(cmos, (tm.tm_year + 1900) / 100 % 100);
}

static void take_time(struct cmos *cmos)
{
    struct tm tm = {
        .tm_sec = decode(cmos, cmos->bytes[RTC_SECONDS]),
        .tm_min = decode(cmos, cmos->bytes[RTC_MINUTES]),
        .tm_hour = decode_hours(cmos, cmos->bytes[RTC_HOURS]),
        .tm_mday = decode(cmos, cmos->bytes[RTC_DAY]),
        .tm_mon = decode(cmos, cmos->bytes[RTC_MONTH]) - 1,
        .tm_year = decode(cmos, cmos->bytes[RTC_YEAR]) +
                   decode(cmos, cmos->bytes[RTC_CENTURY]) * 100 - 1900,
    };
    cmos->base = (int64_t)timegm(&tm) - now(cmos) / NS_PER_SECOND;
    cmos->last_second = second_of(cmos, now(cmos));
}

static bool alarm_matches(const struct cmos *cmos, time_t second)
{
    struct tm tm;
    if (!gmtime_r(&second, &tm))
        return false;
    const uint8_t *bytes = cmos->bytes;
    const uint8_t any = 0xc0; /* the two high bits: every one matches */
    return ((bytes[RTC_SECONDS_ALARM] & any) == any ||
            bytes[RTC_SECONDS_ALARM] == encode(cmos, tm.tm_sec)) &&
           ((bytes[RTC_MINUTES_ALARM] & any) == any ||
            bytes[RTC_MINUTES_ALARM] == encode(cmos, tm.tm_min)) &&
           ((bytes[RTC_HOURS_ALARM] & any) == any ||
            bytes[RTC_HOURS_ALARM] == encode_hours(cmos, tm.tm_hour));
}

/* ---- flags and interrupts ---------------------------------------------------------------- */

static void raise_flags(struct cmos *cmos, uint8_t flags)
{
    cmos->bytes[RTC_C] |= flags;
    if (cmos->bytes[RTC_C] & cmos->bytes[RTC_B] & 0x70) {
        cmos->bytes[RTC_C] |= FLAG_ANY;
        irq_set(cmos->output, 1);
    }
}

/* Notes the updates since the last look. */
static void catch_up(struct cmos *cmos)
{
    int64_t second = second_of(cmos, now(cmos));
    if (cmos->bytes[RTC_B] & B_SET || second == cmos->last_second)
        return;
    uint8_t flags = FLAG_UPDATE;
    int64_t from = MAX(cmos->last_second + 1, second - 86400);
    for (int64_t s = from; s <= second && !(flags & FLAG_ALARM); s++) {
        if (alarm_matches(cmos, (time_t)s))
            flags |= FLAG_ALARM;
    }
    cmos->last_second = second;
    raise_flags(cmos, flags);
}

static int64_t periodic_ns(const struct cmos *cmos)
{
    unsigned rate = cmos->bytes[RTC_A] & 15;
    if (rate == 0)
        return 0;
    if (rate < 3)
        rate += 7;
    return (NS_PER_SECOND << (rate - 1)) / 32768;
}

static void schedule(struct cmos *cmos)
{
    uint8_t b = cmos->bytes[RTC_B];
    int64_t time = now(cmos);
    if (b & (FLAG_ALARM | FLAG_UPDATE) && !(b & B_SET))
        timer_arm(&cmos->second_timer, (time / NS_PER_SECOND + 1) * NS_PER_SECOND);
    else
        timer_cancel(&cmos->second_timer);
    int64_t period = periodic_ns(cmos);
    if (!(b & FLAG_PERIODIC) || period == 0)
        cmos->periodic_at = INT64_MAX;
    else if (cmos->periodic_at == INT64_MAX || cmos->periodic_at <= time)
        cmos->periodic_at = (time / period + 1) * period;
    timer_arm(&cmos->periodic_timer, cmos->periodic_at);
}

static void second_fired(void *opaque)
{
    catch_up(opaque);
    schedule(opaque);
}

static void periodic_fired(void *opaque)
{
    raise_flags(opaque, FLAG_PERIODIC);
    schedule(opaque);
}

/* ---- ports ------------------------------------------------------------------------------- */

static bool is_time(unsigned index)
{
    return index <= RTC_YEAR ? !(index & 1) || index > RTC_HOURS_ALARM : index == RTC_CENTURY;
}

static uint32_t read_register(struct cmos *cmos)
{
    switch (cmos->index) {
    case RTC_A: {
        bool updating = now(cmos) % NS_PER_SECOND >= NS_PER_SECOND - UPDATE_NS;
        return cmos->bytes[RTC_A] | (updating && !(cmos->bytes[RTC_B] & B_SET) ? A_UIP : 0);
    }
    case RTC_C: {
        catch_up(cmos);
        uint8_t flags = cmos->bytes[RTC_C];
        cmos->bytes[RTC_C] = 0;
        irq_set(cmos->output, 0);
        return flags;
    }
    case RTC_D:
        return 0x80; /* the battery is good */
    default:
        if (is_time(cmos->index))
            show_time(cmos);
        return cmos->bytes[cmos->index];
    }
}

static void write_b(struct cmos *cmos, uint8_t value)
{
    uint8_t old = cmos->bytes[RTC_B];
    catch_up(cmos);
    if (!(old & B_SET) && value & B_SET) {
        show_time(cmos);
        value &= (uint8_t)~FLAG_UPDATE;
    }
    cmos->bytes[RTC_B] = value;
    if (old & B_SET && !(value & B_SET))
        take_time(cmos);
    raise_flags(cmos, 0);
    schedule(cmos);
}

static void write_register(struct cmos *cmos, uint8_t value)
{
    switch (cmos->index) {
    case RTC_A:
        cmos->bytes[RTC_A] = value & 0x7f;
        schedule(cmos);
        break;
    case RTC_B:
        write_b(cmos, value);
        break;
    case RTC_C:
    case RTC_D:
        break;
    default:
        if (is_time(cmos->index))
            show_time(cmos);
        cmos->bytes[cmos->index] = value;
        if (is_time(cmos->index) && !(cmos->bytes[RTC_B] & B_SET))
            take_time(cmos);
        break;
    }
}

static uint32_t cmos_read(void *opaque, uint16_t offset, unsigned size)
{
    return offset == 0 ? 0xff : read_register(opaque);
}

static void cmos_write(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    struct cmos *cmos = opaque;
    if (offset == 0)
        cmos->index = value & 0x7f;
    else
        write_register(cmos, (uint8_t)value);
}

static const struct port_ops ports = {cmos_read, cmos_write, 1};

/* ---- the device -------------------------------------------------------------------------- */

void cmos_connect(struct device *device, struct irq *output)
{
    ((struct cmos *)device)->output = output;
}

void cmos_set(struct device *device, unsigned index, uint8_t value)
{
    if (index > RTC_D && index < 128)
        ((struct cmos *)device)->bytes[index] = value;
}

void cmos_set_time(struct device *device, int64_t unix_seconds)
{
    struct cmos *cmos = (struct cmos *)device;
    cmos->base = unix_seconds;
    cmos->last_second = unix_seconds;
}

static bool realize(struct device *device, GError **error)
{
    struct cmos *cmos = (struct cmos *)device;
    timer_init(&cmos->second_timer, device->board->clock, second_fired, cmos);
    timer_init(&cmos->periodic_timer, device->board->clock, periodic_fired, cmos);
    cmos->bytes[RTC_A] = 0x26;
    cmos->bytes[RTC_B] = B_24H;
    cmos->periodic_at = INT64_MAX;
    port_add(device->board->ports, "cmos", 0x70, 2, &ports, cmos);
    return true;
}

/* RESET# leaves the clock running and its memory alone; only the interrupts go. */
static void reset(struct device *device)
{
    struct cmos *cmos = (struct cmos *)device;
    cmos->index = 0;
    cmos->bytes[RTC_B] &= (uint8_t) ~(FLAG_PERIODIC | FLAG_ALARM | FLAG_UPDATE | 0x08);
    cmos->bytes[RTC_C] = 0;
    irq_set(cmos->output, 0);
    schedule(cmos);
}

static bool loaded(struct device *device, GError **error)
{
    struct cmos *cmos = (struct cmos *)device;
    cmos->index &= 0x7f;
    schedule(cmos);
    return true;
}

static void finish(struct device *device)
{
    struct cmos *cmos = (struct cmos *)device;
    timer_cancel(&cmos->second_timer);
    timer_cancel(&cmos->periodic_timer);
}

static const struct state_field state[] = {
    STATE_UINT(struct cmos, index),       STATE_BYTES(struct cmos, bytes),
    STATE_UINT(struct cmos, base),        STATE_UINT(struct cmos, last_second),
    STATE_UINT(struct cmos, periodic_at), STATE_END,
};

const struct device_ops cmos_ops = {.name = "cmos",
                                    .size = sizeof(struct cmos),
                                    .state_version = 1,
                                    .state = state,
                                    .realize = realize,
                                    .reset = reset,
                                    .loaded = loaded,
                                    .finish = finish};
