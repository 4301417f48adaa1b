/*
 * The x87 unit: while a region that uses it runs, the guest's stack is the host's, and each
 * instruction is done by itself. Where the guest has exceptions unmasked, each that would raise a
 * pending one begins with FWAIT, which does (traps.h). While one is pending at a region's beginning
 * the interpreter runs the block.
 */
#include "emu/cpu/x87.h"
#include "emu/jit/flags.h"
#include "emu/jit/kinds.h"
#include "emu/jit/operands.h"
#include "emu/jit/windows.h"
#include <string.h>

/* ---- between the two homes of the guest's stack ---------------------------------------------- */

/* What FNSAVE writes and FRSTOR reads in 64-bit mode. */
struct environment {
    uint32_t control, status, tags, ip, ip_selector, dp, dp_selector;
    uint8_t registers[8][10];
} __attribute__((packed));

/* Empty registers are tagged 3; what a full one holds, FRSTOR finds out. */
static uint16_t full_tags(uint8_t valid)
{
    uint16_t tags = 0;
    for (unsigned i = 0; i < 8; i++)
        tags |= (valid >> i & 1 ? 0 : 3) << 2 * i;
    return tags;
}

bool jit_load_x87(struct cpu *cpu, uint64_t unused, unsigned size, const uint8_t *back)
{
    const struct fpu_state *f = &cpu->s.fpu;
    struct jit *jit = cpu->jit;
    if (f->status & X87_ES) {
        const struct jit_facts *facts = jit_facts_at(back);
        cpu->s.rip = jit_behind_place(jit_low(facts->owner), facts->place);
        jit->exit_cell = 0;
        jit->interpret_next = true;
        return true;
    }
    struct environment e = {
        .control = f->control, .status = f->status, .tags = full_tags(f->valid)};
    for (unsigned i = 0; i < 8; i++)
        memcpy(e.registers[i], f->reg[x87_index(cpu, i)], 10);
    asm volatile("frstor %0" : : "m"(e));
    jit->x87_loaded = 1;
    return false;
}

void jit_save_x87(struct cpu *cpu)
{
    struct fpu_state *f = &cpu->s.fpu;
    struct environment e;
    asm volatile("fnsave %0" : "=m"(e));
    cpu->jit->x87_loaded = 0;
    f->control = (uint16_t)e.control;
    f->status = (uint16_t)e.status;
    f->valid = 0;
    for (unsigned i = 0; i < 8; i++) {
        if ((e.tags >> 2 * i & 3) != 3)
            f->valid |= 1u << i;
        memcpy(f->reg[x87_index(cpu, i)], e.registers[i], 10);
    }
}

/* ---- instructions ---------------------------------------------------------------------------- */

/* clang-format off */
/* Bytes of the memory operand by escape byte and ModRM.reg; 0 is the interpreter's. */
static const uint8_t loads[8][8] = {
    {4, 4, 4, 4, 4, 4, 4, 4}, /* D8 */
    {4, 0, 0, 0, 0, 2, 0, 0},    {4, 4, 4, 4, 4, 4, 4, 4}, {4, 0, 0, 0, 0, 10, 0, 0},
    {8, 8, 8, 8, 8, 8, 8, 8},    {8, 0, 0, 0, 0, 0, 0, 0}, {2, 2, 2, 2, 2, 2, 2, 2},
    {2, 0, 0, 0, 10, 8, 0, 0},
};
static const uint8_t stores[8][8] = {
    {0},
    {0, 0, 4, 4, 0, 0, 0, 2}, /* D9 */
    {0},
    {0, 4, 4, 4, 0, 0, 0, 10},
    {0},
    {0, 8, 8, 8, 0, 0, 0, 2},
    {0},
    {0, 2, 2, 2, 0, 0, 10, 8},
};

/* clang-format on */

static bool is_register_form(const struct insn *insn)
{
    return insn->modrm >= 0xc0;
}

static unsigned row_of(const struct insn *insn)
{
    return insn->op - OP_X87_D8;
}

/* Register forms that exist; the others are invalid, or aliases best left alone. */
static bool is_known(const struct insn *insn)
{
    unsigned modrm = insn->modrm, field = modrm >> 3 & 7;
    switch (insn->op) {
    case OP_X87_D8:
        return true;
    case OP_X87_D9:
        return field < 2 || modrm == 0xd0 || modrm == 0xe0 || modrm == 0xe1 || modrm == 0xe4 ||
               modrm == 0xe5 || (modrm >= 0xe8 && modrm <= 0xee) || modrm >= 0xf0;
    case OP_X87_DA:
        return field < 4 || modrm == 0xe9;
    case OP_X87_DB:
        return field < 4 || modrm == 0xe2 || modrm == 0xe3 || field == 5 || field == 6;
    case OP_X87_DC:
        return field < 2 || field >= 4;
    case OP_X87_DD:
        return field == 0 || (field >= 2 && field <= 5);
    case OP_X87_DE:
        return field < 2 || field >= 4 || modrm == 0xd9;
    default:
        return modrm == 0xe0 || field == 5 || field == 6;
    }
}

bool insn_uses_x87(const struct insn *insn)
{
    if (insn->op < OP_X87_D8 || insn->op > OP_X87_DF)
        return false;
    unsigned field = insn->modrm >> 3 & 7;
    return is_register_form(insn) ? is_known(insn)
                                  : loads[row_of(insn)][field] || stores[row_of(insn)][field];
}

unsigned x87_operand(const struct insn *insn, bool *ret_writes)
{
    if (!insn_uses_x87(insn) || is_register_form(insn))
        return 0;
    unsigned row = row_of(insn), field = insn->modrm >> 3 & 7;
    *ret_writes = !loads[row][field];
    return loads[row][field] ? loads[row][field] : stores[row][field];
}

static bool x87_stores(const struct insn *insn)
{
    return !is_register_form(insn) && !loads[row_of(insn)][insn->modrm >> 3 & 7];
}

/* Instructions that are not noted as the last one. */
static bool is_control(const struct insn *insn)
{
    unsigned field = insn->modrm >> 3 & 7;
    if (is_register_form(insn))
        return (insn->op == OP_X87_DB && (insn->modrm == 0xe2 || insn->modrm == 0xe3)) ||
               (insn->op == OP_X87_DF && insn->modrm == 0xe0);
    return (insn->op == OP_X87_D9 && field >= 4) || (insn->op == OP_X87_DD && field == 7);
}

/*
 * The unit's memory of its last instruction: pointers, opcode, selectors. The data pointer is kept
 * with each instruction, while its registers are what they were; the rest where somebody can see
 * it, which is at the part's end, in the interpreter, and in cold paths, where it costs nothing.
 */
void x87_tell(struct translator *t, const struct x87_last *last, unsigned temp)
{
    struct emitter *e = &t->e;
    struct fpu_state *f = &t->cpu->s.fpu;
    if (last->insn) {
        emit_code_address(t, temp, insn_rip(t, last->insn), t->word != SIZE_64);
        emit_store(e, op_abs(&f->ip), temp);
        emit_op(e, ENC(0, 0, 0xc7) | ENC_66, 0, op_abs(&f->opcode));
        emit_imm(e, row_of(last->insn) << 8 | last->insn->modrm, SIZE_16);
        emit_op(e, ENC(1, 0, 0xb7), temp, op_abs(&t->cpu->s.seg[SEG_CS].selector));
        emit_op(e, ENC(0, 0, 0x89) | ENC_66, temp, op_abs(&f->ip_selector));
    }
    if (last->memory) {
        unsigned segment = last->memory->seg == SEG_NONE ? SEG_DS : last->memory->seg;
        emit_op(e, ENC(1, 0, 0xb7), temp, op_abs(&t->cpu->s.seg[segment].selector));
        emit_op(e, ENC(0, 0, 0x89) | ENC_66, temp, op_abs(&f->dp_selector));
    }
}

void x87_tell_now(struct translator *t)
{
    x87_tell(t, &t->x87_last, T0);
    t->x87_last = (struct x87_last){0};
}

static void note_pointers(struct translator *t, const struct insn *insn)
{
    const struct block *block = t->part->block;
    t->x87_last.insn = insn;
    if (!is_register_form(insn)) {
        address_of(t, insn);
        emit_store(&t->e, op_abs(&t->cpu->s.fpu.dp), T0);
        t->x87_last.memory = insn;
    }
    for (const struct insn *i = insn + 1; i < block->insns + block->count; i++)
        if (insn_uses_x87(i) && !is_control(i))
            return;
    x87_tell_now(t);
}

/* FNINIT clears what is kept of the last instruction. */
static void forget_pointers(struct translator *t)
{
    struct emitter *e = &t->e;
    struct fpu_state *f = &t->cpu->s.fpu;
    uint64_t *const wide[] = {&f->ip, &f->dp};
    uint16_t *const narrow[] = {&f->opcode, &f->ip_selector, &f->dp_selector};
    for (unsigned i = 0; i < G_N_ELEMENTS(wide); i++) {
        emit_op(e, ENC(0, 0, 0xc7) | ENC_W, 0, op_abs(wide[i]));
        emit_imm(e, 0, SIZE_32);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(narrow); i++) {
        emit_op(e, ENC(0, 0, 0xc7) | ENC_66, 0, op_abs(narrow[i]));
        emit_imm(e, 0, SIZE_16);
    }
    t->x87_last = (struct x87_last){0};
}

/* FNSTSW, FNSTCW, FNCLEX and FNINIT raise nothing. */
static bool is_wait_free(const struct insn *insn)
{
    bool load = insn->op == OP_X87_D9 && (insn->modrm >> 3 & 7) == 5;
    return is_control(insn) && !load;
}

static bool register_form(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    bool compare = (insn->op == OP_X87_DB || insn->op == OP_X87_DF) && insn->modrm >= 0xe8;
    bool move = (insn->op == OP_X87_DA || insn->op == OP_X87_DB) && insn->modrm < 0xe0;
    if (insn->op == OP_X87_DB && insn->modrm == 0xe3 && t->mode & MODE_X87_UNMASKED)
        return false; /* FNINIT masks all */
    if (move)
        flags_need(t);
    emit8(e, 0xd8 + row_of(insn));
    emit8(e, insn->modrm);
    if (insn->op == OP_X87_DB && insn->modrm == 0xe3)
        forget_pointers(t);
    if (insn->op == OP_X87_DF && insn->modrm == 0xe0)
        emit_op(e, ENC(0, 0, 0x89) | ENC_66, T0, op_reg(host_of(RAX))); /* FNSTSW AX */
    if (compare)
        flags_made(t);
    return true;
}

/* FLDCW: to mask all exceptions, or not all any more, is the interpreter's. */
static void load_control(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    struct host_operand kept = op_abs(&t->jit->scratch[0]); /* what lies there may change */
    emit_op(e, ENC(1, 0, 0xb7), T1, host_memory(t));
    emit_store(e, kept, T1);
    emit_op(e, ENC(0, 0, 0xf7), 2, op_reg(T1)); /* NOT */
    emit_op(e, ENC(0, 0, 0xf6) | ENC_BYTE_RM, 0, op_reg(T1));
    emit8(e, 0x3f);
    struct cold *cold =
        add_cold(t, COLD_HANDLER, emit_jcc(e, t->mode & MODE_X87_UNMASKED ? CC_E : CC_NE, NULL));
    cold->insn = insn;
    cold->place = insn_place(t, insn);
    unsigned at = t->cold_count - 1;
    emit_op(e, ENC(0, 0, 0xd9), 5, kept);
    t->cold[at].resume = e->at;
}

static bool memory_form(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    unsigned row = row_of(insn), field = insn->modrm >> 3 & 7;
    if (loads[row][field]) {
        access_memory(t, insn, loads[row][field], ACCESS_LOAD);
        if (row == 1 && field == 5)
            load_control(t, insn);
        else
            emit_op(e, ENC(0, 0, 0xd8 + row), field, host_memory(t));
        return true;
    }
    /* What an exception forbids is not stored: then what was there goes back. */
    bool may_not = t->mode & MODE_X87_UNMASKED && !is_control(insn);
    access_memory(t, insn, stores[row][field], may_not ? ACCESS_RMW : ACCESS_STORE);
    emit_op(e, ENC(0, 0, 0xd8 + row), field, host_memory(t));
    if (is_control(insn)) {
        stored(t, insn);
        return true;
    }
    bool in_host = t->flags_host;
    emit_store(e, op_abs(&t->jit->scratch[1]), T1); /* the mark, for stored() */
    note_pointers(t, insn);
    emit_load(e, T1, op_abs(&t->jit->scratch[1]));
    t->flags_host = in_host; /* they move only */
    stored(t, insn);
    return true;
}

bool x87_await(struct translator *t, const struct insn *insn)
{
    if (t->mode & MODE_NO_FPU)
        return false;
    /* Where code runs twice, a store to a device ends the run in the midst of the instruction, of
     * which there must be no trace then. */
    if (t->cpu->journal && t->segmented && insn_has_memory(insn))
        return false;
    struct cold *trap = trap_begin(t, insn, MODE_X87_UNMASKED);
    trap_here(t, trap);
    if (trap)
        emit8(&t->e, 0x9b); /* FWAIT */
    return true;
}

bool translate_x87(struct translator *t, const struct insn *insn)
{
    if (insn->op == OP_FWAIT)
        return t->uses_x87 && x87_await(t, insn);
    if (!insn_uses_x87(insn) || (is_wait_free(insn) ? t->mode & MODE_NO_FPU : !x87_await(t, insn)))
        return false;
    bool done = is_register_form(insn) ? register_form(t, insn) : memory_form(t, insn);
    if (done && !is_control(insn) && !x87_stores(insn)) {
        bool in_host = t->flags_host;
        note_pointers(t, insn);
        t->flags_host = in_host; /* it moves only */
    }
    return done;
}
