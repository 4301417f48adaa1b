/* Manifests to objects and objects to text: what drover prints, drover reads as the same. */
#include "controller/cli/manifest.h"
#include "controller/cli/output.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <glib/gstdio.h>

#include "controller/object/object.h"

static char *scratch(const char *name)
{
    const char *folder = g_getenv("TEST_TMP");

    return g_build_filename(folder ? folder : g_get_tmp_dir(), name, NULL);
}

static GPtrArray *load(const char *text, gssize length, GError **error)
{
    g_autofree char *path = scratch("m.yaml");

    assert_true(g_file_set_contents(path, text, length, NULL));
    return manifest_load(path, error);
}

/* The one document's object. */
static json_t *load_one(const char *text)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) documents = load(text, -1, &error);

    if (!documents)
        fail_msg("%s", error->message);
    assert_int_equal(documents->len, 1);
    return json_incref(((struct manifest *)documents->pdata[0])->object);
}

static void refuse(const char *text, gssize length, const char *place, const char *words)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = scratch("m.yaml");
    g_autofree char *start = g_strconcat(path, place, NULL);

    assert_null(load(text, length, &error));
    assert_non_null(error);
    if (!g_str_has_prefix(error->message, start) || !strstr(error->message, words))
        fail_msg("\"%s\" does not begin with \"%s\" or lacks \"%s\"", error->message, start, words);
}

/* ---- reading ----------------------------------------------------------------------------------
 */

static void test_scalars(void **state)
{
    static const struct {
        const char *yaml, *json;
    } cases[] = {
        {"x", "\"x\""},
        {"", "null"},
        {"~", "null"},
        {"null", "null"},
        {"'null'", "\"null\""},
        {"true", "true"},
        {"FALSE", "false"},
        {"yes", "\"yes\""}, /* YAML 1.2 has two booleans, not eight */
        {"\"true\"", "\"true\""},
        {"12", "12"},
        {"-7", "-7"},
        {"+7", "7"},
        {"010", "10"},
        {"0x1F", "31"},
        {"0x", "\"0x\""},
        {"9223372036854775807", "9223372036854775807"},
        {"1.5", "1.5"},
        {"-2.5e3", "-2500.0"},
        {".5", "0.5"},
        {"1.2.3", "\"1.2.3\""},
        {"2024-01-01", "\"2024-01-01\""},
        {"1Gi", "\"1Gi\""},
        {"50%", "\"50%\""},
        {"'12'", "\"12\""},
        {"|\n  one\n  two\n", "\"one\\ntwo\\n\""},
        {">\n  one\n  two\n", "\"one two\\n\""},
        {"gr\xc3\xbc\xc3\x9f", "\"gr\xc3\xbc\xc3\x9f\""},
        {"1e400", "\"1e400\""}, /* no number that JSON could hold */
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text = g_strconcat("a: ", cases[i].yaml, "\n", NULL);
        json_auto_t *object = load_one(text);
        json_auto_t *wanted = json_loads(cases[i].json, JSON_DECODE_ANY, NULL);

        if (!json_equal(json_object_get(object, "a"), wanted))
            fail_msg("%s is not read as %s", cases[i].yaml, cases[i].json);
    }
}

static void test_documents_and_places(void **state)
{
    static const char text[] = "# a comment\n"
                               "kind: VirtualMachine\n"
                               "spec:\n"
                               "  disks:\n"
                               "    - {name: root, bus: ide}\n"
                               "    - name: data\n"
                               "---\n"
                               "---\n"
                               "kind: Disk\n"
                               "...\n";
    static const struct {
        unsigned document;
        const char *path, *place;
    } cases[] = {
        {0, "kind", ":2:1"},
        {0, "spec", ":3:1"},
        {0, "spec.disks[0].bus", ":5:20"},
        {0, "spec.disks[1].name", ":6:7"},
        {0, "spec.disks[1].bus", ":6:7"}, /* absent: where it would be */
        {0, "spec.disks[7]", ":4:3"},
        {0, "metadata.name", ":2:1"},
        {1, "kind", ":9:1"},
    };
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) documents = load(text, -1, &error);
    g_autofree char *path = scratch("m.yaml");

    assert_non_null(documents);
    assert_int_equal(documents->len, 2); /* the empty one is left out */
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *place = manifest_place(documents->pdata[cases[i].document], cases[i].path);
        g_autofree char *wanted = g_strconcat(path, cases[i].place, NULL);

        assert_string_equal(place, wanted);
    }
}

static void test_refusals(void **state)
{
    g_autoptr(GString) deep = g_string_new("a: ");
    g_autoptr(GString) bomb = g_string_new("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    g_autoptr(GPtrArray) documents = load("", -1, NULL);

    assert_non_null(documents);
    assert_int_equal(documents->len, 0);
    refuse("a: 1\nb: 2\na: 3\n", -1, ":3:1", "\"a\" is here twice");
    refuse("x: {b: 1, 'b': 2}\n", -1, ":1:11", "\"b\" is here twice");
    refuse("- 1\n", -1, ":1:1", "must be a map");
    refuse("text\n", -1, ":1:1", "must be a map");
    refuse("? [a]\n: 1\n", -1, ":1:3", "must be plain text");
    refuse("a: [1, 2\nb: }\n", -1, ":2:", "not YAML");
    refuse("a: *nobody\n", -1, ":1:4", "not YAML");
    refuse("a:\n\tb: 1\n", -1, ":2:1", "tabs");
    refuse("a: \"x\\0y\"\n", -1, ":1:4", "zero byte");
    refuse("\"x\\0y\": 1\n", -1, ":1:1", "zero byte");
    refuse("a: \0\n", 6, ":1:", "not YAML");
    refuse("a: \xff\xfe\n", -1, ":", "not YAML");
    refuse("a: &a [*a]\n", -1, ":1:", "nested too deeply");
    for (int i = 0; i < 100; i++)
        g_string_append_c(deep, '[');
    for (int i = 0; i < 100; i++)
        g_string_append_c(deep, ']');
    refuse(deep->str, -1, ":1:", "nested too deeply");
    for (int i = 1; i < 8; i++)
        g_string_append_printf(bomb, "a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", i, i,
                               i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
    refuse(bomb->str, -1, ":", "too large");
}

/* A mistake in the second document leaves nothing of the first. */
static void test_all_or_nothing(void **state)
{
    refuse("kind: Disk\n---\nkind: [\n", -1, ":4:", "not YAML");
}

static void test_files(void **state)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = scratch("large.yaml");
    g_autofree char *large = g_malloc((17u << 20) + 1);

    assert_null(manifest_load("/nonexistent/m.yaml", &error));
    assert_non_null(strstr(error->message, "cannot open /nonexistent/m.yaml"));
    g_clear_error(&error);
    assert_null(manifest_load("/", &error)); /* a folder opens, but cannot be read */
    assert_non_null(strstr(error->message, "cannot read /"));
    g_clear_error(&error);
    memset(large, '#', 17u << 20);
    assert_true(g_file_set_contents(path, large, 17 << 20, NULL));
    assert_null(manifest_load(path, &error));
    assert_non_null(strstr(error->message, "larger than 16 MiB"));
    g_unlink(path);
}

/* ---- writing ----------------------------------------------------------------------------------
 */

static char *printed(void (*print)(const json_t *), const json_t *value)
{
    g_autofree char *path = scratch("out");
    int saved = dup(STDOUT_FILENO);
    char *text = NULL;

    fflush(stdout);
    assert_non_null(freopen(path, "w", stdout));
    print(value);
    fflush(stdout);
    assert_true(dup2(saved, STDOUT_FILENO) >= 0);
    close(saved);
    assert_true(g_file_get_contents(path, &text, NULL, NULL));
    return text;
}

static void round_trip(const json_t *object)
{
    g_autofree char *text = printed(output_yaml, object);
    json_auto_t *again = load_one(text);
    char *wanted;

    if (json_equal(object, again))
        return;
    wanted = json_dumps(object, 0);
    fail_msg("%s became\n%s", wanted, text);
}

static void test_yaml_round_trip(void **state)
{
    static const char *const texts[] = {
        "",
        "x",
        "no",
        "yes",
        "on",
        "y",
        "true",
        "Null",
        "~",
        "1.0",
        "12",
        "-1",
        "+1",
        "0x10",
        ".5",
        ".inf",
        "1e3",
        "2024-01-01",
        " x",
        "x ",
        "a: b",
        "a #b",
        "#a",
        "- a",
        "-",
        "---",
        "...",
        "? a",
        "a:",
        ":a",
        "[a]",
        "{a}",
        "*a",
        "&a",
        "!a",
        "%a",
        "@a",
        "`a",
        "'a'",
        "\"a\"",
        "a'b\"c",
        "a\\nb",
        "|",
        ">",
        "<<",
        "=",
        "a\tb",
        "\t",
        "\n",
        "\n\n",
        "a\n",
        "a\n\n",
        "a\nb",
        "a\nb\n",
        "\na",
        " a\nb",
        "  a\n b\n",
        "a \nb",
        "a\n \nb",
        "a\r\nb",
        "\r",
        "a\n\tb",
        "\x01\x7f",
        "\x1b[31m",
        "\xc3\xbc",
        "\xe2\x82\xac\n\xc3\x9f",
        "\xf0\x9f\x90\x91",
        "\xc2\x85",
        "\xe2\x80\xa8",
        "\xef\xbb\xbf"
        "a",
        "a, b",
        "a,b",
        "tag:yaml.org,2002:str",
        "50%",
        "default/web-1",
        "# comment\nnot: one\n",
        "- a\n- b\n",
        "---\na\n...\n",
        "a long text of many words that goes on and on, well past the hundred columns at which the "
        "emitter likes to fold it, and then  some,  with  double  spaces in it as well",
        "a\nlong text of many words that goes on and on, well past the hundred columns at which "
        "the "
        "emitter likes to fold it, and then some\n",
    };
    json_auto_t *all = json_object(), *list = json_array();

    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        json_auto_t *value = json_pack("{s:s}", "a", texts[i]);
        json_auto_t *key = json_pack("{s:i}", texts[i], 1);
        json_auto_t *item = json_pack("{s:[s, {s:s}]}", "a", texts[i], "b", texts[i]);

        round_trip(value);
        round_trip(key);
        round_trip(item);
        json_object_set_new(all, texts[i], json_string(texts[i]));
        json_array_append_new(list, json_string(texts[i]));
    }
    json_object_set(all, "list", list);
    round_trip(all);
}

static void test_yaml_values(void **state)
{
    static const char *const objects[] = {
        "{}",
        "{\"a\": {}, \"b\": [], \"c\": [[]], \"d\": [{}]}",
        "{\"a\": [[1, 2], [3, [4]], {\"b\": [5]}]}",
        "{\"a\": 3.0, \"b\": -0.5, \"c\": 1e300, \"d\": 0.1, \"e\": -0.0}",
        "{\"a\": 9223372036854775807, \"b\": -9223372036854775808}",
        "{\"a\": null, \"b\": true, \"c\": false}",
        "{\"apiVersion\": \"drover/v1\", \"kind\": \"VirtualMachine\", \"metadata\": {\"name\": "
        "\"web-1\", \"labels\": {\"app\": \"no\", \"1\": \"1\"}}, \"spec\": {\"disks\": "
        "[{\"name\": "
        "\"root\", \"size\": \"20Gi\"}], \"cpu\": {\"cores\": 2}}}",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(objects); i++) {
        json_auto_t *object = json_loads(objects[i], 0, NULL);

        assert_non_null(object);
        round_trip(object);
    }
}

static void test_json(void **state)
{
    json_auto_t *object = json_pack("{s:s, s:[i, b]}", "a", "\xc3\xbc\n", "b", 1, 0);
    g_autofree char *text = printed(output_json, object);
    json_auto_t *again = json_loads(text, 0, NULL);

    assert_true(json_equal(object, again));
}

/* ---- tables -----------------------------------------------------------------------------------
 */

static void print_table(const json_t *unused)
{
    struct table *table = table_new(true);

    table_column(table, "NAME");
    table_column(table, "MESSAGE");
    table_cell(table, "gr\xc3\xbc\xc3\x9f");
    table_cell(table, NULL);
    table_cell(table, "a-long-name");
    table_cell(table, "\x1b[2Jtwo\nlines\xff");
    table_flush(table);
    table_cell(table, "x"); /* as wide as what went before, and no header again */
    table_cell(table, "y");
    table_flush(table);
    table_free(table);
}

static void test_table(void **state)
{
    g_autofree char *text = printed(print_table, NULL);

    assert_string_equal(text, "NAME         MESSAGE\n"
                              "gr\xc3\xbc\xc3\x9f         -\n"
                              "a-long-name   [2Jtwo lines\xef\xbf\xbd\n"
                              "x            y\n");
}

static const struct kind *printed_kind;

static void print_wide(const json_t *list)
{
    output_list(printed_kind, list, OUTPUT_WIDE, true);
}

static void print_names(const json_t *list)
{
    output_list(printed_kind, list, OUTPUT_NAME, true);
}

/* Every kind prints an object that has nothing but its name, and one whose fields all are wrong. */
static void test_kinds_with_little(void **state)
{
    static const char *const names[] = {"vm", "disk", "host", "migration", "event"};
    json_auto_t *list =
        json_pack("{s:[{s:{s:s}}, {s:{s:s, s:s}, s:i, s:[]}]}", "items", "metadata", "name", "one",
                  "metadata", "name", "two", "creationTimestamp", "no time", "spec", 5, "status");

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *wide = NULL, *references = NULL;

        printed_kind = kind_find(names[i]);
        assert_non_null(printed_kind);
        wide = printed(print_wide, list);
        assert_non_null(strchr(wide, '\n'));
        references = printed(print_names, list);
        assert_non_null(strstr(references, "/two\n"));
    }
}

static void test_values(void **state)
{
    json_auto_t *object = json_pack("{s:{s:I, s:i, s:s, s:s, s:b, s:{}}}", "status", "memoryBytes",
                                    (json_int_t)1 << 30, "restarts", 3, "startTime",
                                    "2001-01-01T00:00:00Z", "empty", "", "ready", 1, "object");
    static const struct {
        const char *path, *text;
    } cases[] = {
        {"status.memoryBytes", "1Gi"}, {"status.restarts", "3"}, {"status.empty", NULL},
        {"status.ready", "true"},      {"status.object", NULL},  {"status.absent", NULL},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text = output_value(object, cases[i].path);

        if (g_strcmp0(text, cases[i].text) != 0)
            fail_msg("%s is \"%s\"", cases[i].path, text);
    }
    g_autofree char *age = output_value(object, "status.startTime");
    assert_true(g_str_has_suffix(age, "d"));
    assert_null(output_age("yesterday"));
    assert_null(output_age(NULL));
    g_autofree char *future = output_age("2999-01-01T00:00:00Z");
    assert_string_equal(future, "0s"); /* clocks differ */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalars),     cmocka_unit_test(test_documents_and_places),
        cmocka_unit_test(test_refusals),    cmocka_unit_test(test_all_or_nothing),
        cmocka_unit_test(test_files),       cmocka_unit_test(test_yaml_round_trip),
        cmocka_unit_test(test_yaml_values), cmocka_unit_test(test_json),
        cmocka_unit_test(test_table),       cmocka_unit_test(test_kinds_with_little),
        cmocka_unit_test(test_values),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
