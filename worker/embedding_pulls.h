/* Pulls the embedding rows of batches: while one batch is computed, the rows of the next may be on
 * their way. Keeps hot rows (worker/embedding_cache) where asked to: the servers then leave out
 * rows of which the copy is new enough, which saves bytes, not round trips.
 * thread: the client's */
#ifndef ANTHILL_WORKER_EMBEDDING_PULLS_H
#define ANTHILL_WORKER_EMBEDDING_PULLS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/wire.pb-c.h"
#include "ps/client/client.h"

struct embedding_pulls;

struct embedding_pulls_options {
    struct client *client;
    uint32_t table, dim;
    Anthill__Encoding wire; /* of rows in messages (client_set_encoding), for the account */
    uint64_t cache_rows;    /* rows to keep, of a versioned table; 0: none ... */
    uint32_t cache_behind;  /* ... and the pushes that such a row may be behind */
};

/* Registers the metrics of the cache, where there is one.
 *   errors   STATUS_NOMEM
 *   owner    returns owned; embedding_pulls_destroy, before client_close */
enum status embedding_pulls_create(struct embedding_pulls **pulls,
                                   const struct embedding_pulls_options *options,
                                   struct error *error) MUST_CHECK;

/* Waits for the pull under way, once the program is to stop for a second at most. NULL does
 * nothing.
 */
void embedding_pulls_destroy(struct embedding_pulls *pulls);

/* Starts to pull keys[key_count], no key twice, key_count > 0. No other pull is under way. `keys`
 * is borrowed until embedding_pulls_finish.
 *   errors   those of client_pull; STATUS_NOMEM */
enum status embedding_pulls_start(struct embedding_pulls *pulls, const uint64_t *keys,
                                  uint32_t key_count, struct error *error) MUST_CHECK;

bool embedding_pulls_under_way(const struct embedding_pulls *pulls);

/* Waits for the pull under way. `rows` [key_count, dim] are the caller's until the next but one
 * pull is started, so that the next one may be under way meanwhile.
 *   errors   those of client_wait */
enum status embedding_pulls_finish(struct embedding_pulls *pulls, float **rows,
                                   struct error *error) MUST_CHECK;

#endif
