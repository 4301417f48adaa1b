/*
 * Windows: accesses of a part that go through the same registers share one probe.
 *
 * A prologue's pushes, a frame's variables, the fields of a structure: their addresses differ by
 * constants. Planning walks a part once and follows how each register changes by constants;
 * accesses whose base and index are the same values form a window, the bytes from the lowest to the
 * highest of them. The first access looks the whole window up, and keeps its host address in
 * memory; the others add to that. The rights are those of the first access, so a window that loads
 * began ends at the first store, which begins another.
 *
 * A window that does not lie in one page of plain memory cannot be opened. Then the interpreter
 * runs the block, and a region where that happens often is made anew without windows.
 *
 * Code marks: where one CPU stores, a page that is not marked when the window opens stays so while
 * the window lasts, since marking happens between parts; the window's opening looks, its stores
 * need not. Where several store, each store looks, as always.
 */
#include "emu/cpu/mmu.h"
#include "emu/jit/translate.h"
#include <string.h>

#define MAX_SPAN 1024 /* bytes of a window */

/* ---- what an instruction accesses ------------------------------------------------------------ */

struct guest_access {
    unsigned bytes; /* 0: nothing, or nothing known */
    bool writes;
};

static struct guest_access access_of(unsigned bytes, bool writes)
{
    return (struct guest_access){bytes, writes};
}

/* Of the ModRM operand. */
static struct guest_access operand_access(const struct translator *t, const struct insn *insn)
{
    unsigned size = 1u << insn->size;
    bool destination = insn->shape == SHAPE_M || insn->shape == SHAPE_MI;
    bool segment = t->word != SIZE_64 && (insn->seg == SEG_FS || insn->seg == SEG_GS);
    if (!insn_has_memory(insn) || insn->addr_size != t->word || segment)
        return access_of(0, false);
    switch (insn->op) {
    case OP_ADD ... OP_AND:
    case OP_SUB:
    case OP_XOR:
    case OP_MOV:
        return access_of(size, destination);
    case OP_CMP:
    case OP_TEST:
    case OP_CMOVCC:
    case OP_IMUL2:
    case OP_IMUL3:
    case OP_MUL ... OP_IMUL1:
    case OP_DIV:
    case OP_IDIV:
    case OP_BSF ... OP_POPCNT:
    case OP_PUSH:
    case OP_JMP_E:
    case OP_CALL_E:
        return access_of(size, false);
    case OP_INC ... OP_NEG:
    case OP_ROL ... OP_SAR:
    case OP_MOVNTI:
    case OP_XCHG:
    case OP_CMPXCHG:
    case OP_XADD:
        return access_of(size, true);
    case OP_BT:
    case OP_BTS ... OP_BTC:
        return access_of(insn->shape == SHAPE_MI ? size : 0, insn->op != OP_BT);
    case OP_MOVZX8:
    case OP_MOVSX8:
        return access_of(1, false);
    case OP_MOVZX16:
    case OP_MOVSX16:
        return access_of(2, false);
    case OP_MOVSXD:
        return access_of(4, false);
    case OP_SETCC:
        return access_of(1, true);
    default: {
        bool writes = false;
        unsigned bytes = sse_operand(insn, &writes);
        if (!bytes)
            bytes = vex_operand(insn, &writes);
        if (!bytes)
            bytes = x87_operand(insn, &writes);
        return access_of(bytes, writes);
    }
    }
}

/* Of the stack, at *ret_disp from its register. */
static struct guest_access stack_access(const struct translator *t, const struct insn *insn,
                                        unsigned *ret_base, int32_t *ret_disp)
{
    unsigned bytes = 1u << t->word;
    *ret_base = RSP;
    *ret_disp = 0;
    if (insn->size != t->word)
        return access_of(0, false);
    switch (insn->op) {
    case OP_PUSH:
    case OP_PUSHI:
    case OP_PUSHF:
    case OP_CALL:
    case OP_CALL_E:
        *ret_disp = -(int32_t)bytes;
        return access_of(bytes, true);
    case OP_POP:
    case OP_RET:
    case OP_RETI:
        return access_of(insn_has_memory(insn) ? 0 : bytes, false);
    case OP_LEAVE:
        *ret_base = RBP;
        return access_of(bytes, false);
    default:
        return access_of(0, false);
    }
}

/* ---- registers that change by constants ------------------------------------------------------ */

struct value {
    uint16_t version; /* the same number: the same value, but for `delta` */
    int32_t delta;
};

struct walk {
    struct value values[GPR_SLOTS];
    uint16_t next_version;
};

/* r += imm and its like. */
static bool adds_constant(const struct insn *insn, unsigned word, unsigned *ret_register,
                          int64_t *ret_by)
{
    bool immediate = insn->shape == SHAPE_RI && insn->size == word;
    *ret_register = guest_number(insn->rm);
    switch (insn->op) {
    case OP_ADD:
        *ret_by = (int64_t)insn->imm;
        return immediate;
    case OP_SUB:
        *ret_by = -(int64_t)insn->imm;
        return immediate;
    case OP_INC:
    case OP_DEC:
        *ret_by = insn->op == OP_INC ? 1 : -1;
        return insn->shape == SHAPE_R && insn->size == word;
    case OP_LEA:
        *ret_register = guest_number(insn->reg);
        *ret_by = insn->disp;
        return insn->size == word && insn->addr_size == word && insn->base == insn->reg &&
               insn->index == GPR_NONE * 8;
    case OP_PUSH:
    case OP_PUSHI:
    case OP_PUSHF:
        *ret_register = RSP;
        *ret_by = -(1 << word);
        return insn->size == word;
    default:
        return false;
    }
}

static void step(struct walk *walk, unsigned word, const struct insn *insn)
{
    unsigned reg;
    int64_t by;
    if (adds_constant(insn, word, &reg, &by) && by > -65536 && by < 65536) {
        walk->values[reg].delta += (int32_t)by;
        return;
    }
    if (insn->op == OP_POP && insn->size == word && !insn_has_memory(insn)) {
        walk->values[RSP].delta += 1 << word;
        walk->values[guest_number(insn->rm)] = (struct value){walk->next_version++, 0};
        return;
    }
    uint16_t written = registers_written(insn);
    for (unsigned i = 0; i < GPR_COUNT; i++)
        if (written >> i & 1)
            walk->values[i] = (struct value){walk->next_version++, 0};
}

/* ---- planning -------------------------------------------------------------------------------- */

static bool same_values(const struct window *w, const struct window *key)
{
    return w->base == key->base && w->index == key->index && w->scale == key->scale &&
           w->segment == key->segment && w->base_version == key->base_version &&
           w->index_version == key->index_version;
}

static void plan_access(struct translator *t, struct planned *planned, struct window key,
                        int64_t offset, struct guest_access access)
{
    struct windows *ws = &t->windows;
    planned->window = -1;
    if (offset < -(1 << 30) || offset > 1 << 30)
        return;
    int32_t at = (int32_t)offset, end = at + (int32_t)access.bytes;
    planned->offset = at;
    for (int i = (int)ws->count - 1; i >= 0; i--) {
        struct window *w = &ws->window[i];
        if (!same_values(w, &key) || (access.writes && !w->writes))
            continue;
        int32_t low = MIN(w->low, at), high = MAX(w->high, end);
        if (high - low > MAX_SPAN)
            break;
        w->low = low;
        w->high = high;
        w->uses++;
        planned->window = i;
        return;
    }
    if (ws->count == MAX_WINDOWS)
        return;
    planned->window = (int)ws->count;
    struct window *w = &ws->window[ws->count++];
    *w = key;
    w->low = at;
    w->high = end;
    w->writes = access.writes;
    w->uses = 1;
    w->cell = -1;
}

static void plan_operand(struct translator *t, const struct walk *walk, const struct insn *insn,
                         struct planned *planned)
{
    struct guest_access access = operand_access(t, insn);
    unsigned base = guest_number(insn->base), index = guest_number(insn->index);
    planned->window = -1;
    if (!access.bytes)
        return;
    struct window key = {.base = base,
                         .index = index,
                         .scale = insn->scale,
                         .segment = insn->seg < SEG_FS ? SEG_NONE : insn->seg,
                         .base_version = walk->values[base].version,
                         .index_version = walk->values[index].version};
    int64_t offset =
        insn->disp + walk->values[base].delta + ((int64_t)walk->values[index].delta << insn->scale);
    plan_access(t, planned, key, offset, access);
}

static void plan_stack(struct translator *t, const struct walk *walk, const struct insn *insn,
                       struct planned *planned)
{
    unsigned base;
    int32_t disp;
    struct guest_access access = stack_access(t, insn, &base, &disp);
    planned->window = -1;
    if (!access.bytes)
        return;
    struct window key = {.base = base,
                         .index = GPR_NONE,
                         .segment = SEG_NONE,
                         .base_version = walk->values[base].version,
                         .index_version = walk->values[GPR_NONE].version};
    plan_access(t, planned, key, disp + walk->values[base].delta, access);
}

void windows_plan(struct translator *t)
{
    const struct block *block = t->part->block;
    struct windows *ws = &t->windows;
    struct walk walk = {.next_version = GPR_SLOTS};
    ws->count = ws->cells = 0;
    for (unsigned i = 0; i < GPR_SLOTS; i++)
        walk.values[i].version = i;
    for (unsigned i = 0; i < block->count; i++) {
        const struct insn *insn = &block->insns[i];
        ws->planned[i][0].window = ws->planned[i][1].window = -1;
        if (t->no_windows)
            continue;
        plan_operand(t, &walk, insn, &ws->planned[i][0]);
        plan_stack(t, &walk, insn, &ws->planned[i][1]);
        step(&walk, t->word, insn);
    }
}

/* ---- accesses -------------------------------------------------------------------------------- */

/* The planned access, if it may go through its window: one with others, that has a cell. */
static struct window *window_of(struct translator *t, const struct insn *insn, unsigned which,
                                unsigned bytes, bool writes, int32_t *ret_offset)
{
    struct windows *ws = &t->windows;
    const struct planned *planned = &ws->planned[insn - t->part->block->insns][which];
    if (planned->window < 0)
        return NULL;
    struct window *w = &ws->window[planned->window];
    bool inside = planned->offset >= w->low && planned->offset + (int32_t)bytes <= w->high;
    if (w->uses < 2 || !inside || (writes && !w->writes))
        return NULL;
    if (w->cell < 0) {
        if (ws->cells == JIT_WINDOWS)
            return NULL;
        w->cell = (int)ws->cells++;
    }
    *ret_offset = planned->offset - w->low;
    return w;
}

bool window_access(struct translator *t, const struct insn *insn, unsigned which,
                   const struct address *address, unsigned bytes, enum access access)
{
    struct emitter *e = &t->e;
    bool writes = access != ACCESS_LOAD;
    int32_t offset;
    struct window *w = window_of(t, insn, which, bytes, writes, &offset);
    if (!w ||
        (address->base != GPR_CODE && address->disp - offset != (int32_t)(address->disp - offset)))
        return false;
    struct jit_window *cell = &t->jit->windows[w->cell];
    t->at = offset;
    t->window = w;
    if (w->open) {
        emit_load(e, T0, op_abs(&cell->host));
        return true;
    }
    w->open = true;
    struct address low = *address;
    low.disp -= offset;
    emit_address(t, &low);
    struct cold *cold = emit_lookup(t, &low, COLD_WINDOW, (unsigned)(w->high - w->low), w->writes);
    unsigned at = t->cold_count - 1;
    cold->address = low;
    cold->site = jit_site(insn_rip(t, insn), insn->length);
    cold->opening = jit_cache_data(t->jit, sizeof(*cold->opening));
    *cold->opening = (struct jit_opening){.region = t->region,
                                          .offset = (uint16_t)offset,
                                          .bytes = (uint16_t)bytes,
                                          .span = (uint16_t)(w->high - w->low),
                                          .window_writes = w->writes,
                                          .aligned = t->aligned,
                                          .writes = writes};
    if (w->writes) {
        if (t->shared) {
            emit_store(e, op_abs(&cell->mark), T1);
        } else {
            emit_op(e, ENC(0, 0, 0xf6), 0, op_mem(T1, 0));
            emit8(e, 1);
            struct cold *marked = add_cold(t, COLD_WINDOW, emit_jcc(e, CC_NE, NULL));
            *marked = (struct cold){.kind = COLD_WINDOW,
                                    .cell = -1,
                                    .marked = true,
                                    .hole = marked->hole,
                                    .recipe = marked->recipe,
                                    .x87 = marked->x87,
                                    .part = marked->part,
                                    .address = t->cold[at].address,
                                    .site = t->cold[at].site,
                                    .opening = t->cold[at].opening};
            marked->resume = e->at;
        }
    }
    emit_store(e, op_abs(&cell->host), T0);
    return true;
}
