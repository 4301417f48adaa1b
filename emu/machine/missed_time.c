/*
 * Real time that the machine was not there for: paused, or in a file. The guest's clock, and with
 * it every counter and timer, is put forward by it, so that the guest's wall clock is right again
 * without anyone setting it. It goes in steps: systems compute with the differences of two looks at
 * a counter, and Linux's arithmetic holds for some 15 minutes; between two steps the guest must get
 * to look. A guest that reads KVM's clock is told that it was stopped, so that its watchdogs, which
 * see seconds pass without a sign of life, hold still.
 */
#include "emu/core/clock.h"
#include "emu/cpu/cpu.h"
#include "emu/machine/machine_internal.h"

#define STEP (300 * NS_PER_SECOND)
#define PACE (NS_PER_SECOND / 10) /* of guest time between two steps */

static void step(struct machine *machine)
{
    struct guest_clock *clock = machine->board.clock;
    int64_t ns = MIN(machine->behind, STEP);
    if (ns == 0)
        return;
    machine->behind -= ns;
    guest_clock_skip(clock, ns);
    for (unsigned i = 0; i < machine->vcpu_count; i++)
        cpu_tell_stopped(machine->vcpus[i].cpu);
    machine->next_step = guest_clock_now(clock) + PACE;
}

void machine_missed(struct machine *machine, int64_t ns)
{
    /* A host's clock that was put back: the guest's does not follow. */
    machine->behind += MAX(ns, 0);
    step(machine);
}

int64_t machine_catch_up(struct machine *machine)
{
    if (machine->behind == 0 || machine->paused)
        return -1;
    int64_t left = machine->next_step - guest_clock_now(machine->board.clock);
    if (left > 0)
        return left;
    vcpus_hold(machine);
    step(machine);
    vcpus_release(machine);
    return machine->behind ? PACE : -1;
}
