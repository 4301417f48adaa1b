/* A stretch run by both engines and compared, and made shorter where they differ: see lockstep.c.
 */
#include "emu/cpu/interp.h"
#include "emu/cpu/sse.h"
#include "emu/cpu/system.h"
#include "emu/jit/flags.h"
#include "emu/jit/lockstep.h"
#include <stdio.h>
#include <string.h>

#define REPEATS_MOST (1u << 24) /* elements or chunks of string instructions in a stretch */
#define ACCESSED     0x20       /* of page table entries */
#define DIRTY        0x40

/* ---- snapshots ------------------------------------------------------------------------------- */

void lockstep_capture(struct lockstep *l, struct snapshot *to, bool raised)
{
    struct cpu *cpu = l->cpu;
    sse_sync_mxcsr(cpu);
    cpu->s.rflags = cpu_get_rflags(cpu);
    cpu->s.gpr[GPR_CODE] = 0;
    to->s = cpu->s;
    to->flags = cpu->flags;
    to->vector = raised ? cpu->fault.vector : -1;
    to->has_error = raised && cpu->fault.has_error;
    to->error = to->has_error ? cpu->fault.error : 0;
    to->device = l->journal->device;
}

void lockstep_restore(struct lockstep *l, const struct snapshot *from)
{
    struct cpu *cpu = l->cpu;
    cpu->s = from->s;
    cpu->flags = from->flags;
    sse_load_mxcsr(cpu, from->s.mxcsr);
    cpu->insn = NULL;
    cpu->delivering = -1;
    cpu_update_mode(cpu);
}

static bool same_end(const struct snapshot *a, const struct snapshot *b)
{
    if (a->vector != b->vector || a->has_error != b->has_error || a->error != b->error)
        return false;
    const struct journal_device *d = &a->device, *e = &b->device;
    return a->vector != JOURNAL_DEVICE || (d->kind == e->kind && d->address == e->address &&
                                           d->value == e->value && d->size == e->size);
}

static bool same(const struct snapshot *a, const struct snapshot *b)
{
    return !memcmp(&a->s, &b->s, sizeof(a->s)) && same_end(a, b);
}

/* The same, but for flags that have no defined value: those become the translation's. */
static bool same_as_translated(const struct lockstep *l, struct snapshot *reference)
{
    const struct snapshot *translated = &l->translated;
    uint64_t differ = (reference->s.rflags ^ translated->s.rflags) & FLAGS_ARITHMETIC;
    if (differ)
        reference->s.rflags ^= differ & lockstep_undefined_flags(l);
    return same(reference, translated);
}

/* ---- the two runs ---------------------------------------------------------------------------- */

/* Runs `what` and returns true when it raised; a pending fault then stands in cpu->fault. */
static __attribute__((noinline)) bool raises(struct lockstep *l, void (*what)(struct lockstep *))
{
    struct cpu *cpu = l->cpu;
    void *outer[G_N_ELEMENTS(cpu->unwind)];
    volatile bool raised = false;
    memcpy(outer, cpu->unwind, sizeof(outer));
    if (__builtin_setjmp(cpu->unwind))
        raised = true;
    else
        what(l);
    memcpy(cpu->unwind, outer, sizeof(outer));
    return raised;
}

static void run_translated(struct lockstep *l)
{
    l->jit->budget = l->budget;
    jit_enter(l->jit, l->code);
}

static bool agrees(struct lockstep *l)
{
    const struct cpu_state *now = &l->cpu->s, *end = &l->translated.s;
    unsigned differ = 0;
    if (now->rip != end->rip)
        return false;
    for (unsigned i = 0; i < GPR_COUNT; i++)
        differ += now->gpr[i] != end->gpr[i];
    if (l->reached && differ > l->closest_count)
        return false;
    lockstep_capture(l, &l->closest, false);
    l->reached = true;
    l->closest_count = differ;
    l->closest_trail = l->trail_count;
    l->place = NULL;
    if (differ)
        return false;
    /* Translated code may have looked for a page and then left the access to the interpreter. */
    journal_set_walked(l->journal, l->jit->interpret_next ? ACCESSED | DIRTY : ACCESSED);
    bool memory =
        journal_differs(l->journal, &l->place, &l->place_translated, &l->place_interpreted);
    return same_as_translated(l, &l->closest) && !memory;
}

/* The instruction of the block at which the translation stopped, if it is not the first. */
static struct insn *stop_in(const struct lockstep *l, struct block *block)
{
    uint64_t offset = interp_mask_ip(l->cpu, l->translated.s.rip - l->cpu->s.rip);
    if (l->translated.vector >= 0 || offset == 0 || offset >= block->bytes)
        return NULL;
    for (unsigned i = 1; i < block->count; i++)
        if (block->insns[i].offset == offset)
            return &block->insns[i];
    return NULL;
}

static void clear_stop(struct lockstep *l)
{
    struct cpu *cpu = l->cpu;
    if (!l->stop)
        return;
    l->stop->handler = l->stopped;
    if (cpu->patched == l->stop) /* a store into the block ended it at the same place */
        cpu->patched_handler = l->stopped;
    l->stop = NULL;
}

/* Translated code for lockstep clears flags that an instruction leaves undefined (flags_define()),
 * so that PUSHF and its like see the same. So does the reference, which stops behind each. */
static struct insn *stop_behind_undefined(struct block *block, struct insn *stop)
{
    for (struct insn *insn = block->insns; insn + 1 < block->insns + block->count; insn++)
        if (insn + 1 == stop || flags_left_undefined(insn))
            return insn + 1;
    return stop;
}

static void define_flags(struct cpu *cpu, const struct insn *last, uint64_t rip)
{
    uint64_t behind = interp_mask_ip(cpu, rip + last->offset + last->length);
    if (cpu->s.rip == behind)
        cpu->flags &= (uint16_t)~flags_image(flags_left_undefined(last));
}

static void run_block(struct lockstep *l, struct block *block)
{
    struct insn *stop = stop_behind_undefined(block, stop_in(l, block));
    unsigned count = stop ? (unsigned)(stop - block->insns) : block->count;
    uint64_t rip = l->cpu->s.rip;
    struct insn last = block->insns[count - 1];
    l->trail[l->trail_count++ % LOCKSTEP_TRAIL] =
        (struct trail_step){l->cpu->s.rip, block_epoch(l->cpu), block, count};
    l->passed += count;
    if (stop) {
        l->stop = stop;
        l->stopped = stop->handler;
        stop->handler = interp_resync;
    }
    interp_run_block(l->cpu, block);
    clear_stop(l);
    define_flags(l->cpu, &last, rip);
}

static bool is_string(const struct insn *insn)
{
    return insn->op >= OP_MOVS && insn->op <= OP_OUTS;
}

/* How far a repeated string instruction is to go at once: if the translation stopped in the midst
 * of this one, to there. How much it did at once depended on what it found in the TLB. */
static uint64_t string_chunk(const struct lockstep *l, const struct insn *insn)
{
    const struct cpu_state *now = &l->cpu->s, *end = &l->translated.s;
    if (!is_string(insn) || l->translated.vector >= 0 || now->rip != end->rip)
        return INTERP_STRING_CHUNK;
    uint64_t mask = insn->addr_size == SIZE_64   ? UINT64_MAX
                    : insn->addr_size == SIZE_32 ? UINT32_MAX
                                                 : UINT16_MAX;
    uint64_t ahead = (now->gpr[RCX] - end->gpr[RCX]) & mask;
    return ahead > 0 && ahead < INTERP_STRING_CHUNK ? ahead : INTERP_STRING_CHUNK;
}

static void run_reference(struct lockstep *l)
{
    struct cpu *cpu = l->cpu;
    uint64_t most = (uint64_t)(l->budget + 1) * REGION_MAX_INSNS, repeats = 0;
    for (;;) {
        uint64_t rip = cpu->s.rip, passed = l->passed;
        if (l->translated.vector < 0 && agrees(l)) {
            l->agreed = true;
            return;
        }
        if (l->passed > most || repeats > REPEATS_MOST || cpu->s.halted || cpu->s.shutdown ||
            interp_must_single(cpu))
            return;
        /* Repeated string instructions pause wherever the translator's might have. */
        atomic_store(&cpu->attention, 1);
        struct block *block = block_find(cpu);
        cpu->string_chunk = string_chunk(l, &block->insns[0]);
        run_block(l, block);
        if (cpu->s.rip == rip && is_string(&block->insns[0])) {
            l->passed = passed;
            repeats++;
        }
    }
}

/* What the last block had before the instruction that raised is all that it did. */
static void cut_trail(struct lockstep *l)
{
    struct trail_step *last = &l->trail[(l->trail_count - 1) % LOCKSTEP_TRAIL];
    if (l->trail_count == 0 || last->epoch != block_epoch(l->cpu))
        return;
    uint64_t offset = interp_mask_ip(l->cpu, l->cpu->s.rip - last->rip);
    unsigned done = 0;
    while (done < last->count && last->block->insns[done].offset < offset)
        done++;
    l->passed -= last->count - done;
    last->count = done;
}

/* From l->start on; l->agreed tells. Memory is as the reference leaves it. */
void lockstep_compare(struct lockstep *l)
{
    struct cpu *cpu = l->cpu;
    bool raised = raises(l, run_translated);
    if (raised)
        raised = jit_after_raise(l->jit);
    lockstep_capture(l, &l->translated, raised);
    journal_keep(l->journal);
    journal_take_back(l->journal);
    lockstep_restore(l, &l->start);

    l->agreed = l->reached = false;
    l->passed = l->trail_count = 0;
    l->place = NULL;
    raised = raises(l, run_reference);
    cpu->string_chunk = INTERP_STRING_CHUNK;
    clear_stop(l);
    if (raised)
        cut_trail(l);
    lockstep_capture(l, &l->reference, raised);
    if (raised || !l->reached) { /* where it stands now is all there is to compare */
        l->reached = false;
        l->closest = l->reference;
        l->closest_trail = l->trail_count;
        bool memory =
            journal_differs(l->journal, &l->place, &l->place_translated, &l->place_interpreted);
        l->agreed = raised && same_as_translated(l, &l->closest) && !memory;
    }
    atomic_store(&cpu->attention, 1);
}

/* ---- a difference ---------------------------------------------------------------------------- */

/* Finds the shortest stretch that shows it, and leaves l as if only that had run. False: it does
 * not come again. */
static bool narrow(struct lockstep *l)
{
    int32_t whole = l->budget;
    struct snapshot begin = l->start, good = begin;
    for (l->budget = 1; l->budget <= whole; l->budget++) {
        journal_take_back(l->journal);
        lockstep_restore(l, &begin);
        lockstep_compare(l);
        if (!l->agreed) {
            l->start = good;
            return true;
        }
        good = l->translated;
        l->trail_from = l->closest_trail;
    }
    return false;
}

void lockstep_diverged(struct lockstep *l)
{
    g_autofree char *summary = NULL, *shorter = NULL;
    l->trail_from = 0;
    g_autofree char *report = lockstep_report(l, &summary);
    if (narrow(l)) {
        g_free(report);
        report = lockstep_report(l, &shorter);
        g_free(summary);
        summary = g_steal_pointer(&shorter);
    } else {
        fputs("lockstep: run again, the stretch that follows shows no difference\n", stderr);
    }
    fputs(report, stderr);
    journal_end(l->journal);
    l->cpu->s.shutdown = true;
    g_free(l->cpu->shutdown_reason);
    l->cpu->shutdown_reason = g_steal_pointer(&summary);
}
