/*
 * The saved state of a paused machine: the clock, then every device, then every CPU. A section's
 * name is the device's, with a number where there are several.
 */
#include "emu/core/clock.h"
#include "emu/cpu/cpu.h"
#include "emu/cpu/state.h"
#include "emu/machine/machine_internal.h"
#include "emu/net/link.h"
#include <gio/gio.h>
#include <string.h>

struct saved_clock {
    int64_t now;
};
static const struct state_field clock_fields[] = {STATE_UINT(struct saved_clock, now), STATE_END};

/* What the back end of a network card remembers. */
struct saved_net {
    uint32_t version, length;
    uint8_t bytes[NET_STATE_MAX];
};
static const struct state_field net_fields[] = {
    STATE_UINT(struct saved_net, version),
    STATE_UINT(struct saved_net, length),
    STATE_BYTES(struct saved_net, bytes),
    STATE_END,
};

static void save_nets(struct machine *machine, GByteArray *out)
{
    for (unsigned i = 0; i < machine->config->net_count; i++) {
        g_autoptr(GByteArray) bytes = g_byte_array_new();
        g_autofree char *name = g_strdup_printf("net.%u", i);
        struct saved_net net = {0};
        if (!net_link_save(machine->links[i], bytes, &net.version) || bytes->len > NET_STATE_MAX)
            continue;
        net.length = bytes->len;
        memcpy(net.bytes, bytes->data, bytes->len);
        state_save(out, name, 1, net_fields, &net);
    }
}

/* A back end that the saved machine did not have begins anew. */
static bool load_nets(struct machine *machine, GBytes *image, GError **error)
{
    for (unsigned i = 0; i < machine->config->net_count; i++) {
        g_autofree char *name = g_strdup_printf("net.%u", i);
        g_autoptr(GBytes) section = state_find(image, name, NULL);
        struct saved_net net = {0};
        if (section && (!state_load(section, name, 1, net_fields, &net, error) ||
                        !net_link_load(machine->links[i], net.version, net.bytes,
                                       MIN(net.length, NET_STATE_MAX), error)))
            return false;
    }
    return true;
}

static char *section_name(const struct machine *machine, const struct device *device,
                          unsigned index)
{
    if (index < PC_COUNT)
        return g_strdup(device->ops->name);
    index -= PC_COUNT;
    if (index < machine->cards->len)
        return g_strdup(g_array_index(machine->cards, struct card, index).name);
    return g_strdup_printf("%s.%u", device->ops->name, index - machine->cards->len);
}

GBytes *machine_save(struct machine *machine)
{
    GByteArray *out = g_byte_array_new();
    struct saved_clock clock = {guest_clock_now(machine->board.clock)};
    struct device *device;
    board_lock(&machine->board);
    state_save(out, "clock", 1, clock_fields, &clock);
    for (unsigned i = 0; (device = machine_device(machine, i)); i++) {
        g_autofree char *name = section_name(machine, device, i);
        state_save(out, name, device->ops->state_version, device->ops->state, device);
    }
    save_nets(machine, out);
    for (unsigned i = 0; i < machine->vcpu_count; i++) {
        g_autofree char *name = g_strdup_printf("cpu.%u", i);
        cpu_note_pending(machine->vcpus[i].cpu);
        state_save(out, name, CPU_STATE_VERSION, cpu_state_fields,
                   cpu_state(machine->vcpus[i].cpu));
    }
    board_unlock(&machine->board);
    return g_byte_array_free_to_bytes(out);
}

static bool load_section(GBytes *image, const char *name, unsigned version,
                         const struct state_field *fields, void *object, GError **error)
{
    g_autoptr(GBytes) section = state_find(image, name, NULL);
    if (!section) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                    "the saved machine has no %s, this one has; start it with the same options",
                    name);
        return false;
    }
    return state_load(section, name, version, fields, object, error);
}

/* What the file has and this machine has not would be lost without a word. */
static bool check_devices(struct machine *machine, GBytes *image, GError **error)
{
    g_autoptr(GHashTable) known = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    struct device *device;
    gsize at = 0;
    for (unsigned i = 0; (device = machine_device(machine, i)); i++)
        g_hash_table_add(known, section_name(machine, device, i));
    for (;;) {
        g_autofree char *name = state_next(image, &at);
        if (!name)
            return true;
        if (g_hash_table_contains(known, name) || strcmp(name, "clock") == 0 ||
            g_str_has_prefix(name, "cpu.") || g_str_has_prefix(name, "net."))
            continue;
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                    "the saved machine has a device %s, this one has not; start it with the same "
                    "options",
                    name);
        return false;
    }
}

static bool load_all(struct machine *machine, GBytes *image, GError **error)
{
    struct saved_clock clock = {0};
    struct device *device;
    if (!check_devices(machine, image, error) ||
        !load_section(image, "clock", 1, clock_fields, &clock, error))
        return false;
    guest_clock_set(machine->board.clock, clock.now);
    for (unsigned i = 0; (device = machine_device(machine, i)); i++) {
        g_autofree char *name = section_name(machine, device, i);
        if (!load_section(image, name, device->ops->state_version, device->ops->state, device,
                          error) ||
            (device->ops->loaded && !device->ops->loaded(device, error)))
            return false;
    }
    for (unsigned i = 0; i < machine->vcpu_count; i++) {
        g_autofree char *name = g_strdup_printf("cpu.%u", i);
        if (!load_section(image, name, CPU_STATE_VERSION, cpu_state_fields,
                          cpu_state(machine->vcpus[i].cpu), error))
            return false;
        cpu_state_changed(machine->vcpus[i].cpu);
        cpu_renew_clock(machine->vcpus[i].cpu);
    }
    return load_nets(machine, image, error);
}

bool machine_load(struct machine *machine, GBytes *image, GError **error)
{
    board_lock(&machine->board);
    bool ok = load_all(machine, image, error);
    board_unlock(&machine->board);
    return ok;
}
