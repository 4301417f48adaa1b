/*
 * The seam between a virtual CPU and what executes its instructions. An engine keeps what it
 * derives from the architectural state to itself and brings struct cpu_state up to date before run
 * returns.
 */
#pragma once

#include "emu/cpu/cpu.h"
#include <glib.h>
#include <stdbool.h>

/* What has changed of the meaning of linear addresses. */
enum engine_mappings {
    MAPPINGS_ALL,
    MAPPINGS_NON_GLOBAL, /* a load of CR3 */
    MAPPINGS_PAGE,       /* one page */
};

struct engine_ops {
    const char *name;
    /* Is this the engine that `auto` should take for such CPUs on this host? Else *error says what
     * is against it. NULL: not by itself. */
    bool (*recommended)(const char *model, GError **error);
    bool (*create)(struct cpu *cpu, GError **error);
    void (*destroy)(struct cpu *cpu);
    enum cpu_exit (*run)(struct cpu *cpu);
    /* From any thread, after `attention` was set: run() shall look at it soon. NULL for engines
     * that look by themselves. */
    void (*kick)(struct cpu *cpu);
    /* The architectural state was changed from outside. */
    void (*state_changed)(struct cpu *cpu);
    /* Makes room for `bytes` of translated code, before the CPU runs. NULL where there is none. */
    bool (*set_code_cache)(struct cpu *cpu, size_t bytes, GError **error);
    /* See cpu_observe(). NULL where there is nothing to see. */
    bool (*observe)(struct cpu *cpu, unsigned what, GError **error);
    /* Appends lines that tell what the engine has done. May be NULL. */
    void (*report)(const struct cpu *cpu, GString *text);
    /* Addresses may mean other pages than before; NULL where that does not matter. */
    void (*mappings_changed)(struct cpu *cpu, enum engine_mappings what, uint64_t address);
    /* See cpu_fetch_registers(). NULL where the architectural state is up to date at all times. */
    void (*registers)(struct cpu *cpu, bool to_guest);
    /* See cpu_tell_stopped(). Who has this keeps KVM's clock itself; NULL: paravirtual.c does. */
    void (*tell_stopped)(struct cpu *cpu);
    /* The memory map changed: the same physical addresses may be other memory. May be NULL. */
    void (*layout_changed)(struct cpu *cpu);
};

extern const struct engine_ops engine_interp;   /* emu/cpu/interp.c */
extern const struct engine_ops engine_jit;      /* emu/jit/run.c */
extern const struct engine_ops engine_lockstep; /* emu/jit/lockstep.c */
extern const struct engine_ops engine_kvm;      /* emu/kvm/run.c */

/* By name; NULL when there is none. */
const struct engine_ops *engine_find(const char *name);
