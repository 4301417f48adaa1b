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
 * Flags that an instruction leaves undefined depend on what was in the host's before, so both
 * engines clear them behind it: the next instructions may look (PUSHF, SETcc).
 *
 * A page table may change without a word, and is read anew when the processor likes: until then it
 * may go on with what it knew. Translated code has pages in more places than the TLB (cells,
 * windows) and may know the old for longer. So a stretch in which a page was found elsewhere than
 * the TLB had it may differ; its first block is interpreted then, and not compared.
 *
 * The board lock is held during a stretch, so that devices write memory between stretches only.
 */
#include "emu/jit/lockstep.h"
#include "emu/cpu/interp.h"
#include "emu/cpu/sse.h"
#include "emu/cpu/system.h"
#include <inttypes.h>

#define BUDGET    200
#define APIC_BASE 0x1b /* reading it changes nothing; CPUID does */

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

/* As if it had not been run by either engine. */
static void forget_stretch(struct lockstep *l)
{
    journal_take_back(l->journal);
    journal_end(l->journal);
    lockstep_restore(l, &l->start);
    l->jit->exit_cell = 0;
    l->jit->interpret_next = false;
}

static void interpret(struct lockstep *l, struct block *block)
{
    l->uncompared++;
    interp_run_block(l->cpu, block);
}

/* False when the engines disagree. */
static bool step(struct lockstep *l)
{
    struct cpu *cpu = l->cpu;
    struct block *block = NULL;
    l->code = jit_find_code(l->jit, &block);
    if (!l->code) {
        interpret(l, block);
        return true;
    }
    board_lock(cpu->board);
    journal_begin(l->journal);
    l->budget = BUDGET;
    lockstep_capture(l, &l->start, false);
    lockstep_compare(l);
    if (!l->agreed && l->journal->moved) {
        forget_stretch(l);
        board_unlock(cpu->board);
        interpret(l, block_find(cpu));
        return true;
    }
    if (!l->agreed) {
        lockstep_diverged(l);
        board_unlock(cpu->board);
        return false;
    }
    journal_end(l->journal);
    lockstep_restore(l, &l->translated);
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

    jit_traps_of(l->jit);
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
    jit_traps_of(NULL);
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
