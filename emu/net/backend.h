/*
 * Back ends: what a card's cable ends in, as the command line says it.
 *
 *   user    a router in this process (libslirp): DHCP, DNS, TFTP, ports of the host forwarded
 *   tap     a tap interface of the host
 *   bridge  a new tap, made a port of a bridge of the host
 *   socket  another drover-emu, through a Unix socket
 */
#pragma once

#include "emu/net/link.h"

enum net_kind { NET_USER, NET_TAP, NET_BRIDGE, NET_SOCKET, NET_KIND_COUNT };

struct net_config {
    enum net_kind kind;
    char *model;            /* of the card; NULL: virtio */
    char *boot_file;        /* user: what DHCP names to load */
    char *tftp;             /* user: the folder that TFTP shows */
    char *interface;        /* tap: the interface's name; NULL: the kernel picks one */
    char *bridge;           /* bridge: its name */
    char *listen, *connect; /* socket: one of them, a path */
    GPtrArray *forwards;    /* user: text as "tcp:127.0.0.1:8080-:80"; NULL: none */
    bool restricted;        /* user: nothing but forwards reaches the guest, or leaves it */
    bool has_mac;
    uint8_t mac[NET_MAC_SIZE];
};

/* "user,model=virtio,mac=52:54:00:00:00:01,hostfwd=tcp::8080-:80"; a comma in a value is written
 * twice. Errors name the part that is wrong and what would be right. */
bool net_config_parse(const char *text, struct net_config *ret_config, GError **error);
void net_config_clear(struct net_config *config);
const char *net_kind_name(enum net_kind kind);

/* Makes the link's back end. Device thread, or before it runs. */
bool net_backend_open(struct net_link *link, struct board *board, struct loop *loop,
                      const struct net_config *config, GError **error);

/* ---- for the files of this folder ---- */

/* One forward: a port of the host, and where in the guest's network its connections go. */
struct net_forward {
    bool is_udp;
    uint32_t host_address, guest_address; /* host byte order; 0: any, the first guest */
    uint16_t host_port, guest_port;
};
bool net_forward_parse(const char *text, struct net_forward *ret_forward, GError **error);

typedef bool net_open_function(struct net_link *link, struct board *board, struct loop *loop,
                               const struct net_config *config, GError **error);
net_open_function net_user_open, net_tap_open, net_bridge_open, net_socket_open;
