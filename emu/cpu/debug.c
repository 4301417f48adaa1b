/* Debug registers: breakpoints on instructions and data (SDM volume 3, chapter 17). */
#include "emu/cpu/internal.h"

enum { DEBUG_EXECUTE, DEBUG_WRITE, DEBUG_IO, DEBUG_ACCESS };

static bool enabled(const struct cpu *cpu, unsigned i)
{
    return cpu->s.dr[7] >> (2 * i) & 3;
}

static unsigned kind(const struct cpu *cpu, unsigned i)
{
    return cpu->s.dr[7] >> (16 + 4 * i) & 3;
}

static unsigned length(const struct cpu *cpu, unsigned i)
{
    static const uint8_t bytes[] = {1, 2, 8, 4};
    return bytes[cpu->s.dr[7] >> (18 + 4 * i) & 3];
}

unsigned debug_code_hits(const struct cpu *cpu, uint64_t linear)
{
    unsigned hits = 0;
    for (unsigned i = 0; i < 4; i++)
        if (enabled(cpu, i) && kind(cpu, i) == DEBUG_EXECUTE && cpu->s.dr[i] == linear)
            hits |= 1u << i;
    return hits;
}

static bool watches_data(const struct cpu *cpu, unsigned i)
{
    return enabled(cpu, i) && (kind(cpu, i) == DEBUG_WRITE || kind(cpu, i) == DEBUG_ACCESS);
}

bool debug_page_watched(const struct cpu *cpu, uint64_t address)
{
    for (unsigned i = 0; i < 4; i++)
        if (watches_data(cpu, i) && (cpu->s.dr[i] & PAGE_MASK) == (address & PAGE_MASK))
            return true;
    return false;
}

void debug_access(struct cpu *cpu, uint64_t address, unsigned size, bool write)
{
    for (unsigned i = 0; i < 4; i++) {
        uint64_t bytes = length(cpu, i), start = cpu->s.dr[i] & ~(bytes - 1);
        if (watches_data(cpu, i) && (write || kind(cpu, i) == DEBUG_ACCESS) &&
            address < start + bytes && start < address + size)
            cpu->watch_hits |= 1u << i;
    }
}

void debug_io(struct cpu *cpu, uint16_t port, unsigned size)
{
    for (unsigned i = 0; i < 4; i++) {
        uint64_t bytes = length(cpu, i), start = cpu->s.dr[i] & ~(bytes - 1);
        if (enabled(cpu, i) && kind(cpu, i) == DEBUG_IO && cpu->s.cr4 & CR4_DE &&
            port < start + bytes && start < (uint64_t)port + size)
            cpu->watch_hits |= 1u << i;
    }
}

void debug_deliver(struct cpu *cpu, uint64_t bits)
{
    cpu->s.dr[6] |= bits;
    cpu->s.dr[7] &= ~DR7_GD;
    cpu_deliver(cpu, VEC_DB, false, false, 0);
}
