#include "controller/store/store.h"

G_DEFINE_QUARK(store - error - quark, store_error)

void store_entry_free(struct store_entry *entry)
{
    if (!entry)
        return;
    g_free(entry->key);
    g_free(entry->value);
    g_free(entry);
}

void store_change_free(struct store_change *change)
{
    g_free(change->key);
    g_free(change->value);
    g_free(change->old_value);
    g_free(change);
}

struct store_entry *store_get(struct store *store, const char *key, GError **error)
{
    return store->ops->get(store, key, error);
}

GPtrArray *store_list(struct store *store, const char *prefix, uint64_t at, uint64_t *ret_revision,
                      GError **error)
{
    return store->ops->list(store, prefix, at, ret_revision, error);
}

bool store_write(struct store *store, const struct store_write *writes, size_t count,
                 uint64_t *ret_revision, GError **error)
{
    if (!store->ops->write(store, writes, count, ret_revision, error))
        return false;
    if (store->listener)
        store->listener(store->listener_data);
    return true;
}

bool store_put(struct store *store, const char *key, const char *value, uint64_t expected,
               uint64_t *ret_revision, GError **error)
{
    const struct store_write write = {key, value, expected};
    return store_write(store, &write, 1, ret_revision, error);
}

bool store_delete(struct store *store, const char *key, uint64_t expected, GError **error)
{
    const struct store_write write = {key, NULL, expected};
    return store_write(store, &write, 1, NULL, error);
}

GPtrArray *store_changes(struct store *store, const char *prefix, uint64_t after, size_t limit,
                         uint64_t *ret_revision, GError **error)
{
    return store->ops->changes(store, prefix, after, limit, ret_revision, error);
}

uint64_t store_revision(struct store *store)
{
    return store->ops->revision(store);
}

void store_listen(struct store *store, void (*listener)(void *user_data), void *user_data)
{
    store->listener = listener;
    store->listener_data = user_data;
}

void store_close(struct store *store)
{
    if (store)
        store->ops->close(store);
}
