/* Memory below 2 GiB. */
#include "emu/core/low_memory.h"
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

static void *map(size_t size, int protection, int flags, int fd, GError **error)
{
    void *memory = mmap(NULL, size, protection, flags | MAP_32BIT, fd, 0);
    if (memory != MAP_FAILED)
        return memory;
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOMEM,
                "cannot map %zu bytes below 2 GiB for a CPU: %s", size, g_strerror(errno));
    return NULL;
}

void *low_memory_new(size_t size, GError **error)
{
    return map(size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
               error);
}

/* Shared memory without a name and not a memfd: perf takes only the former for code that is made at
 * run time. */
bool low_memory_new_code(size_t size, void **ret_write, void **ret_run, GError **error)
{
    int shared = MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE;
    void *writable = map(size, PROT_READ | PROT_WRITE, shared, -1, error);
    void *place = writable ? map(size, PROT_NONE, shared, -1, error) : NULL;
    if (!place) {
        low_memory_free(writable, size);
        return false;
    }
    /* With a length of 0 this makes a second mapping of the same memory (mremap(2)). */
    void *runnable = mremap(writable, 0, size, MREMAP_MAYMOVE | MREMAP_FIXED, place);
    if (runnable == MAP_FAILED || mprotect(runnable, size, PROT_READ | PROT_EXEC) < 0) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOMEM, "cannot make a code cache: %s",
                    g_strerror(errno));
        low_memory_free(writable, size);
        low_memory_free(place, size);
        return false;
    }
    *ret_write = writable;
    *ret_run = runnable;
    return true;
}

bool low_memory_guard(void *page, GError **error)
{
    if (mprotect(page, 0x1000, PROT_NONE) == 0)
        return true;
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOMEM, "cannot guard a stack: %s",
                g_strerror(errno));
    return false;
}

void low_memory_free(void *memory, size_t size)
{
    if (memory)
        munmap(memory, size);
}
