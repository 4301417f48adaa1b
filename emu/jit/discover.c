/*
 * What belongs to a region: the blocks of its page that direct branches lead to from its head, as
 * far as they have run.
 *
 * Where another region has a block already, and may be entered there (doors.c), this one leads to
 * that; but loops are kept together, and exits that are passed often have the region made anew,
 * with all that it leads to: so what is hot is in one piece, and what is not takes no more room
 * than it must.
 */
#include "emu/jit/flow.h"
#include "emu/jit/kinds.h"
#include "emu/jit/operands.h"
#include "emu/jit/versions.h"

static const struct insn *last_insn(const struct block *block)
{
    return &block->insns[block->count - 1];
}

static int find_part(const struct translator *t, uint64_t rip)
{
    for (unsigned i = 0; i < t->part_count; i++)
        if (t->parts[i].rip == rip)
            return (int)i;
    return -1;
}

static int add_part(struct translator *t, struct block *block, uint64_t rip)
{
    if (t->part_count == REGION_MAX_BLOCKS || t->insn_count + block->count > REGION_MAX_INSNS)
        return -1;
    struct part *part = &t->parts[t->part_count];
    *part = (struct part){.block = block, .rip = rip, .next = {-1, -1}};
    t->insn_count += block->count;
    return (int)t->part_count++;
}

/* The ways a part goes on: 0 taken, 1 not taken. */
static void find_ways(const struct translator *t, struct part *part)
{
    const struct insn *last = last_insn(part->block);
    uint64_t behind = code_address(t, part->rip + part->block->bytes);
    part->calls = last->op == OP_CALL || last->op == OP_CALL_E;
    if (is_direct_branch(t, last)) {
        part->goes[0] = true;
        part->target[0] = code_address(t, part->rip + last->imm);
        if (t->word == SIZE_16)
            part->target[0] &= UINT16_MAX;
        part->goes[1] = last->op != OP_JMP; /* a CALL's is where it comes back to */
        part->target[1] = behind;
    } else if (part->block->open || keeps_mode(t, last) ||
               (last->op == OP_CALL_E && last->size == t->word)) {
        part->goes[1] = true;
        part->target[1] = behind;
    }
}

/* 16-bit code is translated up to 64 KiB: there its limit may end, and where branches lead is cut.
 */
bool block_runs_over(const struct cpu *cpu, const struct block *block, uint64_t rip)
{
    return !(cpu->mode & (MODE_LONG | MODE_CODE32)) && rip + block->bytes > 0x10000;
}

bool is_others(const struct translator *t, uint64_t rip)
{
    for (unsigned i = 0; i < t->other_count; i++)
        if (t->others[i] == rip)
            return true;
    return false;
}

/* Only what has run, and is not to be left to others: it is decoded, and worth it. A call's target
 * is another region's matter. */
static int follow(struct translator *t, const struct part *from, unsigned way)
{
    uint64_t rip = from->target[way];
    uint64_t linear = code_linear(t, rip);
    if ((linear ^ t->region->linear) & PAGE_MASK || t->region->crossing)
        return -1;
    if (way == 0 && last_insn(from->block)->op == OP_CALL)
        return -1;
    int known = find_part(t, rip);
    if (known >= 0)
        return known;
    if (is_others(t, rip))
        return -1;
    uint64_t phys = (t->region->phys & PAGE_MASK) | (linear & ~PAGE_MASK);
    struct block *block = block_peek(t->cpu, phys);
    if (!block || block->crossing || block_runs_over(t->cpu, block, rip))
        return -1;
    return add_part(t, block, rip);
}

static void follow_all(struct translator *t, struct block *block, uint64_t rip)
{
    t->part_count = t->insn_count = 0;
    add_part(t, block, rip);
    t->parts[0].loop_head = true;
    for (unsigned i = 0; i < t->part_count; i++) {
        struct part *part = &t->parts[i];
        find_ways(t, part);
        for (unsigned way = 2; way-- > 0;) {
            if (!part->goes[way])
                continue;
            int next = part->next[way] = follow(t, part, way);
            if (next < 0)
                continue;
            t->parts[next].predecessors++;
        }
    }
    versions_find_loops(t);
}

/* Parts that other regions have, too, unless they are in a loop of this one. */
static bool find_others(struct translator *t)
{
    for (unsigned i = 1; i < t->part_count; i++) {
        const struct part *part = &t->parts[i];
        uint64_t offset = code_linear(t, part->rip) & ~PAGE_MASK;
        if (!part->in_loop && offset <= 0x1000 - INSN_MAX_LENGTH &&
            jit_cache_knows(t->jit, part->rip, (t->region->phys & PAGE_MASK) | offset,
                            t->region->hasty))
            t->others[t->other_count++] = part->rip;
    }
    return t->other_count > 0;
}

void discover(struct translator *t, struct block *block, uint64_t rip)
{
    t->other_count = 0;
    follow_all(t, block, rip);
    if (!block->whole && find_others(t))
        follow_all(t, block, rip);
    for (unsigned i = 0; i < t->part_count; i++) {
        const struct block *b = t->parts[i].block;
        for (unsigned n = 0; n < b->count; n++) {
            unsigned off = b->insns[n].prefix & PREFIX_VEX ? MODE_NO_AVX : MODE_NO_SSE;
            t->uses_xmm |= insn_uses_xmm(&b->insns[n]) && !(t->mode & off);
            bool x87 = insn_uses_x87(&b->insns[n]) || insn_uses_mmx(&b->insns[n]);
            t->uses_x87 |= x87 && !(t->mode & MODE_NO_FPU);
        }
    }
}
