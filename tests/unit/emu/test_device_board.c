/*
 * The devices around the board: keyboard controller, fw_cfg, power management, VGA, PCI.
 */
#include "emu/device/device.h"
#include "emu/device/i8042.h"
#include "emu/device/parallel.h"
#include "emu/device/vmmouse.h"
#include "tests/unit/emu/fixture.h"

static int set_up(void **state)
{
    *state = fixture_new(false);
    return 0;
}

static int tear_down(void **state)
{
    fixture_free(*state);
    return 0;
}

static struct device *find_device(struct fixture *f, const char *name)
{
    struct device *device;
    for (unsigned i = 0; (device = machine_device(f->machine, i)); i++) {
        if (strcmp(device->ops->name, name) == 0)
            return device;
    }
    return NULL;
}

static void test_keyboard(void **state)
{
    struct fixture *f = *state;
    out8(f, 0x64, 0xaa); /* self test */
    assert_int_equal(in8(f, 0x64) & 1, 1);
    assert_int_equal(in8(f, 0x60), 0x55);
    out8(f, 0x60, 0xff); /* reset the keyboard */
    assert_int_equal(in8(f, 0x60), 0xfa);
    assert_int_equal(in8(f, 0x60), 0xaa);
    assert_int_equal(in8(f, 0x64) & 1, 0);
    static const uint8_t a_down_up[] = {0x1c, 0xf0, 0x1c}; /* "a" in set 2 */
    board_lock(f->board);
    i8042_key(find_device(f, "i8042"), a_down_up, sizeof(a_down_up));
    board_unlock(f->board);
    assert_int_equal(in8(f, 0x60), 0x1e); /* translated to set 1 */
    assert_int_equal(in8(f, 0x60), 0x9e);
    out8(f, 0x64, 0xd4);
    out8(f, 0x60, 0xf2); /* the mouse's id */
    assert_int_equal(in8(f, 0x64) & 0x20, 0x20);
    assert_int_equal(in8(f, 0x60), 0xfa);
    assert_int_equal(in8(f, 0x60), 0x00);
}

static void test_fw_cfg(void **state)
{
    struct fixture *f = *state;
    char signature[5] = "";
    port_write(f->board->ports, 0x510, 0, 2);
    for (int i = 0; i < 4; i++)
        signature[i] = (char)in8(f, 0x511);
    assert_string_equal(signature, "QEMU");
    assert_int_equal(in8(f, 0x511), 0); /* past the end */
    port_write(f->board->ports, 0x510, 0x8000, 2);
    assert_int_equal(in8(f, 0x511), 0); /* another architecture's item 0 is not ours */
    /* The same by DMA: select 0, read 4 bytes to 0x2000; the request is big endian. */
    static const uint8_t request[16] = {0, 0, 0, 0x0a, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0x20, 0};
    memory_write(f->board->memory, 0x1000, request, sizeof(request));
    port_write(f->board->ports, 0x518, GUINT32_TO_BE(0x1000), 4);
    assert_int_equal(memory_load(f->board->memory, 0x1000, 4), 0);
    memory_read(f->board->memory, 0x2000, signature, 4);
    assert_string_equal(signature, "QEMU");
}

static void set_config(struct fixture *f, unsigned devfn, unsigned offset, uint32_t value)
{
    port_write(f->board->ports, 0xcf8, 0x80000000 | devfn << 8 | offset, 4);
    port_write(f->board->ports, 0xcfc, value, 4);
}

static uint32_t get_config(struct fixture *f, unsigned devfn, unsigned offset)
{
    port_write(f->board->ports, 0xcf8, 0x80000000 | devfn << 8 | offset, 4);
    return port_read(f->board->ports, 0xcfc, 4);
}

static void test_power_management(void **state)
{
    struct fixture *f = *state;
    set_config(f, 0x0b, 0x40, 0x601);
    set_config(f, 0x0b, 0x80, 1);
    init_pics(f);
    out8(f, 0xb2, 0xf1); /* ACPI on */
    assert_int_equal(port_read(f->board->ports, 0x604, 2) & 1, 1);
    port_write(f->board->ports, 0x602, 0x100, 2);
    machine_power_button(f->machine);
    assert_int_equal(port_read(f->board->ports, 0x600, 2) & 0x100, 0x100);
    out8(f, 0xa0, 0x0a);
    assert_int_equal(in8(f, 0xa0) & 2, 2); /* interrupt 9 */
    port_write(f->board->ports, 0x600, 0x100, 2);
    assert_int_equal(port_read(f->board->ports, 0x600, 2) & 0x100, 0);
    uint32_t before = port_read(f->board->ports, 0x608, 4);
    advance(f, 1000000);
    assert_in_range(port_read(f->board->ports, 0x608, 4) - before, 3579, 3580);
    out8(f, 0xb2, 0xf0);
    assert_int_equal(port_read(f->board->ports, 0x604, 2) & 1, 0);
}

static void test_pci(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(get_config(f, 0x00, 0), 0x12378086);
    assert_int_equal(get_config(f, 0x10, 0), 0x11111234);
    assert_int_equal(get_config(f, 0x18, 0), 0xffffffff);
    set_config(f, 0x10, 0x10, 0xffffffff);
    assert_int_equal(get_config(f, 0x10, 0x10), 0xff000008); /* 16 MiB, prefetchable */
    set_config(f, 0x10, 0x10, 0xe0000000);
    assert_int_equal(memory_load(f->board->memory, 0xe0000000, 4), 0xffffffff);
    set_config(f, 0x10, 0x04, 2);
    memory_store(f->board->memory, 0xe0000000, 0x12345678, 4);
    assert_int_equal(memory_load(f->board->memory, 0xe0000000, 4), 0x12345678);
    /* PAM: RAM in place of the BIOS. */
    set_config(f, 0, 0x58, 0x3000);
    memory_store(f->board->memory, 0xf0000, 0x55, 1);
    assert_int_equal(memory_load(f->board->memory, 0xf0000, 1), 0x55);
}

static void set_graphics(struct fixture *f, uint8_t index, uint8_t value)
{
    out8(f, 0x3ce, index);
    out8(f, 0x3cf, value);
}

static void test_vga_planes(void **state)
{
    struct fixture *f = *state;
    struct memory_map *memory = f->board->memory;
    out8(f, 0x3c4, 2);
    out8(f, 0x3c5, 0x0f);
    set_graphics(f, 6, 5); /* graphics at 0xa0000 */
    set_graphics(f, 8, 0xff);
    set_graphics(f, 5, 2); /* write mode 2: a colour to all planes */
    memory_store(memory, 0xa0000, 0x05, 1);
    for (uint8_t plane = 0; plane < 4; plane++) {
        set_graphics(f, 4, plane);
        assert_int_equal(memory_load(memory, 0xa0000, 1), plane & 1 ? 0 : 0xff);
    }
    set_graphics(f, 5, 8); /* read mode 1: compare */
    set_graphics(f, 2, 5);
    set_graphics(f, 7, 15);
    assert_int_equal(memory_load(memory, 0xa0000, 1), 0xff);
    set_graphics(f, 2, 4);
    assert_int_equal(memory_load(memory, 0xa0000, 1), 0);
    set_graphics(f, 5, 0); /* write mode 0, bit mask and XOR with the latches */
    set_graphics(f, 8, 0x0f);
    set_graphics(f, 3, 0x18);
    memory_load(memory, 0xa0000, 1);
    memory_store(memory, 0xa0000, 0xff, 1);
    set_graphics(f, 4, 0);
    assert_int_equal(memory_load(memory, 0xa0000, 1), 0xf0);
    port_write(f->board->ports, 0x1ce, 0, 2);
    assert_int_equal(port_read(f->board->ports, 0x1cf, 2), 0xb0c5);
}

struct printed {
    uint8_t bytes[16];
    size_t count;
    bool busy;
};

static void print(void *opaque, const uint8_t *bytes, size_t count)
{
    struct printed *printed = opaque;
    printed->bytes[printed->count++ % sizeof(printed->bytes)] = *bytes;
}

static bool is_busy(const void *opaque)
{
    return ((const struct printed *)opaque)->busy;
}

static void test_parallel(void **state)
{
    struct fixture *f = fixture_new_all();
    struct printed printed = {.busy = true};
    struct parallel_ends ends = {print, is_busy, &printed};
    struct device *device = find_device(f, "parallel");
    init_pics(f);
    board_lock(f->board);
    parallel_set_ends(device, &ends);
    board_unlock(f->board);
    assert_int_equal(in8(f, 0x379), 0x5f); /* busy */
    printed.busy = false;
    assert_int_equal(in8(f, 0x379), 0xdf);
    out8(f, 0x378, 0x41);
    assert_int_equal(in8(f, 0x378), 0x41);
    out8(f, 0x37a, 0x1d); /* strobe, with the interrupt wanted */
    assert_int_equal(in8(f, 0x379), 0x5f);
    out8(f, 0x20, 0x0a);
    assert_int_equal(in8(f, 0x20) & 0x80, 0);
    out8(f, 0x37a, 0x1c);
    assert_int_equal(in8(f, 0x379), 0x1f); /* the acknowledge */
    assert_int_equal(in8(f, 0x379), 0xdf);
    out8(f, 0x20, 0x0a);
    assert_int_equal(in8(f, 0x20) & 0x80, 0x80);
    out8(f, 0x37a, 0x05); /* not selected: nobody hears this */
    out8(f, 0x37a, 0x04);
    out8(f, 0x37a, 0x2c); /* the lines turned round */
    assert_int_equal(in8(f, 0x378), 0xff);
    assert_int_equal(in8(f, 0x37a), 0xec);
    assert_int_equal(printed.count, 1);
    assert_int_equal(printed.bytes[0], 0x41);
    fixture_free(f);
}

static bool get_registers(void *opaque, uint32_t registers[VMMOUSE_REGISTERS])
{
    memcpy(registers, opaque, VMMOUSE_REGISTERS * 4);
    return true;
}

static void set_registers(void *opaque, const uint32_t registers[VMMOUSE_REGISTERS])
{
    memcpy(opaque, registers, VMMOUSE_REGISTERS * 4);
}

static void no_nudge(void *opaque)
{
}

/* The backdoor: magic in EAX, EBX, the command in ECX. */
static uint32_t knock(struct fixture *f, uint32_t *registers, uint32_t ebx, uint32_t command)
{
    registers[VMMOUSE_EAX] = 0x564d5868;
    registers[VMMOUSE_EBX] = ebx;
    registers[VMMOUSE_ECX] = command;
    registers[VMMOUSE_EDX] = 0x5658;
    return port_read(f->board->ports, 0x5658, 4);
}

static void test_vmmouse(void **state)
{
    struct fixture *f = *state;
    uint32_t r[VMMOUSE_REGISTERS];
    struct vmmouse_ends ends = {get_registers, set_registers, no_nudge, 64 << 20, r};
    struct device *mouse = find_device(f, "vmmouse");
    vmmouse_connect(mouse, &ends);
    assert_int_equal(knock(f, r, 0, 10), 6);
    assert_int_equal(r[VMMOUSE_EBX], 0x564d5868);
    assert_int_equal(knock(f, r, 0, 20), 64 << 20);
    assert_int_equal(knock(f, r, 0, 999), UINT32_MAX);
    assert_false(machine_point(f->machine, 1, 2, 0, 0));
    knock(f, r, 0x45414552, 41);
    assert_int_equal(knock(f, r, 0, 40), 1);
    assert_int_equal(knock(f, r, 1, 39), 0x3442554a);
    knock(f, r, 0x53424152, 41);
    assert_true(machine_point(f->machine, 0x1234, 0xffff, 5, -1));
    assert_int_equal(knock(f, r, 0, 40), 4);
    assert_int_equal(knock(f, r, 4, 39), 0x28);
    assert_int_equal(r[VMMOUSE_EBX], 0x1234);
    assert_int_equal(r[VMMOUSE_ECX], 0xffff);
    assert_int_equal(r[VMMOUSE_EDX], UINT32_MAX);
    for (unsigned i = 0; i < 1000; i++) /* what the guest does not take is dropped */
        machine_point(f->machine, i, i, 0, 0);
    assert_int_equal(knock(f, r, 0, 40), 1024);
    knock(f, r, 7, 39); /* nonsense: the guest has to begin again */
    assert_int_equal(knock(f, r, 0, 40), 0xffff0000);
    knock(f, r, 0x45414552, 41);
    assert_int_equal(knock(f, r, 0, 40), 1);
    knock(f, r, 0xf5, 41); /* off: Linux looks for that, too */
    assert_int_equal(knock(f, r, 0, 40), 0xffff0000);
    r[VMMOUSE_EAX] = 0;
    assert_int_equal(port_read(f->board->ports, 0x5658, 4), UINT32_MAX);
    assert_int_equal(port_read(f->board->ports, 0x5658, 2), 0xffff);
}

static void test_testdev(void **state)
{
    struct fixture *f = fixture_new_all();
    struct port_map *ports = f->board->ports;
    port_write(ports, 0xe0, 0x11223344, 4);
    port_write(ports, 0xe1, 0xaa, 1);
    assert_int_equal(port_read(ports, 0xe0, 4), 0x1122aa44);
    assert_int_equal(port_read(ports, 0xe2, 2), 0x1122);
    assert_int_equal(port_read(ports, 0xe8, 4), 0x1122aa44);
    uint32_t version = *memory_version(f->board->memory);
    port_write(ports, 0xe4, 0x1000, 4);
    assert_int_not_equal(*memory_version(f->board->memory), version);
    memory_store(f->board->memory, 0xff000ff0, UINT64_C(0x1122334455667788), 8);
    assert_int_equal(memory_load(f->board->memory, 0xff000ff2, 2), 0x5566);
    init_pics(f);
    out8(f, 0x2000 + 10, 1);
    out8(f, 0xa0, 0x0a);
    assert_int_equal(in8(f, 0xa0) & 4, 4);
    out8(f, 0x2000 + 10, 0);
    struct machine_statistics statistics;
    assert_int_equal(in8(f, 0x505), 3);
    out8(f, 0x505, 2); /* another kernel saves a dump: no panic of the machine's */
    machine_statistics(f->machine, &statistics);
    assert_false(statistics.panicked);
    out8(f, 0x505, 1);
    machine_statistics(f->machine, &statistics);
    assert_true(statistics.panicked);
    machine_reset(f->machine);
    machine_statistics(f->machine, &statistics);
    assert_false(statistics.panicked);
    fixture_free(f);
}

int main(void)
{
#define PC_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        PC_TEST(test_keyboard), PC_TEST(test_fw_cfg),          PC_TEST(test_power_management),
        PC_TEST(test_pci),      PC_TEST(test_vga_planes),      cmocka_unit_test(test_parallel),
        PC_TEST(test_vmmouse),  cmocka_unit_test(test_testdev)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
