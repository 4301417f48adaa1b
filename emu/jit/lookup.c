/*
 * Where a linear address is in the host: in a cell, or in the software TLB.
 *
 * A cell is a copy of one TLB entry at a known address, so a look needs no index: two steps less,
 * and the address of the entry does not wait for that of the operand. Cells serve accesses that
 * mostly find the page they found last time: by way of the stack pointer, at addresses that the
 * instruction names, and in loops by one instruction. One that is wrong is filled from the TLB
 * (STUB_CELL), without C; instructions that do so too often have to do without (cells.c).
 */
#include "emu/jit/operands.h"
#include <string.h>

#define TLB_INDEX_SHIFT 7 /* 12 for the page, less 5 for an entry's 32 bytes */
_Static_assert(sizeof(struct tlb_entry) == 32, "the look scales by it");

/* ---- the TLB --------------------------------------------------------------------------------- */

static struct host_operand tlb_field(const struct translator *t, size_t field)
{
    return op_mem(T1, (int32_t)((uintptr_t)t->tlb + field));
}

static size_t tag_field(bool writes)
{
    return writes ? offsetof(struct tlb_entry, write) : offsetof(struct tlb_entry, read);
}

/* RORX T1, T0, 7, or what does the same. */
void emit_tlb_index(struct emitter *e, bool has_bmi2)
{
    static const uint8_t rorx[] = {0xc4, 0x63, 0xfb, 0xf0, 0xd8, TLB_INDEX_SHIFT};
    if (has_bmi2) {
        for (unsigned i = 0; i < sizeof(rorx); i++)
            emit8(e, rorx[i]);
    } else {
        emit_mov_rr(e, T1, T0);
        emit_op(e, ENC(0, 0, 0xc1) | ENC_W, 5, op_reg(T1)); /* SHR */
        emit8(e, TLB_INDEX_SHIFT);
    }
    emit_alu_imm(e, 4, SIZE_32, op_reg(T1), (TLB_SIZE - 1) << 5);
}

/* ---- cells ----------------------------------------------------------------------------------- */

/* Kernels live in the upper half of their addresses, and change mappings all the time: cells would
 * be forgotten before they pay. */
static bool is_kernel(const struct translator *t)
{
    uint64_t upper = t->word == SIZE_64 ? UINT64_C(1) << 63 : 0x80000000;
    return t->kind != TLB_USER && t->region->rip & upper;
}

/* The cell that the instruction at a place uses for accesses through such an address, or -1. */
static int cell_for(const struct translator *t, const struct address *a, unsigned place)
{
    unsigned site = jit_site((t->region->phys & PAGE_MASK) | (place & ~PAGE_MASK));
    bool constant = a->base == GPR_NONE && a->index == GPR_NONE;
    if (t->jit->roams[site])
        return -1;
    if (a->base == RSP)
        return 0;
    if (a->base != GPR_CODE && !constant)
        return t->part->in_loop && !is_kernel(t) ? (int)site : -1;
    uint64_t page = ((a->base == GPR_CODE ? a->code : 0) + (uint64_t)a->disp) >> 12;
    uint64_t key = (page ^ (uint64_t)a->segment << 56) * UINT64_C(0x9e3779b97f4a7c15);
    return 1 + (int)((key >> 32) % (JIT_FIXED_CELLS - 1));
}

static struct jit_cell *cell_of(const struct translator *t)
{
    return &t->jit->cells[t->kind][t->cell];
}

static uint64_t *limit_of(const struct translator *t, bool writes)
{
    return &t->jit->limits[t->kind][writes][t->cell];
}

/* ---- looks ----------------------------------------------------------------------------------- */

/* T0, a linear address, becomes the offset in its page if that is found and holds all the bytes:
 * the tag is the page's address, so exclusive-or leaves the offset where it matches, and one
 * comparison tells both a miss and bytes that run over the page's end. */
static uint8_t *emit_look(struct translator *t, unsigned bytes, bool writes)
{
    struct emitter *e = &t->e;
    if (t->cell < 0) {
        emit_tlb_index(e, t->jit->has_bmi2);
        emit_op(e, ENC(0, 0, 0x33) | ENC_W, T0, tlb_field(t, tag_field(writes)));
        emit_alu_imm(e, 7, SIZE_64, op_reg(T0), (int32_t)(0x1000 - bytes));
        return emit_jcc(e, CC_A, NULL);
    }
    emit_op(e, ENC(0, 0, 0x33) | ENC_W, T0, op_abs(&cell_of(t)->tag));
    emit_op(e, ENC(0, 0, 0x3b) | ENC_W, T0, op_abs(limit_of(t, writes)));
    return emit_jcc(e, CC_AE, NULL);
}

/* And from there to the host's address. */
static void emit_host(struct translator *t, bool writes)
{
    struct emitter *e = &t->e;
    bool cell = t->cell >= 0;
    emit_op(e, ENC(0, 0, 0x03) | ENC_W, T0,
            cell ? op_abs(&cell_of(t)->host) : tlb_field(t, offsetof(struct tlb_entry, host)));
    if (writes)
        emit_load(e, T1,
                  cell ? op_abs(&cell_of(t)->mark)
                       : tlb_field(t, offsetof(struct tlb_entry, mark)));
}

struct cold *emit_lookup(struct translator *t, unsigned place, const struct address *address,
                         enum cold_kind kind, unsigned bytes, bool writes)
{
    struct emitter *e = &t->e;
    /* The interpreter's instructions fill no cell. */
    t->cell = kind == COLD_HANDLER ? -1 : cell_for(t, address, place);
    struct cold *cold = add_cold(t, kind, emit_look(t, bytes, writes));
    cold->place = (uint16_t)place;
    cold->cell = (int16_t)t->cell;
    cold->write = writes;
    cold->bytes = (uint16_t)bytes;
    if (t->cell >= 0 && bytes > JIT_CELL_BYTES) { /* more than a cell's limit allows for */
        emit_alu_imm(e, 7, SIZE_64, op_reg(T0), (int32_t)(0x1000 - bytes));
        cold->second_hole = emit_jcc(e, CC_A, NULL);
    }
    emit_host(t, writes);
    cold->resume = e->at;
    return cold;
}

/* Code made in haste looks by stubs, and names the facts: a third of the room. What else there
 * is to tell when the look fails takes a cold path. */
static bool may_look_by_stub(const struct translator *t)
{
    return t->region->hasty && (t->flags_memory || !t->recipe.length) && !t->x87_last.insn &&
           !t->x87_last.memory && t->named_count < MAX_NAMED;
}

/* `look`: 0 behind a store, where what was named for the same place does, too. */
static void name_facts(struct translator *t, unsigned place, uint32_t look, unsigned stored)
{
    struct named *named = &t->named[t->named_count++];
    struct jit_facts facts = {.owner = jit_low_address(t->region),
                              .place = (uint16_t)place,
                              .stack = (int8_t)(t->stack_plus / JIT_STACK_STEP),
                              .stored = (uint8_t)stored,
                              .look = look};
    struct jit_facts *before = named > t->named ? &named[-1].facts : NULL;
    bool again = !look && before && before->place == facts.place && before->stack == facts.stack;
    if (again)
        before->stored = (uint8_t)stored;
    emit8(&t->e, JIT_NAMES_FACTS);
    *named = (struct named){t->e.at, again ? *before : facts, again};
    emit32(&t->e, 0);
}

void keep_named_facts(struct translator *t)
{
    size_t count = 0;
    for (unsigned i = 0; i < t->named_count; i++)
        count += !t->named[i].again;
    struct jit_facts *facts = translator_data(t, count * sizeof(*facts));
    if (t->e.full)
        return;
    for (unsigned i = 0; i < t->named_count; i++) {
        const struct named *named = &t->named[i];
        if (!named->again)
            *facts++ = named->facts;
        uint32_t address = jit_low_address(facts - 1);
        memcpy(named->hole, &address, sizeof(address));
    }
}

static bool emit_short_lookup(struct translator *t, const struct cold *look)
{
    struct emitter *e = &t->e;
    if (!may_look_by_stub(t) || look->bytes > JIT_PROBE_BYTES)
        return false;
    enum jit_stub stub = look->bytes > 8 ? STUB_PROBE_MORE : STUB_PROBE;
    emit_call(e, t->jit->stub[stub + 2 * t->kind + look->write]);
    name_facts(t, look->place, look_facts(look), 0);
    t->cell = -1;
    return true;
}

bool emit_short_check(struct translator *t, unsigned place, unsigned stored)
{
    if (!may_look_by_stub(t))
        return false;
    emit_call(&t->e, t->jit->stub[STUB_CHECK]);
    name_facts(t, place, 0, stored);
    return true;
}

/* ---- accesses -------------------------------------------------------------------------------- */

void probe(struct translator *t, const struct insn *insn, const struct address *address,
           unsigned bytes, enum access access)
{
    bool writes = access != ACCESS_LOAD;
    enum look kind = writes ? access == ACCESS_STORE ? LOOK_STORE : LOOK_RMW : LOOK_LOAD;
    struct cold look = {.place = (uint16_t)insn_place(t, insn),
                        .stack_plus = t->stack_plus,
                        .bytes = (uint16_t)bytes,
                        .look = kind,
                        .cell = -1,
                        .write = writes};
    if (!emit_short_lookup(t, &look))
        emit_lookup(t, look.place, address, COLD_ACCESS, bytes, writes)->look = kind;
    t->at = 0;
    t->window = NULL;
    t->store_bytes = bytes;
    t->e.lost_rax = false;
}
