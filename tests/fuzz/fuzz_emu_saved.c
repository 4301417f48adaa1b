/*
 * Saved machines. The first byte chooses a device, of which the rest is the saved state; beyond the
 * last device it is a whole file. What is refused ends the process that tried, so the machine is
 * made anew; what is taken must go on, be saved, and be taken again.
 */
#include <stdlib.h>
#include <string.h>

#include "emu/core/clock.h"
#include "emu/machine/machine_internal.h"
#include "tests/fuzz/fuzz.h"

#define STEP_NS 3000000

static const struct machine_config config = {
    .memory = 1 << 20, .cpus = 1, .engine = "interp", .cpu_model = "x86-64-v2", .serial = "none"};
static struct machine *machine;

static void make(void)
{
    if (machine)
        machine_free(machine, NULL);
    machine = machine_new(&config, NULL);
    if (!machine)
        abort();
}

static bool load(struct device *device, const uint8_t *data, size_t size)
{
    const struct device_ops *ops = device->ops;
    g_autoptr(GBytes) section = g_bytes_new(data, size);

    return state_load(section, ops->name, ops->state_version, ops->state, device, NULL) &&
           (!ops->loaded || ops->loaded(device, NULL));
}

static void try_device(struct device *device, const uint8_t *data, size_t size)
{
    const struct device_ops *ops = device->ops;
    struct guest_clock *clock = machine->board.clock;
    g_autoptr(GByteArray) saved = g_byte_array_new();

    board_lock(&machine->board);
    bool taken = load(device, data, size);
    if (taken) {
        guest_clock_set(clock, guest_clock_now(clock) + STEP_NS);
        guest_clock_fire_due(clock);
        state_save(saved, ops->name, ops->state_version, ops->state, device);
        if (!load(device, saved->data, saved->len))
            abort();
        ops->reset(device);
    }
    board_unlock(&machine->board);
    if (!taken)
        make();
}

static void try_file(const uint8_t *data, size_t size)
{
    g_autofree char *path = fuzz_beside("saved");

    if (!g_file_set_contents(path, (const char *)data, (gssize)size, NULL))
        abort();
    machine_restore_file(machine, path, NULL);
    make();
}

static void write_seed(const char *folder, unsigned first, const void *bytes, size_t size)
{
    g_autofree char *name = g_strdup_printf("seed-%u", first);
    g_autofree char *path = g_build_filename(folder, name, NULL);
    g_autofree char *text = g_malloc(size + 1);

    text[0] = (char)first;
    memcpy(text + 1, bytes, size);
    if (!g_file_set_contents(path, text, (gssize)size + 1, NULL))
        abort();
}

/* FUZZ_SEEDS names a folder for this machine's own devices, and its file. */
static void write_seeds(const char *folder)
{
    g_autofree char *path = fuzz_beside("saved"), *bytes = NULL;
    gsize size;

    for (unsigned i = 0; i < PC_COUNT; i++) {
        const struct device_ops *ops = machine->devices[i] ? machine->devices[i]->ops : NULL;
        g_autoptr(GByteArray) saved = g_byte_array_new();

        if (!ops)
            continue;
        state_save(saved, ops->name, ops->state_version, ops->state, machine->devices[i]);
        if (saved->len < 60000)
            write_seed(folder, i, saved->data, saved->len);
    }
    if (machine_save_file(machine, path, NULL) && g_file_get_contents(path, &bytes, &size, NULL))
        write_seed(folder, PC_COUNT, bytes, size);
    make();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *seeds = getenv("FUZZ_SEEDS");

    if (!machine) {
        make();
        if (seeds)
            write_seeds(seeds);
    }
    if (size < 1)
        return -1;
    if (data[0] >= PC_COUNT)
        try_file(data + 1, size - 1);
    else if (machine->devices[data[0]])
        try_device(machine->devices[data[0]], data + 1, size - 1);
    return 0;
}
