/* The x87 environment in memory (SDM volume 1, figures 8-9 to 8-12). */
#include "emu/cpu/x87.h"

void x87_init(struct cpu *cpu)
{
    struct fpu_state *f = &cpu->s.fpu;
    f->control = X87_DEFAULT_CONTROL;
    f->status = 0;
    f->valid = 0;
    f->opcode = 0;
    f->ip = f->dp = 0;
    f->ip_selector = f->dp_selector = 0;
}

/* The full tag word: 0 valid, 1 zero, 2 special, 3 empty, from a register's contents. */
static uint16_t full_tags(const struct fpu_state *f)
{
    uint16_t tags = 0;
    for (unsigned i = 0; i < 8; i++) {
        uint64_t mantissa;
        uint16_t exponent;
        memcpy(&mantissa, f->reg[i], 8);
        memcpy(&exponent, f->reg[i] + 8, 2);
        exponent &= 0x7fff;
        unsigned tag = 0;
        if (!(f->valid >> i & 1))
            tag = 3;
        else if (exponent == 0 && mantissa == 0)
            tag = 1;
        else if (exponent == 0 || exponent == 0x7fff || !(mantissa >> 63))
            tag = 2;
        tags |= tag << (2 * i);
    }
    return tags;
}

static bool real_format(const struct cpu *cpu)
{
    return cpu_real_or_vm86(cpu);
}

/* Fields are 16 or 32 bits apart, by the operand size. */
static unsigned environment_size(const struct insn *insn)
{
    return insn->size == SIZE_16 ? 14 : 28;
}

static void build(const struct cpu *cpu, const struct insn *insn, uint8_t *area)
{
    const struct fpu_state *f = &cpu->s.fpu;
    uint32_t ip = (uint32_t)f->ip, dp = (uint32_t)f->dp;
    uint32_t field[7] = {f->control, f->status, full_tags(f)};
    bool small = insn->size == SIZE_16;

    if (real_format(cpu)) {
        uint32_t linear_ip = ip + ((uint32_t)f->ip_selector << 4);
        uint32_t linear_dp = dp + ((uint32_t)f->dp_selector << 4);
        field[3] = linear_ip & 0xffff;
        field[4] = small ? (linear_ip >> 4 & 0xf000) | f->opcode
                         : (linear_ip >> 4 & 0xffff000) | f->opcode;
        field[5] = linear_dp & 0xffff;
        field[6] = small ? linear_dp >> 4 & 0xf000 : linear_dp >> 4 & 0xffff000;
    } else {
        field[3] = ip;
        field[4] = f->ip_selector | (small ? 0 : (uint32_t)f->opcode << 16);
        field[5] = dp;
        field[6] = f->dp_selector;
    }
    for (unsigned i = 0; i < 7; i++) {
        if (small) {
            memcpy(area + 2 * i, &field[i], 2);
        } else {
            uint32_t value = i < 3 || i == 6 ? field[i] | 0xffff0000u : field[i];
            if (i == 6 && real_format(cpu))
                value = field[i];
            memcpy(area + 4 * i, &value, 4);
        }
    }
}

void x87_store_environment(struct cpu *cpu, const struct insn *insn, bool registers)
{
    uint8_t area[28 + 80] = {0};
    unsigned size = environment_size(insn), total = size + (registers ? 80 : 0);
    uint64_t at = ea(cpu, insn, total, true);
    cpu->insn = insn;
    build(cpu, insn, area);
    for (unsigned i = 0; registers && i < 8; i++)
        memcpy(area + size + 10 * i, cpu->s.fpu.reg[x87_index(cpu, i)], 10);
    mmu_write_bytes(cpu, at, area, total);
    if (registers)
        x87_init(cpu);
    else
        cpu->s.fpu.control |= 0x3f;
}

void x87_load_environment(struct cpu *cpu, const struct insn *insn, bool registers)
{
    uint8_t area[28 + 80] = {0};
    unsigned size = environment_size(insn), total = size + (registers ? 80 : 0);
    struct fpu_state *f = &cpu->s.fpu;
    uint64_t at = ea(cpu, insn, total, false);
    uint32_t field[7] = {0};

    cpu->insn = insn;
    for (unsigned i = 0; i < total; i++)
        area[i] = mmu_load_slow(cpu, at + i, 1);
    for (unsigned i = 0; i < 7; i++)
        memcpy(&field[i], area + (insn->size == SIZE_16 ? 2 : 4) * i,
               insn->size == SIZE_16 ? 2 : 4);
    f->control = (field[0] & 0x1f3f) | 0x40;
    f->status = field[1] & ~(X87_ES | X87_B);
    if (f->status & ~f->control & 0x3f)
        f->status |= X87_ES | X87_B;
    f->valid = 0;
    for (unsigned i = 0; i < 8; i++)
        if ((field[2] >> (2 * i) & 3) != 3)
            f->valid |= 1u << i;
    if (real_format(cpu)) {
        f->opcode = field[4] & 0x7ff;
        f->ip = (field[3] & 0xffff) | (field[4] & 0xffff000) << 4;
        f->dp = (field[5] & 0xffff) | (field[6] & 0xffff000) << 4;
        f->ip_selector = f->dp_selector = 0;
    } else {
        f->ip = field[3];
        f->ip_selector = field[4] & 0xffff;
        f->opcode = insn->size == SIZE_16 ? f->opcode : field[4] >> 16 & 0x7ff;
        f->dp = field[5];
        f->dp_selector = field[6] & 0xffff;
    }
    for (unsigned i = 0; registers && i < 8; i++)
        memcpy(f->reg[x87_index(cpu, i)], area + size + 10 * i, 10);
}
