/*
 * The translator and the interpreter side by side, on one CPU.
 *
 * A stretch is what translated code does between an entry and an exit, or until it has passed a
 * number of region and loop heads. It is run three times over, so to speak:
 *
 *   1. translated, with a journal (emu/cpu/journal.h) of the memory and TLB entries it changes
 *   2. taken back: the state, memory and the TLB are what they were
 *   3. by the interpreter, until everything is as the translation left it
 *
 * If the interpreter never gets there the engines disagree. The stretch is then made shorter, one
 * head at a time, until it is the shortest that shows the difference; that is what is reported, and
 * the CPU stops.
 *
 * The interpreter is not told how many instructions the translation did: translated code does not
 * count them. It stops wherever RIP is right and compares. That loses nothing: a state that agrees
 * in every register and every byte of memory has the same future, however it was reached.
 *
 * Faults are part of the comparison; their delivery, like interrupts, is common code and done once.
 * So is an instruction that meets a device or the clock: both engines must come to it in the same
 * state with the same access on their lips, then the interpreter does it, once, and its result is
 * where the next stretch begins for both. Code that is interpreted anyway is not compared.
 *
 * The board lock is held during a stretch, so that devices write memory between stretches only.
 */
#include "emu/jit/lockstep.h"
#include "emu/cpu/interp.h"
#include "emu/cpu/sse.h"
#include "emu/cpu/system.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define BUDGET       200
#define REPEATS_MOST (1u << 24) /* elements or chunks of string instructions in a stretch */
#define ACCESSED     0x20       /* of page table entries */
#define DIRTY        0x40
#define APIC_BASE    0x1b /* reading it changes nothing; CPUID does */

/* ---- snapshots ------------------------------------------------------------------------------- */

static void capture(struct lockstep *l, struct snapshot *to, bool raised)
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

static void restore(struct lockstep *l, const struct snapshot *from)
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
    capture(l, &l->closest, false);
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

static void run_block(struct lockstep *l, struct block *block)
{
    struct insn *stop = stop_in(l, block);
    unsigned count = stop ? (unsigned)(stop - block->insns) : block->count;
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
static void compare(struct lockstep *l)
{
    struct cpu *cpu = l->cpu;
    bool raised = raises(l, run_translated);
    if (raised)
        raised = jit_after_raise(l->jit);
    capture(l, &l->translated, raised);
    journal_keep(l->journal);
    journal_take_back(l->journal);
    restore(l, &l->start);

    l->agreed = l->reached = false;
    l->passed = l->trail_count = 0;
    l->place = NULL;
    raised = raises(l, run_reference);
    cpu->string_chunk = INTERP_STRING_CHUNK;
    clear_stop(l);
    if (raised)
        cut_trail(l);
    capture(l, &l->reference, raised);
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
        restore(l, &begin);
        compare(l);
        if (!l->agreed) {
            l->start = good;
            return true;
        }
        good = l->translated;
        l->trail_from = l->closest_trail;
    }
    return false;
}

static void diverged(struct lockstep *l)
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

/* ---- the loop -------------------------------------------------------------------------------- */

/* What ended the stretch, done once. */
static void finish(struct lockstep *l)
{
    struct cpu *cpu = l->cpu;
    const struct snapshot *end = &l->translated;
    if (end->vector == JOURNAL_DEVICE) {
        l->devices++;
        interp_run_single(cpu);
    } else if (end->vector >= 0) {
        l->faults++;
        cpu->fault.vector = end->vector;
        cpu->fault.has_error = end->has_error;
        cpu->fault.error = end->error;
        cpu_deliver_fault(cpu);
    }
}

/* False when the engines disagree. */
static bool step(struct lockstep *l)
{
    struct cpu *cpu = l->cpu;
    struct block *block = NULL;
    l->code = jit_find_code(l->jit, &block);
    if (!l->code) {
        l->uncompared++;
        interp_run_block(cpu, block);
        return true;
    }
    board_lock(cpu->board);
    journal_begin(l->journal);
    l->budget = BUDGET;
    capture(l, &l->start, false);
    compare(l);
    if (!l->agreed) {
        diverged(l);
        board_unlock(cpu->board);
        return false;
    }
    journal_end(l->journal);
    restore(l, &l->translated);
    l->stretches++;
    l->instructions += l->passed;
    board_unlock(cpu->board);
    board_give_way(cpu->board);
    finish(l);
    return true;
}

static enum cpu_exit run(struct cpu *cpu)
{
    struct lockstep *l = cpu->lockstep;
    enum cpu_exit exit = CPU_EXIT_KICKED;

    sse_load_mxcsr(cpu, cpu->s.mxcsr);
    if (__builtin_setjmp(cpu->unwind)) {
        l = cpu->lockstep;
        if (jit_after_raise(l->jit))
            cpu_deliver_fault(cpu);
    }
    for (;;) {
        if (unlikely(atomic_load_explicit(&cpu->attention, memory_order_relaxed))) {
            uint64_t rip = cpu->s.rip;
            bool go_on = system_attend(cpu, &exit);
            if (cpu->s.rip != rip)
                l->jit->exit_cell = 0;
            jit_attend_written(l->jit);
            if (!go_on) {
                l->jit->exit_cell = 0;
                break;
            }
        }
        if (unlikely(interp_must_single(cpu)))
            interp_run_single(cpu);
        else if (!step(l)) {
            exit = CPU_EXIT_DIVERGED;
            break;
        }
    }
    sse_sync_mxcsr(cpu);
    sse_set_host_mxcsr(MXCSR_DEFAULT);
    return exit;
}

/* ---- the local APIC's registers, which are not read or written twice --------------------------
 */

static struct lockstep *checked(void *opaque, uint64_t address, uint64_t value, bool write)
{
    struct lockstep *l = opaque;
    journal_device(l->journal, JOURNAL_APIC, address << 1 | write, value, 8);
    return l;
}

static int acknowledge(void *opaque)
{
    struct lockstep *l = opaque;
    return l->ops->acknowledge(l->opaque);
}
static unsigned read_tpr(void *opaque)
{
    struct lockstep *l = checked(opaque, 8, 0, false);
    return l->ops->read_tpr(l->opaque);
}
static void write_tpr(void *opaque, unsigned value)
{
    struct lockstep *l = checked(opaque, 8, value, true);
    l->ops->write_tpr(l->opaque, value);
}
static bool read_msr(void *opaque, uint32_t index, uint64_t *ret_value)
{
    struct lockstep *l = index == APIC_BASE ? opaque : checked(opaque, index, 0, false);
    return l->ops->read_msr(l->opaque, index, ret_value);
}
static bool write_msr(void *opaque, uint32_t index, uint64_t value)
{
    struct lockstep *l = checked(opaque, index, value, true);
    return l->ops->write_msr(l->opaque, index, value);
}

static const struct cpu_ops checked_ops = {acknowledge, read_tpr, write_tpr, read_msr, write_msr};

/* ---- the engine ------------------------------------------------------------------------------ */

static void destroy(struct cpu *cpu)
{
    if (cpu->lockstep) {
        journal_free(cpu->journal);
        lockstep_close_disassembler(cpu->lockstep);
    }
    cpu->journal = NULL;
    g_clear_pointer(&cpu->lockstep, g_free);
    engine_jit.destroy(cpu);
}

static bool create(struct cpu *cpu, GError **error)
{
    if (cpu->index > 0) {
        g_set_error(
            error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
            "the lockstep engine runs one CPU only, since others would change memory between "
            "its two runs; give the machine --cpus 1");
        return false;
    }
    if (!engine_jit.create(cpu, error))
        return false;
    struct lockstep *l = g_new0(struct lockstep, 1);
    l->cpu = cpu;
    l->jit = cpu->jit;
    l->jit->counted = true;
    l->ops = cpu->ops;
    l->opaque = cpu->opaque;
    cpu->ops = &checked_ops;
    cpu->opaque = l;
    cpu->lockstep = l;
    cpu->journal = l->journal = journal_new(cpu);
    lockstep_open_disassembler(l);
    return true;
}

static void report(const struct cpu *cpu, GString *text)
{
    const struct lockstep *l = cpu->lockstep;
    engine_jit.report(cpu, text);
    g_string_append_printf(text,
                           "lockstep: %" PRIu64 " stretches compared, %" PRIu64
                           " instructions, %" PRIu64 " ended by a fault, %" PRIu64
                           " by a device; %" PRIu64 " blocks interpreted once\n",
                           l->stretches, l->instructions, l->faults, l->devices, l->uncompared);
}

static bool observe(struct cpu *cpu, unsigned what, GError **error)
{
    return engine_jit.observe(cpu, what, error);
}
static void state_changed(struct cpu *cpu)
{
    engine_jit.state_changed(cpu);
}
static bool set_code_cache(struct cpu *cpu, size_t bytes, GError **error)
{
    return engine_jit.set_code_cache(cpu, bytes, error);
}
static void mappings_changed(struct cpu *cpu, enum engine_mappings what, uint64_t address)
{
    engine_jit.mappings_changed(cpu, what, address);
}
static void layout_changed(struct cpu *cpu)
{
    engine_jit.layout_changed(cpu);
}

const struct engine_ops engine_lockstep = {
    .name = "lockstep",
    .create = create,
    .destroy = destroy,
    .run = run,
    .state_changed = state_changed,
    .set_code_cache = set_code_cache,
    .report = report,
    .observe = observe,
    .mappings_changed = mappings_changed,
    .layout_changed = layout_changed,
};
