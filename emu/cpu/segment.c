/* Descriptors and segment registers (SDM volume 3, chapters 3 and 5). */
#include "emu/cpu/mmu.h"
#include "emu/cpu/system.h"

bool segment_try_fetch(struct cpu *cpu, uint16_t selector, struct descriptor *ret_descriptor)
{
    uint64_t base = cpu->s.gdtr.base;
    uint32_t limit = cpu->s.gdtr.limit;
    uint32_t offset = selector & ~7u;

    if (selector & 4) {
        if (!(cpu->s.ldtr.attributes & SEG_P))
            return false;
        base = cpu->s.ldtr.base;
        limit = cpu->s.ldtr.limit;
    }
    if (offset + 7 > limit)
        return false;
    struct descriptor d = {.address = base + offset};
    uint64_t raw = mmu_system_load(cpu, d.address, 8);
    d.low = (uint32_t)raw;
    d.high = raw >> 32;
    if (cpu_long_active(cpu) && !descriptor_is_segment(&d)) {
        if (offset + 15 > limit) {
            *ret_descriptor = d;
            return true;
        }
        d.upper = mmu_system_load(cpu, d.address + 8, 8);
    }
    *ret_descriptor = d;
    return true;
}

struct descriptor segment_fetch(struct cpu *cpu, uint16_t selector, int vector)
{
    struct descriptor d;
    if (!segment_try_fetch(cpu, selector, &d))
        cpu_raise_error(cpu, vector, selector & 0xfffc);
    return d;
}

struct segment segment_unpack(uint16_t selector, const struct descriptor *d)
{
    uint32_t limit = (d->low & 0xffff) | (d->high & 0xf0000);
    struct segment s = {
        .base = (d->low >> 16) | (uint64_t)(d->high & 0xff) << 16 | (d->high & 0xff000000),
        .limit = d->high & 0x800000 ? limit << 12 | 0xfff : limit,
        .selector = selector,
        .attributes = (d->high >> 8) & 0xf0ff,
    };
    if (!descriptor_is_segment(d))
        s.base |= d->upper << 32;
    return s;
}

void segment_mark_accessed(struct cpu *cpu, struct descriptor *d)
{
    if (d->high & 0x100)
        return;
    d->high |= 0x100;
    mmu_system_store(cpu, d->address + 5, (d->high >> 8) & 0xff, 1);
}

void segment_load_real(struct cpu *cpu, unsigned index, uint16_t selector)
{
    struct segment *s = &cpu->s.seg[index];
    s->selector = selector;
    s->base = (uint32_t)selector << 4;
    if (cpu_vm86(cpu)) {
        s->limit = 0xffff;
        s->attributes = SEG_P | SEG_S | SEG_WRITABLE | SEG_ACCESSED | 3 << SEG_DPL_SHIFT;
    } else if (index == SEG_CS) {
        s->attributes = SEG_P | SEG_S | SEG_WRITABLE | SEG_ACCESSED;
    }
    /* In real mode limits stay as protected mode left them ("unreal mode"). */
    cpu_update_mode(cpu);
}

static bool is_null(uint16_t selector)
{
    return !(selector & 0xfffc);
}

struct segment segment_check_stack(struct cpu *cpu, uint16_t selector, unsigned cpl, int vector,
                                   struct descriptor *ret_descriptor)
{
    uint16_t error = selector & 0xfffc;
    if (is_null(selector))
        cpu_raise_error(cpu, vector, 0);
    struct descriptor d = segment_fetch(cpu, selector, vector);
    bool writable_data =
        descriptor_is_segment(&d) && (d.high >> 8 & (SEG_CODE | SEG_WRITABLE)) == SEG_WRITABLE;
    if ((selector & 3) != cpl || !writable_data || descriptor_dpl(&d) != cpl)
        cpu_raise_error(cpu, vector, error);
    if (!descriptor_present(&d))
        cpu_raise_error(cpu, VEC_SS, error);
    *ret_descriptor = d;
    return segment_unpack(selector, &d);
}

static void load_stack_segment(struct cpu *cpu, uint16_t selector, int vector)
{
    struct descriptor d;
    if (is_null(selector) && cpu_code64(cpu) && cpu->s.cpl < 3 && (selector & 3) == cpu->s.cpl) {
        cpu->s.seg[SEG_SS] = (struct segment){
            .selector = selector,
            .attributes = cpu->s.cpl << SEG_DPL_SHIFT,
        };
    } else {
        struct segment s = segment_check_stack(cpu, selector, cpu->s.cpl, vector, &d);
        segment_mark_accessed(cpu, &d);
        s.attributes |= SEG_ACCESSED;
        cpu->s.seg[SEG_SS] = s;
    }
    cpu_update_mode(cpu);
}

void system_load_segment(struct cpu *cpu, unsigned index, uint16_t selector)
{
    segment_load_or_raise(cpu, index, selector, VEC_GP);
}

void segment_load_or_raise(struct cpu *cpu, unsigned index, uint16_t selector, int vector)
{
    if (cpu_real_or_vm86(cpu)) {
        segment_load_real(cpu, index, selector);
        return;
    }
    if (index == SEG_SS) {
        load_stack_segment(cpu, selector, vector);
        return;
    }
    if (is_null(selector)) {
        cpu_set_data_segment(cpu, index, &(struct segment){.selector = selector});
        return;
    }
    uint16_t error = selector & 0xfffc;
    struct descriptor d = segment_fetch(cpu, selector, vector);
    unsigned a = d.high >> 8;
    if (!descriptor_is_segment(&d) || (a & (SEG_CODE | SEG_WRITABLE)) == SEG_CODE)
        cpu_raise_error(cpu, vector, error);
    bool conforming = (a & (SEG_CODE | SEG_EXPAND)) == (SEG_CODE | SEG_EXPAND);
    if (!conforming && ((selector & 3) > descriptor_dpl(&d) || cpu->s.cpl > descriptor_dpl(&d)))
        cpu_raise_error(cpu, vector, error);
    if (!descriptor_present(&d))
        cpu_raise_error(cpu, VEC_NP, error);
    segment_mark_accessed(cpu, &d);
    struct segment s = segment_unpack(selector, &d);
    cpu_set_data_segment(cpu, index, &s);
}

void system_set_cpl(struct cpu *cpu, unsigned cpl)
{
    cpu->s.cpl = cpl;
    cpu_update_mode(cpu);
}

void segment_drop_privileged(struct cpu *cpu)
{
    static const uint8_t data[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    bool changed = false;
    for (unsigned i = 0; i < G_N_ELEMENTS(data); i++) {
        struct segment *s = &cpu->s.seg[data[i]];
        bool conforming = (s->attributes & (SEG_CODE | SEG_EXPAND)) == (SEG_CODE | SEG_EXPAND);
        if (!conforming && SEG_DPL(s->attributes) < cpu->s.cpl) {
            /* The base stays: 64-bit code keeps FS and GS. */
            s->selector = 0;
            s->attributes = 0;
            s->limit = 0;
            if (!cpu_long_active(cpu))
                s->base = 0;
            changed = true;
        }
    }
    if (changed)
        cpu_update_mode(cpu);
}

void segment_tss_stack(struct cpu *cpu, unsigned level, uint16_t *ret_ss, uint64_t *ret_sp)
{
    const struct segment *tss = &cpu->s.tr;
    uint16_t error = tss->selector & 0xfffc;
    unsigned type = tss->attributes & SEG_TYPE;

    if (cpu_long_active(cpu)) {
        if (8 * level + 11 > tss->limit)
            cpu_raise_error(cpu, VEC_TS, error);
        *ret_ss = level;
        *ret_sp = mmu_system_load(cpu, tss->base + 4 + 8 * level, 8);
    } else if (type & 8) {
        if (8 * level + 9 > tss->limit)
            cpu_raise_error(cpu, VEC_TS, error);
        *ret_sp = mmu_system_load(cpu, tss->base + 4 + 8 * level, 4);
        *ret_ss = mmu_system_load(cpu, tss->base + 8 + 8 * level, 2);
    } else {
        if (4 * level + 5 > tss->limit)
            cpu_raise_error(cpu, VEC_TS, error);
        *ret_sp = mmu_system_load(cpu, tss->base + 2 + 4 * level, 2);
        *ret_ss = mmu_system_load(cpu, tss->base + 4 + 4 * level, 2);
    }
}

uint64_t segment_tss_ist(struct cpu *cpu, unsigned ist)
{
    const struct segment *tss = &cpu->s.tr;
    if (8 * ist + 35 > tss->limit)
        cpu_raise_error(cpu, VEC_TS, tss->selector & 0xfffc);
    return mmu_system_load(cpu, tss->base + 28 + 8 * ist, 8);
}
