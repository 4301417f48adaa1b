/*
 * Windows: accesses that go through the same registers share one look.
 *
 * A prologue's pushes, a frame's variables, the fields of a structure: their addresses differ by
 * constants. The first access looks a whole window up, from the lowest to the highest byte that
 * is found to be accessed through the registers further on, and keeps its host address in memory;
 * the others add to that. A window is open until one of its registers changes by more than a
 * constant. It stays open along ways that lead to one part only, and in a loop from turn to turn if
 * the loop leaves its registers alone (versions.c).
 *
 * A table's entries are accessed through an index. Where that has just been made no larger than a
 * byte, the table from its first entry to the last that can be meant is a window of its base
 * register. It is not the access itself that opens it then, so nothing may fault: it has to be in
 * the TLB.
 *
 * A window whose registers a loop moves by constants slides along from turn to turn. While it stays
 * in its page, guest's and host's addresses keep their distance, and one comparison with the page's
 * end is all the look there is. (To move the host's address itself would have each turn wait for
 * the store of the last one.)
 *
 * A window that is stored to in the part that opens it is looked up for writing from the start.
 * One that does not lie in one page of plain memory cannot be opened. Then the interpreter runs the
 * block, and a region where that happens more than a few times is made anew with tails: behind its
 * other code each window has the rest of its part once more, without it. Where the memory is not
 * plain, again and again, the region does without windows.
 *
 * What a window rests on changes between regions, or when `attention` is acted on: a loop's head
 * looks at it each turn, and leaves the region if there is anything. So a window is as good as a
 * TLB entry, which is not looked at again between two instructions either.
 *
 * Code marks: where one CPU stores, a page that is not marked when the window opens stays so while
 * the window lasts, since marking happens between regions, and a log of what is written has the CPU
 * leave its region (emu/core/dirty.h); the window's opening looks, its stores need not. Where
 * several store, each store looks, as always.
 */
#include "emu/jit/windows.h"
#include "emu/jit/kinds.h"
#include "emu/jit/versions.h"
#include "emu/jit/window_plan.h"
#include <string.h>

/* ---- open windows ---------------------------------------------------------------------------- */

void windows_step(struct translator *t, const struct insn *insn, bool translated)
{
    struct windows *ws = &t->windows;
    unsigned count = 0;
    for (unsigned i = 0; i < ws->count && translated; i++) {
        struct window w = ws->open[i];
        int64_t moved = 0;
        if (!window_follow(&w, t->word, insn, &moved))
            continue;
        w.low -= moved;
        ws->open[count++] = w;
    }
    ws->count = count;
}

void windows_next_turn(struct windows *ws, const struct part *head)
{
    unsigned count = 0;
    for (unsigned i = 0; i < ws->count; i++) {
        const struct window *w = &ws->open[i];
        uint16_t changing = w->slide ? head->loop_sets : head->loop_writes;
        if (!(window_registers(w) & changing))
            ws->open[count++] = *w;
    }
    ws->count = count;
}

static bool same_window(const struct window *a, const struct window *b)
{
    return window_same_registers(a, b) && a->writes == b->writes && a->cell == b->cell &&
           a->aligned == b->aligned && a->aligned_at == b->aligned_at && a->slide == b->slide &&
           a->span == b->span && a->low == b->low;
}

bool windows_suffice(const struct windows *have, const struct windows *wanted)
{
    for (unsigned i = 0; i < wanted->count; i++) {
        bool found = false;
        for (unsigned k = 0; k < have->count; k++)
            found |= same_window(&have->open[k], &wanted->open[i]);
        if (!found)
            return false;
    }
    return true;
}

/* The bytes lie in an open window: *ret_at from where it begins. */
static struct window *find_open(struct translator *t, const struct window *key, int64_t offset,
                                unsigned bytes, bool writes, int32_t *ret_at)
{
    for (unsigned i = 0; i < t->windows.count; i++) {
        struct window *w = &t->windows.open[i];
        int64_t at = offset - w->low;
        if (!window_same_registers(w, key) || (writes && !w->writes) || at < 0 ||
            at + bytes > w->span)
            continue;
        *ret_at = (int32_t)at;
        return w;
    }
    return NULL;
}

/* One more, with a place for its host address; the oldest goes if need be. */
static struct window *add_window(struct windows *ws, const struct window_plan *plan)
{
    if (ws->count == MAX_OPEN)
        memmove(ws->open, ws->open + 1, --ws->count * sizeof(struct window));
    uint32_t used = 0;
    for (unsigned i = 0; i < ws->count; i++)
        used |= 1u << ws->open[i].cell;
    struct window *w = &ws->open[ws->count++];
    *w = plan->w;
    w->low = plan->low;
    w->span = (int32_t)(plan->high - plan->low);
    w->cell = (uint8_t)__builtin_ctz(~used);
    return w;
}

/* One that slid away from what is wanted now, and can follow; *ret_by: how far. */
static struct window *find_slid(struct windows *ws, const struct window_plan *plan, int32_t *ret_by)
{
    for (unsigned i = 0; i < ws->count; i++) {
        struct window *w = &ws->open[i];
        int64_t by = plan->low - w->low;
        bool onward =
            w->slide > 0 ? by > 0 && by <= WINDOW_MAX_SLIDE : by < 0 && by >= -WINDOW_MAX_SLIDE;
        if (w->slide && onward && window_same_registers(w, &plan->w) &&
            (w->writes || !plan->w.writes) && plan->high - plan->low <= w->span) {
            *ret_by = (int32_t)by;
            return w;
        }
    }
    return NULL;
}

/* The window for an access: a new one, or if *ret_by one that is to slide by as much. */
static struct window *window_for(struct translator *t, const struct insn *insn,
                                 const struct window *key, int64_t offset,
                                 struct guest_access access, bool table, int32_t *ret_by)
{
    struct window_plan plan = {
        .w = *key, .low = offset, .high = offset + access.bytes, .table = table};
    plan.w.writes = access.writes;
    unsigned at = (unsigned)(insn - t->part->block->insns);
    window_look_ahead(t, &plan, t->part, at, 0, 0);
    *ret_by = 0;
    if (t->in_tail)
        return NULL;
    struct window *slid = find_slid(&t->windows, &plan, ret_by);
    if (slid) {
        slid->low = plan.low;
        if (slid->aligned && *ret_by & (slid->aligned - 1))
            slid->aligned = slid->aligned_at = 0;
    }
    if (slid || plan.uses < 2)
        return slid;
    return add_window(&t->windows, &plan);
}

/* ---- accesses -------------------------------------------------------------------------------- */

/* What the look needs to know in the cold: see jit_open_window(). */
static struct jit_opening *new_opening(struct translator *t, const struct window *w, int32_t at,
                                       unsigned bytes, bool writes)
{
    struct jit_opening *opening = translator_data(t, sizeof(*opening));
    *opening = (struct jit_opening){.region = jit_low_address(t->region),
                                    .offset = (uint16_t)at,
                                    .bytes = (uint16_t)bytes,
                                    .span = (uint16_t)w->span,
                                    .window_writes = w->writes,
                                    .aligned = t->aligned,
                                    .writes = writes};
    return opening;
}

/* What sliding needs to know: from where, and how far it may go. T0 is the host's address. */
static void emit_slide(struct translator *t, const struct window *w, struct jit_window *cell,
                       const struct address *low)
{
    struct emitter *e = &t->e;
    emit_address(t, low);
    emit_load(e, T1, op_abs(&cell->host));
    emit_op(e, ENC(0, 0, 0x2b) | ENC_W, T1, op_reg(T0)); /* SUB */
    emit_store(e, op_abs(&cell->delta), T1);
    emit_load(e, T0, op_abs(&cell->host));
    emit_mov_rr(e, T1, T0);
    if (w->slide > 0) {
        emit_alu_imm(e, 1, SIZE_64, op_reg(T1), 0xfff); /* OR */
        emit_op(e, ENC(0, 0, 0x8d) | ENC_W, T1, op_mem(T1, 1 - w->span));
    } else {
        emit_alu_imm(e, 4, SIZE_64, op_reg(T1), -0x1000);
    }
    emit_store(e, op_abs(&cell->last), T1);
}

static void open_window(struct translator *t, uint16_t place, const struct window *w, int tail,
                        const struct address *low, struct jit_opening *opening)
{
    struct emitter *e = &t->e;
    struct jit_window *cell = &t->jit->windows[w->cell];
    emit_address(t, low);
    struct cold *cold = emit_lookup(t, place, low, COLD_WINDOW, (unsigned)w->span, w->writes);
    unsigned at = t->cold_count - 1;
    cold->address = *low;
    cold->look = LOOK_WINDOW;
    cold->opening = opening;
    cold->tail = tail;
    if (w->writes && t->shared) {
        emit_store(e, op_abs(&cell->mark), T1);
    } else if (w->writes) {
        emit_op(e, ENC(0, 0, 0xf6), 0, op_mem(T1, 0));
        emit8(e, 1);
        struct cold *marked = add_cold(t, COLD_WINDOW, emit_jcc(e, CC_NE, NULL));
        marked->cell = -1;
        marked->marked = true;
        marked->look = LOOK_WINDOW;
        marked->address = t->cold[at].address;
        marked->place = t->cold[at].place;
        marked->opening = opening;
        marked->tail = t->cold[at].tail;
        marked->resume = e->at;
    }
    emit_store(e, op_abs(&cell->host), T0);
    if (w->slide)
        emit_slide(t, w, cell, low);
}

static void slide_window(struct translator *t, uint16_t place, const struct window *w, int32_t by,
                         int tail, const struct address *low, struct jit_opening *opening)
{
    struct emitter *e = &t->e;
    struct jit_window *cell = &t->jit->windows[w->cell];
    emit_address(t, low);
    emit_op(e, ENC(0, 0, 0x03) | ENC_W, T0, op_abs(&cell->delta));
    emit_op(e, ENC(0, 0, 0x3b) | ENC_W, T0, op_abs(&cell->last));
    struct cold *cold = add_cold(t, COLD_SLIDE, emit_jcc(e, by > 0 ? CC_A : CC_B, NULL));
    cold->window = *w;
    cold->address = *low;
    cold->place = place;
    cold->tail = tail;
    cold->opening = opening;
    emit_store(e, op_abs(&cell->host), T0);
    cold->resume = e->at;
}

void window_slid_out(struct translator *t, const struct cold *cold)
{
    t->recipe = cold->recipe;
    t->flags_memory = !cold->recipe.length;
    t->x87_last = cold->x87;
    open_window(t, cold->place, &cold->window, cold->tail, &cold->address, cold->opening);
}

/* T0 is the window's host address from here on, for as long as nothing touches it. */
static void note_t0(struct translator *t, const struct window *w)
{
    t->in_t0 = w->cell;
    t->e.touched_rax = false;
}

/* May what was in T0 before an instruction be there still, if no code names it? MUL, CMPXCHG and
 * their like have it for an operand that they do not name. */
static bool names_what_it_writes(const struct insn *insn)
{
    switch (insn->op) {
    case OP_ADD ... OP_NEG:
    case OP_IMUL2 ... OP_IMUL3:
    case OP_ROL ... OP_SAR:
    case OP_MOV:
    case OP_MOVZX8 ... OP_LEA:
    case OP_SETCC:
    case OP_CMOVCC:
    case OP_NOP:
    case OP_NOP_E:
    case OP_PUSH ... OP_PUSHI:
    case OP_LEAVE:
        return true;
    default:
        return insn_uses_xmm(insn);
    }
}

void windows_keep_t0(struct translator *t, const struct insn *insn)
{
    if (t->e.touched_rax || !names_what_it_writes(insn))
        t->in_t0 = -1;
    t->e.touched_rax = false;
}

/* If one is open there: T0 is its host address, less t->at. Only that register is touched. */
static bool through_open(struct translator *t, const struct window *key, int64_t offset,
                         unsigned bytes, bool writes)
{
    struct window *w = find_open(t, key, offset, bytes, writes, &t->at);
    if (!w)
        return false;
    t->window = w;
    if (t->in_t0 != w->cell || t->e.touched_rax)
        emit_load(&t->e, T0, op_abs(&t->jit->windows[w->cell].host));
    note_t0(t, w);
    return true;
}

/* An address and all bytes that an access may mean, for a window: one that is open, or is opened
 * now; then T0 is its host address, less t->at. `bytes` are to be found at once, or none. */
static bool through_window(struct translator *t, const struct insn *insn,
                           const struct address *address, struct guest_access this, unsigned bytes)
{
    struct window key;
    int64_t offset;
    if (!window_key(t, address, &key, &offset))
        return false;
    if (through_open(t, &key, offset, this.bytes, this.writes))
        return true;
    int32_t by;
    struct window *w = window_for(t, insn, &key, offset, this, bytes == 0, &by);
    if (!w)
        return false;
    t->window = w;
    t->at = (int32_t)(offset - w->low);
    struct address low = *address;
    low.disp -= t->at;
    bool far = address->base != GPR_CODE && low.disp != (int32_t)low.disp;
    if (far) {
        t->windows.count = 0;
        return false;
    }
    struct jit_opening *opening = new_opening(t, w, t->at, bytes, this.writes);
    uint16_t place = insn_place(t, insn);
    int tail = version_tail(t, insn, w);
    opening->tail = tail >= 0;
    if (by)
        slide_window(t, place, w, by, tail, &low, opening);
    else
        open_window(t, place, w, tail, &low, opening);
    note_t0(t, w);
    return true;
}

/* It does nothing to the host's flags that flags.c is not told of. */
static bool tells_of_flags(const struct insn *insn)
{
    switch (insn->op) {
    case OP_ADD ... OP_NEG:
    case OP_IMUL2 ... OP_IMUL3:
    case OP_ROL ... OP_SAR:
    case OP_MOV:
    case OP_MOVZX8 ... OP_MOVSXD:
    case OP_SETCC:
    case OP_CMOVCC:
    case OP_PUSH ... OP_PUSHI:
    case OP_LEAVE:
    case OP_CALL:
    case OP_RET:
    case OP_RETI:
        return true;
    default:
        return false;
    }
}

bool window_access_quiet(struct translator *t, const struct insn *insn, unsigned which,
                         const struct address *address, unsigned bytes, enum access access)
{
    struct window key;
    int64_t offset;
    bool known = which == 1 || operand_access(t, insn).bytes == bytes;
    if (t->no_windows || !known || !tells_of_flags(insn) || !window_key(t, address, &key, &offset))
        return false;
    return through_open(t, &key, offset, bytes, access != ACCESS_LOAD);
}

bool window_access(struct translator *t, const struct insn *insn, unsigned which,
                   const struct address *address, unsigned bytes, enum access access)
{
    struct guest_access this = {bytes, access != ACCESS_LOAD}, whole = this;
    struct address table = *address;
    bool known = which == 1 || operand_access(t, insn).bytes == bytes;
    if (t->no_windows || !known)
        return false;
    if (which == 0 && !t->aligned && window_table(t->part, insn, &table, &whole) &&
        through_window(t, insn, &table, whole, 0)) {
        unsigned index = guest_in(t, address->index, T1);
        emit_op(&t->e, ENC(0, 0, 0x8d) | ENC_W, T0, op_indexed(T0, index, address->scale, 0));
        t->in_t0 = -1;
        return true;
    }
    return through_window(t, insn, address, this, bytes);
}
