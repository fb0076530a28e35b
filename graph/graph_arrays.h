/* The arrays of a partition folder: which exist for a given metadata.yaml, their types and shapes.
 * The one list that reading, writing and checking share. */
#ifndef ANTHILL_GRAPH_GRAPH_ARRAYS_H
#define ANTHILL_GRAPH_GRAPH_ARRAYS_H

#include "graph/graph_metadata.h"

enum graph_array {
    ARRAY_NODE_IDS,
    ARRAY_INDPTR,
    ARRAY_INDICES,
    ARRAY_HALO,
    ARRAY_EDGE_TYPE,
    ARRAY_EDGE_WEIGHT,
    ARRAY_EDGE_TIME,
    ARRAY_EDGE_SPLIT,
    ARRAY_NODE_FEAT,
    ARRAY_FEAT_INDPTR,
    ARRAY_FEAT_COLUMNS,
    ARRAY_FEAT_VALUES,
    ARRAY_LABEL,
    ARRAY_SPLIT,
    ARRAY_NAME_OFFSETS,
    ARRAY_COUNT
};

struct graph_array_shape {
    const char *name; /* "indptr.npy" */
    enum npy_type type;
    unsigned dims;
    uint64_t shape[NPY_DIMS_MAX];
};

/* Beside the arrays: the node names themselves, one a line. */
#define GRAPH_NAMES_FILE "names.txt"

/* False when a graph with this metadata has no such array; `shape` is filled all the same. */
bool graph_array_shape(const struct graph_metadata *metadata, uint32_t partition,
                       enum graph_array array, struct graph_array_shape *shape);

#endif
