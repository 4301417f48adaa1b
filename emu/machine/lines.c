/*
 * Which ports of the machine are connected to what on the host.
 */
#include "emu/device/parallel.h"
#include "emu/device/uart.h"
#include "emu/device/virtio_console.h"
#include "emu/machine/line.h"
#include "emu/machine/machine_internal.h"
#include <gio/gio.h>
#include <string.h>

/* ---- serial ports ------------------------------------------------------------------------ */

static size_t serial_receive(void *device, const uint8_t *bytes, size_t count)
{
    return uart_receive(device, bytes, count);
}

static struct line *open_serial(struct machine *machine, enum pc_slot slot, const char *where,
                                const char *log, GError **error)
{
    struct device *uart = machine->devices[slot];
    struct line_ends ends = {.name = slot == PC_UART ? "serial port" : "second serial port",
                             .receive = serial_receive,
                             .device = uart,
                             .polls = true,
                             .replays = true};
    struct line *line = line_new(machine, where, log, &ends, error);
    if (line)
        uart_set_back_end(uart, line_send, line);
    return line;
}

/* ---- the printer port -------------------------------------------------------------------- */

#define PRINTER_QUEUE (64u << 10) /* bytes not yet written at which the printer is busy */

static bool printer_busy(const void *line)
{
    return line_queued(line) >= PRINTER_QUEUE;
}

static struct line *open_printer(struct machine *machine, GError **error)
{
    struct line_ends ends = {.name = "parallel port"};
    struct line *line = line_new(machine, machine->config->parallel, NULL, &ends, error);
    struct parallel_ends device = {line_send, printer_busy, line};
    if (line)
        parallel_set_ends(machine->devices[PC_PARALLEL], &device);
    return line;
}

/* ---- virtio ports ------------------------------------------------------------------------ */

static size_t queued(const void *line)
{
    return line_queued(line);
}

static bool is_open(const void *line)
{
    return line_is_open(line);
}

static void feed(void *line)
{
    line_feed(line);
}

static struct device *find_console(const struct machine *machine)
{
    for (unsigned i = 0; i < machine->cards->len; i++) {
        if (cards_device(machine, i)->ops == &virtio_console_ops)
            return cards_device(machine, i);
    }
    return NULL;
}

static struct line *open_port(struct machine *machine, struct device *device, unsigned index,
                              const char *where, GError **error)
{
    void *port = virtio_console_port(device, index);
    g_autofree char *name = index
                                ? g_strdup_printf("port %s", machine->config->ports[index - 1].name)
                                : g_strdup("console");
    struct line_ends ends = {.name = name,
                             .receive = virtio_console_receive,
                             .opened = virtio_console_opened,
                             .drained = virtio_console_drained,
                             .device = port,
                             .replays = index == 0};
    struct line *line = line_new(machine, where, NULL, &ends, error);
    struct virtio_console_ends back = {line_send, queued, feed, is_open, line};
    if (line)
        virtio_console_connect(port, &back);
    return line;
}

static bool open_ports(struct machine *machine, GError **error)
{
    const struct machine_config *config = machine->config;
    struct device *device = find_console(machine);
    if (!device)
        return true;
    machine->ports[0] =
        open_port(machine, device, 0, config->console ? config->console : "none", error);
    for (unsigned i = 0; i < config->port_count && machine->ports[i]; i++)
        machine->ports[i + 1] = open_port(machine, device, i + 1, config->ports[i].where, error);
    return machine->ports[config->port_count] != NULL;
}

/* ---- all of them ------------------------------------------------------------------------- */

static const char *or_none(const char *where)
{
    return where ? where : "none";
}

bool lines_open(struct machine *machine, GError **error)
{
    const struct machine_config *config = machine->config;
    machine->serials[0] =
        open_serial(machine, PC_UART, or_none(config->serial), config->serial_log, error);
    if (!machine->serials[0])
        return false;
    if (config->serial2) {
        machine->serials[1] = open_serial(machine, PC_UART_2, config->serial2, NULL, error);
        if (!machine->serials[1])
            return false;
    }
    if (config->parallel) {
        machine->printer = open_printer(machine, error);
        if (!machine->printer)
            return false;
    }
    return open_ports(machine, error);
}

void lines_close(struct machine *machine)
{
    static const struct parallel_ends no_printer;
    static const struct virtio_console_ends no_port;
    struct device *console = find_console(machine);
    for (unsigned i = 0; i < MACHINE_MAX_SERIALS; i++) {
        if (machine->serials[i])
            uart_set_back_end(machine->devices[i ? PC_UART_2 : PC_UART], NULL, NULL);
        g_clear_pointer(&machine->serials[i], line_free);
    }
    if (machine->printer)
        parallel_set_ends(machine->devices[PC_PARALLEL], &no_printer);
    g_clear_pointer(&machine->printer, line_free);
    for (unsigned i = 0; i <= MACHINE_MAX_PORTS; i++) {
        if (machine->ports[i])
            virtio_console_connect(virtio_console_port(console, i), &no_port);
        g_clear_pointer(&machine->ports[i], line_free);
    }
}
