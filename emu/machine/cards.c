/*
 * What the configuration puts into PCI slots: virtio disks, network cards, and what --device names.
 */
#include "emu/device/net_card.h"
#include "emu/device/virtio_balloon.h"
#include "emu/device/virtio_block.h"
#include "emu/device/virtio_console.h"
#include "emu/device/virtio_rng.h"
#include "emu/machine/machine_internal.h"
#include <gio/gio.h>
#include <string.h>

#define FIRST_SLOT 3 /* after the bridges and the VGA */
#define LAST_SLOT  31
#define ROM_FOLDER "/usr/lib/ipxe/qemu"

static struct device *add_card(struct machine *machine, struct pci_bus *bus,
                               const struct device_ops *ops, GError **error)
{
    unsigned slot = FIRST_SLOT + machine->cards->len;
    if (slot > LAST_SLOT) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NO_SPACE,
                    "there are more devices than the %d PCI slots take",
                    LAST_SLOT - FIRST_SLOT + 1);
        return NULL;
    }
    unsigned devfn = PCI_DEVFN(slot, 0);
    struct card card = {.device = device_new(ops, &machine->board),
                        .disk = -1,
                        .devfn = devfn,
                        .name = g_strdup_printf("%s@%02x", ops->name, devfn)};
    pci_place((struct pci_device *)card.device, bus, devfn);
    g_array_append_val(machine->cards, card);
    return card.device;
}

/* Where none is given: the same at every start, and another for each machine and card. */
static void make_mac(const struct machine *machine, unsigned index, uint8_t mac[NET_MAC_SIZE])
{
    const struct net_config *net = &machine->config->nets[index];
    guint hash = machine->config->name ? g_str_hash(machine->config->name) : 0x123456;
    const uint8_t made[NET_MAC_SIZE] = {
        0x52, 0x54, 0, (uint8_t)(hash >> 16), (uint8_t)(hash >> 8), (uint8_t)(hash + index)};
    memcpy(mac, net->has_mac ? net->mac : made, NET_MAC_SIZE);
}

static bool add_network(struct machine *machine, struct pci_bus *bus, unsigned index,
                        GError **error)
{
    const struct net_config *config = &machine->config->nets[index];
    const struct net_card_model *model = net_card_find(config->model ? config->model : "virtio");
    uint8_t mac[NET_MAC_SIZE];
    struct device *card = model ? add_card(machine, bus, model->ops, error) : NULL;
    if (!model)
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND,
                    "there is no network card model \"%s\"", config->model);
    if (!card)
        return false;
    g_array_index(machine->cards, struct card, machine->cards->len - 1).boot_rom = model->boot_rom;
    make_mac(machine, index, mac);
    machine->links[index] = net_link_new(&machine->board, machine->loop, mac);
    if (!net_backend_open(machine->links[index], &machine->board, machine->loop, config, error))
        return false;
    model->connect(card, machine->links[index]);
    return true;
}

static bool add_disk(struct machine *machine, struct pci_bus *bus, unsigned index, GError **error)
{
    struct device *card = add_card(machine, bus, &virtio_block_ops, error);
    if (!card)
        return false;
    g_array_index(machine->cards, struct card, machine->cards->len - 1).disk = (int)index;
    virtio_block_connect(card, machine->disks[index], index, machine->config->cpus);
    return true;
}

char *cards_disk_path(const struct machine *machine, unsigned index)
{
    unsigned position = pc_disk_position(machine, index);
    for (unsigned i = 0; i < machine->cards->len; i++) {
        const struct card *card = &g_array_index(machine->cards, struct card, i);
        if (card->disk == (int)index)
            return g_strdup_printf("/pci@i0cf8/scsi@%x/disk@0,0", card->devfn >> 3);
    }
    return g_strdup_printf("/pci@i0cf8/ide@1,1/drive@%u/disk@%u", position / 2, position % 2);
}

const char *const machine_extra_names[MACHINE_EXTRA_COUNT + 1] = {
    [MACHINE_EXTRA_RNG] = "rng",
    [MACHINE_EXTRA_BALLOON] = "balloon",
    [MACHINE_EXTRA_CONSOLE] = "console",
    [MACHINE_EXTRA_PVPANIC] = "pvpanic",
    [MACHINE_EXTRA_TESTDEV] = "testdev"};

static void name_ports(const struct machine *machine, struct device *card)
{
    const char *names[MACHINE_MAX_PORTS];
    for (unsigned i = 0; i < machine->config->port_count; i++)
        names[i] = machine->config->ports[i].name;
    virtio_console_set_ports(card, names, machine->config->port_count);
}

bool cards_new(struct machine *machine, struct pci_bus *bus, GError **error)
{
    static const struct device_ops *const extras[MACHINE_EXTRA_COUNT] = {
        [MACHINE_EXTRA_RNG] = &virtio_rng_ops,
        [MACHINE_EXTRA_BALLOON] = &virtio_balloon_ops,
        [MACHINE_EXTRA_CONSOLE] = &virtio_console_ops};
    for (unsigned i = 0; i < machine->config->disk_count; i++) {
        if (machine->config->disks[i].bus == MACHINE_BUS_VIRTIO &&
            !add_disk(machine, bus, i, error))
            return false;
    }
    for (unsigned i = 0; i < machine->config->net_count; i++) {
        if (!add_network(machine, bus, i, error))
            return false;
    }
    for (unsigned i = 0; i < MACHINE_EXTRA_COUNT; i++) {
        if (!extras[i])
            continue; /* that is on the board */
        struct device *card =
            machine->config->extras[i] ? add_card(machine, bus, extras[i], error) : NULL;
        if (machine->config->extras[i] && !card)
            return false;
        if (card && i == MACHINE_EXTRA_CONSOLE)
            name_ports(machine, card);
    }
    return true;
}

bool machine_set_balloon(struct machine *machine, uint64_t bytes, GError **error)
{
    for (unsigned i = 0; i < machine->cards->len; i++) {
        struct device *device = cards_device(machine, i);
        if (device->ops != &virtio_balloon_ops)
            continue;
        board_lock(&machine->board);
        virtio_balloon_set_target(device, bytes);
        board_unlock(&machine->board);
        return true;
    }
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND,
                "the machine has no balloon; start it with --device balloon");
    return false;
}

bool cards_add_roms(struct machine *machine, GError **error)
{
    const char *order = machine->config->boot_order;
    if (!order || !strchr(order, 'n'))
        return true;
    for (unsigned i = 0; i < machine->cards->len; i++) {
        const struct card *card = &g_array_index(machine->cards, struct card, i);
        g_autofree char *path = NULL, *bytes = NULL;
        gsize size;
        if (!card->boot_rom)
            continue;
        path = g_build_filename(ROM_FOLDER, card->boot_rom, NULL);
        if (!g_file_get_contents(path, &bytes, &size, error)) {
            g_prefix_error(error, "cannot boot from the network (Debian package ipxe-qemu): ");
            return false;
        }
        if (!pci_add_rom((struct pci_device *)card->device, (uint8_t *)bytes, size)) {
            g_set_error(error, G_IO_ERROR, G_IO_ERROR_NO_SPACE, "no memory for the ROM %s", path);
            return false;
        }
    }
    return true;
}

void cards_free(struct machine *machine)
{
    for (unsigned i = 0; i < MACHINE_MAX_NETS; i++) {
        if (machine->links[i])
            net_link_set_card(machine->links[i], NULL, NULL);
    }
    for (unsigned i = 0; i < machine->cards->len; i++) {
        struct card *card = &g_array_index(machine->cards, struct card, i);
        pci_free_rom((struct pci_device *)card->device);
        device_free(card->device);
        g_free(card->name);
    }
    g_array_set_size(machine->cards, 0);
    for (unsigned i = 0; i < MACHINE_MAX_NETS; i++)
        g_clear_pointer(&machine->links[i], net_link_free);
}

const char *const *machine_net_models(void)
{
    static const char *names[16];
    for (unsigned i = 0; net_card_models[i] && i + 1 < G_N_ELEMENTS(names); i++)
        names[i] = net_card_models[i]->name;
    return names;
}
