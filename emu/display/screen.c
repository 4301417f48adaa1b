#include "emu/display/screen.h"

#include <string.h>

#define MAX_TEXT_COLUMNS 256u
#define BLANK_WIDTH      640u
#define BLANK_HEIGHT     400u

struct view {
    const struct vga_registers *r;
    const uint8_t *memory;
    struct screen *screen;
};

static void new_screen(struct view *view, unsigned width, unsigned height)
{
    view->screen->width = width;
    view->screen->height = height;
    view->screen->rgb = g_malloc0((gsize)width * height * 3);
}

static uint8_t *pixel(const struct view *view, unsigned x, unsigned y)
{
    return view->screen->rgb + ((gsize)y * view->screen->width + x) * 3;
}

static void palette_colour(const struct view *view, uint8_t index, uint8_t rgb[3])
{
    bool wide = view->r->dispi[DISPI_ENABLE] & DISPI_8BIT_DAC;
    const uint8_t *entry = view->r->palette + (index & view->r->dac_mask) * 3;
    for (int i = 0; i < 3; i++)
        rgb[i] = wide ? entry[i] : (uint8_t)(entry[i] << 2 | entry[i] >> 4);
}

/* A four-bit attribute through the attribute controller's palette. */
static void attribute_colour(const struct view *view, uint8_t attribute, uint8_t rgb[3])
{
    const uint8_t *a = view->r->attribute;
    uint8_t index = a[attribute & 15] & 0x3f;
    if (a[0x10] & 0x80)
        index = (uint8_t)((index & 0x0f) | (a[0x14] & 3) << 4);
    palette_colour(view, index | (uint8_t)((a[0x14] & 0x0c) << 4), rgb);
}

static uint32_t crtc_start(const struct vga_registers *r)
{
    return (uint32_t)r->crtc[0x0c] << 8 | r->crtc[0x0d];
}

static unsigned visible_lines(const struct vga_registers *r)
{
    return (r->crtc[0x12] | (r->crtc[7] & 2u) << 7 | (r->crtc[7] & 0x40u) << 3) + 1;
}

/* ---- text -------------------------------------------------------------------------------- */

struct glyph {
    unsigned x, y, width, height;
    uint8_t code, attribute;
    bool cursor;
};

/* Which of the eight fonts in plane 2: selector bits are 0, 1 and 4 (map B), 2, 3 and 5 (map A). */
static uint32_t font_offset(const struct vga_registers *r, uint8_t attribute)
{
    uint8_t select = r->sequencer[3];
    unsigned a = (select >> 2 & 3) | (select >> 3 & 4), b = (select & 3) | (select >> 2 & 4);
    unsigned map = attribute & 8 ? a : b;
    return ((map & 3) << 14) | (map & 4) << 11;
}

static void draw_glyph(const struct view *view, const struct glyph *glyph)
{
    const struct vga_registers *r = view->r;
    uint8_t foreground[3], background[3];
    uint32_t font = font_offset(r, glyph->attribute) + glyph->code * 32u;
    unsigned cursor_start = r->crtc[0x0a] & 31, cursor_end = r->crtc[0x0b] & 31;
    bool blinks = r->attribute[0x10] & 8;
    attribute_colour(view, glyph->attribute & 15, foreground);
    attribute_colour(view, glyph->attribute >> 4 & (blinks ? 7 : 15), background);
    for (unsigned line = 0; line < glyph->height; line++) {
        uint8_t bits = view->memory[(font + line) * 4 + 2];
        bool cursor =
            glyph->cursor && !(r->crtc[0x0a] & 0x20) && line >= cursor_start && line <= cursor_end;
        for (unsigned column = 0; column < glyph->width; column++) {
            bool line_drawing = glyph->code >= 0xc0 && glyph->code <= 0xdf;
            bool set = column < 8 ? bits >> (7 - column) & 1 : line_drawing && bits & 1;
            memcpy(pixel(view, glyph->x + column, glyph->y + line),
                   set || cursor ? foreground : background, 3);
        }
    }
}

static void render_text(struct view *view)
{
    const struct vga_registers *r = view->r;
    unsigned width = r->sequencer[1] & 1 ? 8 : 9, height = (r->crtc[9] & 31u) + 1;
    unsigned columns = MIN(r->crtc[1] + 1u, MAX_TEXT_COLUMNS);
    unsigned rows = MAX(visible_lines(r) / height, 1);
    uint32_t start = crtc_start(r), pitch = r->crtc[0x13] * 2u;
    uint32_t cursor = (uint32_t)r->crtc[0x0e] << 8 | r->crtc[0x0f];
    new_screen(view, columns * width, rows * height);
    for (unsigned row = 0; row < rows; row++) {
        for (unsigned column = 0; column < columns; column++) {
            uint32_t at = (start + row * pitch + column) & 0xffff;
            const uint8_t *cell = view->memory + (gsize)at * 4;
            struct glyph glyph = {column * width, row * height, width,       height,
                                  cell[0],        cell[1],      at == cursor};
            draw_glyph(view, &glyph);
        }
    }
}

/* ---- graphics ---------------------------------------------------------------------------- */

static void true_colour(const uint8_t *bytes, unsigned bpp, uint8_t rgb[3])
{
    unsigned value = bytes[0] | bytes[1] << 8;
    if (bpp == 15 || bpp == 16) {
        unsigned green_bits = bpp - 10;
        rgb[0] = (uint8_t)((value >> (5 + green_bits) & 31) * 255 / 31);
        rgb[1] =
            (uint8_t)((value >> 5 & ((1u << green_bits) - 1)) * 255 / ((1u << green_bits) - 1));
        rgb[2] = (uint8_t)((value & 31) * 255 / 31);
    } else {
        rgb[0] = bytes[2];
        rgb[1] = bytes[1];
        rgb[2] = bytes[0];
    }
}

static void render_dispi(struct view *view)
{
    const struct vga_registers *r = view->r;
    unsigned width = r->dispi[DISPI_WIDTH], height = r->dispi[DISPI_HEIGHT];
    unsigned bpp = r->dispi[DISPI_BPP], bytes = (bpp + 7) / 8;
    gsize line = (gsize)r->dispi[DISPI_VIRTUAL_WIDTH] * bytes;
    new_screen(view, width, height);
    for (unsigned y = 0; y < height; y++) {
        for (unsigned x = 0; x < width; x++) {
            gsize at = (y + r->dispi[DISPI_Y]) * line + (gsize)(x + r->dispi[DISPI_X]) * bytes;
            if (at + 4 > VGA_MEMORY_SIZE)
                continue;
            if (bpp == 8)
                palette_colour(view, view->memory[at], pixel(view, x, y));
            else
                true_colour(view->memory + at, bpp, pixel(view, x, y));
        }
    }
}

/* The 256-colour and 16-colour modes of the VGA itself. */
static void render_planes(struct view *view)
{
    const struct vga_registers *r = view->r;
    bool deep = r->graphics[5] & 0x40;
    unsigned repeat = ((r->crtc[9] & 0x1fu) + 1) * (r->crtc[9] & 0x80 ? 2 : 1);
    unsigned width = (r->crtc[1] + 1u) * (deep ? 4 : 8);
    unsigned height = MAX(visible_lines(r) / repeat, 1);
    uint32_t start = crtc_start(r), pitch = r->crtc[0x13] * 2u;
    new_screen(view, width, height);
    for (unsigned y = 0; y < height; y++) {
        for (unsigned x = 0; x < width; x++) {
            uint32_t at = (start + y * pitch + x / (deep ? 4 : 8)) & 0xffff;
            const uint8_t *planes = view->memory + (gsize)at * 4;
            uint8_t value = 0;
            if (deep) {
                palette_colour(view, planes[x & 3], pixel(view, x, y));
                continue;
            }
            for (unsigned plane = 0; plane < 4; plane++)
                value |= (uint8_t)((planes[plane] >> (7 - (x & 7)) & 1) << plane);
            attribute_colour(view, value, pixel(view, x, y));
        }
    }
}

void screen_render(const struct device *vga, struct screen *ret_screen)
{
    struct view view = {vga_registers(vga), vga_memory(vga), ret_screen};
    const struct vga_registers *r = view.r;
    bool dispi = r->dispi[DISPI_ENABLE] & DISPI_ENABLED;
    if (dispi && r->dispi[DISPI_BPP] > 4 && r->dispi[DISPI_WIDTH] && r->dispi[DISPI_HEIGHT])
        render_dispi(&view);
    else if (r->crtc[1] == 0)
        new_screen(&view, BLANK_WIDTH, BLANK_HEIGHT); /* no mode was ever set */
    else if (r->graphics[6] & 1)
        render_planes(&view);
    else
        render_text(&view);
}

void screen_clear(struct screen *screen)
{
    g_clear_pointer(&screen->rgb, g_free);
}
