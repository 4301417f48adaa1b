#include "emu/device/mii.h"

#include <string.h>

enum { CONTROL = 0, STATUS = 1, ID1 = 2, ID2 = 3, ADVERTISE = 4, PARTNER = 5, EXPANSION = 6 };
enum phase { IDLE, HEADER, GIVE, TAKE };

#define HEADER_BITS 14 /* start, operation, transceiver, register */

void mii_set_link(struct mii *mii, bool up)
{
    mii->registers[STATUS] = up ? 0x782d : 0x7809;
    mii->registers[PARTNER] = up ? 0x45e1 : 0;
    mii->registers[EXPANSION] = up ? 1 : 0;
}

void mii_reset(struct mii *mii, bool link_up)
{
    memset(mii->registers, 0, sizeof(mii->registers));
    mii->registers[CONTROL] = 0x3100;
    mii->registers[ID1] = 0x2000; /* National DP83840A */
    mii->registers[ID2] = 0x5c01;
    mii->registers[ADVERTISE] = 0x01e1;
    mii_set_link(mii, link_up);
}

static void write_register(struct mii *mii, unsigned index, uint16_t value)
{
    bool up = mii->registers[STATUS] & 4;
    if (index == CONTROL && value & 0x8000)
        mii_reset(mii, up);
    else if (index == CONTROL)
        mii->registers[CONTROL] = value & (uint16_t)~0x0200; /* a negotiation is over at once */
    else if (index == ADVERTISE)
        mii->registers[ADVERTISE] = value;
}

static void end_header(struct mii *mii)
{
    unsigned operation = mii->shift >> 10 & 3, address = mii->shift >> 5 & 31;
    mii->index = mii->shift & 31;
    mii->count = 0;
    if (mii->shift >> 12 != 1 || address != MII_ADDRESS || (operation != 1 && operation != 2))
        mii->phase = operation == 1 ? TAKE : IDLE; /* not ours: what follows is let pass */
    else
        mii->phase = operation == 2 ? GIVE : TAKE;
    if (mii->phase == TAKE && address != MII_ADDRESS)
        mii->index = 31; /* a register nobody has */
}

static void clock_rises(struct mii *mii, bool data)
{
    mii->output = true;
    switch (mii->phase) {
    case IDLE:
        if (data) {
            mii->ones = mii->ones < 32 ? mii->ones + 1 : 32;
        } else {
            mii->phase = HEADER;
            mii->shift = 0;
            mii->count = 1;
        }
        break;
    case HEADER:
        mii->shift = mii->shift << 1 | data;
        if (++mii->count == HEADER_BITS)
            end_header(mii);
        break;
    case GIVE: /* one turn-around bit, then a zero, then sixteen of data */
        mii->count++;
        mii->output = mii->count >= 2 && mii->count < 18
                          ? mii->registers[mii->index] >> (17 - mii->count) & 1
                          : mii->count != 1;
        if (mii->count == 18)
            mii->phase = IDLE;
        break;
    default:
        mii->shift = mii->shift << 1 | data;
        if (++mii->count == 18) {
            write_register(mii, mii->index, (uint16_t)mii->shift);
            mii->phase = IDLE;
        }
        break;
    }
}

void mii_drive(struct mii *mii, bool clock, bool data)
{
    mii->index &= 31;
    if (clock && !mii->clock)
        clock_rises(mii, data);
    mii->clock = clock;
}

const struct state_field mii_state[] = {
    STATE_UINTS(struct mii, registers),
    STATE_UINT(struct mii, clock),
    STATE_UINT(struct mii, output),
    STATE_UINT(struct mii, phase),
    STATE_UINT(struct mii, count),
    STATE_UINT(struct mii, ones),
    STATE_UINT(struct mii, shift),
    STATE_UINT(struct mii, index),
    STATE_END,
};
