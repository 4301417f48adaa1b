/*
 * Split rings (virtio 1.0, 2.4). A descriptor: address u64, length u32, flags u16, next u16. The
 * available ring: flags u16, index u16, heads u16 each, used_event u16. The used ring: flags u16,
 * index u16, {head u32, written u32} each, avail_event u16.
 */
#include "emu/core/bytes.h"
#include "emu/core/memory.h"
#include "emu/device/virtio.h"
#include <stdatomic.h>

#define FLAG_NEXT       1
#define FLAG_WRITE      2
#define FLAG_INDIRECT   4
#define NO_INTERRUPT    1
#define NO_NOTIFY       1
#define DESCRIPTOR_SIZE 16u

static struct memory_map *memory_of(const struct virtio_queue *queue)
{
    return queue->virtio->pci.device.board->memory;
}

static uint16_t load16(const struct virtio_queue *queue, uint64_t address)
{
    uint16_t value = 0;
    memory_dma_read(memory_of(queue), address, &value, 2);
    return value;
}

static void store16(const struct virtio_queue *queue, uint64_t address, uint16_t value)
{
    memory_dma_write(memory_of(queue), address, &value, 2);
}

static bool is_usable(const struct virtio_queue *queue)
{
    return queue->enabled && !(queue->virtio->status & (VIRTIO_NEEDS_RESET | VIRTIO_FAILED)) &&
           pci_is_master(&queue->virtio->pci);
}

static uint16_t available_index(const struct virtio_queue *queue)
{
    uint16_t index = load16(queue, queue->available + 2);
    atomic_thread_fence(memory_order_acquire); /* the entries are read after the index */
    return index;
}

bool virtio_is_empty(struct virtio_queue *queue)
{
    return !is_usable(queue) || available_index(queue) == queue->next_available;
}

/* ---- taking ------------------------------------------------------------------------------ */

struct descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t flags, next;
};

/* Descriptor `index` of a table of `count`. */
static bool read_descriptor(const struct virtio_queue *queue, uint64_t table, unsigned count,
                            unsigned index, struct descriptor *ret)
{
    uint8_t bytes[DESCRIPTOR_SIZE];
    if (index >= count ||
        !memory_dma_read(memory_of(queue), table + index * DESCRIPTOR_SIZE, bytes, sizeof(bytes)))
        return false;
    *ret = (struct descriptor){bytes_load(bytes, 8), (uint32_t)bytes_load(bytes + 8, 4),
                               (uint16_t)bytes_load(bytes + 12, 2),
                               (uint16_t)bytes_load(bytes + 14, 2)};
    return true;
}

static const char *add_segment(struct virtio_chain *chain, const struct descriptor *d)
{
    unsigned count = chain->out_count + chain->in_count;
    bool is_in = d->flags & FLAG_WRITE;
    if (count >= VIRTIO_RING_MAX)
        return "a chain is longer than its queue";
    if (!is_in && chain->in_count)
        return "a descriptor to read follows one to write";
    if (d->address + d->length < d->address)
        return "a descriptor runs past the last address";
    chain->segments[count] = (struct virtio_segment){d->address, d->length};
    if (is_in) {
        chain->in_count++;
        chain->in_length += d->length;
    } else {
        chain->out_count++;
        chain->out_length += d->length;
    }
    return NULL;
}

/* Walks a table from `index`. A chain is at most as long as its table, so that loops end. */
static const char *walk(const struct virtio_queue *queue, uint64_t table, unsigned count,
                        unsigned index, bool is_indirect, struct virtio_chain *chain)
{
    struct descriptor d;
    for (unsigned steps = 0; steps < count; steps++) {
        if (!read_descriptor(queue, table, count, index, &d))
            return "a descriptor is outside its table or its table outside memory";
        if (d.flags & FLAG_INDIRECT) {
            if (is_indirect || !virtio_has(queue->virtio, VIRTIO_F_INDIRECT) ||
                d.flags & FLAG_NEXT || d.length % DESCRIPTOR_SIZE || d.length == 0)
                return "an indirect descriptor is where none may be";
            return walk(queue, d.address, MIN(d.length / DESCRIPTOR_SIZE, VIRTIO_RING_MAX), 0, true,
                        chain);
        }
        const char *problem = add_segment(chain, &d);
        if (problem)
            return problem;
        if (!(d.flags & FLAG_NEXT))
            return NULL;
        index = d.next;
    }
    return "a chain of descriptors has no end";
}

bool virtio_take(struct virtio_queue *queue, struct virtio_chain *chain)
{
    if (!is_usable(queue))
        return false;
    uint16_t waiting = (uint16_t)(available_index(queue) - queue->next_available);
    if (waiting == 0)
        return false;
    if (waiting > queue->size) {
        virtio_fail(queue->virtio, "the available index is further than the queue is long");
        return false;
    }
    unsigned slot = queue->next_available & (queue->size - 1u);
    *chain = (struct virtio_chain){.head = load16(queue, queue->available + 4 + slot * 2)};
    const char *problem = walk(queue, queue->descriptors, queue->size, chain->head, false, chain);
    if (problem) {
        virtio_fail(queue->virtio, problem);
        return false;
    }
    queue->next_available++;
    return true;
}

void virtio_untake(struct virtio_queue *queue, unsigned count)
{
    queue->next_available = (uint16_t)(queue->next_available - count);
}

/* ---- giving back ------------------------------------------------------------------------- */

void virtio_fill(struct virtio_queue *queue, const struct virtio_chain *chain, uint32_t written,
                 unsigned offset)
{
    uint8_t entry[8];
    if (!is_usable(queue))
        return;
    unsigned slot = (queue->next_used + offset) & (queue->size - 1u);
    bytes_store(entry, chain->head, 4);
    bytes_store(entry + 4, written, 4);
    memory_dma_write(memory_of(queue), queue->used + 4 + slot * 8, entry, sizeof(entry));
}

void virtio_give_many(struct virtio_queue *queue, unsigned count)
{
    if (!is_usable(queue))
        return;
    uint16_t before = queue->next_used;
    queue->next_used = (uint16_t)(before + count);
    atomic_thread_fence(memory_order_release);
    store16(queue, queue->used + 2, queue->next_used);
    /* Once round the ring, and what was signalled tells nothing about what is new. */
    if ((uint16_t)(queue->next_used - queue->signalled) < (uint16_t)(queue->next_used - before))
        queue->signalled_valid = false;
}

void virtio_give(struct virtio_queue *queue, const struct virtio_chain *chain, uint32_t written)
{
    virtio_fill(queue, chain, written, 0);
    virtio_give_many(queue, 1);
}

/* ---- telling each other ------------------------------------------------------------------ */

static bool wants_signal(struct virtio_queue *queue)
{
    atomic_thread_fence(memory_order_seq_cst); /* the used index is out before the wish is read */
    if (virtio_has(queue->virtio, VIRTIO_F_NOTIFY_ON_EMPTY) &&
        available_index(queue) == queue->next_available)
        return true;
    if (!virtio_has(queue->virtio, VIRTIO_F_EVENT_INDEX))
        return !(load16(queue, queue->available) & NO_INTERRUPT);
    uint16_t old = queue->signalled, new = queue->next_used;
    bool valid = queue->signalled_valid;
    queue->signalled = new;
    queue->signalled_valid = true;
    uint16_t event = load16(queue, queue->available + 4 + queue->size * 2u);
    return !valid || (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

void virtio_signal(struct virtio_queue *queue)
{
    if (is_usable(queue) && wants_signal(queue))
        virtio_interrupt(queue->virtio, queue->vector, 1);
}

bool virtio_rearm(struct virtio_queue *queue)
{
    if (!is_usable(queue))
        return false;
    /* The event is past all there is: what was put back for want of more is no news. */
    if (virtio_has(queue->virtio, VIRTIO_F_EVENT_INDEX))
        store16(queue, queue->used + 4 + queue->size * 8u, available_index(queue));
    else
        store16(queue, queue->used, 0);
    atomic_thread_fence(memory_order_seq_cst);
    return available_index(queue) != queue->next_available;
}

void virtio_disarm(struct virtio_queue *queue)
{
    if (is_usable(queue) && !virtio_has(queue->virtio, VIRTIO_F_EVENT_INDEX))
        store16(queue, queue->used, NO_NOTIFY);
}

/* ---- data -------------------------------------------------------------------------------- */

static size_t copy(struct virtio_queue *queue, const struct virtio_segment *segment, unsigned count,
                   uint64_t offset, uint8_t *bytes, size_t length, bool to_guest)
{
    size_t done = 0;
    for (; count > 0 && done < length; segment++, count--) {
        if (offset >= segment->length) {
            offset -= segment->length;
            continue;
        }
        size_t piece = MIN(length - done, (size_t)(segment->length - offset));
        uint64_t address = segment->address + offset;
        bool ok = to_guest ? memory_dma_write(memory_of(queue), address, bytes + done, piece)
                           : memory_dma_read(memory_of(queue), address, bytes + done, piece);
        if (!ok) {
            virtio_fail(queue->virtio, "a descriptor is of something else than memory");
            return done;
        }
        done += piece;
        offset = 0;
    }
    return done;
}

size_t virtio_read(struct virtio_queue *queue, const struct virtio_chain *chain, uint64_t offset,
                   void *buffer, size_t length)
{
    return copy(queue, chain->segments, chain->out_count, offset, buffer, length, false);
}

size_t virtio_write(struct virtio_queue *queue, const struct virtio_chain *chain, uint64_t offset,
                    const void *buffer, size_t length)
{
    return copy(queue, chain->segments + chain->out_count, chain->in_count, offset,
                (uint8_t *)buffer, length, true);
}
