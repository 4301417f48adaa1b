/*
 * The error domain of the object library.
 */
#pragma once

#include <glib.h>

enum object_error {
    OBJECT_ERROR_INVALID, /* a manifest, quantity, name, path or selector that is none */
    OBJECT_ERROR_COUNT,
};
#define OBJECT_ERROR object_error_quark()
GQuark object_error_quark(void);
