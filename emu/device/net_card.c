#include "emu/device/net_card.h"

#include "emu/device/e1000.h"
#include "emu/device/tulip.h"
#include "emu/device/virtio_net.h"
#include <string.h>

const struct net_card_model *const net_card_models[] = {&virtio_net_model, &e1000_model,
                                                        &tulip_model, NULL};

const struct net_card_model *net_card_find(const char *name)
{
    for (unsigned i = 0; net_card_models[i]; i++) {
        if (strcmp(net_card_models[i]->name, name) == 0)
            return net_card_models[i];
    }
    return NULL;
}
