/*
 * The lockstep engine: silent where the engines agree, each device met once; and loud, with the
 * right name, where one byte of translated code is wrong.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "emu/core/board.h"
#include "emu/core/memory.h"
#include "emu/core/port.h"
#include "emu/cpu/cpu.h"
#include "emu/cpu/state.h"
#include "emu/jit/jit.h"
#include "emu/jit/lockstep.h"
#include "tests/unit/emu/bare_cpu.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MMIO 0x100000u /* behind the end of RAM */
#define PORT 0x500

static struct board board;
static unsigned port_writes, port_sum, mmio_reads;

static uint64_t mmio_read(void *opaque, uint64_t offset, unsigned size)
{
    return ++mmio_reads;
}
static void port_write_one(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    port_writes++;
    port_sum += value;
}

static void set_up(void)
{
    static const struct mmio_ops mmio = {.read = mmio_read, .max_size = 8};
    static const struct port_ops port = {.write = port_write_one, .max_size = 4};
    bare_board(&board, MMIO + 0x1000);
    memory_add_mmio(board.memory, "counter", MMIO, 0x1000, 0, &mmio, NULL);
    port_add(board.ports, "sum", PORT, 1, &port, NULL);
    port_writes = port_sum = mmio_reads = 0;
}

static struct cpu *new_cpu(void)
{
    struct cpu *cpu = bare_cpu(&board, "lockstep");
    jit_set_hot(cpu, 0);
    return cpu;
}

/* ---- agreement ------------------------------------------------------------------------------- */

/* Flags that have no defined value, seen by the next instructions: no difference is made of them.
 */
static void test_undefined_flags(void **state)
{
    static const uint8_t code[] = {
        0xb9, 20,   0,    0,    0,    /*    mov ecx, 20 */
        0xb8, 0x45, 0x23, 0x01, 0x00, /* 1: mov eax, 0x12345 */
        0x39, 0xc8,                   /*    cmp eax, ecx */
        0xf7, 0xe1,                   /*    mul ecx */
        0x9c, 0x5b,                   /*    pushf; pop rbx */
        0x48, 0x01, 0x1f,             /*    add [rdi], rbx */
        0x0f, 0xaf, 0xc1,             /*    imul eax, ecx */
        0x9f,                         /*    lahf */
        0x48, 0x01, 0x47, 0x08,       /*    add [rdi + 8], rax */
        0x0f, 0xbc, 0xd1,             /*    bsf edx, ecx */
        0x0f, 0x9a, 0x47, 0x10,       /*    setp [rdi + 16] */
        0xc1, 0xe2, 0x05,             /*    shl edx, 5 */
        0x9c, 0x5b,                   /*    pushf; pop rbx */
        0x48, 0x01, 0x5f, 0x18,       /*    add [rdi + 24], rbx */
        0xff, 0xc9, 0x75, 0xd6,       /*    dec ecx; jnz 1b */
        0xf4,                         /*    hlt */
    };
    set_up();
    struct cpu *cpu = new_cpu();
    assert_int_equal(bare_run(cpu, code, sizeof(code)), CPU_EXIT_HALTED);
    assert_true(cpu->jit->stats.regions > 0);
    cpu_free(cpu);
    board_finish(&board);
}

static void test_agrees(void **state)
{
    /* Ten times: store, push, pop, a vector sum, code that rewrites itself. */
    static const uint8_t code[] = {
        0xb9, 10,   0,    0,    0,       /*    mov ecx, 10 */
        0x48, 0x01, 0xc8,                /* 1: add rax, rcx */
        0x48, 0x89, 0x04, 0xcf,          /*    mov [rdi+rcx*8], rax */
        0x50, 0x5b,                      /*    push rax; pop rbx */
        0x66, 0x48, 0x0f, 0x6e, 0xc8,    /*    movq xmm1, rax */
        0x66, 0x0f, 0xd4, 0xc1,          /*    paddq xmm0, xmm1 */
        0xfe, 0x05, 0x01, 0,    0,    0, /*    inc byte [rip+1] */
        0xba, 0,    0,    0,    0,       /*    mov edx, 0 (incremented) */
        0xff, 0xc9, 0x75, 0xdb,          /*    dec ecx; jnz 1b */
        0xf4,                            /*    hlt */
    };
    set_up();
    struct cpu *cpu = new_cpu();
    assert_int_equal(bare_run(cpu, code, sizeof(code)), CPU_EXIT_HALTED);
    assert_int_equal(cpu_state(cpu)->gpr[RAX], 55);
    assert_int_equal(cpu_state(cpu)->gpr[RBX], 55);
    assert_int_equal(cpu_state(cpu)->gpr[RDX], 10);
    assert_int_equal(cpu_state(cpu)->rip, CODE + sizeof(code));
    assert_true(cpu->jit->stats.regions > 0);
    cpu_free(cpu);
    board_finish(&board);
}

static void test_devices_once(void **state)
{
    static const uint8_t code[] = {
        0xb9, 20,   0,           0,         0,             /*    mov ecx, 20 */
        0x66, 0xba, PORT & 0xff, PORT >> 8,                /*    mov dx, PORT */
        0x48, 0xc7, 0xc6,        0,         0,    0x10, 0, /*    mov rsi, MMIO */
        0x89, 0xc8, 0xef,                                  /* 1: mov eax, ecx; out dx, eax */
        0x03, 0x1e,                                        /*    add ebx, [rsi] */
        0x49, 0x89, 0xd0,        0x0f,      0x31,          /*    mov r8, rdx; rdtsc */
        0x4c, 0x89, 0xc2,                                  /*    mov rdx, r8 */
        0xff, 0xc9, 0x75,        0xef,                     /*    dec ecx; jnz 1b */
        0xf4,                                              /*    hlt */
    };
    set_up();
    struct cpu *cpu = new_cpu();
    assert_int_equal(bare_run(cpu, code, sizeof(code)), CPU_EXIT_HALTED);
    assert_int_equal(port_writes, 20);
    assert_int_equal(port_sum, 210);
    assert_int_equal(mmio_reads, 20);
    assert_int_equal(cpu_state(cpu)->gpr[RBX], 210);
    cpu_free(cpu);
    board_finish(&board);
}

/* A page table that changes without a word: translated code may know the old page for longer than
 * the TLB, which looks again because of the first store. */
static void test_page_moves_unsaid(void **state)
{
    static const uint8_t code[] = {
        0xb9, 3,    0,    0,    0, /*    mov ecx, 3 */
        0x48, 0x8b, 0x07,          /* 1: mov rax, [rdi] */
        0x4c, 0x89, 0x06,          /*    mov [rsi], r8: the entry of the page at RDI */
        0x89, 0x0b,                /*    mov [rbx], ecx, in that page */
        0x48, 0x8b, 0x17,          /*    mov rdx, [rdi] */
        0xff, 0xc9, 0x75, 0xf1,    /*    dec ecx; jnz 1b */
        0xf4,                      /*    hlt */
    };
    static const uint64_t before = 1, after = 2;
    set_up();
    struct cpu *cpu = new_cpu();
    struct cpu_state *s = cpu_state(cpu);
    bare_begin(cpu, code, sizeof(code));
    memory_write(board.memory, DATA, &before, sizeof(before));
    memory_write(board.memory, DATA + 0x2000, &after, sizeof(after));
    s->gpr[RSI] = TABLES + 0x3000 + DATA / 0x1000 * 8;
    s->gpr[RBX] = DATA + 64;
    s->gpr[8] = (DATA + 0x2000) | 3;
    cpu_state_changed(cpu);
    assert_int_equal(cpu_run(cpu), CPU_EXIT_HALTED);
    assert_int_equal(s->gpr[RAX], 2);
    assert_int_equal(s->gpr[RDX], 2);
    assert_true(cpu->jit->stats.regions > 0);
    assert_true(cpu->lockstep->uncompared > 0);
    cpu_free(cpu);
    board_finish(&board);
}

/* A triple fault is a fault that both come to. */
static void test_fault_agrees(void **state)
{
    static const uint8_t code[] = {
        0x48, 0xc7, 0xc6, 0, 0, 0x20, 0, /* mov rsi, 0x200000: not mapped */
        0x48, 0xff, 0xc0,                /* inc rax */
        0x48, 0x89, 0x06,                /* mov [rsi], rax */
    };
    set_up();
    struct cpu *cpu = new_cpu();
    assert_int_equal(bare_run(cpu, code, sizeof(code)), CPU_EXIT_TRIPLE_FAULT);
    assert_int_equal(cpu_state(cpu)->cr2, 0x200000);
    assert_int_equal(cpu_state(cpu)->gpr[RAX], 1);
    cpu_free(cpu);
    board_finish(&board);
}

/* ---- planted differences --------------------------------------------------------------------- */

struct planted {
    const char *what; /* the difference in one line */
    uint8_t code[48], length;
    uint8_t find[8], find_length, at,
        value;         /* in host code this byte of what is found becomes so */
    const char *begin; /* of the shortest stretch that shows it; NULL: the code's */
};

#define IMM 0x78, 0x56, 0x34, 0x12
static const struct planted planted[] = {
    {.what = "RAX: translated 12345679, interpreted 12345678",
     .code = {0x48, 0x05, IMM, 0xf4}, /* add rax, imm; hlt */
     .length = 7,
     .find = {IMM},
     .find_length = 4,
     .value = 0x79},
    {.what = "PF: translated 0, interpreted 1",
     .code = {0x48, 0x3d, IMM, 0xf4}, /* cmp rax, imm */
     .length = 7,
     .find = {IMM},
     .find_length = 4,
     .value = 0x77},
    {.what = "memory at 40000: translated 79, interpreted 78",
     .code = {0xc7, 0x07, IMM, 0xf4}, /* mov dword [rdi], imm */
     .length = 7,
     .find = {IMM},
     .find_length = 4,
     .value = 0x79},
    {.what = "fault or device: translated none, interpreted vector 14, error 0",
     .code = {0x48, 0x8b, 0x87, 0x10, 0, 0, 1, 0xf4}, /* mov rax, [rdi+0x1000010] */
     .length = 8,
     .find = {0x10, 0, 0, 1},
     .find_length = 4,
     .at = 3,
     .value = 0},
    {.what = "vec[1].q[1]: translated 0, interpreted 1234567800000000",
     .code = {0xb8, IMM, 0x66, 0x48, 0x0f, 0x6e, 0xc0, /* mov eax, imm; movq xmm0, rax */
              0x66, 0x0f, 0x70, 0xc8, 0x1b, 0xf4},     /* pshufd xmm1, xmm0, 0x1b */
     .length = 16,
     .find = {0x66, 0x0f, 0x70, 0xc8, 0x1b},
     .find_length = 5,
     .at = 4,
     .value = 0x5b},
    {.what = "fault or device: translated port write 500/4=12345679, "
             "interpreted port write 500/4=12345678",
     .code = {0xba, 0, 5, 0, 0, 0xb8, IMM, 0xef, 0xf4}, /* mov edx, PORT; mov eax, imm; out */
     .length = 12,
     .find = {IMM},
     .find_length = 4,
     .value = 0x79},
    {.what = "RBX: translated 12345679, interpreted 12345678", /* behind a loop that agrees */
     .code = {0x48, 0xff, 0xc0, 0x48, 0x83, 0xf8, 100,         /* 1: inc rax; cmp rax, 100 */
              0x75, 0xf7, 0x48, 0x81, 0xc3, IMM, 0xf4},        /* jne 1b; add rbx, imm */
     .length = 17,
     .find = {IMM},
     .find_length = 4,
     .value = 0x79,
     .begin = "both began at: rip 20009, "},
};

static void plant(struct cpu *cpu, const struct planted *p)
{
    unsigned found = 0;
    for (unsigned i = 0; i < JIT_SEGMENTS; i++)
        for (struct jit_region *r = cpu->jit->segment_regions[i]; r; r = r->segment_next)
            for (uint8_t *b = r->code; b + p->find_length <= r->code + r->code_bytes; b++)
                if (!memcmp(b, p->find, p->find_length)) {
                    b[p->at] = p->value;
                    found++;
                }
    assert_true(found > 0);
}

static char *report_of(struct cpu *cpu)
{
    FILE *file = tmpfile();
    int kept = dup(STDERR_FILENO);
    assert_non_null(file);
    fflush(stderr);
    dup2(fileno(file), STDERR_FILENO);
    enum cpu_exit exit = bare_run(cpu, NULL, 0);
    fflush(stderr);
    dup2(kept, STDERR_FILENO);
    close(kept);
    assert_int_equal(exit, CPU_EXIT_DIVERGED);
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    char *text = g_malloc0((gsize)size + 1);
    assert_int_equal(fread(text, 1, (size_t)size, file), size);
    fclose(file);
    return text;
}

static void check_planted(const struct planted *p)
{
    set_up();
    struct cpu *cpu = new_cpu();
    enum cpu_exit exit = strstr(p->what, "vector") ? CPU_EXIT_TRIPLE_FAULT : CPU_EXIT_HALTED;
    assert_int_equal(bare_run(cpu, p->code, p->length), exit);
    plant(cpu, p);
    g_autofree char *text = report_of(cpu);
    if (!strstr(text, p->what))
        fail_msg("no \"%s\" in:\n%s", p->what, text);
    assert_non_null(strstr(cpu_shutdown_reason(cpu), p->what));
    const char *begin = p->begin ? p->begin : "both began at: rip 20000, ";
    assert_non_null(strstr(text, begin));
    assert_non_null(strstr(text, "guest code"));
    assert_non_null(strstr(text, "host code of the region at 2000"));
    assert_non_null(strstr(text, "jmp 0x")); /* disassembled: its exit */
    assert_null(strstr(text, "inc rax"));    /* of a loop that agreed */
    cpu_free(cpu);
    board_finish(&board);
}

static void test_planted(void **state)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(planted); i++)
        check_planted(&planted[i]);
}

/* A vector that is not aligned raises #GP before its page is looked for: not even its accessed bit
 * is set. The two accesses share a look. */
static void test_no_walk_before_misalignment(void **state)
{
    static const uint8_t code[] = {
        0x66, 0x0f, 0x7f, 0x47, 0x01, /* movdqa [rdi+1], xmm0 */
        0x48, 0x89, 0x47, 0x40,       /* mov [rdi+0x40], rax */
        0xf4,
    };
    static const char *const engines[] = {"interp", "jit"};
    for (unsigned i = 0; i < G_N_ELEMENTS(engines); i++) {
        set_up();
        struct cpu *cpu = bare_cpu(&board, engines[i]);
        jit_set_hot(cpu, 0);
        assert_int_equal(bare_run(cpu, code, sizeof(code)), CPU_EXIT_TRIPLE_FAULT);
        assert_int_equal(memory_load(board.memory, TABLES + 0x3000 + (DATA >> 12) * 8, 8),
                         DATA | 3);
        cpu_free(cpu);
        board_finish(&board);
    }
}

static void test_one_cpu_only(void **state)
{
    g_autoptr(GError) error = NULL;
    set_up();
    struct cpu *first = new_cpu();
    assert_null(cpu_new(&board, 1, "lockstep", "x86-64-v2", &quiet_wires, NULL, &error));
    assert_non_null(strstr(error->message, "--cpus 1"));
    cpu_free(first);
    board_finish(&board);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_agrees),       cmocka_unit_test(test_undefined_flags),
        cmocka_unit_test(test_devices_once), cmocka_unit_test(test_page_moves_unsaid),
        cmocka_unit_test(test_fault_agrees), cmocka_unit_test(test_planted),
        cmocka_unit_test(test_one_cpu_only), cmocka_unit_test(test_no_walk_before_misalignment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
