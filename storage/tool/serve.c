/*
 * The command that exports a disk over NBD.
 */
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "storage/nbd/protocol.h"
#include "storage/nbd/server.h"
#include "storage/tool/report.h"

#define DEFAULT_CLIENTS 16
#define THREADS         16
#define MAX_CLIENTS     1000

struct serve_options {
    char *socket_path;
    char *address;
    char *name;
    int port;
    int clients;
    char *bps, *bps_burst; /* sizes */
    int iops, iops_burst;
    gboolean read_only;
    gboolean once;
};

/* False when that has been printed as wrong usage. */
static bool parse_limits(const struct serve_options *options, struct block_limits *ret_limits)
{
    if ((options->bps && !tool_parse_size(options->bps, &ret_limits->bytes_per_second)) ||
        (options->bps_burst && !tool_parse_size(options->bps_burst, &ret_limits->bytes_burst)))
        return false;
    if (options->iops < 0 || options->iops_burst < 0) {
        tool_usage("--iops and --iops-burst take a number of operations");
        return false;
    }
    ret_limits->operations_per_second = (uint64_t)options->iops;
    ret_limits->operations_burst = (uint64_t)options->iops_burst;
    if ((options->bps_burst && !options->bps) || (options->iops_burst && !options->iops)) {
        tool_usage("a burst goes with its rate: --bps-burst with --bps, --iops-burst with --iops");
        return false;
    }
    return true;
}

/* SIGINT and SIGTERM become readable; blocked in this thread and those it starts. */
static int catch_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC);
}

static bool serve(struct block_device *device, const struct nbd_server_options *options,
                  GError **error)
{
    int stop = catch_signals();
    struct nbd_server *server = nbd_server_new(device, options, error);
    bool ok = false;

    if (server) {
        printf("serving %s at %s\n", block_path(device), nbd_server_uri(server));
        fflush(stdout);
        ok = nbd_server_run(server, stop, error);
    }
    nbd_server_free(server);
    close(stop);
    return ok;
}

static int run_serve(char **arguments, const void *opaque)
{
    const struct serve_options *options = opaque;
    struct nbd_server_options server = {
        .name = options->name ? options->name : "",
        .socket_path = options->socket_path,
        .address = options->address ? options->address : "127.0.0.1",
        .port = options->port ? (uint16_t)options->port : NBD_DEFAULT_PORT,
        .clients = options->clients ? (unsigned)options->clients : DEFAULT_CLIENTS,
        .threads = THREADS,
        .once = options->once,
    };
    unsigned flags = BLOCK_OPEN_PROBE_RAW | BLOCK_OPEN_CHAIN;
    struct block_limits limits = {0};
    struct block_device *device;
    GError *error = NULL;

    if (options->port < 0 || options->port > 65535)
        return tool_usage("%d is no port; ports are 1 to 65535", options->port);
    if (options->clients < 0 || options->clients > MAX_CLIENTS)
        return tool_usage("--clients takes 1 to %d", MAX_CLIENTS);
    if (options->socket_path && (options->port || options->address))
        return tool_usage("--socket goes without --address and --port");
    if (!parse_limits(options, &limits))
        return STATUS_USAGE;
    device =
        block_open(arguments[0], flags | (options->read_only ? BLOCK_OPEN_READ_ONLY : 0), &error);
    if (!device)
        return tool_fail(error);
    block_set_limits(device, &limits);
    if (!serve(device, &server, &error)) {
        block_abandon(device);
        return tool_fail(error);
    }
    return block_close(device, &error) ? STATUS_OK : tool_fail(error);
}

static const struct command_option serve_options[] = {
    {"socket", 'k', G_OPTION_ARG_FILENAME, G_STRUCT_OFFSET(struct serve_options, socket_path),
     "listen at a unix socket", "PATH"},
    {"address", 'b', G_OPTION_ARG_STRING, G_STRUCT_OFFSET(struct serve_options, address),
     "listen at this address (127.0.0.1 when not given)", "ADDRESS"},
    {"port", 'p', G_OPTION_ARG_INT, G_STRUCT_OFFSET(struct serve_options, port),
     "and this port (10809 when not given)", "PORT"},
    {"name", 'x', G_OPTION_ARG_STRING, G_STRUCT_OFFSET(struct serve_options, name),
     "the export's name (empty when not given)", "NAME"},
    {"read-only", 'r', G_OPTION_ARG_NONE, G_STRUCT_OFFSET(struct serve_options, read_only),
     "let nobody write", NULL},
    {"once", '1', G_OPTION_ARG_NONE, G_STRUCT_OFFSET(struct serve_options, once),
     "end when the last client has gone", NULL},
    {"clients", 'e', G_OPTION_ARG_INT, G_STRUCT_OFFSET(struct serve_options, clients),
     "how many at once (16 when not given)", "N"},
    {"bps", 0, G_OPTION_ARG_STRING, G_STRUCT_OFFSET(struct serve_options, bps),
     "hold the disk to so many bytes a second", "SIZE"},
    {"bps-burst", 0, G_OPTION_ARG_STRING, G_STRUCT_OFFSET(struct serve_options, bps_burst),
     "so many may go at once after a pause", "SIZE"},
    {"iops", 0, G_OPTION_ARG_INT, G_STRUCT_OFFSET(struct serve_options, iops),
     "hold the disk to so many operations a second", "N"},
    {"iops-burst", 0, G_OPTION_ARG_INT, G_STRUCT_OFFSET(struct serve_options, iops_burst),
     "so many may go at once after a pause", "N"},
    {.name = NULL},
};

const struct command command_serve = {
    .name = "serve",
    .arguments = "FILE",
    .least = 1,
    .most = 1,
    .summary = "export a disk over NBD until SIGINT or SIGTERM",
    .details =
        "Network block device clients (qemu, nbdcopy, the kernel's nbd) may use the disk, several\n"
        "at once. There is no login and no encryption: whoever can connect can use it. It says\n"
        "where it serves when it is ready, and flushes the disk at the end.",
    .examples = "drover-vhd serve disk.vhd --read-only\n"
                "drover-vhd serve disk.vhd --socket /run/disk.sock --name data\n"
                "drover-vhd serve disk.vhd --bps 20M --iops 500\n"
                "nbdcopy 'nbd+unix:///data?socket=/run/disk.sock' copy.img",
    .options = serve_options,
    .options_size = sizeof(struct serve_options),
    .run = run_serve,
};
