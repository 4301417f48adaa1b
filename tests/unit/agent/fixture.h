/* What the agent's tests share. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <unistd.h>

#include "agent/files.h"

/* A new, empty folder of this test process. Caller frees the path. */
static inline char *scratch_folder(const char *name)
{
    const char *base = g_getenv("TEST_TMP");
    g_autofree char *pattern = g_strconcat(name, "-XXXXXX", NULL);
    char *path = g_build_filename(base ? base : g_get_tmp_dir(), pattern, NULL);

    assert_non_null(g_mkdtemp(path));
    return path;
}

static inline void scratch_remove(char *folder)
{
    assert_true(folder_remove(folder, NULL));
    g_free(folder);
}

static inline void assert_content(const char *path, const char *wanted)
{
    g_autofree char *text = NULL;

    if (!g_file_get_contents(path, &text, NULL, NULL))
        fail_msg("%s is not there", path);
    assert_string_equal(text, wanted);
}
