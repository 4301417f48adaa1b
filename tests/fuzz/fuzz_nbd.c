/*
 * An NBD client's bytes, from the first option on, against a small disk.
 */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "storage/nbd/connection.h"

#define DISK_SIZE (1u << 20)

struct input {
    struct nbd_stream stream; /* must be first */
    const uint8_t *at, *end;
    uint64_t answered; /* bytes */
};

static bool input_read(struct nbd_stream *stream, void *buffer, size_t length)
{
    struct input *input = (struct input *)stream;

    if ((size_t)(input->end - input->at) < length)
        return false;
    memcpy(buffer, input->at, length);
    input->at += length;
    return true;
}

static bool input_write(struct nbd_stream *stream, const void *bytes, size_t length)
{
    ((struct input *)stream)->answered += length;
    return true;
}

static struct block_device *open_disk(bool read_only)
{
    static bool made;
    g_autofree char *path = fuzz_beside("disk.img");

    if (!made) {
        unlink(path);
        made = block_create(path, BLOCK_FORMAT_RAW, DISK_SIZE, NULL);
    }
    return block_open(path, BLOCK_OPEN_PROBE_RAW | (read_only ? BLOCK_OPEN_READ_ONLY : 0), NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nbd_export exported = {.name = "disk"};
    struct input input = {{input_read, input_write, NULL}, data + 1, data + size, 0};

    if (size < 1)
        return -1;
    exported.read_only = data[0] & 1;
    exported.device = open_disk(exported.read_only);
    if (!exported.device)
        abort();
    nbd_connection_run(&exported, &input.stream);
    block_abandon(exported.device);
    return 0;
}
