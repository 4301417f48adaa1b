/*
 * The seam between a virtual CPU and what executes its instructions. An engine keeps what it
 * derives from the architectural state to itself and brings struct cpu_state up to date before run
 * returns.
 */
#pragma once

#include "emu/cpu/cpu.h"
#include <glib.h>
#include <stdbool.h>

struct engine_ops {
    const char *name;
    bool (*create)(struct cpu *cpu, GError **error);
    void (*destroy)(struct cpu *cpu);
    enum cpu_exit (*run)(struct cpu *cpu);
    /* The architectural state was changed from outside. */
    void (*state_changed)(struct cpu *cpu);
};

/* By name; NULL when there is none. */
const struct engine_ops *engine_find(const char *name);
