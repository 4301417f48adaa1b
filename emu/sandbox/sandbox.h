/*
 * What a process that runs a guest may still do: the files it was given, and the system calls it
 * needs. A guest that has broken out of the emulated machine finds itself in here.
 *
 *      sandbox_new, sandbox_allow ...      what there is to be opened, before anything is
 *      sandbox_confine_files               Landlock: from here on these files only
 *          (files are opened, threads begin)
 *      sandbox_drop_user                   root is given up
 *      sandbox_confine_calls               seccomp: from here on these system calls only, all
 * threads
 *
 * Landlock binds the calling thread and those it makes, so it comes while there is one; seccomp
 * binds all threads at once. Neither can be taken back.
 *
 * Sources: Documentation/userspace-api/landlock.rst and seccomp_filter.rst of the kernel.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

struct sandbox;

enum sandbox_access {
    SANDBOX_READ = 1,
    SANDBOX_WRITE = 2,   /* an existing file; below a folder: every file in it */
    SANDBOX_DEVICE = 4,  /* device ioctls */
    SANDBOX_SOCKETS = 8, /* of a folder: sockets may be made in it, and files removed */
    SANDBOX_CREATE = 16, /* of a folder: files may be made, renamed and removed in it */
};

struct sandbox *sandbox_new(void);
void sandbox_free(struct sandbox *sandbox);
/* A file, or a folder with all below it. What does not exist is left out: opening it fails anyhow.
 */
void sandbox_allow(struct sandbox *sandbox, const char *path, unsigned access);

/* False with an error when the kernel has no Landlock; nothing has changed then. `network`: TCP
 * connections may still be made (where the kernel can tell). */
bool sandbox_confine_files(struct sandbox *sandbox, bool network, GError **error);
/* Becomes this user with its groups, in all threads. For root only. */
bool sandbox_drop_user(const char *name, GError **error);
/* Another system call than those listed ends the process, and its name is told on stderr. */
bool sandbox_confine_calls(bool network, GError **error);
