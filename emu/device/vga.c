#include "emu/device/vga.h"

#include "emu/core/clock.h"
#include "emu/core/memory.h"
#include "emu/core/port.h"
#include "emu/device/vga_window.h"
#include <gio/gio.h>
#include <string.h>
#include <sys/mman.h>

#define ROM_SIZE   65536u
#define FRAME_NS   INT64_C(16666667)
#define LINE_NS    INT64_C(31778)
#define MAX_WIDTH  2560
#define MAX_HEIGHT 1600

struct vga {
    struct pci_device pci;
    struct vga_registers registers;
    uint8_t *memory;
    uint8_t *rom; /* page aligned */
};

static const struct pci_identity identity = {.vendor = 0x1234,
                                             .device = 0x1111,
                                             .subsystem_vendor = 0x1af4,
                                             .subsystem = 0x1100,
                                             .class_code = 0x030000};

const struct vga_registers *vga_registers(const struct device *device)
{
    return &((const struct vga *)device)->registers;
}

const uint8_t *vga_memory(const struct device *device)
{
    return ((const struct vga *)device)->memory;
}

/* Who watches the memory (emu/core/dirty.h) learns of what CPUs store in the linear frame buffer by
 * itself, and of what goes through registers from here. */
static void written(struct vga *vga, size_t at, size_t length)
{
    memory_host_written(vga->pci.device.board->memory, vga->memory + at, length);
}

static uint8_t *new_pages(size_t size)
{
    void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return pages == MAP_FAILED ? NULL : pages;
}

bool vga_set_rom(struct device *device, const uint8_t *bytes, size_t size)
{
    struct vga *vga = (struct vga *)device;
    if (size > ROM_SIZE)
        return false;
    vga->rom = new_pages(ROM_SIZE);
    if (!vga->rom)
        return false;
    memcpy(vga->rom, bytes, size);
    return true;
}

/* ---- the display interface --------------------------------------------------------------- */

static uint16_t dispi_read(const struct vga_registers *r)
{
    if (r->dispi_index >= DISPI_COUNT)
        return 0;
    if (r->dispi[DISPI_ENABLE] & DISPI_GET_LIMIT) {
        static const uint16_t limits[DISPI_COUNT] = {
            [DISPI_WIDTH] = MAX_WIDTH, [DISPI_HEIGHT] = MAX_HEIGHT, [DISPI_BPP] = 32};
        if (limits[r->dispi_index])
            return limits[r->dispi_index];
    }
    return r->dispi[r->dispi_index];
}

static uint32_t line_bytes(const struct vga_registers *r, uint32_t pixels)
{
    uint16_t bpp = r->dispi[DISPI_BPP];
    return bpp == 4 ? pixels / 2 : pixels * ((bpp + 7u) / 8);
}

static void set_virtual_width(struct vga_registers *r, uint16_t width)
{
    width = MAX(width, r->dispi[DISPI_WIDTH]);
    uint32_t bytes = line_bytes(r, width);
    if (bytes == 0)
        return;
    r->dispi[DISPI_VIRTUAL_WIDTH] = width;
    r->dispi[DISPI_VIRTUAL_HEIGHT] = (uint16_t)MIN(VGA_MEMORY_SIZE / bytes, 0xffff);
}

static void dispi_enable(struct vga *vga, uint16_t value)
{
    struct vga_registers *r = &vga->registers;
    bool was = r->dispi[DISPI_ENABLE] & DISPI_ENABLED;
    r->dispi[DISPI_ENABLE] =
        value & (DISPI_ENABLED | DISPI_GET_LIMIT | DISPI_8BIT_DAC | DISPI_LINEAR | DISPI_NO_CLEAR);
    if (!(value & DISPI_ENABLED) || was)
        return;
    r->dispi[DISPI_BANK] = r->dispi[DISPI_X] = r->dispi[DISPI_Y] = 0;
    set_virtual_width(r, 0);
    if (!(value & DISPI_NO_CLEAR)) {
        size_t line = line_bytes(r, r->dispi[DISPI_VIRTUAL_WIDTH]);
        size_t length = MIN(line * r->dispi[DISPI_HEIGHT], VGA_MEMORY_SIZE);
        memset(vga->memory, 0, length);
        written(vga, 0, length);
    }
}

static void dispi_write(struct vga *vga, uint16_t value)
{
    struct vga_registers *r = &vga->registers;
    switch (r->dispi_index) {
    case DISPI_ID:
        if (value >= 0xb0c0 && value <= 0xb0c5)
            r->dispi[DISPI_ID] = value;
        break;
    case DISPI_WIDTH:
        if (value <= MAX_WIDTH && !(value & 7))
            r->dispi[DISPI_WIDTH] = value;
        break;
    case DISPI_HEIGHT:
        if (value <= MAX_HEIGHT)
            r->dispi[DISPI_HEIGHT] = value;
        break;
    case DISPI_BPP:
        if (value == 0)
            value = 8;
        if (value == 4 || value == 8 || value == 15 || value == 16 || value == 24 || value == 32)
            r->dispi[DISPI_BPP] = value;
        break;
    case DISPI_BANK:
        r->dispi[DISPI_BANK] = value & (VGA_MEMORY_SIZE / 65536 - 1);
        break;
    case DISPI_ENABLE:
        dispi_enable(vga, value);
        break;
    case DISPI_VIRTUAL_WIDTH:
        set_virtual_width(r, value);
        break;
    case DISPI_X:
    case DISPI_Y:
        r->dispi[r->dispi_index] = value;
        break;
    default:
        break;
    }
}

/* Port 0x1ce is the index, 0x1cf and 0x1d0 are the data: all 16 bits wide, so they overlap. */
static uint32_t dispi_port_read(void *opaque, uint16_t offset, unsigned size)
{
    const struct vga_registers *r = &((struct vga *)opaque)->registers;
    return offset == 0 ? r->dispi_index : dispi_read(r);
}

static void dispi_port_write(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    struct vga *vga = opaque;
    if (offset == 0)
        vga->registers.dispi_index = (uint16_t)value;
    else
        dispi_write(vga, (uint16_t)value);
}

/* ---- VGA ports --------------------------------------------------------------------------- */

static void attribute_write(struct vga_registers *r, uint8_t value)
{
    if (!r->attribute_data)
        r->attribute_index = value & 0x3f;
    else if ((r->attribute_index & 0x1f) < 21)
        r->attribute[r->attribute_index & 0x1f] = value;
    r->attribute_data = !r->attribute_data;
}

static void dac_data_write(struct vga_registers *r, uint8_t value)
{
    bool wide = r->dispi[DISPI_ENABLE] & DISPI_8BIT_DAC;
    r->palette[r->dac_write * 3 + r->dac_part] = wide ? value : value & 0x3f;
    if (++r->dac_part == 3) {
        r->dac_part = 0;
        r->dac_write++;
    }
}

static uint8_t dac_data_read(struct vga_registers *r)
{
    uint8_t value = r->palette[r->dac_read * 3 + r->dac_part];
    if (++r->dac_part == 3) {
        r->dac_part = 0;
        r->dac_read++;
    }
    return value;
}

/* Input status 1: retrace and display enable, from the time of day; resets the flip-flop. */
static uint8_t status_1(struct vga *vga)
{
    int64_t now = guest_clock_now(vga->pci.device.board->clock), frame = now % FRAME_NS;
    bool vertical = frame > FRAME_NS - 45 * LINE_NS;
    bool horizontal = now % LINE_NS > LINE_NS * 4 / 5;
    vga->registers.attribute_data = false;
    return (uint8_t)((vertical ? 0x08 : 0) | (vertical || horizontal ? 0x01 : 0));
}

static void crtc_write(struct vga_registers *r, uint8_t value)
{
    unsigned index = r->crtc_index & 31;
    /* Bit 7 of register 0x11 protects 0-7, but for one bit of 7. */
    if (index < 7 && r->crtc[0x11] & 0x80)
        return;
    if (index == 7 && r->crtc[0x11] & 0x80)
        value = (uint8_t)((r->crtc[7] & ~0x10) | (value & 0x10));
    r->crtc[index] = value;
}

/* The CRTC answers at 0x3b4 or 0x3d4, as the miscellaneous register's bit 0 says. */
static bool is_other_crtc(const struct vga_registers *r, unsigned port)
{
    return (port < 0x3c0) == (r->misc & 1);
}

static uint8_t read_port(struct vga *vga, unsigned port)
{
    struct vga_registers *r = &vga->registers;
    switch (port) {
    case 0x3c0:
        return r->attribute_index;
    case 0x3c1:
        return r->attribute[r->attribute_index & 0x1f];
    case 0x3c4:
        return r->sequencer_index;
    case 0x3c5:
        return r->sequencer[r->sequencer_index & 7];
    case 0x3c6:
        return r->dac_mask;
    case 0x3c7:
        return r->dac_reading ? 0 : 3;
    case 0x3c8:
        return r->dac_write;
    case 0x3c9:
        return dac_data_read(r);
    case 0x3ca:
        return r->feature;
    case 0x3c2:
        return 0x10; /* a monitor is there */
    case 0x3cc:
        return r->misc;
    case 0x3ce:
        return r->graphics_index;
    case 0x3cf:
        return r->graphics[r->graphics_index & 15];
    case 0x3b4:
    case 0x3d4:
        return r->crtc_index;
    case 0x3b5:
    case 0x3d5:
        return r->crtc[r->crtc_index & 31];
    case 0x3ba:
    case 0x3da:
        return status_1(vga);
    default:
        return 0xff;
    }
}

static void write_port(struct vga *vga, unsigned port, uint8_t value)
{
    struct vga_registers *r = &vga->registers;
    switch (port) {
    case 0x3c0:
        attribute_write(r, value);
        break;
    case 0x3c2:
        r->misc = value;
        break;
    case 0x3c4:
        r->sequencer_index = value & 7;
        break;
    case 0x3c5:
        r->sequencer[r->sequencer_index & 7] = value;
        break;
    case 0x3c6:
        r->dac_mask = value;
        break;
    case 0x3c7:
    case 0x3c8:
        *(port == 0x3c7 ? &r->dac_read : &r->dac_write) = value;
        r->dac_reading = port == 0x3c7;
        r->dac_part = 0;
        break;
    case 0x3c9:
        dac_data_write(r, value);
        break;
    case 0x3ce:
        r->graphics_index = value & 15;
        break;
    case 0x3cf:
        r->graphics[r->graphics_index & 15] = value;
        break;
    case 0x3b4:
    case 0x3d4:
        r->crtc_index = value & 31;
        break;
    case 0x3b5:
    case 0x3d5:
        crtc_write(r, value);
        break;
    case 0x3ba:
    case 0x3da:
        r->feature = value;
        break;
    default:
        break;
    }
}

static bool is_crtc_port(unsigned port)
{
    return port < 0x3c0 || port >= 0x3d0;
}

static uint32_t vga_read(void *opaque, uint16_t offset, unsigned size)
{
    struct vga *vga = opaque;
    unsigned port = 0x3b0u + offset;
    if (is_crtc_port(port) && is_other_crtc(&vga->registers, port))
        return 0xff;
    return read_port(vga, port);
}

static void vga_write(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    struct vga *vga = opaque;
    unsigned port = 0x3b0u + offset;
    if (!is_crtc_port(port) || !is_other_crtc(&vga->registers, port))
        write_port(vga, port, (uint8_t)value);
}

static uint64_t window_read(void *opaque, uint64_t offset, unsigned size)
{
    struct vga *vga = opaque;
    return vga_window_read(&vga->registers, vga->memory, (uint32_t)offset);
}

static void window_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct vga *vga = opaque;
    uint32_t at = vga_window_write(&vga->registers, vga->memory, (uint32_t)offset, (uint8_t)value);
    if (at != VGA_WINDOW_NOWHERE)
        written(vga, at, 4);
}

static const struct port_ops vga_port_ops = {vga_read, vga_write, 1};
static const struct port_ops dispi_ops = {dispi_port_read, dispi_port_write, 2};
static const struct mmio_ops window_ops = {window_read, window_write, 1};

/* ---- the device -------------------------------------------------------------------------- */

static bool realize(struct device *device, GError **error)
{
    struct vga *vga = (struct vga *)device;
    struct memory_map *memory = device->board->memory;
    struct port_map *ports = device->board->ports;
    vga->memory = new_pages(VGA_MEMORY_SIZE);
    if (!vga->memory) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NO_SPACE, "cannot get 16 MiB of video memory");
        return false;
    }
    pci_attach(&vga->pci, &identity);
    pci_add_memory_bar(&vga->pci, 0, VGA_MEMORY_SIZE, true,
                       memory_add_host(memory, "vga-frame-buffer", UINT64_C(1) << 50,
                                       VGA_MEMORY_SIZE, 1, vga->memory, true));
    if (vga->rom)
        pci_add_memory_bar(
            &vga->pci, PCI_ROM_BAR, ROM_SIZE, false,
            memory_add_host(memory, "vga-rom", UINT64_C(1) << 50, ROM_SIZE, 1, vga->rom, false));
    memory_add_mmio(memory, "vga-window", 0xa0000, 0x20000, 2, &window_ops, vga);
    port_add(ports, "vga", 0x3b0, 0x30, &vga_port_ops, vga);
    port_add(ports, "vga-dispi", 0x1ce, 4, &dispi_ops, vga);
    return true;
}

static void reset(struct device *device)
{
    struct vga *vga = (struct vga *)device;
    pci_reset(&vga->pci);
    memset(&vga->registers, 0, sizeof(vga->registers));
    vga->registers.misc = 1;
    vga->registers.dac_mask = 0xff;
    vga->registers.dispi[DISPI_ID] = 0xb0c5;
    vga->registers.dispi[DISPI_BPP] = 8;
    vga->registers.dispi[DISPI_MEMORY] = VGA_MEMORY_SIZE / 65536;
}

static bool loaded(struct device *device, GError **error)
{
    struct vga *vga = (struct vga *)device;
    struct vga_registers *r = &vga->registers;
    r->dac_part %= 3;
    r->dispi[DISPI_WIDTH] = MIN(r->dispi[DISPI_WIDTH], MAX_WIDTH);
    r->dispi[DISPI_HEIGHT] = MIN(r->dispi[DISPI_HEIGHT], MAX_HEIGHT);
    written(vga, 0, VGA_MEMORY_SIZE);
    pci_loaded(&vga->pci);
    return true;
}

static void finish(struct device *device)
{
    struct vga *vga = (struct vga *)device;
    if (vga->memory)
        munmap(vga->memory, VGA_MEMORY_SIZE);
    if (vga->rom)
        munmap(vga->rom, ROM_SIZE);
}

static const struct state_field registers_state[] = {
    STATE_UINT(struct vga_registers, misc),
    STATE_UINT(struct vga_registers, feature),
    STATE_UINT(struct vga_registers, sequencer_index),
    STATE_BYTES(struct vga_registers, sequencer),
    STATE_UINT(struct vga_registers, crtc_index),
    STATE_BYTES(struct vga_registers, crtc),
    STATE_UINT(struct vga_registers, graphics_index),
    STATE_BYTES(struct vga_registers, graphics),
    STATE_UINT(struct vga_registers, attribute_index),
    STATE_BYTES(struct vga_registers, attribute),
    STATE_UINT(struct vga_registers, attribute_data),
    STATE_UINT(struct vga_registers, dac_mask),
    STATE_UINT(struct vga_registers, dac_read),
    STATE_UINT(struct vga_registers, dac_write),
    STATE_UINT(struct vga_registers, dac_part),
    STATE_UINT(struct vga_registers, dac_reading),
    STATE_BYTES(struct vga_registers, palette),
    STATE_BYTES(struct vga_registers, latch),
    STATE_UINT(struct vga_registers, dispi_index),
    STATE_UINTS(struct vga_registers, dispi),
    STATE_END,
};
static const struct state_field state[] = {
    PCI_STATE(struct vga, pci),
    STATE_STRUCT(struct vga, registers, registers_state),
    {"memory", STATE_KIND_BUFFER, offsetof(struct vga, memory), 1, VGA_MEMORY_SIZE, NULL},
    STATE_END,
};

const struct device_ops vga_ops = {.name = "vga",
                                   .size = sizeof(struct vga),
                                   .state_version = 1,
                                   .state = state,
                                   .realize = realize,
                                   .reset = reset,
                                   .loaded = loaded,
                                   .finish = finish};
