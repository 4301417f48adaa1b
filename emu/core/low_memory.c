/* Memory below 2 GiB. */
#include "emu/core/low_memory.h"
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

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

bool low_memory_new_code(size_t size, void **ret_write, void **ret_run, GError **error)
{
    int fd = memfd_create("drover-code", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)size) < 0) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOMEM, "cannot make a code cache: %s",
                    g_strerror(errno));
        if (fd >= 0)
            close(fd);
        return false;
    }
    void *writable = map(size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, error);
    void *runnable = writable ? map(size, PROT_READ | PROT_EXEC, MAP_SHARED, fd, error) : NULL;
    close(fd);
    if (!runnable) {
        low_memory_free(writable, size);
        return false;
    }
    *ret_write = writable;
    *ret_run = runnable;
    return true;
}

void low_memory_free(void *memory, size_t size)
{
    if (memory)
        munmap(memory, size);
}
