/* Where translated code's RETs go: see return_stack.c. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct cpu;
struct jit;

/* A RET, to take it back if it faults after all. */
struct jit_return {
    uint32_t region;
    uint16_t place;
    uint32_t release; /* by how much it moves the stack pointer */
};

/*
 * Host stacks of translated code, by mode: what they hold is where the host's RET goes. The address
 * of a full one is a multiple of its size, as code sees by a TEST.
 */
#define JIT_RETURN_STACKS      4
#define JIT_RETURNS            256 /* entries, the bottom among them */
#define JIT_RETURNS_MASK       (JIT_RETURNS * 8 - 1)
#define JIT_RETURN_STACK_BYTES (64u << 10) /* with room for signal frames, and a guard page */
struct jit_return_stack {
    uint32_t mode;
    uint64_t base; /* of CS */
    uint64_t *at;  /* while another is current */
    uint64_t salt; /* what jit->salt is with it; 0: to be found */
};

bool jit_returns_init(struct jit *jit, GError **error);
void jit_returns_finish(struct jit *jit);
/* What translated code may return to is not valid any more, or may not be. */
void jit_returns_forget(struct jit *jit);
/* The mode's stack becomes the current one. */
void jit_returns_switch(struct jit *jit);
/* The interpreter has done an instruction: a CALL or RET, perhaps. */
void jit_returns_note(struct jit *jit, unsigned op);
/* Makes room, by forgetting the oldest. */
void jit_returns_full(struct cpu *cpu);
/* A RET to an address whose code translated code does not know: that, or JIT_LEAVE. */
const uint8_t *jit_return_missed(struct cpu *cpu, uint64_t target);
