/*
 * The sweep over single operations: one static program, run natively and as the first process of a
 * guest. Each operation is done many times, three times over; printed are the nanoseconds that one
 * took when it was fastest, by the clock of whoever runs the program.
 *
 *   operations list | operations FOLDER [NAME,NAME...]
 *   operations (as init: what operations= on the kernel's command line names, or all)
 *
 * Nothing is changed outside the folder.
 */
#include "tests/bench/emu/operations.h"
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const struct operation *const groups[] = {operations_integer, operations_data,
                                                 operations_flow, operations_system};

/* A list of names with commas between them; none means all. */
static bool is_chosen(const char *list, const char *name)
{
    size_t length = strlen(name);
    if (!list)
        return true;
    for (const char *at = list; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (!strncmp(at, name, length) && (at[length] == 0 || at[length] == ','))
            return true;
    }
    return false;
}

static double nanoseconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

/* The unit at the end tells a whole line from one that was cut. */
static void measure(const struct operation *operation, uint8_t *memory)
{
    double best = 0;
    for (unsigned turn = 0; turn < 3; turn++) {
        double start = nanoseconds();
        operation->run(operation->count, memory);
        double taken = nanoseconds() - start;
        if (turn == 0 || taken < best)
            best = taken;
    }
    printf("OPERATION %s %.3f ns\n", operation->name, best / operation->count);
    fflush(stdout);
}

static int measure_chosen(const char *list)
{
    uint8_t *memory =
        mmap(NULL, OPERATIONS_MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return 1;
    madvise(memory, OPERATIONS_MEMORY, MADV_NOHUGEPAGE);
    for (unsigned group = 0; group < sizeof(groups) / sizeof(*groups); group++)
        for (const struct operation *at = groups[group]; at->name; at++)
            if (is_chosen(list, at->name)) {
                memset(memory, 1, OPERATIONS_MEMORY);
                measure(at, memory);
            }
    printf("OPERATIONS DONE\n");
    fflush(stdout);
    return 0;
}

static void list_names(void)
{
    for (unsigned group = 0; group < sizeof(groups) / sizeof(*groups); group++)
        for (const struct operation *at = groups[group]; at->name; at++)
            puts(at->name);
}

/* The kernel gives init in its environment what it does not know itself. Its own messages would
 * come between ours. */
static int as_init(void)
{
    enum { CONSOLE_OFF = 6 };
    klogctl(CONSOLE_OFF, NULL, 0);
    mkdir("/scratch", 0700);
    if (mount("tmpfs", "/scratch", "tmpfs", 0, NULL) != 0 || chdir("/scratch") != 0)
        perror("no folder for files");
    else
        measure_chosen(getenv("operations"));
    reboot(RB_POWER_OFF);
    return 1;
}

int main(int argc, char **argv)
{
    if (getpid() == 1)
        return as_init();
    if (argc == 2 && !strcmp(argv[1], "list")) {
        list_names();
        return 0;
    }
    if (argc < 2 || argc > 3 || chdir(argv[1]) != 0) {
        fprintf(stderr, "operations list | operations FOLDER [NAME,NAME...]\n");
        return 2;
    }
    return measure_chosen(argv[2]);
}
