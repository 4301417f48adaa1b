#include "controller/cli/client.h"

#include <curl/curl.h>
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "controller/cli/cli.h"

#define ANSWER_MAX      (256u << 20) /* bytes; a list of everything stays far below */
#define CONNECT_SECONDS 10L
#define REQUEST_SECONDS 60L

struct client {
    struct client_config *config;
    char *base;       /* "https://NAME:PORT", with the certificate's name */
    char *connect_to; /* "::HOST:PORT", where that really is */
    CURL *curl;
};

struct answer {
    GString *body;
    bool (*fn)(void *opaque, const char *bytes, size_t length);
    void *opaque;
    CURL *curl;
    bool stopped; /* fn wanted no more */
};

struct client *client_new(struct client_config *config)
{
    struct client *client = g_new0(struct client, 1);
    g_autoptr(GUri) uri = g_uri_parse(config->server, G_URI_FLAGS_NONE, NULL);
    int port = uri && g_uri_get_port(uri) > 0 ? g_uri_get_port(uri) : 443;
    const char *host = uri && g_uri_get_host(uri) ? g_uri_get_host(uri) : "localhost";
    bool v6 = strchr(host, ':') != NULL;

    client->config = config;
    client->base = g_strdup_printf("https://%s:%d", config->server_name, port);
    client->connect_to = g_strdup_printf("::%s%s%s:%d", v6 ? "[" : "", host, v6 ? "]" : "", port);
    client->curl = curl_easy_init();
    return client;
}

void client_free(struct client *client)
{
    if (!client)
        return;
    curl_easy_cleanup(client->curl);
    client_config_free(client->config);
    g_free(client->base);
    g_free(client->connect_to);
    g_free(client);
}

const struct client_config *client_config(const struct client *client)
{
    return client->config;
}

char *client_escape(const char *text)
{
    return g_uri_escape_string(text, NULL, FALSE);
}

static size_t take(char *bytes, size_t size, size_t count, void *opaque)
{
    struct answer *answer = opaque;
    size_t length = size * count;
    long status = 0;

    curl_easy_getinfo(answer->curl, CURLINFO_RESPONSE_CODE, &status);
    if (answer->fn && status == 200) {
        answer->stopped = !answer->fn(answer->opaque, bytes, length);
        return answer->stopped ? 0 : length;
    }
    if (answer->body->len + length > ANSWER_MAX)
        return 0;
    g_string_append_len(answer->body, bytes, (gssize)length);
    return length;
}

/* What every request shares. The lists are freed by the caller after the request. */
static void prepare(struct client *client, const char *path, struct curl_slist **targets,
                    struct curl_slist **headers)
{
    g_autofree char *url = g_strconcat(client->base, path, NULL);
    g_autofree char *bearer = g_strconcat("Authorization: Bearer ", client->config->token, NULL);
    struct curl_blob ca = {client->config->ca, strlen(client->config->ca), CURL_BLOB_COPY};
    CURL *curl = client->curl;

    curl_easy_reset(curl); /* keeps the connection */
    *targets = curl_slist_append(NULL, client->connect_to);
    *headers = curl_slist_append(*headers, bearer);
    *headers = curl_slist_append(*headers, "Content-Type: application/json");
    *headers = curl_slist_append(*headers, "Expect:");
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_CONNECT_TO, *targets);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, *headers);
    curl_easy_setopt(curl, CURLOPT_CAINFO_BLOB, &ca);
    curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https");
    curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_3);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "drover/" DROVER_VERSION);
}

static void set_unreachable(struct client *client, const char *reason, GError **error)
{
    g_set_error(error, CLI_ERROR, CLI_ERROR_FAILED,
                "cannot reach the controller at %s: %s (server and CA are from %s)",
                client->config->server, reason, client->config->path);
}

/* The server's own words, where it has any. */
static void set_refused(long status, const GString *body, GError **error)
{
    json_auto_t *object = json_loadb(body->str, body->len, 0, NULL);
    const char *message =
        json_string_value(json_object_get(json_object_get(object, "error"), "message"));

    if (message)
        g_set_error(error, CLI_ERROR, CLI_ERROR_FAILED, "%s", message);
    else
        g_set_error(error, CLI_ERROR, CLI_ERROR_FAILED, "the controller answered with status %ld",
                    status);
}

/* Performs what has been prepared; false with an error for anything but a 2xx. */
static bool perform(struct client *client, struct answer *answer, long *ret_status, GError **error)
{
    char reason[CURL_ERROR_SIZE] = "";
    long status = 0;
    CURLcode code;

    answer->curl = client->curl;
    curl_easy_setopt(client->curl, CURLOPT_ERRORBUFFER, reason);
    curl_easy_setopt(client->curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(client->curl, CURLOPT_WRITEDATA, answer);
    code = curl_easy_perform(client->curl);
    curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, &status);
    if (ret_status)
        *ret_status = status;
    if (code != CURLE_OK && !answer->stopped) {
        set_unreachable(client, reason[0] ? reason : curl_easy_strerror(code), error);
        return false;
    }
    if (status >= 200 && status < 300)
        return true;
    set_refused(status, answer->body, error);
    return false;
}

json_t *client_request(struct client *client, const char *method, const char *path,
                       const json_t *body, long *ret_status, GError **error)
{
    struct answer answer = {.body = g_string_new(NULL)};
    struct curl_slist *targets, *headers = NULL;
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    json_t *object = NULL;
    json_error_t problem;

    prepare(client, path, &targets, &headers);
    curl_easy_setopt(client->curl, CURLOPT_TIMEOUT, REQUEST_SECONDS);
    curl_easy_setopt(client->curl, CURLOPT_CUSTOMREQUEST, method);
    if (text || strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0)
        curl_easy_setopt(client->curl, CURLOPT_POSTFIELDS, text ? text : "");
    if (perform(client, &answer, ret_status, error)) {
        if (answer.body->len == 0)
            object = json_null();
        else
            object = json_loadb(answer.body->str, answer.body->len, 0, &problem);
        if (!object)
            set_unreachable(client, "its answer is not JSON", error);
    }
    curl_slist_free_all(targets);
    curl_slist_free_all(headers);
    g_string_free(answer.body, TRUE);
    free(text);
    return object;
}

bool client_stream(struct client *client, const char *path,
                   bool (*fn)(void *opaque, const char *bytes, size_t length), void *opaque,
                   GError **error)
{
    struct answer answer = {.body = g_string_new(NULL), .fn = fn, .opaque = opaque};
    struct curl_slist *targets, *headers = NULL;
    bool ok;

    prepare(client, path, &targets, &headers);
    curl_easy_setopt(client->curl, CURLOPT_BUFFERSIZE, 16384L);
    ok = perform(client, &answer, NULL, error);
    curl_slist_free_all(targets);
    curl_slist_free_all(headers);
    g_string_free(answer.body, TRUE);
    return ok;
}

/* ---- upgraded connections -------------------------------------------------------------------- */

struct upgraded {
    CURL *curl;
    curl_socket_t fd;
    GString *early; /* came together with the answer's head */
    gsize early_taken;
};

int upgraded_fd(const struct upgraded *stream)
{
    return stream->early_taken < stream->early->len ? -1 : (int)stream->fd;
}

ssize_t upgraded_read(struct upgraded *stream, void *buffer, size_t size)
{
    size_t n = MIN(size, stream->early->len - stream->early_taken);
    CURLcode code;

    if (n > 0) {
        memcpy(buffer, stream->early->str + stream->early_taken, n);
        stream->early_taken += n;
        return (ssize_t)n;
    }
    code = curl_easy_recv(stream->curl, buffer, size, &n);
    if (code == CURLE_AGAIN)
        return 0;
    return code == CURLE_OK && n > 0 ? (ssize_t)n : -1;
}

bool upgraded_write(struct upgraded *stream, const void *bytes, size_t length)
{
    const char *from = bytes;

    while (length > 0) {
        struct pollfd wait = {.fd = stream->fd, .events = POLLOUT};
        size_t n = 0;
        CURLcode code = curl_easy_send(stream->curl, from, length, &n);

        if (code == CURLE_AGAIN)
            poll(&wait, 1, 1000);
        else if (code != CURLE_OK)
            return false;
        from += n;
        length -= n;
    }
    return true;
}

void upgraded_free(struct upgraded *stream)
{
    if (!stream)
        return;
    if (stream->curl)
        curl_easy_cleanup(stream->curl);
    g_string_free(stream->early, TRUE);
    g_free(stream);
}

static bool send_upgrade(struct client *client, struct upgraded *stream, const char *path,
                         const char *protocol)
{
    g_autofree char *request =
        g_strdup_printf("GET %s HTTP/1.1\r\n"
                        "Host: %s\r\n"
                        "Connection: Upgrade\r\n"
                        "Upgrade: %s\r\n"
                        "Authorization: Bearer %s\r\n\r\n",
                        path, client->config->server_name, protocol, client->config->token);

    return upgraded_write(stream, request, strlen(request));
}

/* Reads until the head's end, and for an error until its body is there too. */
static char *read_head(struct upgraded *stream, GString *in)
{
    char buffer[4096];

    for (;;) {
        struct pollfd wait = {.fd = stream->fd, .events = POLLIN};
        char *end = strstr(in->str, "\r\n\r\n");
        ssize_t n;

        if (end && g_str_has_prefix(in->str, "HTTP/1.1 101"))
            return end + 4;
        n = upgraded_read(stream, buffer, sizeof(buffer));
        if (n > 0)
            g_string_append_len(in, buffer, n);
        else if (n < 0 || poll(&wait, 1, 15000) <= 0)
            return end ? end + 4 : NULL;
        if (end && strchr(end, '}') && in->str[in->len - 1] == '}')
            return end + 4; /* an error's JSON; the connection may stay open */
    }
}

static bool await_upgrade(struct client *client, struct upgraded *stream, GError **error)
{
    g_autoptr(GString) in = g_string_new(NULL);
    char *rest = read_head(stream, in);

    if (!rest) {
        set_unreachable(client, "it did not answer", error);
        return false;
    }
    if (g_str_has_prefix(in->str, "HTTP/1.1 101")) {
        g_string_append_len(stream->early, rest, (gssize)(in->len - (gsize)(rest - in->str)));
        return true;
    }
    g_autoptr(GString) body = g_string_new(rest);
    set_refused((long)g_ascii_strtoll(in->str + strlen("HTTP/1.1 "), NULL, 10), body, error);
    return false;
}

struct upgraded *client_upgrade(struct client *client, const char *path, const char *protocol,
                                GError **error)
{
    struct upgraded *stream = g_new0(struct upgraded, 1);
    struct curl_slist *targets, *headers = NULL;
    char reason[CURL_ERROR_SIZE] = "";
    CURLcode code;

    stream->early = g_string_new(NULL);
    prepare(client, path, &targets, &headers);
    curl_easy_setopt(client->curl, CURLOPT_CONNECT_ONLY, 1L);
    curl_easy_setopt(client->curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(client->curl, CURLOPT_ERRORBUFFER, reason);
    code = curl_easy_perform(client->curl);
    curl_easy_setopt(client->curl, CURLOPT_ERRORBUFFER, NULL);
    stream->curl = client->curl; /* the connection is this handle's; the client gets a new one */
    client->curl = curl_easy_init();
    if (code == CURLE_OK)
        code = curl_easy_getinfo(stream->curl, CURLINFO_ACTIVESOCKET, &stream->fd);
    curl_slist_free_all(headers);
    if (code != CURLE_OK)
        set_unreachable(client, reason[0] ? reason : curl_easy_strerror(code), error);
    else if (send_upgrade(client, stream, path, protocol) && await_upgrade(client, stream, error)) {
        curl_slist_free_all(targets);
        return stream;
    }
    curl_slist_free_all(targets);
    upgraded_free(stream);
    return NULL;
}
