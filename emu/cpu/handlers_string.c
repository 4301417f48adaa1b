/*
 * String instructions. A repeated one works in chunks: as many elements as lie in one page of plain
 * memory at once, or else one element, then looks for attention. It restarts from its registers, as
 * the architecture has it, so an interrupt or a fault between elements needs no care.
 */
#include "emu/cpu/interp.h"

static uint64_t mask_address(const struct insn *insn, uint64_t value)
{
    return insn->addr_size == SIZE_64   ? value
           : insn->addr_size == SIZE_32 ? (uint32_t)value
                                        : (uint16_t)value;
}

static uint64_t count_left(const struct cpu *cpu, const struct insn *insn)
{
    return get_reg_sized(cpu, RCX * 8, insn->addr_size);
}

static int64_t step_of(const struct cpu *cpu, const struct insn *insn)
{
    int64_t bytes = INT64_C(1) << insn->size;
    return cpu->s.rflags & FLAG_DF ? -bytes : bytes;
}

static void advance(struct cpu *cpu, const struct insn *insn, unsigned reg, int64_t by)
{
    set_reg_sized(cpu, reg * 8, insn->addr_size, cpu->s.gpr[reg] + (uint64_t)by);
}

static uint64_t source_address(struct cpu *cpu, const struct insn *insn)
{
    unsigned segment = insn->seg == SEG_NONE ? SEG_DS : insn->seg;
    return interp_linear(cpu, insn, segment, mask_address(insn, cpu->s.gpr[RSI]), 1u << insn->size,
                         false);
}
static uint64_t destination_address(struct cpu *cpu, const struct insn *insn, bool write)
{
    return interp_linear(cpu, insn, SEG_ES, mask_address(insn, cpu->s.gpr[RDI]), 1u << insn->size,
                         write);
}

static uint64_t load_sized(struct cpu *cpu, const struct insn *insn, uint64_t at)
{
    switch (insn->size) {
    case SIZE_8:
        return load8(cpu, insn, at);
    case SIZE_16:
        return load16(cpu, insn, at);
    case SIZE_32:
        return load32(cpu, insn, at);
    default:
        return load64(cpu, insn, at);
    }
}
static void store_sized(struct cpu *cpu, const struct insn *insn, uint64_t at, uint64_t value)
{
    switch (insn->size) {
    case SIZE_8:
        store8(cpu, insn, at, value);
        break;
    case SIZE_16:
        store16(cpu, insn, at, value);
        break;
    case SIZE_32:
        store32(cpu, insn, at, value);
        break;
    default:
        store64(cpu, insn, at, value);
    }
}

/* ---- spans: elements that lie in one page of plain memory -------------------------------------
 */

static uint64_t elements_up(struct cpu *cpu, const struct insn *insn, uint64_t offset,
                            const struct segment *s, uint64_t length)
{
    if (!cpu_code64(cpu)) { /* the offset must not wrap, nor the segment end */
        uint64_t top = insn->addr_size == SIZE_16 ? UINT16_MAX : UINT32_MAX;
        length = MIN(length, MIN(top, s->limit) - offset + 1);
    }
    return length >> insn->size;
}

/* How many may be done at once from a linear address on, in the direction of DF: 0 for one by one.
 * *ret_host is the first. */
static uint64_t elements(struct cpu *cpu, const struct insn *insn, uint64_t at, unsigned reg,
                         enum mmu_access access, uint64_t most, uint8_t **ret_host)
{
    unsigned segment = reg == RDI ? SEG_ES : insn->seg == SEG_NONE ? SEG_DS : insn->seg;
    const struct segment *s = &cpu->s.seg[segment];
    uint64_t length, offset = mask_address(insn, cpu->s.gpr[reg]);
    bool down = cpu->s.rflags & FLAG_DF;
    *ret_host = mmu_span(cpu, at, (down ? 1 : most) << insn->size, access, &length);
    if (!*ret_host || length >> insn->size == 0 ||
        (!cpu_code64(cpu) && (s->attributes & (SEG_CODE | SEG_EXPAND)) == SEG_EXPAND))
        return 0;
    if (!down)
        return elements_up(cpu, insn, offset, s, length);
    return MIN(most, (MIN(at & ~PAGE_MASK, offset) >> insn->size) + 1);
}

static bool fast(const struct cpu *cpu, uint64_t count)
{
    return count > 1 && !(cpu->mode & MODE_SINGLE);
}

static void advance_by(struct cpu *cpu, const struct insn *insn, unsigned reg, uint64_t count)
{
    advance(cpu, insn, reg, step_of(cpu, insn) * (int64_t)count);
}

/* ---- one chunk of each ----------------------------------------------------------------------- */

GUEST_MEMORY static void copy_elements(uint8_t *target, const uint8_t *source, int64_t step,
                                       unsigned size, uint64_t n)
{
    size_t unit = (size_t)1 << size;
    uint64_t distance = (uintptr_t)target - (uintptr_t)source;
    /* A destination shortly above the source repeats a pattern; do that in order. */
    if (step > 0 && (distance == 0 || distance >= n << size)) {
        guest_copy(target, source, n << size);
        return;
    }
    for (uint64_t i = 0; i < n; i++, target += step, source += step) {
        uint64_t value = 0;
        memcpy(&value, source, unit);
        memcpy(target, &value, unit);
    }
}

static uint64_t movs_chunk(struct cpu *cpu, const struct insn *insn, uint64_t count)
{
    uint64_t from = source_address(cpu, insn), n = 0;
    uint64_t to = destination_address(cpu, insn, true);
    uint8_t *source, *target;
    if (fast(cpu, count))
        n = elements(cpu, insn, from, RSI, MMU_READ, count, &source);
    if (n > 1)
        n = elements(cpu, insn, to, RDI, MMU_WRITE, n, &target);
    if (n > 1) {
        copy_elements(target, source, step_of(cpu, insn), insn->size, n);
        mmu_stored(cpu, insn, mmu_entry(cpu, to), to);
    } else {
        store_sized(cpu, insn, to, load_sized(cpu, insn, from));
        n = 1;
    }
    advance_by(cpu, insn, RSI, n);
    advance_by(cpu, insn, RDI, n);
    return n;
}

GUEST_MEMORY static void fill_elements(uint8_t *target, uint64_t value, unsigned size, uint64_t n)
{
    switch (size) {
    case SIZE_8:
        guest_fill(target, (uint8_t)value, n);
        break;
    case SIZE_16:
        for (uint64_t i = 0; i < n; i++)
            memcpy(target + 2 * i, &value, 2);
        break;
    case SIZE_32:
        for (uint64_t i = 0; i < n; i++)
            memcpy(target + 4 * i, &value, 4);
        break;
    default:
        for (uint64_t i = 0; i < n; i++)
            memcpy(target + 8 * i, &value, 8);
    }
}

static uint64_t stos_chunk(struct cpu *cpu, const struct insn *insn, uint64_t count)
{
    uint64_t to = destination_address(cpu, insn, true), n = 0;
    uint64_t value = get_reg_sized(cpu, RAX * 8, insn->size);
    uint8_t *target;
    if (fast(cpu, count))
        n = elements(cpu, insn, to, RDI, MMU_WRITE, count, &target);
    if (n > 1) { /* nobody sees in which order */
        bool down = cpu->s.rflags & FLAG_DF;
        fill_elements(target - (down ? (n - 1) << insn->size : 0), value, insn->size, n);
        mmu_stored(cpu, insn, mmu_entry(cpu, to), to);
    } else {
        store_sized(cpu, insn, to, value);
        n = 1;
    }
    advance_by(cpu, insn, RDI, n);
    return n;
}

static uint64_t lods_chunk(struct cpu *cpu, const struct insn *insn, uint64_t count)
{
    uint64_t from = source_address(cpu, insn), n = 0;
    uint8_t *source;
    if (fast(cpu, count))
        n = elements(cpu, insn, from, RSI, MMU_READ, count, &source);
    n = MAX(n, 1);
    int64_t last = step_of(cpu, insn) * (int64_t)(n - 1); /* the only one that leaves a trace */
    set_reg_sized(cpu, RAX * 8, insn->size, load_sized(cpu, insn, from + (uint64_t)last));
    advance_by(cpu, insn, RSI, n);
    return n;
}

/* Flags of left - right at the operand size: shifted to the top, they are the 64-bit ones but for
 * AF and PF, so the host compares at each size. */
static void compare(struct cpu *cpu, unsigned size, uint64_t left, uint64_t right)
{
    uint16_t flags;
    switch (size) {
    case SIZE_8:
        asm("cmpb %b2, %b1\n\t" FLAGS_SAVE : "=&a"(flags) : "q"(left), "q"(right) : "cc");
        break;
    case SIZE_16:
        asm("cmpw %w2, %w1\n\t" FLAGS_SAVE : "=&a"(flags) : "r"(left), "r"(right) : "cc");
        break;
    case SIZE_32:
        asm("cmpl %k2, %k1\n\t" FLAGS_SAVE : "=&a"(flags) : "r"(left), "r"(right) : "cc");
        break;
    default:
        asm("cmpq %2, %1\n\t" FLAGS_SAVE : "=&a"(flags) : "r"(left), "r"(right) : "cc");
    }
    cpu->flags = flags;
}

/* Which of n elements is the first that ends a comparison with `left`, which moves along by
 * `left_step`; or the last of them. */
#define FIND_END(bits)                                                                             \
    GUEST_MEMORY static uint64_t find_end_##bits(const uint8_t *left, int64_t left_step,           \
                                                 const uint8_t *right, int64_t step, bool equal,   \
                                                 uint64_t n)                                       \
    {                                                                                              \
        uint64_t i = 0;                                                                            \
        for (;; i++, left += left_step, right += step) {                                           \
            uint##bits##_t a, b;                                                                   \
            memcpy(&a, left, sizeof(a));                                                           \
            memcpy(&b, right, sizeof(b));                                                          \
            if ((a == b) != equal || i == n - 1)                                                   \
                return i;                                                                          \
        }                                                                                          \
    }
FIND_END(8)
FIND_END(16)
FIND_END(32)
FIND_END(64)

typedef uint64_t find_end_fn(const uint8_t *left, int64_t left_step, const uint8_t *right,
                             int64_t step, bool equal, uint64_t n);
static find_end_fn *const find_end[] = {find_end_8, find_end_16, find_end_32, find_end_64};

static uint64_t scas_chunk(struct cpu *cpu, const struct insn *insn, uint64_t count)
{
    uint64_t at = destination_address(cpu, insn, false), n = 0;
    uint64_t left = get_reg_sized(cpu, RAX * 8, insn->size);
    int64_t step = step_of(cpu, insn);
    uint8_t *right;
    if (fast(cpu, count))
        n = elements(cpu, insn, at, RDI, MMU_READ, count, &right);
    if (n > 1) {
        uint64_t end =
            find_end[insn->size]((uint8_t *)&left, 0, right, step, insn->prefix & PREFIX_REP, n);
        at += (uint64_t)(step * (int64_t)end);
        n = end + 1;
    }
    n = MAX(n, 1);
    compare(cpu, insn->size, left, load_sized(cpu, insn, at));
    advance_by(cpu, insn, RDI, n);
    return n;
}

static uint64_t cmps_chunk(struct cpu *cpu, const struct insn *insn, uint64_t count)
{
    uint64_t left_at = source_address(cpu, insn), n = 0;
    uint64_t right_at = destination_address(cpu, insn, false);
    int64_t step = step_of(cpu, insn);
    uint8_t *left, *right;
    if (fast(cpu, count))
        n = elements(cpu, insn, left_at, RSI, MMU_READ, count, &left);
    if (n > 1)
        n = elements(cpu, insn, right_at, RDI, MMU_READ, n, &right);
    if (n > 1) {
        uint64_t end = find_end[insn->size](left, step, right, step, insn->prefix & PREFIX_REP, n);
        left_at += (uint64_t)(step * (int64_t)end);
        right_at += (uint64_t)(step * (int64_t)end);
        n = end + 1;
    }
    n = MAX(n, 1);
    uint64_t value = load_sized(cpu, insn, left_at);
    compare(cpu, insn->size, value, load_sized(cpu, insn, right_at));
    advance_by(cpu, insn, RSI, n);
    advance_by(cpu, insn, RDI, n);
    return n;
}

/* ---- the instructions ------------------------------------------------------------------------ */

static bool repeated(const struct insn *insn)
{
    return insn->prefix & (PREFIX_REP | PREFIX_REPNE);
}

/* Time to look around? Then the instruction is left to be entered again. */
static bool interrupted(struct cpu *cpu)
{
    return cpu->mode & MODE_SINGLE || atomic_load_explicit(&cpu->attention, memory_order_relaxed);
}

#define STAY()                                                                                     \
    do {                                                                                           \
        cpu->s.rip = interp_mask_ip(cpu, cpu->s.gpr[GPR_CODE] + insn->offset);                     \
        interp_uncount(cpu, insn + 1);                                                             \
        return NULL;                                                                               \
    } while (0)

#define BLOCK_STRING(name)                                                                         \
    HANDLER(name)                                                                                  \
    {                                                                                              \
        if (!repeated(insn)) {                                                                     \
            name##_chunk(cpu, insn, 1);                                                            \
            NEXT();                                                                                \
        }                                                                                          \
        uint64_t left;                                                                             \
        while ((left = count_left(cpu, insn)) != 0) {                                              \
            left -= name##_chunk(cpu, insn, MIN(left, cpu->string_chunk));                         \
            set_reg_sized(cpu, RCX * 8, insn->addr_size, left);                                    \
            if (left && unlikely(interrupted(cpu)))                                                \
                STAY();                                                                            \
        }                                                                                          \
        NEXT();                                                                                    \
    }
BLOCK_STRING(movs)
BLOCK_STRING(stos)
BLOCK_STRING(lods)

#define COMPARING_STRING(name)                                                                     \
    HANDLER(name)                                                                                  \
    {                                                                                              \
        if (!repeated(insn)) {                                                                     \
            name##_chunk(cpu, insn, 1);                                                            \
            NEXT();                                                                                \
        }                                                                                          \
        uint64_t left;                                                                             \
        uint16_t wanted = insn->prefix & PREFIX_REP ? 0x4000 : 0;                                  \
        while ((left = count_left(cpu, insn)) != 0) {                                              \
            left -= name##_chunk(cpu, insn, MIN(left, cpu->string_chunk));                         \
            set_reg_sized(cpu, RCX * 8, insn->addr_size, left);                                    \
            if ((cpu->flags & 0x4000) != wanted)                                                   \
                break;                                                                             \
            if (left && unlikely(interrupted(cpu)))                                                \
                STAY();                                                                            \
        }                                                                                          \
        NEXT();                                                                                    \
    }
COMPARING_STRING(scas)
COMPARING_STRING(cmps)

const struct handler_row handlers_string[] = {
    {OP_MOVS, ALL_SHAPES(movs)}, {OP_STOS, ALL_SHAPES(stos)}, {OP_LODS, ALL_SHAPES(lods)},
    {OP_SCAS, ALL_SHAPES(scas)}, {OP_CMPS, ALL_SHAPES(cmps)}, {0},
};
