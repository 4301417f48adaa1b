/* Operands: guest registers, and memory by way of the TLB. */
#include "emu/jit/translate.h"
#include <string.h>

#define TLB_INDEX_SHIFT 7 /* 12 for the page, less 5 for an entry's 32 bytes */
_Static_assert(sizeof(struct tlb_entry) == 32, "the probe scales by it");

/* ---- registers ------------------------------------------------------------------------------- */

struct host_operand guest(const struct translator *t, unsigned number)
{
    if (number == GPR_NONE || IN_MEMORY(number))
        return op_abs(&t->cpu->s.gpr[number]);
    return op_reg(host_of(number));
}

unsigned guest_in(struct translator *t, unsigned number, unsigned temp)
{
    if (!IN_MEMORY(number))
        return host_of(number);
    emit_load(&t->e, temp, guest(t, number));
    return temp;
}

unsigned result_begin(struct translator *t, unsigned number, unsigned size, bool read)
{
    if (!IN_MEMORY(number))
        return host_of(number);
    if (read || size < SIZE_32)
        emit_load(&t->e, T1, guest(t, number));
    return T1;
}

void result_end(struct translator *t, unsigned number, unsigned host, unsigned size)
{
    if (IN_MEMORY(number))
        emit_store(&t->e, guest(t, number), host);
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
    return t->part->rip + insn->offset;
}

struct cold *add_cold(struct translator *t, enum cold_kind kind, uint8_t *hole)
{
    if (t->cold_count == MAX_COLD) {
        t->failed = true;
        t->cold_count = 0;
    }
    struct cold *cold = &t->cold[t->cold_count++];
    *cold = (struct cold){.kind = kind, .hole = hole};
    return cold;
}

/* ---- memory ---------------------------------------------------------------------------------- */

struct host_operand host_memory(void)
{
    return op_mem(T0, 0);
}

/* LEA of what the guest's registers say; `at` is the address size. */
static void load_address(struct translator *t, struct host_operand from, unsigned at)
{
    emit_op(&t->e, ENC(0, 0, 0x8d) | (at == SIZE_64 ? ENC_W : 0), T0, from);
}

void address_of(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    unsigned base = guest_number(insn->base), index = guest_number(insn->index);
    unsigned width = insn->addr_size == SIZE_64 ? ENC_W : 0;

    if (base == GPR_CODE || (base == GPR_NONE && index == GPR_NONE)) {
        uint64_t at = (base == GPR_CODE ? t->part->rip : 0) + (uint64_t)insn->disp;
        emit_mov_imm(e, T0, insn->addr_size == SIZE_64 ? at : (uint32_t)at);
    } else if (base == GPR_NONE) {
        load_address(t, op_indexed(H_NONE, guest_in(t, index, T0), insn->scale, insn->disp),
                     insn->addr_size);
    } else if (index == GPR_NONE) {
        unsigned from = guest_in(t, base, T0);
        if (insn->disp == 0)
            emit_op(e, ENC(0, 0, 0x8b) | width, T0, op_reg(from));
        else
            load_address(t, op_mem(from, insn->disp), insn->addr_size);
    } else {
        unsigned from = guest_in(t, base, T0);
        load_address(t, op_indexed(from, guest_in(t, index, T1), insn->scale, insn->disp),
                     insn->addr_size);
    }
}

void linear_address(struct translator *t, const struct insn *insn)
{
    address_of(t, insn);
    if (insn->seg == SEG_FS || insn->seg == SEG_GS)
        emit_op(&t->e, ENC(0, 0, 0x03) | ENC_W, T0, op_abs(&t->cpu->s.seg[insn->seg].base));
}

static unsigned stub_for(unsigned bytes, enum access access)
{
    unsigned first = access == ACCESS_LOAD    ? STUB_LOAD
                     : access == ACCESS_STORE ? STUB_STORE
                                              : STUB_RMW;
    switch (bytes) {
    case 1:
        return first;
    case 2:
        return first + 1;
    case 4:
        return first + 2;
    case 8:
        return first + 3;
    case 16:
        return first + 4;
    default:
        return first + 5;
    }
}

static struct host_operand tlb_field(const struct translator *t, size_t field)
{
    return op_mem(T1, (int32_t)((uintptr_t)t->tlb + field));
}

/* RORX T1, T0, 7: leaves the flags alone, not that it matters here. */
static void emit_index(struct translator *t)
{
    static const uint8_t rorx[] = {0xc4, 0x63, 0xfb, 0xf0, 0xd8, TLB_INDEX_SHIFT};
    if (t->jit->has_bmi2) {
        for (unsigned i = 0; i < sizeof(rorx); i++)
            emit8(&t->e, rorx[i]);
    } else {
        emit_mov_rr(&t->e, T1, T0);
        emit_op(&t->e, ENC(0, 0, 0xc1) | ENC_W, 5, op_reg(T1)); /* SHR */
        emit8(&t->e, TLB_INDEX_SHIFT);
    }
    emit_alu_imm(&t->e, 4, SIZE_32, op_reg(T1), (TLB_SIZE - 1) << 5);
}

/*
 * The probe. The tag is the page's address, so exclusive-or leaves the offset in the page where it
 * matches; one comparison then tells both a miss and an access that runs over the page's end.
 */
void probe(struct translator *t, const struct insn *insn, unsigned bytes, enum access access)
{
    struct emitter *e = &t->e;
    size_t tag = access == ACCESS_LOAD ? offsetof(struct tlb_entry, read)
                                       : offsetof(struct tlb_entry, write);
    emit_index(t);
    emit_op(e, ENC(0, 0, 0x33) | ENC_W, T0, tlb_field(t, tag));
    emit_alu_imm(e, 7, SIZE_64, op_reg(T0), (int32_t)(0x1000 - bytes));
    struct cold *cold = add_cold(t, COLD_ACCESS, emit_jcc(e, CC_A, NULL));
    emit_op(e, ENC(0, 0, 0x03) | ENC_W, T0, tlb_field(t, offsetof(struct tlb_entry, host)));
    cold->resume = e->at;
    cold->stub = stub_for(bytes, access);
    cold->write = access != ACCESS_LOAD;
    cold->site = jit_site(insn_rip(t, insn), insn->length);
}

void access_memory(struct translator *t, const struct insn *insn, unsigned bytes,
                   enum access access)
{
    flags_keep(t, FL_ALL);
    linear_address(t, insn);
    probe(t, insn, bytes, access);
}

static void check_mark(struct translator *t, uint64_t site)
{
    struct emitter *e = &t->e;
    flags_keep(t, t->live_after);
    emit_load(e, T1, tlb_field(t, offsetof(struct tlb_entry, mark)));
    emit_op(e, ENC(0, 0, 0xf6), 0, op_mem(T1, 0)); /* TEST byte, 1 */
    emit8(e, 1);
    struct cold *cold = add_cold(t, COLD_STORED, emit_jcc(e, CC_NE, NULL));
    cold->resume = e->at;
    cold->site = site;
}

void stored(struct translator *t, const struct insn *insn)
{
    check_mark(t, jit_site(insn_rip(t, insn), insn->length));
}

void stored_at(struct translator *t, uint64_t next)
{
    check_mark(t, next == JIT_SITE_TARGET ? next : jit_site(next, 0));
}

/* ---- the interpreter's help ------------------------------------------------------------------ */

static const struct insn *stop(struct cpu *cpu, const struct insn *insn)
{
    return insn;
}

const struct insn *keep_insn(struct translator *t, const struct insn *insn)
{
    struct insn *copy = jit_cache_data(t->jit, 2 * sizeof(*copy));
    copy[0] = *insn;
    copy[1] = (struct insn){.handler = stop, .op = OP_BLOCK_END};
    return copy;
}

void call_handler(struct translator *t, const struct insn *insn)
{
    struct emitter *e = &t->e;
    flags_to_memory(t);
    emit_mov_imm(e, T1, jit_site(insn_rip(t, insn), insn->length));
    emit_mov_imm(e, T0, (uintptr_t)keep_insn(t, insn));
    emit_call(e, t->jit->stub[STUB_HANDLER]);
    if (t->uses_xmm)
        emit_call(e, t->jit->stub[STUB_LOAD_XMM]);
    t->flags_host = false;
    t->flags_memory = true;
}
