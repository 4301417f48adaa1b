/* Operations on floating point numbers and vectors, on memory, and those of the C library that do
 * little else. */
#include "tests/bench/emu/operations.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <x86intrin.h>

static void keep_real(double value)
{
    __asm__ volatile("" : : "x"(value));
}

/* ---- scalars --------------------------------------------------------------------------------- */

OPERATION(square_root)
{
    double value = 2;
    TIMES value = sqrt(value + i);
    keep_real(value);
}

OPERATION(divide_real)
{
    double value = 2;
    TIMES value = 1 / (value + i) + 2;
    keep_real(value);
}

OPERATION(convert)
{
    double sum = 0;
    TIMES sum += (double)(int64_t)(sum * 0.5) + i;
    keep_real(sum);
}

OPERATION(sine)
{
    double sum = 0;
    TIMES sum += sin(sum + i);
    keep_real(sum);
}

ASSEMBLY(ldmxcsr, "ldmxcsr %0" : : "m"((uint32_t){0x1f80}))

/* ---- the x87, MMX, and the state of both ----------------------------------------------------- */

ASSEMBLY(fsin, "fld1; fsin; fstp %%st(0)" : : : "st")
ASSEMBLY(add_80_bits, "fldt (%0); fld1; faddp; fstpt (%0)"
         :
         : "r"(memory)
         : "memory", "st", "st(1)")

OPERATION(fldcw)
{
    uint16_t word = 0x37f;
    TIMES __asm__ volatile("fldcw %0; fnstcw %0" : "+m"(word));
}

OPERATION(mmx_emms)
{
    uint32_t value = 1;
    TIMES __asm__ volatile("movd %0, %%mm0; paddd %%mm0, %%mm0; movd %%mm0, %0; emms"
                           : "+r"(value)
                           :
                           : "mm0", "st");
}

/* Both want 16 bytes' alignment, which a page has. */
ASSEMBLY(fxsave_fxrstor, "fxsave (%0); fxrstor (%0)" : : "r"(memory) : "memory")

/* ---- vectors --------------------------------------------------------------------------------- */

OPERATION(pcmpistri)
{
    __m128i a = _mm_set1_epi8(1), b = _mm_loadu_si128((const __m128i *)memory);
    TIMES __asm__ volatile("pcmpistri $0, %1, %0" : : "x"(a), "x"(b) : "rcx", "cc");
}

OPERATION(avx)
{
    __m256d sum = _mm256_set1_pd(1), factor = _mm256_set1_pd(0.99);
    TIMES sum = _mm256_add_pd(_mm256_mul_pd(sum, factor),
                              _mm256_loadu_pd((const double *)(memory + (i & 63) * 32)));
    keep_real(_mm256_cvtsd_f64(sum));
}

/* ---- memory ---------------------------------------------------------------------------------- */

ASSEMBLY(prefetch, "prefetcht0 (%0)" : : "r"(memory + i % 65536))
ASSEMBLY(clflush, "clflush (%0)" : : "r"(memory + (i & 63) * 64) : "memory")
ASSEMBLY(movnti, "movnti %0, (%1)" : : "r"((uint64_t)i), "r"(memory + (i & 1023) * 8) : "memory")

OPERATION(load_anywhere)
{
    uint64_t state = 1, sum = 0;
    TIMES
    {
        state = state * 6364136223846793005u + 1;
        sum += memory[state >> 40];
    }
    keep(sum);
}

/* Of 4096 pages each time another. */
OPERATION(load_page)
{
    uint64_t sum = 0;
    TIMES sum += memory[((i * 61) & 4095) * 4096];
    keep(sum);
}

OPERATION(store_page)
{
    TIMES memory[((i * 61) & 4095) * 4096 + 64] = (uint8_t)i;
}

OPERATION(add_stride)
{
    uint64_t *words = (uint64_t *)memory;
    TIMES words[(i * 513) & 0x1fffff] += i;
}

OPERATION(memset_4096)
{
    TIMES memset(memory + (i & 63) * 4096, (int)i, 4096);
}

OPERATION(memmove_1000)
{
    TIMES memmove(memory + 1, memory, 1000);
}

OPERATION(strlen_300)
{
    uint64_t sum = 0;
    memory[300] = 0;
    TIMES
    {
        __asm__ volatile("" : : : "memory");
        sum += strlen((char *)memory + (i & 15));
    }
    keep(sum);
}

/* ---- the library ----------------------------------------------------------------------------- */

OPERATION(malloc_free)
{
    void *blocks[64] = {0};
    TIMES
    {
        free(blocks[i & 63]);
        blocks[i & 63] = malloc(16 + (i * 37) % 2000);
    }
    for (unsigned i = 0; i < 64; i++)
        free(blocks[i]);
}

static int compare(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

OPERATION(qsort_1000)
{
    static int values[1000];
    TIMES
    {
        for (int n = 0; n < 1000; n++)
            values[n] = n * 7919 % 1009;
        qsort(values, 1000, sizeof(*values), compare);
    }
}

OPERATION(snprintf_4)
{
    char text[100];
    TIMES snprintf(text, sizeof(text), "%u %s %08lx %f", i, "hello", (long)i * 77, i * 0.5);
}

const struct operation operations_data[] = {
    {"square-root", square_root, 4000000},
    {"divide-real", divide_real, 4000000},
    {"convert", convert, 4000000},
    {"sine", sine, 500000},
    {"ldmxcsr", ldmxcsr, 2000000},
    {"fsin", fsin, 300000},
    {"add-80-bits", add_80_bits, 1000000},
    {"fldcw", fldcw, 1000000},
    {"mmx-emms", mmx_emms, 2000000},
    {"fxsave-fxrstor", fxsave_fxrstor, 100000},
    {"pcmpistri", pcmpistri, 2000000},
    {"avx", avx, 4000000},
    {"prefetch", prefetch, 10000000},
    {"clflush", clflush, 500000},
    {"movnti", movnti, 4000000},
    {"load-anywhere", load_anywhere, 4000000},
    {"load-page", load_page, 3000000},
    {"store-page", store_page, 3000000},
    {"add-stride", add_stride, 3000000},
    {"memset-4096", memset_4096, 40000},
    {"memmove-1000", memmove_1000, 200000},
    {"strlen-300", strlen_300, 800000},
    {"malloc-free", malloc_free, 1000000},
    {"qsort-1000", qsort_1000, 300},
    {"snprintf-4", snprintf_4, 50000},
    {NULL, NULL, 0},
};
