/* Near branches, and the software interrupts. */
#include "emu/cpu/interp.h"
#include "emu/cpu/system.h"

/* A direct branch: along the link when there is one. */
static inline const struct insn *branch(struct cpu *cpu, unsigned slot, uint64_t rip)
{
    struct block *to = cpu->block->link[slot];
    if (likely(to != NULL) && likely(block_valid(to)) &&
        likely(!atomic_load_explicit(&cpu->attention, memory_order_relaxed))) {
        cpu->s.gpr[GPR_CODE] = rip;
        cpu->block = to;
        cpu_count(cpu, to->count);
        return RUN(cpu, to->insns);
    }
    return interp_goto(cpu, slot, rip);
}

/* Outside 64-bit code RIP is cut to the operand size and checked before anything changes. */
static inline uint64_t branch_target(struct cpu *cpu, const struct insn *insn, uint64_t rip)
{
    if (likely(insn->size == SIZE_64)) {
        if (unlikely(!canonical(rip))) {
            cpu->insn = insn;
            cpu_raise_error(cpu, VEC_GP, 0);
        }
        return rip;
    }
    rip = insn->size == SIZE_32 ? (uint32_t)rip : (uint16_t)rip;
    if (unlikely(rip > cpu->s.seg[SEG_CS].limit)) {
        cpu->insn = insn;
        cpu_raise_error(cpu, VEC_GP, 0);
    }
    return rip;
}

static inline uint64_t direct_target(struct cpu *cpu, const struct insn *insn)
{
    return branch_target(cpu, insn, cpu->s.gpr[GPR_CODE] + insn->imm);
}

#define TAKE_IF(taken)                                                                             \
    do {                                                                                           \
        if (taken)                                                                                 \
            return branch(cpu, 0, direct_target(cpu, insn));                                       \
        return branch(cpu, 1, interp_mask_ip(cpu, next_rip(cpu, insn)));                           \
    } while (0)

#define JCC(code)                                                                                  \
    HANDLER(jcc_##code)                                                                            \
    {                                                                                              \
        TAKE_IF(condition(cpu, 0x##code));                                                         \
    }
/* clang-format off */
JCC(0) JCC(1) JCC(2) JCC(3) JCC(4) JCC(5) JCC(6) JCC(7)
JCC(8) JCC(9) JCC(a) JCC(b) JCC(c) JCC(d) JCC(e) JCC(f)
    /* clang-format on */

    static insn_handler *const jcc_handlers[16] = {
        jcc_0, jcc_1, jcc_2, jcc_3, jcc_4, jcc_5, jcc_6, jcc_7,
        jcc_8, jcc_9, jcc_a, jcc_b, jcc_c, jcc_d, jcc_e, jcc_f,
};

insn_handler *interp_jcc_handler(unsigned code)
{
    return jcc_handlers[code & 15];
}

HANDLER(jcc)
{
    return jcc_handlers[insn->modrm & 15](cpu, insn);
}
HANDLER(jmp)
{
    return branch(cpu, 0, direct_target(cpu, insn));
}
HANDLER(jmp_r)
{
    return interp_jump(cpu, branch_target(cpu, insn, REG(cpu, uint64_t, insn->rm)));
}
HANDLER(jmp_m)
{
    unsigned bytes = 1u << insn->size;
    uint64_t at = ea(cpu, insn, bytes, false);
    uint64_t target = bytes == 8   ? load64(cpu, insn, at)
                      : bytes == 4 ? load32(cpu, insn, at)
                                   : load16(cpu, insn, at);
    return interp_jump(cpu, branch_target(cpu, insn, target));
}

static inline void push_return(struct cpu *cpu, const struct insn *insn)
{
    uint64_t next = next_rip(cpu, insn);
    if (likely(insn->size == SIZE_64)) {
        uint64_t sp = cpu->s.gpr[RSP] - 8;
        store64(cpu, insn, sp, next);
        cpu->s.gpr[RSP] = sp;
    } else {
        interp_push(cpu, insn, next, 1u << insn->size);
    }
}
HANDLER(call)
{
    uint64_t target = direct_target(cpu, insn);
    push_return(cpu, insn);
    return branch(cpu, 0, target);
}
HANDLER(call_r)
{
    uint64_t target = branch_target(cpu, insn, REG(cpu, uint64_t, insn->rm));
    push_return(cpu, insn);
    return interp_jump(cpu, target);
}
HANDLER(call_m)
{
    unsigned bytes = 1u << insn->size;
    uint64_t at = ea(cpu, insn, bytes, false);
    uint64_t target = bytes == 8   ? load64(cpu, insn, at)
                      : bytes == 4 ? load32(cpu, insn, at)
                                   : load16(cpu, insn, at);
    target = branch_target(cpu, insn, target);
    push_return(cpu, insn);
    return interp_jump(cpu, target);
}
HANDLER(ret_64)
{
    uint64_t target = branch_target(cpu, insn, load64(cpu, insn, cpu->s.gpr[RSP]));
    cpu->s.gpr[RSP] += 8 + insn->imm; /* RET without immediate has 0 */
    return interp_jump(cpu, target);
}
HANDLER(ret)
{
    unsigned bytes = 1u << insn->size;
    uint64_t target = branch_target(cpu, insn, interp_peek(cpu, insn, 0, bytes));
    interp_set_sp(cpu, cpu->s.gpr[RSP] + bytes + insn->imm);
    return interp_jump(cpu, target);
}

/* LOOP and JCXZ count in rCX of the address size. */
static inline uint64_t count_down(struct cpu *cpu, const struct insn *insn, unsigned by)
{
    uint64_t count = get_reg_sized(cpu, RCX * 8, insn->addr_size) - by;
    if (insn->addr_size != SIZE_64)
        count = insn->addr_size == SIZE_32 ? (uint32_t)count : (uint16_t)count;
    return count;
}
static const struct insn *loop_if(struct cpu *cpu, const struct insn *insn, bool wanted)
{
    uint64_t count = count_down(cpu, insn, 1);
    bool taken = count != 0 && wanted;
    uint64_t target = taken ? direct_target(cpu, insn) : 0;
    set_reg_sized(cpu, RCX * 8, insn->addr_size, count);
    if (taken)
        return branch(cpu, 0, target);
    return branch(cpu, 1, interp_mask_ip(cpu, next_rip(cpu, insn)));
}
HANDLER(loop)
{
    return loop_if(cpu, insn, true);
}
HANDLER(loope)
{
    return loop_if(cpu, insn, cpu->flags & 0x4000);
}
HANDLER(loopne)
{
    return loop_if(cpu, insn, !(cpu->flags & 0x4000));
}
HANDLER(jcxz)
{
    TAKE_IF(count_down(cpu, insn, 0) == 0);
}

/* ---- software interrupts --------------------------------------------------------------------- */

/* RIP moves behind the instruction first: it is what a handler returns to. When the delivery itself
 * faults, RIP is the instruction's again. */
static const struct insn *software_interrupt(struct cpu *cpu, const struct insn *insn, int vector)
{
    cpu->insn = insn;
    if (cpu_vm86(cpu) && insn->op == OP_INT) {
        if (cpu->s.cr4 & CR4_VME && system_redirected(cpu, vector)) {
            system_interrupt_vm86(cpu, vector, interp_mask_ip(cpu, next_rip(cpu, insn)));
            cpu->insn = NULL;
            return NULL;
        }
        if (cpu_iopl(cpu) < 3)
            cpu_raise_error(cpu, VEC_GP, 0);
    }
    cpu_deliver(cpu, vector, true, false, 0);
    return NULL;
}
HANDLER(int_n)
{
    return software_interrupt(cpu, insn, insn->imm);
}
HANDLER(int3)
{
    return software_interrupt(cpu, insn, VEC_BP);
}
HANDLER(int1)
{
    return software_interrupt(cpu, insn, VEC_DB);
}
HANDLER(into)
{
    if (cpu->flags & 1)
        return software_interrupt(cpu, insn, VEC_OF);
    return branch(cpu, 1, interp_mask_ip(cpu, next_rip(cpu, insn)));
}
HANDLER(ud)
{
    cpu->insn = insn;
    cpu_raise(cpu, VEC_UD);
}
HANDLER(bound)
{
    unsigned bytes = 1u << insn->size;
    uint64_t at = ea(cpu, insn, 2 * bytes, false);
    cpu->insn = insn;
    int32_t low =
        bytes == 2 ? (int16_t)mmu_load_slow(cpu, at, 2) : (int32_t)mmu_load_slow(cpu, at, 4);
    int32_t high = bytes == 2 ? (int16_t)mmu_load_slow(cpu, at + 2, 2)
                              : (int32_t)mmu_load_slow(cpu, at + 4, 4);
    int32_t index = bytes == 2 ? REG(cpu, int16_t, insn->reg) : REG(cpu, int32_t, insn->reg);
    if (index < low || index > high)
        cpu_raise(cpu, VEC_BR);
    return branch(cpu, 1, interp_mask_ip(cpu, next_rip(cpu, insn)));
}
HANDLER(hlt)
{
    cpu->insn = insn;
    if (cpu->s.cpl)
        cpu_raise_error(cpu, VEC_GP, 0);
    cpu->s.halted = true;
    atomic_store(&cpu->attention, 1);
    LEAVE_BLOCK();
}

const struct handler_row handlers_flow[] = {
    {OP_JCC, ALL_SHAPES(jcc)},
    {OP_JMP, ALL_SHAPES(jmp)},
    {OP_JMP_E, {ALL_SIZES(jmp_r), ALL_SIZES(jmp_m)}},
    {OP_CALL, ALL_SHAPES(call)},
    {OP_CALL_E, {ALL_SIZES(call_r), ALL_SIZES(call_m)}},
    {OP_RET, {{NULL, ret, ret, ret_64}}},
    {OP_RETI, {{NULL, ret, ret, ret_64}}},
    {OP_LOOP, ALL_SHAPES(loop)},
    {OP_LOOPE, ALL_SHAPES(loope)},
    {OP_LOOPNE, ALL_SHAPES(loopne)},
    {OP_JCXZ, ALL_SHAPES(jcxz)},
    {OP_INT, ALL_SHAPES(int_n)},
    {OP_INT3, ALL_SHAPES(int3)},
    {OP_INT1, ALL_SHAPES(int1)},
    {OP_INTO, ALL_SHAPES(into)},
    {OP_UD, ALL_SHAPES(ud)},
    {OP_BOUND, ALL_SHAPES(bound)},
    {OP_HLT, ALL_SHAPES(hlt)},
    {0},
};
