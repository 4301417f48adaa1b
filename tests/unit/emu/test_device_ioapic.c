#include "emu/device/ioapic.h"
#include "emu/device/lapic.h"
#include "tests/unit/emu/fixture.h"

struct apics {
    struct board board;
    struct lapic_bus bus;
    struct device *lapic[2], *ioapic;
    int level[2], nmis[2], sipi[2];
};

struct end {
    struct apics *apics;
    int index;
};

static void set_interrupt(void *opaque, bool level)
{
    struct end *end = opaque;
    end->apics->level[end->index] = level;
}

static void nmi(void *opaque)
{
    struct end *end = opaque;
    end->apics->nmis[end->index]++;
}

static void nothing(void *opaque)
{
}

static void sipi(void *opaque, uint8_t vector)
{
    struct end *end = opaque;
    end->apics->sipi[end->index] = vector;
}

static const struct lapic_cpu wires = {set_interrupt, nmi, nothing, nothing, sipi};

static void write32(struct apics *a, uint64_t address, uint32_t value)
{
    memory_store(a->board.memory, address, value, 4);
}

static uint32_t read32(struct apics *a, uint64_t address)
{
    return (uint32_t)memory_load(a->board.memory, address, 4);
}

static int set_up(void **state)
{
    static struct end ends[2];
    struct apics *a = g_new0(struct apics, 1);
    assert_true(board_init(&a->board, 1 << 20, NULL));
    lapic_bus_init(&a->bus);
    for (unsigned i = 0; i < 2; i++) {
        ends[i] = (struct end){a, (int)i};
        a->lapic[i] = device_new(&lapic_ops, &a->board);
        lapic_connect(a->lapic[i], &a->bus, i, &wires, &ends[i]);
        assert_true(lapic_ops.realize(a->lapic[i], NULL));
        lapic_ops.reset(a->lapic[i]);
        lapic_bus_enter(&a->bus, a->lapic[i]);
        write32(a, LAPIC_BASE + 0xf0, 0x1ff);
    }
    lapic_bus_enter(&a->bus, a->lapic[0]);
    a->ioapic = device_new(&ioapic_ops, &a->board);
    ioapic_connect(a->ioapic, &a->bus);
    assert_true(ioapic_ops.realize(a->ioapic, NULL));
    ioapic_ops.reset(a->ioapic);
    *state = a;
    return 0;
}

static int tear_down(void **state)
{
    struct apics *a = *state;
    for (unsigned i = 0; i < 2; i++)
        device_free(a->lapic[i]);
    device_free(a->ioapic);
    lapic_bus_finish(&a->bus);
    board_finish(&a->board);
    g_free(a);
    return 0;
}

static void set_entry(struct apics *a, unsigned input, uint64_t entry)
{
    write32(a, IOAPIC_BASE, 0x11 + input * 2);
    write32(a, IOAPIC_BASE + 0x10, (uint32_t)(entry >> 32));
    write32(a, IOAPIC_BASE, 0x10 + input * 2);
    write32(a, IOAPIC_BASE + 0x10, (uint32_t)entry);
}

static uint32_t entry_low(struct apics *a, unsigned input)
{
    write32(a, IOAPIC_BASE, 0x10 + input * 2);
    return read32(a, IOAPIC_BASE + 0x10);
}

static void test_edge(void **state)
{
    struct apics *a = *state;
    irq_pulse(ioapic_input(a->ioapic, 4)); /* masked: lost */
    set_entry(a, 4, UINT64_C(1) << 56 | 0x34);
    assert_int_equal(a->level[1], 0);
    irq_pulse(ioapic_input(a->ioapic, 4));
    assert_int_equal(a->level[0], 0);
    assert_int_equal(a->level[1], 1);
    assert_int_equal(lapic_acknowledge(a->lapic[1]), 0x34);
    assert_int_equal(a->level[1], 0);
    assert_int_equal(lapic_acknowledge(a->lapic[1]), -1);
}

static void test_level(void **state)
{
    struct apics *a = *state;
    set_entry(a, 10, 0x8041); /* level, vector 0x41, to CPU 0 */
    irq_set(ioapic_input(a->ioapic, 10), 1);
    assert_int_equal(lapic_acknowledge(a->lapic[0]), 0x41);
    assert_int_equal(entry_low(a, 10) & 0x4000, 0x4000); /* remote IRR */
    assert_int_equal(a->level[0], 0);
    write32(a, LAPIC_BASE + 0xb0, 0); /* EOI, the line is still up */
    assert_int_equal(a->level[0], 1);
    assert_int_equal(lapic_acknowledge(a->lapic[0]), 0x41);
    irq_set(ioapic_input(a->ioapic, 10), 0);
    write32(a, LAPIC_BASE + 0xb0, 0);
    assert_int_equal(a->level[0], 0);
    assert_int_equal(entry_low(a, 10) & 0x4000, 0);
}

static void test_task_priority(void **state)
{
    struct apics *a = *state;
    set_entry(a, 4, 0x34);
    lapic_write_tpr(a->lapic[0], 3);
    assert_int_equal(read32(a, LAPIC_BASE + 0x80), 0x30);
    irq_pulse(ioapic_input(a->ioapic, 4));
    assert_int_equal(a->level[0], 0);
    lapic_write_tpr(a->lapic[0], 2);
    assert_int_equal(a->level[0], 1);
}

static void test_interprocessor(void **state)
{
    struct apics *a = *state;
    write32(a, LAPIC_BASE + 0x310, 1 << 24);
    write32(a, LAPIC_BASE + 0x300, 0x4608); /* start-up */
    assert_int_equal(a->sipi[1], 8);
    write32(a, LAPIC_BASE + 0x300, 0xc4400); /* NMI to all but self */
    assert_int_equal(a->nmis[0], 0);
    assert_int_equal(a->nmis[1], 1);
    write32(a, LAPIC_BASE + 0x300, 0x40050); /* to self */
    assert_int_equal(lapic_acknowledge(a->lapic[0]), 0x50);
}

static void test_timer(void **state)
{
    struct apics *a = *state;
    write32(a, LAPIC_BASE + 0x3e0, 0x0b);    /* by one */
    write32(a, LAPIC_BASE + 0x320, 0x20060); /* periodic, vector 0x60 */
    write32(a, LAPIC_BASE + 0x380, 1000000);
    guest_clock_set(a->board.clock, 400000);
    assert_int_equal(read32(a, LAPIC_BASE + 0x390), 600000);
    guest_clock_set(a->board.clock, 1000000);
    guest_clock_fire_due(a->board.clock);
    assert_int_equal(lapic_acknowledge(a->lapic[0]), 0x60);
    write32(a, LAPIC_BASE + 0xb0, 0);
    guest_clock_set(a->board.clock, 5500000); /* late: one interrupt, not four */
    guest_clock_fire_due(a->board.clock);
    assert_int_equal(lapic_acknowledge(a->lapic[0]), 0x60);
    write32(a, LAPIC_BASE + 0xb0, 0);
    assert_int_equal(a->level[0], 0);
    assert_int_equal(read32(a, LAPIC_BASE + 0x390), 500000);
}

static bool set_msr(struct apics *a, unsigned cpu, uint32_t index, uint64_t value)
{
    return lapic_write_msr(a->lapic[cpu], index, value);
}

static uint64_t get_msr(struct apics *a, unsigned cpu, uint32_t index)
{
    uint64_t value = 0;
    assert_true(lapic_read_msr(a->lapic[cpu], index, &value));
    return value;
}

#define BASE_MSR 0x1b
#define ON       (LAPIC_BASE | 0x800)
#define EXTENDED (LAPIC_BASE | 0xc00)

/* SDM volume 3, figure 11-9: the modes and the ways between them. */
static void test_extended_modes(void **state)
{
    struct apics *a = *state;
    uint64_t value;
    assert_false(lapic_read_msr(a->lapic[0], 0x802, &value));
    assert_false(set_msr(a, 0, BASE_MSR, LAPIC_BASE | 0x400));
    assert_true(set_msr(a, 0, BASE_MSR, EXTENDED));
    assert_int_equal(get_msr(a, 0, BASE_MSR), EXTENDED | 0x100);
    assert_false(set_msr(a, 0, BASE_MSR, ON));
    assert_false(set_msr(a, 0, BASE_MSR, LAPIC_BASE | 0x400));
    assert_true(set_msr(a, 0, BASE_MSR, LAPIC_BASE));
    assert_false(set_msr(a, 0, BASE_MSR, EXTENDED));
    assert_true(set_msr(a, 0, BASE_MSR, ON));
    assert_true(set_msr(a, 0, BASE_MSR, EXTENDED));
    /* Memory shows nothing, and takes nothing. */
    write32(a, LAPIC_BASE + 0x80, 0x20);
    assert_int_equal(read32(a, LAPIC_BASE + 0x80), UINT32_MAX);
    assert_int_equal(get_msr(a, 0, 0x808), 0);
}

static void test_extended_registers(void **state)
{
    struct apics *a = *state;
    uint64_t value;
    assert_true(set_msr(a, 1, BASE_MSR, EXTENDED));
    assert_int_equal(get_msr(a, 1, 0x802), 1);
    assert_int_equal(get_msr(a, 1, 0x80d), 2);
    static const uint16_t read_only[] = {0x802, 0x803, 0x80a, 0x80d, 0x810, 0x820, 0x839},
                          absent[] = {0x80e, 0x831, 0x800, 0x840, 0x8ff},
                          write_only[] = {0x80b, 0x83f};
    for (size_t i = 0; i < G_N_ELEMENTS(read_only); i++)
        assert_false(set_msr(a, 1, read_only[i], 0));
    for (size_t i = 0; i < G_N_ELEMENTS(absent); i++)
        assert_true(!set_msr(a, 1, absent[i], 0) &&
                    !lapic_read_msr(a->lapic[1], absent[i], &value));
    for (size_t i = 0; i < G_N_ELEMENTS(write_only); i++)
        assert_false(lapic_read_msr(a->lapic[1], write_only[i], &value));
    assert_false(set_msr(a, 1, 0x808, 0x100));
    assert_false(set_msr(a, 1, 0x80b, 1));
    assert_false(set_msr(a, 1, 0x838, UINT64_C(1) << 32));
    assert_true(set_msr(a, 1, 0x808, 0x50));
    assert_int_equal(lapic_read_tpr(a->lapic[1]), 5);
}

static void test_extended_interrupts(void **state)
{
    struct apics *a = *state;
    assert_true(set_msr(a, 0, BASE_MSR, EXTENDED) && set_msr(a, 1, BASE_MSR, EXTENDED));
    assert_true(set_msr(a, 0, 0x83f, 0x41)); /* to itself */
    assert_int_equal(lapic_acknowledge(a->lapic[0]), 0x41);
    assert_true(set_msr(a, 0, 0x80b, 0));
    assert_true(set_msr(a, 0, 0x830, UINT64_C(1) << 32 | 0x42)); /* by id */
    assert_int_equal(get_msr(a, 0, 0x830), UINT64_C(1) << 32 | 0x42);
    assert_int_equal(lapic_acknowledge(a->lapic[1]), 0x42);
    assert_true(set_msr(a, 1, 0x80b, 0));
    assert_true(set_msr(a, 0, 0x830, UINT64_C(2) << 32 | 0x843)); /* by place in cluster 0 */
    assert_int_equal(lapic_acknowledge(a->lapic[1]), 0x43);
    assert_true(set_msr(a, 1, 0x80b, 0));
    assert_true(set_msr(a, 0, 0x830, UINT64_C(0x10002) << 32 | 0x844)); /* cluster 1: nobody */
    assert_int_equal(a->level[1], 0);
    assert_true(set_msr(a, 0, 0x830, UINT64_C(0xffffffff) << 32 | 0x45)); /* everybody */
    assert_int_equal(lapic_acknowledge(a->lapic[0]), 0x45);
    assert_int_equal(lapic_acknowledge(a->lapic[1]), 0x45);
    assert_true(set_msr(a, 0, 0x80b, 0) && set_msr(a, 1, 0x80b, 0));
    /* Eight-bit destinations of messages. */
    lapic_bus_message(&a->bus, 0xfee01000, 0x46);
    assert_int_equal(lapic_acknowledge(a->lapic[1]), 0x46);
    assert_int_equal(a->level[0], 0);
    lapic_bus_message(&a->bus, 0xfeeff000, 0x47);
    assert_int_equal(lapic_acknowledge(a->lapic[0]), 0x47);
}

static void test_deadline(void **state)
{
    struct apics *a = *state;
    assert_true(set_msr(a, 0, 0x6e0, 1000)); /* not its mode: nothing */
    assert_int_equal(get_msr(a, 0, 0x6e0), 0);
    write32(a, LAPIC_BASE + 0x320, 0x40061);
    assert_true(set_msr(a, 0, 0x6e0, 1000));
    assert_int_equal(get_msr(a, 0, 0x6e0), 1000);
    write32(a, LAPIC_BASE + 0x380, 5); /* the counter is not this mode's */
    assert_int_equal(read32(a, LAPIC_BASE + 0x390), 0);
    guest_clock_set(a->board.clock, 999);
    guest_clock_fire_due(a->board.clock);
    assert_int_equal(a->level[0], 0);
    guest_clock_set(a->board.clock, 1000);
    guest_clock_fire_due(a->board.clock);
    assert_int_equal(lapic_acknowledge(a->lapic[0]), 0x61);
    assert_int_equal(get_msr(a, 0, 0x6e0), 0);
    write32(a, LAPIC_BASE + 0xb0, 0);
    /* Written 0, or the mode left: it does not come. */
    assert_true(set_msr(a, 0, 0x6e0, 2000) && set_msr(a, 0, 0x6e0, 0));
    assert_true(set_msr(a, 0, 0x6e0, 2000));
    write32(a, LAPIC_BASE + 0x320, 0x00061);
    guest_clock_set(a->board.clock, 3000);
    guest_clock_fire_due(a->board.clock);
    assert_int_equal(a->level[0], 0);
    assert_true(guest_clock_next_deadline(a->board.clock) == INT64_MAX);
}

int main(void)
{
#define APIC_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {APIC_TEST(test_edge),
                                       APIC_TEST(test_level),
                                       APIC_TEST(test_task_priority),
                                       APIC_TEST(test_interprocessor),
                                       APIC_TEST(test_timer),
                                       APIC_TEST(test_extended_modes),
                                       APIC_TEST(test_extended_registers),
                                       APIC_TEST(test_extended_interrupts),
                                       APIC_TEST(test_deadline)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
