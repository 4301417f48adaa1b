/* Hardware task switches between 16- and 32-bit task state segments (SDM volume 3, chapter 7). */
#include "emu/cpu/interp.h"
#include "emu/cpu/system.h"

/* Where things lie in a task state segment; `width` is of general registers, IP and flags. */
struct layout {
    uint8_t width;
    uint8_t size; /* what its limit must cover */
    uint8_t ip, flags, registers, selectors, selector_step, selector_count, ldt;
};

static const struct layout layout16 = {2, 44, 14, 16, 18, 34, 2, 4, 42};
static const struct layout layout32 = {4, 104, 32, 36, 40, 72, 4, 6, 96};
#define TSS_CR3  28
#define TSS_TRAP 100

static const uint8_t tss_segments[6] = {SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS};

static const struct layout *layout_of(const struct segment *tss)
{
    return tss->attributes & 8 ? &layout32 : &layout16;
}

static void set_busy(struct cpu *cpu, uint16_t selector, bool busy)
{
    struct descriptor d = segment_fetch(cpu, selector, VEC_TS);
    uint8_t access = d.high >> 8;
    mmu_system_store(cpu, d.address + 5, busy ? access | 2 : access & ~2, 1);
}

static void save_old(struct cpu *cpu, uint64_t ip, uint64_t flags)
{
    const struct layout *l = layout_of(&cpu->s.tr);
    uint64_t base = cpu->s.tr.base;
    mmu_system_store(cpu, base + l->ip, ip, l->width);
    mmu_system_store(cpu, base + l->flags, flags, l->width);
    for (unsigned i = 0; i < 8; i++)
        mmu_system_store(cpu, base + l->registers + l->width * i, cpu->s.gpr[i], l->width);
    for (unsigned i = 0; i < l->selector_count; i++)
        mmu_system_store(cpu, base + l->selectors + l->selector_step * i,
                         cpu->s.seg[tss_segments[i]].selector, 2);
}

/* What the new task brings, read before anything changes. */
struct image {
    uint32_t cr3, ip, flags, gpr[8];
    uint16_t selector[6], ldt;
    bool trap;
};

static struct image read_new(struct cpu *cpu, const struct segment *tss)
{
    const struct layout *l = layout_of(tss);
    bool wide = l == &layout32;
    struct image image = {
        .cr3 = wide ? mmu_system_load(cpu, tss->base + TSS_CR3, 4) : 0,
        .ip = mmu_system_load(cpu, tss->base + l->ip, l->width),
        .flags = mmu_system_load(cpu, tss->base + l->flags, l->width),
        .ldt = mmu_system_load(cpu, tss->base + l->ldt, 2),
        .trap = wide && mmu_system_load(cpu, tss->base + TSS_TRAP, 2) & 1,
    };
    for (unsigned i = 0; i < 8; i++)
        image.gpr[i] = mmu_system_load(cpu, tss->base + l->registers + l->width * i, l->width);
    for (unsigned i = 0; i < l->selector_count; i++)
        image.selector[i] =
            mmu_system_load(cpu, tss->base + l->selectors + l->selector_step * i, 2);
    return image;
}

static void load_ldt(struct cpu *cpu, uint16_t selector)
{
    cpu->s.ldtr = (struct segment){.selector = selector};
    if (!(selector & 0xfffc))
        return;
    struct descriptor d = segment_fetch(cpu, selector, VEC_TS);
    if (selector & 4 || descriptor_is_segment(&d) || descriptor_type(&d) != 2 ||
        !descriptor_present(&d))
        cpu_raise_error(cpu, VEC_TS, selector & 0xfffc);
    cpu->s.ldtr = segment_unpack(selector, &d);
}

static void load_code(struct cpu *cpu, uint16_t selector)
{
    uint16_t error = selector & 0xfffc;
    unsigned rpl = selector & 3;
    if (!error)
        cpu_raise_error(cpu, VEC_TS, 0);
    struct descriptor d = segment_fetch(cpu, selector, VEC_TS);
    unsigned a = d.high >> 8;
    if (!descriptor_is_segment(&d) || !(a & SEG_CODE) ||
        (a & SEG_EXPAND ? descriptor_dpl(&d) > rpl : descriptor_dpl(&d) != rpl))
        cpu_raise_error(cpu, VEC_TS, error);
    if (!descriptor_present(&d))
        cpu_raise_error(cpu, VEC_NP, error);
    segment_mark_accessed(cpu, &d);
    cpu->s.seg[SEG_CS] = segment_unpack(selector, &d);
}

/* The new task's segments; from here on faults are its own. */
static void load_segments(struct cpu *cpu, const struct image *image)
{
    if (cpu->s.rflags & FLAG_VM) {
        cpu->s.cpl = 3;
        for (unsigned i = 0; i < 6; i++)
            segment_load_real(cpu, tss_segments[i], image->selector[i]);
        return;
    }
    /* A handler of these faults finds all selectors, and nothing usable behind them. */
    for (unsigned i = 0; i < 6; i++)
        cpu->s.seg[tss_segments[i]] = (struct segment){.selector = image->selector[i]};
    load_ldt(cpu, image->ldt);
    cpu->s.cpl = image->selector[1] & 3;
    load_code(cpu, image->selector[1]);
    cpu_update_mode(cpu);
    for (unsigned i = 0; i < 6; i++)
        if (tss_segments[i] != SEG_CS)
            segment_load_or_raise(cpu, tss_segments[i], image->selector[i], VEC_TS);
}

void system_task_switch(struct cpu *cpu, uint16_t selector, enum task_reason reason,
                        uint64_t return_ip)
{
    uint16_t error = selector & 0xfffc, old = cpu->s.tr.selector;
    int vector = reason == TASK_IRET ? VEC_TS : VEC_GP;
    struct descriptor d = segment_fetch(cpu, selector, vector);
    /* Available, or busy where a nested task returns; of 16 or 32 bits. */
    unsigned wanted = reason == TASK_IRET ? 3 : 1;
    if (selector & 4 || descriptor_is_segment(&d) || (descriptor_type(&d) & ~8u) != wanted)
        cpu_raise_error(cpu, vector, error);
    if (!descriptor_present(&d))
        cpu_raise_error(cpu, VEC_NP, error);
    struct segment tss = segment_unpack(selector, &d);
    if (tss.limit + UINT64_C(1) < layout_of(&tss)->size)
        cpu_raise_error(cpu, VEC_TS, error);

    uint64_t flags = cpu_get_rflags(cpu);
    struct image image = read_new(cpu, &tss);
    save_old(cpu, return_ip, reason == TASK_IRET ? flags & ~FLAG_NT : flags);
    if (reason == TASK_JUMP || reason == TASK_IRET)
        set_busy(cpu, old, false);
    if (reason != TASK_IRET)
        set_busy(cpu, selector, true);
    if (reason == TASK_CALL || reason == TASK_INTERRUPT) {
        mmu_system_store(cpu, tss.base, old, 2);
        image.flags |= FLAG_NT;
    }
    tss.attributes |= 2;
    cpu->s.tr = tss;
    cpu->s.cr0 |= CR0_TS;
    if (cpu->s.cr0 & CR0_PG && layout_of(&tss) == &layout32) {
        if (cpu->s.cr4 & CR4_PAE)
            mmu_load_pdptes(cpu, image.cr3);
        cpu->s.cr3 = image.cr3;
        mmu_flush_non_global(cpu);
    }
    cpu->insn = NULL;
    cpu->s.rip = image.ip;
    for (unsigned i = 0; i < 8; i++)
        cpu->s.gpr[i] = image.gpr[i];
    /* The local breakpoints were the old task's. */
    cpu->s.dr[7] &= ~DR7_LOCAL;
    cpu_set_rflags(cpu, (image.flags & 0x3f7fd5) | 2);
    cpu_update_mode(cpu);
    load_segments(cpu, &image);
    cpu_update_mode(cpu);
    if (cpu->s.rip > cpu->s.seg[SEG_CS].limit)
        cpu_raise_error(cpu, VEC_GP, 0);
    if (image.trap)
        debug_deliver(cpu, DR6_BT);
}
