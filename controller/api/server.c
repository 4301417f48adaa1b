/* The HTTPS server: connections, routes, authentication, answers. */
#include "controller/api/call.h"
#include "controller/api/credentials.h"
#include "proto/pki.h"

#include <arpa/inet.h>
#include <event2/bufferevent_ssl.h>
#include <event2/listener.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>

#define HEADERS_MAX  (16 * 1024)
#define IDLE_SECONDS 60

static const struct api_route routes[] = {
    {EVHTTP_REQ_GET, "/healthz", info_health, true},
    {EVHTTP_REQ_GET, "/metrics", info_metrics, true},
    {EVHTTP_REQ_GET, "/api/v1/ca", join_ca, true},
    {EVHTTP_REQ_POST, "/api/v1/join", join_host, true},
    {EVHTTP_REQ_GET, "/api/v1/streams/{name}", relay_agent, true},
    {EVHTTP_REQ_GET, "/api/v1/version", info_version, false},
    {EVHTTP_REQ_GET, "/api/v1/cluster-info", info_cluster, false},
    {EVHTTP_REQ_GET, "/api/v1/kinds", info_kinds, false},
    {EVHTTP_REQ_GET, "/api/v1/jointokens", join_token_list, false},
    {EVHTTP_REQ_POST, "/api/v1/jointokens", join_token_create, false},
    {EVHTTP_REQ_DELETE, "/api/v1/jointokens/{name}", join_token_delete, false},
    {EVHTTP_REQ_POST, "/api/v1/apply", apply_handle, false},
    {EVHTTP_REQ_POST, "/api/v1/namespaces/{ns}/virtualmachines/{name}/start", action_start, false},
    {EVHTTP_REQ_POST, "/api/v1/namespaces/{ns}/virtualmachines/{name}/stop", action_stop, false},
    {EVHTTP_REQ_POST, "/api/v1/namespaces/{ns}/virtualmachines/{name}/restart", action_restart,
     false},
    {EVHTTP_REQ_POST, "/api/v1/namespaces/{ns}/virtualmachines/{name}/migrate", action_migrate,
     false},
    {EVHTTP_REQ_GET, "/api/v1/namespaces/{ns}/virtualmachines/{name}/console", relay_console,
     false},
    {EVHTTP_REQ_GET, "/api/v1/namespaces/{ns}/virtualmachines/{name}/log", relay_log, false},
    {EVHTTP_REQ_GET, "/api/v1/namespaces/{ns}/{plural}", objects_list, false},
    {EVHTTP_REQ_POST, "/api/v1/namespaces/{ns}/{plural}", objects_create, false},
    {EVHTTP_REQ_GET, "/api/v1/namespaces/{ns}/{plural}/{name}", objects_get, false},
    {EVHTTP_REQ_PUT, "/api/v1/namespaces/{ns}/{plural}/{name}", objects_update, false},
    {EVHTTP_REQ_DELETE, "/api/v1/namespaces/{ns}/{plural}/{name}", objects_delete, false},
    {EVHTTP_REQ_GET, "/api/v1/{plural}", objects_list, false},
    {EVHTTP_REQ_GET, "/api/v1/{plural}/{name}", objects_get, false},
    {EVHTTP_REQ_PUT, "/api/v1/{plural}/{name}", objects_update, false},
    {EVHTTP_REQ_DELETE, "/api/v1/{plural}/{name}", objects_delete, false},
};

/* ---- answers --------------------------------------------------------------------------------- */

static const struct {
    int code;
    const char *reason;
} errors[API_ERROR_COUNT] = {
    [API_BAD_REQUEST] = {400, "BadRequest"}, [API_UNAUTHORIZED] = {401, "Unauthorized"},
    [API_NOT_FOUND] = {404, "NotFound"},     [API_METHOD] = {405, "MethodNotAllowed"},
    [API_EXISTS] = {409, "AlreadyExists"},   [API_CONFLICT] = {409, "Conflict"},
    [API_EXPIRED] = {410, "Expired"},        [API_INVALID] = {422, "Invalid"},
    [API_INTERNAL] = {500, "Internal"},      [API_UNAVAILABLE] = {503, "Unavailable"},
    [API_TIMEOUT] = {504, "Timeout"},
};

static const char *method_name(struct evhttp_request *request)
{
    static const struct {
        enum evhttp_cmd_type method;
        const char *name;
    } names[] = {
        {EVHTTP_REQ_GET, "GET"},
        {EVHTTP_REQ_POST, "POST"},
        {EVHTTP_REQ_PUT, "PUT"},
        {EVHTTP_REQ_DELETE, "DELETE"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
        if (names[i].method == evhttp_request_get_command(request))
            return names[i].name;
    return "other";
}

void api_count(struct api *api, struct evhttp_request *request, int code, const char *resource)
{
    g_autofree char *key = g_strdup_printf("%s|%d|%s", method_name(request), code, resource);
    uint64_t *count = g_hash_table_lookup(api->requests, key);
    if (!count) {
        count = g_new0(uint64_t, 1);
        g_hash_table_insert(api->requests, g_steal_pointer(&key), count);
    }
    ++*count;
}

/* A bounded name of what was asked for: the kind, or the route's last fixed word. */
static const char *resource_of(const struct api_call *call)
{
    if (call->kind)
        return call->kind->plural;
    if (!call->route)
        return "none";
    if (strstr(call->route->path, "virtualmachines"))
        return "virtualmachines";
    const char *resource = call->route->path + 1;
    return g_str_has_prefix(resource, "api/v1/") ? resource + 7 : resource;
}

static void send_text(struct evhttp_request *request, int code, const char *type, const char *text,
                      size_t length)
{
    struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
    struct evbuffer *body = evbuffer_new();
    evhttp_add_header(headers, "Content-Type", type);
    evhttp_add_header(headers, "Cache-Control", "no-store");
    evbuffer_add(body, text, length);
    evhttp_send_reply(request, code, NULL, body);
    evbuffer_free(body);
}

static void send_json(struct evhttp_request *request, int code, const json_t *body)
{
    char *text = json_dumps(body, JSON_COMPACT);
    g_autofree char *line = g_strconcat(text ? text : "{}", "\n", NULL);
    free(text);
    send_text(request, code, "application/json", line, strlen(line));
}

void call_reply(struct api_call *call, int code, const json_t *body)
{
    api_count(call->api, call->request, code, resource_of(call));
    send_json(call->request, code, body);
}

void call_reply_text(struct api_call *call, int code, const char *type, const char *text)
{
    api_count(call->api, call->request, code, resource_of(call));
    send_text(call->request, code, type, text, strlen(text));
}

json_t *api_error_json(enum api_error error, const char *message)
{
    g_autofree char *valid = g_utf8_make_valid(message, -1);
    return json_pack("{s:i, s:s, s:s}", "code", errors[error].code, "reason", errors[error].reason,
                     "message", valid);
}

void request_fail(struct api *api, struct evhttp_request *request, enum api_error error,
                  const char *message)
{
    json_auto_t *body = json_pack("{s:o}", "error", api_error_json(error, message));
    send_json(request, errors[error].code, body);
}

void request_abandon(struct evhttp_request *request)
{
    if (!evhttp_request_get_connection(request))
        evhttp_request_free(request);
}

void call_fail(struct api_call *call, enum api_error error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *message = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    if (error == API_UNAUTHORIZED)
        evhttp_add_header(evhttp_request_get_output_headers(call->request), "WWW-Authenticate",
                          "Bearer");
    api_count(call->api, call->request, errors[error].code, resource_of(call));
    request_fail(call->api, call->request, error, message);
}

void call_invalid(struct api_call *call, const GPtrArray *problems)
{
    g_autofree char *text = problems_text(problems);
    json_t *error = api_error_json(API_INVALID, text);
    json_t *list = json_array();
    for (guint i = 0; i < problems->len; i++) {
        const struct problem *problem = problems->pdata[i];
        g_autofree char *path = g_utf8_make_valid(problem->path, -1);
        g_autofree char *message = g_utf8_make_valid(problem->message, -1);
        json_array_append_new(list, json_pack("{s:s, s:s}", "field", path, "message", message));
    }
    json_object_set_new(error, "field",
                        json_incref(json_object_get(json_array_get(list, 0), "field")));
    json_object_set_new(error, "problems", list);
    json_auto_t *body = json_pack("{s:o}", "error", error);
    call_reply(call, errors[API_INVALID].code, body);
}

void call_fail_store(struct api_call *call, const GError *error)
{
    bool conflict = g_error_matches(error, STORE_ERROR, STORE_ERROR_CONFLICT);
    bool gone = g_error_matches(error, STORE_ERROR, STORE_ERROR_NOT_FOUND);
    call_fail(call,
              conflict ? API_CONFLICT
              : gone   ? API_NOT_FOUND
                       : API_INTERNAL,
              "%s", error->message);
}

/* ---- requests -------------------------------------------------------------------------------- */

const char *call_query(const struct api_call *call, const char *name)
{
    return evhttp_find_header(&call->query, name);
}

bool call_flag(const struct api_call *call, const char *name)
{
    const char *value = call_query(call, name);
    return value && (strcmp(value, "1") == 0 || strcmp(value, "true") == 0);
}

json_t *call_body(struct api_call *call, bool may_be_empty)
{
    struct evbuffer *buffer = evhttp_request_get_input_buffer(call->request);
    size_t length = evbuffer_get_length(buffer);
    json_error_t error;
    if (length == 0 && may_be_empty)
        return json_object();
    const char *text = (const char *)evbuffer_pullup(buffer, -1);
    json_t *body = json_loadb(text ? text : "", length, JSON_REJECT_DUPLICATES, &error);
    if (!body)
        call_fail(call, API_BAD_REQUEST, "the body is no JSON: line %d, column %d: %s", error.line,
                  error.column, error.text);
    return body;
}

json_t *call_object(struct api_call *call)
{
    const struct kind *kind = call->kind ? call->kind : &kind_virtualmachine;
    json_t *object = registry_get(call->api->registry, kind, call->namespace, call->name);
    if (!object)
        call_fail(call, API_NOT_FOUND, "there is no %s %s%s%s", kind->name, call->name,
                  kind->namespaced ? " in namespace " : "",
                  kind->namespaced ? call->namespace : "");
    return object;
}

static bool authorized(const struct api_call *call)
{
    const char *header =
        evhttp_find_header(evhttp_request_get_input_headers(call->request), "Authorization");
    if (!header || g_ascii_strncasecmp(header, "Bearer ", 7) != 0)
        return false;
    g_autofree char *hash = g_compute_checksum_for_string(G_CHECKSUM_SHA256, header + 7, -1);
    return pki_equal(hash, credentials_admin_hash(call->api->config.credentials));
}

/* Matches the path's segments against the route's, taking those in braces into the call. */
static bool match(const char *pattern, char **segments, struct api_call *call)
{
    g_auto(GStrv) expected = g_strsplit(pattern + 1, "/", -1);
    if (g_strv_length(expected) != g_strv_length(segments))
        return false;
    call->namespace = call->plural = call->name = NULL;
    for (size_t i = 0; expected[i]; i++) {
        if (strcmp(expected[i], "{ns}") == 0)
            call->namespace = segments[i];
        else if (strcmp(expected[i], "{plural}") == 0)
            call->plural = segments[i];
        else if (strcmp(expected[i], "{name}") == 0)
            call->name = segments[i];
        else if (strcmp(expected[i], segments[i]) != 0)
            return false;
    }
    return true;
}

/* Sets call->route; `ret_other_method`: the path is known, with another method. */
static void find_route(struct api_call *call, char **segments, bool *ret_other_method)
{
    enum evhttp_cmd_type method = evhttp_request_get_command(call->request);
    *ret_other_method = false;
    for (size_t i = 0; i < G_N_ELEMENTS(routes); i++) {
        if (!match(routes[i].path, segments, call))
            continue;
        const struct kind *kind = call->plural ? kind_by_plural(call->plural) : NULL;
        if (call->plural && (!kind || (call->namespace && !kind->namespaced) ||
                             (!call->namespace && call->name && kind->namespaced)))
            continue;
        if (routes[i].method != method) {
            *ret_other_method = true;
            continue;
        }
        call->kind = kind;
        call->route = &routes[i];
        return;
    }
}

static void dispatch(struct api_call *call, const char *path)
{
    g_autofree char *decoded = evhttp_uridecode(path, 0, NULL);
    g_auto(GStrv) segments = g_strsplit(decoded && decoded[0] ? decoded + 1 : "", "/", -1);
    bool other_method;
    find_route(call, segments, &other_method);
    if (!(call->route && call->route->open) && !authorized(call))
        call_fail(call, API_UNAUTHORIZED,
                  "a bearer token is needed: the one of the drover.yaml that the controller wrote "
                  "in its data directory");
    else if (call->route)
        call->route->handle(call);
    else if (other_method)
        call_fail(call, API_METHOD, "%s is not offered with this method", path);
    else
        call_fail(call, API_NOT_FOUND, "there is nothing at %s", path);
}

static void handle_request(struct evhttp_request *request, void *opaque)
{
    struct api_call call = {.api = opaque, .request = request};
    const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(request);
    const char *path = uri ? evhttp_uri_get_path(uri) : NULL;
    const char *query = uri ? evhttp_uri_get_query(uri) : NULL;
    TAILQ_INIT(&call.query);
    if (query)
        evhttp_parse_query_str(query, &call.query);
    if (call.api->ending)
        call_fail(&call, API_UNAVAILABLE, "the controller is ending");
    else
        dispatch(&call, path && path[0] ? path : "/");
    evhttp_clear_headers(&call.query);
}

/* ---- life ------------------------------------------------------------------------------------ */

static struct bufferevent *make_connection(struct event_base *base, void *opaque)
{
    struct api *api = opaque;
    SSL *ssl = SSL_new(api->tls);
    if (!ssl)
        return NULL;
    struct bufferevent *bev = bufferevent_openssl_socket_new(
        base, -1, ssl, BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
    if (bev)
        bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
    return bev;
}

static bool listen_at(struct api *api, GError **error)
{
    const struct api_config *config = &api->config;
    struct evhttp_bound_socket *bound =
        evhttp_bind_socket_with_handle(api->http, config->address, config->port);
    if (!bound) {
        g_set_error(error, PKI_ERROR, PKI_ERROR_FAILED,
                    "listening for the REST API at %s port %u: %s; give another with --listen",
                    config->address, config->port, g_strerror(errno));
        return false;
    }
    int fd = evhttp_bound_socket_get_fd(bound), one = 1;
    struct sockaddr_storage address;
    socklen_t length = sizeof(address);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* accepted ones inherit it */
    if (getsockname(fd, (struct sockaddr *)&address, &length) == 0)
        api->port =
            ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                                : ((struct sockaddr_in *)&address)->sin_port);
    return true;
}

struct api *api_new(const struct api_config *config, GError **error)
{
    struct api *api = g_new0(struct api, 1);
    api->config = *config;
    api->cluster = config->cluster;
    api->registry = config->cluster->registry;
    api->watchers = g_ptr_array_new();
    api->relays = g_ptr_array_new();
    api->requests = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    api->started = g_get_real_time() / G_USEC_PER_SEC;
    api->tls = credentials_rest_tls(config->credentials, error);
    if (!api->tls) {
        api_free(api);
        return NULL;
    }
    api->http = evhttp_new(config->base);
    evhttp_set_bevcb(api->http, make_connection, api);
    evhttp_set_gencb(api->http, handle_request, api);
    evhttp_set_max_body_size(api->http, API_BODY_MAX);
    evhttp_set_max_headers_size(api->http, HEADERS_MAX);
    evhttp_set_timeout(api->http, IDLE_SECONDS);
    evhttp_set_allowed_methods(api->http, 0xffff);
    if (!listen_at(api, error)) {
        api_free(api);
        return NULL;
    }
    return api;
}

void api_free(struct api *api)
{
    if (!api)
        return;
    api->ending = true;
    watch_free_all(api);
    relay_free_all(api);
    if (api->http)
        evhttp_free(api->http);
    SSL_CTX_free(api->tls);
    g_ptr_array_unref(api->watchers);
    g_ptr_array_unref(api->relays);
    g_hash_table_unref(api->requests);
    g_free(api);
}

uint16_t api_port(const struct api *api)
{
    return api->port;
}

void api_store_changed(struct api *api)
{
    watch_pump(api);
}

void api_tick(struct api *api)
{
    watch_tick(api);
}
