#include "emu/confine.h"

#include "emu/sandbox/sandbox.h"
#include "storage/block.h"
#include <fcntl.h>
#include <gio/gio.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Under a sanitizer a process does more than it does otherwise. */
#if defined(DROVER_SANITIZE) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

#define READ_WRITE (SANDBOX_READ | SANDBOX_WRITE)

static void allow_folder_of(struct sandbox *sandbox, const char *path, unsigned access)
{
    if (!path)
        return;
    g_autofree char *folder = g_path_get_dirname(path);
    sandbox_allow(sandbox, folder, access);
}

/* A file that is to be written from its start or end: made now, since its folder is not given. */
static void allow_log(struct sandbox *sandbox, const char *path)
{
    if (!path)
        return;
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0644);
    if (fd >= 0)
        close(fd);
    sandbox_allow(sandbox, path, READ_WRITE);
}

/* ---- disks ------------------------------------------------------------------------------- */

/* What a disk stands upon is read, wherever the disk says it is. */
static void allow_parents(struct sandbox *sandbox, const char *path)
{
    struct block_device *disk = block_open(path, BLOCK_OPEN_READ_ONLY | BLOCK_OPEN_CHAIN, NULL);
    for (struct block_device *d = disk ? block_parent(disk) : NULL; d; d = block_parent(d))
        sandbox_allow(sandbox, block_path(d), SANDBOX_READ);
    block_abandon(disk);
}

static void allow_disks(struct sandbox *sandbox, const struct machine_config *config)
{
    for (unsigned i = 0; i < config->disk_count; i++) {
        const struct machine_disk *disk = &config->disks[i];
        unsigned access = disk->read_only ? SANDBOX_READ : READ_WRITE;
        g_autofree char *bitmaps = g_strconcat(disk->file, ".bitmaps", NULL);
        g_autofree char *merge = g_strconcat(disk->file, ".merge", NULL);
        sandbox_allow(sandbox, disk->file, access | SANDBOX_DEVICE);
        sandbox_allow(sandbox, bitmaps, access); /* which note what is written */
        sandbox_allow(sandbox, merge, access);   /* the journal of a commit that was cut short */
        if (disk->chain || disk->undo)
            allow_parents(sandbox, disk->file);
        if (!disk->undo)
            continue;
        /* The undo disk and its journals stand beside the disk, and go by renaming. */
        allow_folder_of(sandbox, disk->file, READ_WRITE | SANDBOX_CREATE);
    }
    for (unsigned i = 0; i < config->cdrom_count; i++) {
        if (config->cdroms[i])
            sandbox_allow(sandbox, config->cdroms[i], SANDBOX_READ | SANDBOX_DEVICE);
    }
    for (unsigned i = 0; i < config->floppy_count; i++) {
        if (config->floppies[i].file)
            sandbox_allow(sandbox, config->floppies[i].file,
                          (config->floppies[i].read_only ? SANDBOX_READ : READ_WRITE) |
                              SANDBOX_DEVICE);
    }
}

/* ---- networks ---------------------------------------------------------------------------- */

static bool has_network(const struct machine_config *config, enum net_kind kind)
{
    for (unsigned i = 0; i < config->net_count; i++) {
        if (config->nets[i].kind == kind)
            return true;
    }
    return false;
}

static void allow_networks(struct sandbox *sandbox, const struct machine_config *config)
{
    for (unsigned i = 0; i < config->net_count; i++) {
        const struct net_config *net = &config->nets[i];
        allow_folder_of(sandbox, net->listen, SANDBOX_SOCKETS);
        if (net->connect)
            sandbox_allow(sandbox, net->connect, READ_WRITE);
        if (net->tftp)
            sandbox_allow(sandbox, net->tftp, SANDBOX_READ);
    }
    if (has_network(config, NET_TAP) || has_network(config, NET_BRIDGE))
        sandbox_allow(sandbox, "/dev/net/tun", READ_WRITE | SANDBOX_DEVICE);
    if (has_network(config, NET_USER))
        sandbox_allow(sandbox, "/etc/resolv.conf", SANDBOX_READ);
}

/* ---- the rest ---------------------------------------------------------------------------- */

static void allow_line(struct sandbox *sandbox, const char *where)
{
    if (!where)
        return;
    if (g_str_has_prefix(where, "unix:"))
        allow_folder_of(sandbox, where + 5, SANDBOX_SOCKETS);
    else if (g_str_has_prefix(where, "file:"))
        allow_log(sandbox, where + 5);
}

static void allow_lines(struct sandbox *sandbox, const struct machine_config *config)
{
    allow_line(sandbox, config->serial);
    allow_line(sandbox, config->serial2);
    allow_line(sandbox, config->parallel);
    allow_line(sandbox, config->console);
    for (unsigned i = 0; i < config->port_count; i++)
        allow_line(sandbox, config->ports[i].where);
    allow_log(sandbox, config->serial_log);
    if (config->debug_console && strcmp(config->debug_console, "-") != 0)
        allow_log(sandbox, config->debug_console);
}

/* A Linux's one file, or a Multiboot kernel's list of them, each with arguments after a blank. */
static void allow_initrd(struct sandbox *sandbox, const char *initrd)
{
    g_auto(GStrv) modules = g_strsplit(initrd ? initrd : "", ",", -1);
    if (initrd && g_file_test(initrd, G_FILE_TEST_EXISTS))
        sandbox_allow(sandbox, initrd, SANDBOX_READ);
    for (char **module = modules; *module; module++) {
        (*module)[strcspn(*module, " ")] = '\0';
        if (**module && g_file_test(*module, G_FILE_TEST_EXISTS))
            sandbox_allow(sandbox, *module, SANDBOX_READ);
    }
}

static void allow_programs(struct sandbox *sandbox, const struct machine_config *config)
{
    static const char *const folders[] = {"/usr/share/seabios", "/usr/lib/ipxe"};
    const char *const files[] = {config->firmware, config->kernel};
    allow_initrd(sandbox, config->initrd);
    for (size_t i = 0; i < G_N_ELEMENTS(folders); i++)
        sandbox_allow(sandbox, folders[i], SANDBOX_READ);
    for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
        if (files[i])
            sandbox_allow(sandbox, files[i], SANDBOX_READ);
    }
    if (config->engine && strcmp(config->engine, "kvm") == 0)
        sandbox_allow(sandbox, "/dev/kvm", READ_WRITE | SANDBOX_DEVICE);
    /* It loads a disassembler for its report. */
    if (config->engine && strcmp(config->engine, "lockstep") == 0) {
        sandbox_allow(sandbox, "/usr/lib", SANDBOX_READ);
        sandbox_allow(sandbox, "/etc/ld.so.cache", SANDBOX_READ);
    }
    if (config->observe)
        sandbox_allow(sandbox, "/tmp", SANDBOX_WRITE | SANDBOX_CREATE);
}

/* Names in disks are UTF-16. The C library loads the code for that from a file, which can be
 * neither opened nor run later; while one conversion is open it stays. Held to the process's end.
 */
static void hold_conversions(void)
{
    static const char *const names[] = {"UTF-16LE", "UTF-16BE"};
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        (void)g_iconv_open(names[i], "UTF-8");
        (void)g_iconv_open("UTF-8", names[i]);
    }
}

bool confine_files(const struct confine_options *options, const struct machine_config *config,
                   GError **error)
{
    g_autoptr(GError) why = NULL;
    if (options->off || SANITIZED)
        return true;
    hold_conversions();
    struct sandbox *sandbox = sandbox_new();
    allow_programs(sandbox, config);
    allow_disks(sandbox, config);
    allow_networks(sandbox, config);
    allow_lines(sandbox, config);
    allow_line(sandbox, options->vnc);
    allow_folder_of(sandbox, options->control, SANDBOX_SOCKETS);
    allow_folder_of(sandbox, options->pidfile, READ_WRITE | SANDBOX_CREATE);
    allow_folder_of(sandbox, options->exit_file, READ_WRITE | SANDBOX_CREATE);
    if (options->restore)
        sandbox_allow(sandbox, options->restore, SANDBOX_READ);
    for (char **folder = options->folders; folder && *folder; folder++)
        sandbox_allow(sandbox, *folder, READ_WRITE | SANDBOX_CREATE);
    if (options->user) { /* who that is */
        sandbox_allow(sandbox, "/etc", SANDBOX_READ);
        sandbox_allow(sandbox, "/usr/lib", SANDBOX_READ);
    }
    bool listens = options->vnc && !g_str_has_prefix(options->vnc, "unix:");
    bool confined = sandbox_confine_files(sandbox, has_network(config, NET_USER) || listens, &why);
    sandbox_free(sandbox);
    if (confined)
        return true;
    if (!g_error_matches(why, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED)) {
        g_propagate_prefixed_error(error, g_steal_pointer(&why), "cannot make the sandbox: ");
        return false;
    }
    fprintf(stderr, "drover-emu: %s: what files the machine may open is not confined\n",
            why->message);
    return true;
}

bool confine_calls(const struct confine_options *options, const struct machine_config *config,
                   GError **error)
{
    if (options->user && !sandbox_drop_user(options->user, error))
        return false;
    if (options->off || SANITIZED)
        return true;
    if (sandbox_confine_calls(has_network(config, NET_USER), error))
        return true;
    g_prefix_error(error, "cannot make the sandbox: ");
    return false;
}
