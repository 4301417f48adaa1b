/* What the commands do; each is named in the table of commands.c. */
#pragma once

#include "controller/cli/cli.h"

int run_apply(struct client *client, const struct options *options, GError **error);
int run_diff(struct client *client, const struct options *options, GError **error);
int run_get(struct client *client, const struct options *options, GError **error);
int run_describe(struct client *client, const struct options *options, GError **error);
int run_events(struct client *client, const struct options *options, GError **error);
int run_delete(struct client *client, const struct options *options, GError **error);
int run_start(struct client *client, const struct options *options, GError **error);
int run_stop(struct client *client, const struct options *options, GError **error);
int run_restart(struct client *client, const struct options *options, GError **error);
int run_migrate(struct client *client, const struct options *options, GError **error);
int run_wait(struct client *client, const struct options *options, GError **error);
int run_console(struct client *client, const struct options *options, GError **error);
int run_logs(struct client *client, const struct options *options, GError **error);
int run_explain(struct client *client, const struct options *options, GError **error);
int run_cluster_info(struct client *client, const struct options *options, GError **error);
int run_version(struct client *client, const struct options *options, GError **error);
int run_completion(struct client *client, const struct options *options, GError **error);
