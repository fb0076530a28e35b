/* The edges that one aggregation walks: all of a block, or those of one group of edge types. A
 * group may be compacted to the src nodes that it touches, so that a map before the aggregation
 * computes no row in vain. Pure; memory from the arena.
 *
 *   block: indptr [0, 3], indices [1, 2, 3], types [0, 1, 0]; group_of_type [0, 1]
 *   group 0: indptr [0, 2], indices [1, 3]      compacted: indices [0, 1], sources [1, 3]
 *   group 1: indptr [0, 1], indices [2]         compacted: indices [0],    sources [2] */
#ifndef ANTHILL_WORKER_EDGE_SET_H
#define ANTHILL_WORKER_EDGE_SET_H

#include "common/arena.h"
#include "graph/block.h"

struct edge_set {
    uint32_t dst_count, src_count, edge_count;
    const uint32_t *indptr;  /* [dst_count + 1] */
    const uint32_t *indices; /* [edge_count] < src_count */
    const float *weights;    /* [edge_count] or NULL: 1 */
    const uint32_t *sources; /* [src_count] rows of the block's src, or NULL: src as it is */
};

/* All edges, without their weights. Borrows the block's arrays. */
struct edge_set edge_set_of_block(const struct block *block);

/* Splits the block's edges by group_of_type[type] < group_count into sets[group_count], keeping
 * their order. Edges without types are of type 0. */
void edge_set_split(const struct block *block, const uint32_t *group_of_type, uint32_t group_count,
                    struct arena *arena, struct edge_set *sets);

/* Renumbers the src nodes so that only those with an edge remain, ascending. */
void edge_set_compact(struct edge_set *set, struct arena *arena);

/* The edges from src to dst turned around; edge e of the result is edge ids[e] of `set`.
 * `ids` may be NULL. Weights are not carried over. */
void edge_set_transpose(const struct edge_set *set, struct arena *arena, struct edge_set *turned,
                        uint32_t **ids);

#endif
