/*
 * One request on its way through the API: what handlers get, and how they answer.
 */
#pragma once

#include "controller/api/api.h"
#include "controller/object/object.h"
#include "controller/object/selector.h"
#include "controller/object/validate.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <openssl/ssl.h>

enum api_error {
    API_BAD_REQUEST,
    API_UNAUTHORIZED,
    API_NOT_FOUND,
    API_METHOD,
    API_EXISTS,
    API_CONFLICT,
    API_EXPIRED,
    API_INVALID,
    API_INTERNAL,
    API_UNAVAILABLE,
    API_TIMEOUT,
    API_ERROR_COUNT,
};

struct api {
    struct api_config config;
    struct cluster *cluster;
    struct registry *registry;
    SSL_CTX *tls;
    struct evhttp *http;
    uint16_t port;
    GPtrArray *watchers;  /* of struct watcher, watch.c */
    GPtrArray *relays;    /* of struct relay, relay.c */
    GHashTable *requests; /* "GET|200|disks" -> uint64_t, for metrics */
    int64_t started;      /* wall clock, seconds */
    bool ending;
};

/* Lives while its handler runs; a handler that answers later keeps `request` alone. */
struct api_call {
    struct api *api;
    struct evhttp_request *request;
    const struct api_route *route;
    const char *namespace, *plural, *name; /* from the path; NULL where it has none */
    const struct kind *kind;               /* of `plural` */
    struct evkeyvalq query;
};

struct api_route {
    enum evhttp_cmd_type method;
    const char *path; /* segments in braces are taken: {ns}, {plural}, {name} */
    void (*handle)(struct api_call *call);
    bool open; /* no bearer token is asked for */
};

/* A query parameter, or NULL. Borrowed. */
const char *call_query(const struct api_call *call, const char *name);
bool call_flag(const struct api_call *call, const char *name); /* "1" or "true" */
/* The body as JSON (an empty one is {} if `may_be_empty`), or NULL having answered 400. */
json_t *call_body(struct api_call *call, bool may_be_empty);

/* Each answers and ends the call. `body` is borrowed. */
void call_reply(struct api_call *call, int code, const json_t *body);
void call_reply_text(struct api_call *call, int code, const char *type, const char *text);
void call_fail(struct api_call *call, enum api_error error, const char *format, ...)
    G_GNUC_PRINTF(3, 4);
void call_invalid(struct api_call *call, const GPtrArray *problems);
/* Of a store's or registry's error: Conflict, AlreadyExists, Internal. */
void call_fail_store(struct api_call *call, const GError *error);
/* For handlers that answer after the call is gone. */
void request_fail(struct api *api, struct evhttp_request *request, enum api_error error,
                  const char *message);
/* From a connection's close callback: evhttp leaves a request that was being answered to us. */
void request_abandon(struct evhttp_request *request);
/* {"code": …, "reason": …, "message": …}. New reference. */
json_t *api_error_json(enum api_error error, const char *message);

/* The object the path names, or NULL having answered 404. Borrowed. */
json_t *call_object(struct api_call *call);

/* Counts an answer for the metrics. */
void api_count(struct api *api, struct evhttp_request *request, int code, const char *resource);

/* Routes' handlers, by file. */
void objects_list(struct api_call *call); /* objects.c; also watches */
void objects_get(struct api_call *call);
void objects_create(struct api_call *call);
void objects_update(struct api_call *call);
void objects_delete(struct api_call *call);
void apply_handle(struct api_call *call); /* apply.c */
void action_start(struct api_call *call); /* actions.c */
void action_stop(struct api_call *call);
void action_restart(struct api_call *call);
void action_migrate(struct api_call *call);
void relay_console(struct api_call *call); /* relay.c */
void relay_log(struct api_call *call);
void relay_agent(struct api_call *call);
void info_health(struct api_call *call); /* info.c */
void info_metrics(struct api_call *call);
void info_version(struct api_call *call);
void info_cluster(struct api_call *call);
void info_kinds(struct api_call *call);
void join_ca(struct api_call *call); /* join.c */
void join_host(struct api_call *call);
void join_token_list(struct api_call *call);
void join_token_create(struct api_call *call);
void join_token_delete(struct api_call *call);

/* watch.c */
void watch_start(struct api_call *call, struct selector *selector /* taken */,
                 const char *involved_uid);
void watch_pump(struct api *api);
void watch_tick(struct api *api);
void watch_free_all(struct api *api);
/* relay.c */
void relay_free_all(struct api *api);
