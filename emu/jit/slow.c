/* What translated code calls: accesses that miss the TLB, and instructions for the interpreter. */
#include "emu/cpu/interp.h"
#include "emu/cpu/mmu.h"
#include "emu/jit/jit.h"

uint64_t jit_place_rip(const struct jit_region *region, unsigned place)
{
    uint64_t linear = (region->linear & PAGE_MASK) | (place & ~PAGE_MASK);
    return jit_mask_ip(region, region->rip + (linear - region->linear));
}

uint64_t jit_behind_place(const struct jit_region *region, unsigned place)
{
    return jit_mask_ip(region, jit_place_rip(region, place) + (place >> JIT_PLACE_BITS));
}

void jit_leave_behind(struct cpu *cpu, uint64_t leaving)
{
    struct jit *jit = cpu->jit;
    struct jit_region *region = jit_low((uint32_t)leaving);
    cpu->s.rip = jit_behind_place(region, (uint16_t)(leaving >> 32));
    jit->interpret_next |= leaving >> 48 & 1;
    jit->exit_cell = 0;
    if (region->hasty)
        jit_lose_patience(jit, region);
}

/* Translated code moves the stack pointer once for several instructions. */
static void move_stack(struct cpu *cpu, int by)
{
    uint64_t to = cpu->s.gpr[RSP] + (uint64_t)((int64_t)by * JIT_STACK_STEP);
    cpu->s.gpr[RSP] = cpu->mode & MODE_LONG ? to : (uint32_t)to;
}

static void set_place(struct cpu *cpu, const struct jit_region *region, unsigned place)
{
    cpu->insn = NULL; /* so RIP counts */
    cpu->s.rip = jit_place_rip(region, place);
    if (unlikely(cpu->jit->tired))
        jit_rest_cell(cpu);
}

/* Outside 64-bit code an operand that wraps around is past its segment's limit; which fault that
 * is, the interpreter knows. It begins the instruction anew. */
static void check_wrap(struct cpu *cpu, uint64_t address, unsigned size)
{
    if (likely(cpu->mode & MODE_LONG) || address + size <= UINT64_C(1) << 32)
        return;
    cpu->jit->interpret_next = cpu->jit->restart = true;
    __builtin_longjmp(cpu->unwind, 1);
}

static void *slow_load(struct cpu *cpu, uint64_t address, unsigned size)
{
    check_wrap(cpu, address, size);
    cpu->jit->stats.slow_loads++;
    return (void *)mmu_read_begin(cpu, address, size);
}

/* And whose mark is looked at after the store. */
static void *note_store(struct cpu *cpu, void *host, uint64_t address, unsigned size)
{
    struct jit *jit = cpu->jit;
    jit->stats.slow_stores++;
    jit->address = address;
    jit->size = size;
    jit->mark = host == cpu->temp ? &jit->always_marked : mmu_entry(cpu, address)->mark;
    return host;
}

static void *slow_store(struct cpu *cpu, uint64_t address, unsigned size)
{
    check_wrap(cpu, address, size);
    return note_store(cpu, mmu_write_begin(cpu, address, size), address, size);
}

static void *slow_rmw(struct cpu *cpu, uint64_t address, unsigned size)
{
    check_wrap(cpu, address, size);
    return note_store(cpu, mmu_rmw_slow(cpu, address, size), address, size);
}

#define WINDOW_PATIENCE 4  /* failures before a region is made anew with tails */
#define SLOW_PATIENCE   64 /* with tails, where the memory is not plain: without windows */

static void *not_opened(struct cpu *cpu, const struct jit_opening *o, bool slow)
{
    struct jit *jit = cpu->jit;
    struct jit_region *region = jit_low(o->region);
    unsigned patience = o->tail ? SLOW_PATIENCE : WINDOW_PATIENCE;
    jit->stats.windows_failed++;
    region->window_failures += slow || !o->tail;
    if (region->window_failures > patience && region->state == REGION_LIVE) {
        struct block *block = block_peek(cpu, region->phys);
        if (block)
            block->window_trouble = o->tail ? 2 : block->window_trouble + 1;
        jit_cache_remove(jit, region);
    }
    if (o->tail)
        return JIT_NO_WINDOW;
    jit->interpret_next = true;
    jit->exit_cell = 0;
    return NULL;
}

static void *open_window(struct cpu *cpu, uint64_t low, const struct jit_opening *o)
{
    struct jit *jit = cpu->jit;
    uint64_t address = low + o->offset;

    if (!(cpu->mode & MODE_LONG))
        address = (uint32_t)address;
    check_wrap(cpu, address, o->bytes);
    jit->stats.windows++;
    if (unlikely(o->aligned && address & (o->bytes - 1))) { /* the interpreter's to raise */
        jit->interpret_next = true;
        jit->exit_cell = 0;
        return NULL;
    }
    if (o->bytes && o->writes)
        mmu_write_begin(cpu, address, o->bytes);
    else if (o->bytes)
        mmu_read_begin(cpu, address, o->bytes);
    bool one_page = !((low ^ (low + o->span - 1)) & PAGE_MASK);
    const struct tlb_entry *entry = mmu_entry(cpu, low);
    uint64_t tag = o->window_writes ? entry->write : entry->read;
    bool found = one_page && tag == (low & PAGE_MASK);
    /* Where several CPUs store, each store looks for itself. */
    bool looks = o->window_writes && !memory_is_shared(cpu->board->memory);
    if (found && !(looks && *entry->mark & 1)) {
        jit->mark = entry->mark;
        return mmu_host(entry, low);
    }
    return not_opened(cpu, o, o->bytes && (entry->read ^ low) & PAGE_MASK);
}

void *jit_slow_look(struct cpu *cpu, uint64_t address, unsigned unused, const uint8_t *back)
{
    const struct jit_facts *facts = jit_facts_at(back);
    unsigned size = facts->look & JIT_LOOK_BYTES;
    enum look look = facts->look >> 12 & 3;
    const struct jit_opening *opening = jit_low(facts->owner);
    uint32_t region = look == LOOK_WINDOW ? opening->region : facts->owner;

    set_place(cpu, jit_low(region), facts->place);
    if (facts->stack)
        move_stack(cpu, facts->stack);
    switch (look) {
    case LOOK_LOAD:
        return slow_load(cpu, address, size);
    case LOOK_STORE:
        return slow_store(cpu, address, size);
    case LOOK_RMW:
        return slow_rmw(cpu, address, size);
    case LOOK_WINDOW:
        return open_window(cpu, address, opening);
    }
    g_assert_not_reached();
}

static void note_crossed(struct cpu *cpu)
{
    struct jit *jit = cpu->jit;
    jit->crossed = false;
    memory_code_written_at(cpu->board->memory, mmu_entry(cpu, jit->address)->mark);
    memory_code_written_at(cpu->board->memory, mmu_entry(cpu, jit->address + jit->size - 1)->mark);
}

/* Behind a store. What it wrote may be the running region itself; other reasons to stop can wait.
 */
static bool stored(struct cpu *cpu, const uint8_t *mark, const struct jit_facts *facts,
                   int32_t onward)
{
    struct jit *jit = cpu->jit;
    struct memory_map *map = cpu->board->memory;
    const struct jit_region *region = jit_low(facts->owner);
    bool elsewhere = !(facts->place >> JIT_PLACE_BITS); /* where it goes may have been written */
    if (facts->stack)
        move_stack(cpu, facts->stack);
    jit->stats.stored++;
    if (facts->stored && mark != &jit->always_marked && !memory_is_shared(map) &&
        !memory_holds_code(map, mark, jit->stored_host & ~PAGE_MASK, facts->stored))
        return false;
    set_place(cpu, region, facts->place);
    if (mark != &jit->always_marked)
        memory_code_written_at(map, mark);
    else if (jit->crossed)
        note_crossed(cpu);
    else
        mmu_rmw_finish(cpu, jit->address, jit->size);
    if (likely(!jit_was_written(jit)))
        return false;
    jit_attend_written(jit);
    if (region->state == REGION_LIVE && !elsewhere)
        return false;
    jit->exit_cell = 0;
    jit->stats.exits_stored++;
    uint64_t next = jit_behind_place(region, facts->place) + (uint64_t)(int64_t)onward;
    cpu->s.rip = elsewhere ? jit->scratch[1] : jit_mask_ip(region, next);
    return true;
}

bool jit_stored(struct cpu *cpu, const uint8_t *mark, unsigned size, const uint8_t *back)
{
    return stored(cpu, mark, jit_facts_at(back), 0);
}

bool jit_stored_at(struct cpu *cpu, const uint8_t *mark, unsigned size, const uint8_t *back)
{
    const struct jit_facts *facts = jit_facts_at(back);
    return stored(cpu, mark, facts, facts->onward);
}

const uint8_t *jit_call_handler(struct cpu *cpu, const struct jit_kept *kept, unsigned last)
{
    struct jit *jit = cpu->jit;
    const struct jit_region *region = jit_low(kept->region);
    const struct insn *insn = &kept->insn, *next;

    jit->stats.handlers++;
    set_place(cpu, region, kept->place);
    uint64_t rip = cpu->s.rip;
    cpu->s.gpr[GPR_CODE] = interp_mask_ip(cpu, rip - insn->offset);
    cpu->block = &jit->dummy;
    jit->dummy.mode = cpu->mode;
    next = insn->handler(cpu, insn);
    cpu->insn = NULL;
    bool jump =
        insn->op == OP_RET || insn->op == OP_RETI || insn->op == OP_JMP_E || insn->op == OP_CALL_E;
    jit->exit_cell = jump ? EXIT_BY_JUMP : 0;
    jit_returns_note(jit, insn->op);
    if (next && last)
        cpu->s.rip = interp_mask_ip(cpu, rip + insn->length);
    if (!next || last) { /* RIP is where it goes on */
        const uint8_t *code = jit_known_code(jit);
        if (code)
            return code;
        jit->stats.exits_handler++;
        return JIT_LEAVE;
    }
    if (likely(!atomic_load_explicit(&cpu->attention, memory_order_relaxed)))
        return NULL;
    cpu->s.rip = interp_mask_ip(cpu, rip + insn->length);
    return JIT_LEAVE;
}
