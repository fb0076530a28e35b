/* Neighbour sampling on one and two threads, degrees off as for models that do not use them. The
 * limit reads as many random edges of the same array and, for each, the number of the node that it
 * names: the two memory accesses, one depending on the other, that a sampled edge cannot do
 * without, in chunks as the sampler makes them. A sampler may come close to it or pass it, since
 * the edges of one node are neighbours in memory. The cases of a graph run in turn. */
#include <stdlib.h>

#include "common/arena.h"
#include "common/check.h"
#include "common/rng.h"
#include "graph/neighbor_sampler.h"
#include "ps/pages.h"
#include "tests/bench/bench.h"

#define BATCH       1024u
#define ARENA_BYTES (UINT64_C(64) << 20)
#define CHUNK       640u /* edges between passes of the limit: 64 nodes at fan-out 10 */
#define HOPS_MAX    3u

struct walker {
    const struct graph *graph;
    struct neighbor_sampler *sampler;
    struct arena *arena;
    uint64_t key, batches, edges; /* edges: of the last run */
    uint64_t *stamps;             /* [node_count] for the limit; 8 bytes as the sampler's */
    uint64_t sum;
};

struct walkers {
    struct walker items[BENCH_THREADS_MAX];
    unsigned count;
};

struct sample_case {
    const char *name;
    enum bench_graph graph;
    uint32_t hop_count;
    int32_t fanouts[HOPS_MAX];
    unsigned threads;
};

static const struct sample_case cases[] = {
    {"16m-15-10-t1", BENCH_GRAPH_16M, 2, {15, 10}, 1},
    {"16m-10-10-10-t1", BENCH_GRAPH_16M, 3, {10, 10, 10}, 1},
    {"160m-15-10-t1", BENCH_GRAPH_160M, 2, {15, 10}, 1},
    {"160m-10-10-10-t1", BENCH_GRAPH_160M, 3, {10, 10, 10}, 1},
    {"160m-10-10-10-t2", BENCH_GRAPH_160M, 3, {10, 10, 10}, 2},
};

#define CASES (sizeof cases / sizeof *cases)

static void sample(void *context)
{
    struct walker *walker = context;
    const uint64_t node_count = graph_info(walker->graph)->node_count;
    walker->edges = 0;
    for (uint64_t batch = 0; batch < walker->batches; batch++) {
        uint64_t seeds[BATCH];
        struct minibatch minibatch;
        for (uint64_t i = 0; i < BATCH; i++)
            seeds[i] = rng_permute(walker->key, node_count, (batch * BATCH + i) % node_count);
        arena_reset(walker->arena);
        neighbor_sampler_sample(walker->sampler, rng_key(walker->key, batch), seeds, BATCH,
                                walker->arena, &minibatch);
        for (uint32_t h = 0; h < minibatch.hop_count; h++)
            walker->edges += minibatch.blocks[h].edge_count;
    }
}

/* The graph has one partition: its list of edges begins with the first node's. */
static void read_edges(void *context)
{
    struct walker *walker = context;
    const uint32_t *indices = graph_neighbors(walker->graph, 0).indices;
    const uint64_t edge_count = graph_info(walker->graph)->edge_count;
    struct rng rng = rng_make(walker->key);
    uint64_t positions[CHUNK];
    for (uint64_t done = 0; done < walker->edges; done += CHUNK) {
        for (uint32_t i = 0; i < CHUNK; i++) {
            positions[i] = rng_below(&rng, edge_count);
            __builtin_prefetch(&indices[positions[i]]);
        }
        for (uint32_t i = 0; i < CHUNK; i++) {
            positions[i] = indices[positions[i]];
            __builtin_prefetch(&walker->stamps[positions[i]]);
        }
        for (uint32_t i = 0; i < CHUNK; i++)
            walker->sum += walker->stamps[positions[i]];
    }
}

static enum status on_walkers(struct walkers *walkers, void (*run)(void *context))
{
    void *contexts[BENCH_THREADS_MAX];
    for (unsigned i = 0; i < walkers->count; i++)
        contexts[i] = &walkers->items[i];
    bench_parallel(run, contexts, walkers->count);
    return STATUS_OK;
}

static enum status run_sample(void *context, struct error *error)
{
    (void)error;
    return on_walkers(context, sample);
}

static enum status run_read_edges(void *context, struct error *error)
{
    (void)error;
    return on_walkers(context, read_edges);
}

static enum status walker_init(struct walker *walker, const struct sample_case *test,
                               const struct graph *graph, struct error *error)
{
    walker->graph = graph;
    walker->arena = arena_create(ARENA_BYTES);
    walker->stamps = pages_alloc(graph_info(graph)->node_count * sizeof *walker->stamps);
    CHECK(walker->stamps != NULL);
    for (uint64_t i = 0; i < graph_info(graph)->node_count; i++)
        walker->stamps[i] = i;
    enum status status =
        neighbor_sampler_create(&walker->sampler, graph, test->fanouts, test->hop_count, error);
    if (status == STATUS_OK) neighbor_sampler_set_degrees(walker->sampler, false);
    return status;
}

static void walker_deinit(struct walker *walker)
{
    if (walker->graph == NULL) return;
    pages_free(walker->stamps, graph_info(walker->graph)->node_count * sizeof *walker->stamps);
    neighbor_sampler_destroy(walker->sampler);
    arena_destroy(walker->arena);
}

static enum status walkers_init(struct walkers *walkers, const struct bench *bench,
                                const struct sample_case *test, const struct graph *graph,
                                struct error *error)
{
    enum status status = STATUS_OK;
    walkers->count = test->threads;
    for (unsigned i = 0; i < test->threads && status == STATUS_OK; i++) {
        walkers->items[i].key = i + 1;
        walkers->items[i].batches = bench->quick ? 2 : 60 / test->hop_count;
        status = walker_init(&walkers->items[i], test, graph, error);
    }
    return status;
}

static double walkers_edges(const struct walkers *walkers)
{
    double edges = 0;
    for (unsigned i = 0; i < walkers->count; i++)
        edges += (double)walkers->items[i].edges;
    return edges;
}

static enum status measure(struct bench *bench, const struct sample_case *const *wanted,
                           unsigned count, const struct graph *graph, struct error *error)
{
    struct walkers walkers[CASES] = {0};
    struct bench_step steps[2 * CASES];
    enum status status = STATUS_OK;
    for (unsigned i = 0; i < count && status == STATUS_OK; i++) {
        status = walkers_init(&walkers[i], bench, wanted[i], graph, error);
        steps[2 * i] = (struct bench_step){run_sample, &walkers[i], 0};
        steps[2 * i + 1] = (struct bench_step){run_read_edges, &walkers[i], 0};
    }
    if (status == STATUS_OK)
        status = bench_alternate(steps, 2 * count, bench_rounds(bench, 15), error);
    for (unsigned i = 0; i < count; i++) {
        const double edges = walkers_edges(&walkers[i]);
        if (status == STATUS_OK)
            bench_report(bench, wanted[i]->name, edges / steps[2 * i].seconds, "edges/s",
                         edges / steps[2 * i + 1].seconds);
        for (unsigned w = 0; w < BENCH_THREADS_MAX; w++)
            walker_deinit(&walkers[i].items[w]);
    }
    return status;
}

enum status sample_cases(struct bench *bench, struct error *error)
{
    enum status status = STATUS_OK;
    for (unsigned which = 0; which < BENCH_GRAPHS && status == STATUS_OK; which++) {
        const struct sample_case *wanted[CASES];
        char path[FILE_PATH_BYTES];
        struct graph *graph = NULL;
        unsigned count = 0;
        for (unsigned i = 0; i < CASES; i++)
            if (cases[i].graph == which && bench_wants(bench, cases[i].name))
                wanted[count++] = &cases[i];
        if (count == 0 || (which == BENCH_GRAPH_160M && !bench->large)) continue;
        status = bench_graph(bench, (enum bench_graph)which, path, error);
        if (status == STATUS_OK) status = graph_open(&graph, path, 0, error);
        if (status == STATUS_OK) status = measure(bench, wanted, count, graph, error);
        graph_close(graph);
    }
    return status;
}
