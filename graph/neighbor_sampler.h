/* Uniform neighbour sampling without replacement, one fan-out per hop; every dst node is sampled
 * again at each hop. source: Hamilton et al. 2017, Algorithm 2.
 * thread: a sampler belongs to one thread; the graph is shared. */
#ifndef ANTHILL_GRAPH_NEIGHBOR_SAMPLER_H
#define ANTHILL_GRAPH_NEIGHBOR_SAMPLER_H

#include "common/arena.h"
#include "common/error.h"
#include "graph/block.h"
#include "graph/graph_store.h"

struct neighbor_sampler;

/* fanouts[hop_count], hop 1 (next to the seeds) first; -1: all neighbours, 0: none. Borrowed graph.
 *   errors   STATUS_CONFIG for hop_count > BLOCK_HOPS_MAX or a fan-out below -1 */
enum status neighbor_sampler_create(struct neighbor_sampler **sampler, const struct graph *graph,
                                    const int32_t *fanouts, uint32_t hop_count,
                                    struct error *error) MUST_CHECK;
void neighbor_sampler_destroy(struct neighbor_sampler *sampler);

/* Whether block.degrees is filled (it is unless told otherwise) or NULL: the in-degrees of the
 * input nodes cost a cache miss each, and a model that does not weigh edges by degree has no use
 * for them. */
void neighbor_sampler_set_degrees(struct neighbor_sampler *sampler, bool wanted);

/* Finds local numbers by a hash table of the minibatch's nodes instead of an array of 8 bytes for
 * every node of the graph: slower, but its memory follows the minibatch. Graphs of more than 2^27
 * nodes always do. The blocks are the same. */
void neighbor_sampler_use_hash_table(struct neighbor_sampler *sampler);

/* Samples the blocks of `seeds` (no id twice) into the arena. The choice depends on `key` and the
 * graph alone: rng_key over (seed, epoch, lease, batch). `seeds` is borrowed by the minibatch. */
void neighbor_sampler_sample(struct neighbor_sampler *sampler, uint64_t key, const uint64_t *seeds,
                             uint32_t seed_count, struct arena *arena, struct minibatch *batch);

#endif
