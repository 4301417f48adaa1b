#include "emu/device/virtio_block.h"

#include "emu/core/bytes.h"
#include "emu/device/virtio.h"

#define F_SEGMENTS     (UINT64_C(1) << 2)
#define F_READ_ONLY    (UINT64_C(1) << 5)
#define F_BLOCK_SIZE   (UINT64_C(1) << 6)
#define F_FLUSH        (UINT64_C(1) << 9)
#define F_TOPOLOGY     (UINT64_C(1) << 10)
#define F_WRITE_BACK   (UINT64_C(1) << 11)
#define F_QUEUES       (UINT64_C(1) << 12)
#define F_DISCARD      (UINT64_C(1) << 13)
#define F_WRITE_ZEROES (UINT64_C(1) << 14)

#define SECTOR        512u
#define QUEUE_SIZE    256
#define QUEUES_MAX    16
#define HEADER_SIZE   16
#define RANGE_SIZE    16 /* of discard and write zeroes: sector u64, count u32, flags u32 */
#define ID_SIZE       20
#define RANGE_SECTORS 0x10000u /* the most of one of them; what a worker does in one go */
#define SEGMENTS_MAX  (VIRTIO_RING_MAX - 2)
#define CONFIG_SIZE   60
#define CONFIG_CACHE  32 /* 1: writes may wait in a cache for a flush */
#define ACTIVE_MAX    64 /* requests at the worker at once: bounds their buffers */

enum {
    TYPE_READ = 0,
    TYPE_WRITE = 1,
    TYPE_FLUSH = 4,
    TYPE_ID = 8,
    TYPE_DISCARD = 11,
    TYPE_WRITE_ZEROES = 13
};
enum { STATUS_OK = 0, STATUS_ERROR = 1, STATUS_UNSUPPORTED = 2 };

struct request {
    struct virtio_queue *queue;
    struct virtio_chain chain;
    enum disk_operation operation;
    uint64_t offset, length, done; /* bytes on the disk */
    bool then_flush;               /* a write, with the cache off */
    GList link;                    /* in `waiting` or `active` */
};

struct virtio_block {
    struct virtio virtio;
    struct disk_worker *worker;
    char serial[ID_SIZE + 1];
    unsigned queue_count;
    GQueue waiting;  /* struct request */
    GQueue active;   /* struct request, at the worker */
    GQueue orphaned; /* the same, of before a reset: what comes after waits for them to end */
};

/* ---- requests ---------------------------------------------------------------------------- */

static void answer(struct virtio_queue *queue, const struct virtio_chain *chain, uint8_t status,
                   uint32_t written)
{
    virtio_write(queue, chain, chain->in_length - 1, &status, 1);
    virtio_give(queue, chain, written + 1);
    virtio_signal(queue);
}

/* The request's next chunk. */
static void start_chunk(struct virtio_block *block, struct request *r)
{
    static const size_t most[DISK_OPERATION_COUNT] = {
        [DISK_READ] = DISK_CHUNK,
        [DISK_WRITE] = DISK_CHUNK,
        [DISK_ZERO] = (size_t)RANGE_SECTORS * SECTOR,
        [DISK_DISCARD] = (size_t)RANGE_SECTORS * SECTOR,
    };
    uint8_t bytes[4096];
    size_t length = (size_t)MIN(r->length - r->done, most[r->operation]);
    if (r->operation != DISK_WRITE) {
        disk_worker_start(block->worker, r->operation, r->offset + r->done, NULL, length, r);
        return;
    }
    /* Small writes need no allocation. */
    g_autofree uint8_t *large = length > sizeof(bytes) ? g_malloc(length) : NULL;
    uint8_t *data = large ? large : bytes;
    virtio_read(r->queue, &r->chain, HEADER_SIZE + r->done, data, length);
    disk_worker_start(block->worker, DISK_WRITE, r->offset + r->done, data, length, r);
}

static void start_more(struct virtio_block *block)
{
    GList *link;
    while (block->orphaned.length == 0 && block->active.length < ACTIVE_MAX &&
           (link = g_queue_pop_head_link(&block->waiting))) {
        g_queue_push_tail_link(&block->active, link);
        start_chunk(block, link->data);
    }
}

static void finish(struct virtio_block *block, struct request *r, uint8_t status)
{
    g_queue_unlink(&block->active, &r->link);
    answer(r->queue, &r->chain, status, r->operation == DISK_READ ? (uint32_t)r->done : 0);
    g_free(r);
}

/* A chunk of it is done. */
static void advance(struct virtio_block *block, struct request *r, bool ok, const uint8_t *data,
                    size_t length)
{
    if (ok && data)
        virtio_write(r->queue, &r->chain, r->done, data, length);
    r->done += length;
    if (!ok) {
        finish(block, r, STATUS_ERROR);
    } else if (r->done < r->length) {
        start_chunk(block, r);
    } else if (r->then_flush) {
        r->then_flush = false;
        r->operation = DISK_FLUSH;
        r->length = r->done;
        start_chunk(block, r);
    } else {
        finish(block, r, STATUS_OK);
    }
}

static void worker_done(void *opaque, void *tag, bool ok, const uint8_t *data, size_t length)
{
    struct virtio_block *block = opaque;
    struct request *r = tag;
    if (g_queue_link_index(&block->orphaned, &r->link) >= 0) {
        g_queue_unlink(&block->orphaned, &r->link);
        g_free(r);
    } else {
        advance(block, r, ok, data, length);
    }
    start_more(block);
}

/* Fills in what a request is of the disk. STATUS_OK: it is good and to be queued. */
static uint8_t describe_range(const struct virtio_block *block, struct request *r, uint64_t sector,
                              uint64_t length)
{
    uint64_t sectors = disk_worker_size(block->worker) / SECTOR;
    if (length % SECTOR || sector > sectors || length / SECTOR > sectors - sector)
        return STATUS_ERROR;
    if (r->operation != DISK_READ && disk_worker_read_only(block->worker))
        return STATUS_ERROR;
    r->offset = sector * SECTOR;
    r->length = length;
    r->then_flush = (r->operation == DISK_WRITE || r->operation == DISK_ZERO) &&
                    !block->virtio.config[CONFIG_CACHE];
    return STATUS_OK;
}

/* A discard or zeroes to write, one range a request. */
static uint8_t describe_unmap(const struct virtio_block *block, struct request *r, uint64_t feature,
                              enum disk_operation operation)
{
    uint8_t range[RANGE_SIZE];
    if (r->chain.out_length != HEADER_SIZE + RANGE_SIZE || !virtio_has(&block->virtio, feature))
        return STATUS_UNSUPPORTED;
    virtio_read(r->queue, &r->chain, HEADER_SIZE, range, sizeof(range));
    uint64_t count = bytes_load(range + 8, 4);
    if (bytes_load(range + 12, 4) > (operation == DISK_ZERO) || count > RANGE_SECTORS)
        return STATUS_UNSUPPORTED;
    r->operation = operation;
    return describe_range(block, r, bytes_load(range, 8), count * SECTOR);
}

static uint8_t describe(const struct virtio_block *block, struct request *r)
{
    uint8_t header[HEADER_SIZE];
    virtio_read(r->queue, &r->chain, 0, header, sizeof(header));
    uint64_t sector = bytes_load(header + 8, 8);
    switch (bytes_load(header, 4)) {
    case TYPE_READ:
        r->operation = DISK_READ;
        return describe_range(block, r, sector, r->chain.in_length - 1);
    case TYPE_WRITE:
        r->operation = DISK_WRITE;
        return describe_range(block, r, sector, r->chain.out_length - HEADER_SIZE);
    case TYPE_FLUSH:
        r->operation = DISK_FLUSH;
        return STATUS_OK;
    case TYPE_DISCARD:
        return describe_unmap(block, r, F_DISCARD, DISK_DISCARD);
    case TYPE_WRITE_ZEROES:
        return describe_unmap(block, r, F_WRITE_ZEROES, DISK_ZERO);
    default:
        return STATUS_UNSUPPORTED;
    }
}

static bool is_identity(struct virtio_block *block, struct virtio_queue *queue,
                        const struct virtio_chain *chain)
{
    uint8_t type[4];
    virtio_read(queue, chain, 0, type, sizeof(type));
    if (bytes_load(type, 4) != TYPE_ID)
        return false;
    char id[ID_SIZE] = {0};
    memcpy(id, block->serial, strlen(block->serial));
    size_t length = MIN((size_t)chain->in_length - 1, sizeof(id));
    virtio_write(queue, chain, 0, id, length);
    answer(queue, chain, STATUS_OK, (uint32_t)length);
    return true;
}

static void begin(struct virtio_block *block, struct virtio_queue *queue,
                  const struct virtio_chain *chain)
{
    if (chain->out_length < HEADER_SIZE || chain->in_length < 1) {
        virtio_fail(&block->virtio, "a disk request has no header or no status");
        return;
    }
    if (is_identity(block, queue, chain))
        return;
    struct request *r = g_new0(struct request, 1);
    r->queue = queue;
    r->chain = *chain;
    r->link.data = r;
    uint8_t status = describe(block, r);
    if (status == STATUS_OK && (r->length || r->operation == DISK_FLUSH)) {
        g_queue_push_tail_link(&block->waiting, &r->link);
        start_more(block);
        return;
    }
    answer(queue, chain, status, 0);
    g_free(r);
}

static bool notified(struct virtio *virtio, struct virtio_queue *queue)
{
    struct virtio_block *block = (struct virtio_block *)virtio;
    struct virtio_chain chain;
    virtio_disarm(queue);
    do {
        /* A driver gives no more than the queue holds before it is answered. */
        while (block->waiting.length < QUEUES_MAX * QUEUE_SIZE && virtio_take(queue, &chain))
            begin(block, queue, &chain);
    } while (block->waiting.length < QUEUES_MAX * QUEUE_SIZE && virtio_rearm(queue));
    return block->waiting.length >= QUEUES_MAX * QUEUE_SIZE;
}

/* ---- the device -------------------------------------------------------------------------- */

static void free_all(GQueue *requests)
{
    GList *link;
    while ((link = g_queue_pop_head_link(requests)))
        g_free(link->data); /* the link is in it */
}

static void driver_reset(struct virtio *virtio)
{
    struct virtio_block *block = (struct virtio_block *)virtio;
    GList *link;
    free_all(&block->waiting);
    while ((link = g_queue_pop_head_link(&block->active)))
        g_queue_push_tail_link(&block->orphaned, link);
    virtio->config[CONFIG_CACHE] = 1;
}

static void started(struct virtio *virtio)
{
    /* A driver that knows of no cache expects none: each write is followed by a flush. */
    if (!virtio_has(virtio, F_FLUSH | F_WRITE_BACK))
        virtio->config[CONFIG_CACHE] = 0;
}

static void config_written(struct virtio *virtio, unsigned offset, unsigned size)
{
    struct virtio_block *block = (struct virtio_block *)virtio;
    uint8_t cache = virtio->config[CONFIG_CACHE] & 1;
    uint8_t config[CONFIG_SIZE] = {0};
    /* Everything else is read-only. */
    bytes_store(config, disk_worker_size(block->worker) / SECTOR, 8);
    bytes_store(config + 12, SEGMENTS_MAX, 4);
    bytes_store(config + 20, SECTOR, 4);
    config[24] = 3; /* physical blocks of 4 KiB */
    bytes_store(config + 26, 8, 2);
    config[CONFIG_CACHE] = cache;
    bytes_store(config + 34, block->queue_count, 2);
    bytes_store(config + 36, RANGE_SECTORS, 4);
    bytes_store(config + 40, 1, 4);
    bytes_store(config + 44, 8, 4);
    bytes_store(config + 48, RANGE_SECTORS, 4);
    bytes_store(config + 52, 1, 4);
    config[56] = 1; /* zeroes may take their storage away */
    memcpy(virtio->config, config, sizeof(config));
}

static const struct virtio_ops block_ops = {.type = VIRTIO_BLOCK,
                                            .class_code = 0x010000,
                                            .notified = notified,
                                            .reset = driver_reset,
                                            .started = started,
                                            .config_written = config_written};

void virtio_block_connect(struct device *device, struct disk_worker *worker, unsigned index,
                          unsigned queues)
{
    struct virtio_block *block = (struct virtio_block *)device;
    block->worker = worker;
    block->queue_count = MIN(queues, (unsigned)QUEUES_MAX);
    g_snprintf(block->serial, sizeof(block->serial), "drover-%u", index);
    disk_worker_connect(worker, worker_done, block);
}

static bool realize(struct device *device, GError **error)
{
    struct virtio_block *block = (struct virtio_block *)device;
    uint64_t features = F_SEGMENTS | F_BLOCK_SIZE | F_FLUSH | F_TOPOLOGY | F_WRITE_BACK;
    features |= block->queue_count > 1 ? F_QUEUES : 0;
    features |= disk_worker_read_only(block->worker) ? F_READ_ONLY : F_WRITE_ZEROES | F_DISCARD;
    g_queue_init(&block->waiting);
    g_queue_init(&block->active);
    g_queue_init(&block->orphaned);
    virtio_attach(&block->virtio, &block_ops, features, CONFIG_SIZE, block->queue_count + 1);
    for (unsigned i = 0; i < block->queue_count; i++)
        virtio_add_queue(&block->virtio, QUEUE_SIZE);
    config_written(&block->virtio, 0, 0);
    return true;
}

static void reset(struct device *device)
{
    virtio_reset((struct virtio *)device);
}

static bool loaded(struct device *device, GError **error)
{
    struct virtio_block *block = (struct virtio_block *)device;
    config_written(&block->virtio, 0, 0); /* the disk is this machine's, whatever the file says */
    return virtio_loaded(&block->virtio, error);
}

static void finish_device(struct device *device)
{
    struct virtio_block *block = (struct virtio_block *)device;
    free_all(&block->waiting);
    free_all(&block->active); /* the worker is closed, and calls nobody any more */
    free_all(&block->orphaned);
    virtio_finish(&block->virtio);
}

static const struct state_field state[] = {
    VIRTIO_STATE(struct virtio_block, virtio),
    STATE_END,
};

const struct device_ops virtio_block_ops = {.name = "virtio-block",
                                            .size = sizeof(struct virtio_block),
                                            .state_version = 1,
                                            .state = state,
                                            .realize = realize,
                                            .reset = reset,
                                            .loaded = loaded,
                                            .finish = finish_device};
