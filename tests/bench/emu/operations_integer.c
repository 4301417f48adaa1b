/* Operations on integers, flags and bits; locked ones; string instructions; and those that ask the
 * processor something. */
#include "tests/bench/emu/operations.h"
#include <stddef.h>
#include <string.h>
#include <time.h>
#include <x86intrin.h>

/* ---- clocks, and what the processor is ------------------------------------------------------- */

OPERATION(rdtsc)
{
    uint64_t sum = 0;
    TIMES sum += __rdtsc();
    keep(sum);
}

OPERATION(rdtscp)
{
    uint64_t sum = 0;
    unsigned which;
    TIMES sum += __rdtscp(&which);
    keep(sum);
}

ASSEMBLY(cpuid, "xor %%eax, %%eax; xor %%ecx, %%ecx; cpuid" : : : "eax", "ebx", "ecx", "edx", "cc")

OPERATION(clock_monotonic)
{
    struct timespec time;
    TIMES clock_gettime(CLOCK_MONOTONIC, &time);
}

/* ---- arithmetic ------------------------------------------------------------------------------ */

OPERATION(divide)
{
    uint64_t sum = UINT64_MAX / 3;
    TIMES
    {
        uint64_t quotient, rest;
        __asm__ volatile("divq %4"
                         : "=a"(quotient), "=d"(rest)
                         : "0"(sum), "1"((uint64_t)(i & 7)), "r"(0x123456789ull + i)
                         : "cc");
        sum ^= quotient + rest;
    }
    keep(sum);
}

OPERATION(multiply)
{
    uint64_t value = 3;
    TIMES
    {
        unsigned __int128 product = (unsigned __int128)value * (value + i);
        value = (uint64_t)(product >> 64) ^ (uint64_t)product;
    }
    keep(value);
}

OPERATION(shift)
{
    uint64_t value = 12345;
    TIMES
    {
        value = (value << (i & 31)) | (value >> (-i & 31));
        value ^= value >> (i & 7);
    }
    keep(value);
}

OPERATION(rotate_carry)
{
    uint64_t value = 12345;
    TIMES __asm__ volatile("rclq %%cl, %0; rcrq $3, %0" : "+r"(value) : "c"(i) : "cc");
}

OPERATION(add_carry)
{
    uint64_t a = 1, b = 2;
    TIMES __asm__ volatile("addq %1, %0; adcq $0, %1; sbbq %0, %1" : "+r"(a), "+r"(b) : : "cc");
}

OPERATION(high_byte)
{
    uint32_t value = count;
    TIMES __asm__ volatile("addb $1, %%ah; addb %%ah, %%al; movb %%al, %%bh"
                           : "+a"(value)
                           :
                           : "rbx", "cc");
}

/* ---- flags ----------------------------------------------------------------------------------- */

ASSEMBLY(pushf_popf, "pushfq; popfq" : : : "cc", "memory")
ASSEMBLY(lahf_sahf, "lahf; sahf" : : : "rax", "cc")

OPERATION(setcc)
{
    uint64_t sum = 0;
    TIMES
    {
        uint8_t below, equal;
        __asm__ volatile("cmpl $5, %2; setb %0; testl $6, %2; setz %1"
                         : "=&q"(below), "=q"(equal)
                         : "r"(i)
                         : "cc");
        sum += below + equal;
    }
    keep(sum);
}

/* ---- bits ------------------------------------------------------------------------------------ */

OPERATION(bit_register)
{
    uint64_t value = 0;
    TIMES __asm__ volatile("btsq %1, %0; btrq %2, %0; btcq %1, %0"
                           : "+r"(value)
                           : "r"((uint64_t)i), "r"((uint64_t)i * 3)
                           : "cc");
}

ASSEMBLY(bit_memory, "btsl %0, (%1)" : : "r"(i & 0xfff), "r"(memory) : "cc", "memory")

/* The bits added keep both ends from being constants. */
OPERATION(count_bits)
{
    uint64_t sum = 1;
    TIMES sum += (uint64_t)(__builtin_popcountll(sum + i) + __builtin_ctzll(sum | 1ull << 40) +
                            __builtin_clzll(sum | 1ull << 8));
    keep(sum);
}

OPERATION(crc32)
{
    uint64_t sum = 1;
    TIMES sum = _mm_crc32_u64(sum, i);
    keep(sum);
}

/* ---- locked operations and fences ------------------------------------------------------------ */

OPERATION(exchange)
{
    uint64_t value = 1;
    TIMES __asm__ volatile("xchgq %0, (%1)" : "+r"(value) : "r"(memory) : "memory");
}

ASSEMBLY(lock_add, "lock addq %0, (%1)" : : "r"((uint64_t)i), "r"(memory) : "cc", "memory")

OPERATION(lock_cmpxchg)
{
    uint64_t *word = (uint64_t *)memory, expected = *word;
    TIMES __atomic_compare_exchange_n(word, &expected, expected + 1, 0, __ATOMIC_SEQ_CST,
                                      __ATOMIC_SEQ_CST);
}

OPERATION(lock_cmpxchg16b)
{
    uint64_t low = 0, high = 0;
    TIMES __asm__ volatile("lock cmpxchg16b (%2)"
                           : "+a"(low), "+d"(high)
                           : "r"(memory), "b"((uint64_t)i), "c"(0ull)
                           : "cc", "memory");
}

ASSEMBLY(mfence, "mfence" : : : "memory")
ASSEMBLY(pause, "pause" : : : "memory")

/* ---- string instructions --------------------------------------------------------------------- */

OPERATION(rep_stosb_32)
{
    TIMES
    {
        void *to = memory + (i & 1023);
        size_t length = 32;
        __asm__ volatile("rep stosb" : "+D"(to), "+c"(length) : "a"(i) : "memory");
    }
}

OPERATION(rep_movsb_16)
{
    TIMES
    {
        void *to = memory + (i & 1023), *from = memory + 8192;
        size_t length = 16;
        __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(length) : : "memory");
    }
}

OPERATION(stosb_4_times)
{
    TIMES
    {
        void *to = memory + (i & 1023);
        __asm__ volatile("stosb; stosb; stosb; stosb" : "+D"(to) : "a"(i) : "memory");
    }
}

OPERATION(movsq_twice)
{
    TIMES
    {
        void *to = memory + (i & 1023), *from = memory + 8192;
        __asm__ volatile("movsq; movsq" : "+D"(to), "+S"(from) : : "memory");
    }
}

OPERATION(lodsb)
{
    uint64_t sum = 0;
    TIMES
    {
        void *from = memory + (i & 255);
        uint8_t byte;
        __asm__ volatile("lodsb" : "=a"(byte), "+S"(from) : : "memory");
        sum += byte;
    }
    keep(sum);
}

OPERATION(repne_scasb_100)
{
    memory[99] = 0;
    TIMES
    {
        void *at = memory;
        size_t length = 200;
        __asm__ volatile("repne scasb" : "+D"(at), "+c"(length) : "a"(0) : "cc", "memory");
    }
}

OPERATION(repe_cmpsb_60)
{
    memory[59] = 2;
    TIMES
    {
        void *a = memory, *b = memory + 4096;
        size_t length = 200;
        __asm__ volatile("repe cmpsb" : "+D"(a), "+S"(b), "+c"(length) : : "cc", "memory");
    }
}

OPERATION(xlat)
{
    uint64_t value = 0;
    TIMES __asm__ volatile("xlatb" : "+a"(value) : "b"(memory) : "memory");
}

const struct operation operations_integer[] = {
    {"rdtsc", rdtsc, 400000},
    {"rdtscp", rdtscp, 400000},
    {"cpuid", cpuid, 100000},
    {"clock-monotonic", clock_monotonic, 300000},
    {"divide", divide, 4000000},
    {"multiply", multiply, 10000000},
    {"shift", shift, 8000000},
    {"rotate-carry", rotate_carry, 2000000},
    {"add-carry", add_carry, 10000000},
    {"high-byte", high_byte, 5000000},
    {"pushf-popf", pushf_popf, 1000000},
    {"lahf-sahf", lahf_sahf, 4000000},
    {"setcc", setcc, 10000000},
    {"bit-register", bit_register, 8000000},
    {"bit-memory", bit_memory, 3000000},
    {"count-bits", count_bits, 8000000},
    {"crc32", crc32, 4000000},
    {"exchange", exchange, 3000000},
    {"lock-add", lock_add, 3000000},
    {"lock-cmpxchg", lock_cmpxchg, 3000000},
    {"lock-cmpxchg16b", lock_cmpxchg16b, 2000000},
    {"mfence", mfence, 2000000},
    {"pause", pause, 100000},
    {"rep-stosb-32", rep_stosb_32, 1000000},
    {"rep-movsb-16", rep_movsb_16, 1000000},
    {"stosb-4-times", stosb_4_times, 2000000},
    {"movsq-twice", movsq_twice, 2000000},
    {"lodsb", lodsb, 3000000},
    {"repne-scasb-100", repne_scasb_100, 200000},
    {"repe-cmpsb-60", repe_cmpsb_60, 200000},
    {"xlat", xlat, 5000000},
    {NULL, NULL, 0},
};
