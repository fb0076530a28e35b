/* The one interface that samplers and workers see of a graph: a folder of memory-mapped arrays
 * (format: graph/README.md). Read-only after opening: any number of threads may read.
 * Does not sample, does not know models. */
#ifndef ANTHILL_GRAPH_GRAPH_STORE_H
#define ANTHILL_GRAPH_GRAPH_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/arena.h"
#include "common/error.h"

struct graph;

enum graph_features { GRAPH_FEATURES_NONE, GRAPH_FEATURES_DENSE, GRAPH_FEATURES_SPARSE };
enum graph_split { GRAPH_SPLIT_TRAIN, GRAPH_SPLIT_VALID, GRAPH_SPLIT_TEST, GRAPH_SPLIT_NONE };

struct graph_edge_type {
    const char *name;
    bool inverse; /* added at import: the same edges against their direction */
};

/* What metadata.yaml says. Borrowed from the graph. */
struct graph_info {
    uint64_t node_count, edge_count;
    uint32_t partition_count;
    uint32_t edge_type_count; /* 1 when edges have no types */
    const struct graph_edge_type *edge_types;
    bool has_edge_weight, has_edge_time, has_labels, has_split;
    enum graph_features features;
    uint32_t feature_dim;
    uint32_t class_count;
    const char *const *class_names; /* NULL when unnamed */
    uint32_t split_count;           /* columns of split.npy */
    uint64_t checksum;              /* of metadata.yaml: which graph this is */
};

/* Reads metadata and maps the arrays; their sizes and types are checked, not their contents
 * (`anthill-graph check` does that). `split` chooses the column of split.npy.
 *   errors   STATUS_NOT_FOUND, STATUS_CORRUPT with the file's name and the reason;
 *            STATUS_CONFIG when split >= split_count
 *   owner    returns owned; graph_close */
enum status graph_open(struct graph **graph, const char *path, uint32_t split,
                       struct error *error) MUST_CHECK;
void graph_close(struct graph *graph);

const struct graph_info *graph_info(const struct graph *graph);

/* The in-edges of one node, as pointers into the mapping: neighbour i is
 * graph_global(graph, view.partition, view.indices[i]). */
struct graph_neighbors {
    const uint32_t *indices; /* [count] partition-local: < inner count inner, else halo */
    const uint16_t *types;   /* [count] or NULL */
    const float *weights;    /* [count] or NULL */
    const int64_t *times;    /* [count] or NULL */
    uint64_t count;
    uint32_t partition;
};
/* node < node_count. */
struct graph_neighbors graph_neighbors(const struct graph *graph, uint64_t node);
uint64_t graph_global(const struct graph *graph, uint32_t partition, uint32_t index);
/* In-degree of a node. */
uint64_t graph_degree(const struct graph *graph, uint64_t node);

/* Node ids of one split, ascending. Borrowed from the graph. */
const uint64_t *graph_split_ids(const struct graph *graph, enum graph_split split, uint64_t *count);

/* labels[node_count_in]: the class of each node, -1 where unknown. */
void graph_labels(const struct graph *graph, const uint64_t *nodes, uint64_t count,
                  int32_t *labels);

/* Feature rows of some nodes: dense[count, dim], or CSR over feature columns. */
struct feature_rows {
    uint32_t count, dim;
    const float *dense;      /* [count, dim]; NULL when sparse */
    const uint32_t *indptr;  /* [count + 1]; NULL when dense */
    const uint32_t *columns; /* [indptr[count]] < dim */
    const float *values;     /* [indptr[count]] */
};
/* Gathers into the arena. */
void graph_features(const struct graph *graph, const uint64_t *nodes, uint32_t count,
                    struct arena *arena, struct feature_rows *rows);

/* The id that the imported data used; for output to people. */
uint64_t graph_external_id(const struct graph *graph, uint64_t node);
/* The name from the import's dictionary (names.txt), or NULL where ids were numbers. Borrowed,
 * `bytes` long, not zero-terminated. */
const char *graph_node_name(const struct graph *graph, uint64_t node, uint32_t *bytes);

#endif
