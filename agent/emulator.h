/*
 * One drover-emu process: starting it, finding it again, asking it things.
 *
 * The process leads its own session and outlives the agent. It inherits a locked file
 * (FOLDER/lock), so "does it run?" has one answer that no crash of the agent can make wrong: the
 * lock is held or it is not. Its process id stands in FOLDER/pid, written by drover-emu; how it
 * ended in FOLDER/exit.
 *
 * emulator_call() blocks and is for jobs (worker.h); the rest is quick.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/emu.pb-c.h"

struct emulator_disk {
    const char *path;
    const char *bus;
};

struct emulator_spec {
    const char *program; /* path of drover-emu */
    const char *name;    /* for people: "namespace/name" */
    const char *uuid;    /* what the guest sees as its machine's; NULL: nothing */
    const char *folder;  /* the machine's own */
    const char *control; /* paths of its unix sockets; short enough for sun_path */
    const char *serial;
    uint64_t memory_bytes;
    unsigned cores;
    const char *cpu_model; /* NULL or "": drover-emu's default */
    const struct emulator_disk *disks;
    size_t disk_count;
};

/* Starts the process; gives its id. An error here means that nothing runs. */
bool emulator_spawn(const struct emulator_spec *spec, pid_t *ret_pid, GError **error);

/* Whether a process holds the folder's lock; true also when that cannot be found out. */
bool emulator_runs(const char *folder);
/* What FOLDER/pid says; 0 when it says nothing. Only good while emulator_runs(). */
pid_t emulator_pid(const char *folder);
/* A file descriptor that becomes readable when the process ends, or -1 when it has ended. */
int emulator_watch(pid_t pid);

enum emulator_end {
    EMULATOR_END_UNKNOWN,  /* it wrote nothing: killed, or crashed */
    EMULATOR_END_POWEROFF, /* the guest switched itself off, or it was told to quit */
    EMULATOR_END_FAILED,   /* it could not go on, or not even begin */
};
enum emulator_end emulator_end(const char *folder);
/* The last line of FOLDER/emulator.log, for people; NULL when there is none. Caller frees. */
char *emulator_last_words(const char *folder);

/* Sends one request to the control socket and waits for the reply, at most `timeout_ms`. The reply
 * is freed with emu__reply__free_unpacked(reply, NULL). NULL with an error when there was none or
 * it says no. */
Emu__Reply *emulator_call(const char *control, const Emu__Request *request, int timeout_ms,
                          GError **error);
