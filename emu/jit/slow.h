/* The C functions that translated code calls, by way of stubs, and what it tells them. */
#pragma once

#include "emu/cpu/decode.h"
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct cpu;
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
 * A place in a region's code, which is wherever the region is: the offset in its page, and above
 * JIT_PLACE_BITS the length of the instruction that is there; of places behind one that of the
 * instruction before, so that they may lie at the page's end.
 */
#define JIT_PLACE_BITS 12

/*
 * Where translated code calls for what a look has not found, or for a store that somebody has to
 * hear of, facts follow behind the jump to which the call returns: so a cold path is no more than
 * call, jump and facts. A call in the midst of hot code returns to an instruction that does nothing
 * but name them, TEST EAX with their address.
 */
enum look { LOOK_LOAD, LOOK_STORE, LOOK_RMW, LOOK_WINDOW };
struct jit_facts {
    uint32_t owner; /* struct jit_region; of a window, struct jit_opening */
    uint16_t place; /* of the instruction */
    int8_t stack;   /* how far above its register the stack pointer is, in JIT_STACK_STEP bytes */
    uint8_t stored; /* of a store, bytes at the host's address in T0; 0: nobody knows where */
    union {
        uint32_t look; /* of looks: bytes, enum look << 12, the cell's number << 16 */
        /* Of STUB_STORED_AT: from the instruction's end to where it goes on; if the place says that
         * it has no length, that is at the address in scratch[1]. */
        int32_t onward;
    };
} __attribute__((packed));
#define JIT_STACK_STEP   4
#define JIT_NAMES_FACTS  0xa9
#define JIT_FACTS_BEHIND 5 /* bytes from where the call returns to */
static inline const struct jit_facts *jit_facts_at(const uint8_t *back)
{
    const uint8_t *behind = back + JIT_FACTS_BEHIND;
    uint32_t named;
    memcpy(&named, behind - sizeof(named), sizeof(named));
    return (const struct jit_facts *)(*back == JIT_NAMES_FACTS ? (void *)(uintptr_t)named : behind);
}
#define JIT_LOOK_BYTES 0xfff

/* The host's address, with the mark's in jit->mark if it is to be written. Of a window NULL to
 * leave the region, s.rip being set, or JIT_NO_WINDOW to go on in the tail. */
#define JIT_NO_WINDOW ((void *)1)
void *jit_slow_look(struct cpu *cpu, uint64_t address, unsigned unused, const uint8_t *back);
/* The same, or NULL where it knows no way, which does not touch vector registers. */
void *jit_crossing_look(struct cpu *cpu, uint64_t address, unsigned unused, const uint8_t *back);
/* Behind a store that went aside: 1 where nothing is left to do, or 0. As above. */
uint64_t jit_crossing_stored(struct cpu *cpu);
/* True to leave the region; s.rip is set. The second is for instructions that go on elsewhere. */
bool jit_stored(struct cpu *cpu, const uint8_t *mark, unsigned size, const uint8_t *back);
bool jit_stored_at(struct cpu *cpu, const uint8_t *mark, unsigned size, const uint8_t *back);
bool jit_load_x87(struct cpu *cpu, uint64_t unused, unsigned size, const uint8_t *back);
void jit_save_x87(struct cpu *cpu);
/* An instruction that the interpreter does for a region: it stops at `end`. */
struct jit_kept {
    struct insn insn, end;
    uint32_t region;
    uint16_t place;
};
/* NULL to go on behind the instruction, which a block's `last` never is; JIT_LEAVE to leave the
 * region; or the code of another. */
#define JIT_LEAVE ((const uint8_t *)1)
const uint8_t *jit_call_handler(struct cpu *cpu, const struct jit_kept *kept, unsigned last);
/* The code at RIP, where there is nothing to see to and nothing to be made: NULL otherwise. Spares
 * system calls, their returns and the like the way through the run loop. */
const uint8_t *jit_known_code(struct jit *jit);

/* What a region is left with for the run loop to find, in jit->exit_cell: it goes on behind a
 * place, in the interpreter if `interpret`. No struct jit_exit lies so high. */
static inline uint64_t jit_leaving(uint32_t region, unsigned place, bool interpret)
{
    return region | (uint64_t)place << 32 | (uint64_t)interpret << 48 | UINT64_C(1) << 49;
}
void jit_leave_behind(struct cpu *cpu, uint64_t leaving);

/* RIP of a place; and behind its instruction. */
uint64_t jit_place_rip(const struct jit_region *region, unsigned place);
uint64_t jit_behind_place(const struct jit_region *region, unsigned place);
