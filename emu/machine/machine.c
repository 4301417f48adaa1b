#include "emu/machine/kernel_rom.h"
#include "emu/machine/machine_internal.h"

#include "emu/core/clock.h"
#include "emu/core/doorbell.h"
#include "emu/cpu/cpu.h"
#include "emu/device/cmos.h"
#include "emu/device/piix4_pm.h"
#include "emu/device/uart.h"
#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* ---- requests ---------------------------------------------------------------------------- */

void machine_request(struct machine *machine, enum machine_request request)
{
    pthread_mutex_lock(&machine->lock);
    machine->hold = true; /* what comes after the request must not run */
    pthread_mutex_unlock(&machine->lock);
    atomic_fetch_or(&machine->requests, request);
    for (unsigned i = 0; i < machine->vcpu_count; i++) {
        if (machine->vcpus[i].cpu)
            cpu_kick(machine->vcpus[i].cpu);
    }
    loop_wake(machine->loop);
}

static void board_request(struct board *board, int request)
{
    struct machine *machine = board->machine;
    if (request == BOARD_RESET)
        machine_request(machine, REQUEST_RESET);
    else if (request == BOARD_POWER_OFF)
        machine_request(machine, REQUEST_POWER_OFF);
}

void machine_quit(struct machine *machine)
{
    machine_request(machine, REQUEST_QUIT);
}

/* ---- building ---------------------------------------------------------------------------- */

const char *const machine_on_panic_names[] = {
    [MACHINE_ON_PANIC_STAY] = "stay",
    [MACHINE_ON_PANIC_PAUSE] = "pause",
    [MACHINE_ON_PANIC_RESET] = "reset",
    [MACHINE_ON_PANIC_POWER_OFF] = "poweroff",
    NULL,
};

const char *machine_bus_name(enum machine_bus bus)
{
    static const char *const names[MACHINE_BUS_COUNT] = {"ide", "virtio"};
    return bus < MACHINE_BUS_COUNT ? names[bus] : "unknown";
}

static bool open_debug_console(struct machine *machine, GError **error)
{
    const char *path = machine->config->debug_console;
    if (!path)
        return true;
    if (strcmp(path, "-") == 0) {
        machine->debug_fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
        return true;
    }
    machine->debug_fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (machine->debug_fd >= 0)
        return true;
    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno),
                "cannot write the debug console's file %s: %s", path, g_strerror(errno));
    return false;
}

/* A Multiboot kernel wants a BIOS to have run, as do those who say so. */
static bool kernel_needs_firmware(const struct machine_config *config)
{
    char bytes[8192];
    int fd = open(config->kernel, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd >= 0 ? read(fd, bytes, sizeof(bytes)) : -1;
    if (fd >= 0)
        close(fd);
    return config->kernel_after_firmware ||
           (size > 0 && kernel_rom_is_multiboot(bytes, (gsize)size));
}

static bool build(struct machine *machine, GError **error)
{
    const struct machine_config *config = machine->config;
    if (config->kernel && kernel_needs_firmware(config)) {
        machine->kernel_rom = kernel_rom_load(config, error);
        if (!machine->kernel_rom)
            return false;
    } else if (config->kernel) {
        machine->linux_image = linux_image_load(config, error);
        if (!machine->linux_image)
            return false;
    }
    if (!media_open(machine, error) || !open_debug_console(machine, error) ||
        !pc_build(machine, error) || !vcpus_new(machine, error))
        return false;
    machine->keyboard = keyboard_new(machine);
    return lines_open(machine, error);
}

/* A timer has been armed, likely by a CPU that is about to halt until then: so the device thread is
 * not woken now, but when the timer is due. */
static void alarm_changed(void *opaque)
{
    struct machine *machine = opaque;
    pthread_mutex_lock(&machine->alarm_lock); /* who sets it last has seen the latest deadline */
    int64_t wait = guest_clock_wait(machine->board.clock);
    if (wait >= 0)
        loop_wake_in(machine->loop, wait);
    pthread_mutex_unlock(&machine->alarm_lock);
}

static void doorbell_rung(void *opaque, int fd, short events)
{
    struct machine *machine = opaque;
    board_lock(&machine->board);
    doorbells_serve(machine->board.doorbells);
    board_unlock(&machine->board);
}

struct machine *machine_new(const struct machine_config *config, GError **error)
{
    struct machine *machine = g_new0(struct machine, 1);
    machine->config = config;
    machine->debug_fd = -1;
    if (!board_init(&machine->board, config->memory, error)) {
        g_free(machine);
        return NULL;
    }
    pthread_mutex_init(&machine->lock, NULL);
    pthread_cond_init(&machine->changed, NULL);
    pthread_mutex_init(&machine->alarm_lock, NULL);
    machine->loop = loop_new();
    machine->cards = g_array_new(FALSE, TRUE, sizeof(struct card));
    machine->board.machine = machine;
    machine->board.request = board_request;
    guest_clock_set_wake(machine->board.clock, alarm_changed, machine);
    machine_watch(machine, doorbells_fd(machine->board.doorbells), POLLIN, doorbell_rung, machine);
    machine->hold = true;
    if (!build(machine, error)) {
        machine_free(machine, NULL);
        return NULL;
    }
    pc_reset(machine);
    vcpus_start(machine);
    return machine;
}

bool machine_free(struct machine *machine, GError **error)
{
    vcpus_stop(machine);
    bool ok = media_close(machine, error);
    lines_close(machine);
    keyboard_free(machine->keyboard);
    guest_clock_set_wake(machine->board.clock, NULL, NULL);
    vcpus_free(machine);
    if (machine->devices[0])
        pc_free(machine);
    linux_image_free(machine->linux_image);
    kernel_rom_free(machine->kernel_rom);
    acpi_tables_clear(&machine->acpi);
    board_finish(&machine->board);
    if (machine->bios_pages)
        munmap(machine->bios_pages, machine->bios_size);
    if (machine->debug_fd >= 0)
        close(machine->debug_fd);
    g_array_unref(machine->cards);
    loop_free(machine->loop);
    pthread_mutex_destroy(&machine->alarm_lock);
    pthread_cond_destroy(&machine->changed);
    pthread_mutex_destroy(&machine->lock);
    g_free(machine);
    return ok;
}

/* ---- life -------------------------------------------------------------------------------- */

void machine_power_button(struct machine *machine)
{
    board_lock(&machine->board);
    piix4_pm_power_button(machine->devices[PC_PIIX4_PM]);
    board_unlock(&machine->board);
}

void machine_reset(struct machine *machine)
{
    vcpus_hold(machine);
    machine->resets++;
    atomic_store(&machine->panicked, false);
    pc_reset(machine);
    if (!machine->paused)
        vcpus_release(machine);
}

void machine_pause(struct machine *machine)
{
    if (machine->paused)
        return;
    vcpus_hold(machine);
    machine->paused = true;
    guest_clock_pause(machine->board.clock);
    machine->paused_at = g_get_real_time();
    media_drain(machine);
}

void machine_resume(struct machine *machine)
{
    if (machine->paused)
        machine_missed(machine, (g_get_real_time() - machine->paused_at) * 1000);
    machine->paused = machine->is_saved = false;
    guest_clock_resume(machine->board.clock);
    vcpus_release(machine);
}

static const char *shutdown_reason(const struct machine *machine)
{
    for (unsigned i = 0; i < machine->vcpu_count; i++) {
        const char *reason = cpu_shutdown_reason(machine->vcpus[i].cpu);
        if (reason)
            return reason;
    }
    return "triple fault";
}

/* Acts on what was requested. True when the machine ends. */
static bool serve_requests(struct machine *machine, enum machine_end *ret_end)
{
    unsigned requests = atomic_exchange(&machine->requests, 0);
    bool no_reboot = machine->config->no_reboot;
    if (!requests)
        return false;
    if (requests == REQUEST_PAUSE) {
        machine_pause(machine);
        return false;
    }
    vcpus_hold(machine);
    if (requests & REQUEST_TRIPLE_FAULT)
        fprintf(stderr, "drover-emu: %s; the machine %s\n", shutdown_reason(machine),
                no_reboot ? "ends" : "is reset");
    if (requests & REQUEST_DIVERGED)
        fprintf(stderr, "drover-emu: %s; the machine ends\n", shutdown_reason(machine));
    if (requests & REQUEST_DIVERGED)
        *ret_end = MACHINE_END_DIVERGED;
    else if (requests & REQUEST_DEBUG_EXIT)
        *ret_end = MACHINE_END_DEBUG_EXIT;
    else if (requests & (REQUEST_QUIT | REQUEST_POWER_OFF))
        *ret_end = MACHINE_END_POWER_OFF;
    else if (no_reboot)
        *ret_end = requests & REQUEST_TRIPLE_FAULT ? MACHINE_END_TRIPLE_FAULT : MACHINE_END_RESET;
    else {
        machine_reset(machine);
        return false;
    }
    return true;
}

enum machine_end machine_run(struct machine *machine)
{
    enum machine_end end = MACHINE_END_POWER_OFF;
    machine->has_run = true;
    if (!machine->paused)
        machine_resume(machine);
    while (!serve_requests(machine, &end)) {
        guest_clock_fire_due(machine->board.clock);
        int64_t behind = machine_catch_up(machine);
        int64_t timeout = machine->paused ? -1 : guest_clock_wait(machine->board.clock);
        if (behind >= 0)
            timeout = timeout < 0 ? behind : MIN(timeout, behind);
        loop_step(machine->loop, timeout);
    }
    vcpus_stop(machine);
    return end;
}

int machine_exit_status(const struct machine *machine)
{
    return atomic_load(&machine->exit_status);
}

/* ---- questions --------------------------------------------------------------------------- */

enum machine_state machine_state(const struct machine *machine)
{
    if (machine->ending)
        return MACHINE_ENDING;
    return machine->paused ? MACHINE_PAUSED : MACHINE_RUNNING;
}

const struct machine_config *machine_configuration(const struct machine *machine)
{
    return machine->config;
}

char *machine_engine_report(struct machine *machine)
{
    GString *text = g_string_new(NULL);
    for (unsigned i = 0; i < machine->vcpu_count; i++)
        cpu_report(machine->vcpus[i].cpu, text);
    return g_string_free(text, FALSE);
}

void machine_statistics(struct machine *machine, struct machine_statistics *ret_statistics)
{
    struct timespec cpu;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    struct machine_statistics s = {
        .uptime_ns = guest_clock_now(machine->board.clock),
        .cpu_time_ns = (uint64_t)(cpu.tv_sec * NS_PER_SECOND + cpu.tv_nsec),
        .resets = machine->resets,
        .panicked = atomic_load(&machine->panicked),
    };
    for (unsigned i = 0; i < machine->vcpu_count; i++)
        s.interpreted_instructions += cpu_instructions(machine->vcpus[i].cpu);
    board_lock(&machine->board);
    for (unsigned slot = PC_UART; slot <= PC_UART_2; slot++) {
        s.serial_in += uart_bytes_received(machine->devices[slot]);
        s.serial_out += uart_bytes_sent(machine->devices[slot]);
    }
    board_unlock(&machine->board);
    *ret_statistics = s;
}

void machine_net_status(struct machine *machine, unsigned net,
                        struct machine_net_status *ret_status)
{
    const struct net_link *link = machine->links[net];
    memcpy(ret_status->mac, net_link_mac(link), NET_MAC_SIZE);
    board_lock(&machine->board);
    ret_status->up = net_link_is_up(link);
    board_unlock(&machine->board);
    net_link_counters(machine->links[net], &ret_status->counters);
}

void machine_net_plug(struct machine *machine, unsigned net, bool up)
{
    net_link_plug(machine->links[net], up);
}

struct device *machine_vga(struct machine *machine)
{
    return machine->devices[PC_VGA];
}

struct board *machine_board(struct machine *machine)
{
    return &machine->board;
}

struct device *machine_device(struct machine *machine, unsigned index)
{
    if (index < PC_COUNT)
        return machine->devices[index];
    index -= PC_COUNT;
    if (index < machine->cards->len)
        return cards_device(machine, index);
    index -= machine->cards->len;
    return index < machine->vcpu_count ? machine->vcpus[index].lapic : NULL;
}

void machine_watch(struct machine *machine, int fd, short events, machine_watch_function *function,
                   void *opaque)
{
    loop_watch(machine->loop, fd, events, function, opaque);
}

void machine_unwatch(struct machine *machine, int fd)
{
    loop_unwatch(machine->loop, fd);
}
