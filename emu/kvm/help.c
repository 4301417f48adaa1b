/*
 * What the reference engine does for KVM: instructions that KVM does not know, and system
 * management mode altogether. Its handlers are short, and so it is the same on every kernel and
 * leaves the same state behind as under every engine. Interrupts wait until RSM, whether or not the
 * handler lets them in.
 *
 * KVM's own system management mode (KVM_CAP_X86_SMM) is not used. An SMI that a CPU sends with the
 * kernel's local APIC, as no firmware of this board does, does not come here.
 */
#include "emu/kvm/kvm.h"

#include "emu/cpu/interp.h"
#include "emu/cpu/system.h"

/* Iterations of one REP instruction that the interpreter does at a time. */
#define REPEATS_MAX 4096
/* Instructions in system management mode before requests are looked at. */
#define TURN 1024

/* What the kernel was delivering when it was left is delivered here. */
bool kvm_finish_event(struct kvm_cpu *kv)
{
    if (!kv->event.is_there)
        return false;
    kv->event.is_there = false;
    interp_prepare_step(kv->cpu);
    kv->cpu->s.shadow = false;
    if (kv->event.vector == VEC_NMI)
        kv->cpu->s.nmi_blocked = true;
    interp_step_event(kv->cpu, kv->event.vector, kv->event.has_error, kv->event.error);
    return true;
}

static void step(struct kvm_cpu *kv)
{
    struct cpu *cpu = kv->cpu;
    uint64_t rip = cpu->s.rip;
    interp_prepare_step(cpu);
    for (unsigned i = 0; i < REPEATS_MAX; i++) {
        interp_step(cpu);
        kv->stats.steps++;
        if (cpu->s.rip != rip || cpu->s.shutdown || cpu->s.halted ||
            atomic_load(&cpu->requests) & ~(unsigned)REQUEST_SIPI)
            return;
    }
}

void kvm_help(struct kvm_cpu *kv)
{
    kv->unfinished = false;
    kv->stats.emulated++;
    if (!kvm_state_out(kv))
        return;
    uint64_t tsc_offset = kv->cpu->s.tsc_offset;
    /* Kernels that do not know KVM_CAP_EXIT_ON_EMULATION_FAILURE have put #UD in its place. */
    bool failure = kv->run->exit_reason == KVM_EXIT_INTERNAL_ERROR &&
                   kv->run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION;
    if (failure && kv->event.is_there && kv->event.vector == VEC_UD)
        kv->event.is_there = false;
    if (!kvm_finish_event(kv))
        step(kv);
    kv->set_tsc |= kv->cpu->s.tsc_offset != tsc_offset;
}

/* ---- system management mode -------------------------------------------------------------- */

/* Between two instructions of a CPU whose state is here. */
static void enter_system_mode(struct kvm_cpu *kv)
{
    struct cpu *cpu = kv->cpu;
    if (kvm_finish_event(kv))
        return;
    if (cpu->s.shadow) {
        step(kv);
        return;
    }
    system_take(cpu, REQUEST_SMI);
    interp_prepare_step(cpu);
    smm_enter(cpu);
    cpu->s.rflags = cpu_get_rflags(cpu);
    kv->stats.smis++;
}

/* A handler that waits for interrupts with HLT goes on at once: none is let in. */
static void run_system_mode(struct kvm_cpu *kv)
{
    struct cpu *cpu = kv->cpu;
    uint64_t tsc_offset = cpu->s.tsc_offset;
    interp_prepare_step(cpu);
    for (unsigned i = 0; i < TURN && cpu->s.smm && !cpu->s.shutdown; i++) {
        interp_step(cpu);
        kv->stats.steps++;
        if (cpu->s.smm)
            cpu->s.halted = false;
        if (atomic_load(&cpu->requests) & REQUEST_KICK)
            break;
    }
    kv->set_tsc |= cpu->s.tsc_offset != tsc_offset;
}

bool kvm_system_mode(struct kvm_cpu *kv)
{
    struct cpu *cpu = kv->cpu;
    if (cpu->s.smm) {
        run_system_mode(kv);
        return true;
    }
    if (!(atomic_load(&cpu->requests) & REQUEST_SMI) || !kvm_state_out(kv))
        return false;
    if (cpu->s.wait_for_sipi)
        return false; /* it waits, too */
    enter_system_mode(kv);
    return true;
}
