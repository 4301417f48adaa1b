/* JSON values as YAML, through libyaml's emitter. */
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "controller/cli/output.h"

static void emit(yaml_emitter_t *emitter, const json_t *value);

static void emit_text(yaml_emitter_t *emitter, const char *text, bool plain, bool quoted)
{
    yaml_event_t event;
    yaml_scalar_style_t style = YAML_ANY_SCALAR_STYLE;

    if (quoted && strchr(text, '\n'))
        style = YAML_LITERAL_SCALAR_STYLE;
    else if (!plain)
        style = YAML_DOUBLE_QUOTED_SCALAR_STYLE;
    yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)text, (int)strlen(text),
                                 plain, quoted, style);
    yaml_emitter_emit(emitter, &event);
}

/* Text that a reader would take for something else has to be quoted. */
static bool looks_like_text(const char *text)
{
    static const char *const words[] = {"null", "true", "false", "yes", "no", "on", "off", "~"};

    if (!*text || strchr("-+.0123456789", *text))
        return false;
    for (size_t i = 0; i < G_N_ELEMENTS(words); i++)
        if (g_ascii_strcasecmp(text, words[i]) == 0)
            return false;
    return true;
}

/* As JSON has it: with what tells it from an integer. */
static char *real_text(double value)
{
    char digits[G_ASCII_DTOSTR_BUF_SIZE];

    g_ascii_dtostr(digits, sizeof(digits), value);
    return g_strconcat(digits, strpbrk(digits, ".e") ? "" : ".0", NULL);
}

static void emit_array(yaml_emitter_t *emitter, const json_t *array)
{
    yaml_event_t event;
    json_t *item;
    size_t i;

    yaml_sequence_start_event_initialize(&event, NULL, NULL, 1,
                                         json_array_size(array) ? YAML_BLOCK_SEQUENCE_STYLE
                                                                : YAML_FLOW_SEQUENCE_STYLE);
    yaml_emitter_emit(emitter, &event);
    json_array_foreach ((json_t *)array, i, item)
        emit(emitter, item);
    yaml_sequence_end_event_initialize(&event);
    yaml_emitter_emit(emitter, &event);
}

static void emit_object(yaml_emitter_t *emitter, const json_t *object)
{
    yaml_event_t event;
    const char *key;
    json_t *item;

    yaml_mapping_start_event_initialize(&event, NULL, NULL, 1,
                                        json_object_size(object) ? YAML_BLOCK_MAPPING_STYLE
                                                                 : YAML_FLOW_MAPPING_STYLE);
    yaml_emitter_emit(emitter, &event);
    json_object_foreach ((json_t *)object, key, item) {
        emit_text(emitter, key, looks_like_text(key), true);
        emit(emitter, item);
    }
    yaml_mapping_end_event_initialize(&event);
    yaml_emitter_emit(emitter, &event);
}

static void emit(yaml_emitter_t *emitter, const json_t *value)
{
    g_autofree char *number = NULL;

    switch (json_typeof(value)) {
    case JSON_OBJECT:
        emit_object(emitter, value);
        break;
    case JSON_ARRAY:
        emit_array(emitter, value);
        break;
    case JSON_STRING:
        emit_text(emitter, json_string_value(value), looks_like_text(json_string_value(value)),
                  true);
        break;
    case JSON_INTEGER:
        number = g_strdup_printf("%" JSON_INTEGER_FORMAT, json_integer_value(value));
        emit_text(emitter, number, true, false);
        break;
    case JSON_REAL:
        number = real_text(json_real_value(value));
        emit_text(emitter, number, true, false);
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        emit_text(emitter, json_is_true(value) ? "true" : "false", true, false);
        break;
    case JSON_NULL:
        emit_text(emitter, "null", true, false);
        break;
    }
}

void output_yaml(const json_t *value)
{
    yaml_emitter_t emitter;
    yaml_event_t event;

    yaml_emitter_initialize(&emitter);
    yaml_emitter_set_output_file(&emitter, stdout);
    yaml_emitter_set_unicode(&emitter, 1);
    yaml_emitter_set_width(&emitter, 100);
    yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING);
    yaml_emitter_emit(&emitter, &event);
    yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1);
    yaml_emitter_emit(&emitter, &event);
    emit(&emitter, value);
    yaml_document_end_event_initialize(&event, 1);
    yaml_emitter_emit(&emitter, &event);
    yaml_stream_end_event_initialize(&event);
    yaml_emitter_emit(&emitter, &event);
    yaml_emitter_delete(&emitter);
    fflush(stdout);
}
