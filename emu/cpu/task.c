/* Hardware task switches (SDM volume 3, chapter 7), 32-bit TSS only. */
#include "emu/cpu/interp.h"
#include "emu/cpu/system.h"

#define TSS_CR3    28
#define TSS_EIP    32
#define TSS_EFLAGS 36
#define TSS_EAX    40
#define TSS_ES     72
#define TSS_LDT    96

static const uint8_t tss_segments[6] = {SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS};

static void set_busy(struct cpu *cpu, uint16_t selector, bool busy)
{
    struct descriptor d = segment_fetch(cpu, selector, VEC_TS);
    uint8_t access = d.high >> 8;
    mmu_system_store(cpu, d.address + 5, busy ? access | 2 : access & ~2, 1);
}

static void save_old(struct cpu *cpu, uint64_t ip, uint64_t flags)
{
    uint64_t base = cpu->s.tr.base;
    mmu_system_store(cpu, base + TSS_EIP, ip, 4);
    mmu_system_store(cpu, base + TSS_EFLAGS, flags, 4);
    for (unsigned i = 0; i < 8; i++)
        mmu_system_store(cpu, base + TSS_EAX + 4 * i, cpu->s.gpr[i], 4);
    for (unsigned i = 0; i < 6; i++)
        mmu_system_store(cpu, base + TSS_ES + 4 * i, cpu->s.seg[tss_segments[i]].selector, 2);
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
    struct descriptor d = segment_fetch(cpu, selector, VEC_TS);
    unsigned a = d.high >> 8;
    if (!error || !descriptor_is_segment(&d) || !(a & SEG_CODE))
        cpu_raise_error(cpu, VEC_TS, error);
    if (!descriptor_present(&d))
        cpu_raise_error(cpu, VEC_NP, error);
    segment_mark_accessed(cpu, &d);
    cpu->s.seg[SEG_CS] = segment_unpack(selector, &d);
}

void system_task_switch(struct cpu *cpu, uint16_t selector, enum task_reason reason,
                        uint64_t return_ip)
{
    uint16_t error = selector & 0xfffc, old = cpu->s.tr.selector;
    int vector = reason == TASK_IRET ? VEC_TS : VEC_GP;
    struct descriptor d = segment_fetch(cpu, selector, vector);
    unsigned wanted = reason == TASK_IRET ? 11 : 9;
    if (selector & 4 || descriptor_is_segment(&d) || descriptor_type(&d) != wanted)
        cpu_raise_error(cpu, vector, error);
    if (!descriptor_present(&d))
        cpu_raise_error(cpu, VEC_NP, error);
    struct segment tss = segment_unpack(selector, &d);
    if (tss.limit < 103)
        cpu_raise_error(cpu, VEC_TS, error);

    uint64_t flags = cpu_get_rflags(cpu);
    save_old(cpu, return_ip, reason == TASK_IRET ? flags & ~FLAG_NT : flags);
    if (reason == TASK_JUMP || reason == TASK_IRET)
        set_busy(cpu, old, false);
    if (reason != TASK_IRET)
        set_busy(cpu, selector, true);

    uint32_t image[26];
    for (unsigned i = 0; i < 26; i++)
        image[i] = mmu_system_load(cpu, tss.base + 4 * i, 4);
    if (reason == TASK_CALL || reason == TASK_INTERRUPT) {
        mmu_system_store(cpu, tss.base, old, 2);
        image[TSS_EFLAGS / 4] |= FLAG_NT;
    }
    tss.attributes |= 2;
    cpu->s.tr = tss;
    cpu->s.cr0 |= CR0_TS;
    if (cpu->s.cr0 & CR0_PG) {
        if (cpu->s.cr4 & CR4_PAE)
            mmu_load_pdptes(cpu, image[TSS_CR3 / 4]);
        cpu->s.cr3 = image[TSS_CR3 / 4];
        mmu_flush_non_global(cpu);
    }
    cpu->insn = NULL;
    cpu->s.rip = image[TSS_EIP / 4];
    for (unsigned i = 0; i < 8; i++)
        cpu->s.gpr[i] = image[TSS_EAX / 4 + i];
    cpu_set_rflags(cpu, (image[TSS_EFLAGS / 4] & 0x3f7fd5) | 2);

    /* From here on faults belong to the new task. */
    if (cpu->s.rflags & FLAG_VM) {
        cpu->s.cpl = 3;
        for (unsigned i = 0; i < 6; i++)
            segment_load_real(cpu, tss_segments[i], image[TSS_ES / 4 + i]);
    } else {
        load_ldt(cpu, image[TSS_LDT / 4]);
        cpu->s.cpl = image[TSS_ES / 4 + 1] & 3;
        load_code(cpu, image[TSS_ES / 4 + 1]);
        cpu_update_mode(cpu);
        for (unsigned i = 0; i < 6; i++)
            if (tss_segments[i] != SEG_CS)
                system_load_segment(cpu, tss_segments[i], image[TSS_ES / 4 + i]);
    }
    cpu_update_mode(cpu);
    if (cpu->s.rip > cpu->s.seg[SEG_CS].limit)
        cpu_raise_error(cpu, VEC_GP, 0);
}
