/*
 * Keys that come from outside: names and characters of a US keyboard to scancodes of set 2, given
 * to the guest no faster than it takes them.
 *
 * A scancode follows when the guest has read the one before from the controller. Where a BIOS puts
 * them into its buffer (in the BIOS data area), one follows when there is room, too: programs that
 * ask the BIOS for keys may be slow, and it drops what does not fit. That a BIOS does so shows by
 * the buffer's tail, which moves with the keys; a system that takes the controller over ends it.
 */
#include "emu/core/clock.h"
#include "emu/core/memory.h"
#include "emu/device/i8042.h"
#include "emu/machine/machine_internal.h"
#include <gio/gio.h>
#include <string.h>

#define KEY_NS      (NS_PER_SECOND / 200)
#define WAIT_NS_MAX (NS_PER_SECOND / 8) /* between two looks whether the guest goes on */
#define PENDING_MAX 65536u              /* bytes */
#define CHORD_MAX   5
#define CAPS_LOCK   4u   /* of the keyboard's lights */
#define VIEWER_MAX  4096 /* bytes that may be pending when a viewer presses another key */

/* The BIOS data area (IBM PS/2 and PC BIOS interface technical reference); pointers are offsets. */
#define BDA       UINT64_C(0x400)
#define BDA_HEAD  (BDA + 0x1a)
#define BDA_TAIL  (BDA + 0x1c)
#define BDA_START (BDA + 0x80)
#define BDA_END   (BDA + 0x82)
#define BIOS_ROOM 2 /* entries: one for this key, one for a key that the BIOS has in its hands */

enum modifier {
    MODIFIER_SHIFT,
    MODIFIER_SHIFT_RIGHT,
    MODIFIER_CTRL,
    MODIFIER_CTRL_RIGHT,
    MODIFIER_ALT,
    MODIFIER_COUNT,
};
static const uint16_t modifier_codes[MODIFIER_COUNT] = {0x12, 0x59, 0x14, 0xe014, 0x11};
#define SHIFTS (1u << MODIFIER_SHIFT | 1u << MODIFIER_SHIFT_RIGHT)

struct keyboard {
    struct machine *machine;
    struct timer timer;
    GByteArray *pending; /* keys one after the other, each a count and its bytes */
    int64_t wait;        /* ns until the next look */
    unsigned held;       /* bits of enum modifier, when all that is pending is sent */
    bool bios;           /* a BIOS takes the keys */
    uint16_t tail;       /* of its buffer, when last seen */
    unsigned set_ups;    /* of the controller, likewise */
};

/* 0xe0 in the high byte: an extended key. */
static const struct {
    const char *name;
    uint16_t code;
} keys[] = {
    {"a", 0x1c},           {"b", 0x32},
    {"c", 0x21},           {"d", 0x23},
    {"e", 0x24},           {"f", 0x2b},
    {"g", 0x34},           {"h", 0x33},
    {"i", 0x43},           {"j", 0x3b},
    {"k", 0x42},           {"l", 0x4b},
    {"m", 0x3a},           {"n", 0x31},
    {"o", 0x44},           {"p", 0x4d},
    {"q", 0x15},           {"r", 0x2d},
    {"s", 0x1b},           {"t", 0x2c},
    {"u", 0x3c},           {"v", 0x2a},
    {"w", 0x1d},           {"x", 0x22},
    {"y", 0x35},           {"z", 0x1a},
    {"1", 0x16},           {"2", 0x1e},
    {"3", 0x26},           {"4", 0x25},
    {"5", 0x2e},           {"6", 0x36},
    {"7", 0x3d},           {"8", 0x3e},
    {"9", 0x46},           {"0", 0x45},
    {"minus", 0x4e},       {"equal", 0x55},
    {"backspace", 0x66},   {"tab", 0x0d},
    {"enter", 0x5a},       {"escape", 0x76},
    {"space", 0x29},       {"grave", 0x0e},
    {"bracketleft", 0x54}, {"bracketright", 0x5b},
    {"backslash", 0x5d},   {"semicolon", 0x4c},
    {"apostrophe", 0x52},  {"comma", 0x41},
    {"period", 0x49},      {"slash", 0x4a},
    {"shift", 0x12},       {"ctrl", 0x14},
    {"alt", 0x11},         {"shiftright", 0x59},
    {"ctrlright", 0xe014}, {"altgr", 0xe011},
    {"super", 0xe01f},     {"menu", 0xe02f},
    {"capslock", 0x58},    {"numlock", 0x77},
    {"scrolllock", 0x7e},  {"f1", 0x05},
    {"f2", 0x06},          {"f3", 0x04},
    {"f4", 0x0c},          {"f5", 0x03},
    {"f6", 0x0b},          {"f7", 0x83},
    {"f8", 0x0a},          {"f9", 0x01},
    {"f10", 0x09},         {"f11", 0x78},
    {"f12", 0x07},         {"up", 0xe075},
    {"down", 0xe072},      {"left", 0xe06b},
    {"right", 0xe074},     {"home", 0xe06c},
    {"end", 0xe069},       {"pageup", 0xe07d},
    {"pagedown", 0xe07a},  {"insert", 0xe070},
    {"delete", 0xe071},    {"kp0", 0x70},
    {"kp1", 0x69},         {"kp2", 0x72},
    {"kp3", 0x7a},         {"kp4", 0x6b},
    {"kp5", 0x73},         {"kp6", 0x74},
    {"kp7", 0x6c},         {"kp8", 0x75},
    {"kp9", 0x7d},         {"kpperiod", 0x71},
    {"kpplus", 0x79},      {"kpminus", 0x7b},
    {"kpmultiply", 0x7c},  {"kpdivide", 0xe04a},
    {"kpenter", 0xe05a},
};

/* Characters that are no letter or digit: the key, and whether with shift. */
static const struct {
    char character;
    const char *key;
    bool shift;
} characters[] = {
    {' ', "space", false},
    {'\n', "enter", false},
    {'\t', "tab", false},
    {'-', "minus", false},
    {'_', "minus", true},
    {'=', "equal", false},
    {'+', "equal", true},
    {'[', "bracketleft", false},
    {'{', "bracketleft", true},
    {']', "bracketright", false},
    {'}', "bracketright", true},
    {'\\', "backslash", false},
    {'|', "backslash", true},
    {';', "semicolon", false},
    {':', "semicolon", true},
    {'\'', "apostrophe", false},
    {'"', "apostrophe", true},
    {'`', "grave", false},
    {'~', "grave", true},
    {',', "comma", false},
    {'<', "comma", true},
    {'.', "period", false},
    {'>', "period", true},
    {'/', "slash", false},
    {'?', "slash", true},
    {'!', "1", true},
    {'@', "2", true},
    {'#', "3", true},
    {'$', "4", true},
    {'%', "5", true},
    {'^', "6", true},
    {'&', "7", true},
    {'*', "8", true},
    {'(', "9", true},
    {')', "0", true},
};

static uint16_t find_key(const char *name)
{
    for (guint i = 0; i < G_N_ELEMENTS(keys); i++) {
        if (g_ascii_strcasecmp(keys[i].name, name) == 0)
            return keys[i].code;
    }
    return 0;
}

/* ---- towards the guest ------------------------------------------------------------------- */

static unsigned load16(const struct keyboard *keyboard, uint64_t address)
{
    return (unsigned)memory_load(keyboard->machine->board.memory, address, 2);
}

/* Whether a BIOS has room for a key, or there is none. */
static bool bios_takes(struct keyboard *keyboard)
{
    unsigned head = load16(keyboard, BDA_HEAD), tail = load16(keyboard, BDA_TAIL);
    unsigned start = load16(keyboard, BDA_START), end = load16(keyboard, BDA_END);
    unsigned set_ups = i8042_set_ups(keyboard->machine->devices[PC_I8042]);
    bool valid = start < end && end - start <= 256 && head >= start && head < end &&
                 tail >= start && tail < end;
    if (!valid || set_ups != keyboard->set_ups)
        keyboard->bios = false;
    else if (tail != keyboard->tail)
        keyboard->bios = true;
    keyboard->tail = (uint16_t)tail;
    keyboard->set_ups = set_ups;
    if (!keyboard->bios)
        return true;
    unsigned used = (tail >= head ? tail - head : end - start + tail - head) / 2;
    return used + 1 + BIOS_ROOM <= (end - start) / 2; /* one entry is never used */
}

static void send_next(void *opaque)
{
    struct keyboard *keyboard = opaque;
    struct device *controller = keyboard->machine->devices[PC_I8042];
    GByteArray *pending = keyboard->pending;
    if (pending->len == 0)
        return;
    if (i8042_key_taken(controller) && bios_takes(keyboard)) {
        guint count = pending->data[0];
        i8042_key(controller, pending->data + 1, count);
        g_byte_array_remove_range(pending, 0, count + 1);
        keyboard->wait = KEY_NS;
    } else {
        keyboard->wait = MIN(keyboard->wait * 2, WAIT_NS_MAX);
    }
    if (pending->len)
        timer_arm(&keyboard->timer,
                  guest_clock_now(keyboard->machine->board.clock) + keyboard->wait);
}

/* ---- keys -------------------------------------------------------------------------------- */

static void add_code(GByteArray *out, uint16_t code, bool release)
{
    uint8_t bytes[4] = {0}, count = 0;
    if (code >> 8)
        bytes[++count] = (uint8_t)(code >> 8);
    if (release)
        bytes[++count] = 0xf0;
    bytes[++count] = (uint8_t)code;
    bytes[0] = count;
    g_byte_array_append(out, bytes, count + 1u);
}

/* Pressed in order, released the other way round. */
static void add_chord(GByteArray *out, const uint16_t *codes, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        add_code(out, codes[i], false);
    for (unsigned i = count; i > 0; i--)
        add_code(out, codes[i - 1], true);
}

static bool queue_keys(struct machine *machine, const GByteArray *new, GError **error)
{
    struct keyboard *keyboard = machine->keyboard;
    board_lock(&machine->board);
    bool fits = keyboard->pending->len + new->len <= PENDING_MAX;
    if (!fits)
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_BUSY,
                    "the guest still has %u bytes of keys to read", keyboard->pending->len);
    else
        g_byte_array_append(keyboard->pending, new->data, new->len);
    if (fits && !timer_armed(&keyboard->timer)) {
        keyboard->wait = KEY_NS;
        send_next(keyboard);
    }
    board_unlock(&machine->board);
    return fits;
}

bool machine_press(struct machine *machine, const char *chord, GError **error)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    gchar **names = g_strsplit(chord, "-", CHORD_MAX + 1);
    uint16_t codes[CHORD_MAX];
    unsigned count = g_strv_length(names);
    bool ok = count > 0 && count <= CHORD_MAX;
    for (unsigned i = 0; ok && i < count; i++)
        ok = (codes[i] = find_key(names[i])) != 0;
    g_strfreev(names);
    if (!ok) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "no key \"%s\"; name keys as in ctrl-alt-delete, f1, enter, pageup, a, minus",
                    chord);
        return false;
    }
    add_chord(out, codes, count);
    return queue_keys(machine, out, error);
}

/* The key for a character of a US keyboard; 0: there is none. */
static uint16_t key_of(char character, bool *ret_shift)
{
    char name[2] = {character, '\0'};
    *ret_shift = g_ascii_isupper(character);
    if (g_ascii_isalnum(character))
        return find_key(name);
    for (guint i = 0; i < G_N_ELEMENTS(characters); i++) {
        if (characters[i].character == character) {
            *ret_shift = characters[i].shift;
            return find_key(characters[i].key);
        }
    }
    return 0;
}

/* The same as the guest is now: with caps lock on, letters are the other way round. */
static uint16_t key_now(char character, unsigned leds, bool *ret_shift)
{
    uint16_t code = key_of(character, ret_shift);
    if (g_ascii_isalpha(character) && leds & CAPS_LOCK)
        *ret_shift = !*ret_shift;
    return code;
}

/* Shift keys as they are held go up, or the left one goes down; and back. */
static void turn_shift(GByteArray *out, unsigned held, bool back)
{
    for (unsigned i = 0; i < MODIFIER_COUNT; i++) {
        if (held & SHIFTS & 1u << i)
            add_code(out, modifier_codes[i], !back);
    }
    if (!(held & SHIFTS))
        add_code(out, modifier_codes[MODIFIER_SHIFT], back);
}

static void change_key(struct machine *machine, uint16_t code, bool down, bool turned)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    struct keyboard *keyboard = machine->keyboard;
    /* Who holds a key down before a guest that reads none would fill the queue. */
    if (!code || (down && keyboard->pending->len > VIEWER_MAX))
        return;
    for (unsigned i = 0; i < MODIFIER_COUNT; i++) {
        if (modifier_codes[i] == code)
            keyboard->held = down ? keyboard->held | 1u << i : keyboard->held & ~(1u << i);
    }
    if (turned)
        turn_shift(out, keyboard->held, false);
    add_code(out, code, !down);
    if (turned)
        turn_shift(out, keyboard->held, true);
    queue_keys(machine, out, NULL);
}

void machine_key(struct machine *machine, const char *name, bool down)
{
    board_lock(&machine->board);
    change_key(machine, find_key(name), down, false);
    board_unlock(&machine->board);
}

void machine_character_key(struct machine *machine, char character, bool down)
{
    bool shift;
    board_lock(&machine->board);
    uint16_t code = key_now(character, i8042_leds(machine->devices[PC_I8042]), &shift);
    unsigned held = machine->keyboard->held;
    bool plain = !(held & ~SHIFTS); /* with Ctrl or Alt it is the key that counts */
    change_key(machine, code, down, down && plain && shift != ((held & SHIFTS) != 0));
    board_unlock(&machine->board);
}

bool machine_type(struct machine *machine, const char *text, GError **error)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    unsigned leds = i8042_leds(machine->devices[PC_I8042]);
    for (const char *c = text; *c; c++) {
        bool shift;
        uint16_t codes[2] = {find_key("shift"), key_now(*c, leds, &shift)};
        if (!codes[1]) {
            g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                        "a US keyboard has no key for character %td of the text", c - text + 1);
            return false;
        }
        add_chord(out, shift ? codes : codes + 1, shift ? 2 : 1);
    }
    return queue_keys(machine, out, error);
}

void machine_move_mouse(struct machine *machine, int dx, int dy, unsigned buttons)
{
    board_lock(&machine->board);
    i8042_mouse(machine->devices[PC_I8042], dx, dy, buttons);
    board_unlock(&machine->board);
}

struct keyboard *keyboard_new(struct machine *machine)
{
    struct keyboard *keyboard = g_new0(struct keyboard, 1);
    keyboard->machine = machine;
    keyboard->pending = g_byte_array_new();
    timer_init(&keyboard->timer, machine->board.clock, send_next, keyboard);
    return keyboard;
}

void keyboard_free(struct keyboard *keyboard)
{
    if (!keyboard)
        return;
    timer_cancel(&keyboard->timer);
    g_byte_array_unref(keyboard->pending);
    g_free(keyboard);
}
