/*
 * Interrupt controllers and timer handed over to an engine that does their work: what it is given
 * is all that there is to save. The engine is a stand-in that only keeps what it gets.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "emu/core/board.h"
#include "emu/core/memory.h"
#include "emu/core/port.h"
#include "emu/core/state.h"
#include "emu/machine/machine.h"
#include <string.h>

struct images {
    struct chip_lapic lapics[2];
    struct chip_ioapic ioapic;
    struct chip_pic pics[2];
    struct chip_pit pit;
};

struct engine {
    struct images images;
    unsigned set, got, stops, messages;
    bool stopped, is_set, replaced; /* is_set: the state is the engine's */
    uint32_t lines, address, data;
};

static void line(void *opaque, unsigned number, bool level)
{
    struct engine *engine = opaque;
    engine->lines = (engine->lines & ~(1u << number)) | (uint32_t)level << number;
}
static void message(void *opaque, uint32_t address, uint32_t data)
{
    struct engine *engine = opaque;
    engine->messages++;
    engine->address = address;
    engine->data = data;
}
static void pit_replaced(void *opaque, bool replaced)
{
    ((struct engine *)opaque)->replaced = replaced;
}
static void stop(void *opaque)
{
    struct engine *engine = opaque;
    engine->stopped = true;
    engine->stops++;
}
static void go(void *opaque)
{
    ((struct engine *)opaque)->stopped = false;
}
static void settle(void *opaque)
{
}
#define KEEPS(name, type, member)                                                                  \
    static void get_##name(void *opaque, type *image)                                              \
    {                                                                                              \
        struct engine *engine = opaque;                                                            \
        engine->got++;                                                                             \
        memcpy(image, &engine->images.member, sizeof(engine->images.member));                      \
    }                                                                                              \
    static void set_##name(void *opaque, const type *image)                                        \
    {                                                                                              \
        struct engine *engine = opaque;                                                            \
        engine->set++;                                                                             \
        memcpy(&engine->images.member, image, sizeof(engine->images.member));                      \
    }
KEEPS(ioapic, struct chip_ioapic, ioapic)
KEEPS(pics, struct chip_pic, pics)
KEEPS(pit, struct chip_pit, pit)
static void get_lapic(void *opaque, unsigned index, struct chip_lapic *image)
{
    struct engine *engine = opaque;
    engine->got++;
    *image = engine->images.lapics[index];
}
static void set_lapic(void *opaque, unsigned index, const struct chip_lapic *image)
{
    struct engine *engine = opaque;
    engine->set++;
    engine->images.lapics[index] = *image;
}

static const struct chips_ops ops = {.line = line,
                                     .message = message,
                                     .pit_replaced = pit_replaced,
                                     .stop = stop,
                                     .go = go,
                                     .settle = settle,
                                     .get_lapic = get_lapic,
                                     .set_lapic = set_lapic,
                                     .get_ioapic = get_ioapic,
                                     .set_ioapic = set_ioapic,
                                     .get_pics = get_pics,
                                     .set_pics = set_pics,
                                     .get_pit = get_pit,
                                     .set_pit = set_pit};
#define ALL 5 /* calls that move all of them: two local APICs and the rest */

/* A machine of two CPUs that never run: its clock stands still. */
static struct machine *start(struct engine *engine)
{
    static const struct machine_config config = {.memory = 1 << 20,
                                                 .cpus = 2,
                                                 .engine = "interp",
                                                 .cpu_model = "x86-64-v1",
                                                 .serial = "none",
                                                 .extras[MACHINE_EXTRA_TESTDEV] = true};
    g_autoptr(GError) error = NULL;
    struct machine *machine = machine_new(&config, &error);
    if (!machine)
        fail_msg("%s", error->message);
    struct board *board = machine_board(machine);
    memset(engine, 0, sizeof(*engine));
    assert_true(chips_complete(board->chips));
    board_lock(board);
    chips_offer(board->chips, &ops, engine);
    board_unlock(board);
    return machine;
}

static void end(struct machine *machine)
{
    struct board *board = machine_board(machine);
    board_lock(board);
    chips_offer(board->chips, NULL, NULL);
    board_unlock(board);
    machine_free(machine, NULL);
}

static void hand_over(struct machine *machine)
{
    struct board *board = machine_board(machine);
    board_lock(board);
    chips_hand_over(board->chips);
    board_unlock(board);
}

static void take_back(struct machine *machine)
{
    struct board *board = machine_board(machine);
    board_lock(board);
    chips_take_back(board->chips);
    board_unlock(board);
}

static void out(struct machine *machine, uint16_t port, uint32_t value)
{
    port_write(machine_board(machine)->ports, port, value, 1);
}

static void put(struct machine *machine, uint64_t address, uint32_t value)
{
    memory_write(machine_board(machine)->memory, address, &value, 4);
}

static uint32_t get(struct machine *machine, uint64_t address)
{
    uint32_t value = 0;
    memory_read(machine_board(machine)->memory, address, &value, 4);
    return value;
}

#define LAPIC  UINT64_C(0xfee00000)
#define IOAPIC UINT64_C(0xfec00000)

static void program(struct machine *machine)
{
    static const struct {
        uint16_t port;
        uint8_t value;
    } ports[] = {
        {0x20, 0x11}, {0x21, 0x20}, {0x21, 0x04}, {0x21, 0x13},  {0xa0, 0x11},
        {0xa1, 0x28}, {0xa1, 0x02}, {0xa1, 0x01}, {0x20, 0xc3},  {0xa0, 0x68},
        {0xa0, 0x0b}, {0x21, 0xf0}, {0xa1, 0x5f}, {0x4d1, 0x08}, {0x43, 0x30},
        {0x40, 0x12}, {0x40, 0x34}, {0x43, 0x50}, {0x41, 0x40},  {0x43, 0xb6},
        {0x42, 0x33}, {0x42, 0x05}, {0x43, 0x00}, {0x42, 0x77},  {0x61, 0x03},
    };
    static const struct {
        uint32_t offset, value;
    } apic[] = {
        {0xf0, 0x1ff},      {0x80, 0x35},     {0xe0, 0x0fffffff}, {0xd0, 0x05000000},
        {0x20, 0x07000000}, {0x320, 0x20040}, {0x350, 0x700},     {0x360, 0x400},
        {0x370, 0xfe},      {0x3e0, 0x0b},    {0x380, 100000},    {0x310, 0x01000000},
        {0x300, 0x40051},   {0x300, 0x40033},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(ports); i++)
        out(machine, ports[i].port, ports[i].value);
    for (size_t i = 0; i < G_N_ELEMENTS(apic); i++)
        put(machine, LAPIC + apic[i].offset, apic[i].value);
    put(machine, IOAPIC, 0x10 + 2 * 11);
    put(machine, IOAPIC + 0x10, 0x8061);
    put(machine, IOAPIC, 0x10 + 2 * 11 + 1);
    put(machine, IOAPIC + 0x10, 0x05000000);
    put(machine, IOAPIC, 0);
    put(machine, IOAPIC + 0x10, 0x09000000);
}

static void lines(struct machine *machine)
{
    out(machine, 0x2000 + 11, 1);
    out(machine, 0x2000 + 4, 1);
    out(machine, 0x2000 + 4, 0);
    out(machine, 0x2000 + 5, 1);
}

static void assert_same(struct machine *a, struct machine *b, const char *section)
{
    g_autoptr(GBytes) first = machine_save(a), second = machine_save(b);
    g_autoptr(GBytes) x = state_find(first, section, NULL), y = state_find(second, section, NULL);
    assert_non_null(x);
    assert_non_null(y);
    if (!g_bytes_equal(x, y))
        fail_msg("%s is not what it was", section);
}

/* What one machine hands over another takes for its own. */
static void test_images(void **state)
{
    static const char *const sections[] = {"i8259", "ioapic", "i8254", "lapic.0", "lapic.1"};
    struct engine engine, other;
    struct machine *a = start(&engine), *b = start(&other);
    program(a);
    lines(a);
    lines(b);
    hand_over(a);
    assert_int_equal(engine.set, ALL);
    take_back(a);
    assert_int_equal(engine.got, ALL);
    hand_over(b);
    other.images = engine.images;
    take_back(b);
    for (size_t i = 0; i < G_N_ELEMENTS(sections); i++)
        assert_same(a, b, sections[i]);
    end(a);
    end(b);
}

/* There and back changes nothing but that a line which the timer holds up goes down; this one does
 * not. */
static void test_there_and_back(void **state)
{
    static const char *const sections[] = {"i8259", "ioapic", "lapic.0", "lapic.1", "piix3"};
    struct engine engine, other;
    struct machine *a = start(&engine), *b = start(&other);
    program(a);
    lines(a);
    program(b);
    lines(b);
    hand_over(a);
    take_back(a);
    for (size_t i = 0; i < G_N_ELEMENTS(sections); i++)
        assert_same(a, b, sections[i]);
    end(a);
    end(b);
}

/* While they are away, lines and messages go to the engine, registers are borrowed. */
static void test_away(void **state)
{
    struct engine engine;
    struct machine *machine = start(&engine);
    struct board *board = machine_board(machine);
    program(machine);
    hand_over(machine);
    assert_true(chips_away(board->chips));
    out(machine, 0x2000 + 11, 1);
    assert_int_equal(engine.lines, 1u << 11);
    assert_int_equal(engine.set, ALL); /* that was no borrowing */
    assert_int_equal(get(machine, LAPIC + 0x80), 0x35);
    assert_int_equal(engine.stops, 1);
    assert_false(engine.stopped);
    assert_int_equal(engine.set, 2 * ALL);
    put(machine, LAPIC + 0x80, 0x20);
    assert_int_equal(engine.images.lapics[0].registers[8], 0x20);
    put(machine, IOAPIC, 0x01);
    assert_int_equal(engine.images.ioapic.select, 1);
    /* A message that the first sends to the second with its registers is in the second's image. */
    put(machine, LAPIC + 0x310, 0x01000000);
    assert_int_equal(engine.images.lapics[1].registers[0x22], 0);
    engine.images.lapics[1].registers[0x0f] = 0x1ff;
    put(machine, LAPIC + 0x300, 0x55);
    assert_int_equal(engine.images.lapics[1].registers[0x22], 1u << 0x15);
    take_back(machine);
    assert_false(chips_away(board->chips));
    end(machine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_images),
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
