/* The table of commands: complete, and each example in it is a command line that parses. */
#include "controller/cli/cli.h"
#include "controller/cli/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* Parses "drover NAME …" as main() does. */
static bool parse(struct options *options, const char *line, GError **error)
{
    g_auto(GStrv) words = NULL;
    const struct command *command;
    char **argv;
    bool helped, ok;
    int argc;

    assert_true(g_shell_parse_argv(line, &argc, &words, NULL));
    assert_true(argc >= 2);
    assert_string_equal(words[0], "drover");
    command = command_find(words[1]);
    if (!command)
        fail_msg("no command in: %s", line);
    argv = g_memdup2(words + 1, sizeof(char *) * (size_t)argc); /* it is reordered */
    *options = (struct options){0};
    ok = options_parse(options, command, argc - 1, argv, &helped, error);
    g_free(argv);
    return ok;
}

static void test_table_is_complete(void **state)
{
    GHashTable *names = g_hash_table_new(g_str_hash, g_str_equal);

    for (const struct command *command = commands; command->name; command++) {
        assert_true(g_hash_table_add(names, (char *)command->name));
        assert_ptr_equal(command_find(command->name), command);
        assert_non_null(command->run);
        assert_non_null(command->arguments);
        assert_non_null(command->summary);
        assert_non_null(command->example);
        assert_non_null(command->options);
        assert_true(command->max == -1 || command->min <= command->max);
        assert_false(g_str_has_suffix(command->summary, "."));
    }
    assert_true(g_hash_table_size(names) >= 17);
    assert_null(command_find("nothing"));
    assert_null(command_find(""));
    g_hash_table_destroy(names);
}

static void test_examples_parse(void **state)
{
    for (const struct command *command = commands; command->name; command++) {
        g_auto(GStrv) lines = g_strsplit(command->example, "\n", -1);
        g_autofree char *own = g_strconcat("drover ", command->name, NULL);

        assert_non_null(strstr(command->example, own));
        for (char **line = lines; *line; line++) {
            g_autoptr(GError) error = NULL;
            struct options options = {0};

            g_strstrip(*line);
            if (!g_str_has_prefix(*line, "drover "))
                continue; /* the shell's own syntax around it */
            if (!parse(&options, *line, &error))
                fail_msg("%s: %s", *line, error->message);
            options_clear(&options);
        }
    }
}

/* Every letter in a command's `options` is one of the table's, so nothing is silently not taken. */
static void test_option_letters(void **state)
{
    for (const struct command *command = commands; command->name; command++) {
        g_auto(GStrv) names = options_names(command);

        assert_int_equal(g_strv_length(names), strlen(command->options) + 1); /* and --help */
    }
}

static void test_values(void **state)
{
    struct options options;
    g_autoptr(GError) error = NULL;

    assert_true(parse(&options, "drover get vm web-1 -n shop -o yaml -l app=web -A -w", &error));
    assert_int_equal(options.count, 2);
    assert_string_equal(options.arguments[1], "web-1");
    assert_string_equal(options_namespace(&options), "shop");
    assert_string_equal(options.output, "yaml");
    assert_string_equal(options.selector, "app=web");
    assert_true(options.all && options.watch);
    options_clear(&options);

    assert_true(parse(&options, "drover apply -f a.yaml -f - --dry-run=server", &error));
    assert_int_equal(g_strv_length(options.files), 2);
    assert_string_equal(options.files[1], "-");
    assert_string_equal(options.dry_run, "server");
    assert_string_equal(options_namespace(&options), "default");
    options_clear(&options);

    assert_true(parse(&options, "drover logs web-1 -f --tail 100", &error)); /* -f is follow here */
    assert_true(options.follow);
    assert_null(options.files);
    assert_int_equal(options.tail, 100);
    options_clear(&options);

    assert_true(parse(&options, "drover delete -- --odd-name", &error));
    assert_int_equal(options.count, 1);
    assert_string_equal(options.arguments[0], "--odd-name");
    options_clear(&options);
}

static void test_wrong_usage(void **state)
{
    static const struct {
        const char *line, *words;
    } cases[] = {
        {"drover get", "drover get takes KIND [NAME], as in: drover get vm"},
        {"drover get a b c", "\"c\" is too much for drover get"},
        {"drover get vm --force", "--force"},
        {"drover get vm --no-such", "see drover get --help"},
        {"drover get vm -o", "see drover get --help"},
        {"drover wait vm/x Running --timeout soon", "see drover wait --help"},
        {"drover wait vm/x", "drover wait takes"},
        {"drover logs x --tail 99999999999999", "see drover logs --help"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        struct options options = {0};

        if (parse(&options, cases[i].line, &error))
            fail_msg("accepted: %s", cases[i].line);
        assert_true(g_error_matches(error, CLI_ERROR, CLI_ERROR_USAGE));
        if (!strstr(error->message, cases[i].words))
            fail_msg("%s: \"%s\" lacks \"%s\"", cases[i].line, error->message, cases[i].words);
        options_clear(&options);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_is_complete), cmocka_unit_test(test_examples_parse),
        cmocka_unit_test(test_option_letters),    cmocka_unit_test(test_values),
        cmocka_unit_test(test_wrong_usage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
