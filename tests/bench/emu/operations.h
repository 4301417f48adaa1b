/* What the files of the sweep over single operations share. */
#pragma once

#include <stdint.h>

/* Does one operation count times. The memory is OPERATIONS_MEMORY bytes of ones in pages of 4 KiB,
 * which an operation may change; the working directory is empty at first, and its own. */
struct operation {
    const char *name;
    void (*run)(unsigned count, uint8_t *memory);
    unsigned count;
};

#define OPERATIONS_MEMORY (16u << 20)

/* Each ends with an entry that has no name. */
extern const struct operation operations_integer[], operations_data[], operations_flow[],
    operations_system[];

#define OPERATION(name) static void name(unsigned count, uint8_t *memory)
#define TIMES           for (unsigned i = 0; i < count; i++)

/* An operation that is the assembly given; i says which time it is. */
#define ASSEMBLY(name, ...)                                                                        \
    OPERATION(name)                                                                                \
    {                                                                                              \
        TIMES __asm__ volatile(__VA_ARGS__);                                                       \
    }

/* Has the compiler believe that the value is needed. */
static inline void keep(uint64_t value)
{
    __asm__ volatile("" : : "r"(value));
}
