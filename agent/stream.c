#include "agent/stream.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/identity.h"
#include "agent/link.h"
#include "agent/machine.h"
#include "proto/pki.h"

#define BUFFER_MAX   (64 * 1024) /* bytes waiting in one direction */
#define HEAD_MAX     (16 * 1024) /* of the controller's answer */
#define FOLLOW_MS    200
#define LINK_SECONDS 10 /* for connecting and the answer */

struct streams {
    struct agent *agent;
    SSL_CTX *tls;
    GHashTable *seen;  /* ids ordered and taken up */
    GPtrArray *active; /* of struct stream */
};

struct stream {
    struct streams *streams;
    char *id;
    Cluster__StreamKind kind;
    struct bufferevent *controller;
    struct bufferevent *serial; /* console; NULL until the upgrade */
    int log;                    /* log; -1 */
    bool follow, upgraded, draining;
    char *path; /* of the socket or log */
    char *request;
    struct event *timer; /* looks for more of a followed log */
};

static void stream_free(void *item)
{
    struct stream *stream = item;

    if (stream->controller)
        bufferevent_free(stream->controller);
    if (stream->serial)
        bufferevent_free(stream->serial);
    if (stream->timer)
        event_free(stream->timer);
    if (stream->log >= 0)
        close(stream->log);
    g_free(stream->id);
    g_free(stream->path);
    g_free(stream->request);
    g_free(stream);
}

static void end_stream(struct stream *stream)
{
    g_ptr_array_remove_fast(stream->streams->active, stream); /* frees it */
}

static void refuse(struct stream *stream, const char *message)
{
    link_refuse_stream(stream->streams->agent->link, stream->id, message);
    end_stream(stream);
}

/* Closes once what is buffered towards the controller has gone out. */
static void end_when_drained(struct stream *stream)
{
    stream->draining = true;
    if (evbuffer_get_length(bufferevent_get_output(stream->controller)) == 0)
        end_stream(stream);
}

/* ---- a log ----------------------------------------------------------------------------------- */

static void pump_log(struct stream *stream)
{
    struct evbuffer *out = bufferevent_get_output(stream->controller);
    const struct timeval delay = {0, FOLLOW_MS * 1000};
    char bytes[16 * 1024];
    ssize_t n = 0;

    while (evbuffer_get_length(out) < BUFFER_MAX &&
           (n = read(stream->log, bytes, sizeof(bytes))) > 0)
        evbuffer_add(out, bytes, (size_t)n);
    if (n > 0)
        return; /* goes on when some of it has gone out */
    if (stream->follow && n == 0)
        evtimer_add(stream->timer, &delay);
    else
        end_when_drained(stream);
}

static void on_follow(evutil_socket_t fd, short what, void *opaque)
{
    pump_log(opaque);
}

/* ---- a console ------------------------------------------------------------------------------- */

/* Moves what has come in at one side to the other; stops reading while the other is slow. */
static void relay(struct bufferevent *from, struct bufferevent *to)
{
    struct evbuffer *out = bufferevent_get_output(to);

    evbuffer_add_buffer(out, bufferevent_get_input(from));
    if (evbuffer_get_length(out) >= BUFFER_MAX)
        bufferevent_disable(from, EV_READ);
}

static void on_serial_read(struct bufferevent *serial, void *opaque)
{
    struct stream *stream = opaque;

    relay(serial, stream->controller);
}

static void on_serial_written(struct bufferevent *serial, void *opaque)
{
    struct stream *stream = opaque;

    bufferevent_enable(stream->controller, EV_READ);
}

static void on_serial_event(struct bufferevent *serial, short what, void *opaque)
{
    if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
        end_when_drained(opaque);
}

static void connect_serial(struct stream *stream)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    g_strlcpy(address.sun_path, stream->path, sizeof(address.sun_path));
    stream->serial = bufferevent_socket_new(stream->streams->agent->base, -1,
                                            BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
    bufferevent_setcb(stream->serial, on_serial_read, on_serial_written, on_serial_event, stream);
    bufferevent_setwatermark(stream->serial, EV_READ, 0, BUFFER_MAX);
    bufferevent_enable(stream->serial, EV_READ | EV_WRITE);
    if (bufferevent_socket_connect(stream->serial, (struct sockaddr *)&address, sizeof(address)) <
        0)
        end_when_drained(stream);
}

/* ---- the controller's side ------------------------------------------------------------------- */

/* The answer to our GET: everything up to the empty line. */
static void take_answer(struct stream *stream)
{
    struct evbuffer *in = bufferevent_get_input(stream->controller);
    struct evbuffer_ptr end = evbuffer_search(in, "\r\n\r\n", 4, NULL);
    char status[13] = "";

    if (end.pos < 0) {
        if (evbuffer_get_length(in) > HEAD_MAX)
            end_stream(stream);
        return;
    }
    evbuffer_copyout(in, status, sizeof(status) - 1);
    evbuffer_drain(in, (size_t)end.pos + 4);
    if (strcmp(status, "HTTP/1.1 101") != 0) {
        g_warning("the controller does not take stream %s: %s", stream->id, status);
        end_stream(stream);
        return;
    }
    stream->upgraded = true;
    bufferevent_set_timeouts(stream->controller, NULL, NULL);
    if (stream->kind == CLUSTER__STREAM_KIND__STREAM_CONSOLE)
        connect_serial(stream);
    else
        pump_log(stream);
}

static void on_controller_read(struct bufferevent *controller, void *opaque)
{
    struct stream *stream = opaque;

    if (!stream->upgraded)
        take_answer(stream);
    else if (stream->serial)
        relay(controller, stream->serial);
    else
        evbuffer_drain(bufferevent_get_input(controller), SIZE_MAX);
}

static void on_controller_written(struct bufferevent *controller, void *opaque)
{
    struct stream *stream = opaque;

    if (stream->draining)
        end_stream(stream);
    else if (stream->serial)
        bufferevent_enable(stream->serial, EV_READ);
    else if (stream->upgraded && !evtimer_pending(stream->timer, NULL))
        pump_log(stream);
}

static void on_controller_event(struct bufferevent *controller, short what, void *opaque)
{
    struct stream *stream = opaque;

    if (what & BEV_EVENT_CONNECTED) {
        bufferevent_write(controller, stream->request, strlen(stream->request));
        return;
    }
    if (!stream->upgraded)
        g_warning("stream %s: no connection to the controller", stream->id);
    end_stream(stream);
}

static bool connect_controller(struct stream *stream)
{
    const struct identity *identity = stream->streams->agent->identity;
    const struct timeval limit = {LINK_SECONDS, 0};
    SSL *ssl = SSL_new(stream->streams->tls);

    if (!pki_expect_name(ssl, MESSAGE_SERVER_NAME, NULL)) {
        SSL_free(ssl);
        return false;
    }
    stream->controller = bufferevent_openssl_socket_new(
        stream->streams->agent->base, -1, ssl, BUFFEREVENT_SSL_CONNECTING,
        BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
    bufferevent_setcb(stream->controller, on_controller_read, on_controller_written,
                      on_controller_event, stream);
    bufferevent_setwatermark(stream->controller, EV_READ, 0, BUFFER_MAX);
    bufferevent_set_timeouts(stream->controller, &limit, &limit);
    bufferevent_enable(stream->controller, EV_READ | EV_WRITE);
    return bufferevent_socket_connect_hostname(stream->controller, NULL, AF_UNSPEC,
                                               identity->rest_host, identity->rest_port) == 0;
}

/* ---- orders ---------------------------------------------------------------------------------- */

static char *make_request(const Cluster__StreamOrder *order)
{
    g_autoptr(GString) ticket = g_string_new(NULL);

    for (size_t i = 0; i < order->ticket.len; i++)
        g_string_append_printf(ticket, "%02x", order->ticket.data[i]);
    return g_strdup_printf("GET /api/v1/streams/%s HTTP/1.1\r\n"
                           "Host: " MESSAGE_SERVER_NAME "\r\n"
                           "Connection: Upgrade\r\n"
                           "Upgrade: drover-stream\r\n"
                           "Authorization: Ticket %s\r\n\r\n",
                           order->id, ticket->str);
}

/* Opens the log at its last `tail` bytes. */
static bool open_log(struct stream *stream, uint64_t tail)
{
    struct stat st;

    stream->log = open(stream->path, O_RDONLY | O_CLOEXEC);
    if (stream->log < 0 || fstat(stream->log, &st) < 0)
        return false;
    if ((uint64_t)st.st_size > tail)
        lseek(stream->log, st.st_size - (off_t)tail, SEEK_SET);
    return true;
}

static void begin(struct streams *streams, const Cluster__StreamOrder *order)
{
    struct machines *machines = streams->agent->machines;
    const char *uid = order->machine_uid ? order->machine_uid : "";
    bool console = order->kind == CLUSTER__STREAM_KIND__STREAM_CONSOLE;
    struct stream *stream = g_new0(struct stream, 1);

    stream->streams = streams;
    stream->id = g_strdup(order->id);
    stream->kind = order->kind;
    stream->follow = order->follow;
    stream->log = -1;
    stream->request = make_request(order);
    stream->timer = evtimer_new(streams->agent->base, on_follow, stream);
    stream->path =
        console ? machines_serial_socket(machines, uid) : machines_serial_log(machines, uid);
    g_ptr_array_add(streams->active, stream);
    if (console && !stream->path)
        refuse(stream, "the machine is not running on this host");
    else if (!console && (!stream->path || !open_log(stream, order->tail_bytes)))
        refuse(stream, "the machine has written no log on this host yet");
    else if (!connect_controller(stream))
        end_stream(stream);
}

static gboolean is_forgotten(void *key, void *value, void *opaque)
{
    const Cluster__Assignment *assignment = opaque;

    for (size_t i = 0; i < assignment->n_streams; i++)
        if (g_strcmp0(assignment->streams[i]->id, key) == 0)
            return FALSE;
    return TRUE;
}

void streams_reconcile(struct streams *streams, const Cluster__Assignment *assignment)
{
    g_hash_table_foreach_remove(streams->seen, is_forgotten, (void *)assignment);
    for (size_t i = 0; i < assignment->n_streams; i++) {
        const Cluster__StreamOrder *order = assignment->streams[i];

        if (order->id && g_uuid_string_is_valid(order->id) &&
            g_hash_table_add(streams->seen, g_strdup(order->id)))
            begin(streams, order);
    }
}

struct streams *streams_new(struct agent *agent, GError **error)
{
    struct streams *streams = g_new0(struct streams, 1);

    streams->agent = agent;
    streams->seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    streams->active = g_ptr_array_new_with_free_func(stream_free);
    streams->tls = pki_tls_context(false, true, agent->identity->ca, agent->identity->certificate,
                                   agent->identity->key, error);
    if (streams->tls)
        return streams;
    streams_free(streams);
    return NULL;
}

void streams_free(struct streams *streams)
{
    if (!streams)
        return;
    g_ptr_array_unref(streams->active);
    g_hash_table_destroy(streams->seen);
    SSL_CTX_free(streams->tls);
    g_free(streams);
}
