#include "worker/edge_set.h"

#include <string.h>

#include "common/check.h"

struct edge_set edge_set_of_block(const struct block *block)
{
    return (struct edge_set){.dst_count = block->dst_count,
                             .src_count = block->src_count,
                             .edge_count = block->edge_count,
                             .indptr = block->indptr,
                             .indices = block->indices};
}

static uint32_t group_of(const struct block *block, const uint32_t *group_of_type, uint32_t edge)
{
    return group_of_type[block->types != NULL ? block->types[edge] : 0];
}

void edge_set_split(const struct block *block, const uint32_t *group_of_type, uint32_t group_count,
                    struct arena *arena, struct edge_set *sets)
{
    if (group_count == 1) {
        sets[0] = edge_set_of_block(block);
        return;
    }
    uint32_t *counts = arena_zalloc(arena, group_count * sizeof *counts);
    for (uint32_t edge = 0; edge < block->edge_count; edge++) {
        uint32_t group = group_of(block, group_of_type, edge);
        CHECK(group < group_count);
        counts[group]++;
    }
    uint32_t **indptrs = ARENA_ARRAY(arena, uint32_t *, group_count);
    uint32_t **indices = ARENA_ARRAY(arena, uint32_t *, group_count);
    for (uint32_t group = 0; group < group_count; group++) {
        indptrs[group] = ARENA_ARRAY(arena, uint32_t, (size_t)block->dst_count + 1);
        indices[group] = ARENA_ARRAY(arena, uint32_t, counts[group]);
        indptrs[group][0] = 0;
        sets[group] = (struct edge_set){.dst_count = block->dst_count,
                                        .src_count = block->src_count,
                                        .edge_count = counts[group],
                                        .indptr = indptrs[group],
                                        .indices = indices[group]};
    }
    memset(counts, 0, group_count * sizeof *counts);
    for (uint32_t dst = 0; dst < block->dst_count; dst++) {
        for (uint32_t edge = block->indptr[dst]; edge < block->indptr[dst + 1]; edge++) {
            uint32_t group = group_of(block, group_of_type, edge);
            indices[group][counts[group]++] = block->indices[edge];
        }
        for (uint32_t group = 0; group < group_count; group++)
            indptrs[group][dst + 1] = counts[group];
    }
}

void edge_set_compact(struct edge_set *set, struct arena *arena)
{
    CHECK(set->sources == NULL);
    uint32_t *numbers = arena_zalloc(arena, set->src_count * sizeof *numbers);
    for (uint32_t edge = 0; edge < set->edge_count; edge++)
        numbers[set->indices[edge]] = 1;
    uint32_t used = 0;
    for (uint32_t src = 0; src < set->src_count; src++)
        used += numbers[src];
    uint32_t *sources = ARENA_ARRAY(arena, uint32_t, used);
    used = 0;
    for (uint32_t src = 0; src < set->src_count; src++) {
        if (numbers[src] == 0) continue;
        sources[used] = src;
        numbers[src] = used++;
    }
    uint32_t *indices = ARENA_ARRAY(arena, uint32_t, set->edge_count);
    for (uint32_t edge = 0; edge < set->edge_count; edge++)
        indices[edge] = numbers[set->indices[edge]];
    set->src_count = used;
    set->indices = indices;
    set->sources = sources;
}

void edge_set_transpose(const struct edge_set *set, struct arena *arena, struct edge_set *turned,
                        uint32_t **ids)
{
    uint32_t *indptr = arena_zalloc(arena, ((size_t)set->src_count + 2) * sizeof *indptr);
    uint32_t *indices = ARENA_ARRAY(arena, uint32_t, set->edge_count);
    uint32_t *edges = ids != NULL ? ARENA_ARRAY(arena, uint32_t, set->edge_count) : NULL;
    /* Counts stand two further, so that filling leaves each row's start where it belongs. */
    for (uint32_t edge = 0; edge < set->edge_count; edge++)
        indptr[set->indices[edge] + 2]++;
    for (uint32_t src = 0; src < set->src_count; src++)
        indptr[src + 2] += indptr[src + 1];
    for (uint32_t dst = 0; dst < set->dst_count; dst++) {
        for (uint32_t edge = set->indptr[dst]; edge < set->indptr[dst + 1]; edge++) {
            uint32_t at = indptr[set->indices[edge] + 1]++;
            indices[at] = dst;
            if (edges != NULL) edges[at] = edge;
        }
    }
    *turned = (struct edge_set){.dst_count = set->src_count,
                                .src_count = set->dst_count,
                                .edge_count = set->edge_count,
                                .indptr = indptr,
                                .indices = indices};
    if (ids != NULL) *ids = edges;
}
