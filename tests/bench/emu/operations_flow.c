/* Where a program goes on: jumps, calls, returns, other stacks, and code that changes. */
#include "tests/bench/emu/operations.h"
#include <setjmp.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define NOINLINE __attribute__((noinline, noclone))

/* ---- jumps ----------------------------------------------------------------------------------- */

OPERATION(loop_20)
{
    TIMES
    {
        uint64_t times = 20;
        __asm__ volatile("1: loop 1b" : "+c"(times));
    }
}

ASSEMBLY(jrcxz, "xor %%ecx, %%ecx; jrcxz 1f; nop; 1:" : : : "rcx", "cc")

/* Where the next jump goes cannot be guessed. */
OPERATION(jump_table)
{
    static const void *const cases[] = {&&add, &&flip, &&subtract, &&multiply};
    uint64_t state = 1;
    TIMES
    {
        state = state * 6364136223846793005u + 1;
        goto *cases[state >> 62];
    add:
        state += 7;
        continue;
    flip:
        state ^= 99;
        continue;
    subtract:
        state -= i;
        continue;
    multiply:
        state *= 5;
    }
    keep(state);
}

/* ---- calls and returns ----------------------------------------------------------------------- */

static NOINLINE uint64_t increment(uint64_t x)
{
    __asm__ volatile("" : "+r"(x));
    return x + 1;
}

OPERATION(call_return)
{
    uint64_t value = 0;
    TIMES value = increment(value);
    keep(value);
}

OPERATION(call_pointer)
{
    uint64_t (*volatile function)(uint64_t) = increment, value = 0;
    TIMES value = function(value);
    keep(value);
}

static NOINLINE uint64_t descend(unsigned depth)
{
    uint64_t below = depth ? descend(depth - 1) : 0;
    __asm__ volatile("" : "+r"(below)); /* or it would become a loop */
    return below + 1;
}

OPERATION(calls_300_deep)
{
    TIMES keep(descend(300));
}

ASSEMBLY(enter_leave, "enter $32, $0; leave" : : : "memory")

/* An indirect jump as kernels make it where the processor guesses too much. */
ASSEMBLY(retpoline,
         "call 1f; 2: pause; jmp 2b; 1: lea 3f(%%rip), %%rax; mov %%rax, (%%rsp); ret; 3:"
         :
         :
         : "rax", "memory")

/* ---- what a thread has for its own ------------------------------------------------------------
 */

OPERATION(load_fs)
{
    uint64_t value;
    TIMES __asm__ volatile("movq %%fs:0, %0" : "=r"(value));
}

OPERATION(add_thread_local)
{
    static __thread uint64_t sum;
    TIMES
    {
        sum += i;
        __asm__ volatile("" : : : "memory");
    }
}

/* ---- other stacks ---------------------------------------------------------------------------- */

OPERATION(setjmp_longjmp)
{
    static jmp_buf place;
    volatile unsigned done = 0;
    setjmp(place);
    if (done < count) {
        done++;
        longjmp(place, 1);
    }
}

static ucontext_t here, there;

static void swap_back(void)
{
    for (;;)
        swapcontext(&there, &here);
}

OPERATION(swapcontext_twice)
{
    static char stack[65536];
    getcontext(&there);
    there.uc_stack.ss_sp = stack;
    there.uc_stack.ss_size = sizeof(stack);
    there.uc_link = NULL;
    makecontext(&there, swap_back, 0);
    TIMES swapcontext(&here, &there);
}

/* Puts the stack pointer down in from, and goes on where another stack left off. */
static __attribute__((naked, noinline)) void switch_stacks(void **from, void *to)
{
    __asm__("pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15;"
            "movq %rsp, (%rdi); movq %rsi, %rsp;"
            "popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp; ret");
}

static void *our_stack, *other_stack;

static void switch_back(void)
{
    for (;;)
        switch_stacks(&other_stack, our_stack);
}

/* There and back. The other stack begins as switch_stacks would leave it: six registers, the place
 * to return to, and above that one more for the ABI's alignment. */
OPERATION(coroutine)
{
    static void *stack[8192] __attribute__((aligned(64)));
    void **top = stack + 8192 - 8;
    *--top = NULL;
    *--top = (void *)switch_back;
    other_stack = top - 6;
    TIMES switch_stacks(&our_stack, other_stack);
}

/* ---- code that changes ----------------------------------------------------------------------- */

typedef uint32_t code_constant(void);
typedef uint64_t code_counter(void *);

static uint8_t *code_pages(void)
{
    static uint8_t *pages;
    if (!pages)
        pages = mmap(NULL, 65536, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
                     -1, 0);
    return pages;
}

/* mov eax, value; ret */
static void write_constant(uint8_t *code, uint32_t value)
{
    code[0] = 0xb8;
    memcpy(code + 1, &value, sizeof(value));
    code[5] = 0xc3;
}

/* inc qword [rdi]; mov rax, [rdi]; ret: what it changes lies on its own page. */
OPERATION(store_beside_code)
{
    static const uint8_t code[] = {0x48, 0xff, 0x07, 0x48, 0x8b, 0x07, 0xc3};
    uint8_t *page = code_pages();
    memcpy(page, code, sizeof(code));
    TIMES keep(((code_counter *)(uintptr_t)page)(page + 2048));
}

/* Written eight times for each time that it is run. */
OPERATION(rewrite_code)
{
    uint8_t *code = code_pages() + 8192;
    TIMES
    {
        write_constant(code, i);
        if (i % 8 == 0)
            keep(((code_constant *)(uintptr_t)code)());
    }
}

/* A function at another place each time. */
OPERATION(write_new_code)
{
    TIMES
    {
        uint8_t *code = code_pages() + 16384 + (i & 255) * 64;
        write_constant(code, i);
        keep(((code_constant *)(uintptr_t)code)());
    }
}

const struct operation operations_flow[] = {
    {"loop-20", loop_20, 1000000},
    {"jrcxz", jrcxz, 5000000},
    {"jump-table", jump_table, 4000000},
    {"call-return", call_return, 10000000},
    {"call-pointer", call_pointer, 10000000},
    {"calls-300-deep", calls_300_deep, 20000},
    {"enter-leave", enter_leave, 2000000},
    {"retpoline", retpoline, 2000000},
    {"load-fs", load_fs, 20000000},
    {"add-thread-local", add_thread_local, 10000000},
    {"setjmp-longjmp", setjmp_longjmp, 600000},
    {"swapcontext-twice", swapcontext_twice, 100000},
    {"coroutine", coroutine, 2000000},
    {"store-beside-code", store_beside_code, 300000},
    {"rewrite-code", rewrite_code, 100000},
    {"write-new-code", write_new_code, 10000},
    {NULL, NULL, 0},
};
