/* Kinds of work that are Debian's own programs, linked dynamically as all are: each process has its
 * libraries at addresses of its own. The guest has the same files as the host. */
#include "tests/bench/emu/kinds.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t sum_of_stream(int fd, uint64_t sum)
{
    uint8_t bytes[4096];
    ssize_t count;
    if (fd < 0) {
        printf("nothing to sum\n");
        exit(1);
    }
    while ((count = read(fd, bytes, sizeof(bytes))) > 0)
        for (ssize_t i = 0; i < count; i++)
            sum = sum * 31 + bytes[i];
    return sum;
}

static void wait_for(pid_t child, const char *name)
{
    int status;
    if (child > 0 && waitpid(child, &status, 0) == child && status == 0)
        return;
    printf("%s did not run to its end\n", name);
    exit(1);
}

/* A sum of what `ls` prints. */
uint64_t exec_dynamic(unsigned rounds)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < rounds; i++) {
        int ends[2];
        if (pipe(ends) != 0)
            exit(1);
        pid_t child = fork();
        if (child == 0) {
            dup2(ends[1], STDOUT_FILENO);
            close(ends[0]);
            execl("/usr/bin/ls", "ls", "-d", "/usr", "/usr/bin", NULL);
            _exit(99);
        }
        close(ends[1]);
        sum = sum_of_stream(ends[0], sum);
        close(ends[0]);
        wait_for(child, "ls");
    }
    return sum;
}

/* A sum of the object that the compiler makes of COMPILED, which is preprocessed. */
uint64_t compile(unsigned rounds)
{
    uint64_t sum = 0;
    mkdir("/tmp", 01777);
    for (unsigned i = 0; i < rounds; i++) {
        pid_t child = fork();
        if (child == 0) {
            setenv("PATH", "/usr/bin", 1);
            execl("/usr/bin/gcc", "gcc", "-O2", "-c", "-fpreprocessed", COMPILED, "-o",
                  "compiled.o", NULL);
            _exit(99);
        }
        wait_for(child, "gcc");
        int fd = open("compiled.o", O_RDONLY);
        sum = sum_of_stream(fd, sum);
        close(fd);
        unlink("compiled.o");
    }
    return sum;
}
