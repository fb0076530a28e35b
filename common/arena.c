#include "common/arena.h"

#include <stdlib.h>
#include <string.h>

#include "common/check.h"

struct chunk {
    struct chunk *next;
    size_t used, bytes;
    unsigned char *data;
};

struct arena {
    struct chunk *chunks; /* the one in use first */
    size_t bytes_total;
};

static struct chunk *chunk_create(size_t bytes)
{
    struct chunk *chunk = malloc(sizeof *chunk);
    CHECK(chunk != NULL);
    bytes = (bytes + 63) & ~(size_t)63;
    *chunk = (struct chunk){.bytes = bytes, .data = aligned_alloc(64, bytes)};
    CHECK(chunk->data != NULL);
    return chunk;
}

static void chunks_free(struct chunk *chunk)
{
    while (chunk != NULL) {
        struct chunk *next = chunk->next;
        free(chunk->data);
        free(chunk);
        chunk = next;
    }
}

struct arena *arena_create(size_t bytes_initial)
{
    struct arena *arena = malloc(sizeof *arena);
    CHECK(arena != NULL);
    arena->chunks = chunk_create(bytes_initial > 4096 ? bytes_initial : 4096);
    arena->bytes_total = arena->chunks->bytes;
    return arena;
}

void arena_destroy(struct arena *arena)
{
    if (arena == NULL) return;
    chunks_free(arena->chunks);
    free(arena);
}

void *arena_alloc(struct arena *arena, size_t bytes)
{
    bytes = (bytes + 63) & ~(size_t)63;
    struct chunk *chunk = arena->chunks;
    if (chunk->bytes - chunk->used < bytes) {
        size_t grown = bytes > arena->bytes_total ? bytes : arena->bytes_total;
        chunk = chunk_create(grown);
        chunk->next = arena->chunks;
        arena->chunks = chunk;
        arena->bytes_total += chunk->bytes;
    }
    void *piece = chunk->data + chunk->used;
    chunk->used += bytes;
    return piece;
}

void *arena_zalloc(struct arena *arena, size_t bytes)
{
    return memset(arena_alloc(arena, bytes), 0, bytes);
}

void arena_reset(struct arena *arena)
{
    if (arena->chunks->next != NULL) {
        chunks_free(arena->chunks);
        arena->chunks = chunk_create(arena->bytes_total);
        arena->bytes_total = arena->chunks->bytes;
    }
    arena->chunks->used = 0;
}
