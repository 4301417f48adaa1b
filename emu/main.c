/*
 * drover-emu: one virtual machine in one process.
 *
 * Exit status: 0 the machine was powered off (by its guest, ctl quit, or a second SIGTERM), or
 * reset with --no-reboot; 1 something failed (a file, a socket, the host); 2 the command line is
 * wrong; 3 a triple fault with --no-reboot. With --debug-exit a guest chooses any odd status.
 */
#include "emu/confine.h"
#include "emu/control/ctl.h"
#include "emu/control/server.h"
#include "emu/control/vnc.h"
#include "emu/cpu/cpu.h"
#include "emu/machine/line.h"
#include "emu/machine/machine.h"
#include "emu/machine/options.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define EXIT_FAILED       1
#define EXIT_USAGE        2
#define EXIT_TRIPLE_FAULT 3

#define DEBUG_EXIT_PORT 0xf4
#define EXIT_DIVERGED   4

#define DESCRIPTION                                                                                \
    "Sizes have a unit: K, M, G or T. A disk is "                                                  \
    "file=PATH,bus=BUS[,format=raw][,readonly=on][,chain=on];\nits bus is ide or virtio. With "    \
    "chain=on it may be a differencing disk, which names\nthe files it stands on. With "           \
    "undo=commit, "                                                                                \
    "keep or discard the machine runs on\nan undo disk, PATH.undo, and that is done with it when " \
    "the machine ends; a crash\nkeeps it. bps=SIZE and iops=N hold the disk to a rate of bytes "   \
    "and "                                                                                         \
    "operations a\nsecond, bps-burst=SIZE and iops-burst=N say what may go at once after a "       \
    "pause.\n"                                                                                     \
    "A network card is user, tap, bridge or socket and what belongs to it: user[,hostfwd=\n"       \
    "tcp:127.0.0.1:8080-:80][,tftp=DIR][,bootfile=NAME][,restrict=on], tap[,ifname=NAME],\n"       \
    "bridge,bridge=NAME, socket,listen=PATH or socket,connect=PATH; each takes model=NAME and\n"   \
    "mac=ADDRESS.\n"                                                                               \
    "The serial port goes to stdio, unix:PATH (a socket), file:PATH or none. At a terminal\n"      \
    "Ctrl-A x ends the machine. With --serial-log a socket's clients see what comes from then\n"   \
    "on; without it they first get the last 64 KiB.\n\n"                                           \
    "The process is confined to the files of its command line, and to few system calls; ctl "      \
    "reads\n"                                                                                      \
    "and writes files only in folders given with --allow.\n\n"                                     \
    "--exit-file gets one line: poweroff, or failed: and why; none if the process was killed.\n\n" \
    "SIGTERM presses the power button; a second one cuts the power.\n\n"                           \
    "Exit status: 0 powered off, or reset with --no-reboot; 1 failure; 2 wrong command line;\n"    \
    "3 triple fault with --no-reboot; 4 --engine lockstep found a difference.\n\n"                 \
    "drover-emu ctl --help tells about the control socket of a running machine.\n"

struct options {
    char *memory, *cpus, *engine, *cpu_model, *kernel, *initrd, *append, *firmware;
    char *boot_order, *debugcon, *control, *name, *pidfile, *serial_log, *exit_file, *restore;
    char *code_cache, *uuid, *sandbox, *user, *kernel_irqchip;
    char *parallel, *console;
    char **serials, **ports;
    char **disks, **cdroms, **floppies, **nets, **extras, **folders;
    char *debug_exit_port, *on_panic, *vnc;
    gboolean kernel_after_firmware;
    gboolean no_reboot, debug_exit, jit_stats, perf_map, version;
};

static void clear_options(struct options *o)
{
    char **texts[] = {
        &o->memory,  &o->cpus,           &o->engine,          &o->cpu_model,  &o->kernel,
        &o->initrd,  &o->append,         &o->firmware,        &o->boot_order, &o->debugcon,
        &o->control, &o->name,           &o->pidfile,         &o->serial_log, &o->exit_file,
        &o->restore, &o->kernel_irqchip, &o->code_cache,      &o->uuid,       &o->parallel,
        &o->console, &o->on_panic,       &o->debug_exit_port, &o->sandbox,    &o->vnc,
        &o->user,
    };
    for (guint i = 0; i < G_N_ELEMENTS(texts); i++)
        g_free(*texts[i]);
    g_strfreev(o->disks);
    g_strfreev(o->nets);
    g_strfreev(o->cdroms);
    g_strfreev(o->floppies);
    g_strfreev(o->extras);
    g_strfreev(o->serials);
    g_strfreev(o->ports);
    g_strfreev(o->folders);
}

static bool parse_command_line(struct options *o, int argc, char **argv, GError **error)
{
    const GOptionEntry entries[] = {
        {"memory", 'm', 0, G_OPTION_ARG_STRING, &o->memory, "guest memory (512M)", "SIZE"},
        {"cpus", 'c', 0, G_OPTION_ARG_STRING, &o->cpus, "virtual CPUs (1)", "N"},
        {"engine", 0, 0, G_OPTION_ARG_STRING, &o->engine,
         "what executes: auto, kvm, jit, interp, lockstep (auto)", "NAME"},
        {"kernel-irqchip", 0, 0, G_OPTION_ARG_STRING, &o->kernel_irqchip,
         "with kvm, the kernel's interrupt controllers and PIT: auto, on, off (auto)", "WHETHER"},
        {"code-cache", 0, 0, G_OPTION_ARG_STRING, &o->code_cache,
         "memory for translated code of all CPUs (16M, less for several, 3M each at least)",
         "SIZE"},
        {"jit-stats", 0, 0, G_OPTION_ARG_NONE, &o->jit_stats, "tell at the end what the engine did",
         NULL},
        {"perf-map", 0, 0, G_OPTION_ARG_NONE, &o->perf_map,
         "name translated code for perf, in /tmp/perf-PID.map", NULL},
        {"cpu-model", 0, 0, G_OPTION_ARG_STRING, &o->cpu_model, "CPU model, or help (x86-64-v2)",
         "NAME"},
        {"disk", 'd', 0, G_OPTION_ARG_STRING_ARRAY, &o->disks, "a disk; up to sixteen, four on ide",
         "SPEC"},
        {"cdrom", 0, 0, G_OPTION_ARG_STRING_ARRAY, &o->cdroms,
         "a CD-ROM drive, with a disc or none; up to two", "FILE|none"},
        {"floppy", 0, 0, G_OPTION_ARG_STRING_ARRAY, &o->floppies,
         "a floppy drive, with a disk or none; up to two", "FILE|none"},
        {"net", 0, 0, G_OPTION_ARG_STRING_ARRAY, &o->nets, "a network card; up to eight", "SPEC"},
        {"device", 0, 0, G_OPTION_ARG_STRING_ARRAY, &o->extras,
         "another device; \"help\" tells which", "NAME"},
        {"serial", 's', 0, G_OPTION_ARG_STRING_ARRAY, &o->serials,
         "where the serial port goes (none); twice for two", "WHERE"},
        {"serial-log", 0, 0, G_OPTION_ARG_FILENAME, &o->serial_log,
         "append all serial output there", "FILE"},
        {"parallel", 0, 0, G_OPTION_ARG_STRING, &o->parallel, "a printer port, and where it goes",
         "file:PATH|none"},
        {"console", 0, 0, G_OPTION_ARG_STRING, &o->console, "a virtio console", "WHERE"},
        {"port", 0, 0, G_OPTION_ARG_STRING_ARRAY, &o->ports, "a named virtio port; up to eight",
         "NAME=WHERE"},
        {"kernel", 0, 0, G_OPTION_ARG_FILENAME, &o->kernel,
         "boot this Linux, without firmware; or this Multiboot kernel", "FILE"},
        {"kernel-after-firmware", 0, 0, G_OPTION_ARG_NONE, &o->kernel_after_firmware,
         "let the BIOS start Linux, by its 16-bit protocol", NULL},
        {"initrd", 0, 0, G_OPTION_ARG_FILENAME, &o->initrd,
         "its initial file system; modules: \"FILE ARGUMENTS,FILE ...\"", "FILE"},
        {"append", 0, 0, G_OPTION_ARG_STRING, &o->append, "its command line", "TEXT"},
        {"firmware", 0, 0, G_OPTION_ARG_FILENAME, &o->firmware, "BIOS image (SeaBIOS)", "FILE"},
        {"boot-order", 0, 0, G_OPTION_ARG_STRING, &o->boot_order,
         "a floppy, c disk, d CD, n network (cd)", "LETTERS"},
        {"vnc", 0, 0, G_OPTION_ARG_STRING, &o->vnc, "serve the screen to VNC viewers there",
         "unix:PATH|127.0.0.1:PORT"},
        {"control", 0, 0, G_OPTION_ARG_STRING, &o->control, "serve drover-emu ctl there",
         "ipc://PATH"},
        {"name", 'n', 0, G_OPTION_ARG_STRING, &o->name, "the machine's name", "NAME"},
        {"uuid", 0, 0, G_OPTION_ARG_STRING, &o->uuid, "its UUID, as the guest sees it", "UUID"},
        {"pidfile", 0, 0, G_OPTION_ARG_FILENAME, &o->pidfile, "write the process id there", "FILE"},
        {"exit-file", 0, 0, G_OPTION_ARG_FILENAME, &o->exit_file, "write there how it ended",
         "FILE"},
        {"restore", 0, 0, G_OPTION_ARG_FILENAME, &o->restore, "go on where ctl save left off",
         "FILE"},
        {"sandbox", 0, 0, G_OPTION_ARG_STRING, &o->sandbox, "confine this process: on, off (on)",
         "SWITCH"},
        {"allow", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &o->folders,
         "a folder that ctl save, screendump and change-disc may use", "FOLDER"},
        {"user", 0, 0, G_OPTION_ARG_STRING, &o->user, "who to become when all is open, from root",
         "NAME"},
        {"no-reboot", 0, 0, G_OPTION_ARG_NONE, &o->no_reboot, "end where the guest resets", NULL},
        {"on-panic", 0, 0, G_OPTION_ARG_STRING, &o->on_panic,
         "stay, pause, reset or poweroff, with --device pvpanic (stay)", "WHAT"},
        {"debugcon", 0, 0, G_OPTION_ARG_STRING, &o->debugcon, "what comes to ports 0x402 and 0xe9",
         "stdio|file:PATH"},
        {"debug-exit", 0, 0, G_OPTION_ARG_NONE, &o->debug_exit,
         "a byte N written to port 0xf4 ends with status 2N+1", NULL},
        {"debug-exit-port", 0, 0, G_OPTION_ARG_STRING, &o->debug_exit_port,
         "the same at another port, as 0x501", "PORT"},
        {"version", 0, 0, G_OPTION_ARG_NONE, &o->version, "print the version", NULL},
        G_OPTION_ENTRY_NULL,
    };
    g_autoptr(GOptionContext) context = g_option_context_new("| ctl SOCKET COMMAND - run a PC");
    g_option_context_set_description(context, DESCRIPTION);
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, error))
        return false;
    if (argc > 1)
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED,
                    "\"%s\" is no option; disks are given as --disk file=%s,bus=ide", argv[1],
                    argv[1]);
    return argc <= 1;
}

static bool usage_error(GError **error, const char *text)
{
    g_set_error_literal(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED, text);
    return false;
}

static bool parse_disks(const struct options *o, struct machine_config *config, GError **error)
{
    unsigned ide = 0;
    for (char **disk = o->disks; disk && *disk; disk++) {
        if (config->disk_count == MACHINE_MAX_DISKS) {
            g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED,
                        "--disk %s: there is room for %d disks only", *disk, MACHINE_MAX_DISKS);
            return false;
        }
        if (!options_parse_disk(*disk, &config->disks[config->disk_count], error))
            return false;
        ide += config->disks[config->disk_count].bus == MACHINE_BUS_IDE;
        config->disk_count++;
        if (ide > MACHINE_MAX_IDE)
            return usage_error(error, "there is room for four disks at bus=ide; use bus=virtio");
    }
    return true;
}

static bool parse_cdroms(const struct options *o, struct machine_config *config, GError **error)
{
    unsigned ide = 0;
    for (unsigned i = 0; i < config->disk_count; i++)
        ide += config->disks[i].bus == MACHINE_BUS_IDE;
    for (char **cdrom = o->cdroms; cdrom && *cdrom; cdrom++) {
        if (config->cdrom_count == MACHINE_MAX_CDROMS || ide + config->cdrom_count >= 4)
            return usage_error(error, "--cdrom: there is room for two CD-ROM drives, and for four "
                                      "drives at bus=ide with the disks");
        config->cdroms[config->cdrom_count++] = strcmp(*cdrom, "none") == 0 ? NULL : *cdrom;
    }
    return true;
}

static bool parse_floppies(const struct options *o, struct machine_config *config, GError **error)
{
    for (char **floppy = o->floppies; floppy && *floppy; floppy++) {
        if (config->floppy_count == MACHINE_MAX_FLOPPIES)
            return usage_error(error, "--floppy: there is room for two floppy drives");
        if (!options_parse_floppy(*floppy, &config->floppies[config->floppy_count], error))
            return false;
        config->floppy_count++;
    }
    return true;
}

static bool parse_nets(const struct options *o, struct machine_config *config, GError **error)
{
    for (char **net = o->nets; net && *net; net++) {
        struct net_config *parsed = &config->nets[config->net_count];
        if (config->net_count == MACHINE_MAX_NETS) {
            g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED,
                        "--net %s: there is room for %d network cards only", *net,
                        MACHINE_MAX_NETS);
            return false;
        }
        if (!net_config_parse(*net, parsed, error))
            return false;
        config->net_count++;
        if (parsed->model &&
            !options_check_name("net model", parsed->model, machine_net_models(), error))
            return false;
    }
    return true;
}

/* All that can be added to a machine, and how. */
static void print_devices(void)
{
    static const struct {
        const char *name, *help;
    } devices[] = {
        {"rng", "virtio entropy source"},
        {"balloon", "virtio balloon, for ctl balloon; reports free pages"},
        {"console", "virtio console, for --console and --port, which bring it along"},
        {"pvpanic", "the port by which a guest tells that it panicked (0x505), for --on-panic"},
        {"testdev",
         "what kernel testers use: ports 0xe0-0xeb, 0x2000-0x2017, memory at 0xff000000"},
    };
    static const char *const others[] = {
        "--disk FILE,bus=ide      ATA disk at the PIIX3's IDE channels",
        "--disk FILE,bus=virtio   virtio disk",
        "--cdrom FILE|none        ATAPI CD-ROM drive",
        "--floppy FILE|none       floppy drive at an 82078",
        "--net ...,model=virtio   virtio network card",
        "--net ...,model=e1000    Intel 82540EM",
        "--net ...,model=tulip    DEC 21140, as Virtual Server had it",
        "--serial WHERE           16550A at 0x3f8; a second time, at 0x2f8",
        "--parallel WHERE         printer port at 0x378",
    };
    printf("Devices of --device:\n");
    for (guint i = 0; i < G_N_ELEMENTS(devices); i++)
        printf("  %-9s %s\n", devices[i].name, devices[i].help);
    printf("\nDevices with options of their own:\n");
    for (guint i = 0; i < G_N_ELEMENTS(others); i++)
        printf("  %s\n", others[i]);
    printf("\nOn every board: i440FX, PIIX3, PIIX4 power management, 8259s, local and I/O APICs, "
           "8254, HPET,\nRTC, 8237s, 8042 with PS/2 keyboard and mouse, vmmouse, VGA, fw_cfg.\n");
}

static bool parse_extras(const struct options *o, struct machine_config *config, GError **error)
{
    for (char **extra = o->extras; extra && *extra; extra++) {
        if (!options_check_name("device", *extra, machine_extra_names, error))
            return false;
        for (unsigned i = 0; machine_extra_names[i]; i++)
            config->extras[i] |= strcmp(*extra, machine_extra_names[i]) == 0;
    }
    return true;
}

static bool check_cpu_model(const char *model, GError **error)
{
    g_autoptr(GError) why = NULL;
    if (cpu_check_model(model, &why))
        return true;
    g_autofree char *text = g_strdup_printf("--cpu-model %s: %s", model, why->message);
    return usage_error(error, text);
}

static bool check_where(const char *option, const char *where, GError **error)
{
    if (line_check(where))
        return true;
    g_autofree char *text =
        g_strdup_printf("--%s %s: give stdio, unix:PATH, file:PATH or none", option, where);
    return usage_error(error, text);
}

/* All that goes to a terminal, a file or a socket. */
static bool parse_lines(const struct options *o, struct machine_config *config, GError **error)
{
    unsigned serials = o->serials ? g_strv_length(o->serials) : 0, terminals = 0;
    if (serials > MACHINE_MAX_SERIALS)
        return usage_error(error, "--serial: there are two serial ports");
    config->serial = serials > 0 ? o->serials[0] : "none";
    config->serial2 = serials > 1 ? o->serials[1] : NULL;
    for (char **port = o->ports; port && *port; port++) {
        if (config->port_count == MACHINE_MAX_PORTS)
            return usage_error(error, "--port: there is room for eight ports");
        if (!options_parse_port(*port, &config->ports[config->port_count], error))
            return false;
        config->port_count++;
    }
    config->extras[MACHINE_EXTRA_CONSOLE] = config->port_count || config->console;
    const struct {
        const char *option, *where;
    } lines[] = {{"serial", config->serial},
                 {"serial", config->serial2},
                 {"parallel", config->parallel},
                 {"console", config->console}};
    for (guint i = 0; i < G_N_ELEMENTS(lines); i++) {
        if (lines[i].where && !check_where(lines[i].option, lines[i].where, error))
            return false;
        terminals += g_strcmp0(lines[i].where, "stdio") == 0;
    }
    return terminals <= 1 || usage_error(error, "only one port can have the terminal (stdio)");
}

static bool fill_irqchip(const char *name, struct machine_config *config, GError **error)
{
    static const char *const names[] = {
        [CHIPS_AUTO] = "auto", [CHIPS_ON] = "on", [CHIPS_OFF] = "off", NULL};
    if (!name)
        return true;
    if (!options_check_name("kernel-irqchip", name, names, error))
        return false;
    if (strcmp(name, "on") == 0 && strcmp(config->engine, "kvm") != 0)
        return usage_error(error, "--kernel-irqchip on needs --engine kvm");
    for (unsigned i = 0; i < CHIPS_WISH_COUNT; i++)
        if (strcmp(name, names[i]) == 0)
            config->kernel_irqchip = i;
    return true;
}

static bool fill_config(const struct options *o, struct machine_config *config, GError **error)
{
    *config = (struct machine_config){
        .name = o->name,
        .uuid = o->uuid,
        .engine = o->engine ? o->engine : "auto",
        .cpu_model = o->cpu_model ? o->cpu_model : "x86-64-v2",
        .parallel = o->parallel,
        .console = o->console,
        .serial_log = o->serial_log,
        .firmware = o->firmware,
        .kernel = o->kernel,
        .initrd = o->initrd,
        .kernel_after_firmware = o->kernel_after_firmware,
        .append = o->append,
        .boot_order = o->boot_order,
        .debug_console = o->debugcon,
        .observe = (o->jit_stats ? CPU_OBSERVE_COUNT : 0) | (o->perf_map ? CPU_OBSERVE_NAMES : 0),
        .debug_exit = o->debug_exit ? DEBUG_EXIT_PORT : 0,
        .no_reboot = o->no_reboot,
    };
    if (!options_parse_memory(o->memory ? o->memory : "512M", &config->memory, error) ||
        !options_parse_count("cpus", o->cpus ? o->cpus : "1", MACHINE_MAX_CPUS, &config->cpus,
                             error) ||
        !options_check_name("engine", config->engine, cpu_engines(), error) ||
        (o->code_cache && !options_parse_code_cache(o->code_cache, &config->code_cache, error)) ||
        !check_cpu_model(config->cpu_model, error) || !parse_lines(o, config, error) ||
        !parse_disks(o, config, error) || !parse_cdroms(o, config, error) ||
        !parse_floppies(o, config, error) || !parse_nets(o, config, error) ||
        !parse_extras(o, config, error) ||
        (o->boot_order && !options_check_boot_order(o->boot_order, error)) ||
        (o->uuid && !options_check_uuid(o->uuid, error)))
        return false;
    config->engine = cpu_choose_engine(config->engine, config->cpu_model);
    if ((o->initrd || o->append) && !o->kernel)
        return usage_error(error, "--initrd and --append need --kernel");
    if (o->debug_exit_port) {
        char *end;
        guint64 port = g_ascii_strtoull(o->debug_exit_port, &end, 0);
        if (end == o->debug_exit_port || *end || port == 0 || port > 0xffff)
            return usage_error(error, "--debug-exit-port: give a port from 1 to 0xffff");
        config->debug_exit = (unsigned)port;
    }
    if (!fill_irqchip(o->kernel_irqchip, config, error) || (o->vnc && !vnc_check(o->vnc, error)))
        return false;
    if (o->on_panic) {
        if (!options_check_name("on-panic", o->on_panic, machine_on_panic_names, error))
            return false;
        for (unsigned i = 0; i < MACHINE_ON_PANIC_COUNT; i++) {
            if (strcmp(o->on_panic, machine_on_panic_names[i]) == 0)
                config->on_panic = i;
        }
    }
    if (o->control && (!g_str_has_prefix(o->control, "ipc://") || !o->control[6]))
        return usage_error(error, "--control: give ipc://PATH");
    if (o->sandbox && strcmp(o->sandbox, "on") != 0 && strcmp(o->sandbox, "off") != 0)
        return usage_error(error, "--sandbox: give on or off");
    if (o->debugcon) {
        bool is_stdio = strcmp(o->debugcon, "stdio") == 0;
        if (!is_stdio && (!g_str_has_prefix(o->debugcon, "file:") || !o->debugcon[5]))
            return usage_error(error, "--debugcon: give stdio or file:PATH");
        config->debug_console = is_stdio ? "-" : o->debugcon + 5;
    }
    return true;
}

/* ---- running ----------------------------------------------------------------------------- */

struct signals {
    struct machine *machine;
    bool asked;
};

static void signalled(void *opaque, int fd, short events)
{
    struct signals *signals = opaque;
    struct signalfd_siginfo info;
    if (read(fd, &info, sizeof(info)) != sizeof(info))
        return;
    if (signals->asked || info.ssi_signo == SIGINT) {
        machine_quit(signals->machine);
        return;
    }
    signals->asked = true;
    machine_power_button(signals->machine);
}

static int block_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static bool write_pidfile(const char *path, GError **error)
{
    g_autofree char *text = g_strdup_printf("%d\n", (int)getpid());
    if (!path || g_file_set_contents(path, text, -1, error))
        return true;
    g_prefix_error(error, "cannot write the pidfile: ");
    return false;
}

static int status_of(const struct machine *machine, enum machine_end end)
{
    if (end == MACHINE_END_DEBUG_EXIT)
        return machine_exit_status(machine);
    if (end == MACHINE_END_DIVERGED)
        return EXIT_DIVERGED;
    return end == MACHINE_END_TRIPLE_FAULT ? EXIT_TRIPLE_FAULT : 0;
}

static bool run(const struct options *o, const struct machine_config *config, int *ret_status,
                GError **error)
{
    int signal_fd = block_signals();
    struct control_server *control = NULL;
    struct vnc_server *vnc = NULL;
    const struct confine_options confine = {.off = o->sandbox && strcmp(o->sandbox, "off") == 0,
                                            .user = o->user,
                                            .vnc = o->vnc,
                                            .folders = o->folders,
                                            .control = o->control ? o->control + 6 : NULL,
                                            .pidfile = o->pidfile,
                                            .exit_file = o->exit_file,
                                            .restore = o->restore};
    if (!confine_files(&confine, config, error))
        return false;
    struct machine *machine = machine_new(config, error);
    if (!machine)
        return false;
    if (o->restore && !machine_restore_file(machine, o->restore, error)) {
        machine_free(machine, NULL);
        return false;
    }
    struct signals signals = {machine, false};
    machine_watch(machine, signal_fd, POLLIN, signalled, &signals);
    bool ok = write_pidfile(o->pidfile, error);
    if (ok && o->control) {
        control = control_server_new(machine, o->control, error);
        ok = control != NULL;
    }
    if (ok && o->vnc) {
        vnc = vnc_server_new(machine, o->vnc, error);
        ok = vnc != NULL;
    }
    ok = ok && confine_calls(&confine, config, error);
    if (ok)
        *ret_status = status_of(machine, machine_run(machine));
    if (ok && o->jit_stats) {
        g_autofree char *report = machine_engine_report(machine);
        fputs(report, stderr);
    }
    vnc_server_free(vnc);
    control_server_stop(control);
    if (!machine_free(machine, ok ? error : NULL))
        ok = false;
    control_server_free(control);
    if (o->pidfile)
        unlink(o->pidfile);
    return ok;
}

/* One line for whoever watches over us and may not be our parent: poweroff, or failed and why. A
 * process that was killed or crashed leaves none. */
static void write_exit_file(const char *path, const GError *failure)
{
    g_autofree char *text =
        failure ? g_strdup_printf("failed: %s\n", failure->message) : g_strdup("poweroff\n");
    g_autoptr(GError) error = NULL;
    if (!g_file_set_contents(path, text, -1, &error))
        fprintf(stderr, "drover-emu: cannot write the exit file: %s\n", error->message);
}

static bool wants_model_help(const struct options *o)
{
    return o->cpu_model && strcmp(o->cpu_model, "help") == 0;
}

int main(int argc, char **argv)
{
    struct options options = {0};
    struct machine_config config = {0};
    g_autoptr(GError) error = NULL;
    int status = EXIT_FAILED;
    if (argc > 1 && strcmp(argv[1], "ctl") == 0)
        return ctl_main(argc - 1, argv + 1);
    bool parsed = parse_command_line(&options, argc, argv, &error);
    if (parsed && options.extras && g_strv_contains((const char *const *)options.extras, "help")) {
        print_devices();
        status = 0;
    } else if (!parsed || (!options.version && !wants_model_help(&options) &&
                           !fill_config(&options, &config, &error))) {
        fprintf(stderr, "drover-emu: %s; try: drover-emu --help\n", error->message);
        status = EXIT_USAGE;
    } else if (options.version) {
        printf("drover-emu %s\n", DROVER_VERSION);
        status = 0;
    } else if (wants_model_help(&options)) {
        g_autofree char *text = cpu_model_help();
        fputs(text, stdout);
        status = 0;
    } else if (!run(&options, &config, &status, &error)) {
        fprintf(stderr, "drover-emu: %s\n", error->message);
        status = EXIT_FAILED;
    }
    if (options.exit_file)
        write_exit_file(options.exit_file, error);
    for (unsigned i = 0; i < config.disk_count; i++)
        g_free((char *)config.disks[i].file);
    for (unsigned i = 0; i < config.port_count; i++) {
        g_free((char *)config.ports[i].name);
        g_free((char *)config.ports[i].where);
    }
    for (unsigned i = 0; i < config.floppy_count; i++)
        g_free((char *)config.floppies[i].file);
    for (unsigned i = 0; i < config.net_count; i++)
        net_config_clear(&config.nets[i]);
    clear_options(&options);
    return status;
}
