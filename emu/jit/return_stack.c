/*
 * The stacks that translated code's CALLs and RETs use, which are the host's own instructions: see
 * returns.c for those.
 *
 * What is on such a stack is a prediction. A RET that finds its address to be another looks it up,
 * so entries may be lost, or be left over from calls that never returned. Each is the address of
 * code, though, which must be there, be what the guest's memory says, and be of the current mode.
 * So all are forgotten when a region ends or goes stale, or when a linear address may mean
 * something else (not when a region moves: what it compares with moves along); and each mode has a
 * stack of its own, so that a system call finds the kernel's and leaves the user's as it is. C runs
 * on the thread's stack meanwhile.
 *
 * The entry at the bottom leads to the lookup, and the code there pushes it anew.
 */
#include "emu/core/low_memory.h"
#include "emu/cpu/interp.h"
#include "emu/jit/jit.h"
#include <string.h>

static uint64_t *bottom_of(const struct jit *jit, unsigned stack)
{
    return (uint64_t *)(jit->return_memory + (size_t)(stack + 1) * JIT_RETURN_STACK_BYTES) - 1;
}

static unsigned current_of(const struct jit *jit)
{
    return (unsigned)(jit->return_stack - jit->return_stacks);
}

static uint64_t code_of(const struct jit *jit, enum jit_stub stub)
{
    return (uintptr_t)jit->stub[stub] + (uintptr_t)jit->run_delta;
}

static void empty(struct jit *jit, unsigned stack)
{
    uint64_t *bottom = bottom_of(jit, stack);
    *bottom = code_of(jit, STUB_RETURN_BOTTOM);
    jit->return_stacks[stack].at = bottom;
    if (&jit->return_stacks[stack] == jit->return_stack)
        jit->returns = bottom;
}

void jit_returns_forget(struct jit *jit)
{
    for (unsigned i = 0; i < JIT_RETURN_STACKS; i++)
        empty(jit, i);
}

bool jit_returns_init(struct jit *jit, GError **error)
{
    size_t size = JIT_RETURN_STACKS * JIT_RETURN_STACK_BYTES;
    jit->return_stack = jit->return_stacks;
    jit->return_memory = low_memory_new(size, error);
    for (unsigned i = 0; i < JIT_RETURN_STACKS && jit->return_memory; i++)
        if (!low_memory_guard(jit->return_memory + (size_t)i * JIT_RETURN_STACK_BYTES, error))
            return false;
    return jit->return_memory;
}

void jit_returns_finish(struct jit *jit)
{
    low_memory_free(jit->return_memory, JIT_RETURN_STACKS * JIT_RETURN_STACK_BYTES);
}

void jit_returns_switch(struct jit *jit)
{
    uint32_t mode = jit->cpu->mode;
    uint64_t base = jit_code_base(jit->cpu);
    struct jit_return_stack *stacks = jit->return_stacks;
    jit->return_stack->at = jit->returns;
    /* A kernel that goes back to its user has returned from all it called. */
    for (unsigned i = 0; i < JIT_RETURN_STACKS && mode & MODE_USER; i++)
        if (!(stacks[i].mode & MODE_USER))
            empty(jit, i);
    unsigned found = 0;
    while (found < JIT_RETURN_STACKS && (stacks[found].mode != mode || stacks[found].base != base))
        found++;
    if (found == JIT_RETURN_STACKS) {
        found = (current_of(jit) + 1) % JIT_RETURN_STACKS;
        stacks[found] = (struct jit_return_stack){.mode = mode, .base = base};
        empty(jit, found);
    }
    jit->return_stack = &stacks[found];
    jit->returns = stacks[found].at;
}

void jit_returns_full(struct cpu *cpu)
{
    struct jit *jit = cpu->jit;
    uint64_t *bottom = bottom_of(jit, current_of(jit));
    size_t kept = JIT_RETURNS / 2;
    memmove(bottom - kept, jit->returns, kept * sizeof(*bottom));
    jit->returns = bottom - kept;
}

/* What the interpreter calls may return into translated code, and the other way about. */
void jit_returns_note(struct jit *jit, unsigned op)
{
    if (op == OP_CALL || op == OP_CALL_E) {
        if (((uintptr_t)jit->returns & JIT_RETURNS_MASK) == 0)
            jit_returns_full(jit->cpu);
        *--jit->returns = code_of(jit, STUB_RETURN);
    } else if (op == OP_RET || op == OP_RETI) {
        jit->returns += jit->returns != bottom_of(jit, current_of(jit));
    }
}

const uint8_t *jit_return_missed(struct cpu *cpu, uint64_t target)
{
    struct jit *jit = cpu->jit;
    cpu->insn = NULL;
    jit->exit_cell = EXIT_BY_JUMP;
    jit->stats.returns_missed++;
    if (unlikely(cpu->mode & MODE_LONG && !canonical(target))) { /* it faults: the interpreter's */
        cpu->s.rip = jit_place_rip(jit_low(jit->returning->region), jit->returning->place);
        cpu->s.gpr[RSP] -= jit->returning->release;
        jit->interpret_next = true;
        jit->exit_cell = 0;
        return JIT_LEAVE;
    }
    cpu->s.rip = target;
    const uint8_t *code = jit_known_code(jit);
    return code ? code : JIT_LEAVE;
}
