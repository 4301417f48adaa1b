#include "emu/device/i8042.h"

#include "emu/core/memory.h"
#include "emu/core/port.h"
#include "emu/device/ps2.h"
#include <string.h>

#define STATUS_OUTPUT   0x01
#define STATUS_SYSTEM   0x04
#define STATUS_COMMAND  0x08
#define STATUS_UNLOCKED 0x10
#define STATUS_MOUSE    0x20

#define MODE_KEYBOARD_IRQ 0x01
#define MODE_MOUSE_IRQ    0x02
#define MODE_SYSTEM       0x04
#define MODE_KEYBOARD_OFF 0x10
#define MODE_MOUSE_OFF    0x20
#define MODE_TRANSLATE    0x40

struct i8042 {
    struct device device;
    struct ps2_keyboard keyboard;
    struct ps2_mouse mouse;
    uint8_t ram[32]; /* byte 0 is the mode */
    uint8_t command; /* waiting for a byte at port 0x60 */
    uint8_t output;  /* the output buffer */
    bool output_full, output_from_mouse, last_was_command;
    bool break_prefix; /* translation saw 0xf0 */
    uint8_t output_port;
    unsigned set_ups; /* not saved: only changes of it mean something */
    struct irq *irq[2];
};

/* Scancode set 2 to set 1, as the controller translates (IBM PS/2 technical reference, keyboard
 * controller, table of translated scan codes). */
static const uint8_t to_set_1[128] = {
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59,
    0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b,
    0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d,
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f,
    0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61,
    0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76,
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f,
    0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54,
};

static void update_irqs(struct i8042 *controller)
{
    uint8_t mode = controller->ram[0];
    bool full = controller->output_full, mouse = controller->output_from_mouse;
    irq_set(controller->irq[0], full && !mouse && (mode & MODE_KEYBOARD_IRQ));
    irq_set(controller->irq[1], full && mouse && (mode & MODE_MOUSE_IRQ));
}

static void output(struct i8042 *controller, uint8_t byte, bool from_mouse)
{
    controller->output = byte;
    controller->output_full = true;
    controller->output_from_mouse = from_mouse;
    update_irqs(controller);
}

/* A keyboard byte on its way through translation; false when it is only a prefix. */
static bool translate(struct i8042 *controller, uint8_t *byte)
{
    if (!(controller->ram[0] & MODE_TRANSLATE))
        return true;
    if (*byte == 0xf0) {
        controller->break_prefix = true;
        return false;
    }
    uint8_t code = *byte < 128 ? to_set_1[*byte] : *byte == 0x83 ? 0x41 : *byte;
    *byte = controller->break_prefix ? code | 0x80 : code;
    controller->break_prefix = false;
    return true;
}

/* Moves the next byte of a device into the empty output buffer. */
static void refill(struct i8042 *controller)
{
    uint8_t byte;
    if (controller->output_full)
        return;
    while (!(controller->ram[0] & MODE_KEYBOARD_OFF) &&
           ps2_take(&controller->keyboard.queue, &byte)) {
        if (translate(controller, &byte)) {
            output(controller, byte, false);
            return;
        }
    }
    if (!(controller->ram[0] & MODE_MOUSE_OFF) && ps2_take(&controller->mouse.queue, &byte))
        output(controller, byte, true);
}

static void set_output_port(struct i8042 *controller, uint8_t value)
{
    struct board *board = controller->device.board;
    uint8_t changed = value ^ controller->output_port;
    controller->output_port = value;
    if (changed & 0x02)
        memory_set_a20(board->memory, value & 0x02);
    if (!(value & 0x01))
        board_ask(board, BOARD_RESET);
}

/* ---- ports ------------------------------------------------------------------------------- */

static void command_write(struct i8042 *controller, uint8_t command)
{
    controller->last_was_command = true;
    controller->command = 0;
    if (command >= 0x20 && command <= 0x3f) {
        output(controller, controller->ram[command & 31], false);
        return;
    }
    if ((command >= 0x60 && command <= 0x7f) || (command >= 0xd1 && command <= 0xd4)) {
        controller->command = command;
        return;
    }
    if (command >= 0xf0) { /* pulses output lines low; line 0 is reset */
        if (!(command & 0x01))
            board_ask(controller->device.board, BOARD_RESET);
        return;
    }
    uint8_t *mode = &controller->ram[0];
    switch (command) {
    case 0xa7:
        *mode |= MODE_MOUSE_OFF;
        break;
    case 0xa8:
        *mode &= (uint8_t)~MODE_MOUSE_OFF;
        break;
    case 0xa9: /* tests of the two ports: nothing wrong */
    case 0xab:
        output(controller, 0x00, false);
        break;
    case 0xaa: /* self test */
        *mode |= MODE_SYSTEM;
        output(controller, 0x55, false);
        break;
    case 0xad:
        *mode |= MODE_KEYBOARD_OFF;
        break;
    case 0xae:
        *mode &= (uint8_t)~MODE_KEYBOARD_OFF;
        break;
    case 0xc0:
        output(controller, 0x80, false);
        break;
    case 0xd0:
        output(controller, controller->output_port, false);
        break;
    case 0xdd:
        set_output_port(controller, controller->output_port & (uint8_t)~0x02);
        break;
    case 0xdf:
        set_output_port(controller, controller->output_port | 0x02);
        break;
    default:
        break;
    }
}

static void data_write(struct i8042 *controller, uint8_t byte)
{
    uint8_t command = controller->command;
    controller->last_was_command = false;
    controller->command = 0;
    if (command >= 0x60 && command <= 0x7f) {
        controller->set_ups++;
        controller->ram[command & 31] = byte;
        update_irqs(controller);
    } else if (command == 0xd1) {
        set_output_port(controller, byte);
    } else if (command == 0xd2 || command == 0xd3) {
        output(controller, byte, command == 0xd3);
    } else if (command == 0xd4) {
        controller->ram[0] &= (uint8_t)~MODE_MOUSE_OFF;
        ps2_mouse_write(&controller->mouse, byte);
    } else {
        controller->ram[0] &= (uint8_t)~MODE_KEYBOARD_OFF;
        ps2_keyboard_write(&controller->keyboard, byte);
    }
}

static void port_64_write(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    command_write(opaque, (uint8_t)value);
    refill(opaque);
}

static void port_60_write(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    data_write(opaque, (uint8_t)value);
    refill(opaque);
}

static uint32_t port_64_read(void *opaque, uint16_t offset, unsigned size)
{
    const struct i8042 *controller = opaque;
    return (controller->output_full ? STATUS_OUTPUT : 0) | STATUS_UNLOCKED |
           (controller->ram[0] & MODE_SYSTEM ? STATUS_SYSTEM : 0) |
           (controller->last_was_command ? STATUS_COMMAND : 0) |
           (controller->output_full && controller->output_from_mouse ? STATUS_MOUSE : 0);
}

static uint32_t port_60_read(void *opaque, uint16_t offset, unsigned size)
{
    struct i8042 *controller = opaque;
    uint8_t byte = controller->output;
    controller->output_full = false;
    update_irqs(controller);
    refill(controller);
    return byte;
}

static const struct port_ops data_ops = {port_60_read, port_60_write, 1};
static const struct port_ops command_ops = {port_64_read, port_64_write, 1};

/* ---- the device -------------------------------------------------------------------------- */

void i8042_connect(struct device *device, struct irq *keyboard, struct irq *mouse)
{
    struct i8042 *controller = (struct i8042 *)device;
    controller->irq[0] = keyboard;
    controller->irq[1] = mouse;
}

bool i8042_key_taken(const struct device *device)
{
    const struct i8042 *controller = (const struct i8042 *)device;
    return controller->keyboard.queue.count == 0 &&
           (!controller->output_full || controller->output_from_mouse);
}

unsigned i8042_leds(const struct device *device)
{
    return ((const struct i8042 *)device)->keyboard.leds;
}

unsigned i8042_set_ups(const struct device *device)
{
    return ((const struct i8042 *)device)->set_ups;
}

void i8042_key(struct device *device, const uint8_t *set2, size_t count)
{
    struct i8042 *controller = (struct i8042 *)device;
    ps2_keyboard_key(&controller->keyboard, set2, count);
    refill(controller);
}

void i8042_mouse(struct device *device, int dx, int dy, unsigned buttons)
{
    struct i8042 *controller = (struct i8042 *)device;
    ps2_mouse_move(&controller->mouse, dx, dy, buttons);
    refill(controller);
}

static bool realize(struct device *device, GError **error)
{
    port_add(device->board->ports, "i8042-data", 0x60, 1, &data_ops, device);
    port_add(device->board->ports, "i8042-command", 0x64, 1, &command_ops, device);
    return true;
}

static void reset(struct device *device)
{
    struct i8042 *controller = (struct i8042 *)device;
    ps2_keyboard_reset(&controller->keyboard);
    ps2_mouse_reset(&controller->mouse);
    memset(controller->ram, 0, sizeof(controller->ram));
    controller->ram[0] = MODE_KEYBOARD_IRQ | MODE_MOUSE_IRQ | MODE_TRANSLATE;
    controller->command = 0;
    controller->output_full = controller->output_from_mouse = false;
    controller->last_was_command = controller->break_prefix = false;
    controller->output_port = 0xcf;
    update_irqs(controller);
}

static bool loaded(struct device *device, GError **error)
{
    struct i8042 *controller = (struct i8042 *)device;
    ps2_queue_check(&controller->keyboard.queue);
    ps2_queue_check(&controller->mouse.queue);
    return true;
}

static const struct state_field state[] = {
    STATE_STRUCT(struct i8042, keyboard, ps2_keyboard_state),
    STATE_STRUCT(struct i8042, mouse, ps2_mouse_state),
    STATE_BYTES(struct i8042, ram),
    STATE_UINT(struct i8042, command),
    STATE_UINT(struct i8042, output),
    STATE_UINT(struct i8042, output_full),
    STATE_UINT(struct i8042, output_from_mouse),
    STATE_UINT(struct i8042, last_was_command),
    STATE_UINT(struct i8042, break_prefix),
    STATE_UINT(struct i8042, output_port),
    STATE_END,
};

const struct device_ops i8042_ops = {.name = "i8042",
                                     .size = sizeof(struct i8042),
                                     .state_version = 1,
                                     .state = state,
                                     .realize = realize,
                                     .reset = reset,
                                     .loaded = loaded};
