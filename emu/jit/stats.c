/* What the translator counts, and how it tells. */
#include "emu/jit/jit.h"
#include <inttypes.h>

static void line(GString *text, const struct cpu *cpu, const char *what, uint64_t count)
{
    g_string_append_printf(text, "cpu %u: %-50s %14" PRIu64 "\n", cpu->index, what, count);
}

/* Only with CPU_OBSERVE_COUNT: translated code does not count by itself. */
static void shares(const struct jit *jit, GString *text)
{
    const struct cpu *cpu = jit->cpu;
    uint64_t translated = jit->stats.executed, handlers = jit->stats.handlers;
    uint64_t interpreted = cpu_instructions(cpu);
    double all = (double)translated + (double)interpreted;
    line(text, cpu, "instructions translated code ran", translated);
    line(text, cpu, "instructions interpreted", interpreted);
    if (all > 0)
        g_string_append_printf(text, "cpu %u: %-50s %12.3f %%, and %.3f %% for regions\n",
                               cpu->index, "share of the interpreter",
                               100 * (double)interpreted / all, 100 * (double)handlers / all);
}

void jit_report(const struct jit *jit, GString *text)
{
    const struct jit_stats *s = &jit->stats;
    const struct {
        const char *what;
        uint64_t count;
    } lines[] = {
        {"regions translated", s->regions},
        {"ways into the middle of regions", s->doors},
        {"regions made anew since they led to others", s->remade},
        {"regions made anew with care", s->proven},
        {"blocks in them", s->blocks},
        {"instructions in them", s->insns},
        {"bytes of code", s->code_bytes},
        {"bytes of the code cache", jit->cache_size},
        {"segments of the cache emptied", s->evictions},
        {"bytes left over in those before", s->left_over},
        {"regions found stale", s->stale},
        {"stale regions good again", s->revived},
        {"regions moved to another address", s->moved},
        {"links made", s->links},
        {"returns to code not known", s->returns_missed},
        {"returns to the loop by an unlinked exit", s->exits_link},
        {"returns by an indirect jump", s->exits_jump},
        {"other returns", s->exits_other},
        {"exits for an interrupt or another call", s->exits_attention},
        {"exits by a fault", s->exits_fault},
        {"exits by an instruction that changes the mode", s->exits_handler},
        {"exits since the region was written", s->exits_stored},
        {"blocks interpreted", s->interpreted},
        {"instructions done by the interpreter for regions", s->handlers},
        {"TLB misses: page walks", jit->cpu->walks},
        {"loads the TLB missed", s->slow_loads},
        {"stores the TLB missed", s->slow_stores},
        {"stores to pages with code, or aside", s->stored},
        {"windows the TLB missed", s->windows},
        {"windows that could not be opened", s->windows_failed},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(lines); i++)
        line(text, jit->cpu, lines[i].what, lines[i].count);
    if (jit->counts)
        shares(jit, text);
}
