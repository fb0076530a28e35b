/* Properties of sampled blocks on random graphs: real edges, no repeats, fan-outs, connected hops,
 * even choice, and the same blocks for the same key. */
#include "tests/unit/graph/graph_fixture.h"

#include "common/rng.h"
#include "graph/neighbor_sampler.h"

#define NODES 500u

/* Every node has 0 to 60 different in-neighbours; the type of an edge is its src modulo 3, and its
 * weight the src. Node 0 has all others as in-neighbours. */
static struct graph *make_graph(uint32_t partitions)
{
    struct error error = {.text = ""};
    struct graph_builder *builder = NULL;
    struct graph_summary summary;
    const struct graph_options options = {.out = in_folder("g"),
                                          .partitions = partitions,
                                          .memory_bytes = 1u << 20,
                                          .arguments = "test"};
    const struct edge_layout layout = {.typed = true, .weighted = true};
    assert_status(graph_builder_create(&builder, &options, false, layout, &error), STATUS_OK,
                  &error);
    for (uint32_t node = 0; node < NODES; node++)
        assert_int_equal(node_index_add_number(graph_builder_nodes(builder), node), node);
    for (int t = 0; t < 3; t++) {
        const char name = (char)('a' + t);
        uint16_t type;
        assert_status(graph_builder_edge_type(builder, &name, 1, &type, &error), STATUS_OK, &error);
    }
    struct rng rng = rng_make(3);
    for (uint32_t dst = 0; dst < NODES; dst++) {
        const uint32_t degree = dst == 0 ? NODES - 1 : (uint32_t)rng_below(&rng, 61);
        for (uint32_t i = 0; i < degree; i++) {
            const uint32_t src = dst == 0 ? i + 1 : (uint32_t)rng_permute(dst, NODES, i);
            const struct edge edge = {
                .src = src, .dst = dst, .type = (uint16_t)(src % 3), .weight = (float)src};
            assert_status(graph_builder_edge(builder, &edge, &error), STATUS_OK, &error);
        }
    }
    assert_status(graph_builder_finish(builder, &summary, &error), STATUS_OK, &error);
    graph_builder_destroy(builder);
    return open_good("g");
}

static struct neighbor_sampler *make_sampler(const struct graph *graph, const int32_t *fanouts,
                                             uint32_t hops)
{
    struct error error = {.text = ""};
    struct neighbor_sampler *sampler = NULL;
    assert_status(neighbor_sampler_create(&sampler, graph, fanouts, hops, &error), STATUS_OK,
                  &error);
    return sampler;
}

static void assert_no_repeats(const uint64_t *nodes, uint32_t count)
{
    bool seen[NODES] = {false};
    for (uint32_t i = 0; i < count; i++) {
        assert_true(nodes[i] < NODES);
        assert_false(seen[nodes[i]]);
        seen[nodes[i]] = true;
    }
}

static void assert_block_good(const struct graph *graph, const struct block *block, int32_t fanout)
{
    assert_true(block->src_count >= block->dst_count);
    assert_int_equal(block->indptr[0], 0);
    assert_int_equal(block->indptr[block->dst_count], block->edge_count);
    assert_no_repeats(block->nodes, block->src_count);
    bool used[NODES] = {false};
    for (uint32_t dst = 0; dst < block->dst_count; dst++) {
        const uint64_t degree = graph_degree(graph, block->nodes[dst]);
        const uint32_t taken = block->indptr[dst + 1] - block->indptr[dst];
        assert_int_equal(taken,
                         fanout < 0 || degree < (uint64_t)fanout ? degree : (uint64_t)fanout);
        bool chosen[NODES] = {false};
        for (uint32_t e = block->indptr[dst]; e < block->indptr[dst + 1]; e++) {
            assert_true(block->indices[e] < block->src_count);
            const uint64_t src = block->nodes[block->indices[e]];
            assert_int_equal(edges_between(graph, src, block->nodes[dst], -1), 1);
            assert_false(chosen[src]);
            chosen[src] = true;
            used[block->indices[e]] = true;
            const uint64_t external = graph_external_id(graph, src);
            assert_int_equal(block->types[e], external % 3);
            assert_true(block->weights[e] == (float)external);
        }
    }
    for (uint32_t i = 0; i < block->src_count; i++) {
        assert_true(i < block->dst_count || used[i]);
        assert_int_equal(block->degrees[i], graph_degree(graph, block->nodes[i]));
    }
}

static void assert_minibatch_good(const struct graph *graph, const struct minibatch *batch,
                                  const int32_t *fanouts, const uint64_t *seeds,
                                  uint32_t seed_count)
{
    const struct block *last = &batch->blocks[batch->hop_count - 1];
    assert_int_equal(last->dst_count, seed_count);
    assert_memory_equal(last->nodes, seeds, seed_count * sizeof *seeds);
    for (uint32_t h = 0; h < batch->hop_count; h++) {
        const struct block *block = &batch->blocks[batch->hop_count - 1 - h];
        assert_block_good(graph, block, fanouts[h]);
        if (h + 1 == batch->hop_count) break;
        const struct block *next = &batch->blocks[batch->hop_count - 2 - h];
        assert_int_equal(next->dst_count, block->src_count);
        assert_memory_equal(next->nodes, block->nodes, block->src_count * sizeof *block->nodes);
    }
    assert_int_equal(batch->input_count, batch->blocks[0].src_count);
    assert_ptr_equal(batch->input, batch->blocks[0].nodes);
}

static void blocks_are_right_for_all_kinds_of_fanouts(void **state)
{
    (void)state;
    static const int32_t fanouts[][3] = {{15, 10, 3},  {-1, -1, 0},   {1, -1, 2},         {0, 5, 5},
                                         {64, 65, 70}, {200, 300, 1}, {INT32_MAX, 10, 10}};
    struct graph *graph = make_graph(3);
    struct arena *arena = arena_create(1u << 16);
    for (size_t f = 0; f < sizeof fanouts / sizeof *fanouts; f++) {
        for (uint32_t hops = 1; hops <= 3; hops++) {
            for (int hashed = 0; hashed < 2; hashed++) {
                struct neighbor_sampler *sampler = make_sampler(graph, fanouts[f], hops);
                if (hashed) neighbor_sampler_use_hash_table(sampler);
                for (uint64_t key = 0; key < 6; key++) {
                    uint64_t seeds[NODES];
                    const uint32_t count = key == 0 ? 0 : (uint32_t)(key * key * 13);
                    for (uint32_t i = 0; i < count; i++)
                        seeds[i] = rng_permute(key, NODES, i);
                    struct minibatch batch;
                    arena_reset(arena);
                    neighbor_sampler_sample(sampler, key, seeds, count, arena, &batch);
                    assert_minibatch_good(graph, &batch, fanouts[f], seeds, count);
                }
                neighbor_sampler_destroy(sampler);
            }
        }
    }
    arena_destroy(arena);
    graph_close(graph);
}

static bool same_blocks(const struct minibatch *a, const struct minibatch *b)
{
    for (uint32_t h = 0; h < a->hop_count; h++) {
        const struct block *left = &a->blocks[h], *right = &b->blocks[h];
        if (left->src_count != right->src_count || left->edge_count != right->edge_count)
            return false;
        if (memcmp(left->nodes, right->nodes, left->src_count * sizeof *left->nodes) != 0)
            return false;
        if (memcmp(left->indices, right->indices, left->edge_count * sizeof *left->indices) != 0)
            return false;
    }
    return true;
}

static void a_key_decides_the_blocks_whatever_came_before(void **state)
{
    (void)state;
    static const int32_t fanouts[] = {5, 70};
    struct graph *graph = make_graph(2);
    struct arena *arena = arena_create(1u << 16);
    struct neighbor_sampler *first = make_sampler(graph, fanouts, 2);
    struct neighbor_sampler *second = make_sampler(graph, fanouts, 2);
    neighbor_sampler_use_hash_table(second);
    const uint64_t seeds[] = {0, 7, 300, 41};
    struct minibatch a, b, c;
    neighbor_sampler_sample(first, 1, seeds, 4, arena, &a);
    neighbor_sampler_sample(first, 9, seeds, 4, arena, &c);
    neighbor_sampler_sample(second, 8, seeds, 2, arena, &b);
    neighbor_sampler_sample(second, 1, seeds, 4, arena, &b);
    assert_true(same_blocks(&a, &b));
    assert_false(same_blocks(&a, &c));
    neighbor_sampler_sample(first, 1, seeds, 4, arena, &c);
    assert_true(same_blocks(&a, &c));
    neighbor_sampler_destroy(first);
    neighbor_sampler_destroy(second);
    arena_destroy(arena);
    graph_close(graph);
}

/* Chi-square of how often each of node 0's 499 in-neighbours is chosen. Its mean is 498 and its
 * standard deviation 31.6 for draws with replacement, less without: 640 is far in the tail. */
static void assert_even_choice(const struct graph *graph, int32_t fanout, uint32_t rounds)
{
    struct neighbor_sampler *sampler = make_sampler(graph, &fanout, 1);
    struct arena *arena = arena_create(1u << 16);
    uint32_t counts[NODES] = {0};
    const uint64_t hub = node_called(graph, 0);
    for (uint64_t key = 0; key < rounds; key++) {
        struct minibatch batch;
        arena_reset(arena);
        neighbor_sampler_sample(sampler, rng_key(77, key), &hub, 1, arena, &batch);
        for (uint32_t e = 0; e < batch.blocks[0].edge_count; e++)
            counts[batch.blocks[0].nodes[batch.blocks[0].indices[e]]]++;
    }
    const double due = (double)rounds * fanout / (NODES - 1);
    double chi_square = 0.0;
    for (uint64_t node = 0; node < NODES; node++)
        if (node != hub) chi_square += (counts[node] - due) * (counts[node] - due) / due;
    print_message("fan-out %d: chi-square %.1f\n", fanout, chi_square);
    assert_int_equal(counts[hub], 0);
    assert_true(chi_square < 640.0);
    assert_true(chi_square > 300.0 * (1.0 - (double)fanout / NODES));
    arena_destroy(arena);
    neighbor_sampler_destroy(sampler);
}

static void neighbours_are_chosen_evenly(void **state)
{
    (void)state;
    struct graph *graph = make_graph(1);
    assert_even_choice(graph, 1, 40000);
    assert_even_choice(graph, 10, 10000);
    assert_even_choice(graph, 100, 2000);
    graph_close(graph);
}

static void degrees_can_be_left_out(void **state)
{
    (void)state;
    static const int32_t fanouts[] = {5};
    struct graph *graph = make_graph(1);
    struct arena *arena = arena_create(1u << 16);
    struct neighbor_sampler *sampler = make_sampler(graph, fanouts, 1);
    neighbor_sampler_set_degrees(sampler, false);
    const uint64_t seed = 5;
    struct minibatch batch;
    neighbor_sampler_sample(sampler, 1, &seed, 1, arena, &batch);
    assert_null(batch.blocks[0].degrees);
    neighbor_sampler_destroy(sampler);
    arena_destroy(arena);
    graph_close(graph);
}

static void without_hops_the_seeds_are_the_input(void **state)
{
    (void)state;
    struct graph *graph = make_graph(1);
    struct arena *arena = arena_create(1u << 16);
    struct neighbor_sampler *sampler = make_sampler(graph, NULL, 0);
    const uint64_t seeds[] = {5, 2};
    struct minibatch batch;
    neighbor_sampler_sample(sampler, 1, seeds, 2, arena, &batch);
    assert_int_equal(batch.hop_count, 0);
    assert_int_equal(batch.input_count, 2);
    assert_ptr_equal(batch.input, seeds);
    neighbor_sampler_destroy(sampler);
    arena_destroy(arena);
    graph_close(graph);
}

static void impossible_fanouts_are_refused(void **state)
{
    (void)state;
    static const int32_t fanouts[BLOCK_HOPS_MAX + 1] = {1, -2};
    struct graph *graph = make_graph(1);
    struct neighbor_sampler *sampler;
    struct error error = {.text = ""};
    assert_status(neighbor_sampler_create(&sampler, graph, fanouts, 2, &error), STATUS_CONFIG,
                  &error);
    assert_non_null(strstr(error.text, "fan-out -2 of hop 2"));
    assert_status(neighbor_sampler_create(&sampler, graph, fanouts, BLOCK_HOPS_MAX + 1, &error),
                  STATUS_CONFIG, &error);
    assert_null(sampler);
    graph_close(graph);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_begin, folder_end)
    const struct CMUnitTest tests[] = {
        TEST(blocks_are_right_for_all_kinds_of_fanouts),
        TEST(a_key_decides_the_blocks_whatever_came_before),
        TEST(neighbours_are_chosen_evenly),
        TEST(degrees_can_be_left_out),
        TEST(without_hops_the_seeds_are_the_input),
        TEST(impossible_fanouts_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
