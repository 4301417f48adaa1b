#include "emu/control/vnc_internal.h"

#include "emu/core/board.h"
#include "emu/core/bytes.h"
#include <errno.h>
#include <gio/gio.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENTS_MAX  16
#define FAST_MS      40    /* between two looks at a screen that changes */
#define SLOW_MS      200   /* and at one that does not */
#define CALM_LOOKS   50    /* fast ones without a change before the slow ones */
#define CLIENT_WAIT  10000 /* ms that a viewer may let us wait for it, before it is dropped */
#define TILE         64    /* pixels: changes are told in squares of this size */
#define FIRST_WIDTH  640
#define FIRST_HEIGHT 400

/* ---- what changed ------------------------------------------------------------------------ */

/* Of the registers, those that change while nothing on the screen does. */
static void forget_indices(struct vga_registers *r)
{
    r->sequencer_index = r->crtc_index = r->graphics_index = 0;
    r->attribute_data = r->dac_reading = false;
    r->dac_read = r->dac_write = r->dac_part = 0;
    r->dispi_index = 0;
    memset(r->latch, 0, sizeof(r->latch));
    r->attribute_index &= 0x20; /* whether the display is on */
    /* How CPUs reach the planes: masks, functions, banks. */
    r->sequencer[2] = r->sequencer[4] = 0;
    memset(r->graphics, 0, 5);
    r->graphics[5] &= 0x60;
    r->graphics[6] &= 1;
    r->graphics[7] = r->graphics[8] = 0;
    r->dispi[DISPI_BANK] = 0;
}

/* Of memory that is shown and was copied before: what was written since. Returns its lines. */
static struct vnc_lines copy_written(struct vnc_frame *frame, const uint8_t *memory)
{
    struct vnc_lines lines = {UINT_MAX, 0};
    for (size_t page = frame->start / MEMORY_PAGE_SIZE;
         page * MEMORY_PAGE_SIZE < frame->start + frame->length; page++) {
        size_t at = page * MEMORY_PAGE_SIZE;
        unsigned first, end;
        if (!(frame->written[page / 64] >> page % 64 & 1))
            continue;
        guest_copy(frame->memory + at, memory + at, MEMORY_PAGE_SIZE);
        screen_lines(&frame->registers, at, at + MEMORY_PAGE_SIZE, &first, &end);
        if (first < end)
            lines = (struct vnc_lines){MIN(lines.first, first), MAX(lines.end, end)};
    }
    return lines;
}

/* Copies what is shown, as far as it may be other than it was; the lines of the screen that may
 * look different for it. What the log gives was written before it is read here, or will be in what
 * it gives next. */
static struct vnc_lines take(struct vnc_server *server)
{
    static const struct vnc_lines all = {0, UINT_MAX};
    struct vnc_frame *frame = &server->frame;
    struct board *board = machine_board(server->machine);
    size_t start, length;
    dirty_log_take(server->log, frame->written);
    board_lock(board);
    struct device *vga = machine_vga(server->machine);
    struct vga_registers registers = *vga_registers(vga);
    board_unlock(board);
    forget_indices(&registers);
    bool same = memcmp(&registers, &frame->registers, sizeof(registers)) == 0;
    screen_source(&registers, &start, &length);
    frame->registers = registers;
    if (frame->length && start == frame->start && length == frame->length) {
        struct vnc_lines lines = copy_written(frame, vga_memory(vga));
        return same ? lines : all;
    }
    guest_copy(frame->memory + start, vga_memory(vga) + start, length);
    frame->start = start;
    frame->length = length;
    return all;
}

static void resize(struct vnc_server *server, unsigned width, unsigned height)
{
    struct vnc_frame *frame = &server->frame;
    uint32_t *old = frame->pixels;
    frame->pixels = g_new0(uint32_t, (gsize)width * height);
    frame->width = width;
    frame->height = height;
    rfbNewFramebuffer(server->screen, (char *)frame->pixels, (int)width, (int)height, 8, 3, 4);
    g_free(old);
}

/* Copies a square where it differs, or the lines of it above `end`; true when it did. */
static bool copy_tile(struct vnc_frame *frame, const struct screen *screen, unsigned left,
                      unsigned top, unsigned end)
{
    unsigned right = MIN(left + TILE, frame->width), bottom = MIN(top + TILE, end);
    bool changed = false;
    for (unsigned y = top; y < bottom; y++) {
        const uint8_t *from = screen->rgb + ((gsize)y * screen->width + left) * 3;
        uint32_t *to = frame->pixels + (gsize)y * frame->width + left;
        for (unsigned x = left; x < right; x++, from += 3, to++) {
            uint32_t value = from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16;
            changed |= value != *to;
            *to = value;
        }
    }
    return changed;
}

void vnc_refresh(struct vnc_server *server)
{
    struct vnc_frame *frame = &server->frame;
    struct screen screen = {0};
    struct vnc_lines lines = take(server);
    if (lines.first >= lines.end)
        return;
    screen_render_lines(&frame->registers, frame->memory, lines.first, lines.end, &screen);
    if (screen.width != frame->width || screen.height != frame->height)
        resize(server, screen.width, screen.height);
    lines.end = MIN(lines.end, frame->height);
    for (unsigned y = lines.first; y < lines.end; y += TILE) {
        for (unsigned x = 0; x < frame->width; x += TILE) {
            if (copy_tile(frame, &screen, x, y, lines.end))
                rfbMarkRectAsModified(server->screen, (int)x, (int)y,
                                      (int)MIN(x + TILE, frame->width),
                                      (int)MIN(y + TILE, lines.end));
        }
    }
    screen_clear(&screen);
    server->active = true;
}

/* ---- viewers ----------------------------------------------------------------------------- */

static void client_gone(rfbClientPtr client)
{
    ((struct vnc_server *)client->screen->screenData)->clients--;
}

static enum rfbNewClientAction client_new(rfbClientPtr client)
{
    struct vnc_server *server = client->screen->screenData;
    /* A page of any web site may open a WebSocket to a port of its reader's computer; whoever means
     * to let browsers in stands before the unix socket. */
    if (server->clients >= CLIENTS_MAX || (client->wsctx && !server->socket_path))
        return RFB_CLIENT_REFUSE;
    server->clients++;
    server->active = true;
    client->clientGoneHook = client_gone;
    return RFB_CLIENT_ACCEPT;
}

static void accept_client(struct vnc_server *server)
{
    int fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    if (server->clients >= CLIENTS_MAX) {
        close(fd);
        return;
    }
    vnc_refresh(server); /* so that it begins with the screen's size */
    rfbNewClient(server->screen, fd);
}

/* The sockets to wait for: ours, and every viewer's. */
static nfds_t fill_polls(struct vnc_server *server, struct pollfd *polls, nfds_t room)
{
    rfbClientIteratorPtr iterator = rfbGetClientIterator(server->screen);
    rfbClientPtr client;
    nfds_t count = 2;
    polls[0] = (struct pollfd){server->stop_fd, POLLIN, 0};
    polls[1] = (struct pollfd){server->listen_fd, POLLIN, 0};
    while ((client = rfbClientIteratorNext(iterator)) && count < room)
        polls[count++] = (struct pollfd){client->sock, POLLIN, 0};
    rfbReleaseClientIterator(iterator);
    return count;
}

static void *serve(void *opaque)
{
    struct vnc_server *server = opaque;
    struct pollfd polls[2 + CLIENTS_MAX];
    unsigned calm = 0;
    for (;;) {
        nfds_t count = fill_polls(server, polls, G_N_ELEMENTS(polls));
        int timeout = server->clients == 0 ? -1 : calm < CALM_LOOKS ? FAST_MS : SLOW_MS;
        if (poll(polls, count, timeout) < 0 && errno != EINTR)
            break;
        if (polls[0].revents)
            break;
        if (polls[1].revents & POLLIN)
            accept_client(server);
        server->active = false;
        rfbProcessEvents(server->screen, 0);
        if (server->clients)
            vnc_refresh(server);
        rfbProcessEvents(server->screen, 0); /* sends what that found */
        calm = server->active ? 0 : calm + 1;
    }
    return NULL;
}

/* ---- life -------------------------------------------------------------------------------- */

static bool make_screen(struct vnc_server *server, GError **error)
{
    int argc = 1;
    char *argv[] = {(char *)"drover-emu", NULL};
    const struct machine_config *config = machine_configuration(server->machine);
    rfbLogEnable(0);
    server->screen = rfbGetScreen(&argc, argv, FIRST_WIDTH, FIRST_HEIGHT, 8, 3, 4);
    if (!server->screen) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "cannot make a screen for viewers");
        return false;
    }
    server->frame.width = FIRST_WIDTH;
    server->frame.height = FIRST_HEIGHT;
    server->frame.memory = g_malloc0(VGA_MEMORY_SIZE);
    server->log = dirty_log_new_of(machine_board(server->machine)->memory,
                                   vga_memory(machine_vga(server->machine)), VGA_MEMORY_SIZE);
    server->frame.pixels = g_new0(uint32_t, FIRST_WIDTH * FIRST_HEIGHT);
    server->screen->frameBuffer = (char *)server->frame.pixels;
    server->screen->desktopName = config->name ? config->name : "drover";
    server->screen->screenData = server;
    server->screen->alwaysShared = TRUE;
    server->screen->port = server->screen->ipv6port = 0; /* we listen ourselves */
    server->screen->httpDir = NULL;
    server->screen->deferUpdateTime = 0;
    server->screen->maxClientWait = CLIENT_WAIT;
    server->screen->cursor = NULL; /* the guest draws its own */
    server->screen->kbdAddEvent = vnc_key;
    server->screen->ptrAddEvent = vnc_pointer;
    server->screen->newClientHook = client_new;
    rfbInitServer(server->screen);
    return true;
}

struct vnc_server *vnc_server_new(struct machine *machine, const char *where, GError **error)
{
    struct vnc_server *server = g_new0(struct vnc_server, 1);
    server->machine = machine;
    server->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    server->listen_fd = vnc_listen(where, &server->socket_path, error);
    if (server->listen_fd < 0 || !make_screen(server, error)) {
        vnc_server_free(server);
        return NULL;
    }
    server->started = pthread_create(&server->thread, NULL, serve, server) == 0;
    if (server->started)
        return server;
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "cannot start a thread for viewers");
    vnc_server_free(server);
    return NULL;
}

void vnc_server_free(struct vnc_server *server)
{
    uint64_t one = 1;
    if (!server)
        return;
    if (server->started && write(server->stop_fd, &one, sizeof(one)) == sizeof(one))
        pthread_join(server->thread, NULL);
    if (server->screen) {
        rfbShutdownServer(server->screen, TRUE);
        rfbScreenCleanup(server->screen);
    }
    if (server->listen_fd >= 0)
        close(server->listen_fd);
    if (server->socket_path)
        unlink(server->socket_path);
    close(server->stop_fd);
    g_free(server->socket_path);
    dirty_log_free(server->log);
    g_free(server->frame.memory);
    g_free(server->frame.pixels);
    g_free(server);
}
