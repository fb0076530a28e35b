/* Copies of embedding rows that a worker keeps between batches, each with its version. The servers
 * decide what is new enough (client_pull_newer): a copy is never used without asking them.
 *
 * A fixed number of rows, found by key through open addressing with linear probing. Which row goes
 * when another comes is decided by a clock with counts: each use gives a row one more chance, up to
 * three; a hand goes round, takes a chance from each row that has one, and stops at the first that
 * has none. A row that is seen once thus leaves within a round, a hub that most batches have stays;
 * and a use costs a count, where a list in the order of use (LRU) would be rewritten for each row
 * of each batch. With keys by Zipf's law it keeps more of what is asked for than LRU or a clock
 * with one flag. Pure.
 * source: Corbato 1968, "A paging experiment with the Multics system" (the clock); Smith 1978,
 * "Sequentiality and prefetching in database systems" (counts in place of a flag) */
#ifndef ANTHILL_WORKER_EMBEDDING_CACHE_H
#define ANTHILL_WORKER_EMBEDDING_CACHE_H

#include <stdint.h>

#include "common/error.h"

struct embedding_cache;

#define EMBEDDING_CACHE_ROWS_MAX (UINT32_C(1) << 31)

/* Memory for values is there once it is used.
 *   shapes   rows in 1 .. EMBEDDING_CACHE_ROWS_MAX, of `dim` floats
 *   errors   STATUS_NOMEM
 *   owner    returns owned; embedding_cache_destroy */
enum status embedding_cache_create(struct embedding_cache **cache, uint32_t rows, uint32_t dim,
                                   struct error *error) MUST_CHECK;
/* NULL does nothing. */
void embedding_cache_destroy(struct embedding_cache *cache);

/* A batch begins: copies what is kept of keys[key_count] (no key twice) into its places of `rows`,
 * with its version; the version of other rows becomes 0.
 *   shapes   rows[key_count, dim], versions[key_count]
 *   errors   STATUS_NOMEM */
enum status embedding_cache_begin(struct embedding_cache *cache, const uint64_t *keys,
                                  uint32_t key_count, float *rows, uint32_t *versions,
                                  struct error *error) MUST_CHECK;

/* The same batch, once newer rows stand in `rows` with versions of their own: they are kept from
 * now on. Returns the number of rows whose version is that of the copy: they were not newer. Each
 * embedding_cache_begin is followed by this, by embedding_cache_clear, or by neither. */
uint32_t embedding_cache_end(struct embedding_cache *cache, const uint64_t *keys,
                             uint32_t key_count, const float *rows, const uint32_t *versions);

/* Forgets all rows. */
void embedding_cache_clear(struct embedding_cache *cache);

/* Rows that are kept. */
uint32_t embedding_cache_count(const struct embedding_cache *cache);

#endif
