/*
 * A 100 Mb/s Ethernet transceiver behind the two wires of the MII management interface (IEEE 802.3,
 * 22.2.4), which a driver drives bit by bit.
 */
#pragma once

#include "emu/core/state.h"

#define MII_ADDRESS 1

struct mii {
    uint16_t registers[32];
    bool clock, output;
    uint8_t phase, count; /* enum in mii.c; bits of this phase */
    uint8_t ones;         /* of the preamble, up to 32 */
    uint32_t shift;
    uint8_t index; /* of the register a read is of */
};

extern const struct state_field mii_state[];

void mii_reset(struct mii *mii, bool link_up);
void mii_set_link(struct mii *mii, bool up);
/* The clock and, when the station drives it (else true), the data wire; `output` is what the
 * transceiver drives. */
void mii_drive(struct mii *mii, bool clock, bool data);
