/*
 * The interpreter: what handlers are made of.
 *
 * A handler does one instruction's work and calls the next handler in tail position, so a block
 * runs as a chain of jumps. Builds without sibling calls (-O0, sanitizers) return the next
 * instruction to the loop in interp.c instead; handlers are written with NEXT() and the like and do
 * not care.
 */
#pragma once

#include "emu/cpu/block.h"
#include "emu/cpu/engine.h"
#include "emu/cpu/internal.h"
#include "emu/cpu/mmu.h"

#if defined(__OPTIMIZE__) && !defined(DROVER_SANITIZE)
#define INTERP_THREADED 1
#else
#define INTERP_THREADED 0
#endif

#define HANDLER(name) static const struct insn *name(struct cpu *cpu, const struct insn *insn)

#if INTERP_THREADED
#define RUN(cpu, insn) (insn)->handler(cpu, insn)
#else
#define RUN(cpu, insn) (insn)
#endif
/* Ends a handler: on to the following instruction of the block. */
#define NEXT() return RUN(cpu, insn + 1)
/* Ends a handler and the block: RIP follows, and everything is looked at anew. */
#define LEAVE_BLOCK()                                                                              \
    do {                                                                                           \
        cpu->s.rip = interp_mask_ip(cpu, next_rip(cpu, insn));                                     \
        return NULL;                                                                               \
    } while (0)

/* The same after a segment register was loaded: the block holds for its mode only. */
#define NEXT_OF_MODE()                                                                             \
    do {                                                                                           \
        if (unlikely((cpu->mode ^ cpu->block->mode) & ~(unsigned)MODE_SINGLE))                     \
            return interp_leave_early(cpu, insn);                                                  \
        NEXT();                                                                                    \
    } while (0)

insn_handler *interp_jcc_handler(unsigned code);

insn_handler interp_resync, interp_block_end;
/* A block is counted as it begins: takes back what comes from `insn` on. Nothing for one that
 * translated code hands over alone. */
void interp_uncount(struct cpu *cpu, const struct insn *insn);
/* Ends the block after an instruction that is not its last. */
insn_handler interp_leave_early;
/* For what is no instruction, and for units that are switched off. */
insn_handler interp_undefined, interp_unavailable;
/* The pieces of the interpreter's loop, for engines that interpret what they do not translate: one
 * block; one instruction with the checks of the trap flag, the interrupt shadow, breakpoints. */
#define INTERP_STRING_CHUNK 65536 /* struct cpu.string_chunk, unless lockstep wants it finer */
bool interp_create(struct cpu *cpu, size_t cache_size, GError **error);
void interp_destroy(struct cpu *cpu);
void interp_run_block(struct cpu *cpu, struct block *block);
void interp_run_single(struct cpu *cpu);
/* For engines that run guests by other means, between two runs of theirs. cpu->s is all that counts
 * before and after: nothing is remembered of memory or translations. interp_prepare_step() comes
 * first; then one instruction with all that may follow from it, or the delivery of an event. */
void interp_prepare_step(struct cpu *cpu);
void interp_step(struct cpu *cpu);
void interp_step_event(struct cpu *cpu, int vector, bool has_error, uint32_t error);
static inline bool interp_must_single(const struct cpu *cpu)
{
    return cpu->s.rflags & FLAG_TF || cpu->s.shadow || debug_active(cpu);
}
/* Gives the instruction its handler. True when it has to be the block's last. */
bool interp_prepare(struct cpu *cpu, struct insn *insn);
/* On to RIP, whose block may be linked as successor `slot` of the running one. */
const struct insn *interp_goto(struct cpu *cpu, unsigned slot, uint64_t rip);
/* On to RIP without a link: indirect branches. */
const struct insn *interp_jump(struct cpu *cpu, uint64_t rip);

/* Rows of handlers; each file of handlers exports one table, ended by op 0. */
struct handler_row {
    uint16_t op;
    insn_handler *by_shape[SHAPE_COUNT][4]; /* by operand size */
};
extern const struct handler_row handlers_alu[], handlers_move[], handlers_shift[],
    handlers_multiply[], handlers_bits[], handlers_misc[], handlers_stack[], handlers_flow[],
    handlers_string[], handlers_io[], handlers_far[], handlers_segment[], handlers_system[],
    handlers_x87[], handlers_fpu_state[], handlers_sse[], handlers_sse_move[], handlers_sse_misc[],
    handlers_vex[], handlers_vex_move[], handlers_extended[];

#define ALL_SIZES(f)                                                                               \
    {                                                                                              \
        f, f, f, f                                                                                 \
    }
#define ALL_SHAPES(f)                                                                              \
    {                                                                                              \
        ALL_SIZES(f), ALL_SIZES(f), ALL_SIZES(f), ALL_SIZES(f), ALL_SIZES(f)                       \
    }

/* ---- operands -------------------------------------------------------------------------------- */

/* A memory operand's offset, wrapped to the address size, without the segment. */
static inline uint64_t ea_offset(const struct cpu *cpu, const struct insn *insn)
{
    uint64_t offset = REG(cpu, uint64_t, insn->base) +
                      (REG(cpu, uint64_t, insn->index) << insn->scale) + (uint64_t)insn->disp;
    if (likely(insn->addr_size == SIZE_64))
        return offset;
    return insn->addr_size == SIZE_32 ? (uint32_t)offset : (uint16_t)offset;
}

/* Outside 64-bit code: checks rights and limit, adds the base. */
uint64_t interp_linear(struct cpu *cpu, const struct insn *insn, unsigned segment, uint64_t offset,
                       unsigned size, bool write);
uint64_t interp_ea_slow(struct cpu *cpu, const struct insn *insn, unsigned size, bool write);
uint64_t interp_ea_cold(struct cpu *cpu, const struct insn *insn, unsigned size,
                        bool write) MMU_COLD;

/* The linear address of a memory operand of `size` bytes. */
static inline uint64_t ea(struct cpu *cpu, const struct insn *insn, unsigned size, bool write)
{
    if (likely(insn->addr_size == SIZE_64))
        return REG(cpu, uint64_t, insn->base) + (REG(cpu, uint64_t, insn->index) << insn->scale) +
               (uint64_t)insn->disp + cpu->s.seg[insn->seg].base;
    return interp_ea_cold(cpu, insn, size, write);
}

/* Writes a 32-bit register, clearing the upper half. */
#define SET_REG_8(at, value)  (REG(cpu, uint8_t, at) = (value))
#define SET_REG_16(at, value) (REG(cpu, uint16_t, at) = (value))
#define SET_REG_32(at, value) (REG(cpu, uint64_t, at) = (uint32_t)(value))
#define SET_REG_64(at, value) (REG(cpu, uint64_t, at) = (value))

static inline void set_reg_sized(struct cpu *cpu, unsigned at, unsigned size, uint64_t value)
{
    switch (size) {
    case SIZE_8:
        SET_REG_8(at, value);
        break;
    case SIZE_16:
        SET_REG_16(at, value);
        break;
    case SIZE_32:
        SET_REG_32(at, value);
        break;
    default:
        SET_REG_64(at, value);
    }
}

static inline uint64_t get_reg_sized(const struct cpu *cpu, unsigned at, unsigned size)
{
    return size == SIZE_8    ? REG(cpu, uint8_t, at)
           : size == SIZE_16 ? REG(cpu, uint16_t, at)
           : size == SIZE_32 ? REG(cpu, uint32_t, at)
                             : REG(cpu, uint64_t, at);
}

/* The rm operand, register or memory, of a size in bytes (1 << enum operand_size). */
uint64_t interp_read_rm(struct cpu *cpu, const struct insn *insn, unsigned size);
void interp_write_rm(struct cpu *cpu, const struct insn *insn, unsigned size, uint64_t value);

/* RIP of 16-bit code is not cut to 16 bits but by branches with such operands. */
static inline uint64_t interp_mask_ip(const struct cpu *cpu, uint64_t rip)
{
    return cpu->mode & MODE_LONG ? rip : (uint32_t)rip;
}

/* ---- flags ----------------------------------------------------------------------------------- */

/* Host flags to guest flags and back; see struct cpu.flags. The host instruction stands between. */
#define FLAGS_SAVE "lahf\n\tseto %%al\n\t"
#define FLAGS_LOAD "addb $0x7f, %%al\n\tsahf\n\t"

static inline bool condition(const struct cpu *cpu, unsigned code)
{
    uint32_t f = cpu->flags;
    bool result;
    switch (code >> 1) {
    case 0:
        result = f & 1;
        break;
    case 1:
        result = f & 0x100;
        break;
    case 2:
        result = f & 0x4000;
        break;
    case 3:
        result = f & 0x4100;
        break;
    case 4:
        result = f & 0x8000;
        break;
    case 5:
        result = f & 0x400;
        break;
    case 6:
        result = (f ^ f >> 15) & 1;
        break;
    default:
        result = ((f ^ f >> 15) & 1) || f & 0x4000;
    }
    return result ^ (code & 1);
}

/* ---- the stack (stack.c) --------------------------------------------------------------------- */

/* Linear address of `size` bytes at an offset from the stack pointer, checked outside 64-bit code.
 */
static inline uint64_t stack_mask(const struct cpu *cpu)
{
    return cpu->mode & MODE_LONG ? UINT64_MAX : cpu->mode & MODE_STACK32 ? UINT32_MAX : UINT16_MAX;
}
void interp_set_sp(struct cpu *cpu, uint64_t value);
void interp_push(struct cpu *cpu, const struct insn *insn, uint64_t value, unsigned size);
/* Reads the value `depth` bytes above the stack pointer; SP stays. */
uint64_t interp_peek(struct cpu *cpu, const struct insn *insn, uint64_t depth, unsigned size);
