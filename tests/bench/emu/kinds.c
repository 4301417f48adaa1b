/*
 * The kinds of work of the emulator's benchmark: one static program, run natively and as the first
 * process of a guest. Each kind prints a line when it begins and one with a checksum when it ends;
 * run.py takes the processor time between the two.
 *
 *   kinds list | kinds NAME... | kinds (as init: what kinds= on the kernel's command line names)
 *
 * NAME-32 and NAME-i386 are the same kinds done by this program compiled for i386: under the same
 * kernel, as /kinds32, and as the init of a 32-bit kernel.
 */
#include "tests/bench/emu/kinds.h"
#include <emmintrin.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))

uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* ---- integers -------------------------------------------------------------------------------- */

static uint64_t integer_mix(unsigned rounds)
{
    uint64_t a = 1, b = 2, c = 3, d = 4, table[64];
    for (unsigned i = 0; i < 64; i++)
        table[i] = i * 0x9e3779b97f4a7c15;
    for (unsigned i = 0; i < rounds; i++) {
        a += table[i & 63] ^ (c << 7);
        b = (b << 5 | b >> 59) + (uint32_t)i * 7;
        if (b & 4)
            c -= i ^ d;
        else
            c ^= a & ~d;
        d += (int32_t)b > 0 ? 3 : (uint16_t)i;
        table[(i * 5) & 63] += d;
    }
    return a ^ b ^ c ^ d;
}

static uint64_t bytecode(unsigned rounds)
{
    enum { LOAD, ADD, SUB, SHIFT, XOR, STORE, DECREMENT, JUMP_IF, END };
    static const uint8_t program[] = {LOAD,  0,   ADD,       1,     LOAD,    2,    XOR, 0,   SHIFT,
                                      3,     SUB, 1,         STORE, 0,       LOAD, 1,   ADD, 2,
                                      STORE, 1,   DECREMENT, 7,     JUMP_IF, 0,    END, 0};
    uint64_t memory[8] = {1, 2, 3, 4, 5, 6, 7, rounds}, accumulator = 0;
    const uint8_t *at = program;
    for (;;) {
        unsigned operand = at[1];
        switch (*at) {
        case LOAD:
            accumulator = memory[operand];
            break;
        case ADD:
            accumulator += memory[operand];
            break;
        case SUB:
            accumulator -= memory[operand];
            break;
        case SHIFT:
            accumulator = accumulator << operand | accumulator >> (64 - operand);
            break;
        case XOR:
            accumulator ^= memory[operand];
            break;
        case STORE:
            memory[operand] = accumulator;
            break;
        case DECREMENT:
            memory[operand]--;
            break;
        case JUMP_IF:
            if (memory[7]) {
                at = program;
                continue;
            }
            break;
        default:
            return memory[0] ^ memory[1];
        }
        at += 2;
    }
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static uint64_t sort(unsigned rounds)
{
    static uint32_t values[1 << 16];
    uint64_t state = 88172645463325252, sum = 0;
    for (unsigned i = 0; i < rounds; i++) {
        for (unsigned n = 0; n < 1 << 16; n++)
            values[n] = (uint32_t)next_random(&state);
        qsort(values, 1 << 16, sizeof(*values), compare);
        sum = sum * 31 + values[12345];
    }
    return sum;
}

static uint32_t rotate(uint32_t value, unsigned by)
{
    return value >> by | value << (32 - by);
}

static void sha256_block(uint32_t h[8], const uint8_t *data, const uint32_t *k)
{
    uint32_t w[64], v[8];
    for (unsigned i = 0; i < 16; i++)
        w[i] = (uint32_t)data[4 * i] << 24 | data[4 * i + 1] << 16 | data[4 * i + 2] << 8 |
               data[4 * i + 3];
    for (unsigned i = 16; i < 64; i++) {
        uint32_t a = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
        uint32_t b = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + a + w[i - 7] + b;
    }
    memcpy(v, h, sizeof(v));
    for (unsigned i = 0; i < 64; i++) {
        uint32_t s1 = rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25);
        uint32_t t1 = v[7] + s1 + ((v[4] & v[5]) ^ (~v[4] & v[6])) + k[i] + w[i];
        uint32_t s0 = rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22);
        uint32_t t2 = s0 + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof(*v));
        v[4] += t1;
        v[0] = t1 + t2;
    }
    for (unsigned i = 0; i < 8; i++)
        h[i] += v[i];
}

static uint64_t sha256(unsigned rounds)
{
    uint32_t k[64], h[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    uint8_t data[64];
    for (unsigned i = 0; i < 64; i++)
        k[i] = i * 0x428a2f98, data[i] = (uint8_t)(i * 7);
    for (unsigned i = 0; i < rounds; i++) {
        sha256_block(h, data, k);
        data[i & 63] ^= (uint8_t)h[0];
    }
    return (uint64_t)h[0] << 32 | h[7];
}

static NOINLINE uint64_t fibonacci(unsigned n)
{
    return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}
static uint64_t recursion(unsigned rounds)
{
    return fibonacci(rounds);
}

static NOINLINE uint64_t call_a(uint64_t x)
{
    return x * 3 + 1;
}
static NOINLINE uint64_t call_b(uint64_t x)
{
    return x ^ x >> 9;
}
static NOINLINE uint64_t call_c(uint64_t x)
{
    return x + 0x1234567;
}
static NOINLINE uint64_t call_d(uint64_t x)
{
    return x << 1 | x >> 63;
}
static uint64_t indirect_calls(unsigned rounds)
{
    static uint64_t (*volatile const functions[4])(uint64_t) = {call_a, call_b, call_c, call_d};
    uint64_t x = 1;
    for (unsigned i = 0; i < rounds; i++)
        x = functions[(i ^ i >> 3) & 3](x);
    return x;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static uint64_t chase(unsigned rounds)
{
    enum { COUNT = 1 << 20 };
    uint32_t *next =
        mmap(NULL, COUNT * 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint64_t state = 1234567;
    uint32_t *order = malloc(COUNT * sizeof(*order)), at = 0;
    for (unsigned i = 0; i < COUNT; i++)
        order[i] = i;
    for (unsigned i = COUNT - 1; i > 0; i--) {
        unsigned j = next_random(&state) % (i + 1);
        uint32_t t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
    for (unsigned i = 0; i < COUNT; i++)
        next[4 * order[i]] = order[(i + 1) % COUNT];
    for (unsigned i = 0; i < rounds; i++)
        at = next[4 * at];
    munmap(next, COUNT * 16);
    free(order);
    return at;
}

static uint64_t copy(unsigned rounds)
{
    enum { SIZE = 256 << 10 };
    uint8_t *a = malloc(SIZE), *b = malloc(SIZE);
    memset(a, 7, SIZE);
    for (unsigned i = 0; i < rounds; i++) {
        a[i % SIZE] += (uint8_t)i;
        for (unsigned at = 0; at < SIZE; at += 64) { /* as libraries without AVX do */
            __m128i v0 = _mm_loadu_si128((__m128i *)(a + at));
            __m128i v1 = _mm_loadu_si128((__m128i *)(a + at + 16));
            __m128i v2 = _mm_loadu_si128((__m128i *)(a + at + 32));
            __m128i v3 = _mm_loadu_si128((__m128i *)(a + at + 48));
            _mm_storeu_si128((__m128i *)(b + at), v0);
            _mm_storeu_si128((__m128i *)(b + at + 16), v1);
            _mm_storeu_si128((__m128i *)(b + at + 32), v2);
            _mm_storeu_si128((__m128i *)(b + at + 48), v3);
        }
        __asm__ volatile("" : : "r"(b) : "memory");
    }
    uint64_t sum = b[0] + b[1] + b[777];
    free(a);
    free(b);
    return sum;
}

#ifdef __i386__
#define REP_MOVS "rep movsl"
#else
#define REP_MOVS "rep movsq"
#endif
static uint64_t rep_movs(unsigned rounds)
{
    enum { SIZE = 8 << 10 };
    uint8_t *a = malloc(SIZE), *b = malloc(SIZE);
    memset(a, 7, SIZE);
    memset(b, 1, SIZE);
    for (unsigned i = 0; i < rounds; i++) {
        a[i % SIZE] += (uint8_t)i;
        void *to = b, *from = a;
        size_t count = SIZE / sizeof(size_t);
        __asm__ volatile(REP_MOVS : "+D"(to), "+S"(from), "+c"(count) : : "memory");
    }
    uint64_t sum = b[0] + b[1] + b[777];
    free(a);
    free(b);
    return sum;
}

/* ---- floating point -------------------------------------------------------------------------- */

static uint64_t bits(double value)
{
    uint64_t result;
    memcpy(&result, &value, 8);
    return result;
}

/* Gravity between five bodies, as the well-known benchmark has it. */
#define N_BODY(name, real, root)                                                                   \
    static uint64_t name(unsigned rounds)                                                          \
    {                                                                                              \
        real p[5][3], v[5][3], m[5] = {39, 0.03L, 0.01L, 0.001L, 0.002L};                          \
        for (int i = 0; i < 5; i++)                                                                \
            for (int k = 0; k < 3; k++)                                                            \
                p[i][k] = (real)(i * 3 + k * k), v[i][k] = (real)(k - i) / 9;                      \
        for (unsigned r = 0; r < rounds; r++) {                                                    \
            for (int i = 0; i < 5; i++)                                                            \
                for (int j = i + 1; j < 5; j++) {                                                  \
                    real d[3], q = 0;                                                              \
                    for (int k = 0; k < 3; k++)                                                    \
                        d[k] = p[i][k] - p[j][k], q += d[k] * d[k];                                \
                    real f = (real)0.001L / (q * root(q));                                         \
                    for (int k = 0; k < 3; k++)                                                    \
                        v[i][k] -= d[k] * m[j] * f, v[j][k] += d[k] * m[i] * f;                    \
                }                                                                                  \
            for (int i = 0; i < 5; i++)                                                            \
                for (int k = 0; k < 3; k++)                                                        \
                    p[i][k] += v[i][k] * (real)0.001L;                                             \
        }                                                                                          \
        return bits((double)p[0][0]) ^ bits((double)v[4][2]);                                      \
    }
N_BODY(scalar_fp, double, __builtin_sqrt)
N_BODY(x87, long double, __builtin_sqrtl)

static uint64_t vector_fp(unsigned rounds)
{
    static float a[1024] __attribute__((aligned(16))), b[1024] __attribute__((aligned(16)));
    for (unsigned i = 0; i < 1024; i++)
        a[i] = (float)i, b[i] = 1.0f / (float)(i + 1);
    for (unsigned i = 0; i < rounds; i++)
        for (unsigned n = 0; n < 1024; n += 4) {
            __m128 v = _mm_load_ps(a + n), w = _mm_load_ps(b + n);
            v = _mm_add_ps(_mm_mul_ps(v, _mm_set1_ps(0.999f)), w);
            v = _mm_min_ps(v, _mm_set1_ps(100.0f));
            _mm_store_ps(a + n, v);
        }
    double sum = 0;
    for (unsigned i = 0; i < 1024; i++)
        sum += a[i];
    return bits(sum);
}

/* As programs run that were built with -ffast-math: what is denormal is zero. */
static uint64_t fast_math(unsigned rounds)
{
    enum { FLUSH_TO_ZERO = 0x8000, DENORMALS_ARE_ZEROS = 0x40 };
    unsigned before = _mm_getcsr();
    _mm_setcsr(before | FLUSH_TO_ZERO | DENORMALS_ARE_ZEROS);
    uint64_t result = scalar_fp(rounds);
    _mm_setcsr(before);
    return result;
}

/* Floating-point exceptions are to be signals, as some languages' runtimes have it; there are none.
 */
static uint64_t trapping(unsigned rounds)
{
    enum { INVALID = 0x80, DIVIDE_BY_ZERO = 0x200, OVERFLOW = 0x400 };
    unsigned before = _mm_getcsr();
    _mm_setcsr(before & ~(unsigned)(INVALID | DIVIDE_BY_ZERO | OVERFLOW));
    uint64_t result = scalar_fp(rounds);
    _mm_setcsr(before);
    return result;
}

/* The same of the x87. */
static uint64_t trapping_x87(unsigned rounds)
{
    enum { INVALID = 1, DIVIDE_BY_ZERO = 4, OVERFLOW = 8 };
    uint16_t before, unmasked;
    __asm__ volatile("fnstcw %0" : "=m"(before));
    unmasked = before & (uint16_t) ~(INVALID | DIVIDE_BY_ZERO | OVERFLOW);
    __asm__ volatile("fldcw %0" : : "m"(unmasked));
    uint64_t result = x87(rounds);
    __asm__ volatile("fldcw %0" : : "m"(before));
    return result;
}

/* One picture over another, eight bytes at a time, as programs did it before SSE2. */
static uint64_t mmx(unsigned rounds)
{
    enum { WORDS = 512 };
    static uint64_t a[WORDS], b[WORDS];
    for (unsigned i = 0; i < WORDS; i++)
        a[i] = i * UINT64_C(0x9e3779b97f4a7c15), b[i] = i * UINT64_C(0xd1b54a32d192ed03);
    for (unsigned i = 0; i < rounds; i++)
        for (unsigned n = 0; n < WORDS; n++)
            __asm__ volatile(
                "movq %0, %%mm0; movq %1, %%mm1; movq %%mm0, %%mm2; pmullw %%mm1, %%mm0;"
                "psrlw $8, %%mm0; packuswb %%mm1, %%mm0; pxor %%mm0, %%mm2;"
                "paddusb %%mm2, %%mm0; movq %%mm0, %0"
                : "+m"(a[n])
                : "m"(b[n])
                : "mm0", "mm1", "mm2", "st");
    __asm__ volatile("emms");
    uint64_t sum = 0;
    for (unsigned i = 0; i < WORDS; i++)
        sum = sum * 31 + a[i];
    return sum;
}

/* ---- the kernel ------------------------------------------------------------------------------ */

static uint64_t system_calls(unsigned rounds)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < rounds; i++)
        sum += (uint64_t)syscall(SYS_getppid) != 0;
    return sum > rounds;
}

static uint64_t forks(unsigned rounds)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < rounds; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit((int)(i & 63));
        int status;
        waitpid(child, &status, 0);
        sum += (uint64_t)WEXITSTATUS(status);
    }
    return sum;
}

static const char *self = "/proc/self/exe";
static uint64_t fork_exec(unsigned rounds)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < rounds; i++) {
        pid_t child = fork();
        if (child == 0) {
            execl(self, "kinds", "nothing", NULL);
            _exit(99);
        }
        int status;
        waitpid(child, &status, 0);
        sum += (uint64_t)WEXITSTATUS(status);
    }
    return sum;
}

static uint64_t page_faults(unsigned rounds)
{
    enum { SIZE = 4 << 20 };
    uint64_t sum = 0;
    for (unsigned i = 0; i < rounds; i++) {
        uint8_t *at = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        madvise(at, SIZE, MADV_NOHUGEPAGE);
        for (unsigned n = 0; n < SIZE; n += 4096)
            at[n] = (uint8_t)n, sum += at[n + 1];
        munmap(at, SIZE);
    }
    return sum;
}

static uint64_t ping_pong(unsigned rounds)
{
    int there[2], back[2];
    uint64_t sum = 0;
    if (pipe(there) || pipe(back))
        return 0;
    pid_t child = fork();
    if (child == 0) {
        char c;
        close(there[1]);
        while (read(there[0], &c, 1) == 1) {
            c++;
            if (write(back[1], &c, 1) != 1)
                break;
        }
        _exit(0);
    }
    for (unsigned i = 0; i < rounds; i++) {
        char c = (char)i;
        if (write(there[1], &c, 1) != 1 || read(back[0], &c, 1) != 1)
            break;
        sum += (uint8_t)c;
    }
    close(there[1]);
    waitpid(child, NULL, 0);
    close(there[0]);
    close(back[0]);
    close(back[1]);
    return sum;
}

/* ---- compression: the matching loop of an LZ77 coder ----------------------------------------- */

static uint64_t compression(unsigned rounds)
{
    enum { SIZE = 1 << 18, HASH = 1 << 14 };
    static uint8_t data[SIZE + 8], out[SIZE * 2];
    static uint32_t heads[HASH];
    uint64_t state = 42, total = 0;
    for (unsigned i = 0; i < SIZE; i++)
        data[i] =
            "the quick brown fox jumps over a lazy dog "[(next_random(&state) >> 60) * 2 + i % 7];
    for (unsigned r = 0; r < rounds; r++) {
        unsigned at = 0, to = 0;
        memset(heads, 0, sizeof(heads));
        while (at + 8 < SIZE) {
            uint32_t word;
            memcpy(&word, data + at, 4);
            unsigned hash = (word * 2654435761u) >> 18;
            unsigned candidate = heads[hash], length = 0;
            heads[hash] = at;
            while (candidate < at && at + length < SIZE &&
                   data[candidate + length] == data[at + length] && length < 255)
                length++;
            if (length >= 4) {
                out[to++] = (uint8_t)length;
                out[to++] = (uint8_t)(at - candidate);
                at += length;
            } else {
                out[to++] = data[at++];
            }
        }
        data[r % SIZE] ^= 1;
        total = total * 17 + to + out[to / 2];
    }
    return total;
}

/* ---- code that changes ----------------------------------------------------------------------- */

static uint8_t *code_page(void)
{
    return mmap(NULL, 65536, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                0);
}

/* mov eax, imm32; ret: the constant is rewritten each time. */
static uint64_t rewriting(unsigned rounds)
{
    uint8_t *page = code_page();
    uint64_t sum = 0;
    page[0] = 0xb8;
    page[5] = 0xc3;
    for (unsigned i = 0; i < rounds; i++) {
        memcpy(page + 1, &i, 4);
        sum += ((uint32_t(*)(void))(uintptr_t)page)();
    }
    munmap(page, 65536);
    return sum;
}

/* Loads, stores and changes of 4, 8 and 16 bytes that lie in two pages, as those of a stack frame
 * do that was placed without luck. */
static uint64_t crossing(unsigned rounds)
{
    uint8_t *edge = code_page() + 4096;
    uint64_t word, pair[2], sum = 0;
    uint32_t half;
    for (unsigned i = 0; i < rounds; i++) {
        memcpy(&word, edge - 3, sizeof(word));
        word = word * 0x5851f42d4c957f2d + i;
        memcpy(edge - 5, &word, sizeof(word));
        memcpy(&half, edge - 1, sizeof(half));
        half += i;
        memcpy(edge - 1, &half, sizeof(half));
        memcpy(pair, edge - 12, sizeof(pair));
        memcpy(edge - 8, pair, sizeof(pair));
        sum += pair[1] ^ half;
    }
    munmap(edge - 4096, 65536);
    return sum;
}

/* A new function of a hundred additions, run thirty times, then the next. */
static uint64_t generating(unsigned rounds)
{
    uint8_t *page = code_page();
    uint64_t sum = 0, state = 99;
    for (unsigned i = 0; i < rounds; i++) {
        uint8_t *at = page + (i % 100) * 640;
        uint8_t *start = at;
        *at++ = 0x31, *at++ = 0xc0;
        for (unsigned n = 0; n < 100; n++) {
            uint32_t value = (uint32_t)next_random(&state);
            *at++ = 0x05;
            memcpy(at, &value, 4);
            at += 4;
        }
        *at = 0xc3;
        for (unsigned n = 0; n < 30; n++)
            sum += ((uint32_t(*)(void))(uintptr_t)start)();
    }
    munmap(page, 65536);
    return sum;
}

/* ---- two at once ----------------------------------------------------------------------------- */

static unsigned thread_rounds;
static void *thread_work(void *seed)
{
    return (void *)(uintptr_t)(integer_mix(thread_rounds) ^ sha256(thread_rounds / 40));
}
static uint64_t threads(unsigned rounds)
{
    pthread_t second;
    void *a, *b;
    thread_rounds = rounds;
    pthread_create(&second, NULL, thread_work, NULL);
    a = thread_work(NULL);
    pthread_join(second, &b);
    return (uint64_t)(uintptr_t)a + (uint64_t)(uintptr_t)b;
}

static uint64_t one_thread(unsigned rounds)
{
    thread_rounds = rounds;
    return (uint64_t)(uintptr_t)thread_work(NULL);
}

static uint64_t nothing(unsigned rounds)
{
    return 0;
}

/* ---- choosing -------------------------------------------------------------------------------- */

static const struct kind {
    const char *name;
    uint64_t (*run)(unsigned rounds);
    unsigned rounds;
} kinds[] = {
    {"integer", integer_mix, 100000000},
    {"bytecode", bytecode, 15000000},
    {"sort", sort, 40},
    {"sha256", sha256, 400000},
    {"recursion", recursion, 40},
    {"indirect", indirect_calls, 60000000},
    {"chase", chase, 6000000},
    {"memcpy", copy, 12000},
    {"rep-movs", rep_movs, 400000},
    {"scalar-fp", scalar_fp, 1500000},
    {"vector-fp", vector_fp, 300000},
    {"x87", x87, 300000},
    {"fast-math", fast_math, 1500000},
    {"trapping", trapping, 500000},
    {"trapping-x87", trapping_x87, 300000},
    {"mmx", mmx, 100000},
    {"syscall", system_calls, 1000000},
    {"fork", forks, 1500},
    {"fork-exec", fork_exec, 400},
    {"page-fault", page_faults, 60},
    {"ping-pong", ping_pong, 20000},
    {"compress", compression, 30},
    {"rewriting", rewriting, 300000},
    {"generating", generating, 10000},
    {"crossing", crossing, 10000000},
    {"gzip", gzip_busybox, 3},
    {"exec-dynamic", exec_dynamic, 200},
    {"compile", compile, 2},
    {"one-thread", one_thread, 60000000},
    {"two-cpus", threads, 60000000},
    {"disk-virtio-read", disk_virtio_read, 8},
    {"disk-virtio-write", disk_virtio_write, 4},
    {"disk-virtio-random", disk_virtio_random, 16000},
    {"disk-ide-read", disk_ide_read, 8},
    {"disk-ide-write", disk_ide_write, 4},
    {"disk-ide-random", disk_ide_random, 16000},
    {"net-send", net_send, 192},
    {"net-receive", net_receive, 192},
    {"nothing", nothing, 0},
};

/* In a process of its own, which is of another kind of machine. */
static int run_elsewhere(const char *program, const char *name)
{
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        execl(program, program, name, NULL);
        _exit(99);
    }
    waitpid(child, &status, 0);
    return status != 0;
}

static bool has_end(const char *name, const char *end)
{
    size_t a = strlen(name), b = strlen(end);
    return a > b && !strcmp(name + a - b, end);
}

static int run_named(const char *full)
{
    char name[64];
    snprintf(name, sizeof(name), "%s", full);
    if (has_end(name, "-32") || has_end(name, "-i386")) {
        if (sizeof(void *) == 8)
            return run_elsewhere("/kinds32", full);
        *strrchr(name, '-') = 0;
    }
    for (unsigned i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        const struct kind *kind = &kinds[i];
        if (strcmp(kind->name, name) != 0)
            continue;
        if (kind->run == nothing)
            return 7;
        printf("BEGIN %s\n", full);
        fflush(stdout);
        uint64_t sum = kind->run(kind->rounds);
        printf("END %s %016llx\n", full, (unsigned long long)sum);
        fflush(stdout);
        return 0;
    }
    printf("there is no kind %s\n", full);
    return 2;
}

static int as_init(void)
{
    char line[4096] = "";
    mkdir("/proc", 0755);
    mount("proc", "/proc", "proc", 0, NULL);
    FILE *file = fopen("/proc/cmdline", "r");
    if (file) {
        if (!fgets(line, sizeof(line), file))
            line[0] = 0;
        fclose(file);
    }
    self = "/init";
    io_prepare(line);
    char *list = strstr(line, "kinds="), *name;
    list = list ? list + 6 : NULL;
    while ((name = strsep(&list, ",")) != NULL) {
        name[strcspn(name, " \n")] = 0;
        if (*name)
            run_named(name);
    }
    printf("DONE\n");
    fflush(stdout);
    reboot(RB_POWER_OFF);
    return 1;
}

int main(int argc, char **argv)
{
    if (getpid() == 1)
        return as_init();
    if (argc == 2 && !strcmp(argv[1], "list")) {
        for (unsigned i = 0; i + 1 < sizeof(kinds) / sizeof(*kinds); i++)
            puts(kinds[i].name);
        return 0;
    }
    int status = argc < 2;
    for (int i = 1; i < argc; i++)
        status |= run_named(argv[i]);
    return status;
}
