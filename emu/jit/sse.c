/*
 * MMX, and SSE to SSE4.2: the guest's registers are the host's while a region that uses them runs,
 * and each instruction is done by itself. The encodings come from the table the decoder has them
 * from. MMX registers are parts of the x87's, and come and go with those (x87.c).
 */
#include "emu/cpu/mmu.h"
#include "emu/jit/flags.h"
#include "emu/jit/kinds.h"
#include "emu/jit/operands.h"
#include "emu/jit/windows.h"

/* What the operands are, by the kinds of emu/cpu/sse_ops.h. */
enum form {
    FORM_NONE, /* the rare: the interpreter's */
    FORM_VW,   /* vector register, vector register or memory */
    FORM_WV,   /* the same, stored */
    FORM_GW,   /* general register, vector register or memory */
    FORM_VE,   /* vector register, general register or memory */
    FORM_EV,   /* the same, stored */
    FORM_COUNT,
};

struct sse {
    uint8_t form;
    uint8_t bytes;   /* of a memory operand; 0: the operand size */
    bool aligned;    /* it must be */
    bool arithmetic; /* minds MXCSR */
    bool immediate, makes_flags, by_size;
    bool mmx;
    uint16_t encoding;
};

#define KIND_VW                                                                                    \
    {                                                                                              \
        .form = FORM_VW, .bytes = 16, .aligned = true                                              \
    }
#define KIND_VWF                                                                                   \
    {                                                                                              \
        .form = FORM_VW, .bytes = 16, .aligned = true, .arithmetic = true                          \
    }
#define KIND_VW0 KIND_VW
#define KIND_V8                                                                                    \
    {                                                                                              \
        .form = FORM_VW, .bytes = 8                                                                \
    }
#define KIND_V4                                                                                    \
    {                                                                                              \
        .form = FORM_VW, .bytes = 4                                                                \
    }
#define KIND_V2                                                                                    \
    {                                                                                              \
        .form = FORM_VW, .bytes = 2                                                                \
    }
#define KIND_V8F                                                                                   \
    {                                                                                              \
        .form = FORM_VW, .bytes = 8, .arithmetic = true                                            \
    }
#define KIND_V4F                                                                                   \
    {                                                                                              \
        .form = FORM_VW, .bytes = 4, .arithmetic = true                                            \
    }
#define KIND_VWI                                                                                   \
    {                                                                                              \
        .form = FORM_VW, .bytes = 16, .aligned = true, .immediate = true                           \
    }
#define KIND_VWIF                                                                                  \
    {                                                                                              \
        .form = FORM_VW, .bytes = 16, .aligned = true, .immediate = true, .arithmetic = true       \
    }
#define KIND_V4IF                                                                                  \
    {                                                                                              \
        .form = FORM_VW, .bytes = 4, .immediate = true, .arithmetic = true                         \
    }
#define KIND_V8IF                                                                                  \
    {                                                                                              \
        .form = FORM_VW, .bytes = 8, .immediate = true, .arithmetic = true                         \
    }
#define KIND_PQ                                                                                    \
    {                                                                                              \
        .form = FORM_VW, .bytes = 8, .mmx = true                                                   \
    }
#define KIND_PQ4                                                                                   \
    {                                                                                              \
        .form = FORM_VW, .bytes = 4, .mmx = true                                                   \
    }
#define KIND_PQI                                                                                   \
    {                                                                                              \
        .form = FORM_VW, .bytes = 8, .immediate = true, .mmx = true                                \
    }
#define KIND_X_VW KIND_NONE
#define KIND_NONE                                                                                  \
    {                                                                                              \
        0                                                                                          \
    }

/* clang-format off */
/* Those of the X_ kinds that differ from each other. */
static const struct sse special[OP_COUNT] = {
#define MOVE(op, f, n, a) [OP_##op] = {.form = f, .bytes = n, .aligned = a}
    MOVE(MOVUPS_LOAD, FORM_VW, 16, false),  MOVE(MOVUPD_LOAD, FORM_VW, 16, false),
    MOVE(MOVDQU_LOAD, FORM_VW, 16, false),  MOVE(LDDQU, FORM_VW, 16, false),
    MOVE(MOVUPS_STORE, FORM_WV, 16, false), MOVE(MOVUPD_STORE, FORM_WV, 16, false),
    MOVE(MOVDQU_STORE, FORM_WV, 16, false), MOVE(MOVAPS_LOAD, FORM_VW, 16, true),
    MOVE(MOVAPD_LOAD, FORM_VW, 16, true),   MOVE(MOVDQA_LOAD, FORM_VW, 16, true),
    MOVE(MOVNTDQA, FORM_VW, 16, true),      MOVE(MOVAPS_STORE, FORM_WV, 16, true),
    MOVE(MOVAPD_STORE, FORM_WV, 16, true),  MOVE(MOVDQA_STORE, FORM_WV, 16, true),
    MOVE(MOVNTPS, FORM_WV, 16, true),       MOVE(MOVNTPD, FORM_WV, 16, true),
    MOVE(MOVNTDQ, FORM_WV, 16, true),       MOVE(MOVSS_LOAD, FORM_VW, 4, false),
    MOVE(MOVSS_STORE, FORM_WV, 4, false),   MOVE(MOVSD_LOAD, FORM_VW, 8, false),
    MOVE(MOVSD_STORE, FORM_WV, 8, false),   MOVE(MOVQ_VW, FORM_VW, 8, false),
    MOVE(MOVQ_WV, FORM_WV, 8, false),       MOVE(MOVLPS_LOAD, FORM_VW, 8, false),
    MOVE(MOVLPD_LOAD, FORM_VW, 8, false),   MOVE(MOVHPS_LOAD, FORM_VW, 8, false),
    MOVE(MOVHPD_LOAD, FORM_VW, 8, false),   MOVE(MOVLPS_STORE, FORM_WV, 8, false),
    MOVE(MOVLPD_STORE, FORM_WV, 8, false),  MOVE(MOVHPS_STORE, FORM_WV, 8, false),
    MOVE(MOVHPD_STORE, FORM_WV, 8, false),  MOVE(MOVMSKPS, FORM_GW, 0, false),
    MOVE(MOVMSKPD, FORM_GW, 0, false),      MOVE(PMOVMSKB, FORM_GW, 0, false),
#undef MOVE
    [OP_MOVD_VE] = {.form = FORM_VE, .by_size = true},
    [OP_MOVD_EV] = {.form = FORM_EV, .by_size = true},
    [OP_CVTSI2SS] = {.form = FORM_VE, .by_size = true, .arithmetic = true},
    [OP_CVTSI2SD] = {.form = FORM_VE, .by_size = true, .arithmetic = true},
    [OP_CVTTSS2SI] = {.form = FORM_GW, .bytes = 4, .by_size = true, .arithmetic = true},
    [OP_CVTTSD2SI] = {.form = FORM_GW, .bytes = 8, .by_size = true, .arithmetic = true},
    [OP_CVTSS2SI] = {.form = FORM_GW, .bytes = 4, .by_size = true, .arithmetic = true},
    [OP_CVTSD2SI] = {.form = FORM_GW, .bytes = 8, .by_size = true, .arithmetic = true},
    [OP_UCOMISS] = {.form = FORM_VW, .bytes = 4, .arithmetic = true, .makes_flags = true},
    [OP_UCOMISD] = {.form = FORM_VW, .bytes = 8, .arithmetic = true, .makes_flags = true},
    [OP_COMISS] = {.form = FORM_VW, .bytes = 4, .arithmetic = true, .makes_flags = true},
    [OP_COMISD] = {.form = FORM_VW, .bytes = 8, .arithmetic = true, .makes_flags = true},
    [OP_PTEST] = {.form = FORM_VW, .bytes = 16, .aligned = true, .makes_flags = true},
    [OP_PINSRB] = {.form = FORM_VE, .bytes = 1, .immediate = true},
    [OP_PINSRW] = {.form = FORM_VE, .bytes = 2, .immediate = true},
    [OP_PINSRD] = {.form = FORM_VE, .by_size = true, .immediate = true},
    [OP_PEXTRB] = {.form = FORM_EV, .bytes = 1, .immediate = true},
    [OP_PEXTRW_E] = {.form = FORM_EV, .bytes = 2, .immediate = true},
    [OP_PEXTRD] = {.form = FORM_EV, .by_size = true, .immediate = true},
    [OP_EXTRACTPS] = {.form = FORM_EV, .bytes = 4, .immediate = true},
    [OP_PEXTRW] = {.form = FORM_GW, .immediate = true},
    [OP_INSERTPS] = {.form = FORM_VW, .bytes = 4, .immediate = true},
    [OP_MOVD_PE] = {.form = FORM_VE, .by_size = true, .mmx = true},
    [OP_MOVD_EP] = {.form = FORM_EV, .by_size = true, .mmx = true},
    [OP_MOVQ_PQ] = {.form = FORM_VW, .bytes = 8, .mmx = true},
    [OP_MOVQ_QP] = {.form = FORM_WV, .bytes = 8, .mmx = true},
    [OP_MOVNTQ] = {.form = FORM_WV, .bytes = 8, .mmx = true},
    [OP_PINSRW_P] = {.form = FORM_VE, .bytes = 2, .immediate = true, .mmx = true},
    [OP_PEXTRW_P] = {.form = FORM_GW, .immediate = true, .mmx = true},
    [OP_PMOVMSKB_P] = {.form = FORM_GW, .mmx = true},
};

#define KIND_X_VWC KIND_NONE
#define KIND_X_VM  KIND_NONE
#define KIND_X_WV  KIND_NONE
#define KIND_X_MV  KIND_NONE
#define KIND_X_MP  KIND_NONE
#define KIND_X_VQ  KIND_NONE
#define KIND_X_VE  KIND_NONE
#define KIND_X_EV  KIND_NONE
#define KIND_X_PE  KIND_NONE
#define KIND_X_EP  KIND_NONE
#define KIND_X_PW  KIND_NONE
#define KIND_X_GW  KIND_NONE
#define KIND_X_GU  KIND_NONE
#define KIND_X_GN  KIND_NONE
#define KIND_X_GUI KIND_NONE
#define KIND_X_GNI KIND_NONE
#define KIND_X_PQ  KIND_NONE
#define KIND_X_QP  KIND_NONE
#define KIND_X_PEI KIND_NONE
#define KIND_X_VEI KIND_NONE
#define KIND_X_EVI KIND_NONE
#define KIND_X_VWI KIND_NONE
#define KIND_X_VN  KIND_NONE
#define KIND_X_VU  KIND_NONE
#define KIND_X_PU  KIND_NONE
#define KIND_X_PN  KIND_NONE

static const struct sse by_kind[OP_COUNT] = {
#define SSE(id, name, map, prefix, opcode, kind, feature) [OP_##id] = KIND_##kind,
    SSE_TABLE_OPS(SSE)
#undef SSE
};
static const uint16_t encodings[OP_COUNT] = {
#define SSE(id, name, map, prefix, opcode, kind, feature) [OP_##id] = ENC(map + 1, prefix, opcode),
    SSE_TABLE_OPS(SSE)
#undef SSE
};

/* clang-format on */

static const struct sse *form_of(unsigned op)
{
    return special[op].form ? &special[op] : &by_kind[op];
}

static bool is_vector_shift(const struct insn *insn)
{
    return insn->op >= OP_PSRLW_I && insn->op <= OP_PSLLDQ_I;
}

bool insn_uses_mmx(const struct insn *insn)
{
    return form_of(insn->op)->mmx || insn->op == OP_EMMS ||
           (is_vector_shift(insn) && !(insn->prefix & PREFIX_OPSIZE));
}

bool insn_uses_xmm(const struct insn *insn)
{
    bool vector = form_of(insn->op)->form || is_vector_shift(insn) || insn_is_vex(insn);
    return vector && !insn_uses_mmx(insn);
}

bool sse_minds_mxcsr(const struct insn *insn)
{
    return form_of(insn->op)->arithmetic || vex_minds_mxcsr(insn);
}

bool sse_leaves_general(const struct insn *insn)
{
    unsigned form = form_of(insn->op)->form;
    return vex_leaves_general(insn) || form == FORM_VW || form == FORM_WV || form == FORM_VE ||
           is_vector_shift(insn) ||
           (insn_uses_x87(insn) && !(insn->op == OP_X87_DF && insn->modrm == 0xe0));
}

/* ---- operands -------------------------------------------------------------------------------- */

/* The memory operand's host address into T0. Returns the cold path of one that is not aligned as it
 * must be, to be given its resume, or -1. */
static int access_vector(struct translator *t, const struct insn *insn, unsigned bytes,
                         bool aligned, enum access access)
{
    if (aligned)
        return access_aligned(t, insn, bytes, access);
    access_memory(t, insn, bytes, access);
    return -1;
}

static unsigned operand_bytes(const struct sse *form, const struct insn *insn)
{
    return form->bytes ? form->bytes : 1u << insn->size;
}

unsigned sse_operand(const struct insn *insn, bool *ret_writes)
{
    const struct sse *form = form_of(insn->op);
    if (!form->form || !insn_has_memory(insn))
        return 0;
    *ret_writes = form->form == FORM_WV || form->form == FORM_EV;
    return operand_bytes(form, insn);
}

static struct host_operand source(struct translator *t, const struct insn *insn,
                                  const struct sse *form, int *misaligned)
{
    *misaligned = -1;
    if (insn_has_memory(insn)) {
        *misaligned = access_vector(t, insn, operand_bytes(form, insn), form->aligned, ACCESS_LOAD);
        return host_memory(t);
    }
    return form->form == FORM_VE ? guest(t, guest_number(insn->rm)) : op_reg(insn->rm);
}

static void store(struct translator *t, const struct insn *insn, const struct sse *form,
                  uint32_t encoding)
{
    struct emitter *e = &t->e;
    int misaligned = access_vector(t, insn, operand_bytes(form, insn), form->aligned, ACCESS_STORE);
    emit_op(e, encoding, insn->reg, host_memory(t));
    if (form->immediate)
        emit8(e, (uint8_t)insn->imm);
    stored(t, insn);
    if (misaligned >= 0)
        t->cold[misaligned].resume = e->at;
}

static void emit(struct translator *t, const struct insn *insn, const struct sse *form,
                 uint32_t encoding, unsigned reg, struct host_operand rm)
{
    emit_op(&t->e, encoding, reg, rm);
    if (form->immediate)
        emit8(&t->e, (uint8_t)insn->imm);
}

/* A general register as the destination, ModRM.reg or ModRM.rm. */
static void to_general(struct translator *t, const struct insn *insn, const struct sse *form,
                       uint32_t encoding)
{
    struct cold *trap = trap_begin(t, insn, form->arithmetic ? MODE_UNMASKED : 0);
    int misaligned;
    bool in_rm = form->form == FORM_EV;
    struct host_operand from = in_rm ? op_reg(0) : source(t, insn, form, &misaligned);
    unsigned to = guest_number(in_rm ? insn->rm : insn->reg);
    unsigned host = IN_MEMORY(to) ? T1 : host_of(to);
    trap_here(t, trap);
    if (in_rm)
        emit(t, insn, form, encoding, insn->reg, op_reg(host));
    else
        emit(t, insn, form, encoding, host, from);
    if (IN_MEMORY(to))
        emit_store(&t->e, guest(t, to), host);
}

static void to_vector(struct translator *t, const struct insn *insn, const struct sse *form,
                      uint32_t encoding)
{
    struct cold *trap = trap_begin(t, insn, form->arithmetic ? MODE_UNMASKED : 0);
    int misaligned;
    struct host_operand from = source(t, insn, form, &misaligned);
    trap_here(t, trap);
    emit(t, insn, form, encoding, insn->reg, from);
    if (form->makes_flags) {
        flags_made(t);
        if (misaligned >= 0) { /* the handler leaves them in memory */
            flags_to_memory(t);
            t->flags_host = false;
        }
    }
    if (misaligned >= 0)
        t->cold[misaligned].resume = t->e.at;
}

static bool vector_shift(struct translator *t, const struct insn *insn)
{
    static const struct {
        uint8_t opcode, extension;
    } forms[] = {
        [OP_PSRLW_I - OP_PSRLW_I] = {0x71, 2}, [OP_PSRAW_I - OP_PSRLW_I] = {0x71, 4},
        [OP_PSLLW_I - OP_PSRLW_I] = {0x71, 6}, [OP_PSRLD_I - OP_PSRLW_I] = {0x72, 2},
        [OP_PSRAD_I - OP_PSRLW_I] = {0x72, 4}, [OP_PSLLD_I - OP_PSRLW_I] = {0x72, 6},
        [OP_PSRLQ_I - OP_PSRLW_I] = {0x73, 2}, [OP_PSRLDQ_I - OP_PSRLW_I] = {0x73, 3},
        [OP_PSLLQ_I - OP_PSRLW_I] = {0x73, 6}, [OP_PSLLDQ_I - OP_PSRLW_I] = {0x73, 7},
    };
    unsigned form = insn->op - OP_PSRLW_I, prefix = insn->prefix & PREFIX_OPSIZE ? 1 : 0;
    emit_op(&t->e, ENC(1, prefix, forms[form].opcode), forms[form].extension, op_reg(insn->rm));
    emit8(&t->e, (uint8_t)insn->imm);
    return true;
}

static bool empty_mmx(struct translator *t, const struct insn *insn)
{
    emit8(&t->e, 0x0f);
    emit8(&t->e, 0x77);
    return true;
}

bool translate_sse(struct translator *t, const struct insn *insn)
{
    if (insn_uses_mmx(insn) && !x87_await(t, insn))
        return false;
    if (is_vector_shift(insn))
        return vector_shift(t, insn);
    if (insn->op == OP_EMMS)
        return empty_mmx(t, insn);
    const struct sse *form = form_of(insn->op);
    if (!form->form)
        return false;
    uint32_t encoding = encodings[insn->op] | (form->by_size && insn->size == SIZE_64 ? ENC_W : 0);
    switch (form->form) {
    case FORM_WV:
        if (insn_has_memory(insn))
            store(t, insn, form, encoding);
        else
            emit_op(&t->e, encoding, insn->reg, op_reg(insn->rm));
        return true;
    case FORM_EV:
        if (insn_has_memory(insn)) {
            store(t, insn, form, encoding);
            return true;
        }
        to_general(t, insn, form, encoding);
        return true;
    case FORM_GW:
        to_general(t, insn, form, encoding);
        return true;
    default:
        to_vector(t, insn, form, encoding);
        return true;
    }
}
