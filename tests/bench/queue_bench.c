/*
 * Random reads or writes of a disk with many in flight, as `qemu-img bench` does them.
 *
 *   queue_bench FILE read|write COUNT [DEPTH [threads]]
 *
 * 4 KiB each, at pseudo-random multiples of 4 KiB. Prints the seconds it took, opening aside.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/queue.h"

#define SIZE 4096u

struct run {
    struct block_queue *queue;
    uint64_t slots, left, state;
};

static uint64_t next_offset(struct run *run)
{
    run->state = run->state * 6364136223846793005u + 1442695040888963407u;
    return (run->state >> 20) % run->slots * SIZE;
}

static void next(struct block_request *request)
{
    struct run *run = request->opaque;

    if (request->error) {
        fprintf(stderr, "%s\n", request->error->message);
        exit(1);
    }
    if (run->left == 0)
        return;
    run->left--;
    request->offset = next_offset(run);
    block_queue_submit(run->queue, request);
}

int main(int argc, char **argv)
{
    unsigned depth = argc > 4 ? (unsigned)g_ascii_strtoull(argv[4], NULL, 10) : 32;
    bool writing = argc > 2 && strcmp(argv[2], "write") == 0;
    g_autoptr(GError) error = NULL;
    struct block_device *disk;
    struct run run = {.state = 1};
    struct block_request *requests = g_new0(struct block_request, depth);
    uint8_t *buffers;
    int64_t begin;

    if (argc < 4) {
        fputs("queue_bench FILE read|write COUNT [DEPTH [threads]]\n", stderr);
        return 2;
    }
    disk = block_open(argv[1], (writing ? 0 : BLOCK_OPEN_READ_ONLY) | BLOCK_OPEN_PROBE_RAW, &error);
    if (disk)
        run.queue = block_queue_new(disk, depth, argc > 5 ? BLOCK_QUEUE_THREADS : 0, &error);
    if (!run.queue) {
        fprintf(stderr, "%s\n", error->message);
        return 1;
    }
    run.slots = block_size(disk) / SIZE;
    run.left = g_ascii_strtoull(argv[3], NULL, 10);
    buffers = g_malloc0((size_t)depth * SIZE);
    begin = g_get_monotonic_time();
    for (unsigned i = 0; i < depth; i++) {
        requests[i] = (struct block_request){
            .operation = writing ? BLOCK_OPERATION_WRITE : BLOCK_OPERATION_READ,
            .length = SIZE,
            .buffer = buffers + (size_t)i * SIZE,
            .done = next,
            .opaque = &run,
        };
        next(&requests[i]);
    }
    block_queue_drain(run.queue);
    printf("%.3f\n", (double)(g_get_monotonic_time() - begin) / 1e6);
    block_queue_free(run.queue);
    if (!block_close(disk, &error)) {
        fprintf(stderr, "%s\n", error->message);
        return 1;
    }
    g_free(buffers);
    g_free(requests);
    return 0;
}
