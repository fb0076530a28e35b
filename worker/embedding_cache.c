#include "worker/embedding_cache.h"

#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/rng.h"

#define NOT_KEPT    UINT32_MAX
#define AHEAD       16 /* keys between asking for memory and looking at it */
#define CHANCES_MAX 3

struct kept_row {
    uint64_t key;
    uint32_t version;
    uint8_t chances; /* rounds of the hand that it stays */
};

/* Kept rows fill places 0 to count - 1. The index has them by the hash of their key:
 *
 *     rows   [ a d b . ]            count 3, of 4
 *     index  [ . 1 3 . . 2 . . ]    place + 1; 0: empty. a and b belong to 1, d to 5 */
struct embedding_cache {
    uint32_t capacity, count, dim, hand;
    struct kept_row *rows; /* [capacity] */
    float *values;         /* [capacity, dim] */
    uint32_t *index;       /* [mask + 1], at most half full */
    uint64_t mask;
    uint32_t *places; /* [places_capacity] of the batch that has begun; NOT_KEPT */
    uint32_t places_capacity, batch_count;
};

enum status embedding_cache_create(struct embedding_cache **cache_out, uint32_t rows, uint32_t dim,
                                   struct error *error)
{
    CHECK(rows > 0 && rows <= EMBEDDING_CACHE_ROWS_MAX && dim > 0);
    *cache_out = NULL;
    struct embedding_cache *cache = calloc(1, sizeof *cache);
    uint64_t index_count = 2;
    while (index_count < 2 * (uint64_t)rows)
        index_count *= 2;
    if (cache != NULL) {
        cache->capacity = rows;
        cache->dim = dim;
        cache->mask = index_count - 1;
        cache->rows = calloc(rows, sizeof *cache->rows);
        cache->values = calloc((size_t)rows * dim, sizeof *cache->values);
        cache->index = calloc(index_count, sizeof *cache->index);
    }
    if (cache == NULL || cache->rows == NULL || cache->values == NULL || cache->index == NULL) {
        embedding_cache_destroy(cache);
        return error_set(error, STATUS_NOMEM, "no memory to keep %u rows of %u floats", rows, dim);
    }
    *cache_out = cache;
    return STATUS_OK;
}

void embedding_cache_destroy(struct embedding_cache *cache)
{
    if (cache == NULL) return;
    free(cache->rows);
    free(cache->values);
    free(cache->index);
    free(cache->places);
    free(cache);
}

static float *values_at(const struct embedding_cache *cache, uint32_t place)
{
    return cache->values + (size_t)place * cache->dim;
}

/* ---- the index ------------------------------------------------------------------------------ */

static uint64_t home(const struct embedding_cache *cache, uint64_t key)
{
    return rng_mix(key) & cache->mask;
}

/* The position of `key` in the index, or the empty one where it would be. */
static uint64_t find(const struct embedding_cache *cache, uint64_t key)
{
    uint64_t position = home(cache, key);
    while (cache->index[position] != 0 && cache->rows[cache->index[position] - 1].key != key)
        position = (position + 1) & cache->mask;
    return position;
}

/* Takes a key out; what was put behind its position because that was full moves up.
 * source: Knuth, The Art of Computer Programming 3, 6.4, Algorithm R */
static void index_remove(struct embedding_cache *cache, uint64_t key)
{
    uint64_t hole = find(cache, key);
    CHECK(cache->index[hole] != 0);
    for (uint64_t i = (hole + 1) & cache->mask; cache->index[i] != 0; i = (i + 1) & cache->mask) {
        uint64_t wanted = home(cache, cache->rows[cache->index[i] - 1].key);
        if (((i - wanted) & cache->mask) < ((i - hole) & cache->mask)) continue;
        cache->index[hole] = cache->index[i];
        hole = i;
    }
    cache->index[hole] = 0;
}

/* ---- rows that come and go ------------------------------------------------------------------ */

/* A place for one more row. */
static uint32_t take_place(struct embedding_cache *cache)
{
    if (cache->count < cache->capacity) return cache->count++;
    for (;;) {
        uint32_t place = cache->hand;
        struct kept_row *row = &cache->rows[place];
        cache->hand = place + 1 < cache->capacity ? place + 1 : 0;
        if (row->chances == 0) {
            index_remove(cache, row->key);
            return place;
        }
        row->chances--;
    }
}

static void put(struct embedding_cache *cache, uint32_t place, uint32_t version, const float *row)
{
    cache->rows[place].version = version;
    memcpy(values_at(cache, place), row, cache->dim * sizeof *row);
}

enum status embedding_cache_begin(struct embedding_cache *cache, const uint64_t *keys,
                                  uint32_t key_count, float *rows, uint32_t *versions,
                                  struct error *error)
{
    if (key_count > cache->places_capacity) {
        free(cache->places);
        cache->places = malloc(key_count * sizeof *cache->places);
        cache->places_capacity = cache->places != NULL ? key_count : 0;
        if (cache->places == NULL)
            return error_set(error, STATUS_NOMEM, "no memory to look for %u rows", key_count);
    }
    cache->batch_count = key_count;
    for (uint32_t i = 0; i < key_count; i++) {
        if (i + AHEAD < key_count) {
            __builtin_prefetch(&cache->index[home(cache, keys[i + AHEAD])]);
        }
        uint32_t place = cache->index[find(cache, keys[i])];
        cache->places[i] = place == 0 ? NOT_KEPT : place - 1;
        versions[i] = 0;
    }
    for (uint32_t i = 0; i < key_count; i++) {
        if (i + AHEAD < key_count && cache->places[i + AHEAD] != NOT_KEPT)
            __builtin_prefetch(values_at(cache, cache->places[i + AHEAD]));
        uint32_t place = cache->places[i];
        if (place == NOT_KEPT) continue;
        versions[i] = cache->rows[place].version;
        if (cache->rows[place].chances < CHANCES_MAX) cache->rows[place].chances++;
        memcpy(rows + (size_t)i * cache->dim, values_at(cache, place), cache->dim * sizeof *rows);
    }
    return STATUS_OK;
}

uint32_t embedding_cache_end(struct embedding_cache *cache, const uint64_t *keys,
                             uint32_t key_count, const float *rows, const uint32_t *versions)
{
    CHECK(key_count == cache->batch_count);
    uint32_t not_newer = 0;
    for (uint32_t i = 0; i < key_count; i++) {
        uint32_t place = cache->places[i];
        if (place == NOT_KEPT) continue;
        if (versions[i] == cache->rows[place].version) {
            not_newer++;
        } else {
            put(cache, place, versions[i], rows + (size_t)i * cache->dim);
        }
    }
    /* Only now, since a row of this very batch may have to go. */
    for (uint32_t i = 0; i < key_count; i++) {
        if (cache->places[i] != NOT_KEPT) continue;
        uint32_t place = take_place(cache);
        cache->rows[place] = (struct kept_row){.key = keys[i]};
        cache->index[find(cache, keys[i])] = place + 1;
        put(cache, place, versions[i], rows + (size_t)i * cache->dim);
    }
    cache->batch_count = 0;
    return not_newer;
}

void embedding_cache_clear(struct embedding_cache *cache)
{
    memset(cache->index, 0, (cache->mask + 1) * sizeof *cache->index);
    cache->count = 0;
    cache->hand = 0;
    cache->batch_count = 0;
}

uint32_t embedding_cache_count(const struct embedding_cache *cache)
{
    return cache->count;
}
