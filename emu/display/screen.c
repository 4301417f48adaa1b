#include "emu/display/screen.h"

#include <limits.h>
#include <string.h>

#define MAX_TEXT_COLUMNS 256u
#define BLANK_WIDTH      640u
#define BLANK_HEIGHT     400u

#define SEQ_HALF_CLOCK    0x08 /* of the clocking mode: each dot is two wide */
#define SEQ_SCREEN_OFF    0x20
#define ATTRIBUTE_DISPLAY 0x20 /* of the index: the palette drives the screen */

struct view {
    const struct vga_registers *r;
    const uint8_t *memory;
    struct screen *screen;
    unsigned first,
        end; /* the lines to draw, where the mode is drawn by lines; end may be beyond */
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

/* The line after which the display begins again at address 0. */
static unsigned line_compare(const struct vga_registers *r)
{
    return r->crtc[0x18] | (r->crtc[7] & 0x10u) << 4 | (r->crtc[9] & 0x40u) << 3;
}

/* ---- text -------------------------------------------------------------------------------- */

struct glyph {
    unsigned x, y, width, height, stretch;
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
            bool line_drawing =
                r->attribute[0x10] & 4 && glyph->code >= 0xc0 && glyph->code <= 0xdf;
            bool set = column < 8 ? bits >> (7 - column) & 1 : line_drawing && bits & 1;
            for (unsigned i = 0; i < glyph->stretch; i++)
                memcpy(pixel(view, glyph->x + column * glyph->stretch + i, glyph->y + line),
                       set || cursor ? foreground : background, 3);
        }
    }
}

static void render_text(struct view *view)
{
    const struct vga_registers *r = view->r;
    unsigned stretch = r->sequencer[1] & SEQ_HALF_CLOCK ? 2 : 1;
    /* Twice as wide, the ninth column is left out. */
    unsigned width = r->sequencer[1] & 1 || stretch == 2 ? 8 : 9, height = (r->crtc[9] & 31u) + 1;
    unsigned columns = MIN(r->crtc[1] + 1u, MAX_TEXT_COLUMNS);
    unsigned rows = MAX(visible_lines(r) / height, 1);
    uint32_t at = crtc_start(r), pitch = r->crtc[0x13] * 2u;
    uint32_t cursor = (uint32_t)r->crtc[0x0e] << 8 | r->crtc[0x0f];
    new_screen(view, columns * width * stretch, rows * height);
    for (unsigned row = 0; row < rows; row++, at += pitch) {
        if (row * height > line_compare(r) && (row - 1) * height <= line_compare(r))
            at = 0;
        for (unsigned column = 0; column < columns; column++) {
            uint32_t place = (at + column) & 0xffff;
            const uint8_t *cell = view->memory + (gsize)place * 4;
            struct glyph glyph = {.x = column * width * stretch,
                                  .y = row * height,
                                  .width = width,
                                  .height = height,
                                  .stretch = stretch,
                                  .code = cell[0],
                                  .attribute = cell[1],
                                  .cursor = place == cursor};
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
    for (unsigned y = view->first; y < MIN(height, view->end); y++) {
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

enum shift_mode { SHIFT_PLANES, SHIFT_CGA, SHIFT_256 };

/* Eight dots of the VGA's own modes: two of each colour where there are 256. */
static void eight_dots(const struct view *view, enum shift_mode mode, const uint8_t planes[4],
                       uint8_t rgb[8][3])
{
    uint8_t enabled = view->r->attribute[0x12];
    for (unsigned x = 0; x < 8; x++) {
        uint8_t value = 0;
        if (mode == SHIFT_256) {
            palette_colour(view, planes[x / 2], rgb[x]);
            continue;
        }
        if (mode == SHIFT_CGA) {
            unsigned pair = x / 4, shift = 6 - x % 4 * 2;
            value = (uint8_t)((planes[pair] >> shift & 3) | (planes[pair + 2] >> shift & 3) << 2);
        } else {
            for (unsigned plane = 0; plane < 4; plane++)
                value |= (uint8_t)((planes[plane] >> (7 - x) & 1) << plane);
        }
        attribute_colour(view, value & enabled, rgb[x]);
    }
}

static void draw_planes_line(const struct view *view, unsigned y, uint32_t address,
                             enum shift_mode mode)
{
    unsigned stretch = mode != SHIFT_256 && view->r->sequencer[1] & SEQ_HALF_CLOCK ? 2 : 1;
    for (unsigned x = 0; x < view->screen->width; address += 4) {
        uint8_t rgb[8][3];
        eight_dots(view, mode, view->memory + (address & (VGA_MEMORY_SIZE - 4)), rgb);
        for (unsigned i = 0; i < 8 * stretch && x < view->screen->width; i++, x++)
            memcpy(pixel(view, x, y), rgb[i / stretch], 3);
    }
}

/* The CRTC may take two address bits from the scan of a row: the CGA's and Hercules' banks. */
static uint32_t banked(const struct vga_registers *r, uint32_t address, unsigned scan)
{
    uint8_t mode = r->crtc[0x17];
    unsigned bit = 14 + (mode >> 6 & 1);
    if (!(mode & 1))
        address = (address & ~(1u << bit)) | (scan & 1) << bit;
    if (!(mode & 2))
        address = (address & ~0x8000u) | (scan & 2) << 14;
    return address;
}

/* The graphics modes of the VGA itself, line by line as a monitor gets them: a row of addresses is
 * scanned crtc[9] + 1 times, each of which may be doubled. */
static void render_planes(struct view *view)
{
    const struct vga_registers *r = view->r;
    enum shift_mode mode = MIN(r->graphics[5] >> 5 & 3, SHIFT_256);
    unsigned scans = (r->crtc[9] & 0x1fu) + 1, doubled = r->crtc[9] >> 7;
    unsigned stretch = mode != SHIFT_256 && r->sequencer[1] & SEQ_HALF_CLOCK ? 2 : 1;
    uint32_t address = crtc_start(r) * 4, pitch = r->crtc[0x13] * 8u;
    unsigned height = visible_lines(r), scan = 0, left = doubled;
    new_screen(view, (r->crtc[1] + 1u) * 8 * stretch, height);
    for (unsigned y = 0; y < height; y++) {
        draw_planes_line(view, y, banked(r, address, scan), mode);
        if (left) {
            left--;
        } else {
            left = doubled;
            scan = (scan + 1) % scans;
            address += scan == 0 ? pitch : 0;
        }
        if (y == line_compare(r)) {
            address = 0;
            scan = 0;
            left = doubled;
        }
    }
}

static bool is_dispi(const struct vga_registers *r)
{
    return r->dispi[DISPI_ENABLE] & DISPI_ENABLED && r->dispi[DISPI_BPP] > 4 &&
           r->dispi[DISPI_WIDTH] && r->dispi[DISPI_HEIGHT];
}

void screen_render_lines(const struct vga_registers *r, const uint8_t *memory, unsigned first,
                         unsigned end, struct screen *ret_screen)
{
    struct view view = {r, memory, ret_screen, first, end};
    if (is_dispi(r))
        render_dispi(&view);
    else if (r->crtc[1] == 0)
        new_screen(&view, BLANK_WIDTH, BLANK_HEIGHT); /* no mode was ever set */
    else if (!(r->attribute_index & ATTRIBUTE_DISPLAY) || r->sequencer[1] & SEQ_SCREEN_OFF)
        new_screen(&view, (r->crtc[1] + 1u) * 8, visible_lines(r));
    else if (r->graphics[6] & 1)
        render_planes(&view);
    else
        render_text(&view);
}

void screen_render_from(const struct vga_registers *r, const uint8_t *memory,
                        struct screen *ret_screen)
{
    screen_render_lines(r, memory, 0, UINT_MAX, ret_screen);
}

void screen_render(const struct device *vga, struct screen *ret_screen)
{
    screen_render_from(vga_registers(vga), vga_memory(vga), ret_screen);
}

static size_t dispi_line(const struct vga_registers *r)
{
    return (size_t)r->dispi[DISPI_VIRTUAL_WIDTH] * ((r->dispi[DISPI_BPP] + 7u) / 8);
}

/* Where a line's last pixel ends, which may be in one of memory's next lines. */
static size_t dispi_right(const struct vga_registers *r)
{
    return ((size_t)r->dispi[DISPI_X] + r->dispi[DISPI_WIDTH]) * ((r->dispi[DISPI_BPP] + 7u) / 8);
}

void screen_lines(const struct vga_registers *r, size_t start, size_t end, unsigned *ret_first,
                  unsigned *ret_end)
{
    size_t shown, length, line = dispi_line(r);
    screen_source(r, &shown, &length);
    *ret_first = *ret_end = 0;
    if (start >= shown + length || end <= shown || start >= end)
        return;
    *ret_end = UINT_MAX;
    if (!is_dispi(r) || line == 0)
        return;
    /* Line y ends at y * line + right, and begins no earlier than y * line. */
    size_t right = dispi_right(r), first = start > shown ? start - shown : 0;
    *ret_first = first > right ? (unsigned)((first - right) / line) : 0;
    *ret_end = (unsigned)((end - shown - 1) / line + 1);
}

void screen_source(const struct vga_registers *r, size_t *ret_start, size_t *ret_length)
{
    if (!is_dispi(r)) {
        *ret_start = 0;
        /* The four planes, fonts included; graphics begin there and go on for up to 2 MiB. */
        *ret_length = r->graphics[6] & 1 ? 4u << 20 : 4u << 16;
        return;
    }
    size_t line = dispi_line(r);
    *ret_start = MIN(line * r->dispi[DISPI_Y], (size_t)VGA_MEMORY_SIZE);
    *ret_length =
        MIN(line * (r->dispi[DISPI_HEIGHT] - 1u) + dispi_right(r), VGA_MEMORY_SIZE - *ret_start);
}

void screen_clear(struct screen *screen)
{
    g_clear_pointer(&screen->rgb, g_free);
}
