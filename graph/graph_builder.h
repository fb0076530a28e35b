/* Makes a graph folder: nodes, edges and their data go in by number in any order; the folder
 * appears under its name when all is written, or not at all. Edges and features pass through
 * temporary files, so that memory follows the number of nodes. Who reads which input is the
 * importers' business. */
#ifndef ANTHILL_GRAPH_GRAPH_BUILDER_H
#define ANTHILL_GRAPH_GRAPH_BUILDER_H

#include "graph/csr_build.h"
#include "graph/graph_store.h"
#include "graph/node_index.h"

/* More edge types than fit do not get a number. */
#define EDGE_TYPES_MAX 65535u

struct graph_options {
    const char *out;
    uint32_t partitions;
    bool by_range; /* else by hash of the external id */
    enum graph_reverse reverse;
    bool dedupe;
    bool drop_self_loops;
    uint64_t memory_bytes;
    bool normalize_l2;     /* feature rows */
    const char *arguments; /* recorded: the command that made the graph */
};

struct graph_builder;

/* Begins `out`.partial; an older one is removed. Ids are numbers or names; `layout` says which
 * fields edges have.
 *   owner    returns owned; graph_builder_destroy, which removes what was not published */
enum status graph_builder_create(struct graph_builder **builder,
                                 const struct graph_options *options, bool names,
                                 struct edge_layout layout, struct error *error) MUST_CHECK;
void graph_builder_destroy(struct graph_builder *builder);

/* The nodes so far; nodes are added through it. */
struct node_index *graph_builder_nodes(struct graph_builder *builder);

/* A file that the graph is made from: its size and time are recorded. "-" is not. */
enum status graph_builder_source(struct graph_builder *builder, const char *path,
                                 struct error *error) MUST_CHECK;

/* The number of an edge type, added when new.
 *   errors   STATUS_INVALID beyond EDGE_TYPES_MAX */
enum status graph_builder_edge_type(struct graph_builder *builder, const char *name, size_t bytes,
                                    uint16_t *type, struct error *error) MUST_CHECK;

/* Says that a type holds the edges of another one against their direction. */
void graph_builder_mark_inverse(struct graph_builder *builder, uint16_t type);

/* src and dst are numbers of nodes that exist. */
enum status graph_builder_edge(struct graph_builder *builder, const struct edge *edge,
                               struct error *error) MUST_CHECK;
uint64_t graph_builder_edge_count(const struct graph_builder *builder);

/* Feature rows, at most one a node and all of one kind; a node without one has zeros. For dense
 * rows `dim` is that of all; sparse columns are ascending, and the graph's dimension is the highest
 * column + 1 or what graph_builder_feature_dim says, whichever is larger.
 *   errors   STATUS_INVALID for a second row of a node */
enum status graph_builder_dense_row(struct graph_builder *builder, uint32_t node,
                                    const float *values, uint32_t dim,
                                    struct error *error) MUST_CHECK;
enum status graph_builder_sparse_row(struct graph_builder *builder, uint32_t node,
                                     const uint32_t *columns, const float *values, uint32_t count,
                                     struct error *error) MUST_CHECK;
void graph_builder_feature_dim(struct graph_builder *builder, uint32_t dim);

/* label -1: unknown. The number of classes is the highest label + 1, or that of the names. */
void graph_builder_label(struct graph_builder *builder, uint32_t node, int32_t label);
/* The class called so, added when new. */
int32_t graph_builder_class(struct graph_builder *builder, const char *name, size_t bytes);

/* Call once before the first split. Nodes without a code have GRAPH_SPLIT_NONE. */
void graph_builder_split_count(struct graph_builder *builder, uint32_t count);
void graph_builder_split(struct graph_builder *builder, uint32_t node, uint32_t column,
                         enum graph_split code);

struct graph_summary {
    uint64_t node_count, edge_count;
    uint32_t edge_type_count, class_count, feature_dim;
    struct csr_counts dropped;
};

/* Writes and publishes the graph. The builder can only be destroyed afterwards. */
enum status graph_builder_finish(struct graph_builder *builder, struct graph_summary *summary,
                                 struct error *error) MUST_CHECK;

#endif
