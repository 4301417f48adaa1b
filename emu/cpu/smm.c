/*
 * System management mode (SDM volume 3, chapter 32; AMD64 manual volume 2, chapter 10).
 *
 * The state is kept 0x8000 above SMBASE in one of two layouts, as firmware for this board expects:
 * AMD64's where the model has long mode, the P6's else. The revision identifier tells which.
 */
#include "emu/cpu/mmu.h"
#include "emu/cpu/models.h"
#include "emu/cpu/system.h"

#define REVISION_RELOCATES 0x20000
#define REVISION_P6        (REVISION_RELOCATES | 0)
#define REVISION_AMD64     (REVISION_RELOCATES | 0x64)
#define ENTRY_IP           0x8000

/* A register's place in the area, from SMBASE + 0x8000. */
struct place {
    uint16_t at, state, size; /* state: offset in struct cpu_state, 8 bytes */
};
#define PLACE(at, member, size)                                                                    \
    {                                                                                              \
        at, offsetof(struct cpu_state, member), size                                               \
    }
static const struct place places64[] = {
    PLACE(0x7ff8, gpr[RAX], 8),
    PLACE(0x7ff0, gpr[RCX], 8),
    PLACE(0x7fe8, gpr[RDX], 8),
    PLACE(0x7fe0, gpr[RBX], 8),
    PLACE(0x7fd8, gpr[RSP], 8),
    PLACE(0x7fd0, gpr[RBP], 8),
    PLACE(0x7fc8, gpr[RSI], 8),
    PLACE(0x7fc0, gpr[RDI], 8),
    PLACE(0x7fb8, gpr[R8], 8),
    PLACE(0x7fb0, gpr[R9], 8),
    PLACE(0x7fa8, gpr[R10], 8),
    PLACE(0x7fa0, gpr[R11], 8),
    PLACE(0x7f98, gpr[R12], 8),
    PLACE(0x7f90, gpr[R13], 8),
    PLACE(0x7f88, gpr[R14], 8),
    PLACE(0x7f80, gpr[R15], 8),
    PLACE(0x7f78, rip, 8),
    PLACE(0x7f70, rflags, 8),
    PLACE(0x7f68, dr[6], 8),
    PLACE(0x7f60, dr[7], 8),
    PLACE(0x7f58, cr0, 8),
    PLACE(0x7f50, cr3, 8),
    PLACE(0x7f48, cr4, 8),
    PLACE(0x7ed0, efer, 8),
    {0},
};
static const struct place places32[] = {
    PLACE(0x7fd0, gpr[RAX], 4), PLACE(0x7fd4, gpr[RCX], 4),
    PLACE(0x7fd8, gpr[RDX], 4), PLACE(0x7fdc, gpr[RBX], 4),
    PLACE(0x7fe0, gpr[RSP], 4), PLACE(0x7fe4, gpr[RBP], 4),
    PLACE(0x7fe8, gpr[RSI], 4), PLACE(0x7fec, gpr[RDI], 4),
    PLACE(0x7ff0, rip, 4),      PLACE(0x7ff4, rflags, 4),
    PLACE(0x7fcc, dr[6], 4),    PLACE(0x7fc8, dr[7], 4),
    PLACE(0x7ffc, cr0, 4),      PLACE(0x7ff8, cr3, 4),
    PLACE(0x7f14, cr4, 4),      {0},
};

struct area {
    struct cpu *cpu;
    uint64_t base;
    bool wide;
};

static struct area area_of(struct cpu *cpu)
{
    return (struct area){cpu, cpu->s.smbase + UINT64_C(0x8000),
                         has_feature(&cpu->model->features, FEATURE_LM)};
}

static uint64_t get(const struct area *a, unsigned at, unsigned size)
{
    return memory_load(a->cpu->board->memory, mmu_system_view(a->cpu, a->base + at), size);
}

static void put(const struct area *a, unsigned at, uint64_t value, unsigned size)
{
    memory_store(a->cpu->board->memory, mmu_system_view(a->cpu, a->base + at), value, size);
}

/* ---- segments and tables --------------------------------------------------------------------- */

static void put_segment64(const struct area *a, unsigned at, const struct segment *s)
{
    put(a, at, s->selector, 2);
    put(a, at + 2, s->attributes, 2);
    put(a, at + 4, s->limit, 4);
    put(a, at + 8, s->base, 8);
}

static struct segment get_segment64(const struct area *a, unsigned at)
{
    return (struct segment){
        .selector = get(a, at, 2),
        .attributes = get(a, at + 2, 2) & 0xf0ff,
        .limit = get(a, at + 4, 4),
        .base = get(a, at + 8, 8),
    };
}

/* The P6 keeps selectors apart from limits and bases, which lie in two runs of three. */
static unsigned hidden32(unsigned segment)
{
    return segment < 3 ? 0x7f84 + segment * 12 : 0x7f2c + (segment - 3) * 12;
}

static void put_segment32(const struct area *a, unsigned selector, unsigned base, unsigned limit,
                          unsigned attributes, const struct segment *s)
{
    put(a, selector, s->selector, 4);
    put(a, base, s->base, 4);
    put(a, limit, s->limit, 4);
    put(a, attributes, s->attributes, 4);
}

static struct segment get_segment32(const struct area *a, unsigned selector, unsigned base,
                                    unsigned limit, unsigned attributes)
{
    return (struct segment){
        .selector = get(a, selector, 4),
        .base = get(a, base, 4),
        .limit = get(a, limit, 4),
        .attributes = get(a, attributes, 4) & 0xf0ff,
    };
}

static void save_segments(const struct area *a)
{
    const struct cpu_state *s = &a->cpu->s;
    for (unsigned i = 0; i < 6; i++) {
        unsigned h = hidden32(i);
        if (a->wide)
            put_segment64(a, 0x7e00 + i * 16, &s->seg[i]);
        else
            put_segment32(a, 0x7fa8 + i * 4, h + 8, h + 4, h, &s->seg[i]);
    }
    if (a->wide) {
        put(a, 0x7e64, s->gdtr.limit, 4);
        put(a, 0x7e68, s->gdtr.base, 8);
        put_segment64(a, 0x7e70, &s->ldtr);
        put(a, 0x7e84, s->idtr.limit, 4);
        put(a, 0x7e88, s->idtr.base, 8);
        put_segment64(a, 0x7e90, &s->tr);
    } else {
        put(a, 0x7f74, s->gdtr.base, 4);
        put(a, 0x7f70, s->gdtr.limit, 4);
        put_segment32(a, 0x7fc0, 0x7f80, 0x7f7c, 0x7f78, &s->ldtr);
        put(a, 0x7f58, s->idtr.base, 4);
        put(a, 0x7f54, s->idtr.limit, 4);
        put_segment32(a, 0x7fc4, 0x7f64, 0x7f60, 0x7f5c, &s->tr);
    }
}

static void restore_segments(const struct area *a, struct cpu_state *s)
{
    for (unsigned i = 0; i < 6; i++) {
        unsigned h = hidden32(i);
        s->seg[i] = a->wide ? get_segment64(a, 0x7e00 + i * 16)
                            : get_segment32(a, 0x7fa8 + i * 4, h + 8, h + 4, h);
    }
    if (a->wide) {
        s->gdtr = (struct descriptor_table){get(a, 0x7e68, 8), get(a, 0x7e64, 2)};
        s->ldtr = get_segment64(a, 0x7e70);
        s->idtr = (struct descriptor_table){get(a, 0x7e88, 8), get(a, 0x7e84, 2)};
        s->tr = get_segment64(a, 0x7e90);
    } else {
        s->gdtr = (struct descriptor_table){get(a, 0x7f74, 4), get(a, 0x7f70, 2)};
        s->ldtr = get_segment32(a, 0x7fc0, 0x7f80, 0x7f7c, 0x7f78);
        s->idtr = (struct descriptor_table){get(a, 0x7f58, 4), get(a, 0x7f54, 2)};
        s->tr = get_segment32(a, 0x7fc4, 0x7f64, 0x7f60, 0x7f5c);
    }
}

/* ---- in and out ------------------------------------------------------------------------------ */

static unsigned revision_at(void)
{
    return 0x7efc;
}
static unsigned smbase_at(const struct area *a)
{
    return a->wide ? 0x7f00 : 0x7ef8;
}
/* Set when the processor was halted: whether RSM goes back to that. */
static unsigned halt_at(const struct area *a)
{
    return a->wide ? 0x7ec9 : 0x7f02;
}

static void *member(struct cpu_state *s, const struct place *p)
{
    return (uint8_t *)s + p->state;
}

static void enter_real_mode(struct cpu *cpu)
{
    struct cpu_state *s = &cpu->s;
    unsigned flat = SEG_P | SEG_S | SEG_WRITABLE | SEG_ACCESSED | SEG_G;
    for (unsigned i = 0; i < 6; i++)
        s->seg[i] = (struct segment){.limit = UINT32_MAX, .attributes = flat};
    s->seg[SEG_CS].selector = (uint16_t)(s->smbase >> 4);
    s->seg[SEG_CS].base = s->smbase;
    s->rip = ENTRY_IP;
    s->cr0 &= ~(CR0_PE | CR0_EM | CR0_TS | CR0_PG);
    s->cr4 = s->efer = 0;
    s->dr[7] = 0x400;
    s->cpl = 0;
    cpu_set_rflags(cpu, 2);
    cpu_update_mode(cpu);
}

void smm_enter(struct cpu *cpu)
{
    struct cpu_state *s = &cpu->s;
    bool halted = s->halted;

    s->rflags = cpu_get_rflags(cpu);
    s->smm = true;
    struct area a = area_of(cpu);
    for (const struct place *p = a.wide ? places64 : places32; p->at; p++)
        put(&a, p->at, *(uint64_t *)member(s, p), p->size);
    save_segments(&a);
    put(&a, revision_at(), a.wide ? REVISION_AMD64 : REVISION_P6, 4);
    put(&a, smbase_at(&a), s->smbase, 4);
    put(&a, halt_at(&a), halted, 1);
    s->smm_nmi_blocked = s->nmi_blocked;
    s->nmi_blocked = true;
    s->halted = s->shadow = false;
    enter_real_mode(cpu);
    mmu_flush(cpu);
}

/* Is this a state that a processor can be in? RSM into another one ends in shutdown. */
static bool is_valid(const struct cpu *cpu, const struct cpu_state *s)
{
    bool paging = s->cr0 & CR0_PG, longmode = s->efer & EFER_LME && paging;
    if ((paging && !(s->cr0 & CR0_PE)) || (s->cr0 & CR0_NW && !(s->cr0 & CR0_CD)) || s->cr0 >> 32)
        return false;
    if (s->cr4 & ~cpu->model->cr4_bits || s->efer & ~(cpu->model->efer_bits | EFER_LMA))
        return false;
    return (!longmode || s->cr4 & CR4_PAE) && !(s->cr3 >> cpu->model->physical_bits);
}

void smm_leave(struct cpu *cpu)
{
    struct area a = area_of(cpu);
    struct cpu_state to = cpu->s;

    for (const struct place *p = a.wide ? places64 : places32; p->at; p++)
        *(uint64_t *)member(&to, p) = get(&a, p->at, p->size);
    restore_segments(&a, &to);
    if (get(&a, revision_at(), 4) & REVISION_RELOCATES)
        to.smbase = get(&a, smbase_at(&a), 4);
    to.halted = get(&a, halt_at(&a), 1) & 1;
    to.nmi_blocked = to.smm_nmi_blocked;
    to.smm = to.smm_nmi_blocked = false;
    if (!is_valid(cpu, &to)) {
        cpu_shutdown(cpu, "RSM into a state that does not exist");
        return;
    }
    bool longmode = to.efer & EFER_LME && to.cr0 & CR0_PG;
    to.efer = (to.efer & ~EFER_LMA) | (longmode ? EFER_LMA : 0);
    to.cr0 |= CR0_ET;
    to.dr[6] = (to.dr[6] & 0xe00f) | 0xffff0ff0;
    to.dr[7] = (to.dr[7] & UINT64_C(0xffff27ff)) | 0x400;
    if (longmode)
        to.rflags &= ~FLAG_VM;
    to.cpl = to.rflags & FLAG_VM ? 3 : to.cr0 & CR0_PE ? SEG_DPL(to.seg[SEG_SS].attributes) : 0;
    cpu->s = to;
    cpu_set_rflags(cpu, to.rflags & 0x3f7fd5);
    cpu_update_mode(cpu);
    mmu_flush(cpu);
    if (to.cr0 & CR0_PG && to.cr4 & CR4_PAE && !longmode)
        mmu_load_pdptes(cpu, to.cr3);
    atomic_store(&cpu->attention, 1);
}
