#include "controller/api/token_command.h"
#include "proto/message.h"

#include <curl/curl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct configuration {
    char *server, *token, *ca;
};

/* drover.yaml as credentials.c writes it; the CA comes from its own file. */
static bool read_configuration(const char *data_dir, struct configuration *config, GError **error)
{
    g_autofree char *path = g_build_filename(data_dir, "drover.yaml", NULL);
    g_autofree char *text = NULL;
    config->ca = g_build_filename(data_dir, "pki", "ca.crt", NULL);
    if (!g_file_get_contents(path, &text, NULL, error))
        return false;
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line; line++) {
        if (g_str_has_prefix(*line, "server: "))
            config->server = g_strdup(*line + strlen("server: "));
        else if (g_str_has_prefix(*line, "token: "))
            config->token = g_strdup(*line + strlen("token: "));
    }
    if (config->server && config->token)
        return true;
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "%s: has no server or no token", path);
    return false;
}

static size_t collect(char *data, size_t size, size_t count, void *opaque)
{
    g_string_append_len(opaque, data, (gssize)(size * count));
    return size * count;
}

static char *post(const struct configuration *config, int hours, GString *reply)
{
    g_autofree char *url = g_strconcat(config->server, "/api/v1/jointokens", NULL);
    g_autofree char *bearer = g_strconcat("Authorization: Bearer ", config->token, NULL);
    g_autofree char *body = g_strdup_printf("{\"hours\": %d}", hours);
    char reason[CURL_ERROR_SIZE] = "";
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = curl_slist_append(NULL, bearer);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_CAINFO, config->ca);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, collect);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, reply);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, reason);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, 15L);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    CURLcode code = curl_easy_perform(curl);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    if (code == CURLE_OK)
        return NULL;
    return g_strdup_printf("asking the controller at %s: %s; does it run?", config->server,
                           reason[0] ? reason : curl_easy_strerror(code));
}

int token_command(const char *data_dir, int hours)
{
    struct configuration config = {0};
    g_autoptr(GError) error = NULL;
    g_autoptr(GString) reply = g_string_new(NULL);
    g_autofree char *failure = NULL;
    if (!read_configuration(data_dir, &config, &error))
        failure = g_strdup_printf("%s; the controller writes it at its first start, in --data",
                                  error->message);
    else
        failure = post(&config, hours, reply);
    json_auto_t *answer = json_loads(reply->str, 0, NULL);
    const char *token = json_string_value(json_object_get(answer, "token"));
    if (!failure && !token) {
        const char *why =
            json_string_value(json_object_get(json_object_get(answer, "error"), "message"));
        failure = g_strdup(why ? why : "the controller's answer is not understood");
    }
    g_free(config.server);
    g_free(config.token);
    g_free(config.ca);
    if (failure) {
        fprintf(stderr, "drover-controller: token create: %s\n", failure);
        return EXIT_FAILURE;
    }
    puts(token);
    return EXIT_SUCCESS;
}
