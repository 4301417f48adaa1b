/*
 * Network cards: what the machine needs to know of a model, and what their receivers share.
 */
#pragma once

#include "emu/device/device.h"
#include "emu/net/link.h"

struct net_card_model {
    const char *name; /* as the command line has it */
    const struct device_ops *ops;
    void (*connect)(struct device *device, struct net_link *link); /* borrowed; before realize */
    const char *boot_rom; /* the option ROM that boots from it; NULL: none */
};

extern const struct net_card_model *const net_card_models[]; /* NULL ends */
/* NULL: there is none of that name. */
const struct net_card_model *net_card_find(const char *name);

static inline bool net_is_multicast(const uint8_t *address)
{
    return address[0] & 1;
}

static inline bool net_is_broadcast(const uint8_t *address)
{
    static const uint8_t all[NET_MAC_SIZE] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    return __builtin_memcmp(address, all, NET_MAC_SIZE) == 0;
}
