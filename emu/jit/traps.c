/* Floating-point exceptions that the guest has unmasked: see traps.h. */
#include "emu/jit/traps.h"
#include "emu/cpu/sse.h"
#include "emu/jit/flags.h"
#include "emu/jit/operands.h"
#include <signal.h>
#include <ucontext.h>

/* ---- while code runs ------------------------------------------------------------------------- */

static __thread struct jit *running;
static struct sigaction before;

void jit_traps_of(struct jit *jit)
{
    running = jit;
}

/* The cold path of the code at a host address, or 0. */
static uintptr_t cold_path_of(const struct jit *jit, uintptr_t at)
{
    uintptr_t written = at - (uintptr_t)jit->run_delta;
    uintptr_t first = (uintptr_t)jit->write + JIT_STUBS_SIZE;
    size_t segment = (written - first) / jit->segment_size;
    if (written < first || segment >= JIT_SEGMENTS)
        return 0;
    const struct jit_region *region = jit->segment_regions[segment];
    while (region && written - (uintptr_t)region->code >= region->code_bytes)
        region = region->segment_next;
    for (unsigned i = 0; region && i < region->trap_count; i++)
        if (region->traps[i].at == at)
            return region->traps[i].cold;
    return 0;
}

static void on_signal(int number, siginfo_t *info, void *context)
{
    mcontext_t *machine = &((ucontext_t *)context)->uc_mcontext;
    bool sse = machine->gregs[REG_TRAPNO] == VEC_XM, x87 = machine->gregs[REG_TRAPNO] == VEC_MF;
    uintptr_t cold = 0;
    if (running && (sse || x87))
        cold = cold_path_of(running, (uintptr_t)machine->gregs[REG_RIP]);
    if (cold) {
        machine->gregs[REG_RIP] = (greg_t)cold;
        return;
    }
    if (running && sse) {
        machine->fpregs->mxcsr |= MXCSR_ALL_MASKED;
        running->traps_masked = true;
        atomic_store(&running->cpu->attention, 1);
        return;
    }
    if (before.sa_flags & SA_SIGINFO) {
        before.sa_sigaction(number, info, context);
    } else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
        before.sa_handler(number);
    } else { /* what raised it does so again, and ends the process */
        sigaction(number, &before, NULL);
    }
}

void jit_traps_catch(void)
{
    static GMutex lock;
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO}, old;
    g_mutex_lock(&lock);
    sigaction(SIGFPE, NULL, &old);
    if (!(old.sa_flags & SA_SIGINFO) || old.sa_sigaction != on_signal) {
        before = old;
        sigaction(SIGFPE, &action, NULL);
    }
    g_mutex_unlock(&lock);
}

void jit_traps_attend(struct jit *jit)
{
    if (likely(!jit->traps_masked))
        return;
    jit->traps_masked = false;
    sse_sync_mxcsr(jit->cpu);
    sse_load_mxcsr(jit->cpu, jit->cpu->s.mxcsr);
}

/* ---- while it is made ------------------------------------------------------------------------ */

struct cold *trap_begin(struct translator *t, const struct insn *insn, unsigned mode)
{
    if (!(t->mode & mode))
        return NULL;
    flags_keep(t, FL_ALL);
    struct cold *trap = add_cold(t, COLD_TRAP, NULL);
    trap->insn = insn;
    trap->place = insn_place(t, insn);
    return trap;
}

void trap_here(const struct translator *t, struct cold *trap)
{
    if (trap)
        trap->trap = t->e.at;
}

void keep_traps(struct translator *t)
{
    struct jit_region *region = t->region;
    unsigned count = 0;
    for (unsigned i = 0; i < t->cold_count; i++)
        count += t->cold[i].trap != NULL;
    if (!count)
        return;
    struct jit_trap *traps = translator_data(t, count * sizeof(*traps));
    region->traps = traps;
    region->trap_count = (uint16_t)count;
    for (unsigned i = 0; i < t->cold_count; i++)
        if (t->cold[i].trap)
            *traps++ = (struct jit_trap){jit_low_address(t->cold[i].trap + t->jit->run_delta),
                                         jit_low_address(t->cold[i].start + t->jit->run_delta)};
}
