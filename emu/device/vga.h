/*
 * A VGA (IBM PS/2 hardware reference, video subsystem) on PCI, with the Bochs display interface
 * (ports 0x1ce/0x1cf) for high resolutions and a linear frame buffer in its first BAR.
 *
 * Video memory is 16 MiB. Planes are interleaved: byte p of the dword at 4*a is plane p at address
 * a; so text is at plane 0 (characters) and 1 (attributes), fonts at plane 2.
 */
#pragma once

#include "emu/device/pci.h"

#define VGA_MEMORY_SIZE (16u << 20)

extern const struct device_ops vga_ops;

/* Indices of the display interface's registers. */
enum vga_dispi {
    DISPI_ID,
    DISPI_WIDTH,
    DISPI_HEIGHT,
    DISPI_BPP,
    DISPI_ENABLE,
    DISPI_BANK,
    DISPI_VIRTUAL_WIDTH,
    DISPI_VIRTUAL_HEIGHT,
    DISPI_X,
    DISPI_Y,
    DISPI_MEMORY,
    DISPI_COUNT,
};
#define DISPI_ENABLED   0x01
#define DISPI_GET_LIMIT 0x02
#define DISPI_8BIT_DAC  0x20
#define DISPI_LINEAR    0x40
#define DISPI_NO_CLEAR  0x80

/* All that decides what is on the screen; read by emu/display with the board lock held. */
struct vga_registers {
    uint8_t misc, feature;
    uint8_t sequencer_index, sequencer[8];
    uint8_t crtc_index, crtc[32];
    uint8_t graphics_index, graphics[16];
    uint8_t attribute_index, attribute[32];
    bool attribute_data; /* the next write to 0x3c0 is data */
    uint8_t dac_mask, dac_read, dac_write, dac_part;
    bool dac_reading;
    uint8_t palette[768]; /* red, green, blue: 6 bits, or 8 with DISPI_8BIT_DAC */
    uint8_t latch[4];
    uint16_t dispi_index, dispi[DISPI_COUNT];
};

/* The option ROM with the video BIOS, up to 64 KiB; copied. Before realize. */
bool vga_set_rom(struct device *device, const uint8_t *bytes, size_t size);
const struct vga_registers *vga_registers(const struct device *device); /* borrowed */
const uint8_t *vga_memory(const struct device *device);                 /* borrowed */
