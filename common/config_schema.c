#include "common/config_schema.h"

#include <string.h>

#include "common/config.h"

/* The type of a section, which has no name of its own. */
#define SECTION(name) __typeof__(((struct config *)NULL)->name)

/* Every key may be missing in a file: conf/defaults.yaml has them all. */
#define OPTIONAL             CYAML_FLAG_OPTIONAL
#define UINT(section, name)  CYAML_FIELD_UINT(#name, OPTIONAL, SECTION(section), name)
#define FLOAT(section, name) CYAML_FIELD_FLOAT(#name, OPTIONAL, SECTION(section), name)
#define BOOL(section, name)  CYAML_FIELD_BOOL(#name, OPTIONAL, SECTION(section), name)
#define STRING(section, name)                                                                      \
    CYAML_FIELD_STRING_PTR(#name, OPTIONAL, SECTION(section), name, 0, CYAML_UNLIMITED)
#define ENUM(section, name, values)                                                                \
    CYAML_FIELD_ENUM(#name, OPTIONAL | CYAML_FLAG_STRICT, SECTION(section), name, values,          \
                     CYAML_ARRAY_LEN(values))
#define SEQUENCE(section, name, entry)                                                             \
    CYAML_FIELD_SEQUENCE(#name, OPTIONAL | CYAML_FLAG_POINTER, SECTION(section), name, &(entry),   \
                         0, CYAML_UNLIMITED)
#define MAPPING(name) CYAML_FIELD_MAPPING(#name, OPTIONAL, struct config, name, name##_fields)

static const cyaml_strval_t layer_types[] = {{"linear", LAYER_LINEAR},
                                             {"dropout", LAYER_DROPOUT},
                                             {"relu", LAYER_RELU},
                                             {"sage", LAYER_SAGE},
                                             {"gcn", LAYER_GCN}};
static const cyaml_strval_t aggregates[] = {
    {"mean", AGGREGATE_MEAN}, {"sum", AGGREGATE_SUM}, {"max", AGGREGATE_MAX}};
static const cyaml_strval_t relations[] = {
    {"all", RELATIONS_ALL}, {"direction", RELATIONS_DIRECTION}, {"type", RELATIONS_TYPE}};
static const cyaml_strval_t optimizers[] = {
    {"sgd", CONFIG_SGD},         {"momentum", CONFIG_MOMENTUM},
    {"adagrad", CONFIG_ADAGRAD}, {"rowwise_adagrad", CONFIG_ROWWISE_ADAGRAD},
    {"adam", CONFIG_ADAM},       {"adamw", CONFIG_ADAMW},
    {"ftrl", CONFIG_FTRL}};
static const cyaml_strval_t storages[] = {{"f32", CONFIG_F32}, {"bf16", CONFIG_BF16}};
static const cyaml_strval_t encodings[] = {
    {"f32", CONFIG_F32}, {"bf16", CONFIG_BF16}, {"int8", CONFIG_INT8}};
static const cyaml_strval_t evictions[] = {
    {"none", CONFIG_EVICT_NONE}, {"age", CONFIG_EVICT_AGE}, {"score", CONFIG_EVICT_SCORE}};
static const cyaml_strval_t schedules[] = {
    {"constant", SCHEDULE_CONSTANT}, {"linear", SCHEDULE_LINEAR}, {"cosine", SCHEDULE_COSINE}};
static const cyaml_strval_t modes[] = {
    {"async", CONFIG_ASYNC}, {"ssp", CONFIG_SSP}, {"bsp", CONFIG_BSP}};
static const cyaml_strval_t transports[] = {{"ipc", CONFIG_IPC}, {"tcp", CONFIG_TCP}};
static const cyaml_strval_t tasks[] = {{"node-classification", TASK_NODE_CLASSIFICATION}};

static const cyaml_schema_value_t string_entry = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char *, 0, CYAML_UNLIMITED)};
static const cyaml_schema_value_t fanout_entry = {CYAML_VALUE_INT(CYAML_FLAG_DEFAULT, int32_t)};

static const cyaml_schema_field_t layer_fields[] = {
    CYAML_FIELD_ENUM("type", CYAML_FLAG_STRICT, struct config_layer, type, layer_types,
                     CYAML_ARRAY_LEN(layer_types)),
    CYAML_FIELD_UINT("units", OPTIONAL, struct config_layer, units),
    CYAML_FIELD_FLOAT("rate", OPTIONAL, struct config_layer, rate),
    CYAML_FIELD_ENUM("aggregate", OPTIONAL | CYAML_FLAG_STRICT, struct config_layer, aggregate,
                     aggregates, CYAML_ARRAY_LEN(aggregates)),
    CYAML_FIELD_ENUM("relations", OPTIONAL | CYAML_FLAG_STRICT, struct config_layer, relations,
                     relations, CYAML_ARRAY_LEN(relations)),
    CYAML_FIELD_BOOL("no_bias", OPTIONAL, struct config_layer, no_bias),
    CYAML_FIELD_FLOAT("weight_decay", OPTIONAL, struct config_layer, weight_decay),
    CYAML_FIELD_END};
static const cyaml_schema_value_t layer_entry = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_FLOW, struct config_layer, layer_fields)};

static const cyaml_schema_field_t run_fields[] = {STRING(run, name),
                                                  STRING(run, dir),
                                                  UINT(run, seed),
                                                  STRING(run, baseline_name),
                                                  SEQUENCE(run, baseline, string_entry),
                                                  CYAML_FIELD_END};
static const cyaml_schema_field_t graph_fields[] = {STRING(graph, path), STRING(graph, import),
                                                    BOOL(graph, edges), UINT(graph, split),
                                                    CYAML_FIELD_END};
static const cyaml_schema_field_t sampler_fields[] = {SEQUENCE(sampler, fanouts, fanout_entry),
                                                      CYAML_FIELD_END};
static const cyaml_schema_field_t model_fields[] = {
    UINT(model, embedding), SEQUENCE(model, layers, layer_entry), CYAML_FIELD_END};
static const cyaml_schema_field_t task_fields[] = {ENUM(task, type, tasks), CYAML_FIELD_END};
static const cyaml_schema_field_t train_fields[] = {
    UINT(train, epochs),   UINT(train, batch),     UINT(train, lease), UINT(train, evaluate_every),
    UINT(train, patience), STRING(train, monitor), CYAML_FIELD_END};
static const cyaml_schema_field_t optimizer_fields[] = {ENUM(optimizer, type, optimizers),
                                                        FLOAT(optimizer, rate),
                                                        FLOAT(optimizer, beta1),
                                                        FLOAT(optimizer, beta2),
                                                        FLOAT(optimizer, epsilon),
                                                        FLOAT(optimizer, momentum),
                                                        FLOAT(optimizer, l1),
                                                        FLOAT(optimizer, l2),
                                                        FLOAT(optimizer, ftrl_beta),
                                                        FLOAT(optimizer, clip_value),
                                                        FLOAT(optimizer, clip_norm),
                                                        ENUM(optimizer, schedule, schedules),
                                                        FLOAT(optimizer, warmup),
                                                        FLOAT(optimizer, rate_final),
                                                        FLOAT(optimizer, embedding_rate),
                                                        CYAML_FIELD_END};
static const cyaml_schema_field_t embeddings_fields[] = {ENUM(embeddings, optimizer, optimizers),
                                                         ENUM(embeddings, storage, storages),
                                                         ENUM(embeddings, wire, encodings),
                                                         UINT(embeddings, admit_after),
                                                         ENUM(embeddings, evict, evictions),
                                                         UINT(embeddings, evict_seconds),
                                                         UINT(embeddings, bytes_max),
                                                         UINT(embeddings, cache_rows),
                                                         UINT(embeddings, cache_behind),
                                                         BOOL(embeddings, look_ahead),
                                                         CYAML_FIELD_END};
static const cyaml_schema_field_t consistency_fields[] = {
    ENUM(consistency, mode, modes), UINT(consistency, staleness), BOOL(consistency, compensate),
    UINT(consistency, clock_batches), CYAML_FIELD_END};
static const cyaml_schema_field_t servers_fields[] = {
    UINT(servers, count),    UINT(servers, shards),   UINT(servers, slots),
    UINT(servers, replicas), UINT(servers, rows_max), CYAML_FIELD_END};
static const cyaml_schema_field_t workers_fields[] = {
    UINT(workers, count), FLOAT(workers, lease_seconds), CYAML_FIELD_END};
static const cyaml_schema_field_t checkpoint_fields[] = {FLOAT(checkpoint, every_seconds),
                                                         UINT(checkpoint, keep), CYAML_FIELD_END};
static const cyaml_schema_field_t network_fields[] = {
    ENUM(network, transport, transports), STRING(network, host), FLOAT(network, timeout_seconds),
    FLOAT(network, dead_seconds), CYAML_FIELD_END};
static const cyaml_schema_field_t expect_fields[] = {STRING(expect, metric), FLOAT(expect, value),
                                                     CYAML_FIELD_END};
static const cyaml_schema_field_t config_fields[] = {
    MAPPING(run),         MAPPING(graph),   MAPPING(sampler),   MAPPING(model),
    MAPPING(task),        MAPPING(train),   MAPPING(optimizer), MAPPING(embeddings),
    MAPPING(consistency), MAPPING(servers), MAPPING(workers),   MAPPING(checkpoint),
    MAPPING(network),     MAPPING(expect),  CYAML_FIELD_END};

const cyaml_schema_value_t config_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct config, config_fields)};

const cyaml_schema_field_t *config_schema_field(const cyaml_schema_value_t *mapping,
                                                const char *key, size_t bytes)
{
    for (const cyaml_schema_field_t *field = mapping->mapping.fields; field->key != NULL; field++) {
        if (strlen(field->key) == bytes && memcmp(field->key, key, bytes) == 0) return field;
    }
    return NULL;
}
