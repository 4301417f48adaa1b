/*
 * Virtio over PCI (virtio 1.0, 4.1). Register 0 is the legacy interface's ports (4.1.4.8), register
 * 1 the MSI-X table, register 4 the modern interface's memory: a page each for the common
 * configuration, the interrupt status, the device's configuration and the notifications.
 */
#include "emu/core/bytes.h"
#include "emu/core/memory.h"
#include "emu/core/port.h"
#include "emu/device/virtio.h"
#include <gio/gio.h>

#define VENDOR         0x1af4
#define DEVICE_BASE    0x1000 /* transitional device ids; their order is not the types' */
#define LEGACY_PORTS   128
#define LEGACY_NOTIFY  16
#define MODERN_SIZE    0x4000
#define PAGE_COMMON    0
#define PAGE_ISR       1
#define PAGE_DEVICE    2
#define PAGE_NOTIFY    3
#define COMMON_SIZE    56
#define ISR_QUEUE      1
#define ISR_CONFIG     2
#define WINDOW_DATA    16 /* in the configuration access capability */
#define MSIX_BAR       1
#define MODERN_BAR     4
#define LEGACY_ALIGN   4096u
#define NOTIFY_STRIDE  4
#define STATUS_STOPPED (VIRTIO_NEEDS_RESET | VIRTIO_FAILED)

/* ---- interrupts and life ----------------------------------------------------------------- */

void virtio_interrupt(struct virtio *virtio, uint16_t vector, uint8_t isr_bit)
{
    if (pci_msix_enabled(&virtio->pci)) {
        if (vector != VIRTIO_NO_VECTOR)
            pci_msi_notify(&virtio->pci, vector);
        return;
    }
    virtio->isr |= isr_bit;
    pci_set_intx(&virtio->pci, true);
}

void virtio_config_changed(struct virtio *virtio)
{
    virtio->generation++;
    if (virtio->status & VIRTIO_DRIVER_OK)
        virtio_interrupt(virtio, virtio->config_vector, ISR_CONFIG);
}

void virtio_fail(struct virtio *virtio, const char *what)
{
    if (virtio->status & STATUS_STOPPED)
        return;
    g_debug("%s: its driver broke the rules: %s; it stops until it is reset",
            virtio->pci.device.ops->name, what);
    virtio->status |= VIRTIO_NEEDS_RESET;
    virtio_config_changed(virtio);
}

bool virtio_is_running(const struct virtio *virtio)
{
    return (virtio->status & (VIRTIO_DRIVER_OK | STATUS_STOPPED)) == VIRTIO_DRIVER_OK;
}

static void reset_queue(struct virtio_queue *queue)
{
    *queue = (struct virtio_queue){.virtio = queue->virtio,
                                   .index = queue->index,
                                   .size_max = queue->size_max,
                                   .size = queue->size_max,
                                   .vector = VIRTIO_NO_VECTOR};
}

static void reset_driver(struct virtio *virtio)
{
    virtio->status = virtio->isr = 0;
    virtio->features = 0;
    virtio->offered_select = virtio->features_select = 0;
    virtio->queue_select = 0;
    virtio->config_vector = VIRTIO_NO_VECTOR;
    virtio->again = 0;
    timer_cancel(&virtio->timer);
    for (unsigned i = 0; i < virtio->queue_count; i++)
        reset_queue(&virtio->queues[i]);
    virtio->ops->reset(virtio);
    pci_set_intx(&virtio->pci, false);
}

void virtio_run_later(struct virtio_queue *queue)
{
    struct virtio *virtio = queue->virtio;
    virtio->again |= UINT32_C(1) << queue->index;
    timer_arm(&virtio->timer, guest_clock_now(virtio->pci.device.board->clock));
}

static void notify(struct virtio *virtio, unsigned index)
{
    if (index >= virtio->queue_count || virtio->status & STATUS_STOPPED ||
        !virtio->queues[index].enabled)
        return;
    if (virtio->ops->notified(virtio, &virtio->queues[index]))
        virtio_run_later(&virtio->queues[index]);
}

static void work_left(void *opaque)
{
    struct virtio *virtio = opaque;
    uint32_t again = virtio->again;
    virtio->again = 0;
    for (unsigned i = 0; i < virtio->queue_count; i++) {
        if (again >> i & 1)
            notify(virtio, i);
    }
}

static void set_status(struct virtio *virtio, uint8_t value)
{
    uint8_t old = virtio->status;
    if (value == 0) {
        reset_driver(virtio);
        return;
    }
    /* Features this device did not offer, or a modern driver without VERSION_1: not agreed. */
    if (value & VIRTIO_FEATURES_OK && !(old & VIRTIO_FEATURES_OK) &&
        (virtio->features & ~virtio->offered || !virtio_has(virtio, VIRTIO_F_VERSION_1)))
        value &= (uint8_t)~VIRTIO_FEATURES_OK;
    virtio->status = value | (old & VIRTIO_NEEDS_RESET);
    if (value & VIRTIO_DRIVER_OK && !(old & VIRTIO_DRIVER_OK) && virtio->ops->started)
        virtio->ops->started(virtio);
}

static void set_features(struct virtio *virtio, unsigned select, uint32_t value)
{
    if (select > 1 || virtio->status & VIRTIO_FEATURES_OK)
        return;
    unsigned shift = select * 32;
    virtio->features = (virtio->features & ~(UINT64_C(0xffffffff) << shift)) | (uint64_t)value
                                                                                   << shift;
}

static struct virtio_queue *selected(struct virtio *virtio)
{
    return virtio->queue_select < virtio->queue_count ? &virtio->queues[virtio->queue_select]
                                                      : NULL;
}

static uint16_t valid_vector(const struct virtio *virtio, uint32_t value)
{
    return value < virtio->msi.vectors ? (uint16_t)value : VIRTIO_NO_VECTOR;
}

/* ---- the device's own configuration ------------------------------------------------------ */

static uint32_t config_read(struct virtio *virtio, unsigned offset, unsigned size)
{
    return offset + size <= virtio->config_size
               ? (uint32_t)bytes_load(virtio->config + offset, size)
               : 0;
}

static void config_write(struct virtio *virtio, unsigned offset, uint32_t value, unsigned size)
{
    if (!virtio->ops->config_written || offset + size > virtio->config_size)
        return;
    bytes_store(virtio->config + offset, value, size);
    virtio->ops->config_written(virtio, offset, size);
}

/* ---- the legacy interface ---------------------------------------------------------------- */

static void place_legacy_queue(struct virtio_queue *queue, uint32_t page)
{
    if (page == 0) {
        reset_queue(queue);
        return;
    }
    uint64_t size = queue->size_max;
    queue->size = (uint16_t)size;
    queue->descriptors = (uint64_t)page * LEGACY_ALIGN;
    queue->available = queue->descriptors + size * 16;
    uint64_t end = queue->available + 6 + size * 2;
    queue->used = (end + LEGACY_ALIGN - 1) & ~(uint64_t)(LEGACY_ALIGN - 1);
    queue->enabled = true;
}

static unsigned legacy_config_start(const struct virtio *virtio)
{
    return pci_msix_enabled(&virtio->pci) ? 24 : 20;
}

static uint8_t take_isr(struct virtio *virtio)
{
    uint8_t isr = virtio->isr;
    virtio->isr = 0;
    pci_set_intx(&virtio->pci, false);
    return isr;
}

static uint32_t legacy_read(void *opaque, uint16_t offset, unsigned size)
{
    struct virtio *virtio = opaque;
    const struct virtio_queue *queue = selected(virtio);
    unsigned config = legacy_config_start(virtio);
    if (offset >= config)
        return config_read(virtio, offset - config, size);
    switch (offset) {
    case 0:
        return (uint32_t)virtio->offered;
    case 4:
        return (uint32_t)virtio->features;
    case 8:
        return queue ? (uint32_t)(queue->descriptors / LEGACY_ALIGN) : 0;
    case 12:
        return queue ? queue->size_max : 0;
    case 14:
        return virtio->queue_select;
    case 18:
        return virtio->status;
    case 19:
        return take_isr(virtio);
    case 20:
        return virtio->config_vector;
    case 22:
        return queue ? queue->vector : VIRTIO_NO_VECTOR;
    default:
        return 0;
    }
}

static void legacy_write(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    struct virtio *virtio = opaque;
    struct virtio_queue *queue = selected(virtio);
    unsigned config = legacy_config_start(virtio);
    if (offset >= config) {
        config_write(virtio, offset - config, value, size);
        return;
    }
    switch (offset) {
    case 4:
        set_features(virtio, 0, value & (uint32_t)virtio->offered);
        break;
    case 8:
        if (queue)
            place_legacy_queue(queue, value);
        break;
    case 14:
        virtio->queue_select = (uint16_t)value;
        break;
    case LEGACY_NOTIFY:
        notify(virtio, value & 0xffff);
        break;
    case 18:
        set_status(virtio, (uint8_t)value);
        break;
    case 20:
        virtio->config_vector = valid_vector(virtio, value & 0xffff);
        break;
    case 22:
        if (queue)
            queue->vector = valid_vector(virtio, value & 0xffff);
        break;
    default:
        break;
    }
}

static const struct port_ops legacy_ops = {legacy_read, legacy_write, 4};

/* ---- the modern interface ---------------------------------------------------------------- */

static uint32_t common_read(struct virtio *virtio, unsigned offset)
{
    const struct virtio_queue none = {.vector = VIRTIO_NO_VECTOR};
    const struct virtio_queue *queue = selected(virtio) ? selected(virtio) : &none;
    switch (offset) {
    case 0:
        return virtio->offered_select;
    case 4:
        return virtio->offered_select > 1
                   ? 0
                   : (uint32_t)(virtio->offered >> (virtio->offered_select * 32));
    case 8:
        return virtio->features_select;
    case 12:
        return virtio->features_select > 1
                   ? 0
                   : (uint32_t)(virtio->features >> (virtio->features_select * 32));
    case 16:
        return virtio->config_vector;
    case 18:
        return virtio->queue_count;
    case 20:
        return virtio->status;
    case 21:
        return virtio->generation;
    case 22:
        return virtio->queue_select;
    case 24:
        return queue->size;
    case 26:
        return queue->vector;
    case 28:
        return queue->enabled;
    case 30:
        return queue->index;
    case 32:
        return (uint32_t)queue->descriptors;
    case 36:
        return (uint32_t)(queue->descriptors >> 32);
    case 40:
        return (uint32_t)queue->available;
    case 44:
        return (uint32_t)(queue->available >> 32);
    case 48:
        return (uint32_t)queue->used;
    case 52:
        return (uint32_t)(queue->used >> 32);
    default:
        return 0;
    }
}

static void set_half(uint64_t *address, uint32_t value, bool high)
{
    *address = high ? (*address & 0xffffffff) | (uint64_t)value << 32
                    : (*address & ~UINT64_C(0xffffffff)) | value;
}

static void write_queue(struct virtio *virtio, struct virtio_queue *queue, unsigned offset,
                        uint32_t value)
{
    if (offset == 26) {
        queue->vector = valid_vector(virtio, value);
        return;
    }
    if (queue->enabled)
        return; /* it stays where it is until a reset (4.1.4.3.2) */
    switch (offset) {
    case 24:
        /* A power of two no larger than offered; else the driver gets what it had. */
        if (value && value <= queue->size_max && !(value & (value - 1)))
            queue->size = (uint16_t)value;
        break;
    case 28:
        queue->enabled = value == 1;
        break;
    case 32:
    case 36:
        set_half(&queue->descriptors, value, offset == 36);
        break;
    case 40:
    case 44:
        set_half(&queue->available, value, offset == 44);
        break;
    case 48:
    case 52:
        set_half(&queue->used, value, offset == 52);
        break;
    default:
        break;
    }
}

static void common_write(struct virtio *virtio, unsigned offset, uint32_t value)
{
    switch (offset) {
    case 0:
        virtio->offered_select = value;
        break;
    case 8:
        virtio->features_select = value;
        break;
    case 12:
        set_features(virtio, virtio->features_select, value);
        break;
    case 16:
        virtio->config_vector = valid_vector(virtio, value);
        break;
    case 20:
        set_status(virtio, (uint8_t)value);
        break;
    case 22:
        virtio->queue_select = (uint16_t)value;
        break;
    default:
        if (selected(virtio))
            write_queue(virtio, selected(virtio), offset, value);
        break;
    }
}

static uint64_t modern_read(void *opaque, uint64_t offset, unsigned size)
{
    struct virtio *virtio = opaque;
    unsigned at = offset & 0xfff;
    switch (offset >> 12) {
    case PAGE_COMMON:
        return common_read(virtio, at) & bytes_mask(size);
    case PAGE_ISR:
        return at == 0 ? take_isr(virtio) : 0;
    case PAGE_DEVICE:
        return config_read(virtio, at, size);
    default:
        return 0;
    }
}

static void modern_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct virtio *virtio = opaque;
    unsigned at = offset & 0xfff;
    switch (offset >> 12) {
    case PAGE_COMMON:
        common_write(virtio, at, (uint32_t)value);
        break;
    case PAGE_DEVICE:
        config_write(virtio, at, (uint32_t)value, size);
        break;
    case PAGE_NOTIFY:
        notify(virtio, at / NOTIFY_STRIDE);
        break;
    default:
        break;
    }
}

static const struct mmio_ops modern_ops = {modern_read, modern_write, 4};

/* ---- the window in configuration space (4.1.4.7) ----------------------------------------- */

/* Where the window points; false when that is nowhere. */
static bool window_target(const struct virtio *virtio, uint32_t *ret_offset, unsigned *ret_size)
{
    const uint8_t *capability = virtio->pci.config + virtio->window_at;
    *ret_offset = (uint32_t)bytes_load(capability + 8, 4);
    *ret_size = (unsigned)bytes_load(capability + 12, 4);
    return capability[4] == MODERN_BAR && (*ret_size == 1 || *ret_size == 2 || *ret_size == 4) &&
           *ret_offset % *ret_size == 0 && *ret_offset < MODERN_SIZE;
}

static bool touches_window(const struct virtio *virtio, unsigned offset, unsigned size)
{
    unsigned data = virtio->window_at + WINDOW_DATA;
    return offset < data + 4 && offset + size > data;
}

static void config_reading(struct pci_device *device, unsigned offset, unsigned size)
{
    struct virtio *virtio = (struct virtio *)device;
    uint32_t target;
    unsigned length;
    if (touches_window(virtio, offset, size) && window_target(virtio, &target, &length))
        bytes_store(device->config + virtio->window_at + WINDOW_DATA,
                    modern_read(virtio, target, length), 4);
}

static void config_was_written(struct pci_device *device, unsigned offset, unsigned size)
{
    struct virtio *virtio = (struct virtio *)device;
    uint32_t target;
    unsigned length;
    if (touches_window(virtio, offset, size) && window_target(virtio, &target, &length))
        modern_write(virtio, target,
                     bytes_load(device->config + virtio->window_at + WINDOW_DATA, length), length);
}

/* A capability that says where a part of the interface is: type, register, offset, length. */
static unsigned add_vendor_capability(struct virtio *virtio, unsigned type, unsigned bar,
                                      uint32_t offset, uint32_t length, unsigned size)
{
    unsigned at = pci_add_capability(&virtio->pci, PCI_CAPABILITY_VENDOR, size);
    uint8_t *bytes = virtio->pci.initial + at;
    bytes[2] = (uint8_t)size;
    bytes[3] = (uint8_t)type;
    bytes[4] = (uint8_t)bar;
    bytes_store(bytes + 8, offset, 4);
    bytes_store(bytes + 12, length, 4);
    return at;
}

static void add_capabilities(struct virtio *virtio)
{
    enum { COMMON = 1, NOTIFY = 2, ISR = 3, DEVICE = 4, WINDOW = 5 };
    struct pci_device *pci = &virtio->pci;
    add_vendor_capability(virtio, COMMON, MODERN_BAR, PAGE_COMMON << 12, COMMON_SIZE, 16);
    add_vendor_capability(virtio, ISR, MODERN_BAR, PAGE_ISR << 12, 1, 16);
    if (virtio->config_size)
        add_vendor_capability(virtio, DEVICE, MODERN_BAR, PAGE_DEVICE << 12, virtio->config_size,
                              16);
    unsigned at = add_vendor_capability(virtio, NOTIFY, MODERN_BAR, PAGE_NOTIFY << 12,
                                        VIRTIO_QUEUE_MAX * NOTIFY_STRIDE, 20);
    bytes_store(pci->initial + at + 16, NOTIFY_STRIDE, 4);
    virtio->window_at = add_vendor_capability(virtio, WINDOW, 0, 0, 0, 20);
    pci->writable[virtio->window_at + 4] = 0xff;
    memset(pci->writable + virtio->window_at + 8, 0xff, 12);
}

/* ---- notifications that an engine watches ------------------------------------------------ */

enum { BELL_PORT, BELL_MEMORY };

static void rung(void *opaque)
{
    const struct virtio_queue *queue = opaque;
    notify(queue->virtio, queue->index);
}

static void ports_moved(struct pci_device *device, bool enabled, uint32_t base)
{
    struct virtio *virtio = (struct virtio *)device;
    for (unsigned i = 0; i < virtio->queue_count; i++) {
        struct doorbell_place place = {.is_port = true,
                                       .by_value = true,
                                       .address = base + LEGACY_NOTIFY,
                                       .size = 2,
                                       .value = i};
        doorbell_place(&virtio->bells[i], BELL_PORT, enabled ? &place : NULL);
    }
}

static void modern_moved(struct pci_device *device, bool enabled, uint32_t base)
{
    struct virtio *virtio = (struct virtio *)device;
    for (unsigned i = 0; i < virtio->queue_count; i++) {
        struct doorbell_place place = {
            .address = base + (PAGE_NOTIFY << 12) + (uint64_t)i * NOTIFY_STRIDE, .size = 2};
        doorbell_place(&virtio->bells[i], BELL_MEMORY, enabled ? &place : NULL);
    }
}

/* ---- for a device ------------------------------------------------------------------------ */

void virtio_attach(struct virtio *virtio, const struct virtio_ops *ops, uint64_t features,
                   unsigned config_size, unsigned vectors)
{
    static const uint8_t device_ids[] = {[VIRTIO_NET] = 0,
                                         [VIRTIO_BLOCK] = 1,
                                         [VIRTIO_BALLOON] = 2,
                                         [VIRTIO_CONSOLE] = 3,
                                         [VIRTIO_RNG] = 5};
    struct board *board = virtio->pci.device.board;
    virtio->ops = ops;
    virtio->offered = features | VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT | VIRTIO_F_EVENT_INDEX |
                      VIRTIO_F_ANY_LAYOUT;
    virtio->config_size = config_size;
    virtio->identity = (struct pci_identity){.vendor = VENDOR,
                                             .device = DEVICE_BASE + device_ids[ops->type],
                                             .subsystem_vendor = VENDOR,
                                             .subsystem = ops->type,
                                             .class_code = ops->class_code,
                                             .interrupt_pin = 1};
    pci_attach(&virtio->pci, &virtio->identity);
    pci_add_io_bar(&virtio->pci, 0, LEGACY_PORTS,
                   port_add(board->ports, "virtio", 0, LEGACY_PORTS, &legacy_ops, virtio));
    struct memory_region *modern =
        memory_add_mmio(board->memory, "virtio", 0, MODERN_SIZE, 1, &modern_ops, virtio);
    pci_add_memory_bar(&virtio->pci, MODERN_BAR, MODERN_SIZE, false, modern);
    virtio->pci.bars[0].moved = ports_moved;
    virtio->pci.bars[MODERN_BAR].moved = modern_moved;
    pci_add_msix(&virtio->pci, &virtio->msi, MSIX_BAR, vectors);
    add_capabilities(virtio);
    virtio->pci.reading = config_reading;
    virtio->pci.written = config_was_written;
    timer_init(&virtio->timer, board->clock, work_left, virtio);
}

struct virtio_queue *virtio_add_queue(struct virtio *virtio, unsigned size)
{
    g_assert(virtio->queue_count < VIRTIO_QUEUE_MAX && size <= VIRTIO_RING_MAX);
    struct virtio_queue *queue = &virtio->queues[virtio->queue_count];
    queue->virtio = virtio;
    queue->index = (uint16_t)virtio->queue_count++;
    queue->size_max = (uint16_t)size;
    doorbell_init(&virtio->bells[queue->index], virtio->pci.device.board->doorbells, rung, queue);
    return queue;
}

void virtio_reset(struct virtio *virtio)
{
    pci_reset(&virtio->pci);
    virtio->generation = 0;
    reset_driver(virtio);
}

bool virtio_loaded(struct virtio *virtio, GError **error)
{
    for (unsigned i = 0; i < virtio->queue_count; i++) {
        const struct virtio_queue *queue = &virtio->queues[i];
        if (queue->size == 0 || queue->size > queue->size_max || queue->size & (queue->size - 1)) {
            g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                        "saved state, %s: queue %u has %u descriptors, of at most %u",
                        virtio->pci.device.ops->name, i, queue->size, queue->size_max);
            return false;
        }
    }
    virtio->features &= virtio->offered;
    pci_loaded(&virtio->pci);
    if (virtio->again)
        timer_arm(&virtio->timer, 0);
    return true;
}

void virtio_finish(struct virtio *virtio)
{
    if (virtio->ops) /* realized */
        timer_cancel(&virtio->timer);
    for (unsigned i = 0; i < virtio->queue_count; i++)
        doorbell_finish(&virtio->bells[i]);
}

static const struct state_field queue_state[] = {
    STATE_UINT(struct virtio_queue, size),
    STATE_UINT(struct virtio_queue, vector),
    STATE_UINT(struct virtio_queue, enabled),
    STATE_UINT(struct virtio_queue, descriptors),
    STATE_UINT(struct virtio_queue, available),
    STATE_UINT(struct virtio_queue, used),
    STATE_UINT(struct virtio_queue, next_available),
    STATE_UINT(struct virtio_queue, next_used),
    STATE_UINT(struct virtio_queue, signalled),
    STATE_UINT(struct virtio_queue, signalled_valid),
    STATE_END,
};
const struct state_field virtio_state[] = {
    PCI_STATE(struct virtio, pci),
    PCI_MSI_STATE(struct virtio, msi),
    STATE_UINT(struct virtio, features),
    STATE_UINT(struct virtio, offered_select),
    STATE_UINT(struct virtio, features_select),
    STATE_UINT(struct virtio, status),
    STATE_UINT(struct virtio, isr),
    STATE_UINT(struct virtio, generation),
    STATE_UINT(struct virtio, queue_select),
    STATE_UINT(struct virtio, config_vector),
    STATE_BYTES(struct virtio, config),
    STATE_STRUCTS(struct virtio, queues, queue_state),
    STATE_UINT(struct virtio, again),
    STATE_END,
};
