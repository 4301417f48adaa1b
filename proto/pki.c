#include "proto/pki.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <string.h>

#define YEAR_SECONDS (365L * 24 * 3600)
#define CA_YEARS     10
#define MEMBER_YEARS 10

G_DEFINE_QUARK(pki - error - quark, pki_error)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(EVP_PKEY, EVP_PKEY_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(X509, X509_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(X509_REQ, X509_REQ_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BIO, BIO_free_all)

/* Sets `error` from OpenSSL's queue and empties it. */
static void set_error(GError **error, enum pki_error code, const char *what)
{
    unsigned long number = ERR_get_error();
    char reason[256] = "no reason given";
    if (number != 0)
        ERR_error_string_n(number, reason, sizeof(reason));
    ERR_clear_error();
    g_set_error(error, PKI_ERROR, code, "%s: %s", what, reason);
}

static char *bio_text(BIO *bio)
{
    char *data = NULL;
    long length = BIO_get_mem_data(bio, &data);
    return g_strndup(data, (gsize)length);
}

static EVP_PKEY *read_key(const char *pem, GError **error)
{
    g_autoptr(BIO) bio = BIO_new_mem_buf(pem, -1);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    if (!key)
        set_error(error, PKI_ERROR_INVALID, "reading a private key (PEM)");
    return key;
}

static X509 *read_certificate(const char *pem, GError **error)
{
    g_autoptr(BIO) bio = BIO_new_mem_buf(pem, -1);
    X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    if (!certificate)
        set_error(error, PKI_ERROR_INVALID, "reading a certificate (PEM)");
    return certificate;
}

static char *certificate_pem(X509 *certificate)
{
    g_autoptr(BIO) bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, certificate);
    return bio_text(bio);
}

char *pki_make_key(GError **error)
{
    g_autoptr(EVP_PKEY) key = EVP_EC_gen("P-256");
    g_autoptr(BIO) bio = BIO_new(BIO_s_mem());
    if (!key || PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1) {
        set_error(error, PKI_ERROR_FAILED, "making an EC P-256 key");
        return NULL;
    }
    return bio_text(bio);
}

static bool set_name(X509_NAME *name, const char *common_name)
{
    return X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)common_name,
                                      -1, -1, 0) == 1;
}

char *pki_make_csr(const char *key_pem, const char *common_name, GError **error)
{
    g_autoptr(EVP_PKEY) key = read_key(key_pem, error);
    if (!key)
        return NULL;
    g_autoptr(X509_REQ) request = X509_REQ_new();
    g_autoptr(BIO) bio = BIO_new(BIO_s_mem());
    if (X509_REQ_set_version(request, X509_REQ_VERSION_1) != 1 ||
        !set_name(X509_REQ_get_subject_name(request), common_name) ||
        X509_REQ_set_pubkey(request, key) != 1 || X509_REQ_sign(request, key, EVP_sha256()) <= 0 ||
        PEM_write_bio_X509_REQ(bio, request) != 1) {
        set_error(error, PKI_ERROR_FAILED, "making a certificate request");
        return NULL;
    }
    return bio_text(bio);
}

static bool set_serial(X509 *certificate)
{
    BIGNUM *number = BN_new();
    bool ok = BN_rand(number, 127, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) == 1 &&
              BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != NULL;
    BN_free(number);
    return ok;
}

static bool add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    bool ok = extension && X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return ok;
}

/* Version, serial number and times; an hour back, for clocks that differ. */
static bool begin_certificate(X509 *certificate, long years)
{
    return X509_set_version(certificate, X509_VERSION_3) == 1 && set_serial(certificate) &&
           X509_gmtime_adj(X509_getm_notBefore(certificate), -3600) &&
           X509_gmtime_adj(X509_getm_notAfter(certificate), years * YEAR_SECONDS);
}

char *pki_make_ca(const char *key_pem, const char *common_name, GError **error)
{
    g_autoptr(EVP_PKEY) key = read_key(key_pem, error);
    if (!key)
        return NULL;
    g_autoptr(X509) ca = X509_new();
    if (!begin_certificate(ca, CA_YEARS) || !set_name(X509_get_subject_name(ca), common_name) ||
        X509_set_issuer_name(ca, X509_get_subject_name(ca)) != 1 || X509_set_pubkey(ca, key) != 1 ||
        !add_extension(ca, ca, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
        !add_extension(ca, ca, NID_key_usage, "critical,keyCertSign,cRLSign") ||
        !add_extension(ca, ca, NID_subject_key_identifier, "hash") ||
        X509_sign(ca, key, EVP_sha256()) <= 0) {
        set_error(error, PKI_ERROR_FAILED, "making the cluster's CA certificate");
        return NULL;
    }
    return certificate_pem(ca);
}

static bool add_names(X509 *certificate, X509 *ca, const char *const *names)
{
    g_autoptr(GString) text = g_string_new(NULL);
    for (; *names; names++) {
        ASN1_OCTET_STRING *address = a2i_IPADDRESS(*names);
        g_string_append_printf(text, "%s%s:%s", text->len ? "," : "", address ? "IP" : "DNS",
                               *names);
        ASN1_OCTET_STRING_free(address);
    }
    return text->len == 0 || add_extension(certificate, ca, NID_subject_alt_name, text->str);
}

static X509_REQ *read_csr(const char *pem, const char *common_name, GError **error)
{
    g_autoptr(BIO) bio = BIO_new_mem_buf(pem, -1);
    g_autoptr(X509_REQ) request = PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);
    char name[256] = "";
    if (!request) {
        set_error(error, PKI_ERROR_INVALID, "reading the certificate request (PEM)");
        return NULL;
    }
    EVP_PKEY *key = X509_REQ_get0_pubkey(request);
    if (!key || X509_REQ_verify(request, key) != 1) {
        set_error(error, PKI_ERROR_INVALID, "the certificate request's own signature");
        return NULL;
    }
    X509_NAME_get_text_by_NID(X509_REQ_get_subject_name(request), NID_commonName, name,
                              sizeof(name));
    if (common_name && strcmp(name, common_name) != 0) {
        g_set_error(error, PKI_ERROR, PKI_ERROR_INVALID,
                    "the certificate request is for \"%s\", not for \"%s\"", name, common_name);
        return NULL;
    }
    return g_steal_pointer(&request);
}

char *pki_sign_csr(const char *csr_pem, const char *common_name, const char *const *names,
                   const char *ca_pem, const char *ca_key_pem, GError **error)
{
    g_autoptr(X509_REQ) request = read_csr(csr_pem, common_name, error);
    g_autoptr(X509) ca = request ? read_certificate(ca_pem, error) : NULL;
    g_autoptr(EVP_PKEY) ca_key = ca ? read_key(ca_key_pem, error) : NULL;
    if (!ca_key)
        return NULL;
    g_autoptr(X509) certificate = X509_new();
    if (!begin_certificate(certificate, MEMBER_YEARS) ||
        !set_name(X509_get_subject_name(certificate), common_name) ||
        X509_set_issuer_name(certificate, X509_get_subject_name(ca)) != 1 ||
        X509_set_pubkey(certificate, X509_REQ_get0_pubkey(request)) != 1 ||
        !add_extension(certificate, ca, NID_basic_constraints, "critical,CA:FALSE") ||
        !add_extension(certificate, ca, NID_key_usage, "critical,digitalSignature") ||
        !add_extension(certificate, ca, NID_ext_key_usage, "serverAuth,clientAuth") ||
        !add_extension(certificate, ca, NID_authority_key_identifier, "keyid") ||
        !add_names(certificate, ca, names) || X509_sign(certificate, ca_key, EVP_sha256()) <= 0) {
        set_error(error, PKI_ERROR_FAILED, "signing a certificate");
        return NULL;
    }
    return certificate_pem(certificate);
}

static char *hex_of_digest(const unsigned char *data, size_t length)
{
    return g_compute_checksum_for_data(G_CHECKSUM_SHA256, data, length);
}

char *pki_certificate_sha256(const char *pem, GError **error)
{
    g_autoptr(X509) certificate = read_certificate(pem, error);
    unsigned char *der = NULL;
    if (!certificate)
        return NULL;
    int length = i2d_X509(certificate, &der);
    char *hex = hex_of_digest(der, (size_t)MAX(length, 0));
    OPENSSL_free(der);
    return hex;
}

char *pki_public_key_sha256(const char *pem, GError **error)
{
    unsigned char *der = NULL;
    int length = 0;
    if (strstr(pem, "CERTIFICATE REQUEST")) {
        g_autoptr(X509_REQ) request = read_csr(pem, NULL, error);
        if (!request)
            return NULL;
        length = i2d_PUBKEY(X509_REQ_get0_pubkey(request), &der);
    } else {
        g_autoptr(X509) certificate = read_certificate(pem, error);
        if (!certificate)
            return NULL;
        length = i2d_PUBKEY(X509_get0_pubkey(certificate), &der);
    }
    char *hex = hex_of_digest(der, (size_t)MAX(length, 0));
    OPENSSL_free(der);
    return hex;
}

bool pki_certificate_expiry(const char *pem, int64_t *ret_seconds, GError **error)
{
    g_autoptr(X509) certificate = read_certificate(pem, error);
    struct tm end;
    if (!certificate)
        return false;
    if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &end) != 1) {
        set_error(error, PKI_ERROR_INVALID, "reading when a certificate ends");
        return false;
    }
    *ret_seconds = timegm(&end);
    return true;
}

/* ---- TLS ------------------------------------------------------------------------------------- */

static bool load_trust(SSL_CTX *context, const char *ca_pem, GError **error)
{
    g_autoptr(X509) ca = read_certificate(ca_pem, error);
    if (!ca)
        return false;
    if (X509_STORE_add_cert(SSL_CTX_get_cert_store(context), ca) != 1 ||
        SSL_CTX_add_client_CA(context, ca) != 1) {
        set_error(error, PKI_ERROR_FAILED, "trusting the cluster's CA");
        return false;
    }
    return true;
}

static bool load_own(SSL_CTX *context, const char *certificate_text, const char *key_text,
                     GError **error)
{
    g_autoptr(X509) certificate = read_certificate(certificate_text, error);
    g_autoptr(EVP_PKEY) key = certificate ? read_key(key_text, error) : NULL;
    if (!key)
        return false;
    if (SSL_CTX_use_certificate(context, certificate) != 1 ||
        SSL_CTX_use_PrivateKey(context, key) != 1 || SSL_CTX_check_private_key(context) != 1) {
        set_error(error, PKI_ERROR_INVALID, "the certificate and its private key");
        return false;
    }
    return true;
}

SSL_CTX *pki_tls_context(bool server, bool peer_certificate, const char *ca_pem,
                         const char *certificate, const char *key, GError **error)
{
    SSL_CTX *context = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
    if (!context || SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1) {
        set_error(error, PKI_ERROR_FAILED, "making a TLS 1.3 context");
        SSL_CTX_free(context);
        return NULL;
    }
    if ((ca_pem && !load_trust(context, ca_pem, error)) ||
        (certificate && !load_own(context, certificate, key, error))) {
        SSL_CTX_free(context);
        return NULL;
    }
    int verify = SSL_VERIFY_NONE;
    if (server ? peer_certificate : ca_pem != NULL)
        verify = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(context, verify, NULL);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    return context;
}

bool pki_expect_name(SSL *ssl, const char *name, GError **error)
{
    if (SSL_set1_host(ssl, name) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1)
        return true;
    set_error(error, PKI_ERROR_FAILED, "setting the name to expect of a TLS peer");
    return false;
}

char *pki_peer_name(const SSL *ssl)
{
    g_autoptr(X509) certificate = SSL_get1_peer_certificate(ssl);
    char name[256];
    if (!certificate || SSL_get_verify_result(ssl) != X509_V_OK ||
        X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name,
                                  sizeof(name)) < 0)
        return NULL;
    return g_strdup(name);
}

char *pki_random_hex(size_t length)
{
    g_autofree unsigned char *bytes = g_malloc(length);
    char *hex = g_malloc(2 * length + 1);
    if (RAND_bytes(bytes, (int)length) != 1) {
        g_free(hex);
        return NULL;
    }
    for (size_t i = 0; i < length; i++) {
        hex[2 * i] = "0123456789abcdef"[bytes[i] >> 4];
        hex[2 * i + 1] = "0123456789abcdef"[bytes[i] & 15];
    }
    hex[2 * length] = '\0';
    return hex;
}

bool pki_equal(const char *left, const char *right)
{
    if (!left || !right)
        return false;
    size_t length = strlen(left);
    return length == strlen(right) && CRYPTO_memcmp(left, right, length) == 0;
}
