/*
 * A virtio disk with many requests in flight, on a VHD that grows under them: every answer comes,
 * what is read is what was written, a flush comes after what it covers, and what a reset ended
 * never lands on top of what came after it.
 */
#include "emu/core/bytes.h"
#include "tests/unit/emu/fixture.h"

#define SLOT    (3 << 3)
#define BAR     0xe0000000u
#define RING    0x100000u /* descriptors; available at +0x1000, used at +0x2000 */
#define HEADERS 0x110000u
#define DATA    0x200000u
#define ENTRIES 128 /* of the ring: three descriptors a request */
#define SLOTS   (ENTRIES / 3)
#define NEXT    1
#define WRITE   2
#define PIECE   4096u
#define DISK    (16u << 20)

enum { READ = 0, STORE = 1, FLUSH = 4 };

struct driver {
    struct fixture *f;
    uint16_t given, seen;
    unsigned busy[SLOTS]; /* 0: free, else the piece + 1 */
};

static void common(struct fixture *f, unsigned offset, uint32_t value, unsigned size)
{
    memory_store(f->board->memory, BAR + offset, value, size);
}

static void config_write(struct fixture *f, unsigned offset, uint32_t value, unsigned size)
{
    port_write(f->board->ports, 0xcf8, 0x80000000u | SLOT << 8 | (offset & 0xfc), 4);
    port_write(f->board->ports, (uint16_t)(0xcfc + (offset & 3)), value, size);
}

static struct driver start_driver(struct fixture *f)
{
    static const uint8_t zeroes[0x3000];
    common(f, 20, 0, 1);
    common(f, 20, 3, 1);
    common(f, 8, 0, 4);
    common(f, 12, 1u << 9, 4); /* flush */
    common(f, 8, 1, 4);
    common(f, 12, 1, 4); /* version 1 */
    common(f, 20, 11, 1);
    common(f, 22, 0, 2);
    common(f, 24, ENTRIES, 2);
    common(f, 32, RING, 4);
    common(f, 40, RING + 0x1000, 4);
    common(f, 48, RING + 0x2000, 4);
    common(f, 28, 1, 2);
    common(f, 20, 15, 1);
    memory_write(f->board->memory, RING, zeroes, sizeof(zeroes));
    return (struct driver){.f = f};
}

static struct fixture *fixture_setup(void)
{
    struct fixture *f = g_new0(struct fixture, 1);
    g_autoptr(GError) error = NULL;
    f->config = (struct machine_config){.memory = 16 << 20,
                                        .cpus = 1,
                                        .engine = "interp",
                                        .cpu_model = "x86-64-v2",
                                        .serial = "none",
                                        .disk_count = 1};
    f->directory = g_dir_make_tmp("drover-emu-XXXXXX", NULL);
    f->disk = g_build_filename(f->directory, "disk.vhd", NULL);
    assert_true(block_create(f->disk, BLOCK_FORMAT_VHD_DYNAMIC, DISK, NULL));
    f->config.disks[0] = (struct machine_disk){.file = f->disk, .bus = MACHINE_BUS_VIRTIO};
    f->machine = machine_new(&f->config, &error);
    if (!f->machine)
        fail_msg("%s", error->message);
    f->board = machine_board(f->machine);
    config_write(f, 0x20, BAR, 4);
    config_write(f, 4, 6, 2);
    return f;
}

static void put_descriptor(struct fixture *f, unsigned index, uint64_t address, uint32_t length,
                           uint16_t flags)
{
    uint8_t bytes[16];
    bytes_store(bytes, address, 8);
    bytes_store(bytes + 8, length, 4);
    bytes_store(bytes + 12, flags, 2);
    bytes_store(bytes + 14, index + 1, 2);
    memory_write(f->board->memory, RING + index * 16, bytes, sizeof(bytes));
}

/* Puts a request into the ring; the device learns of it with notify(). */
static void give(struct driver *d, unsigned slot, unsigned type, unsigned piece)
{
    struct fixture *f = d->f;
    uint32_t header = HEADERS + slot * 32;
    uint16_t data = type == READ ? WRITE : 0;
    memory_store(f->board->memory, header, type, 4);
    memory_store(f->board->memory, header + 8, piece * (PIECE / 512), 4);
    memory_store(f->board->memory, header + 12, 0, 4);
    memory_store(f->board->memory, header + 16, 0xff, 1);
    put_descriptor(f, slot * 3, header, 16, NEXT);
    put_descriptor(f, slot * 3 + 1, type == FLUSH ? header + 16 : DATA + slot * PIECE,
                   type == FLUSH ? 1 : PIECE, type == FLUSH ? WRITE : (uint16_t)(NEXT | data));
    put_descriptor(f, slot * 3 + 2, header + 16, 1, WRITE);
    memory_store(f->board->memory, RING + 0x1004 + d->given % ENTRIES * 2, slot * 3, 2);
    memory_store(f->board->memory, RING + 0x1002, ++d->given, 2);
    d->busy[slot] = piece + 1;
}

static void notify(struct driver *d)
{
    memory_store(d->f->board->memory, BAR + 0x3000, 0, 2);
}

/* The next slot that was answered; waits for it. */
static unsigned take(struct driver *d)
{
    struct fixture *f = d->f;
    unsigned slot;
    board_lock(f->board);
    while ((uint16_t)memory_load(f->board->memory, RING + 0x2002, 2) == d->seen) {
        board_unlock(f->board);
        g_usleep(100);
        board_lock(f->board);
    }
    slot = (unsigned)memory_load(f->board->memory, RING + 0x2004 + d->seen % ENTRIES * 8, 4) / 3;
    board_unlock(f->board);
    d->seen++;
    assert_true(slot < SLOTS && d->busy[slot]);
    assert_int_equal(memory_load(f->board->memory, HEADERS + slot * 32 + 16, 1), 0);
    d->busy[slot] = 0;
    return slot;
}

static void fill_piece(uint8_t *bytes, unsigned piece, unsigned value)
{
    for (unsigned i = 0; i < PIECE; i += 8) {
        bytes_store(bytes + i, piece, 4);
        bytes_store(bytes + i + 4, value, 4);
    }
}

static void store(struct driver *d, unsigned slot, unsigned piece, unsigned value)
{
    uint8_t bytes[PIECE];
    fill_piece(bytes, piece, value);
    memory_write(d->f->board->memory, DATA + slot * PIECE, bytes, PIECE);
    give(d, slot, STORE, piece);
}

static void assert_piece(struct driver *d, unsigned slot, unsigned piece, unsigned value)
{
    uint8_t bytes[PIECE], wanted[PIECE] = {0};
    if (value)
        fill_piece(wanted, piece, value);
    memory_read(d->f->board->memory, DATA + slot * PIECE, bytes, PIECE);
    assert_memory_equal(bytes, wanted, PIECE);
}

static void test_many(void **state)
{
    struct fixture *f = fixture_setup();
    struct driver d = start_driver(f);
    unsigned values[DISK / PIECE] = {0}, piece_of[SLOTS];
    bool reading[SLOTS];
    GRand *rand = g_rand_new_with_seed(7);
    for (unsigned round = 1; round < 60; round++) {
        bool used[DISK / PIECE] = {false};
        for (unsigned slot = 0; slot < SLOTS; slot++) {
            unsigned piece = (unsigned)g_rand_int_range(rand, 0, DISK / PIECE);
            while (used[piece]) /* no two at one place: either could be the last */
                piece = (piece + 1) % (DISK / PIECE);
            used[piece] = true;
            piece_of[slot] = piece;
            reading[slot] = g_rand_boolean(rand);
            if (reading[slot])
                give(&d, slot, READ, piece);
            else
                store(&d, slot, piece, values[piece] = round);
            if (slot % 7 == 0)
                notify(&d);
        }
        notify(&d);
        for (unsigned i = 0; i < SLOTS; i++) {
            unsigned slot = take(&d);
            if (reading[slot])
                assert_piece(&d, slot, piece_of[slot], values[piece_of[slot]]);
        }
        if (round % 10 == 0) {
            give(&d, 0, FLUSH, 0);
            notify(&d);
            assert_int_equal(take(&d), 0);
        }
    }
    g_rand_free(rand);
    fixture_free(f);
}

/* The driver gives up with all in flight, and another writes the same places at once. */
static void test_reset(void **state)
{
    struct fixture *f = fixture_setup();
    struct driver d;
    for (unsigned round = 0; round < 40; round++) {
        d = start_driver(f);
        for (unsigned slot = 0; slot < SLOTS; slot++)
            store(&d, slot, slot * 97, 1000 + round);
        notify(&d);
        d = start_driver(f);
        for (unsigned slot = 0; slot < SLOTS; slot++)
            store(&d, slot, slot * 97, 1 + round);
        notify(&d);
        for (unsigned i = 0; i < SLOTS; i++)
            take(&d);
        for (unsigned slot = 0; slot < SLOTS; slot++)
            give(&d, slot, READ, slot * 97);
        notify(&d);
        for (unsigned i = 0; i < SLOTS; i++) {
            unsigned slot = take(&d);
            assert_piece(&d, slot, slot * 97, 1 + round);
        }
    }
    fixture_free(f);
}

/* A paused machine has nothing in flight: all is answered, and on the disk. */
static void test_pause(void **state)
{
    struct fixture *f = fixture_setup();
    struct driver d = start_driver(f);
    for (unsigned slot = 0; slot < SLOTS; slot++)
        store(&d, slot, slot * 50, 5);
    notify(&d);
    machine_pause(f->machine);
    assert_int_equal(memory_load(f->board->memory, RING + 0x2002, 2), SLOTS);
    for (unsigned i = 0; i < SLOTS; i++)
        take(&d);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_many), cmocka_unit_test(test_reset),
                                       cmocka_unit_test(test_pause)};
    return cmocka_run_group_tests_name("virtio disk", tests, NULL, NULL);
}
