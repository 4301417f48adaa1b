/*
 * Accesses that lie in two pages, at every offset: both pages plain, the second with code in it
 * that runs meanwhile, read-only, or absent. The translator ends as the interpreter does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "emu/jit/jit.h"
#include "tests/unit/emu/bare_cpu.h"

#define FIRST_PHYS  (DATA + 0x7000) /* where the two pages are: not side by side */
#define SECOND_PHYS (DATA + 0x3000)
#define RETURN      0x800 /* a RET in the second page */
#define TURNS       48

enum second { PLAIN, CODE_TOO, READ_ONLY, ABSENT, SECOND_COUNT };

struct access {
    const char *name;
    uint8_t size, bytes[12];
};
static const struct access accesses[] = {
    {"mov ax, [rdi]", 3, {0x66, 0x8b, 0x07}},
    {"mov eax, [rdi]", 2, {0x8b, 0x07}},
    {"mov rax, [rdi]", 3, {0x48, 0x8b, 0x07}},
    {"movsx rax, word [rdi]", 4, {0x48, 0x0f, 0xbf, 0x07}},
    {"add rax, [rdi]", 3, {0x48, 0x03, 0x07}},
    {"movsd xmm0, [rdi]", 4, {0xf2, 0x0f, 0x10, 0x07}},
    {"movdqu xmm0, [rdi]", 4, {0xf3, 0x0f, 0x6f, 0x07}},
    {"mov [rdi], ax", 3, {0x66, 0x89, 0x07}},
    {"mov [rdi], eax", 2, {0x89, 0x07}},
    {"mov [rdi], rax", 3, {0x48, 0x89, 0x07}},
    {"movdqu [rdi], xmm0", 4, {0xf3, 0x0f, 0x7f, 0x07}},
    {"movups [rdi + 3], xmm0; mov [rdi], eax", 6, {0x0f, 0x11, 0x47, 0x03, 0x89, 0x07}},
    {"add [rdi], ax", 3, {0x66, 0x01, 0x07}},
    {"add [rdi], eax", 2, {0x01, 0x07}},
    {"add [rdi], rax", 3, {0x48, 0x01, 0x07}},
    {"rol dword [rdi], 5", 3, {0xc1, 0x07, 0x05}},
    {"lock xadd [rdi], rax", 5, {0xf0, 0x48, 0x0f, 0xc1, 0x07}},
    {"push [rdi]; pop rax", 3, {0xff, 0x37, 0x58}},
    {"fld qword [rdi]; fstp qword [rdi]", 4, {0xdd, 0x07, 0xdd, 0x1f}},
    {"mov rax, [rdi - 8]; add [rdi + 4], rax", 8, {0x48, 0x8b, 0x47, 0xf8, 0x48, 0x01, 0x47, 0x04}},
    {"stosq; sub rdi, 8", 6, {0x48, 0xab, 0x48, 0x83, 0xef, 0x08}},
};

/* Whose look is of another kind, or the interpreter's. */
static bool looks_otherwise(const struct access *access)
{
    return access->bytes[0] == 0xdd || access->bytes[1] == 0xab;
}

struct program {
    uint8_t code[160];
    size_t size;
};

static void put(struct program *p, const void *bytes, size_t size)
{
    assert_true(p->size + size <= sizeof(p->code));
    memcpy(p->code + p->size, bytes, size);
    p->size += size;
}
#define PUT(p, ...) put(p, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void put32(struct program *p, uint32_t value)
{
    put(p, &value, 4);
}

/* The access at TURNS addresses, from 32 before the edge on; and a call into the second page. */
static struct program program_of(const struct access *access, enum second second)
{
    struct program p = {0};
    PUT(&p, 0xbf); /*    mov edi, DATA + 0x1000 - 32 */
    put32(&p, DATA + 0x1000 - 32);
    PUT(&p, 0xb9); /*    mov ecx, TURNS */
    put32(&p, TURNS);
    PUT(&p, 0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8); /*    mov rax, 0x0807060504030201 */
    PUT(&p, 0x66, 0x48, 0x0f, 0x6e, 0xc0);       /*    movq xmm0, rax */
    if (second == READ_ONLY) {
        PUT(&p, 0x8b, 0x14, 0x25); /*    mov edx, [DATA + 0x1000]: the TLB knows the page */
        put32(&p, DATA + 0x1000);
    }
    size_t loop = p.size;
    put(&p, access->bytes, access->size);        /* 1: */
    PUT(&p, 0x48, 0x01, 0xc3);                   /*    add rbx, rax */
    PUT(&p, 0x48, 0xc1, 0xc3, 0x05);             /*    rol rbx, 5 */
    PUT(&p, 0x66, 0x48, 0x0f, 0x7e, 0xc2);       /*    movq rdx, xmm0 */
    PUT(&p, 0x48, 0x31, 0xd3);                   /*    xor rbx, rdx */
    PUT(&p, 0x48, 0x69, 0xc0, 0x35, 0x12, 0, 0); /*    imul rax, rax, 0x1235 */
    if (second == CODE_TOO) {
        PUT(&p, 0xe8); /*    call DATA + 0x1000 + RETURN */
        put32(&p, DATA + 0x1000 + RETURN - (uint32_t)(CODE + p.size + 4));
    }
    PUT(&p, 0xff, 0xc7);                                 /*    inc edi */
    PUT(&p, 0xff, 0xc9);                                 /*    dec ecx */
    PUT(&p, 0x75, (uint8_t)(loop - (p.size + 2)), 0xf4); /*    jnz 1b; hlt */
    return p;
}

static void begin_both(struct board boards[2], struct cpu *cpus[2], enum second second, bool hasty)
{
    uint64_t entries[2] = {FIRST_PHYS | 3, SECOND_PHYS | (second == ABSENT      ? 0
                                                          : second == READ_ONLY ? 1
                                                                                : 3)};
    for (unsigned i = 0; i < 2; i++) {
        bare_board(&boards[i], RAM);
        cpus[i] = bare_cpu(&boards[i], i ? "jit" : "interp");
        jit_set_hot(cpus[i], hasty);
        jit_set_patience(cpus[i], hasty ? INT32_MAX : 0);
        uint8_t *ram = memory_ram_host(boards[i].memory);
        memcpy(ram + TABLES + 0x3000 + (DATA >> 12) * 8, entries, sizeof(entries));
        for (unsigned n = 0; n < 0x1000; n++)
            ram[FIRST_PHYS + n] = (uint8_t)(n * n >> 5), ram[SECOND_PHYS + n] = (uint8_t)(n * 7);
        ram[SECOND_PHYS + RETURN] = 0xc3;
    }
}

/* Several times over, so that what did not do is made anew. */
static void run_both(struct board boards[2], struct cpu *cpus[2], const struct program *p,
                     const char *name)
{
    for (unsigned round = 0; round < 12; round++) {
        enum cpu_exit exits[2];
        for (unsigned i = 0; i < 2; i++) {
            bare_begin(cpus[i], round ? NULL : p->code, p->size);
            cpu_state(cpus[i])->cr0 |= CR0_WP;
            if (round)
                atomic_store(&cpus[i]->attention, 1); /* what is translated stays */
            else
                cpu_state_changed(cpus[i]);
            exits[i] = cpu_run(cpus[i]);
        }
        const struct cpu_state *a = cpu_state(cpus[0]), *b = cpu_state(cpus[1]);
        bool same =
            exits[0] == exits[1] && a->rip == b->rip && a->cr2 == b->cr2 &&
            !memcmp(a->gpr, b->gpr, sizeof(uint64_t) * GPR_COUNT) &&
            !memcmp(memory_ram_host(boards[0].memory), memory_ram_host(boards[1].memory), RAM);
        if (!same)
            fail_msg("%s, round %u: exits %d and %d, RIP %lx and %lx, CR2 %lx and %lx", name, round,
                     exits[0], exits[1], a->rip, b->rip, a->cr2, b->cr2);
    }
}

static void end_both(struct board boards[2], struct cpu *cpus[2])
{
    for (unsigned i = 0; i < 2; i++) {
        cpu_free(cpus[i]);
        board_finish(&boards[i]);
    }
}

static void run_all(enum second second)
{
    for (unsigned i = 0; i < 2 * G_N_ELEMENTS(accesses); i++) {
        const struct access *access = &accesses[i / 2];
        struct board boards[2];
        struct cpu *cpus[2];
        struct program p = program_of(access, second);
        begin_both(boards, cpus, second, i % 2);
        run_both(boards, cpus, &p, access->name);
        const struct jit_stats *stats = &cpus[1]->jit->stats;
        if (second < READ_ONLY && !looks_otherwise(access) &&
            !(stats->slow_loads + stats->slow_stores + stats->windows))
            fail_msg("%s was not translated", access->name);
        end_both(boards, cpus);
    }
}

static void test_plain(void **state)
{
    run_all(PLAIN);
}
static void test_code_too(void **state)
{
    run_all(CODE_TOO);
}
static void test_read_only(void **state)
{
    run_all(READ_ONLY);
}
static void test_absent(void **state)
{
    run_all(ABSENT);
}

/* The second page begins with ADD EAX, imm32 and RET, and each turn changes the constant by a store
 * that begins in the first. */
static struct program changing_program(void)
{
    struct program p = {0};
    PUT(&p, 0xb9); /*    mov ecx, TURNS */
    put32(&p, TURNS);
    PUT(&p, 0x31, 0xc0); /*    xor eax, eax */
    size_t loop = p.size;
    PUT(&p, 0x48, 0x89, 0xca);                      /* 1: mov rdx, rcx */
    PUT(&p, 0x48, 0xc1, 0xe2, 0x30);                /*    shl rdx, 48 */
    PUT(&p, 0x48, 0xbb, 1, 2, 3, 4, 5, 0x05, 0, 0); /*    mov rbx, 0x0000050504030201 */
    PUT(&p, 0x48, 0x09, 0xd3);                      /*    or rbx, rdx */
    PUT(&p, 0x48, 0x89, 0x1c, 0x25);                /*    mov [DATA + 0xffb], rbx */
    put32(&p, DATA + 0xffb);
    PUT(&p, 0xe8); /*    call DATA + 0x1000 */
    put32(&p, DATA + 0x1000 - (uint32_t)(CODE + p.size + 4));
    PUT(&p, 0xff, 0xc9);                                 /*    dec ecx */
    PUT(&p, 0x75, (uint8_t)(loop - (p.size + 2)), 0xf4); /*    jnz 1b; hlt */
    return p;
}

static void test_changes_code(void **state)
{
    struct program p = changing_program();
    for (unsigned hasty = 0; hasty < 2; hasty++) {
        struct board boards[2];
        struct cpu *cpus[2];
        begin_both(boards, cpus, PLAIN, hasty);
        for (unsigned i = 0; i < 2; i++)
            memcpy(memory_ram_host(boards[i].memory) + SECOND_PHYS, "\x05\0\0\0\0\xc3", 6);
        run_both(boards, cpus, &p, "code that changes");
        assert_int_equal(cpu_state(cpus[1])->gpr[RAX], TURNS * (TURNS + 1) / 2);
        end_both(boards, cpus);
    }
}

/* Two words of one stack frame, in two pages, share a cell: until it is known that this does not
 * pay, and one of them does without. How soon is a matter of time. */
static void test_table_in_two_pages(void **state)
{
    static const uint8_t code[] = {
        0xb9, 0xa0, 0x0f, 0x00, 0x00,                   /*    mov ecx, 4000 */
        0x48, 0x03, 0x84, 0xd4, 0x00, 0xfe, 0xff, 0xff, /* 1: add rax, [rsp + rdx * 8 - 512] */
        0x80, 0xf2, 0x80,                               /*    xor dl, 128 */
        0xff, 0xc9,                                     /*    dec ecx */
        0x75, 0xf1,                                     /*    jnz 1b */
        0xf4,                                           /*    hlt */
    };
    enum { MANY = 2000, FEW = 100 }; /* rounds; fillings in one, of 4000 accesses */
    struct board board;
    bare_board(&board, RAM);
    struct cpu *cpu = bare_cpu(&board, "jit");
    jit_set_hot(cpu, 0);
    const struct jit_cell *cell = &cpu->jit->cells[TLB_KERNEL][0];
    uint32_t left, rounds = 0;
    do {
        left = cell->fillings_left;
        assert_int_equal(bare_run(cpu, rounds ? NULL : code, sizeof(code)), CPU_EXIT_HALTED);
    } while (++rounds < 4 || (left - cell->fillings_left > FEW && rounds < MANY));
    assert_true(rounds < MANY);
    cpu_free(cpu);
    board_finish(&board);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),        cmocka_unit_test(test_code_too),
        cmocka_unit_test(test_read_only),    cmocka_unit_test(test_absent),
        cmocka_unit_test(test_changes_code), cmocka_unit_test(test_table_in_two_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
