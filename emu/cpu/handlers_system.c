/* Control and debug registers, system calls, model-specific registers, the time stamp. */
#include "emu/cpu/interp.h"
#include "emu/cpu/models.h"
#include "emu/cpu/system.h"

static void require_cpl0(struct cpu *cpu, const struct insn *insn)
{
    cpu->insn = insn;
    if (cpu->s.cpl)
        cpu_raise_error(cpu, VEC_GP, 0);
}

/* Registers that are not there come before the privilege. */
static void require_control(struct cpu *cpu, const struct insn *insn)
{
    unsigned reg = insn->reg;
    cpu->insn = insn;
    if (reg != 0 && reg != 2 && reg != 3 && reg != 4 && reg != 8)
        cpu_raise(cpu, VEC_UD);
    require_cpl0(cpu, insn);
}

/* ---- control registers ----------------------------------------------------------------------- */

static void enter_long_mode(struct cpu *cpu)
{
    cpu->s.efer |= EFER_LMA;
}

void system_set_cr0(struct cpu *cpu, uint64_t value)
{
    uint64_t old = cpu->s.cr0;

    if (value >> 32 || (value & CR0_PG && !(value & CR0_PE)) ||
        (value & CR0_NW && !(value & CR0_CD)))
        cpu_raise_error(cpu, VEC_GP, 0);
    value |= CR0_ET;
    bool paging_on = value & CR0_PG && !(old & CR0_PG);
    if (paging_on && cpu->s.efer & EFER_LME) {
        if (!(cpu->s.cr4 & CR4_PAE) || cpu->s.seg[SEG_CS].attributes & SEG_L)
            cpu_raise_error(cpu, VEC_GP, 0);
        enter_long_mode(cpu);
    } else if (paging_on && cpu->s.cr4 & CR4_PAE) {
        mmu_load_pdptes(cpu, cpu->s.cr3);
    }
    if (!(value & CR0_PG) && old & CR0_PG) {
        if (cpu_code64(cpu) || cpu->s.cr4 & CR4_PCIDE)
            cpu_raise_error(cpu, VEC_GP, 0);
        cpu->s.efer &= ~EFER_LMA;
    }
    cpu->s.cr0 = value;
    if ((old ^ value) & (CR0_PG | CR0_WP | CR0_PE))
        mmu_flush(cpu);
    if (!(value & CR0_PE))
        cpu->s.cpl = 0;
    cpu_update_mode(cpu);
}

void system_set_cr4(struct cpu *cpu, uint64_t value)
{
    uint64_t changed = cpu->s.cr4 ^ value;

    if (value & ~cpu->model->cr4_bits || (cpu_long_active(cpu) && !(value & CR4_PAE)))
        cpu_raise_error(cpu, VEC_GP, 0);
    if (changed & value & CR4_PCIDE && (!cpu_long_active(cpu) || cpu->s.cr3 & 0xfff))
        cpu_raise_error(cpu, VEC_GP, 0);
    if (changed & CR4_PAE && value & CR4_PAE && cpu->s.cr0 & CR0_PG)
        mmu_load_pdptes(cpu, cpu->s.cr3);
    cpu->s.cr4 = value;
    if (changed & (CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP | CR4_SMAP | CR4_PCIDE))
        mmu_flush(cpu);
    cpu_update_mode(cpu);
}

/* The TLB is not tagged: a load that may keep another context's translations drops them all the
 * same, which is always allowed. */
static void set_cr3(struct cpu *cpu, uint64_t value)
{
    if (cpu->s.cr4 & CR4_PCIDE)
        value &= ~(UINT64_C(1) << 63);
    if (cpu_long_active(cpu)) {
        if (value >> cpu->model->physical_bits)
            cpu_raise_error(cpu, VEC_GP, 0);
    } else if (cpu->s.cr4 & CR4_PAE && cpu->s.cr0 & CR0_PG) {
        mmu_load_pdptes(cpu, value);
    }
    cpu->s.cr3 = value;
    mmu_flush_non_global(cpu);
}

HANDLER(mov_to_cr)
{
    require_control(cpu, insn);
    uint64_t value = get_reg_sized(cpu, insn->rm, insn->size);
    switch (insn->reg) {
    case 0:
        system_set_cr0(cpu, value);
        break;
    case 2:
        cpu->s.cr2 = value;
        break;
    case 3:
        set_cr3(cpu, value);
        break;
    case 4:
        system_set_cr4(cpu, value);
        break;
    case 8:
        if (value >> 4)
            cpu_raise_error(cpu, VEC_GP, 0);
        cpu->ops->write_tpr(cpu->opaque, value);
        break;
    default:
        cpu_raise(cpu, VEC_UD);
    }
    LEAVE_BLOCK();
}
HANDLER(mov_from_cr)
{
    require_control(cpu, insn);
    uint64_t value;
    switch (insn->reg) {
    case 0:
        value = cpu->s.cr0;
        break;
    case 2:
        value = cpu->s.cr2;
        break;
    case 3:
        value = cpu->s.cr3;
        break;
    case 4:
        value = cpu->s.cr4;
        break;
    case 8:
        value = cpu->ops->read_tpr(cpu->opaque);
        break;
    default:
        cpu_raise(cpu, VEC_UD);
    }
    set_reg_sized(cpu, insn->rm, insn->size, value);
    NEXT();
}
/* DR7.GD: any access to a debug register is a fault. */
static void detect_access(struct cpu *cpu)
{
    if (!(cpu->s.dr[7] & DR7_GD))
        return;
    cpu->s.dr[6] |= DR6_BD;
    cpu->s.dr[7] &= ~DR7_GD;
    cpu_raise(cpu, VEC_DB);
}
HANDLER(mov_to_dr)
{
    uint64_t value = get_reg_sized(cpu, insn->rm, insn->size);
    unsigned reg = insn->reg;
    cpu->insn = insn;
    if (reg > 7 || (reg / 2 == 2 && cpu->s.cr4 & CR4_DE))
        cpu_raise(cpu, VEC_UD);
    require_cpl0(cpu, insn);
    detect_access(cpu);
    if (reg >= 4 && value >> 32)
        cpu_raise_error(cpu, VEC_GP, 0);
    if (reg == 4 || reg == 6)
        cpu->s.dr[6] = (value & 0xe00f) | 0xffff0ff0;
    else if (reg == 5 || reg == 7)
        cpu->s.dr[7] = (value & ~UINT64_C(0xd800)) | 0x400;
    else
        cpu->s.dr[reg] = value;
    mmu_flush(cpu); /* which pages are watched may be others */
    LEAVE_BLOCK();
}
HANDLER(mov_from_dr)
{
    unsigned reg = insn->reg;
    cpu->insn = insn;
    if (reg > 7 || (reg / 2 == 2 && cpu->s.cr4 & CR4_DE))
        cpu_raise(cpu, VEC_UD);
    require_cpl0(cpu, insn);
    detect_access(cpu);
    set_reg_sized(cpu, insn->rm, insn->size, cpu->s.dr[reg / 2 == 2 ? reg + 2 : reg]);
    NEXT();
}
HANDLER(clts)
{
    require_cpl0(cpu, insn);
    cpu->s.cr0 &= ~CR0_TS;
    cpu_update_mode(cpu);
    LEAVE_BLOCK();
}
HANDLER(lmsw)
{
    require_cpl0(cpu, insn);
    uint16_t value = interp_read_rm(cpu, insn, SIZE_16);
    uint64_t pe = (cpu->s.cr0 | value) & CR0_PE; /* can be set, not cleared */
    system_set_cr0(cpu, (cpu->s.cr0 & ~UINT64_C(15)) | (value & 14) | pe);
    LEAVE_BLOCK();
}
HANDLER(smsw)
{
    cpu->insn = insn;
    if (cpu->s.cr4 & CR4_UMIP && cpu->s.cpl)
        cpu_raise_error(cpu, VEC_GP, 0);
    interp_write_rm(cpu, insn, insn_has_memory(insn) ? SIZE_16 : insn->size, cpu->s.cr0);
    NEXT();
}
HANDLER(invlpg)
{
    require_cpl0(cpu, insn);
    uint64_t address = ea_offset(cpu, insn) + cpu->s.seg[insn->seg].base;
    mmu_flush_page(cpu, cpu_long_active(cpu) ? address : (uint32_t)address);
    LEAVE_BLOCK();
}
HANDLER(invpcid)
{
    require_cpl0(cpu, insn);
    uint64_t type = get_reg_sized(cpu, insn->reg, insn->size);
    uint64_t at = ea(cpu, insn, 16, false);
    cpu->insn = insn;
    uint64_t pcid = mmu_load_slow(cpu, at, 8), address = mmu_load_slow(cpu, at + 8, 8);
    bool single = type < 2;
    if (type > 3 || pcid >> 12 || (type == 0 && !canonical(address)) ||
        (single && pcid && !(cpu->s.cr4 & CR4_PCIDE)))
        cpu_raise_error(cpu, VEC_GP, 0);
    if (type == 0)
        mmu_flush_page(cpu, address);
    else if (type == 2)
        mmu_flush(cpu);
    else
        mmu_flush_non_global(cpu);
    LEAVE_BLOCK();
}
HANDLER(vmcall)
{
    cpu->insn = insn;
    uint64_t mask = insn->size == SIZE_64 ? UINT64_MAX : UINT32_MAX;
    const uint64_t *r = cpu->s.gpr;
    int64_t result = paravirtual_call(cpu, r[RAX] & mask, r[RBX] & mask, r[RCX] & mask);
    set_reg_sized(cpu, RAX * 8, insn->size, (uint64_t)result);
    LEAVE_BLOCK();
}
HANDLER(cache_control)
{
    require_cpl0(cpu, insn);
    NEXT();
}

/* ---- system calls (SDM volume 2, SYSCALL to SYSEXIT) ------------------------------------------
 */

static struct segment flat(uint16_t selector, unsigned attributes)
{
    return (struct segment){.limit = UINT32_MAX, .selector = selector, .attributes = attributes};
}
#define FLAT_CODE (SEG_P | SEG_S | SEG_CODE | SEG_WRITABLE | SEG_ACCESSED | SEG_G)
#define FLAT_DATA (SEG_P | SEG_S | SEG_WRITABLE | SEG_ACCESSED | SEG_G | SEG_DB)
#define LEVEL3    (3 << SEG_DPL_SHIFT)

HANDLER(syscall_64)
{
    cpu->insn = insn;
    if (!(cpu->s.efer & EFER_SCE) || !cpu_code64(cpu))
        cpu_raise(cpu, VEC_UD);
    uint16_t selector = (cpu->s.star >> 32) & 0xfffc;
    uint64_t flags = cpu_get_rflags(cpu);
    cpu->s.gpr[RCX] = next_rip(cpu, insn);
    cpu->s.gpr[R11] = flags & ~FLAG_RF;
    cpu->s.seg[SEG_CS] = flat(selector, FLAT_CODE | SEG_L);
    cpu->s.seg[SEG_SS] = flat(selector + 8, FLAT_DATA);
    cpu->s.rip = cpu->s.lstar;
    cpu->s.cpl = 0;
    cpu_set_rflags(cpu, flags & ~(cpu->s.fmask | FLAG_RF));
    cpu_update_mode(cpu);
    cpu->insn = NULL;
    return interp_jump(cpu, cpu->s.lstar);
}
HANDLER(sysret)
{
    require_cpl0(cpu, insn);
    if (!(cpu->s.efer & EFER_SCE) || !cpu_code64(cpu))
        cpu_raise(cpu, VEC_UD);
    uint16_t selector = cpu->s.star >> 48;
    bool to64 = insn->size == SIZE_64;
    if (to64 && !canonical(cpu->s.gpr[RCX]))
        cpu_raise_error(cpu, VEC_GP, 0);
    cpu->s.seg[SEG_CS] =
        flat((selector + (to64 ? 16 : 0)) | 3, FLAT_CODE | LEVEL3 | (to64 ? SEG_L : SEG_DB));
    cpu->s.seg[SEG_SS] = flat((selector + 8) | 3, FLAT_DATA | LEVEL3);
    cpu->s.cpl = 3;
    uint64_t may =
        FLAGS_ARITHMETIC | FLAG_TF | FLAG_IF | FLAG_DF | FLAG_IOPL | FLAG_NT | FLAG_AC | FLAG_ID;
    cpu_set_rflags(cpu, (cpu->s.gpr[R11] & may) | 2);
    cpu_update_mode(cpu);
    cpu->insn = NULL;
    return interp_jump(cpu, to64 ? cpu->s.gpr[RCX] : (uint32_t)cpu->s.gpr[RCX]);
}
HANDLER(sysenter)
{
    cpu->insn = insn;
    if (!cpu_protected(cpu) || !(cpu->s.sysenter_cs & 0xfffc))
        cpu_raise_error(cpu, VEC_GP, 0);
    bool longmode = cpu_long_active(cpu);
    uint16_t selector = cpu->s.sysenter_cs & 0xfffc;
    uint64_t target = longmode ? cpu->s.sysenter_eip : (uint32_t)cpu->s.sysenter_eip;
    cpu->s.seg[SEG_CS] = flat(selector, FLAT_CODE | (longmode ? SEG_L : SEG_DB));
    cpu->s.seg[SEG_SS] = flat(selector + 8, FLAT_DATA);
    cpu->s.cpl = 0;
    cpu->s.gpr[RSP] = longmode ? cpu->s.sysenter_esp : (uint32_t)cpu->s.sysenter_esp;
    cpu_set_rflags(cpu, cpu_get_rflags(cpu) & ~(FLAG_VM | FLAG_IF | FLAG_RF));
    cpu_update_mode(cpu);
    cpu->insn = NULL;
    cpu->s.rip = target;
    return NULL;
}
HANDLER(sysexit)
{
    require_cpl0(cpu, insn);
    if (!cpu_protected(cpu) || !(cpu->s.sysenter_cs & 0xfffc))
        cpu_raise_error(cpu, VEC_GP, 0);
    bool to64 = insn->size == SIZE_64;
    uint16_t selector = (cpu->s.sysenter_cs & 0xfffc) + (to64 ? 32 : 16);
    uint64_t target = to64 ? cpu->s.gpr[RDX] : (uint32_t)cpu->s.gpr[RDX];
    uint64_t sp = to64 ? cpu->s.gpr[RCX] : (uint32_t)cpu->s.gpr[RCX];
    if (to64 && (!canonical(target) || !canonical(sp)))
        cpu_raise_error(cpu, VEC_GP, 0);
    cpu->s.seg[SEG_CS] = flat(selector | 3, FLAT_CODE | LEVEL3 | (to64 ? SEG_L : SEG_DB));
    cpu->s.seg[SEG_SS] = flat((selector + 8) | 3, FLAT_DATA | LEVEL3);
    cpu->s.gpr[RSP] = sp;
    cpu->insn = NULL;
    cpu->s.rip = target;
    system_set_cpl(cpu, 3);
    return NULL;
}

/* ---- model-specific registers and the like --------------------------------------------------- */

HANDLER(rdmsr)
{
    uint64_t value;
    require_cpl0(cpu, insn);
    if (!system_read_msr(cpu, REG(cpu, uint32_t, RCX * 8), &value))
        cpu_raise_error(cpu, VEC_GP, 0);
    SET_REG_32(RAX * 8, value);
    SET_REG_32(RDX * 8, value >> 32);
    NEXT();
}
HANDLER(wrmsr)
{
    require_cpl0(cpu, insn);
    uint64_t value = (uint64_t)REG(cpu, uint32_t, RDX * 8) << 32 | REG(cpu, uint32_t, RAX * 8);
    if (!system_write_msr(cpu, REG(cpu, uint32_t, RCX * 8), value))
        cpu_raise_error(cpu, VEC_GP, 0);
    LEAVE_BLOCK();
}
static void read_tsc(struct cpu *cpu, const struct insn *insn)
{
    cpu->insn = insn;
    if (cpu->s.cr4 & CR4_TSD && cpu->s.cpl && cpu_protected(cpu))
        cpu_raise_error(cpu, VEC_GP, 0);
    uint64_t value = cpu_read_tsc(cpu);
    SET_REG_32(RAX * 8, value);
    SET_REG_32(RDX * 8, value >> 32);
}
HANDLER(rdtsc)
{
    read_tsc(cpu, insn);
    NEXT();
}
HANDLER(rdtscp)
{
    read_tsc(cpu, insn);
    SET_REG_32(RCX * 8, cpu->s.tsc_aux);
    NEXT();
}
HANDLER(rdpmc)
{
    cpu->insn = insn;
    cpu_raise_error(cpu, VEC_GP, 0); /* no counters */
}
HANDLER(cpuid)
{
    uint32_t value[4];
    system_cpuid(cpu, REG(cpu, uint32_t, RAX * 8), REG(cpu, uint32_t, RCX * 8), value);
    SET_REG_32(RAX * 8, value[0]);
    SET_REG_32(RBX * 8, value[1]);
    SET_REG_32(RCX * 8, value[2]);
    SET_REG_32(RDX * 8, value[3]);
    NEXT();
}
HANDLER(swapgs)
{
    require_cpl0(cpu, insn);
    uint64_t base = cpu->s.seg[SEG_GS].base;
    cpu->s.seg[SEG_GS].base = cpu->s.kernel_gs_base;
    cpu->s.kernel_gs_base = base;
    NEXT();
}
static void set_ac(struct cpu *cpu, const struct insn *insn, bool set)
{
    cpu->insn = insn;
    if (cpu->s.cpl)
        cpu_raise(cpu, VEC_UD);
    bool changes = set == !(cpu->s.rflags & FLAG_AC);
    cpu->s.rflags = set ? cpu->s.rflags | FLAG_AC : cpu->s.rflags & ~FLAG_AC;
    if (changes)
        cpu_update_mode(cpu);
}
HANDLER(clac)
{
    set_ac(cpu, insn, false);
    NEXT();
}
HANDLER(stac)
{
    set_ac(cpu, insn, true);
    NEXT();
}

static struct segment *base_register(struct cpu *cpu, const struct insn *insn, unsigned segment)
{
    cpu->insn = insn;
    if (!(cpu->s.cr4 & CR4_FSGSBASE))
        cpu_raise(cpu, VEC_UD);
    return &cpu->s.seg[segment];
}
static void write_base(struct cpu *cpu, const struct insn *insn, unsigned segment)
{
    struct segment *s = base_register(cpu, insn, segment);
    uint64_t value = get_reg_sized(cpu, insn->rm, insn->size);
    if (!canonical(value))
        cpu_raise_error(cpu, VEC_GP, 0);
    s->base = value;
}
HANDLER(rdfsbase)
{
    set_reg_sized(cpu, insn->rm, insn->size, base_register(cpu, insn, SEG_FS)->base);
    NEXT();
}
HANDLER(rdgsbase)
{
    set_reg_sized(cpu, insn->rm, insn->size, base_register(cpu, insn, SEG_GS)->base);
    NEXT();
}
HANDLER(wrfsbase)
{
    write_base(cpu, insn, SEG_FS);
    NEXT();
}
HANDLER(wrgsbase)
{
    write_base(cpu, insn, SEG_GS);
    NEXT();
}
HANDLER(rsm)
{
    cpu->insn = insn;
    if (!cpu->s.smm)
        cpu_raise(cpu, VEC_UD);
    cpu->insn = NULL;
    smm_leave(cpu);
    return NULL;
}

const struct handler_row handlers_system[] = {
    {OP_MOV_TO_CR, ALL_SHAPES(mov_to_cr)},
    {OP_MOV_FROM_CR, ALL_SHAPES(mov_from_cr)},
    {OP_MOV_TO_DR, ALL_SHAPES(mov_to_dr)},
    {OP_MOV_FROM_DR, ALL_SHAPES(mov_from_dr)},
    {OP_CLTS, ALL_SHAPES(clts)},
    {OP_LMSW, ALL_SHAPES(lmsw)},
    {OP_SMSW, ALL_SHAPES(smsw)},
    {OP_INVLPG, ALL_SHAPES(invlpg)},
    {OP_INVPCID, ALL_SHAPES(invpcid)},
    {OP_VMCALL, ALL_SHAPES(vmcall)},
    {OP_INVD, ALL_SHAPES(cache_control)},
    {OP_WBINVD, ALL_SHAPES(cache_control)},
    {OP_SYSCALL, ALL_SHAPES(syscall_64)},
    {OP_SYSRET, ALL_SHAPES(sysret)},
    {OP_SYSENTER, ALL_SHAPES(sysenter)},
    {OP_SYSEXIT, ALL_SHAPES(sysexit)},
    {OP_RDMSR, ALL_SHAPES(rdmsr)},
    {OP_WRMSR, ALL_SHAPES(wrmsr)},
    {OP_RDTSC, ALL_SHAPES(rdtsc)},
    {OP_RDTSCP, ALL_SHAPES(rdtscp)},
    {OP_RDPMC, ALL_SHAPES(rdpmc)},
    {OP_CPUID, ALL_SHAPES(cpuid)},
    {OP_SWAPGS, ALL_SHAPES(swapgs)},
    {OP_CLAC, ALL_SHAPES(clac)},
    {OP_STAC, ALL_SHAPES(stac)},
    {OP_RDFSBASE, ALL_SHAPES(rdfsbase)},
    {OP_RDGSBASE, ALL_SHAPES(rdgsbase)},
    {OP_WRFSBASE, ALL_SHAPES(wrfsbase)},
    {OP_WRGSBASE, ALL_SHAPES(wrgsbase)},
    {OP_RSM, ALL_SHAPES(rsm)},
    {0},
};
