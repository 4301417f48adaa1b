#include "emu/device/device.h"

struct device *device_new(const struct device_ops *ops, struct board *board)
{
    struct device *device = g_malloc0(ops->size);
    device->ops = ops;
    device->board = board;
    return device;
}

void device_free(struct device *device)
{
    if (!device)
        return;
    if (device->ops->finish)
        device->ops->finish(device);
    g_free(device);
}
