/*
 * One pass over everything.
 */
#pragma once

#include "controller/reconcile/cluster.h"

/* Brings the store in line with what is wanted and reported, until a pass changes nothing (or
 * RECONCILE_PASSES_MAX; then `changed` stays set). Call when cluster->changed, and once a second.
 */
#define RECONCILE_PASSES_MAX 8
void reconcile_run(struct cluster *cluster);
