/*
 * The store: keys, values and a revision that counts every write.
 *
 * Each write is one transaction of one or more changes, has one revision, and is on the disk when
 * the call returns. A change may demand that its key still has the revision it was read at
 * (compare-and-set); if one does not hold, none is made. The latest changes are kept, so that a
 * watcher can ask for what came after a revision, and a list can be read as of one; when that
 * revision has been compacted away it must list again.
 *
 * SQLite implements it (store_sqlite.c); other implementations pass tests/unit/controller/
 * test_store.c through the same table of operations.
 *
 * Threads: one.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

enum store_error {
    STORE_ERROR_FAILED, /* the disk, the data base, the network */
    STORE_ERROR_NOT_FOUND,
    STORE_ERROR_CONFLICT,  /* a key has another revision than was demanded */
    STORE_ERROR_COMPACTED, /* that revision is no longer kept: list again */
    STORE_ERROR_BUSY,      /* another process has the store */
    STORE_ERROR_COUNT,
};
#define STORE_ERROR store_error_quark()
GQuark store_error_quark(void);

#define STORE_ANY    UINT64_MAX /* demand nothing */
#define STORE_ABSENT 0          /* demand that the key does not exist */

struct store_entry {
    char *key;
    char *value;       /* text */
    uint64_t revision; /* of its last write */
};
void store_entry_free(struct store_entry *entry);

struct store_change {
    char *key;
    char *value;     /* NULL: deleted */
    char *old_value; /* NULL: created */
    uint64_t revision;
};
void store_change_free(struct store_change *change);

/* One part of a transaction; everything borrowed. A key occurs once in a transaction. */
struct store_write {
    const char *key;
    const char *value; /* NULL: delete */
    uint64_t expected; /* a revision, STORE_ANY or STORE_ABSENT */
};

struct store;

/* What an implementation offers; none may change its `ret_` outputs when it fails. The functions
 * below say what each must do. */
struct store_ops {
    struct store_entry *(*get)(struct store *store, const char *key, GError **error);
    GPtrArray *(*list)(struct store *store, const char *prefix, uint64_t at, uint64_t *ret_revision,
                       GError **error);
    bool (*write)(struct store *store, const struct store_write *writes, size_t count,
                  uint64_t *ret_revision, GError **error);
    GPtrArray *(*changes)(struct store *store, const char *prefix, uint64_t after, size_t limit,
                          uint64_t *ret_revision, GError **error);
    uint64_t (*revision)(struct store *store);
    void (*close)(struct store *store);
};

struct store {
    const struct store_ops *ops;
    void (*listener)(void *user_data);
    void *listener_data;
};

/* NULL with STORE_ERROR_NOT_FOUND when there is none. Caller store_entry_free()s. */
struct store_entry *store_get(struct store *store, const char *key, GError **error);
/* All struct store_entry whose key begins with `prefix`, sorted by key, as of revision `at` (0:
 * now); `ret_revision` (may be NULL) is the revision they are as of. Caller unrefs. */
GPtrArray *store_list(struct store *store, const char *prefix, uint64_t at, uint64_t *ret_revision,
                      GError **error);
/* Makes all or none. Deleting what is not there is a conflict unless STORE_ANY. */
bool store_write(struct store *store, const struct store_write *writes, size_t count,
                 uint64_t *ret_revision, GError **error);
bool store_put(struct store *store, const char *key, const char *value, uint64_t expected,
               uint64_t *ret_revision, GError **error);
bool store_delete(struct store *store, const char *key, uint64_t expected, GError **error);
/* Up to `limit` struct store_change after revision `after`, in order, never half a transaction;
 * `ret_revision` is the one to go on from. Caller unrefs. */
GPtrArray *store_changes(struct store *store, const char *prefix, uint64_t after, size_t limit,
                         uint64_t *ret_revision, GError **error);
uint64_t store_revision(struct store *store); /* of the last write; 0: none yet */
/* Called after each write; one listener. It must not write. */
void store_listen(struct store *store, void (*listener)(void *user_data), void *user_data);
void store_close(struct store *store); /* NULL is fine */

/* The file is made when it is not there (mode 0600). Keeps about `history` changes (0: 10000). */
struct store *store_open_sqlite(const char *path, unsigned history, GError **error);
