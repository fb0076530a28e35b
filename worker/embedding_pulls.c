#include "worker/embedding_pulls.h"

#include <poll.h>
#include <stdlib.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/metrics.h"
#include "ps/row_codec.h"
#include "worker/embedding_cache.h"

#define END_WAIT_NS NS_PER_S

struct pull {
    float *rows; /* [key_count, dim] in memory of the client, which shards reach directly */
    uint32_t *versions;
    size_t capacity; /* keys */
    const uint64_t *keys;
    uint32_t key_count;
    uint64_t ticket;
    uint64_t restarts; /* of shards, when it was started */
};

struct embedding_pulls {
    struct embedding_pulls_options options;
    struct pull pulls[2]; /* in turn */
    uint64_t started;
    bool under_way;
    struct embedding_cache *cache; /* NULL: nothing is kept */
    uint64_t restarts;             /* of shards, when the kept versions were true */
    struct metric *hits, *misses, *saved_bytes, *kept_rows;
};

static void register_metrics(struct embedding_pulls *pulls)
{
    const char *name = "anthill_worker_cache_rows_total";
    const char *help = "Embedding rows pulled: kept and new enough (hit), or sent (miss)";
    pulls->hits = metrics_counter(name, "result=\"hit\"", help);
    pulls->misses = metrics_counter(name, "result=\"miss\"", help);
    pulls->saved_bytes =
        metrics_counter("anthill_worker_cache_saved_bytes_total", NULL,
                        "Bytes of embedding rows that were not sent, since kept ones were enough");
    pulls->kept_rows =
        metrics_gauge("anthill_worker_cache_rows", NULL, "Embedding rows that are kept");
}

static enum status create_cache(struct embedding_pulls *pulls, struct error *error)
{
    uint64_t rows = pulls->options.cache_rows;
    if (rows == 0) return STATUS_OK;
    if (rows > EMBEDDING_CACHE_ROWS_MAX) rows = EMBEDDING_CACHE_ROWS_MAX;
    register_metrics(pulls);
    pulls->restarts = client_restarts(pulls->options.client);
    return embedding_cache_create(&pulls->cache, (uint32_t)rows, pulls->options.dim, error);
}

enum status embedding_pulls_create(struct embedding_pulls **pulls_out,
                                   const struct embedding_pulls_options *options,
                                   struct error *error)
{
    *pulls_out = NULL;
    struct embedding_pulls *pulls = calloc(1, sizeof *pulls);
    if (pulls == NULL) return error_set(error, STATUS_NOMEM, "no memory for pulls of embeddings");
    pulls->options = *options;
    enum status status = create_cache(pulls, error);
    if (status != STATUS_OK) {
        embedding_pulls_destroy(pulls);
        return status;
    }
    *pulls_out = pulls;
    return STATUS_OK;
}

/* True when no answer is to come any more. Once the program is to stop client_wait only looks. */
static bool await_end(struct client *client, uint64_t ticket)
{
    uint64_t end_ns = clock_now_ns() + END_WAIT_NS;
    while (client_wait(client, ticket, NULL) == STATUS_STOPPED) {
        if (clock_now_ns() >= end_ns) return false;
        poll(NULL, 0, 1);
    }
    return true;
}

void embedding_pulls_destroy(struct embedding_pulls *pulls)
{
    if (pulls == NULL) return;
    struct client *client = pulls->options.client;
    for (unsigned i = 0; i < 2; i++) {
        struct pull *pull = &pulls->pulls[i];
        /* Where an answer would still be written the memory stays. */
        if (!await_end(client, pull->ticket)) continue;
        client_memory_free(client, pull->rows);
        free(pull->versions);
    }
    embedding_cache_destroy(pulls->cache);
    free(pulls);
}

static enum status reserve(struct embedding_pulls *pulls, struct pull *pull, uint32_t key_count,
                           struct error *error)
{
    if (pull->capacity >= key_count) return STATUS_OK;
    struct client *client = pulls->options.client;
    size_t capacity = (size_t)key_count + key_count / 2;
    client_memory_free(client, pull->rows);
    free(pull->versions);
    pull->capacity = 0;
    pull->rows = client_memory_alloc(client, capacity * pulls->options.dim * sizeof *pull->rows);
    pull->versions = malloc(capacity * sizeof *pull->versions);
    if (pull->rows == NULL || pull->versions == NULL)
        return error_set(error, STATUS_NOMEM, "no memory for %u rows of embeddings", key_count);
    pull->capacity = capacity;
    return STATUS_OK;
}

static enum status start_newer(struct embedding_pulls *pulls, struct pull *pull,
                               struct error *error)
{
    const struct embedding_pulls_options *options = &pulls->options;
    pull->restarts = client_restarts(options->client);
    if (pulls->restarts != pull->restarts) embedding_cache_clear(pulls->cache);
    pulls->restarts = pull->restarts;
    enum status status = embedding_cache_begin(pulls->cache, pull->keys, pull->key_count,
                                               pull->rows, pull->versions, error);
    if (status != STATUS_OK) return status;
    return client_pull_newer(options->client, options->table, pull->keys, pull->key_count,
                             options->cache_behind, pull->rows, pull->versions, false,
                             &pull->ticket, error);
}

enum status embedding_pulls_start(struct embedding_pulls *pulls, const uint64_t *keys,
                                  uint32_t key_count, struct error *error)
{
    const struct embedding_pulls_options *options = &pulls->options;
    CHECK(!pulls->under_way && key_count > 0);
    struct pull *pull = &pulls->pulls[pulls->started++ % 2];
    enum status status = reserve(pulls, pull, key_count, error);
    if (status != STATUS_OK) return status;
    pull->keys = keys;
    pull->key_count = key_count;
    status = pulls->cache != NULL ? start_newer(pulls, pull, error)
                                  : client_pull(options->client, options->table, keys, key_count,
                                                pull->rows, false, &pull->ticket, error);
    pulls->under_way = status == STATUS_OK;
    return status;
}

bool embedding_pulls_under_way(const struct embedding_pulls *pulls)
{
    return pulls->under_way;
}

/* Keeps what has come. What a shard said before it restarted is of no use, and which it was of the
 * rows is not known: none is kept, none counts as a hit. */
static void keep(struct embedding_pulls *pulls, const struct pull *pull)
{
    uint32_t hits = 0;
    if (client_restarts(pulls->options.client) == pull->restarts) {
        hits = embedding_cache_end(pulls->cache, pull->keys, pull->key_count, pull->rows,
                                   pull->versions);
    }
    metric_add(pulls->hits, hits);
    metric_add(pulls->misses, pull->key_count - hits);
    metric_add(pulls->saved_bytes,
               (double)hits * (double)row_codec_bytes(pulls->options.wire, pulls->options.dim));
    metric_set(pulls->kept_rows, embedding_cache_count(pulls->cache));
}

enum status embedding_pulls_finish(struct embedding_pulls *pulls, float **rows, struct error *error)
{
    CHECK(pulls->under_way);
    struct pull *pull = &pulls->pulls[(pulls->started - 1) % 2];
    enum status status = client_wait(pulls->options.client, pull->ticket, error);
    if (status != STATUS_OK) return status;
    pulls->under_way = false;
    if (pulls->cache != NULL) keep(pulls, pull);
    *rows = pull->rows;
    return STATUS_OK;
}
