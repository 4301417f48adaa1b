#include "emu/core/state.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

struct inner {
    uint16_t word;
    bool flag;
};
struct outer {
    uint32_t value;
    uint64_t values[3];
    uint8_t raw[5];
    struct inner inners[2];
    uint8_t *buffer;
};

static const struct state_field inner_fields[] = {STATE_UINT(struct inner, word),
                                                  STATE_UINT(struct inner, flag), STATE_END};
static const struct state_field outer_fields[] = {
    STATE_UINT(struct outer, value),
    STATE_UINTS(struct outer, values),
    STATE_BYTES(struct outer, raw),
    STATE_STRUCTS(struct outer, inners, inner_fields),
    {"buffer", STATE_KIND_BUFFER, offsetof(struct outer, buffer), 1, 7, NULL},
    STATE_END,
};
static const struct state_field fewer_fields[] = {STATE_UINT(struct outer, value), STATE_END};

static GBytes *save(const struct outer *object, const struct state_field *fields)
{
    GByteArray *out = g_byte_array_new();
    state_save(out, "first", 1, fewer_fields, object);
    state_save(out, "outer", 3, fields, object);
    return g_byte_array_free_to_bytes(out);
}

static void test_round_trip(void **state)
{
    uint8_t one[7] = "abcdef", two[7] = {0};
    struct outer object = {7, {1, 2, UINT64_MAX}, "1234", {{3, true}, {4, false}}, one};
    struct outer back = {.buffer = two};
    unsigned version = 0;
    g_autoptr(GBytes) image = save(&object, outer_fields);
    g_autoptr(GBytes) section = state_find(image, "outer", &version);
    assert_non_null(section);
    assert_int_equal(version, 3);
    assert_null(state_find(image, "none", NULL));
    assert_true(state_load(section, "outer", 3, outer_fields, &back, NULL));
    assert_int_equal(back.inners[0].word, 3);
    assert_true(back.inners[0].flag);
    assert_memory_equal(two, one, 7);
    g_autoptr(GBytes) again = save(&back, outer_fields);
    assert_true(g_bytes_equal(image, again));
}

static void test_refusals(void **state)
{
    uint8_t one[7] = "abcdef";
    struct outer object = {.buffer = one}, back = {.value = 9, .buffer = one};
    g_autoptr(GBytes) image = save(&object, outer_fields);
    g_autoptr(GBytes) section = state_find(image, "outer", NULL);
    g_autoptr(GError) error = NULL;
    assert_false(state_load(section, "outer", 2, outer_fields, &back, &error));
    assert_non_null(strstr(error->message, "version 3"));
    g_clear_error(&error);
    assert_false(state_load(section, "outer", 3, fewer_fields, &back, &error));
    assert_non_null(strstr(error->message, "values"));
    /* Cut at every length: an error, never more. */
    gsize size;
    const uint8_t *bytes = g_bytes_get_data(section, &size);
    for (gsize length = 0; length < size; length++) {
        g_autoptr(GBytes) cut = g_bytes_new(bytes, length);
        assert_false(state_load(cut, "outer", 3, outer_fields, &back, NULL));
    }
    g_autoptr(GBytes) small = save(&object, fewer_fields);
    g_autoptr(GBytes) older = state_find(small, "outer", NULL);
    back.values[1] = 77;
    assert_true(state_load(older, "outer", 3, outer_fields, &back, NULL));
    assert_int_equal(back.values[1], 77); /* absent fields keep what they had */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip),
                                       cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
