/*
 * The 8237 as a device of its own sees it, and the floppy controller through its ports.
 */
#include "emu/device/floppy.h"
#include "emu/device/i8237.h"
#include "emu/machine/machine_internal.h"
#include "tests/unit/emu/fixture.h"

#define BUFFER 0x9000u

static int set_up(void **state)
{
    *state = fixture_new_all();
    return 0;
}

static int tear_down(void **state)
{
    fixture_free(*state);
    return 0;
}

/* ---- the 8237 ---------------------------------------------------------------------------- */

static void open_channel(struct fixture *f, unsigned channel, uint8_t mode, uint32_t address,
                         unsigned count)
{
    static const uint8_t pages[] = {0x87, 0x83, 0x81, 0x82, 0x8f, 0x8b, 0x89, 0x8a};
    uint16_t base = channel < 4 ? 0 : 0xc0, step = channel < 4 ? 1 : 2;
    unsigned number = channel % 4, word = channel < 4 ? address : address >> 1;
    out8(f, 0xd6, 0xc0); /* the first controller's cascade */
    out8(f, 0xd4, 0);
    out8(f, base + 0xa * step, (uint8_t)(4 | number));
    out8(f, base + 0xc * step, 0);
    out8(f, base + 0xb * step, (uint8_t)(mode | number));
    for (unsigned i = 0; i < 2; i++)
        out8(f, (uint16_t)(base + number * 2 * step), (uint8_t)(word >> i * 8));
    for (unsigned i = 0; i < 2; i++)
        out8(f, (uint16_t)(base + (number * 2 + 1) * step), (uint8_t)((count - 1) >> i * 8));
    out8(f, pages[channel], (uint8_t)(address >> 16));
    out8(f, base + 0xa * step, (uint8_t)number);
}

static void nothing(void *opaque)
{
    (*(int *)opaque)++;
}

static void test_dma_modes(void **state)
{
    struct fixture *f = *state;
    struct device *dma = f->machine->devices[PC_I8237];
    uint8_t out[600], in[600];
    bool terminal;
    int served = 0;
    for (unsigned i = 0; i < sizeof(out); i++)
        out[i] = (uint8_t)(i * 7 + 1);
    board_lock(f->board);
    i8237_attach(dma, 1, nothing, &served);
    open_channel(f, 1, 0x44, 0x12340, 300);
    assert_int_equal(i8237_write(dma, 1, out, 100, &terminal), 100);
    assert_false(terminal);
    assert_int_equal(in8(f, 0x03), 199); /* the count, low byte first */
    in8(f, 0x03);
    assert_int_equal(i8237_write(dma, 1, out + 100, 500, &terminal), 200);
    assert_true(terminal);
    assert_int_equal(in8(f, 0x08) & 0x0f, 2);
    assert_int_equal(in8(f, 0x08) & 0x0f, 0);                     /* reading clears it */
    assert_int_equal(i8237_write(dma, 1, out, 10, &terminal), 0); /* and the channel is masked */
    memory_read(f->board->memory, 0x12340, in, 300);
    assert_memory_equal(in, out, 300);
    /* Downwards, over the end of the 64 KiB. */
    open_channel(f, 1, 0x68, 0x20001, 4);
    memory_store(f->board->memory, 0x20000, 0x2211, 2);
    memory_store(f->board->memory, 0x2fffe, 0x4433, 2);
    assert_int_equal(i8237_read(dma, 1, in, 4, &terminal), 4);
    assert_memory_equal(in, ((uint8_t[]){0x22, 0x11, 0x44, 0x33}), 4);
    /* Upwards, the same end: the page register does not count. */
    open_channel(f, 1, 0x44, 0x2ffff, 2);
    i8237_write(dma, 1, (uint8_t[]){0xaa, 0xbb}, 2, &terminal);
    assert_int_equal(memory_load(f->board->memory, 0x2ffff, 1), 0xaa);
    assert_int_equal(memory_load(f->board->memory, 0x20000, 1), 0xbb);
    assert_int_equal(memory_load(f->board->memory, 0x30000, 1), 0);
    /* Auto-initialization goes round; verify touches nothing. */
    open_channel(f, 1, 0x54, 0x40000, 2);
    assert_int_equal(i8237_write(dma, 1, (uint8_t[]){1, 2, 3}, 3, &terminal), 2);
    assert_int_equal(i8237_write(dma, 1, (uint8_t[]){3}, 1, &terminal), 1);
    assert_int_equal(memory_load(f->board->memory, 0x40000, 2), 0x0203);
    open_channel(f, 1, 0x40, 0x40000, 2);
    assert_int_equal(i8237_write(dma, 1, (uint8_t[]){9, 9}, 2, &terminal), 2);
    assert_true(terminal);
    assert_int_equal(memory_load(f->board->memory, 0x40000, 2), 0x0203);
    /* Words: 128 KiB pages, whose lowest bit the page register has and the channel ignores. */
    open_channel(f, 5, 0x44, 0x5fffe, 2);
    assert_int_equal(i8237_write(dma, 5, out, 4, &terminal), 4);
    assert_int_equal(memory_load(f->board->memory, 0x5fffe, 2), out[0] | out[1] << 8);
    assert_int_equal(memory_load(f->board->memory, 0x40000, 2), out[2] | out[3] << 8);
    board_unlock(f->board);
}

static void test_dma_gates(void **state)
{
    struct fixture *f = *state;
    struct device *dma = f->machine->devices[PC_I8237];
    bool terminal;
    int served = 0;
    board_lock(f->board);
    i8237_attach(dma, 3, nothing, &served);
    open_channel(f, 3, 0x44, 0x1000, 4);
    i8237_request(dma, 3, true);
    assert_int_equal(served, 1);
    assert_int_equal(in8(f, 0x08) & 0xf0, 0x80);
    out8(f, 0x0a, 7);
    out8(f, 0x0a, 3); /* unmasked: who waits is served */
    assert_int_equal(served, 2);
    out8(f, 0xd4, 4); /* the cascade is shut */
    assert_int_equal(i8237_write(dma, 3, (uint8_t[]){1}, 1, &terminal), 0);
    out8(f, 0xd4, 0);
    assert_int_equal(served, 3);
    out8(f, 0x08, 4); /* the controller is off */
    assert_int_equal(i8237_write(dma, 3, (uint8_t[]){1}, 1, &terminal), 0);
    out8(f, 0x08, 0);
    i8237_request(dma, 3, false);
    /* Software's request of a channel that has no device runs to the end by itself. */
    open_channel(f, 0, 0x84, 0x7000, 0x100);
    memory_store(f->board->memory, 0x7100, 0x55, 1);
    out8(f, 0x09, 4);
    assert_int_equal(in8(f, 0x08) & 1, 1);
    assert_int_equal(memory_load(f->board->memory, 0x70ff, 2), 0x55ff);
    board_unlock(f->board);
}

/* ---- the controller ---------------------------------------------------------------------- */

static void command(struct fixture *f, const uint8_t *bytes, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(in8(f, 0x3f4) & 0xc0, 0x80);
        out8(f, 0x3f5, bytes[i]);
    }
}
#define COMMAND(f, ...)                                                                            \
    command(f, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

/* Reads the result, once it is there: the disk's own thread may be at work. */
static unsigned result(struct fixture *f, uint8_t bytes[16])
{
    unsigned count = 0;
    for (unsigned i = 0; i < 600000 && (in8(f, 0x3f4) & 0xc0) != 0xc0; i++)
        g_usleep(100);
    while ((in8(f, 0x3f4) & 0xd0) == 0xd0 && count < 16)
        bytes[count++] = in8(f, 0x3f5);
    assert_int_equal(in8(f, 0x3f4), 0x80);
    return count;
}

static void expect(struct fixture *f, const uint8_t *wanted, unsigned count)
{
    uint8_t bytes[16] = {0};
    assert_int_equal(result(f, bytes), count);
    for (unsigned i = 0; i < count; i++) {
        if (bytes[i] != wanted[i])
            fail_msg("byte %u of the result is %02x, not %02x", i, bytes[i], wanted[i]);
    }
}
#define EXPECT(f, ...)                                                                             \
    expect(f, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static bool interrupt_waits(struct fixture *f)
{
    out8(f, 0x20, 0x0a);
    return in8(f, 0x20) & 0x40;
}

/* On, with the four interrupts of a reset told, motor 0 running, at 500 kbit/s. */
static void start(struct fixture *f)
{
    init_pics(f);
    out8(f, 0x3f2, 0);
    assert_int_equal(in8(f, 0x3f4), 0);
    out8(f, 0x3f2, 0x1c);
    assert_true(interrupt_waits(f));
    for (uint8_t i = 0; i < 4; i++) {
        COMMAND(f, 0x08);
        EXPECT(f, 0xc0 | i, 0);
    }
    COMMAND(f, 0x08);
    EXPECT(f, 0x80);
    out8(f, 0x3f7, 0);
    COMMAND(f, 0x03, 0xdf, 0x02);
}

static void test_questions(void **state)
{
    struct fixture *f = *state;
    start(f);
    COMMAND(f, 0x10);
    EXPECT(f, 0x90);
    COMMAND(f, 0x18);
    EXPECT(f, 0x41);
    COMMAND(f, 0x1f); /* no command */
    EXPECT(f, 0x80);
    COMMAND(f, 0x13, 0, 0x57, 0x11);
    COMMAND(f, 0x12, 0x84);
    COMMAND(f, 0x94);
    EXPECT(f, 0x10);
    COMMAND(f, 0x0e);
    EXPECT(f, 0, 0, 0, 0, 0xdf, 0x02, 0, 0x84, 0x57, 0x11);
    out8(f, 0x3f4, 0x80); /* reset by software: LOCK keeps the FIFO's settings */
    COMMAND(f, 0x0e);
    EXPECT(f, 0, 0, 0, 0, 0xdf, 0x02, 0, 0x84, 0x07, 0x11);
    COMMAND(f, 0x14);
    EXPECT(f, 0);
    COMMAND(f, 0x04, 0);
    EXPECT(f, 0x38); /* at track 0 */
    COMMAND(f, 0x8e, 0x00, 0x80);
    EXPECT(f, 0, 0, 0, 0);
    COMMAND(f, 0x8e, 0x00, 0xc0);
    assert_int_equal(in8(f, 0x3f4), 0x80);
}

static void test_seek(void **state)
{
    struct fixture *f = *state;
    start(f);
    assert_int_equal(in8(f, 0x3f7) & 0x80, 0x80); /* the disk is new */
    COMMAND(f, 0x0f, 0, 5);
    assert_true(interrupt_waits(f));
    COMMAND(f, 0x08);
    EXPECT(f, 0x20, 5);
    assert_int_equal(in8(f, 0x3f7) & 0x80, 0); /* a step told it */
    COMMAND(f, 0xcf, 0, 3);
    COMMAND(f, 0x08);
    EXPECT(f, 0x20, 8);
    COMMAND(f, 0x4a, 4);
    EXPECT(f, 0x04, 0, 0, 8, 1, 2, 2);
    COMMAND(f, 0x07, 0);
    COMMAND(f, 0x08);
    EXPECT(f, 0x20, 0);
    COMMAND(f, 0x07, 2); /* no such drive */
    COMMAND(f, 0x08);
    EXPECT(f, 0x72, 0);
    /* The second drive is empty: its change line stays. */
    out8(f, 0x3f2, 0x2d);
    COMMAND(f, 0x0f, 1, 5);
    COMMAND(f, 0x08);
    EXPECT(f, 0x21, 5);
    assert_int_equal(in8(f, 0x3f7) & 0x80, 0x80);
    COMMAND(f, 0x4a, 1);
    EXPECT(f, 0x41, 1, 0, 0, 0, 1, 0);
}

static void test_transfer(void **state)
{
    struct fixture *f = *state;
    uint8_t out[4 * 512], in[4 * 512];
    start(f);
    for (unsigned i = 0; i < sizeof(out); i++)
        out[i] = (uint8_t)(i * 3 + i / 512);
    memory_write(f->board->memory, BUFFER, out, sizeof(out));
    /* Two sectors of head 0, two of head 1, ended by the terminal count. */
    open_channel(f, 2, 0x48, BUFFER, sizeof(out));
    COMMAND(f, 0xc5, 0, 0, 0, 17, 2, 18, 0x1b, 0xff);
    EXPECT(f, 0x04, 0, 0, 0, 1, 3, 2);
    open_channel(f, 2, 0x44, BUFFER + 0x2000, sizeof(out));
    COMMAND(f, 0xe6, 0, 0, 0, 17, 2, 18, 0x1b, 0xff);
    EXPECT(f, 0x04, 0, 0, 0, 1, 3, 2);
    memory_read(f->board->memory, BUFFER + 0x2000, in, sizeof(in));
    assert_memory_equal(in, out, sizeof(in));
    /* Without a terminal count: the end of the cylinder is an error, at head 1's end. */
    open_channel(f, 2, 0x44, BUFFER + 0x2000, 0x4000);
    COMMAND(f, 0xe6, 4, 0, 1, 1, 2, 18, 0x1b, 0xff);
    EXPECT(f, 0x44, 0x80, 0, 1, 0, 1, 2);
    COMMAND(f, 0x46, 0, 0, 0, 18, 2, 19, 0x1b, 0xff); /* there is no sector 19 */
    EXPECT(f, 0x40, 0x04, 0, 0, 0, 19, 2);
    COMMAND(f, 0x46, 0, 3, 0, 1, 2, 18, 0x1b, 0xff); /* the heads are at 0 */
    EXPECT(f, 0x40, 0x04, 0x10, 3, 0, 1, 2);
    COMMAND(f, 0x13, 0, 0x60, 0); /* implied seeks */
    open_channel(f, 2, 0x44, BUFFER, 512);
    COMMAND(f, 0x46, 0, 3, 0, 1, 2, 18, 0x1b, 0xff);
    EXPECT(f, 0x00, 0, 0, 3, 0, 2, 2);
    COMMAND(f, 0xd6, 0, 3, 0, 1, 2, 18, 0x1b, 0xff); /* verify to the end of the cylinder */
    EXPECT(f, 0x04, 0, 0, 4, 0, 1, 2);
    out8(f, 0x3f7, 3); /* at 1 Mbit/s nothing is found */
    COMMAND(f, 0x46, 0, 3, 0, 1, 2, 18, 0x1b, 0xff);
    EXPECT(f, 0x40, 0x01, 0, 3, 0, 1, 2);
}

/* Without DMA each byte goes through the data port. */
static void test_programmed_io(void **state)
{
    struct fixture *f = *state;
    start(f);
    COMMAND(f, 0x03, 0xdf, 0x03);
    COMMAND(f, 0x45, 0, 0, 0, 2, 2, 2, 0x1b, 0xff);
    for (unsigned i = 0; i < 512; i++) {
        assert_int_equal(in8(f, 0x3f4), 0xb0);
        out8(f, 0x3f5, (uint8_t)(i ^ 0x5a));
    }
    EXPECT(f, 0x40, 0x80, 0, 1, 0, 1, 2);
    COMMAND(f, 0x46, 0, 0, 0, 2, 2, 2, 0x1b, 0xff);
    for (unsigned i = 0; i < 512; i++) {
        for (unsigned j = 0; j < 600000 && in8(f, 0x3f4) != 0xf0; j++)
            g_usleep(100);
        assert_int_equal(in8(f, 0x3f5), (uint8_t)(i ^ 0x5a));
    }
    EXPECT(f, 0x40, 0x80, 0, 1, 0, 1, 2);
}

static void test_format_and_protect(void **state)
{
    struct fixture *f = *state;
    g_autofree char *bytes = NULL;
    g_autoptr(GError) error = NULL;
    gsize size;
    start(f);
    for (unsigned i = 0; i < 18; i++)
        memory_store(f->board->memory, BUFFER + i * 4, 2u << 24 | (i + 1) << 16, 4);
    open_channel(f, 2, 0x48, BUFFER, 18 * 4);
    COMMAND(f, 0x4d, 0, 2, 18, 0x54, 0xf6);
    EXPECT(f, 0, 0, 0, 0, 0, 1, 2);
    COMMAND(f, 0x4d, 0, 2, 9, 0x54, 0xf6); /* no track of this image */
    EXPECT(f, 0x40, 0x04, 0, 0, 0, 1, 2);
    assert_true(g_file_get_contents(f->floppy, &bytes, &size, NULL));
    for (unsigned i = 0; i < 18 * 512; i++)
        assert_int_equal((uint8_t)bytes[i], 0xf6);
    assert_int_equal(bytes[18 * 512], 0);
    /* Another disk, protected; one of a wrong size is refused. */
    g_autofree char *odd = g_build_filename(f->directory, "odd.img", NULL);
    assert_true(g_file_set_contents(odd, bytes, 700 << 10, NULL));
    assert_false(machine_change_floppy(f->machine, 0, odd, &error));
    g_unlink(odd);
    assert_non_null(strstr(error->message, "no floppy disk's size"));
    g_clear_error(&error);
    assert_false(machine_change_floppy(f->machine, 2, f->floppy, NULL));
    assert_true(machine_change_floppy(f->machine, 0, NULL, NULL));
    COMMAND(f, 0x46, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
    EXPECT(f, 0x40, 0x01, 0, 0, 0, 1, 2);
    g_autofree char *small = g_build_filename(f->directory, "small.img", NULL);
    g_autofree char *zeroes = g_malloc0(720 << 10);
    assert_true(g_file_set_contents(small, zeroes, 720 << 10, NULL));
    assert_true(machine_change_floppy(f->machine, 0, small, NULL));
    assert_int_equal(in8(f, 0x3f7) & 0x80, 0x80);
    out8(f, 0x3f7, 2);
    open_channel(f, 2, 0x44, BUFFER, 512);
    COMMAND(f, 0x46, 0, 0, 0, 9, 2, 9, 0x1b, 0xff);
    EXPECT(f, 0, 0, 0, 1, 0, 1, 2);
    g_unlink(small);
}

/* SCAN compares what comes by DMA with sector after sector. */
static void give(struct fixture *f, uint8_t byte, unsigned length)
{
    for (unsigned i = 0; i < length; i++)
        memory_store(f->board->memory, BUFFER + i, i % 512 == 100 ? 0xff : byte, 1);
    open_channel(f, 2, 0x48, BUFFER, length);
}

static void scan_for(struct fixture *f, uint8_t code, uint8_t byte, unsigned length)
{
    give(f, byte, length);
    COMMAND(f, code, 0, 0, 0, 1, 2, 4, 0x1b, 1);
}

static void test_scan(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[4 * 512];
    start(f);
    for (unsigned i = 0; i < sizeof(bytes); i++) /* sectors of 10, 20, 30 and 40 */
        bytes[i] = (uint8_t)(10 + i / 512 * 10);
    bytes[1024 + 7] = 0xff; /* is like everything */
    memory_write(f->board->memory, BUFFER, bytes, sizeof(bytes));
    open_channel(f, 2, 0x48, BUFFER, sizeof(bytes));
    COMMAND(f, 0x45, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
    EXPECT(f, 0, 0, 0, 0, 0, 5, 2);
    scan_for(f, 0x51, 30, 2048);
    EXPECT(f, 0, 0, 0x08, 0, 0, 3, 2); /* equal, in sector 3 */
    scan_for(f, 0x51, 31, 2048);
    EXPECT(f, 0, 0, 0x04, 1, 0, 1, 2); /* in none; the name after the last */
    scan_for(f, 0x59, 15, 2048);
    EXPECT(f, 0, 0, 0, 0, 0, 1, 2); /* lower */
    scan_for(f, 0x59, 10, 2048);
    EXPECT(f, 0, 0, 0x08, 0, 0, 1, 2);
    scan_for(f, 0x59, 5, 2048);
    EXPECT(f, 0, 0, 0x04, 1, 0, 1, 2);
    scan_for(f, 0x5d, 35, 2048);
    EXPECT(f, 0, 0, 0, 0, 0, 4, 2); /* higher */
    scan_for(f, 0x5d, 50, 1024);
    EXPECT(f, 0, 0, 0x04, 0, 0, 3, 2); /* the terminal count after two sectors */
    give(f, 40, 2048);                 /* in every other sector */
    COMMAND(f, 0x51, 0, 0, 0, 2, 2, 4, 0x1b, 2);
    EXPECT(f, 0, 0, 0x08, 0, 0, 4, 2);
    give(f, 40, 2048);
    COMMAND(f, 0x51, 0, 0, 0, 1, 2, 4, 0x1b, 2);
    EXPECT(f, 0, 0, 0x04, 1, 0, 1, 2);
}

static void test_save_and_restore(void **state)
{
    struct fixture *f = *state;
    uint8_t before[16], after[16], bytes[17] = {0x4e};
    start(f);
    COMMAND(f, 0x03, 0xaf, 0x04);
    COMMAND(f, 0x13, 0, 0x57, 0x21);
    COMMAND(f, 0x12, 0x84);
    COMMAND(f, 0x94);
    EXPECT(f, 0x10);
    COMMAND(f, 0x0f, 0, 9);
    COMMAND(f, 0x08);
    EXPECT(f, 0x20, 9);
    COMMAND(f, 0x2e);
    assert_int_equal(result(f, before), 16);
    assert_memory_equal(before + 2, ((uint8_t[]){9, 0, 0, 0, 0xaf, 0x04}), 6);
    assert_memory_equal(before + 9, ((uint8_t[]){0x84, 0x57, 0x21}), 3);
    COMMAND(f, 0x03, 0x11, 0x22);
    COMMAND(f, 0x14);
    EXPECT(f, 0);
    COMMAND(f, 0x13, 0, 0, 0);
    memcpy(bytes + 1, before, 16);
    command(f, bytes, sizeof(bytes));
    assert_int_equal(in8(f, 0x3f4), 0x80); /* no result */
    COMMAND(f, 0x2e);
    assert_int_equal(result(f, after), 16);
    assert_memory_equal(before, after, 16);
}

static void test_format_and_write(void **state)
{
    struct fixture *f = *state;
    g_autofree char *bytes = NULL;
    start(f);
    for (unsigned i = 0; i < 18; i++) { /* the names in another order than the places */
        uint8_t sector[516] = {0, 0, (uint8_t)(18 - i), 2};
        memset(sector + 4, (int)(0x40 + i), 512);
        memory_write(f->board->memory, BUFFER + i * 516, sector, sizeof(sector));
    }
    open_channel(f, 2, 0x48, BUFFER, 18 * 516);
    COMMAND(f, 0xed, 0, 2, 18, 0x54, 0xf6);
    EXPECT(f, 0, 0, 0, 0, 0, 1, 2);
    memory_store(f->board->memory, BUFFER + 2, 19, 1); /* the image has no such place */
    open_channel(f, 2, 0x48, BUFFER, 18 * 516);
    COMMAND(f, 0xed, 0, 2, 18, 0x54, 0xf6);
    EXPECT(f, 0x40, 0x04, 0, 0, 0, 1, 2);
    assert_true(g_file_get_contents(f->floppy, &bytes, NULL, NULL));
    for (unsigned i = 0; i < 18 * 512; i++)
        assert_int_equal((uint8_t)bytes[i], 0x40 + 17 - i / 512);
    assert_int_equal(bytes[18 * 512], 0);
}

/* Saved in the middle of a transfer, after every kind of step, and gone on with. */
static void test_saved_in_transfer(void **state)
{
    struct fixture *f = *state;
    const struct device_ops *ops = &floppy_ops;
    struct device *floppy = f->machine->devices[PC_FLOPPY];
    start(f);
    COMMAND(f, 0x03, 0xdf, 0x03); /* no DMA */
    for (unsigned round = 0; round < 3; round++) {
        static const uint8_t codes[] = {0x45, 0x46, 0x51};
        uint8_t wanted = round == 2 ? 0xb0 : (uint8_t)(round == 0 ? 0xb0 : 0xf0);
        const uint8_t bytes[] = {codes[round], 0, 0, 0, 2, 2, 3, 0x1b, 1};
        for (unsigned i = 0; i < sizeof(bytes); i++) {
            out8(f, 0x3f5, bytes[i]);
            g_autoptr(GByteArray) saved = g_byte_array_new();
            for (unsigned j = 0; i == 8 && j < 600000 && in8(f, 0x3f4) != wanted; j++)
                g_usleep(100);
            state_save(saved, ops->name, ops->state_version, ops->state, floppy);
            ops->reset(floppy);
            g_autoptr(GBytes) image = g_bytes_new(saved->data, saved->len);
            assert_true(state_load(image, ops->name, ops->state_version, ops->state, floppy, NULL));
            assert_true(ops->loaded(floppy, NULL));
        }
        for (unsigned i = 0; i < 1024; i++) {
            for (unsigned j = 0; j < 600000 && in8(f, 0x3f4) != wanted; j++)
                g_usleep(100);
            assert_int_equal(in8(f, 0x3f4), wanted);
            if (i % 100 == 37) {
                g_autoptr(GByteArray) saved = g_byte_array_new();
                state_save(saved, ops->name, ops->state_version, ops->state, floppy);
                ops->reset(floppy);
                g_autoptr(GBytes) image = g_bytes_new(saved->data, saved->len);
                assert_true(
                    state_load(image, ops->name, ops->state_version, ops->state, floppy, NULL));
                assert_true(ops->loaded(floppy, NULL));
            }
            if (round == 1)
                assert_int_equal(in8(f, 0x3f5), (uint8_t)(i * 7));
            else /* SCAN finds its sector second */
                out8(f, 0x3f5, round == 0 ? (uint8_t)(i * 7) : i < 512 ? 1 : (uint8_t)(i * 7));
        }
        if (round == 2)
            EXPECT(f, 0, 0, 0x08, 0, 0, 3, 2);
        else
            EXPECT(f, 0x40, 0x80, 0, 1, 0, 1, 2);
    }
}

int main(void)
{
#define PC_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        PC_TEST(test_dma_modes),          PC_TEST(test_dma_gates),
        PC_TEST(test_questions),          PC_TEST(test_seek),
        PC_TEST(test_transfer),           PC_TEST(test_programmed_io),
        PC_TEST(test_format_and_protect), PC_TEST(test_scan),
        PC_TEST(test_save_and_restore),   PC_TEST(test_format_and_write),
        PC_TEST(test_saved_in_transfer)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
