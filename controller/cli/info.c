/* explain, cluster-info, version, completion. */
#include <stdio.h>
#include <string.h>

#include "controller/cli/client.h"
#include "controller/cli/options.h"
#include "controller/cli/output.h"
#include "controller/cli/run.h"
#include "controller/cli/target.h"
#include "controller/object/object.h"

G_DEFINE_QUARK(drover - cli - error, cli_error)

int run_explain(struct client *client, const struct options *options, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(options->arguments[0], ".", 2);
    const struct kind *kind = target_kind(parts[0], error);
    g_autofree char *text = NULL;

    if (!kind)
        return STATUS_USAGE;
    text = kind_explain(kind, parts[1], error);
    if (!text)
        return STATUS_FAILED;
    fputs(text, stdout);
    return STATUS_OK;
}

int run_cluster_info(struct client *client, const struct options *options, GError **error)
{
    json_auto_t *info = client_request(client, "GET", "/api/v1/cluster-info", NULL, NULL, error);
    enum output_form form;

    if (!info || !output_form_parse(options->output, &form, error))
        return STATUS_FAILED;
    if (form == OUTPUT_JSON) {
        output_json(info);
        return STATUS_OK;
    }
    printf("Controller   %s, version %s\n", client_config(client)->server,
           object_string(info, "version", "?"));
    printf("Cluster      %s\n", object_string(info, "clusterId", "?"));
    printf("Hosts        %d, %d of them ready\n", (int)object_integer(info, "hosts", 0),
           (int)object_integer(info, "hostsReady", 0));
    printf("Machines     %d\n", (int)object_integer(info, "machines", 0));
    printf("Agents dial  %s\n", object_string(info, "agentEndpoint", "?"));
    return STATUS_OK;
}

int run_version(struct client *client, const struct options *options, GError **error)
{
    struct client_config *config = client_config_load(options->config, NULL);
    json_auto_t *answer = NULL;

    puts("drover " DROVER_VERSION);
    if (!config)
        return STATUS_OK;
    client = client_new(config);
    answer = client_request(client, "GET", "/api/v1/version", NULL, NULL, NULL);
    printf("controller %s\n", answer ? object_string(answer, "version", "?") : "not reachable");
    client_free(client);
    return STATUS_OK;
}

/* Made from the tables: commands, their options, kinds. */
int run_completion(struct client *client, const struct options *options, GError **error)
{
    if (strcmp(options->arguments[0], "bash") != 0) {
        g_set_error(error, CLI_ERROR, CLI_ERROR_USAGE, "there is completion for bash, not for %s",
                    options->arguments[0]);
        return STATUS_USAGE;
    }
    puts("_drover() {\n"
         "    local word=${COMP_WORDS[COMP_CWORD]} words=\n"
         "    if [ \"$COMP_CWORD\" -eq 1 ]; then");
    fputs("        words=\"", stdout);
    for (const struct command *command = commands; command->name; command++)
        printf("%s ", command->name);
    puts("\"\n    else\n        case ${COMP_WORDS[1]} in");
    for (const struct command *command = commands; command->name; command++) {
        g_auto(GStrv) names = options_names(command);
        g_autofree char *joined = g_strjoinv(" ", names);

        printf("        %s) words=\"%s", command->name, joined);
        if (strstr(command->arguments, "KIND"))
            for (const struct kind *const *kind = kinds; *kind; kind++)
                printf(" %s", (*kind)->plural);
        if (strstr(command->arguments, "NAME"))
            fputs(" $(drover get vm -o name 2>/dev/null)", stdout);
        puts("\" ;;");
    }
    puts("        esac\n    fi\n"
         "    COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
         "}\n"
         "complete -o default -F _drover drover");
    return STATUS_OK;
}
