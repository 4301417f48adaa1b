/*
 * Cells: copies of TLB entries at known addresses (see lookup.c), which are filled by STUB_CELL.
 *
 * A cell pays while its accesses stay in one page for some time. Where one is filled more often
 * than a look into the TLB would cost, the instruction that filled it last has to do without: it is
 * noted (by a number that others may share), and the regions with it are made anew. So it goes with
 * one that roams, and with those that would share a cell and mean two pages by turns: a stack frame
 * that lies in both, say. Everything is forgiven with each segment of the code cache that is
 * emptied, and where so many are noted that the innocent suffer.
 */
#include "emu/cpu/mmu.h"
#include "emu/jit/jit.h"
#include <string.h>
#include <x86intrin.h>

#define PATIENCE     2048 /* fillings of a cell until the clock is looked at */
#define ROAM_CYCLES  600  /* between two fillings: with fewer it does not pay */
#define MOST_ROAMING (JIT_CELLS / 4)
#define CYCLES_SHIFT 8 /* of `since`, so that 32 bits last for minutes */

void jit_forget_cells(struct jit *jit)
{
    for (unsigned kind = 0; kind < TLB_KIND_COUNT; kind++)
        for (unsigned group = 0; group < JIT_CELLS / JIT_CELL_GROUP; group++) {
            if (!jit->cells_filled[kind][group])
                continue;
            jit->cells_filled[kind][group] = 0;
            for (unsigned writes = 0; writes < 2; writes++)
                memset(&jit->limits[kind][writes][group * JIT_CELL_GROUP], 0,
                       JIT_CELL_GROUP * sizeof(jit->limits[0][0][0]));
        }
}

void jit_forgive_cells(struct jit *jit)
{
    memset(jit->roams, 0, sizeof(jit->roams));
    jit->roaming = 0;
}

/* Of the instruction at RIP, if where that is can be told without a walk. */
static void roams(struct cpu *cpu)
{
    struct jit *jit = cpu->jit;
    uint64_t rip = cpu->s.rip;
    const struct tlb_info *info = &mmu_tlb(cpu)->info[(rip >> 12) & (TLB_SIZE - 1)];
    uint64_t phys = info->phys | (rip & ~PAGE_MASK);
    if (info->exec != (rip & PAGE_MASK))
        return;
    if (jit->roaming == MOST_ROAMING)
        jit_forgive_cells(jit);
    jit->roaming += !jit->roams[jit_site(phys)];
    jit->roams[jit_site(phys)] = true;
    jit_cache_remove_at(jit, phys);
    atomic_store(&cpu->attention, 1); /* a loop would go on in what was removed */
}

void jit_rest_cell(struct cpu *cpu)
{
    struct jit *jit = cpu->jit;
    struct jit_cell *cell = jit->tired;
    uint32_t now = (uint32_t)(__rdtsc() >> CYCLES_SHIFT);
    bool begun = cell->since != 0;
    uint32_t passed = now - cell->since;

    jit->tired = NULL;
    cell->fillings_left = PATIENCE;
    cell->since = now | 1;
    if (begun && passed <= (PATIENCE * ROAM_CYCLES) >> CYCLES_SHIFT)
        roams(cpu);
}
