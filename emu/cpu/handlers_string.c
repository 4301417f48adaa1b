/*
 * String instructions. A repeated one works in chunks: as many elements as lie in one page of plain
 * memory at once, or else one element, then looks for attention. It restarts from its registers, as
 * the architecture has it, so an interrupt or a fault between elements needs no care.
 */
#include "emu/cpu/interp.h"

#define CHUNK_MAX 65536 /* bytes between looks at attention */

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

/* How many elements may be done at once from this linear address upwards: 0 for one by one. */
static uint64_t elements_in_page(struct cpu *cpu, const struct insn *insn, uint64_t at,
                                 uint64_t offset, unsigned segment, enum mmu_access access,
                                 uint64_t elements, uint8_t **ret_host)
{
    uint64_t length;
    *ret_host = mmu_span(cpu, at, elements << insn->size, access, &length);
    if (!*ret_host)
        return 0;
    if (!cpu_code64(cpu)) { /* the offset must not wrap, nor the segment end */
        const struct segment *s = &cpu->s.seg[segment];
        uint64_t top = insn->addr_size == SIZE_16 ? UINT16_MAX : UINT32_MAX;
        if (!(s->attributes & SEG_CODE) && s->attributes & SEG_EXPAND)
            return 0;
        if (s->limit < top)
            top = s->limit;
        uint64_t room = top - offset + 1;
        if (length > room)
            length = room;
    }
    return length >> insn->size;
}

/* The same from there downwards; *ret_host is the first, and highest, element. */
static uint64_t elements_below(struct cpu *cpu, const struct insn *insn, uint64_t at,
                               uint64_t offset, unsigned segment, enum mmu_access access,
                               uint64_t elements, uint8_t **ret_host)
{
    uint64_t length, unit = UINT64_C(1) << insn->size;
    *ret_host = mmu_span(cpu, at, unit, access, &length);
    uint16_t attributes = cpu->s.seg[segment].attributes;
    bool expand_down = !(attributes & SEG_CODE) && attributes & SEG_EXPAND;
    if (!*ret_host || length < unit || (!cpu_code64(cpu) && expand_down))
        return 0;
    uint64_t room = MIN(at & ~PAGE_MASK, offset);
    return MIN(elements, (room >> insn->size) + 1);
}

static bool fast(const struct cpu *cpu, uint64_t count)
{
    return count > 1 && !(cpu->mode & MODE_SINGLE);
}
static bool forward_fast(const struct cpu *cpu, uint64_t count)
{
    return fast(cpu, count) && !(cpu->s.rflags & FLAG_DF);
}

/* ---- one chunk of each ----------------------------------------------------------------------- */

/* With DF set, as memmove() of 32-bit systems does it: 0 when it must be one by one. */
GUEST_MEMORY static uint64_t movs_down(struct cpu *cpu, const struct insn *insn, uint64_t from,
                                       uint64_t to, uint64_t count)
{
    uint8_t *source, *target;
    unsigned segment = insn->seg == SEG_NONE ? SEG_DS : insn->seg;
    uint64_t n = elements_below(cpu, insn, from, mask_address(insn, cpu->s.gpr[RSI]), segment,
                                MMU_READ, count, &source);
    if (n > 1)
        n = elements_below(cpu, insn, to, mask_address(insn, cpu->s.gpr[RDI]), SEG_ES, MMU_WRITE, n,
                           &target);
    if (n < 2)
        return 0;
    size_t unit = (size_t)1 << insn->size;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t value = 0;
        memcpy(&value, source - i * unit, unit);
        memcpy(target - i * unit, &value, unit);
    }
    mmu_stored(cpu, insn, mmu_entry(cpu, to), to);
    advance(cpu, insn, RSI, -(int64_t)(n * unit));
    advance(cpu, insn, RDI, -(int64_t)(n * unit));
    return n;
}

GUEST_MEMORY static uint64_t movs_chunk(struct cpu *cpu, const struct insn *insn, uint64_t count)
{
    uint64_t from = source_address(cpu, insn);
    uint64_t to = destination_address(cpu, insn, true);
    if (forward_fast(cpu, count)) {
        uint8_t *source, *target;
        unsigned segment = insn->seg == SEG_NONE ? SEG_DS : insn->seg;
        uint64_t n = elements_in_page(cpu, insn, from, mask_address(insn, cpu->s.gpr[RSI]), segment,
                                      MMU_READ, count, &source);
        uint64_t m = n ? elements_in_page(cpu, insn, to, mask_address(insn, cpu->s.gpr[RDI]),
                                          SEG_ES, MMU_WRITE, n, &target)
                       : 0;
        if (m > 1) {
            uint64_t bytes = m << insn->size;
            /* A destination shortly above the source repeats a pattern; do that in order. */
            uint64_t distance = (uintptr_t)target - (uintptr_t)source;
            if (distance != 0 && distance < bytes) {
                size_t unit = (size_t)1 << insn->size;
                for (uint64_t i = 0; i < bytes; i += unit) {
                    uint64_t value = 0;
                    memcpy(&value, source + i, unit);
                    memcpy(target + i, &value, unit);
                }
            } else {
                guest_copy(target, source, bytes);
            }
            mmu_stored(cpu, insn, mmu_entry(cpu, to), to);
            advance(cpu, insn, RSI, (int64_t)bytes);
            advance(cpu, insn, RDI, (int64_t)bytes);
            return m;
        }
    }
    if (cpu->s.rflags & FLAG_DF && fast(cpu, count)) {
        uint64_t n = movs_down(cpu, insn, from, to, count);
        if (n)
            return n;
    }
    store_sized(cpu, insn, to, load_sized(cpu, insn, from));
    advance(cpu, insn, RSI, step_of(cpu, insn));
    advance(cpu, insn, RDI, step_of(cpu, insn));
    return 1;
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
    uint64_t to = destination_address(cpu, insn, true);
    uint64_t value = get_reg_sized(cpu, RAX * 8, insn->size);
    if (forward_fast(cpu, count)) {
        uint8_t *target;
        uint64_t n = elements_in_page(cpu, insn, to, mask_address(insn, cpu->s.gpr[RDI]), SEG_ES,
                                      MMU_WRITE, count, &target);
        if (n > 1) {
            fill_elements(target, value, insn->size, n);
            mmu_stored(cpu, insn, mmu_entry(cpu, to), to);
            advance(cpu, insn, RDI, (int64_t)(n << insn->size));
            return n;
        }
    }
    store_sized(cpu, insn, to, value);
    advance(cpu, insn, RDI, step_of(cpu, insn));
    return 1;
}

static void lods_one(struct cpu *cpu, const struct insn *insn)
{
    uint64_t value = load_sized(cpu, insn, source_address(cpu, insn));
    set_reg_sized(cpu, RAX * 8, insn->size, value);
    advance(cpu, insn, RSI, step_of(cpu, insn));
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

static void scas_one(struct cpu *cpu, const struct insn *insn)
{
    uint64_t right = load_sized(cpu, insn, destination_address(cpu, insn, false));
    compare(cpu, insn->size, get_reg_sized(cpu, RAX * 8, insn->size), right);
    advance(cpu, insn, RDI, step_of(cpu, insn));
}
static void cmps_one(struct cpu *cpu, const struct insn *insn)
{
    uint64_t left = load_sized(cpu, insn, source_address(cpu, insn));
    uint64_t right = load_sized(cpu, insn, destination_address(cpu, insn, false));
    compare(cpu, insn->size, left, right);
    advance(cpu, insn, RSI, step_of(cpu, insn));
    advance(cpu, insn, RDI, step_of(cpu, insn));
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
            left -= name##_chunk(cpu, insn, left < CHUNK_MAX ? left : CHUNK_MAX);                  \
            set_reg_sized(cpu, RCX * 8, insn->addr_size, left);                                    \
            if (left && unlikely(interrupted(cpu)))                                                \
                STAY();                                                                            \
        }                                                                                          \
        NEXT();                                                                                    \
    }
BLOCK_STRING(movs)
BLOCK_STRING(stos)

HANDLER(lods)
{
    if (!repeated(insn)) {
        lods_one(cpu, insn);
        NEXT();
    }
    uint64_t left;
    while ((left = count_left(cpu, insn)) != 0) {
        lods_one(cpu, insn);
        set_reg_sized(cpu, RCX * 8, insn->addr_size, left - 1);
        if (left > 1 && unlikely(interrupted(cpu)))
            STAY();
    }
    NEXT();
}

#define COMPARING_STRING(name)                                                                     \
    HANDLER(name)                                                                                  \
    {                                                                                              \
        if (!repeated(insn)) {                                                                     \
            name##_one(cpu, insn);                                                                 \
            NEXT();                                                                                \
        }                                                                                          \
        uint64_t left;                                                                             \
        uint16_t wanted = insn->prefix & PREFIX_REP ? 0x4000 : 0;                                  \
        while ((left = count_left(cpu, insn)) != 0) {                                              \
            name##_one(cpu, insn);                                                                 \
            set_reg_sized(cpu, RCX * 8, insn->addr_size, left - 1);                                \
            if ((cpu->flags & 0x4000) != wanted)                                                   \
                break;                                                                             \
            if (left > 1 && unlikely(interrupted(cpu)))                                            \
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
