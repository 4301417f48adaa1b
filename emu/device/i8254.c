#include "emu/device/i8254.h"

#include "emu/core/chips.h"
#include "emu/core/clock.h"
#include "emu/core/port.h"

#define INPUT_HZ 1193182

enum access { ACCESS_LOW = 1, ACCESS_HIGH = 2, ACCESS_BOTH = 3 };

struct counter {
    int64_t start;      /* guest ns at which counting from `reload` began */
    uint32_t reload;    /* 1-65536 */
    uint16_t latch;     /* the latched count */
    uint8_t latch_left; /* bytes of it not yet read */
    uint8_t status;     /* the latched status */
    bool status_latched;
    uint8_t mode, access;
    bool bcd, gate;
    bool written;               /* a count was loaded since the mode was set */
    bool read_high, write_high; /* the next byte of a two-byte access */
    uint8_t write_low;
};

struct pit {
    struct device device;
    struct counter counters[3];
    uint8_t speaker;  /* bits 0-1 of port 0x61 */
    int64_t deadline; /* guest ns of counter 0's next change, INT64_MAX for none */
    struct timer timer;
    struct irq *output;
    struct irq replaced_input; /* up while the HPET has counter 0's interrupt */
    bool replaced;
};

static int64_t now(const struct pit *pit)
{
    return guest_clock_now(pit->device.board->clock);
}

static int64_t ticks_since(const struct counter *counter, int64_t time)
{
    int64_t ns = time - counter->start;
    return ns <= 0 ? 0 : (int64_t)((__int128)ns * INPUT_HZ / NS_PER_SECOND);
}

static int64_t time_of_tick(const struct counter *counter, int64_t tick)
{
    return counter->start + (int64_t)(((__int128)tick * NS_PER_SECOND + INPUT_HZ - 1) / INPUT_HZ);
}

static bool is_periodic(const struct counter *counter)
{
    return counter->mode == 2 || counter->mode == 3;
}

/* The output after `tick` clocks (Intel 231164, mode definitions). */
static bool output_at(const struct counter *counter, int64_t tick)
{
    int64_t reload = counter->reload;
    if (!counter->written)
        return counter->mode != 0;
    switch (counter->mode) {
    case 0:
    case 1:
        return tick >= reload;
    case 2:
        return !counter->gate || tick % reload != reload - 1;
    case 3:
        return !counter->gate || tick % reload < (reload + 1) / 2;
    default:
        return tick != reload;
    }
}

/* The first tick after `tick` at which the output may change, or -1. */
static int64_t next_change(const struct counter *counter, int64_t tick)
{
    int64_t reload = counter->reload, base = tick - tick % reload;
    if (!counter->written || (!counter->gate && counter->mode != 1 && counter->mode != 5))
        return -1;
    switch (counter->mode) {
    case 0:
    case 1:
        return tick < reload ? reload : -1;
    case 2: /* the one-clock low pulse is skipped: only the rising edge is of use */
        return base + reload;
    case 3:
        return tick - base < (reload + 1) / 2 ? base + (reload + 1) / 2 : base + reload;
    default:
        return tick < reload ? reload : tick == reload ? reload + 1 : -1;
    }
}

/* Nobody sees counter 0's output while the HPET has its interrupt: no reason to wake the host. */
static void arm(struct pit *pit)
{
    timer_arm(&pit->timer, pit->replaced ? INT64_MAX : pit->deadline);
}

static void schedule(struct pit *pit)
{
    const struct counter *counter = &pit->counters[0];
    int64_t next = next_change(counter, ticks_since(counter, now(pit)));
    pit->deadline = next < 0 ? INT64_MAX : time_of_tick(counter, next);
    arm(pit);
}

static void timer_fired(void *opaque)
{
    struct pit *pit = opaque;
    const struct counter *counter = &pit->counters[0];
    bool level = output_at(counter, ticks_since(counter, now(pit)));
    if (counter->mode == 2) {
        irq_set(pit->output, 0);
        level = true;
    }
    irq_set(pit->output, level);
    schedule(pit);
}

static void restart(struct pit *pit, unsigned index)
{
    struct counter *counter = &pit->counters[index];
    counter->start = now(pit);
    if (index != 0)
        return;
    irq_set(pit->output, output_at(counter, 0));
    schedule(pit);
}

/* ---- counts ------------------------------------------------------------------------------ */

static uint16_t to_bcd(uint32_t value)
{
    value %= 10000;
    return (uint16_t)(value / 1000 << 12 | value / 100 % 10 << 8 | value / 10 % 10 << 4 |
                      value % 10);
}

static uint32_t from_bcd(uint32_t value)
{
    return (value >> 12 & 15) * 1000 + (value >> 8 & 15) * 100 + (value >> 4 & 15) * 10 +
           (value & 15);
}

static uint16_t current_count(const struct pit *pit, const struct counter *counter)
{
    int64_t tick = ticks_since(counter, now(pit)), reload = counter->reload;
    uint32_t modulo = counter->bcd ? 10000 : 65536, count;
    if (!counter->written)
        tick = 0;
    if (!counter->gate && counter->mode != 1 && counter->mode != 5)
        tick = 0;
    if (counter->mode == 3)
        count = (uint32_t)(reload - tick * 2 % reload);
    else if (is_periodic(counter))
        count = (uint32_t)(reload - tick % reload);
    else
        count = (uint32_t)(((reload - tick) % modulo + modulo) % modulo);
    return counter->bcd ? to_bcd(count) : (uint16_t)count;
}

static void load_count(struct pit *pit, unsigned index, uint32_t value)
{
    struct counter *counter = &pit->counters[index];
    if (counter->bcd)
        value = from_bcd(value);
    counter->reload = value ? value : counter->bcd ? 10000 : 65536;
    if (counter->reload == 1 && is_periodic(counter))
        counter->reload = 2; /* not allowed in these modes; must not make endless work */
    counter->written = true;
    restart(pit, index);
}

static void latch_count(struct pit *pit, struct counter *counter)
{
    if (counter->latch_left)
        return;
    counter->latch = current_count(pit, counter);
    counter->latch_left = counter->access == ACCESS_BOTH ? 2 : 1;
}

static void latch_status(struct pit *pit, struct counter *counter)
{
    if (counter->status_latched)
        return;
    bool output = output_at(counter, ticks_since(counter, now(pit)));
    counter->status = (uint8_t)(output << 7 | !counter->written << 6 | counter->access << 4 |
                                counter->mode << 1 | counter->bcd);
    counter->status_latched = true;
}

/* ---- ports ------------------------------------------------------------------------------- */

static void write_control(struct pit *pit, uint8_t value)
{
    unsigned index = value >> 6;
    if (index == 3) { /* the read-back command */
        for (unsigned i = 0; i < 3; i++) {
            if (!(value & 2u << i))
                continue;
            if (!(value & 0x20))
                latch_count(pit, &pit->counters[i]);
            if (!(value & 0x10))
                latch_status(pit, &pit->counters[i]);
        }
        return;
    }
    struct counter *counter = &pit->counters[index];
    unsigned access = value >> 4 & 3;
    if (access == 0) {
        latch_count(pit, counter);
        return;
    }
    counter->access = (uint8_t)access;
    counter->mode = value >> 1 & 7;
    if (counter->mode > 5)
        counter->mode -= 4;
    counter->bcd = value & 1;
    counter->written = counter->read_high = counter->write_high = false;
    counter->latch_left = 0;
    counter->status_latched = false;
    if (index == 0) {
        irq_set(pit->output, output_at(counter, 0));
        schedule(pit);
    }
}

static void pit_write(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    struct pit *pit = opaque;
    if (offset == 3) {
        write_control(pit, (uint8_t)value);
        return;
    }
    struct counter *counter = &pit->counters[offset];
    if (counter->access == ACCESS_LOW) {
        load_count(pit, offset, value);
    } else if (counter->access == ACCESS_HIGH) {
        load_count(pit, offset, value << 8);
    } else if (!counter->write_high) {
        counter->write_low = (uint8_t)value;
        counter->write_high = true;
    } else {
        counter->write_high = false;
        load_count(pit, offset, value << 8 | counter->write_low);
    }
}

static uint32_t read_latch(struct counter *counter)
{
    bool high = counter->access == ACCESS_HIGH ||
                (counter->access == ACCESS_BOTH && counter->latch_left == 1);
    counter->latch_left--;
    return high ? counter->latch >> 8 : counter->latch & 0xff;
}

static uint32_t pit_read(void *opaque, uint16_t offset, unsigned size)
{
    struct pit *pit = opaque;
    if (offset == 3)
        return 0xff;
    struct counter *counter = &pit->counters[offset];
    if (counter->status_latched) {
        counter->status_latched = false;
        return counter->status;
    }
    if (counter->latch_left)
        return read_latch(counter);
    uint16_t count = current_count(pit, counter);
    bool high = counter->access == ACCESS_HIGH;
    if (counter->access == ACCESS_BOTH) {
        high = counter->read_high;
        counter->read_high = !counter->read_high;
    }
    return high ? count >> 8 : count & 0xff;
}

static uint32_t speaker_read(void *opaque, uint16_t offset, unsigned size)
{
    struct pit *pit = opaque;
    int64_t time = now(pit);
    const struct counter *counter = &pit->counters[2];
    bool refresh = time / 15085 & 1; /* toggles with each refresh request, every 15.1 us */
    return pit->speaker | (unsigned)refresh << 4 |
           (unsigned)output_at(counter, ticks_since(counter, time)) << 5;
}

static void speaker_write(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    struct pit *pit = opaque;
    struct counter *counter = &pit->counters[2];
    bool gate = value & 1;
    pit->speaker = value & 3;
    if (gate && !counter->gate && counter->mode != 0 && counter->mode != 4)
        counter->start = now(pit); /* the gate's rising edge reloads */
    counter->gate = gate;
}

/* Of the interpreter, too, where an engine does the work. */
#define BORROWED(name)                                                                             \
    static uint32_t borrowed_##name##_read(void *opaque, uint16_t offset, unsigned size)           \
    {                                                                                              \
        struct chips *chips = ((struct pit *)opaque)->device.board->chips;                         \
        bool borrowed = chips_borrow(chips);                                                       \
        uint32_t value = name##_read(opaque, offset, size);                                        \
        if (borrowed)                                                                              \
            chips_give_back(chips);                                                                \
        return value;                                                                              \
    }                                                                                              \
    static void borrowed_##name##_write(void *opaque, uint16_t offset, uint32_t value,             \
                                        unsigned size)                                             \
    {                                                                                              \
        struct chips *chips = ((struct pit *)opaque)->device.board->chips;                         \
        bool borrowed = chips_borrow(chips);                                                       \
        name##_write(opaque, offset, value, size);                                                 \
        if (borrowed)                                                                              \
            chips_give_back(chips);                                                                \
    }
BORROWED(pit)
BORROWED(speaker)

static const struct port_ops pit_ops = {borrowed_pit_read, borrowed_pit_write, 1};
static const struct port_ops speaker_ops = {borrowed_speaker_read, borrowed_speaker_write, 1};

/* ---- while an engine does the work (emu/core/chips.h) ------------------------------------ */

/* The line goes down as long as the model drives it: the engine's timer has one of its own. */
static void tell_lines(void *device, struct chips *chips)
{
    struct pit *pit = device;
    timer_cancel(&pit->timer);
    irq_set(pit->output, 0);
}

static void leave(void *device, struct chips *chips)
{
    const struct pit *pit = device;
    void *engine;
    const struct chips_ops *ops = chips_ops(chips, &engine);
    struct chip_pit image = {.speaker = pit->speaker & 2, .replaced = pit->replaced};
    for (unsigned i = 0; i < 3; i++) {
        const struct counter *c = &pit->counters[i];
        image.counters[i] = (struct chip_pit_counter){.start = c->start,
                                                      .count = c->reload,
                                                      .latch = c->latch,
                                                      .latch_left = c->latch_left,
                                                      .status = c->status,
                                                      .status_latched = c->status_latched,
                                                      .mode = c->mode,
                                                      .access = c->access,
                                                      .bcd = c->bcd,
                                                      .gate = c->gate,
                                                      .read_high = c->read_high,
                                                      .write_high = c->write_high,
                                                      .write_low = c->write_low};
    }
    ops->set_pit(engine, &image);
}

static void counter_enter(struct counter *c, const struct chip_pit_counter *image)
{
    c->start = image->start;
    c->reload = CLAMP(image->count, 2, 65536);
    c->latch = image->latch;
    c->latch_left = image->latch_left;
    c->status = image->status;
    c->status_latched = image->status_latched;
    c->mode = MIN(image->mode, 5);
    c->access = image->access;
    c->bcd = image->bcd;
    c->gate = image->gate;
    c->written = true;
    c->read_high = image->read_high;
    c->write_high = image->write_high;
    c->write_low = image->write_low;
}

/* Counter 0 begins its period anew, its line low: it ticks when that has passed. */
static void enter(void *device, struct chips *chips)
{
    struct pit *pit = device;
    void *engine;
    struct chip_pit image = {.speaker = pit->speaker & 2};
    chips_ops(chips, &engine)->get_pit(engine, &image);
    for (unsigned i = 0; i < 3; i++)
        counter_enter(&pit->counters[i], &image.counters[i]);
    pit->speaker = (uint8_t)((image.speaker ? 2 : 0) | (image.counters[2].gate ? 1 : 0));
    schedule(pit);
}

static const struct chip_model chip = {CHIP_PIT, tell_lines, leave, enter};

static void set_replaced(void *receiver, int input, int level)
{
    struct pit *pit = receiver;
    struct chips *chips = pit->device.board->chips;
    void *engine;
    if (pit->replaced == level)
        return;
    pit->replaced = level;
    if (chips_away(chips)) {
        chips_ops(chips, &engine)->pit_replaced(engine, level);
        return;
    }
    const struct counter *counter = &pit->counters[0];
    if (!level)
        irq_set(pit->output, output_at(counter, ticks_since(counter, now(pit))));
    schedule(pit);
}

struct irq *i8254_replaced(struct device *device)
{
    struct pit *pit = (struct pit *)device;
    pit->replaced_input = (struct irq){set_replaced, pit, 0};
    return &pit->replaced_input;
}

/* ---- the device -------------------------------------------------------------------------- */

void i8254_connect(struct device *device, struct irq *output)
{
    ((struct pit *)device)->output = output;
}

static bool realize(struct device *device, GError **error)
{
    struct pit *pit = (struct pit *)device;
    timer_init(&pit->timer, device->board->clock, timer_fired, pit);
    port_add(device->board->ports, "pit", 0x40, 4, &pit_ops, pit);
    port_add(device->board->ports, "speaker", 0x61, 1, &speaker_ops, pit);
    chips_add(device->board->chips, &chip, pit);
    return true;
}

static void reset(struct device *device)
{
    struct pit *pit = (struct pit *)device;
    for (int i = 0; i < 3; i++)
        pit->counters[i] =
            (struct counter){.reload = 65536, .access = ACCESS_BOTH, .mode = 3, .gate = i != 2};
    pit->speaker = 0;
    pit->deadline = INT64_MAX;
    timer_cancel(&pit->timer);
    irq_set(pit->output, 0);
}

static bool loaded(struct device *device, GError **error)
{
    struct pit *pit = (struct pit *)device;
    for (int i = 0; i < 3; i++) {
        struct counter *counter = &pit->counters[i];
        counter->reload = CLAMP(counter->reload, 2, 65536);
        counter->mode = MIN(counter->mode, 5);
    }
    arm(pit);
    return true;
}

static void finish(struct device *device)
{
    timer_cancel(&((struct pit *)device)->timer);
}

static const struct state_field counter_state[] = {
    STATE_UINT(struct counter, start),
    STATE_UINT(struct counter, reload),
    STATE_UINT(struct counter, latch),
    STATE_UINT(struct counter, latch_left),
    STATE_UINT(struct counter, status),
    STATE_UINT(struct counter, status_latched),
    STATE_UINT(struct counter, mode),
    STATE_UINT(struct counter, access),
    STATE_UINT(struct counter, bcd),
    STATE_UINT(struct counter, gate),
    STATE_UINT(struct counter, written),
    STATE_UINT(struct counter, read_high),
    STATE_UINT(struct counter, write_high),
    STATE_UINT(struct counter, write_low),
    STATE_END,
};
static const struct state_field state[] = {
    STATE_STRUCTS(struct pit, counters, counter_state),
    STATE_UINT(struct pit, speaker),
    STATE_UINT(struct pit, deadline),
    STATE_END,
};

const struct device_ops i8254_ops = {.name = "i8254",
                                     .size = sizeof(struct pit),
                                     .state_version = 1,
                                     .state = state,
                                     .realize = realize,
                                     .reset = reset,
                                     .loaded = loaded,
                                     .finish = finish};
