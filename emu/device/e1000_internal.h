/*
 * Between e1000.c (registers, EEPROM, PHY, interrupts) and e1000_transfer.c (packets).
 */
#pragma once

#include "emu/core/clock.h"
#include "emu/device/microwire.h"
#include "emu/device/net_card.h"
#include "emu/device/pci.h"

#define E1000_REGISTERS (0x6000 / 4)

/* Offsets of registers (13.4). */
enum e1000_register {
    E1000_CTRL = 0x0000,
    E1000_STATUS = 0x0008,
    E1000_EECD = 0x0010,
    E1000_EERD = 0x0014,
    E1000_CTRL_EXT = 0x0018,
    E1000_MDIC = 0x0020,
    E1000_VET = 0x0038,
    E1000_ICR = 0x00c0,
    E1000_ITR = 0x00c4,
    E1000_ICS = 0x00c8,
    E1000_IMS = 0x00d0,
    E1000_IMC = 0x00d8,
    E1000_RCTL = 0x0100,
    E1000_TCTL = 0x0400,
    E1000_PBA = 0x1000,
    E1000_RDBAL = 0x2800,
    E1000_RDBAH = 0x2804,
    E1000_RDLEN = 0x2808,
    E1000_RDH = 0x2810,
    E1000_RDT = 0x2818,
    E1000_TDBAL = 0x3800,
    E1000_TDBAH = 0x3804,
    E1000_TDLEN = 0x3808,
    E1000_TDH = 0x3810,
    E1000_TDT = 0x3818,
    E1000_MPC = 0x4010,
    E1000_GPRC = 0x4074,
    E1000_BPRC = 0x4078,
    E1000_MPRC = 0x407c,
    E1000_GPTC = 0x4080,
    E1000_GORCL = 0x4088,
    E1000_GOTCL = 0x4090,
    E1000_TORL = 0x40c0,
    E1000_TOTL = 0x40c8,
    E1000_TPR = 0x40d0,
    E1000_TPT = 0x40d4,
    E1000_RXCSUM = 0x5000,
    E1000_MTA = 0x5200,
    E1000_RA = 0x5400,
    E1000_VFTA = 0x5600,
};
enum e1000_interrupt {
    E1000_TXDW = 0x01,  /* a descriptor was written back */
    E1000_TXQE = 0x02,  /* the transmit queue is empty */
    E1000_LSC = 0x04,   /* the link changed */
    E1000_RXDMT = 0x10, /* few receive descriptors are left */
    E1000_RXO = 0x40,
    E1000_RXT0 = 0x80,
    E1000_MDAC = 0x200, /* an access of the PHY is complete */
};
#define E1000_CTRL_VME 0x40000000u /* VLAN tags are taken out and put in */

/* What a context descriptor set for the data descriptors after it (3.3.6). */
struct e1000_context {
    uint8_t ip_start, ip_offset, sum_start, sum_offset, header_length;
    uint16_t ip_end, sum_end, segment_size;
    uint32_t payload_length;
    bool is_tcp, is_ipv4;
};

struct e1000 {
    struct pci_device pci;
    struct net_link *link;
    uint32_t registers[E1000_REGISTERS];
    uint16_t phy[32];
    uint32_t io_address; /* of the register that the port window shows */
    struct microwire eeprom;
    struct timer moderation; /* the next interrupt is held back until it fires */
    int64_t next_interrupt;  /* guest ns */
    /* The packet being gathered from descriptors. */
    struct e1000_context context;
    bool segments, insert_ip_sum, insert_sum, insert_tag;
    uint16_t tag;
    uint32_t length;
    uint8_t packet[NET_PACKET_MAX];
};

static inline uint32_t *e1000_reg(struct e1000 *card, unsigned offset)
{
    return &card->registers[offset / 4];
}

void e1000_raise(struct e1000 *card, uint32_t causes);
void e1000_count(struct e1000 *card, unsigned offset, uint32_t by);   /* sticks at the top */
void e1000_count64(struct e1000 *card, unsigned offset, uint32_t by); /* low and high */

void e1000_transmit(struct e1000 *card);
extern const struct net_card_ops e1000_card_ops;
void e1000_update_link(struct e1000 *card);
extern const struct state_field e1000_context_state[];
