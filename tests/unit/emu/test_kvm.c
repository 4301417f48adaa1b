/* What belongs to the KVM engine alone: which engine `auto` is, where the local APIC's registers
 * end up, what is told of instructions that KVM does not know, kicks. Small guests, in real mode.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "emu/core/board.h"
#include "emu/core/memory.h"
#include "emu/cpu/cpu.h"
#include "emu/cpu/state.h"
#include <glib.h>
#include <pthread.h>
#include <string.h>

#define MODEL "x86-64-v1"

struct wires {
    int vector; /* to be acknowledged, or -1 */
    unsigned acknowledged, tpr;
};

static int acknowledge(void *opaque)
{
    struct wires *wires = opaque;
    int vector = wires->vector;
    wires->vector = -1;
    wires->acknowledged++;
    return vector;
}
static unsigned read_tpr(void *opaque)
{
    return ((struct wires *)opaque)->tpr;
}
static void write_tpr(void *opaque, unsigned value)
{
    ((struct wires *)opaque)->tpr = value;
}
static bool read_msr(void *opaque, uint32_t index, uint64_t *ret_value)
{
    *ret_value = 0xfee00900;
    return index == 0x1b;
}
static bool write_msr(void *opaque, uint32_t index, uint64_t value)
{
    return index == 0x1b;
}
static const struct cpu_ops ops = {acknowledge, read_tpr, write_tpr, read_msr, write_msr};

struct guest {
    struct board board;
    struct wires wires;
    struct cpu *cpu;
};

/* A CPU at `code`, whose handlers of interrupts are one HLT at 0x2000. */
static bool start(struct guest *guest, const void *code, size_t length)
{
    g_autoptr(GError) error = NULL;
    memset(guest, 0, sizeof(*guest));
    guest->wires.vector = -1;
    assert_true(board_init(&guest->board, 1 << 20, NULL));
    guest->cpu = cpu_new(&guest->board, 0, "kvm", MODEL, &ops, &guest->wires, &error);
    if (!guest->cpu) {
        print_message("left out: %s\n", error->message);
        board_finish(&guest->board);
        return false;
    }
    uint8_t *ram = memory_ram_host(guest->board.memory);
    memcpy(ram + 0x1000, code, length);
    ram[0x2000] = 0xf4;
    for (unsigned vector = 0; vector < 256; vector++)
        memcpy(ram + 4 * vector, "\x00\x20\x00\x00", 4);
    struct cpu_state *s = cpu_state(guest->cpu);
    s->seg[SEG_CS].base = s->seg[SEG_CS].selector = 0;
    s->rip = 0x1000;
    s->gpr[RSP] = 0x8000;
    cpu_state_changed(guest->cpu);
    return true;
}

static void end(struct guest *guest)
{
    cpu_free(guest->cpu);
    board_finish(&guest->board);
}

static void test_choice(void **state)
{
    const char *chosen = cpu_choose_engine("auto", MODEL);
    assert_true(!strcmp(chosen, "kvm") || !strcmp(chosen, "jit"));
    print_message("auto is %s here\n", chosen);
    assert_string_equal(cpu_choose_engine("interp", MODEL), "interp");
    assert_null(cpu_choose_engine("warp", MODEL));
    assert_string_equal(cpu_engines()[0], "auto");
}

/* mov ecx, 0x6e0; xor eax, eax; xor edx, edx; wrmsr; hlt */
static const char deadline[] = "\x66\xb9\xe0\x06\x00\x00\x66\x31\xc0\x66\x31\xd2\x0f\x30\xf4";
/* mov ecx, 0x12345678; rdmsr; hlt */
static const char unknown[] = "\x66\xb9\x78\x56\x34\x12\x0f\x32\xf4";

static void test_registers(void **state)
{
    struct guest guest;
    if (!start(&guest, deadline, sizeof(deadline) - 1))
        skip();
    assert_int_equal(cpu_run(guest.cpu), CPU_EXIT_HALTED);
    /* The model has no deadline. By itself the kernel would take it and do nothing. */
    assert_int_equal(cpu_state(guest.cpu)->rip, 0x2001);
    end(&guest);
    assert_true(start(&guest, unknown, sizeof(unknown) - 1));
    assert_int_equal(cpu_run(guest.cpu), CPU_EXIT_HALTED);
    assert_int_equal(cpu_state(guest.cpu)->rip, 0x2001); /* #GP */
    end(&guest);
}

static void test_interrupts(void **state)
{
    /* cli; inc ax; sti; inc bx; inc cx; hlt: nothing comes before the instruction behind STI */
    static const char code[] = "\xfa\x40\xfb\x43\x41\xf4";
    struct guest guest;
    if (!start(&guest, code, sizeof(code) - 1))
        skip();
    guest.wires.vector = 0x55;
    cpu_set_interrupt(guest.cpu, true);
    assert_int_equal(cpu_run(guest.cpu), CPU_EXIT_HALTED);
    const struct cpu_state *s = cpu_state(guest.cpu);
    assert_int_equal(s->rip, 0x2001);
    assert_int_equal(s->gpr[RAX], 1);
    assert_int_equal(s->gpr[RBX], 1);
    assert_true(guest.wires.acknowledged >= 1);
    end(&guest);
    /* And one that finds the CPU halted. */
    assert_true(start(&guest, "\xfb\xf4\x43\xf4", 4));
    assert_int_equal(cpu_run(guest.cpu), CPU_EXIT_HALTED);
    assert_int_equal(cpu_state(guest.cpu)->rip, 0x1002);
    cpu_request_nmi(guest.cpu);
    cpu_wait(guest.cpu);
    assert_int_equal(cpu_run(guest.cpu), CPU_EXIT_HALTED);
    assert_int_equal(cpu_state(guest.cpu)->rip, 0x2001);
    assert_true(cpu_state(guest.cpu)->nmi_blocked);
    end(&guest);
}

static void *kick(void *argument)
{
    cpu_kick(((struct guest *)argument)->cpu);
    return NULL;
}

static void test_kick(void **state)
{
    struct guest guest;
    pthread_t thread;
    if (!start(&guest, "\xeb\xfe", 2)) /* for ever */
        skip();
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(pthread_create(&thread, NULL, kick, &guest), 0);
        assert_int_equal(cpu_run(guest.cpu), CPU_EXIT_KICKED);
        pthread_join(thread, NULL);
        assert_int_equal(cpu_state(guest.cpu)->rip, 0x1000);
    }
    end(&guest);
}

static void test_triple_fault(void **state)
{
    /* lidt [0x3000], of limit 0; mov eax, cr0; or al, 1; mov cr0, eax; ud2 */
    static const char code[] = "\x0f\x01\x1e\x00\x30\x0f\x20\xc0\x0c\x01\x0f\x22\xc0\x0f\x0b";
    struct guest guest;
    if (!start(&guest, code, sizeof(code) - 1))
        skip();
    assert_int_equal(cpu_run(guest.cpu), CPU_EXIT_TRIPLE_FAULT);
    assert_non_null(cpu_shutdown_reason(guest.cpu));
    cpu_reset(guest.cpu);
    assert_null(cpu_shutdown_reason(guest.cpu));
    assert_int_equal(cpu_state(guest.cpu)->rip, 0xfff0);
    end(&guest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choice),       cmocka_unit_test(test_registers),
        cmocka_unit_test(test_interrupts),   cmocka_unit_test(test_kick),
        cmocka_unit_test(test_triple_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
