/*
 * A virtual CPU, as the machine sees it.
 *
 * The machine creates CPUs, gives each a thread that calls cpu_run() until told to stop, and wires
 * each to its local APIC through struct cpu_ops. Which engine executes instructions is chosen by
 * name; engines share the architectural state (emu/cpu/state.h), the decoder (emu/cpu/decode.h)
 * and the memory management unit (emu/cpu/mmu.h).
 *
 * Threads: cpu_run() is called by the CPU's own thread only. cpu_set_interrupt(), cpu_kick(),
 * cpu_request_*() may be called from any thread. Everything else is called while the CPU is not
 * running.
 */
#pragma once

#include "emu/core/board.h"
#include "emu/core/state.h"
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct cpu;

/* What the CPU asks of its surroundings; each is called on the CPU's thread without the board lock
 * held (the receiver takes it). `opaque` is the one given to cpu_new(). */
struct cpu_ops {
    /* INTR was asserted and the CPU accepts: returns the vector, or -1 when it was spurious. */
    int (*acknowledge)(void *opaque);
    /* CR8, the task priority register's high four bits. */
    unsigned (*read_tpr)(void *opaque);
    void (*write_tpr)(void *opaque, unsigned value);
    /* Model-specific registers of the local APIC: 0x1b (APIC base), 0x6e0 (TSC deadline) and, in
     * x2APIC mode, 0x800-0x8ff. False raises #GP. */
    bool (*read_msr)(void *opaque, uint32_t index, uint64_t *ret_value);
    bool (*write_msr)(void *opaque, uint32_t index, uint64_t value);
};

enum cpu_exit {
    CPU_EXIT_KICKED,       /* cpu_kick() */
    CPU_EXIT_HALTED,       /* HLT, or waiting for SIPI; nothing is pending */
    CPU_EXIT_TRIPLE_FAULT, /* the CPU is in shutdown; cpu_shutdown_reason() tells in one line */
    CPU_EXIT_DIVERGED,     /* lockstep's two engines disagree; likewise, and details on stderr */
    CPU_EXIT_COUNT,
};

/* `engine` is one of cpu_engines(); `model` what cpu_check_model() takes.
 * Starts in the state after power-on: the boot processor at the reset vector, the others waiting
 * for SIPI. */
struct cpu *cpu_new(struct board *board, unsigned index, const char *engine, const char *model,
                    const struct cpu_ops *ops, void *opaque, GError **error);
void cpu_free(struct cpu *cpu);
void cpu_reset(struct cpu *cpu); /* as the RESET# pin; index 0 is the boot processor */
/* A model's name, with features added or left out: "x86-64-v2,-sse4.2,+aes". */
bool cpu_check_model(const char *model, GError **error);
/* What the CPU's model comes to, for comparing a saved machine's with another's; 0 where unused. */
#define CPU_MODEL_WORDS 16
void cpu_describe_model(const struct cpu *cpu, uint32_t ret_words[CPU_MODEL_WORDS]);
char *cpu_model_help(void);           /* what models and features there are; free it */
const char *const *cpu_engines(void); /* NULL-ended names, "auto" first */
/* The engine that a name stands for: for "auto", hardware virtualization where this host has it and
 * offers what the model needs, else translation. NULL when there is no such name. */
const char *cpu_choose_engine(const char *name, const char *model);

/* Executes guest instructions until something the caller has to see to. */
enum cpu_exit cpu_run(struct cpu *cpu);
/* Blocks the CPU's thread after CPU_EXIT_HALTED until an interrupt, kick or request comes. */
void cpu_wait(struct cpu *cpu);

/* The level of the INTR input; the vector is fetched with ops->acknowledge. */
void cpu_set_interrupt(struct cpu *cpu, bool level);
void cpu_request_nmi(struct cpu *cpu);
void cpu_request_smi(struct cpu *cpu);
void cpu_request_init(struct cpu *cpu);
void cpu_request_sipi(struct cpu *cpu, uint8_t vector);
/* Makes cpu_run() and cpu_wait() return soon; sticky until the next cpu_run() returns. */
void cpu_kick(struct cpu *cpu);

/* How much memory translated code may take, for engines that translate; before the CPU runs. */
#define CPU_CODE_CACHE_MIN (3u << 20)
#define CPU_CODE_CACHE_MAX (512u << 20)
bool cpu_set_code_cache(struct cpu *cpu, size_t bytes, GError **error);
/* Before the CPU runs, for engines that translate: bits of what is to be seen of translated code.
 * Its instructions are counted, which slows it by some percent; it gets names in /tmp/perf-PID.map.
 */
#define CPU_OBSERVE_COUNT 1u
#define CPU_OBSERVE_NAMES 2u
bool cpu_observe(struct cpu *cpu, unsigned what, GError **error);
/* Appends what the engine counted, in lines; nothing for an engine that counts nothing. */
void cpu_report(const struct cpu *cpu, GString *text);

/* Real time passed that the CPU was not there for: a guest with KVM's clock is told. While the CPU
 * is not running. */
void cpu_tell_stopped(struct cpu *cpu);
/* After a load: what the guest sees of KVM's clock may be another engine's, of another counter. */
void cpu_renew_clock(struct cpu *cpu);

const char *cpu_shutdown_reason(const struct cpu *cpu); /* borrowed; NULL when not shut down */
uint64_t cpu_instructions(const struct cpu *cpu);       /* interpreted so far */
unsigned cpu_index(const struct cpu *cpu);

/* The 64-bit Linux boot entry and tests set registers up directly: see emu/cpu/state.h. */
struct cpu_state *cpu_state(struct cpu *cpu);
extern const struct state_field cpu_state_fields[];
/* For a device that looks at the general registers of the CPU that reads one of its ports, within
 * that access: brings those of cpu_state() up to date, and gives changed ones to the guest. */
void cpu_fetch_registers(struct cpu *cpu);
void cpu_store_registers(struct cpu *cpu);
/* Before cpu_state is saved: notes in it what others have asked of the CPU since it ran. */
void cpu_note_pending(struct cpu *cpu);
/* After cpu_state was changed from outside: drops cached translations and derived state. */
void cpu_state_changed(struct cpu *cpu);
