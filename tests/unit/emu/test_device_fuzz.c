/*
 * A hostile guest: random port, memory and configuration accesses at every device. Nothing may
 * crash, hang or grow; the sanitizer build tells more. The seed is fixed, the count can be raised:
 * DROVER_FUZZ_ROUNDS.
 */
#include "tests/unit/emu/fixture.h"

#define ROUNDS 60000

static const uint16_t ports[] = {0x00,  0x20,   0x40,   0x60,  0x70,  0x80,   0x90,   0xa0,  0xb0,
                                 0xc0,  0xe0,   0xf0,   0x170, 0x1c8, 0x1f0,  0x2f0,  0x370, 0x3b0,
                                 0x3c0, 0x3d0,  0x3e8,  0x3f0, 0x3f8, 0x400,  0x4d0,  0x510, 0x600,
                                 0x608, 0xafe0, 0xc000, 0xcf8, 0x500, 0x2000, 0x5650, 0x5658};
static const uint64_t addresses[] = {0xa0000,    0xb8000,    0xc0000,    0xf0000,    0xfec00000,
                                     0xfee00000, 0xfed00000, 0xfd000000, 0xff000000, 0xfffc0000,
                                     0x1000,     0xfffff0,   0x100000000};

static void poke_port(struct fixture *f, GRand *random)
{
    uint16_t port = (uint16_t)(ports[g_rand_int_range(random, 0, G_N_ELEMENTS(ports))] +
                               g_rand_int_range(random, 0, 16));
    unsigned size = 1u << g_rand_int_range(random, 0, 3);
    uint8_t buffer[256] = {0};
    switch (g_rand_int_range(random, 0, 8)) {
    case 0:
        port_read_string(f->board->ports, port, size, buffer, 64 / size);
        break;
    case 1:
        port_write_string(f->board->ports, port, size, buffer, 64 / size);
        break;
    case 2:
    case 3:
        port_read(f->board->ports, port, size);
        break;
    default:
        port_write(f->board->ports, port, g_rand_int(random), size);
        break;
    }
}

static void poke_memory(struct fixture *f, GRand *random)
{
    uint64_t address = addresses[g_rand_int_range(random, 0, G_N_ELEMENTS(addresses))] +
                       (uint64_t)g_rand_int_range(random, 0, 0x1000);
    unsigned size = 1u << g_rand_int_range(random, 0, 4);
    if (g_rand_boolean(random))
        memory_load(f->board->memory, address, size);
    else
        memory_store(f->board->memory, address,
                     (uint64_t)g_rand_int(random) << 32 | g_rand_int(random), size);
}

static void poke_config(struct fixture *f, GRand *random)
{
    static const uint8_t functions[] = {0x00, 0x08, 0x09, 0x0b, 0x10, 0x18};
    uint32_t function = functions[g_rand_int_range(random, 0, G_N_ELEMENTS(functions))];
    uint32_t offset = (uint32_t)g_rand_int_range(random, 0, 64) * 4;
    port_write(f->board->ports, 0xcf8, 0x80000000 | function << 8 | offset, 4);
    port_write(f->board->ports, (uint16_t)(0xcfc + g_rand_int_range(random, 0, 4)),
               g_rand_int(random), 1u << g_rand_int_range(random, 0, 3));
}

/* Sets an ATA command going with plausible registers, else nearly all end as refused. */
static void poke_disk(struct fixture *f, GRand *random)
{
    static const uint8_t codes[] = {0x20, 0x24, 0x25, 0x30, 0x34, 0x35, 0xc4, 0xc5,
                                    0xc6, 0xc8, 0xca, 0xe7, 0xec, 0xef, 0x90, 0x10};
    for (unsigned reg = 1; reg < 6; reg++)
        out8(f, (uint16_t)(0x1f0 + reg), (uint8_t)g_rand_int_range(random, 0, 20));
    out8(f, 0x1f6, 0xe0);
    out8(f, 0x1f7, codes[g_rand_int_range(random, 0, G_N_ELEMENTS(codes))]);
}

/* Whole floppy commands with plausible bytes, and the DMA channel opened for them as often as not:
 * to where RAM is, where it is not, and over the ends of both. */
static void poke_floppy(struct fixture *f, GRand *random)
{
    static const uint8_t codes[] = {0xe6, 0x46, 0xc5, 0x45, 0x42, 0x4d, 0x56, 0xd6, 0x4a,
                                    0x4c, 0x07, 0x0f, 0x08, 0x03, 0x13, 0x12, 0x14, 0x94,
                                    0x8e, 0x8f, 0xcf, 0x04, 0x0e, 0x10, 0x18, 0x33, 0x17,
                                    0x11, 0x2e, 0x51, 0x59, 0x5d, 0xed, 0x4e};
    for (unsigned i = 0; i < 4; i++)
        out8(f, (uint16_t[]){0x0c, 0x04, 0x04, 0x05}[i], (uint8_t)g_rand_int(random));
    out8(f, 0x05, (uint8_t)g_rand_int(random));
    out8(f, 0x81, (uint8_t)g_rand_int_range(random, 0, 3) * 0x0f);
    out8(f, 0x0b, (uint8_t)(g_rand_int(random) & 0xfc) | 2);
    out8(f, 0xd6, 0xc0);
    out8(f, 0xd4, 0);
    out8(f, 0x0a, g_rand_int_range(random, 0, 3) ? 2 : 6);
    out8(f, 0x3f2, g_rand_int_range(random, 0, 20) ? 0x1c : (uint8_t)g_rand_int(random));
    out8(f, 0x3f7, g_rand_int_range(random, 0, 4) ? 0 : 3);
    for (unsigned i = 0; i < 16; i++)
        in8(f, 0x3f5);
    out8(f, 0x3f5, codes[g_rand_int_range(random, 0, G_N_ELEMENTS(codes))]);
    out8(f, 0x3f5, (uint8_t)g_rand_int_range(random, 0, 8));
    for (unsigned i = 0; i < 7; i++)
        out8(f, 0x3f5,
             (uint8_t)(g_rand_int_range(random, 0, 3) ? g_rand_int_range(random, 0, 3)
                                                      : g_rand_int_range(random, 0, 90)));
    for (unsigned i = 0; i < 40; i++) {
        if (in8(f, 0x3f4) & 0x40)
            in8(f, 0x3f5);
        else
            out8(f, 0x3f5, (uint8_t)g_rand_int(random));
    }
}

static void test_fuzz(void **state)
{
    struct fixture *f = fixture_new_all();
    const char *wanted = g_getenv("DROVER_FUZZ_ROUNDS");
    guint64 rounds = wanted ? g_ascii_strtoull(wanted, NULL, 10) : ROUNDS;
    g_autoptr(GRand) random = g_rand_new_with_seed(20240229);
    for (guint64 i = 0; i < rounds; i++) {
        int kind = g_rand_int_range(random, 0, 22);
        if (kind < 12)
            poke_port(f, random);
        else if (kind < 16)
            poke_memory(f, random);
        else if (kind < 18)
            poke_config(f, random);
        else if (kind < 19)
            poke_disk(f, random);
        else if (kind < 21)
            poke_floppy(f, random);
        else
            advance(f, g_rand_int_range(random, 0, 2000000));
        if (i % 5000 == 4999)
            machine_reset(f->machine);
    }
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fuzz)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
