#include "agent/identity.h"

#include <curl/curl.h>
#include <jansson.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/files.h"
#include "proto/pki.h"

#define REPLY_MAX (256 * 1024) /* bytes of a reply; a joining host expects a few KiB */

/* ---- HTTP to the controller ------------------------------------------------------------------ */

struct reply {
    GString *body;
    long status;
};

static size_t collect(char *bytes, size_t size, size_t count, void *opaque)
{
    struct reply *reply = opaque;

    if (reply->body->len + size * count > REPLY_MAX)
        return 0;
    g_string_append_len(reply->body, bytes, (gssize)(size * count));
    return size * count;
}

/* The controller's certificate names it "drover-controller", whatever address it is reached by: the
 * URL carries that name and CURLOPT_CONNECT_TO the address. */
static bool request(const struct identity *identity, const char *path, const char *body,
                    struct reply *reply, GError **error)
{
    g_autofree char *url =
        g_strdup_printf("https://%s:%u%s", MESSAGE_SERVER_NAME, identity->rest_port, path);
    g_autofree char *connect_to =
        g_strdup_printf("::%s:%u", identity->rest_host, identity->rest_port);
    struct curl_slist *targets = curl_slist_append(NULL, connect_to);
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    char reason[CURL_ERROR_SIZE] = "";
    CURL *curl = curl_easy_init();
    CURLcode code;

    reply->body = g_string_new(NULL);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_CONNECT_TO, targets);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, reason);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, 30L);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, collect);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, reply);
    if (identity->ca) {
        struct curl_blob ca = {identity->ca, strlen(identity->ca), CURL_BLOB_COPY};

        curl_easy_setopt(curl, CURLOPT_CAINFO_BLOB, &ca);
    } else { /* only for fetching the CA, which the token's hash then proves */
        curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    if (body) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
        curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    }
    code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &reply->status);
    curl_easy_cleanup(curl);
    curl_slist_free_all(targets);
    curl_slist_free_all(headers);
    if (code == CURLE_OK)
        return true;
    g_set_error(error, AGENT_ERROR, AGENT_ERROR_FAILED, "cannot reach the controller at %s:%u: %s",
                identity->rest_host, identity->rest_port,
                reason[0] ? reason : curl_easy_strerror(code));
    return false;
}

/* ---- joining --------------------------------------------------------------------------------- */

struct join_token {
    char *credential; /* "<id>.<secret>" */
    char *ca_sha256;
};

static bool parse_token(const char *text, struct join_token *ret, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(text, ":", 3);

    if (g_strv_length(parts) != 3 || strcmp(parts[0], "drover-join") != 0 ||
        !strchr(parts[1], '.') || strlen(parts[2]) != 64) {
        g_set_error_literal(error, AGENT_ERROR, AGENT_ERROR_CONFIG,
                            "this is no join token; one looks like drover-join:ID.SECRET:SHA256 "
                            "and is printed by drover-controller token create");
        return false;
    }
    ret->credential = g_strdup(parts[1]);
    ret->ca_sha256 = g_strdup(parts[2]);
    return true;
}

static bool fetch_ca(struct identity *identity, const char *expected, GError **error)
{
    g_autofree char *hash = NULL;
    struct reply reply = {0};
    bool ok = request(identity, "/api/v1/ca", NULL, &reply, error);

    if (ok && reply.status == 200)
        hash = pki_certificate_sha256(reply.body->str, NULL);
    if (ok && !pki_equal(hash, expected)) {
        g_set_error(error, AGENT_ERROR, AGENT_ERROR_FAILED,
                    "the controller at %s:%u is not the one the join token is from: its CA has "
                    "another hash; make a new token there, or check the address",
                    identity->rest_host, identity->rest_port);
        ok = false;
    }
    if (ok)
        identity->ca = g_strdup(reply.body->str);
    g_string_free(reply.body, TRUE);
    return ok;
}

static bool decode_secret(const char *hex, uint8_t secret[MESSAGE_SECRET_LENGTH])
{
    if (!hex || strlen(hex) != MESSAGE_SECRET_LENGTH * 2)
        return false;
    for (size_t i = 0; i < MESSAGE_SECRET_LENGTH; i++) {
        int high = g_ascii_xdigit_value(hex[2 * i]), low = g_ascii_xdigit_value(hex[2 * i + 1]);

        if (high < 0 || low < 0)
            return false;
        secret[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static char *member(const json_t *object, const char *key)
{
    return g_strdup(json_string_value(json_object_get(object, key)));
}

static bool take_membership(struct identity *identity, const json_t *object, GError **error)
{
    identity->cluster_id = member(object, "clusterId");
    identity->certificate = member(object, "certificate");
    if (!identity->cluster_id || !identity->certificate || !identity->endpoint ||
        !decode_secret(json_string_value(json_object_get(object, "secret")), identity->secret)) {
        g_set_error_literal(error, AGENT_ERROR, AGENT_ERROR_FAILED,
                            "what the controller answered to the join is incomplete");
        return false;
    }
    return true;
}

static void set_endpoint(struct identity *identity, const json_t *object)
{
    const char *scheme = json_string_value(json_object_get(object, "agentScheme"));
    json_int_t port = json_integer_value(json_object_get(object, "agentPort"));
    bool v6 = strchr(identity->rest_host, ':') != NULL;

    if (scheme && port > 0 && port <= UINT16_MAX)
        identity->endpoint = g_strdup_printf("%s://%s%s%s:%d", scheme, v6 ? "[" : "",
                                             identity->rest_host, v6 ? "]" : "", (int)port);
}

static bool take_reply(struct identity *identity, const struct reply *reply, GError **error)
{
    json_auto_t *object = json_loadb(reply->body->str, reply->body->len, 0, NULL);

    if (reply->status != 200) {
        const char *message =
            json_string_value(json_object_get(json_object_get(object, "error"), "message"));

        g_set_error(error, AGENT_ERROR, AGENT_ERROR_FAILED,
                    "the controller refuses to let %s join: %s (status %ld)", identity->host,
                    message ? message : "no reason given", reply->status);
        return false;
    }
    set_endpoint(identity, object);
    return take_membership(identity, object, error);
}

static bool post_join(struct identity *identity, const char *credential, GError **error)
{
    g_autofree char *csr = pki_make_csr(identity->key, identity->host, error);
    struct reply reply = {0};
    json_auto_t *object = NULL;
    char *body;
    bool ok;

    if (!csr)
        return false;
    object = json_pack("{s:s, s:s, s:s}", "token", credential, "host", identity->host, "csr", csr);
    body = json_dumps(object, JSON_COMPACT);
    ok = request(identity, "/api/v1/join", body, &reply, error) &&
         take_reply(identity, &reply, error);
    free(body);
    g_string_free(reply.body, TRUE);
    return ok;
}

/* ---- the folder ------------------------------------------------------------------------------ */

static bool save_text(const char *folder, const char *name, const char *text, GError **error)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);

    return file_replace(path, text, strlen(text), 0600, error);
}

/* member.json last: an identity without it was never finished. */
static bool save(const struct identity *identity, const char *folder, GError **error)
{
    g_autoptr(GString) hex = g_string_new(NULL);
    json_auto_t *object = NULL;
    char *text;
    bool ok;

    for (size_t i = 0; i < MESSAGE_SECRET_LENGTH; i++)
        g_string_append_printf(hex, "%02x", identity->secret[i]);
    object = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:i}", "host", identity->host, "clusterId",
                       identity->cluster_id, "secret", hex->str, "endpoint", identity->endpoint,
                       "certificate", identity->certificate, "restHost", identity->rest_host,
                       "restPort", (int)identity->rest_port);
    text = json_dumps(object, JSON_INDENT(2));
    ok = save_text(folder, "ca.pem", identity->ca, error) &&
         save_text(folder, "member.json", text, error);
    free(text);
    return ok;
}

static char *load_text(const char *folder, const char *name)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    char *text = NULL;

    g_file_get_contents(path, &text, NULL, NULL);
    return text;
}

/* The key outlives a failed join: repeating the join with it gives the same membership. */
static bool ensure_key(struct identity *identity, const char *folder, GError **error)
{
    identity->key = load_text(folder, "key.pem");
    if (identity->key)
        return true;
    identity->key = pki_make_key(error);
    return identity->key && save_text(folder, "key.pem", identity->key, error);
}

static bool load_member(struct identity *identity, const char *folder, const json_t *object,
                        GError **error)
{
    g_autofree char *host = member(object, "host");

    if (g_strcmp0(host, identity->host) != 0) {
        g_set_error(error, AGENT_ERROR, AGENT_ERROR_CONFIG,
                    "%s belongs to host %s, not %s; give --name %s or another --data folder",
                    folder, host ? host : "(none)", identity->host, host ? host : "NAME");
        return false;
    }
    identity->ca = load_text(folder, "ca.pem");
    identity->endpoint = member(object, "endpoint");
    g_free(identity->rest_host);
    identity->rest_host = member(object, "restHost");
    identity->rest_port = (uint16_t)json_integer_value(json_object_get(object, "restPort"));
    if (!identity->ca || !identity->rest_host) {
        g_set_error(error, AGENT_ERROR, AGENT_ERROR_FAILED,
                    "%s is damaged; remove it and join again with a new token", folder);
        return false;
    }
    return take_membership(identity, object, error);
}

static bool parse_controller(struct identity *identity, const char *url, GError **error)
{
    g_autoptr(GUri) uri = url ? g_uri_parse(url, G_URI_FLAGS_NONE, NULL) : NULL;

    if (!uri || g_strcmp0(g_uri_get_scheme(uri), "https") != 0 || !g_uri_get_host(uri) ||
        g_uri_get_port(uri) <= 0) {
        g_set_error(error, AGENT_ERROR, AGENT_ERROR_CONFIG,
                    "\"%s\" is no controller address; write --controller https://HOST:PORT",
                    url ? url : "");
        return false;
    }
    identity->rest_host = g_strdup(g_uri_get_host(uri));
    identity->rest_port = (uint16_t)g_uri_get_port(uri);
    return true;
}

static bool join(struct identity *identity, const char *folder, const char *controller,
                 const char *join_token, GError **error)
{
    struct join_token token = {0};
    bool ok;

    if (!join_token) {
        g_set_error(error, AGENT_ERROR, AGENT_ERROR_CONFIG,
                    "%s is a member of no cluster yet: give --join-token (drover-controller token "
                    "create prints one)",
                    identity->host);
        return false;
    }
    ok = parse_token(join_token, &token, error) && parse_controller(identity, controller, error) &&
         fetch_ca(identity, token.ca_sha256, error) && ensure_key(identity, folder, error) &&
         post_join(identity, token.credential, error) && save(identity, folder, error);
    g_free(token.credential);
    g_free(token.ca_sha256);
    if (ok)
        g_message("joined cluster %s as %s", identity->cluster_id, identity->host);
    return ok;
}

struct identity *identity_open(const char *folder, const char *host, const char *controller,
                               const char *join_token, GError **error)
{
    struct identity *identity = g_new0(struct identity, 1);
    g_autofree char *text = NULL;
    bool ok;

    identity->host = g_strdup(host);
    ok = folder_make(folder, 0700, error);
    text = load_text(folder, "member.json");
    if (ok && text) {
        json_auto_t *object = json_loads(text, 0, NULL);

        ok = ensure_key(identity, folder, error) && load_member(identity, folder, object, error);
    } else if (ok) {
        ok = join(identity, folder, controller, join_token, error);
    }
    if (ok)
        return identity;
    identity_free(identity);
    return NULL;
}

void identity_free(struct identity *identity)
{
    if (!identity)
        return;
    g_free(identity->host);
    g_free(identity->cluster_id);
    g_free(identity->ca);
    g_free(identity->certificate);
    g_free(identity->key);
    g_free(identity->endpoint);
    g_free(identity->rest_host);
    g_free(identity);
}
