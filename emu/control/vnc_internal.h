/*
 * Inside the VNC server: what its files share.
 */
#pragma once

#include "emu/control/vnc.h"
#include "emu/core/dirty.h"
#include "emu/core/memory.h"
#include "emu/device/vga.h"
#include "emu/display/screen.h"
#include <rfb/rfb.h>

#define VNC_PAGES (VGA_MEMORY_SIZE / MEMORY_PAGE_SIZE)

/* Lines of the screen: [first, end). */
struct vnc_lines {
    unsigned first, end;
};

/* What was shown last, and of what it was made. */
struct vnc_frame {
    struct vga_registers registers;
    uint8_t *memory;                  /* VGA_MEMORY_SIZE bytes, of which are valid: */
    size_t start, length;             /* what screen_source() named; 0 bytes: none yet */
    uint64_t written[VNC_PAGES / 64]; /* pages, since the last look */
    uint32_t *pixels;
    unsigned width, height;
};

struct vnc_server {
    struct machine *machine;
    rfbScreenInfoPtr screen;
    struct vnc_frame frame;
    struct dirty_log *log; /* of the video memory */
    pthread_t thread;
    bool started;
    int listen_fd, stop_fd;
    char *socket_path;
    unsigned clients;
    bool active; /* a viewer did something, or the screen changed, since the last look */
    /* The pointer, as the viewer last moved it. */
    int pointer_x, pointer_y, pointer_mask;
};

/* vnc.c: looks whether the screen changed, and tells libvncserver where. */
void vnc_refresh(struct vnc_server *server);

/* vnc_input.c: libvncserver's callbacks. */
void vnc_key(rfbBool down, rfbKeySym key, rfbClientPtr client);
void vnc_pointer(int buttons, int x, int y, rfbClientPtr client);

/* vnc_listen.c */
int vnc_listen(const char *where, char **ret_socket_path, GError **error);
