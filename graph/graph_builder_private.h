/* What graph_builder.c (filling) and graph_write.c (writing) share. */
#ifndef ANTHILL_GRAPH_GRAPH_BUILDER_PRIVATE_H
#define ANTHILL_GRAPH_GRAPH_BUILDER_PRIVATE_H

#include "common/file.h"
#include "graph/edge_file.h"
#include "graph/graph_builder.h"

/* One item a node; nodes beyond `count` have the fill byte everywhere. */
struct node_column {
    uint8_t *data;
    size_t item_bytes;
    uint64_t count, capacity;
    uint8_t fill;
};

/* Where a node's feature row stands in the temporary file; count UINT32_MAX: there is none. */
struct feature_place {
    uint64_t offset; /* bytes */
    uint32_t count;  /* values */
    uint32_t unused; /* keeps the struct free of padding */
};

struct feature_pair {
    uint32_t column;
    float value;
};

struct graph_builder {
    struct graph_options options;
    struct edge_layout layout;
    char out[FILE_PATH_BYTES]; /* without a slash at its end */
    char partial[FILE_PATH_BYTES], temporary[FILE_PATH_BYTES], features_path[FILE_PATH_BYTES];
    struct node_index *nodes;
    struct node_index *types, *classes;
    struct node_column inverse; /* uint8_t a type: 1 when marked */
    struct edge_file *edges;
    struct node_column labels;   /* int32_t */
    struct node_column splits;   /* uint8_t[split_count] */
    struct node_column features; /* struct feature_place */
    enum graph_features feature_kind;
    uint32_t feature_dim;
    int features_fd;
    uint64_t features_bytes; /* in the file and the buffer */
    uint8_t *features_buffer;
    size_t features_used;
    int32_t label_max;
    bool labelled;
    uint32_t split_count;
    struct graph_metadata *metadata; /* owned by malloc, like all that it holds */
};

/* The item of `node`, or the fill value where it was never set. */
const void *node_column_get(const struct node_column *column, uint64_t node, const void *fallback);

/* Ends the writing of feature rows. */
enum status graph_builder_features_flush(struct graph_builder *builder,
                                         struct error *error) MUST_CHECK;

/* Writes the arrays of all partitions into the builder's folder and completes the metadata. */
enum status graph_write(struct graph_builder *builder, struct csr_counts *dropped,
                        struct error *error) MUST_CHECK;

#endif
