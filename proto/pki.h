/*
 * Keys, certificate requests and certificates as PEM texts (OpenSSL 3), for joining a cluster and
 * for TLS between its members.
 *
 * Keys are EC P-256. Every certificate is signed by the cluster's one CA. Hosts have CN and DNS
 * name = their name; the controller's DNS names hold "drover-controller", which no host may have.
 */
#pragma once

#include <glib.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

enum pki_error {
    PKI_ERROR_FAILED,  /* OpenSSL said no; the message has its reason */
    PKI_ERROR_INVALID, /* not a PEM of that sort, or it does not match */
    PKI_ERROR_COUNT,
};
#define PKI_ERROR pki_error_quark()
GQuark pki_error_quark(void);

/* A new private key, PEM (PKCS#8, not encrypted). Caller frees. */
char *pki_make_key(GError **error);
/* A PKCS#10 request with CN = `common_name`, signed by `key_pem`. Caller frees. */
char *pki_make_csr(const char *key_pem, const char *common_name, GError **error);
/* A self-signed CA certificate for ten years. Caller frees. */
char *pki_make_ca(const char *key_pem, const char *common_name, GError **error);
/* Signs a request whose own signature and CN (= `common_name`) are checked first. Good for TLS
 * clients and servers. `names` are DNS names or addresses for subjectAltName, ended with NULL.
 * Caller frees. */
char *pki_sign_csr(const char *csr_pem, const char *common_name, const char *const *names,
                   const char *ca_pem, const char *ca_key_pem, GError **error);
/* 64 lower-case hex digits of the certificate's DER. Caller frees. */
char *pki_certificate_sha256(const char *certificate_pem, GError **error);
/* The same of the public key of a request or certificate: tells whether a host has another key. */
char *pki_public_key_sha256(const char *csr_or_certificate_pem, GError **error);
/* Seconds since 1970 when it ends. */
bool pki_certificate_expiry(const char *certificate_pem, int64_t *ret_seconds, GError **error);

/* A TLS 1.3 context with our certificate, trusting the cluster's CA alone. `server` false: for
 * connecting; the peer must have a certificate of the CA (check its name with
 * pki_expect_name() before the handshake, or pki_peer_name() after it). `server` true: for
 * accepting; `peer_certificate` says whether clients must have one (agents' transfers) or need
 * none (REST). A client with a NULL `ca_pem` checks nobody: only for fetching the CA certificate
 * itself, which is then compared with a known hash. certificate and key may be NULL for a client
 * without one. Caller SSL_CTX_free()s. */
SSL_CTX *pki_tls_context(bool server, bool peer_certificate, const char *ca_pem,
                         const char *certificate_pem, const char *key_pem, GError **error);
/* Makes the handshake fail unless the peer's certificate has this DNS name; sends it as SNI. */
bool pki_expect_name(SSL *ssl, const char *name, GError **error);
/* CN of the verified peer, or NULL. Caller frees. */
char *pki_peer_name(const SSL *ssl);

/* `length` random bytes as lower-case hex; NULL if the system has none to give. Caller frees. */
char *pki_random_hex(size_t length);
/* In time that depends on the lengths only. NULL is equal to nothing. */
bool pki_equal(const char *left, const char *right);
