/*
 * Memory below 2 GiB of the process's address space, where an instruction reaches any byte with a
 * 32-bit address and needs no register for it. Translated code and what it touches of a CPU live
 * there.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>

/* Zeroed pages, private to the process; NULL with an error when there is no room. Any thread. */
void *low_memory_new(size_t size, GError **error);
/* The same pages twice: to be written at *ret_write, to be run at *ret_run. */
bool low_memory_new_code(size_t size, void **ret_write, void **ret_run, GError **error);
/* The page there is not to be touched any more. */
bool low_memory_guard(void *page, GError **error);
void low_memory_free(void *memory, size_t size); /* NULL is fine */
