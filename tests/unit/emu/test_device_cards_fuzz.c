/*
 * A hostile driver at every PCI card: random register accesses, and rings and descriptors full of
 * addresses and lengths that hurt. Packets come in at the same time. Nothing may crash, hang or
 * grow; the sanitizer build tells more. The seed is fixed, the count can be raised:
 * DROVER_FUZZ_ROUNDS.
 */
#include "emu/core/bytes.h"
#include "emu/machine/machine_internal.h"
#include "tests/unit/emu/fixture.h"

#define ROUNDS    60000
#define FIRST_BAR 0xe0000000u
#define BAR_STEP  0x100000u
#define ARENA     0x100000u /* guest memory that rings and buffers are in */
#define ARENA_END 0x180000u

struct hostile {
    struct fixture *f;
    GRand *random;
};

static uint32_t pick(struct hostile *h, uint32_t below)
{
    return (uint32_t)g_rand_int_range(h->random, 0, (gint32)below);
}

static uint32_t card_count(const struct hostile *h)
{
    return h->f->machine->cards->len;
}

static uint32_t bar_of(uint32_t card, uint32_t bar)
{
    return FIRST_BAR + (card * 6 + bar) * BAR_STEP;
}

/* Every memory register at a place of its own, everything enabled. */
static void map_cards(struct hostile *h)
{
    struct pci_bus *bus = ((struct pci_device *)cards_device(h->f->machine, 0))->bus;
    board_lock(h->f->board);
    for (uint32_t card = 0; card < card_count(h); card++) {
        struct pci_device *pci = (struct pci_device *)cards_device(h->f->machine, card);
        for (uint32_t bar = 0; bar < 6; bar++) {
            if (pci->bars[bar].size)
                pci_config_write(bus, pci->devfn, PCI_BAR0 + bar * 4,
                                 pci->bars[bar].is_io ? 0xc100 + card * 0x100 : bar_of(card, bar),
                                 4);
        }
        pci_config_write(bus, pci->devfn, PCI_COMMAND, 7, 2);
    }
    board_unlock(h->f->board);
}

/* Mostly in the arena, else where it hurts. */
static uint64_t nasty_address(struct hostile *h)
{
    static const uint64_t bad[] = {0,          0xfffff,    UINT64_MAX - 3, 0xfee00000,
                                   0xfec00000, 0xffffffff, 0x0ffffff8,     UINT64_C(1) << 40};
    switch (pick(h, 8)) {
    case 0:
        return bad[pick(h, G_N_ELEMENTS(bad))];
    case 1:
        return bar_of(pick(h, card_count(h)), pick(h, 6)) + pick(h, 0x4000);
    default:
        return ARENA + (pick(h, ARENA_END - ARENA) & ~15u);
    }
}

static uint32_t nasty_length(struct hostile *h)
{
    static const uint32_t bad[] = {0, 1, 0xffff, 0xffffffff, 0x7fffffff, 0x10000};
    return pick(h, 6) == 0 ? bad[pick(h, G_N_ELEMENTS(bad))] : pick(h, 2000);
}

/* Sixteen-byte records that virtio, e1000 and tulip all read as descriptors of some kind. */
static void scribble(struct hostile *h)
{
    uint8_t record[16];
    for (uint32_t i = 0; i < 64; i++) {
        bytes_store(record, nasty_address(h), 8);
        bytes_store(record + 8, pick(h, 3) ? nasty_length(h) : g_rand_int(h->random), 4);
        bytes_store(record + 12,
                    pick(h, 2) ? pick(h, 8) | pick(h, 64) << 16 : g_rand_int(h->random), 4);
        memory_write(h->f->board->memory, ARENA + (pick(h, ARENA_END - ARENA - 16) & ~15u), record,
                     sizeof(record));
    }
}

static void store(struct hostile *h, uint32_t address, uint32_t value, unsigned size)
{
    memory_store(h->f->board->memory, address, value, size);
}

/* A queue whose indices make sense half the time, so that its descriptors are looked at. */
static void place_queue(struct hostile *h, uint32_t bar, uint16_t queue)
{
    uint32_t ring = ARENA + pick(h, 8) * 0x4000;
    bool plausible = pick(h, 4);
    store(h, bar + 22, queue, 2);
    store(h, bar + 24, plausible ? 64 : 1u << pick(h, 9), 2);
    store(h, bar + 26, pick(h, 40), 2);
    store(h, bar + 32, plausible ? ring : (uint32_t)nasty_address(h), 4);
    store(h, bar + 40, plausible ? ring + 0x1000 : (uint32_t)nasty_address(h), 4);
    store(h, bar + 48, plausible ? ring + 0x2000 : (uint32_t)nasty_address(h), 4);
    store(h, bar + 28, 1, 2);
    if (!plausible)
        return;
    for (uint32_t i = 0; i < 64; i++)
        store(h, ring + 0x1004 + i * 2, pick(h, 20) ? i : pick(h, 70), 2);
    store(h, ring + 0x1000, 0, 2);
    store(h, ring + 0x1002, pick(h, 20), 2);
    for (uint32_t i = 0; i < 64; i++) { /* chains of one or two good descriptors, mostly */
        uint32_t flags = queue == 0 ? 2 : 0;
        if (pick(h, 3) == 0)
            continue;
        store(h, ring + i * 16, ARENA + 0x30000 + pick(h, 0x40000), 4);
        store(h, ring + i * 16 + 4, 0, 4);
        store(h, ring + i * 16 + 8, pick(h, 3000), 4);
        store(h, ring + i * 16 + 12, flags | (pick(h, 3) == 0) | pick(h, 64) << 16, 4);
    }
}

static void drive_virtio(struct hostile *h, uint32_t card)
{
    uint32_t bar = bar_of(card, 4);
    if (pick(h, 2) == 0)
        store(h, bar + 20, 0, 1);
    store(h, bar + 8, 0, 4);
    store(h, bar + 12,
          (uint32_t)(memory_load(h->f->board->memory, bar + 4, 4) & g_rand_int(h->random)), 4);
    store(h, bar + 8, 1, 4);
    store(h, bar + 12, 1, 4);
    for (uint16_t queue = 0; queue < 4; queue++)
        place_queue(h, bar, queue);
    store(h, bar + 20, 15, 1);
    for (uint32_t i = 0; i < 6; i++)
        store(h, bar + 0x3000 + pick(h, 5) * 4, 0, 2);
}

static void drive_e1000(struct hostile *h, uint32_t card)
{
    uint32_t bar = bar_of(card, 0);
    static const uint32_t rings[] = {0x2800, 0x3800};
    for (uint32_t i = 0; i < 2; i++) {
        store(h, bar + rings[i], (uint32_t)nasty_address(h), 4);
        store(h, bar + rings[i] + 8, pick(h, 64) * 128, 4);
        store(h, bar + rings[i] + 16, pick(h, 300), 4);
    }
    store(h, bar + 0x400, 0x0a, 4);
    store(h, bar + 0x100, g_rand_int(h->random) | 2, 4);
    store(h, bar, 0x40000240, 4);
    store(h, bar + 0x2818, pick(h, 300), 4);
    store(h, bar + 0x3818, pick(h, 300), 4);
}

static void drive_tulip(struct hostile *h, uint32_t card)
{
    uint32_t bar = bar_of(card, 1);
    uint32_t list = ARENA + pick(h, 8) * 0x4000;
    for (uint32_t i = 0; i < 32 && pick(h, 20); i++) { /* descriptors that the card owns */
        store(h, list + i * 16, 0x80000000, 4);
        store(h, list + i * 16 + 4, (uint32_t)(g_rand_int(h->random) & 0xff3fffff), 4);
        store(h, list + i * 16 + 8, (uint32_t)nasty_address(h), 4);
    }
    store(h, bar + 0x18, pick(h, 2) ? list : (uint32_t)nasty_address(h), 4);
    store(h, bar + 0x20, pick(h, 2) ? list : (uint32_t)nasty_address(h), 4);
    store(h, bar + 0x30, g_rand_int(h->random) | 0x2002, 4);
    store(h, bar + 0x08, 1, 4);
    store(h, bar + 0x10, 1, 4);
}

static void poke_card(struct hostile *h)
{
    uint32_t card = pick(h, card_count(h));
    const char *name = cards_device(h->f->machine, card)->ops->name;
    if (g_str_has_prefix(name, "virtio"))
        drive_virtio(h, card);
    else if (strcmp(name, "e1000") == 0)
        drive_e1000(h, card);
    else
        drive_tulip(h, card);
}

static void poke_register(struct hostile *h)
{
    uint32_t at = bar_of(pick(h, card_count(h)), pick(h, 6)) + pick(h, 0x6000);
    unsigned size = 1u << pick(h, 4);
    if (pick(h, 2))
        memory_load(h->f->board->memory, at, size);
    else
        memory_store(h->f->board->memory, at,
                     (uint64_t)g_rand_int(h->random) << 32 | g_rand_int(h->random), size);
}

static void poke_port(struct hostile *h)
{
    uint16_t port = (uint16_t)(0xc100 + pick(h, 0x100 * card_count(h)));
    unsigned size = 1u << pick(h, 3);
    if (pick(h, 2))
        port_read(h->f->board->ports, port, size);
    else
        port_write(h->f->board->ports, port, g_rand_int(h->random), size);
}

static void poke_config(struct hostile *h)
{
    struct pci_device *pci =
        (struct pci_device *)cards_device(h->f->machine, pick(h, card_count(h)));
    board_lock(h->f->board);
    uint32_t offset = 0x40 + pick(h, 0xc0);
    unsigned size = offset & 1 ? 1 : 2;
    if (pick(h, 2))
        pci_config_read(pci->bus, pci->devfn, offset, size);
    else
        pci_config_write(pci->bus, pci->devfn, offset, g_rand_int(h->random), size);
    board_unlock(h->f->board);
}

static void deliver(struct hostile *h)
{
    static const uint16_t lengths[] = {1, 13, 14, 60, 64, 1514, 1518, 9000, 65535};
    struct net_header header = {(uint8_t)pick(h, 3), (uint8_t)pick(h, 5), 54, 1460, 34, 16};
    g_autofree uint8_t *packet = g_malloc0(65536);
    for (uint32_t i = 0; i < 60; i++)
        packet[i] = (uint8_t)g_rand_int(h->random);
    if (pick(h, 2))
        memset(packet, 0xff, 6);
    net_link_deliver(h->f->machine->links[pick(h, 3)], &header, packet,
                     lengths[pick(h, G_N_ELEMENTS(lengths))]);
}

static void atapi(struct hostile *h)
{
    static const uint8_t codes[] = {0x00, 0x03, 0x12, 0x1b, 0x1e, 0x25, 0x28, 0x43, 0x46,
                                    0x4a, 0x51, 0x5a, 0xa8, 0xad, 0xbd, 0xbe, 0x99};
    out8(h->f, 0x176, 0xa0);
    out8(h->f, 0x171, (uint8_t)pick(h, 2));
    out8(h->f, 0x174, (uint8_t)g_rand_int(h->random));
    out8(h->f, 0x175, (uint8_t)pick(h, 4));
    out8(h->f, 0x177, pick(h, 5) ? 0xa0 : (uint8_t)g_rand_int(h->random));
    uint8_t packet[12] = {codes[pick(h, G_N_ELEMENTS(codes))]};
    for (uint32_t i = 1; i < 12; i++)
        packet[i] = pick(h, 3) ? 0 : (uint8_t)g_rand_int(h->random);
    for (uint32_t i = 0; i < 12; i += 2)
        port_write(h->f->board->ports, 0x170, packet[i] | (uint32_t)packet[i + 1] << 8, 2);
    for (uint32_t i = 0; i < 200; i++)
        port_read(h->f->board->ports, 0x170, 1u << pick(h, 3));
    in8(h->f, 0x177);
}

static void test_fuzz(void **state)
{
    static void (*const acts[])(struct hostile *) = {
        scribble,  poke_card,   poke_card, poke_register, poke_register,
        poke_port, poke_config, deliver,   deliver,       atapi,
    };
    struct fixture *f = fixture_new_all();
    const char *wanted = g_getenv("DROVER_FUZZ_ROUNDS");
    guint64 rounds = wanted ? g_ascii_strtoull(wanted, NULL, 10) : ROUNDS;
    g_autoptr(GRand) random = g_rand_new_with_seed(20240301);
    struct hostile h = {f, random};
    map_cards(&h);
    for (guint64 i = 0; i < rounds; i++) {
        acts[pick(&h, G_N_ELEMENTS(acts))](&h);
        if (i % 16 == 15) {
            advance(f, pick(&h, 2000000));
            loop_step(f->machine->loop, 0);
            map_cards(&h);
        }
        if (i % 1000 == 999)
            machine_reset(f->machine);
    }
    /* It got through to where packets are, in both directions. */
    for (unsigned i = 0; i < f->config.net_count; i++) {
        struct machine_net_status status;
        machine_net_status(f->machine, i, &status);
        if (!status.counters.received_packets || !status.counters.sent_packets)
            fail_msg("card %u: nothing was received or nothing sent", i);
    }
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fuzz)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
