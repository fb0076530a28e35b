#include "worker/full_block.h"

#include <stdlib.h>
#include <string.h>

#include "common/check.h"

struct full_block {
    const struct graph *graph;
    uint64_t node_count;
    uint32_t *degrees; /* [node_count] */
    uint32_t *stamps;  /* [node_count]: the block that saw the node last */
    uint32_t *numbers; /* [node_count]: its number there */
    uint32_t stamp;
};

enum status full_block_create(struct full_block **builder, const struct graph *graph,
                              struct error *error)
{
    uint64_t node_count = graph_info(graph)->node_count;
    struct full_block *made = calloc(1, sizeof *made);
    CHECK(made != NULL);
    made->graph = graph;
    made->node_count = node_count;
    made->degrees = malloc((node_count + 1) * sizeof *made->degrees);
    made->stamps = calloc(node_count + 1, sizeof *made->stamps);
    made->numbers = malloc((node_count + 1) * sizeof *made->numbers);
    if (made->degrees == NULL || made->stamps == NULL || made->numbers == NULL) {
        full_block_destroy(made);
        return error_set(error, STATUS_NOMEM, "numbers of %llu nodes",
                         (unsigned long long)node_count);
    }
    for (uint64_t node = 0; node < node_count; node++) {
        uint64_t degree = graph_degree(graph, node);
        made->degrees[node] = degree < UINT32_MAX ? (uint32_t)degree : UINT32_MAX;
    }
    *builder = made;
    return STATUS_OK;
}

void full_block_destroy(struct full_block *builder)
{
    if (builder == NULL) return;
    free(builder->degrees);
    free(builder->stamps);
    free(builder->numbers);
    free(builder);
}

static void next_stamp(struct full_block *builder)
{
    if (++builder->stamp != 0) return;
    memset(builder->stamps, 0, builder->node_count * sizeof *builder->stamps);
    builder->stamp = 1;
}

/* The arrays of a block while they are filled. */
struct filling {
    uint64_t *nodes; /* NULL: node ids are the numbers */
    uint32_t *indptr, *indices;
    uint16_t *types;
    float *weights;
    uint64_t edge_count;
    uint32_t src_count;
};

static uint32_t number_of(struct full_block *builder, struct filling *filling, uint64_t node)
{
    if (filling->nodes == NULL) return (uint32_t)node;
    if (builder->stamps[node] != builder->stamp) {
        builder->stamps[node] = builder->stamp;
        builder->numbers[node] = filling->src_count;
        filling->nodes[filling->src_count++] = node;
    }
    return builder->numbers[node];
}

static void fill_edges(struct full_block *builder, uint64_t first, uint32_t count,
                       struct filling *filling)
{
    uint32_t at = 0;
    for (uint32_t dst = 0; dst < count; dst++) {
        struct graph_neighbors view = graph_neighbors(builder->graph, first + dst);
        for (uint64_t i = 0; i < view.count; i++) {
            uint64_t node = graph_global(builder->graph, view.partition, view.indices[i]);
            filling->indices[at + i] = number_of(builder, filling, node);
        }
        if (filling->types != NULL && view.count > 0)
            memcpy(filling->types + at, view.types, view.count * sizeof *view.types);
        if (filling->weights != NULL && view.count > 0)
            memcpy(filling->weights + at, view.weights, view.count * sizeof *view.weights);
        at += (uint32_t)view.count;
    }
}

static struct filling filling_begin(const struct full_block *builder, uint64_t first,
                                    uint32_t count, bool edges, struct arena *arena)
{
    CHECK(count <= builder->node_count && first <= builder->node_count - count);
    struct filling filling = {.indptr = ARENA_ARRAY(arena, uint32_t, (size_t)count + 1)};
    filling.indptr[0] = 0;
    for (uint32_t dst = 0; dst < count; dst++) {
        if (edges) filling.edge_count += graph_degree(builder->graph, first + dst);
        CHECK(filling.edge_count <= UINT32_MAX);
        filling.indptr[dst + 1] = (uint32_t)filling.edge_count;
    }
    filling.indices = ARENA_ARRAY(arena, uint32_t, filling.edge_count);
    struct graph_neighbors sample = {0};
    if (edges && count > 0) sample = graph_neighbors(builder->graph, first);
    if (sample.types != NULL) filling.types = ARENA_ARRAY(arena, uint16_t, filling.edge_count);
    if (sample.weights != NULL) filling.weights = ARENA_ARRAY(arena, float, filling.edge_count);
    return filling;
}

static struct block filling_end(const struct filling *filling, uint32_t count,
                                const uint32_t *degrees)
{
    return (struct block){.dst_count = count,
                          .src_count = filling->src_count,
                          .edge_count = (uint32_t)filling->edge_count,
                          .nodes = filling->nodes,
                          .indptr = filling->indptr,
                          .indices = filling->indices,
                          .types = filling->types,
                          .weights = filling->weights,
                          .degrees = degrees};
}

struct block full_block_build(struct full_block *builder, uint64_t first, uint32_t count,
                              bool edges, struct arena *arena)
{
    struct filling filling = filling_begin(builder, first, count, edges, arena);
    uint64_t rows_max = count + filling.edge_count;
    if (rows_max > builder->node_count) rows_max = builder->node_count;
    filling.nodes = ARENA_ARRAY(arena, uint64_t, rows_max);
    next_stamp(builder);
    for (uint32_t dst = 0; dst < count; dst++)
        (void)number_of(builder, &filling, first + dst);
    if (edges) fill_edges(builder, first, count, &filling);
    uint32_t *degrees = ARENA_ARRAY(arena, uint32_t, filling.src_count);
    for (uint32_t src = 0; src < filling.src_count; src++)
        degrees[src] = builder->degrees[filling.nodes[src]];
    return filling_end(&filling, count, degrees);
}

struct block full_block_window(struct full_block *builder, uint64_t first, uint32_t count,
                               bool edges, struct arena *arena)
{
    CHECK(builder->node_count <= UINT32_MAX);
    struct filling filling = filling_begin(builder, first, count, edges, arena);
    filling.src_count = (uint32_t)builder->node_count;
    if (edges) fill_edges(builder, first, count, &filling);
    struct block block = filling_end(&filling, count, builder->degrees);
    block.dst_first = (uint32_t)first;
    return block;
}
