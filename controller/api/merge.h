/*
 * A manifest into the object that is there.
 */
#pragma once

#include "controller/object/object.h"

/* `old` with spec and labels of the admitted `manifest`, its generation counted up if spec differs,
 * and the resourceVersion the manifest demands, if any. New reference. */
json_t *object_merge(const json_t *old, const json_t *manifest);
/* [{"path": "spec.memory", "old": …, "new": …}, …] of spec and labels; empty: nothing differs. */
json_t *object_diff(const json_t *old, const json_t *merged);
