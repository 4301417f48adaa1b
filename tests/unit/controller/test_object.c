/* Quantities, names, selectors, validation and documentation, table by table. */
#include "controller/object/name.h"
#include "controller/object/object.h"
#include "controller/object/quantity.h"
#include "controller/object/selector.h"
#include "controller/object/validate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_bytes(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
        const char *error;
    } cases[] = {
        {"0", 0, NULL},
        {"512", 512, NULL},
        {"512Mi", 512u << 20, NULL},
        {"1k", 1000, NULL},
        {"20Gi", UINT64_C(20) << 30, NULL},
        {"2T", UINT64_C(2000000000000), NULL},
        {"9223372036854775807", INT64_MAX, NULL},
        {"512Mib", 0, "did you mean 512Mi?"},
        {"512MB", 0, "did you mean 512Mi?"},
        {"512mi", 0, "did you mean 512Mi?"},
        {"5gb", 0, "did you mean 5Gi?"},
        {"12B", 0, "did you mean 12?"},
        {"12X", 0, "use Ki, Mi"},
        {"1.5Gi", 0, "1536Mi"},
        {"", 0, "no size"},
        {"-1Mi", 0, "no size"},
        {"Mi", 0, "no size"},
        {"8192Pi", 0, "too large"},
        {"9223372036854775808", 0, "too large"},
        {"99999999999999999999", 0, "too large"},
        {"1 Mi", 0, "is not known"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        uint64_t bytes = 1;
        bool ok = quantity_parse_bytes(cases[i].text, &bytes, &error);
        if (ok != !cases[i].error || (ok && bytes != cases[i].bytes) ||
            (!ok && !strstr(error->message, cases[i].error)))
            fail_msg("%s: %s", cases[i].text, ok ? "taken" : error->message);
    }
    static const struct {
        uint64_t bytes;
        const char *exact, *human;
    } shown[] = {
        {0, "0", "0"},
        {512, "512", "512"},
        {1536, "1536", "1.5Ki"},
        {512u << 20, "512Mi", "512Mi"},
        {UINT64_C(3) << 29, "1536Mi", "1.5Gi"},
        {(1u << 20) - 1, "1048575", "1Mi"},
        {UINT64_C(1) << 40, "1Ti", "1Ti"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(shown); i++) {
        g_autofree char *exact = quantity_format_bytes(shown[i].bytes);
        g_autofree char *human = quantity_human_bytes(shown[i].bytes);
        assert_string_equal(exact, shown[i].exact);
        assert_string_equal(human, shown[i].human);
    }
}

static void test_percent(void **state)
{
    uint32_t millis = 0;
    assert_true(quantity_parse_percent("150%", &millis, NULL));
    assert_int_equal(millis, 1500);
    static const char *const wrong[] = {"150", "0%", "%", "1.5%", "10000000%", "-1%", "10%%"};
    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++)
        assert_false(quantity_parse_percent(wrong[i], &millis, NULL));
}

static void test_names(void **state)
{
    g_autofree char *longest = g_strnfill(63, 'a'), *longer = g_strnfill(64, 'a');
    const struct {
        const char *text;
        bool ok;
    } names[] = {{"a", true},     {"web-1", true}, {"1", true},    {longest, true},
                 {longer, false}, {"", false},     {"-a", false},  {"a-", false},
                 {"Web", false},  {"a.b", false},  {"a_b", false}, {"ä", false}};
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
        if (name_check(names[i].text, NULL) != names[i].ok)
            fail_msg("%s", names[i].text);
    assert_true(label_key_check("example.org/rack", NULL));
    assert_true(label_key_check("App_1.x", NULL));
    assert_false(label_key_check("/rack", NULL));
    assert_false(label_key_check("", NULL));
    assert_true(label_value_check("", NULL));
    assert_true(label_value_check("A", NULL));
    assert_false(label_value_check("a b", NULL));
    assert_false(label_value_check("-a", NULL));
}

static void test_selectors(void **state)
{
    json_auto_t *labels = json_pack("{s:s, s:s, s:s}", "app", "web", "tier", "front", "inn", "x");
    static const struct {
        const char *text;
        int outcome;
        const char *again;
    } cases[] = {
        {"", 1, ""},
        {"  ", 1, ""},
        {"app=web", 1, NULL},
        {"app==web", 1, "app=web"},
        {"app=db", 0, NULL},
        {"app!=db", 1, NULL},
        {"app!=web", 0, NULL},
        {"zone!=a", 1, NULL},
        {"app", 1, NULL},
        {"zone", 0, NULL},
        {"!zone", 1, NULL},
        {"!app", 0, NULL},
        {"app in (db, web)", 1, "app in (db,web)"},
        {"app notin (db,web)", 0, NULL},
        {"zone notin (a)", 1, "zone!=a"},
        {"app=web, tier=front", 1, "app=web,tier=front"},
        {"app=web,tier=back", 0, NULL},
        {"inn", 1, NULL},
        {"inn=x", 1, NULL},
        {"app=", 0, NULL},
        {"app web", -1, NULL},
        {"=web", -1, NULL},
        {"app in web", -1, NULL},
        {"app in (web", -1, NULL},
        {"app=a b", -1, NULL},
        {"app=web,", -1, NULL},
        {"a=b=c", -1, NULL},
        {"app in", -1, NULL},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(Selector) selector = selector_parse(cases[i].text, &error);
        int outcome = selector ? selector_matches(selector, labels) : -1;
        if (outcome != cases[i].outcome)
            fail_msg("\"%s\": %d %s", cases[i].text, outcome, error ? error->message : "");
        if (!selector)
            continue;
        g_autofree char *text = selector_text(selector);
        assert_string_equal(text, cases[i].again ? cases[i].again : cases[i].text);
    }
    g_autoptr(Selector) all = selector_from_map(NULL);
    assert_true(selector_matches(all, NULL));
    json_auto_t *map = json_pack("{s:s}", "app", "web");
    g_autoptr(Selector) some = selector_from_map(map);
    assert_true(selector_matches(some, labels));
    assert_false(selector_matches(some, NULL));
}

static json_t *parse(const char *text)
{
    g_autofree char *json = g_strdup(text);
    for (char *at = json; *at; at++)
        if (*at == '\'')
            *at = '"';
    json_error_t error;
    json_t *value = json_loads(json, 0, &error);
    if (!value)
        fail_msg("%s: %s", json, error.text);
    return value;
}

#define VM(spec)                                                                                   \
    "{'apiVersion':'drover/v1','kind':'VirtualMachine','metadata':{'name':'web'},"                 \
    "'spec':" spec "}"
#define DISK(spec)                                                                                 \
    "{'apiVersion':'drover/v1','kind':'Disk','metadata':{'name':'d'},'spec':" spec "}"

static void test_problems(void **state)
{
    static const struct {
        const char *json, *path, *message;
    } cases[] = {
        {VM("{'memory':'512Mib'}"), "spec.memory", "did you mean 512Mi"},
        {VM("{'memory':512}"), "spec.memory", "did you mean 512Mi?"},
        {VM("{'memory':true}"), "spec.memory", "must be a size"},
        {VM("{}"), "spec.memory", "is missing"},
        {VM("{'memory':'1Gi','memroy':1}"), "spec.memroy", "did you mean \"memory\"?"},
        {VM("{'memory':'1Gi','zzz':1}"), "spec.zzz", "known here: runStrategy"},
        {VM("{'memory':'1Gi','cpu':{'cores':0}}"), "spec.cpu.cores", "must be 1 to 64, not 0"},
        {VM("{'memory':'1Gi','cpu':{'cores':'2'}}"), "spec.cpu.cores", "whole number, not \"2\""},
        {VM("{'memory':'1Gi','cpu':{'model':'x86-64-v9'}}"), "spec.cpu.model",
         "x86-64-v2, x86-64-v3, not"},
        {VM("{'memory':'1Gi','cpu':2}"), "spec.cpu", "must be an object"},
        {VM("{'memory':'1Gi','networks':[]}"), "spec.networks", "not yet: Machines have no net"},
        {VM("{'memory':'1Gi','runStrategy':'always'}"), "spec.runStrategy", "did you mean Always?"},
        {VM("{'memory':'1Gi','disks':[{'name':'a'}]}"), "spec.disks[0]", "needs disk"},
        {VM("{'memory':'1Gi','disks':[{'name':'a','disk':'x','size':'1Gi'}]}"), "spec.disks[0]",
         "both disk and size"},
        {VM("{'memory':'1Gi','disks':[{'name':'a','disk':'x','type':'fixed'}]}"),
         "spec.disks[0].type", "belongs to the Disk"},
        {VM("{'memory':'1Gi','disks':[{'name':'a','disk':'x'},{'name':'b','disk':'y',"
            "'bus':'virtio'}]}"),
         "spec.disks[1].bus", "must be ide, not \"virtio\""},
        {VM("{'memory':'1Gi','disks':[{'name':'a','disk':'x'},{'name':'a','disk':'y'}]}"),
         "spec.disks[1].name", "taken"},
        {VM("{'memory':'1Gi','disks':{}}"), "spec.disks", "must be a list"},
        {VM("{'memory':'1Gi','placement':{'hostSelector':{'rack':1}}}"),
         "spec.placement.hostSelector.rack", "must be text"},
        {DISK("{}"), "spec.size", "is needed"},
        {DISK("{'size':'1048577'}"), "spec.size", "multiple of 512"},
        {DISK("{'size':'1Gi','source':{'file':'../x'}}"), "spec.source.file", "relative"},
        {DISK("{'size':'1Gi','source':{'file':'/etc/x'}}"), "spec.source.file", "relative"},
        {DISK("{'size':'1Gi','source':{}}"), "spec.source.file", "is missing"},
        {DISK("{'size':'1Gi','format':'qcow2'}"), "spec.format", "must be vhd"},
        {"{'apiVersion':'v1','kind':'Disk','metadata':{'name':'d'},'spec':{'size':'1Gi'}}",
         "apiVersion", "must be drover/v1"},
        {"{'apiVersion':'drover/v1','kind':'Virtualmachine'}", "kind",
         "did you mean VirtualMachine?"},
        {"{'apiVersion':'drover/v1','kind':'Disk','spec':{'size':'1Gi'}}", "metadata", "missing"},
        {"{'apiVersion':'drover/v1','kind':'Disk','metadata':{'name':'D'},'spec':{'size':'1Gi'}}",
         "metadata.name", "only a-z"},
        {"{'apiVersion':'drover/v1','kind':'Disk','metadata':{'name':'d','labels':{'a':'b c'}},"
         "'spec':{'size':'1Gi'}}",
         "metadata.labels.a", "no label value"},
        {"[]", "", "must be an object"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        json_auto_t *input = parse(cases[i].json);
        g_autoptr(GPtrArray) problems = problems_new();
        json_auto_t *admitted = object_admit(input, NULL, problems);
        g_autofree char *text = problems_text(problems);
        const struct problem *first = problems->len ? problems->pdata[0] : NULL;
        if (admitted || problems->len != 1 || strcmp(first->path, cases[i].path) != 0 ||
            !strstr(first->message, cases[i].message))
            fail_msg("%s:\n%u problems: %s", cases[i].json, problems->len, text);
    }
}

static void test_all_problems_at_once(void **state)
{
    json_auto_t *input = parse(VM("{'memory':'1MB','cpu':{'cores':99},'networks':[],'x':1}"));
    g_autoptr(GPtrArray) problems = problems_new();
    assert_null(object_admit(input, NULL, problems));
    assert_int_equal(problems->len, 4);
}

static void test_defaults(void **state)
{
    const struct kind *kind = NULL;
    json_auto_t *input = parse(
        "{'apiVersion':'drover/v1','kind':'VirtualMachine','metadata':{'name':'web','uid':'mine',"
        "'resourceVersion':'7'},'spec':{'memory':'1024Mi','disks':[{'name':'root','disk':'r'},"
        "{'name':'tmp','size':'1Gi'}]},'status':{'anything':['goes']}}");
    json_auto_t *expected = parse(
        "{'apiVersion':'drover/v1','kind':'VirtualMachine','metadata':{'name':'web',"
        "'namespace':'default','resourceVersion':'7'},'spec':{'runStrategy':'Always',"
        "'cpu':{'cores':1},'memory':'1Gi','stopGraceSeconds':30,'disks':[{'name':'root','disk':'r',"
        "'bus':'ide'},{'name':'tmp','size':'1Gi','bus':'ide'}]}}");
    g_autoptr(GPtrArray) problems = problems_new();
    json_auto_t *admitted = object_admit(input, &kind, problems);
    assert_non_null(admitted);
    assert_ptr_equal(kind, &kind_virtualmachine);
    g_autofree char *got = json_dumps(admitted, JSON_SORT_KEYS);
    g_autofree char *want = json_dumps(expected, JSON_SORT_KEYS);
    assert_string_equal(got, want);
    /* What was admitted is admitted again, unchanged. */
    json_auto_t *twice = object_admit(admitted, NULL, problems);
    assert_true(json_equal(admitted, twice));
}

static void test_immutable(void **state)
{
    json_auto_t *first = parse(DISK("{'size':'1Gi'}")), *second = parse(DISK("{'size':'2Gi'}"));
    g_autoptr(GPtrArray) problems = problems_new();
    json_auto_t *old = object_admit(first, NULL, problems);
    json_auto_t *updated = object_admit(second, NULL, problems);
    assert_true(object_check_update(&kind_disk, old, old, problems));
    assert_false(object_check_update(&kind_disk, old, updated, problems));
    const struct problem *problem = problems->pdata[0];
    assert_string_equal(problem->path, "spec.size");
    assert_non_null(strstr(problem->message, "cannot be changed (it is \"1Gi\")"));
}

static void check_table(const struct field *fields, const char *where)
{
    for (const struct field *field = fields; field->name; field++) {
        g_autofree char *path = g_strdup_printf("%s.%s", where, field->name);
        if (!field->doc || !g_str_has_suffix(field->doc, "."))
            fail_msg("%s has no documentation that ends with a full stop", path);
        if ((field->type == FIELD_ENUM) != (field->values != NULL))
            fail_msg("%s: values are for enums", path);
        if (field->type == FIELD_OBJECT && !field->children && !(field->flags & FIELD_NOT_YET))
            fail_msg("%s: an object without fields", path);
        if (field->children)
            check_table(field->children, path);
    }
}

static void test_kinds(void **state)
{
    for (size_t i = 0; kinds[i]; i++) {
        check_table(kinds[i]->fields, kinds[i]->name);
        assert_ptr_equal(kind_by_plural(kinds[i]->plural), kinds[i]);
        g_autofree char *singular = g_ascii_strdown(kinds[i]->name, -1);
        assert_ptr_equal(kind_find(singular), kinds[i]);
        g_autofree char *text = kind_explain(kinds[i], NULL, NULL);
        assert_non_null(strstr(text, "FIELDS"));
    }
    assert_ptr_equal(kind_find("vm"), &kind_virtualmachine);
    assert_null(kind_find("pod"));
    g_autoptr(GError) error = NULL;
    g_autofree char *text = kind_explain(&kind_virtualmachine, "spec.disks.bus", &error);
    assert_non_null(strstr(text, "word: ide, default \"ide\""));
    assert_null(kind_explain(&kind_virtualmachine, "spec.disk", &error));
    assert_non_null(strstr(error->message, "did you mean \"disks\"?"));
    g_clear_error(&error);
    assert_null(kind_explain(&kind_virtualmachine, "spec.memory.x", &error));
}

static void test_paths_and_conditions(void **state)
{
    json_auto_t *object = json_object();
    object_set_string(object, "metadata.name", "a");
    object_set_integer(object, "status.n", 3);
    assert_string_equal(object_name(object), "a");
    assert_int_equal(object_integer(object, "status.n", 0), 3);
    assert_null(object_at(object, "status.n.x"));
    object_set(object, "status.n", NULL);
    assert_null(object_at(object, "status.n"));
    object_set(object, "gone.deep", NULL);
    assert_null(object_at(object, "gone"));
    assert_true(object_set_condition(object, "Ready", "False", "NotYet", "waits"));
    assert_false(object_set_condition(object, "Ready", "False", "NotYet", "waits"));
    assert_true(object_set_condition(object, "Ready", "False", "NotYet", "waits longer"));
    assert_true(object_set_condition(object, "Ready", "True", "Yes", ""));
    assert_int_equal(json_array_size(object_at(object, "status.conditions")), 1);
    assert_string_equal(object_string(object_condition(object, "Ready"), "reason", ""), "Yes");
    g_autofree char *time = object_time_text(0);
    assert_string_equal(time, "1970-01-01T00:00:00Z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),    cmocka_unit_test(test_percent),
        cmocka_unit_test(test_names),    cmocka_unit_test(test_selectors),
        cmocka_unit_test(test_problems), cmocka_unit_test(test_all_problems_at_once),
        cmocka_unit_test(test_defaults), cmocka_unit_test(test_immutable),
        cmocka_unit_test(test_kinds),    cmocka_unit_test(test_paths_and_conditions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
