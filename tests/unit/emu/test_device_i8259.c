#include "emu/device/i8259.h"
#include "tests/unit/emu/fixture.h"

struct pic {
    struct board board;
    struct device *device;
    struct irq output;
    int level;
};

static void set_output(void *receiver, int input, int level)
{
    ((struct pic *)receiver)->level = level;
}

static struct pic *new_pic(void)
{
    static const uint8_t words[][2] = {{0x20, 0x11}, {0x21, 8}, {0x21, 4}, {0x21, 1}, {0xa0, 0x11},
                                       {0xa1, 0x70}, {0xa1, 2}, {0xa1, 1}, {0x21, 0}, {0xa1, 0}};
    struct pic *pic = g_new0(struct pic, 1);
    assert_true(board_init(&pic->board, 1 << 20, NULL));
    pic->output = (struct irq){set_output, pic, 0};
    pic->device = device_new(&i8259_ops, &pic->board);
    i8259_connect(pic->device, &pic->output);
    assert_true(i8259_ops.realize(pic->device, NULL));
    i8259_ops.reset(pic->device);
    for (unsigned i = 0; i < G_N_ELEMENTS(words); i++)
        port_write(pic->board.ports, words[i][0], words[i][1], 1);
    return pic;
}

static void free_pic(struct pic *pic)
{
    device_free(pic->device);
    board_finish(&pic->board);
    g_free(pic);
}

static void eoi(struct pic *pic, uint16_t port)
{
    port_write(pic->board.ports, port, 0x20, 1);
}

static void test_priorities(void **state)
{
    struct pic *pic = new_pic();
    irq_pulse(i8259_input(pic->device, 4));
    irq_pulse(i8259_input(pic->device, 1));
    irq_pulse(i8259_input(pic->device, 12));
    assert_int_equal(pic->level, 1);
    assert_int_equal(i8259_acknowledge(pic->device), 9); /* 1 before the slave before 4 */
    assert_int_equal(pic->level, 0);                     /* 1 is in service */
    eoi(pic, 0x20);
    assert_int_equal(pic->level, 1);
    assert_int_equal(i8259_acknowledge(pic->device), 0x74); /* 12, through the cascade */
    assert_int_equal(pic->level, 0);
    irq_pulse(i8259_input(pic->device, 0));
    assert_int_equal(pic->level, 1); /* the timer interrupts the interrupt */
    assert_int_equal(i8259_acknowledge(pic->device), 8);
    eoi(pic, 0x20);
    eoi(pic, 0xa0);
    eoi(pic, 0x20);
    assert_int_equal(i8259_acknowledge(pic->device), 12);
    eoi(pic, 0x20);
    assert_int_equal(pic->level, 0);
    assert_int_equal(i8259_acknowledge(pic->device), 15); /* spurious */
    free_pic(pic);
}

static void test_mask_and_level(void **state)
{
    struct pic *pic = new_pic();
    port_write(pic->board.ports, 0x21, 0xff, 1);
    irq_set(i8259_input(pic->device, 3), 1);
    assert_int_equal(pic->level, 0);
    port_write(pic->board.ports, 0x21, 0, 1);
    assert_int_equal(pic->level, 1);
    irq_set(i8259_input(pic->device, 3), 0);
    assert_int_equal(i8259_acknowledge(pic->device), 11);
    eoi(pic, 0x20);
    /* A level input asks again for as long as it is up. */
    port_write(pic->board.ports, 0x4d1, 0x04, 1);
    assert_int_equal(port_read(pic->board.ports, 0x4d1, 1), 4);
    irq_set(i8259_input(pic->device, 10), 1);
    assert_int_equal(i8259_acknowledge(pic->device), 0x72);
    eoi(pic, 0xa0);
    eoi(pic, 0x20);
    assert_int_equal(pic->level, 1);
    irq_set(i8259_input(pic->device, 10), 0);
    assert_int_equal(pic->level, 0);
    free_pic(pic);
}

static void test_rotation(void **state)
{
    struct pic *pic = new_pic();
    irq_pulse(i8259_input(pic->device, 3));
    assert_int_equal(i8259_acknowledge(pic->device), 11);
    port_write(pic->board.ports, 0x20, 0xa0, 1); /* rotate on non-specific EOI: 3 is lowest now */
    irq_pulse(i8259_input(pic->device, 3));
    irq_pulse(i8259_input(pic->device, 5));
    assert_int_equal(i8259_acknowledge(pic->device), 13);
    free_pic(pic);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_priorities),
                                       cmocka_unit_test(test_mask_and_level),
                                       cmocka_unit_test(test_rotation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
