/* Memory of a minibatch: taken piece by piece, given back all at once. After the first few batches
 * an arena holds one chunk that fits a whole batch, and no allocation happens while computing. */
#ifndef ANTHILL_COMMON_ARENA_H
#define ANTHILL_COMMON_ARENA_H

#include <stddef.h>

struct arena;

/* returns owned; free with arena_destroy. Ends the process when memory is used up: a worker keeps
 * nothing that matters. */
struct arena *arena_create(size_t bytes_initial);
void arena_destroy(struct arena *arena);

/* `bytes` of uninitialised memory aligned to 64, valid until arena_reset. */
void *arena_alloc(struct arena *arena, size_t bytes);

/* The same, zeroed. */
void *arena_zalloc(struct arena *arena, size_t bytes);

/* All pieces become invalid; the memory is kept for the next batch. */
void arena_reset(struct arena *arena);

/* Typed array: ARENA_ARRAY(arena, float, n). */
#define ARENA_ARRAY(arena, type, count)                                                            \
    ((type *)arena_alloc((arena), (size_t)(count) * sizeof(type)))

#endif
