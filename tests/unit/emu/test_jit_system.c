/* Flags from memory, STAC and CLAC, and segment registers in code that is translated: as in the
 * interpreter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "emu/jit/jit.h"
#include "tests/unit/emu/bare_cpu.h"

#define GDT   0x18000u
#define USERS (DATA + 0x1000) /* a page of a user's */

typedef void prepare_fn(struct cpu *cpu);

static void open_users_page(struct cpu *cpu)
{
    uint8_t *ram = memory_ram_host(cpu->board->memory);
    for (unsigned level = 0; level < 3; level++)
        ram[TABLES + level * 0x1000] |= 4;
    ram[TABLES + 0x3000 + (USERS >> 12) * 8] |= 4;
    for (unsigned i = 0; i < 0x20; i++)
        ram[USERS + i] = (uint8_t)(i * 7);
    cpu->s.cr4 |= CR4_SMAP;
    cpu->s.gpr[RSI] = USERS;
}

static void flatten(struct cpu *cpu)
{
    static const uint64_t table[] = {
        0,
        0x00cf9b000000ffff, /* 08 */
        0x00cf93000000ffff, /* 10 */
        0x00cff3000000ffff, /* 18: of level 3 */
        0x00cf93041000ffff, /* 20: begins at USERS */
        0x0040930410000fff, /* 28: 4 KiB there */
        0x00cf92000000ffff, /* 30: not yet accessed */
    };
    struct cpu_state *s = &cpu->s;
    uint8_t *ram = memory_ram_host(cpu->board->memory);
    memcpy(ram + GDT, table, sizeof(table));
    s->gdtr = (struct descriptor_table){GDT, sizeof(table) - 1};
    s->cr0 = CR0_PE | CR0_ET;
    s->cr4 = s->efer = 0;
    for (unsigned i = 0; i < 6; i++)
        s->seg[i] = (struct segment){
            .limit = UINT32_MAX,
            .selector = i == SEG_CS ? 8 : 0x10,
            .attributes = i == SEG_CS ? 0xc09b : 0xc093,
        };
    for (unsigned i = 0; i < 0x20; i++)
        ram[USERS + i] = (uint8_t)(i * 5);
}

static void compare(const uint8_t *code, size_t size, prepare_fn *prepare, enum cpu_exit expected)
{
    struct board boards[2];
    struct cpu *cpus[2];
    for (unsigned i = 0; i < 2; i++) {
        bare_board(&boards[i], RAM);
        cpus[i] = cpu_new(&boards[i], 0, i ? "jit" : "interp", "x86-64-v2,+smap", &quiet_wires,
                          NULL, NULL);
        assert_non_null(cpus[i]);
        jit_set_hot(cpus[i], 0);
        bare_begin(cpus[i], code, size);
        prepare(cpus[i]);
        cpu_state_changed(cpus[i]);
        assert_int_equal(cpu_run(cpus[i]), expected);
    }
    const struct cpu_state *a = cpu_state(cpus[0]), *b = cpu_state(cpus[1]);
    for (unsigned i = 0; i < GPR_COUNT; i++)
        assert_int_equal(a->gpr[i], b->gpr[i]);
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(a->seg[i].base, b->seg[i].base);
        assert_int_equal(a->seg[i].limit, b->seg[i].limit);
        assert_int_equal(a->seg[i].selector, b->seg[i].selector);
        assert_int_equal(a->seg[i].attributes, b->seg[i].attributes);
    }
    assert_int_equal(a->rip, b->rip);
    assert_int_equal(a->rflags, b->rflags);
    assert_int_equal(a->cr2, b->cr2);
    assert_memory_equal(memory_ram_host(boards[0].memory), memory_ram_host(boards[1].memory), RAM);
    for (unsigned i = 0; i < 2; i++) {
        cpu_free(cpus[i]);
        board_finish(&boards[i]);
    }
}

static void nothing(struct cpu *cpu)
{
}

static void test_popf(void **state)
{
    static const uint8_t code[] = {
        0xb9, 0x28, 0x00, 0x00, 0x00,             /*    mov ecx, 40 */
        0x9c,                                     /* 1: pushf */
        0x81, 0x34, 0x24, 0xd5, 0x08, 0x00, 0x00, /*    xor dword [rsp], 0x8d5 */
        0x9d,                                     /*    popf */
        0x9c, 0x58, 0x48, 0x01, 0xc3,             /*    pushf; pop rax; add rbx, rax */
        0x9c,                                     /*    pushf */
        0x81, 0x0c, 0x24, 0x00, 0x00, 0x04, 0x00, /*    or dword [rsp], AC */
        0x9d,                                     /*    popf */
        0x9c, 0x58, 0x48, 0x01, 0xc3,             /*    pushf; pop rax; add rbx, rax */
        0x6a, 0x02, 0x9d,                         /*    push 2; popf */
        0xfd, 0x9c, 0xfc, 0x9d,                   /*    std; pushf; cld; popf */
        0x9c, 0x58, 0x48, 0x01, 0xc3,             /*    pushf; pop rax; add rbx, rax */
        0xff, 0xc9,                               /*    dec ecx */
        0x75, 0xd4,                               /*    jnz 1b */
        0xf4,
    };
    compare(code, sizeof(code), nothing, CPU_EXIT_HALTED);
}

/* Between STAC and CLAC, over calls that change it, too; then without. */
static void test_access_to_users(void **state)
{
    uint8_t code[] = {
        0xb9, 0x28, 0x00, 0x00, 0x00, /* 00    mov ecx, 40 */
        0x0f, 0x01, 0xcb,             /* 05 1: stac */
        0x03, 0x1e,                   /* 08    add ebx, [rsi] */
        0xe8, 0x11, 0x00, 0x00, 0x00, /* 0a    call f */
        0x0f, 0x01, 0xca,             /* 0f    clac */
        0xe8, 0x13, 0x00, 0x00, 0x00, /* 12    call g */
        0xff, 0xc9,                   /* 17    dec ecx */
        0x75, 0xea,                   /* 19    jnz 1b */
        0x90, 0x90, 0xf4, 0x90, 0x90, /* 1b    nop; nop; hlt */
        0x03, 0x5e, 0x08,             /* 20 f: add ebx, [rsi + 8] */
        0x0f, 0x01, 0xca,             /* 23    clac */
        0x0f, 0x01, 0xcb,             /* 26    stac */
        0xc3,                         /* 29    ret */
        0x0f, 0x01, 0xcb,             /* 2a g: stac */
        0x03, 0x5e, 0x10,             /* 2d    add ebx, [rsi + 16] */
        0xeb, 0x00,                   /* 30    jmp 2f */
        0x0f, 0x01, 0xca,             /* 32 2: clac */
        0x0f, 0x01, 0xca,             /* 35    clac */
        0xc3,                         /* 38    ret */
    };
    compare(code, sizeof(code), open_users_page, CPU_EXIT_HALTED);
    code[0x1b] = 0x8b; /* mov eax, [rsi]: nobody takes the fault */
    code[0x1c] = 0x06;
    compare(code, sizeof(code), open_users_page, CPU_EXIT_TRIPLE_FAULT);
}

static void test_flat_segments(void **state)
{
    uint8_t code[] = {
        0xb9, 0x28, 0x00, 0x00, 0x00,             /*    mov ecx, 40 */
        0x66, 0xb8, 0x20, 0x00, 0x8e, 0xe0,       /* 1: mov ax, 0x20; mov fs, ax */
        0x64, 0x03, 0x1d, 0x00, 0x00, 0x00, 0x00, /*    add ebx, fs:[0] */
        0x1e,                                     /*    push ds */
        0x66, 0xb8, 0x1b, 0x00, 0x8e, 0xd8,       /*    mov ax, 0x1b; mov ds, ax */
        0x8e, 0xc0, 0x1f,                         /*    mov es, ax; pop ds */
        0x03, 0x1f,                               /*    add ebx, [edi] */
        0x31, 0xc0, 0x8e, 0xe0, 0x8e, 0xe8,       /*    xor eax, eax; mov fs, ax; mov gs, ax */
        0x66, 0xb8, 0x28, 0x00, 0x8e, 0xe0,       /*    mov ax, 0x28; mov fs, ax */
        0x64, 0x03, 0x1d, 0x04, 0x00, 0x00, 0x00, /*    add ebx, fs:[4] */
        0x66, 0xb8, 0x30, 0x00, 0x8e, 0xe8,       /*    mov ax, 0x30; mov gs, ax */
        0x65, 0x03, 0x1f,                         /*    add ebx, gs:[edi] */
        0x0f, 0xa8, 0x0f, 0xa1,                   /*    push gs; pop fs */
        0x64, 0x03, 0x5f, 0x04,                   /*    add ebx, fs:[edi + 4] */
        0x8c, 0x67, 0x08, 0x01, 0x1f,             /*    mov [edi + 8], fs; add [edi], ebx */
        0x49, 0x75, 0xbb,                         /*    dec ecx; jnz 1b */
        0x31, 0xc0, 0x8e, 0xe0,                   /*    xor eax, eax; mov fs, ax */
        0xf4,                                     /*    hlt */
        0x64, 0x8b, 0x07,                         /*    mov eax, fs:[edi] */
        0xf4,
    };
    compare(code, sizeof(code), flatten, CPU_EXIT_HALTED);
    code[sizeof(code) - 5] = 0x90; /* on to where nothing may be read */
    compare(code, sizeof(code), flatten, CPU_EXIT_TRIPLE_FAULT);
}

/* Real mode, all segments at CODE. */
static void unprotect(struct cpu *cpu)
{
    struct cpu_state *s = &cpu->s;
    s->cr0 = CR0_ET;
    s->cr4 = s->efer = 0;
    for (unsigned i = 0; i < 6; i++)
        s->seg[i] = (struct segment){
            .base = CODE,
            .limit = 0xffff,
            .selector = CODE >> 4,
            .attributes = SEG_P | SEG_S | SEG_WRITABLE | SEG_ACCESSED,
        };
    s->gpr[RSP] = 0x400;
    s->rip = 0;
}

/* The stack and data share a page with the code, which is written, too. */
static void test_code_and_stack_in_a_page(void **state)
{
    static const uint8_t code[] = {
        0xb9,          0x28, 0x00,             /* 00    mov cx, 40 */
        0x51,                                  /* 03 1: push cx */
        0xe8,          0x19, 0x00,             /* 04    call f */
        0x6a,          0x05, 0x58,             /* 07    push 5; pop ax */
        0x01,          0xc3,                   /* 0a    add bx, ax */
        0x89,          0x1e, 0x80, 0x03,       /* 0c    mov [0x380], bx */
        0x59,                                  /* 10    pop cx */
        0x88,          0x0e, 0x22, 0x00, 0x90, /* 11    mov [f + 2], cl; nop */
        0xe2,          0xeb,                   /* 16    loop 1b */
        0xf4,                                  /* 18    hlt */
        [0x20] = 0x81,                         /* 20 f: add bx, 0x101 */
        0xc3,          0x01, 0x01, 0x9c,       /* 24    pushf; pop ax; ret */
        0x58,          0xc3,
    };
    compare(code, sizeof(code), unprotect, CPU_EXIT_HALTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_popf),
        cmocka_unit_test(test_access_to_users),
        cmocka_unit_test(test_flat_segments),
        cmocka_unit_test(test_code_and_stack_in_a_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
