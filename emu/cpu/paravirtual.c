/*
 * What a guest that knows KVM's interface gets of it: the clock (Linux, Documentation/virt/kvm/x86,
 * msr.rst and cpuid.rst, and hypercalls.rst).
 *
 * The clock is the guest's own: nanoseconds of guest time, with the time stamp counter as they are
 * when the guest says where it wants them. Both count the same, so that what is written once holds
 * for ever; only the counter's offset and the flag that tells of a pause change it.
 */
#include "emu/core/clock.h"
#include "emu/core/memory.h"
#include "emu/cpu/engine.h"
#include "emu/cpu/models.h"
#include "emu/cpu/system.h"
#include <time.h>

#define TIME_ENABLED  1
#define FLAG_STABLE   1
#define FLAG_STOPPED  2
#define TIME_SIZE     32 /* struct pvclock_vcpu_time_info, its flags at 29 */
#define TIME_FLAGS_AT 29

#define HYPERCALL_CLOCK_PAIRING 9
#define ERROR_NO_SUCH_CALL      1000
#define ERROR_NOT_PERMITTED     1
#define ERROR_FAULT             14
#define ERROR_NOT_SUPPORTED     95

static void put(uint8_t *at, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static int64_t real_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

/* Odd while it changes: the guest reads again then. */
static void write_versioned(struct cpu *cpu, uint64_t address, uint8_t *bytes, unsigned size)
{
    struct memory_map *memory = cpu->board->memory;
    uint8_t version[4] = {0};
    if (!memory_dma_read(memory, address, version, 4))
        return;
    uint32_t number = version[0] | version[1] << 8 | version[2] << 16 | (uint32_t)version[3] << 24;
    number |= 1;
    put(version, number, 4);
    memory_dma_write(memory, address, version, 4);
    memory_dma_write(memory, address + 4, bytes + 4, size - 4);
    put(version, number + 1, 4);
    memory_dma_write(memory, address, version, 4);
}

void paravirtual_write_time(struct cpu *cpu)
{
    uint64_t where = cpu->s.kvm_system_time;
    if (!(where & TIME_ENABLED))
        return;
    uint8_t bytes[TIME_SIZE] = {0};
    uint64_t tsc = cpu_read_tsc(cpu);
    put(bytes + 8, tsc, 8);
    put(bytes + 16, tsc - cpu->s.tsc_offset, 8);
    put(bytes + 24, UINT32_C(1) << 31, 4); /* ns a tick in 2^-32, after a shift by one */
    bytes[28] = 1;
    bytes[TIME_FLAGS_AT] = FLAG_STABLE;
    write_versioned(cpu, where & ~UINT64_C(3), bytes, sizeof(bytes));
}

void paravirtual_write_wall_clock(struct cpu *cpu)
{
    uint64_t now = cpu_read_tsc(cpu) - cpu->s.tsc_offset;
    int64_t start = real_now() - (int64_t)now;
    uint8_t bytes[12] = {0};
    put(bytes + 4, (uint64_t)(start / NS_PER_SECOND), 4);
    put(bytes + 8, (uint64_t)(start % NS_PER_SECOND), 4);
    write_versioned(cpu, cpu->s.kvm_wall_clock & ~UINT64_C(3), bytes, sizeof(bytes));
}

void cpu_tell_stopped(struct cpu *cpu)
{
    uint64_t where = cpu->s.kvm_system_time;
    uint8_t flags = FLAG_STABLE | FLAG_STOPPED;
    if (cpu->engine->tell_stopped)
        cpu->engine->tell_stopped(cpu);
    else if (where & TIME_ENABLED)
        memory_dma_write(cpu->board->memory, (where & ~UINT64_C(3)) + TIME_FLAGS_AT, &flags, 1);
}

void cpu_renew_clock(struct cpu *cpu)
{
    if (!cpu->engine->tell_stopped)
        paravirtual_write_time(cpu);
}

/* ---- hypercalls ------------------------------------------------------------------------------ */

/* Guest and host time at one moment, for the guest's time service. */
static int64_t clock_pairing(struct cpu *cpu, uint64_t address, uint64_t kind)
{
    uint8_t bytes[64] = {0};
    if (kind != 0)
        return -ERROR_NOT_SUPPORTED;
    uint64_t tsc = cpu_read_tsc(cpu);
    int64_t real = real_now();
    put(bytes, (uint64_t)(real / NS_PER_SECOND), 8);
    put(bytes + 8, (uint64_t)(real % NS_PER_SECOND), 8);
    put(bytes + 16, tsc, 8);
    return memory_dma_write(cpu->board->memory, address, bytes, sizeof(bytes)) ? 0 : -ERROR_FAULT;
}

int64_t paravirtual_call(struct cpu *cpu, uint64_t number, uint64_t first, uint64_t second)
{
    if (cpu->s.cpl)
        return -ERROR_NOT_PERMITTED;
    if (number == HYPERCALL_CLOCK_PAIRING)
        return clock_pairing(cpu, first, second);
    return -ERROR_NO_SUCH_CALL;
}
