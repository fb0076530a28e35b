#include "graph/graph_metadata.h"

#include <cyaml/cyaml.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/checksum.h"
#include "common/file.h"

#define METADATA_BYTES_MAX (64u << 20)
#define TEXT_MAX           CYAML_UNLIMITED

static const cyaml_strval_t id_names[] = {{"number", GRAPH_IDS_NUMBER}, {"name", GRAPH_IDS_NAME}};
static const cyaml_strval_t feature_names[] = {{"none", GRAPH_FEATURES_NONE},
                                               {"dense", GRAPH_FEATURES_DENSE},
                                               {"sparse", GRAPH_FEATURES_SPARSE}};

#define UINT(type, field) CYAML_FIELD_UINT(#field, CYAML_FLAG_DEFAULT, type, field)
#define BOOL(type, field) CYAML_FIELD_BOOL(#field, CYAML_FLAG_DEFAULT, type, field)
#define STRING(type, field)                                                                        \
    CYAML_FIELD_STRING_PTR(#field, CYAML_FLAG_POINTER, type, field, 0, TEXT_MAX)
#define LIST(type, field, entry)                                                                   \
    CYAML_FIELD_SEQUENCE(#field, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, type, field, entry, 0,  \
                         CYAML_UNLIMITED)

static const cyaml_schema_field_t file_fields[] = {
    STRING(struct graph_metadata_file, name), STRING(struct graph_metadata_file, type),
    UINT(struct graph_metadata_file, bytes), STRING(struct graph_metadata_file, xxh3),
    CYAML_FIELD_END};
static const cyaml_schema_value_t file_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_FLOW, struct graph_metadata_file, file_fields)};

static const cyaml_schema_field_t partition_fields[] = {
    UINT(struct graph_metadata_partition, start),
    UINT(struct graph_metadata_partition, end),
    UINT(struct graph_metadata_partition, edge_count),
    UINT(struct graph_metadata_partition, halo_count),
    UINT(struct graph_metadata_partition, value_count),
    LIST(struct graph_metadata_partition, files, &file_value),
    CYAML_FIELD_END};
static const cyaml_schema_value_t partition_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct graph_metadata_partition, partition_fields)};

static const cyaml_schema_field_t type_fields[] = {
    STRING(struct graph_metadata_type, name), BOOL(struct graph_metadata_type, inverse),
    UINT(struct graph_metadata_type, edge_count), CYAML_FIELD_END};
static const cyaml_schema_value_t type_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_FLOW, struct graph_metadata_type, type_fields)};

static const cyaml_schema_field_t source_fields[] = {
    STRING(struct graph_metadata_source, path), UINT(struct graph_metadata_source, bytes),
    UINT(struct graph_metadata_source, mtime_ns), CYAML_FIELD_END};
static const cyaml_schema_value_t source_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_FLOW, struct graph_metadata_source, source_fields)};

static const cyaml_schema_value_t class_value = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, TEXT_MAX)};

static const cyaml_schema_field_t metadata_fields[] = {
    STRING(struct graph_metadata, format),
    UINT(struct graph_metadata, version),
    STRING(struct graph_metadata, arguments),
    LIST(struct graph_metadata, sources, &source_value),
    UINT(struct graph_metadata, node_count),
    UINT(struct graph_metadata, edge_count),
    CYAML_FIELD_ENUM("ids", CYAML_FLAG_STRICT, struct graph_metadata, ids, id_names, 2),
    BOOL(struct graph_metadata, typed),
    BOOL(struct graph_metadata, weighted),
    BOOL(struct graph_metadata, timed),
    BOOL(struct graph_metadata, edge_split),
    LIST(struct graph_metadata, edge_types, &type_value),
    CYAML_FIELD_ENUM("features", CYAML_FLAG_STRICT, struct graph_metadata, features, feature_names,
                     3),
    UINT(struct graph_metadata, feature_dim),
    BOOL(struct graph_metadata, labels),
    UINT(struct graph_metadata, class_count),
    LIST(struct graph_metadata, class_names, &class_value),
    UINT(struct graph_metadata, split_count),
    LIST(struct graph_metadata, partitions, &partition_value),
    CYAML_FIELD_END};
static const cyaml_schema_value_t metadata_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct graph_metadata, metadata_fields)};

/* libcyaml tells what is wrong by log lines, the cause first and then where it stands. */
struct complaint {
    char text[512];
    size_t used;
};

__attribute__((format(printf, 3, 0))) static void complaint_log(cyaml_log_t level, void *context,
                                                                const char *format, va_list args)
{
    struct complaint *complaint = context;
    if (level < CYAML_LOG_ERROR) return;
    if (complaint->used + 2 >= sizeof complaint->text) return;
    char *end = complaint->text + complaint->used;
    size_t room = sizeof complaint->text - complaint->used;
    int count = vsnprintf(end, room, format, args);
    if (count < 0) return;
    complaint->used += (size_t)count < room ? (size_t)count : room - 1;
    for (char *c = end; *c != '\0'; c++)
        if (*c == '\n') *c = ' ';
}

static cyaml_config_t config_make(struct complaint *complaint)
{
    *complaint = (struct complaint){.text = ""};
    return (cyaml_config_t){.log_fn = complaint_log,
                            .log_ctx = complaint,
                            .mem_fn = cyaml_mem,
                            .log_level = CYAML_LOG_ERROR,
                            .flags = CYAML_CFG_NO_ALIAS};
}

static enum status metadata_consistent(const struct graph_metadata *metadata, struct error *error)
{
    if (strcmp(metadata->format, "anthill-graph") != 0) {
        return error_set(error, STATUS_CORRUPT, "format is \"%s\", expected \"anthill-graph\"",
                         metadata->format);
    }
    if (metadata->version != GRAPH_METADATA_VERSION) {
        return error_set(error, STATUS_CORRUPT, "version %u, this program reads version %u",
                         metadata->version, GRAPH_METADATA_VERSION);
    }
    if (metadata->partitions_count == 0) {
        return error_set(error, STATUS_CORRUPT, "there are no partitions");
    }
    if (metadata->edge_types_count == 0 || metadata->edge_types_count > UINT16_MAX + 1u) {
        return error_set(error, STATUS_CORRUPT, "%u edge types, expected 1 to 65536",
                         metadata->edge_types_count);
    }
    if (metadata->class_names_count != 0 && metadata->class_names_count != metadata->class_count) {
        return error_set(error, STATUS_CORRUPT, "%u class names for %u classes",
                         metadata->class_names_count, metadata->class_count);
    }
    if ((metadata->features == GRAPH_FEATURES_NONE) != (metadata->feature_dim == 0)) {
        return error_set(error, STATUS_CORRUPT, "feature_dim %u does not fit the kind of features",
                         metadata->feature_dim);
    }
    uint64_t next = 0, edges = 0;
    for (uint32_t p = 0; p < metadata->partitions_count; p++) {
        const struct graph_metadata_partition *partition = &metadata->partitions[p];
        uint64_t inner = partition->end - partition->start;
        if (partition->start != next || partition->end < partition->start ||
            inner + partition->halo_count > UINT32_MAX || partition->halo_count > UINT32_MAX) {
            return error_set(error, STATUS_CORRUPT,
                             "partition %u has the range [%llu, %llu) with %llu halo nodes", p,
                             (unsigned long long)partition->start,
                             (unsigned long long)partition->end,
                             (unsigned long long)partition->halo_count);
        }
        next = partition->end;
        edges += partition->edge_count;
    }
    if (next != metadata->node_count || edges != metadata->edge_count) {
        return error_set(error, STATUS_CORRUPT,
                         "partitions have %llu nodes and %llu edges, expected %llu and %llu",
                         (unsigned long long)next, (unsigned long long)edges,
                         (unsigned long long)metadata->node_count,
                         (unsigned long long)metadata->edge_count);
    }
    return STATUS_OK;
}

enum status graph_metadata_load(struct graph_metadata **metadata, const char *folder,
                                uint64_t *checksum, struct error *error)
{
    char path[FILE_PATH_BYTES];
    char *data = NULL;
    size_t bytes = 0;
    *metadata = NULL;
    enum status status = file_path(path, error, "%s/metadata.yaml", folder);
    if (status != STATUS_OK) return status;
    status = file_read_all(path, METADATA_BYTES_MAX, &data, &bytes, error);
    if (status != STATUS_OK) return status;
    struct complaint complaint;
    cyaml_config_t config = config_make(&complaint);
    cyaml_err_t failure = cyaml_load_data((const uint8_t *)data, bytes, &config, &metadata_schema,
                                          (cyaml_data_t **)metadata, NULL);
    if (failure != CYAML_OK || *metadata == NULL) {
        *metadata = NULL;
        status = error_set(error, STATUS_CORRUPT, "%s: %s: %s", path,
                           failure == CYAML_OK ? "the file is empty" : cyaml_strerror(failure),
                           complaint.text);
        goto out;
    }
    if (checksum != NULL) *checksum = checksum_bytes(data, bytes);
    status = metadata_consistent(*metadata, error);
    if (status != STATUS_OK) {
        error_wrap(error, status, "%s", path);
        graph_metadata_destroy(*metadata);
        *metadata = NULL;
    }
out:
    free(data);
    return status;
}

void graph_metadata_destroy(struct graph_metadata *metadata)
{
    if (metadata == NULL) return;
    struct complaint complaint;
    cyaml_config_t config = config_make(&complaint);
    cyaml_free(&config, &metadata_schema, metadata, 0);
}

enum status graph_metadata_save(const struct graph_metadata *metadata, const char *folder,
                                struct error *error)
{
    char path[FILE_PATH_BYTES];
    char *data = NULL;
    size_t bytes = 0;
    enum status status = file_path(path, error, "%s/metadata.yaml", folder);
    if (status != STATUS_OK) return status;
    struct complaint complaint;
    cyaml_config_t config = config_make(&complaint);
    cyaml_err_t failure = cyaml_save_data(&data, &bytes, &config, &metadata_schema, metadata, 0);
    if (failure != CYAML_OK) {
        return error_set(error, STATUS_INVALID,
                         "%s: cannot be written: %s: %s (are all names UTF-8?)", path,
                         cyaml_strerror(failure), complaint.text);
    }
    status = file_write_atomic(path, data, bytes, error);
    free(data);
    return status;
}

char *graph_metadata_string(const char *string)
{
    char *copy = strdup(string);
    CHECK(copy != NULL);
    return copy;
}

const struct graph_metadata_file *
graph_metadata_file(const struct graph_metadata_partition *partition, const char *name)
{
    for (uint32_t i = 0; i < partition->files_count; i++)
        if (strcmp(partition->files[i].name, name) == 0) return &partition->files[i];
    return NULL;
}
