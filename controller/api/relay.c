/*
 * Consoles and logs: a client's connection and one that the machine's agent opens to us, with the
 * bytes handed from one to the other.
 *
 *     client ── console: upgraded, both ways ──┐
 *               log: chunked answer ───────────┴── relay ── agent: upgraded (GET
 * /api/v1/streams/ID)
 *
 * A relay waits first: the agent is told by its orders (reconcile/stream.h) to call back. Reading
 * from one side pauses while the other has more than BEHIND_MAX bytes unread.
 */
#include "controller/api/call.h"
#include "controller/reconcile/machine.h"
#include "controller/reconcile/stream.h"
#include "proto/pki.h"

#include <event2/bufferevent_ssl.h>
#include <string.h>

#define BEHIND_MAX   (256 * 1024)
#define BEHIND_LOW   (64 * 1024)
#define TAIL_DEFAULT 65536
#define TAIL_MAX     (16 * 1024 * 1024)

struct relay {
    struct api *api;
    struct stream *stream; /* NULL: the agent has called */
    bool console;
    struct evhttp_request *request; /* the client's; a console's is given up when it is upgraded */
    struct evhttp_connection *client; /* NULL: gone */
    struct evhttp_connection *agent;  /* NULL: has not called */
};

static struct bufferevent *bev_of(struct evhttp_connection *connection)
{
    return evhttp_connection_get_bufferevent(connection);
}

/* A connection that is ours, no longer evhttp's. */
static void close_taken(struct evhttp_connection *connection)
{
    SSL *ssl = bufferevent_openssl_get_ssl(bev_of(connection));
    if (ssl)
        SSL_shutdown(ssl);
    evhttp_connection_free(connection);
}

static void relay_free(struct relay *relay)
{
    bool started = relay->agent != NULL;
    g_ptr_array_remove(relay->api->relays, relay);
    if (relay->stream)
        stream_close(relay->api->cluster, relay->stream);
    if (relay->client)
        evhttp_connection_set_closecb(relay->client, NULL, NULL);
    if (relay->client && started && relay->console)
        close_taken(relay->client);
    else if (relay->client && started)
        evhttp_send_reply_end(relay->request);
    if (relay->agent)
        close_taken(relay->agent);
    g_free(relay);
}

void relay_free_all(struct api *api)
{
    while (api->relays->len > 0) {
        struct relay *relay = api->relays->pdata[0];
        if (!relay->agent && relay->client)
            request_fail(api, relay->request, API_UNAVAILABLE, "the controller is ending");
        relay_free(relay);
    }
}

/* evhttp has closed the client's connection (not one we have taken). */
static void client_closed(struct evhttp_connection *connection, void *opaque)
{
    struct relay *relay = opaque;
    relay->client = NULL;
    request_abandon(relay->request);
    relay_free(relay);
}

/* ---- handing on ------------------------------------------------------------------------------ */

static void agent_readable(struct bufferevent *bev, void *opaque);

static void resume(struct bufferevent *writer, void *opaque)
{
    struct relay *relay = opaque;
    struct bufferevent *reader =
        bev_of(relay->client) == writer ? bev_of(relay->agent) : bev_of(relay->client);
    bufferevent_enable(reader, EV_READ);
}

/* All input of `from` becomes output of `to`. */
static void hand_on(struct bufferevent *from, struct bufferevent *to)
{
    bufferevent_write_buffer(to, bufferevent_get_input(from));
    if (evbuffer_get_length(bufferevent_get_output(to)) > BEHIND_MAX)
        bufferevent_disable(from, EV_READ);
}

static void client_readable(struct bufferevent *bev, void *opaque)
{
    struct relay *relay = opaque;
    hand_on(bev, bev_of(relay->agent));
}

/* A chunk of the log has been sent. */
static void chunk_sent(struct evhttp_connection *connection, void *opaque)
{
    struct relay *relay = opaque;
    if (relay->agent)
        bufferevent_enable(bev_of(relay->agent), EV_READ);
}

static void agent_readable(struct bufferevent *bev, void *opaque)
{
    struct relay *relay = opaque;
    if (relay->console) {
        hand_on(bev, bev_of(relay->client));
        return;
    }
    struct evbuffer *input = bufferevent_get_input(bev);
    if (evbuffer_get_length(input) == 0)
        return;
    evhttp_send_reply_chunk_with_cb(relay->request, input, chunk_sent, relay);
    if (evbuffer_get_length(bufferevent_get_output(bev_of(relay->client))) > BEHIND_MAX)
        bufferevent_disable(bev, EV_READ);
}

static void drained(struct bufferevent *bev, void *opaque)
{
    relay_free(opaque);
}

/* One side has ended: what it said is still delivered, then both are closed. */
static void side_ended(struct bufferevent *bev, short what, void *opaque)
{
    struct relay *relay = opaque;
    if (what & BEV_EVENT_CONNECTED)
        return;
    bool agent = bev == bev_of(relay->agent);
    if (agent)
        agent_readable(bev, relay);
    else
        client_readable(bev, relay);
    struct bufferevent *other = agent ? bev_of(relay->client) : bev_of(relay->agent);
    bufferevent_disable(bev, EV_READ | EV_WRITE);
    bool log = agent && !relay->console; /* evhttp delivers what is left itself */
    if (log || (what & BEV_EVENT_ERROR) ||
        evbuffer_get_length(bufferevent_get_output(other)) == 0) {
        relay_free(relay);
        return;
    }
    bufferevent_disable(other, EV_READ);
    bufferevent_setwatermark(other, EV_WRITE, 0, 0);
    bufferevent_setcb(other, NULL, drained, side_ended, relay);
}

/* Takes a connection over from evhttp: says 101 and calls `readable` from now on. */
static void take(struct relay *relay, struct evhttp_connection *connection, const char *protocol,
                 bufferevent_data_cb readable)
{
    struct bufferevent *bev = bev_of(connection);
    evhttp_connection_set_closecb(connection, NULL, NULL);
    bufferevent_set_timeouts(bev, NULL, NULL);
    bufferevent_setwatermark(bev, EV_WRITE, BEHIND_LOW, 0);
    bufferevent_setwatermark(bev, EV_READ, 0, 0);
    bufferevent_setcb(bev, readable, resume, side_ended, relay);
    evbuffer_add_printf(bufferevent_get_output(bev),
                        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
                        "Upgrade: %s\r\n\r\n",
                        protocol);
    bufferevent_enable(bev, EV_READ | EV_WRITE);
}

/* ---- asking ---------------------------------------------------------------------------------- */

static void stream_failed(struct stream *stream, bool timeout, const char *why)
{
    struct relay *relay = stream->user_data;
    relay->stream = NULL;
    if (relay->client) {
        evhttp_connection_set_closecb(relay->client, NULL, NULL);
        request_fail(relay->api, relay->request, timeout ? API_TIMEOUT : API_CONFLICT, why);
        api_count(relay->api, relay->request, timeout ? 504 : 409, "virtualmachines");
        relay->client = NULL;
    }
    relay_free(relay);
}

static bool has_upgrade(struct evhttp_request *request, const char *protocol)
{
    const char *upgrade = evhttp_find_header(evhttp_request_get_input_headers(request), "Upgrade");
    return upgrade && g_ascii_strcasecmp(upgrade, protocol) == 0;
}

static struct relay *relay_new(struct api_call *call, const json_t *machine, bool console)
{
    struct relay *relay = g_new0(struct relay, 1);
    relay->api = call->api;
    relay->console = console;
    relay->request = call->request;
    relay->client = evhttp_request_get_connection(call->request);
    relay->stream = stream_open(call->api->cluster,
                                console ? CLUSTER__STREAM_KIND__STREAM_CONSOLE
                                        : CLUSTER__STREAM_KIND__STREAM_LOG,
                                machine_host(machine), object_uid(machine));
    relay->stream->failed = stream_failed;
    relay->stream->user_data = relay;
    g_ptr_array_add(call->api->relays, relay);
    evhttp_connection_set_closecb(relay->client, client_closed, relay);
    return relay;
}

/* The machine, on a host that reports; NULL having answered. */
static json_t *machine_there(struct api_call *call)
{
    json_t *machine = call_object(call);
    if (!machine)
        return NULL;
    const char *host = machine_host(machine);
    if (!host)
        call_fail(call, API_CONFLICT, "machine %s is on no host yet: %s", call->name,
                  object_string(machine, "status.message", "it has not been started"));
    else if (!cluster_host_ready(call->api->cluster, host))
        call_fail(call, API_CONFLICT, "host %s, where machine %s is, does not report", host,
                  call->name);
    else
        return machine;
    return NULL;
}

void relay_console(struct api_call *call)
{
    json_t *machine = machine_there(call);
    if (!machine)
        return;
    const Cluster__MachineReport *report =
        cluster_machine_report(call->api->cluster, machine_host(machine), object_uid(machine));
    if (!has_upgrade(call->request, "drover-console"))
        call_fail(call, API_BAD_REQUEST,
                  "a console needs the headers Connection: Upgrade and Upgrade: drover-console");
    else if (!report || report->state != CLUSTER__MACHINE_STATE__MACHINE_RUNNING)
        call_fail(call, API_CONFLICT, "machine %s is not running: its phase is %s", call->name,
                  object_string(machine, "status.phase", "Pending"));
    else
        relay_new(call, machine, true);
}

void relay_log(struct api_call *call)
{
    json_t *machine = machine_there(call);
    const char *tail = call_query(call, "tailBytes");
    if (!machine)
        return;
    struct relay *relay = relay_new(call, machine, false);
    relay->stream->follow = call_flag(call, "follow");
    relay->stream->tail_bytes =
        tail ? MIN(g_ascii_strtoull(tail, NULL, 10), TAIL_MAX) : TAIL_DEFAULT;
}

/* ---- the agent calls back -------------------------------------------------------------------- */

static bool ticket_fits(struct api_call *call, const struct stream *stream)
{
    const char *given =
        evhttp_find_header(evhttp_request_get_input_headers(call->request), "Authorization");
    char expected[7 + 2 * sizeof(stream->ticket) + 1] = "Ticket ";
    for (size_t i = 0; i < sizeof(stream->ticket); i++) {
        expected[7 + 2 * i] = "0123456789abcdef"[stream->ticket[i] >> 4];
        expected[8 + 2 * i] = "0123456789abcdef"[stream->ticket[i] & 15];
    }
    expected[sizeof(expected) - 1] = '\0';
    return pki_equal(given, expected);
}

void relay_agent(struct api_call *call)
{
    struct stream *stream = stream_find(call->api->cluster, call->name);
    if (!stream || !ticket_fits(call, stream)) {
        call_fail(call, API_UNAUTHORIZED, "no stream is waited for under this id and ticket");
        return;
    }
    if (!has_upgrade(call->request, "drover-stream")) {
        call_fail(call, API_BAD_REQUEST,
                  "a stream needs the headers Connection: Upgrade and Upgrade: drover-stream");
        return;
    }
    struct relay *relay = stream->user_data;
    stream_close(call->api->cluster, g_steal_pointer(&relay->stream));
    relay->agent = evhttp_request_get_connection(call->request);
    api_count(call->api, call->request, 101, "streams");
    api_count(call->api, relay->request, relay->console ? 101 : 200, "virtualmachines");
    if (relay->console) {
        take(relay, relay->client, "drover-console", client_readable);
    } else {
        evhttp_add_header(evhttp_request_get_output_headers(relay->request), "Content-Type",
                          "text/plain; charset=utf-8");
        evhttp_send_reply_start(relay->request, 200, NULL);
    }
    take(relay, relay->agent, "drover-stream", agent_readable);
    /* What came together with the request. */
    agent_readable(bev_of(relay->agent), relay);
    if (relay->console)
        client_readable(bev_of(relay->client), relay);
}
