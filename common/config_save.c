#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/config.h"
#include "common/config_schema.h"
#include "common/config_tree.h"
#include "common/file.h"

/* libcyaml writes floats with six digits, which read back as other numbers: the tree is made here,
 * by the same schema. */

static uint64_t load_unsigned(const void *data, uint32_t bytes)
{
    uint8_t u8;
    uint32_t u32;
    uint64_t u64;
    switch (bytes) {
    case 1:
        memcpy(&u8, data, 1);
        return u8;
    case 4:
        memcpy(&u32, data, 4);
        return u32;
    default:
        CHECK(bytes == 8);
        memcpy(&u64, data, 8);
        return u64;
    }
}

static int64_t load_signed(const void *data, uint32_t bytes)
{
    int32_t i32;
    CHECK(bytes == sizeof i32);
    memcpy(&i32, data, sizeof i32);
    return i32;
}

/* The shortest text that reads back as the same float. */
static void float_text(char text[32], const void *data)
{
    float value;
    memcpy(&value, data, sizeof value);
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, 32, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value) return;
    }
}

static int add_string(yaml_document_t *tree, const char *string)
{
    return config_tree_add_scalar(
        tree, string, string[0] == 0 ? YAML_DOUBLE_QUOTED_SCALAR_STYLE : YAML_ANY_SCALAR_STYLE);
}

static int add_scalar(yaml_document_t *tree, const cyaml_schema_value_t *schema, const void *data)
{
    char text[32];
    switch (schema->type) {
    case CYAML_UINT:
        snprintf(text, sizeof text, "%llu",
                 (unsigned long long)load_unsigned(data, schema->data_size));
        break;
    case CYAML_INT:
        snprintf(text, sizeof text, "%lld", (long long)load_signed(data, schema->data_size));
        break;
    case CYAML_BOOL:
        snprintf(text, sizeof text, "%s",
                 load_unsigned(data, schema->data_size) != 0 ? "true" : "false");
        break;
    case CYAML_FLOAT:
        CHECK(schema->data_size == sizeof(float));
        float_text(text, data);
        break;
    case CYAML_ENUM:
        for (uint32_t i = 0; i < schema->enumeration.count; i++) {
            const cyaml_strval_t *known = &schema->enumeration.strings[i];
            if (known->val == load_signed(data, schema->data_size)) {
                return config_tree_add_scalar(tree, known->str, YAML_PLAIN_SCALAR_STYLE);
            }
        }
        CHECK(!"a value of the enum");
        break;
    default:
        CHECK(schema->type == CYAML_STRING && (schema->flags & CYAML_FLAG_POINTER) != 0);
        return add_string(tree, *(char *const *)data);
    }
    return config_tree_add_scalar(tree, text, YAML_PLAIN_SCALAR_STYLE);
}

static int add_mapping(yaml_document_t *tree, const cyaml_schema_value_t *schema, const char *data);

static int add_sequence(yaml_document_t *tree, const cyaml_schema_field_t *field,
                        const char *structure)
{
    const cyaml_schema_value_t *entry = field->value.sequence.entry;
    const char *items = *(char *const *)(const void *)(structure + field->data_offset);
    uint64_t count = load_unsigned(structure + field->count_offset, field->count_size);
    bool mappings = entry->type == CYAML_MAPPING;
    int sequence = config_tree_add_sequence(tree, mappings && count > 0 ? YAML_BLOCK_SEQUENCE_STYLE
                                                                        : YAML_FLOW_SEQUENCE_STYLE);
    for (uint64_t i = 0; i < count; i++) {
        const char *item = items + i * field->value.data_size;
        config_tree_append(tree, sequence,
                           mappings ? add_mapping(tree, entry, item)
                                    : add_scalar(tree, entry, item));
    }
    return sequence;
}

static int add_mapping(yaml_document_t *tree, const cyaml_schema_value_t *schema, const char *data)
{
    bool flow = (schema->flags & CYAML_FLAG_FLOW) != 0;
    int mapping =
        config_tree_add_mapping(tree, flow ? YAML_FLOW_MAPPING_STYLE : YAML_BLOCK_MAPPING_STYLE);
    for (const cyaml_schema_field_t *field = schema->mapping.fields; field->key != NULL; field++) {
        const char *place = data + field->data_offset;
        int value = field->value.type == CYAML_MAPPING    ? add_mapping(tree, &field->value, place)
                    : field->value.type == CYAML_SEQUENCE ? add_sequence(tree, field, data)
                                                          : add_scalar(tree, &field->value, place);
        config_tree_put(tree, mapping, field->key, value);
    }
    return mapping;
}

enum status config_save(const struct config *config, const char *path, struct error *error)
{
    yaml_document_t tree;
    CHECK(yaml_document_initialize(&tree, NULL, NULL, NULL, 1, 1) == 1);
    add_mapping(&tree, &config_schema, (const char *)config);
    char *text = config_tree_emit(&tree);
    enum status status = file_write_atomic(path, text, strlen(text), error);
    free(text);
    return status;
}
