/*
 * What a viewer's keyboard and mouse do: keysyms (X11 protocol, appendix A) to keys of a US
 * keyboard, the pointer to the guest's absolute or relative mouse.
 */
#include "emu/control/vnc_internal.h"
#include <rfb/keysym.h>

#define WHEEL_UP   8
#define WHEEL_DOWN 16

static const struct {
    rfbKeySym symbol;
    const char *key;
} symbols[] = {
    {XK_BackSpace, "backspace"},
    {XK_Tab, "tab"},
    {XK_ISO_Left_Tab, "tab"},
    {XK_Return, "enter"},
    {XK_Escape, "escape"},
    {XK_Delete, "delete"},
    {XK_Home, "home"},
    {XK_Left, "left"},
    {XK_Up, "up"},
    {XK_Right, "right"},
    {XK_Down, "down"},
    {XK_Page_Up, "pageup"},
    {XK_Page_Down, "pagedown"},
    {XK_End, "end"},
    {XK_Insert, "insert"},
    {XK_Shift_L, "shift"},
    {XK_Shift_R, "shiftright"},
    {XK_Control_L, "ctrl"},
    {XK_Control_R, "ctrlright"},
    {XK_Alt_L, "alt"},
    {XK_Meta_L, "alt"},
    {XK_Alt_R, "altgr"},
    {XK_Meta_R, "altgr"},
    {XK_ISO_Level3_Shift, "altgr"},
    {XK_Mode_switch, "altgr"},
    {XK_Super_L, "super"},
    {XK_Super_R, "super"},
    {XK_Menu, "menu"},
    {XK_Caps_Lock, "capslock"},
    {XK_Num_Lock, "numlock"},
    {XK_Scroll_Lock, "scrolllock"},
    {XK_KP_Enter, "kpenter"},
    {XK_KP_Add, "kpplus"},
    {XK_KP_Subtract, "kpminus"},
    {XK_KP_Multiply, "kpmultiply"},
    {XK_KP_Divide, "kpdivide"},
    {XK_KP_Decimal, "kpperiod"},
    {XK_KP_Delete, "kpperiod"},
    {XK_KP_Insert, "kp0"},
    {XK_KP_End, "kp1"},
    {XK_KP_Down, "kp2"},
    {XK_KP_Page_Down, "kp3"},
    {XK_KP_Left, "kp4"},
    {XK_KP_Begin, "kp5"},
    {XK_KP_Right, "kp6"},
    {XK_KP_Home, "kp7"},
    {XK_KP_Up, "kp8"},
    {XK_KP_Page_Up, "kp9"},
};

/* A viewer presses and releases Shift itself, or has no such key, or another keyboard: a character
 * comes out as that character. */
void vnc_key(rfbBool down, rfbKeySym key, rfbClientPtr client)
{
    struct vnc_server *server = client->screen->screenData;
    char name[8] = "";
    server->active = true;
    if (key >= XK_F1 && key <= XK_F12)
        g_snprintf(name, sizeof(name), "f%u", (unsigned)(key - XK_F1 + 1));
    else if (key >= XK_KP_0 && key <= XK_KP_9)
        g_snprintf(name, sizeof(name), "kp%u", (unsigned)(key - XK_KP_0));
    if (*name) {
        machine_key(server->machine, name, down);
        return;
    }
    for (guint i = 0; i < G_N_ELEMENTS(symbols); i++) {
        if (symbols[i].symbol == key) {
            machine_key(server->machine, symbols[i].key, down);
            return;
        }
    }
    if (key >= ' ' && key <= '~')
        machine_character_key(server->machine, (char)key, down);
}

void vnc_pointer(int mask, int x, int y, rfbClientPtr client)
{
    struct vnc_server *server = client->screen->screenData;
    unsigned width = MAX(server->frame.width, 2), height = MAX(server->frame.height, 2);
    unsigned buttons = (mask & 1) | (mask & 4) >> 1 | (mask & 2) << 1;
    int pressed = mask & ~server->pointer_mask;
    int wheel = (pressed & WHEEL_DOWN ? 1 : 0) - (pressed & WHEEL_UP ? 1 : 0);
    server->active = true;
    x = CLAMP(x, 0, (int)width - 1);
    y = CLAMP(y, 0, (int)height - 1);
    if (!machine_point(server->machine, (unsigned)x * 0xffffu / (width - 1),
                       (unsigned)y * 0xffffu / (height - 1), buttons, wheel))
        machine_move_mouse(server->machine, x - server->pointer_x, server->pointer_y - y, buttons);
    server->pointer_x = x;
    server->pointer_y = y;
    server->pointer_mask = mask;
}
