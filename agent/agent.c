#include "agent/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/disk.h"
#include "agent/files.h"
#include "agent/identity.h"
#include "agent/link.h"
#include "agent/machine.h"
#include "agent/metrics.h"
#include "agent/stream.h"
#include "agent/transfer.h"
#include "agent/worker.h"

#define RETRY_SECONDS   5
#define SOCKET_PATH_MAX 107 /* unix(7): sun_path less its end */

G_DEFINE_QUARK(drover - agent - error, agent_error)

char *agent_path(const struct agent *agent, const char *first, ...)
{
    g_autoptr(GPtrArray) parts = g_ptr_array_new();
    const char *part;
    va_list args;

    g_ptr_array_add(parts, agent->config.data);
    va_start(args, first);
    for (part = first; part; part = va_arg(args, const char *))
        g_ptr_array_add(parts, (char *)part);
    va_end(args);
    g_ptr_array_add(parts, NULL);
    return g_build_filenamev((char **)parts->pdata);
}

void agent_changed(struct agent *agent)
{
    link_report_soon(agent->link);
}

/* ---- the assignment -------------------------------------------------------------------------- */

static void carry_out(evutil_socket_t fd, short what, void *opaque)
{
    struct agent *agent = opaque;
    const struct timeval again = {RETRY_SECONDS, 0};

    evtimer_add(agent->retry, &again);
    if (!agent->assignment)
        return;
    transfers_reconcile(agent->transfers, agent->assignment);
    disks_reconcile(agent->disks, agent->assignment);
    machines_reconcile(agent->machines, agent->assignment);
    streams_reconcile(agent->streams, agent->assignment);
}

/* Streams are of the moment: one that was ordered before a restart has nobody waiting any more. */
static void save_assignment(struct agent *agent)
{
    size_t streams = agent->assignment->n_streams, length;
    g_autofree char *path = agent_path(agent, "assignment", NULL);
    g_autofree uint8_t *packed = NULL;
    g_autoptr(GError) error = NULL;

    agent->assignment->n_streams = 0;
    length = cluster__assignment__get_packed_size(agent->assignment);
    packed = g_malloc(MAX(length, 1));
    cluster__assignment__pack(agent->assignment, packed);
    agent->assignment->n_streams = streams;
    if (!file_replace(path, packed, length, 0600, &error))
        g_warning("cannot keep the assignment: %s", error->message);
}

static void load_assignment(struct agent *agent)
{
    g_autofree char *path = agent_path(agent, "assignment", NULL);
    g_autofree char *packed = NULL;
    gsize length;

    if (g_file_get_contents(path, &packed, &length, NULL))
        agent->assignment = cluster__assignment__unpack(NULL, length, (uint8_t *)packed);
}

void agent_reconcile(struct agent *agent, Cluster__Assignment *assignment)
{
    const struct timeval now = {0, 0};

    if (assignment) {
        if (agent->assignment)
            cluster__assignment__free_unpacked(agent->assignment, NULL);
        agent->assignment = assignment;
        save_assignment(agent);
    }
    evtimer_add(agent->reconcile, &now); /* not from inside whoever calls */
}

/* ---- start ----------------------------------------------------------------------------------- */

static bool lock_data(struct agent *agent, GError **error)
{
    g_autofree char *path = agent_path(agent, "agent.lock", NULL);

    if (!folder_make(agent->config.data, 0700, error))
        return false;
    agent->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (agent->lock >= 0 && flock(agent->lock, LOCK_EX | LOCK_NB) == 0)
        return true;
    g_set_error(error, AGENT_ERROR, AGENT_ERROR_CONFIG,
                errno == EWOULDBLOCK ? "another drover-agent uses %s%s" : "cannot lock %s: %s",
                agent->config.data, errno == EWOULDBLOCK ? "" : g_strerror(errno));
    return false;
}

/* Sockets' paths are short, data folders' need not be: DATA/run where that fits, else a folder of
 * our own under /tmp whose name follows from the data folder, so that a restarted agent finds it.
 */
static bool make_run_dir(struct agent *agent, GError **error)
{
    g_autofree char *hash =
        g_compute_checksum_for_string(G_CHECKSUM_SHA256, agent->config.data, -1);
    struct stat st;

    agent->run_dir = agent_path(agent, "run", NULL);
    if (strlen(agent->run_dir) + strlen("/00000000-0000-0000-0000-000000000000.ctl") >
        SOCKET_PATH_MAX) {
        g_free(agent->run_dir);
        agent->run_dir = g_strdup_printf("/tmp/drover-%u-%.12s", (unsigned)getuid(), hash);
    }
    if (!folder_make(agent->run_dir, 0700, error))
        return false;
    if (lstat(agent->run_dir, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == getuid() &&
        (st.st_mode & 077) == 0)
        return true;
    g_set_error(error, AGENT_ERROR, AGENT_ERROR_CONFIG,
                "%s is not a folder of ours alone; remove it, or choose another --data",
                agent->run_dir);
    return false;
}

static bool open_parts(struct agent *agent, GError **error)
{
    g_autofree char *identity = agent_path(agent, "identity", NULL);
    const struct agent_config *config = &agent->config;

    return lock_data(agent, error) && make_run_dir(agent, error) &&
           (agent->identity = identity_open(identity, config->name, config->controller,
                                            config->join_token, error)) &&
           (agent->workers = workers_new(agent->base, error)) &&
           (agent->disks = disks_new(agent, error)) &&
           (agent->machines = machines_new(agent, error)) &&
           (agent->transfers = transfers_new(agent, config->transfer_listen, error)) &&
           (agent->streams = streams_new(agent, error)) &&
           (agent->metrics = metrics_new(agent, config->metrics_listen, error)) &&
           (agent->link = link_new(agent, error));
}

struct agent *agent_new(const struct agent_config *config, GError **error)
{
    struct agent *agent = g_new0(struct agent, 1);

    agent->config = *config;
    agent->lock = -1;
    agent->base = event_base_new();
    agent->reconcile = evtimer_new(agent->base, carry_out, agent);
    agent->retry = evtimer_new(agent->base, carry_out, agent);
    if (!open_parts(agent, error)) {
        agent_free(agent);
        return NULL;
    }
    load_assignment(agent);
    agent_reconcile(agent, NULL);
    return agent;
}

void agent_run(struct agent *agent)
{
    event_base_dispatch(agent->base);
}

void agent_stop(struct agent *agent)
{
    event_base_loopbreak(agent->base);
}

void agent_free(struct agent *agent)
{
    if (!agent)
        return;
    transfers_stop(agent->transfers);
    link_free(g_steal_pointer(&agent->link));
    workers_free(agent->workers);
    metrics_free(agent->metrics);
    streams_free(agent->streams);
    transfers_free(agent->transfers);
    machines_free(agent->machines);
    disks_free(agent->disks);
    identity_free(agent->identity);
    if (agent->assignment)
        cluster__assignment__free_unpacked(agent->assignment, NULL);
    event_free(agent->reconcile);
    event_free(agent->retry);
    event_base_free(agent->base);
    if (agent->lock >= 0)
        close(agent->lock);
    g_free(agent->run_dir);
    g_free(agent);
}
