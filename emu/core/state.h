/*
 * Saved state, declared as tables of fields.
 *
 * A structure that is part of a saved machine has one `const struct state_field[]`, ended by
 * STATE_END. Save and load both walk it, so they cannot disagree. Fields are written by name,
 * little endian, with their size; loading by name lets a newer version read an older file (absent
 * fields keep their reset value) and refuse, by name, what it does not know.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum state_kind {
    STATE_KIND_END,
    STATE_KIND_UINT,   /* `size` bytes each (1, 2, 4, 8), `count` of them; bool is size 1 */
    STATE_KIND_BYTES,  /* `count` raw bytes */
    STATE_KIND_STRUCT, /* `count` structures of `size` bytes, walked with `fields` */
    STATE_KIND_BUFFER, /* pointer to `count` bytes allocated by the owner */
    STATE_KIND_COUNT,
};

struct state_field {
    const char *name;
    enum state_kind kind;
    size_t offset;
    size_t size;
    size_t count;
    const struct state_field *fields;
};

#define STATE_UINT(type, member)                                                                   \
    {                                                                                              \
#member, STATE_KIND_UINT, offsetof(type, member), sizeof(((type *)0)->member), 1, NULL     \
    }
#define STATE_UINTS(type, member)                                                                  \
    {                                                                                              \
#member, STATE_KIND_UINT, offsetof(type, member), sizeof(((type *)0)->member[0]),          \
            sizeof(((type *)0)->member) / sizeof(((type *)0)->member[0]), NULL                     \
    }
#define STATE_BYTES(type, member)                                                                  \
    {                                                                                              \
#member, STATE_KIND_BYTES, offsetof(type, member), 1, sizeof(((type *)0)->member), NULL    \
    }
#define STATE_STRUCT(type, member, table)                                                          \
    {                                                                                              \
#member, STATE_KIND_STRUCT, offsetof(type, member), sizeof(((type *)0)->member), 1, table  \
    }
#define STATE_STRUCTS(type, member, table)                                                         \
    {                                                                                              \
#member, STATE_KIND_STRUCT, offsetof(type, member), sizeof(((type *)0)->member[0]),        \
            sizeof(((type *)0)->member) / sizeof(((type *)0)->member[0]), table                    \
    }
#define STATE_END                                                                                  \
    {                                                                                              \
        NULL, STATE_KIND_END, 0, 0, 0, NULL                                                        \
    }

/* Appends one section: `name`, `version`, and every field of `object`. */
void state_save(GByteArray *out, const char *name, unsigned version,
                const struct state_field *fields, const void *object);
/* Reads a section, as state_find() gives it, back into `object`. `version` is the newest the caller
 * understands. False with an error that names section and field; `object` may then be half loaded.
 */
bool state_load(GBytes *section, const char *name, unsigned version,
                const struct state_field *fields, void *object, GError **error);
/* Finds the section called `name` in a saved image (sections one after the other); NULL when it is
 * not there or the image is damaged before it. The bytes hold the whole section. New reference. */
GBytes *state_find(GBytes *image, const char *name, unsigned *ret_version);
/* The name of the section at *at, which then is the next one's place; NULL at the end. Free it. */
char *state_next(GBytes *image, gsize *at);
