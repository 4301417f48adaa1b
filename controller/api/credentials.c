#include "controller/api/credentials.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ADMIN_KEY         "/auth/admin"
#define ADMIN_TOKEN_BYTES 32

struct credentials {
    char *data_dir, *address, *config_path;
    char *ca, *ca_key, *ca_pin;
    char *certificate, *key;
    char *admin_hash;
    char *admin_token; /* known only when it was made now, or read from drover.yaml */
};

static bool write_secret(const char *path, const char *text, int mode, GError **error)
{
    return g_file_set_contents_full(
        path, text, -1, G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE, mode, error);
}

static char *pki_path(const struct credentials *self, const char *name)
{
    return g_build_filename(self->data_dir, "pki", name, NULL);
}

static bool exists(const char *path)
{
    return g_file_test(path, G_FILE_TEST_EXISTS);
}

/* The key is written before the certificate: a certificate that is there has its key. */
static bool open_ca(struct credentials *self, GError **error)
{
    g_autofree char *certificate_path = pki_path(self, "ca.crt");
    g_autofree char *key_path = pki_path(self, "ca.key");
    if (exists(certificate_path))
        return g_file_get_contents(certificate_path, &self->ca, NULL, error) &&
               g_file_get_contents(key_path, &self->ca_key, NULL, error);
    self->ca_key = pki_make_key(error);
    self->ca = self->ca_key ? pki_make_ca(self->ca_key, "drover cluster CA", error) : NULL;
    return self->ca && write_secret(key_path, self->ca_key, 0600, error) &&
           write_secret(certificate_path, self->ca, 0644, error);
}

/* All names and addresses a client may reach us by. */
static GPtrArray *own_names(const struct credentials *self)
{
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    const char *const fixed[] = {MESSAGE_SERVER_NAME, "localhost", g_get_host_name(),
                                 self->address};
    for (size_t i = 0; i < G_N_ELEMENTS(fixed); i++)
        if (!g_ptr_array_find_with_equal_func(names, fixed[i], g_str_equal, NULL))
            g_ptr_array_add(names, g_strdup(fixed[i]));
    struct ifaddrs *list = NULL;
    if (getifaddrs(&list) == 0)
        for (struct ifaddrs *at = list; at; at = at->ifa_next) {
            char text[NI_MAXHOST];
            int family = at->ifa_addr ? at->ifa_addr->sa_family : AF_UNSPEC;
            socklen_t length =
                family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
            if ((family != AF_INET && family != AF_INET6) ||
                getnameinfo(at->ifa_addr, length, text, sizeof(text), NULL, 0, NI_NUMERICHOST) ||
                strchr(text, '%') ||
                g_ptr_array_find_with_equal_func(names, text, g_str_equal, NULL))
                continue;
            g_ptr_array_add(names, g_strdup(text));
        }
    freeifaddrs(list);
    g_ptr_array_add(names, NULL);
    return names;
}

/* Signed anew at each start, with the addresses of now. */
static bool make_own(struct credentials *self, GError **error)
{
    g_autofree char *key_path = pki_path(self, "controller.key");
    g_autofree char *certificate_path = pki_path(self, "controller.crt");
    g_autoptr(GPtrArray) names = own_names(self);
    if (!exists(key_path)) {
        self->key = pki_make_key(error);
        if (!self->key || !write_secret(key_path, self->key, 0600, error))
            return false;
    } else if (!g_file_get_contents(key_path, &self->key, NULL, error))
        return false;
    g_autofree char *csr = pki_make_csr(self->key, MESSAGE_SERVER_NAME, error);
    if (!csr)
        return false;
    self->certificate = pki_sign_csr(csr, MESSAGE_SERVER_NAME, (const char *const *)names->pdata,
                                     self->ca, self->ca_key, error);
    return self->certificate && write_secret(certificate_path, self->certificate, 0600, error);
}

/* The value of "token: …" in the drover.yaml we wrote, or NULL. */
static char *token_in_config(const struct credentials *self)
{
    g_autofree char *text = NULL;
    if (!g_file_get_contents(self->config_path, &text, NULL, NULL))
        return NULL;
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line; line++)
        if (g_str_has_prefix(*line, "token: "))
            return g_strdup(g_strstrip(*line + strlen("token: ")));
    return NULL;
}

/* The token stands in drover.yaml alone; the store has its hash. Without the file there is a new
 * token. */
static bool open_admin(struct credentials *self, struct store *store, GError **error)
{
    struct store_entry *entry = store_get(store, ADMIN_KEY, NULL);
    g_autofree char *known = entry ? g_strdup(entry->value) : NULL;
    store_entry_free(entry);
    self->admin_token = token_in_config(self);
    if (self->admin_token) {
        g_autofree char *hash =
            g_compute_checksum_for_string(G_CHECKSUM_SHA256, self->admin_token, -1);
        if (g_strcmp0(hash, known) != 0)
            g_clear_pointer(&self->admin_token, g_free);
    }
    if (!self->admin_token && known && exists(self->config_path)) {
        self->admin_hash = g_steal_pointer(&known); /* the file is another's; the token stays */
        return true;
    }
    if (!self->admin_token)
        self->admin_token = pki_random_hex(ADMIN_TOKEN_BYTES);
    self->admin_hash = g_compute_checksum_for_string(G_CHECKSUM_SHA256, self->admin_token, -1);
    return store_put(store, ADMIN_KEY, self->admin_hash, STORE_ANY, NULL, error);
}

struct credentials *credentials_open(const char *data_dir, struct store *store, const char *address,
                                     GError **error)
{
    struct credentials *self = g_new0(struct credentials, 1);
    self->data_dir = g_strdup(data_dir);
    self->address = g_strdup(address);
    self->config_path = g_build_filename(data_dir, "drover.yaml", NULL);
    g_autofree char *folder = g_build_filename(data_dir, "pki", NULL);
    if (g_mkdir_with_parents(folder, 0700) != 0) {
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno), "making the folder %s: %s",
                    folder, g_strerror(errno));
        credentials_free(self);
        return NULL;
    }
    if (!open_ca(self, error) || !(self->ca_pin = pki_certificate_sha256(self->ca, error)) ||
        !make_own(self, error) || !open_admin(self, store, error)) {
        g_prefix_error(error, "the cluster's keys in %s: ", folder);
        credentials_free(self);
        return NULL;
    }
    return self;
}

bool credentials_write_config(struct credentials *self, uint16_t port, GError **error)
{
    bool v6 = strchr(self->address, ':') != NULL;
    if (!self->admin_token)
        return true;
    g_autoptr(GString) text = g_string_new("# How an administrator reaches this cluster. Keep it "
                                           "secret: whoever has it rules the cluster.\n");
    g_string_append_printf(text, "server: https://%s%s%s:%u\n", v6 ? "[" : "", self->address,
                           v6 ? "]" : "", port);
    g_string_append(text, "serverName: " MESSAGE_SERVER_NAME "\nca: |\n");
    g_auto(GStrv) lines = g_strsplit(self->ca, "\n", -1);
    for (char **line = lines; *line; line++)
        if (**line)
            g_string_append_printf(text, "  %s\n", *line);
    g_string_append_printf(text, "token: %s\n", self->admin_token);
    g_autofree char *now = NULL;
    if (g_file_get_contents(self->config_path, &now, NULL, NULL) && strcmp(now, text->str) == 0)
        return true;
    return write_secret(self->config_path, text->str, 0600, error);
}

void credentials_free(struct credentials *self)
{
    if (!self)
        return;
    char *const texts[] = {self->data_dir,   self->address,    self->config_path, self->ca,
                           self->ca_key,     self->ca_pin,     self->certificate, self->key,
                           self->admin_hash, self->admin_token};
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++)
        g_free(texts[i]);
    g_free(self);
}

const char *credentials_ca(const struct credentials *self)
{
    return self->ca;
}

const char *credentials_ca_key(const struct credentials *self)
{
    return self->ca_key;
}

const char *credentials_ca_pin(const struct credentials *self)
{
    return self->ca_pin;
}

const char *credentials_config_path(const struct credentials *self)
{
    return self->config_path;
}

const char *credentials_admin_hash(const struct credentials *self)
{
    return self->admin_hash;
}

struct message_tls credentials_message_tls(const struct credentials *self)
{
    return (struct message_tls){self->ca, self->certificate, self->key};
}

SSL_CTX *credentials_rest_tls(const struct credentials *self, GError **error)
{
    return pki_tls_context(true, false, self->ca, self->certificate, self->key, error);
}
