/*
 * KVM's clock, as the kernel gives it to a guest (Linux, Documentation/virt/kvm/x86/msr.rst;
 * api.rst: KVM_SET_CLOCK, KVM_KVMCLOCK_CTRL).
 *
 * It shows guest time, as under other engines (emu/cpu/paravirtual.c): whenever the guest's clock
 * was stopped, put forward or loaded, the kernel's is set by it before a CPU runs. Between two such
 * moments the kernel's goes by the time-stamp counter, ours by the host's monotonic clock, which is
 * steered: they may come apart by some parts in a million. The guest must not see its clock go
 * back; so what it is ahead is measured when CPUs leave, and added when it is set.
 *
 * Where the guest wants its clock is part of the CPU's state. The wall clock is written once, when
 * the guest asks, and never again by us: it is in the guest's memory.
 */
#include "emu/kvm/kvm.h"

#include "emu/core/clock.h"
#include <sys/ioctl.h>

#define MSR_WALL_CLOCK  0x4b564d00
#define MSR_SYSTEM_TIME 0x4b564d01
#define TIME_ENABLED    1

static bool has_clock(const struct kvm_cpu *kv)
{
    return has_feature(&kv->cpu->model->features, FEATURE_KVMCLOCK);
}

bool kvm_clock_out(struct kvm_cpu *kv)
{
    struct cpu_state *s = &kv->cpu->s;
    uint64_t time, wall;
    if (!has_clock(kv))
        return true;
    if (!kvm_get_msr(kv, MSR_SYSTEM_TIME, &time) || !kvm_get_msr(kv, MSR_WALL_CLOCK, &wall))
        return kvm_fail(kv, "KVM_GET_MSRS of the clock's registers");
    if (time != kv->clock.time)
        s->kvm_system_time = kv->clock.time = time;
    if (wall != kv->clock.wall)
        s->kvm_wall_clock = kv->clock.wall = wall;
    return true;
}

bool kvm_clock_in(struct kvm_cpu *kv)
{
    const struct cpu_state *s = &kv->cpu->s;
    if (!has_clock(kv))
        return true;
    if (s->kvm_system_time != kv->clock.time) {
        if (!kvm_set_msr(kv, MSR_SYSTEM_TIME, s->kvm_system_time))
            return kvm_fail(kv, "KVM_SET_MSRS of the clock's register");
        kv->clock.time = s->kvm_system_time;
    }
    if (kv->clock.stopped && s->kvm_system_time & TIME_ENABLED)
        ioctl(kv->fd, KVM_KVMCLOCK_CTRL, 0); /* kernels without it tell nobody */
    kv->clock.stopped = false;
    return true;
}

void kvm_clock_stopped(struct cpu *cpu)
{
    struct kvm_cpu *kv = cpu->kvm;
    kv->clock.stopped = true;
}

/* ---- the VM's ---------------------------------------------------------------------------- */

void kvm_clock_set(struct kvm_vm *vm)
{
    const struct guest_clock *clock = vm->board->clock;
    pthread_mutex_lock(&vm->clock.lock);
    unsigned generation = guest_clock_generation(clock);
    if (vm->host.clock && (!vm->clock.is_set || vm->clock.generation != generation)) {
        struct kvm_clock_data data = {.clock =
                                          (uint64_t)(guest_clock_now(clock) + vm->clock.ahead)};
        vm->clock.is_set = ioctl(vm->fd, KVM_SET_CLOCK, &data) == 0;
        vm->clock.generation = generation;
    }
    pthread_mutex_unlock(&vm->clock.lock);
}

void kvm_clock_note(struct kvm_vm *vm)
{
    const struct guest_clock *clock = vm->board->clock;
    struct kvm_clock_data data = {0};
    pthread_mutex_lock(&vm->clock.lock);
    if (vm->clock.is_set && vm->clock.generation == guest_clock_generation(clock) &&
        ioctl(vm->fd, KVM_GET_CLOCK, &data) == 0) {
        int64_t ahead = (int64_t)data.clock - guest_clock_now(clock);
        vm->clock.ahead = ahead > 0 ? ahead : 0;
    }
    pthread_mutex_unlock(&vm->clock.lock);
}

void kvm_clock_forget(struct kvm_vm *vm)
{
    pthread_mutex_lock(&vm->clock.lock);
    vm->clock.ahead = 0;
    pthread_mutex_unlock(&vm->clock.lock);
}
