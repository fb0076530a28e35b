/* YAML documents as trees that can be merged: what config.c does before libcyaml loads the result.
 * Nodes are named by libyaml's ids, which stay valid while a document grows; pointers do not. */
#ifndef ANTHILL_COMMON_CONFIG_TREE_H
#define ANTHILL_COMMON_CONFIG_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <yaml.h>

#include "common/error.h"

/* Parses one document. One without content has no root node.
 *   errors   STATUS_CONFIG; `line` is 1-based, the text says only what is wrong
 *   owner    yaml_document_delete after STATUS_OK */
enum status config_tree_parse(yaml_document_t *tree, const char *text, size_t bytes, unsigned *line,
                              struct error *error) MUST_CHECK;

/* A document whose root is one string. False: the string is not UTF-8. */
bool config_tree_string(yaml_document_t *tree, const char *string) MUST_CHECK;

/* The id of the value of `key` in a mapping, the id of an entry of a sequence, or 0. */
int config_tree_child(yaml_document_t *tree, int node, const char *key, size_t key_bytes);

/* The id of the node at "a.b.0.c", or 0. */
int config_tree_find(yaml_document_t *tree, const char *path);

/* True for a key with nothing behind it. */
bool config_tree_empty(const yaml_node_t *node);

/* Lays `source`'s node over `target`'s: mappings key by key, everything else is replaced. A key
 * with nothing behind it leaves a mapping as it is. The source has no cycles. */
void config_tree_merge(yaml_document_t *target, yaml_document_t *source);

/* The same for the one value at "a.b.0.c", whose keys are added where they are missing. False: an
 * index past the end of a sequence. */
bool config_tree_set(yaml_document_t *target, const char *path, yaml_document_t *value) MUST_CHECK;

/* The document as YAML text; it is deleted. returns owned; free() */
char *config_tree_emit(yaml_document_t *tree);

/* A copy without tags and aliases. */
void config_tree_copy(yaml_document_t *copy, yaml_document_t *tree);

/* New nodes; memory that is used up ends the process. */
int config_tree_add_scalar(yaml_document_t *tree, const char *value, yaml_scalar_style_t style);
int config_tree_add_sequence(yaml_document_t *tree, yaml_sequence_style_t style);
int config_tree_add_mapping(yaml_document_t *tree, yaml_mapping_style_t style);
void config_tree_append(yaml_document_t *tree, int sequence, int entry);
void config_tree_put(yaml_document_t *tree, int mapping, const char *key, int value);

#endif
