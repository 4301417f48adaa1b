#include "emu/device/virtio_console.h"

#include "emu/core/bytes.h"
#include "emu/device/virtio.h"
#include <string.h>

#define F_MULTIPORT  (UINT64_C(1) << 1)
#define F_EMERGENCY  (UINT64_C(1) << 2)
#define CONFIG_SIZE  12 /* columns u16, rows u16, ports u32, emergency write u32 */
#define CONFIG_PORTS 4
#define CONFIG_WRITE 8

#define DATA_RING     128
#define CONTROL_RING  32
#define CHAINS_A_TURN 32
#define PIECE         4096u
#define WRITE_MAX     (1u << 20) /* bytes of one chain; drivers send some KiB */
#define QUEUED_MAX    (256u << 10)
#define NAME_MAX_SIZE 64u
#define MESSAGE_SIZE  8 /* port u32, event u16, value u16 */

enum { QUEUE_CONTROL_IN = 2, QUEUE_CONTROL_OUT = 3 };

enum event {
    EVENT_DEVICE_READY,
    EVENT_ADD,
    EVENT_REMOVE,
    EVENT_PORT_READY,
    EVENT_CONSOLE,
    EVENT_RESIZE,
    EVENT_OPEN,
    EVENT_NAME,
};

struct port {
    struct virtio_console *console;
    unsigned index;
    const char *name; /* NULL: the console */
    struct virtio_console_ends ends;
    uint8_t pending; /* events to be told as soon as there are buffers; bits of enum event */
    bool guest_open, told_open;
    bool blocked; /* the guest's data waits until the host takes some */
};

struct virtio_console {
    struct virtio virtio;
    struct port ports[VIRTIO_CONSOLE_MAX_PORTS];
    unsigned port_count;
};

/* The queues of a port; the control queues come after the first port's. */
static unsigned queue_in(const struct port *port)
{
    return port->index ? port->index * 2 + 2 : 0;
}

static struct port *port_of(struct virtio_console *console, unsigned queue)
{
    return &console->ports[queue < 2 ? 0 : queue / 2 - 1];
}

static bool is_multiport(const struct port *port)
{
    return virtio_has(&port->console->virtio, F_MULTIPORT);
}

/* ---- control messages -------------------------------------------------------------------- */

static size_t make_message(struct port *port, enum event event, uint8_t *message)
{
    size_t length = MESSAGE_SIZE;
    uint16_t value = 1;
    if (event == EVENT_OPEN)
        value = port->told_open = port->ends.is_open && port->ends.is_open(port->ends.opaque);
    bytes_store(message, port->index, 4);
    bytes_store(message + 4, event, 2);
    bytes_store(message + 6, value, 2);
    if (event == EVENT_NAME) {
        size_t name = MIN(strlen(port->name) + 1, (size_t)NAME_MAX_SIZE);
        memcpy(message + length, port->name, name);
        length += name;
    }
    return length;
}

/* Tells the driver what it does not know yet, as far as it gave buffers for that. */
static void tell(struct virtio_console *console)
{
    static const uint8_t order[] = {EVENT_ADD, EVENT_CONSOLE, EVENT_NAME, EVENT_OPEN};
    struct virtio_queue *queue = &console->virtio.queues[QUEUE_CONTROL_IN];
    struct virtio_chain chain;
    bool told = false;
    for (unsigned i = 0; i < console->port_count * G_N_ELEMENTS(order); i++) {
        struct port *port = &console->ports[i / G_N_ELEMENTS(order)];
        enum event event = order[i % G_N_ELEMENTS(order)];
        uint8_t message[MESSAGE_SIZE + NAME_MAX_SIZE];
        if (!(port->pending & 1u << event))
            continue;
        if (!virtio_is_running(&console->virtio) || !virtio_take(queue, &chain))
            break;
        port->pending &= (uint8_t) ~(1u << event);
        size_t length = make_message(port, event, message);
        virtio_give(queue, &chain, (uint32_t)virtio_write(queue, &chain, 0, message, length));
        told = true;
    }
    if (told)
        virtio_signal(queue);
}

static void want_told(struct port *port, enum event event)
{
    port->pending |= (uint8_t)(1u << event);
    tell(port->console);
}

static void feed(struct port *port)
{
    if (port->ends.feed)
        port->ends.feed(port->ends.opaque);
}

static void port_ready(struct port *port)
{
    port->pending |= (uint8_t)(1u << (port->name ? EVENT_NAME : EVENT_CONSOLE));
    if (port->ends.is_open && port->ends.is_open(port->ends.opaque))
        port->pending |= 1u << EVENT_OPEN;
}

static void take_message(struct virtio_console *console, const uint8_t *message)
{
    uint32_t index = (uint32_t)bytes_load(message, 4);
    uint16_t event = (uint16_t)bytes_load(message + 4, 2);
    bool value = bytes_load(message + 6, 2) == 1;
    if (event == EVENT_DEVICE_READY && value) {
        for (unsigned i = 0; i < console->port_count; i++)
            console->ports[i].pending |= 1u << EVENT_ADD;
        return;
    }
    if (index >= console->port_count)
        return;
    if (event == EVENT_PORT_READY && value) {
        port_ready(&console->ports[index]);
    } else if (event == EVENT_OPEN) {
        console->ports[index].guest_open = value;
        feed(&console->ports[index]);
    }
}

static unsigned take_messages(struct virtio_console *console, struct virtio_queue *queue)
{
    struct virtio_chain chain;
    unsigned done = 0;
    for (; done < CHAINS_A_TURN && virtio_take(queue, &chain); done++) {
        uint8_t message[MESSAGE_SIZE];
        if (virtio_read(queue, &chain, 0, message, sizeof(message)) == sizeof(message))
            take_message(console, message);
        virtio_give(queue, &chain, 0);
    }
    tell(console);
    return done;
}

/* ---- data -------------------------------------------------------------------------------- */

static void send_chain(struct port *port, struct virtio_queue *queue,
                       const struct virtio_chain *chain)
{
    uint8_t bytes[PIECE];
    if (chain->out_length > WRITE_MAX) {
        virtio_fail(&port->console->virtio, "a write to a console is longer than 1 MiB");
        return;
    }
    for (uint64_t at = 0; at < chain->out_length;) {
        size_t got = virtio_read(queue, chain, at, bytes, sizeof(bytes));
        if (got == 0)
            break;
        if (port->ends.send)
            port->ends.send(port->ends.opaque, bytes, got);
        at += got;
    }
}

static unsigned send_from(struct port *port, struct virtio_queue *queue)
{
    struct virtio_chain chain;
    unsigned done = 0;
    port->blocked = false;
    for (; done < CHAINS_A_TURN; done++) {
        port->blocked = port->ends.queued && port->ends.queued(port->ends.opaque) > QUEUED_MAX;
        if (port->blocked || !virtio_take(queue, &chain))
            break;
        send_chain(port, queue, &chain);
        virtio_give(queue, &chain, 0);
    }
    return done;
}

size_t virtio_console_receive(void *opaque, const uint8_t *bytes, size_t count)
{
    struct port *port = opaque;
    struct virtio_queue *queue = &port->console->virtio.queues[queue_in(port)];
    struct virtio_chain chain;
    size_t taken = 0;
    if (!virtio_is_running(&port->console->virtio) || (is_multiport(port) && !port->guest_open))
        return 0;
    while (taken < count && virtio_take(queue, &chain)) {
        size_t piece = virtio_write(queue, &chain, 0, bytes + taken, count - taken);
        virtio_give(queue, &chain, (uint32_t)piece);
        taken += piece;
        if (port->console->virtio.status & VIRTIO_NEEDS_RESET)
            break;
    }
    if (taken)
        virtio_signal(queue);
    return taken;
}

static bool notified(struct virtio *virtio, struct virtio_queue *queue)
{
    struct virtio_console *console = (struct virtio_console *)virtio;
    struct port *port = port_of(console, queue->index);
    unsigned done = 0;
    if (queue->index == QUEUE_CONTROL_IN)
        tell(console);
    else if (queue->index == QUEUE_CONTROL_OUT)
        done = take_messages(console, queue);
    else if (queue->index % 2 == 0)
        feed(port);
    else
        done = send_from(port, queue);
    if (done)
        virtio_signal(queue);
    if (queue->index % 2 == 0) { /* what is left there are the driver's buffers */
        virtio_rearm(queue);
        return false;
    }
    return done == CHAINS_A_TURN || (virtio_rearm(queue) && !port->blocked);
}

void virtio_console_opened(void *opaque, bool open)
{
    struct port *port = opaque;
    if (virtio_is_running(&port->console->virtio) && is_multiport(port) && open != port->told_open)
        want_told(port, EVENT_OPEN);
    virtio_console_drained(port);
}

void virtio_console_drained(void *opaque)
{
    struct port *port = opaque;
    struct virtio *virtio = &port->console->virtio;
    struct virtio_queue *queue = &virtio->queues[queue_in(port) + 1];
    if (!port->blocked || !virtio_is_running(virtio) ||
        (port->ends.queued && port->ends.queued(port->ends.opaque) > QUEUED_MAX))
        return;
    if (notified(virtio, queue))
        virtio_run_later(queue);
}

/* ---- the device -------------------------------------------------------------------------- */

void virtio_console_set_ports(struct device *device, const char *const *names, unsigned count)
{
    struct virtio_console *console = (struct virtio_console *)device;
    console->port_count = MIN(count + 1, VIRTIO_CONSOLE_MAX_PORTS);
    for (unsigned i = 1; i < console->port_count; i++)
        console->ports[i].name = names[i - 1];
}

void *virtio_console_port(struct device *device, unsigned index)
{
    return &((struct virtio_console *)device)->ports[index];
}

void virtio_console_connect(void *port, const struct virtio_console_ends *ends)
{
    ((struct port *)port)->ends = *ends;
}

static void driver_reset(struct virtio *virtio)
{
    struct virtio_console *console = (struct virtio_console *)virtio;
    bytes_store(virtio->config + CONFIG_PORTS, console->port_count, 4);
    for (unsigned i = 0; i < console->port_count; i++) {
        struct port *port = &console->ports[i];
        port->pending = 0;
        port->guest_open = port->told_open = port->blocked = false;
    }
}

static void config_written(struct virtio *virtio, unsigned offset, unsigned size)
{
    struct virtio_console *console = (struct virtio_console *)virtio;
    struct port *port = &console->ports[0];
    if (offset == CONFIG_WRITE && port->ends.send) /* one character, from a guest that is ill */
        port->ends.send(port->ends.opaque, virtio->config + CONFIG_WRITE, 1);
    memset(virtio->config, 0, CONFIG_SIZE);
    bytes_store(virtio->config + CONFIG_PORTS, console->port_count, 4);
}

static const struct virtio_ops console_ops = {.type = VIRTIO_CONSOLE,
                                              .class_code = 0x078000,
                                              .notified = notified,
                                              .reset = driver_reset,
                                              .config_written = config_written};

static bool realize(struct device *device, GError **error)
{
    struct virtio_console *console = (struct virtio_console *)device;
    console->port_count = MAX(console->port_count, 1);
    unsigned queues = console->port_count * 2 + 2;
    virtio_attach(&console->virtio, &console_ops, F_MULTIPORT | F_EMERGENCY, CONFIG_SIZE,
                  queues + 1);
    for (unsigned i = 0; i < queues; i++)
        virtio_add_queue(&console->virtio, i == QUEUE_CONTROL_IN || i == QUEUE_CONTROL_OUT
                                               ? CONTROL_RING
                                               : DATA_RING);
    for (unsigned i = 0; i < console->port_count; i++) {
        console->ports[i].console = console;
        console->ports[i].index = i;
    }
    return true;
}

static void reset(struct device *device)
{
    virtio_reset((struct virtio *)device);
}

static bool loaded(struct device *device, GError **error)
{
    struct virtio_console *console = (struct virtio_console *)device;
    if (!virtio_loaded(&console->virtio, error))
        return false;
    for (unsigned i = 0; i < console->port_count; i++) {
        struct port *port = &console->ports[i];
        bool open = port->ends.is_open && port->ends.is_open(port->ends.opaque);
        port->pending &= 1u << EVENT_ADD | 1u << EVENT_CONSOLE | 1u << EVENT_OPEN |
                         (port->name ? 1u << EVENT_NAME : 0);
        /* Who was at the other end may not be there now. Told when the driver next gives buffers,
         * or has some. */
        if (port->told_open != open && is_multiport(port) && port->guest_open)
            port->pending |= 1u << EVENT_OPEN;
        if (port->blocked || port->pending)
            virtio_run_later(
                &console->virtio.queues[port->blocked ? queue_in(port) + 1u : QUEUE_CONTROL_IN]);
    }
    return true;
}

static void finish(struct device *device)
{
    virtio_finish((struct virtio *)device);
}

static const struct state_field port_state[] = {
    STATE_UINT(struct port, pending),
    STATE_UINT(struct port, guest_open),
    STATE_UINT(struct port, told_open),
    STATE_UINT(struct port, blocked),
    STATE_END,
};

static const struct state_field state[] = {
    VIRTIO_STATE(struct virtio_console, virtio),
    STATE_STRUCTS(struct virtio_console, ports, port_state),
    STATE_END,
};

const struct device_ops virtio_console_ops = {.name = "virtio-console",
                                              .size = sizeof(struct virtio_console),
                                              .state_version = 1,
                                              .state = state,
                                              .realize = realize,
                                              .reset = reset,
                                              .loaded = loaded,
                                              .finish = finish};
