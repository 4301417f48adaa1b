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
    uint32_t region;
    uint16_t offset, bytes; /* the access that opens it; 0: one somewhere in it */
    uint16_t span;          /* bytes of the window */
    bool writes, window_writes;
    bool aligned; /* it faults unless it is, before anything is looked for */
    bool tail;    /* there is code for when it cannot be opened */
};

/*
 * Where translated code calls for what a look has not found, or for a store that somebody has to
 * hear of, facts follow behind the jump to which the call returns: so a cold path is no more than
 * call, jump and facts.
 */
enum look { LOOK_LOAD, LOOK_STORE, LOOK_RMW, LOOK_WINDOW };
struct jit_facts {
    uint32_t owner; /* struct jit_region; of a window, struct jit_opening */
    uint16_t place; /* of the instruction: offset in its page, and its length << 12 */
    int8_t stack;   /* how far above its register the stack pointer is, in JIT_STACK_STEP bytes */
    /* Of looks only: bytes, enum look << 12, the cell's number << 16. */
    uint32_t look;
} __attribute__((packed));
#define JIT_STACK_STEP   4
#define JIT_FACTS_BEHIND 5 /* bytes from where the call returns to */
#define JIT_LOOK_BYTES   0xfff

/* The host's address, with the mark's in jit->mark if it is to be written. Of a window NULL to
 * leave the region, s.rip being set, or JIT_NO_WINDOW to go on in the tail. */
#define JIT_NO_WINDOW ((void *)1)
void *jit_slow_look(struct cpu *cpu, uint64_t address, unsigned unused, const uint8_t *back);
/* True to leave the region; s.rip is set. The second is for instructions that go on elsewhere, at a
 * site: JIT_SITE_TARGET for the address in scratch[1]. */
bool jit_stored(struct cpu *cpu, const uint8_t *mark, unsigned size, const uint8_t *back);
bool jit_stored_at(struct cpu *cpu, const uint8_t *mark, unsigned size, uint64_t site);
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
