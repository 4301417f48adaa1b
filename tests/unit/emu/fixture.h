/*
 * A PC that never runs: the tests talk to its devices through ports and memory.
 */
#pragma once

#include "emu/core/board.h"
#include "emu/core/clock.h"
#include "emu/core/memory.h"
#include "emu/core/port.h"
#include "emu/machine/machine.h"
#include <glib/gstdio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define FIXTURE_DISK_SIZE (8u << 20)

struct fixture {
    struct machine_config config;
    struct machine *machine;
    struct board *board;
    char *directory, *disk, *more, *disc, *floppy;
};

/* Every device there is: disks at both buses, a disc, each network card on a cable that ends
 * nowhere, and what --device names. */
static inline void fixture_add_all(struct fixture *f)
{
    static const char *const models[] = {"virtio", "e1000", "tulip"};
    f->more = g_build_filename(f->directory, "more.img", NULL);
    assert_true(g_file_set_contents(f->more, f->disk, 1, NULL) && truncate(f->more, 1 << 20) == 0);
    f->disc = g_build_filename(f->directory, "disc.iso", NULL);
    assert_true(g_file_set_contents(f->disc, f->disk, 1, NULL) && truncate(f->disc, 1 << 20) == 0);
    f->floppy = g_build_filename(f->directory, "floppy.img", NULL);
    assert_true(g_file_set_contents(f->floppy, f->disk, 1, NULL) &&
                truncate(f->floppy, 1440 << 10) == 0);
    f->config.floppies[0] = (struct machine_floppy){.file = f->floppy};
    f->config.floppy_count = 2;
    f->config.serial2 = f->config.parallel = "none";
    f->config.ports[0] = (struct machine_port){"first", "none"};
    f->config.ports[1] = (struct machine_port){"second", "none"};
    f->config.port_count = 2;
    f->config.disks[1] =
        (struct machine_disk){.file = f->more, .raw = true, .bus = MACHINE_BUS_VIRTIO};
    f->config.disk_count = 2;
    f->config.cdroms[0] = f->disc;
    f->config.cdrom_count = 1;
    for (unsigned i = 0; i < MACHINE_EXTRA_COUNT; i++)
        f->config.extras[i] = true;
    for (unsigned i = 0; i < G_N_ELEMENTS(models); i++) {
        g_autofree char *text =
            g_strdup_printf("socket,listen=%s/cable%u,model=%s", f->directory, i, models[i]);
        assert_true(net_config_parse(text, &f->config.nets[i], NULL));
        f->config.net_count++;
    }
}

static inline struct fixture *fixture_make(bool with_disk, bool with_all)
{
    struct fixture *f = g_new0(struct fixture, 1);
    g_autoptr(GError) error = NULL;
    f->config = (struct machine_config){.memory = 16 << 20,
                                        .cpus = 2,
                                        .engine = "interp",
                                        .cpu_model = "x86-64-v2",
                                        .serial = "none"};
    f->directory = g_dir_make_tmp("drover-emu-XXXXXX", NULL);
    if (with_disk) {
        g_autofree char *bytes = g_malloc(FIXTURE_DISK_SIZE);
        for (unsigned i = 0; i < FIXTURE_DISK_SIZE; i++)
            bytes[i] = (char)(i / 512 + i);
        f->disk = g_build_filename(f->directory, "disk.img", NULL);
        assert_true(g_file_set_contents(f->disk, bytes, FIXTURE_DISK_SIZE, NULL));
        f->config.disks[0] = (struct machine_disk){.file = f->disk, .raw = true};
        f->config.disk_count = 1;
    }
    if (with_all)
        fixture_add_all(f);
    f->machine = machine_new(&f->config, &error);
    if (!f->machine)
        fail_msg("%s", error->message);
    f->board = machine_board(f->machine);
    return f;
}

static inline struct fixture *fixture_new(bool with_disk)
{
    return fixture_make(with_disk, false);
}

static inline struct fixture *fixture_new_all(void)
{
    return fixture_make(true, true);
}

static inline void fixture_free(struct fixture *f)
{
    assert_true(machine_free(f->machine, NULL));
    for (unsigned i = 0; f->more && i < f->config.net_count; i++)
        net_config_clear(&f->config.nets[i]);
    if (f->more) {
        g_unlink(f->more);
        g_unlink(f->disc);
        g_unlink(f->floppy);
    }
    g_free(f->more);
    g_free(f->disc);
    g_free(f->floppy);
    if (f->disk)
        g_unlink(f->disk);
    g_rmdir(f->directory);
    g_free(f->disk);
    g_free(f->directory);
    g_free(f);
}

static inline void out8(struct fixture *f, uint16_t port, uint8_t value)
{
    port_write(f->board->ports, port, value, 1);
}

static inline uint8_t in8(struct fixture *f, uint16_t port)
{
    return (uint8_t)port_read(f->board->ports, port, 1);
}

/* Moves the paused clock and fires what is due, as the device thread would. */
static inline void advance(struct fixture *f, int64_t ns)
{
    guest_clock_set(f->board->clock, guest_clock_now(f->board->clock) + ns);
    guest_clock_fire_due(f->board->clock);
}

/* Sets the 8259s up as the PC's firmware does: vectors 8 and 0x70, all unmasked. */
static inline void init_pics(struct fixture *f)
{
    static const uint8_t words[][3] = {{0x20, 0x11, 0}, {0x21, 8, 0},    {0x21, 4, 0}, {0x21, 1, 0},
                                       {0xa0, 0x11, 0}, {0xa1, 0x70, 0}, {0xa1, 2, 0}, {0xa1, 1, 0},
                                       {0x21, 0, 0},    {0xa1, 0, 0}};
    for (unsigned i = 0; i < G_N_ELEMENTS(words); i++)
        out8(f, words[i][0], words[i][1]);
}
