/*
 * What programs rely on, on all processors at once, while memory is short: churn SECONDS.
 *
 * Each kind of work knows what it must find: memory over forks, unmaps, moves and swap; registers
 * over switches and signals; code that is written anew where other code ran, by the thread that
 * runs it and by another; pages that are taken away under other threads; locked counters. What is
 * wrong is said, in a line each; the last line is "churn ok ROUNDS" or "churn bad ROUNDS". Needs no
 * privilege.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE        4096
#define WORDS       (PAGE / 8)
#define COMMON      16 /* pages that all threads look at */
#define COMMON_WORD 0x1234

static time_t until;
static atomic_ulong rounds, stepped;
static atomic_int bad;
static uint64_t counters[4];
static uint64_t *common;
/* Code that one thread writes and another runs. */
static struct {
    uint8_t *code;
    _Atomic(uint32_t) asked, done, value;
} handed;

static bool over(void)
{
    return time(NULL) >= until;
}

static void wrong(const char *what, uint64_t found, uint64_t expected)
{
    printf("churn wrong: %s: %lx, not %lx, in process %d\n", what, found, expected, (int)getpid());
    fflush(stdout);
    atomic_fetch_add(&bad, 1);
}

static void expect(const char *what, uint64_t found, uint64_t expected)
{
    if (found != expected)
        wrong(what, found, expected);
}

static uint64_t mix(uint64_t x)
{
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdULL;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53ULL;
    return x ^ x >> 33;
}

static void *pages(size_t count, int more)
{
    void *at =
        mmap(NULL, count * PAGE, PROT_READ | PROT_WRITE | more, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return at == MAP_FAILED ? NULL : at;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void fill(uint64_t *m, size_t words, uint64_t seed)
{
    for (size_t i = 0; i < words; i += 73)
        m[i] = seed + i;
}

static void check(const char *what, const uint64_t *m, size_t words, uint64_t seed)
{
    for (size_t i = 0; i < words; i += 73)
        expect(what, m[i], seed + i);
}

static uint64_t *move(uint64_t *m, size_t count)
{
    uint64_t *moved = mremap(m, count * PAGE, 2 * count * PAGE, MREMAP_MAYMOVE);
    if (moved == MAP_FAILED)
        return m;
    munmap(moved + count * WORDS, count * PAGE);
    return moved;
}

static void *map_work(void *number)
{
    for (uint64_t seed = mix((uintptr_t)number); !over(); seed = mix(seed)) {
        size_t count = 1 + seed % 40, words = count * WORDS;
        uint64_t *m = pages(count, 0);
        if (!m)
            continue;
        for (size_t i = 0; i < words; i += 64)
            expect("a new page", m[i], 0);
        fill(m, words, seed);
        if (seed & 1 << 8)
            sched_yield();
        if (seed & 1 << 9) {
            mprotect(m, count * PAGE, PROT_READ);
            check("a page that is only read", m, words, seed);
            mprotect(m, count * PAGE, PROT_READ | PROT_WRITE);
        }
        if (seed & 1 << 10)
            m = move(m, count);
        check("a page", m, words, seed);
        if (seed & 1 << 11) {
            madvise(m, count * PAGE, MADV_DONTNEED);
            for (size_t i = 0; i < words; i += 64)
                expect("a page that was dropped", m[i], 0);
        }
        munmap(m, count * PAGE);
        atomic_fetch_add(&rounds, 1);
    }
    return NULL;
}

#define FORK_PAGES 24

static void child_work(uint64_t *m, uint64_t seed, int answer)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < FORK_PAGES * WORDS; i += 64) {
        if (m[i] != seed + i)
            _exit(7);
        m[i] = ~(seed + i);
    }
    for (size_t i = 0; i < FORK_PAGES * WORDS; i += 64)
        sum += m[i];
    _exit(write(answer, &sum, sizeof(sum)) == sizeof(sum) ? 3 : 9);
}

static void fork_once(uint64_t *m, uint64_t seed)
{
    int ends[2], ended = 0;
    uint64_t got = 0, want = 0;
    for (size_t i = 0; i < FORK_PAGES * WORDS; i += 64) {
        m[i] = seed + i;
        want += ~(seed + i);
    }
    if (pipe(ends) != 0)
        return;
    pid_t child = fork();
    if (child == 0)
        child_work(m, seed, ends[1]);
    close(ends[1]);
    if (child > 0) {
        for (size_t i = 0; i < FORK_PAGES * WORDS; i += 128)
            m[i] += 9;
        ssize_t length = read(ends[0], &got, sizeof(got));
        while (waitpid(child, &ended, 0) < 0 && errno == EINTR)
            ;
        expect("what a child sent", (uint64_t)length, sizeof(got));
        expect("a child's pages", got, want);
        expect("how a child ended", (uint64_t)ended, 3 << 8);
        for (size_t i = 0; i < FORK_PAGES * WORDS; i += 64)
            expect("a parent's page", m[i], seed + i + (i % 128 ? 0 : 9));
    }
    close(ends[0]);
}

static void *fork_work(void *number)
{
    uint64_t *m = pages(FORK_PAGES, 0);
    for (uint64_t seed = mix((uintptr_t)number); m && !over(); seed = mix(seed)) {
        fork_once(m, seed);
        atomic_fetch_add(&rounds, 1);
    }
    return NULL;
}

/* The first of these puts other pages with the same words into place; the others look. */
static void *shoot_work(void *number)
{
    for (uint64_t n = (uintptr_t)number; !over(); atomic_fetch_add(&rounds, 1)) {
        for (unsigned turn = 0; turn < 100; turn++) {
            n = mix(n + 1);
            uint64_t page = n % COMMON, word = page << 32 | COMMON_WORD;
            uint64_t *place = common + page * WORDS, *other = number ? NULL : pages(1, 0);
            for (unsigned i = 0; i < WORDS && other; i++)
                other[i] = word;
            if (other)
                mremap(other, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place);
            for (unsigned i = 0; i < WORDS && number; i += 31)
                expect("a page that others replace", ((volatile uint64_t *)place)[i], word);
        }
    }
    return NULL;
}

/* ---- registers ------------------------------------------------------------------------------- */

/* Everything is loaded, a system call or 300 turns pass, everything is stored. */
static void hold_registers(uint64_t n)
{
    static const unsigned plus[6] = {0, 1, 2, 3, 5, 6};
    long double x = n, y = n * 3.0L, z = 1 / (long double)n;
    double in[4] = {n * 1.0, n * 2.0, n * 3.0, n * 4.0}, out[4];
    long double wanted[3] = {x, y, z};
    uint64_t general[6];
    __asm__ volatile("fldt %[x]\n\tfldt %[y]\n\tfldt %[z]\n\t"
                     "movsd 0(%[in]), %%xmm4\n\tmovsd 8(%[in]), %%xmm9\n\t"
                     "movsd 16(%[in]), %%xmm15\n\tmovsd 24(%[in]), %%xmm1\n\t"
                     "mov %[n], %%r8\n\tlea 1(%[n]), %%r9\n\tlea 2(%[n]), %%r10\n\t"
                     "lea 3(%[n]), %%r12\n\tlea 5(%[n]), %%r14\n\tlea 6(%[n]), %%r15\n\t"
                     "mov $24, %%eax\n\ttest $7, %%r8b\n\tjnz 1f\n\tsyscall\n" /* sched_yield */
                     "1:\tmov $300, %%ecx\n"
                     "2:\tadd $1, %%r8\n\tsub $1, %%r8\n\tdec %%ecx\n\tjnz 2b\n\t"
                     "movsd %%xmm4, 0(%[out])\n\tmovsd %%xmm9, 8(%[out])\n\t"
                     "movsd %%xmm15, 16(%[out])\n\tmovsd %%xmm1, 24(%[out])\n\t"
                     "mov %%r8, 0(%[g])\n\tmov %%r9, 8(%[g])\n\tmov %%r10, 16(%[g])\n\t"
                     "mov %%r12, 24(%[g])\n\tmov %%r14, 32(%[g])\n\tmov %%r15, 40(%[g])\n\t"
                     "fstpt %[z]\n\tfstpt %[y]\n\tfstpt %[x]"
                     : [x] "+m"(x), [y] "+m"(y), [z] "+m"(z)
                     : [in] "D"(in), [out] "S"(out), [g] "b"(general), [n] "d"(n)
                     : "rax", "rcx", "r8", "r9", "r10", "r11", "r12", "r14", "r15", "xmm1", "xmm4",
                       "xmm9", "xmm15", "memory", "cc");
    expect("x87 registers", x == wanted[0] && y == wanted[1] && z == wanted[2], true);
    for (unsigned i = 0; i < 4; i++)
        expect("a vector register", (uint64_t)out[i], (uint64_t)in[i]);
    for (unsigned i = 0; i < 6; i++)
        expect("a general register", general[i], n + plus[i]);
}

/* The same of vector registers' upper halves. */
static void hold_wide_registers(uint64_t n)
{
    uint64_t in[8], out[8];
    for (unsigned i = 0; i < 8; i++)
        in[i] = mix(n + i);
    __asm__ volatile("vmovdqu 0(%[in]), %%ymm2\n\tvmovdqu 32(%[in]), %%ymm13\n\t"
                     "mov $24, %%eax\n\ttest $7, %b[n]\n\tjnz 1f\n\tsyscall\n"
                     "1:\tmov $300, %%ecx\n"
                     "2:\tdec %%ecx\n\tjnz 2b\n\t"
                     "vmovdqu %%ymm2, 0(%[out])\n\tvmovdqu %%ymm13, 32(%[out])\n\tvzeroupper"
                     :
                     : [in] "D"(in), [out] "S"(out), [n] "d"(n)
                     : "rax", "rcx", "r11", "xmm2", "xmm13", "memory", "cc");
    for (unsigned i = 0; i < 8; i++)
        expect("a wide register", out[i], in[i]);
}

static void *register_work(void *number)
{
    bool wide = __builtin_cpu_supports("avx");
    for (uint64_t n = (uintptr_t)number * 1000003 + 1; !over(); atomic_fetch_add(&rounds, 1))
        for (unsigned turn = 0; turn < 200; turn++) {
            hold_registers(n++);
            if (wide)
                hold_wide_registers(n++);
        }
    return NULL;
}

static __thread volatile uint64_t signals;
static void on_signal(int number)
{
    signals += number * 1.5 > 0; /* with the units that it shares */
}

static void *signal_work(void *number)
{
    for (; !over(); atomic_fetch_add(&rounds, 1)) {
        uint64_t before = signals;
        double sum = (uintptr_t)number;
        for (unsigned i = 0; i < 200; i++) {
            pthread_kill(pthread_self(), SIGUSR1);
            sum += i * 0.5;
        }
        expect("signals", signals - before, 200);
        expect("a sum over signals", (uint64_t)sum, 9950 + (uintptr_t)number);
    }
    return NULL;
}

static void *lock_work(void *number)
{
    for (; !over(); atomic_fetch_add(&rounds, 1)) {
        for (uintptr_t i = (uintptr_t)number; i < (uintptr_t)number + 2000; i++)
            __atomic_fetch_add(&counters[i & 3], 1, __ATOMIC_SEQ_CST);
        atomic_fetch_add(&stepped, 2000);
    }
    return NULL;
}

/* ---- code ------------------------------------------------------------------------------------ */

static void write_code(uint8_t *at, uint32_t value) /* MOV EAX, value; RET */
{
    at[0] = 0xb8;
    memcpy(at + 1, &value, 4);
    at[5] = 0xc3;
}

static uint32_t run_code(const uint8_t *at)
{
    return ((uint32_t(*)(void))(uintptr_t)at)();
}

static void *code_work(void *number)
{
    uint8_t *code = NULL;
    uint64_t n = (uintptr_t)number;
    for (; !over(); atomic_fetch_add(&rounds, 1)) {
        if (!code && !(code = pages(2, PROT_EXEC)))
            continue;
        for (unsigned turn = 0; turn < 300; turn++) {
            n = mix(n + 1);
            uint8_t *at = code + (n >> 32) % (2 * PAGE - 6);
            write_code(at, (uint32_t)n);
            for (unsigned i = 0; i < (turn % 50 ? 2 : 60); i++)
                expect("code", run_code(at), (uint32_t)n);
        }
        if (n & 1) {
            munmap(code, 2 * PAGE);
            code = NULL;
        }
    }
    return NULL;
}

static void *writer_work(void *unused)
{
    uint64_t n = (uintptr_t)unused;
    for (; !over(); atomic_fetch_add(&rounds, 1)) {
        n = mix(n + 1);
        write_code(handed.code, (uint32_t)n);
        atomic_store(&handed.value, (uint32_t)n);
        uint32_t asked = atomic_fetch_add(&handed.asked, 1) + 1;
        while (atomic_load(&handed.done) != asked)
            sched_yield();
    }
    atomic_store(&handed.asked, UINT32_MAX);
    return NULL;
}

static void *runner_work(void *unused)
{
    for (uint32_t seen = 0;;) {
        uint32_t asked = atomic_load(&handed.asked), a = 0, b, c = 0, d;
        if (asked == UINT32_MAX)
            return unused;
        if (asked == seen) {
            sched_yield();
            continue;
        }
        /* CPUID, as who runs what another wrote must */
        __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d) : : "memory");
        for (unsigned i = 0; i < 3; i++)
            expect("code of another", run_code(handed.code), atomic_load(&handed.value));
        atomic_store(&handed.done, ++seen);
    }
}

/* ---- all of it ------------------------------------------------------------------------------- */

static void on_fault(int number, siginfo_t *info, void *context)
{
    const ucontext_t *at = context;
    wrong("fault", (uintptr_t)info->si_addr, (uint64_t)at->uc_mcontext.gregs[REG_RIP]);
    _exit(64 + number);
}

int main(int argc, char **argv)
{
    static void *(*const work[])(void *) = {
        shoot_work, shoot_work, shoot_work,  map_work,    map_work,    register_work, register_work,
        code_work,  fork_work,  writer_work, runner_work, signal_work, lock_work,     lock_work,
    };
    enum { COUNT = sizeof(work) / sizeof(work[0]) };
    static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
    struct sigaction act = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    pthread_t threads[COUNT];
    uint64_t sum = 0;

    until = time(NULL) + (argc > 1 ? strtol(argv[1], NULL, 10) : 10);
    for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
        sigaction(faults[i], &act, NULL);
    signal(SIGUSR1, on_signal);
    common = pages(COMMON, 0);
    handed.code = pages(1, PROT_EXEC);
    if (!common || !handed.code)
        return 1;
    for (unsigned i = 0; i < COMMON * WORDS; i++)
        common[i] = (uint64_t)(i / WORDS) << 32 | COMMON_WORD;
    for (uintptr_t i = 0; i < COUNT; i++)
        if (pthread_create(&threads[i], NULL, work[i], (void *)i) != 0)
            return 1;
    for (unsigned i = 0; i < COUNT; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < 4; i++)
        sum += counters[i];
    expect("locked counters", sum, stepped);
    printf("churn %s %lu\n", bad ? "bad" : "ok", (unsigned long)rounds);
    return bad != 0;
}
