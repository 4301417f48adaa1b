/* The engine: its loop, and what comes out of KVM_RUN. */
#include "emu/kvm/kvm.h"

#include "emu/core/doorbell.h"
#include "emu/core/port.h"
#include "emu/cpu/interp.h"
#include "emu/cpu/system.h"
#include <errno.h>
#include <gio/gio.h>
#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define MSR_APIC_BASE    0x1b
#define BLOCK_CACHE_SIZE (1u << 20)
#define KICK_SIGNAL      SIGUSR1
/* ---- exits ------------------------------------------------------------------------------- */

static void port_exit(struct kvm_cpu *kv)
{
    const struct kvm_run *run = kv->run;
    struct port_map *ports = kv->cpu->board->ports;
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    kv->stats.ports++;
    kv->unfinished = true;
    if (run->io.direction == KVM_EXIT_IO_IN)
        port_read_string(ports, run->io.port, run->io.size, data, run->io.count);
    else
        port_write_string(ports, run->io.port, run->io.size, data, run->io.count);
}

static void mmio_exit(struct kvm_cpu *kv)
{
    struct kvm_run *run = kv->run;
    struct memory_map *map = kv->cpu->board->memory;
    uint64_t address = run->mmio.phys_addr & memory_a20_mask(map);
    unsigned length = MIN(run->mmio.len, 8);
    kv->stats.mmio++;
    kv->unfinished = true;
    if (run->mmio.is_write)
        memory_write(map, address, run->mmio.data, length);
    else
        memory_read(map, address, run->mmio.data, length);
}

/* The kernel does not know it, or not in this state: the local APIC may, or the interpreter. */
static void msr_exit(struct kvm_cpu *kv)
{
    struct kvm_run *run = kv->run;
    uint64_t value = run->msr.data;
    bool deadline = run->msr.index == KVM_MSR_TSC_DEADLINE;
    kv->stats.msrs++;
    kv->unfinished = true;
    if (deadline && !kvm_tsc_out(kv))
        return;
    if (run->exit_reason == KVM_EXIT_X86_WRMSR) {
        if (deadline && value)
            value = MAX(kvm_tsc_to_board(kv, value), 1);
        run->msr.error = !system_write_msr(kv->cpu, run->msr.index, value);
    } else {
        run->msr.error = !system_read_msr(kv->cpu, run->msr.index, &value);
        run->msr.data = deadline && value ? kvm_tsc_from_board(kv, value) : value;
    }
}

static void halt_exit(struct kvm_cpu *kv)
{
    struct cpu *cpu = kv->cpu;
    struct kvm_vcpu_events events;
    kv->stats.halts++;
    cpu->s.halted = true;
    /* What cpu_wait() decides by. */
    cpu->s.rflags = (cpu->s.rflags & ~FLAG_IF) | (kv->run->if_flag ? FLAG_IF : 0);
    if (ioctl(kv->fd, KVM_GET_VCPU_EVENTS, &events) == 0)
        cpu->s.nmi_blocked = events.nmi.masked;
}

static void shut_down(struct kvm_cpu *kv)
{
    if (kvm_state_out(kv))
        cpu_shutdown(kv->cpu, "triple fault");
}

static void handle_exit(struct kvm_cpu *kv)
{
    kv->unfinished = false;
    switch (kv->run->exit_reason) {
    case KVM_EXIT_IO:
        port_exit(kv);
        break;
    case KVM_EXIT_MMIO:
        mmio_exit(kv);
        break;
    case KVM_EXIT_X86_RDMSR:
    case KVM_EXIT_X86_WRMSR:
        msr_exit(kv);
        break;
    case KVM_EXIT_HLT:
        halt_exit(kv);
        break;
    case KVM_EXIT_SHUTDOWN:
        shut_down(kv);
        break;
    case KVM_EXIT_INTR:
    case KVM_EXIT_IRQ_WINDOW_OPEN:
    case KVM_EXIT_SET_TPR:
        break;
    default: /* an internal error, an entry that failed, or something newer than this program */
        kvm_help(kv);
    }
}

/* 0, or errno. */
static int run_kernel(struct kvm_cpu *kv)
{
    kvm_gate_enter(kv);
    int failure = ioctl(kv->fd, KVM_RUN, 0) == 0 ? 0 : errno;
    kvm_gate_leave(kv);
    errno = failure;
    return failure;
}

bool kvm_finish_instruction(struct kvm_cpu *kv)
{
    while (kv->unfinished) {
        kv->run->immediate_exit = 1;
        int failure = run_kernel(kv);
        if (failure == 0)
            handle_exit(kv); /* it wants more */
        else if (failure == EINTR)
            kv->unfinished = false;
        else
            return kvm_fail(kv, "KVM_RUN");
    }
    return true;
}

/* ---- the loop ---------------------------------------------------------------------------- */

static void inject(struct kvm_cpu *kv)
{
    struct cpu *cpu = kv->cpu;
    kv->run->request_interrupt_window = 0;
    if (!(atomic_load(&cpu->requests) & REQUEST_INTR))
        return;
    if (!kv->accepts) {
        kv->run->request_interrupt_window = 1;
        return;
    }
    int vector = cpu->ops->acknowledge(cpu->opaque);
    if (vector < 0)
        return;
    struct kvm_interrupt interrupt = {.irq = (unsigned)vector};
    kv->stats.interrupts++;
    kv->accepts = false;
    cpu->s.halted = false;
    if (ioctl(kv->fd, KVM_INTERRUPT, &interrupt) < 0)
        kvm_fail(kv, "KVM_INTERRUPT");
    /* There may be another one for when this one has been taken. */
    kv->run->request_interrupt_window = (atomic_load(&cpu->requests) & REQUEST_INTR) != 0;
}

static void inject_nmi(struct kvm_cpu *kv)
{
    struct cpu *cpu = kv->cpu;
    if (!system_take(cpu, REQUEST_NMI))
        return;
    if (ioctl(kv->fd, KVM_NMI) < 0)
        kvm_fail(kv, "KVM_NMI");
    if (!cpu->s.nmi_blocked)
        cpu->s.halted = false;
}

/* Before the kernel is entered. False: leave with *ret_exit. */
static bool attend(struct kvm_cpu *kv, enum cpu_exit *ret_exit)
{
    struct cpu *cpu = kv->cpu;
    kv->run->immediate_exit = 0;
    atomic_store(&cpu->attention, 0);
    unsigned start = REQUEST_INIT | (cpu->s.wait_for_sipi || kv->vm->chips ? REQUEST_SIPI : 0);
    if (atomic_load(&cpu->requests) & start) {
        if (!kvm_state_out(kv))
            return true;
        kv->event.is_there = false; /* INIT leaves nothing of it */
    }
    system_attend_start(cpu);
    if (cpu->s.shutdown) {
        *ret_exit = CPU_EXIT_TRIPLE_FAULT;
        return false;
    }
    if (system_take(cpu, REQUEST_KICK)) {
        *ret_exit = CPU_EXIT_KICKED;
        return false;
    }
    if (kvm_slots_stale(kv->vm)) {
        g_autoptr(GError) error = NULL;
        if (!kvm_slots_sync(kv->vm, &error))
            cpu_shutdown(cpu, error->message);
    }
    return true;
}

/* What the guest did to our own local APIC past its registers. */
static void look_at_apic(struct kvm_cpu *kv)
{
    struct cpu *cpu = kv->cpu;
    const struct kvm_run *run = kv->run;
    kv->accepts = run->ready_for_interrupt_injection;
    if (run->cr8 != kv->cr8)
        cpu->ops->write_tpr(cpu->opaque, (unsigned)run->cr8);
    if (run->apic_base != kv->apic_base) {
        kv->apic_base = run->apic_base;
        cpu->ops->write_msr(cpu->opaque, MSR_APIC_BASE, run->apic_base);
    }
}

static void enter(struct kvm_cpu *kv)
{
    if (!kv->vm->chips)
        kv->run->cr8 = kv->cr8 = kv->cpu->ops->read_tpr(kv->cpu->opaque);
    int failure = run_kernel(kv);
    kv->stats.runs++;
    if (!kv->vm->chips)
        look_at_apic(kv);
    if (failure == 0) {
        handle_exit(kv);
    } else if (failure == EINTR || failure == EAGAIN) {
        kv->unfinished = false;
        kv->stats.kicks++;
    } else {
        errno = failure;
        kvm_fail(kv, "KVM_RUN");
    }
}

static void set_inside(struct kvm_cpu *kv, bool inside)
{
    pthread_mutex_lock(&kv->cpu->wait_lock);
    kv->inside = inside;
    kv->thread = pthread_self();
    pthread_mutex_unlock(&kv->cpu->wait_lock);
}

static enum cpu_exit run(struct cpu *cpu)
{
    struct kvm_cpu *kv = cpu->kvm;
    enum cpu_exit exit = CPU_EXIT_KICKED;
    set_inside(kv, true);
    kvm_clock_set(kv->vm);
    while (attend(kv, &exit)) {
        if (cpu->s.shutdown)
            continue;
        exit = CPU_EXIT_HALTED;
        if (kvm_system_mode(kv))
            continue;
        bool chips = kv->vm->chips; /* then the kernel waits */
        if (cpu->s.wait_for_sipi && !chips)
            break;
        if (!kvm_state_in(kv))
            continue;
        inject_nmi(kv);
        if (!chips)
            inject(kv);
        if (cpu->s.halted && !chips)
            break;
        enter(kv);
    }
    set_inside(kv, false);
    kvm_clock_note(kv->vm);
    if (kvm_state_out(kv))
        kvm_finish_event(kv);
    kv->set_tsc = true; /* it goes on where it is now, however long this takes */
    cpu_set_arithmetic(cpu, cpu->s.rflags);
    return cpu->s.shutdown ? CPU_EXIT_TRIPLE_FAULT : exit;
}

/* With cpu->wait_lock held. */
void kvm_kick(struct cpu *cpu)
{
    struct kvm_cpu *kv = cpu->kvm;
    if (!kv || !kv->inside)
        return;
    __atomic_store_n(&kv->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    if (!pthread_equal(kv->thread, pthread_self()))
        pthread_kill(kv->thread, KICK_SIGNAL);
}

/* ---- the engine -------------------------------------------------------------------------- */

static void ignore(int number)
{
}

/* The signal only has to interrupt KVM_RUN; it must not restart it. */
static void catch_signal(void)
{
    struct sigaction action = {.sa_handler = ignore};
    sigaction(KICK_SIGNAL, &action, NULL);
}

static bool make_cpu(struct kvm_cpu *kv, GError **error)
{
    struct kvm_vm *vm = kv->vm;
    g_autofree struct kvm_cpuid2 *offered = kvm_host_cpuid(&vm->host, error);
    if (!offered || !kvm_fit_model(kv->cpu->model, &vm->host, offered, error))
        return false;
    if (!kvm_vm_filter(vm, kv->cpu->model, error))
        return false;
    kv->fd = ioctl(vm->fd, KVM_CREATE_VCPU, (unsigned long)kv->cpu->index);
    if (kv->fd >= 0) {
        void *run =
            mmap(NULL, (size_t)vm->host.run_size, PROT_READ | PROT_WRITE, MAP_SHARED, kv->fd, 0);
        kv->run = run == MAP_FAILED ? NULL : run;
    }
    if (!kv->run) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno), "KVM: cannot make CPU %u: %s",
                    kv->cpu->index, g_strerror(errno));
        return false;
    }
    if (!kvm_state_init(kv, error) || !kvm_set_cpuid(kv, error))
        return false;
    vm->cpus[kv->cpu->index] = kv;
    return true;
}

static bool create(struct cpu *cpu, GError **error)
{
    if (cpu->index >= KVM_CPUS_MAX || !interp_create(cpu, BLOCK_CACHE_SIZE, error))
        return false;
    struct kvm_cpu *kv = g_new0(struct kvm_cpu, 1);
    cpu->kvm = kv;
    kv->cpu = cpu;
    kv->fd = -1;
    kv->set_tsc = true;
    kv->vm = kvm_vm_get(cpu->board, error);
    if (!kv->vm)
        return false;
    catch_signal();
    return make_cpu(kv, error);
}

static void destroy(struct cpu *cpu)
{
    struct kvm_cpu *kv = cpu->kvm;
    interp_destroy(cpu);
    if (!kv)
        return;
    cpu->kvm = NULL;
    if (kv->vm && kv->vm->cpus[cpu->index] == kv)
        kv->vm->cpus[cpu->index] = NULL;
    kvm_state_finish(kv);
    if (kv->run)
        munmap(kv->run, (size_t)kv->vm->host.run_size);
    if (kv->fd >= 0)
        close(kv->fd);
    kvm_vm_put(kv->vm);
    g_free(kv);
}

static void state_changed(struct cpu *cpu)
{
    cpu->kvm->place = KVM_STATE_HERE;
    cpu->kvm->was_there = false;
    kvm_clock_forget(cpu->kvm->vm);
    cpu->kvm->event.is_there = false;
    cpu->kvm->set_tsc = true;
}

static void report_vm(const struct kvm_vm *vm, GString *text)
{
    const struct {
        const char *what;
        uint64_t count;
    } lines[] = {
        {"changes of interrupt lines told to the kernel", vm->lines},
        {"messages told to the kernel", vm->messages},
        {"messages by eventfd", vm->by_eventfd},
        {"times that the kernel's chips were borrowed", vm->borrowed},
        {"times that a device was rung by eventfd", doorbells_rung(vm->board->doorbells)},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(lines); i++)
        g_string_append_printf(text, "all:   %-50s %14" PRIu64 "\n", lines[i].what, lines[i].count);
}

static void report(const struct cpu *cpu, GString *text)
{
    const struct kvm_stats *s = &cpu->kvm->stats;
    const struct {
        const char *what;
        uint64_t count;
    } lines[] = {
        {"entries into the guest", s->runs},
        {"exits for ports", s->ports},
        {"exits for devices in memory", s->mmio},
        {"exits for model-specific registers", s->msrs},
        {"exits because of HLT", s->halts},
        {"exits because of a kick", s->kicks},
        {"interrupts injected", s->interrupts},
        {"times that KVM gave up and the interpreter helped", s->emulated},
        {"instructions that it did", s->steps},
        {"system management interrupts", s->smis},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(lines); i++)
        g_string_append_printf(text, "cpu %u: %-50s %14" PRIu64 "\n", cpu->index, lines[i].what,
                               lines[i].count);
    if (cpu->index == 0)
        report_vm(cpu->kvm->vm, text);
}

const struct engine_ops engine_kvm = {
    .name = "kvm",
    .recommended = kvm_recommended,
    .create = create,
    .destroy = destroy,
    .run = run,
    .kick = kvm_kick,
    .registers = kvm_registers,
    .tell_stopped = kvm_clock_stopped,
    .state_changed = state_changed,
    .report = report,
};
