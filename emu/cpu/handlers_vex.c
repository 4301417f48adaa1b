/* The handlers made from the rows of vex_ops.h, and the host's code that they run: see vex.h. */
#include "emu/cpu/vex.h"

/* ---- the host's code ------------------------------------------------------------------------- */

/* clang-format off */
/* One instruction with a three-byte VEX prefix, and RET: eight bytes at most. */
#define ONE(map, prefix, opcode, w, l, vvvv, modrm, imm)                                           \
    ".byte 0xc4, 0xe1 + " #map ", " w " << 7 | " vvvv " << 3 | " l " << 2 | " #prefix              \
    ", " #opcode ", " modrm imm ", 0xc3\n\t.balign 8\n\t"
#define ALL(map, prefix, opcode, w, l, vvvv, modrm)                                                \
    ".set vex_immediate, 0\n\t.rept 256\n\t"                                                       \
    ONE(map, prefix, opcode, w, l, vvvv, modrm, ", vex_immediate")                                 \
    ".set vex_immediate, vex_immediate + 1\n\t.endr\n\t"
#define CODE(id, form, ...)                                                                        \
    extern const uint8_t vex_code_##id[] __attribute__((visibility("hidden")));                    \
    asm(".pushsection .text\n\t.balign 16\nvex_code_" #id ":\n\t" form(__VA_ARGS__, "0")           \
        form(__VA_ARGS__, "1") ".popsection");

/* YMM0 from YMM1, YMM2 and YMM3, as the operands have it. */
#define FORM_VHW(map, prefix, opcode, w, l)  ONE(map, prefix, opcode, w, l, "14", "0xc2", "")
#define FORM_VW(map, prefix, opcode, w, l)   ONE(map, prefix, opcode, w, l, "15", "0xc2", "")
#define FORM_VHWL(map, prefix, opcode, w, l) ONE(map, prefix, opcode, w, l, "14", "0xc2", ", 0x30")
#define FORM_VHWI(map, prefix, opcode, w, l) ALL(map, prefix, opcode, w, l, "14", "0xc2")
#define FORM_VWI(map, prefix, opcode, w, l)  ALL(map, prefix, opcode, w, l, "15", "0xc2")
#define FORM_WVI(map, prefix, opcode, w, l)  ALL(map, prefix, opcode, w, l, "15", "0xd0")
#define FORM_SHIFT(opcode, modrm, l)         ALL(0, 1, opcode, "0", l, "15", modrm)
#define STEP_VHW  0
#define STEP_VW   0
#define STEP_VHWL 0
#define STEP_VHWI 8
#define STEP_VWI  8
#define STEP_WVI  8

#define HOST_W0  "0"
#define HOST_W1  "1"
#define HOST_WIG "0"

#define HAS_PLAIN(...)  __VA_ARGS__
#define HAS_FLOAT(...)  __VA_ARGS__
#define HAS_FLAGS(...)  __VA_ARGS__
#define HAS_INSERT(...) __VA_ARGS__
#define HAS_FSTORE(...) __VA_ARGS__
#define HAS_OWN(...)
#define VEX(id, name, map, prefix, opcode, w, l, operands, bytes, kind, feature)                   \
    HAS_##kind(CODE(id, FORM_##operands, map, prefix, opcode, HOST_##w))
VEX_TABLE_OPS(VEX)
#undef VEX
#define MODRM_2 "0xd2"
#define MODRM_3 "0xda"
#define MODRM_4 "0xe2"
#define MODRM_6 "0xf2"
#define MODRM_7 "0xfa"
#define VEX_SHIFT(id, name, opcode, reg) CODE(id, FORM_SHIFT, opcode, MODRM_##reg)
VEX_SHIFT_OPS(VEX_SHIFT)
#undef VEX_SHIFT

const struct vex_code vex_code[OP_VEX_COUNT] = {
#define VEX(id, name, map, prefix, opcode, w, l, operands, bytes, kind, feature)                   \
    HAS_##kind([OP_##id - OP_VEX_FIRST] =                                                          \
                   {vex_code_##id, STEP_##operands ? 2048 : 8, STEP_##operands}, )
    VEX_TABLE_OPS(VEX)
#undef VEX
#define VEX_SHIFT(id, ...) [OP_##id - OP_VEX_FIRST] = {vex_code_##id, 2048, 8},
    VEX_SHIFT_OPS(VEX_SHIFT)
};

/* ---- operands -------------------------------------------------------------------------------- */

/* Bytes of a memory operand: as many, or by VEX.L. */
#define BY_L(narrow, wide) (0x80 | (narrow) | (wide) << 8)
enum {
    BYTES_NONE,
    BYTES_SIZE = 0,
    BYTES_0 = 0,
    BYTES_1 = 1,
    BYTES_2 = 2,
    BYTES_4 = 4,
    BYTES_8 = 8,
    BYTES_16 = 16,
    BYTES_FULL = BY_L(16, 32),
    BYTES_HALF = BY_L(8, 16),
    BYTES_QUARTER = BY_L(4, 8),
    BYTES_EIGHTH = BY_L(2, 4),
    BYTES_DUP = BY_L(8, 32),
};
static const uint16_t bytes_of[OP_VEX_COUNT] = {
#define VEX(id, name, map, prefix, opcode, w, l, operands, bytes, kind, feature)                   \
    [OP_##id - OP_VEX_FIRST] = BYTES_##bytes,
    VEX_TABLE_OPS(VEX)
#undef VEX
};
/* clang-format on */

unsigned vex_bytes(const struct insn *insn)
{
    unsigned bytes = bytes_of[insn->op - OP_VEX_FIRST];
    return bytes & 0x80 ? (vex_is_wide(insn) ? bytes >> 8 : bytes & 0x7f) : bytes;
}

const struct vector *vex_source(struct cpu *cpu, const struct insn *insn, struct vector *room)
{
    if (!insn_has_memory(insn))
        return &cpu->s.vec[insn->rm];
    unsigned bytes = vex_bytes(insn);
    vex_load(cpu, insn, ea(cpu, insn, bytes, false), bytes, room);
    return room;
}

/* Runs the instruction's code; `d` is YMM0. */
static uint16_t run(const struct cpu *cpu, const struct insn *insn, struct vector *d,
                    const struct vector *source)
{
    return vex_run(vex_code_of(insn), d, &cpu->s.vec[insn->vvvv], source,
                   &cpu->s.vec[insn->imm >> 4 & 15]);
}

/* ---- what the kinds do. Apart from the handlers: a local whose address is taken stands in the way
 * of their tail calls. ---- */

#define APART __attribute__((noinline)) static

APART void plain(struct cpu *cpu, const struct insn *insn)
{
    struct vector room;
    const struct vector *source = vex_source(cpu, insn, &room);
    run(cpu, insn, &cpu->s.vec[insn->reg], source);
}

/* Under the guest's rounding and exception masks. */
static void run_float(struct cpu *cpu, const struct insn *insn, struct vector *d,
                      const struct vector *source)
{
    if (sse_all_masked(cpu)) {
        run(cpu, insn, d, source);
        return;
    }
    struct vector again = *d;
    uint32_t flags;
    sse_begin(cpu);
    run(cpu, insn, d, source);
    if (sse_flush_begin(cpu, &flags)) {
        run(cpu, insn, &again, source);
        sse_flush_end(flags);
    }
    sse_end(cpu, insn);
}

APART void floating(struct cpu *cpu, const struct insn *insn)
{
    struct vector room, d = cpu->s.vec[insn->reg];
    run_float(cpu, insn, &d, vex_source(cpu, insn, &room));
    cpu->s.vec[insn->reg] = d;
}

APART void flags(struct cpu *cpu, const struct insn *insn)
{
    struct vector room, d = cpu->s.vec[insn->reg];
    const struct vector *source = vex_source(cpu, insn, &room);
    cpu->flags = run(cpu, insn, &d, source);
}

APART void shift(struct cpu *cpu, const struct insn *insn)
{
    run(cpu, insn, &cpu->s.vec[insn->vvvv], &cpu->s.vec[insn->rm]);
}

/* VINSERTPS: a memory source is one element, whatever the immediate's source selector says. */
APART void insert(struct cpu *cpu, const struct insn *insn)
{
    struct vector room;
    struct insn chosen = *insn;
    const struct vector *source = vex_source(cpu, insn, &room);
    if (insn_has_memory(insn))
        chosen.imm &= 0x3f;
    run(cpu, &chosen, &cpu->s.vec[insn->reg], source);
}

/* VCVTPS2PH: half of VEX.L's bytes, to a register or to memory. */
APART void float_store(struct cpu *cpu, const struct insn *insn)
{
    struct vector d = {{0}};
    unsigned bytes = vex_bytes(insn);
    uint64_t at = 0;
    if (insn_has_memory(insn)) {
        at = ea(cpu, insn, bytes, true);
        cpu->insn = insn;
        mmu_check_write(cpu, at, bytes); /* before MXCSR's flags are set */
    }
    run_float(cpu, insn, &d, &cpu->s.vec[insn->reg]);
    if (insn_has_memory(insn))
        vex_store(cpu, insn, at, bytes, &d);
    else
        cpu->s.vec[insn->rm] = d;
}

#define KIND(name, function)                                                                       \
    HANDLER(do_##name)                                                                             \
    {                                                                                              \
        function(cpu, insn);                                                                       \
        NEXT();                                                                                    \
    }
KIND(PLAIN, plain)
KIND(FLOAT, floating)
KIND(FLAGS, flags)
KIND(SHIFT, shift)
KIND(INSERT, insert)
KIND(FSTORE, float_store)

/* clang-format off */
const struct handler_row handlers_vex[] = {
#define VEX(id, name, map, prefix, opcode, w, l, operands, bytes, kind, feature)                   \
    HAS_##kind({OP_##id, ALL_SHAPES(do_##kind)}, )
    VEX_TABLE_OPS(VEX)
#undef VEX
#undef VEX_SHIFT
#define VEX_SHIFT(id, ...) {OP_##id, ALL_SHAPES(do_SHIFT)},
    VEX_SHIFT_OPS(VEX_SHIFT)
    {0},
};
/* clang-format on */
