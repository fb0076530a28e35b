/* Blocks with every neighbour, for a range of nodes: the hop of full-neighbour inference. Pure;
 * belongs to one thread. */
#ifndef ANTHILL_WORKER_FULL_BLOCK_H
#define ANTHILL_WORKER_FULL_BLOCK_H

#include <stdbool.h>

#include "common/error.h"
#include "graph/block.h"
#include "graph/graph_store.h"

struct full_block;

/* Takes 12 bytes a node of the graph. Borrows the graph.
 *   errors   STATUS_NOMEM
 *   owner    returns owned; full_block_destroy */
enum status full_block_create(struct full_block **builder, const struct graph *graph,
                              struct error *error) MUST_CHECK;
void full_block_destroy(struct full_block *builder);

/* The block whose dst nodes are [first, first + count) and whose src nodes are those and their
 * neighbours, into the arena. Without `edges` it has none. The range has fewer than 2^32 edges.
 * Weights and types are there when the graph has them. */
struct block full_block_build(struct full_block *builder, uint64_t first, uint32_t count,
                              bool edges, struct arena *arena);

/* The same with all nodes of the graph as src, in their order: nothing is numbered anew, and rows
 * are read where they are. dst_first is `first`, nodes is NULL. The graph has fewer than 2^32
 * nodes. Valid until the builder is destroyed. */
struct block full_block_window(struct full_block *builder, uint64_t first, uint32_t count,
                               bool edges, struct arena *arena);

#endif
