/* D9 E0 to D9 FF: one-operand, constant and transcendental x87 instructions, done by the host. */
#include "emu/cpu/x87.h"

static _Noreturn void undefined(struct cpu *cpu, const struct insn *insn)
{
    cpu->insn = insn;
    cpu_raise(cpu, VEC_UD);
}

static void set_bits(struct cpu *cpu, uint16_t mask, uint16_t bits)
{
    cpu->s.fpu.status = (cpu->s.fpu.status & ~mask) | (bits & mask);
}

/* FXAM classifies without exceptions, an empty register too. */
static void examine(struct cpu *cpu)
{
    uint16_t status;
    long double value = x87_get(cpu, 0);
    x87_begin(cpu);
    asm volatile("fxam" X87_STATUS : "=a"(status) : "t"(value));
    x87_end();
    if (x87_empty(cpu, 0))
        status = (status & X87_C1) | X87_C3 | X87_C0;
    set_bits(cpu, X87_CONDITION, status);
}

static void test_zero(struct cpu *cpu)
{
    if (x87_empty(cpu, 0)) {
        x87_stack_fault(cpu, false);
        set_bits(cpu, X87_CONDITION, X87_C0 | X87_C2 | X87_C3);
        return;
    }
    long double value = x87_get(cpu, 0);
    x87_begin(cpu);
    uint16_t status;
    asm volatile("ftst" X87_STATUS : "=a"(status) : "t"(value));
    x87_end();
    x87_note(cpu, status & ~X87_C1);
    set_bits(cpu, X87_CONDITION, status & ~X87_C1);
}

static void push_constant(struct cpu *cpu, unsigned which)
{
    long double value;
    x87_begin(cpu);
    switch (which) {
    case 0:
        asm volatile("fld1" : "=t"(value));
        break;
    case 1:
        asm volatile("fldl2t" : "=t"(value));
        break;
    case 2:
        asm volatile("fldl2e" : "=t"(value));
        break;
    case 3:
        asm volatile("fldpi" : "=t"(value));
        break;
    case 4:
        asm volatile("fldlg2" : "=t"(value));
        break;
    case 5:
        asm volatile("fldln2" : "=t"(value));
        break;
    default:
        asm volatile("fldz" : "=t"(value));
    }
    x87_end();
    x87_push(cpu, value);
}

/* ST(0) = f(ST(0)). C2 is meaningful for FSIN and FCOS: set, the operand is out of range. */
static void one_operand(struct cpu *cpu, unsigned modrm)
{
    bool trigonometric = modrm == 0xfe || modrm == 0xff;
    uint16_t status = 0;
    if (x87_empty(cpu, 0)) {
        if (trigonometric)
            set_bits(cpu, X87_C2, 0);
        if (x87_stack_fault(cpu, false))
            x87_set(cpu, 0, x87_indefinite());
        return;
    }
    long double a = x87_get(cpu, 0);
    x87_begin(cpu);
    switch (modrm) {
    case 0xe0:
        asm volatile("fchs" X87_STATUS : "+t"(a), "=a"(status));
        break;
    case 0xe1:
        asm volatile("fabs" X87_STATUS : "+t"(a), "=a"(status));
        break;
    case 0xf0:
        asm volatile("f2xm1" X87_STATUS : "+t"(a), "=a"(status));
        break;
    case 0xfa:
        asm volatile("fsqrt" X87_STATUS : "+t"(a), "=a"(status));
        break;
    case 0xfc:
        asm volatile("frndint" X87_STATUS : "+t"(a), "=a"(status));
        break;
    case 0xfe:
        asm volatile("fsin" X87_STATUS : "+t"(a), "=a"(status));
        break;
    case 0xff:
        asm volatile("fcos" X87_STATUS : "+t"(a), "=a"(status));
        break;
    }
    x87_end();
    if (trigonometric)
        set_bits(cpu, X87_C2, status);
    if (x87_note_arithmetic(cpu, status))
        x87_set(cpu, 0, a);
}

/* Of ST(0) and ST(1); `pop` leaves the result in what was ST(1). */
static void two_operands(struct cpu *cpu, unsigned modrm, bool pop)
{
    bool remainder = modrm == 0xf5 || modrm == 0xf8;
    uint16_t status = 0;

    if (x87_empty(cpu, 0) || x87_empty(cpu, 1)) {
        if (remainder)
            set_bits(cpu, X87_C2, 0);
        if (x87_stack_fault(cpu, false)) {
            x87_set(cpu, pop ? 1 : 0, x87_indefinite());
            if (pop)
                x87_pop(cpu);
        }
        return;
    }
    long double a = x87_get(cpu, 0), b = x87_get(cpu, 1);
    x87_begin_arithmetic(cpu);
    switch (modrm) {
    case 0xf1:
        asm volatile("fyl2x" X87_STATUS : "+t"(a), "=a"(status) : "u"(b) : "st(1)");
        break;
    case 0xf3:
        asm volatile("fpatan" X87_STATUS : "+t"(a), "=a"(status) : "u"(b) : "st(1)");
        break;
    case 0xf5:
        asm volatile("fprem1" X87_STATUS : "+t"(a), "=a"(status) : "u"(b));
        break;
    case 0xf8:
        asm volatile("fprem" X87_STATUS : "+t"(a), "=a"(status) : "u"(b));
        break;
    case 0xf9:
        asm volatile("fyl2xp1" X87_STATUS : "+t"(a), "=a"(status) : "u"(b) : "st(1)");
        break;
    case 0xfd:
        asm volatile("fscale" X87_STATUS : "+t"(a), "=a"(status) : "u"(b));
        break;
    }
    x87_end();
    bool go_on = x87_note_arithmetic(cpu, status);
    if (remainder && go_on) /* without a remainder there is no quotient to report */
        set_bits(cpu, a != a ? X87_C1 | X87_C2 : X87_CONDITION, status);
    else if (remainder) /* not begun is not incomplete either */
        set_bits(cpu, X87_C2, 0);
    if (!go_on)
        return;
    x87_set(cpu, pop ? 1 : 0, a);
    if (pop)
        x87_pop(cpu);
}

/* Two results: one replaces ST(0), the other is pushed. */
static void two_results(struct cpu *cpu, unsigned modrm)
{
    if (x87_empty(cpu, 0) || !x87_empty(cpu, 7)) {
        bool overflow = !x87_empty(cpu, 0);
        if (modrm != 0xf4)
            set_bits(cpu, X87_C2, 0);
        if (x87_stack_fault(cpu, overflow)) {
            x87_set(cpu, 0, x87_indefinite());
            x87_move_top(cpu, -1);
            x87_set(cpu, 0, x87_indefinite());
        }
        return;
    }
    long double a = x87_get(cpu, 0), top, below;
    uint16_t status;
    x87_begin(cpu);
    if (modrm == 0xf2)
        asm volatile("fptan" X87_STATUS "\n\ttestw $0x400, %%ax\n\tjz 1f\n\tfldz\n1:"
                     : "=t"(top), "=u"(below), "=a"(status)
                     : "0"(a)
                     : "cc");
    else if (modrm == 0xf4)
        asm volatile("fxtract" X87_STATUS : "=t"(top), "=u"(below), "=a"(status) : "0"(a));
    else
        asm volatile("fsincos" X87_STATUS "\n\ttestw $0x400, %%ax\n\tjz 1f\n\tfldz\n1:"
                     : "=t"(top), "=u"(below), "=a"(status)
                     : "0"(a)
                     : "cc");
    x87_end();
    if (modrm != 0xf4)
        set_bits(cpu, X87_C2, status);
    if (!x87_note_arithmetic(cpu, status) || (modrm != 0xf4 && status & X87_C2))
        return;
    x87_set(cpu, 0, below);
    x87_move_top(cpu, -1);
    x87_set(cpu, 0, top);
}

void x87_function(struct cpu *cpu, const struct insn *insn)
{
    unsigned modrm = insn->modrm;
    switch (modrm) {
    case 0xe0:
    case 0xe1:
    case 0xf0:
    case 0xfa:
    case 0xfc:
    case 0xfe:
    case 0xff:
        one_operand(cpu, modrm);
        break;
    case 0xe4:
        test_zero(cpu);
        break;
    case 0xe5:
        examine(cpu);
        break;
    case 0xe8 ... 0xee:
        push_constant(cpu, modrm - 0xe8);
        break;
    case 0xf1:
    case 0xf3:
    case 0xf9:
        two_operands(cpu, modrm, true);
        break;
    case 0xf5:
    case 0xf8:
    case 0xfd:
        two_operands(cpu, modrm, false);
        break;
    case 0xf2:
    case 0xf4:
    case 0xfb:
        two_results(cpu, modrm);
        break;
    case 0xf6:
        x87_move_top(cpu, -1);
        cpu->s.fpu.status &= ~X87_C1;
        break;
    case 0xf7:
        x87_move_top(cpu, 1);
        cpu->s.fpu.status &= ~X87_C1;
        break;
    default:
        undefined(cpu, insn);
    }
}
