#include "worker/feed.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/metrics.h"
#include "common/program.h"
#include "common/queue.h"
#include "common/rng.h"
#include "common/schedule.h"
#include "common/wire.h"
#include "graph/neighbor_sampler.h"
#include "ps/client/control.h"

#define ITEMS       5   /* batches between sampling and computing; the trainer holds two of them */
#define ENTRY_TURNS 500 /* of a millisecond */
#define LEASES_MAX  2   /* one being computed, one being sampled */

struct feed {
    struct feed_options options;
    struct neighbor_sampler *sampler;
    const uint64_t *train_ids;
    uint64_t train_count;
    struct queue *free_items, *ready;
    atomic_bool waits;               /* for a lease */
    atomic_bool takes_turn, entered; /* see feed_takes_turn */
    atomic_bool stopped;             /* by feed_stop */
    struct feed_item items[ITEMS];
    pthread_t thread;
    enum status status;
    struct error error;
    struct metric *sample_seconds, *sampled_edges;
};

float feed_rate_scale(const struct config *config, double progress)
{
    const struct schedule schedule = {.kind = config->optimizer.schedule,
                                      .warmup = (double)config->optimizer.warmup,
                                      .end = 1,
                                      .rate_final = (double)config->optimizer.rate_final};
    return schedule_factor(&schedule, progress);
}

/* While the trainer enters or leaves the clock another request would get the same answer. */
static void await_entry(struct feed *feed, bool takes_turn)
{
    atomic_store(&feed->takes_turn, takes_turn);
    for (unsigned i = 0; i < ENTRY_TURNS && !atomic_load(&feed->stopped); i++) {
        if (!takes_turn || atomic_load(&feed->entered)) return;
        poll(NULL, 0, 1);
    }
}

/* Asks for a lease until one is granted or the run ends. */
static enum status next_lease(struct feed *feed, struct control *control,
                              Anthill__LeaseReply *grant, struct error *error)
{
    for (;;) {
        Anthill__LeaseRequest request = ANTHILL__LEASE_REQUEST__INIT;
        request.entered = atomic_load(&feed->entered);
        Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
        envelope.body_case = ANTHILL__ENVELOPE__BODY_LEASE_REQUEST;
        envelope.lease_request = &request;
        struct message reply = {0};
        enum status status = control_call(control, &envelope, &reply, error);
        if (status != STATUS_OK) return status;
        if (reply.envelope->body_case != ANTHILL__ENVELOPE__BODY_LEASE_REPLY) {
            wire_message_deinit(&reply);
            return error_set(error, STATUS_CORRUPT, "%s answers a lease request with message %d",
                             feed->options.coordinator, (int)reply.envelope->body_case);
        }
        *grant = *reply.envelope->lease_reply;
        wire_message_deinit(&reply);
        if (grant->kind != ANTHILL__LEASE_KIND__LEASE_WAIT) return STATUS_OK;
        if (atomic_load(&feed->stopped) || program_stop_requested()) {
            return error_set(error, STATUS_STOPPED, "the trainer has ended, or was asked to");
        }
        await_entry(feed, grant->takes_turn);
    }
}

static void fill_item(struct feed *feed, struct feed_item *item, uint64_t begin, uint64_t end)
{
    const struct config *config = feed->options.config;
    const struct graph *graph = feed->options.graph;
    uint64_t started_ns = clock_now_ns();
    arena_reset(item->arena);
    uint32_t count = (uint32_t)(end - begin);
    uint64_t *seeds = ARENA_ARRAY(item->arena, uint64_t, count);
    uint64_t order = rng_key(config->run.seed, item->lease->epoch);
    for (uint32_t i = 0; i < count; i++)
        seeds[i] = feed->train_ids[rng_permute(order, feed->train_count, begin + i)];
    item->key = rng_key(order, begin);
    neighbor_sampler_sample(feed->sampler, item->key, seeds, count, item->arena, &item->batch);
    memset(&item->features, 0, sizeof item->features);
    if (graph_info(graph)->features != GRAPH_FEATURES_NONE) {
        graph_features(graph, item->batch.input, item->batch.input_count, item->arena,
                       &item->features);
    }
    item->labels = ARENA_ARRAY(item->arena, int32_t, count);
    graph_labels(graph, seeds, count, item->labels);
    double done = (double)(item->lease->epoch * feed->train_count + begin);
    item->rate_scale =
        feed_rate_scale(config, done / ((double)config->train.epochs * (double)feed->train_count));
    metric_add(feed->sample_seconds, (double)(clock_now_ns() - started_ns) * 1e-9);
    for (uint32_t h = 0; h < item->batch.hop_count; h++)
        metric_add(feed->sampled_edges, item->batch.blocks[h].edge_count);
}

/* A free item, or NULL when the feed is being stopped. */
static struct feed_item *take_free(struct feed *feed, struct held_lease *lease)
{
    struct feed_item *item = queue_pop(feed->free_items, QUEUE_FOREVER);
    if (item != NULL) item->lease = lease;
    return item;
}

static bool feed_lease(struct feed *feed, struct held_lease *lease)
{
    uint32_t batch = feed->options.config->train.batch;
    /* Once its last item is pushed the lease may be done and freed. */
    const uint64_t lease_end = lease->end;
    for (uint64_t begin = lease->begin; begin < lease_end; begin += batch) {
        uint64_t end = begin + batch < lease_end ? begin + batch : lease_end;
        struct feed_item *item = take_free(feed, lease);
        if (item == NULL) return false;
        fill_item(feed, item, begin, end);
        item->last = end == lease_end;
        if (!queue_push(feed->ready, item, QUEUE_FOREVER)) return false;
    }
    return true;
}

static bool feed_evaluation(struct feed *feed, struct held_lease *lease)
{
    struct feed_item *item = take_free(feed, lease);
    if (item == NULL) return false;
    item->last = true;
    return queue_push(feed->ready, item, QUEUE_FOREVER);
}

static void *feed_thread(void *context)
{
    struct feed *feed = context;
    const struct feed_options *options = &feed->options;
    struct control *control = NULL;
    uint64_t timeout_ns =
        (uint64_t)((double)options->config->network.timeout_seconds * (double)NS_PER_S);
    feed->status =
        control_open(&control, options->coordinator, options->session, timeout_ns, &feed->error);
    while (feed->status == STATUS_OK &&
           lease_keeper_wait_room(options->keeper, LEASES_MAX, &feed->stopped)) {
        Anthill__LeaseReply grant = ANTHILL__LEASE_REPLY__INIT;
        atomic_store(&feed->waits, true);
        feed->status = next_lease(feed, control, &grant, &feed->error);
        atomic_store(&feed->waits, false);
        if (feed->status != STATUS_OK) break;
        if (grant.kind == ANTHILL__LEASE_KIND__LEASE_STOP) {
            if (grant.status != STATUS_OK) {
                feed->status = error_set(&feed->error, (enum status)grant.status,
                                         "the coordinator ended the run: %s",
                                         status_name((enum status)grant.status));
            }
            break;
        }
        struct held_lease *lease = lease_keeper_add(options->keeper, &grant);
        bool goes_on = lease->evaluates ? feed_evaluation(feed, lease) : feed_lease(feed, lease);
        if (!goes_on) break;
    }
    control_close(control);
    queue_close(feed->ready);
    return NULL;
}

static void feed_free(struct feed *feed)
{
    for (unsigned i = 0; i < ITEMS; i++)
        arena_destroy(feed->items[i].arena);
    if (feed->free_items != NULL) queue_destroy(feed->free_items);
    if (feed->ready != NULL) queue_destroy(feed->ready);
    neighbor_sampler_destroy(feed->sampler);
    free(feed);
}

enum status feed_start(struct feed **feed_out, const struct feed_options *options,
                       struct error *error)
{
    static const int32_t no_fanouts[BLOCK_HOPS_MAX] = {0};
    const struct config *config = options->config;
    struct feed *feed = calloc(1, sizeof *feed);
    if (feed == NULL) return error_set(error, STATUS_NOMEM, "feed");
    feed->options = *options;
    feed->train_ids = graph_split_ids(options->graph, GRAPH_SPLIT_TRAIN, &feed->train_count);
    feed->free_items = queue_create(ITEMS);
    feed->ready = queue_create(ITEMS);
    feed->sample_seconds = metrics_counter("anthill_worker_stage_seconds_total", "stage=\"sample\"",
                                           "Time in each pipeline stage");
    feed->sampled_edges = metrics_counter("anthill_worker_sampled_edges_total", NULL,
                                          "Edges in the blocks of sampled batches");
    for (unsigned i = 0; i < ITEMS; i++) {
        feed->items[i].arena = arena_create(1 << 20);
        CHECK(queue_push(feed->free_items, &feed->items[i], 0));
    }
    const int32_t *fanouts = config->graph.edges ? config->sampler.fanouts : no_fanouts;
    enum status status =
        neighbor_sampler_create(&feed->sampler, options->graph, fanouts, options->hop_count, error);
    if (status == STATUS_OK) {
        int failed = pthread_create(&feed->thread, NULL, feed_thread, feed);
        if (failed != 0) {
            status = error_set_errno(error, STATUS_NOMEM, failed, "the feed's thread");
        }
    }
    if (status != STATUS_OK) {
        feed_free(feed);
        return status;
    }
    *feed_out = feed;
    return STATUS_OK;
}

void feed_stop(struct feed *feed)
{
    if (feed == NULL) return;
    atomic_store(&feed->stopped, true);
    queue_close(feed->free_items);
    queue_close(feed->ready);
    pthread_join(feed->thread, NULL);
    feed_free(feed);
}

bool feed_next(struct feed *feed, uint64_t timeout_ns, struct feed_item **item)
{
    *item = queue_pop(feed->ready, timeout_ns);
    /* Closed may come between the two calls: look once more for what was left. */
    if (*item == NULL && queue_closed(feed->ready)) {
        *item = queue_pop(feed->ready, 0);
        return true;
    }
    return *item != NULL;
}

bool feed_waits_for_lease(struct feed *feed)
{
    return atomic_load(&feed->waits) && queue_count(feed->ready) == 0;
}

bool feed_takes_turn(struct feed *feed)
{
    return atomic_load(&feed->takes_turn);
}

void feed_entered(struct feed *feed, bool entered)
{
    atomic_store(&feed->entered, entered);
}

void feed_release(struct feed *feed, struct feed_item *item)
{
    item->lease = NULL;
    /* Refused only when the feed is being stopped; items are freed with it. */
    (void)queue_push(feed->free_items, item, QUEUE_FOREVER);
}

enum status feed_status(struct feed *feed, struct error *error)
{
    if (feed->status != STATUS_OK && error != NULL) *error = feed->error;
    return feed->status;
}
