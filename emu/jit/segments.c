/* Segment registers. */
#include "emu/jit/flags.h"
#include "emu/jit/kinds.h"
#include "emu/jit/operands.h"

static struct host_operand selector_of(const struct translator *t, unsigned segment)
{
    return op_abs(&t->cpu->s.seg[segment].selector);
}

/* To memory the selector's 16 bits; to a register its own size. */
static bool mov_from_segment(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    if (insn->reg > SEG_GS)
        return false;
    if (!insn_has_memory(insn)) {
        unsigned to = guest_number(insn->rm);
        unsigned host = result_begin(t, to, insn->size, false);
        emit_op(e, enc_sized(insn->size == SIZE_16 ? ENC(0, 0, 0x8b) : ENC(1, 0, 0xb7), insn->size),
                host, selector_of(t, insn->reg));
        result_end(t, to, host, insn->size);
        return true;
    }
    access_memory(t, insn, 2, ACCESS_STORE);
    emit_store(e, op_abs(&t->jit->scratch[0]), H_RCX);
    emit_op(e, ENC(1, 0, 0xb7), H_RCX, selector_of(t, insn->reg));
    emit_op(e, ENC(0, 0, 0x89) | ENC_66, H_RCX, host_memory(t));
    emit_load(e, H_RCX, op_abs(&t->jit->scratch[0]));
    stored(t, insn);
    return true;
}

/* ---- loads in real and virtual-8086 mode, where a selector is the base and nothing else -------
 */

static bool loads_plainly(const struct translator *t, unsigned segment)
{
    return t->segmented && t->mode & MODE_NO_VEX && segment <= SEG_GS && segment != SEG_CS &&
           segment != SEG_SS;
}

/* The selector in T0, zero-extended. */
static void load_plainly(struct translator *t, unsigned segment)
{
    struct emitter *e = &t->e;
    emit_op(e, ENC(0, 0, 0x89) | ENC_66, T0, selector_of(t, segment));
    emit_op(e, ENC(0, 0, 0x8d), T0, op_indexed(H_NONE, T0, 3, 0));
    emit_op(e, ENC(0, 0, 0x8d), T0, op_indexed(T0, T0, 0, 0));
    emit_store(e, op_abs(&t->cpu->s.seg[segment].base), T0);
}

/* ---- loads from a table ---------------------------------------------------------------------- */

static bool loads_flat(const struct translator *t, unsigned segment)
{
    return t->mode & MODE_FLAT && segment <= SEG_GS && segment != SEG_CS && segment != SEG_SS;
}

/* The selector in T0, zero-extended. Returns the number of the cold path, which does the whole
 * instruction. */
static unsigned load_flat(struct translator *t, const struct insn *insn)
{
    emit_mov_imm(&t->e, T1, insn->reg);
    emit_call(&t->e, t->jit->stub[STUB_SEGMENT]);
    struct cold *cold = add_cold(t, COLD_HANDLER, emit_jcc(&t->e, CC_B, NULL));
    cold->insn = insn;
    cold->place = insn_place(t, insn);
    return t->cold_count - 1;
}

static bool mov_to_segment(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    bool plain = loads_plainly(t, insn->reg);
    if (!plain && !loads_flat(t, insn->reg))
        return false;
    x87_tell_now(t);
    if (insn_has_memory(insn)) {
        access_memory(t, insn, 2, ACCESS_LOAD);
        emit_op(e, ENC(1, 0, 0xb7), T0, host_memory(t));
    } else {
        if (!plain)
            flags_keep(t, FL_ALL);
        emit_op(e, ENC(1, 0, 0xb7), T0, guest(t, guest_number(insn->rm)));
    }
    if (plain) {
        load_plainly(t, insn->reg);
    } else {
        unsigned cold = load_flat(t, insn);
        t->cold[cold].resume = e->at;
    }
    return true;
}

static bool pop_segment(struct translator *t, const struct insn *insn)
{
    bool plain = loads_plainly(t, insn->reg);
    if (!plain && !loads_flat(t, insn->reg))
        return false;
    x87_tell_now(t);
    access_stack(t, insn, RSP, 0, 1u << insn->size, ACCESS_LOAD);
    emit_op(&t->e, ENC(1, 0, 0xb7), T0, host_memory(t));
    unsigned cold = plain ? 0 : load_flat(t, insn);
    set_stack(t, RSP, 1 << insn->size);
    if (plain) {
        load_plainly(t, insn->reg);
        return true;
    }
    stack_settle(t); /* as the interpreter has it when it comes back */
    t->cold[cold].resume = t->e.at;
    return true;
}

/* LES and its like: the offset, then the selector. */
static bool load_pointer(struct translator *t, const struct insn *insn)
{
    static const uint8_t segments[] = {[OP_LES - OP_LES] = SEG_ES,
                                       [OP_LDS - OP_LES] = SEG_DS,
                                       [OP_LFS - OP_LES] = SEG_FS,
                                       [OP_LGS - OP_LES] = SEG_GS};
    struct emitter *e = &t->e;
    unsigned segment = segments[insn->op - OP_LES];
    if (!loads_plainly(t, segment) || insn->size != SIZE_16)
        return false;
    x87_tell_now(t);
    access_memory(t, insn, 4, ACCESS_LOAD);
    emit_op(e, ENC(0, 0, 0x8b), T0, host_memory(t));
    emit_op(e, ENC(0, 0, 0x8b) | ENC_66, host_of(guest_number(insn->reg)), op_reg(T0));
    emit_op(e, ENC(0, 0, 0xc1), 5, op_reg(T0)); /* SHR */
    emit8(e, 16);
    load_plainly(t, segment);
    return true;
}

bool translate_segment(struct translator *t, const struct insn *insn)
{
    static translate_fn *const table[OP_COUNT] = {
        [OP_MOV_FROM_SEG] = mov_from_segment,
        [OP_MOV_TO_SEG] = mov_to_segment,
        [OP_POP_SEG] = pop_segment,
        [OP_LES] = load_pointer,
        [OP_LDS] = load_pointer,
        [OP_LFS] = load_pointer,
        [OP_LGS] = load_pointer,
    };
    return table[insn->op] && table[insn->op](t, insn);
}
