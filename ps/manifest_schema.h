/* The manifests as libcyaml sees them. For checkpoint_manifest.c only.
 *
 * Floats and checksums are strings: libcyaml writes floats with six digits, which read back as
 * other numbers, and checksums are compared by eye in hexadecimal. */
#ifndef ANTHILL_PS_MANIFEST_SCHEMA_H
#define ANTHILL_PS_MANIFEST_SCHEMA_H

#include <stdbool.h>
#include <stdint.h>

#include <cyaml/cyaml.h>

#define MANIFEST_FLOAT_BYTES    32
#define MANIFEST_CHECKSUM_BYTES 17

struct yaml_entry {
    char *name;
    uint64_t bytes;
    char *xxh3;
};

struct yaml_tensor {
    char *name;
    uint32_t rows, cols, init;
    char *init_scale, *weight_decay;
};

struct yaml_optimizer {
    uint32_t kind, schedule;
    char *rate, *beta1, *beta2, *epsilon, *weight_decay;
    char *momentum, *l1, *l2, *ftrl_beta, *clip_value, *clip_norm, *rate_final;
    uint64_t warmup_clocks, total_clocks;
};

struct yaml_table {
    char *name;
    uint32_t kind, dim, init, consistency, staleness, storage, admit_after, evict, evict_seconds;
    uint64_t seed, rows_max, bytes_max, rows, deleted;
    bool full, versioned, compensate;
    char *init_scale;
    struct yaml_optimizer optimizer;
    struct yaml_tensor *tensors;
    uint32_t tensors_count;
};

struct yaml_part {
    uint32_t format, server, shard;
    uint64_t step, base;
    char *base_xxh3;
    struct yaml_table *tables;
    uint32_t tables_count;
    struct yaml_entry *files;
    uint32_t files_count;
};

struct yaml_step {
    uint32_t format;
    uint64_t step, base;
    struct yaml_entry *parts;
    uint32_t parts_count;
};

extern const cyaml_schema_value_t manifest_part_schema;
extern const cyaml_schema_value_t manifest_step_schema;

#endif
