/*
 * The KVM engine: the host's processor runs the guest, in a virtual machine of the host's kernel.
 *
 *      struct cpu_state  <- state.c, fpu.c ->  the kernel's vCPU       one struct kvm_cpu each
 *              |                                    |
 *       reference engine (help.c)            KVM_RUN (run.c)
 *              |                                    |
 *      what KVM cannot do         ports, MMIO, MSRs: the board's maps, as for every engine
 *
 *      memory map -> slots.c -> the kernel's memory slots               one struct kvm_vm a board
 *      CPU model  -> cpuid.c -> the kernel's CPUID, or an error
 *      APICs, 8259s, PIT <- irqchip.c, routing.c -> the kernel's
 *      messages, doorbells <- eventfds.c -> eventfds of the kernel's
 *      guest clock -> clock.c -> KVM's clock
 *
 * The state of a CPU is in one of two places: here (cpu->s) or in the kernel. kvm_state_out() and
 * kvm_state_in() move it. It is here whenever cpu_run() is not running; some fields (halted,
 * wait_for_sipi, shutdown) always are, but with the kernel's chips these move, too.
 *
 * Interrupt controllers and the interval timer are the kernel's where it has all of them
 * (irqchip.c, routing.c): interrupts, IPIs, HLT and the start of other CPUs then need no exit.
 * Their state is in the board's own devices whenever the CPUs are held, and handed over when they
 * go (see emu/core/chips.h). Else (--kernel-irqchip off) the board's own devices do the work, as
 * under every engine, and the kernel is told of one interrupt at a time, when the CPU can take it.
 *
 * Where KVM gives up (KVM_EXIT_INTERNAL_ERROR: an instruction that its emulator lacks), the state
 * is taken out, the interpreter does one instruction, and the state goes back. If that instruction
 * reaches a register of an interrupt controller or the timer (in memory, by port, CR8 or MSR), the
 * device borrows the kernel's chips: every CPU leaves the guest (the gate), the devices take over
 * the state of all chips, the access is done, with whatever it sets off at other CPUs, and all goes
 * back. No interrupt can come in between and be overwritten: those of CPUs need KVM_RUN, those of
 * devices the board lock, which is held; the kernel's timers are set anew from what was left.
 *
 * System management mode is the reference engine's from the SMI to RSM.
 *
 * Threads: struct kvm_vm is guarded by its lock, which is taken before the board's. A struct
 * kvm_cpu belongs to its CPU's thread; `inside` and `thread` are guarded by cpu->wait_lock. The
 * gate's lock is taken after the board's; nobody takes the board's while in the guest.
 *
 * Source: Documentation/virt/kvm/api.rst of the kernel.
 */
#pragma once

#include "emu/core/chips.h"
#include "emu/core/dirty.h"
#include "emu/cpu/engine.h"
#include "emu/cpu/internal.h"
#include "emu/cpu/models.h"
#include <glib.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define KVM_MSR_TSC          0x10
#define KVM_MSR_TSC_DEADLINE 0x6e0
#define KVM_CPUS_MAX         64

/* What the host's KVM can do; of /dev/kvm. */
struct kvm_host {
    int fd;
    int run_size; /* bytes of struct kvm_run's mapping */
    unsigned slots;
    bool sregs2, tsc_scaling, msr_filter;
    bool chips;          /* interrupt controllers and PIT, with all that irqchip.c needs of them */
    bool deadline_timer; /* those local APICs have it */
    bool deadline;       /* a model may have it */
    bool irqfd, ioeventfd;
    bool clock; /* KVM's clock, which can be set */
};

/* Opens /dev/kvm and looks whether all that the engine needs is there. */
bool kvm_host_open(struct kvm_host *ret_host, GError **error);
void kvm_host_close(struct kvm_host *host);
/* CPUID as KVM can give it; free it. NULL on error. */
struct kvm_cpuid2 *kvm_host_cpuid(const struct kvm_host *host, GError **error);
/* struct engine_ops.recommended */
bool kvm_recommended(const char *model, GError **error);
/* Does a virtual CPU run here at all? */
bool kvm_host_probe(const struct kvm_host *host, GError **error);

/* A memory slot: where guest-physical addresses lie in this process. */
struct kvm_slot {
    uint64_t start, end;
    uint8_t *host;
    bool read_only;
    bool used;
};

/* Pages whose writes somebody wants to know of. */
struct kvm_watched {
    uint64_t first, count;
};

/* A message that devices send, and its eventfd where it is sent often. */
#define KVM_SENDERS 64
struct kvm_sender {
    uint32_t address, data;
    uint64_t count; /* times sent; 0: none */
    int fd;
};

struct kvm_vm {
    struct board *board;
    struct kvm_host host;
    int fd;
    unsigned users; /* CPUs */
    pthread_mutex_t lock;
    GArray *slots;          /* struct kvm_slot; the index is the slot's number */
    GArray *watched;        /* struct kvm_watched: slots of these keep what is written to them */
    uint64_t *kept;         /* what was found in slots and nobody took yet, by the page's number */
    uint32_t slots_version; /* the map's, when the slots were made; read without the lock */

    /* KVM's clock: set for the guest clock's generation; ns that it was ahead of that. */
    struct {
        pthread_mutex_t lock; /* the innermost */
        bool is_set;
        unsigned generation;
        int64_t ahead;
    } clock;

    struct kvm_cpu *cpus[KVM_CPUS_MAX]; /* by index */
    bool filtered;                      /* the MSR filter was set */
    bool chips;                         /* the kernel's interrupt controllers and PIT are used */
    /* Closed: no CPU may be in KVM_RUN. `changed` when one has left, or it is open again. */
    struct {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        atomic_bool closed;
    } gate;
    GArray *routes;                         /* struct kvm_irq_routing_entry; board lock */
    struct kvm_sender senders[KVM_SENDERS]; /* board lock */
    unsigned next_sender;
    uint64_t lines, messages, by_eventfd, borrowed; /* for the report */
};

/* The board's VM, made by its first CPU. */
struct kvm_vm *kvm_vm_get(struct board *board, GError **error);
void kvm_vm_put(struct kvm_vm *vm);
/* Before the first CPU: which model-specific registers are not the kernel's. */
bool kvm_vm_filter(struct kvm_vm *vm, const struct cpu_model *model, GError **error);
/* Makes the slots as the memory map is. False when the kernel refuses. */
bool kvm_slots_sync(struct kvm_vm *vm, GError **error);

/* irqchip.c: makes the kernel's chips where they are wanted and offered, before any CPU. */
bool kvm_chips_create(struct kvm_vm *vm, GError **error);
void kvm_chips_finish(struct kvm_vm *vm);
/* Around KVM_RUN. The board lock is not held; who has closed the gate holds it. */
void kvm_gate_enter(struct kvm_cpu *kv);
void kvm_gate_leave(struct kvm_cpu *kv);

/* routing.c; board lock held. The routes' init is false with errno. */
bool kvm_routes_init(struct kvm_vm *vm);
void kvm_routes_finish(struct kvm_vm *vm);
bool kvm_route_message(struct kvm_vm *vm, unsigned line, uint32_t address, uint32_t data);

/* eventfds.c; board lock held. */
void kvm_eventfds_init(struct kvm_vm *vm);
void kvm_eventfds_finish(struct kvm_vm *vm);
void kvm_message(struct kvm_vm *vm, uint32_t address, uint32_t data);
/* Whatever was sent has arrived; the eventfds of messages are gone. */
void kvm_messages_end(struct kvm_vm *vm);

extern const struct dirty_source kvm_dirty_source; /* slots.c; of a struct kvm_vm */
static inline bool kvm_slots_stale(const struct kvm_vm *vm)
{
    return __atomic_load_n(&vm->slots_version, __ATOMIC_ACQUIRE) !=
           __atomic_load_n(memory_version(vm->board->memory), __ATOMIC_ACQUIRE);
}

enum kvm_place { KVM_STATE_HERE, KVM_STATE_THERE };

struct kvm_stats {
    uint64_t runs, kicks, ports, mmio, msrs, halts, interrupts, emulated, steps, smis;
};

struct kvm_cpu {
    struct cpu *cpu;
    struct kvm_vm *vm;
    int fd;
    struct kvm_run *run;
    struct kvm_msrs *msrs; /* those of state.c's table that this KVM has */
    uint32_t tsc_khz;
    enum kvm_place place;
    bool
        unfinished; /* the kernel is in the middle of an instruction: it waits for a port's value */
    bool accepts;   /* an external interrupt could be injected now */
    bool set_tsc;   /* the next kvm_state_in() sets the TSC, too */
    /* What the kernel was delivering when the state was taken out. */
    struct {
        bool is_there, has_error;
        uint8_t vector;
        uint32_t error;
    } event;
    unsigned cr8; /* these two are the local APIC's; with the kernel's they come and go with */
    uint64_t apic_base; /* the CPU's state and must be put back as they were */
    /* With the kernel's APIC: what the state that was taken out had. */
    uint32_t out_mp_state;
    uint64_t out_rip;
    bool was_there; /* the state that is here came out of the kernel */
    /* What the kernel has of the clock's registers; the guest is to be told of a pause. */
    struct {
        uint64_t time, wall;
        bool stopped;
    } clock;
    struct kvm_stats stats;

    atomic_bool in_guest; /* in KVM_RUN, or about to look whether it may */
    bool inside;          /* in cpu_run() */
    pthread_t thread;
};

/* cpuid.c: gives the vCPU the model's CPUID. Fails where KVM lacks what the model has. */
bool kvm_set_cpuid(struct kvm_cpu *kv, GError **error);
/* Takes away from a model made for the host what KVM does not offer; false with the missing
 * features' names where a named model needs them. */
bool kvm_fit_model(struct cpu_model *model, const struct kvm_host *host,
                   const struct kvm_cpuid2 *offered, GError **error);

/* state.c */
bool kvm_state_init(struct kvm_cpu *kv, GError **error);
void kvm_state_finish(struct kvm_cpu *kv);
/* False when the kernel refuses: the CPU has been shut down, with the reason. */
bool kvm_state_in(struct kvm_cpu *kv);
bool kvm_state_out(struct kvm_cpu *kv);

void kvm_registers(struct cpu *cpu, bool to_guest); /* struct engine_ops.registers */

/* Brings cpu->s.tsc_offset up to date while the rest of the state is in the kernel. */
bool kvm_tsc_out(struct kvm_cpu *kv);
/* A time stamp of the kernel's counter as one of a counter of TSC_HZ would have it, and back; both
 * agree now. */
uint64_t kvm_tsc_to_board(const struct kvm_cpu *kv, uint64_t tsc);
uint64_t kvm_tsc_from_board(const struct kvm_cpu *kv, uint64_t tsc);

/* With the kernel's local APIC, of a CPU that has been stopped: what reached it from others after
 * its state was taken out (INIT, SIPI, NMI) is taken out, too. */
void kvm_state_late(struct kvm_cpu *kv);
/* Sets the kernel's time-stamp counter, if that is due. */
bool kvm_tsc_in(struct kvm_cpu *kv);
bool kvm_get_msr(struct kvm_cpu *kv, uint32_t index, uint64_t *ret_value);
bool kvm_set_msr(struct kvm_cpu *kv, uint32_t index, uint64_t value);

/* clock.c: KVM's clock. The CPU's part goes with its state; the VM's is set before a CPU enters and
 * looked at when it leaves. */
bool kvm_clock_out(struct kvm_cpu *kv);
bool kvm_clock_in(struct kvm_cpu *kv);
void kvm_clock_stopped(struct cpu *cpu); /* struct engine_ops.tell_stopped */
void kvm_clock_set(struct kvm_vm *vm);
void kvm_clock_note(struct kvm_vm *vm);
void kvm_clock_forget(struct kvm_vm *vm); /* another state is loaded: its clock is exact */

/* fpu.c */
bool kvm_fpu_in(struct kvm_cpu *kv);
bool kvm_fpu_out(struct kvm_cpu *kv);

/* help.c: the interpreter does what the kernel was delivering (true: there was something), or the
 * next instruction. */
bool kvm_finish_event(struct kvm_cpu *kv);
void kvm_help(struct kvm_cpu *kv);
/* Enters system management mode if that was asked for, and runs in it for a while. False: the CPU
 * is not in it. */
bool kvm_system_mode(struct kvm_cpu *kv);

/* run.c: an access to a port or a device is complete, and its value in a register, only after the
 * kernel has been entered again. */
bool kvm_finish_instruction(struct kvm_cpu *kv);
void kvm_kick(struct cpu *cpu); /* struct engine_ops.kick; cpu->wait_lock held */

/* Stops the CPU for good: the kernel refused `what` with errno. Returns false. */
bool kvm_fail(struct kvm_cpu *kv, const char *what);
