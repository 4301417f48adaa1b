/*
 * CRC-32C (Castagnoli), as VHDX and ext4 use it.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Goes on from `crc` without inverting it before or after: ext4 begins with ~0 and takes the
 * result as it is. */
uint32_t crc32c_update(uint32_t crc, const void *bytes, size_t length);

/* The usual form, inverted at both ends. */
static inline uint32_t crc32c(const void *bytes, size_t length)
{
    return ~crc32c_update(UINT32_MAX, bytes, length);
}
