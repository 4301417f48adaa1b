/*
 * Little-endian loads and stores of 1 to 8 bytes, for guest structures in memory.
 */
#pragma once

#include <stdint.h>
#include <string.h>

static inline uint64_t bytes_load(const void *bytes, unsigned size)
{
    uint64_t value = 0;
    memcpy(&value, bytes, size); /* hosts are little endian: this project is x86-64 only */
    return value;
}

static inline void bytes_store(void *bytes, uint64_t value, unsigned size)
{
    memcpy(bytes, &value, size);
}

static inline uint64_t bytes_mask(unsigned size)
{
    return size >= 8 ? UINT64_MAX : (UINT64_C(1) << (size * 8)) - 1;
}
