/*
 * Requests and their replies.
 *
 * The connection's thread reads a request, with its data, and gives it to the pool; a pool's thread
 * does it and writes the reply. Requests of one client may so overtake each other, as the protocol
 * allows.
 */
#include <string.h>

#include "storage/endian.h"
#include "storage/nbd/internal.h"
#include "storage/nbd/protocol.h"

#define REQUEST_SIZE 28
#define MAX_EXTENTS  1024 /* of one answer to BLOCK_STATUS */
#define HOLES_FROM                                                                                 \
    (64u << 10) /* reads from this size on are answered with holes where there are                 \
                 */
#define DRAIN_CHUNK   (64u << 10)
#define ALLOCATION_ID 1

struct request {
    struct nbd_connection *connection;
    uint16_t flags, type;
    uint64_t cookie, offset;
    uint32_t length;
    size_t buffered; /* what it counts for */
    uint8_t *data;   /* of a write; owned */
};

/* ---- replies ----------------------------------------------------------------------------------
 */

/* `head` and `data` go out together. */
static void send_parts(struct nbd_connection *connection, const void *head, size_t head_length,
                       const void *data, size_t length)
{
    g_mutex_lock(&connection->writing);
    if (!connection->broken)
        connection->broken =
            !connection->stream->write(connection->stream, head, head_length) ||
            (length && !connection->stream->write(connection->stream, data, length));
    g_mutex_unlock(&connection->writing);
}

static void send_simple(const struct request *request, uint32_t code, const void *data,
                        size_t length)
{
    uint8_t head[16];

    store_be32(head, NBD_SIMPLE_MAGIC);
    store_be32(head + 4, code);
    store_be64(head + 8, request->cookie);
    send_parts(request->connection, head, sizeof(head), data, length);
}

/* A chunk: the first bytes of its payload are in `front`, the rest in `data`. */
static void send_chunk(const struct request *request, enum nbd_chunk type, bool done,
                       const void *front, size_t front_length, const void *data, size_t length)
{
    uint8_t head[20 + 16];

    store_be32(head, NBD_STRUCTURED_MAGIC);
    store_be16(head + 4, done ? NBD_CHUNK_DONE : 0);
    store_be16(head + 6, (uint16_t)type);
    store_be64(head + 8, request->cookie);
    store_be32(head + 16, (uint32_t)(front_length + length));
    memcpy(head + 20, front, front_length);
    send_parts(request->connection, head, 20 + front_length, data, length);
}

static void send_result(const struct request *request, uint32_t code, const char *message)
{
    size_t length = message ? MIN(strlen(message), NBD_MAX_NAME) : 0;
    uint8_t front[6] = {0};

    if (!request->connection->structured) {
        send_simple(request, code, NULL, 0);
        return;
    }
    if (code == NBD_OK) {
        send_chunk(request, NBD_CHUNK_NONE, true, front, 0, NULL, 0);
        return;
    }
    store_be32(front, code);
    store_be16(front + 4, (uint16_t)length);
    send_chunk(request, NBD_CHUNK_ERROR, true, front, sizeof(front), message, length);
}

static void send_error(const struct request *request, const GError *error)
{
    static const uint32_t codes[BLOCK_ERROR_COUNT] = {
        [BLOCK_ERROR_NO_SPACE] = NBD_ENOSPC,
        [BLOCK_ERROR_RANGE] = NBD_EINVAL,
        [BLOCK_ERROR_ARGUMENT] = NBD_EINVAL,
        [BLOCK_ERROR_READ_ONLY] = NBD_EPERM,
    };
    uint32_t code = error->domain == BLOCK_ERROR ? codes[error->code] : 0;

    send_result(request, code ? code : NBD_EIO, error->message);
}

/* ---- reading ----------------------------------------------------------------------------------
 */

static bool send_hole(const struct request *request, uint64_t offset, uint32_t length, bool done)
{
    uint8_t front[12];

    store_be64(front, offset);
    store_be32(front + 8, length);
    send_chunk(request, NBD_CHUNK_HOLE, done, front, sizeof(front), NULL, 0);
    return true;
}

static bool send_data(const struct request *request, uint64_t offset, uint8_t *buffer,
                      uint32_t length, bool done, GError **error)
{
    uint8_t front[8];

    if (!block_read(request->connection->exported->device, offset, buffer, length, error))
        return false;
    store_be64(front, offset);
    send_chunk(request, NBD_CHUNK_DATA, done, front, sizeof(front), buffer, length);
    return true;
}

static bool read_structured(const struct request *request, uint8_t *buffer, GError **error)
{
    struct block_device *device = request->connection->exported->device;
    uint64_t at = request->offset, end = at + request->length;
    bool whole = request->flags & NBD_FLAG_DF || request->length < HOLES_FROM;
    struct block_extent extent;
    uint32_t n;
    bool ok;

    if (whole)
        return send_data(request, at, buffer, request->length, true, error);
    for (; at < end; at += n) {
        if (!block_next_extent(device, at, &extent, error))
            return false;
        n = (uint32_t)MIN(extent.length, end - at);
        ok = extent.kind == BLOCK_EXTENT_DATA
                 ? send_data(request, at, buffer, n, at + n == end, error)
                 : send_hole(request, at, n, at + n == end);
        if (!ok)
            return false;
    }
    return true;
}

static bool do_read(const struct request *request, GError **error)
{
    g_autofree uint8_t *buffer = g_malloc(request->length);

    if (request->connection->structured)
        return read_structured(request, buffer, error);
    if (!block_read(request->connection->exported->device, request->offset, buffer, request->length,
                    error))
        return false;
    send_simple(request, NBD_OK, buffer, request->length);
    return true;
}

/* ---- the rest ---------------------------------------------------------------------------------
 */

static uint32_t state_of(enum block_extent_kind kind)
{
    switch (kind) {
    case BLOCK_EXTENT_DATA:
        return 0;
    case BLOCK_EXTENT_ZERO:
        return NBD_STATE_ZERO;
    default:
        return NBD_STATE_ZERO | NBD_STATE_HOLE;
    }
}

static bool do_block_status(const struct request *request, GError **error)
{
    unsigned most = request->flags & NBD_FLAG_REQ_ONE ? 1 : MAX_EXTENTS, count = 0;
    uint64_t at = request->offset, end = at + request->length;
    g_autofree uint8_t *answer = g_malloc(MAX_EXTENTS * 8);
    uint32_t last_state = UINT32_MAX;
    struct block_extent extent;
    uint8_t front[4];

    while (at < end) {
        uint32_t n, state;

        if (!block_next_extent(request->connection->exported->device, at, &extent, error))
            return false;
        n = (uint32_t)MIN(extent.length, end - at);
        state = state_of(extent.kind);
        if (state == last_state) {
            uint8_t *length = answer + (count - 1) * 8;

            store_be32(length, load_be32(length) + n);
        } else if (count == most) {
            break;
        } else {
            store_be32(answer + count * 8, n);
            store_be32(answer + count++ * 8 + 4, state);
        }
        last_state = state;
        at += n;
    }
    store_be32(front, ALLOCATION_ID);
    send_chunk(request, NBD_CHUNK_BLOCK_STATUS, true, front, sizeof(front), answer,
               (size_t)count * 8);
    return true;
}

/* Whatever changes the disk, and what is done before the answer to FUA. */
static bool do_change(const struct request *request, GError **error)
{
    struct block_device *device = request->connection->exported->device;
    bool ok = true;

    switch (request->type) {
    case NBD_CMD_WRITE:
        ok = block_write(device, request->offset, request->data, request->length, error);
        break;
    case NBD_CMD_TRIM:
        ok = block_discard(device, request->offset, request->length, error);
        break;
    case NBD_CMD_WRITE_ZEROES:
        ok = block_write_zeroes(device, request->offset, request->length,
                                !(request->flags & NBD_FLAG_NO_HOLE), error);
        break;
    default:
        break;
    }
    if (ok && (request->type == NBD_CMD_FLUSH || request->flags & NBD_FLAG_FUA))
        ok = block_flush(device, error);
    if (ok)
        send_result(request, NBD_OK, NULL);
    return ok;
}

/* We cache nothing that reading it would help. */
static bool do_nothing(const struct request *request, GError **error)
{
    send_result(request, NBD_OK, NULL);
    return true;
}

static const struct {
    bool (*perform)(const struct request *request, GError **error);
    uint16_t flags;       /* that it may have */
    bool changes, ranged; /* the disk; has offset and length */
} commands[NBD_CMD_COUNT] = {
    [NBD_CMD_READ] = {do_read, NBD_FLAG_DF, false, true},
    [NBD_CMD_WRITE] = {do_change, 0, true, true},
    [NBD_CMD_FLUSH] = {do_change, 0, false, false},
    [NBD_CMD_TRIM] = {do_change, 0, true, true},
    [NBD_CMD_CACHE] = {do_nothing, 0, false, true},
    [NBD_CMD_WRITE_ZEROES] = {do_change, NBD_FLAG_NO_HOLE, true, true},
    [NBD_CMD_BLOCK_STATUS] = {do_block_status, NBD_FLAG_REQ_ONE, false, true},
};

/* Why the request cannot be; NULL: it can. */
static const char *what_is_wrong(const struct request *request, uint32_t *ret_code)
{
    const struct nbd_export *exported = request->connection->exported;
    uint64_t size = block_size(exported->device);

    *ret_code = NBD_EINVAL;
    if (request->type >= NBD_CMD_COUNT || !commands[request->type].perform)
        return "unknown command";
    if (request->flags & ~(commands[request->type].flags | NBD_FLAG_FUA))
        return "unknown flags";
    if (commands[request->type].changes && exported->read_only) {
        *ret_code = NBD_EPERM;
        return "the export is read-only";
    }
    if (commands[request->type].ranged &&
        (request->offset > size || request->length > size - request->offset)) {
        *ret_code = request->type == NBD_CMD_READ ? NBD_EINVAL : NBD_ENOSPC;
        return "beyond the end of the disk";
    }
    if (request->type == NBD_CMD_READ && request->length > NBD_MAX_PAYLOAD) {
        *ret_code = NBD_EOVERFLOW;
        return "more at once than the block size says";
    }
    if ((request->type == NBD_CMD_READ || request->type == NBD_CMD_BLOCK_STATUS) &&
        request->length == 0)
        return "an empty range";
    if (request->type == NBD_CMD_BLOCK_STATUS && !request->connection->block_status)
        return "no context was negotiated";
    return NULL;
}

static void finish(struct request *request)
{
    struct nbd_connection *connection = request->connection;

    g_mutex_lock(&connection->lock);
    connection->requests--;
    connection->buffered -= request->buffered;
    g_cond_broadcast(&connection->fewer);
    g_mutex_unlock(&connection->lock);
    g_free(request->data);
    g_free(request);
}

void nbd_request_perform(void *opaque, void *unused)
{
    struct request *request = opaque;
    GError *error = NULL;
    uint32_t code;
    const char *wrong = what_is_wrong(request, &code);

    if (wrong) {
        send_result(request, code, wrong);
    } else if (!commands[request->type].perform(request, &error)) {
        send_error(request, error);
        g_error_free(error);
    }
    finish(request);
}

/* ---- the connection's loop --------------------------------------------------------------------
 */

/* Waits until there is room, and counts the request. */
static void admit(struct nbd_connection *connection, struct request *request)
{
    request->buffered = request->type == NBD_CMD_READ || request->type == NBD_CMD_WRITE
                            ? MIN(request->length, NBD_MAX_PAYLOAD)
                            : 0;
    g_mutex_lock(&connection->lock);
    while (connection->requests >= NBD_MAX_REQUESTS ||
           (connection->requests && connection->buffered + request->buffered > NBD_MAX_BUFFERED))
        g_cond_wait(&connection->fewer, &connection->lock);
    connection->requests++;
    connection->buffered += request->buffered;
    g_mutex_unlock(&connection->lock);
}

static void wait_for_all(struct nbd_connection *connection)
{
    g_mutex_lock(&connection->lock);
    while (connection->requests)
        g_cond_wait(&connection->fewer, &connection->lock);
    g_mutex_unlock(&connection->lock);
}

/* A write that is too large is read and thrown away, so that the client gets its answer. */
static bool drain(struct nbd_stream *stream, uint32_t length)
{
    g_autofree uint8_t *buffer = g_malloc(DRAIN_CHUNK);

    for (uint32_t n; length > 0; length -= n) {
        n = MIN(length, DRAIN_CHUNK);
        if (!stream->read(stream, buffer, n))
            return false;
    }
    return true;
}

static bool read_payload(struct nbd_connection *connection, struct request *request, bool *ret_done)
{
    *ret_done = false;
    if (request->type != NBD_CMD_WRITE || request->length == 0)
        return true;
    if (request->length > NBD_MAX_PAYLOAD) {
        *ret_done = true;
        if (!drain(connection->stream, request->length))
            return false;
        send_result(request, NBD_EOVERFLOW, "more at once than the block size says");
        return true;
    }
    request->data = g_malloc(request->length);
    return connection->stream->read(connection->stream, request->data, request->length);
}

/* False at the connection's end; `ret_clean` says whether the client meant it. */
static bool handle_one(struct nbd_connection *connection, bool *ret_clean)
{
    struct request *request;
    uint8_t raw[REQUEST_SIZE];
    bool ok, done;

    if (!connection->stream->read(connection->stream, raw, sizeof(raw)) ||
        load_be32(raw) != NBD_REQUEST_MAGIC)
        return false;
    if (load_be16(raw + 6) == NBD_CMD_DISCONNECT) {
        *ret_clean = true;
        return false;
    }
    request = g_new(struct request, 1);
    *request = (struct request){
        .connection = connection,
        .flags = load_be16(raw + 4),
        .type = load_be16(raw + 6),
        .cookie = load_be64(raw + 8),
        .offset = load_be64(raw + 16),
        .length = load_be32(raw + 24),
    };
    admit(connection, request);
    ok = read_payload(connection, request, &done);
    if (!ok || done)
        finish(request);
    else if (connection->exported->pool)
        g_thread_pool_push(connection->exported->pool, request, NULL);
    else
        nbd_request_perform(request, NULL);
    return ok;
}

bool nbd_serve_requests(struct nbd_connection *connection)
{
    bool clean = false;

    while (handle_one(connection, &clean))
        ;
    wait_for_all(connection);
    return clean;
}

bool nbd_connection_run(struct nbd_export *exported, struct nbd_stream *stream)
{
    struct nbd_connection connection = {.exported = exported, .stream = stream};
    enum nbd_handshake handshake;
    bool clean = false;

    g_mutex_init(&connection.lock);
    g_mutex_init(&connection.writing);
    g_cond_init(&connection.fewer);
    handshake = nbd_handshake(&connection);
    if (handshake == NBD_HANDSHAKE_GO && stream->ready)
        stream->ready(stream);
    if (handshake == NBD_HANDSHAKE_GO)
        clean = nbd_serve_requests(&connection);
    else
        clean = handshake == NBD_HANDSHAKE_ENDED;
    g_mutex_clear(&connection.lock);
    g_mutex_clear(&connection.writing);
    g_cond_clear(&connection.fewer);
    return clean;
}
