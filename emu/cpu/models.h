/*
 * CPU models: what CPUID says. A model never offers what the engines cannot do.
 */
#pragma once

#include <stdint.h>

#define TSC_HZ UINT32_C(1000000000) /* the guest clock's nanoseconds */

struct cpu_model {
    const char *name;
    uint32_t leaf1_ecx, leaf1_edx;
    uint32_t leaf7_ebx, leaf7_ecx;
    uint32_t extended1_ecx, extended1_edx;
};

extern const struct cpu_model
    cpu_model_table[]; /* ended by a NULL name; the first is the default */
const struct cpu_model *cpu_model_find(const char *name);
