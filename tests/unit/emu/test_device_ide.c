#include "tests/unit/emu/fixture.h"

#define COMMAND 0x1f7
#define BSY     0x80
#define DRQ     0x08
#define ERR     0x01
#define BM_BASE 0xc000
#define PRD     0x10000
#define DATA    0x20000

static int set_up(void **state)
{
    struct fixture *f = fixture_new(true);
    /* What the firmware does: the bus master's ports. */
    port_write(f->board->ports, 0xcf8, 0x80000920, 4);
    port_write(f->board->ports, 0xcfc, BM_BASE, 4);
    port_write(f->board->ports, 0xcf8, 0x80000904, 4);
    port_write(f->board->ports, 0xcfc, 5, 2);
    init_pics(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture_free(*state);
    return 0;
}

/* The disk's thread answers when it does; only a hang lasts a minute. */
static uint8_t wait_ready(struct fixture *f)
{
    for (int i = 0; i < 600000; i++) {
        uint8_t status = in8(f, 0x3f6);
        if (!(status & BSY))
            return status;
        g_usleep(100);
    }
    fail_msg("the drive stays busy");
    return 0;
}

static void command(struct fixture *f, uint8_t code, uint32_t sector, unsigned count)
{
    out8(f, 0x1f6, (uint8_t)(0xe0 | (sector >> 24 & 15)));
    out8(f, 0x1f2, (uint8_t)count);
    out8(f, 0x1f3, (uint8_t)sector);
    out8(f, 0x1f4, (uint8_t)(sector >> 8));
    out8(f, 0x1f5, (uint8_t)(sector >> 16));
    out8(f, COMMAND, code);
}

static uint8_t expected(uint32_t at)
{
    return (uint8_t)(at / 512 + at);
}

static void test_identify(void **state)
{
    struct fixture *f = *state;
    uint16_t words[256];
    command(f, 0xec, 0, 0);
    assert_int_equal(wait_ready(f) & (DRQ | ERR), DRQ);
    port_read_string(f->board->ports, 0x1f0, 2, words, 256);
    assert_int_equal(wait_ready(f) & DRQ, 0);
    assert_int_equal(words[60] | words[61] << 16, FIXTURE_DISK_SIZE / 512);
    assert_int_equal(words[100], FIXTURE_DISK_SIZE / 512);
    command(f, 0xa1, 0, 0); /* not a packet device */
    assert_int_equal(wait_ready(f) & ERR, ERR);
    assert_int_equal(in8(f, 0x1f1), 4);
}

static void read_sectors(struct fixture *f, uint8_t code, unsigned count, unsigned block)
{
    uint8_t sector[512 * 16];
    command(f, code, 5, count);
    for (unsigned done = 0; done < count; done += block) {
        assert_int_equal(wait_ready(f) & (DRQ | ERR), DRQ);
        unsigned now = MIN(block, count - done);
        port_read_string(f->board->ports, 0x1f0, 4, sector, now * 128);
        for (unsigned i = 0; i < now * 512; i++)
            assert_int_equal(sector[i], expected((5 + done) * 512 + i));
    }
    assert_int_equal(wait_ready(f) & (DRQ | ERR), 0);
}

static void test_pio_read(void **state)
{
    struct fixture *f = *state;
    read_sectors(f, 0x20, 3, 1);
    read_sectors(f, 0x20, 255, 1);
    command(f, 0xc4, 5, 4); /* READ MULTIPLE before SET MULTIPLE */
    assert_int_equal(wait_ready(f) & ERR, ERR);
    command(f, 0xc6, 0, 16);
    assert_int_equal(wait_ready(f) & ERR, 0);
    read_sectors(f, 0xc4, 20, 16);
}

static void test_pio_write(void **state)
{
    struct fixture *f = *state;
    uint8_t sector[1024], back[512];
    memset(sector, 0xa5, sizeof(sector));
    command(f, 0x30, 100, 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(wait_ready(f) & (DRQ | ERR), DRQ);
        port_write_string(f->board->ports, 0x1f0, 2, sector, 256);
    }
    assert_int_equal(wait_ready(f) & (DRQ | ERR), 0);
    command(f, 0xe7, 0, 0);
    assert_int_equal(wait_ready(f) & ERR, 0);
    command(f, 0x20, 101, 1);
    assert_int_equal(wait_ready(f) & DRQ, DRQ);
    port_read_string(f->board->ports, 0x1f0, 2, back, 256);
    assert_memory_equal(back, sector, 512);
    struct disk_counters counters;
    uint64_t size;
    machine_disk_counters(f->machine, 0, &counters, &size);
    assert_int_equal(counters.bytes[DISK_WRITE], 1024);
    assert_int_equal(counters.operations[DISK_FLUSH], 1);
    assert_int_equal(size, FIXTURE_DISK_SIZE);
}

static void add_prd(struct fixture *f, unsigned index, uint32_t address, uint16_t length, bool last)
{
    memory_store(f->board->memory, PRD + index * 8, address, 4);
    memory_store(f->board->memory, PRD + index * 8 + 4, length | (last ? 0x80000000u : 0), 4);
}

static uint8_t run_dma(struct fixture *f, uint8_t code, uint32_t sector, unsigned count)
{
    port_write(f->board->ports, BM_BASE + 4, PRD, 4);
    out8(f, BM_BASE + 2, 6);
    out8(f, BM_BASE, 8);
    command(f, code, sector, count);
    out8(f, BM_BASE, 9);
    uint8_t status = wait_ready(f);
    out8(f, BM_BASE, 8);
    return status;
}

static void test_dma(void **state)
{
    struct fixture *f = *state;
    /* Pieces that match neither sectors nor pages; 300 sectors are more than one chunk. */
    add_prd(f, 0, DATA + 2, 514, false);
    add_prd(f, 1, DATA + 0x10000, 0, false); /* 64 KiB */
    add_prd(f, 2, DATA + 0x30000, 0, false);
    add_prd(f, 3, DATA + 0x50000, 0x6ffe - 0x1000, true);
    unsigned total = 514 + 65536 * 2 + 0x5ffe;
    out8(f, 0x1f2, 0); /* the count's high byte, for READ DMA EXT */
    assert_int_equal(run_dma(f, 0xc8, 7, 200) & ERR, 0);
    for (unsigned i = 0; i < 514; i++)
        assert_int_equal(memory_load(f->board->memory, DATA + 2 + i, 1), expected(7 * 512 + i));
    for (unsigned i = 0; i < 65536; i += 97)
        assert_int_equal(memory_load(f->board->memory, DATA + 0x10000 + i, 1),
                         expected(7 * 512 + 514 + i));
    assert_true(total > 200 * 512);
    assert_int_equal(in8(f, BM_BASE + 2) & 6, 4); /* interrupt, no error */
    in8(f, COMMAND);
}

static void test_dma_short_table(void **state)
{
    struct fixture *f = *state;
    add_prd(f, 0, DATA, 512, true);
    assert_int_equal(run_dma(f, 0xc8, 7, 4) & ERR, ERR);
    assert_int_equal(in8(f, BM_BASE + 2) & 2, 2);
}

static void test_errors(void **state)
{
    struct fixture *f = *state;
    command(f, 0x20, FIXTURE_DISK_SIZE / 512, 1); /* past the end */
    assert_int_equal(wait_ready(f) & ERR, ERR);
    assert_int_equal(in8(f, 0x1f1), 0x10);
    /* The host's file shrinks under the disk: an uncorrectable error, and a counter. */
    assert_int_equal(truncate(f->disk, 512), 0);
    command(f, 0x20, 100, 1);
    uint8_t status = wait_ready(f);
    if (status & ERR)
        assert_int_equal(in8(f, 0x1f1), 0x40);
    else
        assert_int_equal(status & DRQ, DRQ); /* a driver may read zeroes there */
    command(f, 0x99, 0, 0);
    out8(f, 0x3f6, 4);
    out8(f, 0x3f6, 0);
    wait_ready(f);
    assert_int_equal(in8(f, 0x1f2), 1); /* the signature after a reset */
    assert_int_equal(in8(f, 0x1f4), 0);
}

static void test_empty_channel(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(in8(f, 0x177), 0xff);
    out8(f, 0x1f6, 0xf0); /* the absent slave */
    assert_int_equal(in8(f, 0x1f7), 0);
}

int main(void)
{
#define PC_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {PC_TEST(test_identify),        PC_TEST(test_pio_read),
                                       PC_TEST(test_pio_write),       PC_TEST(test_dma),
                                       PC_TEST(test_dma_short_table), PC_TEST(test_errors),
                                       PC_TEST(test_empty_channel)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
