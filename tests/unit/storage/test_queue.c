/*
 * Many requests in flight: each disk is kept twice, in the image and in memory, through io_uring
 * and through threads; and what the limits and errors do to requests.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <glib/gstdio.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "storage/driver.h"
#include "storage/queue.h"
#include "storage/throttle.h"

#define MIB       (UINT64_C(1) << 20)
#define DISK_SIZE (24 * MIB)
#define SLOTS     24 /* requests in flight, each in a stripe of its own */
#define STRIPE    (DISK_SIZE / SLOTS)

static char *scratch(const char *name)
{
    const char *folder = g_getenv("TEST_TMP");
    char *path = g_build_filename(folder ? folder : g_get_tmp_dir(), name, NULL);

    g_unlink(path);
    return path;
}

struct traffic {
    struct block_queue *queue;
    GRand *rand;
    uint8_t *memory;
    unsigned left, finished;
};

struct slot {
    struct block_request request;
    struct traffic *traffic;
    unsigned number;
    uint8_t buffer[STRIPE];
};

static void submit_next(struct slot *slot)
{
    struct traffic *traffic = slot->traffic;
    struct block_request *request = &slot->request;
    uint64_t base = slot->number * STRIPE;
    uint32_t offset = (uint32_t)g_rand_int_range(traffic->rand, 0, STRIPE);

    request->offset = base + offset;
    request->length = (uint64_t)g_rand_int_range(traffic->rand, 0, (gint32)(STRIPE - offset) + 1);
    request->operation =
        (enum block_operation)g_rand_int_range(traffic->rand, 0, BLOCK_OPERATION_COUNT);
    request->buffer = slot->buffer;
    request->may_unmap = g_rand_boolean(traffic->rand);
    if (g_rand_boolean(traffic->rand))
        request->length = MIN(request->length, 4096);
    if (request->operation == BLOCK_OPERATION_DISCARD) /* here: zero or as it was */
        request->operation = BLOCK_OPERATION_WRITE_ZEROES;
    memset(slot->buffer, g_rand_int_range(traffic->rand, 0, 256), request->length);
    block_queue_submit(traffic->queue, request);
}

static void finished(struct block_request *request)
{
    struct slot *slot = request->opaque;
    struct traffic *traffic = slot->traffic;
    uint8_t *memory = traffic->memory + request->offset;

    if (request->error)
        fail_msg("%s", request->error->message);
    traffic->finished++;
    switch (request->operation) {
    case BLOCK_OPERATION_READ:
        assert_memory_equal(memory, slot->buffer, request->length);
        break;
    case BLOCK_OPERATION_WRITE:
        memcpy(memory, slot->buffer, request->length);
        break;
    case BLOCK_OPERATION_WRITE_ZEROES:
        memset(memory, 0, request->length);
        break;
    case BLOCK_OPERATION_EXTENT:
        assert_int_equal(request->extent.offset, request->offset);
        assert_true(request->extent.length > 0);
        break;
    default:
        break;
    }
    if (traffic->left > 0) {
        traffic->left--;
        submit_next(slot);
    }
}

static void run_traffic(struct block_device *device, uint8_t *memory, unsigned flags, guint32 seed)
{
    struct traffic traffic = {
        .queue = block_queue_new(device, 8, flags, NULL),
        .rand = g_rand_new_with_seed(seed),
        .memory = memory,
        .left = 600,
    };
    g_autofree struct slot *slots = g_new0(struct slot, SLOTS);

    assert_non_null(traffic.queue);
    if (!(flags & BLOCK_QUEUE_THREADS) && !block_queue_uses_uring(traffic.queue))
        print_message("(io_uring is refused here: threads instead)\n");
    for (unsigned i = 0; i < SLOTS; i++) {
        slots[i].traffic = &traffic;
        slots[i].number = i;
        slots[i].request.done = finished;
        slots[i].request.opaque = &slots[i];
        submit_next(&slots[i]);
    }
    while (block_queue_in_flight(traffic.queue) > 0) {
        struct pollfd fd = {block_queue_fd(traffic.queue), POLLIN, 0};

        if (block_queue_poll(traffic.queue) == 0)
            assert_int_equal(poll(&fd, 1, 60000), 1); /* it must become readable */
    }
    assert_int_equal(traffic.finished, SLOTS + 600);
    block_queue_free(traffic.queue);
    g_rand_free(traffic.rand);
}

static void assert_content(struct block_device *device, const uint8_t *memory)
{
    g_autofree uint8_t *read = g_malloc(DISK_SIZE);

    assert_true(block_read(device, 0, read, DISK_SIZE, NULL));
    assert_memory_equal(read, memory, DISK_SIZE);
}

static void check_format(enum block_format format, unsigned flags)
{
    g_autofree char *path = scratch("queue.img"), *base = scratch("queue-base.vhd");
    g_autofree uint8_t *memory = g_malloc0(DISK_SIZE);
    struct block_device *device;

    if (format == BLOCK_FORMAT_VHD_DIFFERENCING) {
        assert_true(block_create(base, BLOCK_FORMAT_VHD_DYNAMIC, DISK_SIZE, NULL));
        device = block_open(base, 0, NULL);
        run_traffic(device, memory, flags, 1);
        assert_true(block_close(device, NULL));
        assert_true(block_create_child(path, base, NULL));
    } else {
        assert_true(block_create(path, format, DISK_SIZE, NULL));
    }
    for (guint32 round = 2; round < 5; round++) {
        device = block_open(path, BLOCK_OPEN_PROBE_RAW | BLOCK_OPEN_CHAIN, NULL);
        assert_non_null(device);
        run_traffic(device, memory, flags, round);
        assert_content(device, memory);
        assert_true(block_close(device, NULL));
    }
    device = block_open(path, BLOCK_OPEN_READ_ONLY | BLOCK_OPEN_PROBE_RAW | BLOCK_OPEN_CHAIN, NULL);
    assert_content(device, memory);
    block_abandon(device);
    g_unlink(path);
    g_unlink(base);
}

static void test_uring(void **state)
{
    for (int format = 0; format <= BLOCK_FORMAT_VHD_DIFFERENCING; format++)
        check_format((enum block_format)format, 0);
}

static void test_threads(void **state)
{
    for (int format = 0; format <= BLOCK_FORMAT_VHD_DIFFERENCING; format++)
        check_format((enum block_format)format, BLOCK_QUEUE_THREADS);
}

static void note_error(struct block_request *request)
{
    *(GError **)request->opaque = request->error;
}

static void test_errors(void **state)
{
    g_autofree char *path = scratch("queue-error.vhd");
    g_autoptr(GError) error = NULL;
    struct block_request request = {.done = note_error, .opaque = &error};
    struct block_device *device;
    struct block_queue *queue;
    uint8_t byte = 1;

    assert_true(block_create(path, BLOCK_FORMAT_VHD_DYNAMIC, DISK_SIZE, NULL));
    device = block_open(path, BLOCK_OPEN_READ_ONLY, NULL);
    queue = block_queue_new(device, 0, 0, NULL);
    request.operation = BLOCK_OPERATION_WRITE;
    request.buffer = &byte;
    request.length = 1;
    block_queue_submit(queue, &request);
    assert_int_equal(block_queue_wait(queue), 1);
    assert_true(g_error_matches(error, BLOCK_ERROR, BLOCK_ERROR_READ_ONLY));
    g_clear_error(&error);
    request.operation = BLOCK_OPERATION_READ;
    request.offset = DISK_SIZE;
    block_queue_submit(queue, &request);
    block_queue_drain(queue);
    assert_true(g_error_matches(error, BLOCK_ERROR, BLOCK_ERROR_RANGE));
    block_queue_free(queue);
    block_abandon(device);
}

/* ---- limits ---------------------------------------------------------------------------------- */

static void test_rate(void **state)
{
    static const struct block_limits limits = {.bytes_per_second = 1000000, .bytes_burst = 50000};
    struct block_throttle throttle;
    int64_t now = 0, delay;

    block_throttle_init(&throttle, &limits, now);
    for (int i = 0; i < 5; i++) /* the burst goes at once */
        assert_int_equal(block_throttle_take(&throttle, 10000, now), 0);
    for (int i = 0; i < 1000; i++) { /* then each waits its turn: 10 ms apiece */
        delay = block_throttle_take(&throttle, 10000, now);
        now += delay;
    }
    assert_in_range(now, 9990000, 10010000);
    now += 1000000; /* a pause fills the bucket, and no more than that */
    for (int i = 0; i < 5; i++)
        assert_int_equal(block_throttle_take(&throttle, 10000, now), 0);
    assert_true(block_throttle_take(&throttle, 10000, now) > 0);
}

static void test_rate_of_operations(void **state)
{
    static const struct block_limits limits = {.operations_per_second = 100, .operations_burst = 1};
    struct block_throttle throttle;
    int64_t now = 5;

    block_throttle_init(&throttle, &limits, now);
    assert_int_equal(block_throttle_take(&throttle, UINT32_MAX, now), 0);
    for (int i = 1; i <= 100; i++) /* a debt is paid in order */
        assert_in_range(block_throttle_take(&throttle, 0, now), i * 10000 - 10, i * 10000 + 10);
    assert_in_range(block_throttle_take(&throttle, 0, now + 1000000), 9980, 10020);
}

static void test_limited_queue(void **state)
{
    g_autofree char *path = scratch("queue-limit.img");
    g_autofree uint8_t *memory = g_malloc0(DISK_SIZE);
    struct block_device *device;

    assert_true(block_create(path, BLOCK_FORMAT_RAW, DISK_SIZE, NULL));
    device = block_open(path, BLOCK_OPEN_PROBE_RAW, NULL);
    block_set_limits(device, &(struct block_limits){.operations_per_second = 20000});
    run_traffic(device, memory, 0, 9);
    block_set_limits(device, NULL);
    assert_content(device, memory);
    block_abandon(device);
    g_unlink(path);
}

/* Reads, writes and extents of what is allocated, while somebody holds every slow lock there is. */
static void without_locks(enum block_format format)
{
    g_autofree char *path = scratch("unlocked.disk"), *child = scratch("unlocked-child.disk");
    bool has_child = format >= BLOCK_FORMAT_VHD_FIXED && format != BLOCK_FORMAT_VHDX_FIXED;
    struct block_device *device;
    struct block_extent extent;
    uint8_t bytes[4096] = {1};

    assert_true(block_create(path, format, DISK_SIZE, NULL));
    device = block_open(path, BLOCK_OPEN_PROBE_RAW, NULL);
    assert_true(block_write(device, 5 * MIB, bytes, sizeof(bytes), NULL));
    if (has_child) {
        assert_true(block_close(device, NULL));
        assert_true(block_create_child(child, path, NULL));
        device = block_open(child, BLOCK_OPEN_CHAIN, NULL);
        assert_true(block_write(device, 9 * MIB, bytes, sizeof(bytes), NULL));
    }
    assert_true(block_read(device, 5 * MIB, bytes, 1, NULL)); /* loads what has to be */
    alarm(60); /* ends a test that waits for a lock */
    for (struct block_device *d = device; d; d = d->parent)
        pthread_mutex_lock(&d->slow);
    for (uint64_t at = 0; at < DISK_SIZE; at += extent.length)
        assert_true(block_next_extent(device, at, &extent, NULL));
    assert_true(block_read(device, 5 * MIB, bytes, sizeof(bytes), NULL));
    assert_int_equal(bytes[0], 1);
    assert_true(block_write(device, has_child ? 9 * MIB : 5 * MIB, bytes, sizeof(bytes), NULL));
    for (struct block_device *d = device; d; d = d->parent)
        pthread_mutex_unlock(&d->slow);
    alarm(0);
    block_abandon(device);
    g_unlink(path);
    g_unlink(child);
}

static void test_without_locks(void **state)
{
    without_locks(BLOCK_FORMAT_RAW);
    without_locks(BLOCK_FORMAT_VHD_FIXED);
    without_locks(BLOCK_FORMAT_VHD_DYNAMIC);
    without_locks(BLOCK_FORMAT_VHDX_DYNAMIC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_uring),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_rate_of_operations),
        cmocka_unit_test(test_limited_queue),
        cmocka_unit_test(test_without_locks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
