/*
 * Time that a machine was not there for, and KVM's clock: on a machine whose clock stands still but
 * where the test moves it.
 */
#include "emu/cpu/cpu.h"
#include "emu/cpu/system.h"
#include "emu/device/cmos.h"
#include "emu/machine/machine_internal.h"
#include "tests/unit/emu/fixture.h"

#define SYSTEM_TIME 0x4b564d01
#define WALL_CLOCK  0x4b564d00
#define AT          0x5000

struct pvclock {
    uint32_t version, pad;
    uint64_t tsc, time;
    uint32_t mul;
    int8_t shift;
    uint8_t flags, pad2[2];
};

static struct pvclock read_clock(struct fixture *f)
{
    struct pvclock clock;
    G_STATIC_ASSERT(sizeof(clock) == 32);
    memory_read(f->board->memory, AT, &clock, sizeof(clock));
    return clock;
}

/* As the guest computes it. */
static uint64_t guest_time(const struct pvclock *clock, uint64_t tsc)
{
    uint64_t delta = (tsc - clock->tsc) << clock->shift;
    return clock->time + (uint64_t)((unsigned __int128)delta * clock->mul >> 32);
}

static void test_kvm_clock(void **state)
{
    struct fixture *f = fixture_new(false);
    struct cpu *cpu = f->machine->vcpus[0].cpu;
    uint64_t value;
    uint32_t wall[3];

    guest_clock_set(f->board->clock, 5 * NS_PER_SECOND);
    assert_true(system_write_msr(cpu, SYSTEM_TIME, AT | 1));
    assert_true(system_read_msr(cpu, SYSTEM_TIME, &value));
    assert_int_equal(value, AT | 1);
    struct pvclock clock = read_clock(f);
    assert_int_equal(clock.version & 1, 0);
    assert_int_equal(clock.flags, 1);
    assert_int_equal(guest_time(&clock, cpu_read_tsc(cpu)), 5 * NS_PER_SECOND);
    guest_clock_set(f->board->clock, 4000 * NS_PER_SECOND + 7);
    assert_int_equal(guest_time(&clock, cpu_read_tsc(cpu)), 4000 * NS_PER_SECOND + 7);
    /* A guest that sets its time stamp counter changes nothing about the clock. */
    assert_true(system_write_msr(cpu, 0x10, 12345));
    uint32_t version = clock.version;
    clock = read_clock(f);
    assert_true(clock.version > version);
    assert_int_equal(guest_time(&clock, cpu_read_tsc(cpu)), 4000 * NS_PER_SECOND + 7);

    assert_true(system_write_msr(cpu, WALL_CLOCK, AT + 0x100));
    memory_read(f->board->memory, AT + 0x100, wall, sizeof(wall));
    int64_t now = (int64_t)time(NULL), told = wall[1] + 4000;
    assert_true(told <= now && told >= now - 60 && !(wall[0] & 1) && wall[2] < 1000000000);

    /* Off, and where there is no memory: nothing is written. */
    assert_true(system_write_msr(cpu, SYSTEM_TIME, AT));
    memory_store(f->board->memory, AT + 29, 0x55, 1);
    cpu_tell_stopped(cpu);
    assert_int_equal(memory_load(f->board->memory, AT + 29, 1), 0x55);
    assert_true(system_write_msr(cpu, SYSTEM_TIME, UINT64_C(0xfee00001)));
    cpu_tell_stopped(cpu);
    assert_int_equal(paravirtual_call(cpu, 1, 0, 0), -1000);
    assert_int_equal(paravirtual_call(cpu, 9, AT + 0x200, 0), 0);
    assert_int_equal(memory_load(f->board->memory, AT + 0x210, 8), cpu_read_tsc(cpu));
    fixture_free(f);
}

static void test_missed(void **state)
{
    struct fixture *f = fixture_new(false);
    struct machine *m = f->machine;
    struct guest_clock *clock = f->board->clock;
    int64_t start = 10 * NS_PER_SECOND, hour = 3600 * NS_PER_SECOND;

    guest_clock_set(clock, start);
    assert_true(system_write_msr(m->vcpus[0].cpu, SYSTEM_TIME, AT | 1));
    machine_missed(m, -NS_PER_SECOND);
    assert_int_equal(guest_clock_now(clock), start);
    assert_int_equal(read_clock(f).flags, 1);
    /* Up to five minutes at once. */
    machine_missed(m, 200 * NS_PER_SECOND);
    assert_int_equal(guest_clock_now(clock), start += 200 * NS_PER_SECOND);
    assert_int_equal(read_clock(f).flags, 3);
    assert_int_equal(machine_catch_up(m), -1);
    /* More in steps, the next no sooner than the guest has had time to look. */
    machine_missed(m, hour);
    int64_t passed = 300 * NS_PER_SECOND;
    assert_int_equal(guest_clock_now(clock), start + passed);
    assert_true(machine_catch_up(m) > 0);
    assert_int_equal(guest_clock_now(clock), start + passed);
    while (m->behind) {
        int64_t wait = machine_catch_up(m);
        if (wait > 0)
            guest_clock_set(clock, guest_clock_now(clock) + wait), start += wait;
    }
    assert_int_equal(guest_clock_now(clock), start + hour);
    assert_int_equal(machine_catch_up(m), -1);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_kvm_clock),
                                       cmocka_unit_test(test_missed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
