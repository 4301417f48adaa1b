/* x87 instructions: loads, stores, arithmetic, compares (SDM volume 2, table ). */
#include "emu/cpu/x87.h"

bool x87_note(struct cpu *cpu, uint16_t host_status)
{
    struct fpu_state *f = &cpu->s.fpu;
    uint16_t exceptions = host_status & 0x3f;
    /* An unmasked #I, #D or #Z comes before the operation: nothing of what that would raise. */
    if (exceptions & ~f->control & 7)
        exceptions &= 7;
    f->status = (f->status & ~X87_C1) | exceptions | (host_status & X87_C1);
    if (exceptions & ~f->control & 0x3f) {
        f->status |= X87_ES | X87_B;
        return !(exceptions & ~f->control & 7);
    }
    return true;
}

bool x87_note_arithmetic(struct cpu *cpu, uint16_t host_status)
{
    bool forbidden = host_status & ~cpu->s.fpu.control & 7;
    return x87_note(cpu, forbidden ? host_status & ~X87_C1 : host_status);
}

bool x87_stack_fault(struct cpu *cpu, bool overflow)
{
    struct fpu_state *f = &cpu->s.fpu;
    f->status = (f->status & ~X87_C1) | X87_IE | X87_SF | (overflow ? X87_C1 : 0);
    if (f->control & X87_IE)
        return true;
    f->status |= X87_ES | X87_B;
    return false;
}

long double x87_indefinite(void)
{
    static const uint8_t bits[16] = {0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0xff};
    long double value;
    memcpy(&value, bits, 10);
    return value;
}

void x87_push(struct cpu *cpu, long double value)
{
    if (!x87_empty(cpu, 7)) {
        if (!x87_stack_fault(cpu, true))
            return;
        value = x87_indefinite();
    } else {
        cpu->s.fpu.status &= ~X87_C1;
    }
    x87_move_top(cpu, -1);
    x87_set(cpu, 0, value);
}

/* ---- arithmetic ------------------------------------------------------------------------------ */

/* The eight operations that ModRM.reg selects, on ST(0) and the other operand. */
static long double operate(unsigned operation, long double a, long double b, uint16_t *ret_status)
{
    uint16_t status = 0;
    switch (operation) {
    case 0:
        asm volatile("fadd %%st(1), %%st" X87_STATUS : "+t"(a), "=a"(status) : "u"(b));
        break;
    case 1:
        asm volatile("fmul %%st(1), %%st" X87_STATUS : "+t"(a), "=a"(status) : "u"(b));
        break;
    case 4:
        asm volatile("fsub %%st(1), %%st" X87_STATUS : "+t"(a), "=a"(status) : "u"(b));
        break;
    case 5:
        asm volatile("fsubr %%st(1), %%st" X87_STATUS : "+t"(a), "=a"(status) : "u"(b));
        break;
    case 6:
        asm volatile("fdiv %%st(1), %%st" X87_STATUS : "+t"(a), "=a"(status) : "u"(b));
        break;
    case 7:
        asm volatile("fdivr %%st(1), %%st" X87_STATUS : "+t"(a), "=a"(status) : "u"(b));
        break;
    }
    *ret_status = status;
    return a;
}

static void set_condition(struct cpu *cpu, uint16_t bits)
{
    cpu->s.fpu.status = (cpu->s.fpu.status & ~X87_CONDITION) | (bits & X87_CONDITION & ~X87_C1);
}

/* FCOM and FUCOM. Returns false when an unmasked exception keeps the operands where they are. */
static bool compare(struct cpu *cpu, bool missing, long double b, bool quiet)
{
    if (missing || x87_empty(cpu, 0)) {
        bool go_on = x87_stack_fault(cpu, false);
        set_condition(cpu, X87_C0 | X87_C2 | X87_C3);
        return go_on;
    }
    long double a = x87_get(cpu, 0);
    uint16_t status;
    x87_begin(cpu);
    if (quiet)
        asm volatile("fucom %%st(1)" X87_STATUS : "=a"(status) : "t"(a), "u"(b));
    else
        asm volatile("fcom %%st(1)" X87_STATUS : "=a"(status) : "t"(a), "u"(b));
    x87_end();
    bool go_on = x87_note(cpu, status & ~X87_C1);
    set_condition(cpu, status);
    return go_on;
}

/* FCOMI and its kin: into EFLAGS. */
static bool compare_flags(struct cpu *cpu, unsigned i, bool quiet)
{
    uint64_t flags;
    uint16_t status;
    if (x87_empty(cpu, 0) || x87_empty(cpu, i)) {
        cpu_set_arithmetic(cpu, FLAG_ZF | FLAG_PF | FLAG_CF);
        return x87_stack_fault(cpu, false);
    }
    long double a = x87_get(cpu, 0), b = x87_get(cpu, i);
    x87_begin(cpu);
    if (quiet)
        asm volatile("xorl %%eax, %%eax\n\tfucomi %%st(1), %%st\n\t" FLAGS_SAVE "fnstsw %1"
                     : "=&a"(flags), "=m"(status)
                     : "t"(a), "u"(b)
                     : "cc");
    else
        asm volatile("xorl %%eax, %%eax\n\tfcomi %%st(1), %%st\n\t" FLAGS_SAVE "fnstsw %1"
                     : "=&a"(flags), "=m"(status)
                     : "t"(a), "u"(b)
                     : "cc");
    x87_end();
    cpu->flags = (uint16_t)flags;
    return x87_note(cpu, (status & ~X87_C1) | (cpu->s.fpu.status & X87_C1));
}

/* operation(ST(0), b) into ST(target), popping as told. */
static void arithmetic(struct cpu *cpu, unsigned operation, bool missing, long double b,
                       unsigned target, unsigned pops)
{
    bool store = true;
    long double result = 0;
    if (operation == 2 || operation == 3) {
        if (!compare(cpu, missing, b, false))
            return;
        store = false;
        pops += operation == 3;
    } else if (missing || x87_empty(cpu, 0)) {
        if (!x87_stack_fault(cpu, false))
            return;
        result = x87_indefinite();
    } else {
        long double a = x87_get(cpu, 0);
        x87_begin_arithmetic(cpu);
        uint16_t status;
        result = operate(operation, a, b, &status);
        x87_end();
        if (!x87_note_arithmetic(cpu, status))
            return;
    }
    if (store)
        x87_set(cpu, target, result);
    while (pops--)
        x87_pop(cpu);
}

/* ---- memory operands ------------------------------------------------------------------------- */

enum memory_kind { M_F32, M_F64, M_I16, M_I32, M_I64, M_F80, M_BCD };
static const uint8_t memory_size[] = {4, 8, 2, 4, 8, 10, 10};

static void load_bytes(struct cpu *cpu, const struct insn *insn, uint8_t *buffer, unsigned size)
{
    uint64_t at = ea(cpu, insn, size, false);
    guest_copy(buffer, mmu_read(cpu, insn, at, size), size);
}

/* Loads under the guest's control word; the exceptions are in *ret_status. */
static long double load_memory(struct cpu *cpu, const struct insn *insn, enum memory_kind kind,
                               uint16_t *ret_status)
{
    uint8_t b[16] = {0};
    long double value;
    uint16_t status;
    load_bytes(cpu, insn, b, memory_size[kind]);
    x87_begin(cpu);
    switch (kind) {
    case M_F32:
        asm volatile("flds %2" X87_STATUS : "=t"(value), "=a"(status) : "m"(b));
        break;
    case M_F64:
        asm volatile("fldl %2" X87_STATUS : "=t"(value), "=a"(status) : "m"(b));
        break;
    case M_I16:
        asm volatile("filds %2" X87_STATUS : "=t"(value), "=a"(status) : "m"(b));
        break;
    case M_I32:
        asm volatile("fildl %2" X87_STATUS : "=t"(value), "=a"(status) : "m"(b));
        break;
    case M_I64:
        asm volatile("fildll %2" X87_STATUS : "=t"(value), "=a"(status) : "m"(b));
        break;
    case M_BCD:
        asm volatile("fbld %2" X87_STATUS : "=t"(value), "=a"(status) : "m"(b));
        break;
    default:
        asm volatile("fldt %2" X87_STATUS : "=t"(value), "=a"(status) : "m"(b));
    }
    x87_end();
    *ret_status = status;
    return value;
}

/* The operation takes its operand from memory itself: which exceptions win depends on both. */
#define FROM_MEMORY(mn, suffix)                                                                    \
    switch (operation) {                                                                           \
    case 0:                                                                                        \
        asm volatile(mn "add" suffix " %2" X87_STATUS : "+t"(a), "=a"(status) : "m"(b));           \
        break;                                                                                     \
    case 1:                                                                                        \
        asm volatile(mn "mul" suffix " %2" X87_STATUS : "+t"(a), "=a"(status) : "m"(b));           \
        break;                                                                                     \
    case 4:                                                                                        \
        asm volatile(mn "sub" suffix " %2" X87_STATUS : "+t"(a), "=a"(status) : "m"(b));           \
        break;                                                                                     \
    case 5:                                                                                        \
        asm volatile(mn "subr" suffix " %2" X87_STATUS : "+t"(a), "=a"(status) : "m"(b));          \
        break;                                                                                     \
    case 6:                                                                                        \
        asm volatile(mn "div" suffix " %2" X87_STATUS : "+t"(a), "=a"(status) : "m"(b));           \
        break;                                                                                     \
    case 7:                                                                                        \
        asm volatile(mn "divr" suffix " %2" X87_STATUS : "+t"(a), "=a"(status) : "m"(b));          \
        break;                                                                                     \
    default:                                                                                       \
        asm volatile(mn "com" suffix " %2" X87_STATUS : "+t"(a), "=a"(status) : "m"(b));           \
    }

static void memory_arithmetic(struct cpu *cpu, const struct insn *insn, enum memory_kind kind)
{
    unsigned operation = insn->modrm >> 3 & 7;
    bool comparing = operation == 2 || operation == 3;
    uint8_t b[16] = {0};
    uint16_t status = 0;

    load_bytes(cpu, insn, b, memory_size[kind]);
    if (x87_empty(cpu, 0)) {
        arithmetic(cpu, operation, true, 0, 0, 0);
        return;
    }
    long double a = x87_get(cpu, 0);
    x87_begin_arithmetic(cpu);
    switch (kind) {
    case M_F32:
        FROM_MEMORY("f", "s")
        break;
    case M_F64:
        FROM_MEMORY("f", "l")
        break;
    case M_I16:
        FROM_MEMORY("fi", "s")
        break;
    default:
        FROM_MEMORY("fi", "l")
    }
    x87_end();
    bool go_on = comparing ? x87_note(cpu, status & ~X87_C1) : x87_note_arithmetic(cpu, status);
    if (comparing)
        set_condition(cpu, status);
    if (!go_on)
        return;
    if (!comparing)
        x87_set(cpu, 0, a);
    else if (operation == 3)
        x87_pop(cpu);
}

static void load_push(struct cpu *cpu, const struct insn *insn, enum memory_kind kind)
{
    uint16_t status;
    long double value = load_memory(cpu, insn, kind, &status);
    if (x87_empty(cpu, 7)) {
        x87_note(cpu, status);
        if (status & ~cpu->s.fpu.control & X87_IE) /* a denormal is loaded all the same */
            return;
    }
    x87_push(cpu, value);
}

static uint16_t convert(struct cpu *cpu, long double value, enum memory_kind kind, bool truncate,
                        uint8_t *b)
{
    uint16_t status = 0;
    if (kind == M_F32 || kind == M_F64)
        x87_begin_arithmetic(cpu); /* an unmasked overflow or underflow stores and pops nothing */
    else
        x87_begin(cpu);
    switch (kind) {
    case M_F32:
        asm volatile("fsts %0" X87_STATUS "\n\tfstp %%st(0)"
                     : "=m"(*(uint8_t(*)[16])b), "=a"(status)
                     : "t"(value)
                     : "st");
        break;
    case M_F64:
        asm volatile("fstl %0" X87_STATUS "\n\tfstp %%st(0)"
                     : "=m"(*(uint8_t(*)[16])b), "=a"(status)
                     : "t"(value)
                     : "st");
        break;
    case M_I16:
        if (truncate)
            asm volatile("fisttps %0" X87_STATUS
                         : "=m"(*(uint8_t(*)[16])b), "=a"(status)
                         : "t"(value)
                         : "st");
        else
            asm volatile("fistps %0" X87_STATUS
                         : "=m"(*(uint8_t(*)[16])b), "=a"(status)
                         : "t"(value)
                         : "st");
        break;
    case M_I32:
        if (truncate)
            asm volatile("fisttpl %0" X87_STATUS
                         : "=m"(*(uint8_t(*)[16])b), "=a"(status)
                         : "t"(value)
                         : "st");
        else
            asm volatile("fistpl %0" X87_STATUS
                         : "=m"(*(uint8_t(*)[16])b), "=a"(status)
                         : "t"(value)
                         : "st");
        break;
    case M_I64:
        if (truncate)
            asm volatile("fisttpll %0" X87_STATUS
                         : "=m"(*(uint8_t(*)[16])b), "=a"(status)
                         : "t"(value)
                         : "st");
        else
            asm volatile("fistpll %0" X87_STATUS
                         : "=m"(*(uint8_t(*)[16])b), "=a"(status)
                         : "t"(value)
                         : "st");
        break;
    case M_BCD:
        asm volatile("fbstp %0" X87_STATUS
                     : "=m"(*(uint8_t(*)[16])b), "=a"(status)
                     : "t"(value)
                     : "st");
        break;
    default:
        memcpy(b, &value, 10);
    }
    x87_end();
    return status;
}

static void store_memory(struct cpu *cpu, const struct insn *insn, enum memory_kind kind,
                         bool truncate, bool pop)
{
    uint8_t b[16] = {0};
    unsigned size = memory_size[kind];
    uint64_t at = ea(cpu, insn, size, true);
    cpu->insn = insn;
    mmu_check_write(cpu, at, size);
    if (x87_empty(cpu, 0)) {
        if (!x87_stack_fault(cpu, false))
            return;
        convert(cpu, x87_indefinite(), kind, truncate, b);
    } else {
        uint16_t status = convert(cpu, x87_get(cpu, 0), kind, truncate, b);
        uint16_t unmasked = status & ~cpu->s.fpu.control & 0x3f;
        /* Into memory, overflow and underflow forbid the result as well. */
        if (!x87_note_arithmetic(cpu, status) || unmasked & 0x18)
            return;
    }
    mmu_write_bytes(cpu, at, b, size);
    if (pop)
        x87_pop(cpu);
}

/* ---- one function per escape byte ------------------------------------------------------------ */

static void check_pending(struct cpu *cpu, const struct insn *insn)
{
    cpu->insn = insn;
    if (unlikely(cpu->s.fpu.status & X87_ES) && cpu->s.cr0 & CR0_NE)
        cpu_raise(cpu, VEC_MF);
}
static void note_pointers(struct cpu *cpu, const struct insn *insn)
{
    struct fpu_state *f = &cpu->s.fpu;
    f->ip = interp_mask_ip(cpu, cpu->s.gpr[GPR_CODE] + insn->offset);
    f->ip_selector = cpu->s.seg[SEG_CS].selector;
    f->opcode = (insn->op - OP_X87_D8) << 8 | insn->modrm;
    if (insn_has_memory(insn)) {
        f->dp = ea_offset(cpu, insn);
        f->dp_selector = cpu->s.seg[insn->seg == SEG_NONE ? SEG_DS : insn->seg].selector;
    }
}
/* Those that load, store or change the unit's control are not noted as its last instruction. */
static bool is_noted(const struct insn *insn)
{
    unsigned field = insn->modrm >> 3 & 7;
    bool memory = insn->modrm < 0xc0;
    switch (insn->op) {
    case OP_X87_D9:
        return !memory || field < 4;
    case OP_X87_DB:
        return memory || field != 4;
    case OP_X87_DD:
        return !memory || field < 4;
    case OP_X87_DF:
        return insn->modrm != 0xe0;
    default:
        return true;
    }
}
static _Noreturn void undefined(struct cpu *cpu, const struct insn *insn)
{
    cpu->insn = insn;
    cpu_raise(cpu, VEC_UD);
}

#define FIELD(insn)     ((insn)->modrm >> 3 & 7)
#define STI(insn)       ((insn)->modrm & 7)
#define IN_MEMORY(insn) ((insn)->modrm < 0xc0)

static void register_arithmetic(struct cpu *cpu, const struct insn *insn, bool into_sti, bool pop)
{
    unsigned i = STI(insn);
    bool missing = x87_empty(cpu, i);
    arithmetic(cpu, FIELD(insn), missing, missing ? 0 : x87_get(cpu, i), into_sti ? i : 0, pop);
}

static void x87_d8(struct cpu *cpu, const struct insn *insn)
{
    check_pending(cpu, insn);
    if (IN_MEMORY(insn))
        memory_arithmetic(cpu, insn, M_F32);
    else
        register_arithmetic(cpu, insn, false, false);
}
static void x87_dc(struct cpu *cpu, const struct insn *insn)
{
    check_pending(cpu, insn);
    if (IN_MEMORY(insn))
        memory_arithmetic(cpu, insn, M_F64);
    else
        register_arithmetic(cpu, insn, true, false);
}
static void x87_de(struct cpu *cpu, const struct insn *insn)
{
    check_pending(cpu, insn);
    if (IN_MEMORY(insn)) {
        memory_arithmetic(cpu, insn, M_I16);
        return;
    }
    if (FIELD(insn) == 3 && STI(insn) != 1) /* only FCOMPP */
        undefined(cpu, insn);
    register_arithmetic(cpu, insn, true, true);
}

static void exchange(struct cpu *cpu, unsigned i)
{
    bool fault = false;
    if (x87_empty(cpu, 0) || x87_empty(cpu, i)) {
        if (!x87_stack_fault(cpu, false))
            return;
        fault = true;
    }
    long double a = x87_empty(cpu, 0) ? x87_indefinite() : x87_get(cpu, 0);
    long double b = x87_empty(cpu, i) ? x87_indefinite() : x87_get(cpu, i);
    x87_set(cpu, 0, b);
    x87_set(cpu, i, a);
    if (!fault)
        cpu->s.fpu.status &= ~X87_C1;
}
static void store_register(struct cpu *cpu, unsigned i, bool pop)
{
    long double value = x87_get(cpu, 0);
    if (x87_empty(cpu, 0)) {
        if (!x87_stack_fault(cpu, false))
            return;
        value = x87_indefinite();
    } else {
        cpu->s.fpu.status &= ~X87_C1;
    }
    x87_set(cpu, i, value);
    if (pop)
        x87_pop(cpu);
}

static void set_control(struct cpu *cpu, uint16_t control)
{
    struct fpu_state *f = &cpu->s.fpu;
    f->control = (control & 0x1f3f) | 0x40;
    f->status &= ~(X87_ES | X87_B);
    if (f->status & ~f->control & 0x3f)
        f->status |= X87_ES | X87_B;
}

static void x87_d9_memory(struct cpu *cpu, const struct insn *insn)
{
    switch (FIELD(insn)) {
    case 0:
        check_pending(cpu, insn);
        load_push(cpu, insn, M_F32);
        break;
    case 2:
    case 3:
        check_pending(cpu, insn);
        store_memory(cpu, insn, M_F32, false, FIELD(insn) == 3);
        break;
    case 4:
        check_pending(cpu, insn);
        x87_load_environment(cpu, insn, false);
        break;
    case 5:
        check_pending(cpu, insn);
        set_control(cpu, load16(cpu, insn, ea(cpu, insn, 2, false)));
        break;
    case 6:
        x87_store_environment(cpu, insn, false);
        break;
    case 7:
        store16(cpu, insn, ea(cpu, insn, 2, true), cpu->s.fpu.control);
        break;
    default:
        undefined(cpu, insn);
    }
}
static void x87_d9(struct cpu *cpu, const struct insn *insn)
{
    if (IN_MEMORY(insn)) {
        x87_d9_memory(cpu, insn);
        return;
    }
    check_pending(cpu, insn);
    switch (FIELD(insn)) {
    case 0: {
        bool missing = x87_empty(cpu, STI(insn));
        long double value = x87_get(cpu, STI(insn));
        if (missing) {
            if (!x87_stack_fault(cpu, false))
                return;
            x87_move_top(cpu, -1);
            x87_set(cpu, 0, x87_indefinite());
            return;
        }
        x87_push(cpu, value);
        break;
    }
    case 1:
        exchange(cpu, STI(insn));
        break;
    case 2:
        if (insn->modrm != 0xd0)
            undefined(cpu, insn);
        break;
    case 3:
        store_register(cpu, STI(insn), true);
        break;
    default:
        x87_function(cpu, insn);
    }
}

static void conditional_move(struct cpu *cpu, unsigned i, unsigned code)
{
    if (x87_empty(cpu, 0) || x87_empty(cpu, i)) {
        if (x87_stack_fault(cpu, false))
            x87_set(cpu, 0, x87_indefinite());
        return;
    }
    if (condition(cpu, code))
        x87_set(cpu, 0, x87_get(cpu, i));
}
/* B, E, BE, U */
static const uint8_t move_conditions[4] = {2, 4, 6, 10};

static void x87_da(struct cpu *cpu, const struct insn *insn)
{
    check_pending(cpu, insn);
    if (IN_MEMORY(insn)) {
        memory_arithmetic(cpu, insn, M_I32);
    } else if (FIELD(insn) < 4) {
        conditional_move(cpu, STI(insn), move_conditions[FIELD(insn)]);
    } else if (insn->modrm == 0xe9) {
        bool missing = x87_empty(cpu, 1);
        if (compare(cpu, missing, missing ? 0 : x87_get(cpu, 1), true)) {
            x87_pop(cpu);
            x87_pop(cpu);
        }
    } else {
        undefined(cpu, insn);
    }
}

static void x87_db_memory(struct cpu *cpu, const struct insn *insn)
{
    check_pending(cpu, insn);
    switch (FIELD(insn)) {
    case 0:
        load_push(cpu, insn, M_I32);
        break;
    case 1:
        store_memory(cpu, insn, M_I32, true, true);
        break;
    case 2:
    case 3:
        store_memory(cpu, insn, M_I32, false, FIELD(insn) == 3);
        break;
    case 5:
        load_push(cpu, insn, M_F80);
        break;
    case 7:
        store_memory(cpu, insn, M_F80, false, true);
        break;
    default:
        undefined(cpu, insn);
    }
}
static void x87_db(struct cpu *cpu, const struct insn *insn)
{
    if (IN_MEMORY(insn)) {
        x87_db_memory(cpu, insn);
        return;
    }
    switch (FIELD(insn)) {
    case 0:
    case 1:
    case 2:
    case 3:
        check_pending(cpu, insn);
        conditional_move(cpu, STI(insn), move_conditions[FIELD(insn)] + 1u);
        break;
    case 4:
        if (insn->modrm == 0xe2)
            cpu->s.fpu.status &= ~0x80ff;
        else if (insn->modrm == 0xe3)
            x87_init(cpu);
        else if (insn->modrm > 0xe4)
            undefined(cpu, insn);
        break;
    case 5:
    case 6:
        check_pending(cpu, insn);
        compare_flags(cpu, STI(insn), FIELD(insn) == 5);
        break;
    default:
        undefined(cpu, insn);
    }
}

static void x87_dd_memory(struct cpu *cpu, const struct insn *insn)
{
    switch (FIELD(insn)) {
    case 0:
        check_pending(cpu, insn);
        load_push(cpu, insn, M_F64);
        break;
    case 1:
        check_pending(cpu, insn);
        store_memory(cpu, insn, M_I64, true, true);
        break;
    case 2:
    case 3:
        check_pending(cpu, insn);
        store_memory(cpu, insn, M_F64, false, FIELD(insn) == 3);
        break;
    case 4:
        check_pending(cpu, insn);
        x87_load_environment(cpu, insn, true);
        break;
    case 6:
        x87_store_environment(cpu, insn, true);
        break;
    case 7:
        store16(cpu, insn, ea(cpu, insn, 2, true), cpu->s.fpu.status);
        break;
    default:
        undefined(cpu, insn);
    }
}
static void x87_dd(struct cpu *cpu, const struct insn *insn)
{
    if (IN_MEMORY(insn)) {
        x87_dd_memory(cpu, insn);
        return;
    }
    check_pending(cpu, insn);
    unsigned i = STI(insn);
    switch (FIELD(insn)) {
    case 0:
        cpu->s.fpu.valid &= ~(1u << x87_index(cpu, i));
        cpu->s.fpu.status &= ~X87_C1;
        break;
    case 1:
        exchange(cpu, i);
        break;
    case 2:
    case 3:
        store_register(cpu, i, FIELD(insn) == 3);
        break;
    case 4:
    case 5: {
        bool missing = x87_empty(cpu, i);
        if (compare(cpu, missing, missing ? 0 : x87_get(cpu, i), true) && FIELD(insn) == 5)
            x87_pop(cpu);
        break;
    }
    default:
        undefined(cpu, insn);
    }
}

static void x87_df_memory(struct cpu *cpu, const struct insn *insn)
{
    static const struct {
        uint8_t kind;
        bool load, truncate, pop;
    } how[8] = {
        {M_I16, true, false, false}, {M_I16, false, true, true},  {M_I16, false, false, false},
        {M_I16, false, false, true}, {M_BCD, true, false, false}, {M_I64, true, false, false},
        {M_BCD, false, false, true}, {M_I64, false, false, true},
    };
    check_pending(cpu, insn);
    unsigned field = FIELD(insn);
    if (how[field].load)
        load_push(cpu, insn, how[field].kind);
    else
        store_memory(cpu, insn, how[field].kind, how[field].truncate, how[field].pop);
}
static void x87_df(struct cpu *cpu, const struct insn *insn)
{
    if (IN_MEMORY(insn)) {
        x87_df_memory(cpu, insn);
        return;
    }
    if (insn->modrm == 0xe0) {
        SET_REG_16(RAX * 8, cpu->s.fpu.status);
        return;
    }
    check_pending(cpu, insn);
    switch (FIELD(insn)) {
    case 0:
        cpu->s.fpu.valid &= ~(1u << x87_index(cpu, STI(insn)));
        cpu->s.fpu.status &= ~X87_C1;
        x87_pop(cpu);
        break;
    case 1:
        exchange(cpu, STI(insn));
        break;
    case 2:
    case 3:
        store_register(cpu, STI(insn), true);
        break;
    case 5:
    case 6:
        if (compare_flags(cpu, STI(insn), FIELD(insn) == 5))
            x87_pop(cpu);
        break;
    default:
        undefined(cpu, insn);
    }
}

#define X87(name)                                                                                  \
    HANDLER(do_##name)                                                                             \
    {                                                                                              \
        x87_##name(cpu, insn);                                                                     \
        if (is_noted(insn)) /* an access that faults leaves no trace */                            \
            note_pointers(cpu, insn);                                                              \
        x87_follow_masks(cpu);                                                                     \
        NEXT_OF_MODE();                                                                            \
    }
/* clang-format off */
X87(d8) X87(d9) X87(da) X87(db) X87(dc) X87(dd) X87(de) X87(df)
    /* clang-format on */

    HANDLER(fwait)
{
    cpu->insn = insn;
    if ((cpu->s.cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS))
        cpu_raise(cpu, VEC_NM);
    check_pending(cpu, insn);
    NEXT();
}

const struct handler_row handlers_x87[] = {
    {OP_X87_D8, ALL_SHAPES(do_d8)}, {OP_X87_D9, ALL_SHAPES(do_d9)},
    {OP_X87_DA, ALL_SHAPES(do_da)}, {OP_X87_DB, ALL_SHAPES(do_db)},
    {OP_X87_DC, ALL_SHAPES(do_dc)}, {OP_X87_DD, ALL_SHAPES(do_dd)},
    {OP_X87_DE, ALL_SHAPES(do_de)}, {OP_X87_DF, ALL_SHAPES(do_df)},
    {OP_FWAIT, ALL_SHAPES(fwait)},  {0},
};
