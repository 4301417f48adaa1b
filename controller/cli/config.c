#include "controller/cli/config.h"

#include <string.h>

#include "controller/cli/cli.h"
#include "controller/cli/manifest.h"

static char *find_path(const char *given)
{
    const char *variable = g_getenv("DROVER_CONFIG");

    if (given)
        return g_strdup(given);
    if (variable && *variable)
        return g_strdup(variable);
    return g_build_filename(g_get_user_config_dir(), "drover", "config.yaml", NULL);
}

static bool take(const json_t *object, const char *path, const char *key, char **ret,
                 GError **error)
{
    const char *value = json_string_value(json_object_get(object, key));

    *ret = g_strdup(value);
    if (value && *value)
        return true;
    g_set_error(error, CLI_ERROR, CLI_ERROR_FAILED,
                "%s has no \"%s\"; it should be a file that "
                "drover-controller has written",
                path, key);
    return false;
}

struct client_config *client_config_load(const char *path, GError **error)
{
    struct client_config *config = g_new0(struct client_config, 1);
    g_autoptr(GPtrArray) documents = NULL;
    const json_t *object = NULL;

    config->path = find_path(path);
    if (!g_file_test(config->path, G_FILE_TEST_EXISTS)) {
        g_set_error(error, CLI_ERROR, CLI_ERROR_FAILED,
                    "there is no %s to say which cluster; give --config FILE or set DROVER_CONFIG "
                    "(drover-controller writes drover.yaml in its --data folder)",
                    config->path);
    } else if ((documents = manifest_load(config->path, error)) && documents->len == 1) {
        object = ((struct manifest *)documents->pdata[0])->object;
    } else if (documents) {
        g_set_error(error, CLI_ERROR, CLI_ERROR_FAILED, "%s should hold one document",
                    config->path);
    }
    if (object && take(object, config->path, "server", &config->server, error) &&
        take(object, config->path, "serverName", &config->server_name, error) &&
        take(object, config->path, "ca", &config->ca, error) &&
        take(object, config->path, "token", &config->token, error))
        return config;
    client_config_free(config);
    return NULL;
}

void client_config_free(struct client_config *config)
{
    if (!config)
        return;
    g_free(config->path);
    g_free(config->server);
    g_free(config->server_name);
    g_free(config->ca);
    g_free(config->token);
    g_free(config);
}
