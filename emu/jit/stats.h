/* What can be seen of the translator from outside. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct jit;
struct jit_region;

struct jit_stats {
    uint64_t executed; /* instructions, whole blocks at a time; if jit->counts */
    uint64_t regions, doors, remade, proven, blocks, insns, code_bytes, evictions, left_over, stale,
        revived, moved;
    uint64_t links, exits_link, exits_jump, exits_other, returns_missed;
    uint64_t exits_attention, exits_fault, exits_handler, exits_stored;
    uint64_t windows, windows_failed;
    uint64_t slow_loads, slow_stores, stored, handlers, interpreted;
};

void jit_report(const struct jit *jit, GString *text);
bool jit_perf_map_open(struct jit *jit, GError **error);
void jit_perf_map_stubs(struct jit *jit); /* nothing while there is no map */
void jit_perf_map_add(struct jit *jit, const struct jit_region *region);
void jit_perf_map_close(struct jit *jit);
