#include "emu/device/cmos.h"
#include "emu/device/i8254.h"
#include "tests/unit/emu/fixture.h"

static int set_up(void **state)
{
    *state = fixture_new(false);
    return 0;
}

static int tear_down(void **state)
{
    fixture_free(*state);
    return 0;
}

static bool pending(struct fixture *f, unsigned irq)
{
    out8(f, irq < 8 ? 0x20 : 0xa0, 0x0a); /* read the request register */
    return in8(f, irq < 8 ? 0x20 : 0xa0) >> (irq & 7) & 1;
}

static uint16_t latched_count(struct fixture *f, unsigned counter)
{
    out8(f, 0x43, (uint8_t)(counter << 6));
    uint8_t low = in8(f, (uint16_t)(0x40 + counter));
    return (uint16_t)(low | in8(f, (uint16_t)(0x40 + counter)) << 8);
}

static void test_pit_counts(void **state)
{
    struct fixture *f = *state;
    out8(f, 0x43, 0x34); /* counter 0, two bytes, mode 2: the output goes up */
    init_pics(f);        /* which forgets that edge */
    out8(f, 0x40, 0xa9);
    out8(f, 0x40, 0x04); /* 1193: a tick of 0.99985 ms */
    assert_int_equal(latched_count(f, 0), 1193);
    advance(f, 500000);
    uint16_t half = latched_count(f, 0);
    assert_in_range(half, 590, 600);
    assert_false(pending(f, 0));
    advance(f, 500000);
    assert_true(pending(f, 0));
    assert_in_range(latched_count(f, 0), 1190, 1193);
}

static void test_pit_one_shot(void **state)
{
    struct fixture *f = *state;
    init_pics(f);
    out8(f, 0x43, 0x30); /* mode 0 */
    out8(f, 0x40, 0x10);
    out8(f, 0x40, 0x00);
    out8(f, 0x43, 0xe2); /* read back the status of counter 0 */
    assert_int_equal(in8(f, 0x40) & 0xbf, 0x30);
    advance(f, 20000);
    assert_true(pending(f, 0));
    out8(f, 0x43, 0xe2);
    assert_int_equal(in8(f, 0x40) & 0xbf, 0xb0);
}

static void test_speaker_gate(void **state)
{
    struct fixture *f = *state;
    out8(f, 0x61, 1);
    out8(f, 0x43, 0xb0); /* counter 2, mode 0: how kernels measure their clock */
    out8(f, 0x42, 0xff);
    out8(f, 0x42, 0xff);
    assert_int_equal(in8(f, 0x61) & 0x20, 0);
    advance(f, 56 * 1000000);
    assert_int_equal(in8(f, 0x61) & 0x20, 0x20);
}

static uint8_t cmos(struct fixture *f, uint8_t index)
{
    out8(f, 0x70, index);
    return in8(f, 0x71);
}

static void set_cmos(struct fixture *f, uint8_t index, uint8_t value)
{
    out8(f, 0x70, index);
    out8(f, 0x71, value);
}

static void test_rtc_time(void **state)
{
    struct fixture *f = *state;
    static const uint8_t time[][2] = {{0x0b, 0x82}, {0, 0x58}, {2, 0x59},    {4, 0x23},   {7, 0x31},
                                      {8, 0x12},    {9, 0x99}, {0x32, 0x19}, {0x0b, 0x02}};
    for (unsigned i = 0; i < G_N_ELEMENTS(time); i++)
        set_cmos(f, time[i][0], time[i][1]);
    assert_int_equal(cmos(f, 0), 0x58);
    advance(f, 3 * NS_PER_SECOND);
    assert_int_equal(cmos(f, 0), 0x01);
    assert_int_equal(cmos(f, 4), 0x00);
    assert_int_equal(cmos(f, 7), 0x01);
    assert_int_equal(cmos(f, 9), 0x00);
    assert_int_equal(cmos(f, 0x32), 0x20);
    set_cmos(f, 0x0b, 0x06); /* binary */
    advance(f, 29 * NS_PER_SECOND);
    assert_int_equal(cmos(f, 0), 30);
}

static void test_rtc_interrupts(void **state)
{
    struct fixture *f = *state;
    init_pics(f);
    cmos(f, 0x0c);
    set_cmos(f, 0x0a, 0x26);
    set_cmos(f, 0x0b, 0x42); /* periodic, 1024 Hz */
    advance(f, 1000000);
    assert_true(pending(f, 8));
    assert_int_equal(cmos(f, 0x0c) & 0xc0, 0xc0);
    assert_int_equal(cmos(f, 0x0c) & 0x40, 0);
    set_cmos(f, 0x0b, 0x22); /* alarm at every minute's 05 */
    set_cmos(f, 1, 0x05);
    set_cmos(f, 3, 0xff);
    set_cmos(f, 5, 0xff);
    cmos(f, 0x0c);
    for (int i = 0; i < 60; i++)
        advance(f, NS_PER_SECOND);
    assert_int_equal(cmos(f, 0x0c) & 0xa0, 0xa0);
}

/* ---- HPET -------------------------------------------------------------------------------- */

#define HPET UINT64_C(0xfed00000)

static void hpet_write(struct fixture *f, unsigned offset, uint64_t value)
{
    memory_store(f->board->memory, HPET + offset, value, 8);
}

static uint64_t hpet_read(struct fixture *f, unsigned offset)
{
    return memory_load(f->board->memory, HPET + offset, 8);
}

static void test_hpet_counter(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(hpet_read(f, 0), UINT64_C(0x009896808086a201));
    advance(f, 1000);
    assert_int_equal(hpet_read(f, 0xf0), 0); /* off */
    hpet_write(f, 0xf0, UINT64_C(0xfffffff0));
    hpet_write(f, 0x10, 1);
    advance(f, 1000);
    assert_int_equal(hpet_read(f, 0xf0), UINT64_C(0x100000054));
    assert_int_equal(memory_load(f->board->memory, HPET + 0xf4, 4), 1);
    hpet_write(f, 0xf0, 5); /* refused while it counts */
    assert_int_equal(hpet_read(f, 0xf0), UINT64_C(0x100000054));
    hpet_write(f, 0x10, 0);
    advance(f, 1000);
    assert_int_equal(hpet_read(f, 0xf0), UINT64_C(0x100000054));
}

static void test_hpet_legacy(void **state)
{
    struct fixture *f = *state;
    init_pics(f);
    hpet_write(f, 0x100, 0x4c); /* comparator 0: periodic, the first moment is given, too */
    hpet_write(f, 0x108, 100000);
    hpet_write(f, 0x108, 50000);
    hpet_write(f, 0x10, 3);
    out8(f, 0x43, 0x34); /* the PIT is cut off */
    out8(f, 0x40, 0xff);
    out8(f, 0x40, 0x00);
    init_pics(f);
    advance(f, 999000);
    assert_false(pending(f, 0));
    advance(f, 2000);
    assert_true(pending(f, 0));
    assert_int_equal(hpet_read(f, 0x108), 150000);
    init_pics(f);
    advance(f, 500000);
    assert_true(pending(f, 0));
    init_pics(f);
    advance(f, 5000000); /* ten periods at once are one interrupt */
    assert_true(pending(f, 0));
    assert_int_equal(hpet_read(f, 0x108), 700000);
    hpet_write(f, 0x120, 4); /* comparator 1, once, where the RTC was */
    hpet_write(f, 0x128, hpet_read(f, 0xf0) + 1000);
    assert_false(pending(f, 8));
    advance(f, 10000);
    assert_true(pending(f, 8));
    hpet_write(f, 0x10, 0);
    init_pics(f);
    out8(f, 0x43, 0x34); /* the PIT is back */
    out8(f, 0x40, 0x10);
    out8(f, 0x40, 0x00);
    init_pics(f);
    advance(f, 100000);
    assert_true(pending(f, 0));
}

/* With its interrupt off a timer goes on, but wakes nobody. */
static void test_hpet_quiet(void **state)
{
    struct fixture *f = *state;
    guest_clock_fire_due(f->board->clock);
    int64_t others = guest_clock_next_deadline(f->board->clock);
    hpet_write(f, 0x100, 0x48);
    hpet_write(f, 0x108, 100000);
    hpet_write(f, 0x108, 50000);
    hpet_write(f, 0x10, 1);
    assert_int_equal(guest_clock_next_deadline(f->board->clock), others);
    int64_t start = guest_clock_now(f->board->clock);
    guest_clock_set(f->board->clock, start + INT64_C(999990));
    assert_int_equal(hpet_read(f, 0x108), 100000);
    guest_clock_set(f->board->clock, start + INT64_C(1600000)); /* count 160000 */
    assert_int_equal(hpet_read(f, 0x108), 200000);
    guest_clock_set(f->board->clock, start + INT64_C(3100000));
    hpet_write(f, 0x100, 0x0c); /* on again: the next period, not all those before */
    assert_int_equal(hpet_read(f, 0x108), 350000);
    assert_int_equal(guest_clock_next_deadline(f->board->clock), start + INT64_C(3500000));
}

/* A PIT that the HPET replaces goes on, but does not wake the host. */
static void test_pit_replaced(void **state)
{
    struct fixture *f = *state;
    init_pics(f);
    out8(f, 0x43, 0x34);
    out8(f, 0x40, 0x00);
    out8(f, 0x40, 0x10);
    assert_int_not_equal(guest_clock_next_deadline(f->board->clock), INT64_MAX);
    hpet_write(f, 0x10, 3);
    assert_int_equal(guest_clock_next_deadline(f->board->clock), INT64_MAX);
    init_pics(f);
    advance(f, 10000000);
    hpet_write(f, 0x10, 1); /* the line is the PIT's again, and up */
    init_pics(f);
    assert_false(pending(f, 0));
    advance(f, 3600000);
    assert_true(pending(f, 0));
}

static void test_hpet_level(void **state)
{
    struct fixture *f = *state;
    memory_store(f->board->memory, 0xfec00000, 0x10 + 2 * 20, 4); /* IOAPIC input 20 */
    memory_store(f->board->memory, 0xfec00010, 0x18030, 4);       /* level, masked */
    hpet_write(f, 0x140, 20 << 9 | 0x106);                        /* of 32 bits, level */
    hpet_write(f, 0x148, UINT64_C(0x700000064));
    assert_int_equal(hpet_read(f, 0x148), 0x64);
    hpet_write(f, 0x10, 1);
    advance(f, 990);
    assert_int_equal(hpet_read(f, 0x20), 0);
    advance(f, 20);
    assert_int_equal(hpet_read(f, 0x20), 4);
    hpet_write(f, 0x20, 4);
    assert_int_equal(hpet_read(f, 0x20), 0);
    advance(f, (INT64_C(10) << 32) - 100); /* once round */
    assert_int_equal(hpet_read(f, 0x20), 0);
    advance(f, 200);
    assert_int_equal(hpet_read(f, 0x20), 4);
}

int main(void)
{
#define PC_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {PC_TEST(test_hpet_counter), PC_TEST(test_hpet_legacy),
                                       PC_TEST(test_hpet_level),   PC_TEST(test_hpet_quiet),
                                       PC_TEST(test_pit_replaced), PC_TEST(test_pit_counts),
                                       PC_TEST(test_pit_one_shot), PC_TEST(test_speaker_gate),
                                       PC_TEST(test_rtc_time),     PC_TEST(test_rtc_interrupts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
