/* Partitions of random multigraphs against a sort in memory, with buckets of a few edges. */
#include "tests/unit/graph/graph_fixture.h"

#include "common/rng.h"
#include "graph/graph_check.h"

struct reference_edge {
    uint64_t src, dst;
    int64_t time;
    unsigned type;
    float weight;
};

static int reference_compare(const void *a, const void *b)
{
    const struct reference_edge *left = a, *right = b;
    if (left->dst != right->dst) return left->dst < right->dst ? -1 : 1;
    if (left->time != right->time) return left->time < right->time ? -1 : 1;
    if (left->src != right->src) return left->src < right->src ? -1 : 1;
    if (left->type != right->type) return left->type < right->type ? -1 : 1;
    /* Equal ones keep their order: weights tell it. */
    return left->weight < right->weight ? -1 : left->weight > right->weight;
}

struct shape {
    uint32_t nodes, edges, types, partitions;
    bool timed, dedupe, by_range;
    enum graph_reverse reverse;
};

/* The edges that the graph is due to have, in terms of global ids, in its order. */
static size_t reference_make(const struct shape *shape, const struct graph *graph,
                             const struct edge *edges, struct reference_edge *out)
{
    uint64_t *global = malloc(shape->nodes * sizeof *global);
    assert_non_null(global);
    for (uint64_t node = 0; node < shape->nodes; node++)
        global[graph_external_id(graph, node)] = node;
    size_t count = 0;
    for (uint32_t e = 0; e < shape->edges; e++) {
        const struct reference_edge forward = {.src = global[edges[e].src],
                                               .dst = global[edges[e].dst],
                                               .time = shape->timed ? edges[e].time : 0,
                                               .type = edges[e].type,
                                               .weight = edges[e].weight};
        struct reference_edge backward = forward;
        backward.src = forward.dst;
        backward.dst = forward.src;
        if (shape->reverse == REVERSE_INVERSE) backward.type += shape->types;
        out[count++] = forward;
        if (shape->reverse == REVERSE_NONE) continue;
        if (shape->reverse == REVERSE_SYMMETRIC && forward.src == forward.dst) continue;
        out[count++] = backward;
    }
    qsort(out, count, sizeof *out, reference_compare);
    size_t kept = 0;
    for (size_t e = 0; e < count; e++) {
        bool same = kept > 0 && out[kept - 1].dst == out[e].dst &&
                    out[kept - 1].src == out[e].src && out[kept - 1].type == out[e].type &&
                    out[kept - 1].time == out[e].time;
        if (!shape->dedupe || !same) out[kept++] = out[e];
    }
    free(global);
    return kept;
}

static void graph_make(const struct shape *shape, const struct edge *edges)
{
    struct error error = {.text = ""};
    struct graph_builder *builder = NULL;
    struct graph_summary summary;
    const struct graph_options options = {.out = in_folder("g"),
                                          .partitions = shape->partitions,
                                          .by_range = shape->by_range,
                                          .reverse = shape->reverse,
                                          .dedupe = shape->dedupe,
                                          .memory_bytes = 1500,
                                          .arguments = ""};
    const struct edge_layout layout = {.typed = true, .weighted = true, .timed = shape->timed};
    assert_status(graph_builder_create(&builder, &options, false, layout, &error), STATUS_OK,
                  &error);
    for (uint32_t node = 0; node < shape->nodes; node++)
        assert_int_equal(node_index_add_number(graph_builder_nodes(builder), node), node);
    for (uint32_t type = 0; type < shape->types; type++) {
        char name[16];
        uint16_t number;
        int bytes = snprintf(name, sizeof name, "type-%u", type);
        assert_status(graph_builder_edge_type(builder, name, (size_t)bytes, &number, &error),
                      STATUS_OK, &error);
    }
    for (uint32_t e = 0; e < shape->edges; e++)
        assert_status(graph_builder_edge(builder, &edges[e], &error), STATUS_OK, &error);
    assert_status(graph_builder_finish(builder, &summary, &error), STATUS_OK, &error);
    graph_builder_destroy(builder);
    assert_status(graph_check(in_folder("g"), &error), STATUS_OK, &error);
}

static void compare(const struct shape *shape, uint64_t seed)
{
    struct rng rng = rng_make(seed);
    struct edge *edges = calloc(shape->edges + 1, sizeof *edges);
    struct reference_edge *due = calloc(2 * (size_t)shape->edges + 1, sizeof *due);
    assert_true(edges != NULL && due != NULL);
    for (uint32_t e = 0; e < shape->edges; e++) {
        /* Half of the edges end at node 0: a hub with more in-edges than a bucket holds. */
        edges[e] =
            (struct edge){.src = (uint32_t)rng_below(&rng, shape->nodes),
                          .dst = (uint32_t)(rng_below(&rng, 2) * rng_below(&rng, shape->nodes)),
                          .type = (uint16_t)rng_below(&rng, shape->types),
                          .time = shape->timed ? (int64_t)rng_below(&rng, 7) - 3 : 0,
                          .weight = (float)e};
    }
    graph_make(shape, edges);
    struct graph *graph = open_good("g");
    const size_t due_count = reference_make(shape, graph, edges, due);
    size_t next = 0;
    for (uint64_t dst = 0; dst < shape->nodes; dst++) {
        const struct graph_neighbors view = graph_neighbors(graph, dst);
        for (uint64_t i = 0; i < view.count; i++, next++) {
            assert_true(next < due_count);
            assert_int_equal(due[next].dst, dst);
            assert_int_equal(due[next].src, graph_global(graph, view.partition, view.indices[i]));
            assert_int_equal(due[next].type, view.types[i]);
            if (!shape->dedupe) assert_true(due[next].weight == view.weights[i]);
            if (shape->timed) assert_int_equal(due[next].time, view.times[i]);
        }
    }
    assert_int_equal(next, due_count);
    graph_close(graph);
    free(edges);
    free(due);
}

static void partitions_hold_what_a_plain_sort_gives(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 24; seed++) {
        struct rng rng = rng_make(seed);
        const struct shape shape = {.nodes = 1 + (uint32_t)rng_below(&rng, 60),
                                    .edges = (uint32_t)rng_below(&rng, 900),
                                    .types = 1 + (uint32_t)rng_below(&rng, 3),
                                    .partitions = 1 + (uint32_t)rng_below(&rng, 5),
                                    .timed = seed % 2 == 0,
                                    .dedupe = seed % 3 == 0,
                                    .by_range = seed % 5 < 2,
                                    .reverse = (enum graph_reverse)rng_below(&rng, 3)};
        print_message("seed %llu\n", (unsigned long long)seed);
        compare(&shape, seed);
    }
}

/* The example of graph/README.md, array by array. */
static void the_five_nodes_of_the_readme(void **state)
{
    (void)state;
    struct import_job job = job_make();
    job.edges = write_text("e.tsv", "0\t1\n2\t1\n3\t1\n4\t3\n1\t4\n");
    job.graph.partitions = 2;
    job.graph.by_range = true;
    import_good(import_edges, &job);
    struct graph *graph = open_good("g");
    static const uint64_t indptr[2][4] = {{0, 0, 3, 3}, {0, 1, 2}}, halo[2] = {3, 1};
    static const uint32_t indices[2][3] = {{0, 2, 3}, {1, 2}};
    for (uint32_t p = 0; p < 2; p++) {
        const struct graph_partition *partition = &graph->partitions[p];
        const uint64_t inner = partition->end - partition->start;
        assert_int_equal(partition->start, p == 0 ? 0 : 3);
        assert_memory_equal(partition->indptr, indptr[p], (inner + 1) * sizeof(uint64_t));
        assert_memory_equal(partition->indices, indices[p],
                            partition->indptr[inner] * sizeof(uint32_t));
        assert_int_equal(graph->metadata->partitions[p].halo_count, 1);
        assert_int_equal(partition->halo[0], halo[p]);
    }
    graph_close(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_five_nodes_of_the_readme, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(partitions_hold_what_a_plain_sort_gives, folder_begin,
                                        folder_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
