#include "tests/bench/request_stream.h"

#include <stdlib.h>

#include "common/check.h"
#include "common/rng.h"
#include "tests/bench/zipf.h"

#define ZIPF_EXPONENT 1.1

static void stream_alloc(struct request_stream *stream, unsigned requests, uint32_t keys_max)
{
    *stream = (struct request_stream){.requests = requests, .keys_max = keys_max};
    stream->counts = calloc(requests, sizeof *stream->counts);
    stream->keys = malloc((size_t)requests * keys_max * sizeof *stream->keys);
    CHECK(stream->counts != NULL && stream->keys != NULL);
}

static int compare_keys(const void *left, const void *right)
{
    const uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

/* Which row has which rank is a permutation, the same for all streams; it also takes the order out
 * of keys that were sorted to find those drawn twice. */
static uint32_t draw_zipf(uint64_t *keys, uint32_t count, uint64_t row_count,
                          const struct zipf *zipf, struct rng *rng)
{
    uint32_t distinct = 0;
    for (uint32_t i = 0; i < count; i++)
        keys[i] = zipf_draw(zipf, rng) - 1;
    qsort(keys, count, sizeof *keys, compare_keys);
    for (uint32_t i = 0; i < count; i++)
        if (i == 0 || keys[i] != keys[distinct - 1]) keys[distinct++] = keys[i];
    for (uint32_t i = 0; i < distinct; i++)
        keys[i] = rng_permute(0, row_count, keys[i]);
    return distinct;
}

void request_stream_init(struct request_stream *stream, uint64_t seed, uint64_t row_count,
                         unsigned requests, uint32_t keys, bool zipf)
{
    const struct zipf law = zipf_make(ZIPF_EXPONENT, row_count);
    struct rng rng = rng_make(seed);
    CHECK(keys <= row_count);
    stream_alloc(stream, requests, keys);
    for (unsigned r = 0; r < requests; r++) {
        uint64_t *some = stream->keys + (size_t)r * keys;
        stream->counts[r] = keys;
        if (zipf) {
            stream->counts[r] = draw_zipf(some, keys, row_count, &law, &rng);
            continue;
        }
        const uint64_t permutation = rng_u64(&rng);
        for (uint32_t i = 0; i < keys; i++)
            some[i] = rng_permute(permutation, row_count, i);
    }
}

void request_stream_init_part(struct request_stream *stream, const struct request_stream *whole,
                              unsigned index, unsigned count)
{
    stream_alloc(stream, whole->requests, whole->keys_max);
    for (unsigned r = 0; r < whole->requests; r++) {
        const uint64_t *keys = request_stream_keys(whole, r);
        uint64_t *some = stream->keys + (size_t)r * stream->keys_max;
        for (uint32_t i = 0; i < whole->counts[r]; i++)
            if (keys[i] % count == index) some[stream->counts[r]++] = keys[i];
    }
}

void request_stream_deinit(struct request_stream *stream)
{
    free(stream->counts);
    free(stream->keys);
    *stream = (struct request_stream){0};
}

uint64_t request_stream_rows(const struct request_stream *stream)
{
    uint64_t rows = 0;
    for (unsigned r = 0; r < stream->requests; r++)
        rows += stream->counts[r];
    return rows;
}
