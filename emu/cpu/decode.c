/* The instruction decoder. */
#include "emu/cpu/decode.h"
#include "emu/cpu/opcodes.h"
#include <glib.h>
#include <string.h>

struct cursor {
    const uint8_t *bytes;
    size_t available, at;
    enum decode_result error; /* set by the first read that fails */
    enum decode_mode mode;
    uint8_t prefix, rex, mandatory; /* mandatory: 0 none, 1 66, 2 F3, 3 F2 */
    int segment;                    /* the override, or -1 */
    bool has_rex;
    bool vex, vex_l, vex_w;
    uint8_t vvvv; /* not inverted */
};

static uint8_t fetch8(struct cursor *c)
{
    if (c->at >= INSN_MAX_LENGTH) {
        c->error = DECODE_TOO_LONG;
        return 0;
    }
    if (c->at >= c->available) {
        if (c->error == DECODE_OK)
            c->error = DECODE_TRUNCATED;
        c->at++;
        return 0;
    }
    return c->bytes[c->at++];
}

static uint64_t fetch(struct cursor *c, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)fetch8(c) << (8 * i);
    return value;
}

static int64_t fetch_signed(struct cursor *c, unsigned bytes)
{
    uint64_t value = fetch(c, bytes);
    unsigned shift = 64 - 8 * bytes;
    return shift == 64 ? 0 : (int64_t)(value << shift) >> shift;
}

/* A general register as an offset into the register file. */
static uint8_t gpr_offset(const struct cursor *c, unsigned number, bool byte)
{
    if (byte && !c->has_rex && number >= 4 && number < 8)
        return (number - 4) * 8 + 1;
    return number * 8;
}

static void read_prefixes(struct cursor *c, struct insn *insn)
{
    bool address = false;
    c->segment = -1;
    for (;;) {
        uint8_t byte = fetch8(c);
        if (c->error != DECODE_OK)
            return;
        switch (byte) {
        case 0x66:
            c->prefix |= PREFIX_OPSIZE;
            if (!c->mandatory)
                c->mandatory = 1;
            break;
        case 0x67:
            address = true;
            break;
        case 0xf0:
            c->prefix |= PREFIX_LOCK;
            break;
        case 0xf2:
            c->prefix = (c->prefix & ~PREFIX_REP) | PREFIX_REPNE;
            c->mandatory = 3;
            break;
        case 0xf3:
            c->prefix = (c->prefix & ~PREFIX_REPNE) | PREFIX_REP;
            c->mandatory = 2;
            break;
        case 0x26:
        case 0x2e:
        case 0x36:
        case 0x3e:
            if (c->mode != DECODE_64)
                c->segment = (byte >> 3) & 3;
            break;
        case 0x64:
        case 0x65:
            c->segment = byte - 0x64 + SEG_FS;
            break;
        default:
            if (c->mode == DECODE_64 && (byte & 0xf0) == 0x40) {
                c->rex = byte; /* counts only directly before the opcode */
                c->has_rex = true;
                continue;
            }
            c->at--;
            insn->addr_size = c->mode == DECODE_64                ? (address ? SIZE_32 : SIZE_64)
                              : (c->mode == DECODE_32) != address ? SIZE_32
                                                                  : SIZE_16;
            if (c->rex & 8)
                c->prefix |= PREFIX_REX_W;
            return;
        }
        c->rex = 0;
        c->has_rex = false;
    }
}

/* The memory operand of a ModRM byte with 16-bit addressing (SDM table 2-1). */
static unsigned read_memory16(struct cursor *c, struct insn *insn)
{
    static const uint8_t base[8] = {RBX, RBX, RBP, RBP, RSI, RDI, RBP, RBX};
    static const uint8_t index[8] = {RSI, RDI, RSI, RDI, GPR_NONE, GPR_NONE, GPR_NONE, GPR_NONE};
    unsigned mod = insn->modrm >> 6, rm = insn->modrm & 7;

    if (mod == 0 && rm == 6) {
        insn->disp = fetch_signed(c, 2);
        return SEG_DS;
    }
    insn->base = base[rm] * 8;
    insn->index = index[rm] * 8;
    if (mod)
        insn->disp = fetch_signed(c, mod);
    return base[rm] == RBP ? SEG_SS : SEG_DS;
}

/* The same with 32- and 64-bit addressing (SDM tables 2-2 and 2-3). */
static unsigned read_memory(struct cursor *c, struct insn *insn)
{
    unsigned mod = insn->modrm >> 6, rm = insn->modrm & 7, base = rm;

    if (rm == 4) {
        uint8_t sib = fetch8(c);
        unsigned index = ((sib >> 3) & 7) | (c->rex & 2) << 2;
        base = sib & 7;
        if (index != RSP) {
            insn->index = index * 8;
            insn->scale = sib >> 6;
        }
        if (base == 5 && mod == 0) {
            insn->disp = fetch_signed(c, 4);
            return SEG_DS;
        }
    } else if (mod == 0 && rm == 5) {
        insn->disp = fetch_signed(c, 4);
        if (c->mode == DECODE_64)
            insn->base = GPR_CODE * 8;
        return SEG_DS;
    }
    base |= (c->rex & 1) << 3;
    insn->base = base * 8;
    if (mod)
        insn->disp = fetch_signed(c, mod == 1 ? 1 : 4);
    return base == RSP || base == RBP ? SEG_SS : SEG_DS;
}

static void set_segment(const struct cursor *c, struct insn *insn, unsigned segment)
{
    if (c->segment >= 0)
        segment = c->segment;
    insn->seg = c->mode == DECODE_64 && segment < SEG_FS ? SEG_NONE : segment;
}

static unsigned resolve_size(const struct cursor *c, enum size_class class)
{
    bool longmode = c->mode == DECODE_64;
    bool w = c->rex & 8;
    bool small = (c->mode == DECODE_16) != !!(c->prefix & PREFIX_OPSIZE);

    switch (class) {
    case S_B:
        return SIZE_8;
    case S_W:
        return SIZE_16;
    case S_D:
        return SIZE_32;
    case S_Q:
        return SIZE_64;
    case S_Y:
        return w ? SIZE_64 : SIZE_32;
    case S_V64:
        return longmode ? (c->prefix & PREFIX_OPSIZE && !w ? SIZE_16 : SIZE_64)
               : small  ? SIZE_16
                        : SIZE_32;
    case S_F64:
        return longmode ? SIZE_64 : small ? SIZE_16 : SIZE_32;
    case S_N:
        return longmode ? SIZE_64 : SIZE_32;
    case S_V:
    default:
        return w ? SIZE_64 : small ? SIZE_16 : SIZE_32;
    }
}

static bool needs_modrm(const struct opcode *e)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(e->operand); i++) {
        switch (e->operand[i]) {
        case O_E:
        case O_M:
        case O_R:
        case O_G:
        case O_S:
        case O_C:
        case O_D:
        case O_V:
        case O_W:
        case O_U:
        case O_P:
        case O_Q:
        case O_N:
        case O_F:
        case O_XM:
            return true;
        }
    }
    return false;
}

static void read_operand(struct cursor *c, struct insn *insn, unsigned kind, uint8_t opcode)
{
    unsigned size = 1u << insn->size;
    bool byte = insn->size == SIZE_8;
    unsigned reg = (insn->modrm >> 3) & 7;

    switch (kind) {
    case O_G:
        insn->reg = gpr_offset(c, reg | (c->rex & 4) << 1, byte);
        break;
    case O_Z:
        insn->rm = gpr_offset(c, (opcode & 7) | (c->rex & 1) << 3, byte);
        break;
    case O_S:
        insn->reg = reg;
        break;
    case O_C:
    case O_D:
    case O_V:
        insn->reg = reg | (c->rex & 4) << 1;
        break;
    case O_P:
        insn->reg = reg;
        break;
    case O_I:
        insn->imm = fetch_signed(c, size > 4 ? 4 : size);
        break;
    case O_IV:
        insn->imm = fetch_signed(c, size);
        break;
    case O_IB:
    case O_JB:
        insn->imm = fetch_signed(c, 1);
        break;
    case O_IU:
    case O_L:
        insn->imm = fetch(c, 1);
        if (kind == O_L && c->mode != DECODE_64)
            insn->imm &= 0x7f;
        break;
    case O_IW:
        insn->imm = fetch(c, 2);
        break;
    case O_IE:
        insn->imm = fetch(c, 3);
        break;
    case O_1:
        insn->imm = 1;
        break;
    case O_O:
        insn->disp = fetch(c, 1u << insn->addr_size);
        break;
    case O_J:
        insn->imm = fetch_signed(c, size > 4 ? 4 : size);
        break;
    case O_AP:
        insn->imm = fetch(c, size);
        insn->imm |= fetch(c, 2) << 32;
        break;
    case O_SES:
    case O_SCS:
    case O_SSS:
    case O_SDS:
    case O_SFS:
    case O_SGS:
        insn->reg = kind - O_SES;
        break;
    }
}

static bool is_immediate(unsigned kind)
{
    return kind >= O_I && kind <= O_1;
}

static enum shape find_shape(const struct opcode *e, bool memory)
{
    bool immediate =
        is_immediate(e->operand[1]) || is_immediate(e->operand[2]) || is_immediate(e->operand[3]);
    if (immediate)
        return memory ? SHAPE_MI : SHAPE_RI;
    if (!memory)
        return SHAPE_R;
    return e->operand[0] == O_G ? SHAPE_GM : SHAPE_M;
}

/* Encodings that the tables' rows cannot express. NULL when there is no such instruction. */
static const struct opcode *pick_by_hand(struct cursor *c, const struct opcode *e, unsigned group,
                                         uint8_t modrm)
{
    static const struct opcode fence = {OP_FENCE, {O_F}, S_B, 0};
    static const struct opcode swapgs = {OP_SWAPGS, {O_F}, S_B, A_ONLY64};
    static const struct opcode rdtscp = {OP_RDTSCP, {O_F}, S_B, 0};
    static const struct opcode clac = {OP_CLAC, {O_F}, S_B, 0};
    static const struct opcode stac = {OP_STAC, {O_F}, S_B, 0};
    static const struct opcode vmcall = {OP_VMCALL, {O_F}, S_N, 0};
    static const struct opcode xgetbv = {OP_XGETBV, {O_F}, S_B, A_NOPREFIX};
    static const struct opcode xsetbv = {OP_XSETBV, {O_F}, S_B, A_NOPREFIX};
    static const struct opcode rdrand = {OP_RDRAND, {O_R}, S_V, 0};
    static const struct opcode rdseed = {OP_RDSEED, {O_R}, S_V, 0};
    static const struct opcode rdpid = {OP_RDPID, {O_R}, S_N, 0};

    if (modrm < 0xc0)
        return e;
    if (group == GROUP_9 && modrm >= 0xf0) {
        bool seed = modrm >= 0xf8;
        if (seed && c->mandatory == 2)
            return &rdpid;
        return c->mandatory > 1 ? NULL : seed ? &rdseed : &rdrand;
    }
    if (group == GROUP_15)
        return c->mandatory == 0 && modrm >= 0xe8 ? &fence : NULL;
    if (group == GROUP_7) {
        switch (modrm) {
        case 0xc1: /* VMCALL */
        case 0xd9: /* VMMCALL */
            return &vmcall;
        case 0xca:
            return &clac;
        case 0xcb:
            return &stac;
        case 0xd0:
            return &xgetbv;
        case 0xd1:
            return &xsetbv;
        case 0xf8:
            return &swapgs;
        case 0xf9:
            return &rdtscp;
        default:
            return (modrm & 0x38) == 0x20 || (modrm & 0x38) == 0x30 ? e : NULL;
        }
    }
    return e;
}

/* ---- VEX (SDM volume 2, 2.3) ----------------------------------------------------------------- */

/* C4 and C5 outside 64-bit mode are LES and LDS unless what follows would be a register form. */
static bool is_vex(struct cursor *c, uint8_t byte)
{
    if (byte != 0xc4 && byte != 0xc5)
        return false;
    if (c->mode == DECODE_64)
        return true;
    uint8_t next = fetch8(c);
    c->at--;
    return next >= 0xc0;
}

/* The row of a VEX encoding, behind its first byte; NULL when there is none. */
static const struct opcode *find_vex(struct cursor *c, uint8_t first, uint8_t *ret_opcode)
{
    bool refused = c->mandatory || c->has_rex || c->prefix & PREFIX_LOCK;
    uint8_t byte = fetch8(c);
    unsigned map = 1, rex = byte & 0x80 ? 0 : 4;
    if (first == 0xc4) {
        map = byte & 0x1f;
        rex = (~byte >> 5) & 7;
        byte = fetch8(c);
        c->vex_w = byte & 0x80;
    }
    c->vex = true;
    c->vex_l = byte & 4;
    c->vvvv = ~byte >> 3 & 15;
    c->prefix &= ~PREFIX_REX_W;
    c->rex = c->mode == DECODE_64 ? rex | (c->vex_w ? 8 : 0) : 0;
    c->has_rex = true;
    *ret_opcode = fetch8(c);
    if (refused || map < 1 || map > MAP_COUNT)
        return NULL;
    /* Where W is the size of a general register, it does not count outside 64-bit mode; both rows
     * are the same there. */
    return &opcode_vex[map - 1][*ret_opcode][byte & 3][c->vex_w];
}

/* The rules on L and on a register field that is not used. */
static bool vex_is_valid(const struct cursor *c, const struct opcode *e, bool memory)
{
    bool used = false;
    for (unsigned i = 0; i < G_N_ELEMENTS(e->operand); i++)
        used |= e->operand[i] == O_H || e->operand[i] == O_B || (e->operand[i] == O_HR && !memory);
    return (used || !c->vvvv) && !(e->attributes & A_L0 && c->vex_l) &&
           !(e->attributes & A_L1 && !c->vex_l);
}

/* Memory by a vector of indices: the destination, the mask and the indices must differ. */
static bool fix_gather(const struct cursor *c, struct insn *insn, uint8_t sib)
{
    if (insn->addr_size == SIZE_16)
        return false;
    insn->rm = (sib >> 3 & 7) | (c->rex & 2) << 2;
    insn->scale = sib >> 6;
    insn->index = GPR_NONE * 8;
    return insn->rm != insn->reg && insn->rm != insn->vvvv && insn->reg != insn->vvvv;
}

static bool finish_vex(const struct cursor *c, const struct opcode *e, struct insn *insn,
                       bool memory, uint8_t sib)
{
    bool gather = e->operand[1] == O_XM;
    bool general = insn->op >= OP_VEX_GENERAL_FIRST && insn->op <= OP_VEX_GENERAL_LAST;
    unsigned vvvv = c->mode == DECODE_64 ? c->vvvv : c->vvvv & 7, rm = insn->modrm & 7;

    if (!vex_is_valid(c, e, memory))
        return false;
    insn->vvvv = general ? vvvv * 8 : vvvv; /* from here on there is no modrm */
    insn->prefix |= PREFIX_VEX | (c->vex_l ? PREFIX_VEX_L : 0) | (c->rex & 8 ? PREFIX_REX_W : 0);
    return !gather || (rm == 4 && fix_gather(c, insn, sib));
}

static const struct opcode *find_opcode(struct cursor *c, uint8_t *ret_opcode)
{
    static const struct opcode movsxd = {OP_MOVSXD, {O_G, O_E}, S_V, 0};
    static const struct opcode arpl = {OP_ARPL, {O_E, O_G}, S_W, 0};
    static const struct opcode pause = {OP_PAUSE, {0}, S_B, 0};
    static const struct opcode nop = {OP_NOP, {0}, S_B, 0};
    const struct opcode *e;
    uint8_t byte = fetch8(c);

    if (is_vex(c, byte)) {
        if (c->error != DECODE_OK)
            return &nop;
        return find_vex(c, byte, ret_opcode);
    }
    if (byte != 0x0f) {
        e = &opcode_one[byte];
        if (byte == 0x63)
            e = c->mode == DECODE_64 ? &movsxd : &arpl;
        else if (byte == 0x90 && !(c->rex & 1))
            e = c->prefix & PREFIX_REP ? &pause : &nop;
    } else {
        byte = fetch8(c);
        if (byte == 0x38 || byte == 0x3a) {
            unsigned map = byte == 0x38 ? MAP_0F38 : MAP_0F3A;
            byte = fetch8(c);
            e = &opcode_prefixed[map][byte][c->mandatory];
            /* CRC32 and the like: 66 with F2 only sets the operand size. */
        } else {
            e = &opcode_prefixed[MAP_0F][byte][c->mandatory];
            if (!e->op && !(e->attributes & A_GROUP))
                e = &opcode_0f[byte];
        }
    }
    *ret_opcode = byte;
    return e;
}

enum decode_result decode(struct insn *ret_insn, const uint8_t *bytes, size_t available,
                          enum decode_mode mode)
{
    struct cursor c = {.bytes = bytes, .available = available, .mode = mode};
    struct insn insn = {.base = GPR_NONE * 8, .index = GPR_NONE * 8, .seg = SEG_NONE};
    bool memory = false, modrm_read = false;
    uint8_t opcode = 0, sib = 0;

    read_prefixes(&c, &insn);
    if (c.error != DECODE_OK)
        goto out;
    const struct opcode *e = find_opcode(&c, &opcode);
    if (c.error != DECODE_OK)
        goto out;
    if (!e)
        goto invalid;
    if (e->attributes & A_NO64 && mode == DECODE_64)
        goto invalid;
    if (e->attributes & A_GROUP) {
        unsigned group = e->op;
        insn.modrm = fetch8(&c);
        if (c.error != DECODE_OK)
            goto out;
        modrm_read = true;
        e = pick_by_hand(&c, &opcode_groups[group][(insn.modrm >> 3) & 7], group, insn.modrm);
    }
    if (!e || e->op == OP_INVALID)
        goto invalid;
    if ((e->attributes & A_NO64 && mode == DECODE_64) ||
        (e->attributes & A_ONLY64 && mode != DECODE_64) ||
        (e->attributes & A_NOPREFIX && c.mandatory))
        goto invalid;

    insn.op = e->op;
    insn.size = resolve_size(&c, e->size);
    if (!modrm_read && needs_modrm(e))
        insn.modrm = fetch8(&c), modrm_read = true;
    if (c.error != DECODE_OK)
        goto out;
    set_segment(&c, &insn, SEG_DS);
    if (modrm_read) {
        bool control = e->op >= OP_MOV_FROM_CR && e->op <= OP_MOV_TO_DR;
        memory = insn.modrm < 0xc0 && !control;
        if (memory) {
            sib = c.at < available ? bytes[c.at] : 0;
            set_segment(&c, &insn,
                        insn.addr_size == SIZE_16 ? read_memory16(&c, &insn)
                                                  : read_memory(&c, &insn));
        } else {
            unsigned number = (insn.modrm & 7) | (c.rex & 1) << 3;
            bool byte = insn.size == SIZE_8 || e->attributes & A_E8;
            insn.rm = gpr_offset(&c, number, byte);
            for (unsigned i = 0; i < G_N_ELEMENTS(e->operand); i++) {
                if (e->operand[i] == O_W || e->operand[i] == O_U)
                    insn.rm = number;
                else if (e->operand[i] == O_Q || e->operand[i] == O_N)
                    insn.rm = insn.modrm & 7;
            }
        }
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(e->operand); i++) {
        unsigned kind = e->operand[i];
        if (((kind == O_M || kind == O_XM) && !memory) ||
            ((kind == O_R || kind == O_U || kind == O_N) && memory))
            goto invalid;
        read_operand(&c, &insn, kind, opcode);
    }
    if (c.error != DECODE_OK)
        goto out;
    /* The immediate follows, so a RIP-relative displacement counts from here. */
    if (insn.base == GPR_CODE * 8)
        insn.disp += c.at;

    insn.shape = find_shape(e, memory);
    if (e->operand[0] == O_Z && e->operand[1] == O_A)
        insn.reg = 0; /* XCHG with the accumulator */
    if (e->attributes & A_SWAP && e->operand[0] == O_G && !memory) {
        uint8_t reg = insn.reg;
        insn.reg = insn.rm;
        insn.rm = reg;
    }
    if (e->attributes & A_COND)
        insn.modrm = opcode & 15;
    insn.prefix = c.prefix;
    if (c.vex && !finish_vex(&c, e, &insn, memory, sib))
        goto invalid;
    if (c.prefix & PREFIX_LOCK && (!(e->attributes & A_LOCK) || !memory))
        goto invalid;
    insn.length = c.at;
    *ret_insn = insn;
    return DECODE_OK;

invalid:
    insn.op = OP_INVALID;
    insn.length = c.at > INSN_MAX_LENGTH ? INSN_MAX_LENGTH : c.at;
    insn.shape = SHAPE_R;
    *ret_insn = insn;
    return DECODE_INVALID;
out:
    insn.op = OP_INVALID;
    insn.length = INSN_MAX_LENGTH;
    *ret_insn = insn;
    return c.error;
}

void decode_relocate(struct insn *insn, unsigned offset)
{
    insn->offset = offset;
    if (insn->base == GPR_CODE * 8)
        insn->disp += offset;
}
