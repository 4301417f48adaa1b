/* What can be seen of translated code from outside: counts, and names for perf. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "emu/jit/jit.h"
#include "tests/unit/emu/bare_cpu.h"
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

static const uint8_t loop[] = {
    0xb9, 0xe8, 3,    0,    0, /*    mov ecx, 1000 */
    0x48, 0x01, 0xc8,          /* 1: add rax, rcx */
    0xff, 0xc9, 0x75, 0xf9,    /*    dec ecx; jnz 1b */
    0xf4,                      /*    hlt */
};
#define LOOP_INSNS (1 + 1000 * 3 + 1)

static char *map_path(void)
{
    return g_strdup_printf("/tmp/perf-%d.map", (int)getpid());
}

static void test_count(void **state)
{
    struct board board;
    bare_board(&board, RAM);
    struct cpu *cpu = bare_cpu(&board, "jit");
    jit_set_hot(cpu, 0);
    assert_true(cpu_observe(cpu, CPU_OBSERVE_COUNT, NULL));
    assert_int_equal(bare_run(cpu, loop, sizeof(loop)), CPU_EXIT_HALTED);
    assert_int_equal(cpu_state(cpu)->gpr[RAX], 500500);
    uint64_t interpreted = cpu_instructions(cpu);
    assert_int_equal(cpu->jit->stats.executed + interpreted, LOOP_INSNS);
    assert_true(interpreted < 10);
    g_autoptr(GString) text = g_string_new(NULL);
    cpu_report(cpu, text);
    g_autofree char *ran = g_strdup_printf("instructions translated code ran %*" PRIu64 "\n", 32,
                                           cpu->jit->stats.executed);
    assert_non_null(strstr(text->str, ran));
    assert_non_null(strstr(text->str, "share of the interpreter"));
    assert_non_null(strstr(text->str, "page walks"));
    cpu_free(cpu);
    board_finish(&board);
}

/* A line with the place, the size and the name of each region. */
static void test_names(void **state)
{
    struct board board;
    g_autofree char *path = map_path(), *text = NULL;
    bare_board(&board, RAM);
    struct cpu *cpu = bare_cpu(&board, "jit");
    jit_set_hot(cpu, 0);
    assert_true(cpu_observe(cpu, CPU_OBSERVE_NAMES, NULL));
    assert_int_equal(bare_run(cpu, loop, sizeof(loop)), CPU_EXIT_HALTED);
    assert_true(g_file_get_contents(path, &text, NULL, NULL));
    const struct jit *jit = cpu->jit;
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_autofree char *stubs =
        g_strdup_printf("%" PRIxPTR " %x jit-stubs-0", (uintptr_t)(jit->write + jit->run_delta),
                        (unsigned)JIT_STUBS_SIZE);
    assert_string_equal(lines[0], stubs);
    unsigned regions = 0;
    for (struct jit_region *r = jit->segment_regions[0]; r; r = r->segment_next, regions++) {
        g_autofree char *line =
            g_strdup_printf("%" PRIxPTR " %x guest-kernel-%" PRIx64,
                            (uintptr_t)(r->code + jit->run_delta), r->code_bytes, r->rip);
        assert_true(g_strv_contains((const char *const *)lines, line));
    }
    assert_true(regions > 0);
    assert_int_equal(g_strv_length(lines), regions + 2);
    cpu_free(cpu);
    board_finish(&board);
    assert_int_equal(unlink(path), 0); /* it is left for perf */
}

static void test_no_names_through_a_link(void **state)
{
    struct board board;
    g_autofree char *path = map_path();
    g_autoptr(GError) error = NULL;
    bare_board(&board, RAM);
    struct cpu *cpu = bare_cpu(&board, "jit");
    assert_int_equal(symlink("/dev/null", path), 0);
    assert_false(cpu_observe(cpu, CPU_OBSERVE_NAMES, &error));
    assert_non_null(strstr(error->message, path));
    cpu_free(cpu);
    board_finish(&board);
    unlink(path);
}

/* String instructions up and down: what lies in the TLB needs no help of the interpreter's. */
static void test_strings(void **state)
{
    static const uint8_t code[] = {
        0xbd, 0xe8, 3,    0,    0,          /*    mov ebp, 1000 */
        0x48, 0x8d, 0xb7, 0x00, 1,    0, 0, /*    lea rsi, [rdi+0x100] */
        0x48, 0x89, 0xfb,                   /*    mov rbx, rdi */
        0x48, 0x89, 0xf2,                   /*    mov rdx, rsi */
        0x48, 0x89, 0xdf,                   /* 1: mov rdi, rbx */
        0x48, 0x89, 0xd6,                   /*    mov rsi, rdx */
        0xb9, 0x07, 0,    0,    0,          /*    mov ecx, 7 */
        0xf3, 0xa5,                         /*    rep movsd */
        0xa4, 0xac, 0xaa,                   /*    movsb; lodsb; stosb */
        0xb1, 0x07, 0xfd, 0xf3, 0xa5,       /*    mov cl, 7; std; rep movsd */
        0xb1, 0x07, 0xf3, 0xaa, 0xfc,       /*    mov cl, 7; rep stosb; cld */
        0xb1, 0x10, 0xf2, 0xae,             /*    mov cl, 16; repne scasb */
        0xb1, 0x10, 0xf3, 0xa6,             /*    mov cl, 16; repe cmpsb */
        0xae, 0xa6,                         /*    scasb; cmpsb */
        0xff, 0xcd, 0x75, 0xd8,             /*    dec ebp; jnz 1b */
        0xf4,                               /*    hlt */
    };
    struct board board;
    bare_board(&board, RAM);
    struct cpu *cpu = bare_cpu(&board, "jit");
    jit_set_hot(cpu, 0);
    assert_int_equal(bare_run(cpu, code, sizeof(code)), CPU_EXIT_HALTED);
    assert_int_equal(cpu_state(cpu)->gpr[RBP], 0);
    assert_true(cpu->jit->stats.handlers < 10);
    cpu_free(cpu);
    board_finish(&board);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_count),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_no_names_through_a_link),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
