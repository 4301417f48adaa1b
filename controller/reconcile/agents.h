/*
 * The agents' requests, between the message layer and the reconcilers.
 */
#pragma once

#include "controller/reconcile/cluster.h"
#include "proto/message.h"

/* Takes a request (message_handler of a message_server); user_data is the cluster. */
void agents_handle(struct message_request *request, void *user_data);
/* Answers the long polls of hosts whose orders differ by now, or whose time is up; after each
 * pass and now and then. */
void agents_answer(struct cluster *cluster);
/* Answers all, before the server is freed. */
void agents_give_up(struct cluster *cluster);
