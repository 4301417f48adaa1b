/*
 * Guests on a whole PC under every engine, saved half-way and gone on with under every other:
 * tests/guest/board.asm, and chips.asm and hops.asm for interrupt controllers, timers and two CPUs,
 * kvmclock.asm for KVM's clock, x2apic.asm for that mode. That QEMU prints the same of the first
 * two is checked by tests/guest/test_board.sh.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "emu/core/board.h"
#include "emu/core/memory.h"
#include "emu/machine/machine.h"
#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SAVE_HERE (2 * 0x10 + 1) /* as the debug exit makes a status of a byte */
#define AT_END    1

#define IOAPIC_VERSION        "00170020"
#define KERNEL_IOAPIC_VERSION "00170011"

static const char board_before[] = "ports: 000000A5 12378086 strings QEMU\n"
                                   "backdoor: 00000006 564D5868 00000002 ABCD5658 \n"
                                   "mmio: 00170020 05000000 \n"
                                   "pam: 12345678 12345679 000000EA \n"
                                   "a20: 00000001 00000003 00000002 00000003 \n"
                                   "vector: 0000002C 00000021 00000016 0000000B \n"
                                   "pic: ticks\n"
                                   "lapic timer: ticks\n"
                                   "ioapic: ticks\n"
                                   "ipi: 00000000 00000001 \n"
                                   "nmi: 00000001 \n"
                                   "saved: ";
/* RBX, DR0, an MSR, XMM7, 1.0, pi */
static const char board_after[] =
    "600DF00D 12345678 0000CAFE 00000002 3FF00000 54442D18 400921FB \n";

/* The number of CPUs that have come up, of messages; level interrupts; messages of a device. */
static const char chips_before[] = "smp: 00000001 00000001 \n"
                                   "level: 00000002 \n"
                                   "vector: 00000020 00000001 00008061 00000000 \n"
                                   "msi: 00000001 00000008 \n"
                                   "timers: tick\n"
                                   "legacy: still, hpet, pit\n"
                                   "saved: ";
/* Interrupts taken before they are let in (messages of the device: eight were before), and all. */
static const char chips_after[] =
    "00000000 00000000 00000008 "
    "00000001 00000002 00000009 00000001 0000000A 00000001 00000002 \n"
    "again: 00000002 00000003 \n";

static const char clock_before[] = "wall clock: ok\n"
                                   "clock: together\n"
                                   "saved: ";
/* Where it is, that the guest was told of the pause. */
static const char clock_after[] = "00100001 00000002 together\n"
                                  "together\n";

/* Messages sent, taken and answered; starts of the second CPU. */
static const char hops_after[] = "00000140 00000140 00000140 00000009 \n";
#define HOPS 16

static const char x2apic_before[] = "x2apic: FEE00D00 00000000 ticks\n"
                                    "saved: ";
/* A message not let in; the mode, the id, the task priority, the logical id, the timer's entry. */
static const char x2apic_after[] =
    "00000000 FEE00D00 00000000 00000010 00000001 00020040 deadline\n";

static const struct guest {
    const char *firmware, *before, *after, *model;
    unsigned cpus;
    bool has_devices;
} guests[] = {
    {"board", board_before, board_after, "x86-64-v1", 1, false},
    {"chips", chips_before, chips_after, "x86-64-v1,+tsc-deadline", 2, true},
    {"hops", "", hops_after, "x86-64-v1", 2, false},
    {"kvmclock", clock_before, clock_after, "x86-64-v1", 1, false},
    {"x2apic", x2apic_before, x2apic_after, "x86-64-v1,+x2apic,+tsc-deadline", 1, false},
};

/* KVM with the board's own interrupt controllers, and with the kernel's. */
static const struct how {
    const char *name, *engine;
    enum chips_wish chips;
} hows[] = {
    {"interp", "interp", CHIPS_AUTO},
    {"jit", "jit", CHIPS_AUTO},
    {"kvm", "kvm", CHIPS_OFF},
    {"kvm with the kernel's chips", "kvm", CHIPS_ON},
};

struct run {
    char *folder, *console;
    bool has[G_N_ELEMENTS(hows)];
    GBytes *state; /* of the saved machine, and its memory */
    uint8_t *ram;
};

static bool is_there(const struct how *how)
{
    g_autoptr(GError) error = NULL;
    struct machine_config config = {.memory = 1 << 20,
                                    .cpus = 1,
                                    .engine = how->engine,
                                    .kernel_irqchip = how->chips,
                                    .cpu_model = "x86-64-v1",
                                    .serial = "none"};
    struct machine *machine = machine_new(&config, &error);
    if (error)
        print_message("%s is left out: %s\n", how->name, error->message);
    if (machine)
        machine_free(machine, NULL);
    return machine != NULL;
}

static int setup(void **state)
{
    struct run *run = g_new0(struct run, 1);
    run->folder = g_dir_make_tmp("drover-engines-XXXXXX", NULL);
    run->console = g_build_filename(run->folder, "console", NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(hows); i++)
        run->has[i] = is_there(&hows[i]);
    *state = run;
    return 0;
}

static int teardown(void **state)
{
    struct run *run = *state;
    g_unlink(run->console);
    g_rmdir(run->folder);
    g_free(run->folder);
    g_clear_pointer(&run->state, g_bytes_unref);
    g_free(run->ram);
    g_free(run->console);
    g_free(run);
    return 0;
}

/* A line of the report. */
static uint64_t counted(const char *report, const char *what)
{
    const char *line = strstr(report, what);
    if (!line)
        fail_msg("the engine does not report %s", what);
    return g_ascii_strtoull(line + strlen(what), NULL, 10);
}

static void check_report(struct machine *machine, const struct guest *guest, const struct how *how)
{
    g_autofree char *report = machine_engine_report(machine);
    if (strcmp(how->engine, "kvm") != 0)
        return;
    assert_true(counted(report, "the interpreter helped") > 0 || guest != &guests[0]);
    if (how->chips == CHIPS_ON && guest->has_devices) {
        assert_true(counted(report, "messages by eventfd") > 0);
        assert_int_equal(counted(report, "exits because of HLT"), 0);
        print_message("chips borrowed: %u times\n",
                      (unsigned)counted(report, "kernel's chips were borrowed"));
    }
    if (guest->has_devices)
        assert_true(counted(report, "times that a device was rung by eventfd") > 0);
}

/* Runs until the guest writes to the debug exit; what it has printed. */
static char *run_on(struct run *run, const struct guest *guest, const struct how *how,
                    bool restored, int end)
{
    const char *build = getenv("BUILD");
    g_autofree char *firmware =
        g_strdup_printf("%s/tests/guest/%s.bin", build ? build : "build", guest->firmware);
    g_autoptr(GError) error = NULL;
    struct machine_config config = {.memory = 16 << 20,
                                    .cpus = guest->cpus,
                                    .engine = how->engine,
                                    .kernel_irqchip = how->chips,
                                    .cpu_model = guest->model,
                                    .serial = "none",
                                    .firmware = firmware,
                                    .debug_console = run->console,
                                    .debug_exit = 0xf4,
                                    .no_reboot = true};
    config.extras[MACHINE_EXTRA_RNG] = config.extras[MACHINE_EXTRA_TESTDEV] = guest->has_devices;
    char *text = NULL;
    struct machine *machine = machine_new(&config, &error);
    if (!machine)
        fail_msg("%s", error->message);
    struct memory_map *memory = machine_board(machine)->memory;
    if (restored) {
        memcpy(memory_ram_host(memory), run->ram, config.memory);
        if (!machine_load(machine, run->state, &error))
            fail_msg("%s", error->message);
        machine_pause(machine); /* and on, as one that has been in a file */
        g_usleep(1000);
        machine_resume(machine);
    }
    assert_int_equal(machine_run(machine), MACHINE_END_DEBUG_EXIT);
    assert_int_equal(machine_exit_status(machine), end);
    if (end == SAVE_HERE) {
        machine_pause(machine);
        g_clear_pointer(&run->state, g_bytes_unref);
        g_free(run->ram);
        run->state = machine_save(machine);
        run->ram = g_memdup2(memory_ram_host(memory), config.memory);
    }
    if (!restored)
        check_report(machine, guest, how);
    assert_true(machine_free(machine, NULL));
    assert_true(g_file_get_contents(run->console, &text, NULL, NULL));
    return text;
}

static char *expected_of(const struct guest *guest, const struct how *how)
{
    char *text = g_strdup(guest->before), *version = strstr(text, IOAPIC_VERSION);
    if (how->chips == CHIPS_ON && version)
        memcpy(version, KERNEL_IOAPIC_VERSION, strlen(IOAPIC_VERSION));
    return text;
}

static void test_guest(struct run *run, const struct guest *guest)
{
    for (size_t i = 0; i < G_N_ELEMENTS(hows); i++) {
        for (size_t j = 0; j < G_N_ELEMENTS(hows); j++) {
            if (!run->has[i] || !run->has[j])
                continue;
            print_message("%s, then %s\n", hows[i].name, hows[j].name);
            g_autofree char *expected = expected_of(guest, &hows[i]);
            g_autofree char *first = run_on(run, guest, &hows[i], false, SAVE_HERE);
            assert_string_equal(first, expected);
            g_autofree char *second = run_on(run, guest, &hows[j], true, AT_END);
            assert_string_equal(second, guest->after);
        }
    }
}

static void test_board(void **state)
{
    test_guest(*state, &guests[0]);
}

static void test_chips(void **state)
{
    test_guest(*state, &guests[1]);
}

/* From engine to engine, in an order in which each is followed by each. */
static void test_hops(void **state)
{
    static const unsigned order[] = {0, 0, 1, 0, 2, 0, 3, 1, 1, 2, 1, 3, 2, 2, 3, 3, 0};
    struct run *run = *state;
    const struct how *how = &hows[0];
    for (unsigned i = 0; i <= HOPS; i++) {
        if (run->has[order[i]])
            how = &hows[order[i]];
        g_autofree char *text = run_on(run, &guests[2], how, i > 0, i < HOPS ? SAVE_HERE : AT_END);
        assert_string_equal(text, i < HOPS ? "" : hops_after);
    }
}

static void test_clock(void **state)
{
    test_guest(*state, &guests[3]);
}

static void test_x2apic(void **state)
{
    test_guest(*state, &guests[4]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_board, setup, teardown),
        cmocka_unit_test_setup_teardown(test_chips, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hops, setup, teardown),
        cmocka_unit_test_setup_teardown(test_clock, setup, teardown),
        cmocka_unit_test_setup_teardown(test_x2apic, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
