/*
 * String instructions. Single ones are loads and stores; repeated ones call a stub for as much as
 * lies in one page (string_stubs.c), and look for attention between pages. What a stub cannot do
 * the interpreter does, to the instruction's end.
 */
#include "emu/jit/strings.h"
#include "emu/jit/flags.h"
#include "emu/jit/kinds.h"
#include "emu/jit/operands.h"

static bool is_repeated(const struct insn *insn)
{
    return insn->prefix & (PREFIX_REP | PREFIX_REPNE);
}

static unsigned source_segment(const struct insn *insn)
{
    return insn->seg == SEG_NONE ? SEG_DS : insn->seg;
}

/* Addresses as the mode has them, and segments that begin at 0. With segments that may begin
 * elsewhere: those that can be used without a look at their rights. */
static bool is_simple(const struct translator *t, const struct insn *insn)
{
    bool own = insn->seg == SEG_CS || insn->seg == SEG_FS || insn->seg == SEG_GS;
    bool source = insn->op == OP_MOVS || insn->op == OP_LODS || insn->op == OP_CMPS;
    if (t->segmented)
        return (!source || segment_usable(t, source_segment(insn))) &&
               (insn->op == OP_LODS || segment_usable(t, SEG_ES));
    return insn->addr_size == t->word && !(source && own);
}

/* Ends the instruction in the interpreter. Returns the number of the cold path, whose resume is to
 * be the instruction's end. */
static unsigned handler_if(struct translator *t, const struct insn *insn, unsigned condition)
{
    struct cold *cold = add_cold(t, COLD_HANDLER, emit_jcc(&t->e, condition, NULL));
    cold->insn = insn;
    cold->place = insn_place(t, insn);
    return t->cold_count - 1;
}

static void test_direction(struct translator *t)
{
    emit_op(&t->e, ENC(0, 0, 0xf6), 0, op_abs((const uint8_t *)&t->cpu->s.rflags + 1));
    emit8(&t->e, FLAG_DF >> 8);
}

/* ---- one element ----------------------------------------------------------------------------- */

static struct address element_address(struct translator *t, const struct insn *insn, unsigned base)
{
    unsigned segment = base == RDI ? SEG_ES : source_segment(insn);
    struct address a = {.base = base,
                        .index = GPR_NONE,
                        .segment = t->segmented ? segment : SEG_NONE,
                        .size = insn->addr_size};
    checked_address(t, insn, &a, 1u << insn->size);
    return a;
}

static void load_access(struct translator *t, const struct insn *insn, unsigned base)
{
    struct address a = element_address(t, insn, base);
    probe(t, insn, &a, 1u << insn->size, ACCESS_LOAD);
}

/* For what stores: the whole instruction is the interpreter's where an element is not found at
 * once, so that a device sees each access once, before the registers have changed. Returns the
 * number of the cold path. */
static unsigned move_access(struct translator *t, const struct insn *insn, unsigned base)
{
    struct address a = element_address(t, insn, base);
    struct cold *cold =
        emit_lookup(t, insn_place(t, insn), &a, COLD_HANDLER, 1u << insn->size, base == RDI);
    cold->insn = insn;
    t->at = 0;
    t->window = NULL;
    return t->cold_count - 1;
}

static void advance(struct translator *t, const struct insn *insn, unsigned reg)
{
    unsigned width = insn->addr_size == SIZE_16 ? ENC_66 : insn->addr_size == SIZE_64 ? ENC_W : 0;
    emit_op(&t->e, ENC(0, 0, 0x8d) | width, host_of(reg), op_mem(host_of(reg), 1 << insn->size));
}

/* The element that T0 has found, to scratch[1]. */
static void keep_source(struct translator *t, const struct insn *insn)
{
    static const uint32_t load[] = {
        [SIZE_8] = ENC(1, 0, 0xb6),
        [SIZE_16] = ENC(1, 0, 0xb7),
        [SIZE_32] = ENC(0, 0, 0x8b),
        [SIZE_64] = ENC(0, 0, 0x8b) | ENC_W,
    };
    emit_op(&t->e, load[insn->size], T1, host_memory(t));
    emit_store(&t->e, op_abs(&t->jit->scratch[1]), T1);
}

/* Upwards; the interpreter moves downwards. */
static bool move_one(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    unsigned ways[3], count = 0; /* that end in the interpreter */
    flags_keep(t, FL_ALL);
    test_direction(t);
    ways[count++] = handler_if(t, insn, CC_NE);
    if (insn->op == OP_LODS) {
        load_access(t, insn, RSI);
        emit_op(e, enc_sized(ENC(0, 0, 0x8b), insn->size), host_of(RAX), host_memory(t));
    } else if (insn->op == OP_STOS) {
        ways[count++] = move_access(t, insn, RDI);
        emit_op(e, enc_sized(ENC(0, 0, 0x89), insn->size), host_of(RAX), host_memory(t));
    } else {
        ways[count++] = move_access(t, insn, RSI);
        keep_source(t, insn);
        ways[count++] = move_access(t, insn, RDI);
        emit_store(e, op_abs(&t->jit->scratch[0]), H_RCX);
        emit_load(e, H_RCX, op_abs(&t->jit->scratch[1]));
        emit_op(e, enc_sized(ENC(0, 0, 0x89), insn->size), H_RCX, host_memory(t));
        emit_load(e, H_RCX, op_abs(&t->jit->scratch[0]));
    }
    if (insn->op != OP_STOS)
        advance(t, insn, RSI);
    if (insn->op != OP_LODS) {
        advance(t, insn, RDI);
        stored(t, insn);
    }
    while (count-- > 0)
        t->cold[ways[count]].resume = e->at;
    return true;
}

static bool compare_one(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    uint32_t compare = enc_sized(ENC(0, 0, 0x3b), insn->size);
    flags_keep(t, FL_ALL);
    test_direction(t);
    struct cold *down = add_cold(t, COLD_INTERPRET, emit_jcc(e, CC_NE, NULL));
    down->place = code_place(t, insn_rip(t, insn));
    if (insn->op == OP_CMPS) {
        load_access(t, insn, RSI);
        keep_source(t, insn);
    }
    load_access(t, insn, RDI);
    if (insn->op == OP_CMPS) {
        emit_load(e, T1, op_abs(&t->jit->scratch[1]));
        emit_op(e, compare, T1, host_memory(t));
        advance(t, insn, RSI);
    } else {
        emit_op(e, compare, host_of(RAX), host_memory(t));
    }
    advance(t, insn, RDI);
    flags_made(t);
    return true;
}

/* ---- many ------------------------------------------------------------------------------------ */

static void test_count(struct translator *t)
{
    emit_op(&t->e, ENC(0, 0, 0x85) | enc_word(t), H_RCX, op_reg(H_RCX));
}

static unsigned call_stub(struct translator *t, const struct insn *insn, unsigned op)
{
    emit_mov_imm(&t->e, T0, (uintptr_t)t->tlb);
    emit_call(&t->e, t->jit->stub[string_stub(op, insn->size, t->word == SIZE_64)]);
    return handler_if(t, insn, CC_B);
}

/* On to the next page, if nothing is to be seen to first; then the instruction is entered again. */
static void repeat(struct translator *t, const struct insn *insn, const uint8_t *again)
{
    emit_alu_imm(&t->e, 7, SIZE_32, op_abs(&t->cpu->attention), 0);
    struct cold *cold = add_cold(t, COLD_LEAVE, emit_jcc(&t->e, CC_NE, NULL));
    cold->place = code_place(t, insn_rip(t, insn));
    emit_jmp(&t->e, again);
}

/* A look at the page's mark, behind which it goes on with the next instruction or `again`. */
static void written(struct translator *t, const struct insn *insn, bool again)
{
    emit_op(&t->e, ENC(0, 0, 0xf6), 0, op_mem(T1, 0));
    emit8(&t->e, 1);
    struct cold *cold = add_cold(t, COLD_STORED, emit_jcc(&t->e, CC_NE, NULL));
    cold->resume = t->e.at;
    cold->place = insn_place(t, insn);
    cold->onward = again ? -insn->length : 0;
    cold->stays = !again;
}

static bool move_many(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    flags_keep(t, FL_ALL);
    const uint8_t *again = e->at;
    test_count(t);
    uint8_t *none = emit_jcc(e, CC_E, NULL);
    unsigned missing = call_stub(t, insn, insn->op == OP_MOVS ? STRING_MOVS : STRING_STOS);
    test_count(t);
    uint8_t *last = emit_jcc(e, CC_E, NULL);
    written(t, insn, true);
    repeat(t, insn, again);
    if (!e->full)
        emit_patch(last, e->at);
    written(t, insn, false);
    if (!e->full)
        emit_patch(none, e->at);
    t->cold[missing].resume = e->at;
    return true;
}

static bool compare_many(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    bool differing = insn->prefix & PREFIX_REPNE;
    unsigned op = (insn->op == OP_SCAS ? STRING_SCAS : STRING_CMPS) + differing;
    flags_to_memory(t);
    t->recipe.length = 0;
    const uint8_t *again = e->at;
    test_count(t);
    uint8_t *none = emit_jcc(e, CC_E, NULL);
    unsigned missing = call_stub(t, insn, op);
    test_count(t);
    uint8_t *last = emit_jcc(e, CC_E, NULL);
    emit8(e, 0xf6); /* TEST AH, 40: ZF */
    emit8(e, 0xc4);
    emit8(e, 0x40);
    uint8_t *found = emit_jcc(e, differing ? CC_NE : CC_E, NULL);
    repeat(t, insn, again);
    if (!e->full) {
        emit_patch(none, e->at);
        emit_patch(last, e->at);
        emit_patch(found, e->at);
    }
    t->cold[missing].resume = e->at;
    t->flags_host = false;
    t->flags_memory = true;
    return true;
}

bool translate_string(struct translator *t, const struct insn *insn)
{
    if (insn->op < OP_MOVS || insn->op > OP_SCAS || !is_simple(t, insn))
        return false;
    bool compares = insn->op == OP_CMPS || insn->op == OP_SCAS;
    if (!is_repeated(insn))
        return compares ? compare_one(t, insn) : move_one(t, insn);
    if (insn->op == OP_LODS || t->segmented)
        return false;
    return compares ? compare_many(t, insn) : move_many(t, insn);
}
