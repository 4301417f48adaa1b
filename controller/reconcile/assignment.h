/*
 * The orders for one host, made of the registry and of the streams under way.
 */
#pragma once

#include "controller/reconcile/cluster.h"

/* With its generation: a hash of what it says, so that it survives a controller's restart. Caller
 * cluster__assignment__free_unpacked()s. */
Cluster__Assignment *assignment_build(struct cluster *cluster, const char *host);
