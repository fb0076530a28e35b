/* Pieces of a given stretch of memory, for one thread. What it knows about them stands outside that
 * memory, which others may write. A piece is made at the end of what is used and goes back to the
 * pieces of its size; pieces are never joined, so sizes should repeat. Pure.
 *
 *     |piece 0    |piece 1|piece 2        |             |
 *     base                                base + used   base + bytes */
#ifndef ANTHILL_COMMON_REGION_H
#define ANTHILL_COMMON_REGION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Sizes are whole lines of 64 bytes: 1, 2, 3 and then four to each doubling, so that a piece is at
 * most a quarter larger than asked for. */
#define REGION_LINE_BYTES 64u
#define REGION_CLASSES    160u

struct region_piece {
    uint64_t offset;
    uint32_t next_free; /* of its size: place + 1; 0: none */
    uint8_t size_class;
    bool used;
};

struct region {
    unsigned char *base;
    uint64_t bytes, used;
    struct region_piece *pieces; /* ascending offsets */
    uint32_t count, capacity;
    uint32_t free[REGION_CLASSES]; /* place + 1 */
};

/*   base     borrowed; aligned to 64; may be NULL with no bytes */
void region_init(struct region *region, void *base, uint64_t bytes);
void region_deinit(struct region *region);

/* At least `bytes` bytes, aligned to 64 and not initialised; NULL when there is no room. */
void *region_alloc(struct region *region, uint64_t bytes);

/* Takes back what region_alloc gave; NULL does nothing. */
void region_free(struct region *region, void *piece);

/* Whether all of memory[bytes] lies in the region. */
static inline bool region_contains(const struct region *region, const void *memory, uint64_t bytes)
{
    uintptr_t base = (uintptr_t)region->base, first = (uintptr_t)memory;
    return first >= base && first - base <= region->bytes &&
           bytes <= region->bytes - (first - base);
}

#endif
