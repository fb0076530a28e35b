#include "ps/manifest_schema.h"

#include "common/wire.pb-c.h"
#include "ps/checkpoint_manifest.h"
#include "ps/shard_state.h"
#include "ps/table_spec.h"

static const cyaml_strval_t kinds[] = {
    {"sparse", ANTHILL__TABLE_KIND__TABLE_SPARSE},
    {"dense", ANTHILL__TABLE_KIND__TABLE_DENSE},
};
static const cyaml_strval_t inits[] = {
    {"zero", ANTHILL__INIT_KIND__INIT_ZERO},
    {"uniform", ANTHILL__INIT_KIND__INIT_UNIFORM},
    {"normal", ANTHILL__INIT_KIND__INIT_NORMAL},
    {"one", ANTHILL__INIT_KIND__INIT_ONE},
};
static const cyaml_strval_t optimizers[] = {
    {"sgd", ANTHILL__OPTIMIZER_KIND__OPTIMIZER_SGD},
    {"adagrad", ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ADAGRAD},
    {"adam", ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ADAM},
    {"momentum", ANTHILL__OPTIMIZER_KIND__OPTIMIZER_MOMENTUM},
    {"rowwise_adagrad", ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ROWWISE_ADAGRAD},
    {"adamw", ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ADAMW},
    {"ftrl", ANTHILL__OPTIMIZER_KIND__OPTIMIZER_FTRL},
};
static const cyaml_strval_t schedules[] = {
    {"constant", ANTHILL__SCHEDULE_KIND__SCHEDULE_CONSTANT},
    {"linear", ANTHILL__SCHEDULE_KIND__SCHEDULE_LINEAR},
    {"cosine", ANTHILL__SCHEDULE_KIND__SCHEDULE_COSINE},
};
static const cyaml_strval_t storages[] = {
    {"f32", ANTHILL__STORAGE_KIND__STORAGE_F32},
    {"bf16", ANTHILL__STORAGE_KIND__STORAGE_BF16},
};
static const cyaml_strval_t evictions[] = {
    {"none", ANTHILL__EVICT_KIND__EVICT_NONE},
    {"age", ANTHILL__EVICT_KIND__EVICT_AGE},
    {"score", ANTHILL__EVICT_KIND__EVICT_SCORE},
};
static const cyaml_strval_t modes[] = {
    {"async", ANTHILL__CONSISTENCY_MODE__CONSISTENCY_ASYNC},
    {"ssp", ANTHILL__CONSISTENCY_MODE__CONSISTENCY_SSP},
    {"bsp", ANTHILL__CONSISTENCY_MODE__CONSISTENCY_BSP},
};

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define TEXT(type, field, bytes)                                                                   \
    CYAML_FIELD_STRING_PTR(#field, CYAML_FLAG_POINTER, struct type, field, 1, bytes)
#define FLOAT(type, field)  TEXT(type, field, MANIFEST_FLOAT_BYTES)
#define NUMBER(type, field) CYAML_FIELD_UINT(#field, CYAML_FLAG_DEFAULT, struct type, field)
#define CHOICE(type, field, names)                                                                 \
    CYAML_FIELD_ENUM(#field, CYAML_FLAG_STRICT, struct type, field, names, COUNT(names))
#define LIST(type, field, entry, most)                                                             \
    CYAML_FIELD_SEQUENCE(#field, CYAML_FLAG_POINTER, struct type, field, entry, 0, most)

static const cyaml_schema_field_t entry_fields[] = {
    TEXT(yaml_entry, name, CHECKPOINT_NAME_BYTES - 1),
    NUMBER(yaml_entry, bytes),
    TEXT(yaml_entry, xxh3, MANIFEST_CHECKSUM_BYTES - 1),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t entry_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct yaml_entry, entry_fields),
};

static const cyaml_schema_field_t tensor_fields[] = {
    TEXT(yaml_tensor, name, 255),
    NUMBER(yaml_tensor, rows),
    NUMBER(yaml_tensor, cols),
    CHOICE(yaml_tensor, init, inits),
    FLOAT(yaml_tensor, init_scale),
    FLOAT(yaml_tensor, weight_decay),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t tensor_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct yaml_tensor, tensor_fields),
};

static const cyaml_schema_field_t optimizer_fields[] = {
    CHOICE(yaml_optimizer, kind, optimizers),
    FLOAT(yaml_optimizer, rate),
    FLOAT(yaml_optimizer, beta1),
    FLOAT(yaml_optimizer, beta2),
    FLOAT(yaml_optimizer, epsilon),
    FLOAT(yaml_optimizer, weight_decay),
    FLOAT(yaml_optimizer, momentum),
    FLOAT(yaml_optimizer, l1),
    FLOAT(yaml_optimizer, l2),
    FLOAT(yaml_optimizer, ftrl_beta),
    FLOAT(yaml_optimizer, clip_value),
    FLOAT(yaml_optimizer, clip_norm),
    CHOICE(yaml_optimizer, schedule, schedules),
    NUMBER(yaml_optimizer, warmup_clocks),
    NUMBER(yaml_optimizer, total_clocks),
    FLOAT(yaml_optimizer, rate_final),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t table_fields[] = {
    TEXT(yaml_table, name, 255),
    CHOICE(yaml_table, kind, kinds),
    CYAML_FIELD_BOOL("full", CYAML_FLAG_DEFAULT, struct yaml_table, full),
    NUMBER(yaml_table, rows),
    NUMBER(yaml_table, deleted),
    NUMBER(yaml_table, dim),
    NUMBER(yaml_table, seed),
    CHOICE(yaml_table, init, inits),
    FLOAT(yaml_table, init_scale),
    CHOICE(yaml_table, consistency, modes),
    NUMBER(yaml_table, staleness),
    CYAML_FIELD_BOOL("compensate", CYAML_FLAG_OPTIONAL, struct yaml_table, compensate),
    NUMBER(yaml_table, rows_max),
    NUMBER(yaml_table, bytes_max),
    CHOICE(yaml_table, storage, storages),
    NUMBER(yaml_table, admit_after),
    CHOICE(yaml_table, evict, evictions),
    NUMBER(yaml_table, evict_seconds),
    CYAML_FIELD_BOOL("versioned", CYAML_FLAG_DEFAULT, struct yaml_table, versioned),
    CYAML_FIELD_MAPPING("optimizer", CYAML_FLAG_DEFAULT, struct yaml_table, optimizer,
                        optimizer_fields),
    LIST(yaml_table, tensors, &tensor_schema, TABLE_TENSORS_MAX),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t table_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct yaml_table, table_fields),
};

static const cyaml_schema_field_t part_fields[] = {
    NUMBER(yaml_part, format),
    NUMBER(yaml_part, step),
    NUMBER(yaml_part, server),
    NUMBER(yaml_part, shard),
    NUMBER(yaml_part, base),
    TEXT(yaml_part, base_xxh3, MANIFEST_CHECKSUM_BYTES - 1),
    LIST(yaml_part, tables, &table_schema, SHARD_TABLES_MAX),
    LIST(yaml_part, files, &entry_schema, PART_FILES(SHARD_TABLES_MAX)),
    CYAML_FIELD_END,
};
const cyaml_schema_value_t manifest_part_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct yaml_part, part_fields),
};

static const cyaml_schema_field_t step_fields[] = {
    NUMBER(yaml_step, format),
    NUMBER(yaml_step, step),
    NUMBER(yaml_step, base), /* 0: none */
    LIST(yaml_step, parts, &entry_schema, CHECKPOINT_PARTS_MAX),
    CYAML_FIELD_END,
};
const cyaml_schema_value_t manifest_step_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct yaml_step, step_fields),
};
