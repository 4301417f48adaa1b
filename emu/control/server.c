#include "emu/control/server.h"

#include "emu/core/board.h"
#include "emu/display/screen.h"
#include "emu/display/text.h"
#include "proto/emu.pb-c.h"
#include <errno.h>
#include <gio/gio.h>
#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MESSAGE_MAX_SIZE 65536

struct control_server {
    struct machine *machine;
    nng_socket socket;
    int fd;
};

/* ---- replies ----------------------------------------------------------------------------- */

static GBytes *pack(const Emu__Reply *reply)
{
    size_t size = emu__reply__get_packed_size(reply);
    uint8_t *bytes = g_malloc(size ? size : 1);
    emu__reply__pack(reply, bytes);
    return g_bytes_new_take(bytes, size);
}

static GBytes *answer_ok(void)
{
    Emu__Reply reply = EMU__REPLY__INIT;
    reply.has_ok = reply.ok = 1;
    return pack(&reply);
}

static GBytes *answer_error(const char *text)
{
    Emu__Reply reply = EMU__REPLY__INIT;
    reply.has_ok = 1;
    reply.ok = 0;
    reply.error = (char *)text;
    return pack(&reply);
}

/* Of a command that opens files: the usual reason is not one that the file's permissions show. */
static GBytes *answer_file_error(const GError *error)
{
    g_autofree char *text =
        g_strconcat(error->message,
                    strstr(error->message, g_strerror(EACCES))
                        ? "; the machine opens files in folders given with --allow FOLDER only"
                        : "",
                    NULL);
    return answer_error(text);
}

static Emu__State state_of(const struct machine *machine)
{
    static const Emu__State states[MACHINE_STATE_COUNT] = {
        [MACHINE_RUNNING] = EMU__STATE__STATE_RUNNING,
        [MACHINE_PAUSED] = EMU__STATE__STATE_PAUSED,
        [MACHINE_ENDING] = EMU__STATE__STATE_ENDING};
    return states[machine_state(machine)];
}

/* protobuf-c's optional numbers have a flag beside them. */
#define SET(message, field, value) ((message)->has_##field = 1, (message)->field = (value))

static void describe_disk(struct machine *machine, unsigned index, Emu__DiskStatus *disk)
{
    const struct machine_disk *config = &machine_configuration(machine)->disks[index];
    struct disk_counters counters;
    uint64_t size;
    machine_disk_counters(machine, index, &counters, &size);
    emu__disk_status__init(disk);
    disk->file = (char *)config->file;
    disk->bus = (char *)machine_bus_name(config->bus);
    SET(disk, size_bytes, size);
    SET(disk, read_bytes, counters.bytes[DISK_READ]);
    SET(disk, written_bytes, counters.bytes[DISK_WRITE]);
    SET(disk, reads, counters.operations[DISK_READ]);
    SET(disk, writes, counters.operations[DISK_WRITE]);
    SET(disk, flushes, counters.operations[DISK_FLUSH]);
    SET(disk, errors, counters.errors);
}

static void describe_net(struct machine *machine, unsigned index, Emu__NetStatus *net, char mac[18])
{
    const struct net_config *config = &machine_configuration(machine)->nets[index];
    struct machine_net_status status;
    machine_net_status(machine, index, &status);
    emu__net_status__init(net);
    g_snprintf(mac, 18, "%02x:%02x:%02x:%02x:%02x:%02x", status.mac[0], status.mac[1],
               status.mac[2], status.mac[3], status.mac[4], status.mac[5]);
    net->kind = (char *)net_kind_name(config->kind);
    net->model = config->model ? config->model : (char *)"virtio";
    net->mac = mac;
    SET(net, up, status.up);
    SET(net, received_bytes, status.counters.received_bytes);
    SET(net, received_packets, status.counters.received_packets);
    SET(net, received_dropped, status.counters.received_dropped);
    SET(net, sent_bytes, status.counters.sent_bytes);
    SET(net, sent_packets, status.counters.sent_packets);
    SET(net, sent_dropped, status.counters.sent_dropped);
}

static GBytes *answer_status(struct machine *machine)
{
    const struct machine_config *config = machine_configuration(machine);
    Emu__Status status = EMU__STATUS__INIT;
    Emu__Reply reply = EMU__REPLY__INIT;
    Emu__DiskStatus disks[MACHINE_MAX_DISKS], *pointers[MACHINE_MAX_DISKS];
    Emu__NetStatus nets[MACHINE_MAX_NETS], *net_pointers[MACHINE_MAX_NETS];
    char macs[MACHINE_MAX_NETS][18];
    struct machine_statistics statistics;
    machine_statistics(machine, &statistics);
    status.name = (char *)config->name;
    status.version = (char *)DROVER_VERSION;
    status.engine = (char *)config->engine;
    SET(&status, state, state_of(machine));
    SET(&status, pid, (uint32_t)getpid());
    SET(&status, cpus, config->cpus);
    SET(&status, memory_bytes, config->memory);
    SET(&status, uptime_ns, (uint64_t)statistics.uptime_ns);
    SET(&status, cpu_time_ns, statistics.cpu_time_ns);
    SET(&status, interpreted_instructions, statistics.interpreted_instructions);
    SET(&status, resets, statistics.resets);
    SET(&status, panicked, statistics.panicked);
    SET(&status, serial_in_bytes, statistics.serial_in);
    SET(&status, serial_out_bytes, statistics.serial_out);
    for (unsigned i = 0; i < config->disk_count; i++) {
        describe_disk(machine, i, &disks[i]);
        pointers[i] = &disks[i];
    }
    status.n_disks = config->disk_count;
    status.disks = pointers;
    for (unsigned i = 0; i < config->net_count; i++) {
        describe_net(machine, i, &nets[i], macs[i]);
        net_pointers[i] = &nets[i];
    }
    status.n_nets = config->net_count;
    status.nets = net_pointers;
    SET(&reply, ok, 1);
    reply.status = &status;
    return pack(&reply);
}

/* ---- commands ---------------------------------------------------------------------------- */

static GBytes *do_powerdown(struct machine *machine, const Emu__Request *request)
{
    if (machine_state(machine) == MACHINE_PAUSED)
        return answer_error("the machine is paused: resume it, so that its guest can act on the "
                            "power button");
    machine_power_button(machine);
    return answer_ok();
}

static GBytes *do_reset(struct machine *machine, const Emu__Request *request)
{
    machine_reset(machine);
    return answer_ok();
}

static GBytes *do_pause(struct machine *machine, const Emu__Request *request)
{
    machine_pause(machine);
    return answer_ok();
}

static GBytes *do_resume(struct machine *machine, const Emu__Request *request)
{
    machine_resume(machine);
    return answer_ok();
}

static GBytes *do_quit(struct machine *machine, const Emu__Request *request)
{
    machine_quit(machine);
    return answer_ok();
}

static GBytes *do_status(struct machine *machine, const Emu__Request *request)
{
    return answer_status(machine);
}

static GBytes *do_screendump(struct machine *machine, const Emu__Request *request)
{
    struct screen screen = {0};
    g_autoptr(GError) error = NULL;
    if (!request->file || request->file[0] != '/')
        return answer_error("screendump: name the file with an absolute path");
    board_lock(machine_board(machine));
    screen_render(machine_vga(machine), &screen);
    board_unlock(machine_board(machine));
    bool ok = screen_write_png(&screen, request->file, &error);
    screen_clear(&screen);
    return ok ? answer_ok() : answer_file_error(error);
}

/* What runs on after it was saved would no longer fit its disks: so it stays paused. */
static GBytes *do_save(struct machine *machine, const Emu__Request *request)
{
    g_autoptr(GError) error = NULL;
    if (!request->file || request->file[0] != '/')
        return answer_error("save: name the file with an absolute path");
    bool was_paused = machine_state(machine) == MACHINE_PAUSED;
    if (!was_paused)
        machine_pause(machine);
    if (machine_save_file(machine, request->file, &error))
        return answer_ok();
    if (!was_paused)
        machine_resume(machine);
    return answer_file_error(error);
}

static GBytes *do_snapshot(struct machine *machine, const Emu__Request *request)
{
    g_autoptr(GError) error = NULL;
    if (!request->file || request->file[0] != '/')
        return answer_error("snapshot: name the file with an absolute path");
    return machine_snapshot(machine, request->file, &error) ? answer_ok()
                                                            : answer_error(error->message);
}

static GBytes *do_change_disc(struct machine *machine, const Emu__Request *request)
{
    g_autoptr(GError) error = NULL;
    if (request->file && request->file[0] != '/')
        return answer_error("change-disc: name the image with an absolute path");
    return machine_change_disc(machine, request->index, request->file, &error)
               ? answer_ok()
               : answer_file_error(error);
}

static GBytes *do_change_floppy(struct machine *machine, const Emu__Request *request)
{
    g_autoptr(GError) error = NULL;
    if (request->file && request->file[0] != '/')
        return answer_error("change-floppy: name the image with an absolute path");
    return machine_change_floppy(machine, request->index, request->file, &error)
               ? answer_ok()
               : answer_file_error(error);
}

static GBytes *do_plug(struct machine *machine, const Emu__Request *request)
{
    if (request->index >= machine_configuration(machine)->net_count)
        return answer_error("plug: there is no such network card");
    machine_net_plug(machine, request->index, request->on);
    return answer_ok();
}

static GBytes *do_text(struct machine *machine, const Emu__Request *request)
{
    Emu__Reply reply = EMU__REPLY__INIT;
    board_lock(machine_board(machine));
    g_autofree char *text = screen_text(machine_vga(machine));
    board_unlock(machine_board(machine));
    if (!text)
        return answer_error("text: the screen shows graphics; take a screendump");
    SET(&reply, ok, 1);
    reply.text = text;
    return pack(&reply);
}

static GBytes *do_key(struct machine *machine, const Emu__Request *request)
{
    g_autoptr(GError) error = NULL;
    bool ok = machine_press(machine, request->text ? request->text : "", &error);
    return ok ? answer_ok() : answer_error(error->message);
}

static GBytes *do_type(struct machine *machine, const Emu__Request *request)
{
    g_autoptr(GError) error = NULL;
    bool ok = machine_type(machine, request->text ? request->text : "", &error);
    return ok ? answer_ok() : answer_error(error->message);
}

static GBytes *do_undo(struct machine *machine, const Emu__Request *request)
{
    g_autoptr(GError) error = NULL;
    enum block_undo_action action;
    if (!block_undo_parse(request->text ? request->text : "", &action))
        return answer_error("undo: say commit, keep or discard");
    return machine_set_undo(machine, request->index, action, &error) ? answer_ok()
                                                                     : answer_error(error->message);
}

static GBytes *do_balloon(struct machine *machine, const Emu__Request *request)
{
    g_autoptr(GError) error = NULL;
    return machine_set_balloon(machine, (uint64_t)request->mib << 20, &error)
               ? answer_ok()
               : answer_error(error->message);
}

static GBytes *do_mouse(struct machine *machine, const Emu__Request *request)
{
    /* A PS/2 mouse counts what it has moved in a few bits; more is a jump that no hand makes. */
    machine_move_mouse(machine, CLAMP(request->x, -10000, 10000), CLAMP(request->y, -10000, 10000),
                       request->buttons & 7);
    return answer_ok();
}

static GBytes *(*const commands[])(struct machine *machine, const Emu__Request *request) = {
    [EMU__COMMAND__COMMAND_STATUS] = do_status,
    [EMU__COMMAND__COMMAND_POWERDOWN] = do_powerdown,
    [EMU__COMMAND__COMMAND_RESET] = do_reset,
    [EMU__COMMAND__COMMAND_PAUSE] = do_pause,
    [EMU__COMMAND__COMMAND_RESUME] = do_resume,
    [EMU__COMMAND__COMMAND_QUIT] = do_quit,
    [EMU__COMMAND__COMMAND_SCREENDUMP] = do_screendump,
    [EMU__COMMAND__COMMAND_SAVE] = do_save,
    [EMU__COMMAND__COMMAND_SNAPSHOT] = do_snapshot,
    [EMU__COMMAND__COMMAND_CHANGE_DISC] = do_change_disc,
    [EMU__COMMAND__COMMAND_CHANGE_FLOPPY] = do_change_floppy,
    [EMU__COMMAND__COMMAND_PLUG] = do_plug,
    [EMU__COMMAND__COMMAND_TEXT] = do_text,
    [EMU__COMMAND__COMMAND_KEY] = do_key,
    [EMU__COMMAND__COMMAND_TYPE] = do_type,
    [EMU__COMMAND__COMMAND_MOUSE] = do_mouse,
    [EMU__COMMAND__COMMAND_BALLOON] = do_balloon,
    [EMU__COMMAND__COMMAND_UNDO] = do_undo,
};

GBytes *control_server_answer(struct machine *machine, const uint8_t *bytes, size_t size)
{
    Emu__Request *request = emu__request__unpack(NULL, size, bytes);
    if (!request)
        return answer_error("this is no request of proto/emu.proto");
    unsigned command = request->has_command ? (unsigned)request->command : 0;
    GBytes *answer =
        command < G_N_ELEMENTS(commands) && commands[command]
            ? commands[command](machine, request)
            : answer_error("unknown command; this version knows status, powerdown, "
                           "reset, pause, resume, quit, screendump, save, snapshot, "
                           "change-disc, change-floppy, plug, text, key, type, mouse, balloon "
                           "and undo");
    emu__request__free_unpacked(request, NULL);
    return answer;
}

/* ---- the socket -------------------------------------------------------------------------- */

static void readable(void *opaque, int fd, short events)
{
    struct control_server *server = opaque;
    nng_msg *message;
    while (nng_recvmsg(server->socket, &message, NNG_FLAG_NONBLOCK) == 0) {
        g_autoptr(GBytes) answer =
            control_server_answer(server->machine, nng_msg_body(message), nng_msg_len(message));
        gsize size;
        const void *bytes = g_bytes_get_data(answer, &size);
        nng_msg_clear(message);
        if (nng_msg_append(message, bytes, size) != 0 ||
            nng_sendmsg(server->socket, message, NNG_FLAG_NONBLOCK) != 0)
            nng_msg_free(message); /* the client is gone */
    }
}

static bool fail(GError **error, const char *url, int code)
{
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "cannot serve the control socket %s: %s", url,
                nng_strerror(code));
    return false;
}

static bool open_socket(struct control_server *server, const char *url, GError **error)
{
    int code = nng_rep0_open(&server->socket);
    if (code)
        return fail(error, url, code);
    nng_socket_set_size(server->socket, NNG_OPT_RECVMAXSZ, MESSAGE_MAX_SIZE);
    nng_listener listener;
    mode_t mask = umask(0177);
    code = nng_listener_create(&listener, server->socket, url);
    if (!code) {
        nng_listener_set_size(listener, NNG_OPT_RECVMAXSZ, MESSAGE_MAX_SIZE);
        code = nng_listener_start(listener, 0);
    }
    umask(mask);
    if (!code)
        code = nng_socket_get_int(server->socket, NNG_OPT_RECVFD, &server->fd);
    return code ? fail(error, url, code) : true;
}

struct control_server *control_server_new(struct machine *machine, const char *url, GError **error)
{
    if (!g_str_has_prefix(url, "ipc://") || strlen(url) == strlen("ipc://")) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "control socket \"%s\": give ipc://PATH", url);
        return NULL;
    }
    struct control_server *server = g_new0(struct control_server, 1);
    server->machine = machine;
    server->fd = -1;
    if (!open_socket(server, url, error)) {
        control_server_free(server);
        return NULL;
    }
    machine_watch(machine, server->fd, POLLIN, readable, server);
    return server;
}

void control_server_stop(struct control_server *server)
{
    if (!server || server->fd < 0)
        return;
    machine_unwatch(server->machine, server->fd);
    server->fd = -1;
}

void control_server_free(struct control_server *server)
{
    if (!server)
        return;
    nng_close(server->socket);
    g_free(server);
}
