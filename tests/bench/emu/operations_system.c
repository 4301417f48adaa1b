/* What the kernel does for a program: system calls, memory, faults, signals, processes, files. */
#include "tests/bench/emu/operations.h"
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* What did not work has no time that would mean anything. */
static void must(int done, const char *what)
{
    if (done)
        return;
    perror(what);
    exit(1);
}

/* ---- system calls that do nothing ------------------------------------------------------------ */

OPERATION(syscall_getppid)
{
    TIMES syscall(SYS_getppid);
}

/* getpid, as programs for i386 ask. */
OPERATION(int_80)
{
    TIMES
    {
        long result = 20;
        __asm__ volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
    }
}

OPERATION(yield)
{
    TIMES sched_yield();
}

OPERATION(usleep_50)
{
    TIMES usleep(50);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static uint8_t *map_pages(unsigned count)
{
    uint8_t *pages =
        mmap(NULL, count * 4096ul, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(pages != MAP_FAILED, "mmap");
    return pages;
}

OPERATION(map_unmap)
{
    TIMES
    {
        uint8_t *page = map_pages(1);
        *(volatile uint8_t *)page = 1;
        munmap(page, 4096);
    }
}

OPERATION(protect_twice)
{
    TIMES
    {
        mprotect(memory + 65536, 4096, PROT_READ);
        mprotect(memory + 65536, 4096, PROT_READ | PROT_WRITE);
    }
}

/* The pages are given back 64 at a time. */
OPERATION(page_fault)
{
    volatile uint8_t *pages = map_pages(64);
    TIMES
    {
        if (i % 64 == 0)
            madvise((void *)pages, 64 * 4096, MADV_DONTNEED);
        pages[i % 64 * 4096] = 1;
    }
    munmap((void *)pages, 64 * 4096);
}

/* ---- signals and faults ---------------------------------------------------------------------- */

static void ignore(int number)
{
}

OPERATION(signal_raise)
{
    signal(SIGUSR1, ignore);
    TIMES raise(SIGUSR1);
    signal(SIGUSR1, SIG_DFL);
}

static sigjmp_buf after_fault;

static void leave_handler(int number)
{
    siglongjmp(after_fault, 1);
}

static void fault(unsigned count, int number, void (*cause)(void))
{
    volatile unsigned done = 0;
    signal(number, leave_handler);
    sigsetjmp(after_fault, 1);
    if (done < count) {
        done++;
        cause();
        must(0, "a fault was expected");
    }
    signal(number, SIG_DFL);
}

static void store_nowhere(void)
{
    __asm__ volatile("movl $1, 8" : : : "memory");
}

static void divide_by_zero(void)
{
    __asm__ volatile("xorl %%edx, %%edx; xorl %%ecx, %%ecx; divl %%ecx"
                     :
                     :
                     : "eax", "ecx", "edx", "cc");
}

OPERATION(fault_store)
{
    fault(count, SIGSEGV, store_nowhere);
}

OPERATION(fault_divide)
{
    fault(count, SIGFPE, divide_by_zero);
}

/* ---- pipes and sockets: there and back in one process ---------------------------------------- */

static void pass(unsigned count, int from, int to, size_t length)
{
    char bytes[64] = {0};
    TIMES must(write(to, bytes, length) == (ssize_t)length &&
                   read(from, bytes, length) == (ssize_t)length,
               "pass");
    close(from);
    close(to);
}

OPERATION(pipe_1)
{
    int ends[2];
    must(pipe(ends) == 0, "pipe");
    pass(count, ends[0], ends[1], 1);
}

OPERATION(socket_64)
{
    int ends[2];
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "socketpair");
    pass(count, ends[0], ends[1], 64);
}

/* ---- threads and processes, from the beginning to the end ------------------------------------ */

static void *return_argument(void *argument)
{
    return argument;
}

OPERATION(thread)
{
    TIMES
    {
        pthread_t thread;
        must(pthread_create(&thread, NULL, return_argument, NULL) == 0, "pthread_create");
        pthread_join(thread, NULL);
    }
}

/* By itself, as the child has the caller's frame. */
static __attribute__((noinline)) pid_t vfork_and_exit(void)
{
    pid_t child = vfork();
    if (child == 0)
        _exit(0);
    return child;
}

OPERATION(vfork_exit)
{
    TIMES
    {
        pid_t child = vfork_and_exit();
        must(child > 0 && waitpid(child, NULL, 0) == child, "vfork");
    }
}

OPERATION(fork_exit)
{
    TIMES
    {
        pid_t child = fork();
        if (child == 0)
            _exit(0);
        must(child > 0 && waitpid(child, NULL, 0) == child, "fork");
    }
}

/* ---- files in the working directory ---------------------------------------------------------- */

static int open_file(void)
{
    int fd = open("file", O_RDWR | O_CREAT, 0600);
    must(fd >= 0, "file");
    return fd;
}

OPERATION(open_close)
{
    TIMES close(open_file());
}

OPERATION(stat_file)
{
    struct stat status;
    close(open_file());
    TIMES must(stat("file", &status) == 0, "stat");
}

static void write_read(unsigned count, uint8_t *memory, size_t length, unsigned places)
{
    int fd = open_file();
    TIMES
    {
        off_t at = (off_t)(i % places * length);
        must(pwrite(fd, memory, length, at) == (ssize_t)length &&
                 pread(fd, memory, length, at) == (ssize_t)length,
             "write and read");
    }
    close(fd);
}

OPERATION(write_read_4096)
{
    write_read(count, memory, 4096, 64);
}

OPERATION(write_read_65536)
{
    write_read(count, memory, 65536, 1);
}

const struct operation operations_system[] = {
    {"syscall", syscall_getppid, 200000},
    {"int-80", int_80, 50000},
    {"yield", yield, 50000},
    {"usleep-50", usleep_50, 300},
    {"map-unmap", map_unmap, 20000},
    {"protect-twice", protect_twice, 20000},
    {"page-fault", page_fault, 19200},
    {"signal", signal_raise, 20000},
    {"fault-store", fault_store, 5000},
    {"fault-divide", fault_divide, 5000},
    {"pipe-1", pipe_1, 20000},
    {"socket-64", socket_64, 20000},
    {"thread", thread, 500},
    {"vfork", vfork_exit, 300},
    {"fork", fork_exit, 200},
    {"open-close", open_close, 10000},
    {"stat", stat_file, 20000},
    {"write-read-4096", write_read_4096, 10000},
    {"write-read-65536", write_read_65536, 1000},
    {NULL, NULL, 0},
};
