/*
 * Virtio 1.0 (OASIS, CS04) over PCI, transitional: drivers of the legacy interface (0.9.5) work
 * too.
 *
 *      virtio_net.c, virtio_block.c ...   what a device does with its queues
 *            |
 *      virtio_ring.c                      split rings: chains of descriptors taken and given back
 *      virtio_pci.c                       registers, features, interrupts, saved state
 *
 * A device's structure begins with struct virtio. Board lock held throughout.
 *
 * The rings are the guest's memory and not to be believed. A chain is taken with its addresses and
 * lengths copied, no longer than the queue, and its data moves by memory_dma_*(), which reaches no
 * registers. A ring that makes no sense stops the device (DEVICE_NEEDS_RESET) until its driver
 * resets it.
 */
#pragma once

#include "emu/core/clock.h"
#include "emu/core/doorbell.h"
#include "emu/device/pci.h"
#include "emu/device/pci_msi.h"

#define VIRTIO_QUEUE_MAX   32  /* queues of a device */
#define VIRTIO_RING_MAX    256 /* descriptors of a queue */
#define VIRTIO_CONFIG_SIZE 64
#define VIRTIO_NO_VECTOR   0xffff

#define VIRTIO_F_NOTIFY_ON_EMPTY (UINT64_C(1) << 24)
#define VIRTIO_F_ANY_LAYOUT      (UINT64_C(1) << 27)
#define VIRTIO_F_INDIRECT        (UINT64_C(1) << 28)
#define VIRTIO_F_EVENT_INDEX     (UINT64_C(1) << 29)
#define VIRTIO_F_VERSION_1       (UINT64_C(1) << 32)

enum virtio_type {
    VIRTIO_NET = 1,
    VIRTIO_BLOCK = 2,
    VIRTIO_CONSOLE = 3,
    VIRTIO_RNG = 4,
    VIRTIO_BALLOON = 5,
};
enum virtio_status {
    VIRTIO_ACKNOWLEDGE = 1,
    VIRTIO_DRIVER = 2,
    VIRTIO_DRIVER_OK = 4,
    VIRTIO_FEATURES_OK = 8,
    VIRTIO_NEEDS_RESET = 64,
    VIRTIO_FAILED = 128,
};

struct virtio;

struct virtio_queue {
    uint16_t size, vector;
    bool enabled;
    uint64_t descriptors, available, used; /* guest addresses */
    uint16_t next_available, next_used, signalled;
    bool signalled_valid;
    /* Not saved: */
    struct virtio *virtio;
    uint16_t index, size_max;
};

struct virtio_segment {
    uint64_t address;
    uint32_t length;
};

/* A request: what the device reads (out), then what it writes (in). */
struct virtio_chain {
    uint16_t head;
    uint16_t out_count, in_count;
    uint64_t out_length, in_length; /* bytes */
    struct virtio_segment segments[VIRTIO_RING_MAX];
};

struct virtio_ops {
    enum virtio_type type;
    uint32_t class_code;
    /* The driver has something in the queue. True: there is more than one turn's work, call again
     * soon. */
    bool (*notified)(struct virtio *virtio, struct virtio_queue *queue);
    void (*reset)(struct virtio *virtio);   /* by the driver or the board */
    void (*started)(struct virtio *virtio); /* DRIVER_OK; may be NULL */
    void (*config_written)(struct virtio *virtio, unsigned offset, unsigned size); /* may be NULL */
};

struct virtio {
    struct pci_device pci;
    struct pci_msi msi;
    struct pci_identity identity;
    const struct virtio_ops *ops;
    uint64_t offered, features; /* features: those both sides agreed on */
    uint32_t offered_select, features_select;
    uint8_t status, isr, generation;
    uint16_t queue_select, config_vector;
    uint8_t config[VIRTIO_CONFIG_SIZE];
    unsigned config_size, queue_count;
    struct virtio_queue queues[VIRTIO_QUEUE_MAX];
    struct doorbell bells[VIRTIO_QUEUE_MAX]; /* of the queues' notifications */
    uint32_t again;                          /* queues with work left; bits */
    struct timer timer;
    unsigned window_at; /* of the configuration access capability */
};

extern const struct state_field virtio_state[];
#define VIRTIO_STATE(type, member) STATE_STRUCT(type, member, virtio_state)

/* ---- virtio_pci.c: for a device ---- */

/* In realize. `config_size` bytes of virtio->config are the device's own registers; `vectors` of
 * MSI-X suffice for its queues and its configuration. */
void virtio_attach(struct virtio *virtio, const struct virtio_ops *ops, uint64_t features,
                   unsigned config_size, unsigned vectors);
struct virtio_queue *virtio_add_queue(struct virtio *virtio, unsigned size);
void virtio_reset(struct virtio *virtio); /* in the device's reset() */
bool virtio_loaded(struct virtio *virtio, GError **error);
void virtio_finish(struct virtio *virtio);

static inline bool virtio_has(const struct virtio *virtio, uint64_t feature)
{
    return virtio->features & feature;
}
bool virtio_is_running(const struct virtio *virtio);
void virtio_run_later(
    struct virtio_queue *queue); /* notified() again, soon, by the device thread */
void virtio_config_changed(struct virtio *virtio); /* tells the driver */
/* The driver broke the rules; the device stops. `what` is for a log. */
void virtio_fail(struct virtio *virtio, const char *what);
void virtio_interrupt(struct virtio *virtio, uint16_t vector, uint8_t isr_bit); /* for the ring */

/* ---- virtio_ring.c ---- */

/* Takes the next chain. False: there is none, or the ring is broken and the device has stopped. */
bool virtio_take(struct virtio_queue *queue, struct virtio_chain *chain);
/* Puts back the last `count` chains taken and not yet given back. */
void virtio_untake(struct virtio_queue *queue, unsigned count);
/* Gives a chain back with `written` bytes in it. virtio_signal() tells the driver. */
void virtio_give(struct virtio_queue *queue, const struct virtio_chain *chain, uint32_t written);
/* Likewise `offset` chains ahead of the others, which virtio_give_many() then makes known. */
void virtio_fill(struct virtio_queue *queue, const struct virtio_chain *chain, uint32_t written,
                 unsigned offset);
void virtio_give_many(struct virtio_queue *queue, unsigned count);
void virtio_signal(struct virtio_queue *queue);
/* Asks for a notification at the next chain. True when one came in the meantime: look again. */
bool virtio_rearm(struct virtio_queue *queue);
/* Wants no notifications for now (rings say so only as a hint). */
void virtio_disarm(struct virtio_queue *queue);
bool virtio_is_empty(struct virtio_queue *queue);

/* Copies from what the driver wrote, `offset` bytes in; returns how many bytes there were. */
size_t virtio_read(struct virtio_queue *queue, const struct virtio_chain *chain, uint64_t offset,
                   void *buffer, size_t length);
/* Copies into what the driver reads. */
size_t virtio_write(struct virtio_queue *queue, const struct virtio_chain *chain, uint64_t offset,
                    const void *buffer, size_t length);
