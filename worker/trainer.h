/* A worker's training loop: takes batches from the feed, pulls weights and embeddings, computes
 * gradients, pushes them, and evaluates the model when it holds a lease for that. Keeps nothing
 * that matters: what it knows is on the servers, what it has done is with the coordinator.
 * thread: the caller's; the feed and the lease keeper have threads of their own. */
#ifndef ANTHILL_WORKER_TRAINER_H
#define ANTHILL_WORKER_TRAINER_H

#include "common/config.h"
#include "common/error.h"
#include "graph/graph_store.h"
#include "worker/model.h"

struct trainer_options {
    const struct config *config;
    const struct graph *graph;
    const struct model *model;
    const char *coordinator; /* endpoint */
    const char *name;        /* of this worker */
};

/* Checks what would otherwise fail in mid-run: labels of the train split, its size, one fan-out for
 * each convolution.
 *   errors   STATUS_CONFIG, STATUS_CORRUPT naming the node */
enum status trainer_check(const struct trainer_options *options, struct error *error) MUST_CHECK;

/* Joins the run and trains until it is over.
 *   errors   STATUS_STOPPED when a stop was requested: leases are given back, pushes are
 *            acknowledged; STATUS_UNAVAILABLE naming the peer; STATUS_INVALID for a gradient that
 * is not finite, naming the tensor */
enum status trainer_run(const struct trainer_options *options, struct error *error) MUST_CHECK;

#endif
