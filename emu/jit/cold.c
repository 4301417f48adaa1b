/* What stands behind a region's code: what is done seldom. */
#include "emu/jit/flags.h"
#include "emu/jit/flow.h"
#include "emu/jit/kinds.h"
#include "emu/jit/operands.h"
#include "emu/jit/windows.h"

static void leave_behind(struct translator *t, unsigned place, bool interpret)
{
    emit_mov_imm(&t->e, T0, jit_leaving(jit_low_address(t->region), place, interpret));
    emit_jmp(&t->e, t->jit->stub[STUB_EXIT_LINK]);
}

/* C will want to know: of x87 instructions, and of flags that are nowhere yet. Clobbers T0. */
static void tell(struct translator *t, const struct cold *cold)
{
    x87_tell(t, &cold->x87, T0);
    if (cold->recipe.length)
        flags_cold(t, &cold->recipe);
}

static void tell_beside_t0(struct translator *t, const struct cold *cold)
{
    if (!cold->recipe.length && !cold->x87.insn && !cold->x87.memory)
        return;
    emit_store(&t->e, op_abs(&t->jit->kept), T0);
    tell(t, cold);
    emit_load(&t->e, T0, op_abs(&t->jit->kept));
}

/* ---- calls with facts ------------------------------------------------------------------------ */

void emit_facts(struct translator *t, const void *owner, unsigned place, int32_t stack_plus,
                unsigned stored)
{
    emit32(&t->e, jit_low_address(owner));
    emit8(&t->e, (uint8_t)place);
    emit8(&t->e, (uint8_t)(place >> 8));
    emit8(&t->e, (uint8_t)(stack_plus / JIT_STACK_STEP));
    emit8(&t->e, (uint8_t)stored);
}

uint32_t look_facts(const struct cold *cold)
{
    return cold->bytes | (uint32_t)cold->look << 12 | (uint32_t)(uint16_t)cold->cell << 16;
}

void emit_look_facts(struct translator *t, const struct cold *cold, const void *owner)
{
    emit_facts(t, owner, cold->place, cold->stack_plus, 0);
    emit32(&t->e, look_facts(cold));
}

/* The stub for a look that missed, or, with the address in T0, is to be made now. */
static const uint8_t *stub_for(const struct translator *t, const struct cold *cold, bool missed)
{
    enum jit_stub cell = missed ? STUB_CELL_MISSED : STUB_CELL;
    if (cold->cell < 0 && !missed)
        return t->jit->stub[STUB_LOOK];
    return t->jit->stub[(cold->cell < 0 ? STUB_MISSED : cell) + 2 * t->kind + cold->write];
}

static void cold_access(struct translator *t, const struct cold *cold)
{
    tell_beside_t0(t, cold);
    emit_call(&t->e, stub_for(t, cold, true));
    emit_jmp(&t->e, cold->resume);
    emit_look_facts(t, cold, t->region);
}

static void cold_stored(struct translator *t, const struct cold *cold)
{
    struct emitter *e = &t->e;
    if (cold->stored)
        tell_beside_t0(t, cold);
    else
        tell(t, cold);
    emit_call(e, t->jit->stub[cold->stays ? STUB_STORED : STUB_STORED_AT]);
    emit_jmp(e, cold->resume);
    emit_facts(t, t->region, cold->place, cold->stack_plus, cold->stored);
    if (!cold->stays)
        emit32(e, (uint32_t)cold->onward);
}

/* To the tail if that many bytes from T0 on run over the page's end. */
static void emit_window_end(struct translator *t, unsigned span, const uint8_t *tail)
{
    emit_mov_rr32(&t->e, T1, T0);
    emit_alu_imm(&t->e, 4, SIZE_32, op_reg(T1), 0xfff);
    emit_alu_imm(&t->e, 7, SIZE_32, op_reg(T1), (int32_t)(0x1000 - span));
    emit_jcc(&t->e, CC_A, tail);
}

/* With a tail, for windows that cannot be opened. */
static void cold_window_or_tail(struct translator *t, const struct cold *cold)
{
    struct emitter *e = &t->e;
    const uint8_t *tail = t->versions[cold->tail].start;
    if (cold->marked) {
        emit_jmp(e, tail);
        return;
    }
    emit_address(t, &cold->address);
    emit_window_end(t, cold->opening->span, tail);
    tell_beside_t0(t, cold);
    emit_call(e, stub_for(t, cold, false));
    uint8_t *over = emit_jmp(e, NULL);
    emit_look_facts(t, cold, cold->opening);
    if (!e->full)
        emit_patch(over, e->at);
    emit_alu_imm(e, 7, SIZE_64, op_reg(T0), (int32_t)(uintptr_t)JIT_NO_WINDOW);
    emit_jcc(e, CC_E, tail);
    emit_jmp(e, cold->resume);
}

static void cold_window(struct translator *t, const struct cold *cold)
{
    struct emitter *e = &t->e;
    if (cold->tail >= 0) {
        cold_window_or_tail(t, cold);
        return;
    }
    if (cold->marked) { /* the look has found it */
        tell(t, cold);
        emit_address(t, &cold->address);
        emit_call(e, t->jit->stub[STUB_LOOK]);
    } else {
        tell_beside_t0(t, cold);
        emit_call(e, stub_for(t, cold, true));
    }
    emit_jmp(e, cold->resume);
    emit_look_facts(t, cold, cold->opening);
}

/* ---- all of them ----------------------------------------------------------------------------- */

static void emit_cold(struct translator *t, struct cold *cold)
{
    struct emitter *e = &t->e;
    cold->start = e->at;
    if (!e->full && cold->hole)
        emit_patch(cold->hole, e->at);
    if (!e->full && cold->second_hole)
        emit_patch(cold->second_hole, e->at);
    t->part = cold->part;
    t->in_t1 = 0; /* what the last instruction translated left there */
    t->stack_plus = cold->stack_plus;
    switch ((enum cold_kind)cold->kind) {
    case COLD_ACCESS:
        cold_access(t, cold);
        return;
    case COLD_WINDOW:
        cold_window(t, cold);
        return;
    case COLD_SLIDE:
        window_slid_out(t, cold);
        emit_jmp(e, cold->resume);
        return;
    case COLD_STORED:
        cold_stored(t, cold);
        return;
    case COLD_RETURNS:
        emit_call(e, t->jit->stub[STUB_RETURNS_FULL]);
        break;
    case COLD_CALL:
        flow_stale_call(t, cold);
        return;
    case COLD_EDGE:
        flow_edge(t, cold);
        return;
    case COLD_LEAVE:
    case COLD_INTERPRET:
        stack_settle(t);
        tell(t, cold);
        leave_behind(t, cold->place, cold->kind == COLD_INTERPRET);
        return;
    case COLD_HANDLER:
        stack_settle(t);
        tell(t, cold);
        load_kept(t, cold->insn);
        emit_call(e, t->jit->stub[STUB_HANDLER]);
        reload_units(t, cold->insn);
        break;
    case COLD_TRAP:
        stack_settle(t);
        tell(t, cold);
        load_kept(t, cold->insn);
        emit_call(e, t->jit->stub[STUB_HANDLER]);
        leave_behind(t, cold->place, false); /* the operand has changed meanwhile */
        return;
    case COLD_XMM:
        load_vectors(t);
        break;
    case COLD_X87:
        emit_call(e, t->jit->stub[STUB_LOAD_X87]);
        emit_jmp(e, cold->resume);
        emit_facts(t, t->region, cold->place, 0, 0);
        return;
    }
    stack_move(t, -cold->stack_plus);
    emit_jmp(e, cold->resume);
}

void emit_cold_paths(struct translator *t)
{
    for (unsigned i = 0; i < t->cold_count; i++)
        emit_cold(t, &t->cold[i]);
}
