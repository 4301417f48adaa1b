/*
 * Objects in the store: a copy of all of them in memory, and writes that go through to the disk
 * before anybody sees them.
 *
 * An object in the registry is never changed in place: copy it (json_deep_copy), change the copy,
 * hand it to registry_update(). metadata.resourceVersion is the store's revision of its last write
 * and what an update is compared with.
 *
 * Keys in the store: /objects/PLURAL/NAMESPACE/NAME ("-" for kinds without namespaces); the rest of
 * the controller keeps its own under other names.
 */
#pragma once

#include "controller/object/kind.h"
#include "controller/store/store.h"

struct registry;

/* Reads everything. Borrows `store`, which must outlive it. */
struct registry *registry_new(struct store *store, GError **error);
void registry_free(struct registry *registry);
struct store *registry_store(struct registry *registry);

/* Borrowed until the object's next write, or NULL. `namespace` may be NULL for kinds without. */
json_t *registry_get(struct registry *registry, const struct kind *kind, const char *namespace,
                     const char *name);
json_t *registry_find_uid(struct registry *registry, const char *uid);
/* Of one namespace, or all (NULL); sorted by namespace and name. Holds references; caller unrefs.
 */
GPtrArray *registry_list(struct registry *registry, const struct kind *kind, const char *namespace);
unsigned registry_count(struct registry *registry, const struct kind *kind);

/* Stores a new object: sets uid, creationTimestamp, generation 1 and resourceVersion in `object`.
 * STORE_ERROR_CONFLICT when it exists. The registry keeps a reference: do not change it after. */
bool registry_create(struct registry *registry, json_t *object, GError **error);
/* Stores a changed copy; its resourceVersion must be the newest. Without any change nothing is
 * written. The registry keeps a reference, as above. */
bool registry_update(struct registry *registry, json_t *object, GError **error);
bool registry_delete(struct registry *registry, const json_t *object, GError **error);
/* Updates and creates (those without a uid) in one transaction. */
bool registry_write(struct registry *registry, json_t *const *objects, size_t count,
                    GError **error);

/* "/objects/disks/shop/root". Caller frees. NULL namespace and name give prefixes. */
char *registry_key(const struct kind *kind, const char *namespace, const char *name);
/* The object in a value read from the store, with its resourceVersion set. New reference. */
json_t *registry_parse(const char *value, uint64_t revision);
