#include "emu/device/microwire.h"

#define ADDRESS_BITS 6
#define OPCODE_READ  2

/* A start bit, two of operation, six of address, then words come out, highest bit first, after one
 * zero bit. The output floats high until then. */
enum phase { WAIT_START, TAKE_COMMAND, GIVE_DATA, IGNORE };

static void clock_rises(struct microwire *eeprom, bool input)
{
    switch (eeprom->phase) {
    case WAIT_START:
        if (input)
            eeprom->phase = TAKE_COMMAND;
        eeprom->shift = eeprom->count = 0;
        break;
    case TAKE_COMMAND:
        eeprom->shift = (uint16_t)(eeprom->shift << 1 | input);
        if (++eeprom->count < 2 + ADDRESS_BITS)
            break;
        eeprom->phase = eeprom->shift >> ADDRESS_BITS == OPCODE_READ ? GIVE_DATA : IGNORE;
        eeprom->address = eeprom->shift & (MICROWIRE_WORDS - 1);
        eeprom->count = 0;
        eeprom->output = eeprom->phase != GIVE_DATA;
        break;
    case GIVE_DATA:
        eeprom->output = eeprom->words[eeprom->address] >> (15 - eeprom->count) & 1;
        if (++eeprom->count == 16) {
            eeprom->count = 0;
            eeprom->address = (eeprom->address + 1) & (MICROWIRE_WORDS - 1);
        }
        break;
    default:
        break;
    }
}

void microwire_drive(struct microwire *eeprom, bool select, bool clock, bool input)
{
    bool rises = clock && !eeprom->clock;
    eeprom->clock = clock;
    if (!select || !eeprom->selected) {
        eeprom->phase = WAIT_START;
        eeprom->output = true;
        eeprom->count = 0;
    }
    eeprom->selected = select;
    if (select && rises)
        clock_rises(eeprom, input);
    eeprom->address &= MICROWIRE_WORDS - 1;
    eeprom->count &= 15;
}

const struct state_field microwire_state[] = {
    STATE_UINT(struct microwire, selected), STATE_UINT(struct microwire, clock),
    STATE_UINT(struct microwire, output),   STATE_UINT(struct microwire, phase),
    STATE_UINT(struct microwire, count),    STATE_UINT(struct microwire, shift),
    STATE_UINT(struct microwire, address),  STATE_END,
};
