/*
 * The store on SQLite: one file with a write-ahead log, each transaction fsynced.
 *
 * entries  what is there now.
 * changes  what came, with the value before, so that a list as of an older revision is what is
 *          there now, with the oldest `old_value` after that revision put in its place.
 * meta     schema version, the last revision, the last compacted one.
 */
#include "controller/store/store.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <string.h>
#include <unistd.h>

#define SCHEMA_VERSION  1
#define HISTORY_DEFAULT 10000
#define COMPACT_EVERY   64 /* writes between trimming the change log */

static const char schema[] =
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE entries (key TEXT PRIMARY KEY, value TEXT NOT NULL, revision INTEGER NOT NULL)"
    " WITHOUT ROWID;"
    "CREATE TABLE changes (revision INTEGER NOT NULL, key TEXT NOT NULL, value TEXT, old_value "
    "TEXT,"
    " old_revision INTEGER, PRIMARY KEY (revision, key)) WITHOUT ROWID;"
    "INSERT INTO meta VALUES ('schema', 1), ('revision', 0), ('compacted', 0);";

enum statement {
    GET,
    LIST,
    LIST_AT,
    LOG,
    INSERT,
    REMOVE,
    CHANGES,
    SET_META,
    TRIM,
    STATEMENT_COUNT
};
/* Prefixes become ranges: ?1 <= key < ?2. */
static const char *const texts[STATEMENT_COUNT] = {
    [GET] = "SELECT key, value, revision FROM entries WHERE key = ?1",
    [LIST] = "SELECT key, value, revision FROM entries WHERE key >= ?1 AND key < ?2 ORDER BY key",
    [LIST_AT] = "SELECT key, value, revision FROM entries"
                " WHERE key >= ?1 AND key < ?2 AND revision <= ?3 "
                "UNION ALL SELECT key, old_value, old_revision FROM changes c"
                " WHERE key >= ?1 AND key < ?2 AND revision > ?3 AND old_value IS NOT NULL"
                " AND old_revision <= ?3 "
                "ORDER BY key",
    [LOG] = "INSERT INTO changes VALUES (?1, ?2, ?3, ?4, ?5)",
    [INSERT] = "INSERT OR REPLACE INTO entries VALUES (?1, ?2, ?3)",
    [REMOVE] = "DELETE FROM entries WHERE key = ?1",
    [CHANGES] = "SELECT revision, key, value, old_value FROM changes"
                " WHERE revision > ?3 AND key >= ?1 AND key < ?2 ORDER BY revision, key",
    [SET_META] = "UPDATE meta SET value = ?2 WHERE name = ?1",
    [TRIM] = "DELETE FROM changes WHERE revision <= ?1",
};

struct sqlite_store {
    struct store base;
    sqlite3 *db;
    char *path;
    sqlite3_stmt *statements[STATEMENT_COUNT];
    uint64_t revision, compacted;
    unsigned history;
};

static struct sqlite_store *self_of(struct store *store)
{
    return (struct sqlite_store *)store;
}

static void set_error(struct sqlite_store *self, const char *what, GError **error)
{
    int code = sqlite3_errcode(self->db) & 0xff;
    bool busy = code == SQLITE_BUSY || code == SQLITE_LOCKED;
    g_set_error(error, STORE_ERROR, busy ? STORE_ERROR_BUSY : STORE_ERROR_FAILED,
                "%s the store %s: %s%s", what, self->path, sqlite3_errmsg(self->db),
                busy ? "; another controller runs on this data directory" : "");
}

static bool execute(struct sqlite_store *self, const char *sql, const char *what, GError **error)
{
    if (sqlite3_exec(self->db, sql, NULL, NULL, NULL) == SQLITE_OK)
        return true;
    set_error(self, what, error);
    return false;
}

static sqlite3_stmt *begin(struct sqlite_store *self, enum statement which)
{
    sqlite3_stmt *statement = self->statements[which];
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return statement;
}

static bool run(struct sqlite_store *self, sqlite3_stmt *statement, const char *what,
                GError **error)
{
    int rv = sqlite3_step(statement);
    sqlite3_reset(statement);
    if (rv == SQLITE_DONE)
        return true;
    set_error(self, what, error);
    return false;
}

static char *column_text(sqlite3_stmt *statement, int column)
{
    return g_strdup((const char *)sqlite3_column_text(statement, column));
}

/* Binds ?1 and ?2 to the range of keys with this prefix; `ret_end` lives as long as the statement
 * is used. The prefix's last byte is never 0xff: keys are UTF-8. */
static void bind_prefix(sqlite3_stmt *statement, const char *prefix)
{
    size_t length = strlen(prefix);
    g_autofree char *end = g_strdup(length ? prefix : "\x7f");
    if (length)
        end[length - 1]++;
    sqlite3_bind_text(statement, 1, prefix, -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(statement, 2, end, -1, SQLITE_TRANSIENT);
}

static struct store_entry *read_entry(sqlite3_stmt *statement)
{
    struct store_entry *entry = g_new0(struct store_entry, 1);
    entry->key = column_text(statement, 0);
    entry->value = column_text(statement, 1);
    entry->revision = (uint64_t)sqlite3_column_int64(statement, 2);
    return entry;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* NULL without `error` when there is none. */
static struct store_entry *lookup(struct sqlite_store *self, const char *key, GError **error)
{
    sqlite3_stmt *statement = begin(self, GET);
    sqlite3_bind_text(statement, 1, key, -1, SQLITE_STATIC);
    struct store_entry *entry = NULL;
    int rv = sqlite3_step(statement);
    if (rv == SQLITE_ROW)
        entry = read_entry(statement);
    else if (rv != SQLITE_DONE)
        set_error(self, "reading", error);
    sqlite3_reset(statement);
    return entry;
}

static struct store_entry *sqlite_get(struct store *store, const char *key, GError **error)
{
    GError *failure = NULL;
    struct store_entry *entry = lookup(self_of(store), key, &failure);
    if (!entry && !failure)
        failure = g_error_new(STORE_ERROR, STORE_ERROR_NOT_FOUND, "there is no %s", key);
    if (failure)
        g_propagate_error(error, failure);
    return entry;
}

static bool check_kept(struct sqlite_store *self, uint64_t revision, GError **error)
{
    if (revision >= self->compacted)
        return true;
    g_set_error(error, STORE_ERROR, STORE_ERROR_COMPACTED,
                "revision %" G_GUINT64_FORMAT " is no longer kept (the oldest is %" G_GUINT64_FORMAT
                "): list again",
                revision, self->compacted);
    return false;
}

static GPtrArray *sqlite_list(struct store *store, const char *prefix, uint64_t at,
                              uint64_t *ret_revision, GError **error)
{
    struct sqlite_store *self = self_of(store);
    if (at != 0 && !check_kept(self, at, error))
        return NULL;
    sqlite3_stmt *statement = begin(self, at ? LIST_AT : LIST);
    bind_prefix(statement, prefix);
    if (at)
        sqlite3_bind_int64(statement, 3, (sqlite3_int64)at);
    g_autoptr(GPtrArray) entries = g_ptr_array_new_with_free_func((GDestroyNotify)store_entry_free);
    int rv;
    while ((rv = sqlite3_step(statement)) == SQLITE_ROW)
        g_ptr_array_add(entries, read_entry(statement));
    sqlite3_reset(statement);
    if (rv != SQLITE_DONE) {
        set_error(self, "listing", error);
        return NULL;
    }
    if (ret_revision)
        *ret_revision = at ? MIN(at, self->revision) : self->revision;
    return g_steal_pointer(&entries);
}

static GPtrArray *sqlite_changes(struct store *store, const char *prefix, uint64_t after,
                                 size_t limit, uint64_t *ret_revision, GError **error)
{
    struct sqlite_store *self = self_of(store);
    if (!check_kept(self, after, error))
        return NULL;
    sqlite3_stmt *statement = begin(self, CHANGES);
    bind_prefix(statement, prefix);
    sqlite3_bind_int64(statement, 3, (sqlite3_int64)after);
    g_autoptr(GPtrArray) changes =
        g_ptr_array_new_with_free_func((GDestroyNotify)store_change_free);
    uint64_t last = after;
    int rv;
    while ((rv = sqlite3_step(statement)) == SQLITE_ROW) {
        uint64_t revision = (uint64_t)sqlite3_column_int64(statement, 0);
        if (changes->len >= limit && revision != last)
            break;
        struct store_change *change = g_new0(struct store_change, 1);
        change->revision = last = revision;
        change->key = column_text(statement, 1);
        change->value = column_text(statement, 2);
        change->old_value = column_text(statement, 3);
        g_ptr_array_add(changes, change);
    }
    sqlite3_reset(statement);
    if (rv != SQLITE_DONE && rv != SQLITE_ROW) {
        set_error(self, "reading changes of", error);
        return NULL;
    }
    *ret_revision = rv == SQLITE_ROW ? last : MAX(self->revision, after);
    return g_steal_pointer(&changes);
}

static uint64_t sqlite_revision(struct store *store)
{
    return self_of(store)->revision;
}

/* ---- writing --------------------------------------------------------------------------------- */

static bool check_expected(const struct store_write *write, const struct store_entry *entry,
                           GError **error)
{
    uint64_t now = entry ? entry->revision : 0;
    if (write->expected == STORE_ANY || write->expected == now)
        return true;
    if (write->expected == STORE_ABSENT)
        g_set_error(error, STORE_ERROR, STORE_ERROR_CONFLICT, "%s exists", write->key);
    else if (!entry)
        g_set_error(error, STORE_ERROR, STORE_ERROR_CONFLICT, "%s was deleted meanwhile",
                    write->key);
    else
        g_set_error(error, STORE_ERROR, STORE_ERROR_CONFLICT,
                    "%s was changed meanwhile: it is at revision %" G_GUINT64_FORMAT
                    ", not %" G_GUINT64_FORMAT,
                    write->key, now, write->expected);
    return false;
}

static bool log_change(struct sqlite_store *self, const struct store_write *write,
                       const struct store_entry *old, uint64_t revision, GError **error)
{
    sqlite3_stmt *statement = begin(self, LOG);
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)revision);
    sqlite3_bind_text(statement, 2, write->key, -1, SQLITE_STATIC);
    sqlite3_bind_text(statement, 3, write->value, -1, SQLITE_STATIC); /* NULL binds NULL */
    if (old) {
        sqlite3_bind_text(statement, 4, old->value, -1, SQLITE_STATIC);
        sqlite3_bind_int64(statement, 5, (sqlite3_int64)old->revision);
    }
    return run(self, statement, "writing", error);
}

static bool apply(struct sqlite_store *self, const struct store_write *write, uint64_t revision,
                  GError **error)
{
    GError *failure = NULL;
    struct store_entry *old = lookup(self, write->key, &failure);
    bool ok = !failure && check_expected(write, old, &failure);
    if (ok && (old || write->value)) {
        sqlite3_stmt *statement = begin(self, write->value ? INSERT : REMOVE);
        sqlite3_bind_text(statement, 1, write->key, -1, SQLITE_STATIC);
        if (write->value) {
            sqlite3_bind_text(statement, 2, write->value, -1, SQLITE_STATIC);
            sqlite3_bind_int64(statement, 3, (sqlite3_int64)revision);
        }
        ok = run(self, statement, "writing", &failure) &&
             log_change(self, write, old, revision, &failure);
    }
    store_entry_free(old);
    if (failure)
        g_propagate_error(error, failure);
    return ok;
}

static bool set_meta(struct sqlite_store *self, const char *name, uint64_t value, GError **error)
{
    sqlite3_stmt *statement = begin(self, SET_META);
    sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 2, (sqlite3_int64)value);
    return run(self, statement, "writing", error);
}

static bool compact(struct sqlite_store *self, uint64_t revision, uint64_t *ret_compacted,
                    GError **error)
{
    *ret_compacted = self->compacted;
    if (revision % COMPACT_EVERY != 0 || revision <= self->compacted + self->history)
        return true;
    *ret_compacted = revision - self->history;
    sqlite3_stmt *statement = begin(self, TRIM);
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)*ret_compacted);
    return run(self, statement, "compacting", error) &&
           set_meta(self, "compacted", *ret_compacted, error);
}

static bool sqlite_write(struct store *store, const struct store_write *writes, size_t count,
                         uint64_t *ret_revision, GError **error)
{
    struct sqlite_store *self = self_of(store);
    uint64_t revision = self->revision + 1, compacted = 0;
    if (!execute(self, "BEGIN IMMEDIATE", "writing", error))
        return false;
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++)
        ok = apply(self, &writes[i], revision, error);
    ok = ok && set_meta(self, "revision", revision, error) &&
         compact(self, revision, &compacted, error) && execute(self, "COMMIT", "writing", error);
    if (!ok) {
        sqlite3_exec(self->db, "ROLLBACK", NULL, NULL, NULL);
        return false;
    }
    self->revision = revision;
    self->compacted = compacted;
    if (ret_revision)
        *ret_revision = revision;
    return true;
}

/* ---- opening --------------------------------------------------------------------------------- */

static void sqlite_close(struct store *store)
{
    struct sqlite_store *self = self_of(store);
    for (size_t i = 0; i < STATEMENT_COUNT; i++)
        sqlite3_finalize(self->statements[i]);
    sqlite3_close(self->db);
    g_free(self->path);
    g_free(self);
}

static bool read_meta(struct sqlite_store *self, const char *name, uint64_t *ret_value,
                      GError **error)
{
    sqlite3_stmt *statement = NULL;
    bool ok = sqlite3_prepare_v2(self->db, "SELECT value FROM meta WHERE name = ?1", -1, &statement,
                                 NULL) == SQLITE_OK &&
              sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC) == SQLITE_OK &&
              sqlite3_step(statement) == SQLITE_ROW;
    if (ok)
        *ret_value = (uint64_t)sqlite3_column_int64(statement, 0);
    else
        set_error(self, "reading", error);
    sqlite3_finalize(statement);
    return ok;
}

static bool prepare_schema(struct sqlite_store *self, GError **error)
{
    sqlite3_stmt *statement = NULL;
    uint64_t version;
    bool empty = sqlite3_prepare_v2(self->db, "SELECT 1 FROM sqlite_master LIMIT 1", -1, &statement,
                                    NULL) == SQLITE_OK &&
                 sqlite3_step(statement) == SQLITE_DONE;
    sqlite3_finalize(statement);
    if (empty &&
        (!execute(self, "BEGIN IMMEDIATE", "making", error) ||
         !execute(self, schema, "making", error) || !execute(self, "COMMIT", "making", error)))
        return false;
    if (!read_meta(self, "schema", &version, error))
        return false;
    if (version != SCHEMA_VERSION) {
        g_set_error(error, STORE_ERROR, STORE_ERROR_FAILED,
                    "opening the store %s: it has schema version %" G_GUINT64_FORMAT
                    ", this controller knows %d; start the version that wrote it",
                    self->path, version, SCHEMA_VERSION);
        return false;
    }
    return read_meta(self, "revision", &self->revision, error) &&
           read_meta(self, "compacted", &self->compacted, error);
}

static bool prepare_statements(struct sqlite_store *self, GError **error)
{
    for (size_t i = 0; i < STATEMENT_COUNT; i++)
        if (sqlite3_prepare_v3(self->db, texts[i], -1, SQLITE_PREPARE_PERSISTENT,
                               &self->statements[i], NULL) != SQLITE_OK) {
            set_error(self, "opening", error);
            return false;
        }
    return true;
}

static const struct store_ops sqlite_ops = {
    .get = sqlite_get,
    .list = sqlite_list,
    .write = sqlite_write,
    .changes = sqlite_changes,
    .revision = sqlite_revision,
    .close = sqlite_close,
};

struct store *store_open_sqlite(const char *path, unsigned history, GError **error)
{
    struct sqlite_store *self = g_new0(struct sqlite_store, 1);
    self->base.ops = &sqlite_ops;
    self->path = g_strdup(path);
    self->history = history ? history : HISTORY_DEFAULT;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600); /* SQLite would make it readable */
    if (fd >= 0)
        close(fd);
    bool ok = sqlite3_open_v2(path, &self->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) ==
              SQLITE_OK;
    if (!ok)
        set_error(self, "opening", error);
    /* The exclusive lock is taken by the first write and kept: one controller for one store. */
    ok = ok &&
         execute(self,
                 "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;"
                 "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
                 "BEGIN IMMEDIATE; COMMIT",
                 "opening", error) &&
         prepare_schema(self, error) && prepare_statements(self, error);
    if (ok)
        return &self->base;
    sqlite_close(&self->base);
    return NULL;
}
