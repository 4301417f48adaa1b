/*
 * Where 16-bit code goes at the end of 64 KiB: its instruction pointer has 32 bits, and only what
 * branches with 16-bit operands is cut. The host's own processor says so, and all engines must do
 * the same. It is what the segment's limit then stops, not a wrap to the beginning.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "emu/jit/jit.h"
#include "tests/unit/emu/bare_cpu.h"
#include <asm/ldt.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define AT        ((uint8_t *)0x10000000) /* on the host */
#define SIZE      0x20000u
#define ENTRY     2
#define SELECTOR  (ENTRY << 3 | 7)
#define HLT       0xf4
#define TO_64_KIB 0xffffu

/* NOPs from 0xff00 on but for what is said, else HLT; begins at 0xffc0. */
static const struct {
    const char *name;
    uint32_t limit, at;
    uint8_t bytes[6];
    uint8_t size;
} cases[] = {
    {"on to the limit", TO_64_KIB, 0xffc0, {0x90}, 1},
    {"on past 64 KiB", SIZE - 1, 0xffc0, {0x90}, 1},
    {"across the limit", TO_64_KIB, 0xfffe, {0xb8}, 1}, /* MOV AX, HLT HLT */
    {"across 64 KiB", SIZE - 1, 0xfffe, {0xb8}, 1},
    {"a short jump cuts", SIZE - 1, 0x10000, {0xeb, 0x10}, 2},
    {"a wide jump does not", SIZE - 1, 0x10000, {0x66, 0xeb, 0x10}, 3},
    {"a wide jump past the limit", TO_64_KIB, 0xfff0, {0x66, 0xeb, 0x40}, 3},
    {"a short jump cuts before it looks", TO_64_KIB, 0xfff0, {0xeb, 0x40}, 2},
    {"no jump, on past 64 KiB", SIZE - 1, 0xfffc, {0x39, 0xc0, 0x75, 0x10}, 4},
    {"no jump, on to the limit", TO_64_KIB, 0xfffc, {0x39, 0xc0, 0x75, 0x10}, 4},
    /* MOV CX, 9; 1: LOOP 1 */
    {"a loop, on past 64 KiB", SIZE - 1, 0xfffb, {0xb9, 9, 0, 0xe2, 0xfe}, 5},
    {"a loop, on to the limit", TO_64_KIB, 0xfffb, {0xb9, 9, 0, 0xe2, 0xfe}, 5},
};
#define START 0xffc0u

static void lay_out(uint8_t *code, unsigned i)
{
    memset(code, HLT, SIZE);
    memset(code + 0xff00, 0x90, 0x100);
    memcpy(code + cases[i].at, cases[i].bytes, cases[i].size);
}

/* ---- the host -------------------------------------------------------------------------------- */

static sigjmp_buf escape;
static uint64_t stopped_at;

static void on_signal(int number, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    stopped_at = (uint64_t)uc->uc_mcontext.gregs[REG_RIP];
    siglongjmp(escape, 1);
}

/* The address of the instruction that the host's processor did not do; HLT is one, at our level. */
static uint64_t run_on_host(unsigned i)
{
    struct {
        uint32_t offset;
        uint16_t selector;
    } where = {START, SELECTOR};
    struct user_desc code = {.entry_number = ENTRY,
                             .base_addr = (uint32_t)(uintptr_t)AT,
                             .limit = cases[i].limit,
                             .contents = MODIFY_LDT_CONTENTS_CODE,
                             .useable = 1};
    assert_int_equal(syscall(SYS_modify_ldt, 1, &code, sizeof(code)), 0);
    lay_out(AT, i);
    if (!sigsetjmp(escape, 1))
        asm volatile("ljmp *%0" : : "m"(where) : "memory", "rax", "rcx", "cc");
    return stopped_at;
}

static bool host_can(void)
{
    static uint8_t stack[1 << 16];
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    struct user_desc code = {.entry_number = ENTRY,
                             .limit = TO_64_KIB,
                             .contents = MODIFY_LDT_CONTENTS_CODE,
                             .useable = 1};
    sigaltstack(&alternate, NULL);
    sigaction(SIGSEGV, &action, NULL);
    int prot = PROT_READ | PROT_WRITE | PROT_EXEC;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    return syscall(SYS_modify_ldt, 1, &code, sizeof(code)) == 0 &&
           mmap(AT, SIZE, prot, flags, -1, 0) == AT;
}

/* ---- ours ------------------------------------------------------------------------------------ */

/* The same address. There are no handlers: a fault shuts the CPU down where it was. */
static uint64_t run_on_ours(struct cpu *cpu, unsigned i)
{
    struct cpu_state *s = cpu_state(cpu);
    lay_out(memory_ram_host(cpu->board->memory) + CODE, i);
    bare_begin(cpu, NULL, 0);
    s->seg[SEG_CS] = (struct segment){.base = CODE,
                                      .limit = cases[i].limit,
                                      .selector = 8,
                                      .attributes = SEG_P | SEG_S | SEG_CODE | SEG_WRITABLE};
    s->seg[SEG_SS] = (struct segment){.limit = UINT32_MAX,
                                      .attributes = SEG_P | SEG_S | SEG_WRITABLE | SEG_DB | SEG_G};
    s->rip = START;
    cpu_state_changed(cpu);
    return cpu_run(cpu) == CPU_EXIT_HALTED ? s->rip - 1 : s->rip;
}

/* ---- both ------------------------------------------------------------------------------------ */

static void test_end_of_64_kib(void **state)
{
    static const char *const engines[] = {"interp", "jit", "lockstep"};
    if (!host_can()) {
        print_message("this host allows no segments of our own, and so cannot be asked\n");
        skip();
    }
    for (unsigned e = 0; e < G_N_ELEMENTS(engines); e++) {
        struct board board;
        bare_board(&board, RAM);
        struct cpu *cpu = bare_cpu(&board, engines[e]);
        jit_set_hot(cpu, 0);
        for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
            uint64_t host = run_on_host(i), ours = run_on_ours(cpu, i);
            if (ours != host)
                print_message("%s, %s: stops at %" PRIx64 ", the host at %" PRIx64 "\n", engines[e],
                              cases[i].name, ours, host);
            assert_int_equal(ours, host);
        }
        cpu_free(cpu);
        board_finish(&board);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_end_of_64_kib)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
