/*
 * What hangs on a PS/2 port: a keyboard or a mouse, each a queue of bytes to the controller and a
 * small command interpreter (IBM PS/2 technical reference, keyboard and mouse).
 */
#pragma once

#include "emu/core/state.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PS2_QUEUE 64

struct ps2_queue {
    uint8_t bytes[PS2_QUEUE];
    uint8_t head, count;
};

struct ps2_keyboard {
    struct ps2_queue queue;
    uint8_t command; /* waiting for its argument; 0 for none */
    uint8_t leds, rate, scancode_set;
    bool scanning;
};

struct ps2_mouse {
    struct ps2_queue queue;
    uint8_t command;
    uint8_t rate, resolution, buttons;
    bool reporting, remote, wrap, scale_2;
    int32_t dx, dy; /* moved but not yet reported */
};

extern const struct state_field ps2_keyboard_state[];
extern const struct state_field ps2_mouse_state[];

/* True with a byte taken off the queue. */
bool ps2_take(struct ps2_queue *queue, uint8_t *ret_byte);
void ps2_queue_check(struct ps2_queue *queue); /* after a load: bounds */

void ps2_keyboard_reset(struct ps2_keyboard *keyboard);
void ps2_keyboard_write(struct ps2_keyboard *keyboard, uint8_t byte);
void ps2_keyboard_key(struct ps2_keyboard *keyboard, const uint8_t *set2, size_t count);

void ps2_mouse_reset(struct ps2_mouse *mouse);
void ps2_mouse_write(struct ps2_mouse *mouse, uint8_t byte);
void ps2_mouse_move(struct ps2_mouse *mouse, int dx, int dy, unsigned buttons);
