#include "emu/device/uart.h"

#include "emu/core/clock.h"
#include "emu/core/port.h"
#include <string.h>

#define FIFO_SIZE 16

#define IER_DATA    0x01
#define IER_EMPTY   0x02
#define IER_LINE    0x04
#define IER_MODEM   0x08
#define LSR_DATA    0x01
#define LSR_OVERRUN 0x02
#define LSR_EMPTY   0x60 /* holding register and shifter */
#define LCR_DLAB    0x80
#define MCR_LOOP    0x10
#define FCR_ENABLE  0x01

struct uart {
    struct device device;
    uint8_t ier, fcr, lcr, mcr, lsr, msr, scratch;
    uint8_t divisor[2];
    bool empty_pending;   /* the transmitter-empty interrupt, until read or written */
    bool timeout_pending; /* bytes below the trigger level have waited long enough */
    uint8_t fifo[FIFO_SIZE];
    uint8_t fifo_head, fifo_count;
    uint64_t sent, received;
    uint16_t port;
    struct irq *output;
    uart_send_function *send;
    void *send_opaque;
    struct timer timeout;
};

/* ---- interrupts -------------------------------------------------------------------------- */

static unsigned trigger_level(const struct uart *uart)
{
    static const uint8_t levels[4] = {1, 4, 8, 14};
    return uart->fcr & FCR_ENABLE ? levels[uart->fcr >> 6] : 1;
}

/* The interrupt identification without the FIFO bits: 1 means none. */
static uint8_t identify(const struct uart *uart)
{
    if (uart->ier & IER_LINE && uart->lsr & 0x1e)
        return 0x06;
    if (uart->ier & IER_DATA && uart->fifo_count >= trigger_level(uart))
        return 0x04;
    if (uart->ier & IER_DATA && uart->fifo_count && uart->timeout_pending)
        return 0x0c;
    if (uart->ier & IER_EMPTY && uart->empty_pending)
        return 0x02;
    if (uart->ier & IER_MODEM && uart->msr & 0x0f)
        return 0x00;
    return 0x01;
}

static void update(struct uart *uart)
{
    irq_set(uart->output, !(identify(uart) & 1));
}

static void timeout_fired(void *opaque)
{
    struct uart *uart = opaque;
    uart->timeout_pending = uart->fifo_count > 0;
    update(uart);
}

static void arm_timeout(struct uart *uart)
{
    uart->timeout_pending = false;
    if (uart->fifo_count == 0 || !(uart->fcr & FCR_ENABLE)) {
        timer_cancel(&uart->timeout);
        return;
    }
    /* Four characters' time at 115,200 baud; nobody gains from a slower line's wait. */
    timer_arm(&uart->timeout,
              guest_clock_now(uart->device.board->clock) + 4 * NS_PER_SECOND / 11520);
}

/* ---- the receiver ------------------------------------------------------------------------ */

static void push(struct uart *uart, uint8_t byte)
{
    unsigned room = uart->fcr & FCR_ENABLE ? FIFO_SIZE : 1;
    if (uart->fifo_count >= room) {
        uart->lsr |= LSR_OVERRUN;
        return;
    }
    uart->fifo[(uart->fifo_head + uart->fifo_count) % FIFO_SIZE] = byte;
    uart->fifo_count++;
    uart->received++;
}

static uint8_t pop(struct uart *uart)
{
    if (uart->fifo_count == 0)
        return 0;
    uint8_t byte = uart->fifo[uart->fifo_head];
    uart->fifo_head = (uart->fifo_head + 1) % FIFO_SIZE;
    uart->fifo_count--;
    arm_timeout(uart);
    return byte;
}

size_t uart_receive_room(const struct device *device)
{
    const struct uart *uart = (const struct uart *)device;
    unsigned room = uart->fcr & FCR_ENABLE ? FIFO_SIZE : 1;
    if (uart->mcr & MCR_LOOP || uart->fifo_count >= room)
        return 0;
    return room - uart->fifo_count;
}

size_t uart_receive(struct device *device, const uint8_t *bytes, size_t count)
{
    struct uart *uart = (struct uart *)device;
    size_t taken = MIN(count, uart_receive_room(device));
    for (size_t i = 0; i < taken; i++)
        push(uart, bytes[i]);
    if (taken) {
        arm_timeout(uart);
        update(uart);
    }
    return taken;
}

uint64_t uart_bytes_sent(const struct device *device)
{
    return ((const struct uart *)device)->sent;
}

uint64_t uart_bytes_received(const struct device *device)
{
    return ((const struct uart *)device)->received;
}

/* ---- registers --------------------------------------------------------------------------- */

static uint8_t modem_lines(const struct uart *uart)
{
    if (!(uart->mcr & MCR_LOOP))
        return 0xb0; /* CTS, DSR, DCD */
    uint8_t mcr = uart->mcr;
    return (uint8_t)((mcr & 2) << 3 | (mcr & 1) << 5 | (mcr & 4) << 4 | (mcr & 8) << 4);
}

static void update_modem(struct uart *uart)
{
    uint8_t lines = modem_lines(uart), changed = (lines ^ uart->msr) & 0xf0;
    uint8_t deltas = changed >> 4;
    if (deltas & 4 && lines & 0x40)
        deltas &= (uint8_t)~4; /* the ring indicator tells of its trailing edge only */
    uart->msr = lines | (uart->msr & 0x0f) | deltas;
}

static void transmit(struct uart *uart, uint8_t byte)
{
    if (uart->mcr & MCR_LOOP) {
        push(uart, byte);
        arm_timeout(uart);
    } else {
        uart->sent++;
        if (uart->send)
            uart->send(uart->send_opaque, &byte, 1);
    }
    uart->empty_pending = true;
}

static void write_fcr(struct uart *uart, uint8_t value)
{
    if ((value ^ uart->fcr) & FCR_ENABLE)
        value |= 0x02;
    if (value & 0x02) {
        uart->fifo_count = 0;
        arm_timeout(uart);
    }
    if (value & 0x04)
        uart->empty_pending = true;
    uart->fcr = value & 0xc9;
}

static void write_ier(struct uart *uart, uint8_t value)
{
    /* Enabling the transmitter's interrupt while it is empty raises it. */
    if (value & ~uart->ier & IER_EMPTY)
        uart->empty_pending = true;
    uart->ier = value & 0x0f;
}

static void uart_write(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    struct uart *uart = opaque;
    uint8_t byte = (uint8_t)value;
    if (offset < 2 && uart->lcr & LCR_DLAB) {
        uart->divisor[offset] = byte;
        return;
    }
    switch (offset) {
    case 0:
        transmit(uart, byte);
        break;
    case 1:
        write_ier(uart, byte);
        break;
    case 2:
        write_fcr(uart, byte);
        break;
    case 3:
        uart->lcr = byte;
        break;
    case 4:
        uart->mcr = byte & 0x1f;
        update_modem(uart);
        break;
    case 7:
        uart->scratch = byte;
        break;
    default:
        break;
    }
    update(uart);
}

static uint8_t read_clearing(struct uart *uart, uint16_t offset)
{
    uint8_t value = 0;
    if (offset == 0) {
        value = pop(uart);
    } else if (offset == 2) {
        value = identify(uart) | (uart->fcr & FCR_ENABLE ? 0xc0 : 0);
        if ((value & 0x0f) == 0x02)
            uart->empty_pending = false;
    } else if (offset == 5) {
        value = uart->lsr | LSR_EMPTY | (uart->fifo_count ? LSR_DATA : 0);
        uart->lsr = 0;
    } else if (offset == 6) {
        value = uart->msr;
        uart->msr &= 0xf0;
    }
    update(uart);
    return value;
}

static uint32_t uart_read(void *opaque, uint16_t offset, unsigned size)
{
    struct uart *uart = opaque;
    if (offset < 2 && uart->lcr & LCR_DLAB)
        return uart->divisor[offset];
    switch (offset) {
    case 1:
        return uart->ier;
    case 3:
        return uart->lcr;
    case 4:
        return uart->mcr;
    case 7:
        return uart->scratch;
    default:
        return read_clearing(uart, offset);
    }
}

static const struct port_ops ports = {uart_read, uart_write, 1};

/* ---- the device -------------------------------------------------------------------------- */

void uart_connect(struct device *device, uint16_t port, struct irq *output)
{
    struct uart *uart = (struct uart *)device;
    uart->port = port;
    uart->output = output;
}

void uart_set_back_end(struct device *device, uart_send_function *send, void *opaque)
{
    struct uart *uart = (struct uart *)device;
    uart->send = send;
    uart->send_opaque = opaque;
}

static bool realize(struct device *device, GError **error)
{
    struct uart *uart = (struct uart *)device;
    timer_init(&uart->timeout, device->board->clock, timeout_fired, uart);
    if (uart->port)
        port_add(device->board->ports, "uart", uart->port, 8, &ports, uart);
    return true;
}

static void reset(struct device *device)
{
    struct uart *uart = (struct uart *)device;
    uart->ier = uart->fcr = uart->lcr = uart->lsr = 0;
    uart->mcr = 0x08;
    uart->msr = 0xb0;
    uart->divisor[0] = 12;
    uart->divisor[1] = 0;
    uart->empty_pending = false;
    uart->fifo_count = 0;
    arm_timeout(uart);
    update(uart);
}

static bool loaded(struct device *device, GError **error)
{
    struct uart *uart = (struct uart *)device;
    uart->fifo_head %= FIFO_SIZE;
    uart->fifo_count = MIN(uart->fifo_count, FIFO_SIZE);
    bool pending = uart->timeout_pending;
    arm_timeout(uart);
    uart->timeout_pending = pending;
    return true;
}

static void finish(struct device *device)
{
    timer_cancel(&((struct uart *)device)->timeout);
}

static const struct state_field state[] = {
    STATE_UINT(struct uart, ier),           STATE_UINT(struct uart, fcr),
    STATE_UINT(struct uart, lcr),           STATE_UINT(struct uart, mcr),
    STATE_UINT(struct uart, lsr),           STATE_UINT(struct uart, msr),
    STATE_UINT(struct uart, scratch),       STATE_BYTES(struct uart, divisor),
    STATE_UINT(struct uart, empty_pending), STATE_UINT(struct uart, timeout_pending),
    STATE_BYTES(struct uart, fifo),         STATE_UINT(struct uart, fifo_head),
    STATE_UINT(struct uart, fifo_count),    STATE_UINT(struct uart, sent),
    STATE_UINT(struct uart, received),      STATE_END,
};

const struct device_ops uart_second_ops = {.name = "uart2",
                                           .size = sizeof(struct uart),
                                           .state_version = 1,
                                           .state = state,
                                           .realize = realize,
                                           .reset = reset,
                                           .loaded = loaded,
                                           .finish = finish};
const struct device_ops uart_ops = {.name = "uart",
                                    .size = sizeof(struct uart),
                                    .state_version = 1,
                                    .state = state,
                                    .realize = realize,
                                    .reset = reset,
                                    .loaded = loaded,
                                    .finish = finish};
