/*
 * The virtio network card (virtio 1.0, 5.1): one pair of queues and the control queue; receive
 * filters, merged receive buffers. Checksums and segmentation are offered as far as the back end
 * does them.
 */
#pragma once

#include "emu/device/net_card.h"

extern const struct net_card_model virtio_net_model;
