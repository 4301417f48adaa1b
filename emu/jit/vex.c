/*
 * AVX, AVX2, FMA3 and their like: the guest's YMM registers are the host's while a region that uses
 * vectors runs, and each instruction is done by itself, re-encoded with the host's operands. What
 * becomes of upper halves is the host's matter: VEX clears them, and legacy SSE leaves them. The
 * rows come from the table the decoder has them from.
 */
#include "emu/cpu/vex.h"
#include "emu/cpu/mmu.h"
#include "emu/jit/flags.h"
#include "emu/jit/kinds.h"
#include "emu/jit/operands.h"
#include "emu/jit/windows.h"

/* What ModRM.reg and ModRM.rm are. */
enum form {
    FORM_OWN,          /* the interpreter's */
    FORM_LOAD,         /* a vector from a vector or memory */
    FORM_STORE,        /* the same from reg to rm */
    FORM_FROM_GENERAL, /* a vector from a general register or memory */
    FORM_TO_RM,        /* a general register or memory from a vector */
    FORM_TO_GENERAL,   /* a general register from a vector or memory */
    FORM_NONE,
    FORM_SHIFT, /* by an immediate: vvvv from rm */
};

struct row {
    uint32_t encoding;
    uint8_t form, extension;
    bool arithmetic, makes_flags, immediate, by_size;
};

/* The operands of vex_ops.h: form, and whether an immediate byte follows. */
#define ON_VW   .form = FORM_LOAD
#define ON_VHW  .form = FORM_LOAD
#define ON_VHRW .form = FORM_LOAD
#define ON_VM   .form = FORM_LOAD
#define ON_VHM  .form = FORM_LOAD
#define ON_VWI  .form = FORM_LOAD, .immediate = true
#define ON_VHWI .form = FORM_LOAD, .immediate = true
#define ON_VHWL .form = FORM_LOAD, .immediate = true
#define ON_WV   .form = FORM_STORE
#define ON_WHRV .form = FORM_STORE
#define ON_MV   .form = FORM_STORE
#define ON_WVI  .form = FORM_STORE, .immediate = true
#define ON_VE   .form = FORM_FROM_GENERAL
#define ON_VHE  .form = FORM_FROM_GENERAL
#define ON_VHEI .form = FORM_FROM_GENERAL, .immediate = true
#define ON_EV   .form = FORM_TO_RM
#define ON_EVI  .form = FORM_TO_RM, .immediate = true
#define ON_GW   .form = FORM_TO_GENERAL
#define ON_GU   .form = FORM_TO_GENERAL
#define ON_GUI  .form = FORM_TO_GENERAL, .immediate = true
#define ON_NONE .form = FORM_NONE
#define ON_VU   .form = FORM_OWN /* VMASKMOVDQU */
#define ON_VXH  .form = FORM_OWN /* gathers */
#define ON_MHV  .form = FORM_OWN /* masked stores */

#define WIDTH_WIG 0
#define WIDTH_W0  0
#define WIDTH_W1  ENC_W

#define IS_FLOAT_PLAIN  false
#define IS_FLOAT_FLOAT  true
#define IS_FLOAT_FLAGS  false
#define IS_FLOAT_INSERT false
#define IS_FLOAT_FSTORE true
#define IS_FLOAT_OWN    false
#define IS_FLAGS_PLAIN  false
#define IS_FLAGS_FLOAT  false
#define IS_FLAGS_FLAGS  true
#define IS_FLAGS_INSERT false
#define IS_FLAGS_FSTORE false
#define IS_FLAGS_OWN    false

/* Does VEX.W say the size of a general register? */
#define BY_SIZE_FULL    false
#define BY_SIZE_HALF    false
#define BY_SIZE_QUARTER false
#define BY_SIZE_EIGHTH  false
#define BY_SIZE_DUP     false
#define BY_SIZE_NONE    false
#define BY_SIZE_SIZE    true
#define BY_SIZE_0       false
#define BY_SIZE_1       false
#define BY_SIZE_2       false
#define BY_SIZE_4       false
#define BY_SIZE_8       false
#define BY_SIZE_16      false

/* clang-format off */
static const struct row rows[OP_VEX_COUNT] = {
#define VEX(id, name, map, prefix, opcode, w, l, operands, bytes, kind, feature)                   \
    [OP_##id - OP_VEX_FIRST] = {.encoding = ENC(map + 1, prefix, opcode) | WIDTH_##w,              \
                                .arithmetic = IS_FLOAT_##kind, .makes_flags = IS_FLAGS_##kind,     \
                                .by_size = BY_SIZE_##bytes, ON_##operands},
    VEX_TABLE_OPS(VEX)
#undef VEX
#undef VEX_SHIFT
#define VEX_SHIFT(id, name, opcode, field)                                                         \
    [OP_##id - OP_VEX_FIRST] = {.encoding = ENC(1, 1, opcode), .extension = field,                 \
                                .form = FORM_SHIFT, .immediate = true},
    VEX_SHIFT_OPS(VEX_SHIFT)
};
/* clang-format on */

static const struct row *row_of(const struct insn *insn)
{
    static const struct row none = {.form = FORM_OWN};
    if (insn->op < OP_VEX_FIRST || insn->op > OP_VEX_LAST)
        return &none;
    bool text = insn->op >= OP_VPCMPESTRM && insn->op <= OP_VPCMPISTRI;
    bool masked = insn->op >= OP_VMASKMOVPS_LOAD && insn->op <= OP_VGATHERQPD;
    return text || masked ? &none : &rows[insn->op - OP_VEX_FIRST];
}

static bool is_conversion(const struct insn *insn)
{
    return insn->op >= OP_VCVTSI2SS && insn->op <= OP_VCVTSD2SI;
}
static bool is_comparison(const struct insn *insn)
{
    return insn->op >= OP_VUCOMISS && insn->op <= OP_VCOMISD;
}

bool insn_is_vex(const struct insn *insn)
{
    return row_of(insn)->form != FORM_OWN;
}

bool vex_minds_mxcsr(const struct insn *insn)
{
    return row_of(insn)->arithmetic || is_conversion(insn) || is_comparison(insn);
}

bool vex_makes_flags(const struct insn *insn)
{
    return row_of(insn)->makes_flags || is_comparison(insn);
}

bool vex_leaves_general(const struct insn *insn)
{
    unsigned form = row_of(insn)->form;
    return form != FORM_OWN && form != FORM_TO_RM && form != FORM_TO_GENERAL;
}

static bool is_aligned(const struct insn *insn)
{
    switch (insn->op) {
    case OP_VMOVAPS_LOAD ... OP_VMOVDQA_STORE:
    case OP_VMOVNTDQA ... OP_VMOVNTDQ:
        return true;
    default:
        return false;
    }
}

/* ---- operands -------------------------------------------------------------------------------- */

static unsigned operand_bytes(const struct insn *insn)
{
    unsigned bytes = vex_bytes(insn);
    return bytes ? bytes : 1u << insn->size;
}

unsigned vex_operand(const struct insn *insn, bool *ret_writes)
{
    unsigned form = row_of(insn)->form;
    if (form == FORM_OWN || !insn_has_memory(insn))
        return 0;
    *ret_writes = form == FORM_STORE || form == FORM_TO_RM;
    return operand_bytes(insn);
}

/* The memory operand; *ret_misaligned as access_aligned() has it, or -1. */
static struct host_operand memory(struct translator *t, const struct insn *insn, enum access access,
                                  int *ret_misaligned)
{
    *ret_misaligned = -1;
    if (is_aligned(insn))
        *ret_misaligned = access_aligned(t, insn, operand_bytes(insn), access);
    else
        access_memory(t, insn, operand_bytes(insn), access);
    return host_memory(t);
}

static void emit(struct translator *t, const struct insn *insn, const struct row *row, unsigned reg,
                 unsigned vvvv, struct host_operand rm)
{
    uint32_t encoding = row->encoding;
    if (insn->prefix & PREFIX_VEX_L)
        encoding |= ENC_L;
    if ((row->by_size || is_conversion(insn)) && insn->size == SIZE_64)
        encoding |= ENC_W;
    emit_vex(&t->e, encoding, reg, vvvv, rm);
    if (row->immediate)
        emit8(&t->e, (uint8_t)insn->imm);
}

/* ---- instructions ---------------------------------------------------------------------------- */

static void to_vector(struct translator *t, const struct insn *insn, const struct row *row)
{
    struct cold *trap = trap_begin(t, insn, vex_minds_mxcsr(insn) ? MODE_UNMASKED : 0);
    int misaligned = -1;
    struct host_operand from;
    if (insn_has_memory(insn))
        from = memory(t, insn, ACCESS_LOAD, &misaligned);
    else
        from = row->form == FORM_FROM_GENERAL ? guest(t, guest_number(insn->rm)) : op_reg(insn->rm);
    trap_here(t, trap);
    emit(t, insn, row, insn->reg, insn->vvvv, from);
    if (vex_makes_flags(insn))
        flags_made(t);
    if (misaligned >= 0)
        t->cold[misaligned].resume = t->e.at;
}

static void store(struct translator *t, const struct insn *insn, const struct row *row)
{
    int misaligned;
    struct host_operand to = memory(t, insn, ACCESS_STORE, &misaligned);
    emit(t, insn, row, insn->reg, insn->vvvv, to);
    stored(t, insn);
    if (misaligned >= 0)
        t->cold[misaligned].resume = t->e.at;
}

static void to_general(struct translator *t, const struct insn *insn, const struct row *row)
{
    struct cold *trap = trap_begin(t, insn, vex_minds_mxcsr(insn) ? MODE_UNMASKED : 0);
    int misaligned;
    bool in_rm = row->form == FORM_TO_RM;
    struct host_operand from = {0};
    if (!in_rm)
        from = insn_has_memory(insn) ? memory(t, insn, ACCESS_LOAD, &misaligned) : op_reg(insn->rm);
    unsigned number = guest_number(in_rm ? insn->rm : insn->reg);
    unsigned host = IN_MEMORY(number) ? T1 : host_of(number);
    trap_here(t, trap);
    if (in_rm)
        emit(t, insn, row, insn->reg, 0, op_reg(host));
    else
        emit(t, insn, row, host, 0, from);
    result_end(t, number, host, SIZE_64);
}

bool translate_vex(struct translator *t, const struct insn *insn)
{
    const struct row *row = row_of(insn);
    if (row->form == FORM_STORE && row->arithmetic && t->mode & MODE_UNMASKED)
        return false;
    switch ((enum form)row->form) {
    case FORM_OWN:
        return false;
    case FORM_NONE: /* outside 64-bit mode it leaves the upper eight alone */
        if (t->word != SIZE_64)
            return false;
        emit8(&t->e, 0xc5);
        emit8(&t->e, insn->prefix & PREFIX_VEX_L ? 0xfc : 0xf8);
        emit8(&t->e, 0x77);
        return true;
    case FORM_SHIFT:
        emit(t, insn, row, row->extension, insn->vvvv, op_reg(insn->rm));
        return true;
    case FORM_STORE:
    case FORM_TO_RM:
        if (insn_has_memory(insn))
            store(t, insn, row);
        else if (row->form == FORM_TO_RM)
            to_general(t, insn, row);
        else
            emit(t, insn, row, insn->reg, insn->vvvv, op_reg(insn->rm));
        return true;
    case FORM_TO_GENERAL:
        to_general(t, insn, row);
        return true;
    default:
        to_vector(t, insn, row);
        return true;
    }
}
