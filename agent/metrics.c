#include "agent/metrics.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/http.h>
#include <netinet/in.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/host.h"
#include "agent/link.h"
#include "agent/machine.h"
#include "agent/transfer.h"
#include "proto/metrics_text.h"

struct metrics {
    struct agent *agent;
    struct evhttp *http;
    char *address;
};

/* ---- the families ---------------------------------------------------------------------------- */

static const struct metric build_info = {"drover_agent_build_info", METRIC_GAUGE,
                                         "Always 1; the labels tell version and host."};
static const struct metric connected = {"drover_agent_controller_connected", METRIC_GAUGE,
                                        "1 while the agent is registered with its controller."};
static const struct metric reports = {"drover_agent_reports_total", METRIC_COUNTER,
                                      "Reports the controller has taken."};
static const struct metric pulls = {"drover_agent_pulls_total", METRIC_COUNTER,
                                    "Answers to requests for the desired state."};
static const struct metric host_cpu_count = {"drover_host_cpus", METRIC_GAUGE, "Online CPUs."};
static const struct metric host_memory = {"drover_host_memory_bytes", METRIC_GAUGE,
                                          "Memory that machines may use in all."};
static const struct metric host_memory_free = {"drover_host_memory_available_bytes", METRIC_GAUGE,
                                               "Memory the host could give without swapping."};
static const struct metric host_disk = {"drover_host_disk_bytes", METRIC_GAUGE,
                                        "Size of the file system with the disks."};
static const struct metric host_disk_left = {"drover_host_disk_free_bytes", METRIC_GAUGE,
                                             "Free space of the file system with the disks."};
static const struct metric transfer_bytes = {"drover_transfer_bytes_total", METRIC_COUNTER,
                                             "Bytes of disks moved to and from other hosts."};

/* One family with a sample for each machine. */
struct machine_metric {
    struct metric metric;
    double (*value)(const struct machine_figures *figures);
};

static double running(const struct machine_figures *f)
{
    return f->running;
}
static double cpu_seconds(const struct machine_figures *f)
{
    return f->cpu_seconds;
}
static double uptime(const struct machine_figures *f)
{
    return f->uptime_seconds;
}
static double memory(const struct machine_figures *f)
{
    return (double)f->memory_bytes;
}
static double interpreted(const struct machine_figures *f)
{
    return (double)f->interpreted;
}
static double disk_read(const struct machine_figures *f)
{
    return (double)f->disk_read_bytes;
}
static double disk_written(const struct machine_figures *f)
{
    return (double)f->disk_written_bytes;
}
static double disk_reads(const struct machine_figures *f)
{
    return (double)f->disk_reads;
}
static double disk_writes(const struct machine_figures *f)
{
    return (double)f->disk_writes;
}

/* clang-format off */
static const struct machine_metric machine_metrics[] = {
    {{"drover_vm_running", METRIC_GAUGE, "1 while the machine's emulator runs."}, running},
    {{"drover_vm_cpu_seconds_total", METRIC_COUNTER, "Processor time of the machine's emulator."},
     cpu_seconds},
    {{"drover_vm_uptime_seconds", METRIC_GAUGE, "Guest time since power-on."}, uptime},
    {{"drover_vm_memory_bytes", METRIC_GAUGE, "Memory of the machine."}, memory},
    {{"drover_vm_interpreted_instructions_total", METRIC_COUNTER, "Guest instructions interpreted, by contrast with translated or executed by KVM."},
     interpreted},
    {{"drover_vm_disk_read_bytes_total", METRIC_COUNTER, "Bytes the guest has read from disks."},
     disk_read},
    {{"drover_vm_disk_written_bytes_total", METRIC_COUNTER, "Bytes the guest has written."},
     disk_written},
    {{"drover_vm_disk_reads_total", METRIC_COUNTER, "Read requests of the guest."}, disk_reads},
    {{"drover_vm_disk_writes_total", METRIC_COUNTER, "Write requests of the guest."}, disk_writes},
};
/* clang-format on */

struct page {
    GString *out;
    const char *host;
    const struct machine_metric *metric;
};

static void add_machine(void *opaque, const struct machine_figures *figures)
{
    struct page *page = opaque;

    metrics_sample(page->out, &page->metric->metric, page->metric->value(figures), "host",
                   page->host, "namespace", figures->namespace, "name", figures->name, NULL);
}

static void add_host(struct page *page, const struct metric *metric, double value)
{
    metrics_family(page->out, metric);
    metrics_sample(page->out, metric, value, "host", page->host, NULL);
}

char *metrics_page(struct agent *agent)
{
    const char *data = agent->config.data;
    struct page page = {.out = g_string_new(NULL), .host = agent->config.name};
    uint64_t sent, received;

    metrics_family(page.out, &build_info);
    metrics_sample(page.out, &build_info, 1, "version", DROVER_VERSION, "host", page.host, NULL);
    add_host(&page, &connected, link_is_connected(agent->link));
    add_host(&page, &reports, (double)link_reports(agent->link));
    add_host(&page, &pulls, (double)link_pulls(agent->link));
    add_host(&page, &host_cpu_count, agent->config.cpus);
    add_host(&page, &host_memory, (double)agent->config.memory_bytes);
    add_host(&page, &host_memory_free, (double)host_memory_available());
    add_host(&page, &host_disk, (double)host_disk_size(data));
    add_host(&page, &host_disk_left, (double)host_disk_free(data));
    transfers_bytes(agent->transfers, &sent, &received);
    metrics_family(page.out, &transfer_bytes);
    metrics_sample(page.out, &transfer_bytes, (double)sent, "host", page.host, "direction", "sent",
                   NULL);
    metrics_sample(page.out, &transfer_bytes, (double)received, "host", page.host, "direction",
                   "received", NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(machine_metrics); i++) {
        page.metric = &machine_metrics[i];
        metrics_family(page.out, &page.metric->metric);
        machines_each(agent->machines, add_machine, &page);
    }
    return g_string_free(page.out, FALSE);
}

/* ---- the server ------------------------------------------------------------------------------ */

static void answer(struct evhttp_request *request, int status, const char *type, const char *text)
{
    struct evbuffer *body = evbuffer_new();

    evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type", type);
    evbuffer_add(body, text, strlen(text));
    evhttp_send_reply(request, status, NULL, body);
    evbuffer_free(body);
}

static void on_metrics(struct evhttp_request *request, void *opaque)
{
    struct metrics *metrics = opaque;
    g_autofree char *page = metrics_page(metrics->agent);

    answer(request, HTTP_OK, METRICS_CONTENT_TYPE, page);
}

static void on_health(struct evhttp_request *request, void *opaque)
{
    answer(request, HTTP_OK, "text/plain; charset=utf-8", "ok\n");
}

static void on_other(struct evhttp_request *request, void *opaque)
{
    answer(request, HTTP_NOTFOUND, "text/plain; charset=utf-8",
           "not found; there are /metrics and /healthz\n");
}

static bool bind_http(struct metrics *metrics, const char *listen, GError **error)
{
    g_autofree char *host = g_strdup(listen);
    char *colon = strrchr(host, ':');
    struct evhttp_bound_socket *bound = NULL;
    guint64 port = 0;

    if (!colon || !g_ascii_string_to_unsigned(colon + 1, 10, 0, 65535, &port, NULL)) {
        g_set_error(error, AGENT_ERROR, AGENT_ERROR_CONFIG,
                    "\"%s\" is no address to listen at; write ADDRESS:PORT", listen);
        return false;
    }
    *colon = '\0';
    bound = evhttp_bind_socket_with_handle(metrics->http, *host ? host : "0.0.0.0", (uint16_t)port);
    if (!bound) {
        g_set_error(error, AGENT_ERROR, AGENT_ERROR_CONFIG, "cannot listen at %s: %s", listen,
                    g_strerror(errno));
        return false;
    }
    if (port == 0) {
        struct sockaddr_in address;
        socklen_t length = sizeof(address);

        if (getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&address, &length) ==
            0)
            port = ntohs(address.sin_port);
    }
    metrics->address = g_strdup_printf("%s:%u", *host ? host : g_get_host_name(), (unsigned)port);
    return true;
}

struct metrics *metrics_new(struct agent *agent, const char *listen, GError **error)
{
    struct metrics *metrics = g_new0(struct metrics, 1);

    metrics->agent = agent;
    metrics->http = evhttp_new(agent->base);
    evhttp_set_allowed_methods(metrics->http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
    evhttp_set_max_body_size(metrics->http, 4096);
    evhttp_set_max_headers_size(metrics->http, 16384);
    evhttp_set_timeout(metrics->http, 30);
    evhttp_set_cb(metrics->http, "/metrics", on_metrics, metrics);
    evhttp_set_cb(metrics->http, "/healthz", on_health, metrics);
    evhttp_set_gencb(metrics->http, on_other, metrics);
    if (bind_http(metrics, listen, error))
        return metrics;
    metrics_free(metrics);
    return NULL;
}

void metrics_free(struct metrics *metrics)
{
    if (!metrics)
        return;
    evhttp_free(metrics->http);
    g_free(metrics->address);
    g_free(metrics);
}

const char *metrics_address(const struct metrics *metrics)
{
    return metrics->address;
}
