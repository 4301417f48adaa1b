/*
 * Runs a few bytes of code on the host's own processor, from given registers, and tells what came
 * of it: registers, or the fault. 64-bit code; 32-bit code by way of the kernel's segment for it,
 * 16-bit code in a segment of our own. For tests alone.
 */
#pragma once

#include "emu/cpu/decode.h"
#include "emu/cpu/features.h"
#include <asm/ldt.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define DATA_AT   UINT64_C(0x10000000)
#define DATA_SIZE 0x2000 /* and a page behind it that is read-only */
#define CODE_AT   UINT64_C(0x20000000)
#define AREA_AT   UINT64_C(0x30000000)

/* In the code page: where a branch goes, and the ways out of 32-bit code. */
#define TARGET 0x60
#define LEAVE  0xf00

/* The kernel's selectors, and one for a segment of ours that begins at DATA_AT. */
#define SELECTOR_CODE32 0x23
#define SELECTOR_DATA   0x2b
#define SELECTOR_CODE64 0x33
#define SELECTOR_BASED  0x07
#define SELECTOR_CODE16 0x0f /* begins at CODE_AT */

struct area {
    uint64_t gpr[16]; /* at fixed offsets: the trampoline below knows them */
    uint64_t flags;   /* 0x80 */
    uint64_t host_sp; /* 0x88 */
    uint32_t entry;   /* 0x90: a far pointer */
    uint16_t entry_cs;
    uint16_t has_avx;          /* 0x96 */
    uint32_t slot;             /* 0x98: 1 when a branch was taken */
    uint16_t ds, es, ss, fill; /* 0x9c */
    uint64_t unused[11];
    uint8_t fx[512];       /* 0x100 */
    uint8_t upper[16][16]; /* 0x300: of YMM registers */
    uint64_t rip, error, cr2;
};

/* clang-format off */
#define UPPER_HALVES(insn)                                                                         \
    "testb $1, 0x30000096\n\tjz 1f\n\t.irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n\t" insn       \
    "\n\t.endr\n\t"
void native_enter(void);
void native_exit(void);
asm(".text\n"
    "native_enter:\n\t"
    "push %rbx\n\tpush %rbp\n\tpush %r12\n\tpush %r13\n\tpush %r14\n\tpush %r15\n\t"
    "mov %rsp, 0x30000088\n\t"
    "fxrstor64 0x30000100\n\t"
    UPPER_HALVES("vinsertf128 $1, 0x30000300 + 16 * \\n, %ymm\\n, %ymm\\n")
    "1:\n\t"
    "mov 0x3000009c, %ds\n\tmov 0x3000009e, %es\n\t"
    "pushq 0x30000080\n\tpopfq\n\t"
    "mov 0x30000000, %rax\n\tmov 0x30000008, %rcx\n\tmov 0x30000010, %rdx\n\t"
    "mov 0x30000018, %rbx\n\tmov 0x30000020, %rsp\n\tmov 0x30000028, %rbp\n\t"
    "mov 0x30000030, %rsi\n\tmov 0x30000038, %rdi\n\tmov 0x30000040, %r8\n\t"
    "mov 0x30000048, %r9\n\tmov 0x30000050, %r10\n\tmov 0x30000058, %r11\n\t"
    "mov 0x30000060, %r12\n\tmov 0x30000068, %r13\n\tmov 0x30000070, %r14\n\t"
    "mov 0x30000078, %r15\n\t"
    "ljmp *0x30000090\n"
    "native_exit:\n\t"
    "mov %rax, 0x30000000\n\tmov %rcx, 0x30000008\n\tmov %rdx, 0x30000010\n\t"
    "mov %rbx, 0x30000018\n\tmov %rsp, 0x30000020\n\tmov %rbp, 0x30000028\n\t"
    "mov %rsi, 0x30000030\n\tmov %rdi, 0x30000038\n\tmov %r8, 0x30000040\n\t"
    "mov %r9, 0x30000048\n\tmov %r10, 0x30000050\n\tmov %r11, 0x30000058\n\t"
    "mov %r12, 0x30000060\n\tmov %r13, 0x30000068\n\tmov %r14, 0x30000070\n\t"
    "mov %r15, 0x30000078\n\t"
    "mov %ds, 0x3000009c\n\tmov %es, 0x3000009e\n\tmov %ss, 0x300000a0\n\t"
    "mov $0x2b, %eax\n\tmov %eax, %ss\n\t"
    "mov 0x30000088, %rsp\n\t"
    "pushfq\n\tpopq 0x30000080\n\tcld\n\t"
    "xor %eax, %eax\n\tmov %eax, %ds\n\tmov %eax, %es\n\t"
    "fxsave64 0x30000100\n\tfninit\n\t"
    UPPER_HALVES("vextractf128 $1, %ymm\\n, 0x30000300 + 16 * \\n")
    "vzeroupper\n"
    "1:\n\t"
    "pop %r15\n\tpop %r14\n\tpop %r13\n\tpop %r12\n\tpop %rbp\n\tpop %rbx\n\t"
    "ret\n");
/* clang-format on */

static struct area *const area = (struct area *)AREA_AT;
static sigjmp_buf native_escape;
static volatile int native_vector;
static bool native_has_avx, has_code32;

static void native_on_signal(int number, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    const greg_t *r = uc->uc_mcontext.gregs;
    static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                  REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                  REG_R12, REG_R13, REG_R14, REG_R15};
    for (int i = 0; i < 16; i++)
        area->gpr[i] = (uint64_t)r[order[i]];
    asm volatile("mov %%ds, %0\n\tmov %%es, %1" : "=m"(area->ds), "=m"(area->es));
    asm volatile("mov %0, %%ds\n\tmov %0, %%es" : : "r"(0));
    area->ss = (uint16_t)((uint64_t)r[REG_CSGSFS] >> 48);
    area->flags = (uint64_t)r[REG_EFL];
    area->rip = (uint64_t)r[REG_RIP];
    area->error = (uint64_t)r[REG_ERR];
    area->cr2 = (uint64_t)r[REG_CR2];
    memcpy(area->fx, uc->uc_mcontext.fpregs, 512);
    /* The kernel's frame is an XSAVE area: XSTATE_BV, and the upper halves where it says so. */
    const uint8_t *frame = (const uint8_t *)uc->uc_mcontext.fpregs;
    if (area->has_avx && frame[512] & 4)
        memcpy(area->upper, frame + 576, 256);
    else
        memset(area->upper, 0, 256);
    native_vector = (int)r[REG_TRAPNO];
    siglongjmp(native_escape, 1);
}

static const struct sigaction native_action = {.sa_sigaction = native_on_signal,
                                               .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};

/* In each test itself: cmocka sets handlers of its own around each. */
static void native_catch_signals(void)
{
    static uint8_t stack[1 << 16];
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGILL, SIGTRAP};
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};
    sigaltstack(&alternate, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++)
        sigaction(numbers[i], &native_action, NULL);
}

static bool native_map(void)
{
    int prot = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    if (mmap((void *)DATA_AT, DATA_SIZE + 0x1000, prot, flags, -1, 0) == MAP_FAILED ||
        mmap((void *)CODE_AT, 4096, prot | PROT_EXEC, flags, -1, 0) == MAP_FAILED ||
        mmap((void *)AREA_AT, 4096, prot, flags, -1, 0) == MAP_FAILED)
        return false;
    memset((uint8_t *)DATA_AT + DATA_SIZE, 0, 0x1000); /* so that its page is there */
    return mprotect((uint8_t *)DATA_AT + DATA_SIZE, 0x1000, PROT_READ) == 0;
}

/* May there be segments at DATA_AT, and for 16-bit code? */
static bool native_has_based(void)
{
    struct user_desc based = {.entry_number = 0,
                              .base_addr = (uint32_t)DATA_AT,
                              .limit = 0xfffff,
                              .seg_32bit = 1,
                              .limit_in_pages = 1,
                              .useable = 1};
    struct user_desc code = {.entry_number = 1,
                             .base_addr = (uint32_t)CODE_AT,
                             .limit = 0xfff,
                             .contents = MODIFY_LDT_CONTENTS_CODE,
                             .useable = 1};
    return syscall(SYS_modify_ldt, 1, &based, sizeof(based)) == 0 &&
           syscall(SYS_modify_ldt, 1, &code, sizeof(code)) == 0;
}

/* What an instruction pointer is that points to CODE_AT. */
static inline uint64_t native_code_offset(enum decode_mode mode)
{
    return mode == DECODE_16 ? 0 : CODE_AT;
}

/* The ways out behind the code and at a branch's target. */
static void native_put_exits(unsigned length, enum decode_mode mode)
{
    static const uint8_t note[] = {0xc7, 0x04, 0x25, 0x98, 0, 0, 0x30, 1, 0, 0, 0}; /* area->slot */
    static const uint8_t jump[] = {0xff, 0x25, 0, 0, 0, 0};
    uint64_t target = (uint64_t)(uintptr_t)native_exit;
    uint8_t *code = (uint8_t *)CODE_AT;
    uint8_t *out[2] = {code + LEAVE, code + LEAVE + 0x40};
    for (unsigned i = 0; i < 2; i++) {
        uint8_t *at = mode == DECODE_64 ? code + (i ? TARGET : length) : out[i];
        if (i) {
            memcpy(at, note, sizeof(note));
            at += sizeof(note);
        }
        memcpy(at, jump, sizeof(jump));
        memcpy(at + sizeof(jump), &target, 8);
        if (mode == DECODE_64)
            continue;
        uint32_t offset = (uint32_t)(uintptr_t)out[i]; /* a far jump */
        at = code + (i ? TARGET : length);
        if (mode == DECODE_16)
            *at++ = 0x66;
        at[0] = 0xea;
        memcpy(at + 1, &offset, 4);
        memcpy(at + 5, &(uint16_t){SELECTOR_CODE64}, 2);
    }
}

/* Returns the vector it ended with: 3 when it went on. */
static int native_run(const struct area *before, struct area *after, const uint8_t *code,
                      unsigned length, enum decode_mode mode)
{
    memcpy((uint8_t *)CODE_AT, code, length);
    native_put_exits(length, mode);
    *area = *before;
    area->entry = (uint32_t)native_code_offset(mode);
    area->has_avx = native_has_avx;
    area->entry_cs = mode == DECODE_64   ? SELECTOR_CODE64
                     : mode == DECODE_32 ? SELECTOR_CODE32
                                         : SELECTOR_CODE16;
    native_vector = 3;
    struct sigaction others; /* the engine has a handler of its own for this one */
    sigaction(SIGFPE, &native_action, &others);
    if (!sigsetjmp(native_escape, 0))
        native_enter();
    else
        asm volatile("fninit; cld");
    uint32_t mxcsr = 0x1f80;
    asm volatile("ldmxcsr %0" : : "m"(mxcsr));
    sigaction(SIGFPE, &others, NULL);
    *after = *area;
    return native_vector;
}

/* Does the host run 32-bit code? */
static bool native_has_code32(void)
{
    struct area before = {.ds = SELECTOR_DATA, .es = SELECTOR_DATA, .flags = 0x202}, after;
    static const uint8_t nop[] = {0x90};
    before.gpr[4] = DATA_AT + 0x100;
    before.fx[0] = 0x7f;
    before.fx[1] = 3;
    before.fx[24] = 0x80;
    before.fx[25] = 0x1f;
    native_catch_signals();
    return native_run(&before, &after, nop, 1, DECODE_32) == 3;
}
