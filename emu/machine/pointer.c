/*
 * The absolute pointer: between its device, the CPU that asks it, and who moves it.
 */
#include "emu/cpu/cpu.h"
#include "emu/cpu/state.h"
#include "emu/device/i8042.h"
#include "emu/device/vmmouse.h"
#include "emu/machine/machine_internal.h"

static const unsigned registers_used[VMMOUSE_REGISTERS] = {RAX, RBX, RCX, RDX};

/* The CPU whose thread this is: a port access runs on it. */
static struct cpu *current_cpu(struct machine *machine)
{
    for (unsigned i = 0; i < machine->vcpu_count; i++) {
        struct vcpu *vcpu = &machine->vcpus[i];
        if (vcpu->started && pthread_equal(vcpu->thread, pthread_self()))
            return vcpu->cpu;
    }
    return NULL;
}

static bool get_registers(void *opaque, uint32_t registers[VMMOUSE_REGISTERS])
{
    struct cpu *cpu = current_cpu(opaque);
    if (!cpu)
        return false;
    cpu_fetch_registers(cpu);
    for (unsigned i = 0; i < VMMOUSE_REGISTERS; i++)
        registers[i] = (uint32_t)cpu_state(cpu)->gpr[registers_used[i]];
    return true;
}

static void set_registers(void *opaque, const uint32_t registers[VMMOUSE_REGISTERS])
{
    struct cpu *cpu = current_cpu(opaque);
    for (unsigned i = 0; cpu && i < VMMOUSE_REGISTERS; i++)
        cpu_state(cpu)->gpr[registers_used[i]] = registers[i];
    if (cpu)
        cpu_store_registers(cpu);
}

static void nudge(void *opaque)
{
    i8042_mouse(((struct machine *)opaque)->devices[PC_I8042], 0, 0, 0);
}

void pointer_wire(struct machine *machine)
{
    const struct vmmouse_ends ends = {get_registers, set_registers, nudge, machine->config->memory,
                                      machine};
    vmmouse_connect(machine->devices[PC_VMMOUSE], &ends);
}

bool machine_point(struct machine *machine, unsigned x, unsigned y, unsigned buttons, int wheel)
{
    struct device *mouse = machine->devices[PC_VMMOUSE];
    board_lock(&machine->board);
    bool absolute = vmmouse_is_absolute(mouse);
    if (absolute)
        vmmouse_point(mouse, x, y, buttons, wheel);
    board_unlock(&machine->board);
    return absolute;
}
