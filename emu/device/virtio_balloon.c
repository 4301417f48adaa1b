#include "emu/device/virtio_balloon.h"

#include "emu/core/bytes.h"
#include "emu/core/memory.h"
#include "emu/device/virtio.h"

#define F_DEFLATE_ON_OOM (UINT64_C(1) << 2)
#define F_REPORTING      (UINT64_C(1) << 5)

#define PAGE_SIZE     4096u /* of the balloon, whatever the guest's are */
#define QUEUE_SIZE    128
#define CONFIG_SIZE   8 /* wanted u32, actual u32: pages */
#define CONFIG_ACTUAL 4
#define CHAINS_A_TURN 32
#define PAGES_A_READ  256

/* Queues that a feature brings stand in their order without gaps: reporting comes after the two. */
enum { QUEUE_INFLATE, QUEUE_DEFLATE, QUEUE_REPORTING, QUEUES };

struct virtio_balloon {
    struct virtio virtio;
    uint32_t target; /* pages */
};

static struct memory_map *memory_of(const struct virtio_balloon *balloon)
{
    return balloon->virtio.pci.device.board->memory;
}

/* A chain is an array of page numbers; neighbours are given back together. */
static void inflate(struct virtio_balloon *balloon, struct virtio_queue *queue,
                    const struct virtio_chain *chain)
{
    uint8_t numbers[PAGES_A_READ * 4];
    uint64_t start = 0, length = 0, bytes = MIN(chain->out_length, UINT64_C(1) << 20);
    for (uint64_t at = 0; at < bytes;) {
        size_t got =
            virtio_read(queue, chain, at, numbers, MIN(sizeof(numbers), (size_t)(bytes - at)));
        for (size_t i = 0; i + 4 <= got; i += 4) {
            uint64_t page = bytes_load(numbers + i, 4) * PAGE_SIZE;
            if (length && page == start + length) {
                length += PAGE_SIZE;
                continue;
            }
            memory_discard(memory_of(balloon), start, length);
            start = page;
            length = PAGE_SIZE;
        }
        if (got == 0)
            break;
        at += got;
    }
    memory_discard(memory_of(balloon), start, length);
}

/* The buffers themselves are what is free. */
static void take_report(struct virtio_balloon *balloon, const struct virtio_chain *chain)
{
    const struct virtio_segment *segments = chain->segments + chain->out_count;
    for (unsigned i = 0; i < chain->in_count; i++)
        memory_discard(memory_of(balloon), segments[i].address, segments[i].length);
}

static bool notified(struct virtio *virtio, struct virtio_queue *queue)
{
    struct virtio_balloon *balloon = (struct virtio_balloon *)virtio;
    struct virtio_chain chain;
    unsigned done = 0;
    for (; done < CHAINS_A_TURN && virtio_take(queue, &chain); done++) {
        if (queue->index == QUEUE_INFLATE)
            inflate(balloon, queue, &chain);
        else if (queue->index == QUEUE_REPORTING && virtio_has(virtio, F_REPORTING))
            take_report(balloon, &chain);
        virtio_give(queue, &chain, 0);
    }
    if (done)
        virtio_signal(queue);
    return done == CHAINS_A_TURN || virtio_rearm(queue);
}

static void driver_reset(struct virtio *virtio)
{
    struct virtio_balloon *balloon = (struct virtio_balloon *)virtio;
    bytes_store(virtio->config, balloon->target, 4);
    bytes_store(virtio->config + CONFIG_ACTUAL, 0, 4);
}

static void config_written(struct virtio *virtio, unsigned offset, unsigned size)
{
    /* Only what the guest has given is its to write. */
    bytes_store(virtio->config, ((struct virtio_balloon *)virtio)->target, 4);
}

void virtio_balloon_set_target(struct device *device, uint64_t bytes)
{
    struct virtio_balloon *balloon = (struct virtio_balloon *)device;
    balloon->target = (uint32_t)MIN(bytes / PAGE_SIZE, (uint64_t)UINT32_MAX);
    bytes_store(balloon->virtio.config, balloon->target, 4);
    virtio_config_changed(&balloon->virtio);
}

uint64_t virtio_balloon_size(const struct device *device)
{
    const struct virtio *virtio = (const struct virtio *)device;
    return bytes_load(virtio->config + CONFIG_ACTUAL, 4) * PAGE_SIZE;
}

/* ---- the device -------------------------------------------------------------------------- */

static const struct virtio_ops balloon_ops = {.type = VIRTIO_BALLOON,
                                              .class_code = 0x00ff00,
                                              .notified = notified,
                                              .reset = driver_reset,
                                              .config_written = config_written};

static bool realize(struct device *device, GError **error)
{
    struct virtio *virtio = (struct virtio *)device;
    virtio_attach(virtio, &balloon_ops, F_DEFLATE_ON_OOM | F_REPORTING, CONFIG_SIZE, QUEUES + 1);
    for (unsigned i = 0; i < QUEUES; i++)
        virtio_add_queue(virtio, QUEUE_SIZE);
    return true;
}

static void reset(struct device *device)
{
    virtio_reset((struct virtio *)device);
}

static bool loaded(struct device *device, GError **error)
{
    struct virtio_balloon *balloon = (struct virtio_balloon *)device;
    bytes_store(balloon->virtio.config, balloon->target, 4);
    return virtio_loaded(&balloon->virtio, error);
}

static void finish(struct device *device)
{
    virtio_finish((struct virtio *)device);
}

static const struct state_field state[] = {
    VIRTIO_STATE(struct virtio_balloon, virtio),
    STATE_UINT(struct virtio_balloon, target),
    STATE_END,
};

const struct device_ops virtio_balloon_ops = {.name = "virtio-balloon",
                                              .size = sizeof(struct virtio_balloon),
                                              .state_version = 1,
                                              .state = state,
                                              .realize = realize,
                                              .reset = reset,
                                              .loaded = loaded,
                                              .finish = finish};
