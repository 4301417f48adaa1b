/*
 * A serial EEPROM of 64 words (93C46): what network cards keep their address in. Read only: a
 * guest's attempts to write it go nowhere.
 */
#pragma once

#include "emu/core/state.h"

#define MICROWIRE_WORDS 64

struct microwire {
    uint16_t words[MICROWIRE_WORDS];
    bool selected, clock, output;
    uint8_t phase, count;    /* enum in microwire.c; bits taken of this phase */
    uint16_t shift, address; /* what came in; the word going out */
};

extern const struct state_field microwire_state[];

/* The three input pins as they are now; the output pin is `output`. */
void microwire_drive(struct microwire *eeprom, bool select, bool clock, bool input);
