#include "common/config_check.h"

#include <ctype.h>
#include <errno.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/config_schema.h"
#include "common/config_tree.h"
#include "common/text.h"

enum { KEY_BYTES = 160 };

struct check {
    yaml_document_t *tree;
    const char *file;    /* errors begin with file:line, ... */
    const char *setting; /* ... or with the setting where there is no file */
    char key[KEY_BYTES]; /* of the node that is looked at: "model.layers.0" */
    struct error *error;
};

/* Appends ".name" to the key; returns the length to cut it back to. What does not fit is cut. */
static size_t enter(struct check *check, const char *name, size_t name_bytes)
{
    size_t used = strlen(check->key);
    snprintf(check->key + used, sizeof check->key - used, "%s%.*s", used == 0 ? "" : ".",
             (int)(name_bytes < KEY_BYTES ? name_bytes : KEY_BYTES), name);
    return used;
}

static enum status __attribute__((format(printf, 3, 4)))
refuse(const struct check *check, const yaml_node_t *node, const char *format, ...)
{
    char what[ERROR_TEXT_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    const char *separator = check->key[0] == 0 ? "" : ": ";
    if (check->file == NULL) {
        return error_set(check->error, STATUS_CONFIG, "%.300s: %s%s%s", check->setting, check->key,
                         separator, what);
    }
    return error_set(check->error, STATUS_CONFIG, "%s:%zu: %s%s%s", check->file,
                     node->start_mark.line + 1, check->key, separator, what);
}

/* "epochs, batch, ..." */
static char *field_names(const cyaml_schema_value_t *mapping)
{
    struct text names = {0};
    const cyaml_schema_field_t *field = mapping->mapping.fields;
    for (size_t i = 0; field[i].key != NULL; i++)
        text_add(&names, "%s%s", i == 0 ? "" : ", ", field[i].key);
    return text_take(&names);
}

/* The bytes of `value` that are shown: one line, not long. */
static int shown_bytes(const char *value)
{
    size_t bytes = strcspn(value, "\r\n");
    return (int)(bytes < 60 ? bytes : 60);
}

/* Digits without a leading zero, which YAML 1.1 reads as octal and nobody means so. */
static bool parse_whole(const char *text, bool is_signed, unsigned bytes, int64_t *min,
                        uint64_t *max)
{
    *max = is_signed ? (UINT64_C(1) << (8 * bytes - 1)) - 1 : UINT64_MAX >> (64 - 8 * bytes);
    *min = is_signed ? -(int64_t)*max - 1 : 0;
    const char *digits = text + (is_signed && *text == '-');
    size_t count = strlen(digits);
    if (count == 0 || strspn(digits, "0123456789") != count) return false;
    if (count > 1 && digits[0] == '0') return false;
    errno = 0;
    if (digits != text) return strtoll(text, NULL, 10) >= *min && errno == 0;
    return strtoull(text, NULL, 10) <= *max && errno == 0;
}

static bool parse_real(const char *text)
{
    char *end;
    if (isspace((unsigned char)*text)) return false;
    double value = strtod(text, &end);
    return end != text && *end == 0 && isfinite(value) && fabs(value) <= FLT_MAX;
}

static bool parse_bool(const char *text)
{
    static const char *const words[] = {"true", "false", "yes", "no", "on", "off"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcasecmp(text, words[i]) == 0) return true;
    }
    return false;
}

static enum status check_enum(const struct check *check, const cyaml_schema_value_t *schema,
                              const yaml_node_t *node, const char *value)
{
    struct text values = {0};
    for (uint32_t i = 0; i < schema->enumeration.count; i++) {
        const char *known = schema->enumeration.strings[i].str;
        if (strcmp(known, value) == 0) {
            text_deinit(&values);
            return STATUS_OK;
        }
        text_add(&values, "%s%s", i == 0 ? "" : ", ", known);
    }
    enum status status = refuse(check, node, "'%.*s' is not %s%s", shown_bytes(value), value,
                                schema->enumeration.count > 1 ? "one of " : "", values.data);
    text_deinit(&values);
    return status;
}

static enum status check_scalar(const struct check *check, const cyaml_schema_value_t *schema,
                                const yaml_node_t *node)
{
    const char *value = (const char *)node->data.scalar.value;
    int shown = shown_bytes(value);
    int64_t min;
    uint64_t max;
    if (strlen(value) != node->data.scalar.length) {
        return refuse(check, node, "a zero byte in the value");
    }
    switch (schema->type) {
    case CYAML_INT:
    case CYAML_UINT:
        if (parse_whole(value, schema->type == CYAML_INT, schema->data_size, &min, &max)) break;
        return refuse(check, node, "'%.*s' is not a whole number from %" PRId64 " to %" PRIu64,
                      shown, value, min, max);
    case CYAML_FLOAT:
        if (parse_real(value)) break;
        return refuse(check, node, "'%.*s' is not a number", shown, value);
    case CYAML_BOOL:
        if (parse_bool(value)) break;
        return refuse(check, node, "'%.*s' is neither true nor false", shown, value);
    case CYAML_ENUM:
        return check_enum(check, schema, node, value);
    default:
        break;
    }
    return STATUS_OK;
}

static enum status check_node(struct check *check, const cyaml_schema_value_t *schema, int id);

static enum status refuse_unknown(const struct check *check, const cyaml_schema_value_t *mapping,
                                  const yaml_node_t *node, size_t mapping_key_bytes)
{
    char *names = field_names(mapping);
    enum status status = mapping_key_bytes == 0
                             ? refuse(check, node, "unknown section (there are: %s)", names)
                             : refuse(check, node, "unknown key (in %.*s: %s)",
                                      (int)mapping_key_bytes, check->key, names);
    free(names);
    return status;
}

/* The pairs of a mapping that are there. */
static enum status check_pairs(struct check *check, const cyaml_schema_value_t *schema, int id)
{
    const yaml_node_t *node = yaml_document_get_node(check->tree, id);
    for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = yaml_document_get_node(check->tree, pair->key);
        if (key->type != YAML_SCALAR_NODE) return refuse(check, key, "a key must be a word");
        const char *name = (const char *)key->data.scalar.value;
        size_t bytes = key->data.scalar.length;
        size_t outer = enter(check, name, bytes);
        const cyaml_schema_field_t *field = config_schema_field(schema, name, bytes);
        if (field == NULL) return refuse_unknown(check, schema, key, outer);
        if (config_tree_child(check->tree, id, name, bytes) != pair->value) {
            return refuse(check, key, "stands twice");
        }
        enum status status = check_node(check, &field->value, pair->value);
        if (status != STATUS_OK) return status;
        check->key[outer] = 0;
    }
    return STATUS_OK;
}

static enum status check_mapping(struct check *check, const cyaml_schema_value_t *schema, int id)
{
    const yaml_node_t *node = yaml_document_get_node(check->tree, id);
    bool empty = config_tree_empty(node);
    if (node->type != YAML_MAPPING_NODE && !empty) {
        char *names = field_names(schema);
        enum status status = refuse(check, node, "a mapping expected, with keys of: %s", names);
        free(names);
        return status;
    }
    enum status status = empty ? STATUS_OK : check_pairs(check, schema, id);
    if (status != STATUS_OK) return status;
    for (const cyaml_schema_field_t *field = schema->mapping.fields; field->key != NULL; field++) {
        if ((field->value.flags & CYAML_FLAG_OPTIONAL) != 0) continue;
        if (config_tree_child(check->tree, id, field->key, strlen(field->key)) != 0) continue;
        enter(check, field->key, strlen(field->key));
        return refuse(check, node, "missing");
    }
    return STATUS_OK;
}

static enum status check_sequence(struct check *check, const cyaml_schema_value_t *schema,
                                  const yaml_node_t *node)
{
    if (node->type != YAML_SEQUENCE_NODE) return refuse(check, node, "a list expected: [...]");
    const int *items = node->data.sequence.items.start;
    size_t count = (size_t)(node->data.sequence.items.top - items);
    for (size_t i = 0; i < count; i++) {
        char index[24];
        snprintf(index, sizeof index, "%zu", i);
        size_t outer = enter(check, index, strlen(index));
        enum status status = check_node(check, schema->sequence.entry, items[i]);
        if (status != STATUS_OK) return status;
        check->key[outer] = 0;
    }
    return STATUS_OK;
}

static enum status check_node(struct check *check, const cyaml_schema_value_t *schema, int id)
{
    const yaml_node_t *node = yaml_document_get_node(check->tree, id);
    if (schema->type == CYAML_MAPPING) return check_mapping(check, schema, id);
    if (schema->type == CYAML_SEQUENCE) return check_sequence(check, schema, node);
    if (node->type == YAML_SCALAR_NODE) return check_scalar(check, schema, node);
    return refuse(check, node, "a single value expected");
}

enum status config_check_file(yaml_document_t *tree, const char *file, struct error *error)
{
    struct check check = {.tree = tree, .file = file, .error = error};
    if (yaml_document_get_root_node(tree) == NULL) return STATUS_OK;
    return check_node(&check, &config_schema, 1);
}

enum status config_check_key(const char *key, const char *setting,
                             const cyaml_schema_value_t **schema, struct error *error)
{
    struct check check = {.setting = setting, .error = error};
    const cyaml_schema_value_t *value = &config_schema;
    for (const char *name = key;;) {
        size_t bytes = strcspn(name, ".");
        const cyaml_schema_field_t *field = NULL;
        if (value->type == CYAML_MAPPING) field = config_schema_field(value, name, bytes);
        bool index = bytes > 0 && strspn(name, "0123456789") == bytes;
        if (value->type == CYAML_SEQUENCE && index) {
            value = value->sequence.entry;
        } else if (field != NULL) {
            value = &field->value;
        } else if (value->type == CYAML_MAPPING) {
            size_t outer = name == key ? 0 : (size_t)(name - key - 1);
            snprintf(check.key, sizeof check.key, "%.*s", (int)outer, key);
            char *names = field_names(value);
            error_set(error, STATUS_CONFIG, "%.300s: unknown %s (%s%s: %s)", setting,
                      outer == 0 ? "section" : "key", outer == 0 ? "there are" : "in ", check.key,
                      names);
            free(names);
            return STATUS_CONFIG;
        } else {
            return error_set(error, STATUS_CONFIG, "%.300s: unknown key (%.*s is %s)", setting,
                             (int)(name - key - 1), key,
                             value->type == CYAML_SEQUENCE ? "a list" : "a single value");
        }
        if (name[bytes] == 0) break;
        name += bytes + 1;
    }
    *schema = value;
    return STATUS_OK;
}

enum status config_check_value(yaml_document_t *tree, const cyaml_schema_value_t *schema,
                               const char *key, const char *setting, struct error *error)
{
    struct check check = {.tree = tree, .setting = setting, .error = error};
    enter(&check, key, strlen(key));
    return check_node(&check, schema, 1);
}
