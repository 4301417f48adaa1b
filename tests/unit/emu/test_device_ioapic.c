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

int main(void)
{
#define APIC_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {APIC_TEST(test_edge), APIC_TEST(test_level),
                                       APIC_TEST(test_task_priority),
                                       APIC_TEST(test_interprocessor), APIC_TEST(test_timer)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
