/* Moves, arithmetic and logic on general registers and memory, the stack. */
#include "emu/jit/translate.h"

/* ALU operations in the order of their opcodes. */
static int alu_index(unsigned op)
{
    switch (op) {
    case OP_ADD:
        return 0;
    case OP_OR:
        return 1;
    case OP_ADC:
        return 2;
    case OP_SBB:
        return 3;
    case OP_AND:
        return 4;
    case OP_SUB:
        return 5;
    case OP_XOR:
        return 6;
    case OP_CMP:
        return 7;
    default:
        return -1;
    }
}

/* ---- two operands ---------------------------------------------------------------------------- */

/* The encoding of a memory destination with a register that may be in memory itself. */
static void memory_with_register(struct translator *t, const struct insn *insn, uint32_t encoding)
{
    unsigned number = guest_number(insn->reg);
    unsigned host = borrow(t, number);
    emit_op(&t->e, encoding, host, host_memory(t));
    give_back(t, number);
}

static void alu_memory(struct translator *t, const struct insn *insn, int index)
{
    struct emitter *e = &t->e;
    unsigned bytes = 1u << insn->size;
    bool writes = index != 7;
    uint32_t lock = insn->prefix & PREFIX_LOCK ? ENC_LOCK : 0;

    access_memory(t, insn, bytes, writes ? ACCESS_RMW : ACCESS_LOAD);
    flags_beside_t0(t, insn);
    if (insn->shape == SHAPE_MI) {
        if (lock)
            emit8(e, 0xf0);
        emit_alu_imm(e, index, insn->size, host_memory(t), (int32_t)insn->imm);
    } else {
        memory_with_register(t, insn, enc_sized(ENC(0, 0, index * 8 + 1), insn->size) | lock);
    }
    flags_made(t);
    if (writes)
        stored(t, insn);
}

static void alu_registers(struct translator *t, const struct insn *insn, int index)
{
    struct emitter *e = &t->e;
    unsigned to = guest_number(insn->rm);
    flags_before(t, insn);
    unsigned host = result_begin(t, to, insn->size, true);
    if (insn->shape == SHAPE_RI)
        emit_alu_imm(e, index, insn->size, op_reg(host), (int32_t)insn->imm);
    else
        emit_op(e, enc_sized(ENC(0, 0, index * 8 + 3), insn->size), host,
                guest_value(t, guest_number(insn->reg)));
    flags_made(t);
    flags_recipe(t, insn, to, insn->shape == SHAPE_RI ? GPR_NONE : guest_number(insn->reg));
    if (index != 7)
        result_end(t, to, host, insn->size);
}

static bool alu(struct translator *t, const struct insn *insn)
{
    int index = alu_index(insn->op);
    if (has_high_byte(insn))
        return alu_high(t, insn, (unsigned)index);
    switch (insn->shape) {
    case SHAPE_R:
    case SHAPE_RI:
        alu_registers(t, insn, index);
        return true;
    case SHAPE_GM: {
        access_memory(t, insn, 1u << insn->size, ACCESS_LOAD);
        flags_beside_t0(t, insn);
        unsigned to = guest_number(insn->reg);
        unsigned host = result_begin(t, to, insn->size, true);
        bool summed = !IN_MEMORY(to) && (insn->op == OP_ADD || insn->op == OP_SUB);
        const uint64_t *saved = summed ? flags_save_operand(t, insn, host) : NULL;
        emit_op(&t->e, enc_sized(ENC(0, 0, index * 8 + 3), insn->size), host, host_memory(t));
        flags_made(t);
        if (saved)
            flags_recipe_saved(t, insn, host, saved);
        else if (index == 1 || index == 4 || index == 6)
            flags_recipe(t, insn, to, GPR_NONE); /* logic: the result says it all */
        if (index != 7)
            result_end(t, to, host, insn->size);
        return true;
    }
    default:
        alu_memory(t, insn, index);
        return true;
    }
}

static bool test(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    if (has_high_byte(insn))
        return alu_high(t, insn, ALU_TEST);
    bool memory = insn_has_memory(insn);
    struct host_operand rm;
    if (memory) {
        access_memory(t, insn, 1u << insn->size, ACCESS_LOAD);
        rm = host_memory(t);
    } else {
        rm = guest(t, guest_number(insn->rm));
    }
    if (insn->shape == SHAPE_RI || insn->shape == SHAPE_MI) {
        emit_op(e, enc_sized(ENC(0, 0, 0xf7), insn->size), 0, rm);
        emit_imm(e, insn->imm, insn->size);
    } else {
        unsigned reg = guest_in(t, guest_number(insn->reg), T1);
        emit_op(e, enc_sized(ENC(0, 0, 0x85), insn->size), reg, rm);
        flags_made(t);
        if (!memory)
            flags_recipe(t, insn, guest_number(insn->rm), guest_number(insn->reg));
        return true;
    }
    flags_made(t);
    return true;
}

/* ---- one operand ----------------------------------------------------------------------------- */

static bool unary(struct translator *t, const struct insn *insn)
{
    static const struct {
        uint8_t opcode, extension;
    } forms[] = {[OP_INC - OP_INC] = {0xff, 0},
                 [OP_DEC - OP_INC] = {0xff, 1},
                 [OP_NOT - OP_INC] = {0xf7, 2},
                 [OP_NEG - OP_INC] = {0xf7, 3}};
    unsigned extension = forms[insn->op - OP_INC].extension;
    uint32_t encoding = enc_sized(ENC(0, 0, forms[insn->op - OP_INC].opcode), insn->size);
    bool sets_flags = insn->op != OP_NOT;

    if (insn->shape == SHAPE_R) {
        if (is_high_byte(insn->rm))
            return unary_high(t, insn, ENC(0, 0, forms[insn->op - OP_INC].opcode), extension);
        unsigned number = guest_number(insn->rm);
        if (sets_flags)
            flags_before(t, insn);
        unsigned host = result_begin(t, number, insn->size, true);
        emit_op(&t->e, encoding, extension, op_reg(host));
        result_end(t, number, host, insn->size);
        if (sets_flags)
            flags_made(t);
        return true;
    }
    access_memory(t, insn, 1u << insn->size, ACCESS_RMW);
    if (sets_flags)
        flags_beside_t0(t, insn);
    emit_op(&t->e, encoding | (insn->prefix & PREFIX_LOCK ? ENC_LOCK : 0), extension,
            host_memory(t));
    if (sets_flags)
        flags_made(t);
    stored(t, insn);
    return true;
}

/* ---- moves ----------------------------------------------------------------------------------- */

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
    /* The lower half of a sum is the sum of the lower halves. */
    bool simple = !IN_MEMORY(to) && insn->size >= SIZE_32 && insn->addr_size >= insn->size;
    unsigned base = guest_number(insn->base), index = guest_number(insn->index);
    if (simple && base < GPR_COUNT && !IN_MEMORY(base) &&
        (index == GPR_NONE || !IN_MEMORY(index))) {
        struct host_operand from = index == GPR_NONE ? op_mem(host_of(base), (int32_t)insn->disp)
                                                     : op_indexed(host_of(base), host_of(index),
                                                                  insn->scale, (int32_t)insn->disp);
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

/* CBW, CWDE, CDQE and CWD, CDQ, CQO. */
static bool widen(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    unsigned rax = host_of(RAX);
    if (insn->op == OP_CBW) {
        if (insn->size == SIZE_16)
            emit_op(e, ENC(1, 0, 0xbe) | ENC_66 | ENC_BYTE_RM, rax, op_reg(rax));
        else if (insn->size == SIZE_32)
            emit_op(e, ENC(1, 0, 0xbf), rax, op_reg(rax));
        else
            emit_op(e, ENC(0, 0, 0x63) | ENC_W, rax, op_reg(rax));
        return true;
    }
    emit_mov_rr(e, T0, rax);
    if (insn->size == SIZE_16)
        emit8(e, 0x66);
    else if (insn->size == SIZE_64)
        emit8(e, 0x48);
    emit8(e, 0x99);
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

/* ---- interrupts on and off ------------------------------------------------------------------- */

static bool cli(struct translator *t, const struct insn *insn)
{
    if (t->mode & (MODE_USER | MODE_OUTER))
        return false;
    flags_keep(t, t->live_after);
    emit_alu_imm(&t->e, 4, SIZE_32, op_abs(&t->cpu->s.rflags), (int32_t)~FLAG_IF);
    return true;
}

/* The instruction behind STI is in the same part, so no look at attention comes between. */
static bool sti(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    bool last = insn == &t->part->block->insns[t->part->block->count - 1];
    if (last)
        return false;
    flags_keep(t, t->live_after);
    int outer = -1;
    if (t->mode & (MODE_USER | MODE_OUTER)) { /* levels that may, and virtual flags, C knows */
        emit_load(e, T0, op_abs(&t->cpu->s.rflags));
        emit_op(e, ENC(0, 0, 0xf7) | ENC_W, 2, op_reg(T0)); /* NOT */
        emit_op(e, ENC(0, 0, 0xf7), 0, op_reg(T0));
        emit32(e, FLAG_IOPL);
        struct cold *cold = add_cold(t, COLD_HANDLER, emit_jcc(e, CC_NE, NULL));
        cold->insn = insn;
        cold->site = jit_site(insn_rip(t, insn), insn->length);
        outer = (int)t->cold_count - 1;
    }
    emit_alu_imm(e, 1, SIZE_32, op_abs(&t->cpu->s.rflags), (int32_t)FLAG_IF);
    emit_op(e, ENC(0, 0, 0xf6), 0, op_abs(&t->cpu->requests));
    emit8(e, REQUEST_INTR);
    uint8_t *none = emit_jcc(e, CC_E, NULL);
    emit_store_imm32(e, op_abs(&t->cpu->attention), 1);
    emit_patch(none, e->at);
    if (outer >= 0)
        t->cold[outer].resume = e->at;
    return true;
}

static bool swapgs(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    struct host_operand base = op_abs(&t->cpu->s.seg[SEG_GS].base);
    struct host_operand kernel = op_abs(&t->cpu->s.kernel_gs_base);
    if (t->mode & (MODE_USER | MODE_OUTER))
        return false;
    emit_load(e, T0, base);
    emit_load(e, T1, kernel);
    emit_store(e, base, T1);
    emit_store(e, kernel, T0);
    return true;
}

/* Carry and direction. */
static bool carry(struct translator *t, const struct insn *insn)
{
    static const uint8_t opcode[] = {
        [OP_CLC - OP_CLC] = 0xf8, [OP_STC - OP_CLC] = 0xf9, [OP_CMC - OP_CLC] = 0xf5};
    flags_before(t, insn);
    emit8(&t->e, opcode[insn->op - OP_CLC]);
    flags_made(t);
    return true;
}
static bool direction(struct translator *t, const struct insn *insn)
{
    flags_keep(t, t->live_after);
    bool set = insn->op == OP_STD;
    emit_alu_imm(&t->e, set ? 1 : 4, SIZE_32, op_abs(&t->cpu->s.rflags),
                 (int32_t)(set ? FLAG_DF : ~FLAG_DF));
    return true;
}

static bool nothing(struct translator *t, const struct insn *insn)
{
    return true;
}
static bool fence(struct translator *t, const struct insn *insn)
{
    emit8(&t->e, 0x0f);
    emit8(&t->e, 0xae);
    emit8(&t->e, insn->modrm & 0xf8);
    return true;
}

bool translate_integer(struct translator *t, const struct insn *insn)
{
    static translate_fn *const table[OP_COUNT] = {
        [OP_ADD... OP_CMP] = alu,
        [OP_TEST] = test,
        [OP_INC] = unary,
        [OP_DEC] = unary,
        [OP_NOT] = unary,
        [OP_NEG] = unary,
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
        [OP_CBW] = widen,
        [OP_CWD] = widen,
        [OP_XCHG] = xchg,

        [OP_CLI] = cli,
        [OP_STI] = sti,
        [OP_SWAPGS] = swapgs,
        [OP_CLC] = carry,
        [OP_STC] = carry,
        [OP_CMC] = carry,
        [OP_CLD] = direction,
        [OP_STD] = direction,
        [OP_NOP] = nothing,
        [OP_NOP_E] = nothing,
        [OP_FENCE] = fence,
        [OP_MOV_LOAD] = mov_absolute,
        [OP_MOV_STORE] = mov_absolute,
    };
    return table[insn->op] && table[insn->op](t, insn);
}
