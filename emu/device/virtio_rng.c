#include "emu/device/virtio_rng.h"

#include "emu/device/virtio.h"
#include <sys/random.h>

#define QUEUE_SIZE      8
#define REQUESTS_A_TURN 8
#define PIECE           256 /* what getrandom() always gives whole */
#define BYTES_MAX       65536u

struct virtio_rng {
    struct virtio virtio;
};

static uint32_t fill(struct virtio_queue *queue, const struct virtio_chain *chain)
{
    uint8_t bytes[PIECE];
    uint32_t done = 0, wanted = (uint32_t)MIN(chain->in_length, BYTES_MAX);
    while (done < wanted) {
        size_t piece = MIN(wanted - done, (uint32_t)PIECE);
        if (getrandom(bytes, piece, 0) != (ssize_t)piece)
            break;
        done += (uint32_t)virtio_write(queue, chain, done, bytes, piece);
        if (queue->virtio->status & VIRTIO_NEEDS_RESET)
            break;
    }
    return done;
}

static bool notified(struct virtio *virtio, struct virtio_queue *queue)
{
    struct virtio_chain chain;
    unsigned done = 0;
    while (done < REQUESTS_A_TURN && virtio_take(queue, &chain)) {
        virtio_give(queue, &chain, fill(queue, &chain));
        done++;
    }
    if (done)
        virtio_signal(queue);
    return done == REQUESTS_A_TURN || virtio_rearm(queue);
}

static void driver_reset(struct virtio *virtio)
{
}

static const struct virtio_ops rng_ops = {
    .type = VIRTIO_RNG, .class_code = 0x00ff00, .notified = notified, .reset = driver_reset};

static bool realize(struct device *device, GError **error)
{
    struct virtio *virtio = (struct virtio *)device;
    virtio_attach(virtio, &rng_ops, 0, 0, 2);
    virtio_add_queue(virtio, QUEUE_SIZE);
    return true;
}

static void reset(struct device *device)
{
    virtio_reset((struct virtio *)device);
}

static bool loaded(struct device *device, GError **error)
{
    return virtio_loaded((struct virtio *)device, error);
}

static void finish(struct device *device)
{
    virtio_finish((struct virtio *)device);
}

static const struct state_field state[] = {
    VIRTIO_STATE(struct virtio_rng, virtio),
    STATE_END,
};

const struct device_ops virtio_rng_ops = {.name = "virtio-rng",
                                          .size = sizeof(struct virtio_rng),
                                          .state_version = 1,
                                          .state = state,
                                          .realize = realize,
                                          .reset = reset,
                                          .loaded = loaded,
                                          .finish = finish};
