#include "controller/scheduler/scheduler.h"
#include "controller/object/selector.h"

#include <string.h>

#define MIB (1u << 20)

/* ---- filters: each returns NULL, or why this host cannot take the machine -------------------- */

typedef char *(*filter_fn)(const struct scheduler_host *host, const struct scheduler_needs *needs);

static char *filter_ready(const struct scheduler_host *host, const struct scheduler_needs *needs)
{
    if (host->ready)
        return NULL;
    if (host->silent_seconds < 0)
        return g_strdup("not ready: its agent has not reported yet");
    return g_strdup_printf("not ready for %d s", host->silent_seconds);
}

static char *filter_excluded(const struct scheduler_host *host, const struct scheduler_needs *needs)
{
    return needs->not_host && strcmp(needs->not_host, host->name) == 0
               ? g_strdup("the machine is there already")
               : NULL;
}

static char *filter_locality(const struct scheduler_host *host, const struct scheduler_needs *needs)
{
    if (!needs->only_host || strcmp(needs->only_host, host->name) == 0)
        return NULL;
    return g_strdup_printf("must go to %s: %s", needs->only_host,
                           needs->only_why ? needs->only_why : "its disks are there");
}

static char *filter_unschedulable(const struct scheduler_host *host,
                                  const struct scheduler_needs *needs)
{
    return host->unschedulable && !needs->ignore_unschedulable
               ? g_strdup("set to take no more machines (spec.unschedulable)")
               : NULL;
}

static char *filter_selector(const struct scheduler_host *host, const struct scheduler_needs *needs)
{
    g_autoptr(Selector) selector = selector_from_map(needs->selector);
    if (selector_matches(selector, host->labels))
        return NULL;
    g_autofree char *text = selector_text(selector);
    return g_strdup_printf("has not the labels of placement.hostSelector (%s)", text);
}

static char *filter_cpu(const struct scheduler_host *host, const struct scheduler_needs *needs)
{
    uint64_t offered = (uint64_t)host->cpus * SCHEDULER_CPU_OVERCOMMIT;
    if (host->machine_max_cores && needs->cores > host->machine_max_cores)
        return g_strdup_printf("needs %u cores, machines there have at most %u", needs->cores,
                               host->machine_max_cores);
    if (host->cores_used + needs->cores <= offered)
        return NULL;
    return g_strdup_printf("needs %u cores, %" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT
                           " (%d for each of its %u CPUs) left",
                           needs->cores, offered - MIN(offered, host->cores_used), offered,
                           SCHEDULER_CPU_OVERCOMMIT, host->cpus);
}

static uint64_t memory_free(const struct scheduler_host *host)
{
    return host->memory_total - MIN(host->memory_total, host->memory_used);
}

static char *filter_memory(const struct scheduler_host *host, const struct scheduler_needs *needs)
{
    if (needs->memory <= memory_free(host))
        return NULL;
    return g_strdup_printf("needs %" G_GUINT64_FORMAT " MiB of memory, %" G_GUINT64_FORMAT
                           " MiB free",
                           needs->memory / MIB, memory_free(host) / MIB);
}

static char *filter_disk(const struct scheduler_host *host, const struct scheduler_needs *needs)
{
    if (needs->disk <= host->disk_free)
        return NULL;
    return g_strdup_printf("needs %" G_GUINT64_FORMAT " MiB on disk, %" G_GUINT64_FORMAT
                           " MiB free",
                           needs->disk / MIB, host->disk_free / MIB);
}

/* In the order in which the first refusal is told. */
static const filter_fn filters[] = {
    filter_excluded, filter_locality, filter_ready,  filter_unschedulable,
    filter_selector, filter_cpu,      filter_memory, filter_disk,
};

char *scheduler_refusal(const struct scheduler_host *host, const struct scheduler_needs *needs)
{
    for (size_t i = 0; i < G_N_ELEMENTS(filters); i++) {
        char *refusal = filters[i](host, needs);
        if (refusal)
            return refusal;
    }
    return NULL;
}

/* ---- score ----------------------------------------------------------------------------------- */

/* 0 to 200 for what would be left of memory and CPUs, less one for each machine already there. */
static double score(const struct scheduler_host *host, const struct scheduler_needs *needs)
{
    double memory =
        (double)(memory_free(host) - needs->memory) / (double)MAX(host->memory_total, 1);
    double offered = (double)MAX(host->cpus, 1) * SCHEDULER_CPU_OVERCOMMIT;
    double cores = (offered - (double)(host->cores_used + needs->cores)) / offered;
    return 100 * memory + 100 * cores - host->machines;
}

int scheduler_choose(const struct scheduler_host *hosts, size_t count,
                     const struct scheduler_needs *needs, char **ret_reasons)
{
    g_autoptr(GString) reasons = g_string_new(NULL);
    int best = -1;
    double best_score = 0;
    for (size_t i = 0; i < count; i++) {
        g_autofree char *refusal = scheduler_refusal(&hosts[i], needs);
        if (refusal) {
            g_string_append_printf(reasons, "%s%s: %s", reasons->len ? "; " : "", hosts[i].name,
                                   refusal);
            continue;
        }
        double points = score(&hosts[i], needs);
        if (best < 0 || points > best_score ||
            (points == best_score && strcmp(hosts[i].name, hosts[best].name) < 0)) {
            best = (int)i;
            best_score = points;
        }
    }
    if (count == 0)
        g_string_append(reasons, "no host has joined the cluster yet");
    if (best < 0 && ret_reasons)
        *ret_reasons = g_string_free(g_steal_pointer(&reasons), FALSE);
    return best;
}
