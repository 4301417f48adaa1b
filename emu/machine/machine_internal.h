/*
 * Inside emu/machine: the structure that its files share.
 */
#pragma once

#include "emu/core/board.h"
#include "emu/core/loop.h"
#include "emu/device/device.h"
#include "emu/device/lapic.h"
#include "emu/device/pci.h"
#include "emu/machine/acpi.h"
#include "emu/machine/machine.h"
#include "emu/machine/smbios.h"
#include <pthread.h>
#include <stdatomic.h>

struct cpu;
struct kernel_rom;
struct keyboard;
struct line;

struct vcpu {
    struct machine *machine;
    struct cpu *cpu;
    struct device *lapic;
    pthread_t thread;
    bool started, parked; /* machine lock */
};

/* The board's devices, in the order in which they are realized, reset and saved. */
enum pc_slot {
    PC_I440FX,
    PC_PIIX3,
    PC_I8259,
    PC_IOAPIC,
    PC_I8254,
    PC_CMOS,
    PC_HPET,
    PC_I8042,
    PC_I8237,
    PC_FLOPPY,
    PC_UART,
    PC_UART_2,
    PC_PARALLEL,
    PC_PIIX4_PM,
    PC_IDE,
    PC_VGA,
    PC_FW_CFG,
    PC_VMMOUSE,
    PC_PVPANIC,
    PC_TESTDEV,
    PC_DEBUG,
    PC_COUNT,
};

/* A device in a PCI slot of its own. */
struct card {
    struct device *device;
    const char *boot_rom; /* of a network card; NULL: none */
    int disk;             /* the configuration's disk that this is; -1: none */
    unsigned devfn;
    char *name; /* in saved state: the device's and where it is, "virtio-net@18" */
};

struct machine {
    struct board board;
    const struct machine_config *config;
    struct device *devices[PC_COUNT];
    GArray *cards; /* struct card */
    struct net_link *links[MACHINE_MAX_NETS];
    struct lapic_bus lapic_bus;
    struct irq intr; /* from the 8259 to every LINT0 */
    struct irq smi;  /* from the PIIX4 to the boot processor */
    struct vcpu vcpus[MACHINE_MAX_CPUS];
    unsigned vcpu_count;
    struct disk_worker *disks[MACHINE_MAX_DISKS];
    enum block_undo_action undo[MACHINE_MAX_DISKS]; /* at the end */
    bool has_run, is_saved;
    struct disk_worker *discs[MACHINE_MAX_CDROMS];
    struct disk_worker *floppies[MACHINE_MAX_FLOPPIES];
    struct loop *loop;
    struct keyboard *keyboard;
    struct line *serials[MACHINE_MAX_SERIALS], *printer;
    struct line *ports[MACHINE_MAX_PORTS + 1]; /* the virtio console and its ports */
    int debug_fd;                              /* the firmware's log, or -1 */
    struct acpi_tables acpi;

    GBytes *bios;        /* the ROM image as read */
    uint8_t *bios_pages; /* page aligned, bios_size bytes */
    size_t bios_size;
    struct linux_image *linux_image; /* NULL: boots by firmware */
    struct kernel_rom *kernel_rom;   /* a kernel that firmware starts, or NULL */

    /* Requests from any thread, acted on by the device thread. */
    atomic_uint requests; /* bits of enum machine_request */
    atomic_int exit_status;
    uint64_t resets;
    atomic_bool panicked;
    bool panic_told; /* board lock */

    pthread_mutex_t alarm_lock; /* held while the loop's alarm is set; outside the board lock */
    pthread_mutex_t lock;       /* guards what follows; inside the board lock */
    pthread_cond_t changed;
    bool hold;         /* vCPU threads park */
    bool ending;       /* vCPU threads end */
    bool paused;       /* by machine_pause() */
    int64_t behind;    /* ns of real time that the guest's clock has yet to be put forward by */
    int64_t next_step; /* guest ns: not before then */
    int64_t paused_at; /* microseconds since 1970 */
};

enum machine_request {
    REQUEST_RESET = 1,
    REQUEST_POWER_OFF = 2,
    REQUEST_TRIPLE_FAULT = 4,
    REQUEST_QUIT = 8,
    REQUEST_DEBUG_EXIT = 16,
    REQUEST_PAUSE = 32,
    REQUEST_DIVERGED = 32,
};
/* Notes a request, stops the CPUs and wakes the device thread; any thread. */
void machine_request(struct machine *machine, enum machine_request request);

/* pc.c: the board's devices. */
bool pc_build(struct machine *machine, GError **error);
void pc_reset(struct machine *machine);
void pc_free(struct machine *machine);

/* cards.c: what the configuration puts into PCI slots. Realized, reset and freed by pc.c. */
/* Where the firmware finds disk `index` of the configuration: an Open Firmware path as SeaBIOS
 * makes it. */
char *cards_disk_path(const struct machine *machine, unsigned index);
bool cards_new(struct machine *machine, struct pci_bus *bus, GError **error);
/* Option ROMs to boot from the network with, where the boot order has it. After realize. */
bool cards_add_roms(struct machine *machine, GError **error);
void cards_free(struct machine *machine);
static inline struct device *cards_device(const struct machine *machine, unsigned index)
{
    return g_array_index(machine->cards, struct card, index).device;
}

/* Where the IDE drive of a disk or a CD-ROM drive is: 0 primary master, 1 primary slave ... */
unsigned pc_disk_position(const struct machine *machine, unsigned disk);
unsigned pc_cdrom_position(const struct machine *machine, unsigned drive);

/* media.c: the files of disks, discs and floppies. */
bool media_open(struct machine *machine, GError **error);
bool media_close(struct machine *machine, GError **error); /* false: one could not be flushed */
void media_drain(struct machine *machine); /* until nothing is under way; board lock not held */
bool media_flush(struct machine *machine, GError **error); /* of a paused machine */

/* vcpu.c: threads. */
bool vcpus_new(struct machine *machine, GError **error);
void vcpus_start(struct machine *machine);
/* Time the machine was not there for (missed_time.c). Called while the CPUs are held. */
void machine_missed(struct machine *machine, int64_t ns);
/* Of the device thread: ns until it wants to be called again, or -1. */
int64_t machine_catch_up(struct machine *machine);

void vcpus_hold(struct machine *machine); /* returns when all are parked */
void vcpus_release(struct machine *machine);
void vcpus_stop(struct machine *machine); /* ends the threads */
void vcpus_free(struct machine *machine);

/* firmware.c: ROM and what it is told. */
bool firmware_load(struct machine *machine, GError **error);
void firmware_describe(struct machine *machine);
unsigned acpi_parts(const struct machine_config *config); /* bits of enum acpi_part */
/* The machine's SMBIOS structures; smbios_clear() them. */
void firmware_smbios(struct machine *machine, struct smbios_tables *ret_smbios);

/* linux_boot.c: a kernel started without firmware. */
struct linux_image;
struct linux_image *linux_image_load(const struct machine_config *config, GError **error);
void linux_image_free(struct linux_image *image);
void linux_boot(struct machine *machine);

/* keyboard.c: keys that come from outside; machine_press() and the like. */
struct keyboard *keyboard_new(struct machine *machine);
void keyboard_free(struct keyboard *keyboard);

/* pointer.c */
void pointer_wire(struct machine *machine);

/* lines.c: what the serial, printer and virtio ports are connected to. */
bool lines_open(struct machine *machine, GError **error);
void lines_close(struct machine *machine);
