/* A graph's folder: opening, and looking through all of it. Input: a byte, then an archive of the
 * folder's files. With an odd byte sizes and checksums in metadata.yaml are those of the files.
 * What the check finds good is then read as a sampler would. */
#include <string.h>

#include "common/check.h"
#include "graph/graph_check.h"
#include "graph/neighbor_sampler.h"
#include "tests/fuzz/fuzz.h"

static void sample(const struct graph *graph, uint64_t node)
{
    static const int32_t fanouts[] = {2, -1};
    struct neighbor_sampler *sampler = NULL;
    struct minibatch batch;
    struct arena *arena = arena_create(1 << 16);
    CHECK(neighbor_sampler_create(&sampler, graph, fanouts, 2, NULL) == STATUS_OK);
    neighbor_sampler_sample(sampler, 7, &node, 1, arena, &batch);
    neighbor_sampler_destroy(sampler);
    arena_destroy(arena);
}

static void read_graph(const struct graph *graph)
{
    const struct graph_info *info = graph_info(graph);
    struct arena *arena = arena_create(1 << 16);
    struct feature_rows rows;
    for (uint64_t node = 0; node < info->node_count; node++) {
        const struct graph_neighbors view = graph_neighbors(graph, node);
        for (uint64_t i = 0; i < view.count; i++)
            CHECK(graph_global(graph, view.partition, view.indices[i]) < info->node_count);
        uint32_t name_bytes = 0;
        (void)graph_external_id(graph, node);
        (void)graph_node_name(graph, node, &name_bytes);
        if (info->has_labels) {
            int32_t label;
            graph_labels(graph, &node, 1, &label);
        }
        if (info->features != GRAPH_FEATURES_NONE && info->feature_dim < 4096)
            graph_features(graph, &node, 1, arena, &rows);
        if (node < 4) sample(graph, node);
    }
    arena_destroy(arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct fuzz_input input = {data, bytes};
    struct graph *graph = NULL;
    struct error error = {.text = ""};
    bool fixed = fuzz_byte(&input) % 2 == 1;
    const char *path = fuzz_folder();
    fuzz_unpack(input);
    if (fixed) fuzz_fix_manifest("metadata.yaml", FUZZ_OF_GRAPH);
    enum status opened = graph_open(&graph, path, 0, &error);
    CHECK(opened == STATUS_OK || error.text[0] != '\0');
    enum status checked = graph_check(path, &error);
    if (opened == STATUS_OK && checked == STATUS_OK) read_graph(graph);
    if (opened == STATUS_OK) graph_close(graph);
    return 0;
}
