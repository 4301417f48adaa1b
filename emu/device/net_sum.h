/*
 * The Internet checksum (RFC 1071) of bytes in a packet.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* The folded sum in host order, not inverted. */
static inline uint16_t net_sum(const uint8_t *bytes, size_t length)
{
    uint64_t sum = 0;
    for (size_t i = 0; i + 1 < length; i += 2)
        sum += (uint32_t)(bytes[i] << 8 | bytes[i + 1]);
    if (length & 1)
        sum += (uint32_t)bytes[length - 1] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

static inline uint16_t net_load16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static inline void net_store16(uint8_t *bytes, uint16_t value)
{
    bytes[0] = (uint8_t)(value >> 8);
    bytes[1] = (uint8_t)value;
}

static inline uint32_t net_load32(const uint8_t *bytes)
{
    return (uint32_t)net_load16(bytes) << 16 | net_load16(bytes + 2);
}

static inline void net_store32(uint8_t *bytes, uint32_t value)
{
    net_store16(bytes, (uint16_t)(value >> 16));
    net_store16(bytes + 2, (uint16_t)value);
}
