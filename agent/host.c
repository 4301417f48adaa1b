#include "agent/host.h"

#include <glib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* proc(5): "MemTotal:       24576000 kB" */
static uint64_t meminfo(const char *key)
{
    g_autofree char *text = NULL;
    const char *line;

    if (!g_file_get_contents("/proc/meminfo", &text, NULL, NULL))
        return 0;
    line = strstr(text, key);
    return line ? g_ascii_strtoull(line + strlen(key), NULL, 10) * 1024 : 0;
}

uint64_t host_memory_total(void)
{
    return meminfo("MemTotal:");
}

uint64_t host_memory_available(void)
{
    return meminfo("MemAvailable:");
}

unsigned host_cpus(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);

    return n > 0 ? (unsigned)n : 1;
}

uint64_t host_disk_size(const char *path)
{
    struct statvfs fs;

    return statvfs(path, &fs) == 0 ? (uint64_t)fs.f_blocks * fs.f_frsize : 0;
}

uint64_t host_disk_free(const char *path)
{
    struct statvfs fs;

    return statvfs(path, &fs) == 0 ? (uint64_t)fs.f_bavail * fs.f_frsize : 0;
}
