/*
 * Between tulip.c (registers, SROM, MII, interrupts) and tulip_transfer.c (packets).
 */
#pragma once

#include "emu/core/clock.h"
#include "emu/device/microwire.h"
#include "emu/device/mii.h"
#include "emu/device/net_card.h"
#include "emu/device/pci.h"

#define TULIP_FRAME_MAX   2048u
#define TULIP_FILTER_SIZE 192u /* bytes of a setup frame */

enum tulip_status {
    TULIP_TI = 1 << 0,   /* a frame was sent */
    TULIP_TPS = 1 << 1,  /* transmission stopped */
    TULIP_TU = 1 << 2,   /* no descriptor to send */
    TULIP_RI = 1 << 6,   /* a frame was received */
    TULIP_RU = 1 << 7,   /* no descriptor to receive into */
    TULIP_RPS = 1 << 8,  /* reception stopped */
    TULIP_GTE = 1 << 11, /* the general purpose timer */
    TULIP_AIS = 1 << 15,
    TULIP_NIS = 1 << 16,
};
enum tulip_mode {
    TULIP_HASH = 1 << 0,
    TULIP_RECEIVE = 1 << 1,
    TULIP_HASH_ONLY = 1 << 2,
    TULIP_INVERSE = 1 << 4,
    TULIP_PROMISCUOUS = 1 << 6,
    TULIP_ALL_MULTICAST = 1 << 7,
    TULIP_LOOPBACK = 1 << 10,
    TULIP_TRANSMIT = 1 << 13,
    TULIP_RECEIVE_ALL = 1 << 30,
};
/* Of the two processes, as CSR5 shows them. */
enum tulip_process {
    TULIP_STOPPED = 0,
    TULIP_RUNNING = 3,
    TULIP_RX_SUSPENDED = 4,
    TULIP_TX_SUSPENDED = 6
};

struct tulip {
    struct pci_device pci;
    struct net_link *link;
    uint32_t csr[16];
    struct microwire srom;
    struct mii mii;
    uint32_t receive_at, transmit_at; /* the current descriptors */
    uint8_t receive_state, transmit_state;
    uint8_t filter[TULIP_FILTER_SIZE];
    struct timer general, retry;
    int64_t general_deadline;
    uint32_t length; /* of the frame being gathered */
    uint8_t frame[TULIP_FRAME_MAX];
};

void tulip_raise(struct tulip *card, uint32_t causes);
void tulip_transmit(struct tulip *card);
extern const struct net_card_ops tulip_card_ops;
