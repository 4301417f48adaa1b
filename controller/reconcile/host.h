/*
 * Hosts: what they said they have, and whether they are there.
 */
#pragma once

#include "controller/reconcile/cluster.h"

/* Takes in what an agent says of its host. False with why when it is refused. */
bool host_register(struct cluster *cluster, const char *name,
                   const Cluster__RegisterRequest *request, char **ret_why);
/* Takes in a report (copied). False when it is none. */
bool host_report(struct cluster *cluster, const char *name, const Cluster__Report *report);
void host_reconcile(struct cluster *cluster, json_t *host);
