#include "graph/graph_store.h"

#include <stdlib.h>
#include <string.h>

#include "graph/graph_mapping.h"

/* Rows ahead of the one being copied whose memory is asked for. */
#define PREFETCH_ROWS 8
#define LINE_BYTES    64

static enum status array_open(struct graph *graph, const char *folder, uint32_t p,
                              enum graph_array array, struct error *error)
{
    struct graph_array_shape shape;
    char path[FILE_PATH_BYTES];
    if (!graph_array_shape(graph->metadata, p, array, &shape)) return STATUS_OK;
    enum status status = file_path(path, error, "%s/part-%u/%s", folder, p, shape.name);
    if (status != STATUS_OK) return status;
    if (graph_metadata_file(&graph->metadata->partitions[p], shape.name) == NULL) {
        return error_set(error, STATUS_CORRUPT, "%s: metadata.yaml does not list it", path);
    }
    return npy_open_as(&graph->partitions[p].arrays[array], path, shape.type, shape.dims,
                       shape.shape, error);
}

static void partition_point(struct graph_partition *partition)
{
    const struct npy *arrays = partition->arrays;
    partition->indptr = arrays[ARRAY_INDPTR].data;
    partition->indices = arrays[ARRAY_INDICES].data;
    partition->halo = arrays[ARRAY_HALO].data;
    partition->types = arrays[ARRAY_EDGE_TYPE].data;
    partition->weights = arrays[ARRAY_EDGE_WEIGHT].data;
    partition->times = arrays[ARRAY_EDGE_TIME].data;
    partition->edge_splits = arrays[ARRAY_EDGE_SPLIT].data;
    partition->dense = arrays[ARRAY_NODE_FEAT].data;
    partition->feature_indptr = arrays[ARRAY_FEAT_INDPTR].data;
    partition->feature_columns = arrays[ARRAY_FEAT_COLUMNS].data;
    partition->feature_values = arrays[ARRAY_FEAT_VALUES].data;
    partition->labels = arrays[ARRAY_LABEL].data;
    partition->splits = arrays[ARRAY_SPLIT].data;
    partition->node_ids = arrays[ARRAY_NODE_IDS].data;
    partition->name_offsets = arrays[ARRAY_NAME_OFFSETS].data;
}

/* The first and last entry of a row index: the cheapest sign of a file from somewhere else. */
static enum status indptr_ends(const uint64_t *indptr, uint64_t rows, uint64_t expected,
                               const char *folder, uint32_t p, const char *name,
                               struct error *error)
{
    if (indptr == NULL || (indptr[0] == 0 && indptr[rows] == expected)) return STATUS_OK;
    return error_set(error, STATUS_CORRUPT,
                     "%s/part-%u/%s: runs from %llu to %llu, expected 0 to %llu", folder, p, name,
                     (unsigned long long)indptr[0], (unsigned long long)indptr[rows],
                     (unsigned long long)expected);
}

static enum status partition_open(struct graph *graph, const char *folder, uint32_t p,
                                  struct error *error)
{
    const struct graph_metadata_partition *meta = &graph->metadata->partitions[p];
    struct graph_partition *partition = &graph->partitions[p];
    partition->start = meta->start;
    partition->end = meta->end;
    enum status status = STATUS_OK;
    for (int array = 0; array < ARRAY_COUNT && status == STATUS_OK; array++)
        status = array_open(graph, folder, p, (enum graph_array)array, error);
    if (status != STATUS_OK) return status;
    partition_point(partition);
    const uint64_t inner = meta->end - meta->start;
    status =
        indptr_ends(partition->indptr, inner, meta->edge_count, folder, p, "indptr.npy", error);
    if (status != STATUS_OK) return status;
    status = indptr_ends(partition->feature_indptr, inner, meta->value_count, folder, p,
                         "feat_indptr.npy", error);
    if (status != STATUS_OK || graph->metadata->ids != GRAPH_IDS_NAME) return status;
    char path[FILE_PATH_BYTES];
    status = file_path(path, error, "%s/part-%u/" GRAPH_NAMES_FILE, folder, p);
    if (status != STATUS_OK) return status;
    status = file_map_open(&partition->names, path, error);
    if (status != STATUS_OK) return status;
    return indptr_ends(partition->name_offsets, inner, partition->names.bytes, folder, p,
                       "name_offsets.npy", error);
}

static void info_fill(struct graph *graph, uint64_t checksum)
{
    const struct graph_metadata *metadata = graph->metadata;
    for (uint32_t t = 0; t < metadata->edge_types_count; t++) {
        graph->edge_types[t] = (struct graph_edge_type){.name = metadata->edge_types[t].name,
                                                        .inverse = metadata->edge_types[t].inverse};
    }
    graph->info = (struct graph_info){
        .node_count = metadata->node_count,
        .edge_count = metadata->edge_count,
        .partition_count = metadata->partitions_count,
        .edge_type_count = metadata->edge_types_count,
        .edge_types = graph->edge_types,
        .has_edge_weight = metadata->weighted,
        .has_edge_time = metadata->timed,
        .has_labels = metadata->labels,
        .has_split = metadata->split_count > 0,
        .features = metadata->features,
        .feature_dim = metadata->feature_dim,
        .class_count = metadata->class_count,
        .class_names =
            metadata->class_names_count > 0 ? (const char *const *)metadata->class_names : NULL,
        .split_count = metadata->split_count,
        .checksum = checksum,
    };
}

enum status graph_open(struct graph **out, const char *path, uint32_t split, struct error *error)
{
    uint64_t checksum = 0;
    *out = NULL;
    struct graph *graph = calloc(1, sizeof *graph);
    CHECK(graph != NULL);
    enum status status = graph_metadata_load(&graph->metadata, path, &checksum, error);
    if (status != STATUS_OK) goto out;
    const struct graph_metadata *metadata = graph->metadata;
    if (split > 0 && split >= metadata->split_count) {
        status = error_set(error, STATUS_CONFIG, "%s: split %u does not exist: the graph has %u",
                           path, split, metadata->split_count);
        goto out;
    }
    graph->split = split;
    graph->edge_types = calloc(metadata->edge_types_count, sizeof *graph->edge_types);
    graph->partitions = calloc(metadata->partitions_count, sizeof *graph->partitions);
    CHECK(graph->edge_types != NULL && graph->partitions != NULL);
    graph->partition_count = metadata->partitions_count;
    for (uint32_t p = 0; p < graph->partition_count; p++) {
        status = partition_open(graph, path, p, error);
        if (status != STATUS_OK) goto out;
    }
    info_fill(graph, checksum);
    *out = graph;
out:
    if (status != STATUS_OK) graph_close(graph);
    return status;
}

static void split_lists_destroy(struct graph_split_lists *lists)
{
    if (lists == NULL) return;
    for (int split = 0; split <= GRAPH_SPLIT_NONE; split++)
        free(lists->ids[split]);
    free(lists);
}

void graph_close(struct graph *graph)
{
    if (graph == NULL) return;
    for (uint32_t p = 0; p < graph->partition_count; p++) {
        for (int array = 0; array < ARRAY_COUNT; array++)
            npy_close(&graph->partitions[p].arrays[array]);
        if (graph->partitions[p].names.data != NULL) file_map_close(&graph->partitions[p].names);
    }
    split_lists_destroy(atomic_load(&graph->split_lists));
    free(graph->partitions);
    free(graph->edge_types);
    graph_metadata_destroy(graph->metadata);
    free(graph);
}

const struct graph_info *graph_info(const struct graph *graph)
{
    return &graph->info;
}

struct graph_neighbors graph_neighbors(const struct graph *graph, uint64_t node)
{
    CHECK(node < graph->info.node_count);
    uint32_t p = graph_owner(graph, node);
    const struct graph_partition *partition = &graph->partitions[p];
    uint64_t first = partition->indptr[node - partition->start];
    uint64_t end = partition->indptr[node - partition->start + 1];
    return (struct graph_neighbors){
        .indices = partition->indices + first,
        .types = partition->types != NULL ? partition->types + first : NULL,
        .weights = partition->weights != NULL ? partition->weights + first : NULL,
        .times = partition->times != NULL ? partition->times + first : NULL,
        .count = end - first,
        .partition = p};
}

uint64_t graph_global(const struct graph *graph, uint32_t partition, uint32_t index)
{
    CHECK(partition < graph->partition_count);
    const struct graph_partition *home = &graph->partitions[partition];
    uint64_t inner = home->end - home->start;
    return index < inner ? home->start + index : home->halo[index - inner];
}

uint64_t graph_degree(const struct graph *graph, uint64_t node)
{
    uint64_t row;
    const struct graph_partition *partition = graph_home(graph, node, &row);
    return partition->indptr[row + 1] - partition->indptr[row];
}

/* Values past test count as "none": contents are not checked at opening. */
static unsigned split_code(uint8_t value)
{
    return value < GRAPH_SPLIT_NONE ? value : GRAPH_SPLIT_NONE;
}

static struct graph_split_lists *split_lists_create(const struct graph *graph)
{
    struct graph_split_lists *lists = calloc(1, sizeof *lists);
    CHECK(lists != NULL);
    const uint32_t columns = graph->info.split_count;
    uint64_t used[GRAPH_SPLIT_NONE + 1] = {0};
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t p = 0; p < graph->partition_count; p++) {
            const struct graph_partition *partition = &graph->partitions[p];
            if (partition->splits == NULL) continue;
            const uint8_t *codes = partition->splits + graph->split;
            for (uint64_t node = partition->start; node < partition->end; node++) {
                unsigned code = split_code(codes[(node - partition->start) * columns]);
                if (pass == 0)
                    lists->counts[code]++;
                else
                    lists->ids[code][used[code]++] = node;
            }
        }
        for (int code = 0; pass == 0 && code <= GRAPH_SPLIT_NONE; code++) {
            lists->ids[code] = malloc((lists->counts[code] + 1) * sizeof(uint64_t));
            CHECK(lists->ids[code] != NULL);
        }
    }
    return lists;
}

const uint64_t *graph_split_ids(const struct graph *graph, enum graph_split split, uint64_t *count)
{
    CHECK((unsigned)split <= GRAPH_SPLIT_NONE);
    /* The lists are a cache: logically the graph stays as it is. Of several threads that ask
     * first, one wins and the others throw theirs away. */
    struct graph *cache = (struct graph *)graph;
    struct graph_split_lists *lists = atomic_load(&cache->split_lists);
    if (lists == NULL) {
        struct graph_split_lists *mine = split_lists_create(graph);
        if (atomic_compare_exchange_strong(&cache->split_lists, &lists, mine))
            lists = mine;
        else
            split_lists_destroy(mine);
    }
    *count = lists->counts[split];
    return lists->ids[split];
}

void graph_labels(const struct graph *graph, const uint64_t *nodes, uint64_t count, int32_t *labels)
{
    for (uint64_t i = 0; i < count; i++) {
        uint64_t row;
        const struct graph_partition *partition = graph_home(graph, nodes[i], &row);
        labels[i] = partition->labels != NULL ? partition->labels[row] : -1;
    }
}

static const float *dense_row(const struct graph *graph, uint64_t node)
{
    uint64_t row;
    const struct graph_partition *partition = graph_home(graph, node, &row);
    return partition->dense + row * graph->info.feature_dim;
}

static void gather_dense(const struct graph *graph, const uint64_t *nodes, uint32_t count,
                         struct arena *arena, struct feature_rows *rows)
{
    const uint32_t dim = graph->info.feature_dim;
    const size_t row_bytes = dim * sizeof(float);
    float *dense = ARENA_ARRAY(arena, float, (size_t)count *dim);
    for (uint32_t i = 0; i < count; i++) {
        if (i + PREFETCH_ROWS < count) {
            const char *ahead = (const char *)dense_row(graph, nodes[i + PREFETCH_ROWS]);
            for (size_t byte = 0; byte < row_bytes; byte += LINE_BYTES)
                __builtin_prefetch(ahead + byte);
        }
        memcpy(dense + (size_t)i * dim, dense_row(graph, nodes[i]), row_bytes);
    }
    rows->dense = dense;
}

static void gather_sparse(const struct graph *graph, const uint64_t *nodes, uint32_t count,
                          struct arena *arena, struct feature_rows *rows)
{
    uint32_t *indptr = ARENA_ARRAY(arena, uint32_t, (size_t)count + 1);
    uint64_t total = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t row;
        if (i + PREFETCH_ROWS < count) {
            const struct graph_partition *ahead = graph_home(graph, nodes[i + PREFETCH_ROWS], &row);
            __builtin_prefetch(&ahead->feature_indptr[row]);
        }
        const struct graph_partition *partition = graph_home(graph, nodes[i], &row);
        uint64_t first = partition->feature_indptr[row];
        __builtin_prefetch(&partition->feature_columns[first]);
        __builtin_prefetch(&partition->feature_values[first]);
        indptr[i] = (uint32_t)total;
        total += partition->feature_indptr[row + 1] - first;
        CHECK(total <= UINT32_MAX);
    }
    indptr[count] = (uint32_t)total;
    uint32_t *columns = ARENA_ARRAY(arena, uint32_t, total);
    float *values = ARENA_ARRAY(arena, float, total);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t row;
        const struct graph_partition *partition = graph_home(graph, nodes[i], &row);
        uint64_t first = partition->feature_indptr[row];
        size_t length = indptr[i + 1] - indptr[i];
        memcpy(columns + indptr[i], partition->feature_columns + first, length * sizeof *columns);
        memcpy(values + indptr[i], partition->feature_values + first, length * sizeof *values);
    }
    rows->indptr = indptr;
    rows->columns = columns;
    rows->values = values;
}

void graph_features(const struct graph *graph, const uint64_t *nodes, uint32_t count,
                    struct arena *arena, struct feature_rows *rows)
{
    *rows = (struct feature_rows){.count = count, .dim = graph->info.feature_dim};
    if (graph->info.features == GRAPH_FEATURES_DENSE)
        gather_dense(graph, nodes, count, arena, rows);
    else if (graph->info.features == GRAPH_FEATURES_SPARSE)
        gather_sparse(graph, nodes, count, arena, rows);
}

uint64_t graph_external_id(const struct graph *graph, uint64_t node)
{
    CHECK(node < graph->info.node_count);
    uint64_t row;
    const struct graph_partition *partition = graph_home(graph, node, &row);
    return partition->node_ids[row];
}

const char *graph_node_name(const struct graph *graph, uint64_t node, uint32_t *bytes)
{
    CHECK(node < graph->info.node_count);
    uint64_t row;
    const struct graph_partition *partition = graph_home(graph, node, &row);
    *bytes = 0;
    if (partition->name_offsets == NULL) return NULL;
    uint64_t first = partition->name_offsets[row], end = partition->name_offsets[row + 1];
    /* Each name ends in a line end, which is not part of it. */
    if (first >= end || end > partition->names.bytes) return "";
    *bytes = (uint32_t)(end - first - 1);
    return (const char *)partition->names.data + first;
}
