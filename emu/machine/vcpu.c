#include "emu/core/chips.h"
#include "emu/core/doorbell.h"
#include "emu/cpu/cpu.h"
#include "emu/machine/machine_internal.h"

/* ---- the CPU's wires --------------------------------------------------------------------- */

static int acknowledge(void *opaque)
{
    return lapic_acknowledge(((struct vcpu *)opaque)->lapic);
}

static unsigned read_tpr(void *opaque)
{
    return lapic_read_tpr(((struct vcpu *)opaque)->lapic);
}

static void write_tpr(void *opaque, unsigned value)
{
    lapic_write_tpr(((struct vcpu *)opaque)->lapic, value);
}

static bool read_msr(void *opaque, uint32_t index, uint64_t *ret_value)
{
    return lapic_read_msr(((struct vcpu *)opaque)->lapic, index, ret_value);
}

static bool write_msr(void *opaque, uint32_t index, uint64_t value)
{
    return lapic_write_msr(((struct vcpu *)opaque)->lapic, index, value);
}

static const struct cpu_ops cpu_wires = {acknowledge, read_tpr, write_tpr, read_msr, write_msr};

static void set_interrupt(void *opaque, bool level)
{
    struct vcpu *vcpu = opaque;
    if (vcpu->cpu)
        cpu_set_interrupt(vcpu->cpu, level);
}

static void send_nmi(void *opaque)
{
    cpu_request_nmi(((struct vcpu *)opaque)->cpu);
}

static void send_smi(void *opaque)
{
    cpu_request_smi(((struct vcpu *)opaque)->cpu);
}

static void send_init(void *opaque)
{
    cpu_request_init(((struct vcpu *)opaque)->cpu);
}

static void send_sipi(void *opaque, uint8_t vector)
{
    cpu_request_sipi(((struct vcpu *)opaque)->cpu, vector);
}

static const struct lapic_cpu lapic_wires = {set_interrupt, send_nmi, send_smi, send_init,
                                             send_sipi};

/* ---- threads ----------------------------------------------------------------------------- */

/* Stays here while the CPUs are held; false when the thread is to end. */
static bool park(struct vcpu *vcpu)
{
    struct machine *machine = vcpu->machine;
    pthread_mutex_lock(&machine->lock);
    while (machine->hold && !machine->ending) {
        vcpu->parked = true;
        pthread_cond_broadcast(&machine->changed);
        pthread_cond_wait(&machine->changed, &machine->lock);
    }
    vcpu->parked = false;
    bool go_on = !machine->ending;
    pthread_mutex_unlock(&machine->lock);
    return go_on;
}

static void *run(void *argument)
{
    struct vcpu *vcpu = argument;
    lapic_bus_enter(&vcpu->machine->lapic_bus, vcpu->lapic);
    while (park(vcpu)) {
        switch (cpu_run(vcpu->cpu)) {
        case CPU_EXIT_HALTED:
            cpu_wait(vcpu->cpu);
            break;
        case CPU_EXIT_TRIPLE_FAULT:
            machine_request(vcpu->machine, REQUEST_TRIPLE_FAULT);
            break;
        case CPU_EXIT_DIVERGED:
            machine_request(vcpu->machine, REQUEST_DIVERGED);
            break;
        default:
            break;
        }
    }
    return NULL;
}

static size_t code_cache_of(const struct machine_config *config)
{
    return CLAMP(config->code_cache / config->cpus, CPU_CODE_CACHE_MIN, CPU_CODE_CACHE_MAX);
}

bool vcpus_new(struct machine *machine, GError **error)
{
    const struct machine_config *config = machine->config;
    machine->board.cpus = config->cpus;
    chips_set_wish(machine->board.chips, config->kernel_irqchip);
    for (unsigned i = 0; i < config->cpus; i++) {
        struct vcpu *vcpu = &machine->vcpus[i];
        vcpu->machine = machine;
        vcpu->lapic = device_new(&lapic_ops, &machine->board);
        lapic_connect(vcpu->lapic, &machine->lapic_bus, i, &lapic_wires, vcpu);
        machine->vcpu_count = i + 1;
        vcpu->cpu =
            cpu_new(&machine->board, i, config->engine, config->cpu_model, &cpu_wires, vcpu, error);
        if (vcpu->cpu && config->code_cache &&
            !cpu_set_code_cache(vcpu->cpu, code_cache_of(config), error))
            return false;
        if (vcpu->cpu && !cpu_observe(vcpu->cpu, config->observe, error))
            return false;
        if (!vcpu->cpu || !vcpu->lapic->ops->realize(vcpu->lapic, error))
            return false;
    }
    return true;
}

void vcpus_start(struct machine *machine)
{
    for (unsigned i = 0; i < machine->vcpu_count; i++) {
        struct vcpu *vcpu = &machine->vcpus[i];
        vcpu->started = pthread_create(&vcpu->thread, NULL, run, vcpu) == 0;
    }
}

static void kick_all(struct machine *machine)
{
    for (unsigned i = 0; i < machine->vcpu_count; i++) {
        if (machine->vcpus[i].cpu)
            cpu_kick(machine->vcpus[i].cpu);
    }
}

static bool all_parked(const struct machine *machine)
{
    for (unsigned i = 0; i < machine->vcpu_count; i++) {
        if (machine->vcpus[i].started && !machine->vcpus[i].parked)
            return false;
    }
    return true;
}

void vcpus_hold(struct machine *machine)
{
    pthread_mutex_lock(&machine->lock);
    machine->hold = true;
    while (!all_parked(machine)) {
        /* A kick ends one cpu_run() only, and a thread may be about to enter another. */
        kick_all(machine);
        struct timespec soon;
        clock_gettime(CLOCK_REALTIME, &soon);
        soon.tv_nsec += 10000000;
        if (soon.tv_nsec >= 1000000000) {
            soon.tv_nsec -= 1000000000;
            soon.tv_sec++;
        }
        pthread_cond_timedwait(&machine->changed, &machine->lock, &soon);
    }
    pthread_mutex_unlock(&machine->lock);
    board_lock(&machine->board);
    chips_take_back(machine->board.chips);
    doorbells_serve(machine->board.doorbells);
    board_unlock(&machine->board);
}

void vcpus_release(struct machine *machine)
{
    board_lock(&machine->board);
    chips_hand_over(machine->board.chips);
    board_unlock(&machine->board);
    pthread_mutex_lock(&machine->lock);
    machine->hold = false;
    pthread_cond_broadcast(&machine->changed);
    pthread_mutex_unlock(&machine->lock);
}

void vcpus_stop(struct machine *machine)
{
    if (!machine->vcpus[0].started)
        return;
    vcpus_hold(machine);
    pthread_mutex_lock(&machine->lock);
    machine->ending = true;
    pthread_cond_broadcast(&machine->changed);
    pthread_mutex_unlock(&machine->lock);
    for (unsigned i = 0; i < machine->vcpu_count; i++) {
        if (machine->vcpus[i].started)
            pthread_join(machine->vcpus[i].thread, NULL);
        machine->vcpus[i].started = false;
    }
}

void vcpus_free(struct machine *machine)
{
    for (unsigned i = 0; i < machine->vcpu_count; i++) {
        struct vcpu *vcpu = &machine->vcpus[i];
        device_free(vcpu->lapic);
        if (vcpu->cpu)
            cpu_free(vcpu->cpu);
    }
    machine->vcpu_count = 0;
}
