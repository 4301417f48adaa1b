/*
 * The scheduler: which host a machine goes to. A pure function of what hosts have and what the
 * machine needs: filters say which hosts can take it, a score chooses among them.
 */
#pragma once

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define SCHEDULER_CPU_OVERCOMMIT 4 /* virtual CPUs for each CPU of a host, over all machines */

struct scheduler_host {
    const char *name;
    const json_t *labels;
    bool ready;
    int silent_seconds; /* since its last report; -1: it never reported */
    bool unschedulable;
    uint32_t cpus;
    uint32_t machine_max_cores;         /* 0: no limit */
    uint64_t memory_total, memory_used; /* bytes; used: promised to machines */
    uint64_t cores_used;
    uint64_t disk_free; /* bytes */
    unsigned machines;
};

struct scheduler_needs {
    uint32_t cores;
    uint64_t memory;           /* bytes */
    uint64_t disk;             /* bytes that have to be put on the host */
    const json_t *selector;    /* map of labels, or NULL */
    const char *only_host;     /* where its disks are, or NULL */
    const char *only_why;      /* "disk root is there" */
    const char *not_host;      /* or NULL */
    bool ignore_unschedulable; /* it is there already, or a person named the host */
};

/* NULL when `host` can take it, else why not: "needs 4096 MiB, 1000 MiB free". Caller frees. */
char *scheduler_refusal(const struct scheduler_host *host, const struct scheduler_needs *needs);
/* The best host's index, or -1, with `ret_reasons` (caller frees) "alpha: …; beta: …". The outcome
 * depends on the arguments only; equals go to the first by name. */
int scheduler_choose(const struct scheduler_host *hosts, size_t count,
                     const struct scheduler_needs *needs, char **ret_reasons);
