/*
 * Little-endian loads and stores of 1 to 8 bytes, for guest structures in memory; copies from and
 * to guest memory.
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

/*
 * For what reads or writes guest memory. The guest's processors and devices do so at the same time
 * as the guest pleases; whether it does that in good order is its own affair, not the thread
 * sanitizer's.
 */
#define GUEST_MEMORY __attribute__((no_sanitize("thread")))

/* memset() of guest memory, of which the same holds. */
static inline void guest_fill(void *to, uint8_t value, size_t length)
{
#ifdef __SANITIZE_THREAD__
    asm volatile("rep stosb" : "+D"(to), "+c"(length) : "a"(value) : "memory");
#else
    memset(to, value, length);
#endif
}

/* memmove(), which the thread sanitizer would watch wherever it is called from. */
static inline void guest_copy(void *to, const void *from, size_t length)
{
#ifdef __SANITIZE_THREAD__
    if ((uintptr_t)to - (uintptr_t)from >= length)
        asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(length) : : "memory");
    else
        memmove(to, from, length);
#else
    memmove(to, from, length);
#endif
}

static inline uint64_t bytes_mask(unsigned size)
{
    return size >= 8 ? UINT64_MAX : (UINT64_C(1) << (size * 8)) - 1;
}
