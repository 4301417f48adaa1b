/*
 * Names of translated code for perf: /tmp/perf-PID.map, as tools/perf/Documentation/
 * jit-interface.txt in Linux describes it. A line a region: where it runs, its size, and whose
 * guest code it is. The file stays when the process ends, since perf reads it afterwards; what the
 * code cache has given to other regions meanwhile has several names, and perf takes one of them.
 */
#include "emu/jit/jit.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* The first CPU begins the file; all append whole lines. Nobody else's file is written to. */
static int open_map(unsigned cpu, const char *path)
{
    struct stat status;
    int begin = cpu == 0 ? O_TRUNC : 0;
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | begin, 0600);
    if (fd < 0)
        return -1;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_uid == geteuid())
        return fd;
    close(fd);
    errno = EACCES;
    return -1;
}

static void write_line(struct jit *jit, const uint8_t *code, size_t size, const char *name)
{
    char line[128];
    int length = snprintf(line, sizeof(line), "%" PRIxPTR " %zx %s\n",
                          (uintptr_t)(code + jit->run_delta), size, name);
    /* A lost line costs a name. */
    if (write(jit->perf_map, line, (size_t)length) != length)
        return;
}

bool jit_perf_map_open(struct jit *jit, GError **error)
{
    g_autofree char *path = g_strdup_printf("/tmp/perf-%d.map", (int)getpid());
    jit->perf_map = open_map(jit->cpu->index, path);
    if (jit->perf_map < 0) {
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno),
                    "cannot write %s, where perf looks for the names of translated code: %s", path,
                    g_strerror(errno));
        return false;
    }
    jit_perf_map_stubs(jit);
    return true;
}

void jit_perf_map_stubs(struct jit *jit)
{
    char name[32];
    snprintf(name, sizeof(name), "jit-stubs-%u", jit->cpu->index);
    if (jit->perf_map >= 0)
        write_line(jit, jit->write, JIT_STUBS_SIZE, name);
}

void jit_perf_map_add(struct jit *jit, const struct jit_region *region)
{
    char name[64];
    const char *who = region->mode & MODE_USER ? "user" : "kernel";
    snprintf(name, sizeof(name), "guest-%s-%" PRIx64, who, region->rip);
    write_line(jit, region->code, region->code_bytes, name);
}

void jit_perf_map_close(struct jit *jit)
{
    if (jit->perf_map >= 0)
        close(jit->perf_map);
    jit->perf_map = -1;
}
