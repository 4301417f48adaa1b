#include "emu/device/ps2.h"

#include <string.h>

#define ACK    0xfa
#define RESEND 0xfe
#define PASSED 0xaa

/* ---- queues ------------------------------------------------------------------------------ */

static void put(struct ps2_queue *queue, uint8_t byte)
{
    if (queue->count >= PS2_QUEUE)
        return;
    queue->bytes[(queue->head + queue->count) % PS2_QUEUE] = byte;
    queue->count++;
}

bool ps2_take(struct ps2_queue *queue, uint8_t *ret_byte)
{
    if (queue->count == 0)
        return false;
    *ret_byte = queue->bytes[queue->head];
    queue->head = (queue->head + 1) % PS2_QUEUE;
    queue->count--;
    return true;
}

void ps2_queue_check(struct ps2_queue *queue)
{
    queue->head %= PS2_QUEUE;
    if (queue->count > PS2_QUEUE)
        queue->count = PS2_QUEUE;
}

/* ---- keyboard ---------------------------------------------------------------------------- */

void ps2_keyboard_reset(struct ps2_keyboard *keyboard)
{
    *keyboard = (struct ps2_keyboard){.rate = 0x2b, .scancode_set = 2, .scanning = true};
}

static void keyboard_argument(struct ps2_keyboard *keyboard, uint8_t byte)
{
    uint8_t command = keyboard->command;
    keyboard->command = 0;
    put(&keyboard->queue, ACK);
    if (command == 0xed)
        keyboard->leds = byte & 7;
    else if (command == 0xf3)
        keyboard->rate = byte & 0x7f;
    else if (command == 0xf0 && byte == 0)
        put(&keyboard->queue, keyboard->scancode_set);
    else if (command == 0xf0 && byte <= 3)
        keyboard->scancode_set = byte;
}

void ps2_keyboard_write(struct ps2_keyboard *keyboard, uint8_t byte)
{
    struct ps2_queue *queue = &keyboard->queue;
    if (keyboard->command && byte < 0xed) {
        keyboard_argument(keyboard, byte);
        return;
    }
    keyboard->command = 0;
    switch (byte) {
    case 0xed: /* set LEDs */
    case 0xf0: /* scancode set */
    case 0xf3: /* typematic rate */
        keyboard->command = byte;
        put(queue, ACK);
        break;
    case 0xee: /* echo */
        put(queue, 0xee);
        break;
    case 0xf2: /* identify: an MF2 keyboard */
        put(queue, ACK);
        put(queue, 0xab);
        put(queue, 0x83);
        break;
    case 0xf4: /* enable */
        keyboard->scanning = true;
        put(queue, ACK);
        break;
    case 0xf5: /* defaults, disable */
    case 0xf6: /* defaults */
        keyboard->rate = 0x2b;
        keyboard->leds = 0;
        keyboard->scanning = byte == 0xf6;
        put(queue, ACK);
        break;
    case 0xf7:
    case 0xf8:
    case 0xf9:
    case 0xfa: /* key behaviour of set 3 */
        put(queue, ACK);
        break;
    case 0xff: /* reset */
        ps2_keyboard_reset(keyboard);
        put(queue, ACK);
        put(queue, PASSED);
        break;
    default:
        put(queue, RESEND);
        break;
    }
}

void ps2_keyboard_key(struct ps2_keyboard *keyboard, const uint8_t *set2, size_t count)
{
    if (!keyboard->scanning || keyboard->queue.count + count > 16) /* a real one holds 16 */
        return;
    for (size_t i = 0; i < count; i++)
        put(&keyboard->queue, set2[i]);
}

/* ---- mouse ------------------------------------------------------------------------------- */

void ps2_mouse_reset(struct ps2_mouse *mouse)
{
    *mouse = (struct ps2_mouse){.rate = 100, .resolution = 2};
}

static int clamp(int value)
{
    return value < -255 ? -255 : value > 255 ? 255 : value;
}

static void report(struct ps2_mouse *mouse)
{
    int dx = clamp(mouse->dx), dy = clamp(mouse->dy);
    mouse->dx -= dx;
    mouse->dy -= dy;
    put(&mouse->queue,
        (uint8_t)(0x08 | (mouse->buttons & 7) | (dx < 0 ? 0x10 : 0) | (dy < 0 ? 0x20 : 0)));
    put(&mouse->queue, (uint8_t)dx);
    put(&mouse->queue, (uint8_t)dy);
}

static void mouse_status(struct ps2_mouse *mouse)
{
    put(&mouse->queue, (uint8_t)(mouse->remote << 6 | mouse->reporting << 5 | mouse->scale_2 << 4 |
                                 (mouse->buttons & 7)));
    put(&mouse->queue, mouse->resolution);
    put(&mouse->queue, mouse->rate);
}

static void mouse_argument(struct ps2_mouse *mouse, uint8_t byte)
{
    if (mouse->command == 0xe8)
        mouse->resolution = byte & 3;
    else
        mouse->rate = byte;
    mouse->command = 0;
    put(&mouse->queue, ACK);
}

static void mouse_defaults(struct ps2_mouse *mouse)
{
    mouse->rate = 100;
    mouse->resolution = 2;
    mouse->reporting = mouse->remote = mouse->scale_2 = mouse->wrap = false;
}

static void mouse_command(struct ps2_mouse *mouse, uint8_t byte)
{
    put(&mouse->queue, ACK);
    switch (byte) {
    case 0xe6:
    case 0xe7:
        mouse->scale_2 = byte & 1;
        break;
    case 0xe8:
    case 0xf3:
        mouse->command = byte;
        break;
    case 0xe9:
        mouse_status(mouse);
        break;
    case 0xea:
        mouse->remote = false;
        break;
    case 0xeb:
        report(mouse);
        break;
    case 0xec:
    case 0xee:
        mouse->wrap = byte == 0xee;
        break;
    case 0xf0:
        mouse->remote = true;
        break;
    case 0xf2: /* identify: a plain mouse */
        put(&mouse->queue, 0);
        break;
    case 0xf4:
    case 0xf5:
        mouse->reporting = byte == 0xf4;
        break;
    case 0xf6:
        mouse_defaults(mouse);
        break;
    default:
        break;
    }
}

void ps2_mouse_write(struct ps2_mouse *mouse, uint8_t byte)
{
    if (mouse->command) {
        mouse_argument(mouse, byte);
    } else if (mouse->wrap && byte != 0xec && byte != 0xff) {
        put(&mouse->queue, byte);
    } else if (byte == 0xff) {
        ps2_mouse_reset(mouse);
        put(&mouse->queue, ACK);
        put(&mouse->queue, PASSED);
        put(&mouse->queue, 0);
    } else if (byte >= 0xe6) {
        mouse_command(mouse, byte);
    } else {
        put(&mouse->queue, RESEND);
    }
}

void ps2_mouse_move(struct ps2_mouse *mouse, int dx, int dy, unsigned buttons)
{
    mouse->dx = clamp(mouse->dx + clamp(dx));
    mouse->dy = clamp(mouse->dy + clamp(dy));
    mouse->buttons = (uint8_t)(buttons & 7);
    if (mouse->reporting && !mouse->remote && mouse->queue.count + 3 <= 16)
        report(mouse);
}

/* ---- saved state ------------------------------------------------------------------------- */

static const struct state_field queue_state[] = {
    STATE_BYTES(struct ps2_queue, bytes),
    STATE_UINT(struct ps2_queue, head),
    STATE_UINT(struct ps2_queue, count),
    STATE_END,
};
const struct state_field ps2_keyboard_state[] = {
    STATE_STRUCT(struct ps2_keyboard, queue, queue_state),
    STATE_UINT(struct ps2_keyboard, command),
    STATE_UINT(struct ps2_keyboard, leds),
    STATE_UINT(struct ps2_keyboard, rate),
    STATE_UINT(struct ps2_keyboard, scancode_set),
    STATE_UINT(struct ps2_keyboard, scanning),
    STATE_END,
};
const struct state_field ps2_mouse_state[] = {
    STATE_STRUCT(struct ps2_mouse, queue, queue_state),
    STATE_UINT(struct ps2_mouse, command),
    STATE_UINT(struct ps2_mouse, rate),
    STATE_UINT(struct ps2_mouse, resolution),
    STATE_UINT(struct ps2_mouse, buttons),
    STATE_UINT(struct ps2_mouse, reporting),
    STATE_UINT(struct ps2_mouse, remote),
    STATE_UINT(struct ps2_mouse, wrap),
    STATE_UINT(struct ps2_mouse, scale_2),
    STATE_UINT(struct ps2_mouse, dx),
    STATE_UINT(struct ps2_mouse, dy),
    STATE_END,
};
