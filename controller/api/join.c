/*
 * Joining: tokens, and the certificate and secret that a new host gets for one.
 *
 * In the store: /jointokens/ID {"hash", "expires" (s), "uses"}; /hostsecrets/NAME {"secret" (hex),
 * "key" (SHA-256 of its public key)}.
 */
#include "controller/api/join.h"
#include "controller/api/call.h"
#include "controller/object/name.h"

#include <string.h>

#define TOKENS        "/jointokens/"
#define SECRETS       "/hostsecrets/"
#define HOURS_DEFAULT 24
#define HOURS_MAX     (24 * 365)

static int64_t wall_seconds(void)
{
    return g_get_real_time() / G_USEC_PER_SEC;
}

/* ---- tokens ---------------------------------------------------------------------------------- */

json_t *join_token_make(struct store *store, const struct credentials *credentials, int64_t hours,
                        GError **error)
{
    g_autofree char *id = pki_random_hex(4), *secret = pki_random_hex(16);
    int64_t expires = wall_seconds() + hours * 3600;
    g_autofree char *key = g_strconcat(TOKENS, id, NULL);
    g_autofree char *hash = g_compute_checksum_for_string(G_CHECKSUM_SHA256, secret, -1);
    json_auto_t *entry =
        json_pack("{s:s, s:I, s:i}", "hash", hash, "expires", (json_int_t)expires, "uses", 0);
    g_autofree char *value = json_dumps(entry, JSON_COMPACT);
    if (!store_put(store, key, value, STORE_ABSENT, NULL, error))
        return NULL;
    g_autofree char *token =
        g_strdup_printf("drover-join:%s.%s:%s", id, secret, credentials_ca_pin(credentials));
    g_autofree char *until = object_time_text(expires);
    return json_pack("{s:s, s:s, s:s}", "id", id, "token", token, "expires", until);
}

/* The entry in the store under prefix and name, or NULL; `ret_revision` may be NULL. */
static json_t *read_entry(struct store *store, const char *prefix, const char *name,
                          uint64_t *ret_revision)
{
    g_autofree char *key = g_strconcat(prefix, name, NULL);
    struct store_entry *entry = store_get(store, key, NULL);
    json_t *value = entry ? json_loads(entry->value, 0, NULL) : NULL;
    if (entry && ret_revision)
        *ret_revision = entry->revision;
    store_entry_free(entry);
    return value;
}

/* `token` is "<id>.<secret>". Counts the use. */
static bool use_token(struct store *store, const char *token)
{
    g_auto(GStrv) parts = g_strsplit(token, ".", 2);
    if (g_strv_length(parts) != 2 || !name_check(parts[0], NULL))
        return false;
    uint64_t revision = 0;
    json_auto_t *entry = read_entry(store, TOKENS, parts[0], &revision);
    g_autofree char *hash = g_compute_checksum_for_string(G_CHECKSUM_SHA256, parts[1], -1);
    if (!entry || !pki_equal(hash, object_string(entry, "hash", "")) ||
        wall_seconds() >= object_integer(entry, "expires", 0))
        return false;
    object_set_integer(entry, "uses", object_integer(entry, "uses", 0) + 1);
    g_autofree char *key = g_strconcat(TOKENS, parts[0], NULL);
    g_autofree char *value = json_dumps(entry, JSON_COMPACT);
    store_put(store, key, value, revision, NULL, NULL);
    return true;
}

void join_token_create(struct api_call *call)
{
    json_auto_t *body = call_body(call, true);
    g_autoptr(GError) error = NULL;
    if (!body)
        return;
    int64_t hours = object_integer(body, "hours", HOURS_DEFAULT);
    if (hours < 1 || hours > HOURS_MAX) {
        call_fail(call, API_BAD_REQUEST, "hours must be 1 to %d", HOURS_MAX);
        return;
    }
    json_auto_t *token = join_token_make(registry_store(call->api->registry),
                                         call->api->config.credentials, hours, &error);
    if (!token) {
        call_fail_store(call, error);
        return;
    }
    g_autofree char *command = g_strdup_printf(
        "drover-agent --controller https://%s:%u --join-token %s", call->api->config.advertise,
        call->api->port, object_string(token, "token", ""));
    object_set_string(token, "command", command);
    call_reply(call, 201, token);
}

void join_token_list(struct api_call *call)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) entries =
        store_list(registry_store(call->api->registry), TOKENS, 0, NULL, &error);
    if (!entries) {
        call_fail_store(call, error);
        return;
    }
    json_t *items = json_array();
    for (guint i = 0; i < entries->len; i++) {
        const struct store_entry *entry = entries->pdata[i];
        json_auto_t *value = json_loads(entry->value, 0, NULL);
        g_autofree char *until = object_time_text(object_integer(value, "expires", 0));
        json_array_append_new(items, json_pack("{s:s, s:s, s:I}", "id", entry->key + strlen(TOKENS),
                                               "expires", until, "uses",
                                               object_integer(value, "uses", 0)));
    }
    json_auto_t *body = json_pack("{s:o}", "items", items);
    call_reply(call, 200, body);
}

void join_token_delete(struct api_call *call)
{
    g_autofree char *key = g_strconcat(TOKENS, call->name, NULL);
    struct store *store = registry_store(call->api->registry);
    struct store_entry *entry = store_get(store, key, NULL);
    json_auto_t *body = json_object();
    g_autoptr(GError) error = NULL;
    if (!entry)
        call_fail(call, API_NOT_FOUND, "there is no join token %s", call->name);
    else if (!store_delete(store, key, STORE_ANY, &error))
        call_fail_store(call, error);
    else
        call_reply(call, 200, body);
    store_entry_free(entry);
}

/* ---- hosts ----------------------------------------------------------------------------------- */

void join_ca(struct api_call *call)
{
    call_reply_text(call, 200, "application/x-pem-file",
                    credentials_ca(call->api->config.credentials));
}

bool join_find_secret(struct store *store, const char *host,
                      uint8_t ret_secret[MESSAGE_SECRET_LENGTH])
{
    if (!name_check(host, NULL))
        return false;
    json_auto_t *entry = read_entry(store, SECRETS, host, NULL);
    const char *hex = object_string(entry, "secret", "");
    if (strlen(hex) != 2 * MESSAGE_SECRET_LENGTH)
        return false;
    for (size_t i = 0; i < MESSAGE_SECRET_LENGTH; i++)
        ret_secret[i] =
            (uint8_t)(g_ascii_xdigit_value(hex[2 * i]) << 4 | g_ascii_xdigit_value(hex[2 * i + 1]));
    return true;
}

/* Makes the host known: its secret, then its object. Both are there already when it joins again
 * with the same key. New reference to the secret's entry, or NULL having answered. */
static json_t *admit_host(struct api_call *call, const char *host, const char *key_hash)
{
    struct store *store = registry_store(call->api->registry);
    g_autoptr(GError) error = NULL;
    json_auto_t *entry = read_entry(store, SECRETS, host, NULL);
    if (entry && strcmp(object_string(entry, "key", ""), key_hash) != 0) {
        call_fail(call, API_EXISTS,
                  "host %s is a member of this cluster with another key; if that host is gone for "
                  "good, remove it first: drover delete host %s",
                  host, host);
        return NULL;
    }
    if (!entry) {
        g_autofree char *secret = pki_random_hex(MESSAGE_SECRET_LENGTH);
        g_autofree char *key = g_strconcat(SECRETS, host, NULL);
        entry = json_pack("{s:s, s:s}", "secret", secret, "key", key_hash);
        g_autofree char *value = json_dumps(entry, JSON_COMPACT);
        if (!store_put(store, key, value, STORE_ABSENT, NULL, &error)) {
            call_fail_store(call, error);
            return NULL;
        }
    }
    if (!registry_get(call->api->registry, &kind_host, NULL, host)) {
        json_auto_t *object =
            json_pack("{s:s, s:s, s:{s:s}, s:{s:b}, s:{s:s, s:b}}", "apiVersion", API_VERSION,
                      "kind", "Host", "metadata", "name", host, "spec", "unschedulable", 0,
                      "status", "phase", "Joined", "ready", 0);
        if (!registry_create(call->api->registry, object, &error)) {
            call_fail_store(call, error);
            return NULL;
        }
        event_record(call->api->cluster, object, false, "Joined", "%s has joined the cluster",
                     host);
    }
    return json_incref(entry);
}

static char *sign(struct api_call *call, const char *csr, const char *host)
{
    const char *names[] = {host, NULL};
    const struct credentials *credentials = call->api->config.credentials;
    g_autoptr(GError) error = NULL;
    char *certificate = pki_sign_csr(csr, host, names, credentials_ca(credentials),
                                     credentials_ca_key(credentials), &error);
    if (!certificate)
        call_fail(call, API_INVALID, "csr: %s", error->message);
    return certificate;
}

void join_host(struct api_call *call)
{
    json_auto_t *body = call_body(call, false);
    struct store *store = registry_store(call->api->registry);
    g_autoptr(GError) error = NULL;
    if (!body)
        return;
    const char *host = object_string(body, "host", ""), *csr = object_string(body, "csr", "");
    if (!use_token(store, object_string(body, "token", ""))) {
        call_fail(call, API_UNAUTHORIZED,
                  "the join token is unknown, wrong or too old: make one with drover-controller "
                  "token create");
        return;
    }
    if (!name_check(host, &error) || strcmp(host, MESSAGE_SERVER_NAME) == 0) {
        call_fail(call, API_INVALID, "host: %s",
                  error ? error->message : "that is the controller's own name");
        return;
    }
    g_autofree char *certificate = sign(call, csr, host);
    g_autofree char *key_hash = certificate ? pki_public_key_sha256(certificate, NULL) : NULL;
    json_auto_t *entry = key_hash ? admit_host(call, host, key_hash) : NULL;
    if (!entry)
        return;
    cluster_touch(call->api->cluster);
    json_auto_t *reply = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:i}", "host", host, "clusterId", call->api->cluster->id,
        "certificate", certificate, "ca", credentials_ca(call->api->config.credentials), "secret",
        object_string(entry, "secret", ""), "agentScheme", call->api->config.agent_scheme,
        "agentPort", (int)call->api->config.agent_port);
    call_reply(call, 200, reply);
}
