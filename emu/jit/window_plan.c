/*
 * What a window should hold: a look ahead, from the access that opens it, at those that go through
 * the same registers. Nothing is emitted here.
 */
#include "emu/jit/window_plan.h"
#include "emu/jit/flags.h"
#include <limits.h>

#define MAX_SPAN  1024 /* bytes of a window */
#define MAX_MOVED (1 << 28)
#define MAX_AHEAD 96 /* instructions looked at for what a window should hold */
#define MAX_DEPTH 5  /* parts, one behind the other */

/* ---- addresses ------------------------------------------------------------------------------- */

bool window_key(const struct translator *t, const struct address *a, struct window *ret_key,
                int64_t *ret_offset)
{
    bool constant = a->base == GPR_CODE || (a->base == GPR_NONE && a->index == GPR_NONE);
    bool segment = a->segment == SEG_FS || a->segment == SEG_GS;
    if (a->size != t->word || (segment && t->word != SIZE_64))
        return false;
    /* What is far from the code moves with it; other constant addresses do not. */
    *ret_key = (struct window){.base = a->base,
                               .index = constant ? GPR_NONE : a->index,
                               .scale = constant ? 0 : a->scale,
                               .segment = segment ? a->segment : SEG_NONE};
    *ret_offset = a->disp + (a->base == GPR_CODE ? (int64_t)a->code : 0);
    return true;
}

bool window_same_registers(const struct window *a, const struct window *b)
{
    return a->base == b->base && a->index == b->index && a->scale == b->scale &&
           a->segment == b->segment;
}

uint16_t window_registers(const struct window *w)
{
    unsigned base = w->base < GPR_COUNT ? 1u << w->base : 0;
    return (uint16_t)(base | (w->index < GPR_COUNT ? 1u << w->index : 0));
}

bool window_follow(const struct window *w, unsigned word, const struct insn *insn, int64_t *moved)
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
        return !(others & window_registers(w)) && others != 0xffff;
    }
    if (w->base == reg)
        *moved += by;
    if (w->index == reg)
        *moved += by * (1 << w->scale);
    return !(others & window_registers(w)) && *moved > -MAX_MOVED && *moved < MAX_MOVED;
}

/* ---- what a window should hold --------------------------------------------------------------- */

static void meet(struct window_plan *plan, const struct window *key, int64_t offset,
                 struct guest_access access, bool surely)
{
    if (!access.bytes || !window_same_registers(key, &plan->w) ||
        (access.writes && !plan->w.writes && !surely))
        return;
    int64_t low = MIN(plan->low, offset), high = MAX(plan->high, offset + access.bytes);
    if (high - low > MAX_SPAN)
        return;
    plan->low = low;
    plan->high = high;
    plan->w.writes |= access.writes;
    plan->uses++;
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

bool window_table(const struct part *part, const struct insn *insn, struct address *address,
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

static void look_at(const struct translator *t, struct window_plan *plan, const struct part *part,
                    const struct insn *insn, int64_t moved, bool surely)
{
    struct window key;
    int64_t offset;
    struct address a = operand_address(t, part, insn);
    if (insn_has_memory(insn) && window_key(t, &a, &key, &offset))
        meet(plan, &key, offset + moved, operand_access(t, insn), surely);
    unsigned base;
    int32_t disp;
    struct guest_access whole = operand_access(t, insn);
    if (plan->table && window_table(part, insn, &a, &whole) && window_key(t, &a, &key, &offset))
        meet(plan, &key, offset + moved, whole, surely);
    struct guest_access stack = stack_access(t, insn, &base, &disp);
    a = (struct address){.base = base, .index = GPR_NONE, .size = t->word, .disp = disp};
    if (window_key(t, &a, &key, &offset))
        meet(plan, &key, offset + moved, stack, surely);
}

/* How far a loop moves an address each turn, if its registers change by constants only. */
static int64_t moves_by(const struct window *w, const struct part *head)
{
    int64_t by = w->base < GPR_COUNT ? head->loop_moves[w->base] : 0;
    if (w->index < GPR_COUNT)
        by += (int64_t)head->loop_moves[w->index] * (1 << w->scale);
    return window_registers(w) & head->loop_sets ? 0 : by;
}

/* A loop's end is reached: it is used once more if it stays as it is, or slides. */
static void next_turn(struct window_plan *plan, const struct part *head)
{
    int64_t by = moves_by(&plan->w, head);
    bool slides = by && by >= -WINDOW_MAX_SLIDE && by <= WINDOW_MAX_SLIDE;
    if (slides)
        plan->w.slide = by > 0 ? 1 : -1;
    plan->uses += slides || !(window_registers(&plan->w) & head->loop_writes);
}

void window_look_ahead(const struct translator *t, struct window_plan *plan,
                       const struct part *part, unsigned from, int64_t moved, unsigned depth)
{
    for (unsigned i = from; i < part->block->count; i++) {
        const struct insn *insn = &part->block->insns[i];
        if (plan->looked++ == MAX_AHEAD)
            return;
        look_at(t, plan, part, insn, moved, depth == 0);
        if (!window_follow(&plan->w, t->word, insn, &moved))
            return;
    }
    for (unsigned way = 0; way < 2; way++) {
        if (part->next[way] < 0)
            continue;
        const struct part *to = &t->parts[part->next[way]];
        if (part->back[way])
            next_turn(plan, to);
        else if (to->predecessors == 1 && !to->loop_head && depth < MAX_DEPTH)
            window_look_ahead(t, plan, to, 0, moved, depth + 1);
    }
}
