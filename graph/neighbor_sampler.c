/* How it is fast: a hop is done in chunks of dst nodes, and each chunk in passes that touch one
 * kind of memory each (row bounds, neighbour lists, relabel table), so that the next pass's cache
 * lines are asked for while this pass runs, for many nodes at once.
 *
 * Relabelling finds the local number of a global id. Up to DIRECT_NODES_MAX nodes the table is an
 * array over all nodes with an epoch beside each number: beginning a minibatch is one addition, and
 * a lookup one cache line (8 bytes a node and sampler: 1 GiB at most). Larger graphs use a hash
 * table of the minibatch's own nodes with the same epochs. */
#include "graph/neighbor_sampler.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/rng.h"
#include "graph/graph_mapping.h"

#define DIRECT_NODES_MAX (UINT64_C(1) << 27)
#define CHUNK            64u /* dst nodes between passes */
#define AHEAD            16u /* nodes whose memory is asked for in advance */
#define FLOYD_LINEAR_MAX 64u /* fan-outs up to here look through the picks one by one */
#define HUGE_PAGE_BYTES  (UINT64_C(2) << 20)

struct stamp {
    uint32_t epoch, local;
};

struct neighbor_sampler {
    const struct graph *graph;
    uint32_t hop_count;
    int32_t fanouts[BLOCK_HOPS_MAX];
    bool degrees, hashed;
    uint32_t epoch;
    struct stamp *stamps; /* [node_count], or [slot_count] beside keys */
    uint64_t *keys;       /* [slot_count] of the hash table; NULL when stamps are direct */
    uint64_t slot_count;  /* a power of two */
    uint32_t *chosen;     /* hash set of positions, for large fan-outs */
    uint32_t *chosen_epochs;
    uint32_t chosen_slots, chosen_epoch;
};

/* A block under construction, and the growing list of its src nodes. */
struct hop {
    uint64_t *nodes;
    uint32_t node_count;
    uint32_t *indptr, *indices, *degrees;
    uint16_t *types;
    float *weights;
};

/* A chunk's dst nodes between the passes. */
struct chunk {
    uint32_t count;
    const struct graph_partition *partitions[CHUNK];
    uint64_t first[CHUNK]; /* of the neighbour list */
    uint32_t degrees[CHUNK];
};

static struct stamp *stamps_create(uint64_t count)
{
    uint64_t bytes = (count * sizeof(struct stamp) + HUGE_PAGE_BYTES - 1) & ~(HUGE_PAGE_BYTES - 1);
    struct stamp *stamps = aligned_alloc(HUGE_PAGE_BYTES, bytes);
    CHECK(stamps != NULL);
    /* Random lookups miss the TLB on small pages; a refusal costs speed only. */
    (void)madvise(stamps, bytes, MADV_HUGEPAGE);
    memset(stamps, 0, bytes);
    return stamps;
}

enum status neighbor_sampler_create(struct neighbor_sampler **out, const struct graph *graph,
                                    const int32_t *fanouts, uint32_t hop_count, struct error *error)
{
    *out = NULL;
    if (hop_count > BLOCK_HOPS_MAX) {
        return error_set(error, STATUS_CONFIG, "%u hops, at most %u are possible", hop_count,
                         (unsigned)BLOCK_HOPS_MAX);
    }
    for (uint32_t hop = 0; hop < hop_count; hop++) {
        if (fanouts[hop] < -1) {
            return error_set(error, STATUS_CONFIG,
                             "fan-out %d of hop %u, expected -1 (all) or more", fanouts[hop],
                             hop + 1);
        }
    }
    struct neighbor_sampler *sampler = calloc(1, sizeof *sampler);
    CHECK(sampler != NULL);
    sampler->graph = graph;
    sampler->hop_count = hop_count;
    sampler->degrees = true;
    if (hop_count > 0) memcpy(sampler->fanouts, fanouts, hop_count * sizeof *fanouts);
    sampler->hashed = graph->info.node_count > DIRECT_NODES_MAX;
    if (!sampler->hashed) sampler->stamps = stamps_create(graph->info.node_count + 1);
    *out = sampler;
    return STATUS_OK;
}

void neighbor_sampler_destroy(struct neighbor_sampler *sampler)
{
    if (sampler == NULL) return;
    free(sampler->stamps);
    free(sampler->keys);
    free(sampler->chosen);
    free(sampler->chosen_epochs);
    free(sampler);
}

void neighbor_sampler_set_degrees(struct neighbor_sampler *sampler, bool wanted)
{
    sampler->degrees = wanted;
}

void neighbor_sampler_use_hash_table(struct neighbor_sampler *sampler)
{
    if (sampler->hashed) return;
    free(sampler->stamps);
    sampler->stamps = NULL;
    sampler->hashed = true;
}

static inline uint64_t hash_slot(const struct neighbor_sampler *sampler, uint64_t node)
{
    return rng_mix(node) & (sampler->slot_count - 1);
}

/* The stamp of `node` in the hash table: its own, or the empty one where it belongs. */
static inline struct stamp *hash_find(struct neighbor_sampler *sampler, uint64_t node)
{
    uint64_t slot = hash_slot(sampler, node);
    while (sampler->stamps[slot].epoch == sampler->epoch && sampler->keys[slot] != node)
        slot = (slot + 1) & (sampler->slot_count - 1);
    sampler->keys[slot] = node;
    return &sampler->stamps[slot];
}

static inline struct stamp *stamp_find(struct neighbor_sampler *sampler, uint64_t node)
{
    return sampler->keys == NULL ? &sampler->stamps[node] : hash_find(sampler, node);
}

static inline void stamp_prefetch(const struct neighbor_sampler *sampler, uint64_t node)
{
    if (sampler->keys == NULL) {
        __builtin_prefetch(&sampler->stamps[node], 1);
        return;
    }
    uint64_t slot = hash_slot(sampler, node);
    __builtin_prefetch(&sampler->stamps[slot], 1);
    __builtin_prefetch(&sampler->keys[slot], 1);
}

/* Makes room in the hash table for `room` nodes in all, keeping those of this minibatch at most
 * half full. The nodes so far are entered again. */
static void hash_reserve(struct neighbor_sampler *sampler, uint64_t room, const struct hop *hop)
{
    if (sampler->slot_count >= 2 * room && sampler->slot_count > 0) return;
    uint64_t slots = 1u << 16;
    while (slots < 2 * room)
        slots *= 2;
    free(sampler->stamps);
    free(sampler->keys);
    sampler->stamps = stamps_create(slots);
    sampler->keys = calloc(slots, sizeof *sampler->keys);
    CHECK(sampler->keys != NULL);
    sampler->slot_count = slots;
    sampler->epoch = 1;
    for (uint32_t i = 0; i < hop->node_count; i++)
        *hash_find(sampler, hop->nodes[i]) = (struct stamp){.epoch = 1, .local = i};
}

static void epoch_begin(struct neighbor_sampler *sampler)
{
    if (++sampler->epoch != 0) return;
    /* After 2^32 minibatches old stamps would look like new ones. */
    uint64_t count = sampler->keys != NULL ? sampler->slot_count : sampler->graph->info.node_count;
    if (sampler->stamps != NULL) memset(sampler->stamps, 0, count * sizeof *sampler->stamps);
    sampler->epoch = 1;
}

/* Reads the row bounds of a chunk's nodes and asks for their lists; while it runs, the row bounds
 * of the next chunk arrive. */
static void chunk_locate(const struct graph *graph, const uint64_t *nodes, uint32_t begin,
                         uint32_t dst_count, struct chunk *chunk)
{
    chunk->count = dst_count - begin < CHUNK ? dst_count - begin : CHUNK;
    for (uint32_t i = 0; i < chunk->count; i++) {
        uint64_t row;
        if (begin + i + CHUNK < dst_count) {
            const struct graph_partition *ahead = graph_home(graph, nodes[begin + i + CHUNK], &row);
            __builtin_prefetch(&ahead->indptr[row]);
        }
        const struct graph_partition *partition = graph_home(graph, nodes[begin + i], &row);
        uint64_t first = partition->indptr[row];
        uint64_t degree = partition->indptr[row + 1] - first;
        CHECK(degree <= UINT32_MAX);
        chunk->partitions[i] = partition;
        chunk->first[i] = first;
        chunk->degrees[i] = (uint32_t)degree;
    }
}

static void chosen_reserve(struct neighbor_sampler *sampler, uint32_t fanout)
{
    uint32_t slots = 256;
    while (slots < 4 * fanout && slots < (1u << 31))
        slots *= 2;
    if (slots <= sampler->chosen_slots) return;
    free(sampler->chosen);
    free(sampler->chosen_epochs);
    sampler->chosen = malloc(slots * sizeof *sampler->chosen);
    sampler->chosen_epochs = calloc(slots, sizeof *sampler->chosen_epochs);
    CHECK(sampler->chosen != NULL && sampler->chosen_epochs != NULL);
    sampler->chosen_slots = slots;
    sampler->chosen_epoch = 0;
}

/* Adds a position to the set; false when it is there. */
static bool chosen_add(struct neighbor_sampler *sampler, uint32_t position)
{
    uint32_t mask = sampler->chosen_slots - 1;
    uint32_t slot = (uint32_t)rng_mix(position) & mask;
    while (sampler->chosen_epochs[slot] == sampler->chosen_epoch) {
        if (sampler->chosen[slot] == position) return false;
        slot = (slot + 1) & mask;
    }
    sampler->chosen_epochs[slot] = sampler->chosen_epoch;
    sampler->chosen[slot] = position;
    return true;
}

/* 32 random bits scaled to [0, bound): the bias is below bound / 2^32. */
static inline uint32_t scale32(uint32_t bits, uint32_t bound)
{
    return (uint32_t)(((uint64_t)bits * bound) >> 32);
}

/* Chooses `fanout` different positions below `degree`, which is larger.
 * source: Floyd, in Bentley 1987, "Programming Pearls: a sample of brilliance" */
static void choose_few(struct rng *rng, uint32_t degree, uint32_t fanout, uint32_t *picks)
{
    uint64_t bits = 0;
    for (uint32_t i = 0; i < fanout; i++) {
        bits = i % 2 == 0 ? rng_u64(rng) : bits >> 32;
        uint32_t top = degree - fanout + i;
        uint32_t pick = scale32((uint32_t)bits, top + 1);
        uint32_t seen = 0;
        for (uint32_t j = 0; j < i; j++)
            seen |= picks[j] == pick;
        picks[i] = seen ? top : pick;
    }
}

/* The same for fan-outs where looking through the picks would take long. */
static void choose_many(struct neighbor_sampler *sampler, struct rng *rng, uint32_t degree,
                        uint32_t fanout, uint32_t *picks)
{
    chosen_reserve(sampler, fanout);
    if (++sampler->chosen_epoch == 0) {
        memset(sampler->chosen_epochs, 0, sampler->chosen_slots * sizeof(uint32_t));
        sampler->chosen_epoch = 1;
    }
    for (uint32_t i = 0; i < fanout; i++) {
        uint32_t top = degree - fanout + i;
        uint32_t pick = (uint32_t)rng_below(rng, (uint64_t)top + 1);
        if (!chosen_add(sampler, pick)) {
            pick = top;
            (void)chosen_add(sampler, top);
        }
        picks[i] = pick;
    }
}

/* Writes the positions of each node's sampled edges into hop->indices and asks for these edges. */
static void chunk_choose(struct neighbor_sampler *sampler, const struct chunk *chunk,
                         uint32_t fanout, struct rng *rng, uint32_t begin, struct hop *hop)
{
    for (uint32_t i = 0; i < chunk->count; i++) {
        uint32_t degree = chunk->degrees[i];
        uint32_t *picks = hop->indices + hop->indptr[begin + i];
        uint32_t taken = degree < fanout ? degree : fanout;
        hop->indptr[begin + i + 1] = hop->indptr[begin + i] + taken;
        const uint32_t *list = chunk->partitions[i]->indices + chunk->first[i];
        if (degree <= fanout) {
            for (uint32_t j = 0; j < degree; j++)
                picks[j] = j;
            for (uint32_t j = 0; j < degree; j += 16)
                __builtin_prefetch(list + j);
        } else {
            if (fanout <= FLOYD_LINEAR_MAX)
                choose_few(rng, degree, fanout, picks);
            else
                choose_many(sampler, rng, degree, fanout, picks);
            for (uint32_t j = 0; j < taken; j++)
                __builtin_prefetch(list + picks[j]);
        }
    }
}

static void chunk_edge_data(const struct chunk *chunk, uint32_t begin, struct hop *hop)
{
    for (uint32_t i = 0; i < chunk->count; i++) {
        const struct graph_partition *partition = chunk->partitions[i];
        for (uint32_t e = hop->indptr[begin + i]; e < hop->indptr[begin + i + 1]; e++) {
            uint64_t edge = chunk->first[i] + hop->indices[e];
            if (hop->types != NULL) hop->types[e] = partition->types[edge];
            if (hop->weights != NULL) hop->weights[e] = partition->weights[edge];
        }
    }
}

/* Turns positions into global ids in `globals` and asks for their stamps. */
static void chunk_read(const struct neighbor_sampler *sampler, const struct chunk *chunk,
                       uint32_t begin, const struct hop *hop, uint64_t *globals)
{
    for (uint32_t i = 0; i < chunk->count; i++) {
        const struct graph_partition *partition = chunk->partitions[i];
        const uint32_t *list = partition->indices + chunk->first[i];
        const uint64_t inner = partition->end - partition->start;
        for (uint32_t e = hop->indptr[begin + i]; e < hop->indptr[begin + i + 1]; e++) {
            uint32_t index = list[hop->indices[e]];
            uint64_t node =
                index < inner ? partition->start + index : partition->halo[index - inner];
            stamp_prefetch(sampler, node);
            *globals++ = node;
        }
    }
}

static void chunk_relabel(struct neighbor_sampler *sampler, uint32_t edge_begin, uint32_t edge_end,
                          const uint64_t *globals, struct hop *hop)
{
    for (uint32_t e = edge_begin; e < edge_end; e++) {
        uint64_t node = *globals++;
        struct stamp *stamp = stamp_find(sampler, node);
        if (stamp->epoch != sampler->epoch) {
            *stamp = (struct stamp){.epoch = sampler->epoch, .local = hop->node_count};
            hop->nodes[hop->node_count++] = node;
        }
        hop->indices[e] = stamp->local;
    }
}

/* An upper bound of the edges of a hop, exact for full neighbourhoods. */
static uint64_t edges_bound(const struct graph *graph, const uint64_t *nodes, uint32_t count,
                            int32_t fanout)
{
    if (fanout >= 0 && fanout <= (int32_t)FLOYD_LINEAR_MAX)
        return (uint64_t)count * (uint32_t)fanout;
    uint64_t bound = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t row;
        if (i + AHEAD < count) {
            const struct graph_partition *ahead = graph_home(graph, nodes[i + AHEAD], &row);
            __builtin_prefetch(&ahead->indptr[row]);
        }
        uint64_t degree = graph_degree(graph, nodes[i]);
        bound += fanout < 0 || degree < (uint64_t)fanout ? degree : (uint64_t)fanout;
    }
    return bound;
}

static void degrees_fill(const struct graph *graph, uint32_t known, struct hop *hop)
{
    for (uint32_t i = known; i < hop->node_count; i++) {
        uint64_t row;
        if (i + AHEAD < hop->node_count) {
            const struct graph_partition *ahead = graph_home(graph, hop->nodes[i + AHEAD], &row);
            __builtin_prefetch(&ahead->indptr[row]);
        }
        hop->degrees[i] = (uint32_t)graph_degree(graph, hop->nodes[i]);
    }
}

/* Samples one hop. hop->nodes holds the dst nodes and is moved to a larger array, in which the new
 * src nodes follow them. */
static void hop_sample(struct neighbor_sampler *sampler, int32_t fanout, struct rng *rng,
                       struct arena *arena, struct hop *hop, struct block *block)
{
    const struct graph *graph = sampler->graph;
    const uint32_t dst_count = hop->node_count;
    const uint64_t bound = edges_bound(graph, hop->nodes, dst_count, fanout);
    CHECK(bound + dst_count <= UINT32_MAX);
    uint64_t *nodes = ARENA_ARRAY(arena, uint64_t, dst_count + bound);
    memcpy(nodes, hop->nodes, dst_count * sizeof *nodes);
    hop->nodes = nodes;
    hop->indptr = ARENA_ARRAY(arena, uint32_t, (size_t)dst_count + 1);
    hop->indices = ARENA_ARRAY(arena, uint32_t, bound);
    hop->types = graph->partitions[0].types != NULL ? ARENA_ARRAY(arena, uint16_t, bound) : NULL;
    hop->weights = graph->info.has_edge_weight ? ARENA_ARRAY(arena, float, bound) : NULL;
    hop->degrees = NULL;
    hop->indptr[0] = 0;
    if (sampler->hashed) hash_reserve(sampler, dst_count + bound, hop);
    uint64_t *globals = ARENA_ARRAY(arena, uint64_t, bound);
    uint32_t *dst_degrees = ARENA_ARRAY(arena, uint32_t, dst_count);
    const uint32_t limit = fanout < 0 ? UINT32_MAX : (uint32_t)fanout;
    for (uint32_t begin = 0; begin < dst_count; begin += CHUNK) {
        struct chunk chunk;
        chunk_locate(graph, nodes, begin, dst_count, &chunk);
        chunk_choose(sampler, &chunk, limit, rng, begin, hop);
        if (hop->types != NULL || hop->weights != NULL) chunk_edge_data(&chunk, begin, hop);
        chunk_read(sampler, &chunk, begin, hop, globals);
        chunk_relabel(sampler, hop->indptr[begin], hop->indptr[begin + chunk.count], globals, hop);
        memcpy(dst_degrees + begin, chunk.degrees, chunk.count * sizeof *dst_degrees);
    }
    if (sampler->degrees) {
        hop->degrees = ARENA_ARRAY(arena, uint32_t, hop->node_count);
        memcpy(hop->degrees, dst_degrees, dst_count * sizeof *dst_degrees);
        degrees_fill(graph, dst_count, hop);
    }
    *block = (struct block){.dst_count = dst_count,
                            .src_count = hop->node_count,
                            .edge_count = hop->indptr[dst_count],
                            .nodes = hop->nodes,
                            .indptr = hop->indptr,
                            .indices = hop->indices,
                            .types = hop->types,
                            .weights = hop->weights,
                            .degrees = hop->degrees};
}

void neighbor_sampler_sample(struct neighbor_sampler *sampler, uint64_t key, const uint64_t *seeds,
                             uint32_t seed_count, struct arena *arena, struct minibatch *batch)
{
    const struct graph *graph = sampler->graph;
    *batch = (struct minibatch){.hop_count = sampler->hop_count,
                                .seeds = seeds,
                                .seed_count = seed_count,
                                .input = seeds,
                                .input_count = seed_count};
    for (uint32_t i = 0; i < seed_count; i++)
        CHECK(seeds[i] < graph->info.node_count);
    if (sampler->hop_count == 0) return;
    struct hop hop = {.nodes = ARENA_ARRAY(arena, uint64_t, seed_count)};
    if (sampler->hashed) hash_reserve(sampler, seed_count, &hop);
    epoch_begin(sampler);
    for (uint32_t i = 0; i < seed_count; i++) {
        struct stamp *stamp = stamp_find(sampler, seeds[i]);
        CHECK(stamp->epoch != sampler->epoch);
        *stamp = (struct stamp){.epoch = sampler->epoch, .local = i};
        hop.nodes[hop.node_count++] = seeds[i];
    }
    for (uint32_t h = 0; h < sampler->hop_count; h++) {
        struct rng rng = rng_make(rng_key(key, h));
        hop_sample(sampler, sampler->fanouts[h], &rng, arena, &hop,
                   &batch->blocks[sampler->hop_count - 1 - h]);
    }
    batch->input = batch->blocks[0].nodes;
    batch->input_count = batch->blocks[0].src_count;
}
