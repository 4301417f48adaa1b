/*
 * drover, the command line: a table of commands over the controller's REST API, and nothing else.
 *
 *      main.c        finds the command, help, completion
 *      commands.c    the table; help, usage and completion come from it
 *      apply.c get.c describe.c act.c console.c info.c      the commands
 *      manifest.c    YAML to objects, with the line and column of every field
 *      output.c table.c yaml.c                              objects to text
 *      client.c config.c                                    the server and how to reach it
 *
 * Exit status: 0 done, 1 failed (diff: differs), 2 wrong usage.
 */
#pragma once

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>

#include "controller/object/kind.h"

enum exit_status {
    STATUS_OK = 0,
    STATUS_FAILED = 1,
    STATUS_USAGE = 2,
};

enum cli_error {
    CLI_ERROR_USAGE,  /* exits with 2 */
    CLI_ERROR_FAILED, /* exits with 1 */
    CLI_ERROR_COUNT,
};
#define CLI_ERROR cli_error_quark()
GQuark cli_error_quark(void);

struct client;

/* What the options said. Each command takes those its table entry names. */
struct options {
    char *config;     /* --config FILE */
    char *namespace;  /* -n NAMESPACE */
    gboolean all;     /* -A */
    char **files;     /* -f FILE|-, repeatable */
    char *output;     /* -o FORM */
    char *selector;   /* -l SELECTOR */
    gboolean watch;   /* -w */
    gboolean force;   /* --force */
    gboolean wait;    /* --wait */
    gboolean follow;  /* -f of logs */
    char *dry_run;    /* --dry-run=server */
    char *target;     /* --to HOST */
    char *object;     /* --for KIND/NAME */
    int tail;         /* --tail BYTES */
    int timeout;      /* --timeout SECONDS */
    char **arguments; /* the rest, NULL-ended, never NULL */
    int count;        /* of them */
};

struct command {
    const char *name;
    const char *arguments; /* as in help: "KIND [NAME]" */
    const char *summary;
    const char *details; /* more for its own help, or NULL */
    const char *example;
    const char *options; /* the option keys it takes; see options.c */
    int min, max;        /* how many arguments; max -1: any */
    bool offline;        /* needs no server */
    int (*run)(struct client *client, const struct options *options, GError **error);
};

extern const struct command commands[]; /* ends with a NULL name */
const struct command *command_find(const char *name);

/* "NS" or what -n says; "default" where it says nothing. Borrowed. */
const char *options_namespace(const struct options *options);
