/* Moves between general registers and memory. */
#include "emu/jit/flags.h"
#include "emu/jit/kinds.h"
#include "emu/jit/operands.h"

static bool mov_registers(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    unsigned to = guest_number(insn->rm);
    if (has_high_byte(insn))
        return mov_high(t, insn);
    if (insn->shape == SHAPE_RI) {
        if (insn->size >= SIZE_32) {
            uint64_t value = insn->size == SIZE_64 ? insn->imm : (uint32_t)insn->imm;
            if (!IN_MEMORY(to)) {
                emit_mov_imm(e, host_of(to), value);
            } else {
                emit_mov_imm(e, T0, value);
                emit_store(e, guest(t, to), T0);
            }
            return true;
        }
        emit_op(e, enc_sized(ENC(0, 0, 0xc7), insn->size), 0, guest(t, to));
        emit_imm(e, insn->imm, insn->size);
        return true;
    }
    unsigned from = guest_number(insn->reg);
    if (insn->size == SIZE_32) {
        unsigned host = IN_MEMORY(to) ? T0 : host_of(to);
        emit_op(e, ENC(0, 0, 0x8b), host, guest_value(t, from));
        if (IN_MEMORY(to))
            emit_store(e, guest(t, to), T0);
    } else if (IN_MEMORY(to)) {
        unsigned host = guest_in(t, from, T0);
        emit_op(e, enc_sized(ENC(0, 0, 0x89), insn->size), host, guest(t, to));
    } else {
        emit_op(e, enc_sized(ENC(0, 0, 0x8b), insn->size), host_of(to), guest_value(t, from));
    }
    return true;
}

static void load_result(struct translator *t, const struct insn *insn, uint32_t encoding,
                        struct host_operand from)
{
    unsigned to = guest_number(insn->reg);
    unsigned host = result_begin(t, to, insn->size, false);
    emit_op(&t->e, encoding, host, from);
    result_end(t, to, host, insn->size);
}

static bool mov(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    unsigned bytes = 1u << insn->size;
    switch (insn->shape) {
    case SHAPE_R:
    case SHAPE_RI:
        return mov_registers(t, insn);
    case SHAPE_GM:
        if (is_high_byte(insn->reg))
            return mov_high(t, insn);
        access_memory(t, insn, bytes, ACCESS_LOAD);
        load_result(t, insn, enc_sized(ENC(0, 0, 0x8b), insn->size), host_memory(t));
        return true;
    case SHAPE_M:
        if (is_high_byte(insn->reg))
            return mov_high(t, insn);
        access_memory(t, insn, bytes, ACCESS_STORE);
        memory_with_register(t, insn, enc_sized(ENC(0, 0, 0x89), insn->size));
        stored(t, insn);
        return true;
    default:
        access_memory(t, insn, bytes, ACCESS_STORE);
        emit_op(e, enc_sized(ENC(0, 0, 0xc7), insn->size), 0, host_memory(t));
        emit_imm(e, insn->imm, insn->size);
        stored(t, insn);
        return true;
    }
}

static bool movnti(struct translator *t, const struct insn *insn)
{
    access_memory(t, insn, 1u << insn->size, ACCESS_STORE);
    memory_with_register(t, insn, enc_sized(ENC(0, 0, 0x89), insn->size));
    stored(t, insn);
    return true;
}

/* MOVZX, MOVSX: a narrower source. */
static bool extend(struct translator *t, const struct insn *insn)
{
    static const struct {
        uint8_t map, opcode, bytes;
    } forms[] = {[OP_MOVZX8 - OP_MOVZX8] = {1, 0xb6, 1},
                 [OP_MOVZX16 - OP_MOVZX8] = {1, 0xb7, 2},
                 [OP_MOVSX8 - OP_MOVZX8] = {1, 0xbe, 1},
                 [OP_MOVSX16 - OP_MOVZX8] = {1, 0xbf, 2},
                 [OP_MOVSXD - OP_MOVZX8] = {0, 0x63, 4}};
    unsigned form = insn->op - OP_MOVZX8, bytes = forms[form].bytes;
    uint32_t encoding = ENC(forms[form].map, 0, forms[form].opcode) |
                        (insn->size == SIZE_64 ? ENC_W : 0) | (insn->size == SIZE_16 ? ENC_66 : 0);
    struct host_operand from;

    if (insn_has_memory(insn)) {
        access_memory(t, insn, bytes, ACCESS_LOAD);
        from = host_memory(t);
    } else if (bytes == 1 && is_high_byte(insn->rm)) {
        byte_to_t0(t, insn->rm);
        from = op_reg(T0);
    } else {
        from = insn->size < SIZE_32 ? guest(t, guest_number(insn->rm))
                                    : guest_value(t, guest_number(insn->rm));
    }
    load_result(t, insn, encoding | (bytes == 1 ? ENC_BYTE_RM : 0), from);
    return true;
}

static bool lea(struct translator *t, const struct insn *insn)
{
    unsigned to = guest_number(insn->reg);
    int32_t by;
    if (stack_moves_by(t, insn, &by)) {
        set_stack(t, RSP, by);
        return true;
    }
    /* The lower half of a sum is the sum of the lower halves. */
    bool simple = !IN_MEMORY(to) && insn->size >= SIZE_32 && insn->addr_size >= insn->size;
    unsigned base = guest_number(insn->base), index = guest_number(insn->index);
    if (simple && base < GPR_COUNT && !IN_MEMORY(base) &&
        (index == GPR_NONE || !IN_MEMORY(index))) {
        int32_t disp = (int32_t)insn->disp + (base == RSP ? t->stack_plus : 0);
        struct host_operand from =
            index == GPR_NONE ? op_mem(host_of(base), disp)
                              : op_indexed(host_of(base), host_of(index), insn->scale, disp);
        emit_op(&t->e, ENC(0, 0, 0x8d) | (insn->size == SIZE_64 ? ENC_W : 0), host_of(to), from);
        return true;
    }
    address_of(t, insn);
    if (insn->size == SIZE_16) {
        emit_op(&t->e, ENC(0, 0, 0x89) | ENC_66, T0, guest(t, to));
        return true;
    }
    if (insn->size == SIZE_32)
        emit_mov_rr32(&t->e, T0, T0);
    emit_store(&t->e, guest(t, to), T0);
    return true;
}

static bool cmov(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    uint32_t encoding = enc_sized(ENC(1, 0, 0x40 | (insn->modrm & 15)), insn->size);
    unsigned to = guest_number(insn->reg), from;
    if (insn->size == SIZE_16)
        encoding = ENC(1, 0, 0x40 | (insn->modrm & 15)) | ENC_66;
    else
        encoding = ENC(1, 0, 0x40 | (insn->modrm & 15)) | (insn->size == SIZE_64 ? ENC_W : 0);
    if (insn_has_memory(insn)) {
        access_memory(t, insn, 1u << insn->size, ACCESS_LOAD);
        emit_op(e,
                insn->size == SIZE_64   ? ENC(0, 0, 0x8b) | ENC_W
                : insn->size == SIZE_32 ? ENC(0, 0, 0x8b)
                                        : ENC(1, 0, 0xb7),
                T1, host_memory(t));
        flags_need(t);
        from = T1;
        if (IN_MEMORY(to)) {
            emit_load(e, T0, guest(t, to));
            emit_op(e, encoding, T0, op_reg(T1));
            emit_store(e, guest(t, to), T0);
            return true;
        }
        emit_op(e, encoding, host_of(to), op_reg(from));
        return true;
    }
    flags_need(t);
    unsigned host = result_begin(t, to, insn->size, true);
    emit_op(e, encoding, host, guest_value(t, guest_number(insn->rm)));
    result_end(t, to, host, insn->size);
    return true;
}

static bool setcc(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    uint32_t encoding = ENC(1, 0, 0x90 | (insn->modrm & 15)) | ENC_BYTE_RM;
    if (!insn_has_memory(insn)) {
        flags_need(t);
        if (!is_high_byte(insn->rm)) {
            emit_op(e, encoding, 0, guest(t, guest_number(insn->rm)));
            return true;
        }
        unary_high_quiet(t, insn, ENC(1, 0, 0x90 | (insn->modrm & 15)), 0);
        return true;
    }
    /* The condition first: the access takes the flags. */
    flags_need(t);
    emit_op(e, encoding, 0, op_abs(&t->jit->scratch[2]));
    access_memory(t, insn, 1, ACCESS_STORE);
    emit_store(e, op_abs(&t->jit->scratch[0]), H_RCX);
    emit_op(e, ENC(1, 0, 0xb6), H_RCX, op_abs(&t->jit->scratch[2]));
    emit_op(e, ENC(0, 0, 0x88), H_RCX, host_memory(t));
    emit_load(e, H_RCX, op_abs(&t->jit->scratch[0]));
    stored(t, insn);
    return true;
}

static bool xchg(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    if (has_high_byte(insn))
        return xchg_high(t, insn);
    unsigned a = guest_number(insn->rm), b = guest_number(insn->reg);
    if (insn_has_memory(insn)) {
        access_memory(t, insn, 1u << insn->size, ACCESS_RMW);
        if (IN_MEMORY(b)) {
            unsigned host = borrow(t, b);
            emit_op(e, enc_sized(ENC(0, 0, 0x87), insn->size), host, host_memory(t));
            emit_store(e, guest(t, b), host);
            give_back(t, b);
        } else {
            emit_op(e, enc_sized(ENC(0, 0, 0x87), insn->size), host_of(b), host_memory(t));
        }
        /* 32 bits: the host has cleared the upper half, too. */
        stored(t, insn);
        return true;
    }
    if (IN_MEMORY(a) || IN_MEMORY(b))
        return false;
    emit_op(e, enc_sized(ENC(0, 0, 0x87), insn->size), host_of(b), op_reg(host_of(a)));
    return true;
}

/* The accumulator and an address in the instruction. */
static bool mov_absolute(struct translator *t, const struct insn *insn)
{
    bool load = insn->op == OP_MOV_LOAD;
    access_memory(t, insn, 1u << insn->size, load ? ACCESS_LOAD : ACCESS_STORE);
    emit_op(&t->e, enc_sized(ENC(0, 0, load ? 0x8b : 0x89), insn->size), host_of(RAX),
            host_memory(t));
    if (!load)
        stored(t, insn);
    return true;
}

static bool xlat(struct translator *t, const struct insn *insn)
{
    bool based = insn->seg == SEG_FS || insn->seg == SEG_GS;
    struct address a = {.base = RBX,
                        .index = RAX,
                        .narrow = true,
                        .segment = t->segmented || based ? insn->seg : SEG_NONE,
                        .size = insn->addr_size};
    if (based && t->word != SIZE_64) /* they have limits */
        return false;
    flags_keep(t, FL_ALL);
    checked_address(t, insn, &a, 1);
    probe(t, insn, &a, 1, ACCESS_LOAD);
    emit_op(&t->e, enc_sized(ENC(0, 0, 0x8b), SIZE_8), host_of(RAX), host_memory(t));
    return true;
}

bool translate_moves(struct translator *t, const struct insn *insn)
{
    static translate_fn *const table[OP_COUNT] = {
        [OP_MOV] = mov,
        [OP_MOVNTI] = movnti,
        [OP_MOVZX8] = extend,
        [OP_MOVZX16] = extend,
        [OP_MOVSX8] = extend,
        [OP_MOVSX16] = extend,
        [OP_MOVSXD] = extend,
        [OP_LEA] = lea,
        [OP_CMOVCC] = cmov,
        [OP_SETCC] = setcc,
        [OP_XCHG] = xchg,
        [OP_MOV_LOAD] = mov_absolute,
        [OP_MOV_STORE] = mov_absolute,
        [OP_XLAT] = xlat,
    };
    return table[insn->op] && table[insn->op](t, insn);
}
