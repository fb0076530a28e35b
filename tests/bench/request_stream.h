/* The keys of the requests that a step sends: random rows, no key twice in a request, as clients
 * have it. */
#ifndef ANTHILL_TESTS_BENCH_REQUEST_STREAM_H
#define ANTHILL_TESTS_BENCH_REQUEST_STREAM_H

#include <stdbool.h>
#include <stdint.h>

struct request_stream {
    unsigned requests;
    uint32_t keys_max; /* of a request */
    uint32_t *counts;  /* [requests] */
    uint64_t *keys;    /* [requests, keys_max] */
};

/* Requests of `keys` keys below row_count, uniform; with `zipf` of so many draws with exponent 1.1,
 * each key once. keys <= row_count.
 *   owner    request_stream_deinit */
void request_stream_init(struct request_stream *stream, uint64_t seed, uint64_t row_count,
                         unsigned requests, uint32_t keys, bool zipf);
/* The keys of `whole` that part `index` of `count` owns. */
void request_stream_init_part(struct request_stream *stream, const struct request_stream *whole,
                              unsigned index, unsigned count);
void request_stream_deinit(struct request_stream *stream);

static inline const uint64_t *request_stream_keys(const struct request_stream *stream,
                                                  unsigned request)
{
    return stream->keys + (uint64_t)request * stream->keys_max;
}

/* Keys of all requests together. */
uint64_t request_stream_rows(const struct request_stream *stream);

#endif
