#include "common/config_tree.h"

#include <string.h>

#include "common/check.h"
#include "common/text.h"

enum { DEPTH_MAX = 16 };

static void tree_init(yaml_document_t *tree)
{
    CHECK(yaml_document_initialize(tree, NULL, NULL, NULL, 1, 1) == 1);
}

static enum status parse_failed(const yaml_parser_t *parser, const char *text, size_t bytes,
                                unsigned *line, struct error *error)
{
    *line = (unsigned)parser->problem_mark.line + 1;
    if (parser->error == YAML_READER_ERROR) {
        *line = 1;
        for (size_t i = 0; i < parser->problem_offset && i < bytes; i++)
            *line += text[i] == '\n';
    }
    return error_set(error, STATUS_CONFIG, "not YAML: %s",
                     parser->problem == NULL ? "memory is used up" : parser->problem);
}

/* Refuses deep nesting while only that much of the text was scanned: libyaml takes minutes for a
 * hundred thousand brackets. Other errors are left to the parser that comes after. */
static enum status check_depth(const char *text, size_t bytes, unsigned *line, struct error *error)
{
    enum status status = STATUS_OK;
    yaml_parser_t parser;
    yaml_event_t event;
    int depth = 0;
    bool more = true;
    CHECK(yaml_parser_initialize(&parser) == 1);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, bytes);
    while (more && yaml_parser_parse(&parser, &event) == 1) {
        depth += event.type == YAML_MAPPING_START_EVENT || event.type == YAML_SEQUENCE_START_EVENT;
        depth -= event.type == YAML_MAPPING_END_EVENT || event.type == YAML_SEQUENCE_END_EVENT;
        if (depth > DEPTH_MAX) {
            *line = (unsigned)event.start_mark.line + 1;
            status = error_set(error, STATUS_CONFIG, "nested deeper than %d levels", DEPTH_MAX);
        }
        more = event.type != YAML_STREAM_END_EVENT && status == STATUS_OK;
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return status;
}

enum status config_tree_parse(yaml_document_t *tree, const char *text, size_t bytes, unsigned *line,
                              struct error *error)
{
    enum status status = check_depth(text, bytes, line, error);
    yaml_parser_t parser;
    yaml_document_t more;
    if (status != STATUS_OK) return status;
    CHECK(yaml_parser_initialize(&parser) == 1);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, bytes);
    if (yaml_parser_load(&parser, tree) != 1) {
        status = parse_failed(&parser, text, bytes, line, error);
        goto out;
    }
    if (yaml_document_get_root_node(tree) == NULL) goto out;
    if (yaml_parser_load(&parser, &more) != 1) {
        status = parse_failed(&parser, text, bytes, line, error);
    } else {
        yaml_node_t *root = yaml_document_get_root_node(&more);
        if (root != NULL) {
            *line = (unsigned)root->start_mark.line + 1;
            status = error_set(error, STATUS_CONFIG, "a second document; one is expected");
        }
        yaml_document_delete(&more);
    }
    if (status != STATUS_OK) yaml_document_delete(tree);
out:
    yaml_parser_delete(&parser);
    return status;
}

bool config_tree_string(yaml_document_t *tree, const char *string)
{
    tree_init(tree);
    int added = yaml_document_add_scalar(tree, NULL, (const yaml_char_t *)string,
                                         (int)strlen(string), YAML_DOUBLE_QUOTED_SCALAR_STYLE);
    if (added == 0) yaml_document_delete(tree);
    return added != 0;
}

/* The pair of `key` in a mapping, or NULL; valid until a pair is added. */
static yaml_node_pair_t *find_pair(yaml_document_t *tree, int mapping, const char *key,
                                   size_t key_bytes)
{
    yaml_node_t *node = yaml_document_get_node(tree, mapping);
    for (yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *name = yaml_document_get_node(tree, pair->key);
        if (name->type == YAML_SCALAR_NODE && name->data.scalar.length == key_bytes &&
            memcmp(name->data.scalar.value, key, key_bytes) == 0) {
            return pair;
        }
    }
    return NULL;
}

/* Where the id of entry `index` of a sequence stands, or NULL. */
static yaml_node_item_t *find_item(yaml_document_t *tree, int sequence, const char *index,
                                   size_t index_bytes)
{
    yaml_node_t *node = yaml_document_get_node(tree, sequence);
    size_t count = (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
    size_t number = 0;
    if (index_bytes == 0 || index_bytes > 6) return NULL;
    for (size_t i = 0; i < index_bytes; i++) {
        if (index[i] < '0' || index[i] > '9') return NULL;
        number = number * 10 + (size_t)(index[i] - '0');
    }
    return number < count ? node->data.sequence.items.start + number : NULL;
}

/* Where the id of a node's child stands, or NULL. */
static int *find_child(yaml_document_t *tree, int id, const char *key, size_t key_bytes)
{
    yaml_node_t *node = yaml_document_get_node(tree, id);
    if (node == NULL) return NULL;
    if (node->type == YAML_SEQUENCE_NODE) return find_item(tree, id, key, key_bytes);
    if (node->type != YAML_MAPPING_NODE) return NULL;
    yaml_node_pair_t *pair = find_pair(tree, id, key, key_bytes);
    return pair == NULL ? NULL : &pair->value;
}

int config_tree_child(yaml_document_t *tree, int node, const char *key, size_t key_bytes)
{
    const int *place = find_child(tree, node, key, key_bytes);
    return place == NULL ? 0 : *place;
}

int config_tree_find(yaml_document_t *tree, const char *path)
{
    int node = yaml_document_get_root_node(tree) == NULL ? 0 : 1;
    while (node != 0 && *path != 0) {
        size_t bytes = strcspn(path, ".");
        node = config_tree_child(tree, node, path, bytes);
        path += bytes;
        path += *path == '.';
    }
    return node;
}

bool config_tree_empty(const yaml_node_t *node)
{
    return node->type == YAML_SCALAR_NODE && node->data.scalar.length == 0 &&
           node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

int config_tree_add_scalar(yaml_document_t *tree, const char *value, yaml_scalar_style_t style)
{
    int node =
        yaml_document_add_scalar(tree, NULL, (const yaml_char_t *)value, (int)strlen(value), style);
    CHECK(node != 0);
    return node;
}

int config_tree_add_sequence(yaml_document_t *tree, yaml_sequence_style_t style)
{
    int node = yaml_document_add_sequence(tree, NULL, style);
    CHECK(node != 0);
    return node;
}

int config_tree_add_mapping(yaml_document_t *tree, yaml_mapping_style_t style)
{
    int node = yaml_document_add_mapping(tree, NULL, style);
    CHECK(node != 0);
    return node;
}

void config_tree_append(yaml_document_t *tree, int sequence, int entry)
{
    CHECK(yaml_document_append_sequence_item(tree, sequence, entry) == 1);
}

void config_tree_put(yaml_document_t *tree, int mapping, const char *key, int value)
{
    int name = config_tree_add_scalar(tree, key, YAML_PLAIN_SCALAR_STYLE);
    CHECK(yaml_document_append_mapping_pair(tree, mapping, name, value) == 1);
}

/* Copies the node with all below it into `target`; returns its id there. */
static int copy_node(yaml_document_t *target, yaml_document_t *source, int id)
{
    const yaml_node_t *node = yaml_document_get_node(source, id);
    int copy;
    switch (node->type) {
    case YAML_SEQUENCE_NODE:
        copy = config_tree_add_sequence(target, node->data.sequence.style);
        for (const int *item = node->data.sequence.items.start;
             item < node->data.sequence.items.top; item++)
            config_tree_append(target, copy, copy_node(target, source, *item));
        return copy;
    case YAML_MAPPING_NODE:
        copy = config_tree_add_mapping(target, node->data.mapping.style);
        for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
             pair < node->data.mapping.pairs.top; pair++) {
            int key = copy_node(target, source, pair->key);
            int value = copy_node(target, source, pair->value);
            CHECK(yaml_document_append_mapping_pair(target, copy, key, value) == 1);
        }
        return copy;
    default:
        return config_tree_add_scalar(target, (const char *)node->data.scalar.value,
                                      node->data.scalar.style);
    }
}

/* The id that takes the place of `target_id` after `source_id` is laid over it. */
static int merge_node(yaml_document_t *target, int target_id, yaml_document_t *source,
                      int source_id)
{
    const yaml_node_t *over = yaml_document_get_node(source, source_id);
    bool is_mapping = yaml_document_get_node(target, target_id)->type == YAML_MAPPING_NODE;
    if (is_mapping && config_tree_empty(over)) return target_id;
    if (!is_mapping || over->type != YAML_MAPPING_NODE) return copy_node(target, source, source_id);
    for (const yaml_node_pair_t *pair = over->data.mapping.pairs.start;
         pair < over->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = yaml_document_get_node(source, pair->key);
        const char *name = (const char *)key->data.scalar.value;
        size_t bytes = key->data.scalar.length;
        int below = config_tree_child(target, target_id, name, bytes);
        if (below == 0) {
            config_tree_put(target, target_id, name, copy_node(target, source, pair->value));
        } else {
            int merged = merge_node(target, below, source, pair->value);
            find_pair(target, target_id, name, bytes)->value = merged;
        }
    }
    return target_id;
}

void config_tree_merge(yaml_document_t *target, yaml_document_t *source)
{
    if (yaml_document_get_root_node(source) == NULL) return;
    CHECK(merge_node(target, 1, source, 1) == 1);
}

bool config_tree_set(yaml_document_t *target, const char *path, yaml_document_t *value)
{
    int node = 1;
    for (;;) {
        size_t bytes = strcspn(path, ".");
        int *place = find_child(target, node, path, bytes);
        if (place == NULL) {
            if (yaml_document_get_node(target, node)->type != YAML_MAPPING_NODE) return false;
            char key[64];
            CHECK(bytes < sizeof key);
            memcpy(key, path, bytes);
            key[bytes] = 0;
            config_tree_put(target, node, key,
                            config_tree_add_scalar(target, "", YAML_PLAIN_SCALAR_STYLE));
            place = find_child(target, node, path, bytes);
        }
        if (path[bytes] == 0) {
            int merged = merge_node(target, *place, value, 1);
            *find_child(target, node, path, bytes) = merged;
            return true;
        }
        node = *place;
        path += bytes + 1;
    }
}

void config_tree_copy(yaml_document_t *copy, yaml_document_t *tree)
{
    tree_init(copy);
    if (yaml_document_get_root_node(tree) != NULL) copy_node(copy, tree, 1);
}

static int write_text(void *text, unsigned char *bytes, size_t count)
{
    text_add(text, "%.*s", (int)count, (const char *)bytes);
    return 1;
}

char *config_tree_emit(yaml_document_t *tree)
{
    struct text text = {0};
    yaml_emitter_t emitter;
    CHECK(yaml_emitter_initialize(&emitter) == 1);
    yaml_emitter_set_output(&emitter, write_text, &text);
    yaml_emitter_set_unicode(&emitter, 1);
    yaml_emitter_set_width(&emitter, -1);
    CHECK(yaml_emitter_open(&emitter) == 1);
    CHECK(yaml_emitter_dump(&emitter, tree) == 1);
    CHECK(yaml_emitter_close(&emitter) == 1);
    yaml_emitter_delete(&emitter);
    return text_take(&text);
}
