/* A random graph in memory that answers the calls of graph/graph_store.h, for tests of what stands
 * above it. Defines those functions: include it in one file of a program, which then does not link
 * the store's own. One partition; local indices are global ids. */
#ifndef ANTHILL_TESTS_SUPPORT_FAKE_GRAPH_H
#define ANTHILL_TESTS_SUPPORT_FAKE_GRAPH_H

#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/rng.h"
#include "graph/graph_store.h"

struct graph {
    struct graph_info info;
    struct graph_edge_type edge_types[4];
    uint64_t *indptr;
    uint32_t *indices;
    uint16_t *types;
    float *weights;
    float *dense;
    uint32_t *feature_indptr, *feature_columns;
    float *feature_values;
};

struct fake_graph_options {
    uint64_t seed;
    uint32_t node_count, edge_count; /* about: each node has 0 to twice the mean */
    uint32_t type_count;             /* 1 to 4; odd ones are inverse */
    bool weighted;
    enum graph_features features;
    uint32_t feature_dim, row_entries; /* sparse: entries of a row */
    uint32_t class_count;
};

static inline void *fake_alloc(size_t bytes)
{
    void *memory = malloc(bytes + 1);
    CHECK(memory != NULL);
    return memory;
}

static inline void fake_edges(struct graph *graph, const struct fake_graph_options *o,
                              struct rng *rng)
{
    uint32_t nodes = o->node_count;
    uint64_t most = 2 * (uint64_t)o->edge_count / nodes;
    graph->indptr = fake_alloc((nodes + 1) * sizeof(uint64_t));
    graph->indptr[0] = 0;
    for (uint32_t v = 0; v < nodes; v++)
        graph->indptr[v + 1] = graph->indptr[v] + rng_below(rng, most + 1);
    uint64_t edges = graph->info.edge_count = graph->indptr[nodes];
    graph->indices = fake_alloc(edges * sizeof(uint32_t));
    graph->types = o->type_count > 1 ? fake_alloc(edges * sizeof(uint16_t)) : NULL;
    graph->weights = o->weighted ? fake_alloc(edges * sizeof(float)) : NULL;
    for (uint64_t e = 0; e < edges; e++) {
        graph->indices[e] = (uint32_t)rng_below(rng, nodes);
        if (graph->types != NULL) graph->types[e] = (uint16_t)rng_below(rng, o->type_count);
        if (graph->weights != NULL) graph->weights[e] = 0.5f + rng_float(rng);
    }
}

static inline void fake_features(struct graph *graph, const struct fake_graph_options *o,
                                 struct rng *rng)
{
    uint32_t nodes = o->node_count, dim = o->feature_dim;
    if (o->features == GRAPH_FEATURES_DENSE) {
        graph->dense = fake_alloc((size_t)nodes * dim * sizeof(float));
        for (size_t i = 0; i < (size_t)nodes * dim; i++)
            graph->dense[i] = rng_normal(rng);
    } else if (o->features == GRAPH_FEATURES_SPARSE) {
        /* One entry in each of row_entries equal parts of the columns: none twice. */
        uint32_t entries = o->row_entries, part = dim / entries;
        graph->feature_indptr = fake_alloc((nodes + 1) * sizeof(uint32_t));
        graph->feature_columns = fake_alloc((size_t)nodes * entries * sizeof(uint32_t));
        graph->feature_values = fake_alloc((size_t)nodes * entries * sizeof(float));
        for (uint32_t v = 0; v <= nodes; v++)
            graph->feature_indptr[v] = v * entries;
        for (size_t i = 0; i < (size_t)nodes * entries; i++) {
            graph->feature_columns[i] = (uint32_t)(i % entries * part + rng_below(rng, part));
            graph->feature_values[i] = rng_normal(rng);
        }
    }
}

static inline struct graph *fake_graph_create(const struct fake_graph_options *options)
{
    struct graph *graph = calloc(1, sizeof *graph);
    CHECK(graph != NULL && options->type_count >= 1 && options->type_count <= 4);
    struct rng rng = rng_make(options->seed);
    for (uint32_t type = 0; type < 4; type++)
        graph->edge_types[type] = (struct graph_edge_type){.name = "edge", .inverse = type % 2};
    graph->info = (struct graph_info){.node_count = options->node_count,
                                      .partition_count = 1,
                                      .edge_type_count = options->type_count,
                                      .edge_types = graph->edge_types,
                                      .has_edge_weight = options->weighted,
                                      .has_labels = true,
                                      .features = options->features,
                                      .feature_dim = options->feature_dim,
                                      .class_count = options->class_count};
    fake_edges(graph, options, &rng);
    fake_features(graph, options, &rng);
    return graph;
}

void graph_close(struct graph *graph)
{
    if (graph == NULL) return;
    free(graph->indptr);
    free(graph->indices);
    free(graph->types);
    free(graph->weights);
    free(graph->dense);
    free(graph->feature_indptr);
    free(graph->feature_columns);
    free(graph->feature_values);
    free(graph);
}

const struct graph_info *graph_info(const struct graph *graph)
{
    return &graph->info;
}

struct graph_neighbors graph_neighbors(const struct graph *graph, uint64_t node)
{
    CHECK(node < graph->info.node_count);
    uint64_t first = graph->indptr[node];
    return (struct graph_neighbors){.indices = graph->indices + first,
                                    .types = graph->types != NULL ? graph->types + first : NULL,
                                    .weights =
                                        graph->weights != NULL ? graph->weights + first : NULL,
                                    .count = graph->indptr[node + 1] - first};
}

uint64_t graph_global(const struct graph *graph, uint32_t partition, uint32_t index)
{
    CHECK(partition == 0 && index < graph->info.node_count);
    return index;
}

uint64_t graph_degree(const struct graph *graph, uint64_t node)
{
    return graph->indptr[node + 1] - graph->indptr[node];
}

void graph_features(const struct graph *graph, const uint64_t *nodes, uint32_t count,
                    struct arena *arena, struct feature_rows *rows)
{
    uint32_t dim = graph->info.feature_dim;
    *rows = (struct feature_rows){.count = count, .dim = dim};
    if (graph->info.features == GRAPH_FEATURES_DENSE) {
        float *dense = ARENA_ARRAY(arena, float, (size_t)count *dim);
        for (uint32_t i = 0; i < count; i++)
            memcpy(dense + (size_t)i * dim, graph->dense + nodes[i] * dim, dim * sizeof(float));
        rows->dense = dense;
    } else if (graph->info.features == GRAPH_FEATURES_SPARSE) {
        uint32_t entries = graph->feature_indptr[1];
        uint32_t *indptr = ARENA_ARRAY(arena, uint32_t, count + 1);
        uint32_t *columns = ARENA_ARRAY(arena, uint32_t, (size_t)count * entries);
        float *values = ARENA_ARRAY(arena, float, (size_t)count *entries);
        indptr[0] = 0;
        for (uint32_t i = 0; i < count; i++) {
            size_t from = nodes[i] * entries, to = (size_t)i * entries;
            memcpy(columns + to, graph->feature_columns + from, entries * sizeof *columns);
            memcpy(values + to, graph->feature_values + from, entries * sizeof *values);
            indptr[i + 1] = (i + 1) * entries;
        }
        rows->indptr = indptr;
        rows->columns = columns;
        rows->values = values;
    }
}

#endif
