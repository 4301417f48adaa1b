/*
 * Runs the micro-guests of tests/guest on a board with nothing but memory, a ROM and two ports, and
 * compares what they print with what is expected of them. That QEMU prints the same is checked by
 * tests/guest/test_cpu_system.sh.
 *
 * Under KVM it is the host's kernel that is looked at, too. A kernel without hardware
 * virtualization may interpret the guest's, and has been seen to lack whole modes and to get lines
 * wrong: these are named below with what is wrong, and not compared.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "emu/core/board.h"
#include "emu/core/memory.h"
#include "emu/core/port.h"
#include "emu/cpu/cpu.h"
#include "emu/jit/jit.h"
#include "tests/unit/emu/cpu_wires.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROM_SIZE     0x10000
#define VECTOR_MODEL "x86-64-v3,+xsavec,+xgetbv1,+rdrand,+rdseed,+rdpid"

struct guest {
    struct board board;
    struct cpu *cpu, *second; /* the second is there for the guests that start it */
    int ending;
    GString *output;
    int status; /* what was written to port 0xf4, or -1 */
};

/* What the guests run on. */
struct setting {
    const char *engine, *model;
    unsigned hot;
    const char *variant; /* of the guests */
    const char *const *left_out;
};
static const struct setting *setting;

/* Lines of what is left out (-DNO_LEGACY), and of what a KVM without hardware gets wrong. */
static const char *const left_out_under_kvm[] = {
    "level 3 ",                       /* #UD for INT, IN and calls through gates */
    "v86 ",                           /* likewise */
    "vme ",                           /* */
    "00003002 00003202 ",             /* */
    "accessed and dirty: ",           /* CR0.PG raises #GP outside long mode */
    "not present ",                   /* likewise, and all that follow of paging */
    "read-only ",                     /* */
    "crossing write ",                /* */
    "11223344 rep movs ",             /* */
    "00000054 supervisor page ",      /* */
    "fetch from missing page: ",      /* */
    "pse: ",                          /* */
    "000000A1 00800000 not present ", /* */
    "pae",                            /* */
    "interrupt task: ",               /* prints an address behind what is left out */
    "16-bit task: ",                  /* likewise */
    "trap bit ",                      /* likewise */
    "syscall from level 3: ",         /* SYSCALL loads selectors of the kernel's own, not STAR's */
    "wrmsr non-canonical ",           /* runs with them */
    "steps: ",                        /* no trap after the instruction behind POPF */
    "step over mov ss: ",             /* likewise */
    "write breakpoint: ",             /* ring 0 meets no data breakpoints */
    "access breakpoint: ",            /* */
    "read-modify-write ",             /* */
    "i/o breakpoint: ",               /* nor any of ports */
    "dr6 dr7: ",                      /* */
    NULL,
};

static void print(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    struct guest *guest = opaque;
    if (guest->output->len < 100000)
        g_string_append_c(guest->output, (char)value);
    else
        cpu_kick(guest->cpu);
}
static void leave(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    struct guest *guest = opaque;
    guest->status = (int)value;
    cpu_kick(guest->cpu);
}

static void start_second(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    struct guest *guest = opaque;
    cpu_request_init(guest->second);
    cpu_request_sipi(guest->second, (uint8_t)value);
}

static void *run_second(void *argument)
{
    struct guest *guest = argument;
    while (!__atomic_load_n(&guest->ending, __ATOMIC_ACQUIRE))
        if (cpu_run(guest->second) == CPU_EXIT_HALTED)
            cpu_wait(guest->second);
    return NULL;
}

static void run_guest(struct guest *guest, const char *name)
{
    static const struct port_ops console = {NULL, print, 1}, end = {NULL, leave, 1},
                                 start = {NULL, start_second, 1};
    const char *build = getenv("BUILD");
    g_autofree char *path =
        g_strdup_printf("%s/tests/guest/%s%s.bin", build ? build : "build", name, setting->variant);
    g_autofree char *rom = NULL;
    gsize length;

    if (!g_file_get_contents(path, &rom, &length, NULL))
        fail_msg("cannot read %s", path);
    assert_int_equal(length, ROM_SIZE);
    uint8_t *aligned = g_aligned_alloc0(1, ROM_SIZE, 4096);
    memcpy(aligned, rom, ROM_SIZE);
    assert_true(board_init(&guest->board, 16 << 20, NULL));
    memory_add_host(guest->board.memory, "rom", 0xffff0000, ROM_SIZE, 1, aligned, false);
    memory_add_host(guest->board.memory, "low rom", 0xf0000, ROM_SIZE, 1, aligned, false);
    port_add(guest->board.ports, "console", 0xe9, 1, &console, guest);
    port_add(guest->board.ports, "end", 0xf4, 1, &end, guest);
    port_add(guest->board.ports, "start", 0xf5, 1, &start, guest);
    guest->status = -1;
    guest->ending = 0;
    guest->output = g_string_new(NULL);
    guest->cpu =
        cpu_new(&guest->board, 0, setting->engine, setting->model, &quiet_wires, NULL, NULL);
    assert_non_null(guest->cpu);
    jit_set_hot(guest->cpu, setting->hot);
    guest->second = NULL;
    pthread_t thread;
    if (strcmp(setting->engine, "lockstep") != 0) {
        guest->second =
            cpu_new(&guest->board, 1, setting->engine, setting->model, &quiet_wires, NULL, NULL);
        assert_non_null(guest->second);
        jit_set_hot(guest->second, setting->hot);
        assert_int_equal(pthread_create(&thread, NULL, run_second, guest), 0);
    }
    enum cpu_exit exit = cpu_run(guest->cpu);
    if (guest->second) {
        __atomic_store_n(&guest->ending, 1, __ATOMIC_RELEASE);
        cpu_kick(guest->second);
        pthread_join(thread, NULL);
    }
    if (exit != CPU_EXIT_KICKED)
        print_message("%s\n%s\n", guest->output->str, cpu_shutdown_reason(guest->cpu));
    assert_int_equal(exit, CPU_EXIT_KICKED);
    cpu_free(guest->cpu);
    cpu_free(guest->second);
    board_finish(&guest->board);
    g_aligned_free(aligned);
}

/* The lines that are compared. */
static GPtrArray *lines_of(const char *text)
{
    GPtrArray *lines = g_ptr_array_new_with_free_func(g_free);
    g_auto(GStrv) all = g_strsplit(text, "\n", -1);
    for (char **line = all; *line; line++) {
        bool wanted = true;
        for (const char *const *no = setting->left_out; no && *no; no++)
            wanted = wanted && !g_str_has_prefix(*line, *no);
        if (wanted)
            g_ptr_array_add(lines, g_strdup(*line));
    }
    return lines;
}

static void check_guest(const char *name)
{
    struct guest guest;
    g_autofree char *expected = NULL, *path = NULL;
    run_guest(&guest, name);
    assert_int_equal(guest.status, 0x10);
    if (getenv("TEST_PRINT"))
        fputs(guest.output->str, stdout);
    path = g_strdup_printf("tests/guest/%s.expected", name);
    assert_true(g_file_get_contents(path, &expected, NULL, NULL));
    g_autoptr(GPtrArray) want = lines_of(expected), have = lines_of(guest.output->str);
    for (unsigned i = 0; i < MIN(want->len, have->len); i++)
        assert_string_equal(have->pdata[i], want->pdata[i]);
    assert_int_equal(have->len, want->len);
    g_string_free(guest.output, TRUE);
}

static void test_system(void **state)
{
    check_guest("cpu_system");
}

static void test_legacy(void **state)
{
    check_guest("cpu_legacy");
}

static void test_pages(void **state)
{
    check_guest("cpu_pages");
}

static void test_vector(void **state)
{
    check_guest("cpu_vector");
}

static void test_two_processors(void **state)
{
    struct guest guest;
    run_guest(&guest, "cpu_smp");
    assert_string_equal(guest.output->str, "a 00000000\nb 00000000\ns 0000C350\n");
    assert_int_equal(guest.status, 0x10);
    g_string_free(guest.output, TRUE);
}

static bool is_vector_model(void)
{
    return !strcmp(setting->model, VECTOR_MODEL);
}

static bool is_there(void)
{
    g_autoptr(GError) error = NULL;
    struct board board;
    assert_true(board_init(&board, 1 << 20, NULL));
    struct cpu *cpu =
        cpu_new(&board, 0, setting->engine, setting->model, &quiet_wires, NULL, &error);
    bool ok = cpu || (strcmp(setting->engine, "kvm") != 0 && !is_vector_model());
    if (!ok)
        print_message("left out: %s\n", error->message);
    cpu_free(cpu);
    board_finish(&board);
    return ok;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_system),
        cmocka_unit_test(test_legacy),
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_two_processors),
    };
    const struct CMUnitTest one_processor[] = {
        cmocka_unit_test(test_system),
        cmocka_unit_test(test_legacy),
        cmocka_unit_test(test_pages),
    };
    const struct CMUnitTest vector_model[] = {
        cmocka_unit_test(test_vector),
    };
    const struct CMUnitTest small_model[] = {
        cmocka_unit_test(test_system),
        cmocka_unit_test(test_legacy),
        cmocka_unit_test(test_two_processors),
    };
    static const struct setting settings[] = {
        {"interp", "x86-64-v2,+pcid,+invpcid", 0, "", NULL},
        {"jit", "x86-64-v2,+pcid,+invpcid", 0, "", NULL},
        {"jit", "x86-64-v2,+pcid,+invpcid", 3, "", NULL},
        {"lockstep", "x86-64-v2,+pcid,+invpcid", 0, "", NULL},
        {"lockstep", "x86-64-v2,+pcid,+invpcid", 3, "", NULL},
        {"interp", VECTOR_MODEL, 0, "", NULL},
        {"jit", VECTOR_MODEL, 0, "", NULL},
        {"jit", VECTOR_MODEL, 3, "", NULL},
        {"lockstep", VECTOR_MODEL, 0, "", NULL},
        {"kvm", "x86-64-v1", 0, "_no_legacy", left_out_under_kvm},
    };
    int failed = 0;
    for (unsigned i = 0; i < G_N_ELEMENTS(settings); i++) {
        setting = &settings[i];
        print_message("engine %s, hot after %u\n", setting->engine, setting->hot);
        if (!is_there())
            continue;
        if (is_vector_model())
            failed += cmocka_run_group_tests(vector_model, NULL, NULL);
        else if (strcmp(setting->engine, "lockstep") == 0) /* which runs one processor only */
            failed += cmocka_run_group_tests(one_processor, NULL, NULL);
        else if (strcmp(setting->engine, "kvm") == 0)
            failed += cmocka_run_group_tests(small_model, NULL, NULL);
        else
            failed += cmocka_run_group_tests(tests, NULL, NULL);
    }
    return failed;
}
