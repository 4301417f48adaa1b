/*
 * A whole machine: a board with a PC's devices and CPUs on it, its threads and its life.
 *
 *      vCPU threads            the device thread: machine_run()
 *      cpu_run(), park         timers, serial lines, control socket, requests of the guest
 *            \                    /
 *             the board lock, devices          disk workers: one thread and queue per disk
 *
 * Threads: machine_run() is the device thread. Unless said otherwise, functions are called there,
 * or before machine_run(). Lock order: board lock, then the machine's own.
 */
#pragma once

#include "emu/core/chips.h"
#include "emu/device/disk_worker.h"
#include "emu/net/backend.h"
#include "storage/operations.h"
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct machine;
struct device;

#define MACHINE_MAX_CPUS     16
#define MACHINE_MAX_DISKS    16
#define MACHINE_MAX_IDE      4
#define MACHINE_MAX_NETS     8
#define MACHINE_MAX_CDROMS   2
#define MACHINE_MAX_FLOPPIES 2
#define MACHINE_MAX_SERIALS  2
#define MACHINE_MAX_PORTS    8 /* virtio ports beside the console */

enum machine_bus { MACHINE_BUS_IDE, MACHINE_BUS_VIRTIO, MACHINE_BUS_COUNT };
const char *machine_bus_name(enum machine_bus bus);

/* Devices of --device. */
enum machine_extra {
    MACHINE_EXTRA_RNG,
    MACHINE_EXTRA_BALLOON,
    MACHINE_EXTRA_CONSOLE,
    MACHINE_EXTRA_PVPANIC,
    MACHINE_EXTRA_TESTDEV,
    MACHINE_EXTRA_COUNT,
};
extern const char *const machine_extra_names[]; /* NULL ends */

struct machine_disk {
    const char *file;
    enum machine_bus bus;
    bool read_only, raw; /* raw: take a file of no known format as a plain image */
    bool chain;          /* the file may be a differencing disk: it names the files it stands on */
    /* The machine runs on file's undo disk, a child of it, and when it ends orderly this is done
     * with that. A crash keeps it, and so does a machine that was saved. */
    bool undo;
    enum block_undo_action undo_action;
    struct block_limits limits;
};

struct machine_floppy {
    const char *file; /* the disk's image; NULL: none in the drive */
    bool read_only;
};

/* What to do when a guest says that it panicked. */
enum machine_on_panic {
    MACHINE_ON_PANIC_STAY,
    MACHINE_ON_PANIC_PAUSE,
    MACHINE_ON_PANIC_RESET,
    MACHINE_ON_PANIC_POWER_OFF,
    MACHINE_ON_PANIC_COUNT,
};
extern const char *const machine_on_panic_names[]; /* NULL ends */

/* A stream of bytes between guest and host, in a virtio console that is there for it. */
struct machine_port {
    const char *name, *where; /* where as a serial port's */
};

struct machine_config {
    const char *name; /* NULL: none */
    const char *uuid; /* as text; NULL: none */
    uint64_t memory;  /* bytes, whole MiB */
    unsigned cpus;    /* 1 to MACHINE_MAX_CPUS */
    const char *engine, *cpu_model;
    enum chips_wish kernel_irqchip; /* interrupt controllers and PIT of the engine's own */
    uint64_t code_cache; /* bytes that translated code may take, all CPUs together; 0: 16 MiB for
                            one, less for several, but 3 MiB each at least */
    struct machine_disk disks[MACHINE_MAX_DISKS];
    unsigned disk_count;
    const char *cdroms[MACHINE_MAX_CDROMS]; /* a drive each; the disc's image, NULL: none in it */
    unsigned cdrom_count;
    struct machine_floppy floppies[MACHINE_MAX_FLOPPIES]; /* a drive each */
    unsigned floppy_count;
    struct net_config nets[MACHINE_MAX_NETS]; /* one network card each */
    unsigned net_count;
    bool extras[MACHINE_EXTRA_COUNT]; /* devices that are there or not */
    const char *serial;               /* "stdio", "unix:PATH", "file:PATH" or "none"; NULL: none */
    const char *serial2;              /* the same for the second serial port; NULL: there is none */
    const char *parallel;             /* and for the printer port; NULL: there is none */
    const char *console;              /* of the virtio console */
    struct machine_port ports[MACHINE_MAX_PORTS];
    unsigned port_count;
    const char *serial_log;               /* all its output is appended to this file; NULL: none */
    const char *firmware;                 /* file of the BIOS; NULL: SeaBIOS from its package */
    const char *kernel, *initrd, *append; /* boot Linux without firmware; NULL kernel: firmware */
    bool kernel_after_firmware; /* boot Linux by its 16-bit protocol; Multiboot kernels always do */
    const char *boot_order;     /* letters a floppy, c disk, d CD, n network; NULL: "cd" */
    const char *debug_console;  /* file for the firmware's log, "-" for stdout; NULL: none */
    unsigned debug_exit;        /* the port that ends the machine; 0: none */
    enum machine_on_panic on_panic;
    unsigned observe; /* of translated code: CPU_OBSERVE bits (emu/cpu/cpu.h) */
    bool no_reboot;   /* the machine ends where its guest resets it */
};

/* Why machine_run() returned. */
enum machine_end {
    MACHINE_END_POWER_OFF,    /* by the guest, or machine_quit() */
    MACHINE_END_RESET,        /* the guest reset and no_reboot is set */
    MACHINE_END_TRIPLE_FAULT, /* likewise, by a triple fault */
    MACHINE_END_DEBUG_EXIT,   /* the debug exit port; machine_exit_status() */
    MACHINE_END_DIVERGED,     /* the lockstep engine found a difference */
    MACHINE_END_COUNT,
};

enum machine_state { MACHINE_RUNNING, MACHINE_PAUSED, MACHINE_ENDING, MACHINE_STATE_COUNT };

/* Borrows the configuration for the machine's life. Threads exist from here on, CPUs do not run
 * yet. */
struct machine *machine_new(const struct machine_config *config, GError **error);
/* Flushes and closes the disks, and does with undo disks what is to be done when the machine has
 * run; false when that failed, the machine is gone all the same. */
bool machine_free(struct machine *machine, GError **error);

enum machine_end machine_run(struct machine *machine);
int machine_exit_status(const struct machine *machine);

/* From the device thread. */
void machine_power_button(struct machine *machine);
void machine_reset(struct machine *machine);
void machine_pause(struct machine *machine);
void machine_resume(struct machine *machine);
/* Makes machine_run() return; any thread. */
void machine_quit(struct machine *machine);

enum machine_state machine_state(const struct machine *machine);
const struct machine_config *machine_configuration(const struct machine *machine);

struct machine_statistics {
    int64_t uptime_ns;
    uint64_t cpu_time_ns; /* of the process */
    uint64_t
        interpreted_instructions; /* of all CPUs; neither translated ones nor KVM's are counted */
    uint64_t resets;
    bool panicked;                  /* the guest said so since the last reset */
    uint64_t serial_in, serial_out; /* bytes to and from the guest */
};
/* What the CPUs' engines counted, as lines of text; after machine_run(). The caller frees it. */
char *machine_engine_report(struct machine *machine);
void machine_statistics(struct machine *machine, struct machine_statistics *ret_statistics);
/* Counters and size of one of the configuration's disks. */
void machine_disk_counters(struct machine *machine, unsigned disk,
                           struct disk_counters *ret_counters, uint64_t *ret_size);

/* What shall be done with a disk's undo disk at the end, instead of what the configuration says. */
bool machine_set_undo(struct machine *machine, unsigned disk, enum block_undo_action action,
                      GError **error);

/* Puts another disc into a CD-ROM drive; NULL: takes it out. On failure the old one stays. */
bool machine_change_disc(struct machine *machine, unsigned drive, const char *path, GError **error);
/* The same for a floppy drive, which takes only disks that it can read. */
bool machine_change_floppy(struct machine *machine, unsigned drive, const char *path,
                           GError **error);

/* One of the configuration's network cards. */
struct machine_net_status {
    uint8_t mac[NET_MAC_SIZE];
    bool up; /* the cable is in */
    struct net_counters counters;
};
void machine_net_status(struct machine *machine, unsigned net,
                        struct machine_net_status *ret_status);
/* The cable of a card: in or out. */
void machine_net_plug(struct machine *machine, unsigned net, bool up);
/* The names of the network card models, NULL-ended. */
const char *const *machine_net_models(void);

/* A key, or several at once as "ctrl-alt-delete"; a text as a US keyboard types it. Errors name
 * what there is no key for. */
bool machine_press(struct machine *machine, const char *chord, GError **error);
bool machine_type(struct machine *machine, const char *text, GError **error);
/* One key goes down or up, by its name or as a character of a US keyboard has it; what has no key
 * is ignored. Any thread. */
void machine_key(struct machine *machine, const char *name, bool down);
void machine_character_key(struct machine *machine, char character, bool down);
/* Any thread. Right and up are positive; buttons: bit 0 left, 1 right, 2 middle, as they are
 * afterwards. */
void machine_move_mouse(struct machine *machine, int dx, int dy, unsigned buttons);

/* Any thread. The pointer is at a place of 0 to 65535 each way; `wheel` is in notches towards the
 * user. False: the guest has no driver for that and knows movements only. */
bool machine_point(struct machine *machine, unsigned x, unsigned y, unsigned buttons, int wheel);

/* How much memory the guest shall give away; false: the machine has no balloon. */
bool machine_set_balloon(struct machine *machine, uint64_t bytes, GError **error);

struct device *machine_vga(struct machine *machine);  /* borrowed */
struct board *machine_board(struct machine *machine); /* borrowed */
/* Walks the devices in the order of their saved state; NULL ends. */
struct device *machine_device(struct machine *machine, unsigned index);

/* The saved state of devices and CPUs (not of memory). Paused machines only. */
GBytes *machine_save(struct machine *machine);
bool machine_load(struct machine *machine, GBytes *image, GError **error);

/* A paused machine to a file, and back into one of the same configuration that has not run yet
 * (emu/machine/saved_file.c has the format). Disks are flushed; they are not in the file and must
 * be as they were. After a failed restore the machine can only be freed. */
bool machine_save_file(struct machine *machine, const char *path, GError **error);
bool machine_restore_file(struct machine *machine, const char *path, GError **error);

/* The same while the machine goes on: its state into `path`, and of each disk DISK what is on it
 * now into DISK.NAME, where NAME is the last part of `path`; DISK becomes a child of that. To go
 * back: a machine with --restore and the disks DISK.NAME, with undo. All disks are as they were
 * when that fails, or have the same content. */
bool machine_snapshot(struct machine *machine, const char *path, GError **error);

/* File descriptors the device thread looks after. `events` as poll(2) has them; the callback is
 * without the board lock. machine_watch() replaces the events of a descriptor it knows. */
typedef void machine_watch_function(void *opaque, int fd, short events);
void machine_watch(struct machine *machine, int fd, short events, machine_watch_function *function,
                   void *opaque);
void machine_unwatch(struct machine *machine, int fd);
