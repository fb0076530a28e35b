/* What stands behind `struct graph`: for the modules of this folder whose speed needs the arrays
 * themselves. Others use graph_store.h. */
#ifndef ANTHILL_GRAPH_GRAPH_MAPPING_H
#define ANTHILL_GRAPH_GRAPH_MAPPING_H

#include <stdatomic.h>

#include "common/check.h"
#include "common/file.h"
#include "graph/graph_arrays.h"
#include "graph/graph_store.h"

struct graph_partition {
    uint64_t start, end; /* global ids of the inner nodes */
    const uint64_t *indptr;
    const uint32_t *indices;
    const uint64_t *halo;
    const uint16_t *types;          /* NULL when untyped */
    const float *weights;           /* NULL when unweighted */
    const int64_t *times;           /* NULL when untimed */
    const uint8_t *edge_splits;     /* NULL when edges have no split */
    const float *dense;             /* NULL unless features are dense */
    const uint64_t *feature_indptr; /* NULL unless features are sparse */
    const uint32_t *feature_columns;
    const float *feature_values;
    const int32_t *labels; /* NULL without labels */
    const uint8_t *splits; /* [inner, split_count] or NULL */
    const uint64_t *node_ids;
    const uint64_t *name_offsets; /* NULL where ids are numbers */
    struct npy arrays[ARRAY_COUNT];
    struct file_map names;
};

struct graph_split_lists {
    uint64_t *ids[GRAPH_SPLIT_NONE + 1];
    uint64_t counts[GRAPH_SPLIT_NONE + 1];
};

struct graph {
    struct graph_metadata *metadata;
    struct graph_info info;
    struct graph_edge_type *edge_types;
    struct graph_partition *partitions;
    uint32_t partition_count;
    uint32_t split;
    _Atomic(struct graph_split_lists *) split_lists; /* NULL until somebody asks */
};

/* The partition that owns `node`: binary search over the range starts. */
static inline uint32_t graph_owner(const struct graph *graph, uint64_t node)
{
    uint32_t low = 0, high = graph->partition_count;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (graph->partitions[middle].start <= node)
            low = middle;
        else
            high = middle;
    }
    /* Empty partitions share their start with the next one, which is the owner. */
    return low;
}

static inline const struct graph_partition *graph_home(const struct graph *graph, uint64_t node,
                                                       uint64_t *row)
{
    const struct graph_partition *partition = &graph->partitions[graph_owner(graph, node)];
    *row = node - partition->start;
    return partition;
}

#endif
