/*
 * --net: what is understood, and that each wrong part is named.
 */
#include "emu/net/backend.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_user(void **state)
{
    struct net_config config;
    assert_true(net_config_parse("user,model=e1000,mac=52:54:00:Ab:cd:01,"
                                 "hostfwd=tcp:127.0.0.1:8080-:80,hostfwd=udp::53-10.0.2.20:5353,"
                                 "bootfile=a,,b,restrict=on",
                                 &config, NULL));
    assert_int_equal(config.kind, NET_USER);
    assert_string_equal(config.model, "e1000");
    assert_int_equal(config.mac[3], 0xab);
    assert_string_equal(config.boot_file, "a,b");
    assert_true(config.restricted);
    assert_int_equal(config.forwards->len, 2);
    net_config_clear(&config);
}

static void test_forward(void **state)
{
    struct net_forward f;
    assert_true(net_forward_parse("udp::53-10.0.2.20:5353", &f, NULL));
    assert_true(f.is_udp);
    assert_int_equal(f.host_address, 0);
    assert_int_equal(f.host_port, 53);
    assert_int_equal(f.guest_address, 0x0a000214);
    assert_int_equal(f.guest_port, 5353);
}

static void test_others(void **state)
{
    struct net_config config;
    assert_true(net_config_parse("tap,ifname=tap0", &config, NULL));
    assert_string_equal(config.interface, "tap0");
    net_config_clear(&config);
    assert_true(net_config_parse("bridge,bridge=br0", &config, NULL));
    net_config_clear(&config);
    assert_true(net_config_parse("socket,listen=/tmp/x", &config, NULL));
    net_config_clear(&config);
}

static void test_wrong(void **state)
{
    static const struct {
        const char *text, *expected;
    } wrong[] = {
        {"", "begin with user"},
        {"wifi", "begin with user"},
        {"user,speed=9", "\"speed\" is not known"},
        {"user,bridge=br0", "\"bridge\" is not known"},
        {"user,model", "has no value"},
        {"user,mac=1:2:3:4:5:6", "six bytes"},
        {"user,mac=53:54:00:00:00:01", "group address"},
        {"user,mac=52:54:00:00:00", "six bytes"},
        {"user,hostfwd=tcp:8080-80", "hostfwd \"tcp:8080-80\""},
        {"user,hostfwd=tcp::0-:80", "write tcp or udp"},
        {"user,hostfwd=icmp::1-:1", "write tcp or udp"},
        {"user,hostfwd=tcp:1.2.3:1-:1", "write tcp or udp"},
        {"user,tftp=/nonexistent", "is no folder"},
        {"user,restrict=maybe", "on or off"},
        {"tap,ifname=averyverylongname1", "1 to 15 characters"},
        {"bridge", "bridge is missing"},
        {"socket", "give one of them"},
        {"socket,listen=/a,connect=/b", "give one of them"},
    };
    for (guint i = 0; i < G_N_ELEMENTS(wrong); i++) {
        struct net_config config;
        g_autoptr(GError) error = NULL;
        assert_false(net_config_parse(wrong[i].text, &config, &error));
        if (!g_strstr_len(error->message, -1, wrong[i].expected))
            fail_msg("%s: says \"%s\"", wrong[i].text, error->message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_user), cmocka_unit_test(test_forward),
                                       cmocka_unit_test(test_others), cmocka_unit_test(test_wrong)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
