#include "storage/stream.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "storage/vhd_footer.h"

#define CHUNK (1u << 20)

bool block_stream_can(enum block_format format)
{
    return format == BLOCK_FORMAT_RAW || format == BLOCK_FORMAT_VHD_FIXED;
}

static bool write_all(int fd, const char *name, const uint8_t *bytes, size_t length, GError **error)
{
    while (length > 0) {
        ssize_t n = write(fd, bytes, length);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            g_set_error(error, BLOCK_ERROR, errno == ENOSPC ? BLOCK_ERROR_NO_SPACE : BLOCK_ERROR_IO,
                        "cannot write to %s: %s", name, g_strerror(errno));
            return false;
        }
        bytes += n;
        length -= (size_t)n;
    }
    return true;
}

static bool write_disk(struct block_device *device, int fd, const char *name,
                       block_progress_fn progress, void *opaque, GError **error)
{
    g_autofree uint8_t *buffer = g_malloc(CHUNK), *zero = g_malloc0(CHUNK);
    uint64_t size = block_size(device);
    struct block_extent extent;
    size_t n;

    for (uint64_t at = 0; at < size; at += n) {
        bool is_data;

        if (!block_next_extent(device, at, &extent, error))
            return false;
        n = (size_t)MIN(extent.length, CHUNK);
        is_data = extent.kind == BLOCK_EXTENT_DATA;
        if ((is_data && !block_read(device, at, buffer, n, error)) ||
            !write_all(fd, name, is_data ? buffer : zero, n, error))
            return false;
        if (progress)
            progress(opaque, at + n, size);
    }
    return true;
}

bool block_stream(struct block_device *device, enum block_format format, int fd, const char *name,
                  block_progress_fn progress, void *opaque, GError **error)
{
    uint8_t raw[VHD_FOOTER_SIZE];
    struct vhd_footer footer;

    if (format == BLOCK_FORMAT_VHD_FIXED && !vhd_check_size(name, block_size(device), error))
        return false;
    if (!write_disk(device, fd, name, progress, opaque, error))
        return false;
    if (format == BLOCK_FORMAT_RAW)
        return true;
    vhd_footer_init(&footer, VHD_TYPE_FIXED, block_size(device));
    vhd_footer_encode(&footer, raw);
    return write_all(fd, name, raw, sizeof(raw), error);
}
