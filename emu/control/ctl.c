#include "emu/control/ctl.h"

#include "proto/emu.pb-c.h"
#include <glib.h>
#include <nng/nng.h>
#include <nng/protocol/reqrep0/req.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TIMEOUT_MS      10000
#define SAVE_TIMEOUT_MS 3600000 /* as long as the disk takes */

/* Fills the request in with a command's arguments. NULL, or what is wrong with them. */
typedef const char *fill_function(Emu__Request *request, char **arguments);

static const char *fill_file(Emu__Request *request, char **arguments)
{
    request->file = g_canonicalize_filename(arguments[0], NULL);
    return NULL;
}

static const char *fill_index(Emu__Request *request, const char *text)
{
    guint64 index;
    if (!g_ascii_string_to_unsigned(text, 10, 0, 99, &index, NULL))
        return "count from 0";
    request->has_index = 1;
    request->index = (uint32_t)index;
    return NULL;
}

static const char *fill_disc(Emu__Request *request, char **arguments)
{
    if (strcmp(arguments[1], "none") != 0)
        request->file = g_canonicalize_filename(arguments[1], NULL);
    return fill_index(request, arguments[0]);
}

static const char *fill_text(Emu__Request *request, char **arguments)
{
    request->text = g_strdup(arguments[0]);
    return NULL;
}

static bool parse_number(const char *text, gint64 least, gint64 most, gint64 *ret_number)
{
    return g_ascii_string_to_signed(text, 10, least, most, ret_number, NULL);
}

static const char *fill_mouse(Emu__Request *request, char **arguments)
{
    gint64 x, y, buttons;
    if (!parse_number(arguments[0], -10000, 10000, &x) ||
        !parse_number(arguments[1], -10000, 10000, &y) ||
        !parse_number(arguments[2], 0, 7, &buttons))
        return "distances are from -10000 to 10000, buttons the sum of 1 left, 2 right, 4 middle";
    request->has_x = request->has_y = request->has_buttons = 1;
    request->x = (int32_t)x;
    request->y = (int32_t)y;
    request->buttons = (uint32_t)buttons;
    return NULL;
}

static const char *fill_undo(Emu__Request *request, char **arguments)
{
    request->text = g_strdup(arguments[1]);
    return fill_index(request, arguments[0]);
}

static const char *fill_balloon(Emu__Request *request, char **arguments)
{
    gint64 mib;
    if (!parse_number(arguments[0], 0, UINT32_MAX, &mib))
        return "give a number of MiB";
    request->has_mib = 1;
    request->mib = (uint32_t)mib;
    return NULL;
}

static const char *fill_plug(Emu__Request *request, char **arguments)
{
    request->has_on = 1;
    request->on = strcmp(arguments[1], "in") == 0;
    if (!request->on && strcmp(arguments[1], "out") != 0)
        return "the cable goes in or out";
    return fill_index(request, arguments[0]);
}

static const struct {
    const char *name;
    Emu__Command command;
    unsigned argument_count;
    const char *arguments; /* as the help shows them */
    fill_function *fill;
    const char *help;
} commands[] = {
    {"status", EMU__COMMAND__COMMAND_STATUS, 0, "", NULL, "what the machine is and has done"},
    {"powerdown", EMU__COMMAND__COMMAND_POWERDOWN, 0, "", NULL, "press the power button"},
    {"reset", EMU__COMMAND__COMMAND_RESET, 0, "", NULL, "press the reset button"},
    {"pause", EMU__COMMAND__COMMAND_PAUSE, 0, "", NULL, "stop the CPUs and the guest's time"},
    {"resume", EMU__COMMAND__COMMAND_RESUME, 0, "", NULL, "let them go on"},
    {"quit", EMU__COMMAND__COMMAND_QUIT, 0, "", NULL, "cut the power: flush the disks and end"},
    {"screendump", EMU__COMMAND__COMMAND_SCREENDUMP, 1, "FILE.png", fill_file,
     "write the screen to it"},
    {"save", EMU__COMMAND__COMMAND_SAVE, 1, "FILE", fill_file,
     "pause, and write the machine to it for --restore"},
    {"snapshot", EMU__COMMAND__COMMAND_SNAPSHOT, 1, "FILE", fill_file,
     "keep the machine in it and each disk in DISK.FILE, and go on"},
    {"change-disc", EMU__COMMAND__COMMAND_CHANGE_DISC, 2, "DRIVE FILE|none", fill_disc,
     "put another disc into a CD-ROM drive"},
    {"change-floppy", EMU__COMMAND__COMMAND_CHANGE_FLOPPY, 2, "DRIVE FILE|none", fill_disc,
     "put another disk into a floppy drive"},
    {"undo", EMU__COMMAND__COMMAND_UNDO, 2, "DISK commit|keep|discard", fill_undo,
     "what is done with its undo disk at the end"},
    {"plug", EMU__COMMAND__COMMAND_PLUG, 2, "CARD in|out", fill_plug, "a network card's cable"},
    {"balloon", EMU__COMMAND__COMMAND_BALLOON, 1, "MIB", fill_balloon,
     "memory that the guest shall give away"},
    {"text", EMU__COMMAND__COMMAND_TEXT, 0, "", NULL, "what the text screen shows"},
    {"key", EMU__COMMAND__COMMAND_KEY, 1, "KEY", fill_text,
     "press a key, or several: ctrl-alt-delete"},
    {"type", EMU__COMMAND__COMMAND_TYPE, 1, "TEXT", fill_text, "type on a US keyboard"},
    {"mouse", EMU__COMMAND__COMMAND_MOUSE, 3, "DX DY BUTTONS", fill_mouse,
     "move the mouse, press its buttons"},
};

static const char *const state_names[] = {"unknown", "running", "paused", "ending"};

static const char *state_name(const Emu__Status *status)
{
    unsigned state = (unsigned)status->state;
    return state_names[state < G_N_ELEMENTS(state_names) ? state : 0];
}

/* ---- status ------------------------------------------------------------------------------ */

static void print_json_string(const char *text)
{
    putchar('"');
    for (const unsigned char *c = (const unsigned char *)(text ? text : ""); *c; c++) {
        if (*c == '"' || *c == '\\')
            printf("\\%c", *c);
        else if (*c < 0x20)
            printf("\\u%04x", *c);
        else
            putchar(*c);
    }
    putchar('"');
}

/* The numbers of a status and of a disk, in the order in which they are shown. */
#define STATUS_NUMBERS(X)                                                                          \
    X(pid)                                                                                         \
    X(cpus)                                                                                        \
    X(memory_bytes)                                                                                \
    X(uptime_ns)                                                                                   \
    X(cpu_time_ns) X(interpreted_instructions) X(resets) X(serial_in_bytes) X(serial_out_bytes)
#define DISK_NUMBERS(X)                                                                            \
    X(size_bytes) X(read_bytes) X(written_bytes) X(reads) X(writes) X(flushes) X(errors)

#define NET_NUMBERS(X)                                                                             \
    X(received_bytes)                                                                              \
    X(received_packets) X(received_dropped) X(sent_bytes) X(sent_packets) X(sent_dropped)

static void print_nets_json(const Emu__Status *status)
{
    printf(", \"nets\": [");
    for (size_t i = 0; i < status->n_nets; i++) {
        const Emu__NetStatus *net = status->nets[i];
        printf("%s{\"kind\": ", i ? ", " : "");
        print_json_string(net->kind);
        printf(", \"model\": ");
        print_json_string(net->model);
        printf(", \"mac\": ");
        print_json_string(net->mac);
        printf(", \"up\": %s", net->up ? "true" : "false");
#define PRINT(field) printf(", \"" #field "\": %" G_GUINT64_FORMAT, (guint64)net->field);
        NET_NUMBERS(PRINT)
#undef PRINT
        printf("}");
    }
    printf("]");
}

static void print_nets_text(const Emu__Status *status)
{
    for (size_t i = 0; i < status->n_nets; i++) {
        const Emu__NetStatus *net = status->nets[i];
        printf("net %zu             %s, %s %s%s\n", i, net->kind ? net->kind : "",
               net->model ? net->model : "", net->mac ? net->mac : "",
               net->up ? "" : ", cable out");
#define PRINT(field) printf("  %-16s%" G_GUINT64_FORMAT "\n", #field, (guint64)net->field);
        NET_NUMBERS(PRINT)
#undef PRINT
    }
}

static void print_json(const Emu__Status *status)
{
    printf("{\"name\": ");
    print_json_string(status->name);
    printf(", \"state\": \"%s\", \"version\": ", state_name(status));
    print_json_string(status->version);
    printf(", \"engine\": ");
    print_json_string(status->engine);
#define PRINT(field) printf(", \"" #field "\": %" G_GUINT64_FORMAT, (guint64)status->field);
    STATUS_NUMBERS(PRINT)
#undef PRINT
    printf(", \"panicked\": %s", status->panicked ? "true" : "false");
    printf(", \"disks\": [");
    for (size_t i = 0; i < status->n_disks; i++) {
        const Emu__DiskStatus *disk = status->disks[i];
        printf("%s{\"file\": ", i ? ", " : "");
        print_json_string(disk->file);
        printf(", \"bus\": ");
        print_json_string(disk->bus);
#define PRINT(field) printf(", \"" #field "\": %" G_GUINT64_FORMAT, (guint64)disk->field);
        DISK_NUMBERS(PRINT)
#undef PRINT
        printf("}");
    }
    printf("]");
    print_nets_json(status);
    printf("}\n");
}

static void print_text(const Emu__Status *status)
{
    printf("%-18s%s\n%-18s%s%s\n%-18s%s\n", "name", status->name ? status->name : "", "state",
           state_name(status), status->panicked ? ", panicked" : "", "engine",
           status->engine ? status->engine : "");
#define PRINT(field) printf("%-18s%" G_GUINT64_FORMAT "\n", #field, (guint64)status->field);
    STATUS_NUMBERS(PRINT)
#undef PRINT
    for (size_t i = 0; i < status->n_disks; i++) {
        const Emu__DiskStatus *disk = status->disks[i];
        printf("disk %zu            %s on %s\n", i, disk->file ? disk->file : "",
               disk->bus ? disk->bus : "");
#define PRINT(field) printf("  %-16s%" G_GUINT64_FORMAT "\n", #field, (guint64)disk->field);
        DISK_NUMBERS(PRINT)
#undef PRINT
    }
    print_nets_text(status);
}

/* ---- the request ------------------------------------------------------------------------- */

static int complain(const char *socket, const char *what)
{
    fprintf(stderr, "drover-emu ctl: %s: %s\n", socket, what);
    return 1;
}

static int show(const char *socket, const nng_msg *message, bool json)
{
    Emu__Reply *reply =
        emu__reply__unpack(NULL, nng_msg_len(message), nng_msg_body((nng_msg *)message));
    int status = 0;
    if (!reply)
        return complain(socket, "the answer is not drover-emu's");
    if (!reply->ok)
        status = complain(socket, reply->error ? reply->error : "refused, without a reason");
    else if (reply->text)
        fputs(reply->text, stdout);
    else if (reply->status)
        (json ? print_json : print_text)(reply->status);
    emu__reply__free_unpacked(reply, NULL);
    return status;
}

static int exchange(nng_socket req, const char *socket, const Emu__Request *request, bool json)
{
    uint8_t bytes[8192];
    size_t size = emu__request__get_packed_size(request);
    if (size > sizeof(bytes))
        return complain(socket, "the file's name is too long");
    emu__request__pack(request, bytes);
    g_autofree char *url =
        strstr(socket, "://") ? g_strdup(socket) : g_strconcat("ipc://", socket, NULL);
    int code = nng_dial(req, url, NULL, 0);
    if (!code)
        code = nng_send(req, bytes, size, 0);
    if (code == NNG_ECONNREFUSED || code == NNG_ENOENT)
        return complain(socket, "no drover-emu answers there; is its --control this path?");
    nng_msg *message = NULL;
    if (!code)
        code = nng_recvmsg(req, &message, 0);
    if (code)
        return complain(socket, nng_strerror(code));
    int status = show(socket, message, json);
    nng_msg_free(message);
    return status;
}

static int send_request(const char *socket, const Emu__Request *request, bool json)
{
    nng_socket req;
    int code = nng_req0_open(&req);
    if (code)
        return complain(socket, nng_strerror(code));
    bool is_save = request->command == EMU__COMMAND__COMMAND_SAVE ||
                   request->command == EMU__COMMAND__COMMAND_SNAPSHOT;
    nng_socket_set_ms(req, NNG_OPT_RECVTIMEO, is_save ? SAVE_TIMEOUT_MS : TIMEOUT_MS);
    nng_socket_set_ms(req, NNG_OPT_SENDTIMEO, TIMEOUT_MS);
    int status = exchange(req, socket, request, json);
    nng_close(req);
    return status;
}

static void print_help(FILE *out)
{
    fprintf(out, "Usage: drover-emu ctl SOCKET COMMAND [-o json]\n\nCommands:\n");
    for (guint i = 0; i < G_N_ELEMENTS(commands); i++)
        fprintf(out, "  %-13s %-16s %s\n", commands[i].name, commands[i].arguments,
                commands[i].help);
}

static int usage(const char *problem)
{
    fprintf(stderr, "drover-emu ctl: %s; try: drover-emu ctl --help\n", problem);
    return 2;
}

static int run_command(unsigned index, const char *socket, int count, char **arguments, bool json)
{
    Emu__Request request = EMU__REQUEST__INIT;
    g_autofree char *file = NULL, *text = NULL, *problem = NULL;
    if ((unsigned)count != commands[index].argument_count) {
        problem = g_strdup_printf(
            "%s takes %s", commands[index].name,
            count && !commands[index].argument_count ? "nothing more" : commands[index].arguments);
        return usage(problem);
    }
    request.has_command = 1;
    request.command = commands[index].command;
    const char *wrong = commands[index].fill ? commands[index].fill(&request, arguments) : NULL;
    file = request.file;
    text = request.text;
    if (wrong) {
        problem =
            g_strdup_printf("%s %s: %s", commands[index].name, commands[index].arguments, wrong);
        return usage(problem);
    }
    return send_request(socket, &request, json);
}

int ctl_main(int argc, char **argv)
{
    g_autofree char *output = NULL;
    gboolean help = FALSE;
    GOptionEntry entries[] = {
        {"output", 'o', 0, G_OPTION_ARG_STRING, &output, "", NULL},
        {"help", 'h', 0, G_OPTION_ARG_NONE, &help, "", NULL},
        G_OPTION_ENTRY_NULL,
    };
    g_autoptr(GError) error = NULL;
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_option_context_set_help_enabled(context, FALSE);
    /* A negative number is an argument; what is an argument too many is refused later. */
    g_option_context_set_ignore_unknown_options(context, TRUE);
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error))
        return usage(error->message);
    if (help) {
        print_help(stdout);
        return 0;
    }
    if (output && strcmp(output, "json") != 0)
        return usage("-o knows json only");
    if (argc < 3)
        return usage("give a socket and a command");
    for (guint i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (strcmp(argv[2], commands[i].name) != 0)
            continue;
        return run_command(i, argv[1], argc - 3, argv + 3, output != NULL);
    }
    g_autofree char *problem = g_strdup_printf("there is no command \"%s\"", argv[2]);
    return usage(problem);
}
