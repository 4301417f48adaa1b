#include "emu/device/uart.h"
#include "tests/unit/emu/fixture.h"

struct line {
    struct board board;
    struct device *uart;
    struct irq irq;
    int level;
    GByteArray *sent;
};

static void set_irq(void *receiver, int input, int level)
{
    ((struct line *)receiver)->level = level;
}

static void take(void *opaque, const uint8_t *bytes, size_t count)
{
    g_byte_array_append(((struct line *)opaque)->sent, bytes, (guint)count);
}

static int set_up(void **state)
{
    struct line *line = g_new0(struct line, 1);
    assert_true(board_init(&line->board, 1 << 20, NULL));
    line->irq = (struct irq){set_irq, line, 0};
    line->sent = g_byte_array_new();
    line->uart = device_new(&uart_ops, &line->board);
    uart_connect(line->uart, 0x3f8, &line->irq);
    assert_true(uart_ops.realize(line->uart, NULL));
    uart_ops.reset(line->uart);
    uart_set_back_end(line->uart, take, line);
    *state = line;
    return 0;
}

static int tear_down(void **state)
{
    struct line *line = *state;
    device_free(line->uart);
    board_finish(&line->board);
    g_byte_array_unref(line->sent);
    g_free(line);
    return 0;
}

static void out(struct line *line, unsigned reg, uint8_t value)
{
    port_write(line->board.ports, (uint16_t)(0x3f8 + reg), value, 1);
}

static uint8_t in(struct line *line, unsigned reg)
{
    return (uint8_t)port_read(line->board.ports, (uint16_t)(0x3f8 + reg), 1);
}

static void test_transmit(void **state)
{
    struct line *line = *state;
    out(line, 0, 'h');
    out(line, 0, 'i');
    assert_memory_equal(line->sent->data, "hi", 2);
    assert_int_equal(in(line, 5) & 0x60, 0x60);
    out(line, 1, 0x02);
    assert_int_equal(line->level, 1);
    assert_int_equal(in(line, 2), 0x02);
    assert_int_equal(line->level, 0);
    out(line, 3, 0x80);
    out(line, 0, 1);
    assert_int_equal(in(line, 0), 1);
    out(line, 3, 3);
    assert_int_equal(uart_bytes_sent(line->uart), 2);
}

static void test_fifo(void **state)
{
    struct line *line = *state;
    out(line, 2, 0x81); /* FIFO on, trigger at 8 */
    out(line, 1, 0x01);
    assert_int_equal(uart_receive(line->uart, (const uint8_t *)"1234567", 7), 7);
    assert_int_equal(line->level, 0);
    guest_clock_set(line->board.clock, 1000000);
    guest_clock_fire_due(line->board.clock);
    assert_int_equal(line->level, 1); /* time-out */
    assert_int_equal(in(line, 2), 0xcc);
    assert_int_equal(uart_receive(line->uart, (const uint8_t *)"89abcdefghij", 12), 9);
    assert_int_equal(in(line, 2), 0xc4);
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(in(line, 0), "123456789abcdefgh"[i]);
    assert_int_equal(in(line, 5) & 1, 0);
    assert_int_equal(line->level, 0);
}

static void test_loopback(void **state)
{
    struct line *line = *state;
    out(line, 4, 0x1f);
    assert_int_equal(in(line, 6) & 0xf0, 0xf0);
    out(line, 0, 'x');
    assert_int_equal(line->sent->len, 0);
    assert_int_equal(in(line, 0), 'x');
    assert_int_equal(uart_receive(line->uart, (const uint8_t *)"y", 1), 0);
}

int main(void)
{
#define LINE_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {LINE_TEST(test_transmit), LINE_TEST(test_fifo),
                                       LINE_TEST(test_loopback)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
