#include "controller/controller.h"
#include "controller/api/api.h"
#include "controller/api/join.h"
#include "controller/reconcile/agents.h"
#include "controller/reconcile/reconcile.h"

#include <errno.h>
#include <event2/event.h>
#include <gio/gio.h>
#include <signal.h>
#include <string.h>

#define FIRST_TOKEN_HOURS      24
#define RECONCILE_PAUSE_MAX_US 500000

struct controller {
    struct event_base *base;
    struct store *store;
    struct registry *registry;
    struct cluster *cluster;
    struct credentials *credentials;
    struct message_server *messages;
    struct api *api;
    struct event *tick, *messages_readable, *reconcile_soon, *terminate, *interrupt;
    int64_t reconcile_after; /* g_get_monotonic_time() */
    char *address;
};

static void fail(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
static void fail(GError **error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *message = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_FAILED, message);
}

/* ---- the loop's events ----------------------------------------------------------------------- */

/* Called from inside of handlers: reconciling is left to the loop, and done once for many calls. */
static void on_changed(void *opaque)
{
    struct controller *self = opaque;
    int64_t wait = self->reconcile_after - g_get_monotonic_time();
    wait = MAX(wait, 0);
    const struct timeval delay = {.tv_sec = wait / G_USEC_PER_SEC,
                                  .tv_usec = wait % G_USEC_PER_SEC};
    if (self->reconcile_soon)
        event_add(self->reconcile_soon, &delay);
}

/* However fast changes come, requests get two thirds of the time. */
static void reconcile(struct controller *self)
{
    int64_t begin = g_get_monotonic_time();
    reconcile_run(self->cluster);
    agents_answer(self->cluster);
    api_store_changed(self->api);
    int64_t end = g_get_monotonic_time();
    self->reconcile_after = end + MIN(2 * (end - begin), RECONCILE_PAUSE_MAX_US);
    if (self->cluster->changed)
        on_changed(self);
}

static void on_reconcile(evutil_socket_t fd, short what, void *opaque)
{
    reconcile(opaque);
}

static void on_tick(evutil_socket_t fd, short what, void *opaque)
{
    struct controller *self = opaque;
    reconcile(self);
    api_tick(self->api);
}

static void on_messages(evutil_socket_t fd, short what, void *opaque)
{
    struct controller *self = opaque;
    message_server_dispatch(self->messages);
}

static void on_signal(evutil_socket_t fd, short what, void *opaque)
{
    g_message("%s: ending", strsignal((int)fd));
    controller_stop(opaque);
}

static void forget_host(const char *host, void *opaque)
{
    struct controller *self = opaque;
    message_server_forget(self->messages, host);
}

static bool find_secret(const char *host, uint8_t ret_secret[MESSAGE_SECRET_LENGTH], void *opaque)
{
    struct controller *self = opaque;
    return join_find_secret(self->store, host, ret_secret);
}

static void handle_message(struct message_request *request, void *opaque)
{
    struct controller *self = opaque;
    agents_handle(request, self->cluster);
}

/* ---- opening --------------------------------------------------------------------------------- */

/* "ADDR:PORT" or "[v6]:PORT" in parts. */
static bool split_address(const char *text, const char *option, char **ret_address,
                          uint16_t *ret_port, GError **error)
{
    const char *colon = strrchr(text, ':');
    guint64 port = 0;
    if (!colon || colon == text ||
        !g_ascii_string_to_unsigned(colon + 1, 10, 0, 65535, &port, NULL)) {
        fail(error, "%s %s: must be ADDRESS:PORT, like 0.0.0.0:7443", option, text);
        return false;
    }
    g_autofree char *address = g_strndup(text, (gsize)(colon - text));
    size_t length = strlen(address);
    *ret_address = address[0] == '[' && address[length - 1] == ']'
                       ? g_strndup(address + 1, length - 2)
                       : g_steal_pointer(&address);
    *ret_port = (uint16_t)port;
    return true;
}

static bool is_wildcard(const char *address)
{
    return strcmp(address, "0.0.0.0") == 0 || strcmp(address, "::") == 0 ||
           strcmp(address, "*") == 0;
}

static bool open_store(struct controller *self, const char *data_dir, GError **error)
{
    if (g_mkdir_with_parents(data_dir, 0700) != 0) {
        fail(error, "making the data directory %s: %s; give another with --data", data_dir,
             g_strerror(errno));
        return false;
    }
    g_autofree char *path = g_build_filename(data_dir, "store.db", NULL);
    return (self->store = store_open_sqlite(path, 0, error)) &&
           (self->registry = registry_new(self->store, error)) &&
           (self->cluster = cluster_new(self->registry, error));
}

static bool open_messages(struct controller *self, const char *url, GError **error)
{
    struct message_server_config config = {
        .url = url,
        .find_secret = find_secret,
        .handle = handle_message,
        .user_data = self,
    };
    if (g_str_has_prefix(url, "tls+"))
        config.tls = credentials_message_tls(self->credentials);
    else if (g_str_has_prefix(url, "tcp://"))
        g_warning("agents are listened for at %s without TLS: transfer tickets can be read on the "
                  "network",
                  url);
    return (self->messages = message_server_new(&config, error)) != NULL;
}

static bool open_api(struct controller *self, const char *listen, const char *agent_url,
                     GError **error)
{
    g_autofree char *address = NULL;
    g_autofree char *scheme = g_strndup(agent_url, strcspn(agent_url, ":"));
    struct api_config config = {
        .base = self->base,
        .cluster = self->cluster,
        .credentials = self->credentials,
        .messages = self->messages,
        .advertise = self->address,
        .agent_scheme = strcmp(scheme, "tcp") == 0 ? "tcp" : "tls+tcp",
        .agent_port = message_server_port(self->messages),
    };
    if (!split_address(listen, "--listen", &address, &config.port, error))
        return false;
    config.address = address;
    self->api = api_new(&config, error);
    return self->api && credentials_write_config(self->credentials, api_port(self->api), error);
}

static void add_events(struct controller *self)
{
    static const struct timeval second = {.tv_sec = 1};
    self->reconcile_soon = event_new(self->base, -1, 0, on_reconcile, self);
    self->tick = event_new(self->base, -1, EV_PERSIST, on_tick, self);
    self->messages_readable = event_new(self->base, message_server_fd(self->messages),
                                        EV_READ | EV_PERSIST, on_messages, self);
    self->terminate = evsignal_new(self->base, SIGTERM, on_signal, self);
    self->interrupt = evsignal_new(self->base, SIGINT, on_signal, self);
    event_add(self->tick, &second);
    event_add(self->messages_readable, NULL);
    event_add(self->terminate, NULL);
    event_add(self->interrupt, NULL);
    self->cluster->wake = on_changed;
    self->cluster->wake_data = self;
    self->cluster->forget_host = forget_host;
    self->cluster->forget_data = self;
}

struct controller *controller_new(const struct controller_config *config, GError **error)
{
    struct controller *self = g_new0(struct controller, 1);
    uint16_t port;
    g_autofree char *address = NULL;
    signal(SIGPIPE, SIG_IGN); /* a client that hangs up is no reason to end */
    self->base = event_base_new();
    if (split_address(config->listen, "--listen", &address, &port, error)) {
        self->address = config->advertise      ? g_strdup(config->advertise)
                        : is_wildcard(address) ? g_strdup(g_get_host_name())
                                               : g_strdup(address);
        if (open_store(self, config->data_dir, error) &&
            (self->credentials =
                 credentials_open(config->data_dir, self->store, self->address, error)) &&
            open_messages(self, config->agent_listen, error) &&
            open_api(self, config->listen, config->agent_listen, error)) {
            add_events(self);
            return self;
        }
    }
    controller_free(self);
    return NULL;
}

void controller_run(struct controller *self)
{
    cluster_touch(self->cluster);
    event_base_dispatch(self->base);
}

void controller_stop(struct controller *self)
{
    event_base_loopbreak(self->base);
}

void controller_free(struct controller *self)
{
    if (!self)
        return;
    struct event *const events[] = {self->tick, self->messages_readable, self->reconcile_soon,
                                    self->terminate, self->interrupt};
    for (size_t i = 0; i < G_N_ELEMENTS(events); i++)
        if (events[i])
            event_free(events[i]);
    self->reconcile_soon = NULL;
    if (self->cluster)
        self->cluster->wake = NULL;
    api_free(self->api);
    if (self->cluster)
        agents_give_up(self->cluster);
    message_server_free(self->messages);
    credentials_free(self->credentials);
    cluster_free(self->cluster);
    registry_free(self->registry);
    store_close(self->store);
    event_base_free(self->base);
    g_free(self->address);
    g_free(self);
}

unsigned controller_port(const struct controller *self)
{
    return api_port(self->api);
}

unsigned controller_agent_port(const struct controller *self)
{
    return message_server_port(self->messages);
}

char *controller_greeting(struct controller *self)
{
    GString *text = g_string_new(NULL);
    g_string_append_printf(text,
                           "drover-controller %s: REST API at https://%s:%u, agents at port %u\n"
                           "configuration for administrators: %s\n",
                           DROVER_VERSION, self->address, controller_port(self),
                           controller_agent_port(self), credentials_config_path(self->credentials));
    if (registry_count(self->registry, &kind_host) == 0) {
        json_auto_t *token =
            join_token_make(self->store, self->credentials, FIRST_TOKEN_HOURS, NULL);
        if (token)
            g_string_append_printf(text, "join token, good for %d hours: %s\n", FIRST_TOKEN_HOURS,
                                   json_string_value(json_object_get(token, "token")));
    }
    return g_string_free(text, FALSE);
}
