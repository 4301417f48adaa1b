/* Instructions on segment registers and descriptors. */
#include "emu/cpu/interp.h"
#include "emu/cpu/system.h"

#define SET_ZF(cpu, set) ((cpu)->flags = ((cpu)->flags & ~0x4000) | ((set) ? 0x4000 : 0))

/* Memory takes the selector's 16 bits; a register its own size. */
static void write_selector(struct cpu *cpu, const struct insn *insn, uint16_t value)
{
    interp_write_rm(cpu, insn, insn_has_memory(insn) ? SIZE_16 : insn->size, value);
}

HANDLER(mov_from_seg)
{
    cpu->insn = insn;
    if (insn->reg > SEG_GS)
        cpu_raise(cpu, VEC_UD);
    write_selector(cpu, insn, cpu->s.seg[insn->reg].selector);
    NEXT();
}
HANDLER(mov_to_seg)
{
    cpu->insn = insn;
    if (insn->reg > SEG_GS || insn->reg == SEG_CS)
        cpu_raise(cpu, VEC_UD);
    uint16_t selector = interp_read_rm(cpu, insn, SIZE_16);
    system_load_segment(cpu, insn->reg, selector);
    if (insn->reg == SEG_SS) {
        cpu->s.shadow = true;
        atomic_store(&cpu->attention, 1);
        LEAVE_BLOCK();
    }
    NEXT_OF_MODE();
}

static void load_far_pointer(struct cpu *cpu, const struct insn *insn, unsigned segment)
{
    unsigned size = 1u << insn->size;
    uint64_t at = ea(cpu, insn, size + 2, false);
    cpu->insn = insn;
    uint64_t offset = mmu_load_slow(cpu, at, size);
    uint16_t selector = mmu_load_slow(cpu, at + size, 2);
    system_load_segment(cpu, segment, selector);
    set_reg_sized(cpu, insn->reg, insn->size, offset);
}
HANDLER(les)
{
    load_far_pointer(cpu, insn, SEG_ES);
    NEXT_OF_MODE();
}
HANDLER(lds)
{
    load_far_pointer(cpu, insn, SEG_DS);
    NEXT_OF_MODE();
}
HANDLER(lfs)
{
    load_far_pointer(cpu, insn, SEG_FS);
    NEXT_OF_MODE();
}
HANDLER(lgs)
{
    load_far_pointer(cpu, insn, SEG_GS);
    NEXT_OF_MODE();
}
HANDLER(lss)
{
    load_far_pointer(cpu, insn, SEG_SS);
    LEAVE_BLOCK();
}

/* ---- LDTR and TR ----------------------------------------------------------------------------- */

static void require_protected(struct cpu *cpu, const struct insn *insn)
{
    cpu->insn = insn;
    if (cpu_real_or_vm86(cpu))
        cpu_raise(cpu, VEC_UD);
}
static void require_cpl0(struct cpu *cpu, const struct insn *insn)
{
    cpu->insn = insn;
    if (cpu->s.cpl)
        cpu_raise_error(cpu, VEC_GP, 0);
}
static void check_umip(struct cpu *cpu, const struct insn *insn)
{
    cpu->insn = insn;
    if (cpu->s.cr4 & CR4_UMIP && cpu->s.cpl)
        cpu_raise_error(cpu, VEC_GP, 0);
}

HANDLER(sldt)
{
    require_protected(cpu, insn);
    check_umip(cpu, insn);
    write_selector(cpu, insn, cpu->s.ldtr.selector);
    NEXT();
}
HANDLER(str)
{
    require_protected(cpu, insn);
    check_umip(cpu, insn);
    write_selector(cpu, insn, cpu->s.tr.selector);
    NEXT();
}

static void load_system_segment(struct cpu *cpu, const struct insn *insn, bool task)
{
    require_protected(cpu, insn);
    require_cpl0(cpu, insn);
    uint16_t selector = interp_read_rm(cpu, insn, SIZE_16);
    uint16_t error = selector & 0xfffc;
    if (!error && !task) {
        cpu->s.ldtr = (struct segment){.selector = selector};
        return;
    }
    if (!error)
        cpu_raise_error(cpu, VEC_GP, 0);
    if (selector & 4)
        cpu_raise_error(cpu, VEC_GP, error);
    struct descriptor d = segment_fetch(cpu, selector, VEC_GP);
    unsigned type = descriptor_type(&d);
    bool good = task ? type == 9 || (type == 1 && !cpu_long_active(cpu)) : type == 2;
    if (descriptor_is_segment(&d) || !good)
        cpu_raise_error(cpu, VEC_GP, error);
    if (!descriptor_present(&d))
        cpu_raise_error(cpu, VEC_NP, error);
    struct segment s = segment_unpack(selector, &d);
    if (task) {
        mmu_system_store(cpu, d.address + 5, (d.high >> 8 & 0xff) | 2, 1); /* busy */
        s.attributes |= 2;
        cpu->s.tr = s;
    } else {
        cpu->s.ldtr = s;
    }
}
HANDLER(lldt)
{
    load_system_segment(cpu, insn, false);
    NEXT();
}
HANDLER(ltr)
{
    load_system_segment(cpu, insn, true);
    LEAVE_BLOCK();
}

/* ---- looking at descriptors ------------------------------------------------------------------ */

static bool visible(const struct cpu *cpu, uint16_t selector, const struct descriptor *d)
{
    bool conforming = descriptor_is_segment(d) &&
                      (d->high >> 8 & (SEG_CODE | SEG_EXPAND)) == (SEG_CODE | SEG_EXPAND);
    return conforming || (descriptor_dpl(d) >= cpu->s.cpl && descriptor_dpl(d) >= (selector & 3u));
}

/* LAR knows all of these; LSL those with a limit (SDM tables 3-53 and 3-61). */
static bool known_system_type(const struct cpu *cpu, unsigned type, bool with_limit)
{
    uint32_t types = cpu_long_active(cpu) ? 1 << 2 | 1 << 9 | 1 << 11
                                          : 1 << 1 | 1 << 2 | 1 << 3 | 1 << 9 | 1 << 11;
    if (!with_limit)
        types |= cpu_long_active(cpu) ? 1 << 12 : 1 << 4 | 1 << 5 | 1 << 12;
    return types >> type & 1;
}

static bool look(struct cpu *cpu, const struct insn *insn, bool with_limit,
                 struct descriptor *ret_d, uint16_t *ret_selector)
{
    require_protected(cpu, insn);
    uint16_t selector = interp_read_rm(cpu, insn, SIZE_16);
    *ret_selector = selector;
    if (!(selector & 0xfffc) || !segment_try_fetch(cpu, selector, ret_d) ||
        !visible(cpu, selector, ret_d))
        return false;
    return descriptor_is_segment(ret_d) ||
           known_system_type(cpu, descriptor_type(ret_d), with_limit);
}
HANDLER(lar)
{
    struct descriptor d;
    uint16_t selector;
    bool found = look(cpu, insn, false, &d, &selector);
    if (found)
        set_reg_sized(cpu, insn->reg, insn->size, d.high & 0xffff00);
    SET_ZF(cpu, found);
    NEXT();
}
HANDLER(lsl)
{
    struct descriptor d;
    uint16_t selector;
    bool found = look(cpu, insn, true, &d, &selector);
    if (found)
        set_reg_sized(cpu, insn->reg, insn->size, segment_unpack(selector, &d).limit);
    SET_ZF(cpu, found);
    NEXT();
}
static void verify(struct cpu *cpu, const struct insn *insn, bool write)
{
    struct descriptor d;
    uint16_t selector;
    bool found = look(cpu, insn, false, &d, &selector) && descriptor_is_segment(&d);
    unsigned a = found ? d.high >> 8 : 0;
    if (write)
        found = found && (a & (SEG_CODE | SEG_WRITABLE)) == SEG_WRITABLE;
    else
        found = found && (a & (SEG_CODE | SEG_WRITABLE)) != SEG_CODE;
    SET_ZF(cpu, found);
}
HANDLER(verr)
{
    verify(cpu, insn, false);
    NEXT();
}
HANDLER(verw)
{
    verify(cpu, insn, true);
    NEXT();
}
HANDLER(arpl)
{
    require_protected(cpu, insn);
    uint16_t target = interp_read_rm(cpu, insn, SIZE_16), source = REG(cpu, uint16_t, insn->reg);
    bool raised = (target & 3) < (source & 3);
    if (raised)
        interp_write_rm(cpu, insn, SIZE_16, (target & ~3) | (source & 3));
    SET_ZF(cpu, raised);
    NEXT();
}

/* ---- descriptor tables ----------------------------------------------------------------------- */

static void store_table(struct cpu *cpu, const struct insn *insn,
                        const struct descriptor_table *table)
{
    uint8_t bytes[10];
    unsigned width = cpu_code64(cpu) ? 8 : 4;
    check_umip(cpu, insn);
    uint64_t at = ea(cpu, insn, 2 + width, true);
    cpu->insn = insn;
    memcpy(bytes, &table->limit, 2);
    memcpy(bytes + 2, &table->base, 8);
    mmu_write_bytes(cpu, at, bytes, 2 + width);
}
HANDLER(sgdt)
{
    store_table(cpu, insn, &cpu->s.gdtr);
    NEXT();
}
HANDLER(sidt)
{
    store_table(cpu, insn, &cpu->s.idtr);
    NEXT();
}
static void load_table(struct cpu *cpu, const struct insn *insn, struct descriptor_table *table)
{
    unsigned width = cpu_code64(cpu) ? 8 : 4;
    require_cpl0(cpu, insn);
    uint64_t at = ea(cpu, insn, 2 + width, false);
    cpu->insn = insn;
    uint16_t limit = mmu_load_slow(cpu, at, 2);
    uint64_t base = mmu_load_slow(cpu, at + 2, width);
    if (width == 8 && !canonical(base))
        cpu_raise_error(cpu, VEC_GP, 0);
    bool short_base =
        !cpu_code64(cpu) && !(cpu->mode & MODE_CODE32) == !(insn->prefix & PREFIX_OPSIZE);
    table->base = short_base ? base & 0xffffff : base;
    table->limit = limit;
}
HANDLER(lgdt)
{
    load_table(cpu, insn, &cpu->s.gdtr);
    NEXT();
}
HANDLER(lidt)
{
    load_table(cpu, insn, &cpu->s.idtr);
    NEXT();
}

const struct handler_row handlers_segment[] = {
    {OP_MOV_FROM_SEG, ALL_SHAPES(mov_from_seg)},
    {OP_MOV_TO_SEG, ALL_SHAPES(mov_to_seg)},
    {OP_LES, ALL_SHAPES(les)},
    {OP_LDS, ALL_SHAPES(lds)},
    {OP_LFS, ALL_SHAPES(lfs)},
    {OP_LGS, ALL_SHAPES(lgs)},
    {OP_LSS, ALL_SHAPES(lss)},
    {OP_SLDT, ALL_SHAPES(sldt)},
    {OP_STR, ALL_SHAPES(str)},
    {OP_LLDT, ALL_SHAPES(lldt)},
    {OP_LTR, ALL_SHAPES(ltr)},
    {OP_LAR, ALL_SHAPES(lar)},
    {OP_LSL, ALL_SHAPES(lsl)},
    {OP_VERR, ALL_SHAPES(verr)},
    {OP_VERW, ALL_SHAPES(verw)},
    {OP_ARPL, ALL_SHAPES(arpl)},
    {OP_SGDT, ALL_SHAPES(sgdt)},
    {OP_SIDT, ALL_SHAPES(sidt)},
    {OP_LGDT, ALL_SHAPES(lgdt)},
    {OP_LIDT, ALL_SHAPES(lidt)},
    {0},
};
