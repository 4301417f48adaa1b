/* Certificates of the cluster's CA, and the message layer over TLS with them. */
#include "proto/message.h"
#include "proto/pki.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t secret[MESSAGE_SECRET_LENGTH] = "alpha's secret, thirty-two bytes";

struct member {
    char *key, *certificate;
};

static struct member make_member(const char *name, const char *ca, const char *ca_key)
{
    const char *names[] = {name, "127.0.0.1", NULL};
    struct member member = {.key = pki_make_key(NULL)};
    g_autofree char *csr = pki_make_csr(member.key, name, NULL);
    member.certificate = pki_sign_csr(csr, name, names, ca, ca_key, NULL);
    assert_non_null(member.certificate);
    return member;
}

static void member_clear(struct member *member)
{
    g_free(member->key);
    g_free(member->certificate);
}

static void test_certificates(void **state)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *ca_key = pki_make_key(NULL);
    g_autofree char *ca = pki_make_ca(ca_key, "drover cluster", NULL);
    g_autofree char *key = pki_make_key(NULL);
    g_autofree char *csr = pki_make_csr(key, "alpha", NULL);
    const char *names[] = {"alpha", NULL};
    int64_t expiry;
    assert_non_null(ca);
    assert_null(pki_sign_csr(csr, "beta", names, ca, ca_key, &error));
    assert_non_null(strstr(error->message, "is for \"alpha\", not for \"beta\""));
    g_clear_error(&error);
    assert_null(pki_sign_csr("garbage", "beta", names, ca, ca_key, &error));
    assert_int_equal(error->code, PKI_ERROR_INVALID);
    g_autofree char *certificate = pki_sign_csr(csr, "alpha", names, ca, ca_key, NULL);
    assert_non_null(certificate);
    g_autofree char *of_csr = pki_public_key_sha256(csr, NULL);
    g_autofree char *of_certificate = pki_public_key_sha256(certificate, NULL);
    assert_string_equal(of_csr, of_certificate);
    g_autofree char *pin = pki_certificate_sha256(ca, NULL);
    assert_int_equal(strlen(pin), 64);
    assert_true(pki_certificate_expiry(certificate, &expiry, NULL));
    assert_true(expiry > g_get_real_time() / G_USEC_PER_SEC);
    assert_true(pki_equal("abc", "abc"));
    assert_false(pki_equal("abc", "abd"));
    assert_false(pki_equal(NULL, "abc"));
}

static bool find_secret(const char *host, uint8_t ret_secret[MESSAGE_SECRET_LENGTH], void *data)
{
    memcpy(ret_secret, secret, MESSAGE_SECRET_LENGTH);
    return true;
}

static void handle(struct message_request *request, void *data)
{
    Cluster__RegisterReply reply = CLUSTER__REGISTER_REPLY__INIT;
    message_request_reply(request, &reply.base);
}

static void replied(const ProtobufCMessage *reply, const GError *error, void *data)
{
    *(int *)data = reply ? 1 : -1;
}

static int try_call(struct message_server *server, const char *url, const char *ca,
                    const struct member *member)
{
    struct message_client_config config = {.url = url,
                                           .host = "alpha",
                                           .secret = secret,
                                           .tls = {ca, member->certificate, member->key}};
    g_autoptr(GError) error = NULL;
    struct message_client *client = message_client_new(&config, &error);
    Cluster__RegisterRequest request = CLUSTER__REGISTER_REQUEST__INIT;
    int outcome = 0;
    assert_non_null(client);
    message_client_call(client, CLUSTER__MESSAGE_KIND__KIND_REGISTER, &request.base, 1500, replied,
                        &outcome);
    while (outcome == 0) {
        struct pollfd fds[2] = {{.fd = message_client_fd(client), .events = POLLIN},
                                {.fd = message_server_fd(server), .events = POLLIN}};
        poll(fds, 2, 50);
        message_server_dispatch(server);
        message_client_dispatch(client);
    }
    message_client_free(client);
    return outcome;
}

static void test_messages_over_tls(void **state)
{
    g_autofree char *ca_key = pki_make_key(NULL), *other_key = pki_make_key(NULL);
    g_autofree char *ca = pki_make_ca(ca_key, "drover cluster", NULL);
    g_autofree char *other_ca = pki_make_ca(other_key, "drover cluster", NULL);
    struct member controller = make_member(MESSAGE_SERVER_NAME, ca, ca_key);
    struct member alpha = make_member("alpha", ca, ca_key);
    struct member stranger = make_member("alpha", other_ca, other_key);
    struct member impostor = make_member("beta", ca, ca_key);
    g_autoptr(GError) error = NULL;
    struct message_server_config config = {.url = "tls+tcp://127.0.0.1:0",
                                           .find_secret = find_secret,
                                           .handle = handle,
                                           .tls = {ca, controller.certificate, controller.key}};
    struct message_server *server = message_server_new(&config, &error);
    assert_non_null(server);
    assert_int_not_equal(message_server_port(server), 0);
    g_autofree char *url = g_strdup_printf("tls+tcp://127.0.0.1:%u", message_server_port(server));
    assert_int_equal(try_call(server, url, ca, &alpha), 1);
    assert_int_equal(try_call(server, url, ca, &stranger), -1);    /* not of our CA */
    assert_int_equal(try_call(server, url, other_ca, &alpha), -1); /* a server of another CA */
    message_server_free(server);

    /* A host of the cluster which plays the controller. */
    config.tls = (struct message_tls){ca, impostor.certificate, impostor.key};
    config.url = url;
    server = message_server_new(&config, &error);
    assert_non_null(server);
    assert_int_equal(try_call(server, url, ca, &alpha), -1);
    message_server_free(server);
    member_clear(&controller);
    member_clear(&alpha);
    member_clear(&stranger);
    member_clear(&impostor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_certificates),
        cmocka_unit_test(test_messages_over_tls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
