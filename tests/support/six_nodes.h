/* The six-node graph of tests/data/golden.py as a block over all its nodes, and models over it. */
#ifndef ANTHILL_TESTS_SUPPORT_SIX_NODES_H
#define ANTHILL_TESTS_SUPPORT_SIX_NODES_H

#include "common/config.h"
#include "graph/graph_store.h"
#include "tests/data/golden.h"
#include "worker/model.h"

enum six_features { SIX_NONE, SIX_DENSE, SIX_SPARSE };

struct six_nodes {
    struct graph_edge_type edge_types[2];
    struct graph_info info;
    struct minibatch batch; /* every hop is the whole graph */
    uint64_t nodes[GOLDEN_NODES];
    uint32_t feature_indptr[GOLDEN_NODES + 1], feature_columns[GOLDEN_NODES * GOLDEN_FEATURES];
    float feature_values[GOLDEN_NODES * GOLDEN_FEATURES];
    struct feature_rows features;
};

static inline void six_features_init(struct six_nodes *six, enum six_features kind)
{
    uint32_t entries = 0;
    six->features = (struct feature_rows){.count = GOLDEN_NODES, .dim = GOLDEN_FEATURES};
    if (kind == SIX_DENSE) six->features.dense = GOLDEN_X;
    if (kind != SIX_SPARSE) return;
    for (uint32_t i = 0; i < GOLDEN_NODES * GOLDEN_FEATURES; i++) {
        if (i % GOLDEN_FEATURES == 0) six->feature_indptr[i / GOLDEN_FEATURES] = entries;
        if (GOLDEN_X[i] == 0.0f) continue;
        six->feature_columns[entries] = i % GOLDEN_FEATURES;
        six->feature_values[entries++] = GOLDEN_X[i];
    }
    six->feature_indptr[GOLDEN_NODES] = entries;
    six->features.indptr = six->feature_indptr;
    six->features.columns = six->feature_columns;
    six->features.values = six->feature_values;
}

static inline void six_nodes_init(struct six_nodes *six, enum six_features kind, bool weighted,
                                  uint32_t hop_count)
{
    static const enum graph_features features[] = {GRAPH_FEATURES_NONE, GRAPH_FEATURES_DENSE,
                                                   GRAPH_FEATURES_SPARSE};
    six->edge_types[0] = (struct graph_edge_type){.name = "cites"};
    six->edge_types[1] = (struct graph_edge_type){.name = "cites-inverse", .inverse = true};
    six->info = (struct graph_info){.node_count = GOLDEN_NODES,
                                    .edge_count = GOLDEN_EDGES,
                                    .edge_type_count = 2,
                                    .edge_types = six->edge_types,
                                    .has_edge_weight = weighted,
                                    .has_labels = true,
                                    .features = features[kind],
                                    .feature_dim = kind == SIX_NONE ? 0 : GOLDEN_FEATURES,
                                    .class_count = GOLDEN_CLASSES};
    six_features_init(six, kind);
    for (uint32_t i = 0; i < GOLDEN_NODES; i++)
        six->nodes[i] = i;
    struct block block = {.dst_count = GOLDEN_NODES,
                          .src_count = GOLDEN_NODES,
                          .edge_count = GOLDEN_EDGES,
                          .nodes = six->nodes,
                          .indptr = GOLDEN_INDPTR,
                          .indices = GOLDEN_INDICES,
                          .types = GOLDEN_TYPES,
                          .weights = weighted ? GOLDEN_EDGE_WEIGHTS : NULL,
                          .degrees = GOLDEN_DEGREES};
    six->batch = (struct minibatch){.hop_count = hop_count,
                                    .seeds = six->nodes,
                                    .seed_count = GOLDEN_NODES,
                                    .input = six->nodes,
                                    .input_count = GOLDEN_NODES};
    for (uint32_t hop = 0; hop < hop_count; hop++)
        six->batch.blocks[hop] = block;
}

/* Layers borrowed from the caller. */
static inline struct config six_config(struct config_layer *layers, unsigned count,
                                       uint32_t embedding)
{
    struct config config = {0};
    config.graph.edges = true;
    config.model.layers = layers;
    config.model.layers_count = count;
    config.model.embedding = embedding;
    return config;
}

#endif
