/* Operands: guest registers, and memory by way of the TLB. */
#include "emu/jit/operands.h"
#include "emu/jit/flags.h"
#include "emu/jit/kinds.h"
#include "emu/jit/windows.h"
#include <string.h>

/* ---- registers ------------------------------------------------------------------------------- */

struct host_operand guest(const struct translator *t, unsigned number)
{
    if (number == GPR_NONE || IN_MEMORY(number))
        return op_abs(&t->cpu->s.gpr[number]);
    return op_reg(host_of(number));
}

static bool t1_has(const struct translator *t, unsigned number)
{
    return t->in_t1 && t->in_t1 == number && !t->e.touched_r11;
}

struct host_operand guest_value(const struct translator *t, unsigned number)
{
    return t1_has(t, number) ? op_reg(T1) : guest(t, number);
}

unsigned guest_in(struct translator *t, unsigned number, unsigned temp)
{
    if (!IN_MEMORY(number))
        return host_of(number);
    if (t1_has(t, number)) {
        emit_mov_rr(&t->e, temp, T1);
        return temp;
    }
    emit_load(&t->e, temp, guest(t, number));
    return temp;
}

unsigned result_begin(struct translator *t, unsigned number, unsigned size, bool read)
{
    if (!IN_MEMORY(number))
        return host_of(number);
    if ((read || size < SIZE_32) && !t1_has(t, number))
        emit_load(&t->e, T1, guest(t, number));
    return T1;
}

void result_end(struct translator *t, unsigned number, unsigned host, unsigned size)
{
    if (!IN_MEMORY(number))
        return;
    emit_store(&t->e, guest(t, number), host);
    if (host == T1) {
        t->in_t1 = number;
        t->fresh_t1 = true;
        t->e.touched_r11 = false;
    }
}

unsigned borrow(struct translator *t, unsigned number)
{
    if (!IN_MEMORY(number))
        return host_of(number);
    emit_store(&t->e, op_abs(&t->jit->scratch[0]), H_RCX);
    emit_load(&t->e, H_RCX, guest(t, number));
    return H_RCX;
}

void give_back(struct translator *t, unsigned number)
{
    if (IN_MEMORY(number))
        emit_load(&t->e, H_RCX, op_abs(&t->jit->scratch[0]));
}

/* ---- cold paths ------------------------------------------------------------------------------ */

uint64_t insn_rip(const struct translator *t, const struct insn *insn)
{
    return code_address(t, t->part->rip + insn->offset);
}

uint16_t insn_place(const struct translator *t, const struct insn *insn)
{
    return (uint16_t)(code_place(t, insn_rip(t, insn)) | insn->length << JIT_PLACE_BITS);
}

struct cold *add_cold(struct translator *t, enum cold_kind kind, uint8_t *hole)
{
    if (t->cold_count == MAX_COLD) {
        t->failed = true;
        t->cold_count = 0;
    }
    t->e.touched_r11 = t->e.touched_rax = true; /* on its way back */
    struct cold *cold = &t->cold[t->cold_count++];
    *cold = (struct cold){.kind = kind,
                          .hole = hole,
                          .cell = -1,
                          .tail = -1,
                          .stack_plus = t->stack_plus,
                          .x87 = t->x87_last,
                          .part = t->part};
    if (!t->flags_memory && t->recipe.length)
        cold->recipe = t->recipe;
    return cold;
}

/* ---- memory ---------------------------------------------------------------------------------- */

struct host_operand host_memory(const struct translator *t)
{
    return op_mem(T0, t->at);
}

void memory_with_register(struct translator *t, const struct insn *insn, uint32_t encoding)
{
    unsigned number = guest_number(insn->reg);
    unsigned host = borrow(t, number);
    emit_op(&t->e, encoding, host, host_memory(t));
    give_back(t, number);
}

struct address operand_address(const struct translator *t, const struct part *part,
                               const struct insn *insn)
{
    /* But for FS and GS flat code has flat segments. */
    bool flat = !t->segmented && insn->seg < SEG_FS;
    return (struct address){.base = guest_number(insn->base),
                            .index = guest_number(insn->index),
                            .scale = insn->scale,
                            .segment = flat ? SEG_NONE : insn->seg,
                            .size = insn->addr_size,
                            .code = part->rip,
                            .disp = insn->disp};
}

/* LEA of what the guest's registers say. */
static void load_offset(struct translator *t, const struct address *a)
{
    struct emitter *e = &t->e;
    unsigned width = a->size == SIZE_64 ? ENC_W : 0;
    uint32_t lea = ENC(0, 0, 0x8d) | width;
    int32_t disp = (int32_t)a->disp + (a->base == RSP ? t->stack_plus : 0);

    if (a->base == GPR_CODE || (a->base == GPR_NONE && a->index == GPR_NONE)) {
        uint64_t at = (a->base == GPR_CODE ? a->code : 0) + (uint64_t)a->disp;
        at = a->size == SIZE_64 ? at : a->size == SIZE_32 ? (uint32_t)at : (uint16_t)at;
        if (a->base == GPR_CODE)
            emit_code_address(t, T0, at, a->size == SIZE_32);
        else
            emit_mov_imm(e, T0, at);
        return;
    } else if (a->base == GPR_NONE) {
        emit_op(e, lea, T0, op_indexed(H_NONE, guest_in(t, a->index, T0), a->scale, disp));
    } else if (a->index == GPR_NONE) {
        unsigned from = t1_has(t, a->base) ? T1 : guest_in(t, a->base, T0);
        if (disp)
            emit_op(e, lea, T0, op_mem(from, disp));
        else if (from != T0 || a->size != SIZE_64)
            emit_op(e, ENC(0, 0, 0x8b) | width, T0, op_reg(from));
    } else {
        unsigned from = guest_in(t, a->base, T0), index = T1;
        if (a->narrow)
            emit_op(e, ENC(1, 0, 0xb6) | ENC_BYTE_RM, T1, guest(t, a->index)); /* MOVZX */
        else
            index = guest_in(t, a->index, T1);
        emit_op(e, lea, T0, op_indexed(from, index, a->scale, disp));
    }
    if (a->size == SIZE_16)
        emit_op(e, ENC(1, 0, 0xb7), T0, op_reg(T0)); /* MOVZX */
}

static void add_base(struct translator *t, const struct address *a)
{
    if (a->segment != SEG_NONE) /* FS and GS have bases in 64-bit code, too */
        emit_op(&t->e, ENC(0, 0, 0x03) | enc_word(t), T0, op_abs(&t->cpu->s.seg[a->segment].base));
    /* One that may not be used so makes an address that is found nowhere: check_wrap() in slow.c.
     */
    if (a->segment >= SEG_FS && a->segment <= SEG_GS && t->mode & MODE_FLAT)
        emit_op(&t->e, ENC(0, 0, 0x0b) | ENC_W, T0, op_abs(&t->cpu->beyond[a->segment - SEG_FS]));
}

/* The same for code with segments: what lies past the limit is the interpreter's. The mode says
 * that there are 64 KiB at least, so that 16-bit offsets need no look at the limit. */
static void segmented_address(struct translator *t, const struct insn *insn,
                              const struct address *a, unsigned bytes)
{
    struct emitter *e = &t->e;
    bool constant = a->base == GPR_NONE && a->index == GPR_NONE;
    bool inside =
        a->size == SIZE_16 && (bytes == 1 || (constant && (uint16_t)a->disp <= 0x10000 - bytes));
    load_offset(t, a);
    if (a->size != SIZE_16) {
        emit_op(e, ENC(0, 0, 0x8b), T1, op_abs(&t->cpu->s.seg[a->segment].limit));
        emit_op(e, ENC(0, 0, 0x8d), T1, op_mem(T1, 1 - (int32_t)bytes));
        emit_op(e, ENC(0, 0, 0x3b), T0, op_reg(T1));
    } else if (!inside) {
        emit_alu_imm(e, 7, SIZE_32, op_reg(T0), (int32_t)(0x10000 - bytes));
    }
    if (!inside) {
        struct cold *cold = add_cold(t, COLD_INTERPRET, emit_jcc(e, CC_A, NULL));
        cold->place = code_place(t, insn_rip(t, insn));
    }
    add_base(t, a);
}

void emit_address(struct translator *t, const struct address *a)
{
    load_offset(t, a);
    add_base(t, a);
}

void address_of(struct translator *t, const struct insn *insn)
{
    struct address a = operand_address(t, t->part, insn);
    load_offset(t, &a);
}

/* 32-bit code's FS and GS: an operand that wraps around at 4 GiB is past the limit. Where base is 0
 * it lies in two pages, and the slow ways see it. */
static void check_limit(struct translator *t, const struct insn *insn, const struct address *a,
                        unsigned bytes)
{
    bool constant = a->base == GPR_NONE && a->index == GPR_NONE;
    if (t->word == SIZE_64 || a->segment == SEG_NONE ||
        (constant && (uint32_t)a->disp <= UINT32_MAX - bytes + 1))
        return;
    load_offset(t, a);
    emit_alu_imm(&t->e, 7, SIZE_32, op_reg(T0), -(int32_t)bytes);
    struct cold *cold = add_cold(t, COLD_INTERPRET, emit_jcc(&t->e, CC_A, NULL));
    cold->place = code_place(t, insn_rip(t, insn));
}

void access_memory(struct translator *t, const struct insn *insn, unsigned bytes,
                   enum access access)
{
    struct address a = operand_address(t, t->part, insn);
    if (!t->segmented && window_access_quiet(t, insn, 0, &a, bytes, access))
        return;
    flags_keep(t, FL_ALL);
    if (t->segmented) {
        segmented_address(t, insn, &a, bytes);
        probe(t, insn, &a, bytes, access);
        return;
    }
    check_limit(t, insn, &a, bytes);
    if (window_access(t, insn, 0, &a, bytes, access))
        return;
    emit_address(t, &a);
    probe(t, insn, &a, bytes, access);
}

void access_stack(struct translator *t, const struct insn *insn, unsigned base, int32_t disp,
                  unsigned bytes, enum access access)
{
    struct address a = {.base = base,
                        .index = GPR_NONE,
                        .segment = t->segmented ? SEG_SS : SEG_NONE,
                        .size = t->stack,
                        .disp = disp};
    if (!t->segmented && window_access_quiet(t, insn, 1, &a, bytes, access))
        return;
    flags_keep(t, FL_ALL);
    if (t->segmented) {
        segmented_address(t, insn, &a, bytes);
        probe(t, insn, &a, bytes, access);
        return;
    }
    if (window_access(t, insn, 1, &a, bytes, access))
        return;
    emit_address(t, &a);
    probe(t, insn, &a, bytes, access);
}

void checked_address(struct translator *t, const struct insn *insn, const struct address *address,
                     unsigned bytes)
{
    if (t->segmented)
        segmented_address(t, insn, address, bytes);
    else
        emit_address(t, address);
}

static void move_stack(struct translator *t, unsigned from, int32_t by)
{
    unsigned width = t->stack == SIZE_16 ? ENC_66 : t->stack == SIZE_64 ? ENC_W : 0;
    emit_op(&t->e, ENC(0, 0, 0x8d) | width, host_of(RSP), op_mem(host_of(from), by));
}

void stack_move(struct translator *t, int32_t by)
{
    if (by)
        move_stack(t, RSP, by);
}

void stack_settle(struct translator *t)
{
    stack_move(t, t->stack_plus);
    t->stack_plus = 0;
}

void set_stack(struct translator *t, unsigned from, int32_t plus)
{
    if (from == RSP && !t->segmented && t->stack == t->word) {
        t->stack_plus += plus;
        if (t->stack_plus % JIT_STACK_STEP == 0 &&
            t->stack_plus / JIT_STACK_STEP == (int8_t)(t->stack_plus / JIT_STACK_STEP))
            return;
        plus = t->stack_plus;
    }
    t->stack_plus = 0;
    move_stack(t, from, plus);
}

bool stack_moves_by(const struct translator *t, const struct insn *insn, int32_t *ret_by)
{
    unsigned reg;
    int64_t by;
    bool arithmetic = insn->op == OP_ADD || insn->op == OP_SUB;
    if (!(insn->op == OP_LEA || (arithmetic && !t->live_after)) ||
        !adds_constant(insn, t->stack, &reg, &by) || reg != RSP || by != (int16_t)by)
        return false;
    *ret_by = (int32_t)by;
    return true;
}

/* Has the instruction no other use for the stack pointer than stack_settle() may wait for? */
static bool stack_may_wait(const struct translator *t, const struct insn *insn)
{
    bool direct = guest_number(insn->rm) == RSP && !insn_has_memory(insn);
    bool far = guest_number(insn->base) == RSP && insn->disp != (int16_t)insn->disp;
    bool two = insn->shape != SHAPE_RI && insn->shape != SHAPE_MI;
    int32_t by;
    if (stack_moves_by(t, insn, &by))
        return true;
    switch (insn->op) {
    case OP_ADD ... OP_CMP:
    case OP_TEST:
    case OP_MOV:
        return !direct && !far && (!two || guest_number(insn->reg) != RSP);
    case OP_INC ... OP_NEG:
    case OP_ROL ... OP_SAR:
    case OP_SETCC:
    case OP_PUSH ... OP_PUSHI:
        return !direct && !far;
    case OP_IMUL2 ... OP_IMUL3:
    case OP_MOVZX8 ... OP_LEA:
    case OP_CMOVCC:
        return !direct && !far && guest_number(insn->reg) != RSP;
    case OP_NOP:
    case OP_NOP_E:
    case OP_LEAVE:
    case OP_CALL:
    case OP_RET:
    case OP_RETI:
        return true;
    default:
        return insn_uses_xmm(insn) && !direct && !far && guest_number(insn->reg) != RSP;
    }
}

void stack_before(struct translator *t, const struct insn *insn)
{
    if (t->stack_plus && !stack_may_wait(t, insn))
        stack_settle(t);
}

void load_code_address(struct translator *t, struct host_operand from)
{
    emit_op(&t->e, t->word == SIZE_16 ? ENC(1, 0, 0xb7) : ENC(0, 0, 0x8b) | enc_word(t), T0, from);
}

/* TEST of T0 or T1's low bits; the interpreter faults. Returns the number of the cold path. */
static int check_alignment(struct translator *t, const struct insn *insn, unsigned bytes,
                           unsigned reg)
{
    emit_op(&t->e, ENC(0, 0, 0xf6) | ENC_BYTE_RM, 0, op_reg(reg));
    emit8(&t->e, bytes - 1);
    struct cold *cold = add_cold(t, COLD_HANDLER, emit_jcc(&t->e, CC_NE, NULL));
    cold->insn = insn;
    cold->place = insn_place(t, insn);
    return (int)t->cold_count - 1;
}

int access_aligned(struct translator *t, const struct insn *insn, unsigned bytes,
                   enum access access)
{
    struct address a = operand_address(t, t->part, insn);
    flags_keep(t, FL_ALL);
    if (!t->segmented)
        check_limit(t, insn, &a, bytes);
    t->aligned = true;
    bool window = !t->segmented && window_access(t, insn, 0, &a, bytes, access);
    t->aligned = false;
    if (window) {
        struct window *w = t->window;
        if (w->aligned >= bytes && !((w->aligned_at ^ (unsigned)t->at) & (bytes - 1)))
            return -1; /* it has been looked at */
        w->aligned = (uint8_t)bytes;
        w->aligned_at = (unsigned)t->at & (bytes - 1);
        emit_op(&t->e, ENC(0, 0, 0x8d), T1, op_mem(T0, t->at));
        return check_alignment(t, insn, bytes, T1);
    }
    if (t->segmented)
        segmented_address(t, insn, &a, bytes);
    else
        emit_address(t, &a);
    int cold = check_alignment(t, insn, bytes, T0);
    probe(t, insn, &a, bytes, access);
    return cold;
}

/* Instructions that store once, and keep nothing in T0 but where to. */
static bool stores_plainly(const struct insn *insn)
{
    switch (insn->op) {
    case OP_ADD ... OP_NEG:
    case OP_ROL ... OP_SAR:
    case OP_MOV:
    case OP_SETCC:
    case OP_PUSH:
    case OP_PUSHI:
    case OP_PUSH_SEG:
    case OP_PUSHF:
        return true;
    default:
        return false;
    }
}

/* Small programs have their data, and code with segments its stack, in pages of its own code:
 * stores tell where they went, if T0 still does. See jit_stored(). */
static unsigned known_bytes(const struct translator *t, bool plain)
{
    return plain && !t->shared && !t->window && !t->e.lost_rax ? t->store_bytes : 0;
}

static struct cold *check_mark(struct translator *t, const struct insn *insn, bool plain)
{
    struct emitter *e = &t->e;
    if (t->window && !t->shared)
        return NULL; /* looked at when the window was opened */
    flags_keep(t, t->live_after);
    unsigned known = known_bytes(t, plain);
    if (t->window)
        emit_load(e, T1, op_abs(&t->jit->windows[t->window->cell].mark));
    emit_op(e, ENC(0, 0, 0xf6), 0, op_mem(T1, 0)); /* TEST byte, 1 */
    emit8(e, 1);
    struct cold *cold = add_cold(t, COLD_STORED, emit_jcc(e, CC_NE, NULL));
    cold->resume = e->at;
    cold->place = insn_place(t, insn);
    cold->stored = (uint8_t)known;
    cold->stays = true;
    return cold;
}

void stored(struct translator *t, const struct insn *insn)
{
    if (t->region->hasty && !t->segmented) {
        flags_keep(t, t->live_after);
        if (emit_short_check(t, insn_place(t, insn), known_bytes(t, stores_plainly(insn))))
            return;
    }
    check_mark(t, insn, stores_plainly(insn));
}

void stored_at(struct translator *t, const struct insn *insn, int32_t onward)
{
    struct cold *cold = check_mark(t, insn, true);
    if (!cold)
        return;
    cold->stays = false;
    cold->onward = onward;
}

void stored_at_target(struct translator *t, const struct insn *insn)
{
    struct cold *cold = check_mark(t, insn, true);
    if (!cold)
        return;
    cold->stays = false;
    cold->place &= (1 << JIT_PLACE_BITS) - 1;
}

/* ---- the interpreter's help ------------------------------------------------------------------ */

static const struct insn *stop(struct cpu *cpu, const struct insn *insn)
{
    return insn;
}

void load_kept(struct translator *t, const struct insn *insn)
{
    struct jit_kept *kept = translator_data(t, sizeof(*kept));
    *kept = (struct jit_kept){.insn = *insn,
                              .end = {.handler = stop, .op = OP_BLOCK_END},
                              .region = jit_low_address(t->region),
                              .place = insn_place(t, insn)};
    emit_mov_imm(&t->e, T0, (uintptr_t)kept);
}

void load_vectors(struct translator *t)
{
    emit_call(&t->e, t->jit->stub[t->mode & MODE_NO_AVX ? STUB_LOAD_XMM : STUB_LOAD_YMM]);
}

void reload_units(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    if (t->uses_xmm)
        load_vectors(t);
    if (!t->uses_x87)
        return;
    emit_call(e, t->jit->stub[STUB_LOAD_X87]);
    uint8_t *over = emit_jmp(e, NULL);
    emit_facts(t, t->region, insn_place(t, insn), 0, 0);
    if (!e->full)
        emit_patch(over, e->at);
}

void call_handler(struct translator *t, const struct insn *insn, bool last)
{
    struct emitter *e = &t->e;
    flags_to_memory(t);
    stack_settle(t);
    x87_tell_now(t);
    load_kept(t, insn);
    if (last) { /* it never comes back, so it is not called: the host expects no RET */
        emit_jmp(e, t->jit->stub[STUB_HANDLER_LAST]);
        return;
    }
    emit_call(e, t->jit->stub[STUB_HANDLER]);
    reload_units(t, insn);
    t->flags_host = false;
    t->flags_memory = true;
}
