/* The first stages of a worker's pipeline, on a thread of their own: takes leases, samples their
 * batches, gathers features and labels, and hands them over through a bounded queue, so that the
 * next batches are ready while one is computed. */
#ifndef ANTHILL_WORKER_FEED_H
#define ANTHILL_WORKER_FEED_H

#include <stdbool.h>
#include <stdint.h>

#include "common/config.h"
#include "common/error.h"
#include "graph/block.h"
#include "graph/graph_store.h"
#include "worker/lease_keeper.h"

struct feed;

struct feed_options {
    const struct config *config;
    const struct graph *graph;
    struct lease_keeper *keeper;
    const char *coordinator;
    uint64_t session;
    uint32_t hop_count; /* of the model */
};

/* One step's data. With `lease->evaluates` there is no batch: the whole graph is due. */
struct feed_item {
    struct held_lease *lease;
    bool last;           /* of its lease */
    float rate_scale;    /* the learning-rate schedule at this step */
    uint64_t key;        /* of this batch's random choices */
    struct arena *arena; /* what follows lives here, and the step may take more of it */
    struct minibatch batch;
    struct feature_rows features;
    int32_t *labels; /* [batch.seed_count] */
};

/* The configuration has one fan-out for each hop (trainer_check).
 *   errors   STATUS_NOMEM
 *   owner    feed_stop; everything in the options outlives it */
enum status feed_start(struct feed **feed, const struct feed_options *options,
                       struct error *error) MUST_CHECK;
void feed_stop(struct feed *feed);

/* The next item; give it back with feed_release. False: none within the time. *item is NULL when
 * there will be none: the run is over, a stop was requested or the feed failed (feed_status). */
bool feed_next(struct feed *feed, uint64_t timeout_ns, struct feed_item **item);

/* True while the feed has asked for a lease and none has been granted. */
bool feed_waits_for_lease(struct feed *feed);

/* Workers that take turns: the coordinator wants this one in the clock (false: out of it), and what
 * the trainer says to that. */
bool feed_takes_turn(struct feed *feed);
void feed_entered(struct feed *feed, bool entered);

void feed_release(struct feed *feed, struct feed_item *item);

/* After *item was NULL: STATUS_OK when the run is over, else why not. */
enum status feed_status(struct feed *feed, struct error *error) MUST_CHECK;

/* The factor of the learning rate at `progress` of the run, in [0, 1] (see common/schedule.h). */
float feed_rate_scale(const struct config *config, double progress);

#endif
