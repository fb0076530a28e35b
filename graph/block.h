/* A block is one hop of message flow: edges from `src` nodes to `dst` nodes in local numbers. The
 * dst nodes are src nodes too, so that a layer finds a node's own row: dst node i is src node
 * dst_first + i. Samplers put the dst nodes first.
 *
 *   seeds {7}, neighbours of 7: {3, 9}
 *   nodes   = [7, 3, 9]      dst_count 1, src_count 3
 *   indptr  = [0, 2]         indices = [1, 2] */
#ifndef ANTHILL_GRAPH_BLOCK_H
#define ANTHILL_GRAPH_BLOCK_H

#include <stdint.h>

#define BLOCK_HOPS_MAX 8

struct block {
    uint32_t dst_count, src_count, edge_count;
    uint32_t dst_first;      /* 0 in sampled blocks */
    const uint64_t *nodes;   /* [src_count] global ids, no id twice */
    const uint32_t *indptr;  /* [dst_count + 1] */
    const uint32_t *indices; /* [edge_count] < src_count */
    const uint16_t *types;   /* [edge_count] or NULL */
    const float *weights;    /* [edge_count] or NULL */
    const uint32_t *degrees; /* [src_count] in-degree in the whole graph */
};

/* blocks[0] is next to the input, blocks[hop_count - 1] has the seeds as dst. The src nodes of
 * blocks[h + 1] are the dst nodes of blocks[h]. With hop_count 0 the input is the seeds. */
struct minibatch {
    uint32_t hop_count;
    struct block blocks[BLOCK_HOPS_MAX];
    const uint64_t *seeds; /* [seed_count], no id twice */
    uint32_t seed_count;
    const uint64_t *input; /* [input_count]: blocks[0].nodes, or the seeds */
    uint32_t input_count;
};

#endif
