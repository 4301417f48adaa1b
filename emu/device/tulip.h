/*
 * The DEC 21140A Fast Ethernet card (Digital Semiconductor EC-QN7NC-TE), the one that Virtual
 * Server gave its guests. tulip.c has the registers, tulip_transfer.c the descriptor lists.
 */
#pragma once

#include "emu/device/net_card.h"

extern const struct net_card_model tulip_model;
