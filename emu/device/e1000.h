/*
 * The Intel 82540EM gigabit Ethernet card (PCI/PCI-X Family of Gigabit Ethernet Controllers
 * Software Developer's Manual, 317453). e1000.c has the registers, e1000_transfer.c the descriptor
 * rings.
 */
#pragma once

#include "emu/device/net_card.h"

extern const struct net_card_model e1000_model;
