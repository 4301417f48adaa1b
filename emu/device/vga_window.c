#include "emu/device/vga_window.h"

#include <string.h>

#define SEQ_MASK   2
#define SEQ_MODE   4
#define GC_SET     0
#define GC_ENABLE  1
#define GC_COMPARE 2
#define GC_ROTATE  3
#define GC_READ    4
#define GC_MODE    5
#define GC_MISC    6
#define GC_CARE    7
#define GC_BITS    8

/* Where in the 64 KiB (or 128) of the mapped range an access falls; false outside it. */
static bool map_offset(const struct vga_registers *registers, uint32_t *offset)
{
    static const struct {
        uint32_t base, size;
    } maps[4] = {{0, 0x20000}, {0, 0x10000}, {0x10000, 0x8000}, {0x18000, 0x8000}};
    unsigned map = registers->graphics[GC_MISC] >> 2 & 3;
    *offset -= maps[map].base;
    return *offset < maps[map].size;
}

/* With the display interface on and more than 16 colours the window is a bank of linear memory. */
static bool is_banked(const struct vga_registers *registers)
{
    return registers->dispi[DISPI_ENABLE] & DISPI_ENABLED && registers->dispi[DISPI_BPP] > 4;
}

static uint32_t banked_address(const struct vga_registers *registers, uint32_t offset)
{
    return ((uint32_t)registers->dispi[DISPI_BANK] << 16 | (offset & 0xffff)) &
           (VGA_MEMORY_SIZE - 1);
}

static bool is_chained(const struct vga_registers *registers)
{
    return registers->sequencer[SEQ_MODE] & 8;
}

static bool is_odd_even(const struct vga_registers *registers)
{
    return registers->graphics[GC_MODE] & 0x10;
}

uint8_t vga_window_read(struct vga_registers *registers, const uint8_t *memory, uint32_t offset)
{
    if (is_banked(registers))
        return memory[banked_address(registers, offset)];
    if (!map_offset(registers, &offset))
        return 0xff;
    if (is_chained(registers))
        return memory[offset];
    const uint8_t *gc = registers->graphics;
    if (is_odd_even(registers))
        return memory[(offset & ~1u) << 1 | (gc[GC_READ] & 2) | (offset & 1)];
    memcpy(registers->latch, memory + offset * 4, 4);
    if (!(gc[GC_MODE] & 8))
        return registers->latch[gc[GC_READ] & 3];
    uint8_t result = 0xff; /* read mode 1: which pixels have the colour compared */
    for (unsigned plane = 0; plane < 4; plane++) {
        if (gc[GC_CARE] >> plane & 1)
            result &=
                (uint8_t) ~(registers->latch[plane] ^ (gc[GC_COMPARE] >> plane & 1 ? 0xff : 0));
    }
    return result;
}

static uint8_t combine(uint8_t function, uint8_t value, uint8_t latch)
{
    switch (function) {
    case 1:
        return value & latch;
    case 2:
        return value | latch;
    case 3:
        return value ^ latch;
    default:
        return value;
    }
}

static void write_planes(struct vga_registers *registers, uint8_t *memory, uint32_t offset,
                         uint8_t value)
{
    const uint8_t *gc = registers->graphics;
    unsigned mode = gc[GC_MODE] & 3, turn = gc[GC_ROTATE] & 7;
    uint8_t rotated = (uint8_t)(value >> turn | value << (8 - turn)), bits = gc[GC_BITS];
    if (mode == 3)
        bits &= rotated;
    for (unsigned plane = 0; plane < 4; plane++) {
        if (!(registers->sequencer[SEQ_MASK] >> plane & 1))
            continue;
        uint8_t latch = registers->latch[plane];
        uint8_t set = gc[GC_SET] >> plane & 1 ? 0xff : 0, data;
        if (mode == 1)
            data = latch;
        else if (mode == 2)
            data = value >> plane & 1 ? 0xff : 0;
        else if (mode == 3)
            data = set;
        else
            data = gc[GC_ENABLE] >> plane & 1 ? set : rotated;
        if (mode != 1) {
            data = combine(gc[GC_ROTATE] >> 3 & 3, data, latch);
            data = (uint8_t)((data & bits) | (latch & ~bits));
        }
        memory[offset * 4 + plane] = data;
    }
}

uint32_t vga_window_write(struct vga_registers *registers, uint8_t *memory, uint32_t offset,
                          uint8_t value)
{
    if (is_banked(registers)) {
        uint32_t at = banked_address(registers, offset);
        memory[at] = value;
        return at & ~3u;
    }
    if (!map_offset(registers, &offset))
        return VGA_WINDOW_NOWHERE;
    uint8_t mask = registers->sequencer[SEQ_MASK];
    if (is_chained(registers)) {
        if (mask >> (offset & 3) & 1)
            memory[offset] = value;
        return offset & ~3u;
    }
    if (is_odd_even(registers)) {
        unsigned plane = (registers->graphics[GC_READ] & 2) | (offset & 1);
        if (mask >> plane & 1)
            memory[(offset & ~1u) << 1 | plane] = value;
        return (offset & ~1u) << 1;
    }
    write_planes(registers, memory, offset, value);
    return offset * 4;
}
