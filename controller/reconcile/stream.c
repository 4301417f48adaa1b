#include "controller/reconcile/stream.h"

#include <string.h>

static void stream_free(struct stream *stream)
{
    g_free(stream->id);
    g_free(stream->machine_uid);
    g_free(stream->host);
    g_free(stream);
}

GPtrArray *stream_list_new(void)
{
    return g_ptr_array_new_with_free_func((GDestroyNotify)stream_free);
}

struct stream *stream_open(struct cluster *cluster, Cluster__StreamKind kind, const char *host,
                           const char *machine_uid)
{
    struct stream *stream = g_new0(struct stream, 1);
    stream->id = g_uuid_string_random();
    cluster_ticket(cluster, "stream", stream->id, stream->ticket);
    stream->kind = kind;
    stream->host = g_strdup(host);
    stream->machine_uid = g_strdup(machine_uid);
    stream->until = cluster_now(cluster) + STREAM_WAIT_US;
    g_ptr_array_add(cluster->streams, stream);
    cluster_touch(cluster);
    return stream;
}

struct stream *stream_find(struct cluster *cluster, const char *id)
{
    for (guint i = 0; i < cluster->streams->len; i++) {
        struct stream *stream = cluster->streams->pdata[i];
        if (strcmp(stream->id, id) == 0)
            return stream;
    }
    return NULL;
}

void stream_close(struct cluster *cluster, struct stream *stream)
{
    g_ptr_array_remove(cluster->streams, stream);
    cluster_touch(cluster);
}

static void fail(struct cluster *cluster, struct stream *stream, bool timeout, const char *why)
{
    if (stream->failed)
        stream->failed(stream, timeout, why);
    stream_close(cluster, stream);
}

void stream_refused(struct cluster *cluster, const char *host, const char *id, const char *why)
{
    struct stream *stream = stream_find(cluster, id);
    if (stream && strcmp(stream->host, host) == 0)
        fail(cluster, stream, false, why && why[0] ? why : "refused by the host");
}

void stream_expire(struct cluster *cluster)
{
    int64_t now = cluster_now(cluster);
    for (guint i = cluster->streams->len; i > 0; i--) {
        struct stream *stream = cluster->streams->pdata[i - 1];
        if (now < stream->until)
            continue;
        g_autofree char *why = g_strdup_printf("host %s did not call back in 10 s", stream->host);
        fail(cluster, stream, true, why);
    }
}
