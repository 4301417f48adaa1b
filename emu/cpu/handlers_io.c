/* Ports. All of these end their block: a port may change what lies in memory. */
#include "emu/cpu/interp.h"
#include "emu/cpu/journal.h"

/* IOPL, then the TSS's bitmap (SDM volume 1, 19.5.2). */
static void check_rights(struct cpu *cpu, const struct insn *insn, uint16_t port, unsigned bytes)
{
    cpu->insn = insn;
    if (!cpu_protected(cpu) || (!cpu_vm86(cpu) && cpu->s.cpl <= cpu_iopl(cpu)))
        return;
    const struct segment *tss = &cpu->s.tr;
    unsigned type = tss->attributes & SEG_TYPE;
    if ((type != 9 && type != 11) || tss->limit < 103)
        cpu_raise_error(cpu, VEC_GP, 0);
    uint32_t map = mmu_system_load(cpu, tss->base + 102, 2);
    if (map + port / 8 + 1 > tss->limit)
        cpu_raise_error(cpu, VEC_GP, 0);
    uint32_t bits = mmu_system_load(cpu, tss->base + map + port / 8, 2) >> (port & 7);
    if (bits & ((1u << bytes) - 1))
        cpu_raise_error(cpu, VEC_GP, 0);
}

static void check_port(struct cpu *cpu, const struct insn *insn, uint16_t port, unsigned bytes)
{
    check_rights(cpu, insn, port, bytes);
    if (unlikely(debug_active(cpu)))
        debug_io(cpu, port, bytes);
}

static unsigned port_bytes(const struct insn *insn)
{
    return insn->size == SIZE_8 ? 1 : insn->size == SIZE_16 ? 2 : 4;
}

static void input(struct cpu *cpu, const struct insn *insn, uint16_t port)
{
    unsigned bytes = port_bytes(insn);
    check_port(cpu, insn, port, bytes);
    if (unlikely(cpu->journal))
        journal_device(cpu->journal, JOURNAL_PORT_READ, port, 0, bytes);
    cpu_spin_ends(cpu);
    uint32_t value = port_read(cpu->board->ports, port, bytes);
    set_reg_sized(cpu, RAX * 8, bytes == 4 ? SIZE_32 : insn->size, value);
}
static void output(struct cpu *cpu, const struct insn *insn, uint16_t port)
{
    unsigned bytes = port_bytes(insn);
    check_port(cpu, insn, port, bytes);
    uint32_t value = REG(cpu, uint32_t, RAX * 8);
    if (unlikely(cpu->journal))
        journal_device(cpu->journal, JOURNAL_PORT_WRITE, port, value, bytes);
    cpu_spin_ends(cpu);
    port_write(cpu->board->ports, port, bytes == 4 ? value : value & ((1u << 8 * bytes) - 1),
               bytes);
    mmu_check_version(cpu);
}

HANDLER(in_i)
{
    input(cpu, insn, insn->imm);
    LEAVE_BLOCK();
}
HANDLER(in_dx)
{
    input(cpu, insn, REG(cpu, uint16_t, RDX * 8));
    LEAVE_BLOCK();
}
HANDLER(out_i)
{
    output(cpu, insn, insn->imm);
    LEAVE_BLOCK();
}
HANDLER(out_dx)
{
    output(cpu, insn, REG(cpu, uint16_t, RDX * 8));
    LEAVE_BLOCK();
}

/* ---- strings --------------------------------------------------------------------------------- */

static uint64_t address_mask(const struct insn *insn)
{
    return insn->addr_size == SIZE_64   ? UINT64_MAX
           : insn->addr_size == SIZE_32 ? UINT32_MAX
                                        : UINT16_MAX;
}

/* The elements one call moves: those that fit into the rest of the page, at least one. */
static unsigned string_chunk(const struct cpu *cpu, const struct insn *insn, uint64_t linear,
                             uint64_t count, unsigned bytes)
{
    uint64_t room = (0x1000 - (linear & 0xfff)) / bytes;
    if (cpu->s.rflags & FLAG_DF || cpu->mode & MODE_SINGLE || !cpu_code64(cpu)) {
        /* Legacy segments could end inside the page: only flat ones run ahead. */
        const struct segment *s = &cpu->s.seg[insn->op == OP_INS ? SEG_ES : SEG_DS];
        bool ample = insn->addr_size == SIZE_32 && s->limit == UINT32_MAX;
        ample |= insn->addr_size == SIZE_16 &&
                 (cpu->s.gpr[insn->op == OP_INS ? RDI : RSI] & 0xffff) < 0xe000 &&
                 s->limit >= 0xffff;
        if (!ample || cpu->s.rflags & FLAG_DF || cpu->mode & MODE_SINGLE)
            return 1;
    }
    uint64_t n = count < room ? count : room;
    return n ? n : 1;
}

static void string_io(struct cpu *cpu, const struct insn *insn, uint64_t count, uint64_t *ret_done)
{
    bool in = insn->op == OP_INS;
    unsigned bytes = port_bytes(insn);
    unsigned reg = in ? RDI : RSI;
    uint16_t port = REG(cpu, uint16_t, RDX * 8);
    uint8_t buffer[4096];
    unsigned segment = in ? SEG_ES : insn->seg == SEG_NONE ? SEG_DS : insn->seg;
    uint64_t offset = cpu->s.gpr[reg] & address_mask(insn);
    uint64_t linear = interp_linear(cpu, insn, segment, offset, bytes, in);
    unsigned n = string_chunk(cpu, insn, linear, count, bytes);
    unsigned total = n * bytes;

    cpu_spin_ends(cpu);
    if (unlikely(cpu->journal))
        journal_device(cpu->journal, in ? JOURNAL_PORT_READ : JOURNAL_PORT_WRITE, port, n, bytes);
    if (in) {
        mmu_check_write(cpu, linear, total);
        port_read_string(cpu->board->ports, port, bytes, buffer, n);
        mmu_write_bytes(cpu, linear, buffer, total);
    } else {
        for (unsigned i = 0; i < n; i++) {
            uint64_t value = mmu_load_slow(cpu, linear + i * bytes, bytes);
            memcpy(buffer + i * bytes, &value, bytes);
        }
        port_write_string(cpu->board->ports, port, bytes, buffer, n);
    }
    int64_t step = cpu->s.rflags & FLAG_DF ? -(int64_t)bytes : (int64_t)total;
    set_reg_sized(cpu, reg * 8, insn->addr_size, cpu->s.gpr[reg] + (uint64_t)step);
    *ret_done = n;
    mmu_check_version(cpu);
}

static bool string_run(struct cpu *cpu, const struct insn *insn)
{
    uint64_t done = 1;
    check_port(cpu, insn, REG(cpu, uint16_t, RDX * 8), port_bytes(insn)); /* for no element, too */
    if (!(insn->prefix & (PREFIX_REP | PREFIX_REPNE))) {
        string_io(cpu, insn, 1, &done);
        return true;
    }
    uint64_t left = get_reg_sized(cpu, RCX * 8, insn->addr_size);
    if (left) {
        string_io(cpu, insn, left, &done);
        left -= done;
        set_reg_sized(cpu, RCX * 8, insn->addr_size, left);
    }
    return left == 0;
}
/* One chunk, then out of the block; RIP stays while there is more to do. */
HANDLER(string)
{
    if (string_run(cpu, insn))
        LEAVE_BLOCK();
    cpu->s.rip = interp_mask_ip(cpu, cpu->s.gpr[GPR_CODE] + insn->offset);
    return NULL;
}

const struct handler_row handlers_io[] = {
    {OP_IN, ALL_SHAPES(in_i)},
    {OP_IN_DX, ALL_SHAPES(in_dx)},
    {OP_OUT, ALL_SHAPES(out_i)},
    {OP_OUT_DX, ALL_SHAPES(out_dx)},
    {OP_INS, ALL_SHAPES(string)},
    {OP_OUTS, ALL_SHAPES(string)},
    {0},
};
