/*
 * Who holds a lock on a file.
 *
 * F_OFD_GETLK gives no process for the locks we use, so every process's
 * /proc/PID/fdinfo is searched, which lists the locks of each descriptor.
 */
#pragma once

#include <stdbool.h>

/* "process 123 (drover-emu)" for a process that holds a lock on fd's file which is in the way; with
 * `writers_only` a lock for writing. NULL when none can be found: it may be another user's, in
 * another container, or on another host. The caller frees. */
char *lock_holder_describe(int fd, bool writers_only);
