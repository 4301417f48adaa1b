/*
 * The fixed newstyle handshake: the client sends options until it takes the export or goes.
 */
#include <string.h>

#include "storage/endian.h"
#include "storage/nbd/internal.h"
#include "storage/nbd/protocol.h"

#define MAX_OPTION  (16u << 10) /* bytes of one option's data */
#define MAX_OPTIONS 64          /* of one handshake */

/* The one context we have, and its number. */
#define ALLOCATION    "base:allocation"
#define ALLOCATION_ID 1

enum verdict { NEXT, GO, ENDED, BROKEN }; /* what follows an option */

struct option {
    uint32_t number, length;
    uint8_t data[MAX_OPTION];
    uint32_t at; /* how far it has been read */
};

static bool send_bytes(struct nbd_connection *connection, const void *bytes, size_t length)
{
    return connection->stream->write(connection->stream, bytes, length);
}

static enum verdict reply(struct nbd_connection *connection, const struct option *option,
                          uint32_t type, const void *data, uint32_t length)
{
    uint8_t head[20];

    store_be64(head, NBD_REPLY_MAGIC);
    store_be32(head + 8, option->number);
    store_be32(head + 12, type);
    store_be32(head + 16, length);
    return send_bytes(connection, head, sizeof(head)) &&
                   (length == 0 || send_bytes(connection, data, length))
               ? NEXT
               : BROKEN;
}

static enum verdict refuse(struct nbd_connection *connection, const struct option *option,
                           uint32_t type, const char *why)
{
    return reply(connection, option, type, why, (uint32_t)strlen(why));
}

/* ---- reading an option's data -----------------------------------------------------------------
 */

static bool take(struct option *option, uint32_t length, const uint8_t **ret_bytes)
{
    if (length > option->length - option->at)
        return false;
    *ret_bytes = option->data + option->at;
    option->at += length;
    return true;
}

static bool take_u32(struct option *option, uint32_t *ret_value)
{
    const uint8_t *bytes;

    if (!take(option, 4, &bytes))
        return false;
    *ret_value = load_be32(bytes);
    return true;
}

struct text {
    const uint8_t *bytes;
    uint32_t length;
};

static bool take_text(struct option *option, struct text *ret_text)
{
    return take_u32(option, &ret_text->length) && ret_text->length <= NBD_MAX_NAME &&
           take(option, ret_text->length, &ret_text->bytes);
}

static bool text_is(struct text text, const char *string)
{
    return text.length == strlen(string) && memcmp(text.bytes, string, text.length) == 0;
}

static bool is_export(const struct nbd_connection *connection, struct text name)
{
    return name.length == 0 || text_is(name, connection->exported->name);
}

/* ---- the options ------------------------------------------------------------------------------
 */

uint16_t nbd_transmission_flags(const struct nbd_connection *connection)
{
    uint16_t flags =
        NBD_HAS_FLAGS | NBD_SEND_FLUSH | NBD_SEND_FUA | NBD_CAN_MULTI_CONN | NBD_SEND_CACHE;

    if (connection->exported->read_only)
        flags |= NBD_READ_ONLY;
    else
        flags |= NBD_SEND_TRIM | NBD_SEND_WRITE_ZEROES;
    if (connection->structured)
        flags |= NBD_SEND_DF;
    return flags;
}

/* The old way to choose: there is no way to refuse but to go. */
static enum verdict opt_export_name(struct nbd_connection *connection, struct option *option)
{
    uint8_t answer[8 + 2 + 124] = {0};
    struct text name = {option->data, option->length};

    if (!is_export(connection, name))
        return BROKEN;
    store_be64(answer, block_size(connection->exported->device));
    store_be16(answer + 8, nbd_transmission_flags(connection));
    return send_bytes(connection, answer, connection->no_zeroes ? 10 : sizeof(answer)) ? GO
                                                                                       : BROKEN;
}

static enum verdict opt_abort(struct nbd_connection *connection, struct option *option)
{
    reply(connection, option, NBD_REP_ACK, NULL, 0);
    return ENDED;
}

static enum verdict opt_list(struct nbd_connection *connection, struct option *option)
{
    const char *name = connection->exported->name;
    uint32_t length = (uint32_t)strlen(name);
    g_autofree uint8_t *data = g_malloc(4 + length);

    if (option->length)
        return refuse(connection, option, NBD_REP_ERR_INVALID, "LIST has no data");
    store_be32(data, length);
    memcpy(data + 4, name, length);
    if (reply(connection, option, NBD_REP_SERVER, data, 4 + length) == BROKEN)
        return BROKEN;
    return reply(connection, option, NBD_REP_ACK, NULL, 0);
}

static enum verdict send_info(struct nbd_connection *connection, struct option *option)
{
    uint8_t exported[12], sizes[14];

    store_be16(exported, NBD_INFO_EXPORT);
    store_be64(exported + 2, block_size(connection->exported->device));
    store_be16(exported + 10, nbd_transmission_flags(connection));
    store_be16(sizes, NBD_INFO_BLOCK_SIZE);
    store_be32(sizes + 2, 1);    /* least */
    store_be32(sizes + 6, 4096); /* preferred */
    store_be32(sizes + 10, NBD_MAX_PAYLOAD);
    if (reply(connection, option, NBD_REP_INFO, exported, sizeof(exported)) == BROKEN ||
        reply(connection, option, NBD_REP_INFO, sizes, sizeof(sizes)) == BROKEN ||
        reply(connection, option, NBD_REP_ACK, NULL, 0) == BROKEN)
        return BROKEN;
    return option->number == NBD_OPT_GO ? GO : NEXT;
}

/* Which pieces of information the client asks for does not matter: it gets all that we have. */
static enum verdict opt_info(struct nbd_connection *connection, struct option *option)
{
    const uint8_t *bytes;
    struct text name;

    if (!take_text(option, &name) || !take(option, 2, &bytes) ||
        option->length - option->at != load_be16(bytes) * 2u)
        return refuse(connection, option, NBD_REP_ERR_INVALID, "malformed option");
    if (!is_export(connection, name))
        return refuse(connection, option, NBD_REP_ERR_UNKNOWN, "there is no such export");
    return send_info(connection, option);
}

static enum verdict opt_structured_reply(struct nbd_connection *connection, struct option *option)
{
    if (option->length)
        return refuse(connection, option, NBD_REP_ERR_INVALID, "STRUCTURED_REPLY has no data");
    connection->structured = true;
    return reply(connection, option, NBD_REP_ACK, NULL, 0);
}

static bool query_matches(struct text query, bool listing)
{
    return text_is(query, ALLOCATION) || (listing && text_is(query, "base:"));
}

static enum verdict opt_meta_context(struct nbd_connection *connection, struct option *option)
{
    bool listing = option->number == NBD_OPT_LIST_META_CONTEXT, matches = false;
    uint8_t data[4 + sizeof(ALLOCATION) - 1];
    struct text name, query;
    uint32_t count;

    if (!connection->structured)
        return refuse(connection, option, NBD_REP_ERR_INVALID, "STRUCTURED_REPLY comes first");
    if (!listing)
        connection->block_status = false;
    if (!take_text(option, &name) || !take_u32(option, &count))
        return refuse(connection, option, NBD_REP_ERR_INVALID, "malformed option");
    for (uint32_t i = 0; i < count; i++) {
        if (!take_text(option, &query))
            return refuse(connection, option, NBD_REP_ERR_INVALID, "malformed query");
        matches |= query_matches(query, listing);
    }
    if (option->at != option->length)
        return refuse(connection, option, NBD_REP_ERR_INVALID, "malformed option");
    if (!is_export(connection, name))
        return refuse(connection, option, NBD_REP_ERR_UNKNOWN, "there is no such export");
    store_be32(data, listing ? 0 : ALLOCATION_ID);
    memcpy(data + 4, ALLOCATION, sizeof(ALLOCATION) - 1);
    if ((matches || (listing && count == 0)) &&
        reply(connection, option, NBD_REP_META_CONTEXT, data, sizeof(data)) == BROKEN)
        return BROKEN;
    if (!listing)
        connection->block_status = matches;
    return reply(connection, option, NBD_REP_ACK, NULL, 0);
}

static const struct {
    enum nbd_option number;
    enum verdict (*answer)(struct nbd_connection *connection, struct option *option);
} options[] = {
    {NBD_OPT_EXPORT_NAME, opt_export_name},
    {NBD_OPT_ABORT, opt_abort},
    {NBD_OPT_LIST, opt_list},
    {NBD_OPT_INFO, opt_info},
    {NBD_OPT_GO, opt_info},
    {NBD_OPT_STRUCTURED_REPLY, opt_structured_reply},
    {NBD_OPT_LIST_META_CONTEXT, opt_meta_context},
    {NBD_OPT_SET_META_CONTEXT, opt_meta_context},
};

/* ---- the handshake ----------------------------------------------------------------------------
 */

static bool greet(struct nbd_connection *connection)
{
    uint8_t greeting[18], answer[4];
    uint32_t flags;

    store_be64(greeting, NBD_MAGIC);
    store_be64(greeting + 8, NBD_OPTION_MAGIC);
    store_be16(greeting + 16, NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES);
    if (!send_bytes(connection, greeting, sizeof(greeting)) ||
        !connection->stream->read(connection->stream, answer, sizeof(answer)))
        return false;
    flags = load_be32(answer);
    connection->no_zeroes = flags & NBD_NO_ZEROES;
    return (flags & ~(uint32_t)(NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES)) == 0;
}

static bool read_option(struct nbd_connection *connection, struct option *option)
{
    uint8_t head[16];

    if (!connection->stream->read(connection->stream, head, sizeof(head)) ||
        load_be64(head) != NBD_OPTION_MAGIC)
        return false;
    option->number = load_be32(head + 8);
    option->length = load_be32(head + 12);
    option->at = 0;
    return option->length <= MAX_OPTION &&
           (option->length == 0 ||
            connection->stream->read(connection->stream, option->data, option->length));
}

static enum verdict answer_option(struct nbd_connection *connection, struct option *option)
{
    for (size_t i = 0; i < G_N_ELEMENTS(options); i++)
        if (options[i].number == option->number)
            return options[i].answer(connection, option);
    if (option->number == NBD_OPT_STARTTLS)
        return refuse(connection, option, NBD_REP_ERR_POLICY, "there is no TLS here");
    return refuse(connection, option, NBD_REP_ERR_UNSUPPORTED, "unknown option");
}

enum nbd_handshake nbd_handshake(struct nbd_connection *connection)
{
    g_autofree struct option *option = g_malloc(sizeof(*option));
    enum verdict verdict = NEXT;

    if (!greet(connection))
        return NBD_HANDSHAKE_BROKEN;
    for (int i = 0; verdict == NEXT; i++)
        verdict = i < MAX_OPTIONS && read_option(connection, option)
                      ? answer_option(connection, option)
                      : BROKEN;
    return verdict == GO      ? NBD_HANDSHAKE_GO
           : verdict == ENDED ? NBD_HANDSHAKE_ENDED
                              : NBD_HANDSHAKE_BROKEN;
}
