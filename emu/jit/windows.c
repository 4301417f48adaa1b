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
#include "emu/cpu/mmu.h"
#include "emu/jit/translate.h"
#include <limits.h>
#include <string.h>

#define MAX_SPAN  1024 /* bytes of a window */
#define MAX_MOVED (1 << 28)
#define MAX_SLIDE 1024 /* bytes a turn */
#define MAX_AHEAD 96   /* instructions looked at for what a window should hold */
#define MAX_DEPTH 5    /* parts, one behind the other */

/* ---- addresses ------------------------------------------------------------------------------- */

/* Those of an address that a window is about, and the rest of it; false if none can be. */
static bool key_of(const struct translator *t, const struct address *a, struct window *ret_key,
                   int64_t *ret_offset)
{
    bool constant = a->base == GPR_CODE || (a->base == GPR_NONE && a->index == GPR_NONE);
    bool segment = a->segment == SEG_FS || a->segment == SEG_GS;
    if (a->size != t->word || (segment && t->word != SIZE_64))
        return false;
    *ret_key = (struct window){.base = constant ? GPR_NONE : a->base,
                               .index = constant ? GPR_NONE : a->index,
                               .scale = constant ? 0 : a->scale,
                               .segment = segment ? a->segment : SEG_NONE};
    *ret_offset = a->disp + (a->base == GPR_CODE ? (int64_t)a->code : 0);
    return true;
}

static bool same_registers(const struct window *a, const struct window *b)
{
    return a->base == b->base && a->index == b->index && a->scale == b->scale &&
           a->segment == b->segment;
}

static uint16_t registers_of(const struct window *w)
{
    unsigned base = w->base < GPR_COUNT ? 1u << w->base : 0;
    return (uint16_t)(base | (w->index < GPR_COUNT ? 1u << w->index : 0));
}

/* What an instruction does to the registers: false when they are not what they were. Else *moved
 * grows by what they have moved. */
static bool follow(const struct window *w, unsigned word, const struct insn *insn, int64_t *moved)
{
    unsigned reg;
    int64_t by;
    uint16_t others = registers_written(insn);
    if (insn->op == OP_CALL) /* other code has windows of its own */
        return false;
    if (insn->op == OP_POP && insn->size == word && !insn_has_memory(insn)) {
        others = 1u << guest_number(insn->rm);
        reg = RSP;
        by = 1 << word;
    } else if (adds_constant(insn, word, &reg, &by)) {
        others = 0;
    } else {
        return !(others & registers_of(w)) && others != 0xffff;
    }
    if (w->base == reg)
        *moved += by;
    if (w->index == reg)
        *moved += by * (1 << w->scale);
    return !(others & registers_of(w)) && *moved > -MAX_MOVED && *moved < MAX_MOVED;
}

/* ---- what a window should hold --------------------------------------------------------------- */

struct ahead {
    struct window w;
    int64_t low, high;
    unsigned uses, looked;
    bool table; /* it is for accesses through a bounded index, too */
};

static void meet(struct ahead *ahead, const struct window *key, int64_t offset,
                 struct guest_access access, bool surely)
{
    if (!access.bytes || !same_registers(key, &ahead->w) ||
        (access.writes && !ahead->w.writes && !surely))
        return;
    int64_t low = MIN(ahead->low, offset), high = MAX(ahead->high, offset + access.bytes);
    if (high - low > MAX_SPAN)
        return;
    ahead->low = low;
    ahead->high = high;
    ahead->w.writes |= access.writes;
    ahead->uses++;
}

/* The register's largest value before the instruction, as far as one can see. */
static unsigned bound_of(const struct block *block, const struct insn *insn, unsigned reg)
{
    while (insn-- > block->insns) {
        if (!(registers_written(insn) >> reg & 1))
            continue;
        if (insn->size < SIZE_32)
            return UINT_MAX;
        if (insn->op == OP_MOVZX8 && guest_number(insn->reg) == reg)
            return UINT8_MAX;
        bool masked = insn->op == OP_AND && insn->shape == SHAPE_RI && insn->imm <= UINT8_MAX;
        return masked && guest_number(insn->rm) == reg ? (unsigned)insn->imm : UINT_MAX;
    }
    return UINT_MAX;
}

/* Is the operand, or *address, in a table? Those become the table's. */
static bool table_of(const struct part *part, const struct insn *insn, struct address *address,
                     struct guest_access *access)
{
    if (!insn_has_memory(insn) || !access->bytes || address->index >= GPR_COUNT ||
        address->index == address->base)
        return false;
    unsigned most = bound_of(part->block, insn, address->index);
    if (most > MAX_SPAN || (most << address->scale) + access->bytes > MAX_SPAN)
        return false;
    access->bytes += most << address->scale;
    address->index = GPR_NONE;
    address->scale = 0;
    return true;
}

static void look_at(const struct translator *t, struct ahead *ahead, const struct part *part,
                    const struct insn *insn, int64_t moved, bool surely)
{
    struct window key;
    int64_t offset;
    struct address a = operand_address(t, part, insn);
    if (insn_has_memory(insn) && key_of(t, &a, &key, &offset))
        meet(ahead, &key, offset + moved, operand_access(t, insn), surely);
    unsigned base;
    int32_t disp;
    struct guest_access whole = operand_access(t, insn);
    if (ahead->table && table_of(part, insn, &a, &whole) && key_of(t, &a, &key, &offset))
        meet(ahead, &key, offset + moved, whole, surely);
    struct guest_access stack = stack_access(t, insn, &base, &disp);
    a = (struct address){.base = base, .index = GPR_NONE, .size = t->word, .disp = disp};
    if (key_of(t, &a, &key, &offset))
        meet(ahead, &key, offset + moved, stack, surely);
}

/* How far a loop moves an address each turn, if its registers change by constants only. */
static int64_t moves_by(const struct window *w, const struct part *head)
{
    int64_t by = w->base < GPR_COUNT ? head->loop_moves[w->base] : 0;
    if (w->index < GPR_COUNT)
        by += (int64_t)head->loop_moves[w->index] * (1 << w->scale);
    return registers_of(w) & head->loop_sets ? 0 : by;
}

/* A loop's end is reached: it is used once more if it stays as it is, or slides. */
static void next_turn(struct ahead *ahead, const struct part *head)
{
    int64_t by = moves_by(&ahead->w, head);
    bool slides = by && by >= -MAX_SLIDE && by <= MAX_SLIDE;
    if (slides)
        ahead->w.slide = by > 0 ? 1 : -1;
    ahead->uses += slides || !(registers_of(&ahead->w) & head->loop_writes);
}

static void look_ahead(const struct translator *t, struct ahead *ahead, const struct part *part,
                       unsigned from, int64_t moved, unsigned depth)
{
    for (unsigned i = from; i < part->block->count; i++) {
        const struct insn *insn = &part->block->insns[i];
        if (ahead->looked++ == MAX_AHEAD)
            return;
        look_at(t, ahead, part, insn, moved, depth == 0);
        if (!follow(&ahead->w, t->word, insn, &moved))
            return;
    }
    for (unsigned way = 0; way < 2; way++) {
        if (part->next[way] < 0)
            continue;
        const struct part *to = &t->parts[part->next[way]];
        if (part->back[way])
            next_turn(ahead, to);
        else if (to->predecessors == 1 && !to->loop_head && depth < MAX_DEPTH)
            look_ahead(t, ahead, to, 0, moved, depth + 1);
    }
}

/* ---- open windows ---------------------------------------------------------------------------- */

void windows_step(struct translator *t, const struct insn *insn, bool translated)
{
    struct windows *ws = &t->windows;
    unsigned count = 0;
    for (unsigned i = 0; i < ws->count && translated; i++) {
        struct window w = ws->open[i];
        int64_t moved = 0;
        if (!follow(&w, t->word, insn, &moved))
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
        if (!(registers_of(w) & changing))
            ws->open[count++] = *w;
    }
    ws->count = count;
}

static bool same_window(const struct window *a, const struct window *b)
{
    return same_registers(a, b) && a->writes == b->writes && a->cell == b->cell &&
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
        if (!same_registers(w, key) || (writes && !w->writes) || at < 0 || at + bytes > w->span)
            continue;
        *ret_at = (int32_t)at;
        return w;
    }
    return NULL;
}

/* One more, with a place for its host address; the oldest goes if need be. */
static struct window *add_window(struct windows *ws, const struct ahead *ahead)
{
    if (ws->count == MAX_OPEN)
        memmove(ws->open, ws->open + 1, --ws->count * sizeof(struct window));
    uint32_t used = 0;
    for (unsigned i = 0; i < ws->count; i++)
        used |= 1u << ws->open[i].cell;
    struct window *w = &ws->open[ws->count++];
    *w = ahead->w;
    w->low = ahead->low;
    w->span = (int32_t)(ahead->high - ahead->low);
    w->cell = (uint8_t)__builtin_ctz(~used);
    return w;
}

/* One that slid away from what is wanted now, and can follow; *ret_by: how far. */
static struct window *find_slid(struct windows *ws, const struct ahead *ahead, int32_t *ret_by)
{
    for (unsigned i = 0; i < ws->count; i++) {
        struct window *w = &ws->open[i];
        int64_t by = ahead->low - w->low;
        bool onward = w->slide > 0 ? by > 0 && by <= MAX_SLIDE : by < 0 && by >= -MAX_SLIDE;
        if (w->slide && onward && same_registers(w, &ahead->w) && (w->writes || !ahead->w.writes) &&
            ahead->high - ahead->low <= w->span) {
            *ret_by = (int32_t)by;
            return w;
        }
    }
    return NULL;
}

/* The window for an access: a new one, or if *ret_by one that is to slide by as much. */
static struct window *plan(struct translator *t, const struct insn *insn, const struct window *key,
                           int64_t offset, struct guest_access access, bool table, int32_t *ret_by)
{
    struct ahead ahead = {.w = *key, .low = offset, .high = offset + access.bytes, .table = table};
    ahead.w.writes = access.writes;
    unsigned at = (unsigned)(insn - t->part->block->insns);
    look_ahead(t, &ahead, t->part, at, 0, 0);
    *ret_by = 0;
    if (t->in_tail)
        return NULL;
    struct window *slid = find_slid(&t->windows, &ahead, ret_by);
    if (slid) {
        slid->low = ahead.low;
        if (slid->aligned && *ret_by & (slid->aligned - 1))
            slid->aligned = slid->aligned_at = 0;
    }
    if (slid || ahead.uses < 2)
        return slid;
    return add_window(&t->windows, &ahead);
}

/* ---- accesses -------------------------------------------------------------------------------- */

/* What the look needs to know in the cold: see jit_open_window(). */
static struct jit_opening *new_opening(struct translator *t, const struct window *w, int32_t at,
                                       unsigned bytes, bool writes)
{
    struct jit_opening *opening = jit_cache_data(t->jit, sizeof(*opening));
    *opening = (struct jit_opening){.region = t->region,
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

static void open_window(struct translator *t, uint64_t site, const struct window *w, int tail,
                        const struct address *low, struct jit_opening *opening)
{
    struct emitter *e = &t->e;
    struct jit_window *cell = &t->jit->windows[w->cell];
    emit_address(t, low);
    struct cold *cold = emit_lookup(t, site, low, COLD_WINDOW, (unsigned)w->span, w->writes);
    unsigned at = t->cold_count - 1;
    cold->address = *low;
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
        marked->address = t->cold[at].address;
        marked->site = t->cold[at].site;
        marked->opening = opening;
        marked->tail = t->cold[at].tail;
        marked->resume = e->at;
    }
    emit_store(e, op_abs(&cell->host), T0);
    if (w->slide)
        emit_slide(t, w, cell, low);
}

static void slide_window(struct translator *t, uint64_t site, const struct window *w, int32_t by,
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
    cold->site = site;
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
    open_window(t, cold->site, &cold->window, cold->tail, &cold->address, cold->opening);
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

/* An address and all bytes that an access may mean, for a window: one that is open, or is opened
 * now; then T0 is its host address, less t->at. `bytes` are to be found at once, or none. */
static bool through_window(struct translator *t, const struct insn *insn,
                           const struct address *address, struct guest_access this, unsigned bytes)
{
    struct window key;
    int64_t offset;
    if (!key_of(t, address, &key, &offset))
        return false;
    struct window *w = find_open(t, &key, offset, this.bytes, this.writes, &t->at);
    if (w) {
        t->window = w;
        if (t->in_t0 != w->cell || t->e.touched_rax)
            emit_load(&t->e, T0, op_abs(&t->jit->windows[w->cell].host));
        note_t0(t, w);
        return true;
    }
    int32_t by;
    w = plan(t, insn, &key, offset, this, bytes == 0, &by);
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
    uint64_t site = jit_site(insn_rip(t, insn), insn->length);
    int tail = version_tail(t, insn, w);
    opening->tail = tail >= 0;
    if (by)
        slide_window(t, site, w, by, tail, &low, opening);
    else
        open_window(t, site, w, tail, &low, opening);
    note_t0(t, w);
    return true;
}

bool window_access(struct translator *t, const struct insn *insn, unsigned which,
                   const struct address *address, unsigned bytes, enum access access)
{
    struct guest_access this = {bytes, access != ACCESS_LOAD}, whole = this;
    struct address table = *address;
    bool known = which == 1 || operand_access(t, insn).bytes == bytes;
    if (t->no_windows || !known)
        return false;
    if (which == 0 && !t->aligned && table_of(t->part, insn, &table, &whole) &&
        through_window(t, insn, &table, whole, 0)) {
        unsigned index = guest_in(t, address->index, T1);
        emit_op(&t->e, ENC(0, 0, 0x8d) | ENC_W, T0, op_indexed(T0, index, address->scale, 0));
        t->in_t0 = -1;
        return true;
    }
    return through_window(t, insn, address, this, bytes);
}
