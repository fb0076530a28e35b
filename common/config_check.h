/* Compares a YAML document with the schema before libcyaml loads it: libcyaml takes 3.5 for a whole
 * number and any word for true, and its errors name the mapping's line, not the key's. */
#ifndef ANTHILL_COMMON_CONFIG_CHECK_H
#define ANTHILL_COMMON_CONFIG_CHECK_H

#include <cyaml/cyaml.h>
#include <yaml.h>

#include "common/error.h"

/* The document is a mapping of sections, or has no root.
 *   errors   STATUS_CONFIG with "file:line: key: what was expected" */
enum status config_check_file(yaml_document_t *tree, const char *file,
                              struct error *error) MUST_CHECK;

/* `schema` becomes that of the value at "a.b.0.c".
 *   errors   STATUS_CONFIG with "setting: unknown key (in a: ...)" */
enum status config_check_key(const char *key, const char *setting,
                             const cyaml_schema_value_t **schema, struct error *error) MUST_CHECK;

/* The document's root as the value of `key`.
 *   errors   STATUS_CONFIG with "setting: key: what was expected" */
enum status config_check_value(yaml_document_t *tree, const cyaml_schema_value_t *schema,
                               const char *key, const char *setting,
                               struct error *error) MUST_CHECK;

#endif
