#include "common/region.h"

#include <stdlib.h>

#include "common/check.h"

void region_init(struct region *region, void *base, uint64_t bytes)
{
    CHECK((uintptr_t)base % REGION_LINE_BYTES == 0);
    *region = (struct region){.base = base, .bytes = bytes};
}

void region_deinit(struct region *region)
{
    free(region->pieces);
    *region = (struct region){0};
}

/* Lines of a piece of a size: 1 2 3 | 4 5 6 7 | 8 10 12 14 | 16 20 24 28 | ... */
static uint64_t class_lines(unsigned size_class)
{
    unsigned number = size_class + 1;
    if (number < 4) return number;
    return (UINT64_C(4) + number % 4) << (number / 4 - 1);
}

/* The smallest size of so many lines; at most 2^36 of them. */
static unsigned class_of(uint64_t lines)
{
    if (lines < 4) return (unsigned)lines - 1;
    unsigned doublings = 61 - (unsigned)__builtin_clzll(lines);
    unsigned quarter = (unsigned)(lines >> doublings) - 4;
    unsigned size_class = 4 * (doublings + 1) + quarter - 1;
    return class_lines(size_class) < lines ? size_class + 1 : size_class;
}

/* A new piece at the end of what is used. False: there is no room. */
static bool make_piece(struct region *region, unsigned size_class)
{
    uint64_t bytes = class_lines(size_class) * REGION_LINE_BYTES;
    if (bytes > region->bytes - region->used) return false;
    if (region->count == region->capacity) {
        uint32_t capacity = region->capacity == 0 ? 64 : region->capacity * 2;
        struct region_piece *pieces = realloc(region->pieces, capacity * sizeof *pieces);
        if (pieces == NULL) return false;
        region->pieces = pieces;
        region->capacity = capacity;
    }
    region->pieces[region->count++] = (struct region_piece){
        .offset = region->used, .next_free = region->free[size_class], .size_class = size_class};
    region->free[size_class] = region->count;
    region->used += bytes;
    return true;
}

void *region_alloc(struct region *region, uint64_t bytes)
{
    if (bytes > region->bytes) return NULL;
    uint64_t lines = bytes == 0 ? 1 : (bytes - 1) / REGION_LINE_BYTES + 1;
    unsigned size_class = class_of(lines);
    if (size_class >= REGION_CLASSES) return NULL;
    if (region->free[size_class] == 0 && !make_piece(region, size_class)) {
        while (size_class < REGION_CLASSES && region->free[size_class] == 0)
            size_class++;
        if (size_class == REGION_CLASSES) return NULL;
    }
    struct region_piece *piece = &region->pieces[region->free[size_class] - 1];
    region->free[size_class] = piece->next_free;
    piece->used = true;
    return region->base + piece->offset;
}

void region_free(struct region *region, void *piece)
{
    if (piece == NULL) return;
    uint64_t offset = (uint64_t)((unsigned char *)piece - region->base);
    uint32_t begin = 0, end = region->count;
    while (end - begin > 1) {
        uint32_t middle = begin + (end - begin) / 2;
        *(region->pieces[middle].offset <= offset ? &begin : &end) = middle;
    }
    CHECK(begin < end);
    struct region_piece *found = &region->pieces[begin];
    CHECK(found->offset == offset && found->used);
    found->used = false;
    found->next_free = region->free[found->size_class];
    region->free[found->size_class] = begin + 1;
}
