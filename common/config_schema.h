/* The keys of a configuration as a libcyaml schema over struct config. libcyaml loads by it;
 * config_check.c walks it for errors with their place, config_save.c to write a configuration. */
#ifndef ANTHILL_COMMON_CONFIG_SCHEMA_H
#define ANTHILL_COMMON_CONFIG_SCHEMA_H

#include <cyaml/cyaml.h>

/* A mapping of sections; its data is a struct config. */
extern const cyaml_schema_value_t config_schema;

/* conf/defaults.yaml as it stood when the program was built. */
extern const unsigned char config_defaults[];
extern const unsigned config_defaults_bytes;

/* The field `key` (of `bytes` bytes) of a mapping, or NULL. */
const cyaml_schema_field_t *config_schema_field(const cyaml_schema_value_t *mapping,
                                                const char *key, size_t bytes);

#endif
