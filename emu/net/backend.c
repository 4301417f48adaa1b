#include "emu/net/backend.h"

#include <arpa/inet.h>
#include <gio/gio.h>
#include <net/if.h>
#include <string.h>
#include <sys/un.h>

static const char *const kind_names[NET_KIND_COUNT] = {"user", "tap", "bridge", "socket"};

const char *net_kind_name(enum net_kind kind)
{
    return kind < NET_KIND_COUNT ? kind_names[kind] : "unknown";
}

G_GNUC_PRINTF(2, 3)
static bool fail(GError **error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_set_error_literal(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, text);
    return false;
}

/* ---- values ------------------------------------------------------------------------------ */

static bool parse_mac(struct net_config *config, const char *value, GError **error)
{
    gchar **bytes = g_strsplit(value, ":", -1);
    bool ok = g_strv_length(bytes) == NET_MAC_SIZE;
    for (unsigned i = 0; ok && i < NET_MAC_SIZE; i++) {
        guint64 byte;
        ok = strlen(bytes[i]) == 2 && g_ascii_string_to_unsigned(bytes[i], 16, 0, 255, &byte, NULL);
        if (ok)
            config->mac[i] = (uint8_t)byte;
    }
    g_strfreev(bytes);
    config->has_mac = true;
    if (!ok)
        return fail(error, "mac \"%s\" is none; write six bytes, as mac=52:54:00:12:34:56", value);
    return !(config->mac[0] & 1) ||
           fail(error, "mac %s is a group address: the first byte must be even", value);
}

static bool set_text(char **field, const char *value)
{
    g_free(*field);
    *field = g_strdup(value);
    return true;
}

static bool parse_interface(char **field, const char *what, const char *value, GError **error)
{
    if (!*value || strlen(value) >= IFNAMSIZ || strpbrk(value, "/ %"))
        return fail(error, "%s \"%s\": an interface's name has 1 to %d characters", what, value,
                    IFNAMSIZ - 1);
    return set_text(field, value);
}

static bool parse_path(char **field, const char *what, const char *value, GError **error)
{
    if (!*value || strlen(value) >= sizeof(((struct sockaddr_un *)0)->sun_path))
        return fail(error, "%s \"%s\": give a socket's path of at most %zu characters", what, value,
                    sizeof(((struct sockaddr_un *)0)->sun_path) - 1);
    return set_text(field, value);
}

static bool parse_model(struct net_config *config, const char *value, GError **error)
{
    return set_text(&config->model, value);
}

static bool parse_forward(struct net_config *config, const char *value, GError **error)
{
    struct net_forward forward;
    if (!net_forward_parse(value, &forward, error))
        return false;
    if (!config->forwards)
        config->forwards = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(config->forwards, g_strdup(value));
    return true;
}

static bool parse_tftp(struct net_config *config, const char *value, GError **error)
{
    return g_file_test(value, G_FILE_TEST_IS_DIR) ? set_text(&config->tftp, value)
                                                  : fail(error, "tftp \"%s\" is no folder", value);
}

static bool parse_boot_file(struct net_config *config, const char *value, GError **error)
{
    return strlen(value) < 128 ? set_text(&config->boot_file, value)
                               : fail(error, "bootfile \"%s\" is too long for DHCP", value);
}

static bool parse_restrict(struct net_config *config, const char *value, GError **error)
{
    config->restricted = strcmp(value, "on") == 0;
    return config->restricted || strcmp(value, "off") == 0 ||
           fail(error, "restrict is on or off, not \"%s\"", value);
}

static bool parse_ifname(struct net_config *config, const char *value, GError **error)
{
    return parse_interface(&config->interface, "ifname", value, error);
}

static bool parse_bridge(struct net_config *config, const char *value, GError **error)
{
    return parse_interface(&config->bridge, "bridge", value, error);
}

static bool parse_listen(struct net_config *config, const char *value, GError **error)
{
    return parse_path(&config->listen, "listen", value, error);
}

static bool parse_connect(struct net_config *config, const char *value, GError **error)
{
    return parse_path(&config->connect, "connect", value, error);
}

#define ALL_KINDS ((1u << NET_KIND_COUNT) - 1)
static const struct {
    const char *key;
    unsigned kinds; /* bits: which it belongs to */
    bool (*parse)(struct net_config *config, const char *value, GError **error);
} keys[] = {
    {"model", ALL_KINDS, parse_model},
    {"mac", ALL_KINDS, parse_mac},
    {"hostfwd", 1u << NET_USER, parse_forward},
    {"tftp", 1u << NET_USER, parse_tftp},
    {"bootfile", 1u << NET_USER, parse_boot_file},
    {"restrict", 1u << NET_USER, parse_restrict},
    {"ifname", 1u << NET_TAP, parse_ifname},
    {"bridge", 1u << NET_BRIDGE, parse_bridge},
    {"listen", 1u << NET_SOCKET, parse_listen},
    {"connect", 1u << NET_SOCKET, parse_connect},
};

static char *known_keys(enum net_kind kind)
{
    GString *known = g_string_new(NULL);
    for (guint i = 0; i < G_N_ELEMENTS(keys); i++) {
        if (keys[i].kinds >> kind & 1)
            g_string_append_printf(known, "%s%s", known->len ? ", " : "", keys[i].key);
    }
    return g_string_free(known, FALSE);
}

static bool parse_part(struct net_config *config, char *part, GError **error)
{
    char *equals = strchr(part, '=');
    g_autofree char *known = known_keys(config->kind);
    if (!equals)
        return fail(error, "\"%s\" has no value; %s takes %s", part, net_kind_name(config->kind),
                    known);
    *equals = '\0';
    for (guint i = 0; i < G_N_ELEMENTS(keys); i++) {
        if (strcmp(part, keys[i].key) == 0 && keys[i].kinds >> config->kind & 1)
            return keys[i].parse(config, equals + 1, error);
    }
    return fail(error, "\"%s\" is not known; %s takes %s", part, net_kind_name(config->kind),
                known);
}

/* ---- the whole --------------------------------------------------------------------------- */

static bool check(const struct net_config *config, GError **error)
{
    if (config->kind == NET_BRIDGE && !config->bridge)
        return fail(error, "the bridge is missing; write bridge,bridge=br0");
    if (config->kind == NET_SOCKET && !config->listen == !config->connect)
        return fail(error, "one end is listen=PATH, the other connect=PATH; give one of them");
    return true;
}

static bool parse_kind(const char *text, enum net_kind *ret_kind, GError **error)
{
    for (unsigned i = 0; i < NET_KIND_COUNT; i++) {
        if (strcmp(text, kind_names[i]) == 0) {
            *ret_kind = i;
            return true;
        }
    }
    return fail(error, "\"%s\" is not known; begin with user, tap, bridge or socket", text);
}

bool net_config_parse(const char *text, struct net_config *ret_config, GError **error)
{
    struct net_config config = {0};
    /* Two commas are one that belongs to the value. */
    g_autoptr(GString) marked = g_string_new(text);
    g_string_replace(marked, ",,", "\1", 0);
    gchar **parts = g_strsplit(marked->str, ",", -1);
    bool ok = parse_kind(parts[0] ? parts[0] : "", &config.kind, error);
    for (gchar **part = parts + 1; ok && *part; part++)
        ok = parse_part(&config, g_strdelimit(*part, "\1", ','), error);
    g_strfreev(parts);
    if (ok && check(&config, error)) {
        *ret_config = config;
        return true;
    }
    g_prefix_error(error, "--net %s: ", text);
    net_config_clear(&config);
    return false;
}

void net_config_clear(struct net_config *config)
{
    char **texts[] = {&config->model,  &config->boot_file, &config->tftp,   &config->interface,
                      &config->bridge, &config->listen,    &config->connect};
    for (guint i = 0; i < G_N_ELEMENTS(texts); i++)
        g_clear_pointer(texts[i], g_free);
    g_clear_pointer(&config->forwards, g_ptr_array_unref);
}

/* "[ADDRESS]:PORT"; an empty address is 0. */
static bool parse_end(const char *text, uint32_t *ret_address, uint16_t *ret_port)
{
    const char *colon = strrchr(text, ':');
    guint64 port;
    struct in_addr address = {0};
    if (!colon || !g_ascii_string_to_unsigned(colon + 1, 10, 1, 65535, &port, NULL))
        return false;
    g_autofree char *host = g_strndup(text, (gsize)(colon - text));
    if (*host && inet_pton(AF_INET, host, &address) != 1)
        return false;
    *ret_address = ntohl(address.s_addr);
    *ret_port = (uint16_t)port;
    return true;
}

bool net_forward_parse(const char *text, struct net_forward *ret_forward, GError **error)
{
    struct net_forward forward = {.is_udp = g_str_has_prefix(text, "udp:")};
    if (forward.is_udp || g_str_has_prefix(text, "tcp:")) {
        const char *dash = strchr(text, '-');
        g_autofree char *host = dash ? g_strndup(text + 4, (gsize)(dash - text - 4)) : NULL;
        if (host && parse_end(host, &forward.host_address, &forward.host_port) &&
            parse_end(dash + 1, &forward.guest_address, &forward.guest_port)) {
            *ret_forward = forward;
            return true;
        }
    }
    return fail(error,
                "hostfwd \"%s\": write tcp or udp:[ADDRESS]:PORT-[ADDRESS]:PORT, as "
                "hostfwd=tcp:127.0.0.1:8080-:80",
                text);
}

bool net_backend_open(struct net_link *link, struct board *board, struct loop *loop,
                      const struct net_config *config, GError **error)
{
    static net_open_function *const opens[NET_KIND_COUNT] = {net_user_open, net_tap_open,
                                                             net_bridge_open, net_socket_open};
    if (opens[config->kind](link, board, loop, config, error))
        return true;
    g_prefix_error(error, "--net %s: ", net_kind_name(config->kind));
    return false;
}
