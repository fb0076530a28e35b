#include "graph/graph_check.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/checksum.h"
#include "common/program.h"
#include "graph/graph_mapping.h"
#include "graph/node_index.h"

struct check {
    const struct graph *graph;
    const char *path;
    uint32_t p;
    const struct graph_partition *partition;
    uint64_t inner, edges;
    struct error *error;
};

static const char *array_name(const struct check *check, enum graph_array array)
{
    struct graph_array_shape shape;
    (void)graph_array_shape(check->graph->metadata, check->p, array, &shape);
    return shape.name;
}

static enum status refuse(const struct check *check, enum graph_array array, uint64_t entry,
                          const char *reason)
{
    return error_set(check->error, STATUS_CORRUPT, "%s/part-%u/%s: entry %" PRIu64 " %s",
                     check->path, check->p, array_name(check, array), entry, reason);
}

static enum status file_check(const struct check *check, const struct graph_metadata_file *file)
{
    char path[FILE_PATH_BYTES], found[17];
    struct stat stat_of;
    uint64_t checksum = 0;
    if (program_stop_requested())
        return error_set(check->error, STATUS_STOPPED, "stopped by a signal");
    /* Names come from metadata.yaml: they must not lead elsewhere. */
    if (strchr(file->name, '/') != NULL) {
        return error_set(check->error, STATUS_CORRUPT, "%s/metadata.yaml: \"%s\" is no file name",
                         check->path, file->name);
    }
    enum status status =
        file_path(path, check->error, "%s/part-%u/%s", check->path, check->p, file->name);
    if (status != STATUS_OK) return status;
    if (stat(path, &stat_of) != 0)
        return error_set(check->error, STATUS_NOT_FOUND, "%s: is not there", path);
    if ((uint64_t)stat_of.st_size != file->bytes) {
        return error_set(check->error, STATUS_CORRUPT, "%s: %lld bytes, expected %" PRIu64, path,
                         (long long)stat_of.st_size, file->bytes);
    }
    status = checksum_file(path, &checksum, check->error);
    if (status != STATUS_OK) return status;
    snprintf(found, sizeof found, "%016" PRIx64, checksum);
    if (strcmp(found, file->xxh3) == 0) return STATUS_OK;
    return error_set(check->error, STATUS_CORRUPT, "%s: checksum %s, expected %s", path, found,
                     file->xxh3);
}

static enum status files_check(struct check *check, const struct graph_metadata *metadata)
{
    enum status status = STATUS_OK;
    for (uint32_t p = 0; p < metadata->partitions_count; p++) {
        check->p = p;
        for (uint32_t f = 0; f < metadata->partitions[p].files_count && status == STATUS_OK; f++)
            status = file_check(check, &metadata->partitions[p].files[f]);
    }
    return status;
}

/* A row index never goes down; its ends were checked at opening. */
static enum status rows_check(const struct check *check, enum graph_array array,
                              const uint64_t *indptr)
{
    for (uint64_t row = 0; indptr != NULL && row < check->inner; row++)
        if (indptr[row] > indptr[row + 1]) return refuse(check, array, row + 1, "goes down");
    return STATUS_OK;
}

static enum status halo_check(const struct check *check)
{
    const struct graph_partition *partition = check->partition;
    const uint64_t count = check->graph->metadata->partitions[check->p].halo_count;
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t node = partition->halo[i];
        if (i > 0 && node <= partition->halo[i - 1])
            return refuse(check, ARRAY_HALO, i, "is not greater than the one before");
        if (node >= check->graph->info.node_count)
            return refuse(check, ARRAY_HALO, i, "is no node");
        if (node >= partition->start && node < partition->end)
            return refuse(check, ARRAY_HALO, i, "is an inner node of the partition");
    }
    return STATUS_OK;
}

static enum status edges_check(const struct check *check, uint64_t *type_counts)
{
    const struct graph_partition *partition = check->partition;
    const struct graph_info *info = &check->graph->info;
    const uint64_t local = check->inner + check->graph->metadata->partitions[check->p].halo_count;
    for (uint64_t e = 0; e < check->edges; e++) {
        if (partition->indices[e] >= local)
            return refuse(check, ARRAY_INDICES, e, "is neither an inner nor a halo node");
        const uint16_t type = partition->types != NULL ? partition->types[e] : 0;
        if (type >= info->edge_type_count)
            return refuse(check, ARRAY_EDGE_TYPE, e, "is no edge type of metadata.yaml");
        type_counts[type]++;
        if (partition->weights != NULL && !isfinite(partition->weights[e]))
            return refuse(check, ARRAY_EDGE_WEIGHT, e, "is not finite");
        if (partition->edge_splits != NULL && partition->edge_splits[e] > GRAPH_SPLIT_NONE)
            return refuse(check, ARRAY_EDGE_SPLIT, e, "is no split, expected 0 to 3");
    }
    return STATUS_OK;
}

static enum status features_check(const struct check *check)
{
    const struct graph_partition *partition = check->partition;
    const uint32_t dim = check->graph->info.feature_dim;
    if (partition->dense != NULL) {
        for (uint64_t i = 0; i < check->inner * dim; i++)
            if (!isfinite(partition->dense[i]))
                return refuse(check, ARRAY_NODE_FEAT, i, "is not finite");
    }
    if (partition->feature_indptr == NULL) return STATUS_OK;
    for (uint64_t row = 0; row < check->inner; row++) {
        for (uint64_t i = partition->feature_indptr[row]; i < partition->feature_indptr[row + 1];
             i++) {
            if (partition->feature_columns[i] >= dim)
                return refuse(check, ARRAY_FEAT_COLUMNS, i, "is no feature column");
            if (i > partition->feature_indptr[row] &&
                partition->feature_columns[i] <= partition->feature_columns[i - 1])
                return refuse(check, ARRAY_FEAT_COLUMNS, i,
                              "is not greater than the one before in its row");
            if (!isfinite(partition->feature_values[i]))
                return refuse(check, ARRAY_FEAT_VALUES, i, "is not finite");
        }
    }
    return STATUS_OK;
}

static enum status nodes_check(const struct check *check, struct node_index *ids)
{
    const struct graph_partition *partition = check->partition;
    const struct graph_info *info = &check->graph->info;
    for (uint64_t row = 0; row < check->inner; row++) {
        const uint32_t before = node_index_count(ids);
        if (node_index_add_number(ids, partition->node_ids[row]) < before)
            return refuse(check, ARRAY_NODE_IDS, row, "is the id of another node too");
        if (partition->labels != NULL &&
            (partition->labels[row] < -1 || partition->labels[row] >= (int64_t)info->class_count))
            return refuse(check, ARRAY_LABEL, row, "is no class");
    }
    for (uint64_t i = 0; partition->splits != NULL && i < check->inner * info->split_count; i++)
        if (partition->splits[i] > GRAPH_SPLIT_NONE)
            return refuse(check, ARRAY_SPLIT, i, "is no split, expected 0 to 3");
    return STATUS_OK;
}

static enum status names_check(const struct check *check)
{
    const struct graph_partition *partition = check->partition;
    for (uint64_t row = 0; partition->name_offsets != NULL && row < check->inner; row++) {
        const uint64_t first = partition->name_offsets[row], end = partition->name_offsets[row + 1];
        if (end <= first || end > partition->names.bytes)
            return refuse(check, ARRAY_NAME_OFFSETS, row + 1, "is no end of a name");
        if (partition->names.data[end - 1] != '\n')
            return refuse(check, ARRAY_NAME_OFFSETS, row + 1,
                          "does not stand behind a line end of names.txt");
    }
    return STATUS_OK;
}

static enum status partition_check(struct check *check, struct node_index *ids,
                                   uint64_t *type_counts)
{
    check->partition = &check->graph->partitions[check->p];
    check->inner = check->partition->end - check->partition->start;
    check->edges = check->graph->metadata->partitions[check->p].edge_count;
    enum status status = rows_check(check, ARRAY_INDPTR, check->partition->indptr);
    if (status == STATUS_OK)
        status = rows_check(check, ARRAY_FEAT_INDPTR, check->partition->feature_indptr);
    if (status == STATUS_OK)
        status = rows_check(check, ARRAY_NAME_OFFSETS, check->partition->name_offsets);
    if (status == STATUS_OK) status = halo_check(check);
    if (status == STATUS_OK) status = edges_check(check, type_counts);
    if (status == STATUS_OK) status = features_check(check);
    if (status == STATUS_OK) status = nodes_check(check, ids);
    if (status == STATUS_OK) status = names_check(check);
    return status;
}

static enum status contents_check(struct check *check, const struct graph *graph)
{
    struct node_index *ids = node_index_create(false);
    uint64_t *type_counts = calloc(graph->info.edge_type_count, sizeof *type_counts);
    CHECK(type_counts != NULL);
    enum status status = STATUS_OK;
    for (check->p = 0; check->p < graph->partition_count && status == STATUS_OK; check->p++)
        status = partition_check(check, ids, type_counts);
    for (uint32_t t = 0; t < graph->info.edge_type_count && status == STATUS_OK; t++) {
        const struct graph_metadata_type *type = &graph->metadata->edge_types[t];
        if (type_counts[t] == type->edge_count) continue;
        status = error_set(check->error, STATUS_CORRUPT,
                           "%s/metadata.yaml: %" PRIu64 " edges of type %s, expected %" PRIu64,
                           check->path, type_counts[t], type->name, type->edge_count);
    }
    free(type_counts);
    node_index_destroy(ids);
    return status;
}

enum status graph_check(const char *path, struct error *error)
{
    struct check check = {.path = path, .error = error};
    struct graph_metadata *metadata = NULL;
    struct graph *graph = NULL;
    enum status status = graph_metadata_load(&metadata, path, NULL, error);
    if (status != STATUS_OK) return status;
    status = files_check(&check, metadata);
    graph_metadata_destroy(metadata);
    if (status != STATUS_OK) return status;
    status = graph_open(&graph, path, 0, error);
    if (status != STATUS_OK) return status;
    check.graph = graph;
    status = contents_check(&check, graph);
    graph_close(graph);
    return status;
}
