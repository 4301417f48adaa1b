/* The C functions that translated code calls, by way of stubs, and what it tells them. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct cpu;
struct insn;
struct jit;
struct jit_region;

/* A window's host address and its page's mark, while translated code uses it. */
#define JIT_WINDOWS 16
struct jit_window {
    uint64_t host;
    const uint8_t *mark;
    /* Of one that slides: from the guest's addresses to the host's, and the farthest that `host`
     * may be in the page. */
    uint64_t delta, last;
};
/* What is known of a window that could not be opened at once. */
struct jit_opening {
    struct jit_region *region;
    uint16_t offset, bytes; /* the access that opens it; 0: one somewhere in it */
    uint16_t span;          /* bytes of the window */
    bool writes, window_writes;
    bool aligned; /* it faults unless it is, before anything is looked for */
    bool tail;    /* there is code for when it cannot be opened */
};

void *jit_slow_load(struct cpu *cpu, uint64_t address, unsigned size, uint64_t site);
void *jit_slow_store(struct cpu *cpu, uint64_t address, unsigned size, uint64_t site);
void *jit_slow_rmw(struct cpu *cpu, uint64_t address, unsigned size, uint64_t site);
/* NULL to leave the region; s.rip is set. JIT_NO_WINDOW to go on in the tail. */
#define JIT_NO_WINDOW ((void *)1)
void *jit_open_window(struct cpu *cpu, uint64_t low, unsigned size, uint64_t site);
/* True to leave the region; s.rip is set. */
bool jit_stored(struct cpu *cpu, const uint8_t *mark, unsigned size, uint64_t site);
bool jit_load_x87(struct cpu *cpu, uint64_t unused, unsigned size, uint64_t site);
void jit_save_x87(struct cpu *cpu);
/* NULL to go on behind the instruction, which a block's `last` never is; JIT_LEAVE to leave the
 * region; or the code of another. */
#define JIT_LEAVE ((const uint8_t *)1)
const uint8_t *jit_call_handler(struct cpu *cpu, const struct insn *insn, unsigned last,
                                uint64_t site);
/* The code at RIP, where there is nothing to see to and nothing to be made: NULL otherwise. Spares
 * system calls, their returns and the like the way through the run loop. */
const uint8_t *jit_known_code(struct jit *jit);

/* A place in the guest's code as translated code hands it to the slow ways: RIP in the low 56 bits,
 * the instruction's length above. */
static inline uint64_t jit_site(uint64_t rip, unsigned length)
{
    return (rip & (UINT64_MAX >> 8)) | (uint64_t)length << 56;
}

static inline uint64_t jit_rip_of(uint64_t site)
{
    return (uint64_t)((int64_t)(site << 8) >> 8);
}
#define JIT_SITE_TARGET UINT64_MAX /* the address in scratch[1] */
