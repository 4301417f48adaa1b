/*
 * What viewers see is what a screendump shows, although only what is known to be written is looked
 * at: random writes through every way to the video memory and its registers.
 */
#include "emu/control/vnc_internal.h"
#include "emu/core/bytes.h"
#include "tests/unit/emu/fixture.h"

#define BAR    UINT64_C(0xe0000000)
#define ROUNDS 5000

struct viewing {
    struct fixture *f;
    struct vnc_server *server;
    GRand *random;
};

static uint32_t below(struct viewing *v, uint32_t end)
{
    return (uint32_t)g_rand_int_range(v->random, 0, (gint32)end);
}

static void indexed(struct viewing *v, uint16_t port, uint8_t index, uint8_t value)
{
    out8(v->f, port, index);
    out8(v->f, (uint16_t)(port + 1), value);
}

static void dispi(struct viewing *v, uint16_t index, uint16_t value)
{
    port_write(v->f->board->ports, 0x1ce, index, 2);
    port_write(v->f->board->ports, 0x1cf, value, 2);
}

/* ---- modes ------------------------------------------------------------------------------- */

/* A small screen of the VGA's own: text, planes, or 256 colours chained. */
static void set_vga(struct viewing *v, uint8_t memory_mode, uint8_t graphics_mode, uint8_t misc)
{
    static const uint8_t crtc[][2] = {{0x11, 0},  {1, 19},    {0x12, 63},   {7, 0},    {9, 7},
                                      {0x13, 20}, {0x18, 40}, {0x17, 0xa3}, {0x0a, 6}, {0x0b, 7}};
    dispi(v, DISPI_ENABLE, 0);
    out8(v->f, 0x3c2, 0x63);
    for (unsigned i = 0; i < G_N_ELEMENTS(crtc); i++)
        indexed(v, 0x3d4, crtc[i][0], crtc[i][1]);
    indexed(v, 0x3c4, 1, 1);
    indexed(v, 0x3c4, 2, 15);
    indexed(v, 0x3c4, 4, memory_mode);
    indexed(v, 0x3ce, 5, graphics_mode);
    indexed(v, 0x3ce, 6, misc);
    indexed(v, 0x3ce, 8, 0xff);
    in8(v->f, 0x3da);
    for (unsigned i = 0; i < 16; i++) {
        out8(v->f, 0x3c0, (uint8_t)i);
        out8(v->f, 0x3c0, (uint8_t)(i * 5 & 0x3f));
    }
    out8(v->f, 0x3c0, 0x12);
    out8(v->f, 0x3c0, 0x0f);
    out8(v->f, 0x3c0, 0x20);
}

static void set_linear(struct viewing *v)
{
    static const uint16_t depths[] = {8, 15, 16, 24, 32};
    dispi(v, DISPI_ENABLE, 0);
    dispi(v, DISPI_WIDTH, (uint16_t)(64 + 8 * below(v, 24)));
    dispi(v, DISPI_HEIGHT, (uint16_t)(1 + below(v, 120)));
    dispi(v, DISPI_BPP, depths[below(v, G_N_ELEMENTS(depths))]);
    dispi(v, DISPI_ENABLE, (uint16_t)(DISPI_ENABLED | DISPI_LINEAR | below(v, 2) * DISPI_NO_CLEAR));
    dispi(v, DISPI_VIRTUAL_WIDTH, (uint16_t)(256 + below(v, 800)));
}

static void set_mode(struct viewing *v)
{
    switch (below(v, 5)) {
    case 0:
        set_vga(v, 2, 0x10, 0x0e);
        break;
    case 1:
        set_vga(v, 6, 0, 5);
        break;
    case 2:
        set_vga(v, 0x0e, 0x40, 5);
        break;
    default:
        set_linear(v);
    }
}

/* ---- changes ----------------------------------------------------------------------------- */

static void poke_window(struct viewing *v)
{
    uint64_t at = below(v, 2) ? 0xa0000 : 0xb8000;
    memory_store(v->f->board->memory, at + below(v, 8192), g_rand_int(v->random),
                 1u << below(v, 3));
}

static void poke_linear(struct viewing *v)
{
    uint64_t at = BAR + below(v, below(v, 2) ? 256 << 10 : VGA_MEMORY_SIZE);
    uint8_t bytes[300];
    for (unsigned i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)g_rand_int(v->random);
    if (below(v, 2))
        memory_store(v->f->board->memory, at, g_rand_int(v->random), 1u << below(v, 4));
    else
        memory_dma_write(v->f->board->memory, at, bytes, 1 + below(v, sizeof(bytes)));
}

static void poke_palette(struct viewing *v)
{
    out8(v->f, 0x3c8, (uint8_t)below(v, 256));
    for (unsigned i = 0; i < 3; i++)
        out8(v->f, 0x3c9, (uint8_t)below(v, 64));
}

/* Registers that show: start address, cursor, split, attributes, fonts, masks, panning. */
static void poke_register(struct viewing *v)
{
    static const uint8_t crtc[] = {0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x13, 0x18};
    switch (below(v, 6)) {
    case 0:
        in8(v->f, 0x3da);
        out8(v->f, 0x3c0, (uint8_t)below(v, 16));
        out8(v->f, 0x3c0, (uint8_t)below(v, 64));
        out8(v->f, 0x3c0, 0x20);
        break;
    case 1:
        indexed(v, 0x3c4, 3, (uint8_t)below(v, 64));
        break;
    case 2:
        out8(v->f, 0x3c6, below(v, 2) ? 0xff : 0x3f);
        break;
    case 3:
        dispi(v, (uint16_t)(DISPI_X + below(v, 2)), (uint16_t)below(v, 300));
        break;
    case 4: /* how CPUs write, which shows only by what they write */
        indexed(v, 0x3c4, 2, (uint8_t)below(v, 16));
        indexed(v, 0x3ce, (uint8_t)below(v, 5), (uint8_t)below(v, 16));
        dispi(v, DISPI_BANK, (uint16_t)below(v, 4));
        break;
    default:
        indexed(v, 0x3d4, crtc[below(v, G_N_ELEMENTS(crtc))], (uint8_t)below(v, 64));
    }
}

static void change(struct viewing *v)
{
    switch (below(v, 8)) {
    case 0:
        poke_register(v);
        break;
    case 1:
        poke_palette(v);
        break;
    case 2:
    case 3:
    case 4:
        poke_window(v);
        break;
    default:
        poke_linear(v);
    }
}

/* ---- what is seen ------------------------------------------------------------------------ */

static void check(struct viewing *v, unsigned round)
{
    struct screen screen = {0};
    const struct vnc_frame *frame = &v->server->frame;
    vnc_refresh(v->server);
    screen_render(machine_vga(v->f->machine), &screen);
    if (screen.width != frame->width || screen.height != frame->height)
        fail_msg("round %u: %ux%u is seen as %ux%u", round, screen.width, screen.height,
                 frame->width, frame->height);
    for (unsigned i = 0; i < screen.width * screen.height; i++) {
        const uint8_t *rgb = screen.rgb + (gsize)i * 3;
        uint32_t value = rgb[0] | (uint32_t)rgb[1] << 8 | (uint32_t)rgb[2] << 16;
        if (value != frame->pixels[i])
            fail_msg("round %u: pixel %u,%u is %06x and seen as %06x", round, i % screen.width,
                     i / screen.width, value, frame->pixels[i]);
    }
    screen_clear(&screen);
}

static void start(struct viewing *v, struct fixture *f)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *where = g_strdup_printf("unix:%s/vnc", f->directory);
    v->f = f;
    v->server = vnc_server_new(f->machine, where, &error);
    assert_non_null(v->server);
    port_write(f->board->ports, 0xcf8, 0x80001010, 4);
    port_write(f->board->ports, 0xcfc, (uint32_t)BAR, 4);
    port_write(f->board->ports, 0xcf8, 0x80001004, 4);
    port_write(f->board->ports, 0xcfc, 7, 2);
    memory_store(f->board->memory, BAR, 0x12345678, 4);
    assert_int_equal(bytes_load(vga_memory(machine_vga(f->machine)), 4), 0x12345678);
}

static void test_nothing_is_missed(void **state)
{
    struct viewing v = {.random = g_rand_new_with_seed(1)};
    struct fixture *f = fixture_new(false);
    start(&v, f);
    check(&v, 0);
    for (unsigned round = 1; round < ROUNDS; round++) {
        if (below(&v, 12) == 0)
            set_mode(&v);
        for (unsigned i = below(&v, 6); i > 0; i--)
            change(&v);
        check(&v, round);
    }
    vnc_server_free(v.server);
    fixture_free(f);
    g_rand_free(v.random);
}

/* Where nothing changes nothing is found, whatever the mode; a restored machine is all new. */
static void test_quiet(void **state)
{
    struct viewing v = {.random = g_rand_new_with_seed(2)};
    struct fixture *f = fixture_new(false), *g = fixture_new(false);
    g_autoptr(GError) error = NULL;
    start(&v, f);
    for (unsigned round = 0; round < 40; round++) {
        set_mode(&v);
        change(&v);
        vnc_refresh(v.server);
        v.server->active = false;
        in8(f, 0x3da);
        out8(f, 0x3c4, 1); /* an index is nothing to be seen */
        vnc_refresh(v.server);
        assert_false(v.server->active);
    }
    port_write(g->board->ports, 0x1ce, DISPI_WIDTH, 2);
    g_autoptr(GByteArray) saved = g_byte_array_new();
    state_save(saved, "vga", vga_ops.state_version, vga_ops.state, machine_vga(g->machine));
    g_autoptr(GBytes) bytes = g_bytes_new(saved->data, saved->len);
    assert_true(state_load(bytes, "vga", vga_ops.state_version, vga_ops.state,
                           machine_vga(f->machine), &error));
    assert_true(vga_ops.loaded(machine_vga(f->machine), &error));
    check(&v, 0);
    vnc_server_free(v.server);
    fixture_free(f);
    fixture_free(g);
    g_rand_free(v.random);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_nothing_is_missed),
                                       cmocka_unit_test(test_quiet)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
