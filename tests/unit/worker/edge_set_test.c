#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "common/rng.h"
#include "worker/edge_set.h"

#define DST   20
#define SRC   30
#define EDGES 70

struct random_block {
    struct arena *arena;
    struct block block;
    uint32_t indptr[DST + 1], indices[EDGES];
    uint16_t types[EDGES];
};

static void random_block_init(struct random_block *r, uint64_t seed)
{
    struct rng rng = rng_make(seed);
    uint32_t counts[DST] = {0};
    for (int i = 0; i < EDGES; i++)
        counts[rng_below(&rng, DST - 3)]++; /* the last dst nodes have none */
    r->indptr[0] = 0;
    for (int i = 0; i < DST; i++)
        r->indptr[i + 1] = r->indptr[i] + counts[i];
    for (int i = 0; i < EDGES; i++) {
        r->indices[i] = (uint32_t)rng_below(&rng, SRC) / 2 * 2; /* odd ones have no edge */
        r->types[i] = (uint16_t)rng_below(&rng, 4);
    }
    r->block = (struct block){.dst_count = DST,
                              .src_count = SRC,
                              .edge_count = EDGES,
                              .indptr = r->indptr,
                              .indices = r->indices,
                              .types = r->types};
    r->arena = arena_create(1 << 16);
}

static void split_sets_hold_each_edge_once_in_its_group_and_order(void **state)
{
    (void)state;
    static const uint32_t groups[] = {0, 2, 2, 1};
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct random_block r;
        struct edge_set sets[3];
        random_block_init(&r, seed);
        edge_set_split(&r.block, groups, 3, r.arena, sets);
        assert_int_equal(sets[0].edge_count + sets[1].edge_count + sets[2].edge_count, EDGES);
        for (uint32_t dst = 0; dst < DST; dst++) {
            uint32_t at[3] = {sets[0].indptr[dst], sets[1].indptr[dst], sets[2].indptr[dst]};
            for (uint32_t e = r.indptr[dst]; e < r.indptr[dst + 1]; e++) {
                uint32_t group = groups[r.types[e]];
                assert_int_equal(sets[group].indices[at[group]++], r.indices[e]);
            }
            for (int group = 0; group < 3; group++)
                assert_int_equal(at[group], sets[group].indptr[dst + 1]);
        }
        arena_destroy(r.arena);
    }
}

static void one_group_is_the_block_itself(void **state)
{
    (void)state;
    static const uint32_t groups[] = {0, 0, 0, 0};
    struct random_block r;
    struct edge_set set;
    random_block_init(&r, 1);
    edge_set_split(&r.block, groups, 1, r.arena, &set);
    assert_ptr_equal(set.indices, r.indices);
    assert_int_equal(set.edge_count, EDGES);
    assert_null(set.weights);
    arena_destroy(r.arena);
}

static void edges_without_types_are_of_type_zero(void **state)
{
    (void)state;
    static const uint32_t groups[] = {1};
    struct random_block r;
    struct edge_set sets[2];
    random_block_init(&r, 1);
    r.block.types = NULL;
    edge_set_split(&r.block, groups, 2, r.arena, sets);
    assert_int_equal(sets[0].edge_count, 0);
    assert_int_equal(sets[1].edge_count, EDGES);
    arena_destroy(r.arena);
}

static void compaction_keeps_the_edges_and_drops_unread_src(void **state)
{
    (void)state;
    struct random_block r;
    random_block_init(&r, 2);
    struct edge_set set = edge_set_of_block(&r.block);
    edge_set_compact(&set, r.arena);
    assert_true(set.src_count <= SRC / 2);
    bool read[SRC] = {false};
    for (uint32_t e = 0; e < EDGES; e++) {
        assert_true(set.indices[e] < set.src_count);
        assert_int_equal(set.sources[set.indices[e]], r.indices[e]);
        read[set.indices[e]] = true;
    }
    for (uint32_t src = 0; src < set.src_count; src++) {
        assert_true(read[src]);
        assert_true(src == 0 || set.sources[src] > set.sources[src - 1]);
    }
    arena_destroy(r.arena);
}

static void a_transposed_set_transposed_has_the_same_edges(void **state)
{
    (void)state;
    struct random_block r;
    random_block_init(&r, 3);
    struct edge_set set = edge_set_of_block(&r.block), turned;
    uint32_t *ids = NULL;
    edge_set_transpose(&set, r.arena, &turned, &ids);
    assert_int_equal(turned.dst_count, SRC);
    assert_int_equal(turned.src_count, DST);
    assert_int_equal(turned.indptr[0], 0);
    assert_int_equal(turned.indptr[SRC], EDGES);
    bool seen[EDGES] = {false};
    for (uint32_t src = 0; src < SRC; src++) {
        for (uint32_t i = turned.indptr[src]; i < turned.indptr[src + 1]; i++) {
            uint32_t dst = turned.indices[i], edge = ids[i];
            assert_false(seen[edge]);
            seen[edge] = true;
            assert_int_equal(r.indices[edge], src);
            assert_true(edge >= r.indptr[dst] && edge < r.indptr[dst + 1]);
        }
    }
    arena_destroy(r.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(split_sets_hold_each_edge_once_in_its_group_and_order),
        cmocka_unit_test(one_group_is_the_block_itself),
        cmocka_unit_test(edges_without_types_are_of_type_zero),
        cmocka_unit_test(compaction_keeps_the_edges_and_drops_unread_src),
        cmocka_unit_test(a_transposed_set_transposed_has_the_same_edges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
