/*
 * CPU models: named sets of features, and CPUID, which is made from the set and so never offers
 * what the engines do not do.
 */
#pragma once

#include "emu/cpu/features.h"
#include <stdint.h>

#define TSC_HZ UINT32_C(1000000000) /* the guest clock's nanoseconds */

struct cpu_model {
    struct feature_set features;
    uint32_t signature; /* leaf 1 EAX: family, model, stepping; EDX after a reset */
    uint32_t highest_basic, highest_extended; /* leaves; 0: there are no extended ones */
    unsigned physical_bits;
    uint64_t cr4_bits, efer_bits; /* what may be set */
    bool of_host;                 /* has what there is, and may get less */
};

/* From "NAME[,+FEATURE...][,-FEATURE...]": false with an error that names what there is. */
bool cpu_model_parse(const char *text, struct cpu_model *ret_model, GError **error);
/* Takes away what is not in `within`. */
void cpu_model_limit(struct cpu_model *model, const struct feature_set *within);
